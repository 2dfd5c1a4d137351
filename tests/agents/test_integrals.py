"""Integrals are those of step functions drawn by hand."""

from __future__ import annotations

import pytest

from foldwright.agents.curves import median_curve
from foldwright.agents.integrals import Integrals, bound_at, cost_at, integrals, step_integral
from tests.agents.bench_support import result_of

# Costs 100 from 0 s, 60 from 1 s, 50 from 3 s; bounds 40 from 0 s, 45 from 2 s. The best known is 50.
BY_HAND = result_of([(0.0, 1, 100), (1.0, 2, 60), (3.0, 3, 50)], [(0.0, 40), (2.0, 45)])


def test_integrals_over_the_whole_search() -> None:
    # Cost: 1 s of 100, 2 s of 60, 1 s of 50 are 270; less 4 s of 50 leave 70. Bound: 2 s of 40, 2 s of 45 are 170; 200 - 170.
    found = integrals(BY_HAND, 4.0, initial_cost=100, reference=50)
    assert (found.primal, found.dual, found.gap) == (70.0, 30.0, 100.0)


def test_what_came_after_the_budget_does_not_count() -> None:
    # Until 2 s: 100 + 60 - 2 * 50 = 60; 2 * 50 - 2 * 40 = 20. The bound that came at 2.0 s is known at 2.0 s, but for no time.
    assert integrals(BY_HAND, 2.0, 100, 50) == Integrals(60.0, 20.0)
    assert [cost_at(BY_HAND, t, 100) for t in (0.0, 0.999, 1.0, 2.0, 9.0)] == [100, 100, 60, 60, 50]
    assert [bound_at(BY_HAND, t) for t in (0.0, 1.9, 2.0, 9.0)] == [40, 40, 45, 45]


def test_before_the_first_solution_the_fallback_counts() -> None:
    late = result_of([(1.5, 1, 60)])
    assert cost_at(late, 1.0, initial_cost=100) == 100
    # 1.5 s of 100 and 0.5 s of 60 are 180; less 2 s of 50 leave 80.
    assert integrals(late, 2.0, 100, 50).primal == 80.0


def test_a_search_without_a_solution_keeps_the_fallback_to_the_end() -> None:
    assert integrals(result_of([]), 2.0, 100, 50) == Integrals(100.0, 20.0)


def test_a_solution_worse_than_the_fallback_counts_as_the_fallback() -> None:
    assert integrals(result_of([(0.0, 1, 400), (1.0, 2, 60)]), 2.0, 100, 50).primal == 60.0


def test_a_perfect_search_has_no_integrals() -> None:
    assert integrals(result_of([(0.0, 1, 50)], [(0.0, 50)]), 8.0, 50, 50) == Integrals(0.0, 0.0)


def test_relative_integrals_are_shares_of_the_reference_over_time() -> None:
    # 60 cost seconds over 2 s and a reference of 50: 60 % above it on average; 20 are 20 % below it.
    assert Integrals(60.0, 20.0).relative(50, 2.0) == Integrals(0.6, 0.2)


@pytest.mark.parametrize(
    ("steps", "horizon", "area"),
    [
        ([], 3.0, 30.0),
        ([(0.0, 4)], 3.0, 12.0),
        ([(5.0, 4)], 3.0, 30.0),
        ([(1.0, 4), (1.0, 2)], 3.0, 14.0),
    ],
)
def test_steps_hold_until_the_next_or_the_end(
    steps: list[tuple[float, int]], horizon: float, area: float
) -> None:
    assert step_integral(steps, horizon, before=10) == area


def test_median_curve_is_the_middle_of_three_searches() -> None:
    # First at 1 s: 60, 100, 100 -> 100. At 2 s: 60, 80, 100 -> 80. At 3 s: 60, 80, 50 -> 60. At 4 s: 60, 55, 50 -> 55.
    searches = [
        result_of([(1.0, 1, 60)]),
        result_of([(2.0, 1, 80), (4.0, 2, 55)]),
        result_of([(3.0, 1, 50)]),
    ]
    assert median_curve(searches, before=100) == ((1.0, 100), (2.0, 80), (3.0, 60), (4.0, 55))
