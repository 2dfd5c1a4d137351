"""CP-SAT: models that leave things out are completed in rounds, bounds are used only where they hold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from foldwright.agents.cpsat import CpSatParams, solve
from foldwright.agents.result import Status
from foldwright.agents.stop import CpuSeconds, DeterministicTime, any_of
from foldwright.envs.cp_problem import CpProblem
from foldwright.errors import ConfigError
from tests.agents.toys import BY_HAND, Knapsack, brute_force, random_knapsack

LONG = DeterministicTime(20)


@dataclass(frozen=True)
class Blind(Knapsack):
    """A knapsack whose model knows no capacity; `complete` and `relaxation` are what it claims to be."""

    complete: bool = True
    relaxation: bool = True

    def cp_model(self) -> CpProblem:
        whole = super().cp_model()
        return dataclasses.replace(whole, is_complete=self.complete, is_relaxation=self.relaxation)


def blind(complete: bool, relaxation: bool) -> Blind:
    return Blind("toy/blind", BY_HAND.costs, BY_HAND.weights, BY_HAND.capacity, True, complete, relaxation)


def test_rounds_complete_a_model_that_leaves_the_capacity_out() -> None:
    result = solve(blind(complete=True, relaxation=True), stop=LONG, seed=0)
    assert (result.cost, result.status) == (8, Status.OPTIMAL)
    assert result.bound_proof.endswith("without the capacity")


def test_only_the_first_round_bounds_where_candidates_were_dropped() -> None:
    result = solve(blind(complete=False, relaxation=True), stop=LONG, seed=0)
    assert (result.cost, result.bound, result.status) == (8, 3, Status.FEASIBLE)


def test_a_model_that_is_no_relaxation_bounds_nothing() -> None:
    result = solve(blind(complete=False, relaxation=False), stop=LONG, seed=0)
    assert (result.cost, result.bound) == (8, BY_HAND.bound().value)
    assert result.bound_proof == BY_HAND.bound().proof


@pytest.mark.parametrize("hint", ["start", "greedy", "none"])
def test_every_hint_is_reproducible_and_leads_to_the_optimum(hint: str) -> None:
    problem = random_knapsack(6, 6, 4)
    params = CpSatParams(hint=hint)  # type: ignore[arg-type]  # parametrized as a str
    results = [solve(problem, stop=LONG, seed=1, params=params).without_times() for _ in range(2)]
    assert results[0] == results[1]
    assert results[0].reproducible
    assert results[0].cost == brute_force(problem)


def test_several_workers_are_not_called_reproducible() -> None:
    problem = random_knapsack(6, 6, 4)
    result = solve(problem, stop=LONG, seed=1, params=CpSatParams(workers=2))
    assert not result.reproducible
    assert (result.cost, result.status) == (brute_force(problem), Status.OPTIMAL)


def test_deterministic_time_bounds_the_work() -> None:
    hard = random_knapsack(40, 30, 0)
    short, longer = (solve(hard, stop=DeterministicTime(units), seed=0) for units in (0.01, 0.4))
    assert short.status is Status.FEASIBLE
    assert longer.cost <= short.cost
    assert longer.bound > short.bound


def test_the_watch_ends_the_solver_at_its_cpu_seconds() -> None:
    result = solve(random_knapsack(40, 30, 0), stop=any_of(CpuSeconds(0.05)), seed=0)
    assert result.status is Status.FEASIBLE
    assert not result.reproducible


def test_a_problem_without_a_model_is_refused_with_a_remedy() -> None:
    class Modelless:
        """What `solve` looks at before it refuses."""

        name, kind = "toy/modelless", "toy"

    with pytest.raises(ConfigError, match=r"'toy/modelless' \(toy\) has no CP-SAT model; use 'anneal'"):
        solve(Modelless(), stop=LONG, seed=0)  # type: ignore[arg-type]  # refused before more is asked


@pytest.mark.parametrize(
    ("option", "value"), [("workers", 0), ("linearization_level", 3), ("bound_share", 1.5)]
)
def test_options_out_of_range_are_refused(option: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"option '{option}' is {value}, allowed is"):
        CpSatParams(**{option: value})  # type: ignore[arg-type]  # both fields are ints


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_search_by_bounds_comes_first_and_proves_as_well(share: float) -> None:
    problem = random_knapsack(6, 6, 4)
    params = CpSatParams(hint="none", bound_share=share)
    results = [solve(problem, stop=LONG, seed=1, params=params).without_times() for _ in range(2)]
    assert results[0] == results[1]
    assert (results[0].cost, results[0].status) == (brute_force(problem), Status.OPTIMAL)
    assert results[0].bound == results[0].cost


def test_a_search_by_bounds_of_a_model_with_holes_says_nothing_wrong() -> None:
    params = CpSatParams(hint="none", bound_share=0.5)
    result = solve(blind(complete=False, relaxation=True), stop=LONG, seed=0, params=params)
    assert (result.cost, result.status) == (8, Status.FEASIBLE)
    assert result.bound <= 3
