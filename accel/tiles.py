"""How a layer on an engine may be cut into tiles, and what each way costs in words, bits and cycles (njit).

A tile is `blocks` blocks of output channels by `rows` output rows, whole rows wide. The reduction is never cut (an
engine has no path to reload partial sums) and a row is never cut. Two loop orders exist: weights outside (`ORDER_WEIGHTS`:
each weight tile stays while all rows pass) and rows outside (`ORDER_ROWS`). Every ceil class is enumerated, not only
divisors; a class is represented by its smallest tile.

The first `pinned_blocks` blocks of a layer's weights stay on chip for good. Of each tile the others stream: a *chunk*, loaded
anew for every tile of blocks, and where rows are outside for every tile, unless one chunk holds all that streams. Chunks
of an engine's layers take its *places* in turns, each as large as the largest chunk.

An input from DRAM comes in copies of what one tile reads, used in turns: two where there are several tiles of rows, or where
an image's next round is loaded meanwhile (`is_ahead`), else one. Rows that two tiles share are loaded with both, or, where a
network's tables say so (`N_KEEPS_ROWS`), stay: then a sweep loads every row once, and what holds them is a ring with room for
a tile's rows and those that the next one adds. In DRAM words of
weights, the pixels of an image, and the items of results that leave the accelerator are padded to whole beats (`export.dram`);
tensors between layers, which are not built in DRAM yet, count by their bits.

A plan row (int64, PLAN_FIELDS; constants `P_*`) is a layer with its decisions, ready for `memory` and `simulate`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.mapping import (
    M_BLOCKS,
    M_LATENCY,
    M_PA,
    M_PACKED,
    M_PROGRAM,
    M_ROW_CYCLES,
    M_ROWS,
    M_SWITCH,
    M_WEIGHT_WORD_BITS,
    M_WEIGHT_WORDS_PER_BLOCK,
    ceil_div,
    map_words,
)
from foldwright.accel.tables import (
    E_ACC,
    E_BATCH,
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_SUM,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_IN_H,
    L_IN_W,
    L_INPUT,
    L_IS_RESULT,
    L_KH,
    L_OUT_BITS,
    L_OUT_C,
    L_OUT_H,
    L_PAD_T,
    L_POOL_K,
    L_POOL_PAD,
    L_POOL_S,
    L_SH,
    L_STORED_H,
    L_STORED_W,
)
from foldwright.kernels import njit

__all__ = [
    "N_KEEPS_ROWS",
    "ORDER_ROWS",
    "ORDER_WEIGHTS",
    "PLAN_FIELDS",
    "ceil_classes",
    "chunk_count",
    "input_rows",
    "is_ahead",
    "layer_cycles",
    "loaded_rows",
    "loads_chunk",
    "plan_row",
    "set_input_rows",
    "set_input_words",
    "set_stage_words",
    "standalone_cycles",
    "stored_rows",
    "tile_cycles",
    "tile_options",
    "traffic_bits",
]

IntArray = npt.NDArray[np.int64]

ORDER_WEIGHTS, ORDER_ROWS = 0, 1
N_KEEPS_ROWS = 4
"""Among the numbers of a network's tables: whether rows of an input from DRAM stay for the next tile; not if it is left out."""

DRAM_READ_CYCLES = 40
"""From an address at the port to its first data: through the PS of a Zynq-7000 about 200 ns at 200 MHz (assumed)."""
DRAM_LATENCY_CYCLES = DRAM_READ_CYCLES + 12
"""From a load that may begin to its last data, its beats left out: what DRAM takes, and what the loader takes to ask and to
place (measured on the RTL)."""
TRANSFER_CYCLES = 8
"""How long a load keeps the port besides its beats (measured on the RTL: 7 to 8)."""
HAND_OVER_CYCLES = 7
"""From when something is there, or a place is free, until who waits for it goes on: a token given, asked for and granted."""

