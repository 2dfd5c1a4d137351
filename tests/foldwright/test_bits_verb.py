"""The verb `bits`: from options to bits, engines and a bound, in lines and in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foldwright.accel.bit_options import BitOption, BitOptions
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.agents.stop import Evaluations
from foldwright.bits import ChosenBits, choose_bits
from foldwright.cli import main
from foldwright.envs.allocation.bits import BitsProblem
from foldwright.errors import InfeasibleError
from foldwright.jsonform import read_json, to_json
from foldwright.models import BIT_OPTIONS, bit_options_path


def small() -> BitOptions:
    c = LayerChain((4, 4, 4, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    c.conv(16, kernel=1)
    c.matmul(4, raw=True)
    layer = tuple(
        BitOption(
            f"odd-{w}", WeightKind.BINARY if w == 1 else WeightKind.ODD, w, a, 0.4 * (w == 1) + 0.3 * (a == 1)
        )
        for w, a in ((1, 1), (1, 2), (2, 2))
    )
    return BitOptions("small", c.workload("small"), (layer, (layer[1], layer[2])))


WORDS = ["--budget-lut-percent", "15", "--max-engines", "1", "--deterministic", "60"]


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    path.write_text(to_json(small()))
    return path


def test_it_prints_bits_engines_cycles_and_gap_and_writes_them(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.with_name("chosen.json")
    assert main(["bits", str(file), "--max-drop", "0.9", *WORDS, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    chosen = read_json(ChosenBits, out)
    assert lines[0].split() == [
        "layer",
        "weights",
        "planes",
        "result",
        "bits",
        "loses,",
        "points",
        "of",
        "accuracy",
    ]
    assert [line.split()[:2] for line in lines[1:3]] == [
        [name, option.weights] for name, option in zip(chosen.layers, chosen.options, strict=True)
    ]
    assert lines[3] == f"loses together {chosen.drop:.4f} of 0.9 points of accuracy allowed"
    assert chosen.drop <= 0.9
    assert chosen.drop == pytest.approx(sum(o.drop for o in chosen.options))
    assert lines[5].startswith(f"cycles per frame {chosen.cycles_per_frame:,.3f}, bound ")
    assert lines[5].endswith(f"gap {100 * chosen.gap:.2f} %")
    assert 0 < chosen.bound_cycles_per_frame <= chosen.cycles_per_frame
    assert chosen.reproducible


def test_a_tighter_budget_is_never_faster() -> None:
    cycles = []
    for max_drop in (0.0, 0.5, 1.1):
        problem = BitsProblem("bits/small", small(), max_drop, "xc7z020", 15.0, 256, 1)
        chosen = choose_bits(problem, stop=Evaluations(200), refinements=2)
        cycles.append(chosen.cycles_per_frame)
    assert cycles == sorted(cycles, reverse=True)


def test_a_search_that_may_do_nothing_finds_nothing() -> None:
    problem = BitsProblem("bits/small", small(), 1.0, budget_lut_percent=15.0, max_engines=1)
    with pytest.raises(
        InfeasibleError, match="bits/small: no bits and engines found in time; give the search more"
    ):
        choose_bits(problem, stop=Evaluations(1))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--max-drop", "0.5"], 0, ""),
        (
            ["--max-drop", "0.5", "--budget-lut-percent", "5"],
            3,
            "error: allocation 'bits/small': ",
        ),
        (["--max-drop", "-1"], 2, "bits 'bits/small': max_drop is -1.0, allowed 0..1000000"),
        (["--max-drop", "0.5", "--part", "xc7z02"], 2, "did you mean 'xc7z020'?"),
        (["--max-drop", "0.5", "--cpu-seconds", "1"], 2, "exclude each other; give one"),
        (["--max-drop", "0.5", "--max-engines", "9"], 2, "max_engines is 9, allowed 1..4"),
    ],
)
def test_mistakes_have_exit_codes(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert main(["bits", str(file), *WORDS, *words]) == code
    assert message in capsys.readouterr().err


def test_a_budget_that_no_options_keep_names_the_least_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = small()
    lossy = replace(options, layers=(options.layers[0][:1], options.layers[1]))
    path = tmp_path / "lossy.json"
    path.write_text(to_json(lossy))
    assert main(["bits", str(path), "--max-drop", "0.5", *WORDS]) == 3
    assert capsys.readouterr().err == (
        "error: bits 'bits/small': the most accurate options lose 0.7 points of accuracy together (conv1 0.7, fc2 0), "
        "but max_drop is 0.5; raise it to 0.7, or offer options of more bits\n"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "digit_bits",
            "error: digit_bits: no such file, and no bit options that come along; did you mean 'digits_bits'?",
        ),
        ("missing.json", "error: missing.json: cannot be read: No such file or directory"),
    ],
)
def test_unknown_options_get_the_nearest(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bits", name, "--max-drop", "1"]) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("name", BIT_OPTIONS)
def test_options_that_come_along_are_options(name: str) -> None:
    options = read_json(BitOptions, bit_options_path(name))
    assert [layer.name for layer in options.workload.layers] == ["conv1", "conv2", "conv3", "logits"]
    assert [len(layer) for layer in options.layers] == [16, 16, 16, 4]
    assert options.unit == "points of accuracy"
