"""The hybrid of annealing and CP-SAT: it proves what it can, by time and by counted work, and says where it cannot be used."""

from __future__ import annotations

import pytest

from foldwright.agents import hybrid
from foldwright.agents.registry import get_solver
from foldwright.agents.result import Status
from foldwright.agents.stop import CpuSeconds, DeterministicTime
from foldwright.errors import ConfigError
from tests.envs.tiling.test_problem import OPTIMUM, by_hand


@pytest.mark.parametrize("stop", [CpuSeconds(20.0), DeterministicTime(2.0)])
def test_it_finds_and_proves_the_optimum_by_hand(stop: CpuSeconds | DeterministicTime) -> None:
    result = get_solver("hybrid")(by_hand(), stop=stop, seed=1)
    assert (result.cost, result.bound, result.status) == (OPTIMUM, OPTIMUM, Status.OPTIMAL)


def test_counted_work_gives_the_same_result_again() -> None:
    first, second = (
        get_solver("hybrid")(by_hand(7), stop=DeterministicTime(0.5), seed=3).without_times()
        for _ in range(2)
    )
    assert first.reproducible
    assert first.choices == second.choices
    assert first.bound_history == second.bound_history


def test_shares_beyond_the_whole_are_refused() -> None:
    with pytest.raises(ConfigError, match="'first_share' \\+ 'model_share'"):
        hybrid.HybridParams(first_share=0.7, model_share=0.6)
