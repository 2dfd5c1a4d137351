"""The schedule by rule, in the tiles that an instance has."""

from __future__ import annotations

import numpy as np

from foldwright.accel.evaluate import DECISIONS, OUTPUT_FUSED
from foldwright.accel.workload import Workload
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.registry import load_instance
from foldwright.envs.tiling import TilingProblem
from foldwright.models import model_path
from tests.envs.tiling.test_problem import OPTIMUM, by_hand


def digits() -> Workload:
    from foldwright.accel.network import load_network

    return load_network(model_path("digits_w1a2")).workload


def test_a_rule_whose_tiles_are_all_there_stays_as_it_is() -> None:
    problem = by_hand()
    assert (problem.start == problem.by_rule).all()
    assert problem.cost_of(problem.start) == OPTIMUM


def test_the_start_of_a_design_is_as_fast_as_the_allocation_counted_with() -> None:
    allocation = AllocationProblem("allocation/digits", digits())
    allocation.search.solve(lambda simulated: simulated > 20)
    for choices in allocation.search.leading():
        datapath = allocation.decode(choices).datapath
        problem = TilingProblem(
            "tiling/digits", allocation.workload, datapath, allocation.pool_bram36(datapath)
        )
        start, fitted = problem.by_rule.copy(), problem.start
        assert (problem.by_rule == start).all()
        assert problem.bound().value <= problem.cost_of(fitted) <= problem.cost_of(start)
        differ = np.flatnonzero(fitted != start)
        assert (differ % 3 == 2).all()  # only tiles
        problem.check(problem.decode(fitted))
        if (choices == allocation.search.best[1]).all():
            assert 1000 * problem.cost_of(fitted) <= allocation.search.best[0] * datapath.batch_frames


def test_a_missing_tile_is_replaced_by_the_best_that_is_there() -> None:
    problem = by_hand()
    *others, tiles, numbers = problem.tables
    kept = [[tile for tile in options.tolist() if tile[1] < 8] for options in tiles]  # no tile of all rows
    few = np.array([options + [options[-1]] * (len(tiles[0]) - len(options)) for options in kept])
    problem.__dict__["tables"] = (*others, few, numbers)
    start, fitted = problem.by_rule, problem.start
    assert (
        start[2::3].tolist() == problem.fallback[2::3].tolist()
    )  # the smallest stands for the one that the rule wants
    assert np.flatnonzero(fitted != start).tolist() == [2, 5]
    assert problem.cost_of(fitted) < problem.cost_of(start)


def test_a_start_fuses_where_that_makes_it_faster() -> None:
    """ResNet-18 at 16 bits a cycle on 60 block RAMs: the maps of its first stages would go through DRAM."""
    plain = load_instance("tiling/resnet18-w1a2-b16-p60")
    fused = load_instance("tiling/resnet18-w1a2-f-b16-p60")
    assert isinstance(plain, TilingProblem)
    assert isinstance(fused, TilingProblem)
    assert OUTPUT_FUSED not in plain.start[1::DECISIONS]
    assert (fused.start[1::DECISIONS] == OUTPUT_FUSED).sum() >= 3
    assert fused.cost_of(fused.start) < 0.9 * plain.cost_of(plain.start)
    fused.check(fused.decode(fused.start))
