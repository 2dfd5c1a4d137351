"""From the digits network to a checked plan: what a run folder holds, that it can be had again, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foldwright import netlists
from foldwright.accel.datapath import Requant
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import Schedule
from foldwright.agents.registry import get_solver
from foldwright.agents.stop import NO_COST
from foldwright.budget import Budget
from foldwright.cli import main
from foldwright.config import OptimizeOptions
from foldwright.envs.allocation import AllocationProblem
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError, IllegalSolutionError
from foldwright.jsonform import from_json, to_json
from foldwright.models import model_path
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import hpwl
from foldwright.pipeline import optimize
from foldwright.race import RUNGS, distinct_instances, race
from foldwright.report.fill import report_data
from foldwright.runs import open_run
from foldwright.verbs.build_files import opened_run
from foldwright.verbs.optimize import check_run, headline, open_placed, open_plan, write_report

KEYS = {
    *(
        "fps",
        "cycles_per_frame",
        "clock_mhz",
        "bound_cycles",
        "gap",
        "in_space",
        "schedule_gap",
        "status",
        "clock_status",
    ),
    *("batch", "latency_us", "reproducible", "cpu_seconds", "utilization", "seed", "versions", "command"),
}
MODEL = model_path("digits_w1a2")
WORDS = ["optimize", "digits_w1a2", "--part", "xc7z020", "--deterministic", "0.3", "--seed", "3"]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run folder that nobody writes to."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert main([*WORDS, "--out", str(out)]) == 0
    return out


@pytest.fixture(name="run")
def _run(found: Path, tmp_path: Path) -> Path:
    """Returns a copy of the run folder to spoil."""
    return Path(shutil.copytree(found, tmp_path / "run"))


def options(**more: Any) -> OptimizeOptions:
    given = {"model": "digits_w1a2", "part": "xc7z020", "out": "x", "deterministic": 0.3, "seed": 3}
    return OptimizeOptions.model_validate(given | more)


def spoil(path: Path, change: Change) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_the_summary_tells_what_follows_from_plan_and_schedule(found: Path) -> None:
    run = open_run(found)
    plan, schedule = open_plan(run)
    s = dict(run.summary)
    assert set(s) >= KEYS
    frames = plan.datapath.batch_frames
    assert s["fps"] == pytest.approx(s["clock_mhz"] * 1e6 * frames / schedule.cycles_per_round, rel=1e-6)
    assert s["fps"] * s["cycles_per_frame"] == pytest.approx(s["clock_mhz"] * 1e6, rel=1e-4)
    assert s["gap"] == pytest.approx(s["cycles_per_frame"] / s["bound_cycles"] - 1, abs=1e-4)
    assert s["schedule_gap"] >= 0
    assert s["gap"] >= 0
    used, budget = plan.utilization(), load_part("xc7z020").budget
    for name, use in s["utilization"].items():
        assert use == {"used": getattr(used, name), "available": getattr(budget, name)}
    assert used.lut <= plan.lut_budget == int(53200 * 0.8)
    assert s["reproducible"] is True
    assert (s["status"], s["clock_status"]) == ("optimal" if s["gap"] == 0 else "feasible", "assumed")
    assert {"load", "bound", "allocation", "tiling", "joint", "placement", "check", "total"} == set(
        s["cpu_seconds"]
    )


def test_the_folder_holds_its_files_and_passes_the_check(found: Path) -> None:
    files = {"summary.json", "plan.json", "schedule.json", "search.json", "report.html", "run.log"}
    assert {p.name for p in found.iterdir()} == files | {"placement.json"}
    lines = check_run(found)
    assert "legal" in lines[0]
    assert lines[1].startswith("placement is legal: ")


def test_the_plan_is_placed_on_the_part(found: Path) -> None:
    run = open_run(found)
    plan, _ = open_plan(run)
    placed = open_placed(run, plan)
    assert placed is not None
    figures = run.summary["placement"]
    fabric = load_part("xc7z020").fabric
    assert fabric is not None
    assert figures["hpwl_tiles"] == hpwl(placed.problem.netlist, fabric, placed.placement)
    assert figures["hpwl_tiles"] >= figures["bound_tiles"] > 0
    assert figures["cells"]["RAMB36"] == plan.utilization().bram36
    assert 8 * figures["cells"]["CLB"] >= plan.utilization().lut
    assert run.summary["solvers"]["placement"] == "anneal"


def test_a_part_without_a_fabric_is_planned_but_not_placed(tmp_path: Path) -> None:
    """The XC7Z020 as a file of the user's, its fabric left out: the budgets are still known."""
    text = (Path(netlists.__file__).parent / "parts" / "xc7z020.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text[: text.index("[fabric]")])
    found = optimize(MODEL, options(part=str(own)))
    assert found.placed is None
    assert found.placement is None
    assert found.plan.datapath.engines


def test_plan_and_schedule_come_back_equal(found: Path) -> None:
    plan, schedule = open_plan(open_run(found))
    assert from_json(Plan, to_json(plan), "plan") == plan
    assert from_json(Schedule, to_json(schedule), "schedule") == schedule


def test_the_report_is_drawn_again_as_it_was(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_the_same_seed_and_count_find_the_same(found: Path) -> None:
    again = optimize(MODEL, options())
    assert (found / "plan.json").read_text() == to_json(again.plan)
    assert (found / "schedule.json").read_text() == to_json(again.schedule)
    assert again.placed is not None
    assert (found / "placement.json").read_text() == again.placed.to_json()


def first(body: dict[str, Any], key: str, **change: Any) -> None:
    body[key][0].update(change)


TAMPERED: list[tuple[str, Change, str, int]] = [
    ("summary.json", lambda b: b.update(fps=b["fps"] * 1.01), "summary.json says fps", 5),
    ("summary.json", lambda b: b.update(batch=99), "summary.json says batch = 99", 5),
    ("summary.json", lambda b: b.update(latency_us=0.1), "summary.json says latency_us", 5),
    ("summary.json", lambda b: b["utilization"]["lut"].update(used=1), "says utilization", 5),
    ("summary.json", lambda b: b.update(gap=0.0001), "summary.json says gap", 5),
    ("summary.json", lambda b: b.pop("bound_cycles"), "tells no sound gap", 5),
    ("plan.json", lambda b: b.update(clock_mhz=250.0), "summary.json says fps", 5),
    ("plan.json", lambda b: b.update(budget_lut_percent=5.0), "LUTs, the budget is 2660", 3),
    ("plan.json", lambda b: b["datapath"].update(batch_frames=1), "summary.json says fps", 5),
    ("plan.json", lambda b: first(b["datapath"], "engines", acc_bits=4), "accumulator bits, has 4", 3),
    ("plan.json", lambda b: first(b["datapath"], "engines", weight_words=1), "it has 1 words", 3),
    ("plan.json", lambda b: b["datapath"].update(assignment=[0]), "leaves an engine without a layer", 2),
    ("plan.json", lambda b: b.update(part="xc7z02"), "no part is named 'xc7z02'", 2),
    ("plan.json", lambda b: b.update(technology="magic"), "technology 'magic'", 2),
    ("plan.json", lambda b: b.update(colour="red"), "colour", 2),
    ("plan.json", lambda b: b.update(format="foldwright.plan/9"), "format is 'foldwright.plan/9'", 2),
    ("schedule.json", lambda b: b.update(cycles_per_round=7), "a round is said to take 7 cycles", 3),
    ("schedule.json", lambda b: b.update(stored_bits=0), "stored_bits is 0", 3),
    ("schedule.json", lambda b: b.update(bram36=0), "says 0 block RAMs", 3),
    ("schedule.json", lambda b: b["decisions"].pop(), "not those of the workload's layers", 3),
    ("schedule.json", lambda b: b["blocks"].pop(0), "has no block", 3),
    ("schedule.json", lambda b: first(b, "events", layer="x"), "no such tile", 3),
    ("schedule.json", lambda b: first(b, "events", kind="rest"), "kind is 'rest'", 3),
    ("schedule.json", lambda b: first(b, "blocks", engine=9), "is not of this plan", 3),
    ("schedule.json", lambda b: first(b, "blocks", address=-1), "address -1", 3),
    ("summary.json", lambda b: b["placement"].update(hpwl_tiles=1), "summary.json says placement", 5),
    ("placement.json", lambda b: b["sites"].update({"dma/clb0": b["sites"]["dma/clb1"]}), "'dma/clb1'", 3),
    ("placement.json", lambda b: b["sites"].pop("dma/clb0"), "1 cells have no site", 2),
    ("placement.json", lambda b: b["sites"].update({"dma/clb0": "CLB_X20Y99"}), "CLB_X20Y99", 2),
    ("placement.json", lambda b: b.update(netlist="another"), "places netlist 'another'", 2),
]


@pytest.mark.parametrize(("file", "change", "said", "code"), TAMPERED, ids=[t[2][:30] for t in TAMPERED])
def test_a_run_that_was_tampered_with_is_refused(
    file: str, change: Change, said: str, code: int, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(run / file, change)
    assert main(["check", str(run)]) == code
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) <= 10


def test_an_illegal_plan_is_not_exported(run: Path) -> None:
    spoil(run / "plan.json", lambda b: b.update(budget_lut_percent=5.0))
    assert main(["export", str(run), "--to", "verilog"]) == 3
    assert not (run / "build").exists()


def test_a_plan_with_an_illegal_placement_is_not_exported(run: Path) -> None:
    spoil(run / "placement.json", lambda b: b["sites"].update({"dma/clb0": b["sites"]["dma/clb1"]}))
    assert main(["export", str(run), "--to", "verilog"]) == 3
    assert not (run / "build").exists()


def test_fewer_luts_reach_a_lower_target(found: Path) -> None:
    target = 20_000.0
    cheap = optimize(MODEL, options(objective="lut", target_fps=target))
    assert cheap.fps >= target
    assert cheap.plan.utilization().lut < open_run(found).summary["utilization"]["lut"]["used"]
    assert cheap.lut_bound is not None
    assert 0 < cheap.lut_bound <= cheap.plan.utilization().lut


def test_an_allocation_solver_that_would_not_be_asked_is_refused() -> None:
    asked = options(objective="lut", target_fps=1.0, solver=("allocation=anneal",))
    with pytest.raises(ConfigError, match="takes the cheapest designs from the exact frontier"):
        optimize(MODEL, asked)


def test_a_plan_refuses_a_schedule_of_other_layers(found: Path) -> None:
    plan, schedule = open_plan(open_run(found))
    plan.check(schedule)
    body = json.loads(to_json(schedule))
    body["decisions"].reverse()
    with pytest.raises(IllegalSolutionError, match="in order"):
        plan.check(from_json(Schedule, json.dumps(body), "schedule"))


def test_the_plan_is_no_slower_than_any_design_by_rule_that_was_in_the_race() -> None:
    seen: list[tuple[str, int]] = []
    found = optimize(MODEL, options(), lambda stage, seconds, count, best: seen.append((stage, best)))
    assert found.allocation is not None
    assert found.bound_cycles_per_frame <= found.cycles_per_frame <= found.allocation.cost / 1000
    begun = sum(stage == "tiling" and best >= NO_COST for stage, best in seen)
    assert begun > len(RUNGS)


@pytest.mark.slow
def test_the_race_is_no_slower_than_the_best_design_by_rule() -> None:
    # The rule loads an image while the one before is read, so that for a network that fits on chip it may be the best there is.
    problem = load_instance("allocation/cnv-w1a1-xc7z020-80")
    assert isinstance(problem, AllocationProblem)
    given = options(deterministic=20.0)
    solvers = {"tiling": (get_solver("anneal"), get_solver("anneal").make_params({}, "tiling"))}
    best, _, _ = problem.search.solve(lambda _: False)
    instances = distinct_instances(problem, [best, *problem.search.leading()])
    instance, result = race(instances, given, solvers, Budget(given, None))
    frames = instance.datapath.batch_frames
    instance.check(result.solution)
    assert problem.bound().value * frames <= 1000 * result.cost <= problem.cost_of(best) * frames


def test_a_plan_outside_the_space_may_be_below_its_bound_and_is_never_called_optimal(run: Path) -> None:
    summary = dict(open_run(run).summary)
    summary |= {"in_space": False, "gap": -0.128, "status": "feasible"}
    words = headline(summary)[1]
    assert words.startswith("12.80 % below the bound of the design space, in which it does not lie")
    assert "above the bound of the design space" in headline(dict(open_run(run).summary))[1]
    outside = optimize(MODEL, options())
    below = replace(outside, in_space=False, bound_cycles_per_frame=2 * outside.cycles_per_frame)
    assert (below.gap, below.status) == (-0.5, "feasible")


def test_what_is_wrong_with_part_settings_and_solvers_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    wrong = ["--part", "xc7z02", "--set", "buildabel=true", "--solver", "tiling=annal", "--out", str(out)]
    assert main(["optimize", "digits_w1a2", *wrong]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in ("'xc7z02'", "'buildabel'", "'annal'"))
    assert not out.exists()


def test_no_layer_is_drawn_above_the_roof(run: Path) -> None:
    folder = open_run(run)
    plan, schedule = open_plan(folder)
    roofline = report_data(plan, schedule, dict(folder.summary), {}).roofline
    assert roofline is not None
    assert roofline.points
    for point in roofline.points:
        roof = min(roofline.peak_ops_per_cycle, roofline.dram_bits_per_cycle * point.intensity_ops_per_bit)
        assert 0 < point.ops_per_cycle <= roof * (1 + 1e-9)


def test_a_network_that_scales_gets_engines_that_do_and_opens_again(tmp_path: Path) -> None:
    words = [*WORDS[:4], "--deterministic", "0.05", "--requant", "scale_shift", "--set", "max_engines=1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert main(["check", str(tmp_path / "run")]) == 0
    _, plan, network = opened_run(tmp_path / "run", None)
    [engine] = plan.datapath.engines
    assert (plan.requant, engine.requant, engine.levels) == ("scale_shift", Requant.SCALE_SHIFT, 3)
    assert plan.utilization().dsp == engine.dm * engine.drain_lanes
    assert network.workload == plan.workload
    # Steps of these quantizers are even, so that scale and shift is exact.
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["level_errors"] == {"conv1": 0, "conv2": 0, "conv3": 0}
    assert summary["utilization"]["dsp"] == {"used": plan.utilization().dsp, "available": 220}
