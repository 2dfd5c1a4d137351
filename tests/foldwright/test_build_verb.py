"""`build` makes the whole ECP5 folder or nothing, tells what came out beside the cost model, and why where it cannot.

The tools are stubs (`ecp5_stubs`); the real ones run in the test marked slow and in `benchmarks/ecp5_build.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from foldwright.accel.synthesis import yosys_command
from foldwright.cli import main
from foldwright.errors import ToolMissingError
from tests.foldwright.ecp5_stubs import stub_tools

WORDS = [
    *("optimize", "digits_w1a2", "--part", "lfe5u-85f", "--deterministic", "0.1", "--clock-mhz", "50"),
    *("--budget-lut-percent", "15", "--set", "buildable=true", "--set", "max_engines=1"),
    *("--solver", "allocation=greedy"),
]


@pytest.fixture(scope="module", name="exported")
def _exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("ecp5") / "digits"
    assert main([*WORDS, "--out", str(out)]) == 0
    assert main(["export", str(out), "--to", "ecp5"]) == 0
    return out


@pytest.fixture(name="run")
def _run(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a copy of the run, with stubs for the tools and a quick placer."""
    tools = stub_tools(tmp_path)
    monkeypatch.setattr("foldwright.verbs.build.find_ecp5_tools", lambda: tools)
    monkeypatch.setattr("foldwright.locking._PROPOSALS", 20_000)
    monkeypatch.delenv("STUB", raising=False)
    return Path(shutil.copytree(exported, tmp_path / "digits"))


def test_a_build_leaves_bitstream_locks_and_figures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(run), "--seed", "4"]) == 0
    told, folder = capsys.readouterr().out, run / "build" / "ecp5"
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "accelerator.bit", "build.json", "locks.json", "nextpnr-ecp5.log", "report.json", "yosys.log",
    }  # fmt: skip
    body = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    assert (body["counts"]["lut"], body["counts"]["half_blocks"], body["counts"]["dsp"]) == (3, 6, 0)
    assert (body["seed"], body["locked_by"], body["locks"]) == (4, "netlist", 3)
    assert body["routed"]["critical_path"] == ["lut0", "lut1"]
    assert body["bitstream_bytes"] == (folder / "accelerator.bit").stat().st_size == 600
    assert "61.5 MHz after routing, 50 MHz wanted: met; seed 4, 3 block RAMs locked" in told
    sites = json.loads((folder / "locks.json").read_text(encoding="utf-8"))["sites"]
    assert len(set(sites.values())) == 3


@pytest.mark.parametrize(("way", "locked"), [("plan", 1), ("near", 3), ("none", 0)])
def test_every_way_of_locking_builds(run: Path, way: str, locked: int) -> None:
    words = ["--no-locks"] if way == "none" else ["--locks", way]
    assert main(["build", str(run), *words]) == 0
    body = json.loads((run / "build" / "ecp5" / "build.json").read_text(encoding="utf-8"))
    assert (body["locked_by"], body["locks"]) == (way, locked)


@pytest.mark.parametrize(
    ("stub", "words", "code", "message"),
    [
        (
            "slow",
            ["--timeout-s", "1"],
            2,
            "yosys did not finish within 1 s; give it more time with --timeout-s",
        ),
        ("too-large", [], 3, "the design does not fit: nextpnr-ecp5 says \"Unable to place cell 'lut1'"),
        ("broken", [], 2, "nextpnr-ecp5 refused the design: cell 'x' has no port"),
        ("disobey", [], 5, "3 of 3 locks are not obeyed; the first is"),
    ],
)
def test_a_failed_build_says_why_and_leaves_nothing(
    run: Path, stub: str, words: list[str], code: int, message: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("STUB", stub)
    before = {path.name for path in (run / "build").iterdir()}
    assert main(["build", str(run), *words]) == code
    assert message in capsys.readouterr().err
    assert {path.name for path in (run / "build").iterdir()} == before


def test_a_clock_that_is_missed_is_told(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUB", "late-clock")
    assert main(["build", str(run)]) == 3
    told = capsys.readouterr()
    assert "40.0 MHz after routing, 50 MHz wanted: NOT met" in told.out
    assert "slower than its clock; plan it with a lower --clock-mhz" in told.err
    assert (run / "build" / "ecp5" / "accelerator.bit").exists()


def test_missing_tools_are_all_named(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("foldwright.accel.ecp5_tools.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("foldwright.accel.ecp5_tools.shutil.which", lambda name: None)
    assert main(["build", str(exported)]) == 4
    assert (
        "yosys, nextpnr-ecp5, ecppack not installed; install all of them with: pip install 'foldwright[build]'"
        in capsys.readouterr().err
    )
    assert not (exported / "build" / "ecp5").exists()


def test_damaged_and_missing_exports_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = run / "build" / "ecp5.json"
    body = target.read_text(encoding="utf-8")
    target.write_text(body.replace("85k", "25k"), encoding="utf-8")
    assert main(["build", str(run)]) == 2
    assert "ecp5.json: its sha256 is not that of the manifest" in capsys.readouterr().err
    shutil.rmtree(run / "build")
    assert main(["build", str(run)]) == 2
    assert f"write one with: foldwright export {run} --to ecp5" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_tools_write_a_bitstream_and_obey_the_locks(exported: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported, tmp_path / "real"))
    assert main(["build", str(run), "--locks", "plan"]) == 0
    body = json.loads((run / "build" / "ecp5" / "build.json").read_text(encoding="utf-8"))
    assert body["locks"] > 0, "the build compares every lock with what nextpnr placed"
    assert body["routed"]["clock_mhz"] > 50
    assert (run / "build" / "ecp5" / "accelerator.bit").read_bytes()[:2] == b"\xff\x00"  # a comment begins


def test_another_export_is_counted(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldwright.accel.synthesis import CellCounts

    seen = []

    def synthesise(text: str, family: str, *, timeout_s: int) -> CellCounts:
        seen.append((family, "module \\top\n" in text, timeout_s))
        return CellCounts(100, 10, 200, 5, 7, 0)

    monkeypatch.setattr("foldwright.verbs.build.synthesise", synthesise)
    assert main(["export", str(run), "--to", "accelerator"]) == 0
    assert main(["build", str(run), "--timeout-s", "99"]) == 0
    assert seen == [("ecp5", True, 99)]
    assert "block RAM" in capsys.readouterr().out
    body = json.loads((run / "build" / "synthesis.json").read_text(encoding="utf-8"))
    assert (body["counts"]["lut"], body["routed"]) == (100, None)