# Entries of a plan row. P_WEIGHT_WORDS: of pinned weights. P_CHUNK_WORDS: of the largest chunk. P_PLACES: of the engine.
# P_TILE_ROWS: of the largest tile. P_SWEEP_ROWS: input rows that one sweep over all tiles of rows loads. P_FUSED: with the next
# layer; P_BANDS: of the layer's group, 0 without one; P_HELD_ROWS: of its output on chip; slots: between which it lives.
# P_BUFFER_ROWS: of an input from DRAM.
(
    P_ENGINE, P_BLOCKS, P_ROWS, P_TILE_BLOCKS, P_TILE_ROWS, P_ORDER, P_PINNED_BLOCKS, P_LEAD, P_IN_DRAM, P_OUT_DRAM,
    P_CYCLES_PER_BLOCK_ROW, P_WEIGHT_BITS_PER_BLOCK, P_IN_BITS_PER_ROW, P_OUT_BITS_PER_ROW, P_IN_H, P_KH, P_SH, P_PAD_T,
    P_STORED_H, P_POOL_K, P_POOL_S, P_POOL_PAD, P_WEIGHT_WORDS, P_MAP_WORDS, P_LINE_WORDS, P_STAGE_WORDS, P_LATENCY,
    P_RESIDUAL_DRAM, P_PROGRAM, P_SWITCH, P_FROM_IMAGE, P_CHUNK_WORDS, P_PLACES, P_ROW_TILES, P_SWEEP_ROWS, P_FUSED,
    P_BANDS, P_HELD_ROWS, P_FIRST_SLOT, P_LAST_SLOT, P_KEEPS_ROWS, P_BUFFER_ROWS,
) = range(42)  # fmt: skip
PLAN_FIELDS = 42


@njit(cache=True)
def ceil_classes(size: int) -> IntArray:
    """Returns the smallest tile of every class of ceil(size / tile), ascending, int64 (classes,)."""
    out = np.empty(2 * int(np.sqrt(size)) + 2, dtype=np.int64)
    n, parts = 0, size
    while parts >= 1:
        tile = ceil_div(size, parts)
        real = ceil_div(size, tile)
        out[n] = tile
        n += 1
        # The next class has fewer parts: the tile one larger than this class allows.
        largest = size if real == 1 else ceil_div(size, real - 1) - 1
        parts = 0 if largest >= size else ceil_div(size, largest + 1)
    return out[:n]


@njit(cache=True)
def input_rows(plan: IntArray, row_from: int, row_to: int) -> int:
    """Returns the input rows that output rows row_from..row_to - 1 read."""
    low = max(0, row_from * plan[P_SH] - plan[P_PAD_T])
    high = min(plan[P_IN_H], (row_to - 1) * plan[P_SH] - plan[P_PAD_T] + plan[P_KH])
    return max(0, high - low)


@njit(cache=True)
def loaded_rows(plan: IntArray, row_from: int, row_to: int) -> int:
    """Returns the input rows that come for output rows row_from..row_to - 1: all that they read, or those that are new."""
    rows = input_rows(plan, row_from, row_to)
    if plan[P_KEEPS_ROWS] and row_from > 0:
        kept = (row_from - 1) * plan[P_SH] - plan[P_PAD_T] + plan[P_KH]
        rows = min(
            rows, max(0, min(plan[P_IN_H], (row_to - 1) * plan[P_SH] - plan[P_PAD_T] + plan[P_KH]) - kept)
        )
    return rows


@njit(cache=True)
def set_input_rows(plan: IntArray, ends: IntArray) -> None:
    """Writes the rows that a sweep loads and those of the buffer, given the output rows before which each tile ends."""
    sweep, most, most_kept, before = 0, 0, 0, 0
    for k in range(len(ends)):
        if ends[k] == before:
            continue
        rows = input_rows(plan, before, ends[k])
        after = k + 1
        while after < len(ends) and ends[after] == ends[k]:
            after += 1
        added = loaded_rows(plan, ends[k], ends[after]) if after < len(ends) else 0
        sweep += loaded_rows(plan, before, ends[k])
        most, most_kept, before = max(most, rows), max(most_kept, rows + added), ends[k]
    again = (
        plan[P_ORDER] == ORDER_WEIGHTS and plan[P_TILE_BLOCKS] < plan[P_BLOCKS]
    )  # the last tile's rows, then the first's
    if plan[P_ROW_TILES] == 1:
        plan[P_BUFFER_ROWS] = plan[P_IN_H] * (2 if is_ahead(plan) else 1)
    elif plan[P_KEEPS_ROWS] and not again and not is_ahead(plan):
        plan[P_BUFFER_ROWS] = min(plan[P_IN_H], most_kept)
    else:
        if not plan[P_KEEPS_ROWS] and not plan[P_BANDS]:  # as the RTL sizes copies: no tile at an edge
            most = (plan[P_TILE_ROWS] - 1) * plan[P_SH] + plan[P_KH]
        plan[P_BUFFER_ROWS] = 2 * min(plan[P_IN_H], most)
    plan[P_SWEEP_ROWS] = sweep


