"""Real networks and the face of `Network`: values in, values out, operands of every layer."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.accel.network import load_network, run_model
from foldwright.accel.workload import IMAGE, ActKind, LayerKind, ResultKind, WeightKind
from foldwright.errors import ConfigError, InputError
from tests.accel.onnx_graphs import Graph
from tests.support import shared

CNV = ("cnv_w1a1_cifar10", "cnv_w1a2_cifar10", "cnv_w2a2_cifar10")


@pytest.mark.parametrize("name", CNV)
def test_cnv_equals_the_logits_of_a_real_board(name: str) -> None:
    network = load_network(shared(f"models/{name}.onnx"))
    vectors = np.load(shared(f"models/{name}.vectors.npz"), allow_pickle=False)
    logits = network.run(vectors["input"])
    # the board of the W1A1 net prints (dot product + 512) / 2, the others print the dot product
    board = (logits + 512) / 2 if name == "cnv_w1a1_cifar10" else logits
    np.testing.assert_array_equal(board, vectors["board_logits"])
    np.testing.assert_array_equal(network.run(vectors["extra_input"]), vectors["extra_expected"])


def test_dorefa_equals_the_vendors_golden_map_and_keeps_its_geometry() -> None:
    network = load_network(shared("models/dorefanet_w1a2_offload.onnx"))
    vectors = np.load(shared("models/dorefanet_w1a2_offload.vectors.npz"), allow_pickle=False)
    np.testing.assert_array_equal(network.run(vectors["input"]), vectors["expected"])
    workload = network.workload
    assert workload.macs == 946_201_824  # models/README.md
    assert [layer.groups for layer in workload.layers] == [2, 1, 2, 2]
    assert workload.layers[0].pool is not None
    assert workload.layers[0].pool.padding == (0, 0, 1, 1)
    assert {layer.weight_kind for layer in workload.layers} == {WeightKind.BINARY}
    assert {layer.act_kind for layer in workload.layers} == {ActKind.UNSIGNED}


def test_a_matrix_product_behind_a_flattened_input_reads_a_row() -> None:
    workload = load_network(shared("models/TFC_1W1A.onnx")).workload
    assert (workload.image_channels, workload.image_height, workload.image_width) == (784, 1, 1)
    assert {layer.kind for layer in workload.layers} == {LayerKind.MATMUL}
    assert workload.layers[-1].result is ResultKind.RAW
    assert len(workload.host_after) == 4  # the last normalization: subtract, divide, multiply, add


def _small(folder: Path) -> Path:
    """Two layers with every kind of operand: residual, pooling, raw result."""
    g = Graph([1, 2, 6, 6])
    weights = np.arange(-36, 36).reshape(4, 2, 3, 3) % 7 - 3
    a = g.quant(g.op("Conv", g.quant("x", 4), g.weights(weights), pads=[1, 1, 1, 1]), 3, 2.0)
    b = g.quant(
        g.op("Conv", a, g.weights(np.arange(144).reshape(4, 4, 3, 3) % 5 - 2), pads=[1, 1, 1, 1]), 3, 2.0
    )
    pooled = g.op("MaxPool", g.op("Add", a, b), kernel_shape=[2, 2], strides=[2, 2])
    row = g.op("Flatten", pooled)
    return g.save(
        folder, g.op("Gemm", row, g.weights(np.arange(108).reshape(36, 3) % 3 - 1), g.const([1, 2, 3]))
    )


def test_the_trace_holds_every_operand_and_chains(tmp_path: Path) -> None:
    network = load_network(_small(tmp_path))
    inputs = np.random.default_rng(0).normal(0, 4, (3, 2, 6, 6))
    image = network.encode_image(inputs)
    tensors = {IMAGE: image}
    traces = network.trace(inputs)
    assert list(traces) == [layer.name for layer in network.workload.layers] == list(network.layers)
    for layer in network.workload.layers:
        trace, entry = traces[layer.name], network.layers[layer.name]
        np.testing.assert_array_equal(trace.input, tensors[layer.inputs[0]])
        stored = (layer.out_channels, layer.stored_height, layer.stored_width)
        assert trace.output.shape == (3, *stored)
        assert trace.accumulator.shape == (3, layer.out_channels, layer.out_height, layer.out_width)
        column = (1, -1, 1, 1)
        assert (trace.accumulator >= entry.acc_min.reshape(column)).all()
        assert (trace.accumulator <= entry.acc_max.reshape(column)).all()
        limit = 2 ** (layer.acc_bits - 1)
        assert -limit <= entry.acc_min.min()
        assert entry.acc_max.max() < limit
        if len(layer.inputs) == 2:
            np.testing.assert_array_equal(trace.residual, tensors[layer.inputs[1]])
        tensors[layer.name] = trace.output
    assert np.array_equal(network.decode_output(inputs, tensors), network.run(inputs))


def test_arrays_of_a_network_cannot_be_changed(tmp_path: Path) -> None:
    for entry in load_network(_small(tmp_path)).layers.values():
        for array in (entry.weights, entry.thresholds, entry.negate, entry.acc_min):
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[:] = 0


def test_frames_are_independent_of_how_they_are_batched(tmp_path: Path) -> None:
    network = load_network(_small(tmp_path))
    inputs = np.random.default_rng(1).normal(0, 4, (5, 2, 6, 6))
    together = network.run({"x": inputs})
    np.testing.assert_array_equal(together, np.concatenate([network.run(frame[None]) for frame in inputs]))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (np.zeros((2, 6, 6)), r"shape \[2, 6, 6\], needed is \[frames, 2, 6, 6\]"),
        (np.zeros((0, 2, 6, 6)), r"shape \[0, 2, 6, 6\]"),
        (np.full((1, 2, 6, 6), np.nan), "NaN"),
        (np.zeros((1, 2, 6, 6), complex), "type complex128"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "2 input arrays, exactly one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        load_network(_small(tmp_path)).run(inputs)


def test_an_unknown_requantization_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'thresholds'"):
        load_network(_small(tmp_path), requant="threshold")


def test_small_graphs_equal_qonnx_execution(tmp_path: Path) -> None:
    """qonnx shares no code with us; the graph has a residual, pooling and a bias."""
    pytest.importorskip("qonnx")
    path = _small(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        model = ModelWrapper(str(path)).transform(InferShapes())
        inputs = np.random.default_rng(2).normal(0, 4, (2, 2, 6, 6)).astype(np.float32)
        name = model.graph.output[0].name
        wanted = [execute_onnx(model, {"x": frame[None]})[name] for frame in inputs]
    np.testing.assert_array_equal(load_network(path).run(inputs), np.concatenate(wanted))


def test_run_model_writes_what_run_returns(tmp_path: Path) -> None:
    inputs = np.random.default_rng(3).normal(0, 4, (2, 2, 6, 6))
    np.savez(tmp_path / "in.npz", input=inputs)
    run_model(_small(tmp_path), tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as result:
        np.testing.assert_array_equal(result["output"], load_network(_small(tmp_path)).run(inputs))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.onnx", "in.npz", "out.npz"]


def _npz(array: Any, name: str = "input") -> Callable[[Path], None]:
    return lambda path: np.savez(path, **{name: array})


def _bomb(path: Path) -> None:
    """Four kilobytes that unpack to four megabytes; the test lowers the limit to one."""
    np.savez_compressed(path, input=np.zeros(2**19))


def _truncated(path: Path) -> None:
    np.savez(path, input=np.zeros(999))
    path.write_bytes(path.read_bytes()[:-99])


def _lying_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("input.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
        )


@pytest.mark.parametrize(
    ("reason", "write", "says"),
    [
        ("absent", lambda path: None, "no such file"),
        ("a folder", lambda path: path.mkdir(), "is a folder"),
        ("not a zip", lambda path: path.write_bytes(b"hello"), "not a sound .npz file"),
        ("truncated", _truncated, "not a sound"),
        ("another name", _npz(np.zeros((1, 2, 6, 6)), "image"), "has no array 'input', it holds: image"),
        ("another shape", _npz(np.zeros((1, 3, 6, 6))), r"array 'input': .*shape \[1, 3, 6, 6\], needed"),
        ("text", _npz(np.array(["a"])), "is of type <U1"),
        ("a bomb", _bomb, "declares 4194432 bytes, more than 1048576"),
        ("a header that lies", _lying_header, "declares 8796093022208 bytes"),
    ],
)
def test_bad_input_files_end_in_a_message_and_write_nothing(
    reason: str, write: Callable[[Path], object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foldwright.accel.tensorfile.MAX_ARRAY_BYTES", 2**20)
    write(tmp_path / "in.npz")
    with pytest.raises(InputError, match=says) as caught:
        run_model(_small(tmp_path), tmp_path / "in.npz", tmp_path / "out.npz")
    assert len(str(caught.value).splitlines()) < 10
    assert not (tmp_path / "out.npz").exists()


def test_an_output_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", input=np.zeros((1, 2, 6, 6)))
    with pytest.raises(InputError, match=r"none/out\.npz: cannot be written"):
        run_model(_small(tmp_path), tmp_path / "in.npz", tmp_path / "none" / "out.npz")


@pytest.mark.parametrize("name", ["espcn_subpixel", "espcn_nn_resize_w8a8_w4a4"])
def test_super_resolution_names_its_host_steps(name: str) -> None:
    workload = load_network(shared(f"models/{name}.onnx")).workload
    assert len(workload.layers) == 3
    assert any(step.startswith(("Resize", "DepthToSpace")) for step in workload.host_after)
