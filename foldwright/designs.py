"""From an allocation problem to a design: engines and their schedule, by the objective that was asked for.

`find_design` needs a workload only; where the RTL is to be built, also the network that it came from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from foldwright.accel.cost import Utilization, bram36_of_engine, cost
from foldwright.accel.datapath import Datapath
from foldwright.accel.layout import lay_out
from foldwright.accel.layout_cost import datapath_of_layout
from foldwright.accel.network import Network
from foldwright.accel.schedule import Schedule
from foldwright.accel.tilings import tilings_of
from foldwright.agents.buildable import nearest_buildable
from foldwright.agents.params import NoParams
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import Evaluations
from foldwright.budget import Budget
from foldwright.config import OptimizeOptions
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.envs.tiling.problem import TilingProblem, TilingSolution
from foldwright.errors import InfeasibleError
from foldwright.explain import out_of_reach
from foldwright.joint import improve
from foldwright.layout_plans import deep_enough, is_in_space, schedule_cycles, scheduled
from foldwright.netlists.part import load_part
from foldwright.race import (
    Solvers,
    beginning_with,
    distinct_instances,
    race,
    rate,
    tile,
    tiling_instance,
)

if TYPE_CHECKING:
    from foldwright.envs.problem import Choices

__all__ = ["Design", "Finder", "design_finder"]

_MILLI = 1000
_ALLOCATION_SHARE, _BUILDABLE_SHARE = 0.2, 0.6
_BUILDABLE_DESIGNS = 3
_WIDENED_PERMILLE = 100
_PER_FRAMES = 2
"""Designs of each number of frames per round whose schedules race, beside those that allocation scores best."""


@dataclass(frozen=True)
class Design:
    """Engines with their schedule, and the searches that found them.

    `lut_bound` is None unless LUTs were the objective. With a `network` the datapath is one that the RTL is built for, whose
    memories may be deeper than the schedule needs.
    """

    problem: AllocationProblem
    instance: TilingProblem
    tiling: Result
    allocation: Result | None = None
    lut_bound: int | None = None
    network: Network | None = None

    @cached_property
    def datapath(self) -> Datapath:
        """The engines, their memories as deep as the schedule needs, or the layout has them."""
        solution: TilingSolution = self.tiling.solution
        sized = self.instance.sized_datapath(solution)
        if self.network is None:
            return sized
        layout = lay_out(self.network, sized, tilings=tilings_of(solution.decisions))
        return deep_enough(datapath_of_layout(layout), sized)

    @cached_property
    def schedule(self) -> Schedule:
        schedule = self.instance.schedule(self.tiling.solution)
        if self.network is None:
            return schedule
        part = load_part(self.problem.part)
        return replace(schedule, bram36=sum(bram36_of_engine(e, part) for e in self.datapath.engines))

    @property
    def cycles_per_frame(self) -> float:
        return self.schedule.cycles_per_round / self.datapath.batch_frames

    @cached_property
    def used(self) -> Utilization:
        """What the design takes of its part."""
        return cost(self.datapath, load_part(self.problem.part), self.problem.technology)

    @property
    def in_space(self) -> bool:
        """Whether the bound of the problem holds for the design."""
        return self.network is None or is_in_space(self.problem, self.datapath)

    @property
    def gap(self) -> float:
        """How far the cycles are from the bound of the problem's space, less one; below it only outside the space."""
        gap = _MILLI * self.cycles_per_frame / self.problem.bound().value - 1
        return max(0.0, gap) if self.in_space else gap


Finder = Callable[[AllocationProblem, Budget, Sequence["Choices"]], Design]
"""Finds a design within a budget of CPU time; some choices are worth a schedule whatever the search says."""


def design_finder(options: OptimizeOptions, solvers: Solvers, network: Network | None = None) -> Finder:
    """Returns what finds designs for the objective; with a network, such as the RTL can be built for."""

    def find(problem: AllocationProblem, budget: Budget, also: Sequence[Choices] = ()) -> Design:
        if network is not None:
            return _buildable(problem, network, options, solvers, budget)
        if options.objective == "lut":
            return _cheapest(problem, options, solvers, budget)
        return _fastest(problem, options, solvers, budget, also)

    return find


