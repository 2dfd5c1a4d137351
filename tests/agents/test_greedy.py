"""Greedy: the construction is the one that its definition says, the descent ends in a local optimum."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.agents.greedy import GreedyParams, solve
from foldwright.agents.stop import Evaluations
from foldwright.envs.problem import INFEASIBLE
from foldwright.errors import ConfigError
from tests.agents.toys import Knapsack, random_knapsack


def construct(problem: Knapsack) -> int:
    """Takes, decision by decision, the allowed candidate whose fallback completion costs least."""
    choices = problem.fallback
    for decision in range(len(choices)):
        costs = {}
        for candidate in np.flatnonzero(problem.allowed(choices, decision)):
            trial = choices.copy()
            trial[decision] = candidate
            costs[int(candidate)] = problem.cost_of(trial)
        choices[decision] = min(costs, key=costs.__getitem__)
    return problem.cost_of(choices)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_construction_follows_its_definition(seed: int, compiled: bool) -> None:
    problem = random_knapsack(6, 5, seed, compiled=compiled)
    evaluations_of_a_sweep = 1 + int((problem.sizes - 1).sum())
    stop = Evaluations(evaluations_of_a_sweep)
    result = solve(problem, stop=stop, seed=0, params=GreedyParams(samples=0))
    assert result.cost == construct(problem)


@pytest.mark.parametrize("seed", range(4))
def test_descent_ends_where_no_single_change_helps(seed: int) -> None:
    problem = random_knapsack(8, 6, seed)
    result = solve(problem, stop=Evaluations(10**6), seed=0, params=GreedyParams(restarts=0))
    for decision in range(len(problem.sizes)):
        for candidate in range(problem.sizes[decision]):
            neighbour = np.array(result.choices)
            neighbour[decision] = candidate
            cost = problem.cost_of(neighbour)
            assert cost == INFEASIBLE or cost >= result.cost


def test_restarts_improve_on_the_descent() -> None:
    problem = random_knapsack(12, 8, 1)
    descent = solve(problem, stop=Evaluations(20_000), seed=0, params=GreedyParams(restarts=0))
    restarted = solve(problem, stop=Evaluations(20_000), seed=0)
    assert restarted.cost < descent.cost


@pytest.mark.parametrize(("option", "value"), [("kick_share", 1.5), ("samples", -1), ("restarts", -2)])
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"option '{option}' is {value}, allowed is"):
        GreedyParams(**{option: value})  # type: ignore[arg-type]  # one of the two fields is an int
