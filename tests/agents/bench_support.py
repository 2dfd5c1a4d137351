"""Results and tasks made by hand for the tests of bench."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from foldwright.agents.result import Result, Status
from foldwright.agents.store import RunKey, StoredRun

__all__ = ["key", "result_of", "square_or_die", "stored"]


def result_of(
    history: Sequence[tuple[float, int, int]], bounds: Sequence[tuple[float, int]] = ((0.0, 40),)
) -> Result:
    """Returns a result with these improvements (CPU seconds, evaluations, cost) and bounds; none without history."""
    cost = history[-1][2] if history else -1
    bound = bounds[-1][1]
    status = Status.UNKNOWN if not history else Status.OPTIMAL if cost == bound else Status.FEASIBLE
    return Result(
        problem="toy/by-hand", unit="points", solver="toy", status=status, cost=cost, bound=bound,
        bound_proof="by hand", choices=(1, 2) if history else (), solution=None, iterations=9,
        cpu_seconds=2.0, warmup_seconds=0.5, seed=0, params={"a": 1}, stop="Evaluations(count=9)",
        reproducible=True, versions={"python": "3"}, history=tuple(history), bound_history=tuple(bounds),
    )  # fmt: skip


def key(seed: int, suite: str = "suite", budget: float = 0.1) -> RunKey:
    """Returns the key of a run that differs by its seed."""
    return RunKey(suite, "0123", "toy", "{}", "cpu_seconds", budget, seed)


def stored(seed: int, cost: int = 70) -> StoredRun:
    """Returns a run that went well."""
    return StoredRun(key(seed), result_of([(0.0, 1, 100), (0.01, 5, cost)]), "", 0.25)


def square_or_die(task: int) -> int:
    """Returns the square of a task; 3 ends the process as a crash would, 4 as an exit would."""
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 4:
        os._exit(7)
    return task * task
