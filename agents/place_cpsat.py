"""CP-SAT on placement: the whole model of a tiny instance, windows around the incumbent of a larger one.

An instance with few enough pairs of cells and sites goes to the general CP-SAT solver, which proves bounds. Else the
greedy construction or a short annealing is improved window by window (large neighbourhood search): some cells that lie
close together on the grid, or all cells of a scarce kind (the hard blocks) near each other, with the free sites among
them, are placed anew by a model of their nets alone; a better solution of it improves the whole.

Iterations are windows solved, beside the evaluations of the start. Reproducible under rules that count work: windows then
end at their own deterministic time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from ortools.sat.python import cp_model

from foldwright.agents import cpsat, place_anneal, place_greedy
from foldwright.agents.params import require_range
from foldwright.agents.place_search import PlaceSearch
from foldwright.agents.result import Result
from foldwright.agents.stop import Evaluations, StopRule, any_of
from foldwright.envs.placement.model import MOST_LITERALS, window_model
from foldwright.envs.placement.moves import Int64
from foldwright.envs.problem import Problem
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT

__all__ = ["PlaceCpSatParams", "solve"]

_MAX_SEED = 2**31 - 1
_WHOLE_LITERALS = 2500
"""Pairs of a cell and a site up to which the whole instance is one model: beyond, windows find more."""
_START_PROPOSALS = 2_000
_HARD_CHANCE = 0.3


@dataclass(frozen=True, slots=True)
class PlaceCpSatParams:
    """Options of CP-SAT for placement.

    Attributes:
        window_cells: Cells of a window.
        window_units: Deterministic time of a window's model; a unit is about a second.
        start: What the windows improve: an annealing of 2,000 proposals a cell, or the greedy construction.
        workers: Threads of CP-SAT; more than one is not reproducible.
    """

    __pydantic_config__: ClassVar = STRICT

    window_cells: int = 14
    window_units: float = 0.3
    start: Literal["anneal", "greedy"] = "anneal"
    workers: int = 1

    def __post_init__(self) -> None:
        where = "solver 'cp-sat' for placement: option "
        require_range(where + "'window_cells'", self.window_cells, 2, 200)
        require_range(where + "'window_units'", self.window_units, 1e-3, 1e4)
        require_range(where + "'workers'", self.workers, 1, 64)


class _Windows:
    """Windows on a search's incumbent."""

    def __init__(self, search: PlaceSearch, params: PlaceCpSatParams) -> None:
        self._search, self._params = search, params
        kinds = np.bincount(search.placement.wires.kind)
        self._hard = [k for k in range(len(kinds)) if 1 < kinds[k] < kinds.max()]
        self._seed = search.seed % _MAX_SEED

    def _cells(self) -> Int64:
        """Returns cells close together on the grid: of one scarce kind, or of all."""
        search, rng = self._search, self._search.rng
        wires, xy = search.placement.wires, search.placement.board.xy[search.best_sites]
        pool = np.arange(len(xy))
        if self._hard and rng.random() < _HARD_CHANCE:
            pool = np.flatnonzero(wires.kind == self._hard[rng.integers(len(self._hard))])
        centre = xy[pool[rng.integers(len(pool))]]
        distance = np.abs(xy[pool] - centre).sum(axis=1) + 0.5 * rng.random(len(pool))
        return pool[np.argsort(distance)[: self._params.window_cells]]

    def _open_sites(self, cells: Int64) -> Int64:
        """Returns the free sites nearest the cells, of their kinds, at most one to a cell."""
        problem, sites = self._search.placement, self._search.best_sites
        board, wires, out = problem.board, problem.wires, []
        for kind in np.unique(wires.kind[cells]):
            mine = cells[wires.kind[cells] == kind]
            every = np.arange(board.kind_sites[kind], board.kind_sites[kind + 1])
            free = np.setdiff1d(every, sites[wires.kind == kind])
            centre = board.xy[sites[mine]].mean(axis=0)
            near = np.argsort(np.abs(board.xy[free] - centre).sum(axis=1), kind="stable")
            out.append(free[near[: len(mine)]])
        return np.concatenate(out)

    def improve(self) -> None:
        """Solves one window; keeps what costs less."""
        search, problem = self._search, self._search.placement
        cells = self._cells()
        window = window_model(problem, search.best_sites, cells, self._open_sites(cells))
        window.model.add(window.objective <= window.cost - 1)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = self._params.workers
        solver.parameters.max_deterministic_time = self._params.window_units
        self._seed = (self._seed + 1) % _MAX_SEED
        solver.parameters.random_seed = self._seed
        window.model.clear_hints()
        sites = search.best_sites.copy()
        if solver.solve(window.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            for cell, literals in window.literals.items():
                sites[cell] = next(s for s, literal in literals.items() if solver.value(literal))
        search.offer(sites)


def _start(search: PlaceSearch, stop: StopRule, params: PlaceCpSatParams) -> None:
    """Finds the incumbent that windows improve; its evaluations are counted."""
    problem = search.placement
    if params.start == "anneal":
        limit = any_of(Evaluations(_START_PROPOSALS * problem.netlist.cells), stop)
        found = place_anneal.solve(problem, stop=limit, seed=search.seed)
    else:
        greedy = place_greedy.PlaceGreedyParams(restarts=0)
        found = place_greedy.solve(problem, stop=stop, seed=search.seed, params=greedy)
    search.offer(problem.sites_of(np.array(found.choices, dtype=np.int64)))


def solve(problem: Problem, *, stop: StopRule, seed: int, params: PlaceCpSatParams | None = None) -> Result:
    """Solves the whole model of a tiny instance, else improves a start window by window, until the stop.

    Raises:
        ConfigError: a window has too many pairs of a cell and a site.
    """
    params = params or PlaceCpSatParams()
    search = PlaceSearch(problem, "cp-sat", stop, seed, params)
    sites = np.diff(search.placement.board.kind_sites)[search.placement.wires.kind]
    if sites.sum() <= _WHOLE_LITERALS:
        return cpsat.solve(problem, stop=stop, seed=seed, params=cpsat.CpSatParams(workers=params.workers))
    if 2 * params.window_cells**2 > MOST_LITERALS:
        raise ConfigError(f"solver 'cp-sat' for placement: window_cells is {params.window_cells}, too many")
    place_anneal.solve(problem, stop=Evaluations(2), seed=seed)  # warm-up
    search.start()
    if not search.done:
        _start(search, stop, params)
    windows = _Windows(search, params)
    while not search.done:
        windows.improve()
    return search.result(reproducible=params.workers == 1)
