"""`score` and `export --to loopnests`: mappings scored from files, a run's schedule as nests, damaged files told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from foldwright.accel.loopnest.nest import ArrayModel
from foldwright.accel.loopnest.score import Score
from foldwright.cli import main
from foldwright.jsonform import read_json, to_json
from tests.accel.loopnest.samples import SCALAR, row_nest
from tests.support import ROOT


@pytest.fixture(name="array")
def _array(tmp_path: Path) -> Path:
    path = tmp_path / "array.json"
    path.write_text(to_json(SCALAR))
    return path


def test_a_nest_is_scored(array: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping, out = tmp_path / "row.json", tmp_path / "score.json"
    mapping.write_text(to_json(row_nest(2)))
    assert main(["score", str(mapping), "--array", str(array), "--json", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "row: 9 cycles, 1.0000 times the bound of 9",
        "the array computes 4 cycles, in 4 steps",
        "bits over the DRAM port: weights 8, inputs 32, outputs 32, partial sums 0",
        "bits of buffers: weights 8, inputs 16, outputs 16",
        "loops, outermost first, by what an iteration covers: OX:1",
        "loops outside the buffers: weights 0, inputs 1, outputs 1; 1 make the steps",
    ]
    assert read_json(Score, out).cycles == 9


def test_a_result_of_zigzag_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads((ROOT / "benchmarks" / "data" / "zigzag_resnet18.json").read_text())["rows"]
    row = next(r for r in rows if (r["array"], r["layer"]) == ("w2a2", "l4_ds"))
    (tmp_path / "mapping.json").write_text(json.dumps(row["mapping"]))
    array = ArrayModel("w2a2", 32, 64, 1, 2, 2, 16, 2, 64, (1 << 20, 3 << 19, 1 << 20))
    (tmp_path / "array.json").write_text(to_json(array))
    assert main(["score", str(tmp_path / "mapping.json"), "--array", str(tmp_path / "array.json")]) == 0
    # The port carries 337,408 bits of 64 each; what ZigZag's model makes 8,016 cycles of is 5,272 on the referee's port.
    assert capsys.readouterr().out.startswith("l4_ds: 5,272 cycles, 1.0000 times the bound of 5,272\n")


def test_what_an_array_cannot_run_exits_with_3(
    array: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "row.json"
    mapping.write_text(to_json(row_nest(2)))
    array.write_text(to_json(replace(SCALAR, double_buffered=False)))
    assert main(["score", str(mapping), "--array", str(array)]) == 3
    assert capsys.readouterr().err == (
        "error: mapping of 'row' keeps two copies of a tile, array 'scalar' is not double buffered\n"
    )


def test_a_run_is_written_as_nests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = ["optimize", "digits_w1a2", "--part", "xc7z020", "--deterministic", "0.3", "--out", str(run)]
    assert main([*words, "--budget-lut-percent", "20"]) == 0
    capsys.readouterr()
    assert main(["export", str(run), "--to", "loopnests"]) == 0
    names = ["00_conv1.yaml", "01_conv2.yaml", "02_conv3.yaml", "03_logits.yaml"]
    assert [line.split("/")[-1] for line in capsys.readouterr().out.splitlines()] == names
    assert sorted(p.name for p in (run / "build" / "loopnests").iterdir()) == names
    text = (run / "build" / "loopnests" / "01_conv2.yaml").read_text()
    assert text.startswith("# layer conv2 on engine ")
    assert "  - target: DRAM\n    type: temporal\n" in text
