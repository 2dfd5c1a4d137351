"""The schedule by rule, in the tiles that an instance has."""

from __future__ import annotations

import numpy as np

from foldwright.accel.workload import Workload
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.tiling import TilingProblem
from foldwright.envs.tiling.start import fitted_start
from foldwright.models import model_path
from tests.envs.tiling.test_problem import OPTIMUM, by_hand


def digits() -> Workload:
    from foldwright.accel.network import load_network

    return load_network(model_path("digits_w1a2")).workload


def test_a_rule_whose_tiles_are_all_there_stays_as_it_is() -> None:
    problem = by_hand()
    assert (fitted_start(problem) == problem.start).all()
    assert problem.cost_of(fitted_start(problem)) == OPTIMUM


def test_a_missing_tile_is_replaced_by_one_as_fast_as_the_allocation_counted_with() -> None:
    allocation = AllocationProblem("allocation/digits", digits())
    gained = 0
    allocation.search.solve(lambda simulated: simulated > 20)
    for choices in allocation.search.leading():
        datapath = allocation.decode(choices).datapath
        problem = TilingProblem("tiling/digits", allocation.workload, datapath, allocation.pool_bram36)
        start, fitted = problem.start.copy(), fitted_start(problem)
        assert (problem.start == start).all()
        assert problem.bound().value <= problem.cost_of(fitted) <= problem.cost_of(start)
        differ = np.flatnonzero(fitted != start)
        assert (differ % 3 == 2).all()  # only tiles
        problem.check(problem.decode(fitted))
        gained += len(differ) > 0
        if (choices == allocation.search.best[1]).all():
            assert 1000 * problem.cost_of(fitted) <= allocation.search.best[0] * datapath.batch_frames
    assert gained > 0
