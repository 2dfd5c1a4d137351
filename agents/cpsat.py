"""CP-SAT on a problem's own model: solutions re-scored by the problem, bounds kept where the model allows it.

A model may leave things out (`CpProblem.is_relaxation`). Every solution it finds is scored by `cost_of`; when
the model is solved but the problem is not, the scored choices are forbidden, only objectives below the best
cost are kept, and the search goes on in another round until the model is empty. Where the model holds every
legal solution (`CpProblem.is_complete`) the best one is then proven best; elsewhere only the first round bounds.

Under a rule that counts work one worker gives a reproducible result; several report other solutions on the way
each time, even interleaved. Under a rule that counts CPU seconds a thread watches the clock. Iterations are
scored solutions.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from ortools.sat.python import cp_model

from foldwright.agents import greedy
from foldwright.agents.faces import WithCpModel
from foldwright.agents.params import require_range
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import (
    NO_COST,
    CpuSeconds,
    Evaluations,
    StopRule,
    any_of,
    cpu_limit,
    is_reproducible,
    unit_limit,
    without_counts,
)
from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.problem import Choices, Problem
from foldwright.errors import ConfigError, VerificationError
from foldwright.jsonform import STRICT

__all__ = ["CpSatParams", "prove", "solve"]

_WATCH_SECONDS = 0.002
_HINT_EVALUATIONS = 5000
_MAX_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CpSatParams:
    """Options of the CP-SAT solver.

    Attributes:
        workers: Threads of CP-SAT; the CPU time of all counts, and more than one is not reproducible.
        hint: What the first solution is suggested to be: the best start known, or a greedy descent from it.
        linearization_level: CP-SAT's own: 0 none, 1 some, 2 all constraints enter the linear relaxation.
        bound_share: Share of the stop for a search of the tree by its lower bounds, all constraints in the linear relaxation,
            before the one for solutions.
    """

    __pydantic_config__: ClassVar = STRICT

    workers: int = 1
    hint: Literal["start", "greedy", "none"] = "greedy"
    linearization_level: int = 1
    bound_share: float = 0.0

    def __post_init__(self) -> None:
        require_range("solver 'cp-sat': option 'bound_share'", self.bound_share, 0.0, 1.0)
        require_range("solver 'cp-sat': option 'workers'", self.workers, 1, 64)
        require_range("solver 'cp-sat': option 'linearization_level'", self.linearization_level, 0, 2)


class _Scorer(cp_model.CpSolverSolutionCallback):
    """Scores each solution of the model by the problem, and keeps what was scored."""

    def __init__(self, search: Search, cp: CpProblem) -> None:
        super().__init__()
        self._search, self._cp = search, cp
        self.scored: list[Choices] = []
        self.error: VerificationError | None = None

    def on_solution_callback(self) -> None:
        choices = np.array([self.value(v) for v in self._cp.decisions], dtype=np.int64)
        self.scored.append(choices)
        try:
            self._search.evaluate(choices)
            if self._search.done:
                self.stop_search()
        except VerificationError as error:  # must not pass through foreign code; raised after the round
            self.error = error
            self.stop_search()


class _Rounds:
    """Rounds of CP-SAT on one model, each with what the rounds before it ruled out."""

    def __init__(self, search: Search, params: CpSatParams, stop: StopRule) -> None:
        assert isinstance(search.problem, WithCpModel)
        self._search, self._params, self._stop = search, params, stop
        self._cp: CpProblem = search.problem.cp_model()
        self._units = unit_limit(stop)
        self._used_units = 0.0
        self._bounds_hold = self._cp.is_relaxation
        self.empty = False

    def hint(self, choices: Choices) -> None:
        """Suggests choices to the first round."""
        for variable, value in zip(self._cp.decisions, choices, strict=True):
            self._cp.model.add_hint(variable, int(value))

    def play(self, by_bounds: bool = False) -> None:
        """Solves the model until it is solved, empty or stopped, and rules out what was scored."""
        solver = self._solver(by_bounds)
        scorer = _Scorer(self._search, self._cp)
        with self._watched(solver):
            status = solver.solve(self._cp.model, scorer)
        if scorer.error is not None:
            raise scorer.error
        self._used_units += solver.response_proto.deterministic_time
        if status == cp_model.MODEL_INVALID:
            raise VerificationError(
                f"{self._search.problem.name}: CP-SAT refuses the model: {self._cp.model.validate()}"
            )
        self.empty = status == cp_model.INFEASIBLE
        if self._bounds_hold and self.empty and self._search.best_cost == NO_COST:
            self._search.exclude_all()
        elif self._bounds_hold:
            self._take_bound(math.inf if self.empty else solver.best_objective_bound)
        self._rule_out(scorer.scored)
        self._bounds_hold &= self._cp.is_complete or not scorer.scored  # nothing was ruled out then

    def _solver(self, by_bounds: bool) -> cp_model.CpSolver:
        solver = cp_model.CpSolver()
        settings = solver.parameters
        settings.num_workers = self._params.workers
        settings.random_seed = self._search.seed % _MAX_SEED
        settings.linearization_level = 2 if by_bounds else self._params.linearization_level
        settings.optimize_with_lb_tree_search = by_bounds
        if self._units is not None:
            units = self._units * self._params.bound_share if by_bounds else self._units
            settings.max_deterministic_time = max(0.0, units - self._used_units)
        if self._bounds_hold:
            solver.best_bound_callback = self._take_bound
        return solver

    def _take_bound(self, bound: float) -> None:
        """Takes over a bound of the model; what was ruled out before costs at least the best cost."""
        search = self._search
        known = search.best_cost if bound > search.best_cost else math.ceil(bound - 1e-3)
        search.raise_bound(min(known, search.best_cost), f"CP-SAT on a model of the problem: {self._cp.note}")

    def keep_bound(self) -> None:
        """Tells the model the bound that is known, so that the next round begins with it."""
        if self._cp.is_relaxation and self._search.bound > 0:
            self._cp.model.add(self._cp.objective >= self._search.bound)

    def _rule_out(self, scored: list[Choices]) -> None:
        model = self._cp.model
        if scored:
            model.add_forbidden_assignments(self._cp.decisions, [tuple(map(int, c)) for c in scored])
        if self._cp.is_relaxation and self._search.best_cost < NO_COST:
            model.add(self._cp.objective <= self._search.best_cost - 1)
        model.clear_hints()

    @contextmanager
    def _watched(self, solver: cp_model.CpSolver) -> Iterator[None]:
        """Ends the solver when a rule that counts time says so."""
        if is_reproducible(self._stop):
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_WATCH_SECONDS):
                if self._search.done:
                    solver.stop_search()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    @property
    def out_of_units(self) -> bool:
        return self._units is not None and self._used_units >= self._units


def _suggest(search: Search, how: str) -> None:
    """Finds the first solution to suggest; its evaluations are counted among the scored solutions."""
    if how != "none":
        search.evaluate_offered()
    if how == "greedy":
        stop = any_of(Evaluations(_HINT_EVALUATIONS), search.stop)
        found = greedy.solve(
            search.problem, stop=stop, seed=search.seed, params=greedy.GreedyParams(restarts=0)
        )
        search.iterations += found.iterations
        if found.has_solution:
            search.evaluate(np.array(found.choices, dtype=np.int64))


def solve(problem: Problem, *, stop: StopRule, seed: int, params: CpSatParams | None = None) -> Result:
    """Solves the problem's CP-SAT model in rounds until the stop or a proof.

    Raises:
        ConfigError: the problem has no CP-SAT model.
    """
    params = params or CpSatParams()
    if not isinstance(problem, WithCpModel):
        raise ConfigError(
            f"solver 'cp-sat': {problem.name!r} ({problem.kind}) has no CP-SAT model; use 'anneal' or 'exact'"
        )
    search = Search(problem, "cp-sat", stop, seed, params)
    if params.hint == "greedy":
        greedy.solve(problem, stop=Evaluations(1), seed=seed)  # warm-up
    search.start()
    if not search.done and search.prepare():
        _suggest(search, params.hint)
        hinted = params.hint != "none" and search.best_cost < NO_COST
        prove(search, params, stop, search.best if hinted else None)
    return search.result(reproducible=params.workers == 1)


def prove(search: Search, params: CpSatParams, stop: StopRule, hint: Choices | None) -> None:
    """Solves the model of a search's problem in rounds until the stop, or until the best solution is proven best.

    Work that the stop counts is CP-SAT's own; the search's stop is another one afterwards.
    """
    search.stop = without_counts(stop)  # work is counted in CP-SAT's units, not in scored solutions
    rounds = _Rounds(search, params, stop)
    if params.bound_share > 0:
        began, limit = search.clock(), cpu_limit(stop)
        whole = search.stop
        if limit is not None:
            search.stop = any_of(whole, CpuSeconds(began + params.bound_share * (limit - began)))
        rounds.play(by_bounds=True)
        search.stop = whole
        rounds.keep_bound()
    if hint is not None:
        rounds.hint(hint)
    while not (search.done or rounds.empty or rounds.out_of_units):
        rounds.play()
