"""Makes layers out of flows, producers first, and only those that the output needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from foldwright.accel.flow import Constant, Flow, Host, Mac
from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.onnx_import import Node
from foldwright.accel.quantops import Grid, signed_bits, weight_kind
from foldwright.accel.thresholds import bisect_thresholds, fit_scale_shift
from foldwright.accel.view import View
from foldwright.accel.walk import Walk
from foldwright.accel.workload import IMAGE, ActKind, Layer, LayerKind, ResultKind, WeightKind
from foldwright.errors import ModelError

__all__ = ["MAX_LEVELS", "Binding", "Emitter"]

MAX_LEVELS = 2**12 - 1
"""Most thresholds per channel: activations of 12 bits."""

_RAW_LEVELS = 255  # a bare pass with more values than this stores its accumulators instead of comparing them


@dataclass(frozen=True)
class Binding:
    """How the host reads a value of the graph from a stored tensor: `scale * i + offset`, seen through a view."""

    value: str
    tensor: str
    view: View
    scale: np.ndarray  # float64 (channels,) or (1,)
    offset: np.ndarray

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Returns the graph's values (frames, ...) as float64."""
        column = (1, -1, 1, 1)
        block = stored.reshape(len(stored), *self.view.chw)
        return self.view.decoded(block * self.scale.reshape(column) + self.offset.reshape(column))


