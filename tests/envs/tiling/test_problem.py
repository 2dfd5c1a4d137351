"""A tiling instance solved by hand, walked step by step, and schedules that the referee must refuse."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.schedule import Schedule
from foldwright.accel.schedule_check import check_schedule
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.envs.registry import split
from foldwright.envs.tiling import TilingProblem, TilingSolution
from foldwright.envs.tiling.env import TilingEnv
from foldwright.errors import IllegalSolutionError, InfeasibleError
from foldwright.netlists.part import load_part


def by_hand(pool_bram36: int = 20) -> TilingProblem:
    """Two 3x3 layers, 16 -> 8 -> 4 channels, on an 8x8 map of one bit, on one engine 4x16x4.

    Blocks take 9 cycles (one word, nine taps), rows have two groups of columns. Layer 0: 2 blocks * 8 rows * 2 * 9 = 288
    cycles, layer 1: 1 * 8 * 2 * 9 = 144. A tile takes 20 more (11 + 4 of the unit + 4 to drain + 1 to search). With one tile a
    layer that is 288 + 20 + 144 + 20 = 472 cycles, and fewer are not possible: that is the bound.
    The image, 64 pixels of a beat, takes 72 cycles of the port and 52 of latency; in two copies, one loaded while the other
    is read, it hides. So pinned weights, everything whole, the middle tensor on chip and the image ahead reach 472.
    """
    chain = LayerChain((16, 8, 8, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(8)
    chain.conv(4)
    datapath = Datapath((Engine(4, 16, 4),), (0, 0), 1, 32)
    return TilingProblem("tiling/by-hand", chain.workload("by-hand"), datapath, pool_bram36)


OPTIMUM = 472


def whole_tiles(problem: TilingProblem) -> list[int]:
    """Returns the candidates that compute each layer in one tile: 2 blocks, and 1 block, of 8 rows."""
    return [problem.tables[6][i].tolist().index([2 - i, 8, 0]) for i in range(2)]


def best_solution(problem: TilingProblem) -> TilingSolution:
    whole = whole_tiles(problem)
    return problem.decode(np.array([3, 1, whole[0], 2, 0, whole[1]]))


def test_the_optimum_by_hand_is_the_bound_and_brute_force_finds_no_better() -> None:
    problem = by_hand()
    assert problem.bound().value == OPTIMUM
    every = [problem.cost_of(np.array(c)) for c in itertools.product(*(range(n) for n in problem.sizes))]
    legal = [c for c in every if c > 0]
    assert min(legal) == OPTIMUM
    assert max(legal) > 2 * OPTIMUM


def test_one_episode_step_by_step() -> None:
    problem = by_hand()
    env = TilingEnv(instances=problem)
    observation, info = env.reset(seed=0)
    # The fallback streams everything in tiles of one block and one row: 16 + 8 flushes, far from the bound.
    start = info["cost"]
    assert start == problem.cost_of(problem.fallback) > 2 * OPTIMUM
    whole = whole_tiles(problem)
    plan = [
        (3, "conv1: weights pinned, input 1 layer ahead"),
        (1, "conv1: output on chip"),
        (whole[0], "conv1: 2 blocks x 8 rows, weights outside"),
        (2, "conv2: weights pinned"),
        (0, "conv2: output to DRAM"),
        (whole[1], "conv2: 1 blocks x 8 rows, weights outside"),
    ]
    costs, rewards = [start], []
    for place, (action, label) in enumerate(plan):
        assert problem.labels(place)[action] == label
        assert observation["action_mask"].sum() == problem.sizes[place]  # the pool is large
        observation, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (place == len(plan) - 1, False)
        costs.append(info["cost"])
        rewards.append(reward)
    assert costs[-1] == OPTIMUM
    assert rewards[4] == 0.0  # the fifth decision takes what the fallback has
    assert rewards == pytest.approx([(a - b) / OPTIMUM for a, b in itertools.pairwise(costs)])
    assert sum(rewards) == pytest.approx((start - OPTIMUM) / OPTIMUM)
    assert env.solution() == best_solution(problem)


def test_the_best_solution_by_hand_passes_the_referee() -> None:
    problem = by_hand()
    solution = best_solution(problem)
    problem.check(solution)
    # The image comes in, a beat a pixel, and the result goes out, an item of 4 values of 16 bits a pixel; nothing else moves.
    detail = problem.evaluate(solution).detail
    assert (detail["loaded_bits"], detail["stored_bits"]) == (32 * 8 * 8, 64 * 8 * 8)


def tight() -> TilingProblem:
    """Returns three layers on a 40x40 map in the smallest pool that the fallback fits.

    A whole map takes 40 * ceil(41/4) = 440 words or, of 32 channels, 880, and a block RAM holds 512 to 1024 of them.
    """
    chain = LayerChain((32, 40, 40, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(32)
    chain.conv(64)
    chain.conv(16)
    datapath = Datapath((Engine(4, 16, 4),), (0, 0, 0), 1, 32)
    for pool in range(1, 40):
        with contextlib.suppress(InfeasibleError):
            return TilingProblem("tiling/tight", chain.workload("tight"), datapath, pool)
    raise AssertionError("no pool fits")


def test_the_mask_closes_exactly_what_the_pool_cannot_hold() -> None:
    problem = tight()
    closed = 0
    rng = np.random.default_rng(0)
    for _ in range(20):
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


Corrupt = Callable[[Schedule], Schedule]


def block(holds: str, **change: Any) -> Corrupt:
    """Returns what changes the first block that holds something; with no change it takes such blocks away."""

    def corrupt(schedule: Schedule) -> Schedule:
        blocks = list(schedule.blocks)
        at = next(i for i, b in enumerate(blocks) if b.holds == holds)
        blocks[at : at + 1] = [replace(blocks[at], **change)] if change else []
        return replace(schedule, blocks=tuple(blocks))

    return corrupt


def event(kind: str, shift: int) -> Corrupt:
    """Returns what moves the end of the first event of a kind."""

    def corrupt(schedule: Schedule) -> Schedule:
        events = list(schedule.events)
        at = next(i for i, e in enumerate(events) if e.kind == kind)
        events[at] = replace(events[at], end_cycle=events[at].end_cycle + shift)
        return replace(schedule, events=tuple(events))

    return corrupt


def decision(**change: Any) -> Corrupt:
    """Returns what changes the first layer's decision."""
    return lambda s: replace(s, decisions=(replace(s.decisions[0], **change), *s.decisions[1:]))


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (block("tensor", address=0), "overlaps"),
        (block("weights"), "weights of 'conv1' needs 18 words .* has no block"),
        (block("tensor"), "tensor of 'conv1' needs 24 words .* has no block"),
        (block("tensor", words=23), "tensor of 'conv1' needs 24 words"),
        (block("tensor", slots=(0,)), r"needs 24 words on engine 0 in slots \(0, 1\)"),
        (event("compute", -1), "computes .* cycles, needs at least"),
        (event("compute", 10_000), "before it is free"),
        (decision(tile_rows=9), r"tile_rows is 9, allowed 1\.\.8"),
        (decision(outer_loop="columns"), "outer_loop is 'columns'"),
        (lambda s: replace(s, cycles_per_round=471), "said to take 471 cycles, but engine 0 computes 472"),
        (lambda s: replace(s, decisions=s.decisions[::-1]), "not those of the workload's layers"),
    ],
)
def test_the_referee_refuses_a_corrupted_schedule(corrupt: Corrupt, message: str) -> None:
    problem = by_hand()
    solution = best_solution(problem)
    schedule, sized = problem.schedule(solution), problem.sized_datapath(solution)
    part = load_part(problem.part)
    check_schedule(problem.workload, sized, part, schedule, problem.pool_bram36)
    with pytest.raises(IllegalSolutionError, match=message):
        check_schedule(problem.workload, sized, part, corrupt(schedule), problem.pool_bram36)


