"""Anytime curves of a bench: for each instance and solver, the median over the seeds of the best cost at every moment."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from foldwright.agents.bench import Run
from foldwright.agents.result import Result
from foldwright.agents.scores import InstanceFacts
from foldwright.agents.store import StoredRun

__all__ = ["Curve", "curves_of", "median_curve"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Steps (CPU seconds, cost) of one solver; each cost holds from its moment on."""

    solver: str
    steps: tuple[tuple[float, int], ...]


def median_curve(results: Sequence[Result], before: int) -> tuple[tuple[float, int], ...]:
    """Returns the lower median of the results' best costs, a step wherever it changes.

    Args:
        before: The cost that a search counts with before its first solution.
    """
    now = [before] * len(results)
    changes = heapq.merge(
        *([(seconds, k, cost) for seconds, _, cost in r.history] for k, r in enumerate(results))
    )
    steps: list[tuple[float, int]] = []
    for seconds, k, cost in changes:
        now[k] = min(now[k], cost)
        median = sorted(now)[(len(now) - 1) // 2]
        if not steps or median < steps[-1][1]:
            steps.append((seconds, median))
    return tuple(steps)


def curves_of(done: Sequence[tuple[Run, StoredRun]], facts: InstanceFacts) -> list[Curve]:
    """Returns a curve per solver that solved all of its runs on an instance, at the largest budget."""
    mine = [(run, stored) for run, stored in done if run.instance == facts.instance]
    largest = max(run.budget.amount for run, _ in mine)
    groups: dict[str, list[Result | None]] = {}
    for run, stored in mine:
        if run.budget.amount == largest:
            groups.setdefault(run.solver.label, []).append(stored.result)
    out = []
    for solver, results in groups.items():
        solved = [r for r in results if r is not None and r.has_solution]
        if len(solved) == len(results):
            out.append(Curve(solver, median_curve(solved, facts.fallback)))
    return out
