"""Every mistake that a person can make on the command line, in one table, the reason beside each row.

Each ends with exit code 2 or 3, a message of at most ten lines that says what, where and what to do, no
traceback, and not one file more than before.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foldwright.cli import cli, main
from foldwright.models import TEST_SET, model_path

MODEL = str(model_path("digits_w1a2"))


@dataclass(frozen=True)
class Mistake:
    """A command line, run in an empty folder after `prepare`; words in it may name files made there."""

    reason: str
    words: list[str]
    said: str
    prepare: Callable[[Path], object] = lambda folder: None
    code: int = 2


def _write(name: str, data: bytes | str) -> Callable[[Path], object]:
    raw = data.encode() if isinstance(data, str) else data
    return lambda folder: (folder / name).write_bytes(raw)


def _npz(name: str, **arrays: Any) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / name, **arrays)


def _bomb(folder: Path) -> None:
    """A few kilobytes that claim to be eight gigabytes of input."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**30, 1, 1, 1)}
    )
    with zipfile.ZipFile(folder / "in.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input.npy", header.getvalue() + bytes(2**20))


def _pickled(folder: Path) -> None:
    np.savez(folder / "in.npz", input=np.array([{"a": 1}], dtype=object))


def _onnx(node: onnx.NodeProto, shape: list[int | str], **weights: np.ndarray) -> Callable[[Path], object]:
    """Writes a graph of one node from the input `x` to the output `y`."""

    def write(folder: Path) -> None:
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        np.savez(folder / "in.npz", input=np.zeros((1, 1, 4, 4), np.float32))

    return write


KERNEL = np.full((1, 1, 3, 3), 0.3, np.float32)
CONV = helper.make_node("Conv", ["x", "w"], ["y"], name="first")
RUN = ["run", MODEL, "in.npz", "--output", "out.npz"]
RUN_OWN = ["run", "m.onnx", "in.npz", "--output", "out.npz"]
SOLVE = ["solve", "tiling/digits-w1a2-b16"]
DIGITS = np.load(TEST_SET)["input"][:1]