@pytest.mark.parametrize("kind", ["load_weights", "load_input", "store"])
def test_the_referee_lets_a_channel_of_the_port_move_one_thing_at_a_time(kind: str) -> None:
    problem = by_hand()
    solution = problem.decode(problem.fallback)
    schedule, sized = problem.schedule(solution), problem.sized_datapath(solution)
    with pytest.raises(IllegalSolutionError, match="holds the DRAM port"):
        check_schedule(
            problem.workload,
            sized,
            load_part(problem.part),
            event(kind, 10_000)(schedule),
            problem.pool_bram36,
        )


def test_the_referee_refuses_a_pool_that_is_too_small() -> None:
    problem = by_hand()
    solution = best_solution(problem)
    sized = problem.sized_datapath(solution)
    with pytest.raises(IllegalSolutionError, match=r"the memories take \d+ block RAMs, the pool has 1"):
        check_schedule(problem.workload, sized, load_part(problem.part), problem.schedule(solution), 1)


@pytest.mark.parametrize("split_name", ["train", "heldout-id"])
def test_random_legal_solutions_pass_the_referee(split_name: str) -> None:
    rng = np.random.default_rng(1)
    for problem in split("tiling", split_name, 5, seed=21):
        assert isinstance(problem, TilingProblem)
        choices = problem.fallback.copy()
        for d in range(len(choices)):
            choices[d] = rng.choice(np.flatnonzero(problem.allowed(choices, d)))
        solution = problem.decode(choices)
        problem.check(solution)
        assert problem.encode(solution).tolist() == choices.tolist()
        assert problem.evaluate(solution).value == problem.cost_of(choices)


def test_the_referee_takes_the_map_of_a_residual_as_its_input_reader_holds_it() -> None:
    """The layer that adds conv1's results holds one plane a word, the one that reads them as its input holds two."""
    *_, problem = split("tiling", "train", 5, seed=4)
    assert isinstance(problem, TilingProblem)
    rng, legal = np.random.default_rng(0), 0
    while legal < 5:
        choices = rng.integers(problem.sizes)
        choices[1::3] = problem.sizes[1::3] - 1
        if problem.cost_of(choices) > 0:
            problem.check(problem.decode(choices))
            legal += 1
