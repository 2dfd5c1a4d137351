"""The fields of a writer for a tile: what the program gives it before `go`.

| field | meaning |
|---|---|
| `raw` | results are raw accumulators, for DRAM |
| `route` | the target's number, or `WriterShape.store_route` |
| `blocks`, `frames`, `rows`, `columns` | turns of the loops: frames or groups of them, columns or groups of them |
| `last_group`, `last_mask` | the last lane group that is real, in the last group of frames or columns; its real lanes |
| `writes` | words of a beat, one plane group each: how many cycles beats must be apart |
| `code_offset` | added to results behind pooling, modulo 2^result_bits |
| `close_x`, `wrap_x`, `overlap_x` | position in the window that ends it, behind which it starts again, and whether at 1 |
| `start_x`, `finish_x` | position of the first column; the last column ends a window that padding would complete |
| the same in y | for the rows of the tile |
| `average` | windows are summed; only in a writer that has sums |
| `fresh_y` | the tile's first row has nothing in the row memory to go with |
| `pool_keep`, `pool_base` | every block and frame has its own entries in the row memory (rows go on in another tile); the first |
| `map_base` | address of the tile's first result |
| `slot_start`, `slot_last` | slot of the first block; the last slot of a word |
| `part_left`, `part_last` | blocks behind the first one, and behind a group's first one, until a new word must begin |
| `frame_start`, `frame_last` | frame lane (in lane groups) of the first frame; lane behind which `per_frame` is added |
| `per_frame`, `per_row` | address steps |
| `phase_start`, `phase_last`, `lane_start`, `lane_last` | column lanes: phase and lane of the first column, and the last ones |
| `column_step`, `phase_back` | address steps to the next phase or data group, and from the last phase back to the first |
| `plane_step`, `planes` | address step to the next plane group; position of `pa` in the target's list |

Convolution groups are part of `blocks` here. A tile holds whole rows. Rows of a block past a part's last channel
must come as code -`code_offset`, so that they are stored as 0. Where the planes of a word are more than the bits read,
codes behind the offset must not have more bits than are read either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foldwright.accel.map_form import MapForm
from foldwright.accel.workload import Layer, Pool, PoolKind
from foldwright.accel.writer_shape import WriterShape
from foldwright.errors import ConfigError

__all__ = ["ENTRY_CYCLES", "MapPlace", "WriterTile", "pool_entries", "stored_rows", "writer_fields"]

ENTRY_CYCLES = 4
"""From one use of an entry of the row memory to the next."""

_MOST_PHASES = 16
_NO_POOL = Pool(PoolKind.MAX, (1, 1), (1, 1))


@dataclass(frozen=True, slots=True)
class MapPlace:
    """Where a map lies: its form, the writer's target that holds it, and the address of frame 0, row 0."""

    form: MapForm
    target: int = 0
    base: int = 0


@dataclass(frozen=True, slots=True)
class WriterTile:
    """Results of a tile: half-open ranges of blocks and rows of the convolution, frames from 0.

    `place` is None for results that go to DRAM; `raw` accumulators always do.
    """

    layer: Layer
    blocks: tuple[int, int]
    rows: tuple[int, int]
    frames: int = 1
    place: MapPlace | None = None
    raw: bool = False
    code_offset: int = 0
    pool_base: int = 0


