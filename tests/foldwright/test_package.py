"""Foldwright works from a wheel in another folder, and its source archive holds everything."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, python

ROOMS = ("netlists", "accel", "envs", "agents", "models")
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "demo", "runs", "*.partial"
)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Builds the source archive and, from it, the wheel, out of a copy of the tree and without a network."""
    folder = tmp_path_factory.mktemp("package")
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
    done = python("-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy), cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (source,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel alone into a folder of its own."""
    target = tmp_path_factory.mktemp("installed")
    command = ["pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    done = python("-m", *command, str(archives[1]), cwd=target)
    assert done.returncode == 0, done.stderr
    return target


def shipped_files() -> Iterator[str]:
    """Yields the files of the packages as a wheel names them."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix in (
                ".py",
                ".toml",
                ".onnx",
                ".npz",
                ".json",
                ".cpp",
                ".hpp",
                ".v",
            ):
                yield f"foldwright/{path.relative_to(ROOT).as_posix()}"
    for path in (ROOT / "foldwright").glob("**/*"):
        if path.suffix in (".py", ".jinja", ".css", ".js", ".typed") and path.is_file():
            yield path.relative_to(ROOT).as_posix()


def test_the_wheel_holds_the_rooms_under_one_name(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        names = set(wheel.namelist())
    top = {n.split("/")[0] for n in names}
    assert {t for t in top if not t.endswith(".dist-info")} == {"foldwright"}
    missing = sorted(set(shipped_files()) - names)
    assert missing == []
    assert [n for n in names if n.endswith("licenses/LICENSE")]


def test_the_source_archive_holds_everything(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as source:
        names = {m.name.partition("/")[2] for m in source.getmembers() if m.isfile()}
    wanted = set(shipped_files()) | {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"}
    wanted |= {
        p.relative_to(ROOT).as_posix()
        for folder in ("tests", "docs", "benchmarks", "tools")
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert sorted(wanted - names) == []


@pytest.mark.parametrize("verb", ["parts", "models", "doctor"])
def test_verbs_run_from_the_wheel_in_another_folder(installed: Path, tmp_path: Path, verb: str) -> None:
    here = python(
        "-c", "import foldwright.cli as c; print(c.__file__)", cwd=tmp_path, path=(installed,)
    ).stdout.strip()
    assert Path(here).is_relative_to(installed)
    done = python("-m", "foldwright", verb, cwd=tmp_path, path=(installed,))
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_report_renders_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "from foldwright.report import ReportData, render_report\n"
        "print(render_report(ReportData('net', 'xc7z020', 'optimal', 200)))"
    )
    done = python("-c", code, cwd=tmp_path, path=(installed,))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<!doctype html>")


def test_a_plain_clone_runs_without_installation(tmp_path: Path) -> None:
    """The links alone make the package: a copy of the tree on the search path is enough."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
    done = subprocess.run(
        [sys.executable, "-m", "foldwright", "parts"], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "xc7z020" in done.stdout
