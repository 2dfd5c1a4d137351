"""Engines of kind dsp in the space: what is legal, what it takes, and that the frontiers' bounds hold with one of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.cost import sum_of_terms, value_slices
from foldwright.accel.datapath import Datapath, Engine, EngineKind
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.mapping import MAPPING_FIELDS, first_reads, map_run
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.env import AllocationEnv
from foldwright.envs.allocation.exact import FrontierSearch
from foldwright.envs.allocation.frontier import (
    BUCKET_LUTS,
    FAR,
    Frontiers,
    added_cycles,
    fastest,
    kinds_of,
    layer_cycles,
)
from foldwright.envs.allocation.problem import AllocationSolution
from foldwright.envs.allocation.score import MILLI, N_DSP, N_LUT
from foldwright.envs.allocation.space import (
    A_DK,
    A_DM,
    A_DN,
    A_DRAIN,
    A_PLANES,
    DRAINS,
    ON_DSP,
    WIDTHS,
    build,
    first_decision,
    is_legal,
)
from foldwright.envs.registry import load_instance
from foldwright.errors import IllegalSolutionError
from foldwright.netlists.part import load_part

IN_SLICES = int(np.flatnonzero(ON_DSP)[0])


def small(
    weights: tuple[int, WeightKind] = (1, WeightKind.BINARY),
    part: str = "xc7z020",
    percent: float = 15.0,
    channels: int = 8,
) -> AllocationProblem:
    """Two 3x3 layers of two-bit activations on an 8x8 map, on up to two engines."""
    chain = LayerChain((16, 8, 8, 2, ActKind.UNSIGNED), weights, (2, ActKind.UNSIGNED))
    chain.conv(channels)
    chain.conv(channels)
    return AllocationProblem("allocation/small-dsp", chain.workload("small-dsp"), part, percent, 256, 2)


def in_slices(
    problem: AllocationProblem, engine: int, choices: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    out = choices.copy()
    out[first_decision(problem.max_engines, engine) + A_PLANES] = IN_SLICES
    return out


def test_an_engine_in_slices_takes_them_and_is_what_the_datapath_says() -> None:
    problem = load_instance("allocation/cnv-w1a2-xc7z020-80")
    assert isinstance(problem, AllocationProblem)
    solution = problem.decode(problem.start)
    engine = next(e for e in solution.datapath.engines if e.kind is EngineKind.DSP)
    assert 0 < engine.dsp_slices <= load_part("xc7z020").budget.dsp
    problem.check(solution)
    assert problem.encode(solution).tolist() == problem.start.tolist()
    assert problem.evaluate(solution).value == problem.cost_of(problem.start)
    wider = replace(engine, dm=64)
    grown = tuple(wider if e is engine else e for e in solution.datapath.engines)
    with pytest.raises(IllegalSolutionError, match="DSP slices"):
        problem.evaluate(AllocationSolution(replace(solution.datapath, engines=grown)))


def test_the_mask_closes_what_has_no_slices() -> None:
    signed, other_part = small((2, WeightKind.SIGNED)), small(part="lfe5u-85f")
    for problem, opens in ((small(), True), (signed, False), (other_part, False)):
        env = AllocationEnv(instances=problem)
        observation, _ = env.reset(seed=0)
        at = first_decision(problem.max_engines, 0) + A_PLANES
        for _ in range(at):
            observation, *_ = env.step(0)
        assert bool(observation["action_mask"][IN_SLICES]) is opens, problem
        assert bool(problem.allowed(problem.fallback, at)[IN_SLICES]) is opens


def test_a_chain_has_one_engine_in_slices_at_most() -> None:
    problem = small()
    two = problem.fallback.copy()
    two[0] = 1
    for engine in (0, 1):
        assert is_legal(problem.tables[0], 2, in_slices(problem, engine, two))
    assert not is_legal(problem.tables[0], 2, in_slices(problem, 1, in_slices(problem, 0, two)))
    sliced = Engine(4, 32, 4, kind=EngineKind.DSP, planes_per_word=(2,), levels=3, acc_bits=16)
    both = Datapath((sliced, sliced), (0, 1), 1, problem.dram_bits_per_cycle)
    with pytest.raises(IllegalSolutionError, match="one engine of kind dsp at most"):
        problem.encode(AllocationSolution(both))
    one = replace(both, engines=(sliced, replace(sliced, kind=EngineKind.PLANES)))
    assert problem.encode(AllocationSolution(one))[0] == 1


def test_no_design_in_slices_is_below_the_bound_of_its_chain() -> None:
    problem, rng, compared = small(), np.random.default_rng(0), 0
    chains = {(c.batch_index, c.cuts): c.value for c in problem.search.chains()}
    for _ in range(3000):
        choices = in_slices(problem, int(rng.integers(2)), problem.fallback)
        choices[0] = 1
        choices[2] = rng.integers(3)
        for engine in range(2):
            at = first_decision(2, engine)
            choices[at + A_DM : at + A_DM + 3] = rng.integers([16, len(WIDTHS), 12])
        value = problem.cost_of(choices)
        if value > 0:
            compared += 1
            assert value >= chains[int(choices[2]), (int(choices[1]) + 1,)]
            assert value >= problem.bound().value
    assert compared > 50


def test_slices_make_a_network_faster_than_luts_alone() -> None:
    problem = small()
    layers, _, lut_terms, _, limits = problem.tables
    best, _, _ = problem.search.solve(lambda work: work > 300)
    without = Frontiers(layers, lut_terms, problem.lut_budget, int(limits[N_DSP]), has_dsp=False)
    of_planes, _, _ = FrontierSearch(problem, without).solve(lambda work: work > 300)
    assert best is not None
    assert of_planes is not None
    assert problem.cost_of(best) < problem.cost_of(of_planes)
    assert EngineKind.DSP in [e.kind for e in problem.decode(best).datapath.engines]
    assert EngineKind.DSP not in [e.kind for e in problem.decode(of_planes).datapath.engines]


def test_one_engine_of_the_chain_takes_the_slices_where_that_saves_most() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        best = np.full((2, 3, 4, 40), FAR, dtype=np.int64)
        for kind, run in product(range(2), ((0, 1), (1, 2), (2, 3))):
            if rng.random() < 0.85:
                first = int(rng.integers(30))
                best[kind, run[0], run[1], first:] = np.sort(rng.integers(1, 60, 40 - first))[::-1]
        edges, budget = np.array([0, 1, 2, 3]), int(rng.integers(10, 39))

        def least(kind: int, run: int, value: int, best: npt.NDArray[np.int64] = best) -> int:
            fits = np.flatnonzero(best[kind, run, run + 1] <= value)
            return int(fits[0]) if len(fits) else FAR

        def luts(value: int) -> int:
            ways = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
            return min(sum(least(kind, run, value) for run, kind in enumerate(way)) for way in ways)

        for value in range(1, 61, 7):
            assert min(FAR, kinds_of(best, edges, value)[0]) == min(FAR, luts(value))
        reached = [value for value in range(1, 61) if luts(value) <= budget]
        assert fastest(best, edges, budget) == (reached[0] if reached else FAR)


@pytest.mark.parametrize("batch_index", [0, 3])
def test_no_width_of_words_in_slices_is_below_the_frontier(batch_index: int) -> None:
    """Nine values make two short cascades, eight make a long one that delays more: wider words may be quicker."""
    problem = small(percent=60.0, channels=1)  # so that nothing else makes an engine quicker
    layers, _, lut_terms, _, limits = problem.tables
    best, _ = problem.search.frontiers.of(batch_index)
    n, reads, compared = len(layers), first_reads(layers), 0
    for dm, dn, a_dk in product((0, 1), (1, 3, 8), range(len(WIDTHS))):
        choices = in_slices(problem, 0, problem.fallback)
        choices[2] = batch_index
        at = first_decision(2, 0)
        choices[at + A_DM], choices[at + A_DK], choices[at + A_DN] = dm, a_dk, dn - 1
        choices[at + A_DRAIN] = int(
            np.flatnonzero(dn >= DRAINS)[-1]
        )  # all lanes at once, as the frontier counts them
        if not is_legal(layers, 2, choices):
            continue
        engines, rows, _, batch = build(layers, 2, choices)
        lut = sum_of_terms(rows[0], lut_terms)
        if lut > limits[N_LUT] or value_slices(rows[0]) > limits[N_DSP]:
            continue
        mappings, saving = np.zeros((n, MAPPING_FIELDS), dtype=np.int64), np.zeros((n, 2), dtype=np.int64)
        times = np.zeros((n, 2), dtype=np.int64)
        map_run(layers, 0, n, engines[0], batch, mappings, saving)
        layer_cycles(mappings, saving, times)
        cycles = sum(added_cycles(times, reads, 0, j) for j in range(n))
        assert best[1, 0, n, lut // BUCKET_LUTS] <= MILLI * cycles // batch, (dm, dn, WIDTHS[a_dk])
        compared += 1
    assert compared > 60
