"""A mapped design becomes a netlist of block RAMs and clusters that fit a tile; locks are checked before and behind the tool."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from foldwright.errors import FoldwrightError, IllegalSolutionError, InputError, VerificationError
from foldwright.netlists.fabric import Fabric
from foldwright.netlists.locks import check_locks, check_obeyed, locked_json
from foldwright.netlists.mapped import MappedDesign, mapped_netlist, read_mapped, top_of
from foldwright.netlists.part import load_part
from tests.netlists.vpr_samples import mutate

TOP = "top"


def _cell(kind: str, *bits: int | str) -> dict[str, Any]:
    return {"type": kind, "attributes": {}, "connections": {"X": list(bits)}}


def _design(cells: dict[str, dict[str, Any]]) -> MappedDesign:
    return read_mapped(json.dumps({"modules": {TOP: {"cells": cells}}}), TOP, "by hand")


@pytest.fixture(name="design")
def _small() -> MappedDesign:
    """Two RAMs that share an address bit (9), each with a LUT (bits 1 and 2), and a clock (0)."""
    return _design(
        {
            "m.ram.0.10": _cell("DP16KD", 0, 9, 2),
            "m.ram.0.2": _cell("DP16KD", 0, 9, 1),
            "a": _cell("LUT4", 1, 3, "0"),
            "b": _cell("LUT4", 2, 4, "x"),
            "pll": _cell("EHXPLLL", 0),
        }
    )


@pytest.fixture(scope="module", name="fabric")
def _fabric() -> Fabric:
    fabric = load_part("lfe5u-85f").fabric
    assert fabric is not None
    return fabric


def test_memories_come_in_the_order_of_their_numbers(design: MappedDesign) -> None:
    assert design.lockable == {"m.ram.0.2": "EBR", "m.ram.0.10": "EBR"}


def test_nets_join_memories_and_clusters(design: MappedDesign, fabric: Fabric) -> None:
    """The LUTs share no net, so each is a cluster; the clock's net holds both RAMs and merges with the address bit's."""
    netlist = mapped_netlist(design, fabric)
    assert netlist.count_by_kind() == {"EBR": 2, "CLB": 2}
    nets = {
        tuple(netlist.cell_names[c] for c in netlist.cells_of(j)): w
        for j, w in enumerate(netlist.net_weights.tolist())
    }
    assert nets == {
        ("m.ram.0.2", "m.ram.0.10"): 2,
        ("m.ram.0.2", "logic/0"): 1,
        ("m.ram.0.10", "logic/1"): 1,
    }


def test_clusters_fit_a_tile(fabric: Fabric) -> None:
    """Twenty LUTs in a chain need three tiles of eight; five carry cells of two LUTs need two."""
    chain = {f"l{k}": _cell("LUT4", k, k + 1) for k in range(20)}
    carries = {f"c{k}": _cell("CCU2C", 100 + k, 101 + k) for k in range(5)}
    assert mapped_netlist(_design(chain), fabric).cells == 3
    assert mapped_netlist(_design(carries), fabric).cells == 2


@pytest.mark.parametrize(
    ("locks", "message"),
    [
        ({"a": "X4/Y22/EBR0"}, "'a' is no block RAM or multiplier of the design"),
        ({"m.ram.0.2": "X5/Y22/EBR0"}, "'m.ram.0.2': 'X5/Y22/EBR0' is no EBR of the part"),
        (
            {"m.ram.0.2": "X4/Y22/EBR0", "m.ram.0.10": "X4/Y22/EBR0"},
            "site 'X4/Y22/EBR0' is given to m.ram.0.2, m.ram.0.10",
        ),
    ],
)
def test_illegal_locks_are_refused(
    design: MappedDesign, fabric: Fabric, locks: dict[str, str], message: str
) -> None:
    with pytest.raises(IllegalSolutionError, match=message.replace(".", r"\.")):
        check_locks(locks, design, fabric)


def test_locks_reach_the_tool_and_are_compared_with_what_it_did(design: MappedDesign, fabric: Fabric) -> None:
    locks = {"m.ram.0.2": "X4/Y22/EBR0", "m.ram.0.10": "X6/Y22/EBR1"}
    check_locks(locks, design, fabric)
    again = read_mapped(locked_json(design, locks), TOP, "locked")
    assert again.attributes("BEL") == locks
    assert design.attributes("BEL") == {}, "the design itself stays as it is"
    check_obeyed(locks, read_mapped(design.with_attributes("NEXTPNR_BEL", locks), TOP, "placed"))
    elsewhere = locks | {"m.ram.0.2": "X8/Y22/EBR2"}
    with pytest.raises(VerificationError, match=r"1 of 2 locks are not obeyed; the first is 'm\.ram\.0\.2'"):
        check_obeyed(locks, read_mapped(design.with_attributes("NEXTPNR_BEL", elsewhere), TOP, "placed"))


def test_a_cell_that_is_none_of_yosys_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"a\.json: cell 'a' needs a type, attributes by name, and connections"
    ):
        read_mapped('{"modules": {"top": {"cells": {"a": 1}}}}', TOP, "a.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"modules": {}}', '{"modules": {"top": {"cells": []}}}'])
def test_what_is_no_design_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"a\.json: is no JSON of yosys with module 'top'"):
        read_mapped(text, TOP, "a.json")


def test_mutated_designs_are_read_or_refused(fabric: Fabric) -> None:
    cells = {f"m{i}": _cell("DP16KD", i, 9) | {"attributes": {"src": "a"}} for i in range(3)} | {
        "l": _cell("LUT4", 1, "x")
    }
    text = json.dumps({"modules": {TOP: {"attributes": {"top": "1"}, "cells": cells}}})
    rng, refused, longest = random.Random(1), 0, 0
    for _ in range(10_000):
        try:
            changed = mutate(rng, text.encode()).decode("utf-8", "replace")
            mapped_netlist(read_mapped(changed, top_of(changed, "by hand"), "by hand"), fabric)
        except FoldwrightError as error:
            refused, longest = refused + 1, max(longest, len(str(error)))
    assert 2500 < refused < 10_000
    assert longest < 2000
