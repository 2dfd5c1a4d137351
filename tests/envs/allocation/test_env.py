"""An allocation instance walked by hand, and its masks against brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.cost import cost
from foldwright.accel.datapath_check import datapath_mistakes
from foldwright.accel.known_workloads import LayerChain, pooling, with_sums
from foldwright.accel.workload import ActKind, PoolKind, WeightKind
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.env import AllocationEnv
from foldwright.envs.allocation.kernels import CONTEXT_FEATURES
from foldwright.envs.allocation.space import A_DM, BATCHES, COUNTS, DRAINS, PLANES, WIDTHS
from foldwright.netlists.part import load_part


def by_hand(percent: float = 80.0) -> AllocationProblem:
    """Two 3x3 layers, 16 -> 8 -> 4 channels, on an 8x8 map of one bit, on up to two engines."""
    chain = LayerChain((16, 8, 8, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(8)
    chain.conv(4)
    return AllocationProblem(
        "allocation/by-hand", chain.workload("by-hand"), "xc7z020", percent, max_engines=2
    )


def value(values: np.ndarray[tuple[int], np.dtype[np.int64]], wanted: int) -> int:
    return values.tolist().index(wanted)


def test_one_episode_step_by_step() -> None:
    # One engine 8x16x8 that drains all lanes: layer 0 has 1 block * 8 rows * 1 group * 9 cycles = 72, layer 1 the same. Each
    # tile takes 17 more (11 + 4 of the unit + 1 to drain + 1 to search). Everything on chip: (72 + 17) * 2 = 178 cycles a frame,
    # the image loaded meanwhile. But of its 64 pixels each is an item of 8 values of 9 bits, 3 beats: 192 cycles to store.
    problem = by_hand()
    plan = [
        0,  # one engine
        0,  # the only cut stays at its start
        value(BATCHES, 1),
        0,  # column lanes
        value(PLANES, 1),
        0,  # no window
        value(COUNTS, 8),
        value(WIDTHS, 16),
        value(COUNTS, 8),
        value(DRAINS, 8),
        *[0] * 7,  # nothing to say of an engine that is not there
    ]
    env = AllocationEnv(instances=problem)
    observation, info = env.reset(seed=0)
    costs, rewards = [info["cost"]], []
    for place, action in enumerate(plan):
        assert observation["action_mask"][action] == 1
        if place >= 10:
            assert np.flatnonzero(observation["action_mask"]).tolist() == [0]
        observation, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (place == len(plan) - 1, False)
        costs.append(info["cost"])
        rewards.append(reward)
    assert costs[-1] == 192_000  # thousandths of a cycle a frame
    assert rewards == pytest.approx([(a - b) / info["bound"] for a, b in itertools.pairwise(costs)])
    engine = env.solution().datapath.engines[0]
    assert (engine.shape, engine.drain_lanes) == ("8x16x8", 8)
    problem.check(env.solution())


def test_the_mask_closes_designs_beyond_the_budget() -> None:
    # At 9 % of the LUTs the largest dm that the mask leaves open fits, and the next does not.
    problem = by_hand(9.0)
    place = 1 + problem.max_engines + A_DM
    largest = int(np.flatnonzero(problem.allowed(problem.fallback, place))[-1])
    env = AllocationEnv(instances=problem)
    observation, _ = env.reset()
    for _ in range(place):
        observation, *_ = env.step(0)
    assert np.flatnonzero(observation["action_mask"])[-1] == largest
    assert largest < len(COUNTS) - 1
    for dm in (largest, largest + 1):
        trial = problem.fallback.copy()
        trial[place] = dm
        used = cost(problem.decode(trial).datapath, load_part("xc7z020"))
        assert (used.lut <= problem.lut_budget) == (dm == largest)


def test_masks_equal_brute_force_along_random_episodes() -> None:
    problem, rng = by_hand(15.0), np.random.default_rng(0)
    closed = 0
    for _ in range(6):
        choices = problem.fallback.copy()
        for d, size in enumerate(problem.sizes):
            mask = problem.allowed(choices, d)
            brute = []
            for k in range(size):
                trial = problem.fallback.copy()
                trial[:d], trial[d] = choices[:d], k
                brute.append(problem.cost_of(trial) > 0)
            assert mask.tolist() == brute
            closed += int((~mask).sum())
            choices[d] = rng.choice(np.flatnonzero(mask))
    assert closed > 0


def test_what_a_design_takes_is_what_the_cost_model_says() -> None:
    # The state keeps each engine's share; along an episode the sum equals that of the whole datapath counted anew.
    env = AllocationEnv(instances="train", instance_count=4)
    lut, ff = (CONTEXT_FEATURES.index(name) for name in ("LUTs / budget", "flip-flops / budget"))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        observation, _ = env.reset(seed=seed)
        problem, done = env.problem, False
        assert isinstance(problem, AllocationProblem)
        part, limits = load_part(problem.part), problem.tables[4]
        fixed_lut, fixed_ff = problem.lut_budget - limits[2], part.budget.ff - limits[3]
        while not done:
            used = cost(problem.decode(env.choices()).datapath, part, problem.technology)
            assert observation["context"][lut] == pytest.approx((used.lut - fixed_lut) / limits[2])
            assert observation["context"][ff] == pytest.approx((used.ff - fixed_ff) / limits[3])
            action = rng.choice(np.flatnonzero(observation["action_mask"]))
            observation, _, done, _, _ = env.step(int(action))


def test_an_engine_that_averages_has_the_bits_of_its_sums() -> None:
    # 64 values of 0 .. 3: sums up to 192 in eight bits, of results that three thresholds tell apart.
    chain = LayerChain((16, 8, 8, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    chain.conv(8, pool=pooling(8, 8, kind=PoolKind.AVERAGE))
    chain.matmul(4, raw=True)
    problem = AllocationProblem(
        "allocation/averages", with_sums(chain.workload("averages")), "xc7z020", max_engines=2
    )
    solution = problem.decode(problem.start)
    problem.check(solution)
    datapath, part = solution.datapath, load_part("xc7z020")
    engine = datapath.engines[0]
    assert (engine.levels, engine.sum_bits) == (3, 8)
    narrow = replace(datapath, engines=(replace(engine, sum_bits=7), *datapath.engines[1:]))
    assert datapath_mistakes(problem.workload, narrow, part, problem.lut_budget) == [
        "engine 0: layer 'conv1' needs 8 bits for a pooled sum, has 7"
    ]
    without = replace(datapath, engines=(replace(engine, sum_bits=0), *datapath.engines[1:]))
    per_channel = engine.drain_lanes * engine.dm
    more = cost(datapath, part).lut - cost(without, part).lut
    assert more == pytest.approx(4.717 * (2 * 8 - 2) * per_channel, abs=1)
