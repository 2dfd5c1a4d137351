"""`foldwright place`: files of VPR and ours in, placements in the same form out, never worse than the one given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from foldwright.cli import main
from foldwright.netlists.fabric import grid_fabric
from foldwright.netlists.generators import systolic_array
from foldwright.netlists.netlist import netlist_from_json
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import check_placement, hpwl, placement_from_json
from foldwright.netlists.vpr.arch import read_arch
from foldwright.netlists.vpr.packed import read_packed
from foldwright.netlists.vpr.place import read_vpr_placement
from tests.netlists.vpr_samples import ARCH, NET, PLACE_HEAD, write

VPR = "reference/vpr"
BEST = "a 1 0 0 0\nclk 1 0 1 0\nx 1 1 0 0\ny 1 2 0 0\nm 2 1 0 0\nout:y 0 2 0 0\n"


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str]:
    return str(write(tmp_path, "hand.net", NET)), str(write(tmp_path, "hand.xml", ARCH))


def placed_length(folder: Path, place: Path, side: int = 6) -> int:
    arch = read_arch(folder / "hand.xml")
    packed, fabric = read_packed(folder / "hand.net", arch), arch.fabric(side, side)
    placement = read_vpr_placement(place, packed, fabric)
    check_placement(packed.netlist, fabric, placement)
    return hpwl(packed.netlist, fabric, placement)


def test_a_packed_netlist_gets_a_placement_and_a_picture(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "my.place", tmp_path / "my.svg"
    options = ["--deterministic", "2000", "--out", str(out), "--picture", str(picture)]
    assert main(["place", files[0], "--fabric", files[1] + "@6x6", *options]) == 0
    told = capsys.readouterr().out
    length = placed_length(tmp_path, out)
    assert f"after     {length:,} tiles; no placement has less than" in told
    assert "3 IO, 2 CLB, 1 MEM; 5 nets of 5 wires" in told
    assert "before" not in told
    drawing = ElementTree.fromstring(picture.read_text())
    assert drawing.tag.endswith("svg")
    assert "6 cells on 6 columns and 6 rows" in drawing.attrib["aria-label"]
    first = out.read_text()
    assert main(["place", files[0], "--fabric", files[1] + "@6x6", *options]) == 0
    assert out.read_text() == first


def test_the_start_is_kept_where_nothing_better_is_found(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = read_packed(tmp_path / "hand.net", read_arch(tmp_path / "hand.xml"))
    start = write(tmp_path, "start.place", PLACE_HEAD.format(id=packed.file_id, width=6, height=6) + BEST)
    out = tmp_path / "my.place"
    options = ["--start", str(start), "--solver", "random", "--deterministic", "1", "--out", str(out)]
    assert main(["place", files[0], "--fabric", files[1], *options]) == 0
    told = capsys.readouterr().out
    before = placed_length(tmp_path, start)
    assert f"before    {before:,} tiles ({start})" in told
    assert f"after     {before:,} tiles, the start: nothing better was found" in told
    assert placed_length(tmp_path, out) == before


def test_the_grid_is_the_smallest_unless_said(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my.place"
    assert main(["place", files[0], "--fabric", files[1], "--deterministic", "50", "--out", str(out)]) == 0
    assert "hand.xml@5x5, 5 columns, 5 rows" in capsys.readouterr().out
    assert placed_length(tmp_path, out, 5) > 0


@pytest.mark.parametrize("name", ["s8", "clma"])
def test_a_few_thousand_proposals_beat_the_placement_of_vpr_on_systolic_arrays(
    name: str, shared: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch, net = (
        shared(f"{VPR}/{file}") for file in ("k6_frac_N10_frac_chain_mem32K_40nm.xml.gz", f"{name}.net.gz")
    )
    start, out = shared(f"{VPR}/{name}.place"), tmp_path / "my.place"
    options = ["--start", str(start), "--deterministic", "200000", "--out", str(out)]
    assert main(["place", str(net), "--fabric", str(arch), *options]) == 0
    packed = read_packed(net, read_arch(arch))
    fabric = read_arch(arch).fabric(
        *map(int, out.read_text().split("Array size: ")[1].split(" logic")[0].split(" x "))
    )
    mine, its = (read_vpr_placement(path, packed, fabric) for path in (out, start))
    check_placement(packed.netlist, fabric, mine)
    lengths = [hpwl(packed.netlist, fabric, placement) for placement in (mine, its)]
    assert lengths[0] <= lengths[1]
    assert (
        name != "s8" or lengths[0] < 0.8 * lengths[1]
    )  # half of them multipliers, whose columns VPR hardly leaves


def test_a_netlist_of_ours_gets_a_placement_of_ours(tmp_path: Path) -> None:
    netlist = systolic_array(np.random.default_rng(0), 2, 2, 3)
    file, out = write(tmp_path, "array.json", netlist.to_json()), tmp_path / "my.json"
    options = ["--fabric", "grid-20x20", "--deterministic", "500", "--out", str(out)]
    assert main(["place", str(file), *options]) == 0
    again = netlist_from_json(file.read_text(), "")
    check_placement(
        again, grid_fabric(20, 20), placement_from_json(again, grid_fabric(20, 20), out.read_text(), "")
    )
    assert json.loads(out.read_text())["netlist"] == netlist.name


def mapped(top: str = "1") -> str:
    """Returns a design as yosys maps it to an ECP5: two RAMs that share an address bit, each with a LUT, and a clock."""

    def cell(kind: str, *bits: int | str) -> dict[str, object]:
        return {"type": kind, "attributes": {"src": "here"}, "connections": {"X": list(bits)}}

    cells = {
        "ram.0": cell("DP16KD", 0, 9, 1),
        "ram.1": cell("DP16KD", 0, 9, 2),
        "a": cell("LUT4", 1, 3, "0"),
        "b": cell("LUT4", 2, 4, "x"),
    }
    other: dict[str, object] = {"attributes": {}, "cells": {}}
    return json.dumps(
        {"creator": "Yosys", "modules": {"box": other, "chip": {"attributes": {"top": top}, "cells": cells}}}
    )


def test_a_design_of_yosys_gets_its_own_json_back_with_sites_on_its_memories(tmp_path: Path) -> None:
    file, out = write(tmp_path, "chip.json", mapped()), tmp_path / "placed.json"
    options = ["--fabric", "lfe5u-85f", "--deterministic", "300", "--out", str(out)]
    assert main(["place", str(file), *options]) == 0
    before, after = json.loads(file.read_text()), json.loads(out.read_text())
    cells = after["modules"]["chip"]["cells"]
    sites = {name: cells[name]["attributes"].pop("BEL") for name in ("ram.0", "ram.1")}
    assert after == before
    assert len(set(sites.values())) == 2
    known = load_part("lfe5u-85f").fabric
    assert known is not None
    assert set(sites.values()) <= set(known.table("EBR").names)


WRONG = {
    "no arch": (["{net}", "--fabric", "xc7z020"], 2, "needs its architecture file"),
    "no form": (["{xml}", "--fabric", "xc7z020"], 2, "what it is is not known by its name"),
    "no such file": (["{net}x.net", "--fabric", "{xml}"], 2, "cannot be read"),
    "too small": (["{net}", "--fabric", "{xml}@4x4"], 3, "smallest square grid with room for all is 5 x 5"),
    "no top": (["{mapped}", "--fabric", "lfe5u-85f"], 2, "0 of 2 modules have the attribute top"),
    "a start": (
        ["{chip}", "--fabric", "lfe5u-85f", "--start", "{net}"],
        2,
        "has no place of its own to begin at",
    ),
    "no memories": (["{box}", "--fabric", "lfe5u-85f"], 2, "is a block RAM or multiplier of an ECP5"),
    "no solver": (["{net}", "--fabric", "{xml}", "--solver", "aneal"], 2, "'anneal'"),
    "no folder": (["{net}", "--fabric", "{xml}", "--picture", "{xml}/none/a.svg"], 2, "there is no folder"),
}


def test_neither_the_start_nor_the_netlist_is_written_over(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = read_packed(tmp_path / "hand.net", read_arch(tmp_path / "hand.xml"))
    start = write(tmp_path, "start.place", PLACE_HEAD.format(id=packed.file_id, width=6, height=6) + BEST)
    before = start.read_text()
    for out, what in ((str(start), "--start"), (files[0], "NETLIST")):
        words = [
            "place",
            files[0],
            "--fabric",
            files[1],
            "--start",
            str(start),
            "--deterministic",
            "10",
            "--out",
            out,
        ]
        assert main(words) == 2
        assert f"is {what} itself, which would be lost" in capsys.readouterr().err
    assert start.read_text() == before
    assert Path(files[0]).read_text() == NET


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_told_and_nothing_is_written(
    case: str, files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, code, message = WRONG[case]
    out = tmp_path / "my.place"
    designs = {
        "mapped": write(tmp_path, "mapped.json", mapped("0")),
        "chip": write(tmp_path, "chip.json", mapped()),
        "box": write(tmp_path, "box.json", '{"modules": {"box": {"cells": {}}}}'),
    }
    given = [word.format(net=files[0], xml=files[1], **designs) for word in words]
    assert main(["place", *given, "--deterministic", "10", "--out", str(out)]) == code
    assert message in capsys.readouterr().err
    assert not out.exists()
