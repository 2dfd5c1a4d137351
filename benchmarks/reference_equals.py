"""Compares the integer reference with real boards, a vendor's golden map and qonnx's own execution.

    python benchmarks/reference_equals.py [--models DIR] [--json FILE] [--inputs N]

Vectors: CNV W1A1, W1A2 and W2A2 against the logits that a real board printed and eight further images each;
DoReFa's offloaded convolutions against the vendor's golden map. Execution: TFC, KWS and ESPCN against
`qonnx.core.onnx_exec.execute_onnx` with onnxruntime pinned to its basic optimizations: the quantized image, every
layer on the very values that qonnx has before it, and the output.

Integers must be equal. qonnx sums in float32, the reference exactly; where the exact value lies within TIE of a
rounding boundary, float32 may fall on the other side, by one step. Such values are counted as `ties`, apart from
mismatches. A float output counts as equal within FLOAT_TOLERANCE of the output's largest value, and where a
quantizer on the host comes last, within one of its steps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.accel.flow import Flow
from foldwright.accel.lowering import lower
from foldwright.accel.network import LayerTrace, Network, load_network
from foldwright.accel.onnx_import import read_onnx
from foldwright.accel.workload import IMAGE, ResultKind

__all__ = ["Row", "main"]

ROOT = Path(__file__).resolve().parents[1]
FLOAT_TOLERANCE = 1e-5
TIE = 1e-6
VECTORS = ("cnv_w1a1_cifar10", "cnv_w1a2_cifar10", "cnv_w2a2_cifar10", "dorefanet_w1a2_offload")
EXECUTED = ("TFC_1W1A", "TFC_1W2A", "TFC_2W2A", "kwsmlp_w3a3", "espcn_subpixel", "espcn_nn_resize_w8a8_w4a4")
_BATCH = 20
_COLUMN = (1, -1, 1, 1)
_TOLERANCES = {
    "float image": "within one step: a float host step",
    "output": f"within {FLOAT_TOLERANCE:g} of the largest",
    "quantized output": "within one step of the host's quantizer",
}


@dataclass(frozen=True)
class Row:
    """One comparison: how many values, how many of them differ, and how many more by a float32 tie only."""

    model: str
    check: str
    inputs: int
    values: int
    mismatches: int
    ties: int = 0
    tolerance: str = "equal"


def compare_vectors(models: Path, name: str) -> Iterator[Row]:
    """Yields the comparisons with the vectors that lie beside a model."""
    network = load_network(models / f"{name}.onnx")
    vectors = np.load(models / f"{name}.vectors.npz", allow_pickle=False)
    for given, wanted in (("input", "expected"), ("extra_input", "extra_expected")):
        if given in vectors:
            got = network.run(vectors[given])
            yield _equal(name, wanted, len(got), got, vectors[wanted])
    if "board_logits" in vectors:
        logits = network.run(vectors["input"])
        printed = (logits + 512) / 2 if "/ 2" in str(vectors["board_formula"]) else logits
        yield _equal(name, "board_logits", len(logits), printed, vectors["board_logits"])


def _equal(model: str, check: str, inputs: int, got: np.ndarray, wanted: np.ndarray) -> Row:
    return Row(model, check, inputs, int(got.size), int((got != wanted).sum()))


@contextlib.contextmanager
def _pinned_runtime() -> Iterator[None]:
    """Makes qonnx open onnxruntime sessions with basic optimizations and one thread."""
    from qonnx.core import onnx_exec

    original = onnx_exec.rt.InferenceSession
    options = onnx_exec.rt.SessionOptions()
    options.graph_optimization_level = onnx_exec.rt.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    onnx_exec.rt.InferenceSession = lambda model: original(model, options)
    try:
        yield
    finally:
        onnx_exec.rt.InferenceSession = original


def execute(model: Any, inputs: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Returns every value of a qonnx model for each input."""
    from qonnx.core.onnx_exec import execute_onnx

    name = model.graph.input[0].name
    with _pinned_runtime():
        return [execute_onnx(model, {name: frame[None]}, return_full_exec_context=True) for frame in inputs]


