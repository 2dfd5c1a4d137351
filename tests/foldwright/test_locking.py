"""Every way of locking gives each block RAM a site of its own; near a placement, wires only get shorter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foldwright.errors import InputError
from foldwright.locking import locks_by_netlist, locks_by_plan, locks_near
from foldwright.netlists.locks import check_locks
from foldwright.netlists.mapped import MappedDesign, read_mapped
from foldwright.netlists.part import load_part

PART = "lfe5u-85f"


@pytest.fixture(name="design")
def _design() -> MappedDesign:
    """Three RAMs in a row, each with a LUT of its own, joined by two wires."""
    cells: dict[str, dict[str, Any]] = {}
    for k in range(3):
        cells[f"core.e.own.0.{k}"] = {
            "type": "DP16KD",
            "connections": {"A": [k, k + 1], "D": [10 + k, 20 + k]},
        }
        cells[f"l{k}"] = {"type": "LUT4", "connections": {"A": [10 + k], "Z": [20 + k]}}
    return read_mapped(json.dumps({"modules": {"top": {"cells": cells}}}), "top", "by hand")


def test_the_placer_gives_every_cell_a_site(design: MappedDesign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldwright.locking._PROPOSALS", 20_000)
    fabric = load_part(PART).fabric
    assert fabric is not None
    locks = locks_by_netlist(design, PART, seed=3)
    check_locks(locks, design, fabric)
    assert set(locks) == set(design.lockable)
    assert locks_by_netlist(design, PART, seed=3) == locks


def test_the_plan_gives_its_sites_in_the_order_of_names(design: MappedDesign) -> None:
    rows = [
        {"memories": ["e/own"], "sites": ["X4/Y22/EBR0", "X6/Y22/EBR1"]},
        {"memories": ["e/o"], "sites": ["X8/Y22/EBR2"]},
    ]
    assert locks_by_plan(design, rows, "core") == {
        "core.e.own.0.0": "X4/Y22/EBR0",
        "core.e.own.0.1": "X6/Y22/EBR1",
    }


def test_cells_move_to_what_they_are_joined_with(design: MappedDesign) -> None:
    """The LUTs stand at the far right; the RAMs, placed at the left, all move there."""
    sites = {f"core.e.own.0.{k}": f"X{4 + 2 * k}/Y22/EBR{k}" for k in range(3)}
    sites |= {f"l{k}": f"X110/Y{46 + k}/SLICEA.LUT0" for k in range(3)}
    placed = read_mapped(design.with_attributes("NEXTPNR_BEL", sites), "top", "placed")
    locks = locks_near(design, placed, PART)
    assert len(set(locks.values())) == 3
    assert all(int(site[1:].partition("/")[0]) > 100 and "/Y46/" in site for site in locks.values()), locks


def test_a_placement_without_a_site_is_refused(design: MappedDesign) -> None:
    with pytest.raises(InputError, match=r"no site for 'core\.e\.own\.0\.0'"):
        locks_near(design, design, PART)
