"""The outline of a schedule: exact where nothing moves, near the simulator elsewhere, and higher where the pool is too small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foldwright.accel.evaluate import bram36_of_choices, settled
from foldwright.accel.tiles import P_PLACES
from foldwright.envs.registry import load_instance, split
from foldwright.envs.tiling import TilingProblem
from foldwright.envs.tiling.outline import outline_cycles
from tests.envs.tiling.test_problem import OPTIMUM, best_solution, by_hand, tight


def test_the_outline_of_a_resident_schedule_is_its_compute() -> None:
    problem = by_hand()
    choices = problem.encode(best_solution(problem))
    assert outline_cycles(*problem.tables, choices) == OPTIMUM == problem.cost_of(choices)


def test_the_outline_is_near_the_simulator() -> None:
    rng, ratios = np.random.default_rng(5), []
    for problem in split("tiling", "train", 10, seed=51):
        assert isinstance(problem, TilingProblem)
        for _ in range(20):
            choices = rng.integers(problem.sizes)
            cycles = problem.cost_of(choices)
            if cycles > 0:
                ratios.append(outline_cycles(*problem.tables, choices) / cycles)
    assert len(ratios) > 30
    assert 0.8 < np.median(ratios) < 1.1
    assert np.quantile(ratios, 0.1) > 0.6
    assert np.quantile(ratios, 0.9) < 1.4


def test_what_does_not_fit_is_dearer_the_less_it_fits() -> None:
    # Ten percent more, and three for each block RAM that is missing.
    large = replace(tight(), pool_bram36=140)
    choices = large.start  # everything is on chip
    fits = outline_cycles(*large.tables, choices)
    need, least = int(bram36_of_choices(*large.tables, choices)), tight().pool_bram36
    assert need > least
    for pool in range(least, need):
        small = replace(large, pool_bram36=pool)
        assert small.cost_of(choices) < 0
        assert outline_cycles(*small.tables, choices) == fits + fits * (10 + 3 * (need - pool)) // 100


def test_a_chunk_in_the_only_place_waits_for_the_tiles_before_it() -> None:
    """MobileNet in little memory: loads and tiles take turns, so that a round takes as long as both together."""
    problem = load_instance("tiling/mobilenet-s-b64-p60")
    assert isinstance(problem, TilingProblem)
    choices = problem.start
    plans, _ = settled(*problem.tables, choices)
    assert plans[0, P_PLACES] == 1
    ratio = outline_cycles(*problem.tables, choices) / problem.cost_of(choices)
    assert 0.9 < ratio < 1.1
