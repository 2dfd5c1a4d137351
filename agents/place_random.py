"""Random placements, the floor that every other placer has to beat. Iterations are placements."""

from __future__ import annotations

from foldwright.agents.params import NoParams
from foldwright.agents.place_search import PlaceSearch
from foldwright.agents.result import Result
from foldwright.agents.stop import StopRule
from foldwright.envs.placement.moves import random_sites
from foldwright.envs.problem import Problem

__all__ = ["NoParams", "solve"]


def solve(problem: Problem, *, stop: StopRule, seed: int, params: NoParams | None = None) -> Result:
    """Draws placements, each site alike, until the stop."""
    search = PlaceSearch(problem, "random", stop, seed, params or NoParams())
    wires, board = search.placement.wires, search.placement.board
    search.placement.wirelength(random_sites(wires, board, search.rng))
    search.start()
    while not search.done:
        search.offer(random_sites(wires, board, search.rng))
    return search.result()
