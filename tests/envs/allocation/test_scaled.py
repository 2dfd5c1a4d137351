"""Allocation of networks that scale and shift: engines that do, multipliers within the part's slices, bounds that hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.cost import cost
from foldwright.accel.datapath import Requant
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.workload import ActKind, ResultKind, WeightKind, Workload
from foldwright.envs.allocation import space
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.envs.allocation.score import fits_choices
from foldwright.errors import ConfigError, IllegalSolutionError
from foldwright.netlists.part import load_part

PART = load_part("xc7z020")


def workload(*results: ResultKind) -> Workload:
    """Returns three convolutions to codes of two bits and a raw product; the last result kind holds for the rest."""
    chain = LayerChain((3, 12, 12, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    for channels in (32, 48, 64):
        chain.conv(channels)
    chain.matmul(10, raw=True)
    whole = chain.workload("small")
    kinds = [*results, *[results[-1]] * (3 - len(results)), ResultKind.RAW]
    return replace(
        whole, layers=tuple(replace(x, result=kind) for x, kind in zip(whole.layers, kinds, strict=True))
    )


@pytest.fixture(scope="module", name="problem")
def _problem() -> AllocationProblem:
    return AllocationProblem("scaled", workload(ResultKind.SCALE_SHIFT), max_engines=2)


def test_engines_scale_where_their_layers_do(problem: AllocationProblem) -> None:
    choices = problem.fallback.copy()
    choices[0], choices[1] = 1, 2  # the raw product alone on the second engine
    first, second = problem.decode(choices).datapath.engines
    assert (first.requant, first.levels) == (Requant.SCALE_SHIFT, 3)
    assert (second.requant, second.levels) == (Requant.THRESHOLDS, 0)
    problem.check(problem.decode(choices))


def test_no_legal_design_is_below_the_bound(problem: AllocationProblem) -> None:
    rng, bound, costs = np.random.default_rng(5), problem.bound().value, list[int]()
    while len(costs) < 25:
        choices = problem.fallback.copy()
        for decision in range(len(choices)):
            allowed = np.flatnonzero(problem.allowed(choices, decision))
            choices[decision] = rng.choice(allowed)
        value = problem.cost_of(choices)
        assert value == problem.evaluate(problem.decode(choices)).value
        problem.check(problem.decode(choices))
        costs.append(value)
    assert bound <= problem.cost_of(problem.start) <= min(costs)
    assert bound <= problem.levels.bound()


def test_multipliers_are_within_the_slices_of_the_part(problem: AllocationProblem) -> None:
    choices = problem.fallback.copy()
    at = space.first_decision(problem.max_engines, 0)
    choices[at + space.A_DM], choices[at + space.A_DN] = 54, 3  # 55 rows by four lanes
    choices[at + space.A_DRAIN] = list(space.DRAINS).index(4)
    assert cost(problem.decode(choices).datapath, PART).dsp == 220 == PART.budget.dsp
    assert fits_choices.py_func(*problem.tables, choices)
    choices[at + space.A_DM] = 55
    assert not fits_choices.py_func(*problem.tables, choices)
    with pytest.raises(IllegalSolutionError, match="224 of 220 DSP slices"):
        problem.evaluate(problem.decode(choices))
    with pytest.raises(IllegalSolutionError, match="224 DSP slices, the part has 220"):
        problem.check(problem.decode(choices))


def test_a_datapath_with_the_other_result_path_is_refused(problem: AllocationProblem) -> None:
    datapath = problem.decode(problem.fallback).datapath
    other = replace(datapath, engines=tuple(replace(e, requant=Requant.THRESHOLDS) for e in datapath.engines))
    with pytest.raises(
        IllegalSolutionError, match="'conv1' has results by scale_shift, the engine by thresholds"
    ):
        problem.check(replace(problem.decode(problem.fallback), datapath=other))


def test_networks_of_both_kinds_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="layers make results by scale_shift and thresholds; lower the whole network"
    ):
        AllocationProblem("mixed", workload(ResultKind.THRESHOLDS, ResultKind.SCALE_SHIFT))
