"""Annealing, then CP-SAT from its best solution, then annealing again: what each of the two does well.

The annealer finds good solutions soon, and mends what a model leaves out; CP-SAT proves a bound, and finds what many small
changes do not lead to. All of them share one search: its clock, its count, its best solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foldwright.agents import anneal
from foldwright.agents.cpsat import CpSatParams, prove
from foldwright.agents.faces import WithCpModel
from foldwright.agents.params import require_range
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import NO_COST, StopRule, cpu_limit, fraction
from foldwright.envs.problem import Problem
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT

__all__ = ["HybridParams", "solve"]


@dataclass(frozen=True, slots=True)
class HybridParams:
    """Options of the hybrid.

    Attributes:
        first_share: Share of the stop for annealing before CP-SAT.
        model_share: Share of it for CP-SAT; annealing takes the rest.
        workers: Threads of CP-SAT.
        linearization_level: CP-SAT's own.
        bound_share: Share of CP-SAT's time for a search by bounds, before the one for solutions.
    """

    __pydantic_config__: ClassVar = STRICT

    first_share: float = 0.3
    model_share: float = 0.4
    workers: int = 1
    linearization_level: int = 1
    bound_share: float = 0.5

    def __post_init__(self) -> None:
        where = "solver 'hybrid': option "
        require_range(where + "'first_share'", self.first_share, 0.0, 1.0)
        require_range(where + "'model_share'", self.model_share, 0.0, 1.0)
        require_range(where + "'bound_share'", self.bound_share, 0.0, 1.0)
        require_range(where + "'first_share' + 'model_share'", self.first_share + self.model_share, 0.0, 1.0)


def _until_share(stop: StopRule, params: HybridParams) -> StopRule:
    """Returns when CP-SAT ends: by the clock all shares so far count, by work its own."""
    clocked = cpu_limit(stop) is not None
    return fraction(stop, params.first_share * clocked + params.model_share)


def solve(problem: Problem, *, stop: StopRule, seed: int, params: HybridParams | None = None) -> Result:
    """Anneals, solves the model and anneals again, until the stop or a proof.

    Raises:
        ConfigError: the problem has no CP-SAT model.
    """
    params = params or HybridParams()
    if not isinstance(problem, WithCpModel):
        raise ConfigError(
            f"solver 'hybrid': {problem.name!r} ({problem.kind}) has no CP-SAT model; use 'anneal'"
        )
    search = Search(problem, "hybrid", stop, seed, params)
    options = CpSatParams(
        workers=params.workers, linearization_level=params.linearization_level, bound_share=params.bound_share
    )
    runs = anneal.Runs(search, anneal.AnnealParams())
    search.start()
    if not search.done and search.prepare():
        search.stop = fraction(stop, params.first_share)
        runs.from_starts()
        hint = np.array(search.best) if search.best_cost < NO_COST else None
        prove(search, options, _until_share(stop, params), hint)
        search.stop = stop
        runs.from_best()
    return search.result(reproducible=params.workers == 1)
