"""Every mistake that a person can make on the command line, in one table, the reason beside each row.

Each ends with exit code 2 or 3, a message of at most ten lines that says what, where and what to do, no
traceback, and not one file more than before.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foldwright import netlists
from foldwright.agents.store import STORE_NAME, RunStore
from foldwright.cli import cli, main
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.jsonform import to_json
from foldwright.models import TEST_SET, model_path
from foldwright.netlists.netlist import build_netlist
from tests.accel.loopnest.samples import SCALAR

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


def _run_folder(**files: str) -> Callable[[Path], object]:
    """Writes a folder `r` with the files of a run, by their names without `.json`."""

    def write(folder: Path) -> None:
        (folder / "r").mkdir()
        for name, text in files.items():
            (folder / "r" / f"{name}.json").write_text(text)

    return write


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
OPTIMIZE = ["optimize", MODEL, "--part", "xc7z020", "--out", "r", "--deterministic", "0.1"]
CONFIG = ["optimize", "--config", "a.toml"]
TOML = 'model = "digits_w1a2"\npart = "xc7z020"\nout = "r"\n'
DIGITS = np.load(TEST_SET)["input"][:1]

SCORE = ["score", "m.json", "--array", "a.json"]


def _array(mapping: str) -> Callable[[Path], object]:
    """Writes an array `a.json` and a mapping `m.json`."""

    def write(folder: Path) -> None:
        (folder / "a.json").write_text(to_json(SCALAR))
        (folder / "m.json").write_text(mapping)

    return write


BENCH = ["bench", "a.toml", "--out", "b"]
SUITE = 'instances = ["tiling/digits-w1a2-b16"]\nsolvers = ["random"]\nevaluations = [5]\n'


def _other_bench(folder: Path) -> None:
    (folder / "a.toml").write_text(SUITE)
    (folder / "b").mkdir()
    with RunStore(folder / "b" / STORE_NAME, "0123456789abcdef"):
        pass


def _damaged_bench(folder: Path) -> None:
    (folder / "a.toml").write_text(SUITE)
    (folder / "b").mkdir()
    (folder / "b" / STORE_NAME).write_bytes(b"SQLite format 3" + bytes(3000))


TABLE = '[{"name": "a", "op": "x", "choices": [[{"PE": 1}, 10, 20, 1, 0, 8, 8]]}]'


def _evil_pickle(folder: Path) -> None:
    """Writes what torch once called a model: a zip of a pickle that makes the folder `pwned` when it is loaded."""
    payload = b"cos\nmkdir\n(S'pwned'\ntR."
    with zipfile.ZipFile(folder / "p.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", payload)


def _huge_tensor(folder: Path) -> None:
    """Writes a policy whose header declares a terabyte."""
    header = b'{"w":{"dtype":"F32","shape":[250000000000],"data_offsets":[0,1000000000000]}}'
    (folder / "p.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _large_netlist(folder: Path) -> None:
    """Writes an instance of 26 clusters in a chain and names a grid of 7 x 5 tiles: five columns of logic."""
    netlist = build_netlist(
        "n", [(f"c{i}", "CLB", "") for i in range(26)], [((i, i + 1), 1) for i in range(25)]
    )
    text = to_json(PlacementProblem("placement/n", netlist, "grid-20x20"))
    (folder / "p.json").write_text(text.replace("grid-20x20", "grid-7x5"))


def _part(**budget: int) -> Callable[[Path], object]:
    """Writes the XC7Z020 with other budgets and no fabric as `p.toml`."""

    def write(folder: Path) -> None:
        text = (Path(netlists.__file__).parent / "parts" / "xc7z020.toml").read_text()
        for name, value in budget.items():
            text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
        (folder / "p.toml").write_text(text[: text.index("[fabric]")])

    return write


MISTAKES = [
    # Policies and trainings.
    Mistake(
        "training for an environment that does not exist",
        ["train", "tilin", "--out", "t"],
        "no environment is named 'tilin'; did you mean 'tiling'?",
    ),
    Mistake("a training that goes nowhere", ["train", "tiling"], "Missing option '--out'"),
    Mistake("a training of no steps", ["train", "tiling", "--steps", "0", "--out", "t"], "'--steps'"),
    Mistake(
        "a training with two ends",
        ["train", "tiling", "--steps", "9", "--cpu-seconds", "1", "--out", "t"],
        "--cpu-seconds",
    ),
    Mistake(
        "a hyperparameter that does not exist",
        ["train", "tiling", "--config", "a.toml", "--out", "t"],
        "did you mean 'learning_rate'?",
        _write("a.toml", "[ppo]\nlearning_rat = 1.0\n"),
    ),
    Mistake(
        "a training into a folder of something else",
        ["train", "tiling", "--out", "."],
        "holds files that are no training (a.txt)",
        _write("a.txt", "x"),
    ),
    Mistake(
        "a policy that does not exist",
        ["eval", "tilling"],
        "no policy is named 'tilling' and no file is; did you",
    ),
    Mistake("a policy that is a pickle", ["eval", "p.safetensors"], "pickle", _evil_pickle),
    Mistake("a policy with a terabyte", ["eval", "p.safetensors"], "p.safetensors", _huge_tensor),
    Mistake(
        "a policy that is text",
        ["eval", "p.safetensors"],
        "p.safetensors",
        _write("p.safetensors", "weights"),
    ),
    Mistake(
        "a split that does not exist",
        ["eval", "tiling", "--split", "heldout-reel"],
        "did you mean 'heldout-real'?",
    ),
    Mistake(
        "a policy for another problem",
        ["solve", "allocation/digits-w1a2-xc7z020-80", "--solver", "policy:tiling"],
        "tiling",
    ),
    # Placements.
    Mistake(
        "a placement instance that does not exist",
        ["solve", "placement/systolic-858"],
        "did you mean 'placement/systolic-857'?",
    ),
    Mistake(
        "a netlist that does not fit",
        ["solve", "p.json"],
        "26 cells need CLB sites, the fabric has 25: 1 over",
        _large_netlist,
        3,
    ),
    # Folding tables and foldings.
    Mistake(
        "a folding table that is absent", ["solve", "t.json.gz"], "t.json.gz: cannot be read: No such file"
    ),
    Mistake(
        "a folding table that was cut off",
        ["solve", "t.json.gz"],
        "t.json.gz: is damaged or truncated gzip",
        _write("t.json.gz", gzip.compress(TABLE.encode(), mtime=0)[:-9]),
    ),
    Mistake(
        "a folding table of something else",
        ["solve", "t.json"],
        "t.json: is not a sound folding table\n  node 0: is 1, not an object",
        _write("t.json", "[1, 2]"),
    ),
    Mistake(
        "a number of a folding table that is none",
        ["solve", "t.json"],
        "node 'a', choice 0: LUT is '9', needed is a whole number",
        _write("t.json", TABLE.replace("20", '"9"')),
    ),
    Mistake(
        "a budget that does not exist",
        ["solve", "t.json", "--set", "budget_luts=9"],
        "solver 'anneal': no option 'budget_luts'",
        _write("t.json", TABLE),
    ),
    Mistake(
        "budgets of an instance that has none",
        [*SOLVE, "--set", "budget_lut=9"],
        "no option 'budget_lut'",
    ),
    Mistake(
        "a budget in words",
        ["solve", "t.json", "--set", "budget_lut=many"],
        "options of t.json: 1 mistake\n  budget_lut: Input should be a valid integer (got 'many')",
        _write("t.json", TABLE),
    ),
    Mistake(
        "two targets",
        ["solve", "t.json", "--set", "target_fps=9", "--set", "target_cycles=9"],
        "target_fps and target_cycles exclude each other",
        _write("t.json", TABLE),
    ),
    Mistake(
        "a folding budget that nothing fits",
        ["solve", "t.json", "--solver", "exact", "--set", "budget_lut=19"],
        "no folding fits 19 LUTs, 280 BRAM18, 220 DSP slices at any rate: 20 LUTs would do",
        _write("t.json", TABLE),
        3,
    ),
    Mistake(
        "a rate that no folding reaches",
        ["solve", "t.json", "--solver", "exact", "--set", "target_fps=2e7"],
        "every choice of node 'a' takes at least 10 cycles per frame (10,000,000 frames/s at 100 MHz): that is the bound",
        _write("t.json", TABLE),
        3,
    ),
    Mistake(
        "a folding of another problem",
        [*SOLVE, "--folding", "f.json"],
        "'tiling/digits-w1a2-b16' is a problem of tiling; leave the option out",
    ),
    Mistake("a folding in no folder", [*SOLVE, "--folding", "no/f.json"], "no/f.json: there is no folder no"),
    Mistake("a placement of nothing", ["place", "--fabric", "xc7z020"], "Missing argument 'NETLIST'"),
    Mistake("a placement on nothing", ["place", "n.json"], "Missing option '--fabric'"),
    Mistake("a netlist that is absent", ["place", "n.json", "--fabric", "xc7z020"], "n.json: cannot be read"),
    Mistake(
        "a netlist of no known form",
        ["place", "n.blif", "--fabric", "xc7z020"],
        "n.blif: what it is is not known by its name; give .net, .net.gz or .json",
    ),
    Mistake(
        "a packed netlist on a part",
        ["place", "n.net", "--fabric", "xc7z020"],
        "--fabric xc7z020: n.net is a packed netlist of VPR, which needs its architecture file",
    ),
    Mistake(
        "an architecture that is absent", ["place", "n.net", "--fabric", "a.xml"], "a.xml: cannot be read"
    ),
    Mistake(
        "an architecture that is cut off",
        ["place", "n.net", "--fabric", "a.xml"],
        "a.xml: line 1: not well-formed XML",
        _write("a.xml", "<architecture><tiles>"),
    ),
    Mistake("a score of nothing", ["score"], "Missing argument 'MAPPING'"),
    Mistake(
        "a score of two sorts",
        ["score", "f.json", "--array", "a.json", "--clock-mhz", "100"],
        "--clock-mhz is for a folding, --array for a loop nest",
    ),
    Mistake(
        "a score of a folding in JSON", ["score", "f.json", "--json", "s.json"], "--json is for a loop nest"
    ),
    Mistake("a score by nothing", ["score", "f.json"], "give --table, --network or both"),
    Mistake("a folding that is absent", ["score", "f.json", "--network", "dorefa"], "f.json: cannot be read"),
    Mistake(
        "a folding with a misspelt key",
        ["score", "f.json", "--network", "dorefa"],
        "node 'a': unknown attribute 'PEs'; did you mean 'PE'?",
        _write("f.json", '{"a": {"PEs": 3}}'),
    ),
    Mistake(
        "a folding for another network",
        ["score", "f.json", "--network", "dorefa"],
        "folds 1 matrix nodes by PE and SIMD (a), but 'dorefa' has 4 layers",
        _write("f.json", '{"a": {"PE": 3, "SIMD": 1}}'),
    ),
    Mistake("bits of nothing", ["bits"], "Missing argument 'OPTIONS'"),
    # Benches.
    Mistake("a bench of nothing", ["bench"], "Missing argument 'SUITE'; 'foldwright bench --list' shows all"),
    Mistake(
        "a suite that does not exist", ["bench", "smok"], "no suite is named 'smok'; did you mean 'smoke'?"
    ),
    Mistake("a suite file that is absent", ["bench", "a.toml"], "a.toml: cannot be read: No such file"),
    Mistake("a suite that is no TOML", ["bench", "a.toml"], "not valid TOML", _write("a.toml", "seeds = ")),
    Mistake(
        "a suite that is a folder",
        ["bench", "a.toml"],
        "a.toml: cannot be read",
        lambda f: (f / "a.toml").mkdir(),
    ),
    Mistake(
        "a suite with six mistakes",
        ["bench", "a.toml"],
        "a.toml: 6 mistakes",
        _write(
            "a.toml",
            'instances = ["no/such", 3]\nsolvers = ["aneal"]\nseeds = 0\nbudget = 1\ncpu_seconds = [-1]\n',
        ),
    ),
    Mistake(
        "a solver of a bench that does not exist",
        [*BENCH, "--solver", "aneal"],
        "no solver 'aneal'; did you mean 'anneal'?",
        _write("a.toml", SUITE),
    ),
    Mistake(
        "a policy file of a bench that is absent",
        [*BENCH, "--solver", "policy:no.safetensors"],
        "no.safetensors",
        _write("a.toml", SUITE),
    ),
    Mistake(
        "a bench without workers",
        [*BENCH, "--workers", "0"],
        "0 is not in the range",
        _write("a.toml", SUITE),
    ),
    Mistake(
        "more workers than anybody has",
        [*BENCH, "--workers", "999"],
        "--workers is 999, allowed is 1 to 256",
        _write("a.toml", SUITE),
    ),
    Mistake(
        "too many seeds", [*BENCH, "--seeds", "9999"], "seeds: input should be less", _write("a.toml", SUITE)
    ),
    Mistake(
        "a bench into a folder of something else",
        ["bench", "a.toml", "--out", "."],
        ".: holds files that are no bench (a.toml)",
        _write("a.toml", SUITE),
    ),
    Mistake(
        "a bench into a file", ["bench", "a.toml", "--out", "a.toml"], "is no folder", _write("a.toml", SUITE)
    ),
    Mistake(
        "a bench into the folder of another suite", BENCH, "holds the runs of another suite", _other_bench
    ),
    Mistake("a bench into a damaged store", BENCH, "the run store cannot be opened", _damaged_bench),
    Mistake(
        "rows of a bench into no folder",
        [*BENCH, "--json", "no/rows.json"],
        "is missing or not writable",
        _write("a.toml", SUITE),
    ),
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
        _write("a.json", '{"format": "foldwright.tiling-problem/2", "nam": "x"}'),
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
    # Optimizing.
    Mistake(
        "no model to optimize",
        ["optimize", "--part", "xc7z020", "--out", "r"],
        "model is missing: give MODEL",
    ),
    Mistake("a part that does not exist", [*OPTIMIZE, "--part", "xc7z02"], "did you mean 'xc7z020'?"),
    Mistake(
        "a part file that is no TOML",
        [*OPTIMIZE, "--part", "p.toml"],
        "p.toml: not valid TOML",
        _write("p.toml", "a = "),
    ),
    Mistake(
        "a part file of nothing",
        [*OPTIMIZE, "--part", "p.toml"],
        "the file must begin with format",
        _write("p.toml", ""),
    ),
    Mistake(
        "a model to optimize that is absent", ["optimize", "m.onnx", *OPTIMIZE[2:]], "m.onnx: no such file"
    ),
    Mistake(
        "a model to optimize that holds nothing",
        ["optimize", "m.onnx", *OPTIMIZE[2:]],
        "m.onnx: holds no ONNX graph",
        _write("m.onnx", b"\x08\x08"),
    ),
    Mistake(
        "a model to optimize that nobody quantized",
        ["optimize", "m.onnx", *OPTIMIZE[2:]],
        "nothing for the accelerator",
        _onnx(CONV, [1, 1, 4, 4], w=KERNEL),
    ),
    Mistake(
        "a budget that nothing fits",
        [*OPTIMIZE, "--budget-lut-percent", "1"],
        "the smallest design found needs 3,618 LUTs, the budget is 532 (1 % of xc7z020); give a budget of 6.81 % or more, or "
        "choose a larger part",
        code=3,
    ),
    Mistake(
        "a part without block RAMs enough",
        [*OPTIMIZE, "--part", "p.toml"],
        "the smallest design found needs 5 block RAMs, the budget is 3; choose a part with 5 or more",
        _part(bram36=3),
        3,
    ),
    Mistake(
        "a part without flip-flops and LUTs enough",
        [*OPTIMIZE, "--part", "p.toml", "--budget-lut-percent", "2"],
        "needs 3,618 LUTs, the budget is 1,064 (2 % of p.toml); give a budget of 6.81 % or more, or choose a larger part; and "
        "the smallest design found needs 5,079 flip-flops, the budget is 3,000; choose a part with 5,079 or more",
        _part(ff=3000),
        3,
    ),
    Mistake(
        "a rate that no design of the part reaches",
        [*OPTIMIZE, "--objective", "lut", "--target-fps", "1e9"],
        "no design of the space is faster than 3,125,000 frames per second at 200 MHz, 1e+09 are asked for\n"
        "all of xc7z020 with as many engines as the space has does not reach it\n"
        "lower --target-fps to 3,125,000 or less\n",
        code=3,
    ),
    Mistake(
        "a rate for more LUTs",
        [*OPTIMIZE, "--objective", "lut", "--target-fps", "2e6", "--budget-lut-percent", "30"],
        "--target-fps and --budget-lut-percent 30 exclude each other; by the bound that takes --budget-lut-percent 39",
        code=3,
    ),
    Mistake(
        "a rate for more engines or LUTs",
        [*OPTIMIZE, "--objective", "lut", "--target-fps", "2.8e6", "--set", "max_engines=1"],
        "--target-fps and --budget-lut-percent 80 and --set max_engines=1 exclude each other; by the bound that takes "
        "--budget-lut-percent 99 or max_engines=2\n",
        code=3,
    ),
    Mistake(
        "a rate for a wider port",
        [*OPTIMIZE, "--objective", "lut", "--target-fps", "1e6", "--set", "dram_bits_per_cycle=1"],
        "--target-fps and --set dram_bits_per_cycle=1 exclude each other; by the bound that takes dram_bits_per_cycle=2",
        code=3,
    ),
    Mistake("the fewest LUTs for no rate", [*OPTIMIZE, "--objective", "lut"], "needs target_fps"),
    Mistake("a rate that nobody uses", [*OPTIMIZE, "--target-fps", "9"], "only used with objective"),
    Mistake(
        "a front of the fewest LUTs",
        [*OPTIMIZE, "--objective", "lut", "--target-fps", "9", "--pareto"],
        'pareto goes with objective = "fps"',
    ),
    Mistake("points of no front", [*OPTIMIZE, "--set", "pareto_points=4"], "goes with --pareto only"),
    Mistake("a front of one point", [*OPTIMIZE, "--pareto", "--set", "pareto_points=1"], "must be 2..64"),
    Mistake("an objective that does not exist", [*OPTIMIZE, "--objective", "power"], "--objective: "),
    Mistake("a clock that is none", [*OPTIMIZE, "--clock-mhz", "0"], "--clock-mhz: "),
    Mistake("a clock in words", [*OPTIMIZE, "--clock-mhz", "fast"], "'fast' is not a valid float"),
    Mistake(
        "two budgets of work",
        [*OPTIMIZE, "--cpu-seconds", "1"],
        "cpu_seconds and deterministic are both given",
    ),
    Mistake(
        "a setting that does not exist", [*OPTIMIZE, "--set", "max_engine=2"], "did you mean 'max_engines'?"
    ),
    Mistake("a setting of the wrong type", [*OPTIMIZE, "--set", "max_engines=two"], "must be a whole number"),
    Mistake(
        "a setting out of its range", [*OPTIMIZE, "--set", "max_engines=9"], "max_engines is 9, allowed 1..4"
    ),
    Mistake("an option that no solver has", [*OPTIMIZE, "--set", "tiling.sped=1"], "no option 'sped'"),
    Mistake(
        "RTL of no family", [*OPTIMIZE, "--set", "technology=xc8"], "technology 'xc8' is not for family 'xc7'"
    ),
    Mistake("a solver of no problem", [*OPTIMIZE, "--solver", "tilling=anneal"], "did you mean 'tiling'?"),
    Mistake("a solver nobody wrote", [*OPTIMIZE, "--solver", "tiling=aneal"], "did you mean 'anneal'?"),
    Mistake("a configuration that is absent", CONFIG, "a.toml: cannot be read"),
    Mistake("a configuration that is no TOML", CONFIG, "a.toml: not valid TOML", _write("a.toml", "model")),
    Mistake(
        "a key that does not exist",
        CONFIG,
        "a.toml: clock_mz: unknown key; did you mean 'clock_mhz'?",
        _write("a.toml", TOML + "clock_mz = 9\n"),
    ),
    Mistake("a key of the wrong type", CONFIG, "a.toml: seed: ", _write("a.toml", TOML + 'seed = "one"\n')),
    Mistake(
        "a folder that holds another run",
        OPTIMIZE,
        "already holds another run",
        _run_folder(summary='{"command": "foldwright optimize other"}'),
    ),
    Mistake(
        "a folder that holds something else",
        [*OPTIMIZE[:5], "."],
        "holds files that are no run (a.txt)",
        _write("a.txt", "x"),
    ),
    Mistake(
        "a file in place of the run folder",
        OPTIMIZE,
        "r: is no folder, but --out needs one",
        _write("r", "x"),
    ),
    Mistake("a run below a file", [*OPTIMIZE, "--out", "a/b"], "a/b: cannot ", _write("a", "x")),
    # Run folders.
    Mistake("a run folder that is absent", ["check", "r"], "r: there is no such folder"),
    Mistake(
        "a run that is half-written",
        ["report", "r"],
        "no summary.json, so this is half-written",
        _run_folder(plan="{}"),
    ),
    Mistake(
        "a summary with a key twice",
        ["check", "r"],
        "key 'a' stands twice",
        _run_folder(summary='{"a": 1, "a": 2}'),
    ),
    Mistake(
        "a summary with no number",
        ["report", "r"],
        "NaN is not a number",
        _run_folder(summary='{"fps": NaN}'),
    ),
    Mistake("a summary of nobody", ["check", "r"], "has no 'command'", _run_folder(summary="{}")),
    Mistake(
        "a run without a plan to verify",
        ["verify", "r"],
        "the run has no plan.json; it holds: summary.json",
        _run_folder(summary='{"command": "x"}'),
    ),
    Mistake(
        "a plan that is none",
        ["check", "r"],
        "format is None",
        _run_folder(summary='{"command": "x"}', plan="{}"),
    ),
    Mistake(
        "an export of no target",
        ["export", "r", "--to", "verilg"],
        "did you mean 'verilog'?",
        _run_folder(summary='{"command": "x"}'),
    ),
    Mistake("an export to nowhere", ["export", "r"], "Missing option '--to'"),
    Mistake("an array that is not there", SCORE, "a.json: cannot be read: No such file or directory"),
    Mistake("an array that is none", SCORE, "a.json: format is None", _write("a.json", "{}")),
    Mistake(
        "a mapping that is no JSON",
        SCORE,
        "m.json: not valid JSON",
        _array("for k in 0..4:"),
    ),
    Mistake(
        "a mapping of nobody",
        SCORE,
        "m.json: has no 'inputs'",
        _array("{}"),
    ),
    Mistake("building what is no run", ["build", "r"], "r"),
    Mistake("a way of locking that is none", ["build", "r", "--locks", "all"], "Invalid value for '--locks'"),
    Mistake("no time to build", ["build", "r", "--timeout-s", "0"], "Invalid value for '--timeout-s'"),
    Mistake("verifying no tile", ["verify", "r", "--tiles", "0"], "Invalid value for '--tiles'"),
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
    assert {name for name, command in cli.commands.items() if command.params} - met <= {
        "demo",
        "doctor",
        "models",
    }
