"""The expert of placement keeps a legal placement under an episode's decisions, and says what swaps cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.agents.imitate import MAX_EXCESS, label_episodes
from foldwright.agents.oracle import guide_of
from foldwright.agents.place_expert import PlaceExpert
from foldwright.envs.placement import PlacementProblem
from foldwright.envs.placement.plan import plan_of
from foldwright.envs.problem import INFEASIBLE
from foldwright.envs.registry import load_instance
from tests.agents.test_imitate import small_policy

NAMES = ("placement/train-s0-1", "placement/train-s0-7")


def expert_on(name: str, repair: int = 200) -> tuple[PlacementProblem, PlaceExpert]:
    problem = load_instance(name)
    assert isinstance(problem, PlacementProblem)
    expert = guide_of(problem, problem.fallback, repair, np.random.default_rng(0))
    assert isinstance(expert, PlaceExpert)
    return problem, expert


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_from_the_plan_or_better(name: str) -> None:
    problem, expert = expert_on(name)
    sites = plan_of(problem.wires, problem.board, problem.tree.order).astype(np.int32)
    assert expert.cost == problem.cost_of(expert.choices) <= problem.wirelength(sites)


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_any_episode_and_knows_its_cost(name: str) -> None:
    problem, expert = expert_on(name)
    rng, taken = np.random.default_rng(1), []
    for decision in range(len(problem.sizes)):
        allowed = np.flatnonzero(problem.allowed(expert.choices, decision))
        taken.append(int(rng.choice(allowed)))
        expert.follow(decision, taken[-1])
        assert expert.choices[: decision + 1].tolist() == taken
        assert expert.cost == problem.cost_of(expert.choices)
    problem.check(problem.decode(expert.choices))


@pytest.mark.parametrize("decision", [0, 1, 2, 30, 31, 32])
def test_a_candidate_costs_what_its_best_swap_leads_to(decision: int) -> None:
    problem, expert = expert_on(NAMES[0])
    mask = np.zeros(64, dtype=np.int8)
    mask[: problem.sizes[decision]] = problem.allowed(expert.choices, decision)
    costs = expert.candidate_costs(decision, mask)
    sites = problem.sites_of(expert.choices)
    cell, least = problem.tree.order[decision // 3], np.full(64, np.iinfo(np.int64).max)
    decided = set(sites[problem.tree.order[: decision // 3]].tolist())
    kind = problem.wires.kind[cell]
    for site in range(problem.board.kind_sites[kind], problem.board.kind_sites[kind + 1]):
        if site in decided:
            continue
        swapped = np.where(sites == site, sites[cell], sites)
        swapped[cell] = site
        choices = problem.choices_of(swapped.astype(np.int32))
        first = decision - decision % 3
        if choices[first:decision].tolist() == expert.choices[first:decision].tolist():
            chosen = choices[decision]
            least[chosen] = min(least[chosen], problem.wirelength(swapped.astype(np.int32)))
    assert (costs[mask == 0] == INFEASIBLE).all()
    assert costs[mask == 1].tolist() == least[mask == 1].tolist()


def test_labels_of_many_decisions_are_told_by_the_share_of_a_few() -> None:
    problem = load_instance(NAMES[0])

    def excess(label_decisions: int) -> npt.NDArray[np.float32]:
        return label_episodes(
            [problem],
            [problem.fallback],
            small_policy("placement"),
            oracle_share=1.0,
            repair=0,
            mends=False,
            label_decisions=label_decisions,
            log_reward=True,
            rng=np.random.default_rng(0),
        ).excess

    whole, few = excess(0), excess(10)
    scaled = np.minimum(whole * (len(problem.sizes) / 10), MAX_EXCESS)
    np.testing.assert_allclose(few, scaled, rtol=1e-4, atol=1e-6)
