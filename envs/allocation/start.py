"""A start by rule: the best of a few designs from the frontier, those that have room for everything before others.

Chains are gone through in the order of their bounds, with the smallest engines at the bound and with somewhat smaller
ones. A design that keeps every tensor and all weights on chip is quick to simulate and rarely stalls; others are looked at
only where no such design is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from foldwright.envs.allocation.score import is_resident
from foldwright.envs.problem import Choices

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["quick_start"]

_SLACKS_PERMILLE = (0, 20, 80, 200)
_MOST_LOOKED_AT = 2000
_MOST_SCORED = 24
_MOST_STREAMING = 8


def quick_start(problem: AllocationProblem) -> Choices:
    """Returns legal choices of a good design; the fallback where none of those tried fits."""
    resident = (
        d for d in islice(_designs(problem), _MOST_LOOKED_AT) if bool(is_resident.py_func(*problem.tables, d))
    )
    best = _best(problem, islice(resident, _MOST_SCORED))
    if best is None:
        best = _best(problem, islice(_designs(problem), _MOST_STREAMING))
    start = problem.fallback.copy() if best is None else best
    start.setflags(write=False)
    return start


def _best(problem: AllocationProblem, designs: Iterator[Choices]) -> Choices | None:
    scored = [(cost, d) for d in designs if (cost := problem.cost_of(d)) > 0]
    return min(scored, key=lambda s: s[0])[1] if scored else None


def _designs(problem: AllocationProblem) -> Iterator[Choices]:
    """Yields designs of all chains, the best bound first."""
    for chain in problem.search.chains():
        for slack in _SLACKS_PERMILLE:
            yield problem.search.design(chain, chain.value + chain.value * slack // 1000)
