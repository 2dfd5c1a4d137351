"""Grids of quantized values, and what the quantizing operators of ONNX and QONNX say about them.

A `Grid` is the set of real values that a quantized tensor may take: `scale * i + offset` for the integers
`low, low + step, ..., high`. A tensor is stored as its integers `i`. Zero points are folded into `low` and
`high`, so that integer 0 is real 0 (padding needs that) and `offset` is 0 wherever it can be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.host_quantizers import clamp_bounds
from foldwright.accel.workload import ActKind, WeightKind

__all__ = ["Grid", "grid_of", "signed_bits", "weight_kind"]

_NEAR = 1e-6  # scales are float32: two that differ by less are one scale


@dataclass(frozen=True, slots=True)
class Grid:
    """Evenly spaced values, stored as integers `low .. high` in steps of `step`."""

    scale: float
    low: int
    high: int
    step: int = 1
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise UnsupportedFormError(
                f"scale {self.scale} and offset {self.offset}; a finite positive scale is needed"
            )
        assert self.low <= self.high
        assert self.step >= 1
        assert (self.high - self.low) % self.step == 0

    @property
    def levels(self) -> int:
        """Thresholds that tell the values apart: one less than there are values."""
        return (self.high - self.low) // self.step

    @property
    def kind(self) -> ActKind:
        if (self.low, self.high, self.step) == (-1, 1, 2):
            return ActKind.BIPOLAR
        return ActKind.UNSIGNED if self.low >= 0 else ActKind.SIGNED

    @property
    def bits(self) -> int:
        """Width of one stored value."""
        if self.kind is ActKind.BIPOLAR:
            return 1
        if self.kind is ActKind.UNSIGNED:
            return max(self.high.bit_length(), 1)
        return signed_bits(self.low, self.high)

    def encode(self, real: np.ndarray) -> np.ndarray:
        """Returns the integers of real values that lie on the grid."""
        return np.rint((real - self.offset) / self.scale).astype(np.int64)

    def decode(self, integers: np.ndarray) -> np.ndarray:
        """Returns the real values of integers, in float64."""
        return integers.astype(np.float64) * self.scale + self.offset

    def normalized(self) -> Grid:
        """Returns the same real values with the smallest integers and, where that is exact, no offset."""
        grid = self
        shift = grid.offset / grid.scale
        half = (
            2 if grid.step % 2 and abs(shift * 2 - round(shift * 2)) < _NEAR and round(shift * 2) % 2 else 1
        )
        if abs(shift * half - round(shift * half)) < _NEAR * max(1.0, abs(shift)):
            move = round(shift * half)
            grid = Grid(grid.scale / half, grid.low * half + move, grid.high * half + move, grid.step * half)
        if grid.offset == 0.0:
            common = math.gcd(grid.low, grid.high, grid.step)
            if common > 1 and grid.low != grid.high:
                grid = Grid(grid.scale * common, grid.low // common, grid.high // common, grid.step // common)
            if grid.levels == 1 and grid.low == -grid.high:
                grid = Grid(grid.scale * grid.high, -1, 1, 2)
        return grid

    def affine(self, scale: float, offset: float) -> Grid | None:
        """Returns the grid of `scale * value + offset`; None for a factor of 0."""
        if scale == 0 or not math.isfinite(scale):
            return None
        low, high = (self.low, self.high) if scale > 0 else (-self.high, -self.low)
        return replace(
            self, scale=self.scale * abs(scale), low=low, high=high, offset=self.offset * scale + offset
        )

    def clamped(self, low: float, high: float) -> Grid | None:
        """Returns the grid of values clipped to real bounds; None where a bound falls between two values."""
        if self.offset != 0.0:
            return None
        bounds = [max(low / self.scale, self.low), min(high / self.scale, self.high)]
        if any(abs(b - round(b)) > _NEAR * max(1.0, abs(b)) for b in bounds) or bounds[0] > bounds[1]:
            return None
        new_low, new_high = round(bounds[0]), round(bounds[1])
        moved = (new_low - self.low) % self.step or (new_high - self.low) % self.step
        return replace(self, low=new_low, high=new_high, step=1 if moved else self.step)

    def plus(self, other: Grid) -> Grid | None:
        """Returns the grid of sums; None where the two scales differ, as then no integer addition is exact."""
        if abs(self.scale / other.scale - 1) > _NEAR:
            return None
        step = math.gcd(self.step, other.step)
        low, high = self.low + other.low, self.high + other.high
        return Grid(self.scale, low, high, step, self.offset + other.offset)

    def summed(self, count: int, zero_counts: bool) -> Grid:
        """Returns the grid of means over `count` values, stored as sums; padded zeros may be among them."""
        low, high = self.low * count, self.high * count
        if zero_counts:
            return Grid(self.scale / count, min(low, 0), max(high, 0), 1, self.offset)
        return Grid(self.scale / count, low, high, self.step, self.offset)


def signed_bits(low: int, high: int) -> int:
    """Returns the width of two's complement that holds `low .. high`."""
    return max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length()) + 1


