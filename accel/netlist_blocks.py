"""How much logic each block of a datapath takes, in clusters, and which bits each block RAM of a memory holds.

A *block* is what repeats in an engine: a unit with its shadow register, the registers of a weight row, the aligner and
operand register of a lane, a result path, a channel's thresholds. Its LUTs and flip-flops are the terms of `cost`,
so all blocks together take exactly what `cost` says; clusters are that, divided by what one logic tile holds at
`PACKING_PERCENT` use, whichever of LUTs or flip-flops binds.

What it leaves out: DSP slices are no cells yet; a cluster holds logic of one block only, so the flip-flops that a tool
would pack beside other blocks' LUTs count here where they bind.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foldwright.accel.cost import TERMS, coefficients_for, cost_row, features_of, geometry_table
from foldwright.accel.datapath import Datapath, Engine
from foldwright.errors import PartError
from foldwright.netlists.fabric import CLUSTER_KIND, cluster_capacity, placement_sites
from foldwright.netlists.part import Part

__all__ = [
    "BLOCKS",
    "PACKING_PERCENT",
    "Demand",
    "Packing",
    "block_demands",
    "datapath_demands",
    "fixed_demand",
    "memory_spans",
    "packing_for",
]

PACKING_PERCENT = (90, 95, 100)
"""How full the clusters are, assumed: the first at which the part has the tiles. Tools pack denser as a part fills up."""

BLOCKS = ("unit", "row", "lane", "window", "result", "threshold", "control")
"""Blocks of an engine, in the order of `block_demands`."""

_BLOCK_OF = dict(
    zip(
        TERMS,
        ["unit"] * 6 + ["lane"] * 2 + ["result"] * 3 + ["threshold"] * 4
        + ["row"] * 2 + ["lane"] * 2 + ["control"] + ["window"] * 2
        + ["result"] * 2 + ["control"] * 3 + ["window"]
        + ["unit"] * 3 + ["lane", "unit", "result"] + ["result"] * 3 + ["threshold"] * 4 + ["unit"],
        strict=True,
    )
)  # fmt: skip
_ACCUMULATOR_TERMS = ("unit.acc", "unit", "dsp.acc", "shadow.acc", "shadow.select")
_MILLI = 1000


@dataclass(frozen=True, slots=True)
class Demand:
    """What the blocks of one name take together, in thousandths, and how much of it is accumulator and shadow."""

    count: int
    lut_milli: int
    ff_milli: int
    accumulator_lut_milli: int = 0
    accumulator_ff_milli: int = 0


@dataclass(frozen=True, slots=True)
class Packing:
    """What a cluster holds, in thousandths of a LUT and of a flip-flop."""

    lut_milli: int
    ff_milli: int

    def clusters(self, demand: Demand) -> int:
        """Returns the clusters that all blocks of one name take, at least one each; 0 where there is nothing."""
        if demand.lut_milli == demand.ff_milli == 0:
            return 0
        lut, ff = -(-demand.lut_milli // self.lut_milli), -(-demand.ff_milli // self.ff_milli)
        return max(lut, ff, demand.count)

    def shares(self, demand: Demand) -> list[int]:
        """Returns the clusters of each block; they differ by one at most."""
        total = self.clusters(demand)
        bounds = [total * i // demand.count for i in range(demand.count + 1)]
        return [high - low for low, high in pairwise(bounds)]

    def accumulator_clusters(self, demand: Demand, clusters: int) -> int:
        """Returns how many of a unit's clusters hold its accumulator and shadow; one is left for the popcount."""
        lut_bound = demand.lut_milli * self.ff_milli >= demand.ff_milli * self.lut_milli
        part, whole = (
            (demand.accumulator_lut_milli, demand.lut_milli)
            if lut_bound
            else (demand.accumulator_ff_milli, demand.ff_milli)
        )
        return max(1, min(clusters - 1, round(clusters * part / whole)))


def datapath_demands(datapath: Datapath, part: Part, technology: str = "") -> list[dict[str, Demand]]:
    """Returns what the blocks of every engine take, see `block_demands`."""
    storing = datapath.assignment[-1]
    return [block_demands(e, part, technology, stores=i == storing) for i, e in enumerate(datapath.engines)]


def block_demands(
    engine: Engine, part: Part, technology: str = "", *, stores: bool = True
) -> dict[str, Demand]:
    """Returns what the blocks of an engine take, by name of `BLOCKS`; all together what `cost` counts for it."""
    coefficients = coefficients_for(part, technology)
    features = np.zeros(len(TERMS), dtype=np.int64)
    features_of(cost_row(engine, stores), features)
    lut, ff = (
        dict(zip(TERMS, (features * c).tolist(), strict=True)) for c in (coefficients.lut, coefficients.ff)
    )
    counts = (engine.units, engine.dm, engine.dn, engine.dn, engine.dm * engine.drain_lanes, engine.dm, 1)
    demands = {}
    for block, count in zip(BLOCKS, counts, strict=True):
        terms = [term for term in TERMS if _BLOCK_OF[term] == block]
        accumulator = [term for term in terms if term in _ACCUMULATOR_TERMS]
        sums = [sum(table[t] for t in names) for names in (terms, accumulator) for table in (lut, ff)]
        demands[block] = Demand(count, *sums)
    return demands


def fixed_demand(part: Part, technology: str = "") -> Demand:
    """Returns what DMA, AXI and clocks take, once for a datapath."""
    coefficients = coefficients_for(part, technology)
    return Demand(1, coefficients.fixed_lut * _MILLI, coefficients.fixed_ff * _MILLI)


def packing_for(datapath: Datapath, part: Part, technology: str = "") -> Packing:
    """Returns how dense the clusters of a datapath are: the loosest of `PACKING_PERCENT` that fits, else the densest.

    Raises:
        PartError: the part has no fabric.
    """
    if part.fabric is None:
        raise PartError(
            f"part {part.name!r} has no fabric, so nothing can be placed on it; add [fabric] to its file"
        )
    lut, ff = cluster_capacity(part.fabric)
    sites = len(placement_sites(part.fabric, CLUSTER_KIND))
    demands = [fixed_demand(part, technology)]
    for blocks in datapath_demands(datapath, part, technology):
        demands += blocks.values()
    for percent in PACKING_PERCENT:
        packing = Packing(lut * percent * _MILLI // 100, ff * percent * _MILLI // 100)
        if sum(map(packing.clusters, demands)) <= sites:
            break
    return packing


def memory_spans(width_bits: int, depth_words: int, part: Part) -> list[tuple[int, int]]:
    """Returns for each block RAM of a memory the bits of the word [low, high) that it holds.

    The geometry is that of `block_rams_of`. Where it is one of half blocks, two neighbours share a block: first
    those of the same bits at other depths.
    """
    if width_bits <= 0 or depth_words <= 0:
        return []
    width, rows, columns, halves = min(
        (
            (int(w), -(-depth_words // int(d)), -(-width_bits // int(w)), int(h))
            for w, d, h in geometry_table(part.block_ram)
        ),
        key=lambda g: g[1] * g[2] * g[3],
    )
    pieces = [(c * width, min((c + 1) * width, width_bits)) for c in range(columns) for _ in range(rows)]
    step = 2 // halves
    return [(pieces[i][0], pieces[i : i + step][-1][1]) for i in range(0, len(pieces), step)]