def _fastest(
    problem: AllocationProblem, options: OptimizeOptions, solvers: Solvers, budget: Budget,
    also: Sequence[Choices],
) -> Design:  # fmt: skip
    """Searches for the engines with the most frames per second, for the schedules of the best few, then for both together."""
    allocation, designs = _allocate(problem, options, solvers, budget)
    instances = distinct_instances(problem, [*designs, *also])
    best = race(instances, options, solvers, budget)
    return Design(problem, *improve(problem, best, options, solvers, budget), allocation)


def _buildable(
    problem: AllocationProblem, network: Network, options: OptimizeOptions, solvers: Solvers, budget: Budget
) -> Design:
    """Searches for engines, then near the best few for what the RTL can be built for; tensors stay on chip."""
    allocation, designs = _allocate(problem, options, solvers, budget)
    instances = distinct_instances(problem, designs)[:_BUILDABLE_DESIGNS]
    with budget.stage("buildable"):
        best = nearest_buildable(
            network, [instance.datapath for instance in instances], load_part(problem.part), problem.lut_budget,
            problem.technology, stop=budget.watched("buildable", _BUILDABLE_SHARE), seed=options.seed,
            schedule_cycles=lambda layout: schedule_cycles(problem, layout),
        )  # fmt: skip
    instance, choices = scheduled(problem, best.layout)
    with budget.stage("tiling"):
        search = Search(
            beginning_with(instance, choices.tolist()), "resident", Evaluations(1), options.seed, NoParams()
        )
        search.start()
        search.evaluate(choices)
        tiling = search.result()
    return Design(problem, instance, tiling, allocation, network=network)


def _allocate(
    problem: AllocationProblem, options: OptimizeOptions, solvers: Solvers, budget: Budget
) -> tuple[Result, list[Choices]]:
    """Searches for engines; returns what was found, and the designs that are worth a schedule, the best first."""
    solver, params = solvers["allocation"]
    with budget.stage("allocation"):
        # the stage before made the bound, and with it what solvers are charged for
        stop = budget.watched("allocation", _ALLOCATION_SHARE, prepared=problem.preparation_seconds)
        allocation = solver(problem, stop=stop, seed=options.seed, params=params)
        budget.done("allocation", allocation)
        if budget.tell is not None and allocation.has_solution:
            budget.tell("allocation", allocation.cpu_seconds, allocation.iterations, allocation.cost)
    if not allocation.has_solution:
        raise InfeasibleError(
            f"{problem.name}: solver {solver.name!r} found no design that fits; give it more time or another solver"
        )
    designs = [np.array(allocation.choices, dtype=np.int64)]
    if solver.name == "exact":
        designs += problem.search.leading(_PER_FRAMES)
    return allocation, designs


def _cheapest(
    problem: AllocationProblem, options: OptimizeOptions, solvers: Solvers, budget: Budget
) -> Design:
    """Tiles designs from the cheapest on until one reaches the target rate.

    Designs come from the frontier at the target's time, then at up to `_WIDENED_PERMILLE` less.
    """
    assert options.target_fps is not None  # the options say so
    target = math.floor(options.clock_mhz * 1e6 * _MILLI / options.target_fps)
    if problem.bound().value > target:
        raise InfeasibleError(out_of_reach(problem, options.target_fps, options.clock_mhz, target))
    fixed = problem.lut_budget - int(problem.tables[4][2])
    stop = budget.stop(1.0)
    lut_bound, tried, least, before = None, 0, math.inf, time.process_time()
    for less in range(0, _WIDENED_PERMILLE + 1, 5):
        for luts, choices in problem.search.cheapest(target * (1000 - less) // 1000):
            lut_bound = luts + fixed if lut_bound is None else lut_bound
            if stop(time.process_time() - before, tried, 0):
                break
            tried += 1
            if not 0 < problem.cost_of(choices) <= target * 1.05:
                continue
            instance = tiling_instance(problem, choices)
            result = tile(instance, options, solvers, budget, 0.05)
            least = min(least, rate(instance, result) * _MILLI)
            if least <= target:
                return Design(problem, instance, result, lut_bound=lut_bound)
    bound, fastest = (options.clock_mhz * 1e6 * _MILLI / v for v in (problem.bound().value, least))
    raise InfeasibleError(
        f"{problem.name}: no design found that reaches {options.target_fps:g} frames per second at {options.clock_mhz:g} MHz "
        f"within {problem.lut_budget} LUTs: the fastest of {tried} tried makes {fastest:.0f}, none of the space more than "
        f"{bound:.0f}; lower --target-fps or raise --budget-lut-percent or --cpu-seconds"
    )
