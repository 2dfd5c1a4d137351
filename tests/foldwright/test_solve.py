"""The verb `solve`: what it prints, what it writes, and that it refuses before it works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from foldwright import solve
from foldwright.agents.registry import SOLVERS
from foldwright.agents.result import read_result
from foldwright.agents.stop import CpuSeconds, DeterministicTime, Evaluations
from foldwright.cli import main
from foldwright.envs.registry import instance_names, load_instance
from foldwright.errors import ConfigError, IllegalSolutionError, InputError, RunFolderError
from foldwright.jsonform import to_json

INSTANCE = "tiling/digits-w1a2-b16"


def test_the_stop_is_the_one_asked_for() -> None:
    assert solve.stop_rule("anneal", None, None) == CpuSeconds(solve.DEFAULT_CPU_SECONDS)
    assert solve.stop_rule("anneal", 0.5, None) == CpuSeconds(0.5)
    assert solve.stop_rule("anneal", None, 300.0) == Evaluations(300)
    assert solve.stop_rule("cp-sat", None, 0.5) == DeterministicTime(0.5)


@pytest.mark.parametrize(
    ("seconds", "deterministic", "message"),
    [
        (1.0, 5.0, "--cpu-seconds 1 and --deterministic 5 exclude each other"),  # two answers to one question
        (None, 0.5, "--deterministic 0.5: solver 'greedy' counts evaluations"),  # half an evaluation
        (None, 0.0, "--deterministic 0: solver 'greedy' counts evaluations"),
        (None, float("nan"), "--deterministic nan: solver 'greedy' counts evaluations"),
        (-1.0, None, "CpuSeconds: got -1.0, allowed is 0 or more"),
    ],
)
def test_stops_that_make_no_sense_are_refused(
    seconds: float | None, deterministic: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        solve.stop_rule("greedy", seconds, deterministic)


def test_the_same_count_and_seed_write_the_same_solution(tmp_path: Path) -> None:
    results = []
    for name in ("a.json", "b.json"):
        solve.solve_instance(INSTANCE, "anneal", deterministic=200, seed=4, out=tmp_path / name)
        results.append(read_result(load_instance(INSTANCE), tmp_path / name))
    assert results[0].without_times() == results[1].without_times()
    assert results[0].reproducible
    assert results[0].iterations <= 200


def test_an_instance_in_a_file_is_solved_like_the_named_one(tmp_path: Path) -> None:
    path = tmp_path / "instance.json"
    path.write_text(to_json(load_instance(INSTANCE)), encoding="utf-8")
    from_file = solve.solve_instance(str(path), "greedy", deterministic=150)
    assert (
        from_file.without_times()
        == solve.solve_instance(INSTANCE, "greedy", deterministic=150).without_times()
    )


def test_the_lines_say_cost_bound_gap_status_work_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", INSTANCE, "--solver", "greedy", "--deterministic", "150", "--seed", "1"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["instance"] == INSTANCE
    assert lines["solver"] == "greedy, seed 1, Evaluations(count=150)"
    cost, bound = (int(lines[word].split()[0]) for word in ("cost", "bound"))
    assert lines["cost"].endswith(" cycles per round")
    assert lines["gap"] == f"{100 * (cost / bound - 1):.2f} %"
    assert lines["status"] == ("optimal" if cost == bound else "feasible")
    assert re.fullmatch(r"\d+\.\d{3} s, after \d+\.\d{3} s of warm-up", lines["CPU"])
    assert lines["reproducible"] == "yes"


def test_cpu_seconds_are_said_not_to_be_reproducible() -> None:
    result = solve.solve_instance(INSTANCE, "random", cpu_seconds=0.02)
    assert "no: it depends on the speed" in solve.describe(result)


def test_the_list_holds_every_instance_and_solver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--list"]) == 0
    words = capsys.readouterr().out.split()
    assert set(instance_names()) | set(SOLVERS) <= set(words)


def test_a_folding_table_is_solved_with_its_budgets_and_written_for_finn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two choices: 10 cycles for 50 LUTs, 20 cycles for 20 LUTs."""
    table, folding, out = (str(tmp_path / name) for name in ("t.json", "f.json", "r.json"))
    choices = [[{"PE": 2}, 10, 50, 1, 0, 8, 8], [{"PE": 1}, 20, 20, 1, 0, 8, 8]]
    Path(table).write_text(
        json.dumps([{"name": "m", "op": "MVAU_hls", "choices": choices}]), encoding="utf-8"
    )
    command = [
        "solve",
        table,
        "--solver",
        "exact",
        "--folding",
        folding,
        "--out",
        out,
        "--deterministic",
        "9",
    ]
    assert main([*command, "--set", "budget_percent=50", "--set", "clock_mhz=200"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (lines["instance"], lines["cost"], lines["status"]) == (
        "folding/t",
        "10 cycles per frame",
        "optimal",
    )
    assert lines["solution"] == (
        "20,000,000 frames/s at 200 MHz (10 cycles), 50 of 26,600 LUTs, 1 of 140 BRAM18, 0 of 110 DSP slices"
    )
    assert json.loads(Path(folding).read_text()) == {"Defaults": {}, "m": {"PE": 2}}
    problem = load_instance(table, {"budget_percent": 50, "clock_mhz": 200.0})
    assert read_result(problem, Path(out)).choices == (0, 0, 1)  # the second by LUTs
    assert main(["score", folding, "--table", table]) == 0
    assert "10,000,000 frames/s at 100 MHz: 10 cycles of m; 50 LUTs" in capsys.readouterr().out
    assert main([*command, "--set", "budget_lut=49"]) == 0
    assert "cost         20 cycles per frame" in capsys.readouterr().out
    assert main([*command, "--set", "target_fps=5000000"]) == 0
    assert "cost         20 LUTs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("instance", "solver", "options", "error", "message"),
    [
        ("tiling/digits-w1a2-b17", "greedy", {}, ConfigError, "did you mean 'tiling/digits-w1a2-b1"),
        ("tilling/x", "greedy", {}, ConfigError, "no instance is named 'tilling/x'"),
        (INSTANCE, "gredy", {}, ConfigError, "no solver 'gredy'; did you mean 'greedy'"),
        (INSTANCE, "greedy", {"settings": {"restart": "3"}}, ConfigError, "did you mean 'restarts'"),
        (INSTANCE, "greedy", {"settings": {"restarts": "x"}}, ConfigError, "option 'restarts' is 'x'"),
        (INSTANCE, "greedy", {"out": "missing/r.json"}, RunFolderError, "there is no folder"),
        (INSTANCE, "greedy", {"out": "."}, RunFolderError, "is a folder, but --out needs a file"),
        ("absent.json", "greedy", {}, ConfigError, "absent.json: cannot be read"),
    ],
)
def test_mistakes_are_refused_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instance: str,
    solver: str,
    options: dict[str, object],
    error: type[InputError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(message)):
        solve.solve_instance(instance, solver, deterministic=5, **options)
    assert list(tmp_path.iterdir()) == []


def test_what_the_checker_refuses_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, solution: object) -> None:
        raise IllegalSolutionError("refused")

    monkeypatch.setattr(type(load_instance(INSTANCE)), "check", refuse)
    with pytest.raises(IllegalSolutionError, match="refused"):
        solve.solve_instance(INSTANCE, "greedy", deterministic=5, out=tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []
