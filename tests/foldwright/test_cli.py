"""The command line parses, names the nearest word, and turns our errors into messages and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from foldwright import __version__, errors
from foldwright.accel.cosim import tools
from foldwright.cli import cli, main
from foldwright.verbs import doctor
from foldwright.verbs.tables import aligned
from tests.support import ROOT, python


def test_help_lists_every_verb_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in cli.commands.items():
        assert f"  {name} " in out
        assert command.help
        assert command.short_help
        assert command.short_help.endswith(".")


def test_no_words_print_the_help_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: foldwright" in capsys.readouterr().err


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"foldwright, version {__version__}\n"


def test_the_module_runs_like_the_script() -> None:
    done = python("-m", "foldwright", "--version", path=(ROOT,))
    assert (done.returncode, done.stdout) == (0, f"foldwright, version {__version__}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.ModelError("x"), 2),
        (errors.RunFolderError("x"), 2),
        (errors.InfeasibleError("x"), 3),
        (errors.IllegalSolutionError("x"), 3),
        (errors.ToolMissingError("x"), 4),
        (errors.VerificationError("x"), 5),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (MemoryError(), 2),
        (PermissionError(13, "Permission denied", "file.onnx"), 2),
    ],
)
def test_errors_become_messages_and_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(as_json: bool) -> int:
        raise error

    monkeypatch.setattr(doctor, "print_diagnosis", fail)
    assert main(["doctor"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err
    assert "Traceback" not in err


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(as_json: bool) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "print_diagnosis", fail)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_ctrl_c_exits_with_130() -> None:
    code = (
        "import signal, sys, time, foldwright.verbs.doctor as d\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs are started deaf to it
        "def wait(as_json):\n    print('ready', flush=True)\n    time.sleep(600)\n"
        "d.print_diagnosis = wait\n"
        "from foldwright.cli import main\nsys.exit(main(['doctor']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with pipes")
def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    command = f"'{sys.executable}' -m foldwright doctor --json | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr


def test_init_writes_a_template_that_optimize_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldwright.config import merge_options
    from foldwright.tomlform import read_toml

    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert "wrote foldwright.toml" in capsys.readouterr().out
    options = merge_options(read_toml("foldwright.toml"), "foldwright.toml", {})
    assert (options.part, options.clock_mhz, options.seed) == ("xc7z020", 200.0, 0)


def test_doctor_finds_the_core_and_says_how_to_get_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(tools, "_package", lambda: None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "absent   vivado" in out
    assert "MISSING" not in out
    assert main(["doctor", "--json"]) == 0
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["numpy"]["found"][0].isdigit()
    for name, remedy in tools.REMEDIES.items():
        assert findings[name] == {
            "name": name,
            "kind": "optional",
            "found": "",
            "purpose": "simulating the whole accelerator",
            "remedy": remedy,
        }


def test_doctor_finds_a_tool_of_the_simulation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "perl").write_text("", encoding="utf-8")
    (tmp_path / "perl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if " perl " in x)
    assert line.startswith("  ok ")
    assert line.endswith(f"({tmp_path / 'perl'})")


def test_doctor_fails_when_the_core_is_incomplete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor._CORE, "no-such-package-of-ours", "this test")
    assert main(["doctor"]) == 4
    assert "MISSING  no-such-package-of-ours" in capsys.readouterr().out


def test_doctor_knows_every_package_that_the_project_declares() -> None:
    import re
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[]", d)[0] for d in project["dependencies"]}
    assert declared == set(doctor._CORE)
    for name, (extra, _) in doctor._EXTRAS.items():
        assert any(d.startswith(name) for d in project["optional-dependencies"][extra])


def test_numbers_stand_to_the_right() -> None:
    assert aligned(["n", "lut"], [["a", 5], ["bcd", 1200]]) == "n      lut\na        5\nbcd  1,200"
    assert aligned(["n", "lut"], []) == "n  lut"
