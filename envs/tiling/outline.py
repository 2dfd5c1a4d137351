"""A quick outline of what the simulator would say of a schedule, layer by layer instead of tile by tile (njit).

It is right about memory and traffic and roughly right about time, in a hundredth of the simulator's: so that a search may
look at many schedules before it simulates some. A schedule that does not fit has a cost, too, the higher the less it fits, so
that a search can pass through such.

Of an engine, layer after layer over some rounds: weights come in the order of need, a chunk when the chunk that had its place is
done, inputs in their turn; a layer ends when its tiles are computed and its last chunk was there in time for the last
of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import expand, total_traffic
from foldwright.accel.mapping import ceil_div
from foldwright.accel.memory import bram36_in_use, first_fit, grow_places, live_items
from foldwright.accel.tables import L_INPUT, L_IS_RESULT, L_RESIDUAL
from foldwright.accel.tiles import (
    DRAM_LATENCY_CYCLES,
    HAND_OVER_CYCLES,
    ORDER_ROWS,
    P_BANDS,
    P_BLOCKS,
    P_IN_BITS_PER_ROW,
    P_IN_DRAM,
    P_LEAD,
    P_ORDER,
    P_OUT_BITS_PER_ROW,
    P_OUT_DRAM,
    P_PINNED_BLOCKS,
    P_PLACES,
    P_ROW_TILES,
    P_STORED_H,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    TRANSFER_CYCLES,
    chunk_count,
    input_rows,
    is_ahead,
    layer_cycles,
    traffic_bits,
)
from foldwright.kernels import njit

__all__ = ["outline_cycles"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_ROUNDS = 4
_MISFIT_PERCENT, _PER_BLOCK_PERCENT = 10, 3
# Entries of a layer's outline, in cycles but for the count of chunks.
_COMPUTE, _FIRST_INPUT, _INPUTS, _CHUNK, _CHUNKS, _LAST_TILE = range(6)


@njit(cache=True)
def outline_cycles(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> int:  # fmt: skip
    """Returns about how many cycles a round takes; more than that where the choices do not fit the pool."""
    plans = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    depth = first_fit(items, len(engines))
    spare = numbers[2] - bram36_in_use(widths, depth, geometries)
    if spare >= 0:
        grow_places(plans, assignment, widths, geometries, depth, spare, numbers[3])
    load, store = total_traffic(plans)
    transfers, cycles = 0, 0
    for i in range(len(plans)):
        transfers += chunk_count(plans[i])
    cycles = max(ceil_div(load, numbers[1]) + TRANSFER_CYCLES * transfers, ceil_div(store, numbers[1]))
    for e in range(len(engines)):
        cycles = max(cycles, _engine_cycles(layers, plans, assignment, e, numbers[1]))
    if spare < 0:
        cycles += cycles * (_MISFIT_PERCENT - _PER_BLOCK_PERCENT * spare) // 100
    return cycles


@njit(cache=True)
def _outline(layers: IntArray, plans: IntArray, before: int, i: int, dram_bits: int, out: FloatArray) -> None:
    """Writes the entries of a layer; `before` is the one before it on its engine."""
    plan = plans[i]
    parts_m = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS])
    parts_y = plan[P_ROW_TILES]
    tiles = parts_m * parts_y
    out[_COMPUTE], out[_CHUNKS] = layer_cycles(plan), chunk_count(plan)
    out[_LAST_TILE] = out[_COMPUTE] / tiles
    streamed = min(plan[P_TILE_BLOCKS], plan[P_BLOCKS] - plan[P_PINNED_BLOCKS])
    out[_CHUNK] = streamed * plan[P_WEIGHT_BITS_PER_BLOCK] / dram_bits + TRANSFER_CYCLES
    out[_FIRST_INPUT] = out[_INPUTS] = 0.0
    weights = (plan[P_BLOCKS] - plan[P_PINNED_BLOCKS]) * plan[P_WEIGHT_BITS_PER_BLOCK]
    if plan[P_BANDS] or out[_CHUNKS] > parts_m:
        weights *= parts_y
    if plan[P_IN_DRAM] or traffic_bits(plan)[0] > weights:
        loads = parts_y if plan[P_ORDER] == ORDER_ROWS or parts_y == 1 else tiles
        bits = traffic_bits(plan)[0] - weights
        out[_INPUTS] = bits / dram_bits + TRANSFER_CYCLES * loads
        each = out[_INPUTS] / loads + DRAM_LATENCY_CYCLES + 2 * HAND_OVER_CYCLES
        out[_COMPUTE] += (loads - 1) * max(0.0, each - out[_COMPUTE] / loads) / 2
        if not is_ahead(plan) and (plan[P_LEAD] == 0 or layers[i, L_INPUT] == before):
            rows = input_rows(plan, 0, plan[P_TILE_ROWS])
            out[_FIRST_INPUT] = rows * plan[P_IN_BITS_PER_ROW] / dram_bits + DRAM_LATENCY_CYCLES
    if plan[P_OUT_DRAM] and not layers[i, L_IS_RESULT]:
        stored = plan[P_OUT_BITS_PER_ROW] * plan[P_STORED_H] / dram_bits
        out[_COMPUTE] = max(out[_COMPUTE], stored - stored / tiles)
        for c in range(i + 1, len(layers)):
            if layers[c, L_INPUT] == i or layers[c, L_RESIDUAL] == i:
                out[_COMPUTE] += stored / tiles / 2 if c > i + 1 else stored / tiles
                break


@njit(cache=True)
def _engine_cycles(
    layers: IntArray, plans: IntArray, assignment: IntArray, engine: int, dram_bits: int
) -> int:
    """Returns the cycles of an engine's round, the port for itself."""
    mine = np.flatnonzero(assignment == engine)
    n = len(mine)
    if n == 0:
        return 0
    rows = np.empty((n, 6))
    for k in range(n):
        _outline(layers, plans, mine[k - 1], mine[k], dram_bits, rows[k])
    ends = np.zeros(_ROUNDS * n + 1)  # ends[j + 1]: of the j-th layer since the start
    chunks = np.zeros(_ROUNDS * n + 1)  # before each
    places, port, back = plans[mine[0], P_PLACES], 0.0, 0
    for j in range(_ROUNDS * n):
        row = rows[j % n]
        chunks[j + 1] = chunks[j] + row[_CHUNKS]
        end = ends[j] + row[_FIRST_INPUT] + row[_COMPUTE]
        if row[_CHUNKS] > 0:
            first, back = _done(ends, chunks, chunks[j] + 1 - places, back)
            end = max(end, max(port, first) + row[_CHUNK] + row[_COMPUTE])
            last = first
            if (
                row[_CHUNKS] > places
            ):  # its own chunks let each other go: those before the last ones are done at its pace
                last = end - row[_COMPUTE] * places / row[_CHUNKS]
            elif row[_CHUNKS] > 1:
                last, back = _done(ends, chunks, chunks[j + 1] - places, back)
            port = max(port + row[_CHUNK] * row[_CHUNKS] + row[_INPUTS], last + row[_CHUNK])
            # A place is taken from a chunk's load until the tiles that use it have ended.
            taken = row[_CHUNKS] * (row[_CHUNK] + DRAM_LATENCY_CYCLES + 2 * HAND_OVER_CYCLES) + row[_COMPUTE]
            end = max(end, port + row[_LAST_TILE], first + taken / places)
        else:
            port = max(port, ends[j] - row[_INPUTS]) + row[_INPUTS]
            if row[_INPUTS] > 0:
                end = max(end, port)
        ends[j + 1] = end
    return int(ends[_ROUNDS * n] - ends[(_ROUNDS - 1) * n])


@njit(cache=True)
def _done(ends: FloatArray, chunks: FloatArray, count: float, at: int) -> tuple[float, int]:
    """Returns when so many chunks are done, counted from the start, and the layer that the last of them belongs to.

    Args:
        at: the layer of an earlier count.
    """
    if count <= 0:
        return 0.0, at
    while chunks[at + 1] < count:
        at += 1
    share = (count - chunks[at]) / (chunks[at + 1] - chunks[at])
    return ends[at] + share * (ends[at + 1] - ends[at]), at
