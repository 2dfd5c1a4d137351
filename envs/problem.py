"""What a combinatorial problem looks like to environments and solvers.

A `Problem` is one frozen instance. Its solution is a list of decisions taken in a fixed order: decision `d` picks one
of `sizes[d]` candidates (at most `MAX_CANDIDATES`). The candidates of a decision never depend on other decisions; what
depends on them is which candidates are *allowed*: those that are legal and leave the fallback completion (candidate
`fallback[e]` for every later decision `e`) within the budgets. An instance is only built if its fallback fits, so no
order of allowed choices ends in a dead end.

Costs are integers and are minimised. `evaluate` is the one truth that environments, solvers, reports and exporters use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["INFEASIBLE", "MAX_CANDIDATES", "Bound", "Choices", "Cost", "Problem"]

Choices = npt.NDArray[np.int64]
"""A candidate per decision, int64 (decisions,)."""

MAX_CANDIDATES = 64
INFEASIBLE = -1
"""What `cost_of` returns for choices that break a budget."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The value of a legal solution: the integer that is minimised, its unit, and what it is made of."""

    value: int
    unit: str
    detail: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bound:
    """A proven lower bound on the cost and the argument that proves it."""

    value: int
    proof: str


@runtime_checkable
class Problem(Protocol):
    """One instance of a combinatorial problem over decisions; see the module's docstring."""

    @property
    def name(self) -> str:
        """The instance's name, such as "tiling/cnv-w1a1-b16"."""

    @property
    def kind(self) -> str:
        """The problem's name, such as "tiling"."""

    @property
    def unit(self) -> str:
        """The unit of the cost."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of candidates of each decision, int64 (decisions,)."""

    @property
    def fallback(self) -> Choices:
        """The fallback candidate of each decision; together they are legal."""

    def labels(self, decision: int) -> list[str]:
        """Returns what each candidate of a decision means, in words."""

    def allowed(self, choices: Choices, decision: int) -> npt.NDArray[np.bool_]:
        """Returns which candidates of `decision` are allowed, given `choices[:decision]`, bool (sizes[decision],)."""

    def cost_of(self, choices: Choices) -> int:
        """Returns the cost of complete choices, or `INFEASIBLE`; what searches call."""

    def evaluate(self, solution: Any) -> Cost:
        """Returns the cost of a solution.

        Raises:
            IllegalSolutionError: the solution breaks a rule or a budget.
        """

    def check(self, solution: Any) -> None:
        """Checks a solution with code of its own, independent of `evaluate`.

        Raises:
            IllegalSolutionError: with the reason.
        """

    def bound(self) -> Bound:
        """Returns a proven lower bound on the cost of every solution."""

    def decode(self, choices: Choices) -> Any:
        """Returns the solution, a value with a JSON form, that complete choices stand for."""

    def encode(self, solution: Any) -> Choices:
        """Returns the choices of a solution; the inverse of `decode`."""