@dataclass
class Emitter:
    """Collects layers, the image and the host's nodes while values are asked for."""

    lowered: Walk
    requant: str
    layers: list[IntegerLayer] = field(default_factory=list)
    bindings: dict[str, Binding] = field(default_factory=dict)
    late_nodes: list[Node] = field(default_factory=list)
    image: Flow | None = None
    tensors: dict[str, str] = field(default_factory=dict)  # stored value -> layer name or IMAGE
    grids: dict[str, Grid] = field(default_factory=dict)  # layer name or IMAGE -> grid
    _flat_image: bool = True

    def run(self) -> None:
        """Emits all that the graph's output needs, then settles how one-bit values are stored."""
        self._demand(self.lowered.graph.output_name)
        self._settle_image()
        self._settle_bipolar()

    # --- host side -------------------------------------------------------------------------------------------

    def _demand(self, root: str) -> None:
        """Finds the host steps behind the accelerator, walking back from a value."""
        producers = {node.output: node for node in self.lowered.graph.nodes}
        needed: list[Node] = []
        stack, seen = [root], set()
        while stack:
            value = stack.pop()
            if value in seen or not value:
                continue
            seen.add(value)
            state = self.lowered.states[value]
            if isinstance(state, Constant) or (isinstance(state, Host) and not state.late):
                continue
            if isinstance(state, Flow) and (state.grid is not None or state.bare) and not any(state.padding):
                self.bindings[value] = self._bind(value, state)
                continue
            needed.append(producers[value])
            stack.extend(producers[value].inputs)
        wanted = {id(node) for node in needed}
        self.late_nodes = [node for node in self.lowered.graph.nodes if id(node) in wanted]

    def _bind(self, value: str, flow: Flow) -> Binding:
        tensor = self.stored(value)
        if flow.grid is not None:
            return Binding(
                value, tensor, flow.view, np.array([flow.grid.scale]), np.array([flow.grid.offset])
            )
        layer = next(entry for entry in self.layers if entry.name == tensor)
        return Binding(value, tensor, flow.view, layer.raw_scale, layer.raw_offset)

    # --- accelerator side ------------------------------------------------------------------------------------

    def stored(self, value: str) -> str:
        """Returns the name of the tensor that holds a value; emits the layers that it needs."""
        chain = [value]  # an explicit stack: a network may be deeper than Python's recursion limit
        while chain:
            flow = self.lowered.states[chain[-1]]
            assert isinstance(flow, Flow)
            missing = [v for v in self._sources(chain[-1], flow) if v not in self.tensors]
            if missing:
                chain.extend(missing)
            else:
                name = chain.pop()
                if name not in self.tensors:
                    self.tensors[name] = self._store(name, flow)
        return self.tensors[value]

    def _sources(self, value: str, flow: Flow) -> Iterable[str]:
        if isinstance(flow.origin, Mac):
            yield flow.origin.source
            if flow.residual is not None:
                yield flow.residual
        elif flow.origin != value:
            yield flow.origin

    def _store(self, value: str, flow: Flow) -> str:
        if isinstance(flow.origin, Mac):
            return self._layer(value, flow, flow.origin)
        if flow.origin != value:
            return self.tensors[flow.origin]
        return self._take_image(flow)

    def _take_image(self, flow: Flow) -> str:
        assert flow.grid is not None
        if self.image is None:
            self.image, self.grids[IMAGE] = flow, flow.grid
            return IMAGE
        old, new = self.grids[IMAGE], flow.grid
        same = (old.low, old.high, old.step) == (new.low, new.high, new.step)
        same = same and abs(old.offset / old.scale - new.offset / new.scale) < 1e-6
        if not same or self.image.view.chw != flow.view.chw:
            raise ModelError(
                f"{self.lowered.graph.path}: the input is read in two forms, {self.image.origin!r} and {flow.origin!r}\n"
                "  quantize the input once and let every branch read that value"
            )
        return IMAGE

    def _layer(self, value: str, flow: Flow, mac: Mac) -> str:
        try:
            entry = _integer_layer(flow, mac, self._unique(mac.name), self)
        except UnsupportedFormError as error:
            raise ModelError(
                f"{self.lowered.graph.path}: {mac.name!r}: {error}\n  change the quantizer behind it and export again"
            ) from None
        self.layers.append(replace(entry, value=value))
        if flow.grid is not None:
            self.grids[entry.name] = flow.grid
        if self.tensors[mac.source] == IMAGE:
            self._flat_image &= mac.flattens
        if flow.residual is not None and self.tensors[flow.residual] == IMAGE:
            self._flat_image = False
        return entry.name

    def _unique(self, name: str) -> str:
        taken = {entry.name for entry in self.layers} | {IMAGE}
        return next(
            n for i in range(1, len(taken) + 2) if (n := name if i == 1 else f"{name}_{i}") not in taken
        )

    # --- second pass -----------------------------------------------------------------------------------------

    def _settle_image(self) -> None:
        """Where only matrix products read the image, it is stored as a row: (C * H * W, 1, 1)."""
        if self.image is None or not self._flat_image or self.image.view.chw[1:] == (1, 1):
            return
        size = int(np.prod(self.image.view.chw))
        self.image = replace(self.image, view=replace(self.image.view, chw=(size, 1, 1)))
        for i, entry in enumerate(self.layers):
            if entry.layer.inputs[0] == IMAGE:
                row = replace(
                    entry.layer,
                    kind=LayerKind.MATMUL,
                    in_channels=size,
                    in_height=1,
                    in_width=1,
                    kernel=(1, 1),
                )
                self.layers[i] = replace(entry, layer=row, weights=entry.weights.reshape(-1, size, 1, 1))

    def _settle_bipolar(self) -> None:
        """One-bit -1 and +1 cannot encode the 0 of padding: such tensors are stored as two-bit integers."""
        padded = {e.layer.inputs[0] for e in self.layers if any(e.layer.padding)}
        kinds = {}
        for name, grid in self.grids.items():
            two_bits = grid.kind is ActKind.BIPOLAR and (name in padded or self._joins(name))
            kinds[name] = (ActKind.SIGNED, 2) if two_bits else (grid.kind, grid.bits)
        self.kinds = kinds
        for i, entry in enumerate(self.layers):
            layer = entry.layer
            act_kind, act_bits = kinds[layer.inputs[0]]
            layer = replace(layer, act_kind=act_kind, act_bits=act_bits)
            if layer.result is not ResultKind.RAW:
                layer = replace(layer, out_kind=kinds[entry.name][0], out_bits=kinds[entry.name][1])
            self.layers[i] = replace(entry, layer=layer)

    def _joins(self, name: str) -> bool:
        """True where a tensor is the second operand of an add, which wants ordinary integers."""
        return any(name in entry.layer.inputs[1:] for entry in self.layers)