@njit(cache=True)
def _tile_ends(plan: IntArray) -> IntArray:
    """Returns the output rows before which each tile of rows ends."""
    return np.minimum(np.arange(1, plan[P_ROW_TILES] + 1) * plan[P_TILE_ROWS], plan[P_ROWS])


@njit(cache=True)
def is_ahead(plan: IntArray) -> bool:
    """Whether two copies of an image stay, so that a round's is loaded while the one before is read."""
    return plan[P_IN_DRAM] and plan[P_LEAD] > 0 and plan[P_FROM_IMAGE]


@njit(cache=True)
def chunk_count(plan: IntArray) -> int:
    """Returns how many chunks of weights stream in a round."""
    parts_m = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS])
    chunks = parts_m - plan[P_PINNED_BLOCKS] // plan[P_TILE_BLOCKS]
    if plan[P_PINNED_BLOCKS] >= plan[P_BLOCKS]:
        return 0
    if plan[P_BANDS] or (plan[P_ORDER] == ORDER_ROWS and chunks > 1):
        chunks *= plan[P_ROW_TILES]
    return chunks


@njit(cache=True)
def loads_chunk(plan: IntArray, m: int, y: int) -> bool:
    """Whether a chunk comes for the tile of blocks `m` and rows `y`."""
    first = plan[P_PINNED_BLOCKS] // plan[P_TILE_BLOCKS]
    parts_m = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS])
    if plan[P_PINNED_BLOCKS] >= plan[P_BLOCKS] or m < first:
        return False
    return y == 0 or plan[P_BANDS] > 0 or (plan[P_ORDER] == ORDER_ROWS and parts_m - first > 1)


@njit(cache=True)
def layer_cycles(plan: IntArray) -> int:
    """Returns the cycles of all tiles of a layer in a round, waits between them left out."""
    tiles = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS]) * plan[P_ROW_TILES]
    return plan[P_BLOCKS] * plan[P_ROWS] * plan[P_CYCLES_PER_BLOCK_ROW] + tiles * plan[P_LATENCY]


@njit(cache=True)
def tile_cycles(plan: IntArray, blocks: int, rows: int) -> int:
    """Returns the cycles of a tile from its start until its results are in memory."""
    return blocks * rows * plan[P_CYCLES_PER_BLOCK_ROW] + plan[P_LATENCY]


@njit(cache=True)
def stored_rows(plan: IntArray, rows: int) -> int:
    """Returns how many rows behind the pooling are complete after `rows` output rows of the convolution."""
    if rows >= plan[P_ROWS]:
        return plan[P_STORED_H]
    done = (rows + plan[P_POOL_PAD] - plan[P_POOL_K]) // plan[P_POOL_S] + 1
    return min(max(done, 0), plan[P_STORED_H])


