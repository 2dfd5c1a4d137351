"""FINN's folding configurations: what they mean in a table, what is assumed, what is refused; a round trip."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from foldwright.accel.folding_config import (
    MatchedFolding,
    match_folding,
    read_folding_config,
    write_folding_config,
)
from foldwright.accel.folding_import import read_folding_table
from foldwright.accel.folding_tables import FoldingChoice, FoldingNode, FoldingTable
from foldwright.errors import ConfigError
from tests.support import shared


def matrix(name: str) -> FoldingNode:
    choices = [
        FoldingChoice(
            (("SIMD", s), ("PE", p), ("ram_style", r), ("resType", t)), 16 // (s * p), 9, 0, 0, s, p
        )
        for s in (1, 2)
        for p in (1, 2)
        for r in ("block", "distributed")
        for t in ("lut", "dsp")
    ]
    return FoldingNode(name, "MVAU_hls", tuple(choices))


def window(name: str) -> FoldingNode:
    choices = [
        FoldingChoice(
            (("SIMD", s), ("ram_style", r), ("parallel_window", w)), 9 // s, 9, 0, 0, s, s * (1 + 8 * w)
        )
        for s in (1, 3)
        for r in ("block", "distributed")
        for w in (0, 1)
    ]
    return FoldingNode(name, "ConvolutionInputGenerator_rtl", tuple(choices))


TABLE = FoldingTable(
    (
        window("swg"),
        matrix("m0"),
        FoldingNode("pool", "Pool", (FoldingChoice((), 4, 0, 0, 0, 2, 2),)),
        matrix("m1"),
    )
)


def matched(folder: Path, body: Any, table: FoldingTable = TABLE) -> tuple[list[str], MatchedFolding]:
    """Returns the texts of the choices that a configuration means, and the match."""
    path = folder / "folding.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    found = match_folding(read_folding_config(path), table)
    return [n.choices[k].text for n, k in zip(table.nodes, found.positions, strict=True)], found


FULL = {
    "Defaults": {},
    "swg": {"SIMD": 3, "ram_style": "block", "parallel_window": 1},
    "m0": {"PE": 2, "SIMD": 1, "ram_style": "distributed", "resType": "dsp"},
    "m1": {"PE": 1, "SIMD": 2, "ram_style": "auto", "resType": "lut", "mem_mode": "internal_decoupled"},
}


def test_a_configuration_means_choices_of_the_table(tmp_path: Path) -> None:
    texts, found = matched(tmp_path, FULL)
    assert texts == [
        "SIMD=3 ram_style=block parallel_window=1",
        "SIMD=1 PE=2 ram_style=distributed resType=dsp",
        "as it is",
        "SIMD=2 PE=1 ram_style=block resType=lut",
    ]
    assert found.notes == ("ram_style auto is counted as block, as FINN's estimators do: m1",)


def test_what_is_not_given_is_finns_default_and_told(tmp_path: Path) -> None:
    texts, found = matched(tmp_path, {"m0": {"PE": 2}, "m1": {"SIMD": 2, "inFIFODepths": [2]}})
    assert texts == [
        "SIMD=1 ram_style=distributed parallel_window=0",
        "SIMD=1 PE=2 ram_style=block resType=lut",
        "as it is",
        "SIMD=2 PE=1 ram_style=block resType=lut",
    ]
    assert found.notes == (
        "SIMD is not given, FINN's default is 1: 2 nodes, swg first",
        "ram_style is not given, FINN's default is distributed: swg",
        "parallel_window is not given, FINN's default is 0: swg",
        "ram_style auto is counted as block, as FINN's estimators do: 2 nodes, m0 first",
        "resType auto is counted as lut, as FINN's estimators do: 2 nodes, m0 first",
        "inFIFODepths does not enter the estimates: m1",
        "PE is not given, FINN's default is 1: m1",
    )


def test_defaults_hold_for_kinds_of_nodes_until_a_node_says_otherwise(tmp_path: Path) -> None:
    defaults = {
        "ram_style": ["distributed", ["MVAU_hls"], "block", ["ConvolutionInputGenerator_rtl"]],
        "SIMD": [1, "all"],
    }
    texts, _ = matched(tmp_path, {"Defaults": defaults, "m1": {"ram_style": "block", "SIMD": 2}})
    assert texts[0] == "SIMD=1 ram_style=block parallel_window=0"
    assert texts[1] == "SIMD=1 PE=1 ram_style=distributed resType=lut"
    assert texts[3] == "SIMD=2 PE=1 ram_style=block resType=lut"


def test_auto_stays_auto_where_a_table_estimates_it(tmp_path: Path) -> None:
    choices = [FoldingChoice((("ram_style", r),), 9, 9, 0, 0, 1, 1) for r in ("block", "auto")]
    table = FoldingTable((FoldingNode("m", "MVAU_hls", tuple(choices)),))
    texts, found = matched(tmp_path, {"m": {"ram_style": "auto"}}, table)
    assert (texts, found.notes) == (["ram_style=auto"], ())


@pytest.mark.parametrize("positions", [(0, 0, 0, 0), (7, 15, 0, 6), (3, 9, 0, 12)])
def test_writing_and_reading_give_the_same_choices(tmp_path: Path, positions: tuple[int, ...]) -> None:
    _, found = matched(tmp_path, write_folding_config(TABLE, positions))
    assert found == MatchedFolding(positions, ())


MISTAKES = [
    ([], "is not a folding configuration: its top level is a list, but an object of nodes is needed"),
    ("{", "not valid JSON"),
    ({"m0": 3}, "node 'm0': is 3, needed is an object of attributes"),
    ({"a\tb": {}}, "node 'a\\tb': is not a printable name"),
    ({"m0": {"PEs": 3}}, "node 'm0': unknown attribute 'PEs'; did you mean 'PE'?"),
    ({"m0": {"PE": "3"}}, "node 'm0': PE is '3', needed is a number such as 1"),
    ({"m0": {"PE": True}}, "node 'm0': PE is True, needed is a number such as 1"),
    ({"m0": {"PE": -1}}, "node 'm0': PE is -1, allowed 0..1099511627776"),
    ({"m0": {"ram_style": 1}}, "node 'm0': ram_style is 1, needed is a string such as 'auto'"),
    (
        {"m0": {"mem_mode": "internal_embedded"}},
        "node 'm0': mem_mode is 'internal_embedded', but tables estimate 'internal_decoupled' alone",
    ),
    ({"Defaults": {"PE": 3}}, "Defaults: 'PE' is 3, needed is [value, kinds of nodes, ...]"),
    ({"Defaults": {"PE": [3]}}, "Defaults: 'PE' is [3], needed is [value, kinds of nodes, ...]"),
    ({"Defaults": {"PE": [3, 4]}}, "Defaults: 'PE' is for 4, needed is \"all\" or a list of kinds of nodes"),
    ({"Defaults": {"PX": [3, "all"]}}, "Defaults: unknown attribute 'PX'; did you mean 'PE'?"),
    ({"m2": {}}, "does not suit the folding table\n  node 'm2': is not in the table; did you mean 'm"),
    ({"m0": {"PE": 3}}, "node 'm0': PE is 3, the table has 1, 2"),
    ({"m0": {"ram_style": "ultra"}}, "node 'm0': ram_style is 'ultra', the table has block, distributed"),
    (
        {"swg": {"PE": 2}},
        "node 'swg': is not folded by PE (here 2); the table has SIMD, ram_style, parallel_window",
    ),
    ({"pool": {"PE": 2}}, "node 'pool': is not folded by PE (here 2); the table has one choice for it"),
]


@pytest.mark.parametrize(("body", "message"), MISTAKES)
def test_mistakes_name_node_attribute_and_value(tmp_path: Path, body: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        matched(tmp_path, body)


def test_values_that_no_choice_has_together_are_told_so(tmp_path: Path) -> None:
    choices = [FoldingChoice((("PE", p), ("SIMD", s)), 9, 9, 0, 0, 1, 1) for p, s in ((1, 2), (2, 1))]
    table = FoldingTable((FoldingNode("m", "MVAU_hls", tuple(choices)),))
    with pytest.raises(
        ConfigError, match="no choice of the table is PE=2 SIMD=2, though each value by itself is in one"
    ):
        matched(tmp_path, {"m": {"PE": 2, "SIMD": 2}}, table)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    body = {f"x{k}": {"PEs": 1} for k in range(9)}
    with pytest.raises(ConfigError) as caught:
        matched(tmp_path, body)
    assert len(str(caught.value).splitlines()) == 8
    assert str(caught.value).endswith("and 3 more")


@pytest.mark.parametrize(
    ("table", "config"),
    [("1w1a", "cnv-w1a1"), ("1w2a_bip", "cnv-w1a2"), ("1w2a", "cnv-w1a2"), ("2w2a", "cnv-w2a2")],
)
def test_published_foldings_are_choices_of_finns_tables(tmp_path: Path, table: str, config: str) -> None:
    read = read_folding_table(shared(f"reference/finn_cnv/tab_{table}.json.gz"))
    folding = shared(f"reference/folding/bnn-pynq/{config}_folding_config.json")
    found = match_folding(read_folding_config(folding), read)
    assert [note.split(":")[0] for note in found.notes] == [
        "parallel_window is not given, FINN's default is 0",
        "ram_style auto is counted as block, as FINN's estimators do",
    ]
    _, again = matched(tmp_path, write_folding_config(read, found.positions), read)
    assert again == MatchedFolding(found.positions, ())
