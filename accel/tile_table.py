"""The tiles of one round of each engine, in order, as rows for the simulator (njit).

A row (int64, TILE_FIELDS; the constants `S_*` are in `foldwright.accel.repeats`) says what a tile loads, computes and stores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.fusion import band_ends, group_end
from foldwright.accel.mapping import ceil_div
from foldwright.accel.repeats import (
    S_BACK,
    S_BLOCK,
    S_CYCLES,
    S_ENDS,
    S_INPUT_BITS,
    S_LAYER,
    S_PAUSE,
    S_REFILL,
    S_ROW,
    S_STORE_BITS,
    S_WEIGHT_BITS,
    TILE_FIELDS,
)
from foldwright.accel.tiles import (
    ORDER_WEIGHTS,
    P_BLOCKS,
    P_CHUNK_WORDS,
    P_IN_BITS_PER_ROW,
    P_IN_DRAM,
    P_ORDER,
    P_OUT_BITS_PER_ROW,
    P_OUT_DRAM,
    P_PINNED_BLOCKS,
    P_PLACES,
    P_PROGRAM,
    P_RESIDUAL_DRAM,
    P_ROW_TILES,
    P_ROWS,
    P_SWITCH,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    is_ahead,
    loaded_rows,
    loads_chunk,
    stored_rows,
    tile_cycles,
)
from foldwright.kernels import njit

__all__ = ["all_tiles", "tile_table"]

IntArray = npt.NDArray[np.int64]


@njit(cache=True)
def tile_table(layers: IntArray, plans: IntArray, assignment: IntArray, engine: int) -> IntArray:
    """Returns the tiles of one round of an engine in order, int64 (tiles, TILE_FIELDS)."""
    count = 0
    for i in range(len(plans)):
        if assignment[i] == engine:
            count += ceil_div(plans[i, P_BLOCKS], plans[i, P_TILE_BLOCKS]) * plans[i, P_ROW_TILES]
    out = np.zeros((count, TILE_FIELDS), dtype=np.int64)
    i, k = 0, 0
    while i < len(plans):
        last = group_end(plans, i)
        if assignment[i] == engine and last > i:
            k = _group_tiles(layers, plans, i, last, out, k)
        elif assignment[i] == engine:
            k = _layer_tiles(plans[i], i, out, k)
        i = last + 1
    _set_pauses(plans, out)
    _set_backs(plans, out)
    return out


@njit(cache=True)
def _set_backs(plans: IntArray, tiles: IntArray) -> None:
    """Writes how many tiles before one the last tile is that uses what lies in the place of its chunk: as many chunks before
    as there are places.
    """
    count, loads = len(tiles), 0
    at, leaves = (
        np.empty(count, dtype=np.int64),
        np.empty(count, dtype=np.int64),
    )  # tile of a chunk, its last user
    for t in range(count):
        if tiles[t, S_WEIGHT_BITS] > 0:
            at[loads] = t
            loads += 1
        plan = plans[tiles[t, S_LAYER]]
        streams = plan[P_CHUNK_WORDS] > 0 and tiles[t, S_BLOCK] + plan[P_TILE_BLOCKS] > plan[P_PINNED_BLOCKS]
        if loads and streams and tiles[at[loads - 1], S_LAYER] == tiles[t, S_LAYER]:
            leaves[loads - 1] = t
    for k in range(loads):
        before = k - min(plans[tiles[at[k], S_LAYER], P_PLACES], loads)
        tiles[at[k], S_BACK] = at[k] - leaves[before % loads] - before // loads * count


@njit(cache=True)
def _set_pauses(plans: IntArray, tiles: IntArray) -> None:
    """Writes how long an engine waits behind each tile of a round for the words of the next one's program.

    They are read from the tile's start on. Those behind the last are few in one round and all of them in the other.
    """
    count = len(tiles)
    for k in range(count):
        after = tiles[(k + 1) % count, S_LAYER]
        if after == tiles[k, S_LAYER] and k + 1 < count:
            continue
        few = max(0, plans[after, P_SWITCH] - tiles[k, S_CYCLES]) if after != tiles[k, S_LAYER] else 0
        tiles[k, S_PAUSE] = few
        if k + 1 == count:
            tiles[k, S_PAUSE] = (few + max(0, plans[after, P_PROGRAM] - tiles[k, S_CYCLES]) + 1) // 2


@njit(cache=True)
def _layer_tiles(p: IntArray, layer: int, out: IntArray, k: int) -> int:
    parts_m = ceil_div(p[P_BLOCKS], p[P_TILE_BLOCKS])
    parts_y = p[P_ROW_TILES]
    tiles, reloads, ahead = parts_m * parts_y, parts_y > 1 and p[P_ORDER] == ORDER_WEIGHTS, is_ahead(p)
    for step in range(tiles):
        m, y = (
            (step // parts_y, step % parts_y)
            if p[P_ORDER] == ORDER_WEIGHTS
            else (step % parts_m, step // parts_m)
        )
        block, row = m * p[P_TILE_BLOCKS], y * p[P_TILE_ROWS]
        blocks, rows = min(p[P_TILE_BLOCKS], p[P_BLOCKS] - block), min(p[P_TILE_ROWS], p[P_ROWS] - row)
        if p[P_IN_DRAM] and (m == 0 or reloads):
            out[k, S_INPUT_BITS] = loaded_rows(p, row, row + rows) * p[P_IN_BITS_PER_ROW]
        if ahead:
            out[k, S_REFILL] = _refill(step, tiles, parts_y, 1 if reloads else parts_m, len(out))
        _write_tile(p, layer, (block, blocks), (row, rows), loads_chunk(p, m, y), out[k])
        out[k, S_ENDS] = step + 1 == tiles
        k += 1
    return k


@njit(cache=True)
def _write_tile(
    p: IntArray, layer: int, blocks: tuple[int, int], rows: tuple[int, int], loads: bool, out: IntArray
) -> None:
    """Writes what a tile computes, the weights that it loads and what it stores.

    Args:
        blocks: the first one and how many; `rows` likewise.
        loads: whether a chunk of weights comes for it.
    """
    out[S_LAYER], out[S_BLOCK], out[S_ROW] = layer, blocks[0], rows[0]
    out[S_CYCLES] = tile_cycles(p, blocks[1], rows[1])
    if loads:
        streamed = min(blocks[1], blocks[0] + blocks[1] - p[P_PINNED_BLOCKS])
        out[S_WEIGHT_BITS] = streamed * p[P_WEIGHT_BITS_PER_BLOCK]
    finished = (stored_rows(p, rows[0] + rows[1]) - stored_rows(p, rows[0])) * p[P_OUT_BITS_PER_ROW]
    part = finished * (blocks[0] + blocks[1]) // p[P_BLOCKS] - finished * blocks[0] // p[P_BLOCKS]
    if p[P_OUT_DRAM]:
        out[S_STORE_BITS] = part
    if p[P_RESIDUAL_DRAM]:
        out[S_INPUT_BITS] += part


@njit(cache=True)
def _group_tiles(layers: IntArray, plans: IntArray, first: int, last: int, out: IntArray, k: int) -> int:
    """Writes the tiles of fused layers: band after band, in each the layers in order; returns where the next tile goes."""
    ends = band_ends(layers, plans, first, last)
    loads = np.full(
        (last - first + 1, ends.shape[1], 2), -1, dtype=np.int64
    )  # tile of a load, its last reader
    loaded = np.zeros(last - first + 1, dtype=np.int64)
    for b in range(ends.shape[1]):
        for i in range(first, last + 1):
            p, row, layer = plans[i], ends[i - first, b - 1] if b else 0, i - first
            rows = ends[layer, b] - row
            if rows == 0:
                continue
            parts_m = ceil_div(p[P_BLOCKS], p[P_TILE_BLOCKS])
            for m in range(parts_m):
                block = m * p[P_TILE_BLOCKS]
                blocks = min(p[P_TILE_BLOCKS], p[P_BLOCKS] - block)
                if p[P_IN_DRAM] and m == 0:
                    out[k, S_INPUT_BITS] = loaded_rows(p, row, row + rows) * p[P_IN_BITS_PER_ROW]
                    loads[layer, loaded[layer], 0] = k
                    loaded[layer] += 1
                _write_tile(p, i, (block, blocks), (row, rows), loads_chunk(p, m, b), out[k])
                out[k, S_ENDS] = row + rows == p[P_ROWS] and m + 1 == parts_m
                k += 1
            if p[P_IN_DRAM]:
                loads[layer, loaded[layer] - 1, 1] = k - 1
    for layer in range(last - first + 1):
        _set_refills(loads[layer, : loaded[layer]], is_ahead(plans[first + layer]), out)
    return k


@njit(cache=True)
def _set_refills(loads: IntArray, ahead: bool, tiles: IntArray) -> None:
    """Writes how many tiles before each load the last tile is that read its copy of the input; the copies take turns."""
    count = len(loads)
    for n in range(count):
        rounds = 0 if n >= 2 else ceil_div(2 - n, count)
        if rounds and not ahead:
            continue  # the layer before lets it come
        tiles[loads[n, 0], S_REFILL] = loads[n, 0] - loads[(n - 2) % count, 1] + rounds * len(tiles)


@njit(cache=True)
def _refill(step: int, tiles: int, parts_y: int, span: int, per_round: int) -> int:
    """Returns how many tiles before one the last tile is that read the copy of the input which this one's load fills.

    Args:
        step: of the layer's `tiles`, of an engine's `per_round`.
        span: tiles that read a copy before the other's turn comes.
    """
    if parts_y == 1:
        return 2 * per_round - tiles + 1
    return span + 1 if step >= 2 * span else per_round - tiles + span + 1


@njit(cache=True)
def all_tiles(
    layers: IntArray, plans: IntArray, assignment: IntArray, engines: int
) -> tuple[IntArray, IntArray]:
    """Returns the tiles of all engines, and where each engine's start, int64 (engines + 1,)."""
    starts = np.zeros(engines + 1, dtype=np.int64)
    tables = [tile_table(layers, plans, assignment, e) for e in range(engines)]
    for e in range(engines):
        starts[e + 1] = starts[e] + len(tables[e])
    tiles = np.empty((starts[engines], TILE_FIELDS), dtype=np.int64)
    for e in range(engines):
        tiles[starts[e] : starts[e + 1]] = tables[e]
    return tiles, starts
