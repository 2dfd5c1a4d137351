"""Fabrics: the two real parts site by site, and a small grid solved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.errors import PartError
from foldwright.netlists.fabric import Fabric, Hole, SiteRule, expand_kinds, expand_range
from foldwright.netlists.part import load_part

__all__: list[str] = []

# Five columns, four rows:  C C B C D, tiles of column 0 on rows 2..3 taken out.
TINY = Fabric(
    columns="CLB*2 BRAM CLB DSP",
    rows="CLB*4",
    sites=(
        SiteRule("SLICE", "S_X{i}Y{j}", column="CLB", row="CLB", offsets=(0, 0), lut=4, ff=8),
        SiteRule("RAM", "R_X{i}Y{j}", column="BRAM", row="CLB", height=2, bram36=1),
        SiteRule("DSP", "D_X{i}Y{j}", column="DSP", row="CLB", height=4, stacked=2, dsp=1),
    ),
    holes=(Hole("CPU", "0", "2..3"),),
    region_columns=(0, 3),
    region_rows=(0, 2),
)


def fabric_of(name: str) -> Fabric:
    fabric = load_part(name).fabric
    assert fabric is not None
    return fabric


def test_tiny_fabric_lists_the_sites_found_by_hand() -> None:
    slices = TINY.table("SLICE")
    # Column 0: two slices abreast on rows 0..1 (the hole takes 2..3); columns 1 and 3: two on four rows each.
    assert len(slices) == 2 * 2 + 2 * 4 + 2 * 4
    assert slices.names[:4] == ("S_X0Y0", "S_X0Y1", "S_X1Y0", "S_X1Y1")
    assert slices.names[-1] == "S_X5Y3"  # counted as if column 0 had no hole
    assert TINY.table("RAM").names == ("R_X0Y0", "R_X0Y1")
    assert TINY.table("RAM").y.tolist() == [0, 2]
    assert TINY.table("DSP").names == ("D_X0Y0", "D_X0Y1")
    assert TINY.table("DSP").y.tolist() == [0, 2]
    assert [TINY.total(r) for r in ("lut", "ff", "bram36", "dsp")] == [80, 160, 2, 2]


def test_tiny_fabric_numbers_regions_row_by_row() -> None:
    assert TINY.region_names == ("X0Y0", "X1Y0", "X0Y1", "X1Y1")
    slices = TINY.table("SLICE")
    by_name = dict(zip(slices.names, slices.region.tolist(), strict=True))
    assert (by_name["S_X0Y0"], by_name["S_X4Y1"], by_name["S_X2Y2"], by_name["S_X5Y3"]) == (0, 1, 2, 3)


def test_hole_is_named_where_it_covers_and_nowhere_else() -> None:
    assert TINY.in_hole(0, 2) == "CPU"
    assert TINY.in_hole(0, 1) == "" == TINY.in_hole(1, 2)


def test_site_tables_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TINY.table("RAM").x[0] = 1


@pytest.mark.parametrize(
    ("part", "totals", "sites"),
    [
        # Data sheets DS190 and FPGA-DS-02012.
        ("xc7z020", (53_200, 106_400, 140, 220), {"SLICE": 13_300, "RAMB36": 140, "DSP48": 220}),
        ("lfe5u-85f", (83_640, 83_640, 208, 156), {"SLICE": 41_820, "EBR": 208, "MULT18": 156}),
    ],
)
def test_site_totals_are_the_data_sheets(part: str, totals: tuple[int, ...], sites: dict[str, int]) -> None:
    fabric = fabric_of(part)
    assert tuple(fabric.total(r) for r in ("lut", "ff", "bram36", "dsp")) == totals
    assert {kind: len(fabric.table(kind)) for kind in fabric.site_kinds} == sites


@pytest.mark.parametrize("part", ["xc7z020", "lfe5u-85f"])
def test_every_site_has_a_name_of_its_own_inside_the_grid_and_outside_holes(part: str) -> None:
    fabric = fabric_of(part)
    holed = {(x, y) for x in range(fabric.width) for y in range(fabric.height) if fabric.in_hole(x, y)}
    for kind in fabric.site_kinds:
        table = fabric.table(kind)
        assert len(set(table.names)) == len(table)
        assert min(table.x.min(), table.y.min()) >= 0
        assert table.x.max() < fabric.width
        assert table.y.max() < fabric.height
        assert not holed & set(zip(table.x.tolist(), table.y.tolist(), strict=True))


def reference_sites(
    reference: dict[str, Any], kind: str, key: str, per_region: int
) -> set[tuple[str, int, int]]:
    """Expands the reference's columns into (name, column, row) without the code under test."""
    found = set()
    for column in reference["columns"]:
        places = column.get(key, [])
        for i in places if isinstance(places, list) else [places]:
            for region in column["clock_regions_y"]:
                for n in range(per_region):
                    row = region * 50 + n * 50 // per_region
                    found.add((f"{kind}_X{i}Y{region * per_region + n}", column["x"], row))
    return found


