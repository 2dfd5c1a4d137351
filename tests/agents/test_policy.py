"""The network of policies: the formula, the same in torch, and the same in every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.agents.policy import Policy
from foldwright.envs import ENVIRONMENTS
from foldwright.envs.batch import BatchCore
from foldwright.envs.kits import kit_of
from foldwright.envs.problem import MAX_CANDIDATES
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError
from tests.agents.policies import INSTANCES, random_policy
from tests.support import ROOT, python

__all__: list[str] = []

SHAPES = ((8, 1), (64, 1), (64, 2), (128, 3))
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int8]]


def random_batch(policy: Policy, rows: int, seed: int = 0) -> Batch:
    """Returns observations with 0 to 64 candidates allowed, in all shares."""
    rng, card = np.random.default_rng(seed), policy.card
    mask = rng.random((rows, MAX_CANDIDATES)) < rng.random((rows, 1))
    mask[0], mask[-1] = False, True
    candidates = rng.uniform(-4, 4, (rows, MAX_CANDIDATES, card.candidate_features)).astype(np.float32)
    context = rng.uniform(-4, 4, (rows, card.context_features)).astype(np.float32)
    return candidates, context, mask.astype(np.int8)


def observed(kind: str, rows: int = 3, steps: int = 4) -> Batch:
    """Returns what episodes on the real instances of a kind are given after a few random steps."""
    names = INSTANCES[kind]
    core, rng = BatchCore(kit_of(kind), rows * len(names)), np.random.default_rng(1)
    core.begin({row: load_instance(names[row % len(names)]) for row in range(core.episodes)})
    for _ in range(steps):
        core.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in core.mask]))
    return core.candidates, core.context, core.mask


def by_formula(policy: Policy, candidates: Any, context: Any, mask: Any) -> list[float]:
    """Returns the logits of one row's allowed candidates in plain float64, one candidate after another."""
    w = {name: tensor.astype(np.float64) for name, tensor in policy.weights.items()}

    def encode(part: str, x: Any) -> Any:
        for layer in range(policy.card.depth):
            x = np.maximum(w[f"{part}.{layer}.weight"] @ x + w[f"{part}.{layer}.bias"], 0)
        return x

    codes = [encode("phi", candidates[k].astype(np.float64)) for k in np.flatnonzero(mask)]
    pool = [encode("psi", context.astype(np.float64)), np.mean(codes, axis=0), np.max(codes, axis=0)]
    hidden = [np.maximum(w["head.weight"] @ np.concatenate([c, *pool]) + w["head.bias"], 0) for c in codes]
    return [float(w["score.weight"][0] @ h) for h in hidden]


@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_logits_are_those_of_the_formula(width: int, depth: int) -> None:
    policy = random_policy("tiling", width=width, depth=depth, spread=0.1)
    batch = random_batch(policy, 9)
    logits = policy.logits(*batch)
    assert (np.isfinite(logits) == (batch[2] == 1)).all()
    for row in range(1, 9):
        expected = by_formula(policy, *(part[row] for part in batch))
        assert logits[row][batch[2][row] == 1] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("width", "depth"), [*SHAPES, (200, 1)])
def test_a_candidate_has_the_same_logit_in_every_batch_to_the_last_bit(width: int, depth: int) -> None:
    policy = random_policy("allocation", width=width, depth=depth)
    candidates, context, mask = random_batch(policy, 65)
    together = policy.logits(candidates, context, mask)
    alone = [policy.logits(candidates[r : r + 1], context[r : r + 1], mask[r : r + 1]) for r in range(65)]
    order = np.random.default_rng(0).permutation(65)
    assert (together == np.concatenate(alone)).all()
    assert (together[order] == policy.logits(candidates[order], context[order], mask[order])).all()


def test_forbidden_candidates_change_nothing() -> None:
    policy = random_policy("tiling")
    candidates, context, mask = random_batch(policy, 20)
    changed = np.where(mask[:, :, None] == 1, candidates, np.float32(3.5))
    assert (policy.logits(candidates, context, mask) == policy.logits(changed, context, mask)).all()


