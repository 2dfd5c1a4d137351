"""The start by rule, and the frontier that it is taken from."""

from __future__ import annotations

import numpy as np

from foldwright.accel.evaluate import compute_bound
from foldwright.accel.mapping import map_layers
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.allocation.space import build
from foldwright.envs.registry import load_instance
from tests.envs.allocation.test_env import by_hand


def digits() -> AllocationProblem:
    problem = load_instance("allocation/digits-w1a2-xc7z020-20")
    assert isinstance(problem, AllocationProblem)
    return problem


def test_the_start_is_legal_and_far_better_than_the_fallback() -> None:
    problem = digits()
    problem.check(problem.decode(problem.start))
    cost = problem.cost_of(problem.start)
    assert problem.bound().value <= cost < problem.cost_of(problem.fallback) // 10


def test_the_start_is_the_same_each_time_and_cannot_be_changed() -> None:
    first, second = by_hand(15.0).start, by_hand(15.0).start
    assert (first == second).all()
    assert not first.flags.writeable


def test_no_design_of_a_chain_computes_faster_than_its_bound() -> None:
    # Column lanes flush once a round of several frames, so their frontier must be that of the longest round.
    problem = digits()
    layers, seen_column = problem.tables[0], 0
    for chain in problem.search.chains():
        engines, _, assignment, batch = build(
            layers, problem.max_engines, problem.search.design(chain, chain.value)
        )
        mappings = map_layers(layers, engines, assignment, batch)
        assert 1000 * compute_bound(mappings, engines, assignment) >= chain.value * batch
        seen_column += int(batch > 1 and not engines[:, 4].all())
    assert seen_column > 0
    assert (np.diff([c.value for c in problem.search.chains()]) >= 0).all()
