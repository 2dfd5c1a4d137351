"""Netlists: tiny ones by hand, merging, the JSON form, and everything that a file may get wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldwright.errors import InputError
from foldwright.netlists.netlist import Netlist, NetlistError, build_netlist, netlist_from_json

__all__: list[str] = []

CELLS = [("a", "CLB", ""), ("b", "DSP", "pe0"), ("c", "CLB", "pe0"), ("d", "CLB", "")]


def tiny() -> Netlist:
    # {a, b} comes three times in all orders (2 + 3 + 1), {d} is no net, {a, b, d} names b twice.
    nets: list[tuple[list[str | int], int]] = [
        (["a", "b"], 2), (["b", "a"], 3), (["d"], 9), (["d", "b", "a", "b"], 1), ([1, 0], 1), (["c", 3], 4), ([], 5),
    ]  # fmt: skip
    return build_netlist("tiny", CELLS, nets)


def test_tiny_netlist_merges_nets_of_the_same_cells_and_drops_those_of_one() -> None:
    netlist = tiny()
    assert (netlist.cells, netlist.nets, netlist.pins) == (4, 3, 7)
    assert [netlist.cells_of(j).tolist() for j in range(3)] == [[0, 1], [0, 1, 3], [2, 3]]
    assert netlist.net_weights.tolist() == [6, 1, 4]
    assert netlist.kinds == ("CLB", "DSP")
    assert netlist.count_by_kind() == {"CLB": 3, "DSP": 1}
    assert [netlist.groups[g] for g in netlist.cell_group] == ["", "pe0", "pe0", ""]


def test_nets_by_cell_are_the_transposed_rows() -> None:
    offsets, nets = tiny().by_cell()
    assert [nets[offsets[c] : offsets[c + 1]].tolist() for c in range(4)] == [[0, 1], [0, 1], [2], [1, 2]]


def test_arrays_are_read_only_and_equality_is_by_content() -> None:
    netlist = tiny()
    with pytest.raises(ValueError, match="read-only"):
        netlist.net_weights[0] = 7
    assert netlist == tiny()
    assert hash(netlist) == hash(tiny())
    assert netlist != build_netlist("tiny", CELLS, [(["a", "b"], 6)])
    assert netlist != build_netlist("other", CELLS, [])


def test_arrays_do_not_share_memory_with_what_they_were_made_from() -> None:
    weights = np.array([1], dtype=np.int64)
    kind = np.zeros(2, dtype=np.int32)
    offsets, pins = np.array([0, 2]), np.array([0, 1], dtype=np.int32)
    netlist = Netlist("n", ("CLB",), ("a", "b"), kind, ("",), kind, offsets, pins, weights)
    weights[0] = 5
    assert netlist.net_weights[0] == 1


def test_graph_joins_every_net_with_its_cells() -> None:
    graph = tiny().graph()
    assert graph.number_of_nodes() == 4 + 3
    assert graph.number_of_edges() == 7
    assert set(graph[("net", 1)]) == {"a", "b", "d"}
    assert graph.nodes["b"] == {"bipartite": 0, "kind": "DSP", "group": "pe0"}
    assert graph.nodes["net", 0]["weight"] == 6


def test_json_reads_back_equal_and_is_one_line_a_row() -> None:
    netlist = tiny()
    text = netlist.to_json()
    assert netlist_from_json(text, "here") == netlist
    assert '\n  ["b", "DSP", "pe0"],\n' in text
    assert '\n  [4, ["c", "d"]]\n' in text
    assert json.loads(text)["format"] == "foldwright.netlist/1"


def test_json_of_a_netlist_without_nets_reads_back_equal() -> None:
    netlist = build_netlist("lone", CELLS, [])
    assert netlist_from_json(netlist.to_json(), "here") == netlist


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 11), max_size=6), st.integers(1, 9)), max_size=40
    )
)  # fmt: skip
def test_building_keeps_the_weight_of_every_set_of_cells(nets: list[tuple[list[int], int]]) -> None:
    netlist = build_netlist("any", [(f"c{i}", "CLB", f"g{i % 3}") for i in range(12)], nets)
    weights: dict[frozenset[int], int] = {}
    for pins, weight in nets:
        if len(set(pins)) > 1:
            weights[frozenset(pins)] = weights.get(frozenset(pins), 0) + weight
    found = {frozenset(netlist.cells_of(j).tolist()): int(w) for j, w in enumerate(netlist.net_weights)}
    assert found == weights
    assert netlist_from_json(netlist.to_json(), "here") == netlist


def body(**changes: Any) -> str:
    good = {"format": "foldwright.netlist/1", "name": "n", "cells": [["a", "CLB", ""], ["b", "CLB", ""]], "nets": [[1, ["a", "b"]]]}  # fmt: skip  # noqa: E501
    return json.dumps({**good, **changes})


BAD = [
    ("not JSON", "{", "n.json: not valid JSON"),
    ("a number that is none", body().replace("[1, [", "[NaN, ["), "NaN is not a number that a file may hold"),
    ("a key twice", body().replace('"name"', '"name": "m", "name"'), "key 'name' stands twice"),
    ("another format", body(format="foldwright.placement/1"), "format is 'foldwright.placement/1', but"),
    ("an unknown key", body(sites=3), "sites: unknown key; known: cells, format, name, nets"),
    ("no nets", '{"format": "foldwright.netlist/1", "name": "n", "cells": []}', "nets: must be a list"),
    ("a weight that is text", body(nets=[["2", ["a", "b"]]]), "nets.0: must be [weight, [cell, ...]], a whole number"),
    ("a weight that is a truth value", body(nets=[[True, ["a", "b"]]]), "nets.0: must be [weight, [cell, ...]], a whole number"),
    ("a fraction of a wire", body(nets=[[1.5, ["a", "b"]]]), "nets.0: must be [weight, [cell, ...]], a whole number"),
    ("a cell that is a number", body(nets=[[1, ["a", 1]]]), "nets.0: must be [weight, [cell, ...]], a whole number"),
    ("a cell without a group", body(cells=[["a", "CLB"]], nets=[]), "cells.0: must be [name, kind, group], texts of"),
    ("wrong rows without end", body(nets=[[]] * 10**6), "nets.5: must be [weight, [cell, ...]]"),
    ("a name that is a list", body(name=["n"]), "name: must be a text of up to 256 characters"),
    ("a list", "[1, 2]", "format is None, but 'foldwright.netlist/1' is needed"),
    ("no cells", body(cells=[], nets=[]), "netlist 'n': no cells; a netlist has at least one"),
    ("a cell twice", body(cells=[["a", "CLB", ""]] * 2, nets=[]), "cell 'a' stands twice; every cell needs a name"),
    ("a cell without a name", body(cells=[["", "CLB", ""]], nets=[]), "a cell's name has 0 characters, allowed 1..256"),
    ("a cell without a kind", body(cells=[["a", "", ""]], nets=[]), "a cell's kind is empty; name the kind of site"),
    ("a name without end", body(cells=[["a" * 9999, "CLB", ""]], nets=[]), "cells.0: must be [name, kind, group], texts"),
    ("an unknown cell", body(nets=[[1, ["a", "bb"]]]), "net 0: no cell is named 'bb'; did you mean 'b'? known: a, b"),
    ("a huge unknown name", body(nets=[[1, ["a", "x" * 10**6]]]), f"no cell is named '{'x' * 80}...'; known: a, b"),
    ("no wires", body(nets=[[0, ["a", "b"]]]), "net 0: weight is 0, allowed are 1..281474976710656"),
    ("wires below zero", body(nets=[[-3, ["a", "b"]]]), "net 0: weight is -3, allowed are 1.."),
    ("a huge weight", body(nets=[[10**60, ["a", "b"]]]), "net 0: weight is a number of 61 characters, allowed are"),
    ("huge weights together", body(nets=[[2**48, ["a", "b"]]] * 2), "weights must be at least 1 and at most"),
    ("a number too long to read", body().replace("[1, [", f"[{'9' * 5000}, ["), "n.json: not valid JSON: Exceeds"),
    ("too long", body(name="n" * (2**24)), "characters, more than the 8388608 allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        netlist_from_json(text, "n.json")
    told = str(caught.value)
    assert message in told
    assert told.startswith("n.json: ")
    assert len(told.splitlines()) <= 10
    assert len(told) < 2000


def test_many_mistakes_are_told_at_once_and_counted() -> None:
    with pytest.raises(NetlistError) as caught:
        build_netlist("n", CELLS, [(["a", f"x{j}"], 0) for j in range(50)])
    assert "net 2: no cell is named 'x2'" in str(caught.value)
    assert str(caught.value).endswith("and 94 more")


def arrays(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "name": "n", "kinds": ("CLB",), "cell_names": ("a", "b", "c"), "cell_kind": [0, 0, 0],
        "groups": ("",), "cell_group": [0, 0, 0],
        "net_offsets": [0, 2, 4], "net_cells": [0, 1, 0, 2], "net_weights": [1, 1],
    }  # fmt: skip
    return {**good, **changes}


def test_arrays_that_follow_the_rules_are_taken() -> None:
    assert Netlist(**arrays()).nets == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell_kind": [0, 0]}, "kinds must be numbered in the order"),
        ({"cell_kind": [0, 1, 0]}, "kinds must be numbered in the order"),
        ({"kinds": ("CLB", "DSP")}, "kinds must be numbered in the order"),
        ({"groups": ("", "x"), "cell_group": [1, 0, 0]}, "groups must be numbered in the order"),
        ({"net_offsets": [0, 4]}, "net_offsets must have 3 entries from 0 to 4"),
        ({"net_offsets": [0, 2, 3]}, "net_offsets must have 3 entries from 0 to 4"),
        ({"net_offsets": [0, 1, 4]}, "net 0 has fewer than two cells"),
        ({"net_cells": [0, 1, 0, 3]}, "a net holds a cell number outside 0..2"),
        ({"net_cells": [0, 1, -1, 2]}, "a net holds a cell number outside 0..2"),
        ({"net_cells": [0, 1, 2, 0]}, "the cells of a net must ascend, none twice"),
        ({"net_cells": [0, 0, 0, 2]}, "the cells of a net must ascend, none twice"),
        ({"net_weights": [1, 0]}, "weights must be at least 1"),
        ({"net_cells": [0, 1, 0, 1]}, "two nets have the same cells"),
    ],
)
def test_arrays_that_break_a_rule_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NetlistError, match=message):
        Netlist(**arrays(**changes))
