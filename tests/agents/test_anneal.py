"""Annealing: proposals stay inside the candidates, temperatures matter, compiled code comes from the cache."""

from __future__ import annotations

import os

import numpy as np
import pytest

from foldwright.agents.anneal import AnnealParams, _propose, solve
from foldwright.agents.stop import Evaluations
from foldwright.errors import ConfigError
from tests.agents.toys import brute_force, random_knapsack
from tests.support import ROOT, python


@pytest.mark.parametrize(
    ("shares", "most_changed"),
    [((1.0, 1.0, 1.0), 2), ((0.0, 1.0, 1.0), 2), ((0.0, 0.0, 1.0), 1), ((0.0, 0.0, 0.0), 1)],
    ids=["swap", "pair", "step", "single"],
)
def test_proposals_change_free_decisions_within_their_candidates(
    shares: tuple[float, ...], most_changed: int
) -> None:
    sizes, free = np.array([3, 1, 5, 2]), np.array([0, 2, 3])
    rng, choices, seen = np.random.default_rng(0), np.array([1, 0, 4, 1]), set()
    for _ in range(500):
        before = choices.copy()
        named = _propose(sizes, free, np.array(shares), choices, rng)
        changed = np.flatnonzero(choices != before)
        assert set(changed) <= {int(d) for d in named}
        assert len(changed) <= most_changed
        assert ((choices >= 0) & (choices < sizes)).all()
        seen |= {int(d) for d in changed}
        if shares[0]:  # swaps alone run out of differing candidates
            choices[:] = rng.integers(sizes)
    assert seen == {0, 2, 3}


@pytest.mark.parametrize("seed", range(3))
def test_annealing_reaches_the_optimum_of_small_problems(seed: int) -> None:
    problem = random_knapsack(6, 5, seed)
    assert solve(problem, stop=Evaluations(60_000), seed=0).cost == brute_force(problem)


def test_cooling_beats_wandering() -> None:
    problem = random_knapsack(16, 12, 3)
    hot = AnnealParams(start_temperature=1e6, reheat_temperature=1e6, end_temperature=1e6)
    wandered = solve(problem, stop=Evaluations(30_000), seed=0, params=hot)
    assert solve(problem, stop=Evaluations(30_000), seed=0).cost < wandered.cost


def test_a_second_process_compiles_nothing() -> None:
    script = (
        "from foldwright.agents import kernel\n"
        "from tests.agents.test_anneal import *\n"
        "kept = []\n"
        "compiled = kernel._compiled\n"
        "kernel._compiled = lambda *a: kept.append(compiled(*a)) or kept[-1]\n"
        "solve(random_knapsack(6, 5, 0), stop=Evaluations(2000), seed=0)\n"
        "print(sum(k.stats.cache_misses.total() for k in kept), len(kept))\n"
    )
    for _ in range(2):
        run = python("-c", script, path=(ROOT,))
        assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["0", "1"], os.environ.get("NUMBA_CACHE_DIR")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_temperature": 0.0}, "option 'start_temperature' is 0.0, allowed is"),
        ({"end_temperature": 0.2}, "option 'end_temperature' is 0.2, allowed is 1e-12 to 0.1"),
        ({"run_length": 0}, "option 'run_length' is 0, allowed is 1"),
        ({"pair_share": 0.9, "step_share": 0.9}, "'swap_share' is 1.85, allowed is 0.0 to 1.0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AnnealParams(**options)  # type: ignore[arg-type]  # run_length is an int
