"""What the RTL needs for a tile, cycle for cycle, and which words, waits and gifts of tokens lead to it.

The formulas are those of `accel.mapping`; only the latency of a unit, which is estimated there, is the netlist's here. A tile
lasts from its `go` to the cycle in which its results are in memory. Its parts add up:

    compute      blocks * frames * rows * columns * cycles of a block, idle steps and reads of residuals included
    window       what a layer that packs taps waits for its window: at the start, at every row's start, and within rows
    fill, drain  from `go` to the first loop state, and from the last one through unit, drain, threshold search and writer
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import Engine
from foldwright.accel.export.executor import RunTile, run_tiles
from foldwright.accel.export.package import Package
from foldwright.accel.layout_cost import layout_mappings
from foldwright.accel.mapping import (
    M_DRAIN,
    M_GROUPS_PER_ROW,
    M_LATENCY,
    M_ROW_CYCLES,
    M_T,
    tile_latency,
    unit_latency,
)
from foldwright.accel.rtl.array import unit_latency as built_latency
from foldwright.accel.rtl.fetch import READ_CYCLES
from foldwright.accel.rtl.program import DATA_BITS, GIVES, TOKEN_BITS, Field
from foldwright.accel.tables import engine_table, layer_table

__all__ = ["ProgramTile", "TileTime", "TileTimes", "program_tiles"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TileTime:
    """Cycles of a tile, see the module's text."""

    compute: int
    window: int
    fill_drain: int

    @property
    def total(self) -> int:
        return self.compute + self.window + self.fill_drain


class TileTimes:
    """What the tiles of an accelerator take on the RTL (technologies with the latency of `xc7`)."""

    def __init__(self, package: Package) -> None:
        self._package = package

    @cached_property
    def _mappings(self) -> IntArray:
        return layout_mappings(self._package.layout)

    def of(self, run: RunTile) -> TileTime:
        """Returns the time of a tile."""
        layout, layer, mapping = self._package.layout, run.layer, self._mappings[run.layer.index]
        engine, row = layer.encoding.engine, engine_table([layout.datapath.engines[layer.engine]])[0]
        entry = layer_table(layout.network.workload)[layer.index]
        shape = self._package.hardware.engines[layer.engine]
        extras = np.array([shape.writer.pool_words > 0, shape.residual is not None], dtype=np.int64)
        estimate = tile_latency(entry, row, mapping[M_DRAIN], unit_latency(row), extras)
        unit = _unit_cycles(engine)
        exact = tile_latency(entry, row, mapping[M_DRAIN], unit, extras)
        low, high = run.cut.rows
        rows = run.cut.blocks_count * (high - low)
        block = max(mapping[M_T] + layout.residual_reads(layer), mapping[M_DRAIN])
        compute = rows * mapping[M_GROUPS_PER_ROW] * block
        window = rows * mapping[M_ROW_CYCLES] - compute + mapping[M_LATENCY] - estimate
        return TileTime(int(compute), int(window), int(exact))


@lru_cache(maxsize=64)
def _unit_cycles(engine: Engine) -> int:
    """Returns the cycles from a unit's last word to its accumulator."""
    return built_latency(engine, "xc7")


@dataclass(frozen=True, slots=True)
class ProgramTile:
    """A tile with the words that lead to its `go`: cycles to read them, tokens it waits for in turn, tokens it gives."""

    run: RunTile
    words: int
    waits: tuple[int, ...]
    gives: tuple[int, ...]


def program_tiles(package: Package, engine: int) -> list[ProgramTile]:
    """Returns the tiles of two rounds; words behind the last one lead to the first."""
    out: list[ProgramTile] = []
    runs, words = run_tiles(package.layout, engine), 0
    waits: list[int] = []
    for instruction in package.programs[engine]:
        code, value = instruction >> DATA_BITS, instruction % (1 << DATA_BITS)
        if code == Field.GO:
            parts = [value >> TOKEN_BITS * k & (1 << TOKEN_BITS) - 1 for k in range(GIVES)]
            gives = tuple(part - 1 for part in parts if part)
            out.append(ProgramTile(next(runs), words, tuple(waits), gives))
            words, waits = 0, []
            continue
        words += 1 + (READ_CYCLES if code == Field.JUMP else 0)
        if code == Field.WAIT:
            waits.append(value)
    first = out[0]
    out[0] = ProgramTile(first.run, first.words + words, first.waits, first.gives)
    return out