@pytest.mark.parametrize(
    ("kind", "key", "per_region"),
    [("SLICE", "slice_x", 50), ("RAMB36", "ramb36_x", 10), ("DSP48", "dsp48_x", 20)],
)
def test_xc7z020_sites_equal_the_reference(
    kind: str, key: str, per_region: int, shared: Callable[[str], Path]
) -> None:
    reference = json.loads(shared("reference/xc7z020_columns.json").read_text())
    table = fabric_of("xc7z020").table(kind)
    ours = set(zip(table.names, table.x.tolist(), table.y.tolist(), strict=True))
    assert ours == reference_sites(reference, kind, key, per_region)


def test_ecp5_sites_equal_the_reference(shared: Callable[[str], Path]) -> None:
    reference = json.loads(shared("reference/ecp5_85k_sites.json").read_text())
    fabric = fabric_of("lfe5u-85f")
    assert set(fabric.table("MULT18").names) == set(reference["MULT18X18D"])
    # The reference could not derive the two blocks whose tile carries the clock multiplexer.
    assert set(fabric.table("EBR").names) - set(reference["EBR"]) == {"X69/Y22/EBR0", "X69/Y70/EBR0"}
    assert set(reference["EBR"]) <= set(fabric.table("EBR").names)
    for name, x, y in zip(
        *(lambda t: (t.names, t.x.tolist(), t.y.tolist()))(fabric.table("EBR")), strict=True
    ):
        assert name.startswith(f"X{x}/Y{y}/")
    assert len(np.unique(fabric.table("SLICE").y)) == reference["plc2_rows"]


def test_processor_hole_keeps_only_the_lower_clock_regions() -> None:
    fabric = fabric_of("xc7z020")
    slices = fabric.table("SLICE")
    inside = (slices.x >= 10) & (slices.x <= 32)
    assert slices.y[inside].max() == 49
    assert fabric.in_hole(10, 50) == "PS7" == fabric.in_hole(32, 149)


@pytest.mark.parametrize("kind", ["SLICES", "ramb36", ""])
def test_unknown_site_kind_names_the_known_ones(kind: str) -> None:
    with pytest.raises(PartError, match=r"no site is a .*known: DSP, RAM, SLICE"):
        TINY.table(kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clb*4", "'clb\\*4' is no run"),  # kinds are upper case
        ("CLB*", "'CLB\\*' is no run"),
        ("", "no columns or rows given"),
        ("CLB*9999", "more than 2048"),
    ],
)
def test_bad_kinds_are_refused(text: str, message: str) -> None:
    with pytest.raises(PartError, match=message):
        expand_kinds(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5..4", "empty"),
        ("1..9/0", "empty"),
        ("0..4000", "empty or leaves"),
        ("4, 3", "not ascending"),
        ("3, 3", "names a number twice"),
        ("-1", "is not a range"),
        ("", "is not a range"),
    ],
)
def test_bad_ranges_are_refused(text: str, message: str) -> None:
    with pytest.raises(PartError, match=message):
        expand_range(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region_columns": (1,)}, "must ascend from 0"),
        ({"region_rows": (0, 9)}, "stay below 4"),
        ({"y_grows": "left"}, "allowed are 'up' and 'down'"),
        ({"holes": (Hole("CPU", "0..9", "0"),)}, "hole 'CPU' leaves the grid of 5 columns and 4 rows"),
        ({"columns": "CLB*2 BRAMM CLB DSP"}, "no column is a 'BRAM'; did you mean 'BRAMM'?"),
        ({"rows": "IO*4"}, "no row is a 'CLB'"),
    ],
)
def test_bad_fabrics_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PartError, match=message):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "S{q}"}, "holds other marks"),
        ({"name": "S{x.__class__}"}, "holds other marks"),  # a template reaches no attribute
        ({"name": "S{x"}, "holds other marks"),
        ({"column": ""}, "not both and not neither"),
        ({"at": "1"}, "not both and not neither"),
        ({"height": 0}, "must be positive"),
        ({"offsets": ()}, "allowed are up to 16"),
        ({"lut": -1}, "must not be negative"),
    ],
)
def test_bad_site_rules_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PartError, match=message):
        replace(TINY.sites[0], **fields)


def test_a_grid_with_too_many_sites_is_refused_before_it_is_built() -> None:
    rule = SiteRule("S", "{x}{y}", column="CLB", row="CLB", stacked=16)
    with pytest.raises(PartError, match="more than 1048576 sites"):
        Fabric(columns="CLB*2048", rows="CLB*2048", sites=(rule,))
