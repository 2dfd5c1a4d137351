"""Export and verification of a run: files that match their digests, RTL that equals the reference, the right model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foldwright.cli import main
from tests.support import ROOT

WORDS = [
    "optimize",
    "digits_w1a2",
    "--part",
    "xc7z020",
    "--deterministic",
    "0.3",
    "--budget-lut-percent",
    "20",
]


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verbs") / "digits"
    assert main([*WORDS, "--out", str(out)]) == 0
    return out


def test_export_writes_files_that_match_their_manifest(run: Path) -> None:
    assert main(["export", str(run), "--to", "verilog"]) == 0
    manifest = json.loads((run / "build" / "manifest.json").read_text())
    assert len(manifest["files"]) >= 3
    for file in manifest["files"]:
        raw = (run / "build" / file["path"]).read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (file["size_bytes"], file["sha256"])


def test_export_is_the_same_twice(run: Path) -> None:
    texts = []
    for _ in range(2):
        assert main(["export", str(run), "--to", "verilog"]) == 0
        texts.append((run / "build" / "manifest.json").read_text())
    assert texts[0] == texts[1]


def test_verify_finds_the_rtl_equal_to_the_reference(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--scaled-down"]) == 0
    assert " 0 mismatches" in capsys.readouterr().out
    report = json.loads((run / "verify.json").read_text())
    assert {row["layer"] for row in report["rows"]} == {"conv1", "conv2", "conv3", "logits"}
    assert all(row["values"] > 0 and row["rtl_cycles"] == row["formula_cycles"] for row in report["rows"])


def test_verify_refuses_another_network(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--model", "digits_w2a2_balanced"]) == 2
    assert "is not the file that the plan" in capsys.readouterr().err


def test_the_plan_does_not_depend_on_the_hash_seed(tmp_path: Path, run: Path) -> None:
    out = tmp_path / "again"
    env = dict(os.environ, PYTHONHASHSEED="4711")
    command = [sys.executable, "-m", "foldwright", *WORDS, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in ("plan.json", "schedule.json"):
        assert (out / name).read_text() == (run / name).read_text()
