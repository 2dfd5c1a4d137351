"""What the referee takes for the tiles of an engine: their order in a round, their blocks and rows, in plain Python.

Of fused layers it works out the bands again, row by row, from the layers' shapes alone: it shares no code with
`foldwright.accel.fusion`, which has to agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from foldwright.accel.datapath import Datapath
from foldwright.accel.layer_rules import block_count
from foldwright.accel.schedule import LayerDecision
from foldwright.accel.workload import Layer, Workload

__all__ = ["Group", "RuledTile", "engine_tiles", "groups_of", "rows_read"]


@dataclass(frozen=True, slots=True)
class RuledTile:
    """A tile of a layer: its first block and row, before pooling, and how many."""

    layer: str
    block: int
    blocks: int
    row: int
    rows: int


@dataclass(frozen=True)
class Group:
    """Layers first..last of a workload, which run in turns if they are several."""

    workload: Workload
    decisions: Sequence[LayerDecision]
    first: int
    last: int

    @property
    def is_fused(self) -> bool:
        return self.last > self.first

    @cached_property
    def ends(self) -> dict[int, list[int]]:
        """The output rows that each layer has computed after each band."""
        last, decision = self.workload.layers[self.last], self.decisions[self.last]
        ends = {self.last: [*range(decision.tile_rows, last.out_height, decision.tile_rows), last.out_height]}
        bands = len(ends[self.last])
        for i in reversed(range(self.first, self.last)):
            layer = self.workload.layers[i]
            readers = [c for c in self.workload.consumers(layer.name) if c <= self.last]
            ends[i] = [layer.out_height] * bands
            for b in range(bands - 1):
                wanted = [self._reads(c, i, 0, ends[c][b])[1] for c in readers]
                rows = max(wanted) if readers else -(-layer.stored_height * (b + 1) // bands)
                ends[i][b] = self.rows_for(i, rows)
        return ends

    def rows_for(self, maker: int, stored: int) -> int:
        """Returns how many output rows of a layer it takes to complete so many behind its pooling."""
        layer = self.workload.layers[maker]
        return next(r for r in range(layer.out_height + 1) if _complete(layer, r) >= stored)

    def _reads(self, reader: int, maker: int, low: int, high: int) -> tuple[int, int]:
        """Returns from which to before which row of a maker's output a reader's rows low..high - 1 read."""
        layer, made = self.workload.layers[reader], self.workload.layers[maker]
        spans = []
        for place, source in enumerate(layer.inputs):
            if source != made.name or high <= low:
                continue
            if place == 1:
                spans.append((low, high))
            elif layer.in_height != made.stored_height:  # as one vector
                spans.append((0, made.stored_height))
            else:
                spans.append(rows_read(layer, low, high))
        return min((a for a, _ in spans), default=made.stored_height), max((b for _, b in spans), default=0)

    def held_rows(self, maker: int) -> int:
        """Returns how many rows of a layer's output must be on chip at once: all where others than the group read it."""
        layer = self.workload.layers[maker]
        readers = self.workload.consumers(layer.name)
        if not self.is_fused or any(c > self.last for c in readers):
            return layer.stored_height
        held = 0
        for b, end in enumerate(self.ends[maker]):
            unread = [
                self._reads(c, maker, self.ends[c][b - 1] if b else 0, self.workload.layers[c].out_height)[0]
                for c in readers
            ]
            held = max(held, _complete(layer, end) - min(unread, default=layer.stored_height))
        return held

    def read_before(self, reader: int, maker: int, tile: RuledTile) -> int:
        """Returns before which row of a maker's output a tile of a reader reads."""
        return self._reads(reader, maker, tile.row, tile.row + tile.rows)[1]

    def tiles(self, datapath: Datapath) -> list[RuledTile]:
        """Returns the tiles of the group, in the order in which they run."""
        out = []
        if not self.is_fused:
            layer, decision = self.workload.layers[self.first], self.decisions[self.first]
            rows = list(range(0, layer.out_height, decision.tile_rows))
            blocks = self._blocks(datapath, self.first)
            weights_outside = decision.outer_loop == "weights"
            pairs = (
                [(b, r) for b in blocks for r in rows]
                if weights_outside
                else [(b, r) for r in rows for b in blocks]
            )
            for (block, count), row in pairs:
                out.append(
                    RuledTile(layer.name, block, count, row, min(decision.tile_rows, layer.out_height - row))
                )
            return out
        for b in range(len(self.ends[self.last])):
            for i in range(self.first, self.last + 1):
                row, end = self.ends[i][b - 1] if b else 0, self.ends[i][b]
                if end > row:
                    name = self.workload.layers[i].name
                    out += [
                        RuledTile(name, block, n, row, end - row) for block, n in self._blocks(datapath, i)
                    ]
        return out

    def _blocks(self, datapath: Datapath, i: int) -> list[tuple[int, int]]:
        total = block_count(self.workload, self.workload.layers[i], datapath.engines[datapath.assignment[i]])
        size = self.decisions[i].tile_blocks
        return [(block, min(size, total - block)) for block in range(0, total, size)]


def rows_read(layer: Layer, low: int, high: int) -> tuple[int, int]:
    """Returns from which to before which row of its input a layer's output rows low..high - 1 read."""
    taps = (
        r * layer.stride[0] - layer.padding[0] + k for r in range(low, high) for k in range(layer.kernel[0])
    )
    real = [y for y in taps if 0 <= y < layer.in_height]
    return (min(real), max(real) + 1) if real else (layer.in_height, 0)


def _complete(layer: Layer, rows: int) -> int:
    """Returns the rows behind the pooling whose windows lie in the first output rows."""
    if layer.pool is None or rows >= layer.out_height:
        return rows if layer.pool is None else layer.stored_height
    kernel, stride, pad = layer.pool.kernel[0], layer.pool.stride[0], layer.pool.padding[0]
    return sum(y * stride - pad + kernel <= rows for y in range(layer.stored_height))


def groups_of(workload: Workload, decisions: Sequence[LayerDecision]) -> list[Group]:
    """Returns the groups of all layers, in order; most are of one layer."""
    out, first = [], 0
    for i, decision in enumerate(decisions):
        if not decision.fused:
            out.append(Group(workload, decisions, first, i))
            first = i + 1
    return out


def engine_tiles(
    workload: Workload, datapath: Datapath, decisions: Sequence[LayerDecision], engine: int
) -> list[RuledTile]:
    """Returns the tiles of an engine in a round, in the order in which they run."""
    groups = (g for g in groups_of(workload, decisions) if datapath.assignment[g.first] == engine)
    return [tile for group in groups for tile in group.tiles(datapath)]
