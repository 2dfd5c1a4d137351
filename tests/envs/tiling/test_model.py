"""The CP-SAT model of tiling is a relaxation: its optimum is never above the best schedule that trying all of them finds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ortools.sat.python import cp_model

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import DECISIONS, OUTPUT_FUSED
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.envs.registry import load_instance
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


@pytest.mark.parametrize(
    ("name", "pool", "bits", "fuses"),
    [
        ("cnv-w1a1-b16", 60, 8, False),
        ("cnv-w1a1-b16", 140, 8, False),
        ("dorefa-b16-p60", 60, 4, False),
        ("digits-w1a2-b16", 20, 2, False),
        ("digits-w1a2-b16", 20, 2, True),
        ("dorefa-b16-p60", 60, 4, True),
        ("resnet18-w1a2-b16-p140", 140, 8, True),
    ],
)
def test_no_schedule_is_faster_than_the_model_says(name: str, pool: int, bits: int, fuses: bool) -> None:
    """Random schedules that fit, half with images loaded ahead: the model that pins and keeps what they do costs no more."""
    named = load_instance(f"tiling/{name}")
    assert isinstance(named, TilingProblem)
    datapath = replace(named.datapath, dram_bits_per_cycle=bits)
    problem = replace(named, name="tiling/tried", datapath=datapath, pool_bram36=pool, fuses=fuses)
    cp, rng, compared, closest, fused = problem.cp_model(), np.random.default_rng(pool + bits), 0, 0.0, 0
    for _ in range(400):
        choices = problem.start.copy()
        for decision in rng.choice(len(choices), rng.integers(1, 9), replace=False):
            choices[decision] = rng.integers(problem.sizes[decision])
        links = choices[1::DECISIONS]
        if fuses:
            links[:] = np.where(rng.random(len(links)) < 0.3, problem.sizes[1::DECISIONS] - 1, links)
        fused += int((links == OUTPUT_FUSED).sum())
        cycles = problem.cost_of(choices)
        if cycles <= 0 or compared == 25:
            continue
        model = cp.model.clone()
        for at, (variable, value) in enumerate(zip(cp.decisions, choices, strict=True)):
            same = model.get_int_var_from_proto_index(variable.index)
            if (
                at % DECISIONS == 0
            ):  # the blocks that are pinned; whether the input comes ahead is open, as the tile is
                model.add(same >= int(value) // 2 * 2)
                model.add(same <= int(value) // 2 * 2 + 1)
            elif at % DECISIONS == 1:
                model.add(same == int(value))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers, solver.parameters.max_deterministic_time = 1, 0.5
        assert solver.solve(model) != cp_model.INFEASIBLE
        assert solver.best_objective_bound <= cycles
        compared, closest = compared + 1, max(closest, solver.best_objective_bound / cycles)
    assert compared >= 8
    assert (fused > 0) == fuses
    assert closest > (0.7 if fuses else 0.9)
