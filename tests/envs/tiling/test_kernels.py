"""The state that tiling episodes keep equals what is computed anew from their decisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.evaluate import bram36_of_choices, expand, total_traffic
from foldwright.envs.registry import split
from foldwright.envs.tiling import TilingProblem
from foldwright.envs.tiling.env import TilingEnv
from foldwright.envs.tiling.kernels import CANDIDATE_FEATURES, CONTEXT_FEATURES
from foldwright.errors import ConfigError

BLOCKS = CANDIDATE_FEATURES.index("block RAMs / pool")
CHANGE = CANDIDATE_FEATURES.index("change of traffic cycles / bound")
BLOCKS_NOW = CONTEXT_FEATURES.index("block RAMs / pool")
TRAFFIC_NOW = CONTEXT_FEATURES.index("traffic cycles / bound")
LIMIT = 4.0


def traffic(problem: TilingProblem, choices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """Returns the cycles of the DRAM port over the bound."""
    moved = sum(total_traffic(expand(*problem.tables, choices)))
    return float(moved) / problem.datapath.dram_bits_per_cycle / problem.bound().value


def posed(split_name: str) -> list[TilingProblem]:
    if split_name == "fused":
        return [replace(p, fuses=True) for p in posed("train")]
    problems = [p for p in split("tiling", split_name, 8, seed=2) if p.sizes.sum() < 600][:5]
    assert all(isinstance(p, TilingProblem) for p in problems)
    return problems  # type: ignore[return-value]


@pytest.mark.parametrize("split_name", ["train", "heldout-id", "heldout-real", "fused"])
def test_block_rams_and_traffic_of_every_candidate_are_those_computed_anew(split_name: str) -> None:
    rng = np.random.default_rng(3)
    problems = posed(split_name)
    assert problems
    assert any(3 in problem.sizes[1::3] for problem in problems) == (split_name == "fused")
    env = TilingEnv(instances=problems, flat=False)
    for problem in problems:
        observation, _ = env.reset(options={"instance": problem})
        for d, size in enumerate(problem.sizes):
            trial = env.choices()
            now = traffic(problem, trial)
            used = bram36_of_choices(*problem.tables, trial)
            assert observation["context"][BLOCKS_NOW] == pytest.approx(used / problem.pool_bram36)
            assert observation["context"][TRAFFIC_NOW] == pytest.approx(min(LIMIT, now), rel=1e-5)
            for k in range(size):
                trial[d] = k
                used = bram36_of_choices(*problem.tables, trial)
                seen = observation["candidates"][k]
                assert seen[BLOCKS] == pytest.approx(min(LIMIT, used / problem.pool_bram36))
                change = np.clip(traffic(problem, trial) - now, -LIMIT, LIMIT)
                assert seen[CHANGE] == pytest.approx(change, rel=1e-4, abs=1e-4)
                assert observation["action_mask"][k] == (used <= problem.pool_bram36)
            observation, *_ = env.step(int(rng.choice(np.flatnonzero(observation["action_mask"]))))


def test_the_estimate_begins_at_the_cost_of_the_fallback_and_follows_the_decisions() -> None:
    # Weights that are pinned are not loaded: the estimate falls, and to take the fallback changes nothing.
    env = TilingEnv(instances="tiling/digits-w1a2-b16")
    _, info = env.reset(seed=0)
    start = info["cost"]
    assert start == env.problem.cost_of(env.problem.fallback)
    _, reward, *_, info = env.step(0)
    assert (info["cost"], reward) == (start, 0.0)
    for action in (1, 0, 3):
        before = info["cost"]
        _, reward, *_, info = env.step(action)
        assert info["cost"] < before
        assert reward == pytest.approx((before - info["cost"]) / info["bound"])


def test_no_candidate_of_an_earlier_decision_is_left_over() -> None:
    env = TilingEnv(instances="tiling/cnv-w1a1-b16", flat=False)
    observation, _ = env.reset(seed=0)
    for size in env.problem.sizes[:-1]:
        assert not observation["candidates"][size:].any()
        assert not observation["action_mask"][size:].any()
        observation, *_ = env.step(int(observation["action_mask"].argmax()))
    with pytest.raises(ConfigError):
        env.step(64)
