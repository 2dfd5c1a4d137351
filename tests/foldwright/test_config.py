"""Options of optimize come from a file and the command line, and every mistake is told at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from foldwright.config import TEMPLATE, merge_options, write_template
from foldwright.errors import ConfigError
from foldwright.tomlform import read_toml

LEAST: dict[str, Any] = {"model": "a.onnx", "part": "xc7z020", "out": "runs/a"}


def test_the_template_is_a_valid_configuration() -> None:
    options = merge_options(tomllib.loads(TEMPLATE), "foldwright.toml", {})
    assert (options.model, options.part, options.cpu_seconds) == ("digits_w1a2", "xc7z020", 20.0)


def test_every_key_of_the_template_in_a_comment_is_valid_too() -> None:
    keys = ("# target_fps", "# solver", "# deterministic")
    for key in keys:
        assert f"\n{key} =" in TEMPLATE
    text = (
        TEMPLATE.replace("# solver", "solver")
        .replace("\ncpu_seconds", "\n# cpu")
        .replace("# deterministic", "deterministic")
    )
    text = text.replace("# target_fps", "target_fps").replace('objective = "fps"', 'objective = "lut"')
    options = merge_options(tomllib.loads(text), "f", {})
    assert options.deterministic == 5
    assert options.target_fps == 1000
    assert options.solver_for("tiling", "greedy") == "cp-sat"


def test_the_command_line_takes_precedence() -> None:
    file = {**LEAST, "seed": 1, "set": {"a": 1, "b": 2}}
    options = merge_options(file, "f", {"seed": 2, "part": None, "set": {"b": 3}, "solver": ()})
    assert (options.seed, options.part, options.set) == (2, "xc7z020", {"a": 1, "b": 3})


def test_a_solver_counts_for_its_problem_or_for_all() -> None:
    options = merge_options(LEAST, "f", {"solver": ("greedy", "tiling=cp-sat")})
    assert options.solver_for("tiling", "x") == "cp-sat"
    assert options.solver_for("allocation", "x") == "greedy"
    assert merge_options(LEAST, "f", {}).solver_for("tiling", "x") == "x"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prat": "x"}, "f.toml: prat: unknown key; did you mean 'part'? known: "),
        ({"clock_mhz": "200"}, "f.toml: clock_mhz: input should be a valid number (got '200')"),
        ({"clock_mhz": 0}, "f.toml: clock_mhz: input should be greater than or equal to 1 (got 0)"),
        ({"clock_mhz": True}, "f.toml: clock_mhz: input should be a valid number (got True)"),
        ({"seed": -1}, "f.toml: seed: input should be greater than or equal to 0 (got -1)"),
        ({"seed": 1.5}, "f.toml: seed: input should be a valid integer (got 1.5)"),
        ({"objective": "speed"}, "f.toml: objective: input should be 'fps' or 'lut' (got 'speed')"),
        (
            {"requant": "scale"},
            "f.toml: requant: input should be 'thresholds' or 'scale_shift' (got 'scale')",
        ),
        ({"budget_lut_percent": 120}, "input should be less than or equal to 100 (got 120)"),
        ({"cpu_seconds": float("nan")}, "f.toml: cpu_seconds: "),
        ({"cpu_seconds": float("inf")}, "f.toml: cpu_seconds: "),
        ({"cpu_seconds": 1.0, "deterministic": 1.0}, "cpu_seconds and deterministic are both given"),
        ({"objective": "lut"}, 'objective "lut" needs target_fps'),
        ({"target_fps": 9.0}, 'target_fps is only used with objective = "lut"'),
        ({"solver": "anneal"}, 'solver: must be a list of names, for example ["allocation=anneal"'),
        ({"solver": ["tilling=anneal"]}, "no problem is named 'tilling'; did you mean 'tiling'?"),
        ({"solver": ["a", "b"]}, "names two solvers for every problem; give one"),
        ({"solver": ["tiling=a", "tiling=b"]}, "names two solvers for tiling; give one"),
        ({"set": {"x": [1]}}, "set: x must be a number, a text or true or false"),
        ({"model": ""}, "f.toml: model: string should have at least 1 character"),
    ],
)
def test_one_mistake_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge_options({**LEAST, **change}, "f.toml", {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_of_the_command_line_names_the_option() -> None:
    with pytest.raises(ConfigError, match=r"^--clock-mhz: input should be greater than or equal to 1"):
        merge_options(LEAST, "f.toml", {"clock_mhz": -5.0})


def test_all_mistakes_are_told_at_once_and_in_at_most_nine_lines() -> None:
    wrong = {"prat": 1, "clock_mhz": "x", "seed": 1.5, "objective": "a", "solver": 3, "set": 4, "cpu": 1}
    with pytest.raises(ConfigError) as caught:
        merge_options(wrong, "f.toml", {})
    lines = str(caught.value).splitlines()
    assert lines[0] == "10 mistakes"
    assert lines[-1] == "  and 3 more"
    assert len(lines) == 9
    for start in (
        "  f.toml: prat: unknown key",
        "  model is missing: give MODEL or, in a --config file, model =",
    ):
        assert any(line.startswith(start) for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"part = xc7z020\n", "not valid TOML: Invalid value (at line 1"),
        (b'part = "a"\npart = "b"\n', "not valid TOML: Cannot overwrite a value (at line 2"),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (b"#" * (2**20 + 1), "1048577 bytes, more than the 1048576 allowed"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)


def test_init_never_overwrites(tmp_path: Path) -> None:
    write_template(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        write_template(tmp_path / "a.toml")
    assert (tmp_path / "a.toml").read_text() == "mine"
