"""Greedy placement: cells in connectivity order on their best free sites, relocation, then ruin and recreate.

The construction places the cell with the strongest nets to those placed before on the free site that adds least wire.
Sweeps take up one cell after another and put it on its best free site, until a sweep gains nothing. Then a few cells that
lie together in the netlist are taken up and placed again one by one; what is not worse stays.

Iterations are placements scored: the construction, each sweep, each recreation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foldwright.agents.params import require_range
from foldwright.agents.place_search import PlaceSearch
from foldwright.agents.result import Result
from foldwright.agents.stop import StopRule
from foldwright.envs.placement.construct import construct, relocate, ruin
from foldwright.envs.placement.moves import Int32
from foldwright.envs.problem import Problem
from foldwright.jsonform import STRICT

__all__ = ["PlaceGreedyParams", "solve"]

_WIDE_NET = 16
"""Nets with more cells do not say which cells lie together."""


@dataclass(frozen=True, slots=True)
class PlaceGreedyParams:
    """Options of the greedy placer.

    Attributes:
        sweeps: Most sweeps of relocation after the construction.
        ruin_cells: Cells that a ruin takes up.
        restarts: Ruins after the sweeps; 0 ends with the sweeps, -1 goes on until the stop.
    """

    __pydantic_config__: ClassVar = STRICT

    sweeps: int = 8
    ruin_cells: int = 12
    restarts: int = -1

    def __post_init__(self) -> None:
        where = "solver 'greedy' for placement: option "
        require_range(where + "'sweeps'", self.sweeps, 0, 10**9)
        require_range(where + "'ruin_cells'", self.ruin_cells, 1, 10**6)
        require_range(where + "'restarts'", self.restarts, -1, 10**9)


def _recreate(search: PlaceSearch, sites: Int32, count: int) -> Int32:
    """Returns a placement with a few cells placed anew in random order."""
    wires, board = search.placement.wires, search.placement.board
    trial = sites.copy()
    cells = ruin(wires, board, trial, int(search.rng.integers(len(sites))), count, _WIDE_NET)
    construct(wires, board, search.rng.permutation(cells), trial)
    return trial


def solve(problem: Problem, *, stop: StopRule, seed: int, params: PlaceGreedyParams | None = None) -> Result:
    """Constructs, sweeps, then ruins and recreates until the stop."""
    params = params or PlaceGreedyParams()
    search = PlaceSearch(problem, "greedy", stop, seed, params)
    wires, board, order = search.placement.wires, search.placement.board, search.placement.tree.order
    relocate(wires, board, order[:1], _recreate(search, search.constructed(), 2))  # warm-up
    search.start()
    if search.done:
        return search.result()
    sites = search.constructed()
    cost, before = search.offer(sites), -1
    for _ in range(params.sweeps):
        if search.done or cost == before:
            break
        before = cost
        relocate(wires, board, order, sites)
        cost = search.offer(sites)
    ruins = 0
    count = min(params.ruin_cells, len(sites))
    while not search.done and ruins != params.restarts:
        trial = _recreate(search, sites, count)
        found = search.offer(trial)
        if found <= cost:
            sites, cost = trial, found
        ruins += 1
    return search.result()
