"""Placements: wirelength against a naive count, the JSON form, and a referee that refuses each kind of illegality."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from foldwright.errors import ConfigError, FoldwrightError, IllegalSolutionError, InfeasibleError
from foldwright.netlists import placement as module
from foldwright.netlists.fabric import (
    Fabric,
    FabricError,
    SiteTable,
    cluster_capacity,
    grid_fabric,
    placement_kinds,
    placement_sites,
)
from foldwright.netlists.generators import random_logic, systolic_array
from foldwright.netlists.netlist import Netlist, build_netlist
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import (
    Placement,
    check_placement,
    coordinates,
    hpwl,
    placement_from_json,
    placement_to_json,
    require_fit,
    site_names,
)

__all__: list[str] = []

GRID = grid_fabric(8, 10)  # columns 3 (DSP) and 6 (BRAM), the rest CLB


def fabric_of(part: str) -> Fabric:
    fabric = load_part(part).fabric
    assert fabric is not None
    return fabric


def tiny() -> Netlist:
    cells = [("a", "CLB", ""), ("b", "CLB", ""), ("m", "DSP", ""), ("r", "BRAM", "")]
    return build_netlist("tiny", cells, [(["a", "b"], 3), (["a", "m", "r"], 2), (["b", "r"], 1)])


def at(netlist: Netlist, fabric: Fabric, names: list[str]) -> Placement:
    index = [placement_sites(fabric, netlist.kind_of(c)).names.index(n) for c, n in enumerate(names)]
    return Placement(np.array(index))


def scattered(netlist: Netlist, fabric: Fabric, seed: int = 0) -> Placement:
    """Returns a legal placement: every kind's cells on random sites."""
    rng, site = np.random.default_rng(seed), np.empty(netlist.cells, dtype=np.int32)
    for k, kind in enumerate(netlist.kinds):
        mine = np.flatnonzero(netlist.cell_kind == k)
        site[mine] = rng.permutation(len(placement_sites(fabric, kind)))[: len(mine)]
    return Placement(site)


TINY_SITES = ["CLB_X0Y0", "CLB_X2Y7", "DSP_X3Y4", "BRAM_X6Y5"]


def test_tiny_wirelength_is_the_one_counted_by_hand() -> None:
    placement = at(tiny(), GRID, TINY_SITES)
    x, y = coordinates(tiny(), GRID, placement)
    assert (x.tolist(), y.tolist()) == ([0, 2, 3, 6], [0, 7, 4, 5])
    # a-b: 3 * (2 + 7); a-m-r: 2 * (6 + 5); b-r: 1 * (4 + 2)
    assert hpwl(tiny(), GRID, placement) == 27 + 22 + 6
    assert site_names(tiny(), GRID, placement) == TINY_SITES
    check_placement(tiny(), GRID, placement)