@pytest.mark.parametrize(("width", "depth"), SHAPES)
@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_torch_computes_the_same_logits(kind: str, width: int, depth: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    from foldwright.agents.policy_torch import scorer_of

    policy = random_policy(kind, width=width, depth=depth, spread=0.1)
    scorer = scorer_of(policy)
    for batch in (random_batch(policy, 100), observed(kind)):
        with torch.no_grad():
            logits, values = (out.numpy() for out in scorer(*map(torch.from_numpy, batch)))
        ours = policy.logits(*batch)
        assert (np.isfinite(ours) == np.isfinite(logits)).all()
        assert np.isfinite(values).all()
        finite = np.isfinite(ours)
        np.testing.assert_allclose(ours[finite], logits[finite], rtol=1e-5, atol=1e-5)


def test_actions_are_evaluated_as_a_masked_distribution_does() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    from foldwright.agents.policy_torch import scorer_of

    scorer, (candidates, context, mask) = (
        scorer_of(random_policy("tiling")),
        random_batch(random_policy("tiling"), 60),
    )
    mask[:, 0] = 1  # in training every decision has a candidate
    inputs = [torch.from_numpy(part) for part in (candidates, context, mask)]
    actions = torch.from_numpy(np.array([np.flatnonzero(row)[-1] for row in mask]))
    logits, expected = scorer(*inputs)
    values, log_probabilities, entropies = scorer.evaluate_actions(inputs[0], inputs[1], inputs[2], actions)
    dense = torch.distributions.Categorical(logits=logits.clamp(min=-1e8))
    assert torch.equal(values, expected)
    torch.testing.assert_close(log_probabilities, dense.log_prob(actions))
    torch.testing.assert_close(entropies, dense.entropy(), rtol=1e-4, atol=1e-5)
    # the gradient flows through the logarithm of the sum, too
    gradient = torch.autograd.grad(log_probabilities.sum(), scorer.score.weight)[0]
    torch.testing.assert_close(
        gradient,
        torch.autograd.grad(dense.log_prob(actions).sum(), scorer.score.weight)[0],
        rtol=1e-4,
        atol=1e-4,
    )


def test_weights_go_through_torch_and_back() -> None:
    pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    from foldwright.agents.policy_torch import CandidateScorer, load_weights, scorer_of, weights_of

    policy = random_policy("tiling", depth=2)
    back = weights_of(scorer_of(policy))
    assert set(back) == set(policy.weights)
    assert all((back[name] == policy.weights[name]).all() for name in back)
    card = policy.card
    other = CandidateScorer(card.candidate_features, card.context_features, width=card.width, depth=1)
    with pytest.raises(ConfigError, match=r"weights 'phi.1.bias' have shape \(16,\), the network needs None"):
        load_weights(other, policy.weights)


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_maskable_ppo_trains_the_scorer(kind: str) -> None:
    sb3 = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    from importlib import import_module

    from foldwright.agents.policy_file import PolicyCard
    from foldwright.agents.policy_torch import ScorerPolicy, weights_of
    from foldwright.envs.sb3 import MaskedVecEnv

    faces = import_module(f"foldwright.envs.{kind}.env")
    env = MaskedVecEnv(getattr(faces, f"{kind.capitalize()}VectorEnv")(8, instances=INSTANCES[kind][0]))
    shape = {"width": 16, "depth": 2}
    model = sb3.MaskablePPO(
        ScorerPolicy, env, n_steps=16, batch_size=64, n_epochs=1, seed=0, policy_kwargs=shape
    )
    before = weights_of(model.policy.scorer)
    model.learn(128)
    after = weights_of(model.policy.scorer)
    assert all((before[name] != after[name]).any() for name in before)

    observation, masks = env.reset(), env.action_masks()
    actions, _ = model.predict(observation, deterministic=True, action_masks=masks)
    policy = Policy(PolicyCard.of_kind(kind, **shape), after)
    candidates = observation["candidates"].reshape(8, MAX_CANDIDATES, -1)
    logits = policy.logits(candidates, observation["context"], observation["action_mask"])
    chosen = logits[np.arange(8), actions]
    assert masks[np.arange(8), actions].all()
    np.testing.assert_allclose(chosen, logits.max(axis=1), atol=1e-5)


def test_using_a_policy_loads_no_torch() -> None:
    script = "import sys\nimport foldwright.agents.decode\nprint([m for m in sys.modules if m.startswith('torch')])"
    run = python("-c", script, path=(ROOT,))
    assert run.stdout.strip() == "[]", run.stderr
