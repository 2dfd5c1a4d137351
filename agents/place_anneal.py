"""Simulated annealing of placements by the kernels of `foldwright.envs.placement.moves`.

Every run starts from the greedy construction, hot, and follows VPR's schedule. The first has `effort` times
cells^(4/3) proposals a temperature, the next twice as many, and so on; a run after which there is no room for another is
made as long as what is left, and a rest too short for a run goes into a warm one from the best placement. Iterations
are proposals, each a scored placement.

The defaults were chosen on `placement/systolic-857` and `placement/systolic-5243`: a random start and windows over a third of
the grid ended higher there for the same proposals. `benchmarks/placement_baselines.py` measures what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foldwright.agents.params import require_range
from foldwright.agents.place_search import PlaceSearch
from foldwright.agents.result import Result
from foldwright.agents.stop import StopRule
from foldwright.envs.placement.construct import relocate
from foldwright.envs.placement.moves import (
    COOL,
    N_COST,
    S_PER_TEMPERATURE,
    S_PHASE,
    Int32,
    anneal,
    begin,
    is_finished,
    load,
    new_run,
    temperatures_left,
)
from foldwright.envs.problem import Problem
from foldwright.jsonform import STRICT

__all__ = ["PlaceAnnealParams", "solve"]

_LAST_RUN = 2.0
"""Where less is left than so many times the rest of a run, it is the last one, and its length follows what is left."""
_SAFE_SHARE = 0.95
"""Share of what is left that a last run is planned for: the number of temperatures is not known before."""
_LEAST_EFFORT = 0.04
"""Less than so many times cells^(4/3) proposals a temperature end above the construction they start from."""
_SHORT_SHARE = 0.15
_WARM_HEAT = 0.02
_WARM_WINDOW = 4.0
_WARM_TEMPERATURES = 30


@dataclass(frozen=True, slots=True)
class PlaceAnnealParams:
    """Options of the annealer for placement.

    Attributes:
        effort: Proposals at each temperature of the first run, over cells^(4/3).
        growth: Proposals of a run over those of the run before.
        runs: Runs to make; 0 goes on until the stop.
        directed_share: Share of proposals that aim near the cell's nets.
        heat: First temperature, over the standard deviation of the cost of proposals.
        window_share: First window of the other proposals, over the longer side of the grid.
    """

    __pydantic_config__: ClassVar = STRICT

    effort: float = 1.0
    growth: float = 2.0
    runs: int = 0
    directed_share: float = 0.8
    heat: float = 1.0
    window_share: float = 0.2

    def __post_init__(self) -> None:
        where = "solver 'anneal' for placement: option "
        require_range(where + "'effort'", self.effort, 1e-4, 1e4)
        require_range(where + "'growth'", self.growth, 1.0, 1e3)
        require_range(where + "'runs'", self.runs, 0, 10**9)
        require_range(where + "'heat'", self.heat, 1e-6, 1e6)
        for name in ("directed_share", "window_share"):
            require_range(where + repr(name), getattr(self, name), 0.0, 1.0)


class _Annealer:
    """Runs of the kernel on a search's problem."""

    def __init__(self, search: PlaceSearch, params: PlaceAnnealParams) -> None:
        problem = search.placement
        self._search, self._params = search, params
        self._wires, self._board = problem.wires, problem.board
        self._window = max(1.0, params.window_share * max(problem.grid.width, problem.grid.height))
        self._run = new_run(self._wires, self._board, search.constructed(), search.seed)
        self.per_temperature = max(1, int(params.effort * problem.netlist.cells ** (4 / 3)))
        begin(self._run, 1, params.directed_share, params.heat, self._window)
        anneal(self._wires, self._board, self._run, 1)  # warm-up
        relocate(self._wires, self._board, problem.tree.order[:1], self._run.site.copy())
        self._run.numbers[1:] = new_run(self._wires, self._board, self._run.site, search.seed).numbers[1:]

    def _advance(self, limit: int) -> tuple[int, int, Int32]:
        used = anneal(self._wires, self._board, self._run, limit)
        return used, int(self._run.numbers[N_COST]), self._run.site

    def hot(self, start: Int32) -> None:
        """Anneals from a placement; the run becomes as long as what is left where another would not follow."""
        search, run, params = self._search, self._run, self._params
        load(self._wires, self._board, run, start)
        begin(run, self.per_temperature, params.directed_share, params.heat, self._window)
        is_last = False
        while not is_finished(run) and not search.done:
            search.step(self._advance)
            if run.floats[S_PHASE] == COOL:
                temperatures, left = temperatures_left(run), search.expected_evaluations()
                is_last |= left < _LAST_RUN * self.per_temperature * temperatures
                if left < _LEAST_EFFORT * temperatures * len(start) ** (4 / 3):
                    self._cold(start)
                elif is_last:
                    run.floats[S_PER_TEMPERATURE] = max(1, int(_SAFE_SHARE * left / temperatures))
        self.per_temperature = int(self.per_temperature * params.growth)

    def _cold(self, start: Int32) -> None:
        """Descends where there is no time for a schedule: relocation, then proposals that may cost next to nothing."""
        sites = start.copy()
        relocate(self._wires, self._board, self._search.placement.tree.order, sites)
        self._search.offer(sites)
        self.warm()

    def warm(self) -> None:
        """Anneals from the best placement over what the stop leaves."""
        search, run = self._search, self._run
        load(self._wires, self._board, run, search.best_sites)
        per_temperature = search.expected_evaluations() // _WARM_TEMPERATURES
        begin(run, max(1, per_temperature), self._params.directed_share, _WARM_HEAT, _WARM_WINDOW)
        self._finish()

    def _finish(self) -> None:
        while not is_finished(self._run) and not self._search.done:
            self._search.step(self._advance)


def solve(problem: Problem, *, stop: StopRule, seed: int, params: PlaceAnnealParams | None = None) -> Result:
    """Anneals in runs of growing length until the stop."""
    params = params or PlaceAnnealParams()
    search = PlaceSearch(problem, "anneal", stop, seed, params)
    annealer = _Annealer(search, params)
    search.start()
    start, runs, longest = search.best_sites, 0, 0
    while not search.done and (runs < params.runs or params.runs == 0):
        if runs and search.expected_evaluations() < _SHORT_SHARE * longest:
            annealer.warm()
        else:
            start = search.constructed() if runs == 0 else start
            if runs == 0:
                search.offer(start)
            before = search.iterations
            annealer.hot(start)
            longest = max(longest, search.iterations - before)
        runs += 1
    return search.result()
