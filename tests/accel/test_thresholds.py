"""Thresholds by bisection against trying every accumulator; scale and shift says how wrong it is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from foldwright.accel.quantops import Grid
from foldwright.accel.reference import levels_by_scale_shift, levels_by_thresholds
from foldwright.accel.thresholds import bisect_thresholds, fit_scale_shift

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _levels(thresholds: Ints, negate: npt.NDArray[np.bool_], span: Ints) -> Ints:
    """Levels of the accumulators `span` in every channel: (channels, len(span))."""
    block = np.broadcast_to(span, (1, len(thresholds), 1, len(span))).copy()
    return levels_by_thresholds(block, thresholds, negate)[0, :, 0]


@settings(max_examples=60, deadline=None)
@given(
    slopes=st.lists(st.floats(-3, 3), min_size=1, max_size=4),
    offset=st.floats(-20, 20),
    floor=st.floats(-5, 5),
    low=st.integers(-60, 10),
    size=st.integers(0, 90),
    levels=st.integers(1, 15),
    step=st.sampled_from([1, 2]),
)
def test_bisection_equals_brute_force(
    slopes: list[float], offset: float, floor: float, low: int, size: int, levels: int, step: int
) -> None:
    grid = Grid(1.0, -3, -3 + levels * step, step)
    slope = np.array(slopes)[:, None]

    def integers(acc: Floats) -> Ints:
        real = np.maximum(slope * acc + offset, floor)
        level = np.clip(np.round((real - grid.low) / step), 0, levels)
        return (grid.low + step * level).astype(np.int64)

    acc_min, acc_max = np.full(len(slopes), low), np.full(len(slopes), low + size)
    thresholds, negate = bisect_thresholds(integers, acc_min, acc_max, grid)
    span = np.arange(low, low + size + 1)
    wanted = integers(np.broadcast_to(span.astype(float), (len(slopes), len(span))))
    np.testing.assert_array_equal(grid.low + step * _levels(thresholds, negate, span), wanted)
    assert (np.diff(thresholds, axis=1) >= 0).all()


def test_thresholds_of_a_staircase_solved_by_hand() -> None:
    """floor(a / 3) clipped to 0..2 over -4..10: level 1 from 3 on, level 2 from 6 on; falling: of -a."""
    grid = Grid(1.0, 0, 2)
    sign = np.array([[1], [-1]])
    thresholds, negate = bisect_thresholds(
        lambda acc: np.clip(np.floor(sign * acc / 3), 0, 2).astype(np.int64),
        np.array([-4, -4]),
        np.array([10, 10]),
        grid,
    )
    assert thresholds.tolist() == [[3, 6], [3, 5]]  # -a reaches 4 at most: level 2 is one past the range
    assert negate.tolist() == [False, True]


def test_a_constant_channel_needs_no_negation_and_keeps_its_level() -> None:
    thresholds, negate = bisect_thresholds(
        lambda acc: np.full(acc.shape, 2), np.array([-5]), np.array([5]), Grid(1.0, 0, 3)
    )
    assert not negate.any()
    assert thresholds.tolist() == [[-5, -5, 6]]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_scale_shift_counts_its_own_errors_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels, levels = int(rng.integers(1, 5)), int(rng.integers(1, 8))
    low = rng.integers(-80, 0, channels)
    high = low + rng.integers(1, 200, channels)
    thresholds = np.sort(rng.integers(-100, 160, (channels, levels)), axis=1)
    thresholds = np.clip(thresholds, low[:, None], high[:, None] + 1)
    fit = fit_scale_shift(thresholds, low, high)
    negate = np.zeros(channels, bool)
    for channel in range(channels):
        span = np.arange(low[channel], high[channel] + 1)
        block = np.broadcast_to(span, (1, channels, 1, len(span))).copy()
        near = levels_by_scale_shift(block, fit, levels, negate)[0, channel, 0]
        exact = levels_by_thresholds(block, thresholds, negate)[0, channel, 0]
        assert int(np.abs(near - exact).sum()) == fit.level_errors[channel]


@settings(max_examples=40, deadline=None)
@given(run=st.integers(2, 40), first=st.integers(-50, 50), levels=st.integers(1, 15))
def test_scale_shift_is_exact_for_even_steps(run: int, first: int, levels: int) -> None:
    thresholds = first + run * np.arange(levels)[None]
    fit = fit_scale_shift(thresholds, np.array([first - 60]), np.array([first + run * levels + 60]))
    assert fit.level_errors.tolist() == [0]
    assert 0 <= fit.multiplier[0] < 2**18  # fits the multiplier of a DSP48E1
