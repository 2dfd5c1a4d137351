"""Memory images and programs of layer tiles: what the host writes into an engine's memories.

A weight word holds `dm` rows of `dk / min(planes_per_word)` bits; a layer whose words hold more planes needs
fewer weight bits per step, so several steps (*parts*) share a word. Steps of a block lie in the order of use:
plane, kernel row, channel word, tap (taps by phase).

A feature-map word holds `dn` lanes of `dk` bits, plane after plane. Column lanes: the column x of the padded
map stands in lane `x // stride mod dn`, data group `x // stride // dn`, phase `x mod stride`; batch lanes: a
frame per lane, a data group per column. Addresses count, from inside: channel word, convolution group, plane
group, phase, data group, row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import LaneMode
from foldwright.accel.encoding import Encoding
from foldwright.accel.rtl.program import Field, Slot, Step, TileProgram

__all__ = [
    "MapWindow",
    "Tile",
    "block_channels",
    "map_image",
    "tap_order",
    "tile_program",
    "tile_window",
    "weight_image",
]

Ints = npt.NDArray[np.integer[Any]]
_LONGEST_IDLE = 255


@dataclass(frozen=True, slots=True)
class Tile:
    """Half-open ranges: convolution groups, channel blocks in each, output rows, groups of output columns."""

    groups: tuple[int, int]
    blocks: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def whole(cls, encoding: Encoding) -> Tile:
        """Returns the tile that is the whole layer."""
        layer, columns = encoding.layer, encoding.layer.out_width
        if encoding.engine.lanes is LaneMode.COLUMN:
            columns = -(-columns // encoding.engine.dn)
        return cls((0, layer.groups), (0, encoding.blocks_per_group), (0, layer.out_height), (0, columns))


@dataclass(frozen=True, slots=True)
class MapWindow:
    """The part of a feature map that a memory holds: half-open ranges of rows and data groups."""

    rows: tuple[int, int]
    data_groups: tuple[int, int]


def tap_order(kernel: int, stride: int) -> list[int]:
    """Returns the taps of a kernel row by phase.

    >>> tap_order(5, 2)
    [0, 2, 4, 1, 3]
    """
    return [tap for phase in range(min(stride, kernel)) for tap in range(phase, kernel, stride)]


def block_channels(encoding: Encoding, tile: Tile) -> list[npt.NDArray[np.int64]]:
    """Returns for each block the output channel of every row, -1 past the last."""
    layer, dm, per_part = encoding.layer, encoding.engine.dm, encoding.blocks_per_part
    size = layer.out_channels // (encoding.parts or layer.groups)
    blocks = []
    for group in range(*tile.groups):
        for block in range(*tile.blocks):
            part, block_of_part = divmod(group * encoding.blocks_per_group + block, per_part)
            rows = np.arange(block_of_part * dm, (block_of_part + 1) * dm)
            blocks.append(np.where(rows < size, rows + part * size, -1))
    return blocks


def _order(encoding: Encoding) -> list[int]:
    layer = encoding.layer
    batch = encoding.engine.lanes is LaneMode.BATCH
    return tap_order(layer.kernel[1], 1 if batch else layer.stride[1])


def weight_image(encoding: Encoding, weights: Ints, tile: Tile) -> list[int]:
    """Returns the weight words of a tile, block after block."""
    code, cpw, words = encoding.weight_code, encoding.channels_per_word, encoding.channel_words
    parts = encoding.pa // min(encoding.engine.planes_per_word)
    out: list[int] = []
    ordered = code.bits_of(weights)[..., _order(encoding)]
    for channels in block_channels(encoding, tile):
        bits = ordered[channels]  # (dm, channels, kernel rows, taps)
        planes = np.stack([bits >> k & 1 for k in range(len(code.coefficients))])
        if not code.bipolar:
            planes[:, channels < 0] = 0
        placed = np.full((*planes.shape[:2], words * cpw, *planes.shape[3:]), int(code.bipolar))
        placed[:, :, encoding.places] = planes
        split = placed.reshape(len(planes), len(channels), words, cpw, *planes.shape[3:])
        steps = split.transpose(0, 4, 2, 5, 1, 3).reshape(-1, len(channels), cpw)
        steps = np.pad(steps, ((0, -len(steps) % parts), (0, 0), (0, 0)))
        out += _ints(steps.reshape(-1, parts, len(channels), cpw).transpose(0, 2, 1, 3))
    return out


def tile_window(encoding: Encoding, tile: Tile) -> MapWindow:
    """Returns the smallest window that a tile reads."""
    layer = encoding.layer
    (_, sx), (ky, kx) = layer.stride, layer.kernel
    top, left, _, _ = layer.padding
    first, last = tile.rows[0] * layer.stride[0] - top, (tile.rows[1] - 1) * layer.stride[0] - top + ky
    rows = (max(0, min(first, layer.in_height - 1)), max(1, min(last, layer.in_height)))
    if encoding.engine.lanes is LaneMode.BATCH:
        low, high = tile.columns[0] * sx - left, (tile.columns[1] - 1) * sx - left + kx
        return MapWindow(rows, (max(0, min(low, layer.in_width - 1)), max(1, min(high, layer.in_width))))
    dn = encoding.engine.dn
    positions = -(-(layer.in_width + left) // sx)
    stored = -(-positions // dn)
    reach = (kx - 1) // sx
    return MapWindow(rows, (min(tile.columns[0], stored - 1), min(tile.columns[1] + -(-reach // dn), stored)))


def map_image(encoding: Encoding, frames: Ints, window: MapWindow) -> list[int]:
    """Returns the feature-map words of a window.

    Args:
        frames: stored activations (frames, C, H, W); one frame for column lanes, up to `dn` for batch lanes.
    """
    layer, engine, pa = encoding.layer, encoding.engine, encoding.pa
    rows = frames[:, :, slice(*window.rows)]
    bits = encoding.act_bits_of(rows)
    planes = np.stack(
        [bits >> k & 1 for k in range(len(encoding.act_coefficients))]
    )  # (planes, frames, C, H, W)
    groups = layer.groups
    planes = planes.reshape(*planes.shape[:2], groups, -1, *planes.shape[3:])
    bits_of_plane = encoding.channel_words * encoding.channels_per_word
    placed = np.zeros((*planes.shape[:3], bits_of_plane, *planes.shape[4:]), dtype=planes.dtype)
    placed[:, :, :, encoding.places] = planes
    planes = placed
    count, height = planes.shape[1], planes.shape[4]
    shape = (
        -1,
        pa,
        count,
        groups,
        encoding.channel_words,
        encoding.channels_per_word,
        height,
        planes.shape[5],
    )
    planes = planes.reshape(shape)  # (plane groups, pa, frames, groups, words, channels, H, W)
    low, high = window.data_groups
    if engine.lanes is LaneMode.BATCH:
        planes = np.pad(planes, ((0, 0), (0, 0), (0, engine.dn - count), *[(0, 0)] * 5))[..., low:high]
        return _ints(planes.transpose(6, 7, 0, 3, 4, 2, 1, 5).reshape(-1, engine.dn, engine.dk))
    stride, left = layer.stride[1], layer.padding[1]
    span = np.arange(low * engine.dn * stride, high * engine.dn * stride) - left
    real = (span >= 0) & (span < layer.in_width)
    columns = np.where(real, planes[..., np.clip(span, 0, layer.in_width - 1)], 0)[:, :, 0]
    columns = columns.reshape(*columns.shape[:-1], high - low, engine.dn, stride)
    # now (plane groups, pa, groups, words, channels, H, data group, lane, phase)
    return _ints(columns.transpose(5, 6, 8, 0, 2, 3, 7, 1, 4).reshape(-1, engine.dn, engine.dk))


def tile_program(encoding: Encoding, tile: Tile, window: MapWindow, **bases: int) -> TileProgram:
    """Returns the program of a tile.

    Args:
        window: what the map memory holds.
        bases: `map_base`, `weight_base` (words), `threshold_base` and the least `interval` of blocks in cycles; 0
            where absent. The interval is never shorter than the array's drain. `map_padding` columns on the left the map lies
            for, those of the layer where absent; `residual_reads` behind those of a block's operands.
    """
    layer, engine = encoding.layer, encoding.engine
    batch = engine.lanes is LaneMode.BATCH
    (sy, sx), top, left = layer.stride, layer.padding[0], layer.padding[1]
    plane_words = layer.groups * encoding.channel_words
    phase_words = encoding.plane_groups * plane_words
    group_words = phase_words * (1 if batch else sx)
    row_words = group_words * (window.data_groups[1] - window.data_groups[0])
    first_row = tile.rows[0] * sy - top
    first_column = tile.columns[0] * (sx if batch else 1)
    first_group = first_column - (left if batch else 0)
    smallest = max(engine.planes_per_word) // min(engine.planes_per_word)
    step = max(engine.planes_per_word) // encoding.pa
    per_plane = layer.taps * encoding.channel_words * step
    planes = len(encoding.weight_code.coefficients)
    per_block = -(-planes * per_plane // smallest) * smallest
    base = (first_row - window.rows[0]) * row_words + (first_group - window.data_groups[0]) * group_words
    fields = {
        Field.GROUPS: tile.groups[1] - tile.groups[0],
        Field.BLOCKS: tile.blocks[1] - tile.blocks[0],
        Field.FRAMES: 1,
        Field.ROWS: tile.rows[1] - tile.rows[0],
        Field.COLUMNS: tile.columns[1] - tile.columns[0],
        Field.KERNEL_ROWS: layer.kernel[0],
        Field.WORDS: encoding.channel_words,
        Field.MAP_BASE: bases.get("map_base", 0) + base + tile.groups[0] * encoding.channel_words,
        Field.MAP_PER_GROUP: encoding.channel_words,
        Field.MAP_PER_FRAME: 0,
        Field.MAP_PER_ROW: sy * row_words,
        Field.MAP_PER_COLUMN: group_words * (sx if batch else 1),
        Field.MAP_PER_KERNEL_ROW: row_words,
        Field.WEIGHT_BASE: bases.get("weight_base", 0) * smallest,
        Field.WEIGHTS_PER_BLOCK: per_block,
        Field.ROW_START: first_row,
        Field.ROW_STEP: sy,
        Field.ROW_LIMIT: layer.in_height,
        Field.COLUMN_START: first_column,
        Field.COLUMN_STEP: sx if batch else 1,
        Field.THRESHOLD_BASE: bases.get("threshold_base", 0),
        Field.WEIGHT_STEP: step,
        Field.PLANES: engine.planes_per_word.index(encoding.pa),
        Field.SOURCE: 0,
    }
    steps = [
        replace(s, map_offset=s.map_offset * plane_words, weight_offset=s.weight_offset * per_plane)
        for s in encoding.steps
    ]
    slots = (
        _batch_slots(encoding, group_words)
        if batch
        else _column_slots(encoding, phase_words, group_words, bases.get("map_padding", left))
    )
    if bases.get("residual_reads"):
        steps.append(Step(idle=True, residual=True, duration=bases["residual_reads"]))
    program = TileProgram(fields, tuple(steps), tuple(slots))
    drain = -(-engine.dn // engine.drain_lanes)
    lacking = max(drain, bases.get("interval", 0)) - program.block_cycles
    while lacking > 0:
        steps.append(Step(idle=True, duration=min(lacking, _LONGEST_IDLE)))
        lacking -= _LONGEST_IDLE
    return replace(program, steps=tuple(steps))


def _column_slots(encoding: Encoding, phase_words: int, group_words: int, left: int) -> list[Slot]:
    layer, dn = encoding.layer, encoding.engine.dn
    stride = layer.stride[1]
    slots = []
    for tap in tap_order(layer.kernel[1], stride):
        ahead, phase = divmod(tap + left - layer.padding[1], stride)
        low, high = max(0, -(-(left - phase) // stride)), -(-(layer.in_width + left - phase) // stride)
        start, fill = ahead == 0, ahead > 0 and (ahead - 1) % dn == 0
        group = 0 if start else 1 + (ahead - 1) // dn
        offset = phase * phase_words + group * group_words
        slots.append(Slot(offset, group, start, fill, divmod(low, dn), divmod(high, dn)))
    return slots


def _batch_slots(encoding: Encoding, group_words: int) -> list[Slot]:
    layer = encoding.layer
    low, high = (layer.padding[1], 0), (layer.padding[1] + layer.in_width, 0)
    return [Slot(tap * group_words, tap, True, False, low, high) for tap in range(layer.kernel[1])]


def _ints(bits: npt.NDArray[Any]) -> list[int]:
    """Returns each row of bits, the first lowest, as an int."""
    octets = np.packbits(bits.reshape(len(bits), -1).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in octets]
