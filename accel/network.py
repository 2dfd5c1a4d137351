"""A quantized network as integers: what the accelerator runs, and the named host steps around it.

`load_network` reads an ONNX file; `Network.run` takes and gives the graph's own values, computing everything
between the host steps in integers; `Network.trace` gives every layer's operands, for verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.accel import lowering
from foldwright.accel.emit import Binding, Emitter
from foldwright.accel.flow import Host
from foldwright.accel.host import HostProgram, program
from foldwright.accel.layers import IntegerLayer, LayerTrace
from foldwright.accel.onnx_import import Graph, read_onnx
from foldwright.accel.quantops import Grid
from foldwright.accel.tensorfile import read_array, write_array
from foldwright.accel.view import View
from foldwright.accel.walk import Walk
from foldwright.accel.workload import IMAGE, ActKind, Workload
from foldwright.errors import ConfigError, InputError, ModelError, nearest

__all__ = ["REQUANT", "IntegerLayer", "LayerTrace", "Network", "load_network", "run_model"]

REQUANT = ("thresholds", "scale_shift")
"""Ways from an accumulator to a stored value; only thresholds are exact."""

_CHUNK_ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Network:
    """A network that the accelerator can run.

    Its arrays are read-only. `layers` has one entry for each layer of `workload`, by name and in that order.
    """

    name: str
    workload: Workload
    layers: Mapping[str, IntegerLayer]
    input_shape: tuple[int, ...]
    input_dtype: np.dtype[Any]
    output_dtype: np.dtype[Any]
    image_grid: Grid
    image_view: View
    before: HostProgram
    after: HostProgram
    bindings: Mapping[str, Binding]

    @cached_property
    def requant_errors(self) -> dict[str, int]:
        """For each scale-and-shift layer, the sum of wrong levels over every accumulator of every channel."""
        fits = {name: entry.scale_shift for name, entry in self.layers.items()}
        return {name: int(fit.level_errors.sum()) for name, fit in fits.items() if fit is not None}

    def encode_image(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the image (frames, C, H, W) that the host steps before the accelerator make of inputs."""
        frames = self._checked(inputs)
        values = [self.before.run({self.before.given: frame[None]}) for frame in frames]
        real = np.concatenate(values).astype(np.float64)
        if not np.isfinite(real).all():
            raise ConfigError(
                f"{self.name}: the host steps make NaN or infinity of the inputs; give other inputs"
            )
        grid = self.image_grid
        return np.clip(grid.encode(self.image_view.encoded(real)), grid.low, grid.high)

    def random_image(self, frames: int, rng: np.random.Generator) -> np.ndarray:
        """Returns random stored images, int64 (frames, C, H, W)."""
        w = self.workload
        shape = (frames, w.image_channels, w.image_height, w.image_width)
        if w.image_kind is ActKind.BIPOLAR:
            return rng.integers(0, 2, shape) * 2 - 1
        return rng.integers(int(self.image_grid.low), int(self.image_grid.high) + 1, shape)

    def integer_tensors(self, image: np.ndarray) -> dict[str, LayerTrace]:
        """Runs the accelerator's part on an encoded image; returns what every layer read and made."""
        tensors, traces = {IMAGE: image}, {}
        for name, entry in self.layers.items():
            traces[name] = entry.trace(tensors)
            tensors[name] = traces[name].output
        return traces

    def trace(self, inputs: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, LayerTrace]:
        """Returns for each layer its input, accumulators and output on the graph's own inputs."""
        return self.integer_tensors(self.encode_image(self._array(inputs)))

    def run(self, inputs: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the ONNX graph's output for its input.

        Args:
            inputs: (frames, ...) of the graph's input, any number of frames; or a dict with one such array.

        Raises:
            ConfigError: the shape or the type does not fit.
        """
        frames = self._checked(self._array(inputs))
        step = max(1, _CHUNK_ELEMENTS // max(1, self._largest))
        parts = [self._run(frames[i : i + step]) for i in range(0, len(frames), step)]
        return np.concatenate(parts)

    @cached_property
    def _largest(self) -> int:
        return max(layer.out_channels * layer.out_height * layer.out_width for layer in self.workload.layers)

    def _run(self, frames: np.ndarray) -> np.ndarray:
        image = self.encode_image(frames)
        traces = self.integer_tensors(image)
        return self.decode_output(frames, {IMAGE: image, **{name: t.output for name, t in traces.items()}})

    def decode_output(self, frames: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the graph's output for stored tensors by name: the host steps after the accelerator.

        Args:
            frames: the graph's inputs that the tensors were made from; a host step may read them again.
        """
        values = {name: bound.decode(tensors[bound.tensor]) for name, bound in self.bindings.items()}
        if not self.after.nodes:
            return values[self.after.wanted].astype(self.output_dtype)
        outputs = []
        for i, frame in enumerate(frames):
            given = {name: value[i : i + 1].astype(np.float32) for name, value in values.items()}
            outputs.append(self.after.run({**given, self.before.given: frame[None]}))
        joined = np.concatenate(outputs) if outputs[0].shape[:1] == (1,) else np.stack(outputs)
        return joined.astype(self.output_dtype)

    def _array(self, inputs: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
        if isinstance(inputs, Mapping):
            if len(inputs) != 1:
                raise ConfigError(
                    f"{len(inputs)} input arrays, exactly one is needed ({self.before.given!r})"
                )
            return np.asarray(next(iter(inputs.values())))
        return np.asarray(inputs)

    def _checked(self, inputs: np.ndarray) -> np.ndarray:
        want = self.input_shape[1:]
        if inputs.ndim != len(want) + 1 or inputs.shape[1:] != want or not len(inputs):
            raise ConfigError(
                f"{self.name}: inputs of shape {list(inputs.shape)}, needed is [frames, {', '.join(map(str, want))}]"
            )
        if inputs.dtype.kind not in "fiub":
            raise ConfigError(f"{self.name}: inputs of type {inputs.dtype}, numbers are needed")
        if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            raise ConfigError(f"{self.name}: inputs hold NaN or infinity; finite numbers are needed")
        if self.input_dtype.kind == "f" or inputs.dtype == self.input_dtype:
            return inputs.astype(self.input_dtype, copy=False)
        info = np.iinfo(self.input_dtype)
        if (inputs != np.round(inputs)).any() or inputs.min() < info.min or inputs.max() > info.max:
            raise ConfigError(
                f"{self.name}: inputs must be whole numbers {info.min} to {info.max} ({self.input_dtype})"
            )
        return inputs.astype(self.input_dtype)


def load_network(path: str | Path, requant: str = "thresholds") -> Network:
    """Reads an ONNX file (QONNX, or QDQ) and lowers it to integers.

    Args:
        requant: "thresholds" (exact), or "scale_shift" (one multiply, add and shift; see `requant_errors`).

    Raises:
        ModelError: the file is damaged, or holds what neither the accelerator nor the host can run.
        ConfigError: `requant` is not one of `REQUANT`.
    """
    if requant not in REQUANT:
        raise ConfigError(f"requant {requant!r}: {nearest(requant, REQUANT)}")
    graph = read_onnx(path)
    lowered = lowering.lower(graph)
    emitter = Emitter(lowered, requant)
    emitter.run()
    if not emitter.layers or emitter.image is None:
        raise ModelError(_nothing_to_run(graph, lowered))
    return _network(graph, lowered, emitter)


def _nothing_to_run(graph: Graph, lowered: Walk) -> str:
    products = [n for n in graph.nodes if n.op in ("Conv", "Gemm", "MatMul")]
    if not products:
        return f"{graph.path}: holds no Conv, Gemm or MatMul\n  export the whole network"
    state = lowered.states[products[0].output]
    why = (
        "its input comes from no quantizer" if isinstance(state, Host) else "the output does not depend on it"
    )
    return (
        f"{graph.path}: {products[0]}: nothing for the accelerator to run: {why}\n"
        "  quantize inputs and weights (Quant, or QuantizeLinear and DequantizeLinear) and export again"
    )


def _network(graph: Graph, lowered: Walk, emitter: Emitter) -> Network:
    image, grid = emitter.image, emitter.grids[IMAGE]
    assert image is not None
    kind, bits = emitter.kinds[IMAGE]
    value = str(image.origin)
    before = program(graph, lowered, value, {graph.input_name}, emitter.tensors, grid)
    after = program(
        graph, lowered, graph.output_name, {graph.input_name, *emitter.bindings}, emitter.tensors, None
    )
    workload = Workload(
        name=Path(graph.path).stem,
        layers=tuple(entry.layer for entry in emitter.layers),
        image_channels=image.view.chw[0],
        image_height=image.view.chw[1],
        image_width=image.view.chw[2],
        image_bits=bits,
        image_kind=kind,
        host_before=before.steps,
        host_after=after.steps,
    )
    return Network(
        name=workload.name,
        workload=workload,
        layers={entry.name: entry for entry in emitter.layers},
        input_shape=graph.input_shape,
        input_dtype=graph.input_dtype,
        output_dtype=graph.output_dtype,
        image_grid=grid,
        image_view=image.view,
        before=before,
        after=after,
        bindings=emitter.bindings,
    )


def run_model(model: Path, inputs: Path, output: Path) -> None:
    """Runs a model on the array `input` of an .npz file and writes the array `output` to another.

    Raises:
        InputError: a file cannot be read or written, or does not fit the model.
    """
    network = load_network(model)
    try:
        result = network.run(read_array(inputs, "input"))
    except ConfigError as error:
        raise InputError(f"{inputs}: array 'input': {error}") from None
    write_array(output, "output", result)
