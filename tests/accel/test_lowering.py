"""Lowering: each form that a graph may take gives the float graph's own values, in integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from foldwright.accel.network import Network, load_network
from foldwright.accel.workload import ActKind, LayerKind, Pool, PoolKind, ResultKind, WeightKind
from tests.accel.onnx_graphs import Graph, float_run


def _integers(low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([low + 100, high + 100, *shape]).integers(low, high + 1, shape)


def _reals(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def _check(graph: Graph, output: str, folder: Path, frames: int = 4, spread: float = 9.0) -> Network:
    """Loads a graph and compares it with its float run on random inputs; returns the network."""
    path = graph.save(folder, output)
    network = load_network(path)
    shape = (frames, *network.input_shape[1:])
    inputs = np.round(np.random.default_rng(1).normal(0, spread, shape) * 4) / 4
    if network.input_dtype.kind != "f":
        inputs = np.clip(np.abs(np.round(inputs * 8)), 0, 127).astype(network.input_dtype)
    np.testing.assert_array_equal(network.run(inputs), float_run(path, inputs))
    return network


def _conv(graph: Graph, value: str, out: int, channels: int, kernel: int = 3, **attributes: Any) -> str:
    groups = int(attributes.get("group", 1))
    weights = graph.weights(_integers(-3, 3, out, channels // groups, kernel, kernel), 0.5)
    return graph.op("Conv", value, weights, **attributes)


def test_a_layer_solved_by_hand(tmp_path: Path) -> None:
    """x in {0..3}, w = [1, -1]: acc = x0 - x1 in -3..3; relu(2 acc + 1) to 2 bits.

    2 acc + 1 reaches 1, 2, 3 first at acc = 0, 1, 1, and round half to even changes nothing here.
    """
    g = Graph([1, 2])
    x = g.quant("x", 2, signed=0)
    acc = g.op("MatMul", x, g.weights(np.array([[1], [-1]])))
    y = g.op("Add", g.op("Mul", acc, g.const(2.0)), g.const(1.0))
    network = _check(g, g.quant(g.op("Relu", y), 2, signed=0), tmp_path)
    (layer,) = network.layers.values()
    assert layer.thresholds is not None
    assert layer.thresholds.tolist() == [[0, 1, 1]]
    assert (layer.acc_min.tolist(), layer.acc_max.tolist()) == ([-3], [3])
    assert (layer.base, layer.step, layer.layer.acc_bits) == (0, 1, 3)
    assert network.run(np.array([[3.0, 2.0], [2.0, 2.0], [0.0, 1.0]])).tolist() == [[3.0], [1.0], [0.0]]


def test_negative_gamma_flips_the_channels_weights(tmp_path: Path) -> None:
    g = Graph([1, 4, 5, 5])
    acc = _conv(g, g.quant("x", 3, signed=0), 3, 4)
    y = g.batch_norm(acc, [0.5, -0.5, 0.0], [1, 2, 3], [0.25, 1, 0], [4, 1, 1])
    network = _check(g, g.quant(y, 3, 0.5), tmp_path)
    (layer,) = network.layers.values()
    assert not layer.negate.any()  # folded into the weights: -3..3 is symmetric
    assert layer.thresholds is not None
    assert (np.diff(layer.thresholds, axis=1) >= 0).all()


def test_a_weight_that_cannot_be_negated_leaves_the_flip_to_the_result_path(tmp_path: Path) -> None:
    g = Graph([1, 1])
    acc = g.op("MatMul", g.quant("x", 4), g.weights(np.array([[-8]]), bits=4))
    g2 = g.op("Mul", acc, g.const(-1.0))
    network = _check(g, g.quant(g2, 4), tmp_path)
    (layer,) = network.layers.values()
    # -8 has the factor 8: weights become -1, which can be negated
    assert layer.weights.ravel().tolist() == [1]
    g = Graph([1, 2])
    acc = g.op("MatMul", g.quant("x", 4), g.weights(np.array([[-8], [1]]), bits=4))
    network = _check(g, g.quant(g.op("Neg", acc), 4), tmp_path)
    (layer,) = network.layers.values()
    assert layer.negate.tolist() == [True]
    assert layer.layer.weight_bits == 4


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 1]},
        {"pads": [1, 0, 2, 3]},
        {"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 2]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [3, 2]},
    ],
    ids=str,
)
def test_convolution_geometry(attributes: dict[str, Any], tmp_path: Path) -> None:
    g = Graph([1, 4, 9, 8])
    acc = _conv(g, g.quant("x", 4), 6, 4, **attributes)
    _check(g, g.quant(g.op("Add", acc, g.const(_integers(-9, 9, 1, 6, 1, 1) / 4)), 4), tmp_path)


def test_an_explicit_pad_joins_its_convolution(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    padded = g.op("Pad", g.quant("x", 4), g.const([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
    network = _check(g, g.quant(_conv(g, padded, 3, 2, pads=[1, 0, 0, 0]), 4), tmp_path)
    assert network.workload.layers[0].padding == (2, 2, 0, 1)


def test_bipolar_values_under_zero_padding_are_stored_in_two_bits(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    first = g.op("BipolarQuant", _conv(g, g.quant("x", 4), 4, 2), g.const(1.0))
    signs = g.op("BipolarQuant", g.const(_reals(3, 4, 3, 3)), g.const(0.5))
    second = g.op("BipolarQuant", g.op("Conv", first, signs, pads=[1, 1, 1, 1]), g.const(1.0))
    third = g.op("Conv", second, g.op("BipolarQuant", g.const(_reals(2, 3, 1, 1)), g.const(1.0)))
    network = _check(g, third, tmp_path)
    layers = network.workload.layers
    assert [(v.act_kind, v.act_bits) for v in layers[1:]] == [(ActKind.SIGNED, 2), (ActKind.BIPOLAR, 1)]
    assert (layers[0].out_kind, layers[0].out_bits) == (ActKind.SIGNED, 2)
    assert layers[1].weight_kind is WeightKind.BINARY


def test_residual_add_of_one_scale_is_fused_and_pooled(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    trunk = g.quant(_conv(g, g.quant("x", 4), 4, 2, pads=[1, 1, 1, 1]), 3, 0.5)
    branch = g.quant(_conv(g, trunk, 4, 4, pads=[1, 1, 1, 1]), 3, 0.5)
    total = g.op("MaxPool", g.op("Add", trunk, branch), kernel_shape=[2, 2], strides=[2, 2])
    network = _check(g, g.quant(_conv(g, total, 2, 4), 4), tmp_path)
    add = network.workload.layers[1]
    assert add.inputs == (network.workload.layers[0].name,) * 2
    assert add.pool is not None
    assert (add.out_kind, add.out_bits) == (ActKind.SIGNED, 4)  # -8 .. 6
    assert len(network.workload.layers) == 3


def test_a_quantizer_behind_a_residual_add_gets_a_pass_of_its_own(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    image = g.quant("x", 4)
    left = g.quant(_conv(g, image, 4, 2), 3, 0.5)
    right = g.quant(_conv(g, image, 4, 2), 3, 0.5)
    total = g.quant(g.op("Relu", g.op("Add", left, right)), 2, 1.0, signed=0)
    network = _check(g, g.quant(_conv(g, total, 2, 4), 4), tmp_path)
    passes = network.workload.layers
    assert [len(layer.inputs) for layer in passes] == [1, 2, 1, 1]
    assert passes[2].groups == 4  # each channel for itself, weight 1
    assert passes[2].out_kind is ActKind.UNSIGNED


def test_a_stored_value_may_be_read_by_many(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    a = g.quant(_conv(g, g.quant("x", 4), 4, 2, pads=[1, 1, 1, 1]), 3, 0.5)
    b = g.quant(_conv(g, a, 4, 4, pads=[1, 1, 1, 1]), 3, 0.5)
    c = g.quant(g.op("Relu", a), 3, 0.5)
    total = g.op("Add", g.op("Add", a, b), c)
    network = _check(g, g.op("Mul", total, g.const(2.0)), tmp_path)
    assert len(network.layers) == 3  # a, b with the first add, relu(a) with the second


def test_a_value_that_forks_before_its_quantizers_is_computed_for_each(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    acc = _conv(g, g.quant("x", 4), 4, 2)
    total = g.op("Add", g.quant(acc, 3, 0.5), g.quant(g.op("Relu", acc), 3, 0.5))
    network = _check(g, total, tmp_path)
    assert len(network.layers) == 2
    assert len({layer.name for layer in network.workload.layers}) == 2


@pytest.mark.parametrize("early", [True, False])
def test_max_pooling_may_stand_before_or_after_the_quantizer(early: bool, tmp_path: Path) -> None:
    g = Graph([1, 2, 9, 9])
    y = _conv(g, g.quant("x", 4), 4, 2)
    pooling = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 1, 1], "ceil_mode": 1}
    y = (
        g.quant(g.op("MaxPool", y, **pooling), 2, signed=0)
        if early
        else g.op("MaxPool", g.quant(y, 2, signed=0), **pooling)
    )
    network = _check(g, y, tmp_path)
    (layer,) = network.workload.layers
    assert layer.pool is not None
    assert layer.pool.kind is PoolKind.MAX
    assert network.workload.host_after == ()


def test_a_falling_function_behind_a_maximum_takes_raw_maxima(tmp_path: Path) -> None:
    g = Graph([1, 2, 8, 8])
    pooled = g.op("MaxPool", _conv(g, g.quant("x", 4), 3, 2), kernel_shape=[2, 2], strides=[2, 2])
    network = _check(
        g, g.quant(g.batch_norm(pooled, [1, -1, 0.5], [1, 2, 3], [0, 1, 0], [1, 4, 1]), 3), tmp_path
    )
    first, second = network.workload.layers
    assert first.result is ResultKind.RAW
    assert first.pool is not None
    assert second.groups == 3
    assert second.act_bits <= first.acc_bits


def test_average_pooling_is_a_sum_in_front_of_the_next_layer(tmp_path: Path) -> None:
    g = Graph([1, 2, 8, 8])
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 3, 0.5, signed=0)
    y = g.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    network = _check(g, g.quant(_conv(g, y, 2, 4), 4), tmp_path)
    first, second = network.workload.layers
    assert first.pool is not None
    assert first.pool.kind is PoolKind.AVERAGE
    assert (first.out_kind, first.out_bits, second.act_bits) == (ActKind.UNSIGNED, 5, 5)  # 0 .. 28
    assert (first.code_bits, second.code_bits) == (3, 0)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "ReduceMean"])
def test_a_global_average_reaches_the_classifier_as_a_sum(op: str, tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 3, 0.5, signed=0)
    mean = g.op(op, y, **({"axes": [2, 3]} if op == "ReduceMean" else {}))
    row = g.op("Flatten", mean)
    out = g.op("Gemm", row, g.weights(_integers(-3, 3, 5, 4), 0.25), g.const([1, 2, 3, 4, 5]), transB=1)
    network = _check(g, out, tmp_path)
    assert [layer.kind for layer in network.workload.layers] == [LayerKind.CONV, LayerKind.MATMUL]
    assert network.workload.layers[1].act_bits == 7  # 16 values of 0 .. 7
    pool = network.workload.layers[0].pool
    assert pool == Pool(PoolKind.AVERAGE, (4, 4), (4, 4))  # no window begins behind the only one
    assert network.workload.host_after == ()


def test_a_second_average_pooling_is_a_pass_of_ones(tmp_path: Path) -> None:
    g = Graph([1, 2, 10, 10])
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 3, 0.5, signed=0)
    y = g.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = g.op("AveragePool", y, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)
    network = _check(g, g.quant(_conv(g, g.quant(y, 4, 0.5, signed=0), 2, 4), 4), tmp_path)
    assert [layer.groups for layer in network.workload.layers] == [1, 4, 1]


def test_an_average_that_divides_by_different_counts_runs_on_the_host(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 3, 0.5, signed=0)
    network = _check(g, g.op("AveragePool", y, kernel_shape=[2, 2], pads=[1, 1, 1, 1]), tmp_path)
    assert network.workload.host_after == ("AveragePool 'AveragePool_4'",)


def test_a_product_behind_an_inner_flatten_becomes_a_convolution_over_the_map(tmp_path: Path) -> None:
    g = Graph([1, 2, 5, 6])
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 3)
    row = g.op("Reshape", y, g.const([1, -1], np.int64))
    network = _check(g, g.op("MatMul", row, g.weights(_integers(-3, 3, 48, 7))), tmp_path)
    last = network.workload.layers[1]
    assert (last.kind, last.kernel, last.in_channels) == (LayerKind.CONV, (3, 4), 4)


def test_channels_last_exports_are_followed_through_their_transposes(tmp_path: Path) -> None:
    g = Graph([1, 6, 5, 2])
    image = g.op("Transpose", g.quant("x", 4), perm=[0, 3, 1, 2])
    y = g.op("Transpose", _conv(g, image, 4, 2), perm=[0, 2, 3, 1])
    y = g.quant(g.op("Add", y, g.const([1, 2, 3, 4])), 3)  # the bias runs over the last axis here
    row = g.op("Reshape", y, g.const([1, 48], np.int64))
    network = _check(g, g.op("MatMul", row, g.weights(_integers(-3, 3, 48, 3))), tmp_path)
    assert network.workload.image_channels == 2
    assert len(network.layers) == 2


def test_quantize_and_dequantize_with_zero_points_and_integer_biases(tmp_path: Path) -> None:
    g = Graph([1, 3, 6, 6])

    def qdq(value: str, scale: float, zero: int, dtype: type) -> str:
        operands = [g.const(scale), g.const(zero, dtype)]
        return g.op("DequantizeLinear", g.op("QuantizeLinear", value, *operands), *operands)

    scales = np.array([0.5, 0.25, 1, 0.5])
    weights = g.op(
        "DequantizeLinear",
        g.const(_integers(-7, 7, 4, 3, 3, 3), np.int8),
        g.const(scales),
        g.const(np.zeros(4), np.int8),
        axis=0,
    )
    bias = g.op(
        "DequantizeLinear",
        g.const(_integers(-50, 50, 4), np.int32),
        g.const(scales / 8),
        g.const(np.zeros(4), np.int32),
        axis=0,
    )
    y = g.op("Conv", qdq("x", 0.125, 3, np.uint8), weights, bias, pads=[1, 1, 1, 1])
    network = _check(g, qdq(g.op("Relu", y), 0.5, -128, np.int8), tmp_path)
    (layer,) = network.workload.layers
    assert (layer.act_kind, layer.act_bits) == (ActKind.SIGNED, 9)  # 0 .. 255 around a zero point of 3
    assert (layer.out_kind, layer.out_bits) == (ActKind.UNSIGNED, 8)  # -128 .. 127 around -128


def test_an_integer_input_is_the_image_as_it_stands(tmp_path: Path) -> None:
    g = Graph([1, 2, 5, 5], TensorProto.UINT8)
    x = g.op("Mul", g.op("Cast", "x", to=TensorProto.FLOAT), g.const(0.25))
    network = _check(g, g.quant(_conv(g, x, 3, 2, pads=[1, 1, 1, 1]), 4, 2.0), tmp_path)
    assert (network.workload.image_bits, network.workload.image_kind) == (8, ActKind.UNSIGNED)
    assert (network.encode_image(np.full((1, 2, 5, 5), 200, np.uint8)) == 200).all()


def test_a_centred_integer_input_is_stored_signed_so_that_padding_is_zero(tmp_path: Path) -> None:
    g = Graph([1, 2, 5, 5], TensorProto.UINT8)
    x = g.op("Sub", g.op("Cast", "x", to=TensorProto.FLOAT), g.const(128.0))
    network = _check(g, g.quant(_conv(g, x, 3, 2, pads=[1, 1, 1, 1]), 4, 8.0), tmp_path)
    assert (network.workload.image_bits, network.workload.image_kind) == (8, ActKind.SIGNED)
    assert "Sub 'Sub_1'" in network.workload.host_before


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("bias", [-3.0, 0.0, 0.5])
def test_multi_threshold_values_are_encoded_whatever_their_offset(
    scale: float, bias: float, tmp_path: Path
) -> None:
    g = Graph([1, 2, 5, 5])
    thresholds = np.sort(_integers(-20, 20, 3, 3), axis=1)
    y = g.op(
        "MultiThreshold",
        _conv(g, g.quant("x", 4), 3, 2),
        g.const(thresholds),
        out_dtype="INT4",
        out_scale=scale,
        out_bias=bias,
    )
    network = _check(g, g.quant(_conv(g, y, 2, 3, pads=[1, 1, 1, 1]), 4), tmp_path)
    assert len(network.layers) == 2


def test_odd_and_scaled_levels_shrink_to_the_smallest_integers(tmp_path: Path) -> None:
    g = Graph([1, 2])
    odd = g.op("MatMul", g.quant("x", 4), g.weights(np.array([[3, -1], [1, -3]]) * 2, bits=4))
    bipolar = g.op("MultiThreshold", odd, g.const([[0.0]]), out_dtype="BIPOLAR", out_scale=6.0, out_bias=-3.0)
    network = _check(g, g.op("MatMul", bipolar, g.weights(np.array([[4, 0], [-4, 4]]), bits=4)), tmp_path)
    first, second = network.workload.layers
    assert (first.weight_kind, first.weight_bits) == (WeightKind.ODD, 2)
    assert (first.out_kind, first.out_bits) == (ActKind.BIPOLAR, 1)
    assert (second.weight_kind, second.weight_bits) == (WeightKind.TERNARY, 2)


def test_monotone_activations_and_chained_quantizers_end_in_one_set_of_thresholds(tmp_path: Path) -> None:
    g = Graph([1, 2, 5, 5])
    y = g.op("LeakyRelu", _conv(g, g.quant("x", 4), 3, 2), alpha=0.25)
    y = g.quant(g.op("Clip", y, g.const(-3.0), g.const(5.0)), 6, 0.25)
    y = g.op("PRelu", g.op("Sub", g.const(1.0), y), g.const([[[0.5]], [[0.25]], [[0]]]))
    y = g.quant(g.op("Max", y, g.const(-0.5)), 3, 0.5, mode="FLOOR")
    network = _check(g, g.quant(_conv(g, y, 2, 3), 4), tmp_path)
    assert len(network.layers) == 2
    sigmoid = Graph([1, 2, 5, 5])
    y = sigmoid.op("Sigmoid", _conv(sigmoid, sigmoid.quant("x", 4), 3, 2))
    _check(sigmoid, sigmoid.quant(y, 3, 0.25, signed=0), tmp_path)


def test_a_scale_after_the_quantizer_goes_into_the_next_layer(tmp_path: Path) -> None:
    g = Graph([1, 2, 5, 5])
    y = g.quant(_conv(g, g.quant("x", 4), 3, 2), 3)
    y = g.op("Add", g.op("Div", y, g.const(4.0)), g.const(0.375))  # 1.5 steps up: stored as odd halves
    network = _check(g, g.quant(_conv(g, y, 2, 3), 4), tmp_path)
    assert len(network.layers) == 2


def test_truncation_keeps_the_high_bits_of_a_sum(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 4, 0.5, signed=0)
    y = g.op("Mul", g.op("GlobalAveragePool", y), g.const(16.0))
    y = g.op("Trunc", y, g.const(0.5), g.const(0.0), g.const(8.0), g.const(4.0), rounding_mode="FLOOR")
    network = _check(g, g.op("MatMul", g.op("Flatten", y), g.weights(_integers(-3, 3, 4, 3))), tmp_path)
    assert network.workload.layers[-1].act_bits == 4


def test_host_steps_behind_the_accelerator_are_named(tmp_path: Path) -> None:
    g = Graph([1, 2, 4, 4])
    y = g.quant(_conv(g, g.quant("x", 4), 3, 2, pads=[1, 1, 1, 1]), 3)
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    up = g.op("Resize", y, "", g.const([1.0, 1, 2, 2]), **nearest)
    both = g.op("Concat", _conv(g, up, 2, 3), _conv(g, up, 2, 3), axis=1)
    network = _check(g, both, tmp_path)
    assert [step.split()[0] for step in network.workload.host_after] == ["Resize", "Conv", "Conv", "Concat"]
    assert "multiply-accumulates" in network.workload.host_after[1]


def test_a_float_classifier_at_the_end_is_a_host_step(tmp_path: Path) -> None:
    g = Graph([1, 2, 4, 4])
    y = g.op("Flatten", g.quant(_conv(g, g.quant("x", 4), 3, 2), 3))
    network = _check(g, g.op("Gemm", y, g.const(_integers(-9, 9, 12, 3) / 16 + 1 / 64)), tmp_path)
    assert network.workload.host_after[-1].startswith("Gemm")


def test_float_layers_before_the_first_quantizer_are_host_steps(tmp_path: Path) -> None:
    g = Graph([1, 2, 6, 6])
    y = g.quant(g.op("Relu", g.op("Conv", "x", g.const(_integers(-3, 3, 4, 2, 3, 3) / 8))), 4, signed=0)
    network = _check(g, g.quant(_conv(g, y, 3, 4), 3), tmp_path)
    assert network.workload.image_channels == 4
    assert network.workload.host_before[0].startswith("Conv")


def test_scale_shift_says_how_wrong_it_is_and_thresholds_stay_beside_it(tmp_path: Path) -> None:
    g = Graph([1, 4, 6, 6])
    acc = _conv(g, g.quant("x", 4, signed=0), 5, 4)
    bn = g.batch_norm(acc, [1, -0.5, 0.25, 1, 0], [1, 2, 0, -9, 3], [2, 1, 0, 3, 1], [4, 1, 16, 1, 1])
    path = g.save(tmp_path, g.quant(g.op("Relu", bn), 4, 0.75, signed=0))
    exact, near = load_network(path), load_network(path, requant="scale_shift")
    (layer,) = near.layers.values()
    assert layer.layer.result is ResultKind.SCALE_SHIFT
    assert layer.scale_shift is not None
    assert layer.thresholds is not None
    wrong = 0
    for channel in range(5):
        sign = -1 if layer.negate[channel] else 1
        span = np.arange(layer.acc_min[channel], layer.acc_max[channel] + 1)
        acc_values = np.zeros((1, 5, 1, len(span)), np.int64)
        acc_values[0, channel] = span
        levels = (sign * span[:, None] >= layer.thresholds[channel]).sum(1)
        wrong += int(np.abs(layer.result_of(acc_values)[0, channel, 0] - levels).sum())
    assert near.requant_errors == {layer.name: wrong}
    # channel 2 has ties at every half step: half to even sends them up and down in turn, which no line does
    assert layer.scale_shift.level_errors.tolist() == [0, 0, wrong, 0, 0]
    assert 0 < wrong < 15
    inputs = np.random.default_rng(0).normal(0, 9, (8, 4, 6, 6))
    assert (exact.run(inputs) != near.run(inputs)).sum() <= wrong * inputs.size


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_random_chains_equal_their_float_run(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    g = Graph([1, 2, 10, 10])
    y, channels = g.quant("x", int(rng.integers(2, 6)), 0.5, signed=int(rng.integers(0, 2))), 2
    for _ in range(int(rng.integers(1, 4))):
        out = int(rng.integers(1, 5))
        pad = int(rng.integers(0, 2))
        weights = g.weights(
            rng.integers(-3, 4, (out, channels, 2, 2)), 2.0 ** rng.integers(-2, 1, (out, 1, 1, 1))
        )
        y = g.op("Conv", y, weights, g.const(rng.integers(-8, 9, out) / 4), pads=[pad] * 4)
        gamma = rng.integers(-4, 5, out) / 4
        if rng.random() < 0.3:
            y = g.op("MaxPool", y, kernel_shape=[2, 2])
        y = g.batch_norm(
            y,
            gamma,
            rng.integers(-4, 5, out) / 2,
            rng.integers(-4, 5, out) / 2,
            4.0 ** rng.integers(-1, 2, out),
        )
        if rng.random() < 0.5:
            y = g.op("Relu", y)
        bits, scale = int(rng.integers(1, 5)), 2.0 ** int(rng.integers(-2, 2))
        y = g.quant(
            y,
            bits,
            scale,
            signed=int(rng.integers(0, 2)),
            mode=str(rng.choice(["ROUND", "FLOOR", "CEIL", "HALF_UP"])),
        )
        if rng.random() < 0.3:
            y = g.op(str(rng.choice(["MaxPool", "AveragePool"])), y, kernel_shape=[2, 2])
        channels = out
    _check(g, y, tmp_path, frames=2, spread=2.0)
