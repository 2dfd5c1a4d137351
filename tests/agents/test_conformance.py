"""What holds for every solver on every problem: legal, never below the bound, stopped when told, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.agents.registry import SOLVERS
from foldwright.agents.result import Result, Status
from foldwright.agents.stop import CpuSeconds, DeterministicTime, Evaluations, TargetCost, any_of
from foldwright.envs.problem import INFEASIBLE, Bound, Choices
from foldwright.errors import ConfigError, VerificationError
from foldwright.jsonform import from_json, to_json
from tests.agents.toys import BY_HAND, Knapsack, brute_force, random_knapsack
from tests.support import ROOT, python

SMALL = {p.name: p for p in (BY_HAND, *(random_knapsack(4, 5, s, compiled=s % 2 == 0) for s in range(3)))}
WIDE = random_knapsack(12, 9, seed=5)
COUNT = 600


@pytest.fixture(params=SOLVERS, name="solver")
def _solver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def solved(solver: str, problem: Knapsack, count: int = COUNT, seed: int = 3) -> Result:
    return SOLVERS[solver](problem, stop=Evaluations(count), seed=seed)


@pytest.mark.parametrize("name", SMALL)
def test_every_solver_finds_legal_solutions_not_below_the_optimum(solver: str, name: str) -> None:
    problem = SMALL[name]
    result = solved(solver, problem)
    problem.check(result.solution)
    assert problem.evaluate(result.solution).value == result.cost == problem.cost_of(np.array(result.choices))
    assert problem.bound().value <= result.bound <= brute_force(problem) <= result.cost
    assert (result.status is Status.OPTIMAL) == (result.cost == result.bound)


def test_every_solver_reaches_the_optimum_found_by_hand(solver: str) -> None:
    assert solved(solver, BY_HAND).cost == 8


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("proving", ["exact", "cp-sat"])
def test_proving_solvers_prove_the_optimum(proving: str, name: str) -> None:
    result = SOLVERS[proving](SMALL[name], stop=DeterministicTime(20), seed=0)
    assert result.status is Status.OPTIMAL
    assert result.cost == brute_force(SMALL[name])
    assert result.bound_history[-1][1] == result.bound


def test_history_falls_and_ends_at_the_cost(solver: str) -> None:
    result = solved(solver, SMALL["toy/random-4x5-0"])
    seconds, counts, costs = zip(*result.history, strict=True)
    assert list(costs) == sorted(set(costs), reverse=True)
    assert list(counts) == sorted(set(counts))
    assert list(seconds) == sorted(seconds)
    assert costs[-1] == result.cost
    assert counts[-1] <= result.iterations
    assert seconds[-1] <= result.cpu_seconds


def test_bound_history_rises_and_ends_at_the_bound(solver: str) -> None:
    bounds = [bound for _, bound in solved(solver, SMALL["toy/random-4x5-0"]).bound_history]
    assert bounds == sorted(set(bounds))
    assert bounds[-1] == solved(solver, SMALL["toy/random-4x5-0"]).bound


@pytest.mark.parametrize("count", [1, 7, 513])
@pytest.mark.parametrize("counting", ["random", "greedy", "anneal"])
def test_searches_make_exactly_the_evaluations_allowed(counting: str, count: int) -> None:
    result = solved(counting, WIDE, count)
    assert result.iterations == count
    assert result.reproducible


def test_a_target_ends_the_search(solver: str) -> None:
    problem = SMALL["toy/random-4x5-0"]
    target = problem.cost_of(problem.fallback)
    result = SOLVERS[solver](problem, stop=any_of(TargetCost(target), Evaluations(10**6)), seed=0)
    assert result.cost <= target
    assert result.iterations <= 1


def test_cpu_seconds_end_the_search_and_mark_the_result(solver: str) -> None:
    problem = SMALL["toy/random-4x5-1"] if solver == "exact" else WIDE
    result = SOLVERS[solver](problem, stop=CpuSeconds(0.05), seed=0)
    assert not result.reproducible
    assert result.has_solution
    assert result.status is Status.OPTIMAL or result.cpu_seconds >= 0.05


def test_no_cpu_time_still_gives_the_fallback(solver: str) -> None:
    problem = SMALL["toy/random-4x5-0"]
    result = SOLVERS[solver](problem, stop=CpuSeconds(0.0), seed=0)
    assert result.choices == tuple(problem.fallback)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_same_seed_gives_the_same_result(solver: str, compiled: bool) -> None:
    problem = random_knapsack(4 if solver == "exact" else 8, 5, seed=1, compiled=compiled)
    assert solved(solver, problem).without_times() == solved(solver, problem).without_times()


@pytest.mark.parametrize("drawing", ["random", "greedy", "anneal"])
def test_compiled_and_plain_loops_search_alike(drawing: str) -> None:
    compiled, plain = (solved(drawing, random_knapsack(8, 5, 1, compiled=c)) for c in (True, False))
    assert compiled.choices == plain.choices
    assert compiled.without_times().history == plain.without_times().history


@pytest.mark.parametrize("drawing", ["random", "greedy", "anneal"])
def test_other_seeds_search_elsewhere(drawing: str) -> None:
    assert len({solved(drawing, WIDE, seed=s).without_times().history for s in range(4)}) > 1


def test_results_do_not_depend_on_the_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "from tests.agents.test_conformance import SOLVERS, random_knapsack, solved, to_json\n"
        "toy = random_knapsack(5, 5, 2)\n"
        "print(*(to_json(solved(s, toy, 300).without_times()) for s in SOLVERS))\n"
    )
    outputs = set()
    for hash_seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        run = python("-c", script, path=(ROOT,))
        assert run.returncode == 0, run.stderr
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_results_survive_the_json_round_trip(solver: str) -> None:
    result = solved(solver, SMALL["toy/random-4x5-0"])
    again = from_json(Result, to_json(result), "test")
    assert again == result
    assert to_json(again) == to_json(result)
    assert again.solution == {"picks": list(result.choices)}


def test_a_problem_without_legal_choices_is_told_apart(solver: str) -> None:
    impossible = Knapsack("toy/impossible", ((1, 2), (3, 4)), ((5, 6), (5, 6)), capacity=9)
    result = solved(solver, impossible, 50)
    assert (result.cost, result.choices, result.solution) == (INFEASIBLE, (), None)
    assert result.status is (Status.INFEASIBLE if solver in ("exact", "cp-sat", "hybrid") else Status.UNKNOWN)


def test_a_problem_with_nothing_to_decide_is_solved_at_once(solver: str) -> None:
    result = solved(solver, Knapsack("toy/single", ((4,), (2,)), ((1,), (1,)), capacity=2), 50)
    assert (result.status, result.cost, result.bound, result.iterations) == (Status.OPTIMAL, 6, 6, 1)


class Knowing(Knapsack):
    """The problem solved by hand, which knows its optimum."""

    @property
    def start(self) -> Choices:
        return np.array([1, 1, 1])


@pytest.mark.parametrize("starting", ["greedy", "anneal", "cp-sat"])
def test_a_start_that_the_problem_offers_is_scored_next_to_the_fallback(starting: str) -> None:
    knowing = Knowing(BY_HAND.name, BY_HAND.costs, BY_HAND.weights, BY_HAND.capacity)
    assert [cost for _, _, cost in solved(starting, knowing, 2).history][:2] == [15, 8]


class WronglyBounded(Knapsack):
    """The problem solved by hand, with a bound above every cost."""

    def bound(self) -> Bound:
        return Bound(100, "a wrong proof")


def test_a_cost_below_the_bound_is_a_contradiction(solver: str) -> None:
    wrong = WronglyBounded(BY_HAND.name, BY_HAND.costs, BY_HAND.weights, BY_HAND.capacity)
    with pytest.raises(
        VerificationError, match=r"costs 15 points, below the proven bound 100 \(a wrong proof\)"
    ):
        solved(solver, wrong)


def test_negative_seeds_are_refused(solver: str) -> None:
    with pytest.raises(ConfigError, match="seed is -1, allowed are whole numbers from 0"):
        SOLVERS[solver](BY_HAND, stop=Evaluations(1), seed=-1)