def writer_fields(shape: WriterShape, tile: WriterTile) -> dict[str, int]:
    """Returns the fields of a tile by name, none of them negative but address steps.

    Raises:
        ConfigError: the writer cannot do this tile; the message lists all reasons.
    """
    wrong = list(_problems(shape, tile))
    if wrong:
        raise ConfigError(f"results of layer {tile.layer.name!r}: " + "; ".join(wrong))
    layer = tile.layer
    lanes = tile.frames if shape.is_batch else layer.out_width
    groups = -(-lanes // shape.dn)
    real = lanes - (groups - 1) * shape.dn
    beats = -(-real // shape.drain_lanes)
    fields = {
        "raw": int(tile.raw),
        "route": shape.store_route if tile.place is None else tile.place.target,
        "blocks": tile.blocks[1] - tile.blocks[0],
        "frames": groups if shape.is_batch else tile.frames,
        "rows": tile.rows[1] - tile.rows[0],
        "columns": layer.out_width if shape.is_batch else groups,
        "last_group": beats - 1,
        "last_mask": (1 << real - (beats - 1) * shape.drain_lanes) - 1,
        "writes": 1 if tile.place is None else tile.place.form.plane_groups,
    }
    if shape.code_bits:
        fields["code_offset"] = tile.code_offset % (1 << shape.result_bits)
    if shape.pool_words:
        fields |= _pool_fields(tile)
    if shape.sum_bits:
        fields["average"] = int(_pool_of(tile).kind is PoolKind.AVERAGE)
    if tile.place is not None:
        fields |= _place_fields(shape, tile, tile.place)
    return fields


def pool_entries(shape: WriterShape, tile: WriterTile) -> int:
    """Returns how many entries of the row memory a tile uses."""
    pool = _pool_of(tile)
    if pool.kernel[0] == 1:
        return 0
    entries = tile.layer.stored_width
    frames = -(-tile.frames // shape.dn) if shape.is_batch else tile.frames
    if shape.is_batch:
        entries *= (
            min(shape.lane_groups, -(-tile.frames // shape.drain_lanes)) if frames == 1 else shape.lane_groups
        )
    if _keeps(tile):
        entries *= (tile.blocks[1] - tile.blocks[0]) * frames
    return entries


def stored_rows(layer: Layer, rows: int) -> int:
    """Returns how many rows have left when that many rows of a convolution have come."""
    if layer.pool is None or rows == layer.out_height:
        return layer.stored_height if rows == layer.out_height else rows
    return _walk(layer.pool, 0, rows).ended


def _pool_of(tile: WriterTile) -> Pool:
    return _NO_POOL if tile.layer.pool is None or tile.raw else tile.layer.pool


@dataclass(frozen=True, slots=True)
class _Walk:
    """One axis of the windows after `count` positions: place in the window, windows ended."""

    position: int
    ended: int
    in_window: bool  # the last position was inside a window but did not end it


def _walk(pool: Pool, axis: int, count: int) -> _Walk:
    kernel, stride = pool.kernel[axis], pool.stride[axis]
    position, ended, in_window = pool.padding[axis], 0, False
    for _ in range(count):
        full = position == kernel - 1
        ended += full
        in_window = not full and position < kernel
        position = int(kernel > stride) if position == max(kernel, stride) - 1 else position + 1
    return _Walk(position, ended, in_window)


def _keeps(tile: WriterTile) -> bool:
    """Whether the row memory holds something from the tile before or for the tile behind."""
    pool, (low, high) = _pool_of(tile), tile.rows
    cuts = [row for row in (low, high) if 0 < row < tile.layer.out_height]
    return pool.kernel[0] > 1 and any(_walk(pool, 0, row).position for row in cuts)


def _pool_fields(tile: WriterTile) -> dict[str, int]:
    pool, layer, (low, high) = _pool_of(tile), tile.layer, tile.rows
    fields = {}
    for axis, name, size in ((0, "y", layer.out_height), (1, "x", layer.out_width)):
        kernel, stride = pool.kernel[axis], pool.stride[axis]
        fields[f"close_{name}"] = kernel - 1
        fields[f"wrap_{name}"] = max(kernel, stride) - 1
        fields[f"overlap_{name}"] = int(kernel > stride)
        fields[f"finish_{name}"] = int(_walk(pool, axis, size).in_window and _is_cut(pool, axis, size))
    fields["finish_y"] &= high == layer.out_height
    fields["start_x"] = pool.padding[1]
    fields["start_y"] = _walk(pool, 0, low).position
    return fields | {"fresh_y": int(low == 0), "pool_keep": int(_keeps(tile)), "pool_base": tile.pool_base}


def _is_cut(pool: Pool, axis: int, size: int) -> bool:
    """Whether padding ends the last window."""
    return _windows(pool, axis, size) > _walk(pool, axis, size).ended


def _windows(pool: Pool, axis: int, size: int) -> int:
    padding = pool.padding[axis] + pool.padding[axis + 2]
    return (size + padding - pool.kernel[axis]) // pool.stride[axis] + 1


def _place_fields(shape: WriterShape, tile: WriterTile, place: MapPlace) -> dict[str, int]:
    form, target = place.form, place.form.target
    word, slot = form.word_of_block(tile.blocks[0])
    in_group = tile.blocks[0] % form.blocks_per_group
    row = _walk(_pool_of(tile), 0, tile.rows[0]).ended
    left, dn = form.consumer.padding[1], target.dn
    group, lane = (0, 0) if target.is_batch else divmod(left // form.phases, dn)
    phase = left % form.phases
    start = (group * form.phases + phase) * form.phase_words
    frame_lanes = shape.lane_groups if shape.drain_lanes > 1 else dn
    return {
        "map_base": place.base + word + row * form.row_words + start,
        "slot_start": slot,
        "slot_last": form.slots - 1,
        "part_left": form.blocks_per_group - 1 - in_group,
        "part_last": form.blocks_per_group - 1,
        "frame_start": 0,
        "frame_last": frame_lanes - 1 if target.is_batch else 0,
        "per_frame": form.frame_words,
        "per_row": form.row_words,
        "phase_start": phase,
        "phase_last": form.phases - 1,
        "lane_start": lane,
        "lane_last": 0 if target.is_batch else dn - 1,
        "column_step": form.phase_words,
        "phase_back": -(form.phases - 1) * form.phase_words,
        "plane_step": form.plane_words,
        "planes": target.planes_per_word.index(form.pa),
    }


def _problems(shape: WriterShape, tile: WriterTile) -> Iterator[str]:
    layer, place = tile.layer, tile.place
    if place is None and not shape.store:
        yield "they go to DRAM, but the writer was built without store"
    if tile.raw and place is not None:
        yield "raw accumulators only go to DRAM"
    if not tile.raw and not shape.code_bits:
        yield "codes are wanted, but the engine has no thresholds"
    if place is not None:
        yield from _place_problems(shape, tile, place)
    if layer.pool is not None and not tile.raw:
        yield from _pool_problems(shape, tile, layer.pool)


def _place_problems(shape: WriterShape, tile: WriterTile, place: MapPlace) -> Iterator[str]:
    form = place.form
    if place.target >= len(shape.targets) or shape.targets[place.target] != form.target:
        yield f"target {place.target} is not the map that they are meant for"
        return
    end = place.base + form.words(tile.frames)
    if end > form.target.words:
        yield f"the map ends at word {end}, the memory has {form.target.words}"
    if form.plane_groups > shape.most_writes or form.consumer.act_bits > shape.result_bits:
        yield f"{form.consumer.act_bits} bits are read, the results have {shape.result_bits}"
    if form.phases > _MOST_PHASES:
        yield f"stride {form.phases} of {form.consumer.name!r}, at most {_MOST_PHASES} is possible"
    if tile.blocks[1] > form.blocks:
        yield f"blocks end at {tile.blocks[1]}, the layer has {form.blocks}"


def _pool_problems(shape: WriterShape, tile: WriterTile, pool: Pool) -> Iterator[str]:
    layer = tile.layer
    if pool.kind is PoolKind.AVERAGE and layer.out_bits > shape.sum_bits:
        yield f"pooled sums have {layer.out_bits} bits, the writer sums {shape.sum_bits}"
    for axis, size in ((0, layer.out_height), (1, layer.out_width)):
        kernel, stride = pool.kernel[axis], pool.stride[axis]
        if kernel > stride + 1 or max(kernel, stride) > shape.longest_window or pool.padding[axis] >= kernel:
            yield f"pooling window {kernel} at stride {stride} with {pool.padding[axis]} pixels of padding in front"
            continue
        walk, windows = _walk(pool, axis, size), _windows(pool, axis, size)
        if windows - walk.ended > walk.in_window:
            yield f"{windows - walk.ended} pooling windows end behind pixel {size - 1}, at most one may"
    entries = tile.pool_base + pool_entries(shape, tile)
    if not shape.pool_words or entries > shape.pool_words:
        yield f"pooling needs {entries} entries of the row memory, it has {shape.pool_words}"
    writes = tile.place.form.plane_groups if tile.place is not None else 1
    columns = layer.out_width if shape.is_batch else -(-layer.out_width // shape.dn)
    if pool.kernel[0] > 1 and columns * shape.lane_groups * writes < ENTRY_CYCLES:
        yield f"a row of {columns} x {shape.lane_groups} beats is shorter than {ENTRY_CYCLES} cycles"
