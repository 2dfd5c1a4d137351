"""The cells of a datapath's netlist and the buses between them; see `accel.netlist_from_datapath` for the table of buses.

Blocks are ranges of cells. A bus that many clusters hold is cut into slices, so that a net joins the clusters that
hold the same bits, as in the RTL, and not all clusters of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise

from foldwright.accel.datapath import Engine, LaneMode
from foldwright.accel.netlist_blocks import Demand, Packing, memory_spans
from foldwright.accel.rtl.program import threshold_bits
from foldwright.netlists.fabric import CLUSTER_KIND
from foldwright.netlists.part import Part

__all__ = ["EngineCells", "Sheet", "code_nets", "engine_nets", "load_nets", "local_nets"]

_FANOUT = 256
"""Loads after which a control register is copied, as the RTL asks of the tool."""
_REGISTER_BUS_BITS = 32
_CHAIN_BITS, _TREE_BITS = 8, 4  # inside control and DMA: assumed
_UNIT_CONTROLS = 6  # negate, zero, minus, shift, clear, load

_Cells = Sequence[int]
_Spans = Sequence[tuple[int, int]]


@dataclass(slots=True)
class Sheet:
    """Cells and nets as they are drawn."""

    ram_kind: str
    cells: list[tuple[str, str, str]] = field(default_factory=list)
    nets: list[tuple[list[int], int]] = field(default_factory=list)

    def blocks(self, groups: Sequence[str], demand: Demand, packing: Packing) -> list[range]:
        """Adds the clusters of the blocks of one name, a group each; returns their numbers."""
        return [
            self._add(group, CLUSTER_KIND, "clb", count)
            for group, count in zip(groups, packing.shares(demand), strict=True)
        ]

    def rams(self, group: str, count: int) -> range:
        return self._add(group, self.ram_kind, "ram", count)

    def _add(self, group: str, kind: str, stem: str, count: int) -> range:
        first = len(self.cells)
        self.cells += [(f"{group}/{stem}{i}", kind, group) for i in range(count)]
        return range(first, len(self.cells))

    def net(self, pins: Sequence[int], weight: int) -> None:
        self.nets.append((list(pins), weight))

    def join_rest(self) -> None:
        """Joins every cell that no bus reaches to the one before it: logic of a block beyond the bits of its words."""
        reached = {pin for pins, _ in self.nets for pin in pins}
        for cell in range(1, len(self.cells)):
            if cell not in reached:
                self.net([cell - 1, cell], 1)


@dataclass(frozen=True, slots=True)
class EngineCells:
    """The cells of one engine; a unit's last `tail` clusters hold its accumulator and shadow."""

    engine: Engine
    units: list[list[range]]  # [row][lane]
    tail: int
    rows: list[range]
    lanes: list[range]
    windows: list[range]
    results: list[list[range]]  # [row][drain lane]
    thresholds: list[range]
    control: range
    weights: range
    weight_spans: _Spans
    maps: range
    map_spans: _Spans
    lines: range
    line_spans: _Spans

    @staticmethod
    def of(
        sheet: Sheet, number: int, e: Engine, part: Part, demands: Mapping[str, Demand], packing: Packing
    ) -> EngineCells:
        at = f"engine{number}"

        def add(block: str, names: Sequence[str]) -> list[range]:
            return sheet.blocks([f"{at}/{block}{name}" for name in names], demands[block], packing)

        dm, dn, drain = range(e.dm), range(e.dn), range(e.drain_lanes)
        units = add("unit", [f"{m}.{n}" for m in dm for n in dn])
        results = add("result", [f"{m}.{n}" for m in dm for n in drain])
        weight_spans = memory_spans(e.weight_width_bits, e.weight_words, part)
        map_spans = memory_spans(e.map_block_width_bits, e.map_words, part)
        line_spans = memory_spans(e.line_width_bits, e.line_words, part)
        return EngineCells(
            engine=e,
            units=[units[m * e.dn : (m + 1) * e.dn] for m in dm],
            tail=packing.accumulator_clusters(demands["unit"], min(map(len, units))),
            rows=add("row", [str(m) for m in dm]),
            lanes=add("lane", [str(n) for n in dn]),
            windows=add("window", [str(n) for n in dn]),
            results=[results[m * e.drain_lanes : (m + 1) * e.drain_lanes] for m in dm],
            thresholds=add("threshold", [str(m) for m in dm]),
            control=add("control", [""])[0],
            weights=sheet.rams(f"{at}/weights", len(weight_spans)),
            weight_spans=weight_spans,
            maps=sheet.rams(f"{at}/map", len(map_spans)),
            map_spans=map_spans,
            lines=sheet.rams(f"{at}/line", len(line_spans)),
            line_spans=line_spans,
        )

    def heads(self, unit: range) -> range:
        """Returns the popcount clusters of a unit: those before its accumulator, all where there is one only."""
        return unit[: len(unit) - self.tail] or unit

    def tails(self, unit: range) -> range:
        return unit[-self.tail :]