@njit(cache=True)
def plan_row(
    layer: IntArray,
    engine: IntArray,
    mapping: IntArray,
    numbers: IntArray,
    tile: IntArray,
    flags: IntArray,
    out: IntArray,
) -> None:
    """Writes the plan row of a layer with its decisions.

    Args:
        numbers: frames per round and DRAM bits per cycle come first; 0 bits where nobody asks what moves.
        tile: (blocks, rows, order).
        flags: (engine index, pinned blocks, lead of an input from DRAM, input from DRAM, output to DRAM, residual from DRAM).

    Of fused layers `foldwright.accel.fusion.set_groups` says the rest.
    """
    out[:] = 0
    batch, beat_bits = numbers[0], numbers[1]
    out[P_ENGINE], out[P_PINNED_BLOCKS], out[P_LEAD] = flags[0], flags[1], flags[2]
    out[P_IN_DRAM], out[P_OUT_DRAM], out[P_RESIDUAL_DRAM] = flags[3], flags[4], flags[5]
    out[P_BLOCKS], out[P_ROWS], out[P_FROM_IMAGE] = mapping[M_BLOCKS], mapping[M_ROWS], layer[L_INPUT] < 0
    out[P_TILE_BLOCKS], out[P_TILE_ROWS], out[P_ORDER] = tile
    out[P_ROW_TILES] = ceil_div(out[P_ROWS], out[P_TILE_ROWS])
    out[P_LATENCY], out[P_PROGRAM], out[P_SWITCH] = mapping[M_LATENCY], mapping[M_PROGRAM], mapping[M_SWITCH]
    out[P_CYCLES_PER_BLOCK_ROW] = mapping[M_ROW_CYCLES]
    word_bits = mapping[M_WEIGHT_WORD_BITS]
    if beat_bits:
        word_bits = ceil_div(word_bits, beat_bits) * beat_bits
    out[P_WEIGHT_BITS_PER_BLOCK] = mapping[M_WEIGHT_WORDS_PER_BLOCK] * word_bits
    if beat_bits and out[P_IN_DRAM]:
        out[P_IN_BITS_PER_ROW] = batch * layer[L_IN_W] * _pixel_bits(layer, engine, mapping, beat_bits)
    if beat_bits and (out[P_OUT_DRAM] or out[P_RESIDUAL_DRAM]):
        out[P_OUT_BITS_PER_ROW] = layer[L_STORED_W] * _result_bits(layer, engine, mapping, batch, beat_bits)
    out[P_IN_H], out[P_KH], out[P_SH], out[P_PAD_T] = layer[L_IN_H], layer[L_KH], layer[L_SH], layer[L_PAD_T]
    out[P_STORED_H], out[P_POOL_K] = layer[L_STORED_H], layer[L_POOL_K]
    out[P_POOL_S], out[P_POOL_PAD] = layer[L_POOL_S], layer[L_POOL_PAD]
    out[P_HELD_ROWS] = out[P_STORED_H]
    out[P_WEIGHT_WORDS] = out[P_PINNED_BLOCKS] * mapping[M_WEIGHT_WORDS_PER_BLOCK]
    streamed = min(out[P_TILE_BLOCKS], out[P_BLOCKS] - out[P_PINNED_BLOCKS])
    out[P_CHUNK_WORDS] = streamed * mapping[M_WEIGHT_WORDS_PER_BLOCK]
    if out[P_IN_DRAM]:
        out[P_KEEPS_ROWS] = len(numbers) > N_KEEPS_ROWS and numbers[N_KEEPS_ROWS]
        set_input_words(layer, engine, mapping, batch, _tile_ends(out), out)
    if out[P_OUT_DRAM]:
        set_stage_words(layer, engine, batch, out)


