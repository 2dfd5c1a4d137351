"""Random search: samples allowed candidates decision by decision, and keeps the best.

It is the floor that every other solver has to beat. Iterations are complete samples.
"""

from __future__ import annotations

import numpy as np

from foldwright.agents.params import NoParams
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import NO_COST, StopRule
from foldwright.envs.problem import Choices, Problem

__all__ = ["NoParams", "sample", "sample_starts", "solve"]


def sample(problem: Problem, rng: np.random.Generator) -> Choices:
    """Returns complete choices, each drawn evenly from the candidates allowed after those before it."""
    choices = np.array(problem.fallback, dtype=np.int64)
    for decision in range(len(choices)):
        allowed = np.flatnonzero(problem.allowed(choices, decision))
        if len(allowed):
            choices[decision] = allowed[rng.integers(len(allowed))]
    return choices


def sample_starts(search: Search, count: int) -> None:
    """Scores the start that the problem offers and `count` samples, more where none is legal.

    A fallback is made to fit, not to be good; the best of these is a far better start.
    """
    search.evaluate_offered()
    while not search.done and (count > 0 or search.best_cost == NO_COST):
        search.evaluate(sample(search.problem, search.rng))
        count -= 1


def solve(problem: Problem, *, stop: StopRule, seed: int, params: NoParams | None = None) -> Result:
    """Samples until the stop; one iteration is one complete sample."""
    search = Search(problem, "random", stop, seed, params or NoParams())
    search.start()
    while not search.done:
        search.evaluate(sample(problem, search.rng))
    return search.result()
