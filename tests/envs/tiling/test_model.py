"""The CP-SAT model of tiling is a relaxation: its optimum is never above the best schedule that trying all of them finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ortools.sat.python import cp_model

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.envs.tiling import TilingProblem
from tests.envs.tiling.test_problem import OPTIMUM, by_hand


def solved(problem: TilingProblem) -> tuple[int, int]:
    """Returns the model's optimum, and what the simulator says of its solution, -1 where that does not fit."""
    cp, solver = problem.cp_model(), cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(cp.model) == cp_model.OPTIMAL
    choices = np.array([solver.value(v) for v in cp.decisions])
    return int(solver.objective_value), problem.cost_of(choices)


def least(problem: TilingProblem) -> int:
    costs = (problem.cost_of(np.array(c)) for c in itertools.product(*(range(n) for n in problem.sizes)))
    return min(cost for cost in costs if cost > 0)


def test_the_model_finds_the_optimum_by_hand() -> None:
    assert solved(by_hand()) == (OPTIMUM, OPTIMUM)


@pytest.mark.parametrize(("pool", "bits"), [(5, 32), (6, 4), (7, 1), (20, 1), (20, 2)])
def test_the_models_optimum_is_a_bound(pool: int, bits: int) -> None:
    """Two layers of 1x1 and 3x3 kernels whose weights, 128 bits wide, take two block RAMs for each 512 words."""
    chain = LayerChain((16, 4, 4, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(16)
    chain.conv(24, kernel=1)
    datapath = Datapath((Engine(8, 16, 4, acc_bits=8),), (0, 0), 1, bits)
    problem = TilingProblem("tiling/two", chain.workload("two"), datapath, pool)
    optimum, cycles = solved(problem)
    best = least(problem)
    assert problem.bound().value <= optimum <= best
    assert cycles == -1 or cycles >= best
