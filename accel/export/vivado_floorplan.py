"""A placement as constraints of Vivado: where each engine's logic may lie, and the block RAMs of its memories.

The netlist of a placement has clusters of logic, not the cells that synthesis makes, so a cluster's own place says nothing
to the tool. What carries over: the region that all clusters of an engine cover (a pblock, soft, so that the tool may
leave it), and the sites of a memory's block RAMs, which are given to the cells of that memory in the order of their names.
How many block RAMs a memory takes is the tool's choice; sites or cells that are left over stay free.

Names below the core are those of the Verilog. Site names: UG903, UG912; `SLICE` numbers as in the part's TOML file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from foldwright.accel.datapath import Datapath
from foldwright.accel.export.verilog_names import Names
from foldwright.accel.export.vivado_wrapper import CORE
from foldwright.accel.netlist_from_datapath import netlist_of
from foldwright.errors import PartError
from foldwright.netlists.fabric import CLUSTER_KIND, Fabric
from foldwright.netlists.part import Part
from foldwright.netlists.placement import Placement, check_placement, coordinates, site_names

__all__ = ["Floorplan", "floorplan_of", "floorplan_xdc", "memories_tcl"]

_MEMORIES = {
    "map": re.compile(r"engine(\d+)/(own|inbox(_of_\d+)?)(_\d+)?(\$\d+)?"),
    "weights": re.compile(r"engine(\d+)/core/weights(_\d+)?(\$\d+)?"),
    "line": re.compile(r"engine(\d+)/window(\$\d+)?/line(_\d+)?(\$\d+)?"),
}
"""Memories in the Verilog of each block of the netlist; wide ones are cut into slices, `_1` and so on."""


@dataclass(frozen=True, slots=True)
class Floorplan:
    """What is known of a placement.

    Attributes:
        regions: per engine, by its cell below the core, the rectangles of slices that its clusters cover.
        memories: cells of memories below the core (one block of the netlist each), and the block RAMs' sites for them.
    """

    regions: dict[str, list[str]]
    memories: list[tuple[list[str], list[str]]]

    @property
    def cells(self) -> list[str]:
        """Patterns of cell names that must be there after synthesis."""
        return [f"*{CORE}/{cell}" for cell in self.regions]


def floorplan_of(
    datapath: Datapath, part: Part, placement: Placement, names: Names, technology: str = ""
) -> Floorplan:
    """Returns the floorplan of a placement of the datapath's netlist.

    Raises:
        PartError: the part has no fabric.
        IllegalSolutionError: the placement is not one of this datapath on this part, or breaks a rule.
    """
    if part.fabric is None:
        raise PartError(f"part {part.name!r} has no fabric; export without a placement")
    netlist = netlist_of(datapath, part, technology)
    check_placement(netlist, part.fabric, placement)
    x, y = coordinates(netlist, part.fabric, placement)
    tiles: dict[str, set[tuple[int, int]]] = defaultdict(set)
    rams: dict[str, list[str]] = defaultdict(list)
    for cell, site in enumerate(site_names(netlist, part.fabric, placement)):
        owner, _, block = netlist.cell_names[cell].partition("/")
        if netlist.kind_of(cell) == CLUSTER_KIND:
            tiles[owner].add((int(x[cell]), int(y[cell])))
        else:
            rams[f"{owner}/{block.partition('/')[0]}"].append(site)
    engines = [f"engine{e}" for e in range(len(datapath.engines))]
    regions = {e: _rectangles(part.fabric, tiles[e]) for e in engines if e in names.cells and tiles[e]}
    memories = []
    for e, engine in enumerate(engines):
        for block, pattern in _MEMORIES.items():
            mine = [n for n in sorted(names.memories) if (m := pattern.fullmatch(n)) and int(m[1]) == e]
            if mine and rams[f"{engine}/{block}"]:
                memories.append((mine, rams[f"{engine}/{block}"]))
    return Floorplan(regions, memories)


def _rectangles(fabric: Fabric, tiles: set[tuple[int, int]]) -> list[str]:
    """Returns rectangles of slices: in each column of logic from the lowest to the highest tile, like columns joined."""
    slices: dict[int, list[tuple[int, int]]] = defaultdict(list)
    table = fabric.table("SLICE")
    for name, x, y in zip(table.names, table.x.tolist(), table.y.tolist(), strict=True):
        i, j = map(int, re.findall(r"\d+", name))
        slices[x].append((i, j) if (x, y) in tiles else (i, -1))
    spans = []  # (first slice, last slice, low, high) of each column
    for x in sorted({x for x, _ in tiles}):
        rows = [j for _, j in slices[x] if j >= 0]
        columns = [i for i, _ in slices[x]]
        spans.append((min(columns), max(columns), min(rows), max(rows)))
    joined = [spans[0]]
    for first, last, low, high in spans[1:]:
        before = joined[-1]
        if before[1] + 1 == first and before[2:] == (low, high):
            joined[-1] = (before[0], last, low, high)
        else:
            joined.append((first, last, low, high))
    return [f"SLICE_X{first}Y{low}:SLICE_X{last}Y{high}" for first, last, low, high in joined]


def floorplan_xdc(floorplan: Floorplan | None) -> str:
    """Returns the text of `accelerator.xdc`."""
    lines = ["# Where the logic of each engine lies. Read after synthesis; the regions are soft.", ""]
    if floorplan is None or not floorplan.regions:
        lines.append("# No placement was given: the tool places freely.")
    for cell, rectangles in (floorplan.regions if floorplan else {}).items():
        lines += [
            f"create_pblock {cell}",
            f"add_cells_to_pblock [get_pblocks {cell}] [get_cells -hierarchical -filter {{NAME =~ *{CORE}/{cell}}}]",
            *(f"resize_pblock [get_pblocks {cell}] -add {{{rectangle}}}" for rectangle in rectangles),
            f"set_property IS_SOFT TRUE [get_pblocks {cell}]",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def memories_tcl(floorplan: Floorplan | None) -> str:
    """Returns the text of `memories.tcl`, which `build.tcl` reads after synthesis: names that it needs, sites of memories.

    It is Tcl and not XDC, because only synthesis says how many block RAMs a memory has, and XDC has no loops.
    """
    lines = [
        "# Cells that must be there after synthesis; for each memory patterns of its cells, then sites of block RAMs.",
        "set expected_cells {",
        *(f"    {{{pattern}}}" for pattern in (floorplan.cells if floorplan else [])),
        "}",
        "set memory_sites {",
    ]
    for memories, sites in floorplan.memories if floorplan else []:
        lines.append(f"    {{{' '.join(f'{{*{CORE}/{memory}_reg*}}' for memory in memories)}}}")
        lines.append(f"    {{{' '.join(sites)}}}")
    return "\n".join([*lines, "}"]) + "\n"
