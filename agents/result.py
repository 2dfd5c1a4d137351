"""What a search leaves behind: the solution, its cost, the proven bound, and how both came about.

Costs and bounds have the problem's unit. CPU seconds begin after imports, kernel compilation and the
problem's own bound (`warmup_seconds`), so that solvers are compared on equal terms.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foldwright.envs.problem import INFEASIBLE, Problem
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT, plain, read_json

__all__ = ["BoundStep", "Improvement", "Result", "Status", "read_result"]

Improvement = tuple[float, int, int]
"""CPU seconds, evaluations and cost when a better solution was found."""
BoundStep = tuple[float, int]
"""CPU seconds and bound when a better bound was proven."""


class Status(Enum):
    """What a search can say about its solution."""

    OPTIMAL = "optimal"  # the cost meets the bound
    FEASIBLE = "feasible"  # legal, not proven best
    INFEASIBLE = "infeasible"  # proven: no solution is legal
    UNKNOWN = "unknown"  # no legal solution found, none excluded


@dataclass(frozen=True)
class Result:
    """The outcome of one search; see the module's docstring.

    `choices` and `cost` are empty and `INFEASIBLE` where there is no solution. `solution` is the value that
    the choices stand for; read from a file it is that value's plain form, until `read_result` builds it
    again.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.result/1"

    problem: str
    unit: str
    solver: str
    status: Status
    cost: int
    bound: int
    bound_proof: str
    choices: tuple[int, ...]
    solution: Any = field(compare=False)
    iterations: int
    cpu_seconds: float
    warmup_seconds: float
    seed: int
    params: dict[str, bool | int | float | str | None]
    stop: str
    reproducible: bool
    versions: dict[str, str]
    history: tuple[Improvement, ...]
    bound_history: tuple[BoundStep, ...]

    def __post_init__(self) -> None:
        if self.status in (Status.INFEASIBLE, Status.UNKNOWN):
            if self.cost != INFEASIBLE or self.choices:
                raise ConfigError(f"result of {self.problem!r}: is {self.status.value}, yet has a solution")
        elif self.cost < self.bound:
            raise ConfigError(f"result of {self.problem!r}: cost {self.cost} is below its bound {self.bound}")
        elif (self.status is Status.OPTIMAL) != (self.cost == self.bound):
            raise ConfigError(
                f"result of {self.problem!r}: status is {self.status.value!r} with cost {self.cost} "
                f"and bound {self.bound}; optimal is what meets its bound"
            )

    @property
    def has_solution(self) -> bool:
        return self.status in (Status.OPTIMAL, Status.FEASIBLE)

    @property
    def gap(self) -> float:
        """Cost over bound, less one: 0.0 is optimal; infinite without a solution or a positive bound."""
        if not self.has_solution or (self.bound <= 0 and self.cost > self.bound):
            return float("inf")
        return self.cost / self.bound - 1 if self.bound else 0.0

    def without_times(self) -> Result:
        """Returns the result with all CPU seconds zero: what a reproducible search repeats exactly."""
        return dataclasses.replace(
            self,
            cpu_seconds=0.0,
            warmup_seconds=0.0,
            history=tuple((0.0, count, cost) for _, count, cost in self.history),
            bound_history=tuple((0.0, bound) for _, bound in self.bound_history),
        )


def read_result(problem: Problem, path: str | Path) -> Result:
    """Reads a result of `problem`, builds its solution again and scores it again.

    Raises:
        ConfigError: the file is of another problem, or its choices, solution and cost do not belong together.
        IllegalSolutionError: the solution is not legal.
    """
    result = read_json(Result, path)
    if result.problem != problem.name:
        raise ConfigError(f"{path}: is a result of {result.problem!r}, not of {problem.name!r}")
    if not result.has_solution:
        return result
    choices = np.array(result.choices, dtype=np.int64)
    if choices.shape != problem.sizes.shape or (choices < 0).any() or (choices >= problem.sizes).any():
        raise ConfigError(
            f"{path}: choices {result.choices} are not a candidate for each of {len(problem.sizes)} decisions"
        )
    solution = problem.decode(choices)
    problem.check(solution)
    cost = problem.evaluate(solution).value
    if cost != result.cost or plain(solution) != plain(result.solution):
        raise ConfigError(
            f"{path}: says cost {result.cost}, but its choices cost {cost} or mean another solution"
        )
    return dataclasses.replace(result, solution=solution)