def test_a_netlist_without_nets_has_no_wirelength() -> None:
    lone = build_netlist("lone", [("a", "CLB", "")], [])
    assert hpwl(lone, GRID, Placement(np.array([5]))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_wirelength_equals_a_naive_count(seed: int) -> None:
    netlist, fabric = random_logic(np.random.default_rng(seed), 600), grid_fabric(40, 60)
    placement = scattered(netlist, fabric, seed)
    places = [
        (int(t.x[s]), int(t.y[s]))
        for c, s in enumerate(placement.site)
        for t in [placement_sites(fabric, netlist.kind_of(c))]
    ]
    total = 0
    for j in range(netlist.nets):
        xs, ys = zip(*(places[c] for c in netlist.cells_of(j)), strict=True)
        total += int(netlist.net_weights[j]) * (max(xs) - min(xs) + max(ys) - min(ys))
    assert hpwl(netlist, fabric, placement) == total
    check_placement(netlist, fabric, placement)


@pytest.mark.parametrize(
    ("part", "kinds", "capacity"),
    [
        ("xc7z020", {"CLB": 6_650, "RAMB36": 140, "DSP48": 220}, (8, 16)),  # 13,300 slices, two a tile
        ("lfe5u-85f", {"CLB": 10_455, "EBR": 208, "MULT18": 156}, (8, 8)),  # 41,820 slices, four a tile
    ],
)
def test_clusters_take_the_logic_tiles_of_the_real_parts(
    part: str, kinds: dict[str, int], capacity: tuple[int, int]
) -> None:
    fabric = fabric_of(part)
    assert {kind: len(placement_sites(fabric, kind)) for kind in placement_kinds(fabric)} == kinds
    assert cluster_capacity(fabric) == capacity
    table = placement_sites(fabric, "CLB")
    assert table.names[0] == f"CLB_X{table.x[0]}Y{table.y[0]}"
    assert (
        len(set(table.names)) == len(table) == len(set(zip(table.x.tolist(), table.y.tolist(), strict=True)))
    )
    for kind in kinds:
        assert all(
            not fabric.in_hole(int(x), int(y)) for x, y in set(zip(*_tiles(fabric, kind), strict=True))
        )


def _tiles(fabric: Fabric, kind: str) -> tuple[list[int], list[int]]:
    table = placement_sites(fabric, kind)
    return table.x.tolist()[::37], table.y.tolist()[::37]


def test_slices_are_not_placed_one_by_one() -> None:
    with pytest.raises(FabricError, match="nothing is placed on a 'SLICE'"):
        placement_sites(fabric_of("xc7z020"), "SLICE")


def test_grid_has_the_columns_of_the_prototype() -> None:
    # x % 8 == 3: DSP sites two tall; x % 8 == 6: BRAM sites five tall; else one CLB a tile.
    expected = {
        (kind, x, y)
        for x in range(40)
        for kind, step in [("DSP", 2) if x % 8 == 3 else ("BRAM", 5) if x % 8 == 6 else ("CLB", 1)]
        for y in range(0, 60, step)
    }
    grid = grid_fabric(40, 60)
    found = {
        (kind, x, y)
        for kind in placement_kinds(grid)
        for table in [placement_sites(grid, kind)]
        for x, y in zip(table.x.tolist(), table.y.tolist(), strict=True)
    }
    assert found == expected
    assert len(expected) == 1800 + 150 + 60


@pytest.mark.parametrize("args", [(6, 60), (40, 4), (5000, 60), (40, 60, 3), (40, 60, 8, 0)])
def test_bad_grids_are_refused(args: tuple[int, ...]) -> None:
    with pytest.raises(FabricError, match=r"allowed are 7\.\.2048 x 5\.\.2048 tiles"):
        grid_fabric(*args)


def test_json_reads_back_equal_on_grid_and_part() -> None:
    netlist = tiny()
    placement = at(netlist, GRID, TINY_SITES)
    text = placement_to_json(netlist, GRID, placement)
    assert json.loads(text) == {
        "format": "foldwright.placement/1",
        "netlist": "tiny",
        "sites": dict(zip("abmr", TINY_SITES, strict=True)),
    }
    assert placement_from_json(netlist, GRID, text, "here") == placement
    assert placement != at(netlist, GRID, ["CLB_X0Y1", *TINY_SITES[1:]])


def on_part(part: str, ram: str, dsp: str) -> tuple[Netlist, Fabric]:
    kinds = {"BRAM": ram, "DSP": dsp}
    base = systolic_array(np.random.default_rng(0), 4, 4, 6)
    return replace(base, kinds=tuple(kinds.get(k, k) for k in base.kinds)), fabric_of(part)


@pytest.mark.parametrize(
    ("part", "ram", "dsp"), [("xc7z020", "RAMB36", "DSP48"), ("lfe5u-85f", "EBR", "MULT18")]
)
def test_legal_placements_on_the_real_parts_pass_and_read_back(part: str, ram: str, dsp: str) -> None:
    netlist, fabric = on_part(part, ram, dsp)
    for seed in range(3):
        placement = scattered(netlist, fabric, seed)
        check_placement(netlist, fabric, placement)
        assert (
            placement_from_json(netlist, fabric, placement_to_json(netlist, fabric, placement), "h")
            == placement
        )


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ([0, 0, 0, 0], "site CLB_X0Y0 holds 2 cells: 'a', 'b'"),
        ([0, 1, 0], "the placement has 3 sites, netlist 'tiny' has 4 cells"),
        ([0, 60, 0, 0], "cell 'b' is on site 60, but sites of kind 'CLB' are 0..59; 1 such cells"),
        ([0, 1, 5, 0], "cell 'm' is on site 5, but sites of kind 'DSP' are 0..4"),
        ([0, -1, 0, 0], "cell 'b' is on site -1"),
    ],
)
def test_illegal_sites_are_refused(site: list[int], message: str) -> None:
    with pytest.raises(IllegalSolutionError, match=message.replace("[", "\\[")):
        check_placement(tiny(), GRID, Placement(np.array(site)))


def moved(table: SiteTable, x: int, y: int) -> SiteTable:
    """Returns a table whose first site lies elsewhere: what a wrong table of sites would say."""
    xs, ys = table.x.copy(), table.y.copy()
    xs[0], ys[0] = x, y
    return SiteTable(table.kind, table.names, xs, ys, table.region)