def engine_nets(sheet: Sheet, b: EngineCells) -> None:
    stored = b.engine.weight_width_bits // b.engine.dm
    lane_bits = b.engine.map_block_width_bits // b.engine.dn
    copies = b.engine.dk // stored
    _memory_nets(sheet, b.weights, b.weight_spans, [_row_holders(row, copies) for row in b.rows], stored)
    _memory_nets(sheet, b.maps, b.map_spans, [[[cell] for cell in lane] for lane in b.lanes], lane_bits)
    columns = [list(column) for column in zip(*b.units, strict=True)]
    for row, units in zip(b.rows, b.units, strict=True):
        _word_nets(sheet, row, [b.heads(unit) for unit in units], b.engine.dk)
    for lane, units in zip(b.lanes, columns, strict=True):
        _word_nets(sheet, lane, [b.heads(unit) for unit in units], b.engine.dk)
    for row_units in b.units:
        for unit in row_units:
            _count_nets(sheet, b.heads(unit), b.tails(unit), b.engine.dk)
    _aligner_nets(sheet, b)
    _drain_nets(sheet, b)
    _control_nets(sheet, b)
    local_nets(sheet, b.control)


def _slices(cells: _Cells, bits: int) -> Iterator[tuple[int, int, int]]:
    """Yields (cell, low, high): the bits that each of a few cells holds of a word spread evenly over them."""
    bounds = [bits * i // len(cells) for i in range(len(cells) + 1)]
    for cell, (low, high) in zip(cells, pairwise(bounds), strict=True):
        if high > low:
            yield cell, low, high


def _row_holders(row: _Cells, copies: int) -> list[list[int]]:
    """Returns which clusters of a row hold each slice of the stored word, once for each copy of it."""
    size = len(row)
    chunks = [row[size * c // copies : size * (c + 1) // copies] or row for c in range(copies)]
    slices = max(map(len, chunks))
    return [sorted({chunk[s * len(chunk) // slices] for chunk in chunks}) for s in range(slices)]


def _memory_nets(
    sheet: Sheet, rams: _Cells, spans: _Spans, blocks: Sequence[Sequence[_Cells]], block_bits: int
) -> None:
    """Joins each block RAM with the clusters of the blocks that use its bits, `block_bits` of the word a block."""
    for ram, (first, last) in zip(rams, spans, strict=True):
        for index in range(first // block_bits, (last - 1) // block_bits + 1):
            for s, low, high in _slices(range(len(blocks[index])), block_bits):
                offset = index * block_bits
                bits = min(last, offset + high) - max(first, offset + low)
                if bits > 0:
                    sheet.net([ram, *blocks[index][s]], bits)


def _word_nets(sheet: Sheet, source: _Cells, sinks: Sequence[_Cells], dk: int) -> None:
    """Joins a register of `dk` bits, slice by slice, with the popcounts that take them."""
    slices = min(dk, max(len(source), *map(len, sinks)))
    for s, low, high in _slices(range(slices), dk):
        sheet.net([cells[s * len(cells) // slices] for cells in (source, *sinks)], high - low)


def _count_nets(sheet: Sheet, heads: _Cells, tails: _Cells, dk: int) -> None:
    """Joins the popcount clusters of a unit in a binary tree, its root with the accumulator, and that as a carry chain."""
    below = [1] * len(heads)
    for i in range(len(heads) - 1, 0, -1):
        below[(i - 1) // 2] += below[i]
        sheet.net([heads[i], heads[(i - 1) // 2]], (dk * below[i] // len(heads)).bit_length() or 1)
    sheet.net([heads[0], *tails], dk.bit_length())
    for pair in pairwise(tails):
        sheet.net(pair, 1)


def _aligner_nets(sheet: Sheet, b: EngineCells) -> None:
    """Joins each lane's aligner with its neighbour's; the last takes the first lane of the next group."""
    if b.engine.lanes is LaneMode.BATCH:
        return
    for lane, following in zip(b.lanes, [*b.lanes[1:], b.lanes[0]], strict=True):
        for cell, low, high in _slices(following, b.engine.dk):
            sheet.net([cell, lane[low * len(lane) // b.engine.dk]], high - low)


def _drain_nets(sheet: Sheet, b: EngineCells) -> None:
    """Joins the shadow chains, the result paths at their ends, and the thresholds of each channel."""
    e = b.engine
    for units, results, thresholds in zip(b.units, b.results, b.thresholds, strict=True):
        for lane, unit in enumerate(units):
            for i, (cell, low, high) in enumerate(_slices(b.tails(unit), e.acc_bits)):
                behind = lane - e.drain_lanes
                sheet.net([cell, *(results[lane] if behind < 0 else [b.tails(units[behind])[i]])], high - low)
        for result in results:
            for pair in pairwise(result):
                sheet.net(pair, e.acc_bits)
        bits = threshold_bits(e)
        for j, (cell, low, high) in enumerate(_slices(thresholds, bits) if thresholds else ()):
            sheet.net([cell, *(r[j * len(r) // len(thresholds)] for r in results)], high - low)


def _control_nets(sheet: Sheet, b: EngineCells) -> None:
    """Joins control with what it steers; the control bits of the units are copied every `_FANOUT` loads."""
    e = b.engine
    sources = cycle(b.control)  # copies of control registers, spread over it
    modes = (len(e.planes_per_word) - 1).bit_length()
    units = [b.tails(unit)[0] for row in b.units for unit in row]
    step = max(1, _FANOUT // e.acc_bits)
    for first in range(0, len(units), step):
        sheet.net([next(sources), *units[first : first + step]], _UNIT_CONTROLS + modes)
    for lane in b.lanes:
        sheet.net([next(sources), lane[0]], 1)  # its padding mask
    tables = [cell for table in b.thresholds for cell in table]
    for sinks, bits in (
        ([lane[0] for lane in b.lanes], 0 if e.lanes is LaneMode.BATCH else 2),  # start and fill
        ([row[0] for row in b.rows], modes),
        (b.weights, (e.weight_words - 1).bit_length()),
        (b.maps, max(0, e.map_words - 1).bit_length()),
        (tables, (e.threshold_words - 1).bit_length()),
    ):
        if bits:
            sheet.net([next(sources), *sinks], bits)


def local_nets(sheet: Sheet, cells: _Cells) -> None:
    """Joins clusters of which only their number is known: a chain, and a binary tree over it."""
    for i in range(1, len(cells)):
        sheet.net([cells[i], cells[i - 1]], _CHAIN_BITS)
        sheet.net([cells[i], cells[(i - 1) // 2]], _TREE_BITS)


def load_nets(sheet: Sheet, b: EngineCells, dma: _Cells, port_bits: int) -> None:
    """Joins DMA with what it fills: memories, thresholds, the registers of control, and windows by their line memory."""
    for target in (b.weights, b.maps, [t[0] for t in b.thresholds if t], b.lines):
        sheet.net([dma[0], *target], port_bits)
    sheet.net([dma[-1], b.control[0]], _REGISTER_BUS_BITS)
    if not b.windows[0]:
        return
    windows = [[[cell] for cell in window] for window in b.windows]
    if b.lines:
        _memory_nets(sheet, b.lines, b.line_spans, windows, b.engine.line_width_bits // b.engine.dn)
    else:
        sheet.net([dma[0], *(window[0] for window in b.windows)], port_bits)
    for window in b.windows:
        for cell, following in pairwise(window):
            sheet.net([cell, following], -(-b.engine.window_bits // len(window)))
    if b.maps:
        _memory_nets(sheet, b.maps, b.map_spans, windows, b.engine.map_block_width_bits // b.engine.dn)
    else:
        for window, lane in zip(b.windows, b.lanes, strict=True):
            sheet.net([window[-1], lane[0]], b.engine.dk)


def code_nets(sheet: Sheet, writer: EngineCells, targets: _Cells) -> None:
    """Joins every result path, or raw shadow register, with what takes the results."""
    e = writer.engine
    for units, results in zip(writer.units, writer.results, strict=True):
        for unit, result in zip(units, results, strict=False):  # the first lanes are those that drain
            if result:
                sheet.net([result[-1], *targets], e.levels.bit_length())
            else:
                for cell, low, high in _slices(writer.tails(unit), e.acc_bits):
                    sheet.net([cell, *targets], high - low)
