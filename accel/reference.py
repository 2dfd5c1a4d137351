"""The integer golden model: what every layer computes, in plain numpy, exactly.

Tensors are int64 of shape (frames, channels, height, width). This module is the truth that bit-plane kernels,
the simulator and the RTL are compared with, so it is kept plain; it knows no bit planes and no tiles.
"""

from __future__ import annotations

import numpy as np

from foldwright.accel.thresholds import ScaleShift
from foldwright.accel.windows import Geometry, conv_float, pool_windows
from foldwright.accel.workload import Pool, PoolKind

__all__ = ["convolve", "levels_by_scale_shift", "levels_by_thresholds", "pool"]

_FLOAT32_EXACT = 2**24
_FLOAT64_EXACT = 2**53


def convolve(
    values: np.ndarray,
    weights: np.ndarray,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
) -> np.ndarray:
    """Returns the accumulators of a convolution; padded taps add nothing.

    The sums run in floating point only where every partial sum is an integer that the type holds exactly.
    """
    (height, width), kernel = values.shape[2:], (weights.shape[2], weights.shape[3])
    out_size = (
        (height + padding[0] + padding[2] - kernel[0]) // stride[0] + 1,
        (width + padding[1] + padding[3] - kernel[1]) // stride[1] + 1,
    )
    geometry = Geometry(kernel, stride, padding, (1, 1), out_size)
    largest = int(np.abs(values).max(initial=0)) * int(
        np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(1).max()
    )
    dtype = np.float32 if largest < _FLOAT32_EXACT else np.float64 if largest < _FLOAT64_EXACT else np.int64
    return conv_float(values.astype(dtype), weights.astype(dtype), geometry, groups).astype(np.int64)


def levels_by_thresholds(accumulators: np.ndarray, thresholds: np.ndarray, negate: np.ndarray) -> np.ndarray:
    """Returns for each accumulator how many of its channel's thresholds it reaches.

    Args:
        thresholds: (channels, levels) ascending.
        negate: (channels,) True where the accumulator is negated first.
    """
    result = np.empty_like(accumulators)
    for channel in range(accumulators.shape[1]):
        seen = -accumulators[:, channel] if negate[channel] else accumulators[:, channel]
        result[:, channel] = np.searchsorted(thresholds[channel], seen, side="right")
    return result


def levels_by_scale_shift(
    accumulators: np.ndarray, scale: ScaleShift, levels: int, negate: np.ndarray
) -> np.ndarray:
    """Returns `clip((multiplier * acc + bias) >> shift, 0, levels)`."""
    column = (1, -1, 1, 1)
    seen = np.where(negate.reshape(column), -accumulators, accumulators)
    scaled = seen * scale.multiplier.reshape(column) + scale.bias.reshape(column)
    shifted = scaled >> scale.shift.reshape(column)
    return np.clip(shifted, 0, levels)


def pool(values: np.ndarray, window: Pool) -> np.ndarray:
    """Returns the maximum or the sum of each window; padding never wins a maximum and adds 0 to a sum."""
    height, width = values.shape[2:]
    top, left, bottom, right = window.padding
    out_size = (
        (height + top + bottom - window.kernel[0]) // window.stride[0] + 1,
        (width + left + right - window.kernel[1]) // window.stride[1] + 1,
    )
    geometry = Geometry(window.kernel, window.stride, window.padding, (1, 1), out_size)
    if window.kind is PoolKind.MAX:
        return np.maximum.reduce(list(pool_windows(values, geometry, np.iinfo(values.dtype).min)))
    return np.add.reduce(list(pool_windows(values, geometry, 0)))
