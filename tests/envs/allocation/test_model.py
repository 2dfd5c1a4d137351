"""The level tables and the CP-SAT model: bounds against random designs, brute force and the exact search."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.cost import ENGINE_RESERVE_BRAM36
from foldwright.accel.evaluate import DECISIONS, bram36_of_choices, expand, total_traffic
from foldwright.accel.mapping import M_PA, map_layers
from foldwright.accel.memory import memory_widths
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.agents import cpsat
from foldwright.agents.exact import solve as exact
from foldwright.agents.stop import DeterministicTime, Evaluations
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.levels import LevelTables, least_level
from foldwright.envs.allocation.memory_bound import (
    LAYER_WORDS,
    W_LINE,
    compulsory_bits,
    detour_bits,
    extend_run,
    layer_words,
    least_block_rams,
)
from foldwright.envs.allocation.space import build, is_legal
from foldwright.envs.registry import load_instance
from foldwright.envs.tiling.start import QUICK_TILES, quick_tiles
from tests.envs.allocation.test_env import by_hand

IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def network(name: str = "digits-w1a2-xc7z020-20") -> AllocationProblem:
    problem = load_instance("allocation/" + name)
    assert isinstance(problem, AllocationProblem)
    return problem


def random_design(problem: AllocationProblem, rng: np.random.Generator) -> IntArray:
    """Returns legal choices, whether they fit or not; decisions of engines that are not there stay 0."""
    layers, most = problem.tables[0], problem.max_engines
    while True:
        choices = rng.integers(problem.sizes)
        choices[1:most] %= max(1, len(layers) // most)
        choices[1 + choices[0] : most] = 0
        choices[1 + most + 7 * (int(choices[0]) + 1) :] = 0
        choices[1 + most + 5 :: 7] *= rng.integers(2)
        if is_legal(layers, most, choices):
            return choices


def least_of_design(problem: AllocationProblem, choices: IntArray, spare: int) -> int:
    """Returns the sum of all engines' fewest block RAMs."""
    layers, geometries = problem.tables[:2]
    engines, _, assignment, batch = build(layers, problem.max_engines, choices)
    mappings = map_layers(layers, engines, assignment, batch)
    kept = detour_bits(layers) * batch > spare
    words = np.zeros((len(layers), LAYER_WORDS), dtype=np.int64)
    for i in range(len(layers)):
        layer_words(layers[i], engines[assignment[i]], mappings[i], batch, words[i])
    total = 0
    for e in range(len(engines)):
        mine = np.flatnonzero(assignment == e)
        live, run = np.zeros((len(layers), 2), dtype=np.int64), np.zeros(4, dtype=np.int64)
        for j in mine:
            extend_run(layers, words, kept, mine[0], j, live, run)
        line = words[mine[0], W_LINE]
        total += least_block_rams(
            layers[mine[0]], engines[e], mappings[mine[0]], run, line, spare, geometries
        )
    return total


@pytest.mark.parametrize("name", ["digits-w1a2-xc7z020-20", "resnet18-w1a2-xc7z020-80"])
def test_no_schedule_of_any_design_takes_fewer_block_rams_than_the_bound(name: str) -> None:
    problem, rng = network(name), np.random.default_rng(1)
    layers, geometries = problem.tables[:2]
    closest, compared = 0.0, 0
    while compared < 150:
        choices = random_design(problem, rng)
        engines, _, assignment, batch = build(layers, problem.max_engines, choices)
        mappings = map_layers(layers, engines, assignment, batch)
        if mappings[:, M_PA].min() == 0:
            continue
        schedule = rng.integers(5, size=DECISIONS * len(layers))
        schedule[1::DECISIONS] %= 2
        schedule[2::DECISIONS] %= QUICK_TILES
        unread = np.array(
            [not (layers[i + 1 :, [L_INPUT, L_RESIDUAL]] == i).any() for i in range(len(layers))]
        )
        schedule[1::DECISIONS][unread] = 0
        if compared % 3 == 0:  # everything on chip
            schedule[0::DECISIONS], schedule[1::DECISIONS], schedule[2::DECISIONS] = 3, ~unread, 0
        tables = (
            layers, engines, mappings, assignment, memory_widths(layers, engines, mappings, assignment), geometries,
            quick_tiles(mappings), np.array([batch, 32, 0], dtype=np.int64),
        )  # fmt: skip
        spare = total_traffic(expand(*tables, schedule))[0] - batch * compulsory_bits(layers, 32)
        assert spare >= 0
        used, least = bram36_of_choices(*tables, schedule), least_of_design(problem, choices, spare)
        assert least <= used + ENGINE_RESERVE_BRAM36 * len(engines)
        closest = max(closest, least / used)
        compared += 1
    assert closest > 0.5


def test_random_designs_never_cost_less_than_the_level_of_their_chain() -> None:
    problem, rng = by_hand(15.0), np.random.default_rng(0)
    start = problem.cost_of(problem.start)
    tables = LevelTables(problem, problem.bound().value, 3 * start)
    compared, bound = 0, tables.bound()
    for _ in range(2000):
        choices = (
            problem.start.copy()
        )  # random changes of a good design: few designs at random are fast enough
        for decision in rng.choice(len(choices), 3, replace=False):
            choices[decision] = rng.integers(problem.sizes[decision])
        cost = problem.cost_of(choices)
        if not 0 < cost <= tables.high:
            continue
        edges = [0, *([int(choices[1]) + 1] if choices[0] else []), len(problem.workload.layers)]
        best, _ = tables.table(int(choices[problem.max_engines]))
        level = least_level(best, np.array(edges), int(problem.tables[4][2]), 64)
        assert bound <= tables.value(level) <= cost
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("name", ["digits-w1a2-xc7z020-20", "digits-w2a2-xc7z020-50"])
def test_cp_sat_is_legal_reproducible_and_its_bound_below_the_exact_search(name: str) -> None:
    stop = DeterministicTime(0.3)
    results = [
        cpsat.solve(network(name), stop=stop, seed=1, params=cpsat.CpSatParams(hint="start")) for _ in "ab"
    ]
    assert results[0].without_times() == results[1].without_times()
    problem = network(name)
    problem.check(results[0].solution)
    best = exact(problem, stop=Evaluations(200), seed=0)
    assert problem.bound().value <= results[0].bound <= min(best.cost, results[0].cost)
    assert results[0].cost <= problem.cost_of(problem.start)


def test_the_model_holds_the_engines_that_its_decisions_name() -> None:
    from ortools.sat.python import cp_model

    problem = network()
    cp = problem.cp_model()
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(cp.model) == cp_model.OPTIMAL
    choices = np.array([solver.value(v) for v in cp.decisions], dtype=np.int64)
    assert is_legal(problem.tables[0], problem.max_engines, choices)
    problem.decode(choices)
    assert problem.levels.bound() == solver.value(cp.objective)
    assert cp.is_relaxation
    assert not cp.is_complete
