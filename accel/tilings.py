"""How a layout cuts layers into tiles, and which weights stay on chip.

A tile is `blocks` blocks of output channels by `rows` output rows. Its blocks never span a part of two convolution groups:
they are whole groups, or blocks of one group. Of two tiles that follow one another, what they share (rows, or weights) is
loaded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foldwright.accel.schedule import ORDER_NAMES, LayerDecision
from foldwright.accel.tiles import ORDER_ROWS
from foldwright.errors import ConfigError

__all__ = ["LayerTile", "LayerTiling", "layer_tiles", "tilings_of"]


@dataclass(frozen=True, slots=True)
class LayerTiling:
    """What a layout is told of a layer.

    Attributes:
        blocks: of output channels in a tile, 0 for all.
        rows: output rows of a tile, 0 for all.
        rows_outside: all tiles of blocks run for the same rows before the next rows; else the other way round.
        streams_weights: the weights of every tile of blocks come from DRAM while the one before computes.
    """

    blocks: int = 0
    rows: int = 0
    rows_outside: bool = False
    streams_weights: bool = False

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, allowed is 0 or more"
            for name in ("blocks", "rows")
            if getattr(self, name) < 0
        ]
        if wrong:
            raise ConfigError("tiling: " + "; ".join(wrong))


@dataclass(frozen=True, slots=True)
class LayerTile:
    """A tile: half-open ranges of convolution groups, of blocks in each of them, and of output rows.

    `part` counts the tiles of blocks, `row_tile` those of rows; blocks `first_block` and up of the layer, `blocks_count` of them.
    """

    part: int
    row_tile: int
    groups: tuple[int, int]
    blocks: tuple[int, int]
    rows: tuple[int, int]
    first_block: int

    @property
    def blocks_count(self) -> int:
        return (self.groups[1] - self.groups[0]) * (self.blocks[1] - self.blocks[0])


def layer_tiles(
    groups: int, blocks_per_group: int, height: int, tiling: LayerTiling
) -> tuple[LayerTile, ...]:
    """Returns the tiles of a layer of `height` output rows in the order in which they run.

    >>> [(t.groups, t.blocks, t.rows) for t in layer_tiles(1, 3, 4, LayerTiling(2, 2, rows_outside=True))]
    [((0, 1), (0, 2), (0, 2)), ((0, 1), (2, 3), (0, 2)), ((0, 1), (0, 2), (2, 4)), ((0, 1), (2, 3), (2, 4))]
    """
    parts = _parts(groups, blocks_per_group, tiling.blocks or groups * blocks_per_group)
    step = tiling.rows or height
    rows = [(low, min(low + step, height)) for low in range(0, height, step)]
    order = [(p, y) for p in range(len(parts)) for y in range(len(rows))]
    if tiling.rows_outside:
        order.sort(key=lambda place: (place[1], place[0]))
    return tuple(
        LayerTile(p, y, *parts[p], rows[y], parts[p][0][0] * blocks_per_group + parts[p][1][0])
        for p, y in order
    )


def _parts(groups: int, per_group: int, blocks: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Returns the tiles of blocks as (groups, blocks in each)."""
    if blocks >= per_group:
        step = blocks // per_group
        return [((g, min(g + step, groups)), (0, per_group)) for g in range(0, groups, step)]
    return [
        ((g, g + 1), (b, min(b + blocks, per_group)))
        for g in range(groups)
        for b in range(0, per_group, blocks)
    ]


def tilings_of(decisions: Sequence[LayerDecision]) -> dict[int, LayerTiling]:
    """Returns the tilings that a schedule's decisions mean, by index of the layer.

    Tiles of rows are kept where rows come from DRAM, tiles of blocks where weights do; elsewhere they would only cost.
    """
    out = {}
    for i, d in enumerate(decisions):
        streams = not d.weights_pinned
        out[i] = LayerTiling(
            blocks=d.tile_blocks if streams else 0,
            rows=0 if i else d.tile_rows,
            rows_outside=ORDER_NAMES.index(d.outer_loop) == ORDER_ROWS,
            streams_weights=streams,
        )
    return out
