"""The golden model against loops over every output, tap and channel, and against cases solved by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from foldwright.accel import reference
from foldwright.accel.thresholds import ScaleShift
from foldwright.accel.workload import Pool, PoolKind

RNG = np.random.default_rng(11)


def _plain(
    x: np.ndarray, w: np.ndarray, stride: tuple[int, int], pad: tuple[int, int, int, int], groups: int
) -> np.ndarray:
    """A convolution as its definition reads."""
    padded = np.zeros(
        (x.shape[0], x.shape[1], x.shape[2] + pad[0] + pad[2], x.shape[3] + pad[1] + pad[3]), int
    )
    padded[:, :, pad[0] : pad[0] + x.shape[2], pad[1] : pad[1] + x.shape[3]] = x
    height = (padded.shape[2] - w.shape[2]) // stride[0] + 1
    width = (padded.shape[3] - w.shape[3]) // stride[1] + 1
    out = np.zeros((len(x), len(w), height, width), int)
    per_group, size = w.shape[1], len(w) // groups
    for n, m, y, z in itertools.product(*map(range, out.shape)):
        for c, i, j in itertools.product(*map(range, w.shape[1:])):
            channel = (m // size) * per_group + c
            out[n, m, y, z] += w[m, c, i, j] * padded[n, channel, y * stride[0] + i, z * stride[1] + j]
    return out


@pytest.mark.parametrize("magnitude", [3, 2**12, 2**30], ids=["float32", "float64", "int64"])
@pytest.mark.parametrize(
    ("stride", "pad", "groups"),
    [
        ((1, 1), (0, 0, 0, 0), 1),
        ((2, 1), (1, 0, 2, 3), 1),
        ((3, 2), (1, 1, 1, 1), 2),
        ((1, 1), (0, 2, 0, 0), 4),
    ],
)
def test_convolution_equals_its_definition(
    stride: tuple[int, int], pad: tuple[int, int, int, int], groups: int, magnitude: int
) -> None:
    x = RNG.integers(-magnitude, magnitude + 1, (2, 4, 5, 6))
    w = RNG.integers(-magnitude, magnitude + 1, (4, 4 // groups, 3, 2)).astype(np.int32)
    got = reference.convolve(x, w, stride, pad, groups)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, _plain(x, w.astype(np.int64), stride, pad, groups))


def test_sums_at_the_edge_of_float32_stay_exact() -> None:
    """2^24 + 1 is the first whole number that float32 cannot hold."""
    x = np.array([2**23, 2**23, 1]).reshape(1, 3, 1, 1)
    assert reference.convolve(x, np.ones((1, 3, 1, 1), np.int32)).item() == 2**24 + 1


def test_thresholds_compare_greater_or_equal_and_negate_first() -> None:
    acc = np.array([[[[-3], [2]], [[-3], [2]]]])
    thresholds = np.array([[-3, 2], [-2, 3]])
    levels = reference.levels_by_thresholds(acc, thresholds, np.array([False, True]))
    assert levels[0, 0].ravel().tolist() == [1, 2]  # -3 reaches -3; 2 reaches both
    assert levels[0, 1].ravel().tolist() == [2, 1]  # 3 reaches both; -2 reaches -2


def test_scale_shift_rounds_down_and_clips() -> None:
    scale = ScaleShift(np.array([3]), np.array([4]), np.array([3]), np.zeros(1, int))
    acc = np.array([-9, -2, 1, 4, 40]).reshape(1, 1, 5, 1)
    # (3a + 4) >> 3: -23 >> 3 = -3, -2 >> 3 = -1, 7 >> 3 = 0, 16 >> 3 = 2, 124 >> 3 = 15
    got = reference.levels_by_scale_shift(acc, scale, 7, np.array([False]))
    assert got.ravel().tolist() == [0, 0, 0, 2, 7]


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 1, 2)])
def test_pooling_equals_its_definition(padding: tuple[int, int, int, int]) -> None:
    x = RNG.integers(-9, -1, (2, 3, 6, 5))
    window = Pool(PoolKind.MAX, (2, 3), (2, 1), padding)
    top, left, bottom, right = padding
    for kind, fill, call in ((PoolKind.MAX, -(10**6), np.max), (PoolKind.AVERAGE, 0, np.sum)):
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
        got = reference.pool(x, Pool(kind, window.kernel, window.stride, padding))
        for n, c, y, z in itertools.product(*map(range, got.shape)):
            assert got[n, c, y, z] == call(padded[n, c, 2 * y : 2 * y + 2, z : z + 3])
