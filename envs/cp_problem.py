"""A problem stated for CP-SAT: the model, its decision variables, and what its objective is worth.

A problem offers one by a method `cp_model() -> CpProblem`. The solver re-scores every solution of the model
with the problem's own `cost_of`, so a model may be a simplification, as long as it says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["CpProblem"]


@dataclass(frozen=True)
class CpProblem:
    """A CP-SAT model that minimises, over one integer variable per decision of the problem.

    Attributes:
        model: An `ortools.sat.python.cp_model.CpModel` with its objective set, made anew for each call: the
            solver adds to it.
        decisions: Per decision the variable whose value is the candidate chosen.
        objective: The expression that is minimised, in the problem's unit of cost.
        is_relaxation: No legal solution costs less than the model's least objective, so that the model's bound
            is the problem's.
        note: What the model leaves out, in words; part of the bound's proof.
        is_complete: Moreover every legal solution is one of the model's and costs at least its own objective,
            so that the bound still holds for the rest when solutions already scored are forbidden. False where
            dominated candidates are dropped.
    """

    model: Any
    decisions: tuple[Any, ...]
    objective: Any
    is_relaxation: bool
    note: str
    is_complete: bool = False
