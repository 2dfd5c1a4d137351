"""The bookkeeping that every solver shares: the clock, the count, the best so far, the trace, the proof.

A solver makes a `Search`, warms up what it will call, and calls `start`; from then on CPU time counts. It
scores choices with `evaluate`, or lets a loop that it bound `run` for a while. It ends when `done`.
"""

from __future__ import annotations

import platform
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from foldwright import __version__
from foldwright.agents.faces import WithPreparation, WithStart
from foldwright.agents.kernel import CHUNK_SECONDS, TRACE_ROWS, Kernel, Loop
from foldwright.agents.result import BoundStep, Improvement, Result, Status
from foldwright.agents.stop import NO_COST, CpuClock, StopRule, cpu_limit, evaluation_limit, is_reproducible
from foldwright.envs.problem import INFEASIBLE, Choices, Problem
from foldwright.errors import VerificationError

__all__ = ["UNLIMITED", "Search", "versions"]

UNLIMITED = 1 << 60
"""More evaluations than any search makes."""
_FIXED_CHUNK = 512
_WARMED_DECISIONS = 128
_FIRST_CHUNK = 4


@cache
def versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    found = {"foldwright": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "ortools"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Search:
    """One run of a solver on a problem; see the module's docstring.

    `best` is the best solution's choices once `best_cost` is below `NO_COST`. Loops write into `best` and
    `trace`.
    """

    def __init__(self, problem: Problem, solver: str, stop: StopRule, seed: int, params: Any) -> None:
        self._warmup = CpuClock()
        self.problem = problem
        self.solver = solver
        self.stop = stop
        self._told = stop
        self.seed = seed
        self.params = params
        self.rng = np.random.default_rng(seed)
        self.sizes: Choices = np.array(problem.sizes, dtype=np.int64)
        self.free: Choices = np.flatnonzero(self.sizes > 1).astype(np.int64)
        self.fallback: Choices = np.array(problem.fallback, dtype=np.int64)
        self.best: Choices = self.fallback.copy()
        self.best_cost = NO_COST
        self.iterations = 0
        self.trace = np.zeros((TRACE_ROWS, 2), dtype=np.int64)
        self._history: list[Improvement] = []
        self._bounds: list[BoundStep] = []
        self._infeasible = False
        self._offered = np.array(problem.start, dtype=np.int64) if isinstance(problem, WithStart) else None
        known = problem.bound()
        self.bound, self._proof = known.value, known.proof
        self._owed_seconds = 0.0
        if isinstance(problem, WithPreparation) and cpu_limit(stop) is not None:
            self._owed_seconds = problem.preparation_seconds
        self._pace = _Pace(stop)

    def bind(self, loop: Loop, *args: Any) -> Loop:
        """Returns `loop` ready for `run`, compiled where the problem's cost is, called once on copies."""
        bound = Kernel(self.problem).bind(loop, *args, self.best, NO_COST, self.trace, 1)
        if len(self.free):
            copies = [a.copy() if isinstance(a, np.ndarray) else np.random.default_rng(0) for a in args]
            bound(*copies, self.best.copy(), NO_COST, self.trace, 1)
        return bound

    def start(self) -> None:
        """Ends the warm-up and scores the fallback; CPU time counts from here."""
        self.problem.cost_of(self.fallback)
        for decision in range(0, len(self.sizes), 1 + len(self.sizes) // _WARMED_DECISIONS):
            self.problem.allowed(self.fallback, decision)
        self._warmup_seconds = self._warmup()
        self.clock = CpuClock()
        self._bounds = [(0.0, self.bound)]
        self.evaluate(self.fallback)

    def prepare(self) -> bool:
        """Counts what the problem spent to prepare its start, exact method and model, once; false where that is too much.

        A bound is known to every solver and costs none anything, but what else was computed for it is not free.
        """
        limit = cpu_limit(self.stop)
        if limit is not None and self.clock() + self._owed_seconds >= limit:
            return False
        self.clock.charge(self._owed_seconds)
        self._owed_seconds = 0.0
        return True

    def evaluate_offered(self) -> None:
        """Scores the start that the problem offers, where it offers one and CPU time suffices for making it."""
        if self._offered is not None and not self.done and self.prepare():
            self.evaluate(self._offered)

    @property
    def is_offered_best(self) -> bool:
        """Whether the best solution is the start that the problem offers."""
        return self._offered is not None and bool((self._offered == self.best).all())

    def evaluate(self, choices: Choices) -> int:
        """Returns the cost of complete choices, counts it, and keeps the choices where they are the best."""
        cost = int(self.problem.cost_of(choices))
        self.iterations += 1
        if cost != INFEASIBLE and cost < self.best_cost:
            self.best[:] = choices
            self._improve(self.iterations, cost)
        return cost

    def run(self, loop: Loop, *args: Any, most: int = UNLIMITED) -> int:
        """Calls a bound loop for a while and takes over what it found; returns the evaluations it made.

        The loop is called as `loop(*args, best, best_cost, trace, limit)`. It makes at most `limit`
        evaluations, keeps what costs less than `best_cost` in `best`, writes each such step into `trace`, and
        returns its evaluations.
        """
        limit = min(most, self._pace.chunk(self.iterations))
        before = self.clock()
        used = int(loop(*args, self.best, self.best_cost, self.trace, limit))
        self._pace.took(used, self.clock() - before)
        for count, cost in self.trace[1 : 1 + self.trace[0, 0]]:
            self._improve(self.iterations + int(count), int(cost))
        self.iterations += used
        return used

    def _improve(self, iterations: int, cost: int) -> None:
        if cost < self.bound:
            raise VerificationError(
                f"{self.problem.name}: a solution costs {cost} {self.problem.unit}, below the proven bound "
                f"{self.bound} ({self._proof}); one of the two is wrong"
            )
        self.best_cost = cost
        self._history.append((self.clock(), iterations, cost))

    def raise_bound(self, bound: int, proof: str) -> None:
        """Takes over a proven bound where it is better than the one known."""
        if bound > self.best_cost:
            raise VerificationError(
                f"{self.problem.name}: the bound {bound} ({proof}) is above the cost {self.best_cost} "
                "of a solution; one of the two is wrong"
            )
        if bound > self.bound:
            self.bound, self._proof = bound, proof
            self._bounds.append((self.clock(), bound))

    def exclude_all(self) -> None:
        """Notes the proof that no choices are legal."""
        self._infeasible = True

    @property
    def proven(self) -> bool:
        """Whether nothing is left to find."""
        return self.best_cost == self.bound or self._infeasible

    @property
    def done(self) -> bool:
        """Whether the search has to end: proven, nothing to decide, or stopped by its rule."""
        stopped = self.stop(self.clock(), self.iterations, self.best_cost)
        return stopped or self.proven or not len(self.free)

    def expected_evaluations(self) -> int:
        """Returns about how many evaluations the stop rule leaves; exact where evaluations are counted."""
        return self._pace.left(self.iterations, self.clock())

    def result(self, reproducible: bool = True) -> Result:
        """Returns the outcome; `reproducible` is whether the solver's own settings are."""
        found = self.best_cost < NO_COST
        if found and not len(self.free):
            self.raise_bound(self.best_cost, "there is nothing to decide")
        status = Status.INFEASIBLE if self._infeasible else Status.UNKNOWN
        if found:
            status = Status.OPTIMAL if self.best_cost == self.bound else Status.FEASIBLE
        return Result(
            problem=self.problem.name,
            unit=self.problem.unit,
            solver=self.solver,
            status=status,
            cost=self.best_cost if found else INFEASIBLE,
            bound=self.bound,
            bound_proof=self._proof,
            choices=tuple(int(c) for c in self.best) if found else (),
            solution=self.problem.decode(self.best.copy()) if found else None,
            iterations=self.iterations,
            cpu_seconds=self.clock(),
            warmup_seconds=self._warmup_seconds,
            seed=self.seed,
            params={f.name: getattr(self.params, f.name) for f in fields(self.params)},
            stop=repr(self._told),
            reproducible=reproducible and is_reproducible(self._told),
            versions=versions(),
            history=tuple(self._history),
            bound_history=tuple(self._bounds),
        )


class _Pace:
    """How many evaluations a loop makes before the stop rule is asked again.

    Under a rule that counts work the chunks are fixed, so that the rule is asked at the same counts each
    time; under one that counts time they follow the speed of the problem.
    """

    def __init__(self, stop: StopRule) -> None:
        self._fixed = is_reproducible(stop)
        self._most = evaluation_limit(stop)
        self._seconds = cpu_limit(stop)
        self._per_second = _FIRST_CHUNK / CHUNK_SECONDS
        self._size = _FIRST_CHUNK

    def chunk(self, iterations: int) -> int:
        # costs of different choices may take very different times, so chunks grow with care
        self._size = max(1, min(2 * self._size, int(self._per_second * CHUNK_SECONDS)))
        size = _FIXED_CHUNK if self._fixed else self._size
        return size if self._most is None else max(1, min(size, self._most - iterations))

    def took(self, evaluations: int, seconds: float) -> None:
        if seconds > 0 and evaluations:
            self._per_second = evaluations / seconds

    def left(self, iterations: int, cpu_seconds: float) -> int:
        counts = [UNLIMITED]
        if self._most is not None:
            counts.append(self._most - iterations)
        if self._seconds is not None:
            counts.append(int((self._seconds - cpu_seconds) * self._per_second))
        return max(0, min(counts))