def weight_kind(integers: np.ndarray) -> tuple[WeightKind, int]:
    """Returns how integer weights map to bit planes, and how many planes."""
    low, high = int(integers.min()), int(integers.max())
    odd = bool((integers % 2 != 0).all())
    if odd and low >= -1 and high <= 1:
        return WeightKind.BINARY, 1
    if low >= -1 and high <= 1:
        return WeightKind.TERNARY, 2
    if odd:
        return WeightKind.ODD, max(-low, high).bit_length()
    return WeightKind.SIGNED, signed_bits(low, high)


def _one(value: np.ndarray | None, default: float) -> float | None:
    """Returns the one value of an operand that is the same everywhere, else None."""
    if value is None:
        return default
    first = float(value.reshape(-1)[0])
    return first if (value == value.reshape(-1)[0]).all() else None


def grid_of(
    op: str, operands: Sequence[np.ndarray | None], attributes: Mapping[str, Any], before: Grid | None
) -> Grid | None:
    """Returns the grid that a quantizing operator rounds to; None where it differs from channel to channel.

    Args:
        operands: the constants behind the first operand: scale, zero point and so on.
        before: the grid of the operator's input, if it has one.
    """
    if op == "MultiThreshold":
        scale, bias = float(attributes.get("out_scale", 1.0)), float(attributes.get("out_bias", 0.0))
        assert operands[0] is not None
        return Grid(1.0, 0, operands[0].shape[1]).affine(scale, bias)
    scale_or_none = _one(operands[0], 1.0)
    zero = _one(operands[1], 0.0) if op != "BipolarQuant" and len(operands) > 1 else 0.0
    if scale_or_none is None or zero is None:
        return None
    if op == "BipolarQuant":
        return Grid(scale_or_none, -1, 1, 2)
    if op == "QuantizeLinear":
        dtype = operands[1].dtype if len(operands) > 1 and operands[1] is not None else np.dtype(np.uint8)
        info = np.iinfo(dtype)
        return Grid(1.0, int(info.min), int(info.max))
    if op == "Trunc":
        return _truncated(scale_or_none, zero, operands, before)
    bits = operands[2]
    assert bits is not None
    width = float(bits.reshape(-1)[0])
    signed = bool(attributes.get("signed", 1))
    low, high = clamp_bounds(width, signed, bool(attributes.get("narrow", 1)))
    step = 2 if signed and width == 1 else 1
    return Grid(scale_or_none, low, high, step, -zero * scale_or_none)


def _truncated(scale: float, zero: float, operands: Sequence[Any], before: Grid | None) -> Grid | None:
    if before is None or zero != 0 or len(operands) != 4:
        return None
    shift = 2.0 ** (float(operands[2].reshape(-1)[0]) - float(operands[3].reshape(-1)[0]))
    ends = [before.decode(np.array(v)) / scale / shift for v in (before.low, before.high)]
    return Grid(scale, math.floor(float(ends[0])), math.ceil(float(ends[1])))