@njit(cache=True)
def _pixel_bits(layer: IntArray, engine: IntArray, mapping: IntArray, beat_bits: int) -> int:
    """Returns the bits that a pixel of the input takes in DRAM, a frame's: of an image whole beats."""
    bits = layer[L_IN_C] * layer[L_A_BITS]
    if layer[L_INPUT] >= 0:
        return bits
    if mapping[M_PACKED]:
        return ceil_div(bits, beat_bits) * beat_bits
    words = layer[L_GROUPS] * ceil_div(layer[L_IN_C] // layer[L_GROUPS], engine[E_DK] // mapping[M_PA])
    words *= ceil_div(layer[L_A_BITS], mapping[M_PA])
    return words * ceil_div(engine[E_DK], beat_bits) * beat_bits


@njit(cache=True)
def _result_bits(layer: IntArray, engine: IntArray, mapping: IntArray, batch: int, beat_bits: int) -> int:
    """Returns the bits that a pixel of the output takes in DRAM, all frames': of results items of whole beats.

    An item is what the writer lets go at once: a block of some lanes, each value as wide as an accumulator.
    """
    if not layer[L_IS_RESULT]:
        return batch * layer[L_OUT_C] * layer[L_OUT_BITS]
    item, items = engine[E_DM] * max(engine[E_ACC], engine[E_SUM], layer[L_OUT_BITS]), batch
    if engine[E_BATCH]:
        item *= engine[E_DRAIN]
        full, rest = batch // engine[E_DN], batch % engine[E_DN]
        items = full * ceil_div(engine[E_DN], engine[E_DRAIN]) + ceil_div(rest, engine[E_DRAIN])
    return mapping[M_BLOCKS] * items * ceil_div(item, beat_bits) * beat_bits


@njit(cache=True)
def set_input_words(
    layer: IntArray, engine: IntArray, mapping: IntArray, batch: int, ends: IntArray, out: IntArray
) -> None:
    """Sizes what holds an input from DRAM: copies of a tile's rows, a ring of rows, or the whole tensor; see `set_input_rows`."""
    set_input_rows(out, ends)
    rows = out[P_BUFFER_ROWS]
    if mapping[M_PACKED]:
        columns = layer[L_IN_W] * ceil_div(batch, engine[E_DN])
        if not engine[E_BATCH]:
            columns = batch * ceil_div(layer[L_IN_W], engine[E_DN])
        out[P_LINE_WORDS] = rows * columns
    else:
        total = map_words(layer, batch, mapping[M_PA], engine[E_DK], engine[E_DN], engine[E_BATCH])
        out[P_MAP_WORDS] = rows * (total // layer[L_IN_H])


@njit(cache=True)
def set_stage_words(layer: IntArray, engine: IntArray, batch: int, out: IntArray) -> None:
    """Sizes the stage buffer of an output on its way to DRAM: two tiles of results, or all of them."""
    many_blocks, many_rows = out[P_TILE_BLOCKS] < out[P_BLOCKS], out[P_ROW_TILES] > 1
    lanes_deep = layer[L_STORED_W] * ceil_div(batch, engine[E_DN])
    if not engine[E_BATCH]:
        lanes_deep = batch * ceil_div(layer[L_STORED_W], engine[E_DN])
    words = ceil_div(out[P_TILE_BLOCKS] * engine[E_DM] * layer[L_OUT_BITS], engine[E_DK])
    rows = layer[L_STORED_H]
    if many_rows:
        rows = min(rows, ceil_div(out[P_TILE_ROWS], layer[L_POOL_S]) + 1)
    out[P_STAGE_WORDS] = (2 if many_blocks or many_rows else 1) * words * rows * lanes_deep


@njit(cache=True)
def traffic_bits(plan: IntArray) -> tuple[int, int]:
    """Returns (bits loaded, bits stored) by one round of a layer."""
    parts_m = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS])
    parts_y = plan[P_ROW_TILES]
    load, first = 0, plan[P_PINNED_BLOCKS] // plan[P_TILE_BLOCKS]
    if plan[P_PINNED_BLOCKS] < plan[P_BLOCKS]:
        anew = plan[P_BANDS] or (plan[P_ORDER] == ORDER_ROWS and parts_m - first > 1)
        sweeps = parts_y if anew else 1
        load += sweeps * (plan[P_BLOCKS] - plan[P_PINNED_BLOCKS]) * plan[P_WEIGHT_BITS_PER_BLOCK]
    if plan[P_IN_DRAM]:
        sweeps = parts_m if plan[P_ORDER] == ORDER_WEIGHTS and parts_y > 1 else 1
        load += sweeps * plan[P_SWEEP_ROWS] * plan[P_IN_BITS_PER_ROW]
    if plan[P_RESIDUAL_DRAM]:
        load += plan[P_STORED_H] * plan[P_OUT_BITS_PER_ROW]
    return load, plan[P_STORED_H] * plan[P_OUT_BITS_PER_ROW] if plan[P_OUT_DRAM] else 0


