"""What a problem may offer beyond the `Problem` interface, so that solvers run faster or prove more.

Each face is one method or property. A solver asks with `isinstance` and does without where the face is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from foldwright.envs.problem import Choices

__all__ = [
    "Guide",
    "WithCompletions",
    "WithCpModel",
    "WithExact",
    "WithKernel",
    "WithOutline",
    "WithPreparation",
    "WithStart",
]


@runtime_checkable
class WithKernel(Protocol):
    """A problem whose cost is one compiled function."""

    def kernel(self) -> tuple[Any, tuple[Any, ...]]:
        """Returns a numba function and its tables: `cost_of(choices) == function(*tables, choices)`.

        The function takes arrays and integers and returns an int64: the cost, or `INFEASIBLE`.
        """


@runtime_checkable
class WithOutline(Protocol):
    """A problem with a quick estimate of its cost, also of choices that break a budget."""

    def outline(self) -> tuple[Any, tuple[Any, ...]]:
        """Returns a numba function and its tables, as `WithKernel.kernel` does; its value is positive and about the cost.

        It is the higher, the more a budget is broken.
        """


@runtime_checkable
class WithStart(Protocol):
    """A problem that knows better choices than its fallback, by some rule."""

    @property
    def start(self) -> Choices:
        """Returns legal choices from which a search may begin."""


@runtime_checkable
class WithPreparation(Protocol):
    """A problem that computes something once, before its start, its exact method and its model can be used."""

    @property
    def preparation_seconds(self) -> float:
        """Returns the CPU time that took, loading of kernels apart; solvers that use it are charged with it."""


@runtime_checkable
class WithExact(Protocol):
    """A problem with an exact method of its own, such as a dynamic programme."""

    def solve_exact(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        """Returns the best choices found, a proven bound, and a status.

        The status is "optimal", "feasible", "infeasible" or "unknown".

        The method calls `stop` now and then with the units of work done so far, and ends when it returns
        true.
        """


@runtime_checkable
class WithCpModel(Protocol):
    """A problem that can be stated as a CP-SAT model."""

    def cp_model(self) -> Any:
        """Returns the model as a `foldwright.envs.cp_problem.CpProblem`."""


@runtime_checkable
class WithCompletions(Protocol):
    """A problem that knows by rules of its own how to go on from decisions that were taken."""

    def completions(
        self, choices: Choices, decision: int, mask: npt.NDArray[np.int8]
    ) -> npt.NDArray[np.int64]:
        """Returns complete choices that begin with `choices[:decision]` and a candidate of `decision`.

        Returns:
            int64 (tries, len(mask), decisions): one or several for each candidate that the mask allows. They need not
            fit; the rows of other candidates mean nothing.
        """


class Guide(Protocol):
    """Knows a good completion of an episode's decisions, and keeps one while the episode goes its own way."""

    choices: Choices
    """The decisions taken, completed as well as the guide knows."""
    cost: int
    """What they cost."""

    def candidate_costs(
        self, decision: int, mask: npt.NDArray[np.int8], mends: bool = True
    ) -> npt.NDArray[np.int64]:
        """Returns the cost that each allowed candidate of the next decision leads to, int64 (64,); `INFEASIBLE` else."""

    def follow(self, decision: int, candidate: int) -> None:
        """Takes over a decision of the episode and mends the completion after it."""