MISTAKES = [
    # Words.
    Mistake("a verb that does not exist", ["modles"], "no verb is named 'modles'; did you mean 'models'?"),
    Mistake(
        "an option that does not exist", ["parts", "--jsn"], "No such option '--jsn'. Did you mean '--json'?"
    ),
    Mistake("a word too many", ["parts", "xc7z020"], "unexpected extra argument"),
    Mistake("a verb without its words", ["run"], "Missing argument 'MODEL'"),
    Mistake("an option without its value", ["run", MODEL, "a.npz", "--output"], "requires an argument"),
    Mistake("nowhere to write to", ["run", MODEL, "a.npz"], "Missing option '--output'"),
    Mistake("a template that would overwrite", ["init", "a.toml"], "already exists", _write("a.toml", "x")),
    Mistake(
        "a template in no folder",
        ["init", "no/a.toml"],
        "no/a.toml: cannot write: No such file or directory; make the folder first",
    ),
    # Models.
    Mistake(
        "a model that is no file and no name", ["run", "digts", "a", "--output", "b"], "known: digits_w1a2"
    ),
    Mistake("a model file that is absent", RUN_OWN, "m.onnx: no such file"),
    Mistake("a folder as a model", ["run", ".", "in.npz", "--output", "o.npz"], ".: is a folder"),
    Mistake("an empty model file", RUN_OWN, "m.onnx: is empty", _write("m.onnx", "")),
    Mistake(
        "a model that is a text",
        RUN_OWN,
        "m.onnx: not an ONNX file",
        _write("m.onnx", "hello, I am a network"),
    ),
    Mistake(
        "a model that is a zip",
        RUN_OWN,
        "m.onnx: is a zip archive",
        _write("m.onnx", b"PK\x03\x04" + bytes(100)),
    ),
    Mistake(
        "a model that was cut off",
        RUN_OWN,
        "m.onnx: not an ONNX file, or truncated",
        lambda folder: (folder / "m.onnx").write_bytes(Path(MODEL).read_bytes()[:-1000]),
    ),
    Mistake(
        "weights that nobody quantized",
        RUN_OWN,
        "Conv 'first': nothing for the accelerator",
        _onnx(CONV, [1, 1, 4, 4], w=KERNEL),
    ),
    Mistake(
        "a dimension of unknown size",
        RUN_OWN,
        "input 'x': dimension 2 is dynamic (h)",
        _onnx(CONV, [1, 1, "h", 4], w=KERNEL),
    ),
    Mistake(
        "a negative dimension", RUN_OWN, "input 'x': dimension 2 is -4", _onnx(CONV, [1, 1, -4, 4], w=KERNEL)
    ),
    Mistake(
        "weights that are not in the file",
        RUN_OWN,
        "Conv 'first': reads 'w', which no node",
        _onnx(CONV, [1, 1, 4, 4]),
    ),
    Mistake(
        "an operator that does not exist",
        RUN_OWN,
        "operator 'Convv' is not known\n  did you mean 'Conv'?",
        _onnx(helper.make_node("Convv", ["x", "w"], ["y"], name="first"), [1, 1, 4, 4], w=KERNEL),
    ),
    # Inputs of a run.
    Mistake("inputs that are absent", RUN, "in.npz: no such file"),
    Mistake("a folder as inputs", ["run", MODEL, ".", "--output", "out.npz"], "is a folder"),
    Mistake("inputs that are no archive", RUN, "not a sound .npz file", _write("in.npz", "1,2,3")),
    Mistake(
        "an archive without 'input'",
        RUN,
        "has no array 'input', it holds: images",
        _npz("in.npz", images=DIGITS),
    ),
    Mistake(
        "inputs of the wrong shape", RUN, "in.npz: array 'input'", _npz("in.npz", input=DIGITS[:, :, :7])
    ),
    Mistake(
        "inputs that are no numbers", RUN, "in.npz: array 'input'", _npz("in.npz", input=np.array(["a"]))
    ),
    Mistake("objects that would be unpickled", RUN, "in.npz", _pickled),
    Mistake("an archive that would fill the memory", RUN, "in.npz: array 'input' declares", _bomb),
    Mistake(
        "an output folder that is absent",
        ["run", MODEL, "in.npz", "--output", "no/out.npz"],
        "no/out.npz: cannot be written",
        _npz("in.npz", input=DIGITS),
    ),
    # Searches.
    Mistake("no instance", ["solve"], "Missing argument 'INSTANCE'; 'foldwright solve --list' shows all"),
    Mistake("an instance that does not exist", ["solve", "tiling/digits-w1a2-b17"], "digits-w1a2-b16"),
    Mistake("a problem that does not exist", ["solve", "tilling/x"], "no instance is named 'tilling/x'"),
    Mistake("an instance file that is absent", ["solve", "a.json"], "a.json: cannot be read: No such file"),
    Mistake("an instance that is no JSON", ["solve", "a.json"], "not valid JSON", _write("a.json", "a = 1")),
    Mistake("a key twice", ["solve", "a.json"], "key 'a' stands twice", _write("a.json", '{"a":1,"a":2}')),
    Mistake(
        "a number that is none", ["solve", "a.json"], "NaN is not a number", _write("a.json", '{"a":NaN}')
    ),
    Mistake(
        "JSON of something else",
        ["solve", "a.json"],
        "format is 'foldwright.part/1', not that of an instance",
        _write("a.json", '{"format": "foldwright.part/1"}'),
    ),
    Mistake(
        "an instance with its parts missing",
        ["solve", "a.json"],
        "a.json: ",
        _write("a.json", '{"format": "foldwright.tiling-problem/1", "nam": "x"}'),
    ),
    Mistake(
        "JSON that never ends its brackets",
        ["solve", "a.json"],
        "not valid JSON",
        _write("a.json", "[" * 200_000),
    ),
    Mistake("a solver that does not exist", [*SOLVE, "--solver", "anneall"], "did you mean 'anneal'?"),
    Mistake(
        "an option the solver has not",
        [*SOLVE, "--set", "speed=9"],
        "solver 'anneal': no option 'speed'; did you mean",
    ),
    Mistake("an option without a value", [*SOLVE, "--set", "samples"], "is not KEY=VALUE, for example"),
    Mistake("an option given twice", [*SOLVE, "--set", "a=1", "--set", "a=2"], "gives 'a' twice"),
    Mistake("two ways to stop", [*SOLVE, "--cpu-seconds", "1", "--deterministic", "9"], "exclude each other"),
    Mistake("less than no time", [*SOLVE, "--cpu-seconds", "-1"], "got -1.0, allowed is 0 or more"),
    Mistake("time that is no number", [*SOLVE, "--cpu-seconds", "nan"], "got nan, allowed is 0 or more"),
    Mistake("half an evaluation", [*SOLVE, "--deterministic", "1.5"], "give a whole number of at least 1"),
    Mistake("a seed below zero", [*SOLVE, "--seed", "-1"], "Invalid value for '--seed'"),
    Mistake(
        "a result in place of a folder", [*SOLVE, "--out", "."], ".: is a folder, but --out needs a file"
    ),
    Mistake("a result in no folder", [*SOLVE, "--out", "no/a.json"], "no/a.json: there is no folder no"),
]


@pytest.mark.parametrize("mistake", [pytest.param(m, id=m.reason.replace(" ", "-")) for m in MISTAKES])
def test_a_mistake_is_told_and_leaves_nothing(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {p: p.read_bytes() if p.is_file() else b"" for p in tmp_path.rglob("*")}
    assert main(mistake.words) == mistake.code
    after = {p: p.read_bytes() if p.is_file() else b"" for p in tmp_path.rglob("*")}
    out, err = capsys.readouterr()
    assert mistake.said in err, err
    assert len(err.splitlines()) <= 10, err
    assert max(map(len, err.splitlines())) < 600
    assert "Traceback" not in err
    assert out == ""
    assert after == before


def test_the_table_meets_every_verb_that_takes_words() -> None:
    met = {m.words[0] for m in MISTAKES}
    assert {name for name, command in cli.commands.items() if command.params} - met <= {"doctor", "models"}
