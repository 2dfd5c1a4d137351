"""Conflicts of limits against brute force over which of them are kept, on the frontier's own bound."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from foldwright.agents.conflicts import Conflict, Limit, conflicts_at
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.frontier import BUCKET_LUTS
from foldwright.envs.registry import load_instance
from foldwright.netlists.part import load_part

WHOLE = load_part("xc7z020").budget.lut


def digits(**limits: float) -> AllocationProblem:
    problem = load_instance("allocation/digits-w1a2-xc7z020-80")
    assert isinstance(problem, AllocationProblem)
    changed: AllocationProblem = replace(problem, **limits)  # type: ignore[arg-type]  # numbers by name
    return changed


def can_keep(problem: AllocationProblem, limits: set[Limit], most: int) -> bool:
    """Whether the bound allows the time where only some limits are kept."""
    own = replace(
        problem,
        budget_lut_percent=problem.budget_lut_percent if Limit.LUTS in limits else 100.0,
        max_engines=problem.max_engines if Limit.ENGINES in limits else 4,
    )
    bound = own.bound().value if Limit.DRAM in limits else own.search.chains()[0].value
    return Limit.RATE not in limits or bound <= most


CASES = [
    (80.0, 1, 32, 70_000, [{Limit.RATE, Limit.LUTS, Limit.ENGINES}]),  # fewer LUTs do with more engines
    (40.0, 1, 32, 66_000, [{Limit.RATE, Limit.LUTS}, {Limit.RATE, Limit.ENGINES}]),
    (60.0, 3, 2, 150_000, [{Limit.RATE, Limit.DRAM}]),
    (80.0, 3, 32, 60_000, [{Limit.RATE, Limit.DRAM}]),  # a pixel takes a beat however wide it is
    (80.0, 4, 32, 1000, [{Limit.RATE}]),
    (80.0, 3, 32, 80_000, []),
]


@pytest.mark.parametrize(("percent", "engines", "bits", "most", "expected"), CASES)
def test_conflicts_are_minimal_and_their_remedies_the_nearest(
    percent: float, engines: int, bits: int, most: int, expected: list[set[Limit]]
) -> None:
    problem = digits(budget_lut_percent=percent, max_engines=engines, dram_bits_per_cycle=bits)
    found = conflicts_at(problem, most)
    assert [set(conflict.limits) for conflict in found] == expected
    for conflict in found:
        core = set(conflict.limits)
        assert not can_keep(problem, core, most)
        for kept in combinations(core, len(core) - 1):
            assert core == {Limit.RATE} or can_keep(problem, set(kept), most)
        assert conflict.remedies[Limit.RATE] == problem.bound().value
        check_remedies(problem, conflict, most)


def check_remedies(problem: AllocationProblem, conflict: Conflict, most: int) -> None:
    """The value that is told allows the time, the next smaller one does not; LUTs are told to the bucket."""
    core = set(conflict.limits)
    if Limit.ENGINES in conflict.remedies:
        value = conflict.remedies[Limit.ENGINES]
        assert can_keep(replace(problem, max_engines=value), core, most)
        assert not can_keep(replace(problem, max_engines=value - 1), core, most)
    if Limit.DRAM in conflict.remedies:
        value = conflict.remedies[Limit.DRAM]
        assert can_keep(replace(problem, dram_bits_per_cycle=value), core, most)
        assert not can_keep(replace(problem, dram_bits_per_cycle=value - 1), core, most)
    if Limit.LUTS in conflict.remedies:
        fixed = problem.lut_budget - int(problem.tables[4][2])
        shares = [
            100 * (conflict.remedies[Limit.LUTS] + fixed + luts) / WHOLE
            for luts in (4 * BUCKET_LUTS, -BUCKET_LUTS)
        ]
        enough, short = (can_keep(replace(problem, budget_lut_percent=share), core, most) for share in shares)
        assert enough
        assert not short
