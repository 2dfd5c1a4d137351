"""Stop rules say when, and what they count."""

from __future__ import annotations

import math

import pytest

from foldwright.agents.stop import (
    NO_COST,
    CpuClock,
    CpuSeconds,
    DeterministicTime,
    Evaluations,
    NoImprovement,
    StopRule,
    TargetCost,
    any_of,
    cpu_limit,
    evaluation_limit,
    fraction,
    is_reproducible,
    unit_limit,
    without_counts,
)
from foldwright.errors import ConfigError


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        (CpuSeconds(0.5), (0.49, 10**9, 0), (0.5, 0, NO_COST)),
        (Evaluations(7), (1e9, 6, 0), (0.0, 7, NO_COST)),
        (DeterministicTime(0.007), (1e9, 6, 0), (0.0, 7, NO_COST)),
        (TargetCost(5), (1e9, 10**9, 6), (0.0, 1, 5)),
    ],
)
def test_a_rule_ends_at_its_limit_and_not_before(
    rule: StopRule, before: tuple[float, int, int], after: tuple[float, int, int]
) -> None:
    assert not rule(*before)
    assert rule(*after)


def test_no_improvement_counts_from_the_last_better_cost() -> None:
    rule = NoImprovement(10)
    asked = [(1, 9), (5, 8), (14, 8), (15, 8), (16, 7), (25, 7), (26, 7)]
    assert [rule(0.0, count, cost) for count, cost in asked] == [
        False,
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_no_improvement_starts_anew_with_another_search() -> None:
    rule = NoImprovement(10)
    assert rule(0.0, 50, 3) is False
    assert rule(0.0, 60, 3) is True
    assert rule(0.0, 1, 99) is False
    assert rule(0.0, 10, 99) is False
    assert rule(0.0, 11, 99) is True


def test_any_of_ends_with_the_first_of_its_rules() -> None:
    rule = any_of(Evaluations(100), any_of(TargetCost(5), CpuSeconds(2.0)))
    assert not rule(1.9, 99, 6)
    assert rule(1.9, 100, 6)
    assert rule(1.9, 99, 5)
    assert rule(2.0, 99, 6)


def test_any_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one is needed"):
        any_of()


def test_limits_are_the_least_of_all_parts() -> None:
    rule = any_of(Evaluations(5000), DeterministicTime(2), any_of(CpuSeconds(3), CpuSeconds(1.5)))
    assert (evaluation_limit(rule), unit_limit(rule), cpu_limit(rule)) == (2000, 2, 1.5)
    assert evaluation_limit(TargetCost(1)) is unit_limit(TargetCost(1)) is cpu_limit(TargetCost(1)) is None


def test_a_share_of_a_rule_is_a_share_of_each_limit() -> None:
    rule = fraction(any_of(CpuSeconds(4), Evaluations(10), DeterministicTime(2), TargetCost(3)), 0.25)
    assert cpu_limit(rule) == 1
    assert evaluation_limit(rule) == 2  # a quarter of ten, to an even number
    assert unit_limit(fraction(DeterministicTime(2), 0.25)) == 0.5
    assert rule(0.0, 0, 3)
    assert not rule(0.9, 1, 4)


def test_counts_can_be_taken_out() -> None:
    rule = without_counts(any_of(Evaluations(5), DeterministicTime(1), TargetCost(3)))
    assert not rule(1e9, 10**9, 4)
    assert rule(0.0, 0, 3)
    assert not without_counts(Evaluations(5))(1e9, 10**9, 0)


@pytest.mark.parametrize(
    ("rule", "reproducible"),
    [
        (any_of(Evaluations(5), TargetCost(3), NoImprovement(4), DeterministicTime(1)), True),
        (any_of(Evaluations(5), CpuSeconds(1)), False),
        (lambda cpu_seconds, iterations, best_cost: True, False),
    ],
)
def test_only_rules_known_to_count_work_are_reproducible(rule: StopRule, reproducible: bool) -> None:
    assert is_reproducible(rule) is reproducible


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CpuSeconds, -1.0),
        (CpuSeconds, math.nan),
        (CpuSeconds, math.inf),
        (Evaluations, 0),
        (DeterministicTime, 0.0),
        (DeterministicTime, math.inf),
        (NoImprovement, 0),
    ],
)
def test_limits_out_of_range_are_refused(kind: type, value: float) -> None:
    with pytest.raises(ConfigError, match=f"stop rule {kind.__name__}: got {value}, allowed is"):
        kind(value)


def test_the_clock_counts_work_and_not_waiting() -> None:
    clock = CpuClock()
    start = clock()
    total = sum(i * i for i in range(200_000))
    worked = clock()
    assert total > 0
    assert 0 <= start < worked
