"""The policies that come along: small, trained on nothing that they are judged by, and better than doing nothing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from foldwright.agents.policy import Policy, load_policy, shipped_policies
from foldwright.agents.rollout import begin_episodes, greedy_costs
from foldwright.envs.problem import Problem
from foldwright.envs.registry import content_hash, split

POLICIES = sorted(shipped_policies())
HELD_OUT = ("heldout-id", "heldout-size", "heldout-real")


@cache
def held_out(kind: str, name: str) -> list[Problem]:
    return list(split(kind, name, 1000 if name == "heldout-real" else 12))


@cache
def loaded(name: str) -> Policy:
    return load_policy(name)


def test_some_are_shipped() -> None:
    assert POLICIES


@pytest.mark.parametrize("name", POLICIES)
def test_a_shipped_policy_is_small_and_says_how_it_was_trained(name: str) -> None:
    card = loaded(name).card
    assert shipped_policies()[name].stat().st_size < 2**20
    assert name == card.kind
    assert card.training_cpu_seconds > 0
    assert card.training_hashes
    assert "validation gap" in card.recipe
    assert {"foldwright", "numpy", "torch"} <= set(card.versions)


@pytest.mark.parametrize("split_name", [*HELD_OUT, "validation"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_shipped_policy_was_trained_on_no_held_out_instance(name: str, split_name: str) -> None:
    trained = set(loaded(name).card.training_hashes)
    assert not trained & {content_hash(problem) for problem in held_out(name, split_name)}


@pytest.mark.parametrize("name", POLICIES)
def test_a_shipped_policy_decides_better_than_the_fallback(name: str) -> None:
    problems = held_out(name, "heldout-id")[:6]
    costs = greedy_costs(loaded(name), problems)
    fallbacks = np.array([problem.cost_of(problem.fallback) for problem in problems])
    assert (costs <= fallbacks).all()
    assert np.exp(np.mean(np.log(costs / fallbacks))) < 0.8


@pytest.mark.parametrize("name", POLICIES)
def test_numpy_and_torch_agree_on_a_shipped_policy(name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'foldwright[rl]'")
    pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed: pip install 'foldwright[rl]'")
    from foldwright.agents.policy_torch import scorer_of

    policy = loaded(name)
    core = begin_episodes([*held_out(name, "heldout-id")[:3], *held_out(name, "heldout-size")[:2]])
    for _ in range(12):
        arrays = (core.candidates, core.context, core.mask)
        logits = policy.logits(*arrays)
        with torch.no_grad():
            other = scorer_of(policy)(*(torch.from_numpy(array) for array in arrays))[0].numpy()
        allowed = core.mask != 0
        np.testing.assert_allclose(logits[allowed], other[allowed], rtol=1e-5, atol=1e-5)
        core.step(logits.argmax(axis=1))
