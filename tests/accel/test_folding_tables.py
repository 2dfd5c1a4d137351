"""Folding tables: FINN's converter formula by hand, values that check themselves, files that are not trusted."""

from __future__ import annotations

import gzip
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from foldwright.accel.folding_import import MAX_TABLE_BYTES, read_folding_table
from foldwright.accel.folding_tables import (
    MAX_NODES,
    FoldingChoice,
    FoldingNode,
    FoldingTable,
    converter_lut,
    is_integer_ratio,
)
from foldwright.errors import ConfigError
from foldwright.jsonform import from_json, to_json
from tests.support import python, shared

CHOICE = [{"PE": 1}, 10, 20, 1, 0, 8, 8]
NODE = {"name": "a", "op": "MVAU_hls", "choices": [CHOICE]}


def written(folder: Path, body: Any, name: str = "t.json") -> Path:
    path = folder / name
    text = body if isinstance(body, str) else json.dumps(body)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_converters_take_the_luts_of_finns_formula() -> None:
    """Worked out by hand: the width of each step's end, and a counter of its ratio."""
    assert converter_lut(1, 64) == 64 + 6  # up by 64
    assert converter_lut(64, 1) == 1 + 6  # down by 64
    assert converter_lut(8, 24) == 24 + 1  # up by 3: floor(log2 3)
    assert converter_lut(24, 8) == 8 + 2  # down by 3: ceil(log2 3)
    assert converter_lut(16, 24) == (48 + 1) + (24 + 1)  # up to 48 by 3, down by 2
    assert converter_lut(5, 5) == 0


def test_converters_agree_with_the_formula_in_floats_over_all_small_widths() -> None:
    for a in range(1, 80):
        for b in range(1, 80):
            between, lut = math.lcm(a, b), 0
            if a != between:
                lut += abs(math.ceil(math.log(a / between, 2))) + between
            if b != between:
                lut += abs(math.ceil(math.log(between / b, 2))) + b
            assert converter_lut(a, b) == lut
            assert is_integer_ratio(a, b) == (between == max(a, b))


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_table_is_read_plain_and_packed(tmp_path: Path, name: str) -> None:
    body = [{**NODE, "ishape": [1, 32], "oshape": [1], "MW": 3, "MH": 4}, {**NODE, "name": "b"}]
    table = read_folding_table(written(tmp_path, body, name))
    assert [node.name for node in table.nodes] == ["a", "b"]
    assert table.nodes[0].choices == (FoldingChoice((("PE", 1),), 10, 20, 1, 0, 8, 8),)
    assert table.estimates[1].tolist() == [[10, 20, 1, 0, 8, 8]]
    assert from_json(FoldingTable, to_json(table), "test") == table


def test_a_choice_is_found_by_its_attributes_in_any_order() -> None:
    choices = [FoldingChoice((("PE", p), ("SIMD", 2)), 9, 1, 0, 0, 1, 1) for p in (1, 2)]
    node = FoldingNode("a", "X", tuple(choices))
    assert node.find((("SIMD", 2), ("PE", 2))) == 1
    assert node.find((("SIMD", 3), ("PE", 2))) == -1
    assert choices[0].text == "PE=1 SIMD=2"


def changed(**fields: Any) -> list[Any]:
    return [{**NODE, **fields}]


def one(*choice: Any) -> list[Any]:
    return changed(choices=[list(choice)])


MISTAKES = [
    # what the file holds, what is said of it
    ({"a": 1}, "is not a folding table: its top level is an object, but a list of nodes is needed"),
    ([], "folding table: 0 nodes, allowed 1..1024"),
    ([7], "node 0: is 7, not an object with name, op and choices"),
    ([NODE, NODE], "several nodes are named 'a'; each name may stand once"),
    (changed(name=""), "node '': name is '', needed is a printable text of 1..200 characters"),
    (changed(name="a\nb"), "name is 'a\\nb', needed is a printable text"),
    (changed(name=None), "node 0: name is None, needed is a text"),
    (changed(op=3), "node 'a': op is 3, needed is a text"),
    (changed(choices=None), "node 'a': choices is None, needed is a list"),
    (changed(choices=[]), "node 'a': 0 choices, allowed 1..65536"),
    (changed(chioces=[]), "node 'a': unknown key 'chioces'; did you mean 'choices'?"),
    (changed(MW=0), "node 'a': MW is 0, allowed are whole numbers from 1"),
    (changed(ishape=[1, "x"]), "node 'a': ishape is [1, 'x'], allowed are whole numbers from 1"),
    (
        one({"PE": 1}, 10),
        "node 'a', choice 0: is [{'PE': 1}, 10], needed is [attributes, cycles, LUT, BRAM18, DSP, input bits",
    ),
    (one([], 10, 20, 1, 0, 8, 8), "node 'a', choice 0: attributes are [], needed is an object of at most 32"),
    (
        one({"PE": 1.5}, 10, 20, 1, 0, 8, 8),
        "choice 0: attribute 'PE' is 1.5, needed is a whole number or a text",
    ),
    (
        one({"PE": True}, 10, 20, 1, 0, 8, 8),
        "choice 0: attribute 'PE' is True, needed is a whole number or a text",
    ),
    (
        one({"PE": "\x07"}, 10, 20, 1, 0, 8, 8),
        "attribute '\\x07' is not a printable text of 1..200 characters",
    ),
    (one({}, 0, 20, 1, 0, 8, 8), "node 'a', choice 0: cycles is 0, allowed 1..1099511627776"),
    (one({}, 9, 4, 1, 0, 8, 0), "node 'a', choice 0: output bits is 0, allowed 1..1048576"),
    (one({}, 9, 4.0, 1, 0, 8, 8), "node 'a', choice 0: LUT is 4.0, needed is a whole number"),
    (
        one({}, 9, 4, 1, None, 8, True),
        "DSP is None, needed is a whole number; output bits is True, needed is a whole number",
    ),
    (changed(choices=[CHOICE, CHOICE]), "node 'a': choices 0 and 1 have the same attributes (PE=1)"),
    ([NODE] * (MAX_NODES + 1), "1025 nodes, allowed 1..1024"),
    ('[{"name": "a", "name": "b"}]', "not valid JSON: key 'name' stands twice"),
    ("[NaN]", "not valid JSON: NaN is not a number that a file may hold"),
    ("[" * 100_000, "not valid JSON: "),
    ('[{"name": "a"', "not valid JSON: "),
    ("[1e999]", "node 0: is inf, not an object"),
    ("", "not valid JSON: "),
]


