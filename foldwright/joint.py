"""Allocation and tiling searched together: the engines of a scheduled design change, and its schedule goes with them.

A race of schedules compares designs that allocation offers. Here the winner is changed a little, again and again: the shapes of
its engines, its cuts, the frames per round. A neighbour that does not fit, or whose engines alone would be no faster, is
dropped at once. The others take over the schedule, each layer's decisions as far as they are to be had on the new engines;
whatever is faster with it is the design to go on from. Schedules of the few that came nearest are then searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foldwright.accel.evaluate import D_TILE, DECISIONS
from foldwright.agents.result import Result
from foldwright.agents.stop import NO_COST, CpuClock
from foldwright.budget import Budget
from foldwright.config import OptimizeOptions
from foldwright.envs.allocation import space
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.allocation.score import MILLI
from foldwright.envs.tiling.problem import TilingProblem
from foldwright.errors import IllegalSolutionError, InfeasibleError
from foldwright.race import Solvers, beginning_with, rate, tile, tiling_instance

if TYPE_CHECKING:
    from foldwright.envs.problem import Choices

__all__ = ["Beginning", "improve", "neighbour", "taken_over"]

_SHARE = 0.2
"""Of the CPU time of `optimize`: half for neighbours, half for the schedules of the nearest."""
_NEAREST = 3
_NEAR = 1.05
"""How much slower than the best design a neighbour may begin whose schedule is searched."""
_MOST_CHANGES = 3
_STEPS = np.array([-8, -4, -2, -1, -1, 1, 1, 2, 4, 8])


@dataclass(frozen=True, slots=True)
class Beginning:
    """A design and the schedule that it took over; `rate` is of both, in cycles per frame."""

    rate: float
    choices: Choices
    instance: TilingProblem
    schedule: Sequence[int]


def improve(
    problem: AllocationProblem,
    best: tuple[TilingProblem, Result],
    options: OptimizeOptions,
    solvers: Solvers,
    budget: Budget,
) -> tuple[TilingProblem, Result]:
    """Returns a design and its schedule, at least as fast as those given; one outside the space is returned as it is."""
    try:
        choices = problem.encode(AllocationSolution(best[0].datapath))
    except IllegalSolutionError:
        return best
    first = Beginning(rate(*best), choices, best[0], best[1].choices)
    if first.rate * MILLI <= problem.bound().value:
        return best
    nearest = _walk(problem, first, options.seed, budget)
    for near in nearest:
        if near.instance.bound().value / near.instance.datapath.batch_frames >= rate(*best):
            continue
        instance = beginning_with(near.instance, near.schedule)
        result = tile(instance, options, solvers, budget, _SHARE / 2 / len(nearest))
        if rate(instance, result) < rate(*best):
            best = instance, result
    return best


def _walk(problem: AllocationProblem, first: Beginning, seed: int, budget: Budget) -> list[Beginning]:
    """Returns the designs that came nearest with schedules taken over, the fastest first."""
    rng, clock, drawn = np.random.default_rng([seed, len(first.choices)]), CpuClock(), 0
    now, seen, nearest = first, {first.choices.tobytes()}, [first]
    with budget.stage("joint"):
        stop = budget.watched("joint", _SHARE / 2)
        while not stop(clock(), drawn, round(MILLI * now.rate) or NO_COST):
            drawn += 1
            choices = neighbour(problem, now.choices, rng)
            if choices.tobytes() in seen:
                continue
            seen.add(choices.tobytes())
            near = _begun(problem, choices, now)
            if near is None:
                continue
            nearest = sorted([*nearest, near], key=lambda b: b.rate)[:_NEAREST]
            if near.rate < now.rate:
                now = near
    return nearest


def _begun(problem: AllocationProblem, choices: Choices, now: Beginning) -> Beginning | None:
    """Returns a neighbour with the schedule of the design now; None where it does not fit or is not near."""
    if problem.busiest_cycles(choices) >= now.rate:
        return None
    try:
        instance = tiling_instance(problem, choices)
    except InfeasibleError:
        return None
    schedule = taken_over(now.instance, now.schedule, instance)
    cost = instance.cost_of(schedule)
    its_rate = cost / instance.datapath.batch_frames
    return (
        Beginning(its_rate, choices, instance, schedule.tolist()) if 0 < its_rate < _NEAR * now.rate else None
    )


def neighbour(problem: AllocationProblem, choices: Choices, rng: np.random.Generator) -> Choices:
    """Returns legal choices that differ in up to `_MOST_CHANGES` decisions, or in none where those drawn are not legal."""
    near = choices.copy()
    decisions = 1 + problem.max_engines + space.PER_ENGINE * (int(choices[0]) + 1)
    for decision in rng.integers(1, decisions, rng.integers(1, _MOST_CHANGES + 1)):
        near[decision] = np.clip(near[decision] + rng.choice(_STEPS), 0, problem.sizes[decision] - 1)
    return near if space.is_legal(problem.tables[0], problem.max_engines, near) else choices


def taken_over(before: TilingProblem, schedule: Sequence[int], instance: TilingProblem) -> Choices:
    """Returns a schedule's decisions on other engines, as far as they go there; of tiles the nearest one."""
    choices = np.minimum(np.asarray(schedule, dtype=np.int64), instance.sizes - 1)
    tiles, others = before.tables[6], instance.tables[6]
    for i in range(len(before.workload.layers)):
        at = DECISIONS * i + D_TILE
        tile_now = tiles[i, schedule[at]]
        away = np.abs(others[i, : instance.sizes[at]] - tile_now) @ np.array([1, 1, 1000])
        choices[at] = int(np.argmin(away))
    return choices