@njit(cache=True)
def standalone_cycles(plan: IntArray, dram_bits: int) -> int:
    """Returns the cycles of a layer alone: the longer of compute and DRAM, the first load and the last store exposed.

    A round ahead the first load is hidden. A tile may be loaded while one other computes, so a load whose transfer and
    latency take longer than that stalls the engine by half of the difference.
    """
    load, store = traffic_bits(plan)
    parts_m = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS])
    parts_y = plan[P_ROW_TILES]
    compute = layer_cycles(plan)
    rows_outside = plan[P_ORDER] == ORDER_ROWS
    first, loads = 0, chunk_count(plan)
    if plan[P_PINNED_BLOCKS] < plan[P_TILE_BLOCKS]:
        first += (plan[P_TILE_BLOCKS] - plan[P_PINNED_BLOCKS]) * plan[P_WEIGHT_BITS_PER_BLOCK]
    if plan[P_IN_DRAM]:
        if not is_ahead(plan):
            first += input_rows(plan, 0, plan[P_TILE_ROWS]) * plan[P_IN_BITS_PER_ROW]
        loads = max(loads, parts_y if rows_outside or parts_y == 1 else parts_m * parts_y)
    last = 0
    if plan[P_OUT_DRAM]:
        last = plan[P_OUT_BITS_PER_ROW] * plan[P_STORED_H]
        last = ceil_div(last * plan[P_TILE_BLOCKS] * plan[P_TILE_ROWS], plan[P_BLOCKS] * plan[P_ROWS])
    stall = 0
    if loads > 1:
        each = load // loads // dram_bits + TRANSFER_CYCLES + DRAM_LATENCY_CYCLES + HAND_OVER_CYCLES
        stall = (loads - 1) * max(0, each - compute // (parts_m * parts_y)) // 2
    first, last = ceil_div(first, dram_bits), ceil_div(last, dram_bits)
    return max(compute + stall + first + last, ceil_div(max(load, store), dram_bits))


@njit(cache=True)
def tile_options(
    layer: IntArray,
    engine: IntArray,
    mapping: IntArray,
    numbers: IntArray,
    from_image: int,
    most: int,
) -> IntArray:
    """Returns the tiles of a layer that are Pareto-optimal in some residency, int64 (options, 3): blocks, rows, order.

    For each of the contexts (weights pinned or not, input and output on chip or in DRAM, an image loaded a round ahead or
    not) a tile stays that no other beats in words of two chunks, map words and cycles together, large tiles first. Where
    more than `most` remain, an even selection of them is kept, ends included; the last is the smallest tile, the one that
    always fits if any does.
    """
    block_tiles, row_tiles = ceil_classes(mapping[M_BLOCKS]), ceil_classes(layer[L_OUT_H])
    count = len(block_tiles) * len(row_tiles) * 2
    tiles = np.empty((count, 3), dtype=np.int64)
    n = 0
    for b in block_tiles[::-1]:  # large tiles first: among equals the one with the fewest steps stays
        for r in row_tiles[::-1]:
            for order in range(2):
                if order == 1 and (b == block_tiles[-1] or r == row_tiles[-1]):
                    continue  # the orders differ only where both loops are cut
                tiles[n, 0], tiles[n, 1], tiles[n, 2] = b, r, order
                n += 1
    tiles = tiles[:n]
    keep = np.zeros(n, dtype=np.bool_)
    row = np.empty(PLAN_FIELDS, dtype=np.int64)
    cost = np.empty((n, 3), dtype=np.int64)
    for context in range(16):
        in_dram, ahead = 1 if from_image else (context >> 1) & 1, context >> 3
        if ahead and not from_image:
            continue
        pinned = mapping[M_BLOCKS] if context & 1 else 0
        for t in range(n):
            flags = np.array([0, pinned, ahead, in_dram, (context >> 2) & 1, 0])
            plan_row(layer, engine, mapping, numbers, tiles[t], flags, row)
            places = min(2, chunk_count(row))
            cost[t, 0], cost[t, 2] = places * row[P_CHUNK_WORDS], standalone_cycles(row, numbers[1])
            cost[t, 1] = row[P_MAP_WORDS] + row[P_STAGE_WORDS] + row[P_LINE_WORDS]
        _mark_pareto(cost, keep)
    keep[n - 1] = True
    if (
        len(numbers) > N_KEEPS_ROWS and numbers[N_KEEPS_ROWS]
    ):  # of whole rows, as the rule of `envs.tiling.start` has them
        for t in range(n):
            keep[t] |= tiles[t, 1] == row_tiles[-1] and tiles[t, 0] in (block_tiles[0], block_tiles[-1])
    return _thin(tiles[keep], most)


@njit(cache=True)
def _mark_pareto(cost: IntArray, keep: npt.NDArray[np.bool_]) -> None:
    for t in range(len(cost)):
        if keep[t]:
            continue
        beaten = False
        for u in range(len(cost)):
            worse = (cost[t] >= cost[u]).all()
            if worse and ((cost[t] > cost[u]).any() or u < t):
                beaten = True
                break
        keep[t] = not beaten


@njit(cache=True)
def _thin(tiles: IntArray, most: int) -> IntArray:
    n = len(tiles)
    if n <= most:
        return tiles
    out = np.empty((most, 3), dtype=np.int64)
    for k in range(most):
        out[k] = tiles[k * (n - 1) // (most - 1)]
    return out
