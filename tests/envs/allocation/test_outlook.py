"""The estimates of what an engine may become agree with the cost model, and completions with the rules of an episode."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.completion import instance_of
from foldwright.envs.allocation.engine_curves import BUCKETS, FAR, join_curves
from foldwright.envs.allocation.engine_runs import Run, engine_takes
from foldwright.envs.allocation.outlook import new_survey, open_after, survey
from foldwright.envs.allocation.space import PER_ENGINE, first_decision
from foldwright.envs.registry import load_instance

NAMES = ("allocation/digits-w1a2-xc7z020-80", "allocation/train-s0-4")


def named(name: str) -> AllocationProblem:
    problem = load_instance(name)
    assert isinstance(problem, AllocationProblem)
    return problem


@pytest.mark.parametrize("name", NAMES)
def test_a_survey_knows_time_and_luts_of_the_engines_it_finds(name: str) -> None:
    it = instance_of(named(name))
    n, found = len(it.layers), new_survey()
    run = Run(0, n, 4, float(it.limits[2]), float(it.limits[1]), 0.0, 0)
    own, nothing_after = np.zeros(PER_ENGINE, dtype=np.int64), np.zeros(BUCKETS + 1, dtype=np.float32)
    for known in range(PER_ENGINE):
        survey(it, run, own, open_after(known), nothing_after, found)
        fitting = np.flatnonzero(found.value < FAR)
        assert len(fitting)
        for k in fitting:
            engine = found.engine[k]
            assert engine[known] == k
            assert engine[:known].tolist() == own[:known].tolist()
            time, lut = engine_takes(it.layers, it.lut_terms, 0, n, 4, engine)
            # the first fill of a window is counted as that of an engine with one lane
            assert found.own[k] == pytest.approx(time, rel=1e-3, abs=100)
            assert found.lut[k] == pytest.approx(lut, rel=0.02, abs=20)
        own = found.engine[found.value.argmin()].copy()


def test_joined_curves_share_the_luts_as_is_best() -> None:
    rng = np.random.default_rng(0)
    one, other = (-np.sort(-rng.integers(1, 50, BUCKETS + 1)).astype(np.float32) for _ in range(2))
    one[:5] = FAR
    joined = np.full(BUCKETS + 1, FAR, dtype=np.float32)
    join_curves(one, other, joined)
    for b in range(BUCKETS + 1):
        assert joined[b] == min(max(one[a], other[b - a]) for a in range(b + 1))


@pytest.mark.parametrize("name", NAMES)
def test_chains_of_more_engines_are_made_of_runs(name: str) -> None:
    it = instance_of(named(name))
    n = len(it.layers)
    np.testing.assert_array_equal(it.chains[0], it.curves[-1, :, n])
    if len(it.chains) > 1:
        best = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        for cut in range(1, n):
            join_curves(it.curves[-1, 0, cut], it.curves[-1, cut, n], best)
        np.testing.assert_array_equal(it.chains[1, 0], best)


@pytest.mark.parametrize("name", NAMES)
def test_completions_go_on_from_every_allowed_candidate(name: str) -> None:
    problem, rng = named(name), np.random.default_rng(0)
    choices = problem.fallback.copy()
    for decision in range(first_decision(problem.max_engines, 1)):
        mask = np.zeros(64, dtype=np.int8)
        mask[: problem.sizes[decision]] = problem.allowed(choices, decision)
        if mask.sum() < 2:
            continue
        tries = problem.completions(choices, decision, mask)
        assert tries.shape[1:] == (64, len(problem.sizes))
        for candidate in np.flatnonzero(mask):
            begun = [*choices[:decision].tolist(), candidate]
            assert (tries[:, candidate, : decision + 1] == begun).all()
        costs = [problem.cost_of(row) for row in tries.reshape(-1, tries.shape[2])]
        assert 0 < min(cost for cost in costs if cost > 0) < problem.cost_of(problem.fallback)
        choices[decision] = rng.choice(np.flatnonzero(mask))


@pytest.mark.parametrize("name", [*NAMES, "allocation/train-s0-3"])
def test_masks_leave_the_way_open_to_good_designs(name: str) -> None:
    # An array that fits with batch lanes, or with tap packing, may be too large for the lanes of the fallback.
    problem = named(name)
    for decision, choice in enumerate(problem.start):
        assert problem.allowed(problem.start, decision)[choice]
