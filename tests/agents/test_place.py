"""The placers: legal, repeatable, stopped when told, better than what they start from, and optimal where that is known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.agents.place_anneal import PlaceAnnealParams
from foldwright.agents.place_greedy import PlaceGreedyParams
from foldwright.agents.place_search import as_placement
from foldwright.agents.registry import get_solver
from foldwright.agents.result import Result, Status, read_result
from foldwright.agents.stop import CpuSeconds, DeterministicTime, Evaluations
from foldwright.envs.placement import PlacementProblem
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError
from foldwright.jsonform import to_json
from foldwright.netlists.netlist import build_netlist
from tests.agents.toys import BY_HAND

PLACERS = ("random", "greedy", "anneal", "cp-sat")


def small() -> PlacementProblem:
    problem = load_instance("placement/train-s0-1")
    assert isinstance(problem, PlacementProblem)
    return problem


def tiny() -> PlacementProblem:
    """Three cells in a triangle of weights 3, 2, 1 on a 7 x 5 grid.

    Of three tiles in an L two pairs are neighbours and the third is 2 apart, as in a row: 3 + 2 + 2 * 1 = 7.
    """
    cells = [(name, "CLB", "") for name in "abc"]
    netlist = build_netlist("tiny", cells, [(("a", "b"), 3), (("b", "c"), 2), (("a", "c"), 1)])
    return PlacementProblem("placement/tiny", netlist, "grid-7x5")


def brute_force(problem: PlacementProblem) -> int:
    sites = itertools.permutations(range(25), 3)
    return min(problem.wirelength(np.array(s, dtype=np.int32)) for s in sites)


@pytest.fixture(params=PLACERS, name="placer")
def _placer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def solved(placer: str, problem: PlacementProblem, count: int = 3000, seed: int = 1, **params: Any) -> Result:
    options = {"window_units": 0.01, "start": "greedy"} if placer == "cp-sat" else {}
    stop = Evaluations(12 if placer == "cp-sat" else count)
    return get_solver(placer)(problem, stop=stop, seed=seed, params=options | params)


def test_solutions_are_legal_and_their_costs_true(placer: str) -> None:
    problem = small()
    result = solved(placer, problem)
    problem.check(result.solution)
    assert problem.evaluate(result.solution).value == result.cost == problem.cost_of(np.array(result.choices))
    assert problem.bound().value <= result.bound <= result.cost
    assert result.cost <= problem.cost_of(problem.fallback)


def test_the_same_seed_gives_the_same_result(placer: str) -> None:
    problem = small()
    one, two = (solved(placer, problem).without_times() for _ in range(2))
    assert one == two
    assert one.reproducible


def test_searches_make_the_evaluations_allowed(placer: str) -> None:
    for count in (1, 700):
        result = solved(placer, small(), count)
        assert result.iterations == count if placer != "cp-sat" else result.iterations >= 12


def test_no_cpu_time_still_gives_the_fallback(placer: str) -> None:
    result = get_solver(placer)(small(), stop=CpuSeconds(0.0), seed=0)
    assert result.solution == small().decode(small().fallback)
    assert not result.reproducible


@pytest.mark.parametrize("placer", ["greedy", "anneal"])
def test_the_optimum_by_hand_is_found(placer: str) -> None:
    assert brute_force(tiny()) == 7
    assert solved(placer, tiny()).cost == 7


@pytest.mark.parametrize("placer", ["cp-sat", "exact"])
def test_the_optimum_of_a_tiny_instance_is_proven(placer: str) -> None:
    result = get_solver(placer)(tiny(), stop=DeterministicTime(2000 if placer == "exact" else 20), seed=0)
    assert (result.cost, result.bound, result.status) == (7, 7, Status.OPTIMAL)


def test_annealing_beats_greedy_and_greedy_random_on_equal_evaluations() -> None:
    costs = [solved(p, small(), 40_000).cost for p in ("anneal", "greedy", "random")]
    assert costs == sorted(set(costs))


def test_more_effort_gives_shorter_wires() -> None:
    runs = [solved("anneal", small(), 10**7, effort=e, runs=1) for e in (0.1, 3.0)]
    assert runs[1].cost < runs[0].cost
    assert runs[1].iterations > 10 * runs[0].iterations


def test_an_annealing_fits_what_the_stop_leaves() -> None:
    # 20 proposals a temperature were planned; ten times as many evaluations are left, and all are used
    result = solved("anneal", small(), 60_000, effort=1.0)
    assert result.iterations == 60_000
    assert result.cost < solved("anneal", small(), 6_000, effort=1.0).cost


def test_windows_improve_their_start() -> None:
    problem = load_instance("placement/heldout-size-s0-3")
    options = {"start": "greedy", "window_units": 0.05}
    runs = [get_solver("cp-sat")(problem, stop=Evaluations(n), seed=2, params=options) for n in (1, 30)]
    assert runs[1].cost < runs[0].cost
    problem.check(runs[1].solution)


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = solved("greedy", small(), 50)
    path = tmp_path / "result.json"
    path.write_text(to_json(result), encoding="utf-8")
    assert read_result(small(), path) == result


@pytest.mark.parametrize(
    ("placer", "params", "message"),
    [
        ("anneal", {"efort": 1}, r"no option 'efort'; did you mean 'effort'\?"),  # misspelt
        ("anneal", {"run_length": 5}, "no option 'run_length'"),  # an option of the general annealer
        ("anneal", {"effort": 0.0}, "option 'effort' is 0.0"),  # out of its range
        ("greedy", {"ruin_cells": 0}, "option 'ruin_cells' is 0"),
        ("cp-sat", {"start": "best"}, "option 'start' is 'best'"),  # not one of the choices
        ("random", {"x": 1}, "it has no options"),
    ],
)
def test_wrong_options_are_refused(placer: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_solver(placer)(small(), stop=Evaluations(1), params=params)


def test_other_problems_keep_their_own_solvers() -> None:
    assert type(get_solver("anneal").make_params(kind="placement")) is PlaceAnnealParams
    assert type(get_solver("greedy").make_params(kind="placement")) is PlaceGreedyParams
    assert type(get_solver("anneal").make_params()) is not PlaceAnnealParams
    with pytest.raises(ConfigError, match="'toy/by-hand' is of kind 'toy'"):
        as_placement(BY_HAND, "anneal")


def test_a_large_instance_is_too_large_to_enumerate() -> None:
    with pytest.raises(ConfigError, match="can be enumerated"):
        get_solver("exact")(small(), stop=Evaluations(1))
