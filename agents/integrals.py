"""Primal, dual and gap integrals of a search over CPU time, and what it knew at a moment.

The measures are those of the ML4CO competition (Gasse et al., "The Machine Learning for Combinatorial Optimization
Competition (ML4CO): Results and Insights", PMLR 176, 2022; the primal integral goes back to Berthold, "Measuring the
impact of primal heuristics", Operations Research Letters 41, 2013). With the budget T, the cost c(t) of the best solution
and the bound z(t) proven after t CPU seconds, and the reference cost r (the best known),

    primal = integral of c(t) - r over [0, T]      dual = integral of r - z(t)      gap = primal + dual

in cost times CPU seconds; less is better. c and z are piecewise constant and keep their last value until T where a
search ends early. Before the first solution c is the cost of the problem's fallback, which needs no search, as the
competition gives each instance an initial primal bound; a search never counts as worse than that. Before the first
bound z is the problem's own. What was found after T does not count, so a solver that cannot stop in time gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foldwright.agents.result import Result

__all__ = ["Integrals", "bound_at", "cost_at", "integrals", "step_integral", "value_at"]

Steps = Sequence[tuple[float, int]]
"""(CPU seconds, value) of each change, in order of time."""


@dataclass(frozen=True, slots=True)
class Integrals:
    """The three integrals of one search; see the module's docstring."""

    primal: float
    dual: float

    @property
    def gap(self) -> float:
        return self.primal + self.dual

    def relative(self, reference: int, horizon_s: float) -> Integrals:
        """Returns them divided by the reference cost and the time: mean shares of the reference, over time."""
        scale = reference * horizon_s
        return Integrals(self.primal / scale, self.dual / scale)


def value_at(steps: Steps, seconds: float, before: int) -> int:
    """Returns the value of a step function at a moment; `before` holds until its first step."""
    value = before
    for moment, following in steps:
        if moment > seconds:
            break
        value = following
    return value


def step_integral(steps: Steps, horizon_s: float, before: int) -> float:
    """Returns the integral of a step function over [0, horizon_s]; `before` holds until its first step.

    >>> step_integral([(1.0, 10), (3.0, 4)], 4.0, 20)  # 20 for a second, 10 for two, 4 for one
    44.0
    """
    total, since, value = 0.0, 0.0, before
    for moment, following in steps:
        if moment > horizon_s:
            break
        total += value * (moment - since)
        since, value = moment, following
    return total + value * (horizon_s - since)


def _costs(result: Result, initial_cost: int) -> list[tuple[float, int]]:
    return [(seconds, min(cost, initial_cost)) for seconds, _, cost in result.history]


def cost_at(result: Result, seconds: float, initial_cost: int) -> int:
    """Returns the cost of the best solution after some CPU seconds; see the module's docstring."""
    return value_at(_costs(result, initial_cost), seconds, initial_cost)


def bound_at(result: Result, seconds: float) -> int:
    """Returns the bound proven after some CPU seconds; a search begins with the problem's own."""
    first = result.bound_history[0][1] if result.bound_history else result.bound
    return value_at(result.bound_history, seconds, first)


def integrals(result: Result, horizon_s: float, initial_cost: int, reference: int) -> Integrals:
    """Returns the integrals of a search over its budget.

    Args:
        initial_cost: The cost of the problem's fallback.
        reference: The best cost known, at most any cost of the search.
    """
    first = bound_at(result, 0.0)
    area = horizon_s * reference
    return Integrals(
        primal=step_integral(_costs(result, initial_cost), horizon_s, initial_cost) - area,
        dual=area - step_integral(result.bound_history, horizon_s, first),
    )
