"""Experts complete episodes legally and well; labels say what each candidate leads to."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from foldwright.agents.faces import WithCompletions
from foldwright.agents.imitate import MAX_EXCESS, Labels, label_episodes
from foldwright.agents.oracle import Expert, best_found
from foldwright.agents.policy import Policy
from foldwright.agents.policy_file import PolicyCard, weight_shapes
from foldwright.agents.rollout import draw_actions, greedy_costs
from foldwright.envs.problem import INFEASIBLE, Problem
from foldwright.envs.registry import load_instance

NAMES = ("tiling/train-s0-3", "allocation/train-s0-7")


def small_policy(kind: str, seed: int = 0) -> Policy:
    """Returns a policy with random weights."""
    card, rng = PolicyCard.of_kind(kind, width=8), np.random.default_rng(seed)
    shapes = weight_shapes(card)
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    return Policy(card, weights)


@cache
def solved(name: str) -> tuple[Problem, tuple[int, ...], int]:
    problem = load_instance(name)
    found = best_found(problem, 200, seed=0)
    return problem, found.choices, found.cost


def expert_on(name: str, repair: int = 5) -> Expert:
    problem, choices, _ = solved(name)
    return Expert(problem, np.array(choices), repair, np.random.default_rng(0))


def knows_better(problem: Problem, cost: int, whole: int) -> bool:
    """Whether a problem's own completions explain a cost that differs from that of the oracle's completion."""
    return isinstance(problem, WithCompletions) and cost > 0 and (cost < whole or whole == INFEASIBLE)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_expert_promises_it_keeps_when_the_candidate_is_taken(name: str) -> None:
    expert = expert_on(name)
    problem = expert.problem
    for decision in range(len(problem.sizes)):
        mask = np.zeros(64, dtype=np.int8)
        mask[: problem.sizes[decision]] = problem.allowed(expert.choices, decision)
        costs = expert.candidate_costs(decision, mask)
        candidate = int(np.flatnonzero(mask)[-1])
        expert.follow(decision, candidate)
        if isinstance(problem, WithCompletions):
            assert expert.cost <= costs[candidate]
        assert expert.cost == problem.cost_of(expert.choices)


@pytest.mark.parametrize("name", NAMES)
def test_an_expert_scores_each_candidate_as_the_problem_does(name: str) -> None:
    problem, oracle, cost = solved(name)
    for decision in (0, len(problem.sizes) - 1):
        mask = np.zeros(64, dtype=np.int8)
        mask[: problem.sizes[decision]] = problem.allowed(np.array(oracle), decision)
        costs = expert_on(name).candidate_costs(decision, mask)
        as_is = expert_on(name).candidate_costs(decision, mask, mends=False)
        assert (costs[mask == 0] == INFEASIBLE).all()
        for candidate in np.flatnonzero(mask):
            choices = np.array(oracle)
            choices[decision] = candidate
            whole = problem.cost_of(choices)
            # what does not fit as it is gets mended, which needs some later decision
            assert as_is[candidate] == whole or knows_better(problem, as_is[candidate], whole)
            assert costs[candidate] > 0
            if costs[candidate] != whole:
                assert whole == INFEASIBLE or knows_better(problem, costs[candidate], whole)
        assert costs[oracle[decision]] <= cost


def test_an_expert_takes_over_completions_that_are_better_than_its_own() -> None:
    problem = solved(NAMES[1])[0]
    expert = Expert(problem, problem.fallback, 5, np.random.default_rng(0))
    before, mask = expert.cost, np.zeros(64, dtype=np.int8)
    mask[: problem.sizes[0]] = problem.allowed(expert.choices, 0)
    costs = expert.candidate_costs(0, mask)
    assert expert.cost == costs[mask != 0].min() == problem.cost_of(expert.choices) < before


@pytest.mark.parametrize("name", NAMES)
def test_an_expert_follows_an_episode_into_legal_completions(name: str) -> None:
    expert, rng = expert_on(name), np.random.default_rng(1)
    taken = []
    for decision in range(len(expert.problem.sizes)):
        allowed = np.flatnonzero(expert.problem.allowed(expert.choices, decision))
        taken.append(int(rng.choice(allowed)))
        expert.follow(decision, taken[-1])
        assert expert.choices[: decision + 1].tolist() == taken
        assert expert.cost == expert.problem.cost_of(expert.choices) > 0


def test_mending_finds_more_with_more_evaluations() -> None:
    costs = []
    for repair in (0, 300):
        expert = expert_on(NAMES[0], repair)
        expert.follow(2, int(expert.problem.sizes[2]) - 1)
        costs.append(expert.cost)
    assert costs[1] <= costs[0]


def labels_of(name: str, oracle_share: float, mends: bool = True) -> Labels:
    problem, choices, _ = solved(name)
    return label_episodes(
        [problem] * 2,
        [np.array(choices)] * 2,
        small_policy(problem.kind),
        oracle_share=oracle_share,
        repair=3,
        mends=mends,
        label_decisions=0,
        log_reward=True,
        rng=np.random.default_rng(3),
    )


@pytest.mark.parametrize("mends", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_label_has_a_best_candidate_and_bounded_excess(name: str, mends: bool) -> None:
    labels = labels_of(name, 0.5, mends)
    assert len(labels.excess) == len(labels.candidates) == labels.counts.sum()
    assert (labels.counts > 1).all()
    least = np.minimum.reduceat(labels.excess, np.cumsum(labels.counts) - labels.counts)
    assert (least == 0).all()
    assert labels.excess.max() <= MAX_EXCESS


def test_values_of_an_episode_of_the_oracle_are_what_it_gains() -> None:
    problem, _, cost = solved(NAMES[0])
    labels = labels_of(NAMES[0], oracle_share=1.0)
    gain = np.log(problem.cost_of(problem.fallback) / cost)
    assert labels.values[0] == pytest.approx(gain, rel=1e-5)


def test_labels_repeat_with_the_seed() -> None:
    one, two = (labels_of(NAMES[0], 0.3) for _ in range(2))
    for name in ("candidates", "excess", "context", "counts", "values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_greedy_rollouts_equal_the_policy_as_a_solver() -> None:
    from foldwright.agents.decode import PolicyParams, PolicySolver
    from foldwright.agents.stop import Evaluations

    problems, policy = [solved(NAMES[0])[0], load_instance("tiling/train-s0-6")], small_policy("tiling")
    solver = PolicySolver("policy:test", "", "foldwright.agents.decode", "PolicyParams", policy=policy)
    found = [solver(p, stop=Evaluations(10), params=PolicyParams(samples=0)).history[-1][2] for p in problems]
    fallbacks = [p.cost_of(p.fallback) for p in problems]
    assert np.minimum(greedy_costs(policy, problems), fallbacks).tolist() == found


def test_drawn_actions_follow_the_odds_of_the_logits() -> None:
    logits = np.full((4000, 64), -np.inf, dtype=np.float32)
    logits[:, 3], logits[:, 9] = np.log(3.0), 0.0
    greedy = np.arange(4000) < 1000
    actions = draw_actions(logits, greedy, np.random.default_rng(0))
    assert set(actions.tolist()) == {3, 9}
    assert (actions[:1000] == 3).all()
    assert (actions[1000:] == 3).mean() == pytest.approx(0.75, abs=0.03)
