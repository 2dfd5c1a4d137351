"""The designs that the search by bounds hands on to tiling."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.exact import LEADERS, LOWEST_BOUNDS
from foldwright.envs.allocation.score import fits_choices
from foldwright.envs.problem import Choices
from foldwright.envs.registry import load_instance


@pytest.fixture(scope="module", name="problem")
def _problem() -> AllocationProblem:
    problem = load_instance("allocation/digits-w1a2-xc7z020-20")
    assert isinstance(problem, AllocationProblem)
    return problem


def chain_of(problem: AllocationProblem, choices: Choices) -> bytes:
    return choices[: problem.max_engines + 1].tobytes()


def test_leading_designs_begin_with_the_best_of_each_chain(problem: AllocationProblem) -> None:
    best, _, _ = problem.search.solve(lambda _: False)
    leading = problem.search.leading()
    assert (leading[0] == best).all()
    scored = leading[: len(leading) - LOWEST_BOUNDS]
    assert 1 <= len(scored) <= LEADERS  # one where it reaches the bound at once
    costs = [problem.cost_of(choices) for choices in scored]
    assert costs == sorted(costs)
    assert costs[0] >= problem.bound().value
    assert len({chain_of(problem, choices) for choices in scored}) == len(scored)


def test_designs_of_the_lowest_bounds_lead_whatever_the_rule_says_of_their_cost(
    problem: AllocationProblem,
) -> None:
    search = problem.search
    best, _, _ = search.solve(lambda _: False)
    by_bound = search.leading()[-LOWEST_BOUNDS:]
    assert all(bool(fits_choices(*problem.tables, choices)) for choices in by_bound)
    order = [chain_of(problem, search.design(chain, chain.value)) for chain in search.chains()]
    places = [order.index(chain_of(problem, choices)) for choices in by_bound]
    assert places == sorted(set(places))
    for place, chain in enumerate(search.chains()[: places[-1]]):  # the others fit at none of their sizes
        fits = any(fits_choices(*problem.tables, choices) for choices in search.designs(chain))
        assert fits is (place in places)
    costs = np.array([problem.cost_of(choices) for choices in by_bound])
    assert (costs > problem.cost_of(best)).any()


def test_a_new_search_forgets_the_leaders_of_the_one_before(problem: AllocationProblem) -> None:
    search = problem.search
    search.solve(lambda _: False)
    many = len(search.leading())
    search.solve(lambda _: True)
    assert len(search.leading()) == LOWEST_BOUNDS < many
