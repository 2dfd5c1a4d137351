"""The allocation problem as a CP-SAT model: a chain of engines, each an entry of the level tables.

One Boolean per place in the chain, frames per round and engine of `LevelTables.points`; an engine runs layers
first..end-1 at some level of time, for a number of LUTs and at least so many block RAMs. The model keeps:

- the engines form a path over the layers, all with the same frames per round, at most `max_engines` of them;
- their LUTs and the fewest block RAMs that each needs stay within the budgets;
- the objective is the time of the busiest engine, rounded down to its level, or the bound of the frontier if more.

It leaves out flip-flops, the spare DRAM bits being one for all engines, memories beyond their least, and stalls. Every
design at least as fast as the problem's start has a chain in the model that is no slower and takes no more, so the bound is
one; engines that another beats in level, LUTs and block RAMs are not there, so the model does not hold every design.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foldwright.envs.allocation import space
from foldwright.envs.allocation.frontier import unpack_engine
from foldwright.envs.allocation.score import N_LUT, N_POOL
from foldwright.envs.cp_problem import CpProblem

if TYPE_CHECKING:
    from foldwright.envs.allocation.levels import EnginePoint, LevelTables
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["allocation_model"]

_NOTE = (
    "the least block RAMs of every engine, each with all spare DRAM bits to itself; no flip-flops, no stalls; "
    "designs no faster than the start left out"
)


@dataclass(frozen=True, slots=True)
class _Pick:
    """An engine at a place in the chain, and the Boolean that takes it."""

    place: int
    point: EnginePoint
    literal: Any


def allocation_model(problem: AllocationProblem) -> CpProblem:
    """Returns the model of an allocation instance; see the module's docstring."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    tables: LevelTables = problem.levels
    picks = _picks(model, problem, tables)
    _path(model, problem, picks)
    limits = problem.tables[4]
    model.add(sum(p.point.lut * p.literal for p in picks) <= int(limits[N_LUT]))
    model.add(sum(p.point.bram36 * p.literal for p in picks) <= int(limits[N_POOL]))
    model.add_at_most_one(p.literal for p in picks if p.point.on_dsp)
    time = model.new_int_var(tables.low, tables.high, "time")
    for place in range(problem.max_engines):
        here = [p for p in picks if p.place == place]
        model.add(time >= sum(tables.value(p.point.level) * p.literal for p in here))
    decisions = _decisions(model, problem, picks)
    model.minimize(time)
    return CpProblem(model, tuple(decisions), time, is_relaxation=True, note=_NOTE)


def _picks(model: Any, problem: AllocationProblem, tables: LevelTables) -> list[_Pick]:
    """Returns every engine at every place that it can have; only the first place runs the first layer."""
    return [
        _Pick(place, point, model.new_bool_var(""))
        for batch_index in range(len(space.BATCHES))
        for point in tables.points(batch_index)
        for place in (range(1, problem.max_engines) if point.first else range(1))
    ]


def _path(model: Any, problem: AllocationProblem, picks: list[_Pick]) -> None:
    """Lets each engine go on where the one before it, with the same frames per round, has ended."""
    n = len(problem.workload.layers)
    arrive: dict[tuple[int, int, int], list[Any]] = defaultdict(list)
    leave: dict[tuple[int, int, int], list[Any]] = defaultdict(list)
    for pick in picks:
        leave[pick.place, pick.point.batch_index, pick.point.first].append(pick.literal)
        arrive[pick.place + 1, pick.point.batch_index, pick.point.end].append(pick.literal)
    model.add_exactly_one(p.literal for p in picks if p.place == 0)
    for node in sorted(set(leave) | set(arrive)):
        if node[0] > 0 and node[2] < n:
            model.add(sum(arrive[node]) == sum(leave[node]))


def _decisions(model: Any, problem: AllocationProblem, picks: list[_Pick]) -> list[Any]:
    """Returns a variable per decision, tied to the engines taken; decisions of engines that are not there are 0."""
    most = problem.max_engines
    terms: list[list[Any]] = [[] for _ in problem.sizes]
    last = len(problem.workload.layers)
    for pick in picks:
        point, at = pick.point, space.first_decision(most, pick.place)
        values = [(at + d, value) for d, value in enumerate(unpack_engine(point.code))]
        values.append((0, int(pick.place > 0)))
        if pick.place == 0:
            values.append((most, point.batch_index))
        if point.end < last and pick.place < most - 1:
            values.append((1 + pick.place, point.end - point.first - 1))
        for decision, value in values:
            if value:
                terms[decision].append(value * pick.literal)
    variables = [model.new_int_var(0, int(size) - 1, "") for size in problem.sizes]
    for variable, total in zip(variables, terms, strict=True):
        model.add(variable == sum(total))
    return variables
