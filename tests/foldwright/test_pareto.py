"""The front of the digits network: checked points below valid bounds, in a file that is refused once it is tampered with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from foldwright.cli import main
from foldwright.config import OptimizeOptions
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.registry import load_instance
from foldwright.errors import InfeasibleError
from foldwright.jsonform import from_json, read_json, to_json
from foldwright.models import model_path
from foldwright.netlists.part import load_part
from foldwright.pareto import Pareto
from foldwright.pipeline import optimize
from foldwright.runs import open_run
from foldwright.sweep import bounds_from, least_percent, percents_of
from foldwright.verbs.optimize import open_plan, write_report
from tests.envs.allocation.test_env import by_hand

Change = Callable[[dict[str, Any]], object]
WORDS = [
    "optimize",
    "digits_w1a2",
    "--part",
    "xc7z020",
    "--deterministic",
    "0.5",
    "--pareto",
    "--set",
    "pareto_points=4",
]


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run folder that nobody writes to."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert main([*WORDS, "--out", str(out)]) == 0
    return out


@pytest.fixture(name="front")
def _front(found: Path) -> Pareto:
    return read_json(Pareto, found / "pareto.json")


def test_points_ascend_below_their_bounds_and_budgets(found: Path, front: Pareto) -> None:
    whole = load_part("xc7z020").budget.lut
    assert 2 <= len(front.points) <= 4
    for a, b in pairwise(front.points):
        assert a.lut < b.lut
        assert a.fps < b.fps
    for point in front.points:
        assert point.lut <= int(whole * point.budget_lut_percent / 100)
        assert point.bound_cycles <= point.cycles_per_frame
        assert point.fps * point.cycles_per_frame == pytest.approx(200e6, rel=1e-4)
        highest = min(bound.fps for bound in front.bounds if bound.lut >= point.lut)
        assert point.fps <= highest * (1 + 1e-6)
    assert from_json(Pareto, to_json(front), "front") == front
    plan, _ = open_plan(open_run(found))
    assert front.points[-1].datapath == plan.datapath


def test_bounds_fall_with_the_luts_and_are_those_of_an_instance_made_anew_to_a_bucket(front: Pareto) -> None:
    rates = [bound.fps for bound in front.bounds]
    assert rates == sorted(rates)
    problem = by_hand(20.0)
    for percent in (18.0, 14.0, 11.0):
        smaller = problem.within(percent)
        assert smaller.search.frontiers is problem.search.frontiers
        assert problem.bound().value <= smaller.bound().value <= by_hand(percent).bound().value
        assert (
            by_hand(percent).bound().value <= problem.within(percent - 0.02).bound().value
        )  # 10 LUTs: more than a bucket


def test_budgets_go_down_to_the_least_that_works() -> None:
    problem = by_hand(20.0)
    percents = percents_of(problem, 5)
    assert percents[0] == 20.0
    assert percents == sorted(percents, reverse=True)
    least = least_percent(problem)
    assert percents[-1] == least
    by_hand(least)
    with pytest.raises(InfeasibleError):
        by_hand(least - 0.2)


def test_designs_of_a_neighbour_cut_layers_and_frames_as_it_does() -> None:
    problem = by_hand(20.0)
    smaller, start = problem.within(14.0), problem.start
    alike = smaller.search.like(start, 3)
    assert 1 <= len(alike) <= 3
    for choices in alike:
        assert (choices[: problem.max_engines + 1] == start[: problem.max_engines + 1]).all()
        assert smaller.cost_of(choices) > 0


def test_the_check_and_the_report_take_the_front(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(found)]) == 0
    assert "designs of the front are legal" in capsys.readouterr().out
    run = Path(shutil.copytree(found, tmp_path / "run"))
    before = (run / "report.html").read_bytes()
    assert b'<svg id="pareto"' in before
    write_report(run)
    assert (run / "report.html").read_bytes() == before


TAMPERED: list[tuple[Change, str, int]] = [
    (lambda b: b["points"][0].update(fps=1e9), "points.0.fps is 1000000000.0", 5),
    (lambda b: b["points"][0].update(lut=7), "points.0.lut is 7", 5),
    (lambda b: b["points"][0].update(gap=0.9), "points.0.gap is 0.9", 5),
    (lambda b: b["points"][0].update(budget_lut_percent=1.0), "LUTs, the budget is 532", 3),
    (lambda b: b["points"].reverse(), "points do not ascend in lut", 5),
    (lambda b: b["bounds"].reverse(), "bounds do not ascend in lut", 5),
    (lambda b: b["points"].pop(), "the plan of the run is not among the points", 5),
    (lambda b: b["points"][0]["decisions"].pop(), "decisions are for layers", 3),
    (lambda b: b.update(colour="red"), "colour", 2),
]


@pytest.mark.parametrize(("change", "said", "code"), TAMPERED, ids=[t[1][:30] for t in TAMPERED])
def test_a_front_that_was_tampered_with_is_refused(
    change: Change, said: str, code: int, found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(found, tmp_path / "run"))
    body = json.loads((run / "pareto.json").read_text())
    change(body)
    (run / "pareto.json").write_text(json.dumps(body))
    assert main(["check", str(run)]) == code
    assert said in capsys.readouterr().err


def test_a_front_of_what_can_be_built_is_checked_too() -> None:
    given = {"model": "digits_w1a2", "part": "xc7z020", "out": "x", "deterministic": 0.5, "pareto": True}
    options = OptimizeOptions.model_validate(given | {"set": {"buildable": "true", "pareto_points": 2}})
    found = optimize(model_path("digits_w1a2"), options)
    assert found.pareto is not None
    assert found.pareto.points[-1].datapath == found.plan.datapath


def test_the_problem_of_a_smaller_budget_is_the_same_but_for_its_luts() -> None:
    problem = by_hand(20.0)
    smaller = problem.within(14.0)
    assert isinstance(smaller, AllocationProblem)
    assert smaller == by_hand(14.0)


def test_bounds_begin_at_the_least_luts_whatever_their_share_rounds_to() -> None:
    # 4844 of 53200 LUTs are 9.10526 %, of which the part has 4843 as whole LUTs.
    problem = load_instance("allocation/dorefa-xc7z020-20")
    assert isinstance(problem, AllocationProblem)
    assert problem.least_luts == 4844
    whole = load_part(problem.part).budget.lut
    assert int(whole * (100 * 4844 / whole) / 100) == 4843
    bounds = list(bounds_from(problem, problem.least_luts, 200.0))
    assert bounds[0].lut >= 4844
    assert bounds[0].fps > 0
    assert bounds[-1].lut == problem.lut_budget
