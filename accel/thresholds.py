"""From a monotone function per channel to integer thresholds, exactly, or to scale, bias and shift, nearly.

An accumulator `a` of channel `c` becomes level `#{k: t >= T[c, k]}` with `t = -a` in channels that fall and
`t = a` elsewhere. `T` is found by bisection over the accumulator's exact range, all channels and levels at once,
so the thresholds hold for every accumulator there is, however odd the function (biases, BatchNorm, ReLU, another
quantizer in between). Level `k` stands for the integer `low + step * k` of the output grid.

`scale_shift` gives `level = clip((multiplier * t + bias) >> shift, 0, levels)`. It cannot be exact in general; it
says by how many levels it is wrong, summed over every accumulator value there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foldwright.accel.quantops import Grid

__all__ = ["ScaleShift", "bisect_thresholds", "fit_scale_shift"]

Array = np.ndarray
_MULTIPLIER_BITS = 17  # a DSP48E1 multiplies 25 by 18 signed bits
_MOST_SHIFT = 40
_SLOPES = 33


@dataclass(frozen=True)
class ScaleShift:
    """Requantization by one multiply, add and shift per channel; see the module."""

    multiplier: Array  # (channels,) int64, never negative
    bias: Array  # (channels,) int64
    shift: Array  # (channels,) int64
    level_errors: Array  # (channels,) int64: |level - exact level| summed over the accumulator's range


def bisect_thresholds(
    integers: Callable[[Array], Array], acc_min: Array, acc_max: Array, grid: Grid
) -> tuple[Array, Array]:
    """Finds the thresholds of a function that is monotone in each channel.

    Args:
        integers: maps accumulators (channels, samples) to integers on `grid`.
        acc_min: (channels,) least accumulator; `acc_max` likewise the greatest.

    Returns:
        (channels, levels) int64 thresholds, ascending, one past the range where a level is never reached; and
        (channels,) bool, True where the accumulator must be negated first.
    """
    ends = integers(np.stack([acc_min, acc_max], 1).astype(np.float64))
    falls = ends[:, 1] < ends[:, 0]
    sign = np.where(falls, -1, 1)[:, None]
    wanted = grid.low + grid.step * np.arange(1, grid.levels + 1)
    low = np.repeat(np.where(falls, -acc_max, acc_min)[:, None], grid.levels, 1)
    high = np.repeat(np.where(falls, -acc_min, acc_max)[:, None] + 1, grid.levels, 1)
    while True:
        open_ = low < high
        if not open_.any():
            return low, falls
        middle = (low + high) >> 1
        reached = integers((sign * middle).astype(np.float64)) >= wanted
        high = np.where(open_ & reached, middle, high)
        low = np.where(open_ & ~reached, middle + 1, low)


def fit_scale_shift(thresholds: Array, low: Array, high: Array) -> ScaleShift:
    """Fits scale, bias and shift to thresholds over the range `low .. high` (after negation) of each channel."""
    channels, levels = thresholds.shape
    slopes = np.stack([_slopes(thresholds[c], int(low[c]), int(high[c])) for c in range(channels)], 1)
    shift = np.clip(_MULTIPLIER_BITS - 1 - np.floor(np.log2(slopes.max(0))), 0, _MOST_SHIFT).astype(np.int64)
    best = np.full(channels, np.iinfo(np.int64).max)
    multiplier, bias = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for slope in np.vstack([slopes, np.zeros(channels)]):
        m = np.rint(slope * 2.0**shift).astype(np.int64)
        b = _bias(thresholds, m, shift, low, high)
        errors = np.abs(
            _reached_at(m, b, shift, levels, low, high) - np.clip(thresholds, low[:, None], high[:, None] + 1)
        )
        total = errors.sum(1)
        better = total < best
        best, multiplier, bias = (
            np.where(better, total, best),
            np.where(better, m, multiplier),
            np.where(better, b, bias),
        )
    return ScaleShift(multiplier, bias, shift, best)


def _slopes(row: Array, low: int, high: int) -> Array:
    """Returns slopes worth trying: those between the steepest and the flattest line through the thresholds."""
    inside = np.flatnonzero((row > low) & (row <= high))
    if len(inside) < 2 or row[inside[-1]] == row[inside[0]]:
        return np.geomspace(1.0 / (high - low + 2), max(1.0, float(len(inside))), _SLOPES)
    rise, run = int(inside[-1] - inside[0]), int(row[inside[-1]] - row[inside[0]])
    return np.linspace(rise / (run + 1), rise / max(run - 1, 0.5), _SLOPES)


def _bias(thresholds: Array, m: Array, shift: Array, low: Array, high: Array) -> Array:
    """Returns the bias midway between the greatest that is needed and the least that is too much."""
    level = np.arange(1, thresholds.shape[1] + 1) << shift[:, None]
    needed = level - m[:, None] * thresholds
    is_open = (thresholds > low[:, None]) & (thresholds <= high[:, None])
    never, always = thresholds > high[:, None], thresholds <= low[:, None]
    top = np.iinfo(np.int64).max >> 1
    least = np.where(is_open, needed, np.where(always, level - m[:, None] * low[:, None], -top)).max(1)
    most = np.where(
        is_open, needed + m[:, None] - 1, np.where(never, level - m[:, None] * high[:, None] - 1, top)
    ).min(1)
    least = np.where(least == -top, np.minimum(most, 0), least)
    most = np.where(most == top, np.maximum(least, 0), most)
    return (least + most) >> 1


def _reached_at(m: Array, b: Array, shift: Array, levels: int, low: Array, high: Array) -> Array:
    """Returns the thresholds that multiplier and bias amount to, clipped to one past the range."""
    need = (np.arange(1, levels + 1) << shift[:, None]) - b[:, None]
    flat = np.where(need <= 0, low[:, None], high[:, None] + 1)
    steep = -(-need // np.maximum(m, 1)[:, None])
    return np.clip(np.where(m[:, None] > 0, steep, flat), low[:, None], high[:, None] + 1)
