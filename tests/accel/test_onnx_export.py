"""The exporter: what it writes is what qonnx executes, and what it is told is what stands in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from foldwright import load_network
from foldwright.accel.onnx_export import export_qonnx, to_model
from foldwright.accel.onnx_steps import (
    INPUT,
    Add,
    BatchNorm,
    Bipolar,
    Conv,
    Dense,
    Flatten,
    Graph,
    Quant,
    Relu,
    Step,
    exact_weights,
    quant_node,
)
from foldwright.accel.quantize import BalancedQuantizer, DorefaActivation, DorefaWeight, Quantizer
from foldwright.accel.workload import Pool, PoolKind
from foldwright.errors import ModelError

ACT = DorefaActivation(2)


def execute(model: onnx.ModelProto | Path, x: np.ndarray) -> np.ndarray:
    pytest.importorskip("qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    wrapped = ModelWrapper(str(model) if isinstance(model, Path) else model)
    (output,) = execute_onnx(wrapped, {INPUT: x.astype(np.float32)}).values()
    return np.asarray(output)


def convolve(x: np.ndarray, w: np.ndarray, stride: int, pads: tuple[int, int, int, int]) -> np.ndarray:
    """A convolution by its definition, in float64."""
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    products: np.ndarray = np.einsum("ncyxij,ocij->noyx", windows[:, :, ::stride, ::stride], w)
    return products


def norm(x: np.ndarray, op: BatchNorm) -> np.ndarray:
    gain, bias, mean, var = (
        p.reshape(1, -1, *[1] * (x.ndim - 2)) for p in (op.gain, op.bias, op.mean, op.variance)
    )
    return (x - mean) / np.sqrt(var + op.epsilon) * gain + bias


def batch_norm(rng: np.random.Generator, channels: int, spread: float) -> BatchNorm:
    gain, bias = rng.normal(1, 0.5, channels), rng.normal(0.5, 0.2, channels)
    return BatchNorm(gain, bias, rng.normal(0, spread, channels), rng.uniform(0.5, 2, channels) * spread**2)


@pytest.mark.parametrize("quantizer", [DorefaWeight(1), DorefaWeight(3), BalancedQuantizer(2)], ids=repr)
def test_exported_chain_equals_the_same_arithmetic_in_numpy(quantizer: Quantizer, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 17, (2, 3, 8, 7))
    first = quantizer.to_integers(rng.normal(size=(6, 3, 3, 3)))
    last = quantizer.to_integers(rng.normal(size=(5, 6 * 2 * 2)))
    norm1, norm2 = batch_norm(rng, 6, 30.0), batch_norm(rng, 5, 2.0)
    graph = Graph(
        "chain",
        (2, 3, 8, 7),
        [
            Step("pixels", Quant(1.0, 5)),
            Step("conv", Conv(*exact_weights(quantizer, first), stride=(2, 2), padding=(1, 1, 0, 1))),
            Step("norm", norm1),
            Step("act", quant_node(ACT.levels, 1 / 3)),
            Step("pool", Pool(PoolKind.MAX, (2, 2), (2, 2))),
            Step("flat", Flatten()),
            Step("dense", Dense(*exact_weights(quantizer, last))),
            Step("norm2", norm2),
        ],
    )
    y = ACT.forward(norm(convolve(x, first.values(), 2, (1, 1, 0, 1)), norm1))
    y = y.reshape(2, 6, 2, 2, 2, 2).max(axis=(3, 5)).reshape(2, -1)
    expected = norm(y @ last.values().T, norm2)
    got = execute(export_qonnx(graph, tmp_path / "chain.onnx"), x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_exact_weights_pass_the_node_unchanged() -> None:
    weights = np.random.default_rng(5).normal(size=(4, 6))
    for quantizer in (DorefaWeight(1), DorefaWeight(2), DorefaWeight(5), BalancedQuantizer(3)):
        quantized = quantizer.to_integers(weights)
        graph = Graph("w", (6, 6), [Step("dense", Dense(*exact_weights(quantizer, quantized)))])
        got = execute(to_model(graph), np.eye(6)).T / np.float32(quantized.scale)
        np.testing.assert_allclose(got, quantized.integers, atol=1e-5)


def test_residual_groups_bias_relu_and_average_pool_execute(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(0, 4, (1, 4, 4, 4))
    weights, bias = rng.integers(-3, 4, (4, 2, 3, 3)), np.arange(4.0)
    signed = Quant(1.0, 3, signed=True, narrow=True)
    graph = Graph(
        "residual",
        x.shape,
        [
            Step("in", Quant(1.0, 2)),
            Step("conv", Conv(weights, signed, padding=(1,) * 4, groups=2, bias=bias)),
            Step("relu", Relu()),
            Step("sum", Add(), ("relu", "in")),
            Step("mean", Pool(PoolKind.AVERAGE, (2, 2), (2, 2))),
        ],
    )
    halves = [convolve(x[:, 2 * g : 2 * g + 2], weights[2 * g : 2 * g + 2], 1, (1,) * 4) for g in range(2)]
    y = np.maximum(np.concatenate(halves, axis=1) + bias.reshape(1, 4, 1, 1), 0) + x
    expected = y.reshape(1, 4, 2, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_array_equal(execute(to_model(graph), x), expected)


def test_real_weights_are_rounded_by_the_file() -> None:
    weights = np.array([[0.7, -0.2, -5.0]])  # in steps of 0.5: 1.4, -0.4, -10
    graph = Graph("round", (1, 3), [Step("dense", Dense(weights, Quant(0.5, 2, signed=True)))])
    products = [execute(to_model(graph), row[None]).item() for row in np.eye(3)]
    assert products == [0.5, 0.0, -1.0]


def test_the_file_says_opset_13_one_domain_and_every_shape() -> None:
    graph = Graph("g", (1, 3), [Step("q", Bipolar(1.0)), Step("dense", Dense(np.ones((2, 3)), Bipolar(0.5)))])
    model = to_model(graph)
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 13), ("qonnx.custom_op.general", 1)}
    assert model.ir_version == 8
    typed = {v.name for v in [*model.graph.input, *model.graph.output, *model.graph.value_info]}
    made = {name for node in model.graph.node for name in node.output}
    assert made <= typed
    assert all(t.data_type == onnx.TensorProto.FLOAT for t in model.graph.initializer)


def test_one_graph_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    graph = Graph("g", (1, 3), [Step("dense", Dense(np.ones((2, 3)), Bipolar(0.5)))])
    files = [export_qonnx(graph, tmp_path / name).read_bytes() for name in ("a.onnx", "b.onnx")]
    assert files[0] == files[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((-1, 1), Bipolar(0.5)),
        ((-3, -1, 1, 3), Quant(0.5, 3, signed=True, narrow=True)),
        ((-1, 0, 1), Quant(0.5, 2, signed=True, narrow=True)),
        ((-2, -1, 0, 1), Quant(0.5, 2, signed=True)),
        ((0, 1, 2, 3), Quant(0.5, 2)),
        ((0, 1), Quant(0.5, 1)),
    ],
)
def test_quant_node_is_the_smallest_that_holds_the_levels(levels: tuple[int, ...], expected: object) -> None:
    assert quant_node(levels, 0.5) == expected


CONV = Conv(np.ones((4, 3, 3, 3)), Bipolar(1.0))


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((1, 3, 8, 8), [], "graph 'g' has no step; add at least one operator"),
        ((1, 0, 8, 8), [Step("r", Relu())], "input shape (1, 0, 8, 8): needs a batch and positive sizes"),
        (
            (1, 2, 8, 8),
            [Step("conv", CONV)],
            "step 'conv': weights (4, 3, 3, 3) in 1 groups do not fit 2 channels",
        ),
        ((1, 27), [Step("conv", CONV)], "step 'conv' needs 4 axes, but 'input' has the shape (1, 27)"),
        (
            (1, 3, 2, 2),
            [Step("conv", CONV)],
            "step 'conv': kernel (3, 3), stride (1, 1), padding (0, 0, 0, 0) do not fit a map of (2, 2)",
        ),
        (
            (1, 3),
            [Step("d", Dense(np.ones((2, 4)), Bipolar(1.0)))],
            "step 'd': weights (2, 4) do not fit 3 features",
        ),
        (
            (1, 3),
            [Step("n", BatchNorm(np.ones(2), np.ones(2), np.ones(2), np.ones(2)))],
            "step 'n': gain has the shape (2,), but needs (3,)",
        ),
        (
            (1, 3),
            [Step("d", Dense(np.full((2, 3), np.nan), Bipolar(1.0)))],
            "'d.weights' holds numbers that are not finite in float32; check the training",
        ),
        (
            (1, 3),
            [Step("relu", Relu()), Step("relu", Relu())],
            "step 'relu' stands twice; give each step a name of its own",
        ),
        (
            (1, 3),
            [Step("r", Relu(), ("inptu",))],
            "step 'r' reads 'inptu'; did you mean 'input'? known: input",
        ),
        ((1, 3), [Step("sum", Add())], "step 'sum': 1 inputs, but 2 needed"),
        (
            (1, 3, 4, 4),
            [Step("flat", Flatten()), Step("sum", Add(), ("flat", "input"))],
            "step 'sum' adds shapes (1, 48) and (1, 3, 4, 4); they must be equal",
        ),
    ],
)
def test_mistakes_are_named(shape: tuple[int, ...], steps: list[Step], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        to_model(Graph("g", shape, steps))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 2), "Quant: scale is 0.0, must be greater than 0 and finite in float32"),
        ((1e-60, 2), "Quant: scale is 1e-60, must be greater than 0 and finite in float32"),
        ((1.0, 0), "Quant: bits is 0, allowed are 1 to 32"),
    ],
)
def test_a_quant_node_checks_itself(arguments: tuple[float, int], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        Quant(*arguments)
    assert str(caught.value) == message


def test_an_unwritable_path_is_one_sentence(tmp_path: Path) -> None:
    graph = Graph("g", (1, 3), [Step("relu", Relu())])
    with pytest.raises(ModelError, match=r"cannot be written: No such file or directory"):
        export_qonnx(graph, tmp_path / "absent" / "g.onnx")


@pytest.mark.parametrize("quantizer", [DorefaWeight(1), DorefaWeight(3), BalancedQuantizer(2)], ids=repr)
def test_the_importer_reads_a_residual_network_that_the_exporter_wrote(
    quantizer: Quantizer, tmp_path: Path
) -> None:
    rng = np.random.default_rng(8)
    x = rng.integers(0, 4, (5, 4, 6, 6)).astype(np.float32)
    first, second = (quantizer.to_integers(rng.normal(size=(4, 4, 3, 3))) for _ in range(2))
    last = quantizer.to_integers(rng.normal(size=(3, 4 * 3 * 3)))
    thirds = quant_node(ACT.levels, 1 / 3)
    graph = Graph(
        "residual",
        (1, 4, 6, 6),
        [
            Step("in", Quant(1.0, 2)),
            Step("conv1", Conv(*exact_weights(quantizer, first), padding=(1,) * 4)),
            Step("norm1", batch_norm(rng, 4, 8.0 * first.scale)),
            Step("act1", thirds),
            Step("conv2", Conv(*exact_weights(quantizer, second), padding=(1,) * 4)),
            Step("norm2", batch_norm(rng, 4, 2.0 * second.scale)),
            Step("act2", thirds),
            Step("sum", Add(), ("act2", "act1")),
            Step("pool", Pool(PoolKind.MAX, (2, 2), (2, 2))),
            Step("flat", Flatten()),
            Step("dense", Dense(*exact_weights(quantizer, last))),
        ],
    )
    path = export_qonnx(graph, tmp_path / "residual.onnx")
    expected = np.concatenate([execute(path, frame[None]) for frame in x])
    np.testing.assert_allclose(load_network(path).run(x), expected, rtol=1e-4, atol=1e-4)
    assert len(np.unique(expected.round(3))) > 5
