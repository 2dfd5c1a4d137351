"""The designs that the search by bounds hands on to tiling."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.exact import LEADERS
from foldwright.envs.allocation.score import fits_choices
from foldwright.envs.allocation.space import BATCHES
from foldwright.envs.problem import Choices
from foldwright.envs.registry import load_instance


@pytest.fixture(scope="module", name="problem")
def _problem() -> AllocationProblem:
    problem = load_instance("allocation/digits-w1a2-xc7z020-20")
    assert isinstance(problem, AllocationProblem)
    return problem


def chain_of(problem: AllocationProblem, choices: Choices) -> bytes:
    return choices[: problem.max_engines + 1].tobytes()


def frames_of(problem: AllocationProblem, choices: Choices) -> int:
    return int(choices[problem.max_engines])


def test_leading_designs_begin_with_the_best_of_each_chain(problem: AllocationProblem) -> None:
    best, _, _ = problem.search.solve(lambda _: False)
    leading, others = problem.search.leading(), problem.search.fastest_by_frames(1)
    assert (leading[0] == best).all()
    scored = leading[: len(leading) - len(others)]
    assert 1 <= len(scored) <= LEADERS  # one where it reaches the bound at once
    costs = [problem.cost_of(choices) for choices in scored]
    assert costs == sorted(costs)
    assert costs[0] >= problem.bound().value
    assert len({chain_of(problem, choices) for choices in scored}) == len(scored)


def test_the_fastest_designs_that_fit_are_had_for_every_number_of_frames_a_round(
    problem: AllocationProblem,
) -> None:
    search, most = problem.search, 2
    found = search.fastest_by_frames(most)
    times = [problem.busiest_cycles(choices) for choices in found]
    assert times == sorted(times)
    assert len({chain_of(problem, choices) for choices in found}) == len(found)
    fastest: dict[int, list[float]] = {}
    for chain in search.chains():  # all of them, where the search leaves out those that cannot be faster
        of_chain = (c for c in search.designs(chain) if fits_choices(*problem.tables, c))
        its = min((problem.busiest_cycles(choices) for choices in of_chain), default=np.inf)
        if its < np.inf:
            fastest.setdefault(chain.batch_index, []).append(its)
    for frames in range(len(BATCHES)):
        mine = [t for t, c in zip(times, found, strict=True) if frames_of(problem, c) == frames]
        assert mine == sorted(fastest.get(frames, []))[:most]


def test_designs_lead_whatever_the_rule_says_of_their_cost(problem: AllocationProblem) -> None:
    best, _, _ = problem.search.solve(lambda _: False)
    costs = np.array([problem.cost_of(choices) for choices in problem.search.fastest_by_frames(1)])
    assert (costs > problem.cost_of(best)).any()


def test_a_new_search_forgets_the_leaders_of_the_one_before(problem: AllocationProblem) -> None:
    search = problem.search
    search.solve(lambda _: False)
    many = len(search.leading())
    search.solve(lambda _: True)
    assert len(search.leading()) == len(search.fastest_by_frames(1)) < many