def _read_only(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _is_raw(flow: Flow) -> bool:
    return flow.bare and (flow.levels is None or flow.levels.levels > _RAW_LEVELS or not flow.steps)


def _integer_layer(flow: Flow, mac: Mac, name: str, emitter: Emitter) -> IntegerLayer:
    negate = np.zeros(len(mac.weights), bool)
    weights, acc_min, acc_max, thresholds, fit = mac.weights, mac.acc_min, mac.acc_max, None, None
    grid = flow.levels
    if not _is_raw(flow):
        assert grid is not None
        if grid.levels > MAX_LEVELS:
            raise UnsupportedFormError(
                f"{grid.levels + 1} output values, at most {MAX_LEVELS + 1} are allowed (12 bits)"
            )
        thresholds, falls = bisect_thresholds(lambda acc: grid.encode(flow.real(acc)), acc_min, acc_max, grid)
        weights, negate = _flipped(weights, falls)
        turned = falls & ~negate
        acc_min, acc_max = np.where(turned, -acc_max, acc_min), np.where(turned, -acc_min, acc_max)
        if emitter.requant == "scale_shift":
            low, high = np.where(negate, -acc_max, acc_min), np.where(negate, -acc_min, acc_max)
            fit = fit_scale_shift(thresholds, low, high)
    inputs = (
        emitter.tensors[mac.source],
        *((emitter.tensors[flow.residual],) if flow.residual is not None else ()),
    )
    layer = _shape(flow, mac, name, inputs, weights)
    layer = replace(layer, acc_bits=_acc_bits(acc_min, acc_max, negate, thresholds))
    if layer.averages and grid is not None and thresholds is not None:
        layer = replace(layer, code_bits=max(1, grid.levels.bit_length()))
    if thresholds is None:
        layer = replace(layer, result=ResultKind.RAW, out_kind=ActKind.SIGNED, out_bits=layer.acc_bits)
    elif fit is not None:
        layer = replace(layer, result=ResultKind.SCALE_SHIFT)
    unit = (
        flow.steps[0].apply(np.broadcast_to([0.0, 1.0], (len(weights), 2)))
        if flow.steps
        else np.array([[0.0, 1.0]])
    )
    return IntegerLayer(
        layer=layer,
        value="",
        weights=_read_only(weights),
        thresholds=None if thresholds is None else _read_only(thresholds),
        negate=_read_only(negate),
        base=0 if grid is None else grid.low,
        step=1 if grid is None else grid.step,
        acc_min=_read_only(acc_min),
        acc_max=_read_only(acc_max),
        out_scale=1.0 if flow.grid is None else flow.grid.scale,
        out_offset=0.0 if flow.grid is None else flow.grid.offset,
        raw_scale=_read_only(unit[:, 1] - unit[:, 0]),
        raw_offset=_read_only(unit[:, 0]),
        scale_shift=fit,
    )


def _flipped(weights: np.ndarray, falls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Negates the weights of falling channels, where the weights' kind can hold that; says which are left."""
    if not falls.any():
        return weights, falls
    turned = np.where(falls.reshape(-1, 1, 1, 1), -weights, weights)
    if weight_kind(turned) == weight_kind(weights):
        return turned, np.zeros_like(falls)
    return weights, falls


def _acc_bits(
    acc_min: np.ndarray, acc_max: np.ndarray, negate: np.ndarray, thresholds: np.ndarray | None
) -> int:
    """Returns the width that holds every accumulator, its negation where asked for, and every threshold."""
    low, high = int(acc_min.min()), int(acc_max.max())
    if negate.any():
        low, high = min(low, -int(acc_max[negate].max())), max(high, -int(acc_min[negate].min()))
    if thresholds is not None and thresholds.size:
        low, high = min(low, int(thresholds.min())), max(high, int(thresholds.max()))
    return signed_bits(low, high)


def _shape(flow: Flow, mac: Mac, name: str, inputs: tuple[str, ...], weights: np.ndarray) -> Layer:
    kind, bits = weight_kind(weights)
    flat = mac.flattens and mac.chw[1:] == (1, 1)
    return Layer(
        name=name,
        kind=LayerKind.MATMUL if flat else LayerKind.CONV,
        inputs=inputs,
        in_channels=mac.chw[0],
        in_height=mac.chw[1],
        in_width=mac.chw[2],
        out_channels=len(weights),
        kernel=(weights.shape[2], weights.shape[3]),
        stride=mac.stride,
        padding=mac.padding,
        groups=mac.groups,
        weight_bits=bits,
        weight_kind=WeightKind(kind),
        pool=flow.pool,
    )
