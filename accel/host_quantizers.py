"""Quantizing operators in numpy, as QONNX's reference computes them.

Divide by the scale, add the zero point, clamp, round, all in the graph's own float type, so that a host step
gives bit for bit what the graph's own execution gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from foldwright.accel.host_limits import Array, Attributes, UnsupportedFormError, limited

__all__ = [
    "QUANTIZERS",
    "axis_operand",
    "bipolar",
    "clamp_bounds",
    "dequantize_linear",
    "multi_threshold",
    "quant",
    "quantize_linear",
    "rounded",
    "trunc",
]

QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "QuantizeLinear", "Trunc")
"""Operators that round to a grid."""

_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


def rounded(values: Array, mode: str) -> Array:
    """Rounds by a QONNX rounding mode."""
    call = _ROUNDINGS.get(mode.upper())
    if call is None:
        raise UnsupportedFormError(f"rounding_mode {mode!r}, known: {', '.join(sorted(_ROUNDINGS))}")
    return call(values)


def clamp_bounds(bits: float, signed: bool, narrow: bool) -> tuple[int, int]:
    """Returns the least and greatest integer of a quantizer; one signed bit means -1 and +1."""
    if bits != int(bits) or not 1 <= bits <= 32:
        raise UnsupportedFormError(f"bit width {bits}, allowed are whole numbers 1 to 32")
    b = int(bits)
    if signed and b == 1:
        return -1, 1
    if signed:
        return -(2 ** (b - 1)) + int(narrow), 2 ** (b - 1) - 1
    return 0, 2**b - 1 - int(narrow)


def _scalar(value: Array, what: str) -> float:
    if value.size != 1:
        raise UnsupportedFormError(f"{what} of shape {list(value.shape)}, one value is needed")
    return float(value.reshape(())[()])


def quant(x: list[Any], a: Attributes) -> Array:
    values, scale, zero, bits = x[:4]
    signed, narrow = bool(a.get("signed", 1)), bool(a.get("narrow", 1))
    low, high = clamp_bounds(_scalar(bits, "bit width"), signed, narrow)
    if not (scale > 0).all():
        raise UnsupportedFormError("a scale that is not positive")
    limited(np.broadcast_shapes(values.shape, scale.shape))
    steps = values / scale + zero
    if signed and high == 1 and low == -1 and _scalar(bits, "bit width") == 1:
        steps = np.where(steps >= 0, 1, -1).astype(values.dtype)
    else:
        steps = rounded(np.clip(steps, low, high), a.get("rounding_mode", "ROUND"))
    return ((steps - zero) * scale).astype(values.dtype)


def bipolar(x: list[Any], a: Attributes) -> Array:
    if not (x[1] > 0).all():
        raise UnsupportedFormError("a scale that is not positive")
    return (np.where(x[0] >= 0, 1, -1) * x[1]).astype(x[0].dtype)


def multi_threshold(x: list[Any], a: Attributes) -> Array:
    values, thresholds = x[0], x[1]
    axis = a.get("data_layout", "").find("C")
    axis = axis if axis >= 0 else 1
    if thresholds.ndim != 2 or thresholds.shape[0] not in (1, values.shape[axis]):
        raise UnsupportedFormError(
            f"thresholds of shape {list(thresholds.shape)} for {values.shape[axis]} channels, [channels, levels] is needed"
        )
    moved = np.moveaxis(values, axis, -1)
    count = np.zeros(moved.shape, values.dtype)
    for level in range(thresholds.shape[1]):
        count += moved >= thresholds[:, level]
    scale, bias = a.get("out_scale", 1.0), a.get("out_bias", 0.0)
    return (np.moveaxis(count, -1, axis) * scale + bias).astype(values.dtype)


def axis_operand(value: Any, like: Array, axis: int) -> Array:
    """Shapes a per-axis scale or zero point for broadcasting."""
    if value.ndim != 1 or value.size == 1:
        return value.reshape(()) if value.size == 1 else value
    return value.reshape([-1 if i == axis % like.ndim else 1 for i in range(like.ndim)])


def _unblocked(a: Attributes) -> None:
    if a.get("block_size", 0):
        raise UnsupportedFormError(
            "blocked quantization (block_size), one scale per tensor or per axis is needed"
        )


def quantize_linear(x: list[Any], a: Attributes) -> Array:
    _unblocked(a)
    values, scale = x[0], x[1]
    zero = x[2] if len(x) > 2 and x[2] is not None else np.zeros((), np.uint8)
    if zero.dtype.kind not in "iu":
        raise UnsupportedFormError(f"quantization to {zero.dtype}, an integer type is needed")
    info, axis = np.iinfo(zero.dtype), a.get("axis", 1)
    steps = np.round(values / axis_operand(scale, values, axis)) + axis_operand(
        zero.astype(values.dtype), values, axis
    )
    return np.clip(steps, info.min, info.max).astype(zero.dtype)


def dequantize_linear(x: list[Any], a: Attributes) -> Array:
    _unblocked(a)
    values, scale, axis = x[0].astype(np.int64), x[1], a.get("axis", 1)
    zero = x[2] if len(x) > 2 and x[2] is not None else np.zeros((), np.int64)
    steps = values - axis_operand(zero.astype(np.int64), values, axis)
    return (steps.astype(scale.dtype) * axis_operand(scale, values, axis)).astype(scale.dtype)


def trunc(x: list[Any], a: Attributes) -> Array:
    """Brevitas' truncation of low bits, in the five-operand form (version 1)."""
    if len(x) != 5:
        raise UnsupportedFormError(
            f"{len(x)} operands; the form with 5 (value, scale, zero, bits in, bits out) is read"
        )
    values, scale, zero, bits_in, bits_out = x
    shift = 2.0 ** (_scalar(bits_in, "bit width") - _scalar(bits_out, "bit width"))
    steps = rounded(np.round(values / scale + zero) / shift, a.get("rounding_mode", "FLOOR"))
    return ((steps - zero) * scale).astype(values.dtype)
