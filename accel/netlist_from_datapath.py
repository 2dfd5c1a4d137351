"""The netlist of a datapath: clusters of logic and block RAMs, joined by the buses of the RTL.

Cells are the clusters of `accel.netlist_blocks`, from the counts of `cost`, and one cell for each block RAM. Nets are
buses, their weight the wires:

| bus | from | to | wires |
|---|---|---|---|
| weight words | block RAMs, by the bits each holds | the row's registers | bits |
| weights | a row's register | the same slice of every unit of the row | dk, in slices |
| map words | block RAMs, by the bits each holds | the lane's aligner | bits |
| activations | a lane's aligner | the same slice of every unit of the lane | dk, in slices |
| shift | the aligner of lane n + 1 | that of lane n; lane 0 also the last | dk, in slices |
| counts | popcount clusters of a unit, a binary tree | its accumulator | bits of the partial count |
| drain | the shadow of lane n + r | that of lane n; the first r lanes the result paths | acc_bits |
| thresholds | a channel's tables | its result paths | (2^A - 1) acc_bits + 1, or those of `scale_words` |
| codes | a result path | the feature maps of the engines of the next layers, or DMA | A |
| control | control | units of a row, lanes, tables, address ports | bits |
| load | DMA | memories, thresholds, windows | bits of the DRAM port per cycle |

Units, memories, result paths and their buses follow `accel.rtl`. Assumed, since none can be told apart at this grain:
windows feed the feature map, DMA and control are chains with a binary tree over them, the fixed block RAMs are one program for
each engine, then what DMA holds. A layer's results go to the engine of the layer after it.
"""

from __future__ import annotations

from itertools import pairwise

from foldwright.accel.cost import reserve_bram36
from foldwright.accel.datapath import Datapath
from foldwright.accel.netlist_blocks import datapath_demands, fixed_demand, packing_for
from foldwright.accel.netlist_buses import EngineCells, Sheet, code_nets, engine_nets, load_nets, local_nets
from foldwright.netlists.netlist import Netlist, build_netlist
from foldwright.netlists.part import Part

__all__ = ["netlist_of"]

_PROGRAM_BITS = 32  # a word of the program


def netlist_of(datapath: Datapath, part: Part, technology: str = "") -> Netlist:
    """Returns the netlist of a datapath on a part, the same for the same arguments.

    Raises:
        PartError: the part has no fabric.
        ConfigError: the technology is not for this part.
    """
    sheet = Sheet(part.block_ram.kind)
    packing = packing_for(datapath, part, technology)
    [dma] = sheet.blocks(("dma",), fixed_demand(part, technology), packing)
    fixed_rams = sheet.rams("fixed", reserve_bram36(datapath, part))
    demands = datapath_demands(datapath, part, technology)
    engines = [EngineCells.of(sheet, i, e, part, demands[i], packing) for i, e in enumerate(datapath.engines)]
    local_nets(sheet, dma)
    for i, blocks in enumerate(engines):
        sheet.net([fixed_rams[i], *blocks.control[:4]], _PROGRAM_BITS)
        engine_nets(sheet, blocks)
        load_nets(sheet, blocks, dma, datapath.dram_bits_per_cycle)
    for i, ram in enumerate(fixed_rams[len(engines) :]):
        sheet.net([ram, dma[i * len(dma) // len(fixed_rams)]], datapath.dram_bits_per_cycle)
    for reader, writer in _links(datapath):
        code_nets(sheet, engines[writer], engines[reader].maps if reader >= 0 else dma[:1])
    sheet.join_rest()
    shapes = "+".join(engine.shape for engine in datapath.engines)
    return build_netlist(f"{shapes} on {part.name}", sheet.cells, sheet.nets)


def _links(datapath: Datapath) -> list[tuple[int, int]]:
    """Returns (reader, writer) of results, each once; the last layer's reader is DMA, -1."""
    pairs = {(after, before) for before, after in pairwise(datapath.assignment)}
    return sorted({*pairs, (-1, datapath.assignment[-1])})
