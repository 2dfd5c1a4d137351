"""The smallest designs: within a bucket of the frontier's least, and the budgets that they say would do do."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.known_workloads import LayerChain, known_workload
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.frontier import BUCKET_LUTS
from foldwright.envs.allocation.score import N_DSP, N_FF, N_LUT, N_POOL, fits_choices
from foldwright.envs.allocation.smallest import RESOURCES, least_needs, need_of
from foldwright.errors import InfeasibleError
from foldwright.netlists.part import load_part
from tests.envs.allocation.test_env import by_hand
from tests.envs.allocation.test_model import random_design

WHOLE = load_part("xc7z020").budget.lut


@pytest.mark.parametrize("problem", [by_hand(30.0), AllocationProblem("cnv", known_workload("cnv-w1a1"))])
def test_the_least_luts_are_those_of_the_frontier(problem: AllocationProblem) -> None:
    least = least_needs(problem)[0]
    cheapest, _ = next(problem.search.cheapest(problem.cost_of(problem.fallback) * 100))
    assert cheapest <= least.takes[0] < cheapest + 2 * BUCKET_LUTS


def test_no_random_design_takes_less_of_anything() -> None:
    problem, rng = by_hand(30.0), np.random.default_rng(3)
    least = least_needs(problem)
    seen = 0
    while seen < 300:
        need = need_of(problem, random_design(problem, rng))
        if need is None:
            continue
        seen += 1
        for r in range(len(RESOURCES)):
            assert need.takes[r] >= least[r].takes[r]


def test_what_a_need_says_is_what_fits() -> None:
    problem, rng = by_hand(30.0), np.random.default_rng(4)
    layers, geometries, lut, ff, limits = problem.tables
    for choices in [need.choices for need in least_needs(problem)] + [
        random_design(problem, rng) for _ in range(20)
    ]:
        need = need_of(problem, choices)
        if need is None:
            continue
        for r, place in enumerate((N_LUT, N_FF, N_POOL)):
            own = limits.copy()
            own[N_LUT], own[N_FF], own[N_POOL], own[N_DSP] = 10**7, 10**7, 10**4, 10**6
            own[place] = need.takes[r]
            assert fits_choices(layers, geometries, lut, ff, own, choices)
            own[place] -= 1
            assert not fits_choices(layers, geometries, lut, ff, own, choices)


def test_the_budget_that_is_told_works_and_a_little_less_does_not() -> None:
    with pytest.raises(
        InfeasibleError, match=r"needs [\d,]+ LUTs, .*give a budget of ([\d.]+) % or more"
    ) as error:
        by_hand(1.0)
    percent = float(str(error.value).split("a budget of ")[1].split(" ")[0])
    assert fits_choices(*by_hand(percent).tables, by_hand(percent).fallback)
    with pytest.raises(InfeasibleError):
        by_hand(percent - 0.02)


def test_thresholds_that_no_part_holds_are_named() -> None:
    """30 layers of 512 channels with 15 thresholds of 18 bits: four million bits, 64 of which take a LUT."""
    chain = LayerChain((512, 4, 4, 4, ActKind.UNSIGNED), (4, WeightKind.SIGNED), (4, ActKind.UNSIGNED))
    for _ in range(30):
        chain.conv(512, kernel=1)
    with pytest.raises(
        InfeasibleError, match=r"the whole part has 53,200; [\d,]+ are thresholds; choose a larger part$"
    ):
        AllocationProblem("deep", chain.workload("deep"))
