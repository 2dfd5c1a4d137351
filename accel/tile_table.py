"""The tiles of one round of each engine, in order, as rows for the simulator (njit).

A row (int64, TILE_FIELDS; the constants `S_*` are in `foldwright.accel.repeats`) says what a tile loads, computes and stores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    P_ROWS,
    P_SWITCH,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    input_rows,
    is_ahead,
    loads_chunk,
    stored_rows,
    tile_cycles,
)
from foldwright.kernels import njit

__all__ = ["all_tiles", "tile_table"]

IntArray = npt.NDArray[np.int64]


@njit(cache=True)
def tile_table(plans: IntArray, assignment: IntArray, engine: int) -> IntArray:
    """Returns the tiles of one round of an engine in order, int64 (tiles, TILE_FIELDS)."""
    count = 0
    for i in range(len(plans)):
        if assignment[i] == engine:
            count += ceil_div(plans[i, P_BLOCKS], plans[i, P_TILE_BLOCKS]) * ceil_div(
                plans[i, P_ROWS], plans[i, P_TILE_ROWS]
            )
    out = np.zeros((count, TILE_FIELDS), dtype=np.int64)
    k = 0
    for i in range(len(plans)):
        if assignment[i] == engine:
            k = _layer_tiles(plans[i], i, out, k)
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
        if not tiles[k, S_ENDS]:
            continue
        few = max(0, plans[after, P_SWITCH] - tiles[k, S_CYCLES]) if after != tiles[k, S_LAYER] else 0
        tiles[k, S_PAUSE] = few
        if k + 1 == count:
            tiles[k, S_PAUSE] = (few + max(0, plans[after, P_PROGRAM] - tiles[k, S_CYCLES]) + 1) // 2


@njit(cache=True)
def _layer_tiles(p: IntArray, layer: int, out: IntArray, k: int) -> int:
    parts_m = ceil_div(p[P_BLOCKS], p[P_TILE_BLOCKS])
    parts_y = ceil_div(p[P_ROWS], p[P_TILE_ROWS])
    tiles, reloads, ahead = parts_m * parts_y, parts_y > 1 and p[P_ORDER] == ORDER_WEIGHTS, is_ahead(p)
    for step in range(tiles):
        m, y = (
            (step // parts_y, step % parts_y)
            if p[P_ORDER] == ORDER_WEIGHTS
            else (step % parts_m, step // parts_m)
        )
        block, row = m * p[P_TILE_BLOCKS], y * p[P_TILE_ROWS]
        blocks, rows = min(p[P_TILE_BLOCKS], p[P_BLOCKS] - block), min(p[P_TILE_ROWS], p[P_ROWS] - row)
        out[k, S_LAYER], out[k, S_BLOCK], out[k, S_ROW] = layer, block, row
        out[k, S_CYCLES] = tile_cycles(p, blocks, rows)
        if loads_chunk(p, m, y):
            streamed = min(blocks, block + blocks - p[P_PINNED_BLOCKS])
            out[k, S_WEIGHT_BITS] = streamed * p[P_WEIGHT_BITS_PER_BLOCK]
        if p[P_IN_DRAM] and (m == 0 or reloads):
            out[k, S_INPUT_BITS] = input_rows(p, row, row + rows) * p[P_IN_BITS_PER_ROW]
        if ahead:
            out[k, S_REFILL] = _refill(step, tiles, parts_y, 1 if reloads else parts_m, len(out))
        finished = (stored_rows(p, row + rows) - stored_rows(p, row)) * p[P_OUT_BITS_PER_ROW]
        part = finished * (block + blocks) // p[P_BLOCKS] - finished * block // p[P_BLOCKS]
        if p[P_OUT_DRAM]:
            out[k, S_STORE_BITS] = part
        if p[P_RESIDUAL_DRAM]:
            out[k, S_INPUT_BITS] += part
        out[k, S_ENDS] = step + 1 == tiles
        k += 1
    return k


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
def all_tiles(plans: IntArray, assignment: IntArray, engines: int) -> tuple[IntArray, IntArray]:
    """Returns the tiles of all engines, and where each engine's start, int64 (engines + 1,)."""
    starts = np.zeros(engines + 1, dtype=np.int64)
    tables = [tile_table(plans, assignment, e) for e in range(engines)]
    for e in range(engines):
        starts[e + 1] = starts[e] + len(tables[e])
    tiles = np.empty((starts[engines], TILE_FIELDS), dtype=np.int64)
    for e in range(engines):
        tiles[starts[e] : starts[e + 1]] = tables[e]
    return tiles, starts
