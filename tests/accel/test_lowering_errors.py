"""Lowering: a graph that the accelerator cannot run is an error that names the node, the reason and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.accel.network import load_network
from foldwright.errors import ModelError
from tests.accel.onnx_graphs import Graph


def _integers(low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([low + 100, high + 100, *shape]).integers(low, high + 1, shape)


def _reals(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def _conv(graph: Graph, value: str, out: int, channels: int, kernel: int = 3, **attributes: Any) -> str:
    groups = int(attributes.get("group", 1))
    weights = graph.weights(_integers(-3, 3, out, channels // groups, kernel, kernel), 0.5)
    return graph.op("Conv", value, weights, **attributes)


def _float_weights(g: Graph) -> str:
    y = g.quant(g.op("Conv", g.quant("x", 4), g.const(_reals(4, 2, 3, 3))), 4)
    return _conv(g, y, 2, 4)


def _no_activation_quantizer(g: Graph) -> str:
    return g.quant(_conv(g, g.op("Relu", _conv(g, g.quant("x", 4), 4, 2)), 2, 4), 4)


def _channel_scales(g: Graph) -> str:
    y = g.quant(_conv(g, g.quant("x", 4), 4, 2), 4, np.array([1, 2, 1, 1]).reshape(1, 4, 1, 1))
    return g.quant(_conv(g, y, 2, 4), 4)


def _two_scales_added(g: Graph) -> str:
    image = g.quant("x", 4)
    total = g.op("Add", g.quant(_conv(g, image, 4, 2), 4, 0.5), g.quant(_conv(g, image, 4, 2), 4, 0.75))
    return g.quant(_conv(g, total, 2, 4), 4)


def _unquantized_residual(g: Graph) -> str:
    image = g.quant("x", 4)
    total = g.op("Add", g.quant(_conv(g, image, 4, 2), 4, 0.5), _conv(g, image, 4, 2))
    return g.quant(_conv(g, g.quant(total, 4), 2, 4), 4)


def _offset_under_padding(g: Graph) -> str:
    y = g.op("Add", g.quant(_conv(g, g.quant("x", 4), 4, 2), 4), g.const(0.3))
    return g.quant(_conv(g, y, 2, 4, pads=[1, 1, 1, 1]), 4)


def _mixed_input_channel_scales(g: Graph) -> str:
    weights = g.quant(g.const(_integers(-3, 3, 4, 2, 3, 3)), 4, np.array([1.0, 2.0]).reshape(1, 2, 1, 1))
    return g.quant(g.op("Conv", g.quant("x", 4), weights), 4)


def _two_images(g: Graph) -> str:
    a, b = _conv(g, g.quant("x", 4), 3, 2), _conv(g, g.quant("x", 2), 3, 2)
    return g.op("Add", g.quant(a, 4), g.quant(b, 4))


def _too_many_levels(g: Graph) -> str:
    return g.quant(_conv(g, g.quant(_conv(g, g.quant("x", 8), 3, 2), 14, 0.25), 3, 3), 4)


def _wrong_groups(g: Graph) -> str:
    return g.quant(_conv(g, g.quant("x", 4), 6, 3, group=3), 4)


def _wide_kernel(g: Graph) -> str:
    return g.quant(_conv(g, g.quant("x", 4), 4, 2, kernel=9), 4)


def _bad_rounding(g: Graph) -> str:
    return g.quant(_conv(g, g.quant("x", 4), 4, 2), 4, mode="SOMEHOW")


def _bad_bits(g: Graph) -> str:
    return g.quant(_conv(g, g.quant("x", 4), 4, 2), 2.5)


def _negative_scale(g: Graph) -> str:
    return g.quant(_conv(g, g.quant("x", 4), 4, 2), 4, -1.0)


def _threshold_channels(g: Graph) -> str:
    return g.op(
        "MultiThreshold", _conv(g, g.quant("x", 4), 4, 2), g.const([[1.0], [2.0]]), out_dtype="BIPOLAR"
    )


def _nothing_quantized(g: Graph) -> str:
    return g.op("Conv", "x", g.const(_reals(4, 2, 3, 3)))


def _no_product(g: Graph) -> str:
    return g.quant(g.op("Relu", "x"), 4)


def _huge_pads(g: Graph) -> str:
    return g.quant(_conv(g, g.quant("x", 4), 4, 2, pads=[10**9] * 4), 4)


def _huge_constant(g: Graph) -> str:
    y = _conv(g, g.quant("x", 4), 4, 2)
    return g.op("Add", y, g.op("ConstantOfShape", g.const([10**6, 10**6], np.int64)))


def _training_mode(g: Graph) -> str:
    y = _conv(g, g.quant("x", 4), 4, 2)
    return g.quant(
        g.op("BatchNormalization", y, *(g.const(np.ones(4)) for _ in range(4)), training_mode=1), 4
    )


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (_float_weights, r"Conv 'Conv_\d+': its weights 'c3' are float"),
        (
            _no_activation_quantizer,
            r"Conv 'Conv_\d+': its input .* is not quantized: no quantizer behind 'Conv_2'",
        ),
        (_channel_scales, r"the scale of Quant .* differs between channels"),
        (_two_scales_added, r"Add .* adds scale 0.5 to scale 0.75"),
        (_unquantized_residual, r"Add .* operand .* is not quantized"),
        (_offset_under_padding, r"Conv .* offset 0.3.* padding"),
        (_mixed_input_channel_scales, r"Conv .* differs within an output channel"),
        (_two_images, r"the input is read in two forms"),
        (_too_many_levels, r"16384 output values, at most 4096"),
        (_wrong_groups, r"Conv .* group=3"),
        (_wide_kernel, r"Conv .* does not fit the 6x6 map"),
        (_bad_rounding, r"Quant .* rounding_mode 'SOMEHOW', known"),
        (_bad_bits, r"Quant .* bit width 2.5"),
        (_negative_scale, r"Quant .* scale"),
        (_threshold_channels, r"MultiThreshold .* thresholds of shape \[2, 1\] for 4 channels"),
        (_nothing_quantized, r"Conv .* nothing for the accelerator to run"),
        (_no_product, r"holds no Conv, Gemm or MatMul"),
        (_huge_pads, r"Conv .* at most 1024 are allowed"),
        (_huge_constant, r"ConstantOfShape .* 67108864 elements"),
        (_training_mode, r"BatchNormalization .* training_mode=1"),
    ],
    ids=lambda v: v.__name__.strip("_") if callable(v) else "",
)
def test_what_cannot_be_lowered_is_an_error_that_names_it(build: object, says: str, tmp_path: Path) -> None:
    assert callable(build)
    g = Graph([1, 2, 6, 6])
    path = g.save(tmp_path, build(g))
    with pytest.raises(ModelError, match=says) as caught:
        load_network(path)
    lines = str(caught.value).splitlines()
    assert str(path) in lines[0]
    assert 2 <= len(lines) < 10  # the reason, then what to do
