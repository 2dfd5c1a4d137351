"""VPR's files: grids and netlists by hand, what VPR itself wrote, wrong files, and mutated ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from foldwright.errors import ConfigError, FoldwrightError, IllegalSolutionError, InfeasibleError
from foldwright.netlists.placement import check_placement, hpwl
from foldwright.netlists.vpr.arch import VprArch, read_arch
from foldwright.netlists.vpr.packed import PackedNetlist, read_packed
from foldwright.netlists.vpr.place import placement_to_vpr, read_vpr_placement, vpr_grid_size
from tests.netlists.vpr_samples import ARCH, NET, PLACE_HEAD, block, mutate, net, write

VPR_ARCH = "reference/vpr/k6_frac_N10_frac_chain_mem32K_40nm.xml.gz"
SIDES = {"s4": 26, "s8": 48, "clma": 30}
BLOCKS = {
    "s4": {"memory": 5, "clb": 48, "mult_36": 16, "io": 15},
    "s8": {"memory": 10, "clb": 173, "mult_36": 64, "io": 19},
    "clma": {"clb": 575, "io": 144},
}


@pytest.fixture(name="arch")
def _arch(tmp_path: Path) -> VprArch:
    return read_arch(write(tmp_path, "hand.xml", ARCH))


@pytest.fixture(name="packed")
def _packed(tmp_path: Path, arch: VprArch) -> PackedNetlist:
    return read_packed(write(tmp_path, "hand.net.gz", NET), arch)


def test_a_grid_has_a_ring_and_columns_of_whole_tiles(arch: VprArch) -> None:
    fabric = arch.fabric(9, 9)
    assert fabric.columns == "IO*1 CLB*1 MEM*1 CLB*3 MEM*1 CLB*1 IO*1"
    assert len(fabric.table("IO")) == 4 * 7 * 2  # sides without corners, two a tile
    memories = fabric.table("MEM")
    assert sorted(zip(memories.x.tolist(), memories.y.tolist(), strict=True)) == [
        (2, 1),
        (2, 4),
        (6, 1),
        (6, 4),
    ]
    assert len(fabric.table("CLB")) == 5 * 7
    top = [
        name
        for name, y in zip(fabric.table("IO").names, fabric.table("IO").y.tolist(), strict=True)
        if y == 8
    ]
    assert top[:3] == ["IO_X1Y8S0", "IO_X1Y8S1", "IO_X2Y8S0"]


def test_the_smallest_grid_is_the_first_square_with_room(arch: VprArch) -> None:
    assert arch.smallest({"clb": 1, "io": 1}) == (3, 3)
    assert arch.smallest({"ram": 1}) == (5, 5)  # three rows within the ring
    assert arch.smallest({"ram": 3}) == (
        8,
        8,
    )  # a second column at 6, which must not be the ring; two in each
    assert arch.smallest({"io": 17}) == (5, 5)  # 4 x 3 tiles of two
    with pytest.raises(InfeasibleError, match="no grid of up to 2048 x 2048"):
        arch.smallest({"io": 10**6})


@pytest.mark.parametrize("name", SIDES)
def test_grids_blocks_and_placements_are_those_of_vpr(name: str, shared: Callable[[str], Path]) -> None:
    arch = read_arch(shared(VPR_ARCH))
    packed = read_packed(shared(f"reference/vpr/{name}.net.gz"), arch)
    place = shared(f"reference/vpr/{name}.place")
    assert packed.needed() == BLOCKS[name]
    assert arch.smallest(packed.needed()) == vpr_grid_size(place) == (SIDES[name], SIDES[name])
    fabric = arch.fabric(SIDES[name], SIDES[name])
    placement = read_vpr_placement(place, packed, fabric)
    check_placement(packed.netlist, fabric, placement)
    assert placement_to_vpr(packed, fabric, placement) == place.read_text()


def test_nets_join_the_driver_and_all_blocks_that_read_it(packed: PackedNetlist) -> None:
    netlist = packed.netlist
    names = netlist.cell_names
    assert names == ("a", "clk", "x", "y", "m", "out:y")
    assert netlist.kinds == ("IO", "CLB", "MEM")
    assert packed.block_types == ("io", "io", "clb", "clb", "ram", "io")
    nets = {
        tuple(names[c] for c in netlist.cells_of(j)): int(netlist.net_weights[j]) for j in range(netlist.nets)
    }
    assert nets == {
        ("a", "x", "y"): 1,
        ("x", "y", "m"): 1,
        ("x", "y"): 1,
        ("y", "m", "out:y"): 1,
        ("x", "m"): 1,
    }


def test_a_placement_comes_back_as_it_was_written(
    packed: PackedNetlist, arch: VprArch, tmp_path: Path
) -> None:
    fabric = arch.fabric(6, 6)
    lines = "a 1 0 1 0\nclk\t1\t0\t0\t0\t#1\nx 1 1 0 0\n\n# a remark\ny 1 2 0\nm 2 1 0 0\nout:y 0 2 1 0\n"
    head = PLACE_HEAD.format(id=packed.file_id, width=6, height=6)
    placement = read_vpr_placement(write(tmp_path, "hand.place", head + lines), packed, fabric)
    check_placement(packed.netlist, fabric, placement)
    # a 1+2, x-y-m 1+1, x-y 1, y-m-out 2+1, x-m 1
    assert hpwl(packed.netlist, fabric, placement) == 2 + 2 + 1 + 3 + 1
    text = placement_to_vpr(packed, fabric, placement)
    again = read_vpr_placement(write(tmp_path, "again.place", text), packed, fabric)
    assert again.site.tolist() == placement.site.tolist()
    assert "out:y\t\t0\t2\t1\t0\t#5\n" in text


WRONG_ARCHS = {
    "not an arch": ("<a/>", "no tiles found"),
    "no layout": (ARCH.replace("auto_layout", "fixed_layout"), "no automatic layout found"),
    "cut off": (ARCH[:300], r"line \d+: not well-formed XML: .*is the file whole"),
    "doctype": ('<!DOCTYPE a [<!ENTITY b "c">]>' + ARCH, "declares a document type"),
    "unknown tile": (
        ARCH.replace('<fill type="clb"', '<fill type="clv"'),
        "<fill> names tile 'clv'; .*'clb'",
    ),
    "a region": (ARCH.replace("<fill ", "<region "), "a layout with <region> is not read"),
    "another key": (
        ARCH.replace('repeatx="4" priority="20"', 'repeaty="4" priority="20"'),
        "repeaty='4', which is not read",
    ),
    "a formula": (
        ARCH.replace('startx="2" starty="1" repeatx="4" priority="20"', 'startx="W/2" priority="20"'),
        "startx='W/2'",
    ),
    "wide": (ARCH.replace('name="mem" height="3"', 'name="mem" width="2"'), "more than one column wide"),
    "twice": (ARCH.replace('<tile name="clb">', '<tile name="IO">'), "share a name but for capitals"),
}


@pytest.mark.parametrize("case", WRONG_ARCHS)
def test_a_wrong_architecture_is_refused(case: str, tmp_path: Path) -> None:
    text, message = WRONG_ARCHS[case]
    with pytest.raises(ConfigError, match=message):
        read_arch(write(tmp_path, "wrong.xml", text))


WRONG_NETS = {
    "another file": ("<netlist/>", "begins with <netlist>"),
    "another block": (NET.replace("FPGA_packed_netlist[0]", "clb[0]"), "outermost block is 'clb.0.'"),
    "cut off": (NET[:700], "not well-formed XML"),
    "no type": (net(block("a", "clb", "open", "a")), "needed are a name and an instance such as clb"),
    "unknown type": (net(block("a", "clv[0]", "open", "a")), "no tile takes a block of type 'clv'; .*'clb'"),
    "no driver": (
        net(block("x", "clb[0]", "y", "x")),
        "1 nets have no driver, the first is 'y', read by block 'x'",
    ),
    "two drivers": (
        net(block("x", "clb[0]", "open", "n"), block("y", "clb[1]", "open", "n")),
        "net 'n' is driven by blocks 'x' and 'y'",
    ),
    "same name": (
        net(block("x", "clb[0]", "open", "n"), block("x", "clb[1]", "n", "o")),
        "block 'x' stands twice",
    ),
    "nothing": (net(), "no cells"),
}


@pytest.mark.parametrize("case", WRONG_NETS)
def test_a_wrong_netlist_is_refused(case: str, arch: VprArch, tmp_path: Path) -> None:
    text, message = WRONG_NETS[case]
    with pytest.raises(ConfigError, match=message):
        read_packed(write(tmp_path, "wrong.net", text), arch)


def test_files_that_cannot_be_unpacked_or_found_are_refused(arch: VprArch, tmp_path: Path) -> None:
    whole = write(tmp_path, "hand.net.gz", NET).read_bytes()
    (tmp_path / "cut.net.gz").write_bytes(whole[:-20])
    (tmp_path / "no.net.gz").write_bytes(NET.encode())
    for name in ("cut.net.gz", "no.net.gz"):
        with pytest.raises(ConfigError, match="not a whole gzip file"):
            read_packed(tmp_path / name, arch)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_packed(tmp_path / "none.net", arch)


LINES = "a 1 0 1 0\nclk 1 0 0 0\nx 1 1 0 0\ny 1 2 0 0\nm 2 1 0 0\nout:y 0 2 1 0\n"
HEAD = PLACE_HEAD.format(id="-", width=6, height=6)
WRONG_PLACES = {
    "another netlist": (
        PLACE_HEAD.format(id="SHA256:00", width=6, height=6) + LINES,
        "is for a netlist of sum SHA256:00",
    ),
    "another grid": (PLACE_HEAD.format(id="-", width=7, height=6) + LINES, "is for a grid of 7 x 6"),
    "no head": (LINES, "line 1 is not"),
    "unknown block": (
        PLACE_HEAD.format(id="-", width=6, height=6) + LINES.replace("out:y", "out:z"),
        "named 'out:z'.*'out:y'",
    ),
    "a word": (
        PLACE_HEAD.format(id="-", width=6, height=6) + LINES.replace("m 2 1", "m 2 one"),
        "line 8: '2 one 0 0' behind",
    ),
    "twice": (
        PLACE_HEAD.format(id="-", width=6, height=6) + LINES + "x 1 1 0 0\n",
        "block 'x' is placed twice",
    ),
    "not there": (
        PLACE_HEAD.format(id="-", width=6, height=6) + LINES.replace("m 2 1", "m 2 2"),
        r"at \(2, 2, 0\), where no MEM",
    ),
    "missing": (
        PLACE_HEAD.format(id="-", width=6, height=6) + LINES.replace("m 2 1 0 0\n", ""),
        "1 blocks have no place",
    ),
}


@pytest.mark.parametrize("case", WRONG_PLACES)
def test_a_wrong_placement_is_refused(
    case: str, packed: PackedNetlist, arch: VprArch, tmp_path: Path
) -> None:
    text, message = WRONG_PLACES[case]
    with pytest.raises(ConfigError, match=message):
        read_vpr_placement(write(tmp_path, "wrong.place", text), packed, arch.fabric(6, 6))


def test_two_blocks_on_one_place_are_for_the_referee(
    packed: PackedNetlist, arch: VprArch, tmp_path: Path
) -> None:
    text = PLACE_HEAD.format(id="-", width=6, height=6) + LINES.replace("y 1 2", "y 1 1")
    placement = read_vpr_placement(write(tmp_path, "wrong.place", text), packed, arch.fabric(6, 6))
    with pytest.raises(IllegalSolutionError, match="site CLB_X1Y1 holds 2 cells: 'x', 'y'"):
        check_placement(packed.netlist, arch.fabric(6, 6), placement)


MUTATED = 10_000


@pytest.mark.parametrize("what", ["arch", "net", "place"])
def test_mutated_files_are_read_or_refused(
    what: str, arch: VprArch, packed: PackedNetlist, tmp_path: Path
) -> None:
    rng, refused, longest = random.Random(1), 0, 0
    fabric = arch.fabric(6, 6)
    text = {
        "arch": ARCH,
        "net": NET,
        "place": PLACE_HEAD.format(id=packed.file_id, width=6, height=6) + LINES,
    }[what]
    file = tmp_path / "mutated.bin"
    for _ in range(MUTATED):
        file.write_bytes(mutate(rng, text.encode()))
        try:
            if what == "arch":
                read_arch(file).fabric(9, 8)
            elif what == "net":
                read_packed(file, arch)
            else:
                check_placement(packed.netlist, fabric, read_vpr_placement(file, packed, fabric))
        except FoldwrightError as error:
            refused, longest = refused + 1, max(longest, len(str(error)))
    assert MUTATED / 4 < refused < MUTATED
    assert longest < 2000
