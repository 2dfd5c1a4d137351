"""The script that makes the virtual environment: where it finds pip, and what it says where there is none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import ROOT

APT_GET = """#!/bin/sh
[ "$1 $2" = "download python3-pip-whl" ] && echo deb > python3-pip-whl_23_all.deb
"""
DPKG = """#!/bin/sh
[ "$1" = -x ] && mkdir -p "$3/usr/share/python-wheels" && cp "$2" "$3/usr/share/python-wheels/pip-23-py3-none-any.whl"
"""


@pytest.fixture(name="script")
def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_venv", ROOT / "tools" / "make_venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tool(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


def test_the_wheel_comes_out_of_the_package(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, work = tmp_path / "tools", tmp_path / "work"
    tools.mkdir()
    work.mkdir()
    tool(tools, "apt-get", APT_GET)
    tool(tools, "dpkg", DPKG)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    assert [Path(w).name for w in script.wheels_of_package(str(work))] == ["pip-23-py3-none-any.whl"]


def test_no_apt_means_no_wheel(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.wheels_of_package(str(tmp_path)) == []


def test_a_machine_with_nothing_gets_the_remedy_and_no_folder(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(script, "SYSTEM_WHEELS", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SystemExit, match="sudo apt-get install python3-venv"):
        script.main(str(tmp_path / "venv"))
    assert not (tmp_path / "venv").exists()


def test_an_old_interpreter_is_refused_with_the_newer_one_named(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "NEEDED", (99, 0))
    monkeypatch.setattr(script, "newer_python", lambda: "python3.13")
    with pytest.raises(SystemExit, match=r"run 'make PYTHON=python3\.13'"):
        script.refuse_old_python()


def test_no_network_address_is_named() -> None:
    assert "://" not in (ROOT / "tools" / "make_venv.py").read_text()