@pytest.mark.parametrize(
    ("kind", "tile", "message"),
    [
        ("CLB", (10, 50), r"tile \(10, 50\) lies in the hole 'PS7'"),
        ("RAMB36", (32, 149), r"tile \(32, 149\) lies in the hole 'PS7'"),
        ("CLB", (6, 3), r"tile \(6, 3\) in column BRAM, row CLB takes no CLB"),
        ("RAMB36", (2, 0), r"tile \(2, 0\) in column CLB, row CLB takes no RAMB36"),
        ("DSP48", (0, 0), r"tile \(0, 0\) in column IOB, row CLB takes no DSP48"),
        ("CLB", (74, 0), r"tile \(74, 0\) leaves the grid of 74 columns and 150 rows"),
        ("CLB", (2, -1), r"tile \(2, -1\) leaves the grid"),
    ],
)
def test_referee_trusts_no_table_of_sites(
    kind: str, tile: tuple[int, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = fabric_of("xc7z020")
    netlist = build_netlist("one", [("c", kind, "")], [])
    check_placement(netlist, fabric, Placement(np.array([0])))
    wrong: Callable[[Fabric, str], SiteTable] = lambda f, k: moved(placement_sites(f, k), *tile)  # noqa: E731
    monkeypatch.setattr(module, "placement_sites", wrong)
    with pytest.raises(IllegalSolutionError, match=message):
        check_placement(netlist, fabric, Placement(np.array([0])))


def test_many_illegal_cells_take_few_lines() -> None:
    netlist, fabric = random_logic(np.random.default_rng(0), 500, block_share=0), grid_fabric(40, 60)
    site = np.arange(500, dtype=np.int32) // 2
    with pytest.raises(IllegalSolutionError) as caught:
        check_placement(netlist, fabric, Placement(site))
    assert len(str(caught.value).splitlines()) == 7
    assert str(caught.value).endswith("and 244 more")
    assert caught.value.exit_code == 3


def test_a_placement_has_one_dimension() -> None:
    with pytest.raises(ConfigError, match="one site for each cell"):
        Placement(np.zeros((2, 2), dtype=np.int32))


def test_a_netlist_that_does_not_fit_says_which_kind_and_how_many_over() -> None:
    netlist = systolic_array(np.random.default_rng(0), 3, 3, 8)
    with pytest.raises(InfeasibleError) as caught:
        require_fit(netlist, GRID)
    assert str(caught.value) == (
        "netlist 'systolic-3x3x8' does not fit: 9 cells need BRAM sites, the fabric has 2: 7 over; "
        "9 cells need DSP sites, the fabric has 5: 4 over; 73 cells need CLB sites, the fabric has 60: 13 over; "
        "take a larger part or a smaller design"
    )
    assert caught.value.exit_code == 3
    require_fit(tiny(), GRID)


def test_a_kind_that_the_fabric_lacks_is_named_with_the_nearest() -> None:
    with pytest.raises(
        InfeasibleError, match=r"1 cells .* need sites of kind 'DSP', .* did you mean 'DSP48'\?"
    ):
        require_fit(tiny(), fabric_of("xc7z020"))


def text_of(**changes: object) -> str:
    sites = dict(zip("abmr", TINY_SITES, strict=True))
    return json.dumps({"format": "foldwright.placement/1", "netlist": "tiny", "sites": sites, **changes})


GOOD = dict(zip("abmr", TINY_SITES, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "format is None, but 'foldwright.placement/1' is needed"),
        (text_of(netlist="other"), "places netlist 'other', but netlist 'tiny' is given"),
        (text_of(sites={**GOOD, "a": 3}), "the site of cell 'a' must be a name, got 3"),
        (text_of(sites=[]), "sites must be an object of cell names and site names, got []"),
        (text_of(format="x" * 10**6), "format is 'xxxxxxxxxxxx"),
        (text_of(sites={"a": "CLB_X0Y0"}), "3 cells have no site, the first is 'b'"),
        (text_of(sites={**GOOD, "aa": "CLB_X0Y1"}), "no cell is named 'aa'; did you mean 'a'?"),
        (
            text_of(sites={**GOOD, "a": "CLB_X0Y99"}),
            "cell 'a': no CLB site is named 'CLB_X0Y99'; did you mean",
        ),
        (text_of(sites={**GOOD, "a": "DSP_X3Y4"}), "cell 'a': no CLB site is named 'DSP_X3Y4'"),
        (text_of().replace('"a": ', '"b": "CLB_X0Y0", "a": '), "key 'b' stands twice"),
        (text_of(moves=1), "'moves' is no key of a placement; known: format, netlist, sites"),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(FoldwrightError) as caught:
        placement_from_json(tiny(), GRID, text, "p.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("p.json")
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 10