@pytest.mark.parametrize(("body", "message"), MISTAKES)
def test_what_is_wrong_with_a_table_is_told(tmp_path: Path, body: Any, message: str) -> None:
    path = written(tmp_path, body)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_folding_table(path)
    assert str(caught.value).startswith(str(path))


def test_all_mistakes_are_told_at_once_and_the_rest_counted(tmp_path: Path) -> None:
    bad = [{**NODE, "name": f"n{k}", "choices": [[{}, 0, -1, 0, 0, 1, 1]]} for k in range(9)]
    with pytest.raises(ConfigError) as caught:
        read_folding_table(written(tmp_path, bad))
    lines = str(caught.value).splitlines()
    assert (
        lines[1]
        == "  node 'n0', choice 0: cycles is 0, allowed 1..1099511627776; LUT is -1, allowed 0..16777216"
    )
    assert len(lines) == 8
    assert lines[-1] == "  and 3 more"


def test_a_file_of_mistakes_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"  and at least \d+ more$"):
        read_folding_table(written(tmp_path, changed(choices=[[]] * 60_000)))


DAMAGED = [
    (b"\x1f\x8b", "is damaged or truncated gzip"),
    (gzip.compress(b"[]", mtime=0)[:-5], "is damaged or truncated gzip"),
    (
        gzip.compress(b"[]", mtime=0)[:12] + b"\xff\xff" + gzip.compress(b"[]")[14:],
        "is damaged or truncated gzip",
    ),
    (
        gzip.compress(b" " * (MAX_TABLE_BYTES + 1), mtime=0),
        f"more than the {MAX_TABLE_BYTES} bytes of JSON allowed",
    ),
    (b" " * (MAX_TABLE_BYTES + 1), f"more than the {MAX_TABLE_BYTES} bytes of JSON allowed"),
    (b"\xff\xfe\x00", "not a text file in UTF-8"),
]


@pytest.mark.parametrize(("data", "message"), DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.json.gz"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_folding_table(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json: cannot be read: No such file or directory"):
        read_folding_table(tmp_path / "no.json")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_folding_table(tmp_path)


HUGE = {
    "empty lists": "'[' + ','.join(['[]'] * (n // 3)) + ']'",
    "empty lists as choices": '\'[{"name":"a","op":"x","choices":[\' + \',\'.join([\'[]\'] * (n // 3)) + \']}]\'',
    "objects": "'[' + ','.join(['{\"a\":1}'] * (n // 8)) + ']'",
}


@pytest.mark.parametrize("what", HUGE)
def test_the_largest_file_takes_less_than_a_gigabyte(tmp_path: Path, what: str) -> None:
    script = (
        "from foldwright.accel.folding_import import MAX_TABLE_BYTES, read_folding_table\n"
        "from foldwright.errors import ConfigError\n"
        f"n = MAX_TABLE_BYTES - 100\nopen('t.json', 'w').write({HUGE[what]})\n"
        "try:\n    read_folding_table('t.json')\n"
        "except ConfigError:\n"
        "    print(next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')))\n"
    )
    run = python("-c", script, cwd=tmp_path, path=(Path(__file__).resolve().parents[2],))
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 1_000_000  # kilobytes


@pytest.mark.parametrize("name", ["1w1a", "1w2a", "1w2a_bip", "2w2a"])
def test_finns_tables_are_read(name: str) -> None:
    table = read_folding_table(shared(f"reference/finn_cnv/tab_{name}.json.gz"))
    assert len(table.nodes) == 19
    assert sum(len(node.choices) for node in table.nodes) in (3998, 4314)
    assert table.nodes[2].name == "MVAU_hls_0"
