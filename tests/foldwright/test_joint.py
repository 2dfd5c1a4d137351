"""Engines and schedules searched together: schedules that go over to other engines, and designs that only get faster."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.evaluate import D_TILE, DECISIONS
from foldwright.accel.mapping import M_CYCLES, M_LATENCY, map_layers
from foldwright.agents.registry import get_solver
from foldwright.agents.stop import Evaluations
from foldwright.budget import Budget
from foldwright.config import merge_options
from foldwright.envs.allocation import AllocationProblem, space
from foldwright.envs.registry import load_instance
from foldwright.joint import improve, neighbour, taken_over
from foldwright.race import beginning_with, rate, tiling_instance


@pytest.fixture(scope="module", name="problem")
def _problem() -> AllocationProblem:
    problem = load_instance("allocation/digits-w1a2-xc7z020-20")
    assert isinstance(problem, AllocationProblem)
    return problem


def test_neighbours_are_legal_and_reach_every_decision(problem: AllocationProblem) -> None:
    rng, changed = np.random.default_rng(0), np.zeros(len(problem.sizes), dtype=bool)
    start = problem.start
    for _ in range(2000):
        near = neighbour(problem, start, rng)
        assert space.is_legal(problem.tables[0], problem.max_engines, near)
        assert np.count_nonzero(near != start) <= 3
        changed |= near != start
    there = 1 + problem.max_engines + space.PER_ENGINE * (int(start[0]) + 1)
    assert changed[problem.max_engines : there].sum() > there - problem.max_engines - 6
    assert not changed[there:].any()
    assert not changed[0]


def test_the_least_cycles_are_those_of_the_busiest_engine(problem: AllocationProblem) -> None:
    choices = problem.start
    engines, _, assignment, batch = space.build(problem.tables[0], problem.max_engines, choices)
    mappings = map_layers(problem.tables[0], engines, assignment, batch)
    busiest = max(mappings[assignment == e][:, [M_CYCLES, M_LATENCY]].sum() for e in range(len(engines)))
    assert problem.busiest_cycles(choices) == busiest / batch
    assert problem.busiest_cycles(choices) * 1000 <= problem.cost_of(choices)
    large = choices.copy()
    large[space.first_decision(problem.max_engines, 0) + space.A_DM] = 63
    assert problem.busiest_cycles(large) == np.inf


def test_a_schedule_stays_as_it_is_on_its_own_engines_and_is_legal_on_others(
    problem: AllocationProblem,
) -> None:
    rng, instance, tried = np.random.default_rng(1), tiling_instance(problem, problem.start), 0
    schedule = instance.start
    assert taken_over(instance, schedule.tolist(), instance).tolist() == schedule.tolist()
    for _ in range(60):
        near = neighbour(problem, problem.start, rng)
        if problem.busiest_cycles(near) == np.inf:
            continue
        other = tiling_instance(problem, near)
        choices = taken_over(instance, schedule.tolist(), other)
        assert (choices >= 0).all()
        assert (choices < other.sizes).all()
        for i in range(len(problem.workload.layers)):
            at = DECISIONS * i + D_TILE
            mine, its = instance.tables[6][i, schedule[at]], other.tables[6][i]
            if (its[: other.sizes[at]] == mine).all(axis=1).any():
                assert its[choices[at]].tolist() == mine.tolist()
        tried += 1
    assert tried > 10


def test_what_comes_of_it_is_checked_no_slower_and_the_same_again(problem: AllocationProblem) -> None:
    options = merge_options(
        {},
        "test",
        {"model": "digits_w1a2", "part": "xc7z020", "out": "unused", "deterministic": 2.0, "seed": 3},
    )
    anneal = get_solver("anneal")
    solvers = {"tiling": (anneal, anneal.make_params({}, "tiling"))}
    slow = problem.fallback.copy()
    instance = tiling_instance(problem, slow)
    begun = beginning_with(instance, instance.start.tolist())
    result = anneal(begun, stop=Evaluations(50), seed=0)
    found = [improve(problem, (begun, result), options, solvers, Budget(options, None)) for _ in "ab"]
    assert rate(*found[0]) == rate(*found[1])
    assert found[0][0].datapath == found[1][0].datapath
    better, schedule = found[0]
    assert rate(better, schedule) < rate(begun, result)  # one engine 1x8x1 is far from what the part holds
    better.check(schedule.solution)
    assert rate(better, schedule) * 1000 >= problem.bound().value