def compare_execution(models: Path, name: str, count: int) -> Iterator[Row]:
    """Yields the comparisons of every layer and of the output with qonnx's execution on random inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.util.cleanup import cleanup_model

        model = cleanup_model(ModelWrapper(str(models / f"{name}.onnx")))
    with tempfile.TemporaryDirectory() as folder:  # the clean graph, so that value names agree
        path = Path(folder) / f"{name}.onnx"
        model.save(str(path))
        network = load_network(path)
        flows = lower(read_onnx(path)).states
    rng = np.random.default_rng(0)
    spread = 40.0 if name.startswith("kws") else 0.0
    totals: dict[str, list[int]] = {}
    for start in range(0, count, _BATCH):
        shape = (min(_BATCH, count - start), *network.input_shape[1:])
        inputs = (rng.normal(0, spread, shape) if spread else rng.random(shape)).astype(np.float32)
        for check, wrong, ties in _compare_batch(network, flows, inputs, execute(model, inputs)):
            entry = totals.setdefault(check, [0, 0, 0])
            entry[:] = (
                entry[0] + wrong.size,
                entry[1] + int((wrong & ~ties).sum()),
                entry[2] + int((wrong & ties).sum()),
            )
    for check, (values, mismatches, tied) in totals.items():
        yield Row(name, check, count, values, mismatches, tied, _TOLERANCES.get(check, "equal"))


def _compare_batch(
    network: Network,
    flows: Mapping[str, object],
    inputs: np.ndarray,
    contexts: Sequence[dict[str, np.ndarray]],
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields the name of each comparison, where it differs, and where a difference is a float32 tie."""

    def value(name: str) -> np.ndarray:
        return np.concatenate([c[name] for c in contexts]).astype(np.float64)

    stored = {IMAGE: network.image_grid.encode(network.image_view.encoded(value(network.before.wanted)))}
    image = network.encode_image(inputs)
    is_float = any(node.op == "Conv" for node in network.before.nodes)
    yield (
        "float image" if is_float else "image",
        np.abs(image - stored[IMAGE]) > int(is_float),
        np.zeros(image.shape, bool),
    )
    for name, entry in network.layers.items():
        trace = entry.trace(stored)
        wanted = value(entry.value).reshape(trace.output.shape)
        if entry.layer.result is ResultKind.RAW:
            wanted = (wanted - entry.raw_offset.reshape(_COLUMN)) / entry.raw_scale.reshape(_COLUMN)
        else:
            wanted = (wanted - entry.out_offset) / entry.out_scale
        stored[name] = np.rint(wanted).astype(np.int64)
        flow = flows[entry.value]
        assert isinstance(flow, Flow)
        yield f"layer {name}", stored[name] != trace.output, _ties(flow, trace, stored[name])
    got, wanted = network.decode_output(inputs, stored), value(network.after.wanted)
    if network.after.nodes and network.after.nodes[-1].op == "Quant":
        wrong, check = np.abs(got - wanted) > 1.001 * np.diff(np.unique(wanted)).min(), "quantized output"
    else:
        wrong, check = np.abs(got - wanted) > FLOAT_TOLERANCE * np.abs(wanted).max(), "output"
    yield check, wrong, np.zeros(got.shape, bool)


def _ties(flow: Flow, trace: LayerTrace, wanted: np.ndarray) -> np.ndarray:
    """Returns where results are one step apart and the exact value lies on a rounding boundary, to float32."""
    ties = np.zeros(wanted.shape, bool)
    if flow.grid is None or trace.accumulator.shape != wanted.shape:
        return ties
    for frame, channel, y, x in np.argwhere(np.abs(wanted - trace.output) == flow.grid.step):
        values = np.zeros((wanted.shape[1], 1))
        values[channel] = trace.accumulator[frame, channel, y, x]
        for step in flow.steps[:-1]:
            values = step.apply(values)
        steps = abs(float(values[channel, 0]) / flow.grid.scale)
        ties[frame, channel, y, x] = abs(steps % 1 - 0.5) < TIE * max(1.0, steps)
    return ties


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, writes it where asked, and returns 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--inputs", type=int, default=200, help="random inputs for the small nets; ESPCN takes 1/50 of it"
    )
    options = parser.parse_args(arguments)
    if not options.models.is_dir():
        print(
            f"{options.models}: no such folder; name the folder of the models with --models", file=sys.stderr
        )
        return 2
    started = time.process_time()
    rows: list[Row] = []
    for name in VECTORS:
        rows.extend(_printed(compare_vectors(options.models, name)))
    for name in EXECUTED:
        count = max(1, options.inputs // 50) if name.startswith("espcn") else options.inputs
        rows.extend(_printed(compare_execution(options.models, name, count)))
    wrong = sum(row.mismatches for row in rows)
    ties = sum(row.ties for row in rows)
    print(f"{sum(row.values for row in rows):,} values compared, {wrong} mismatches, {ties} float32 ties")
    if options.json:
        body = {
            "rows": [asdict(row) for row in rows],
            "values": sum(row.values for row in rows),
            "mismatches": wrong,
            "ties": ties,
            "float_tolerance": FLOAT_TOLERANCE,
            "cpu_seconds": round(time.process_time() - started, 1),
        }
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return int(wrong > 0)


def _printed(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        size = f"{row.inputs:4} inputs {row.values:10,} values"
        print(
            f"{row.model:26} {row.check:18} {size} {row.mismatches:4} mismatches {row.ties:2} ties ({row.tolerance})",
            flush=True,
        )
        yield row


if __name__ == "__main__":
    raise SystemExit(main())
