"""Exact search: enumeration proves, refuses what is too large, and gives way to the problem's own method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from foldwright.agents.exact import solve
from foldwright.agents.result import Status
from foldwright.agents.stop import Evaluations
from foldwright.envs.problem import Choices
from foldwright.errors import ConfigError, VerificationError
from tests.agents.toys import BY_HAND, Knapsack, brute_force, random_knapsack


@pytest.mark.parametrize("seed", range(4))
def test_enumeration_scores_every_choice_and_proves_the_best(seed: int) -> None:
    problem = random_knapsack(5, 4, seed, tightness=0.3)
    result = solve(problem, stop=Evaluations(10**6), seed=0)
    assert (result.cost, result.status) == (brute_force(problem), Status.OPTIMAL)
    assert result.iterations == 1 + 4**5
    assert result.bound_proof == "all choices were scored"


def test_enumeration_ends_early_where_the_bound_is_met() -> None:
    loose = Knapsack("toy/loose", ((1, 9), (1, 9)), ((1, 0), (1, 0)), capacity=2)
    result = solve(loose, stop=Evaluations(10**6), seed=0)
    assert (result.cost, result.status, result.bound_proof) == (2, Status.OPTIMAL, loose.bound().proof)


def test_a_stopped_enumeration_proves_nothing() -> None:
    result = solve(random_knapsack(5, 4, 0), stop=Evaluations(100), seed=0)
    assert (result.status, result.iterations) == (Status.FEASIBLE, 100)


def test_a_large_problem_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"'exact': 'toy/random-24x16-1' has 7.92e\+28 comb.*use 'cp-sat'"):
        solve(random_knapsack(24, 16, 1), stop=Evaluations(10), seed=0)


@dataclass(frozen=True)
class Own(Knapsack):
    """The problem solved by hand with a method of its own, which may be wrong."""

    answer: tuple[int, ...] = (1, 1, 1)
    proven: int = 8
    status: str = "optimal"

    def solve_exact(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        while not stop(50):
            return np.array(self.answer), self.proven, self.status
        return None, 0, "unknown"


def own(answer: tuple[int, ...], proven: int) -> Own:
    return Own("toy/own", BY_HAND.costs, BY_HAND.weights, BY_HAND.capacity, False, answer, proven)


def test_the_method_of_the_problem_is_used_and_scored_again() -> None:
    result = solve(own((1, 1, 1), 8), stop=Evaluations(100), seed=0)
    assert (result.cost, result.status, result.choices) == (8, Status.OPTIMAL, (1, 1, 1))
    assert result.bound_proof == "the exact method of the problem"


def test_the_method_of_the_problem_hears_the_stop() -> None:
    result = solve(own((1, 1, 1), 8), stop=Evaluations(20), seed=0)
    assert (result.cost, result.status) == (15, Status.FEASIBLE)


def test_a_method_that_proves_more_than_it_finds_is_a_contradiction() -> None:
    with pytest.raises(VerificationError, match=r"the bound 10 .* is above the cost 9 of a solution"):
        solve(own((2, 1, 1), 10), stop=Evaluations(100), seed=0)
