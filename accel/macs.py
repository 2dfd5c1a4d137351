"""Turns Conv, Gemm and MatMul nodes into integer convolutions over stored tensors.

Every product becomes one form: weights (out, in / groups, height, width) in stored channel order. A matrix
product behind a flatten of a (C, H, W) map becomes a convolution whose kernel covers the map; dilation becomes
zeros between the taps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foldwright.accel.elementwise import affine_step
from foldwright.accel.flow import Flow, Mac, Weights
from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.onnx_import import Node
from foldwright.accel.quantops import Grid
from foldwright.accel.view import View
from foldwright.accel.windows import pool_geometry

__all__ = ["convolution", "identity", "matrix_product", "sum_pool"]


def _mac(
    name: str, source: str, chw: tuple[int, int, int], weights: np.ndarray, grid: Grid, **shape: Any
) -> Mac:
    """Returns a product with the exact range of its accumulators."""
    stride, padding = shape.get("stride", (1, 1)), shape.get("padding", (0, 0, 0, 0))
    low, high = (min(grid.low, 0), max(grid.high, 0)) if any(padding) else (grid.low, grid.high)
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    above, below = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
    weights = np.ascontiguousarray(weights, np.int32)
    weights.setflags(write=False)
    return Mac(
        name, source, chw, weights, stride, padding, shape.get("groups", 1), shape.get("flattens", False),
        above * low + below * high, above * high + below * low,
    )  # fmt: skip


def _reduced(
    weights: Weights, channels_first: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns integers without a common factor, and one scale per output channel."""
    if not channels_first.size:
        raise UnsupportedFormError(f"weights of shape {list(weights.integers.shape)} hold nothing")
    flat = scale.reshape(len(scale), -1)
    if not (flat == flat[:, :1]).all():
        raise UnsupportedFormError(
            f"weight scale of shape {list(weights.scale.shape)} differs within an output channel; "
            "one scale per tensor or per output channel is needed"
        )
    common = int(np.gcd.reduce(np.abs(channels_first), axis=None))
    common = max(common, 1)
    return channels_first // common, flat[:, 0].astype(np.float64) * common


def _raw_flow(mac: Mac, view: View, weight_scale: np.ndarray, grid: Grid, bias: np.ndarray) -> Flow:
    """Returns the flow of bare accumulators: `real = weight scale * input scale * acc + bias`."""
    if grid.offset != 0.0 and any(mac.padding):
        raise UnsupportedFormError(
            f"its input has the offset {grid.offset:g}, so no stored integer means the real 0 that the padding adds; "
            "use a zero point instead of the offset, or no padding"
        )
    sums = mac.weights.reshape(len(mac.weights), -1).astype(np.int64).sum(1)
    step = affine_step(mac.name, weight_scale * grid.scale, bias + grid.offset * weight_scale * sums)
    return Flow(mac, view, (step,), bare=True, why=f"no quantizer behind {mac.name!r}")


def _bias(value: np.ndarray | None, channels: int) -> np.ndarray:
    if value is None:
        return np.zeros(channels)
    flat = np.asarray(value, np.float64).reshape(-1)
    if flat.size not in (1, channels):
        raise UnsupportedFormError(f"bias of shape {list(value.shape)} for {channels} channels")
    return np.broadcast_to(flat, (channels,)).copy()


def convolution(node: Node, name: str, flow: Flow, weights: Weights, bias: np.ndarray | None) -> Flow:
    """Returns what a Conv node computes from a stored map."""
    assert flow.grid is not None
    if not flow.view.is_map or weights.integers.ndim != 4:
        raise UnsupportedFormError(
            f"input {list(flow.view.shape)} and weights {list(weights.integers.shape)}; a (1, C, H, W) map of "
            "stored order and 4-D weights are needed (write 1-D as height 1)"
        )
    integers, scale = _reduced(
        weights, weights.integers, np.broadcast_to(weights.scale, weights.integers.shape)
    )
    channels, groups = flow.view.chw[0], int(node.attributes.get("group", 1))
    if groups < 1 or integers.shape[1] * groups != channels or len(integers) % groups:
        raise UnsupportedFormError(
            f"{channels} channels, group={groups} and weights {list(integers.shape)} do not fit"
        )
    top, left, bottom, right = flow.padding
    height, width = flow.view.chw[1] + top + bottom, flow.view.chw[2] + left + right
    geometry = pool_geometry(
        (1, channels, height, width), {**node.attributes, "kernel_shape": integers.shape[2:]}
    )
    padding = tuple(p + q for p, q in zip(geometry.padding, flow.padding, strict=True))
    mac = _mac(
        name, node.inputs[0], flow.view.chw, _spread(integers, geometry.dilation), flow.grid,
        stride=geometry.stride, padding=padding, groups=groups,
    )  # fmt: skip
    return _raw_flow(mac, View.of(mac.out_chw), scale, flow.grid, _bias(bias, len(integers)))


def _spread(integers: np.ndarray, dilation: tuple[int, int]) -> np.ndarray:
    if dilation == (1, 1):
        return integers
    out, per_group, height, width = integers.shape
    size = ((height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1)
    wide = np.zeros((out, per_group, *size), integers.dtype)
    wide[:, :, :: dilation[0], :: dilation[1]] = integers
    return wide


def matrix_product(node: Node, name: str, flow: Flow, weights: Weights, bias: np.ndarray | None) -> Flow:
    """Returns what a Gemm or MatMul node computes from a stored tensor that the graph sees as one row."""
    assert flow.grid is not None
    a = node.attributes if node.op == "Gemm" else {}
    integers, scale = weights.integers, np.broadcast_to(weights.scale, weights.integers.shape)
    if not a.get("transB", 0):
        integers, scale = integers.T, scale.T
    shape = flow.view.shape
    if (
        integers.ndim != 2
        or a.get("transA", 0)
        or integers.shape[1] != shape[-1]
        or any(s != 1 for s in shape[:-1])
    ):
        raise UnsupportedFormError(
            f"input {list(shape)} and weights {list(weights.integers.shape)}; one row, [1, K], times [K, M] is needed"
        )
    integers, out_scale = _reduced(weights, integers, scale * float(a.get("alpha", 1.0)))
    stored = np.empty_like(integers)
    stored[:, flow.view.positions().reshape(-1)] = integers
    chw = flow.view.chw
    mac = _mac(name, node.inputs[0], chw, stored.reshape(len(stored), *chw), flow.grid, flattens=True)
    offset = _bias(bias, len(stored)) * float(a.get("beta", 1.0))
    return _raw_flow(mac, View((len(stored), 1, 1), (*shape[:-1], len(stored))), out_scale, flow.grid, offset)


def identity(name: str, source: str, flow: Flow) -> Flow:
    """Returns a pass that reads a stored tensor and changes nothing, so that a result path can follow."""
    return sum_pool(name, source, flow, (1, 1), (1, 1), (0, 0, 0, 0))


def sum_pool(
    name: str,
    source: str,
    flow: Flow,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> Flow:
    """Returns average pooling as a convolution of each channel with ones; the division goes into the scale."""
    assert flow.grid is not None
    channels, count = flow.view.chw[0], kernel[0] * kernel[1]
    ones = np.ones((channels, 1, *kernel), np.int32)
    mac = _mac(name, source, flow.view.chw, ones, flow.grid, stride=stride, padding=padding, groups=channels)
    view = flow.view if count == 1 and stride == (1, 1) else View.of(mac.out_chw)
    grid = flow.grid.summed(count, any(padding))
    step = affine_step(name, np.array([grid.scale]), np.array([grid.offset]))
    return Flow(mac, view, (step,), grid, grid, bare=True)
