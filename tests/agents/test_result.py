"""A result cannot contradict itself, and a file of one is checked against its problem."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from foldwright.agents.registry import SOLVERS
from foldwright.agents.result import Result, Status, read_result
from foldwright.agents.stop import Evaluations
from foldwright.errors import ConfigError, IllegalSolutionError
from foldwright.jsonform import to_json
from tests.agents.toys import BY_HAND, Picks, random_knapsack


@pytest.fixture(name="found")
def _found() -> Result:
    return SOLVERS["greedy"](BY_HAND, stop=Evaluations(100), seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost": 2, "bound": 3}, "cost 2 is below its bound 3"),
        ({"status": Status.OPTIMAL, "cost": 8, "bound": 3}, "status is 'optimal' with cost 8 and bound 3"),
        ({"status": Status.FEASIBLE, "cost": 8, "bound": 8}, "status is 'feasible' with cost 8 and bound 8"),
        ({"status": Status.INFEASIBLE}, "is infeasible, yet has a solution"),
        ({"status": Status.UNKNOWN}, "is unknown, yet has a solution"),
    ],
)
def test_contradictions_are_refused(found: Result, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(found, **changes)


def test_gap_is_cost_over_bound_less_one(found: Result) -> None:
    assert found.gap == 8 / 3 - 1
    assert dataclasses.replace(found, bound=8, status=Status.OPTIMAL).gap == 0.0
    assert dataclasses.replace(found, bound=0).gap == math.inf
    assert dataclasses.replace(found, status=Status.UNKNOWN, cost=-1, choices=()).gap == math.inf


def test_a_file_gives_the_solution_back(found: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(to_json(found), encoding="utf-8")
    again = read_result(BY_HAND, path)
    assert again == found
    assert again.solution == Picks(found.choices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost": 9}, "says cost 9, but its choices cost 8"),  # another cost than the choices have
        ({"solution": {"picks": [0, 0, 0]}}, "mean another solution"),  # choices and solution disagree
        ({"choices": (1, 1)}, "not a candidate for each of 3 decisions"),
        ({"choices": (1, 1, 3)}, "not a candidate for each of 3 decisions"),
        ({"problem": "toy/other"}, "is a result of 'toy/other', not of 'toy/by-hand'"),
    ],
)
def test_a_file_that_does_not_fit_the_problem_is_refused(
    found: Result, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text(to_json(dataclasses.replace(found, **changes)), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_result(BY_HAND, path)


def test_a_file_with_an_illegal_solution_is_refused(found: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    heavy = dataclasses.replace(found, choices=(0, 0, 0), solution=Picks((0, 0, 0)), cost=3, bound=2)
    path.write_text(to_json(heavy), encoding="utf-8")
    with pytest.raises(IllegalSolutionError, match="weighs 12, allowed is 6"):
        read_result(BY_HAND, path)


def test_a_result_names_the_versions_it_depends_on() -> None:
    result = SOLVERS["random"](random_knapsack(3, 3, 0), stop=Evaluations(3), seed=0)
    assert set(result.versions) == {"foldwright", "python", "numpy", "numba", "ortools"}
