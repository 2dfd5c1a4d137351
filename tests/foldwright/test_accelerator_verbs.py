"""A buildable plan becomes a whole accelerator whose frames are right in simulation; damaged exports are refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from foldwright.accel.cosim.tools import find_tools
from foldwright.cli import main
from foldwright.errors import ToolMissingError

WORDS = [
    *("optimize", "digits_w1a2", "--part", "xc7z020", "--deterministic", "0.3", "--budget-lut-percent", "20"),
    *("--set", "buildable=true", "--set", "max_engines=1"),
]


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("accelerator") / "digits"
    assert main([*WORDS, "--out", str(out)]) == 0
    assert main(["export", str(out), "--to", "accelerator"]) == 0
    return out


def test_the_export_is_whole_and_readable(run: Path) -> None:
    build = run / "build"
    manifest = json.loads((build / "manifest.json").read_text(encoding="utf-8"))
    for file in manifest["files"]:
        body = (build / file["path"]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["size_bytes"], file["sha256"])
    assert [layer["layer"] for layer in manifest["layers"]] == ["conv1", "conv2", "conv3", "logits"]
    programs = (build / "programs.txt").read_text(encoding="utf-8")
    for word in ("START_ENGINES", "LOAD", "GO gives", "writer.map_base", "ROUND"):
        assert word in programs
    assert "?" not in programs, "a word that the disassembler does not know"


def test_frames_through_the_exported_accelerator_are_right(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        find_tools()
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert main(["verify", str(run), "--tool", "verilator", "--stalls", "20"]) == 0
    assert "0 mismatches" in capsys.readouterr().out
    report = json.loads((run / "simulation.json").read_text(encoding="utf-8"))
    assert report["mismatches"] == 0
    assert report["values"] == 10 * report["frames"]


def _with(build: Path, change: Callable[[dict[str, object]], None]) -> None:
    path = build / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _cut_constants(build: Path) -> None:
    (build / "constants.bin").write_bytes((build / "constants.bin").read_bytes()[:-64])


def _flip_constants(build: Path) -> None:
    body = bytearray((build / "constants.bin").read_bytes())
    body[100] ^= 1
    (build / "constants.bin").write_bytes(body)


def _foreign_format(build: Path) -> None:
    _with(build, lambda manifest: manifest.update(format="foldwright.accelerator/99"))


def _section_outside(build: Path) -> None:
    def change(manifest: dict[str, object]) -> None:
        sections = manifest["memory_map"]
        assert isinstance(sections, list)
        sections[-1]["offset"] += 1 << 24

    _with(build, change)


def _foreign_batch(build: Path) -> None:
    _with(build, lambda manifest: manifest.update(batch_frames=99))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_constants, "constants.bin: has"),
        (_flip_constants, "constants.bin: its sha256"),
        (_foreign_format, "field 'format' is 'foldwright.accelerator/99'"),
        (_section_outside, "of memory_map has offset"),
        (_foreign_batch, "field 'batch_frames' is 99"),
    ],
)
def test_a_damaged_export_is_refused_before_simulation(
    run: Path,
    damage: Callable[[Path], None],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = {path: path.read_bytes() for path in (run / "build").iterdir()}
    try:
        damage(run / "build")
        assert main(["verify", str(run), "--tool", "verilator"]) == 2
        assert message in capsys.readouterr().err
    finally:
        for path, body in kept.items():
            path.write_bytes(body)


def test_options_of_the_other_tool_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--images", "3"]) == 2
    assert "--images is not for --tool amaranth" in capsys.readouterr().err


def test_a_vivado_project_is_for_the_device_of_the_parts_board(run: Path) -> None:
    assert main(["export", str(run), "--to", "vivado"]) == 0
    assert "set part {xc7z020clg400-1}" in (run / "build" / "build.tcl").read_text(encoding="utf-8")
