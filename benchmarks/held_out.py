"""Runs of solvers on the first instances of a held-out split at equal CPU, kept in a folder and not made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foldwright.agents.bench import run_suite
from foldwright.agents.scores import Done
from foldwright.agents.store import STORE_NAME, RunStore
from foldwright.agents.suite import SolverSpec, suite_of
from foldwright.envs.registry import split as problems_of

__all__ = ["LONG_SECONDS", "SPLITS", "HeldOut"]

SPLITS = ("heldout-id", "heldout-size", "heldout-real")
LONG_SECONDS = 10.0
"""Budgets from here on are long ones, for which fewer instances are taken."""


@dataclass(frozen=True)
class HeldOut:
    """How many seeds and processes, and where the runs are kept."""

    seeds: int
    workers: int
    out: Path

    def runs(
        self, kind: str, split: str, solvers: Sequence[SolverSpec], budgets: Sequence[float], count: int
    ) -> Done:
        """Returns the runs of all solvers with each budget, CPU seconds; none without budgets or instances."""
        if not budgets or not count:
            return []
        suite = suite_of(
            instances=tuple(problem.name for problem in problems_of(kind, split, count)),
            solvers=tuple(solvers),
            seeds=self.seeds,
            cpu_seconds=tuple(budgets),
        )
        folder = self.out / f"{kind}-{split}-{'long' if max(budgets) >= LONG_SECONDS else 'short'}"
        folder.mkdir(parents=True, exist_ok=True)
        with RunStore(folder / STORE_NAME, suite.digest) as store:
            return run_suite(
                suite,
                store,
                tell=lambda n, of, last: print(f"{n}/{of} {last}", flush=True),
                workers=self.workers,
            )
