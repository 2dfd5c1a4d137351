"""The sweep that makes a front: designs for several budgets of LUTs, each with the exact frontier's bound.

Budgets are shares of the part's LUTs from what the run may use down to the least at which a design fits. The largest comes
first and takes most of the CPU time; each smaller one also tries the chain of engines of the one before, made smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from foldwright.accel.plan import Plan
from foldwright.agents.stop import NO_COST
from foldwright.budget import Budget
from foldwright.designs import Design, Finder
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.problem import Choices
from foldwright.errors import IllegalSolutionError, InfeasibleError
from foldwright.netlists.part import load_part
from foldwright.pareto import BoundPoint, Pareto, ParetoPoint, figures_of_point

__all__ = ["DEFAULT_POINTS", "bounds_from", "least_percent", "pareto_of", "percents_of", "sweep"]

DEFAULT_POINTS = 12
_BOUND_POINTS = 48
_FIRST_SHARE = 0.3
"""Of the CPU time, for the largest budget; the others share the rest."""
_NEIGHBOURS = 3
"""Designs of the neighbour's chain that a budget tries beside its own."""
_MILLI = 1000
_FIGURE_DIGITS = 3
_PERCENT_STEPS = 100
"""Budgets are whole hundredths of a percent."""


def percents_of(problem: AllocationProblem, points: int) -> list[float]:
    """Returns budgets in percent, evenly from the problem's own down to the least that a design needs; 2 or more."""
    most, least = problem.budget_lut_percent, least_percent(problem)
    steps = np.linspace(most, least, points)[1:]
    shares = [math.ceil(_PERCENT_STEPS * step) / _PERCENT_STEPS for step in steps]
    return [most, *(p for p in dict.fromkeys(shares) if least <= p < most)]


def least_percent(problem: AllocationProblem) -> float:
    """Returns the least share of the part's LUTs at which an instance can be posed, in whole hundredths of a percent."""
    return _percent_of(problem.least_luts, problem)


def _percent_of(lut: int, problem: AllocationProblem) -> float:
    """Returns the share of the part's LUTs that so many need, in whole hundredths of a percent, rounded up."""
    percent = 100 * lut / load_part(problem.part).budget.lut
    return min(problem.budget_lut_percent, math.ceil(_PERCENT_STEPS * percent) / _PERCENT_STEPS)


def sweep(problem: AllocationProblem, find: Finder, budget: Budget, points: int) -> list[Design]:
    """Returns a design for each budget, the largest first; budgets at which nothing is found are left out."""
    percents = percents_of(problem, points)
    designs = [find(problem, budget.part(_FIRST_SHARE), ())]
    with budget.stage("front"):
        for k, percent in enumerate(percents[1:], 1):
            quiet = Budget(
                budget.options, None, {}, budget.whole * (1 - _FIRST_SHARE) / max(1, len(percents) - 1)
            )
            try:
                smaller = problem.within(percent)
                designs.append(find(smaller, quiet, _like(smaller, designs[-1])))
            except InfeasibleError:
                continue
            if budget.tell is not None:
                best = round(_MILLI * designs[-1].cycles_per_frame)
                budget.tell("front", sum(quiet.spent.values()), k, best or NO_COST)
    return designs


def _like(problem: AllocationProblem, design: Design) -> list[Choices]:
    """Returns designs of the same chain of engines as another, none where it lies outside the space."""
    try:
        choices = problem.encode(AllocationSolution(design.instance.datapath))
    except IllegalSolutionError:
        return []
    return problem.search.like(choices, _NEIGHBOURS)


def pareto_of(designs: list[Design], plan: Plan) -> Pareto:
    """Returns the front of designs, each checked by the referees, and the curve of bounds from the least LUTs on.

    Args:
        plan: of the run; part, clock and workload are those of all designs.

    Raises:
        IllegalSolutionError: the referee refuses a design.
    """
    points: list[ParetoPoint] = []
    for design in sorted(designs, key=lambda d: (d.used.lut, d.cycles_per_frame)):
        point = _point(design, plan)
        if not points or point.fps > points[-1].fps:
            points.append(point)
    return Pareto(tuple(bounds_from(designs[0].problem, points[0].lut, plan.clock_mhz)), tuple(points))


def _point(design: Design, plan: Plan) -> ParetoPoint:
    """Returns a design as a point, after the referees have seen it."""
    own = replace(plan, datapath=design.datapath, budget_lut_percent=design.problem.budget_lut_percent)
    own.check(design.schedule)
    return ParetoPoint(
        budget_lut_percent=design.problem.budget_lut_percent,
        **figures_of_point(own, design.schedule),
        bound_cycles=round(design.problem.bound().value / _MILLI, _FIGURE_DIGITS),
        gap=round(design.gap, 6),
        in_space=design.in_space,
        datapath=design.datapath,
        decisions=design.tiling.solution.decisions,
    )


def bounds_from(problem: AllocationProblem, least_lut: int, clock_mhz: float) -> Iterator[BoundPoint]:
    """Yields the bounds at evenly spaced budgets, from some LUTs up to the problem's own budget."""
    least = _percent_of(least_lut, problem)
    for percent in np.linspace(least, problem.budget_lut_percent, _BOUND_POINTS):
        own = problem if percent == problem.budget_lut_percent else problem.within(float(percent))
        cycles = own.bound().value / _MILLI
        fps = round(clock_mhz * 1e6 / cycles, _FIGURE_DIGITS)
        yield BoundPoint(own.lut_budget, fps, round(cycles, _FIGURE_DIGITS))
