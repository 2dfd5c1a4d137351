"""VPR's placement files (`.place`): where each block stands, written so that VPR takes them for its own.

A line for each block: name, column, row, number on the tile, layer, and the block's number; before them the name and sum of the
netlist's file, and the size of the grid, all of which VPR compares. Files of older versions have no layer.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from foldwright.errors import ConfigError
from foldwright.netlists.fabric import Fabric, placement_sites
from foldwright.netlists.netlist import unknown_name
from foldwright.netlists.placement import Placement, site_names
from foldwright.netlists.vpr.files import read_bytes
from foldwright.netlists.vpr.packed import PackedNetlist

__all__ = ["placement_to_vpr", "read_vpr_placement", "vpr_grid_size"]

_HEAD = re.compile(r"Netlist_File: (\S+) Netlist_ID: (\S+)")
_SIZE = re.compile(r"Array size: (\d{1,5}) x (\d{1,5}) logic blocks")
_SITE = re.compile(r"[A-Z0-9_]+?_X(\d+)Y(\d+)(?:S(\d+))?")
_NUMBER = re.compile(r"\d{1,6}")
_SHOWN = 6
_TAB = 8


def vpr_grid_size(path: Path) -> tuple[int, int]:
    """Returns the columns and rows of the grid that a placement file is for.

    Raises:
        ConfigError: the file does not say.
    """
    for line in _lines(path)[:8]:
        found = _SIZE.fullmatch(line)
        if found:
            return int(found[1]), int(found[2])
    raise ConfigError(
        f"{path}: no line 'Array size: W x H logic blocks' at its beginning; is it a placement of VPR?"
    )


def placement_to_vpr(packed: PackedNetlist, fabric: Fabric, placement: Placement) -> str:
    """Returns the text of a placement file.

    Raises:
        IllegalSolutionError: a cell has no site.
    """
    names = site_names(packed.netlist, fabric, placement)
    lines = [
        f"Netlist_File: {packed.file_name} Netlist_ID: {packed.file_id}",
        f"Array size: {fabric.width} x {fabric.height} logic blocks",
        "",
        "#block name\tx\ty\tsubblk\tlayer\tblock number",
        "#----------\t--\t--\t------\t-----\t------------",
    ]
    for i, (cell, site) in enumerate(zip(packed.netlist.cell_names, names, strict=True)):
        x, y, sub = _place_of(site)
        tabs = "\t" if len(cell) >= _TAB else "\t\t"  # as VPR writes it
        lines.append(f"{cell}{tabs}{x}\t{y}\t{sub}\t0\t#{i}")
    return "\n".join(lines) + "\n"


def _place_of(site: str) -> tuple[int, int, int]:
    found = _SITE.fullmatch(site)
    assert found is not None  # the fabric's names are ours
    return int(found[1]), int(found[2]), int(found[3] or 0)


def read_vpr_placement(path: Path, packed: PackedNetlist, fabric: Fabric) -> Placement:
    """Returns the placement of a file; whether it is legal is for `check_placement` to say.

    Raises:
        ConfigError: the file belongs to another netlist or grid, or its lines are wrong; with up to six of them.
    """
    lines = _lines(path)
    head = _HEAD.fullmatch(lines[0]) if lines else None
    if head is None:
        raise ConfigError(
            f"{path}: line 1 is not 'Netlist_File: ... Netlist_ID: ...'; is it a placement of VPR?"
        )
    if head[2].startswith("SHA256:") and head[2] != packed.file_id:
        raise ConfigError(
            f"{path}: is for a netlist of sum {head[2][:23]}..., the one given has {packed.file_id[:23]}..."
        )
    size = vpr_grid_size(path)
    if size != (fabric.width, fabric.height):
        raise ConfigError(
            f"{path}: is for a grid of {size[0]} x {size[1]}, the fabric has {fabric.width} x {fabric.height} tiles"
        )
    netlist = packed.netlist
    number = {name: i for i, name in enumerate(netlist.cell_names)}
    index = [
        {_place_of(site): i for i, site in enumerate(placement_sites(fabric, kind).names)}
        for kind in netlist.kinds
    ]
    sites, wrong = np.full(netlist.cells, -1, dtype=np.int32), []
    for at, line in enumerate(lines[2:], 3):
        words = line.partition("#")[0].split()
        if not words:
            continue
        cell = number.get(words[0], -1)
        if cell < 0:
            wrong.append(f"line {at}: {unknown_name('block', words[0], number)}")
        elif not 4 <= len(words) <= 5 or not all(_NUMBER.fullmatch(word) for word in words[1:]):
            wrong.append(
                f"line {at}: {' '.join(words[1:])[:60]!r} behind the block; needed are x, y, subblk and layer"
            )
        elif sites[cell] >= 0:
            wrong.append(f"line {at}: block {words[0]!r} is placed twice")
        else:
            x, y, sub = map(int, words[1:4])
            sites[cell] = index[netlist.cell_kind[cell]].get((x, y, sub), -1)
            if sites[cell] < 0:
                wrong.append(
                    f"line {at}: block {words[0]!r} at ({x}, {y}, {sub}), where no {netlist.kind_of(cell)} site is"
                )
    missing = [name for name, site in zip(netlist.cell_names, sites.tolist(), strict=True) if site < 0]
    if missing and not wrong:
        wrong.append(f"{len(missing)} blocks have no place, the first is {missing[0]!r}")
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise ConfigError(
            "\n  ".join([f"{path}: not a placement of {packed.file_name}", *wrong[:_SHOWN], *more])
        )
    return Placement(sites)


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
