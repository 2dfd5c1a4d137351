"""A race of schedules: the designs of an allocation are tiled side by side, the faster ones longer."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from foldwright.agents.registry import Solver
from foldwright.agents.result import Result
from foldwright.budget import Budget
from foldwright.config import OptimizeOptions
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.tiling.problem import TilingProblem

if TYPE_CHECKING:
    from foldwright.envs.problem import Choices

__all__ = [
    "RUNGS",
    "TILING_SHARE",
    "Solvers",
    "beginning_with",
    "distinct_instances",
    "race",
    "rate",
    "tile",
    "tiling_instance",
]

TILING_SHARE = 0.4
RUNGS = ((32, 0.3), (8, 0.25), (3, 0.2), (1, 0.25))
"""So many designs stay in the race, and share so much of its time; the fastest go on to the next rung."""

Solvers = dict[str, tuple[Solver, Any]]
"""A solver and its parameters by problem."""


def race(
    instances: list[TilingProblem], options: OptimizeOptions, solvers: Solvers, budget: Budget
) -> tuple[TilingProblem, Result]:
    """Searches for schedules of all designs shortly, then longer for fewer; returns the fastest with its best schedule.

    A design whose own bound is no better than what another has reached leaves the race. Every search begins anew: one long
    search ends at better schedules than short ones that go on from each other.
    """
    found: dict[int, tuple[TilingProblem, Result]] = {}
    runners, saved = list(range(len(instances))), 0.0
    for most, share in RUNGS:
        runners = runners[:most]
        part, saved = (TILING_SHARE * share + saved) / len(runners), 0.0
        for k in runners:
            others = min((rate(*f) for key, f in found.items() if key != k), default=math.inf)
            if instances[k].bound().value / instances[k].datapath.batch_frames >= others:
                saved += part
                continue
            result = tile(instances[k], options, solvers, budget, part)
            if k not in found or rate(instances[k], result) < rate(*found[k]):
                found[k] = instances[k], result
        runners = sorted(found, key=lambda k: rate(*found[k]))
    return found[runners[0]]


def beginning_with(instance: TilingProblem, start: Sequence[int]) -> TilingProblem:
    """Returns the instance with another schedule than the one by rule as the start of searches."""
    again = copy.copy(instance)
    vars(again)["start"] = np.array(start, dtype=np.int64)  # where the instance keeps the one by rule
    return again


def distinct_instances(problem: AllocationProblem, designs: list[Choices]) -> list[TilingProblem]:
    """Returns the tiling instances of designs, those of equal shapes once."""
    instances: dict[tuple[Any, ...], TilingProblem] = {}
    for choices in designs:
        datapath = problem.decode(choices).datapath
        key = (datapath.batch_frames, datapath.assignment, tuple(e.shape for e in datapath.engines))
        if key not in instances:
            instances[key] = tiling_instance(problem, choices)
    return list(instances.values())


def tiling_instance(problem: AllocationProblem, choices: Choices) -> TilingProblem:
    solution: AllocationSolution = problem.decode(choices)
    name = problem.name.replace("allocation/", "tiling/")
    pool = problem.pool_bram36(solution.datapath)
    return TilingProblem(name, problem.workload, solution.datapath, pool, problem.part, fuses=True)


def tile(
    instance: TilingProblem, options: OptimizeOptions, solvers: Solvers, budget: Budget, share: float
) -> Result:
    """Returns the solver's schedule of a datapath."""
    solver, params = solvers["tiling"]
    with budget.stage("tiling"):
        result = solver(instance, stop=budget.watched("tiling", share), seed=options.seed, params=params)
        budget.done("tiling", result)
        return result


def rate(instance: TilingProblem, result: Result) -> float:
    """Returns cycles per frame; infinite without a solution."""
    return result.cost / instance.datapath.batch_frames if result.has_solution else math.inf
