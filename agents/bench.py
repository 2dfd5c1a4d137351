"""Runs a suite: every solver on every instance with every budget and seed, each run once and kept in a store.

Equal CPU means user and system time of all threads and children of the run, after imports, kernel compilation and the bound
of the problem; each process also lets a solver make one evaluation on an instance before the first run that counts. This
warm-up is kept apart. Work that is counted in evaluations gives the same results for any number of workers; under
CPU seconds results depend on the machine, and on what else runs on it.

A run that ends by an error, or takes its process with it, is kept with its error: it is a result, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foldwright.agents.registry import get_solver
from foldwright.agents.result import Result
from foldwright.agents.stop import CpuClock, Evaluations
from foldwright.agents.store import RunKey, RunStore, StoredRun
from foldwright.agents.suite import Budget, SolverSpec, Suite, instance_hash, load_problem
from foldwright.agents.workers import Died, run_tasks
from foldwright.envs.problem import Problem
from foldwright.errors import ConfigError, FoldwrightError

__all__ = ["MAX_WORKERS", "Run", "execute", "key_of", "plan", "run_suite"]

MAX_WORKERS = 256
_SHOWN_ERROR = 500


@dataclass(frozen=True, slots=True)
class Run:
    """One run to make: a solver on an instance, by name or file, with a budget and a seed."""

    instance: str
    solver: SolverSpec
    budget: Budget
    seed: int

    def __str__(self) -> str:
        return f"{self.solver.label} on {self.instance}, {self.budget}, seed {self.seed}"


def plan(suite: Suite) -> list[Run]:
    """Returns the runs of a suite, in order."""
    return [
        Run(instance, solver, budget, seed)
        for instance in suite.instances
        for solver in suite.solvers
        for budget in suite.budgets
        for seed in range(suite.seeds)
    ]


def key_of(run: Run, suite_digest: str) -> RunKey:
    """Returns what identifies a run in a store."""
    return RunKey(
        suite=suite_digest,
        instance=instance_hash(run.instance),
        solver=run.solver.name,
        params=run.solver.identity(load_problem(run.instance).kind),
        budget_kind=run.budget.kind,
        budget=float(run.budget.amount),
        seed=run.seed,
    )


_WARM: set[tuple[str, str, str]] = set()


def _warm_up(problem: Problem, run: Run) -> float:
    """Lets the solver make one evaluation where it has not run on the instance in this process; returns CPU seconds."""
    pair = (run.instance, run.solver.name, run.solver.identity(problem.kind))
    if pair in _WARM:
        return 0.0
    clock = CpuClock()
    get_solver(run.solver.name)(problem, stop=Evaluations(1), seed=run.seed, params=run.solver.params)
    _WARM.add(pair)
    return clock()


def _search(run: Run) -> tuple[Result, float]:
    """Returns the result of a run and the CPU seconds before it began to count."""
    clock = CpuClock()
    problem = load_problem(run.instance)
    loading = clock()
    warming = _warm_up(problem, run)
    solver = get_solver(run.solver.name)
    result = solver(problem, stop=run.budget.rule, seed=run.seed, params=run.solver.params)
    if result.has_solution:
        problem.check(result.solution)
    return result, loading + warming + result.warmup_seconds


def execute(task: tuple[RunKey, Run]) -> StoredRun:
    """Makes a run, checks its solution independently, and returns the result or the error that ended it."""
    key, run = task
    try:
        result, warmup_seconds = _search(run)
        return StoredRun(key, result, "", warmup_seconds)
    except FoldwrightError as error:
        words = str(error)
    except Exception as error:  # whatever a solver raises belongs into the table, not over it
        words = f"{type(error).__name__}: {error}"
    return StoredRun(key, None, words[:_SHOWN_ERROR] or "an error without words", 0.0)


def run_suite(
    suite: Suite,
    store: RunStore,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    tell: Callable[[int, int, str], None] | None = None,
) -> list[tuple[Run, StoredRun]]:
    """Makes the runs of a suite that the store does not hold yet, and returns all of them in the order of the plan.

    Args:
        workers: Processes that run at the same time; with one, runs are made in this process.
        retry_failed: Makes runs again that the store holds with an error.
        tell: Called with runs done, runs in all and the last one in words.

    Raises:
        ConfigError: `workers` is out of its range.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"--workers is {workers}, allowed is 1 to {MAX_WORKERS}")
    tasks = [(key_of(run, suite.digest), run) for run in plan(suite)]
    missing = [task for task in tasks if _is_missing(store.get(task[0]), retry_failed)]
    done = len(tasks) - len(missing)
    for (key, run), answer in run_tasks(execute, missing, workers):
        store.put(StoredRun(key, None, str(answer), 0.0) if isinstance(answer, Died) else answer)
        done += 1
        if tell is not None:
            tell(done, len(tasks), str(run))
    return [(run, _stored(store, key)) for key, run in tasks]


def _is_missing(stored: StoredRun | None, retry_failed: bool) -> bool:
    return stored is None or (retry_failed and stored.result is None)


def _stored(store: RunStore, key: RunKey) -> StoredRun:
    run = store.get(key)
    assert run is not None  # it was there before, or was put there just now
    return run
