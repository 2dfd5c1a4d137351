"""What the solvers of placement share: a search whose best solution is kept as sites, and loops that score placements.

Choices are only made of the best sites at the end: to name a placement of five thousand cells by choices takes longer
than a thousand proposals of the annealer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from foldwright.agents.result import Result
from foldwright.agents.search import UNLIMITED, Search
from foldwright.agents.stop import NO_COST, StopRule
from foldwright.envs.placement.construct import construct
from foldwright.envs.placement.moves import Int32, Int64
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.envs.problem import Problem
from foldwright.errors import ConfigError

__all__ = ["PlaceSearch", "as_placement"]

Step = Callable[[int], tuple[int, int, Int32]]
"""Makes up to so many evaluations; returns how many, and the cost and the sites where it stands."""


def as_placement(problem: Problem, solver: str) -> PlacementProblem:
    """Returns the problem as what it must be.

    Raises:
        ConfigError: it is of another kind.
    """
    if not isinstance(problem, PlacementProblem):
        raise ConfigError(f"solver {solver!r} for placement: {problem.name!r} is of kind {problem.kind!r}")
    return problem


class PlaceSearch(Search):
    """A search on a placement problem; `placement` is the problem, `best_sites` the best solution."""

    def __init__(self, problem: Problem, solver: str, stop: StopRule, seed: int, params: object) -> None:
        self.placement = as_placement(problem, solver)
        super().__init__(problem, solver, stop, seed, params)
        self.best_sites = self.placement.sites_of(self.fallback)
        self.placement.choices_of(self.best_sites)  # warm-up

    def constructed(self, order: Int64 | None = None) -> Int32:
        """Returns a placement built cell by cell, in the problem's order or a given one."""
        problem = self.placement
        sites = np.full(problem.netlist.cells, -1, dtype=np.int32)
        construct(problem.wires, problem.board, problem.tree.order if order is None else order, sites)
        return sites

    def offer(self, sites: Int32, cost: int | None = None) -> int:
        """Counts a placement as one evaluation and keeps it if it is the best; returns its cost."""
        value = self.placement.wirelength(sites) if cost is None else cost
        self.step(lambda limit: (1, value, sites), most=1)
        return value

    def step(self, step: Step, most: int = UNLIMITED) -> int:
        """Lets `step` work for a while and keeps what it came to if that is the best; returns the evaluations made."""

        def loop(best: object, best_cost: int, trace: Int64, limit: int) -> int:
            used, cost, sites = step(limit)
            trace[0, 0] = int(cost < best_cost)
            if cost < best_cost:
                trace[1] = used, cost
                self.best_sites[:] = sites
            return used

        return self.run(loop, most=most)

    def result(self, reproducible: bool = True) -> Result:
        if self.best_cost < NO_COST:
            self.best[:] = self.placement.choices_of(self.best_sites)
        return super().result(reproducible)
