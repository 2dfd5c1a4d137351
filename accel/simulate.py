"""Tile-level event simulator: engines, their fetch queues, one DRAM port, tokens between engines (njit).

Events of an engine, in order: *load* (weights, then input rows of a tile) into a double buffer, *compute* of the tile,
*store* of its finished rows. Rules:

- The DRAM port serves one transfer at a time, first come first served; each load arrives `DRAM_LATENCY_CYCLES` after
  its last beat. Loads of an engine keep program order.
- A tile may be loaded when the tile before the last is computed; the first tiles of a layer when the layer `lead + 1`
  places before it is (prefetch across layers and rounds); an input that another layer left in DRAM when it is stored.
- A tile's compute starts when it is loaded, the engine is free, its stage buffer is free, and for a layer's first tile
  when the producers' results have left the result path (`P_LATENCY` cycles after their last word: fill and drain).
- A tensor handed to another engine has two copies: its producer runs at most one round ahead of the reader.

Several rounds run; the first ones fill the pipeline, and cycles per round are measured over the rest. Left out:
refresh and page misses (folded into the usable bits per cycle), bank conflicts between loads and results.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from foldwright.accel.mapping import ceil_div
from foldwright.accel.memory import slots_of
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tiles import (
    ORDER_WEIGHTS,
    P_BLOCKS,
    P_CYCLES_PER_BLOCK_ROW,
    P_IN_BITS_PER_ROW,
    P_IN_DRAM,
    P_LATENCY,
    P_LEAD,
    P_ORDER,
    P_OUT_BITS_PER_ROW,
    P_OUT_DRAM,
    P_PINNED,
    P_RESIDUAL_DRAM,
    P_ROWS,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    input_rows,
    stored_rows,
)

__all__ = ["DRAM_LATENCY_CYCLES", "EVENT_FIELDS", "run_events", "steady_cycles", "tile_table"]

IntArray = npt.NDArray[np.int64]

DRAM_LATENCY_CYCLES = 40
"""From the last address of a read burst to its data: about 200 ns through the PS of a Zynq-7000 at 200 MHz (assumed)."""

MEASURED_ROUNDS = 4
_FAR = 1 << 60

# Entries of a tile row.
S_LAYER, S_WEIGHT_BITS, S_INPUT_BITS, S_CYCLES, S_STORE_BITS, S_BLOCK, S_ROW = range(7)
# Entries of an event row.
V_KIND, V_ENGINE, V_LAYER, V_ROUND, V_TILE, V_START, V_END = range(7)
EVENT_FIELDS = 7
LOAD_WEIGHTS, LOAD_INPUT, COMPUTE, STORE = range(4)


@njit(cache=True)
def tile_table(plans: IntArray, assignment: IntArray, engine: int) -> IntArray:
    """Returns the tiles of one round of an engine in order, int64 (tiles, 7)."""
    count = 0
    for i in range(len(plans)):
        if assignment[i] == engine:
            count += ceil_div(plans[i, P_BLOCKS], plans[i, P_TILE_BLOCKS]) * ceil_div(
                plans[i, P_ROWS], plans[i, P_TILE_ROWS]
            )
    out = np.zeros((count, 7), dtype=np.int64)
    k = 0
    for i in range(len(plans)):
        if assignment[i] == engine:
            k = _layer_tiles(plans[i], i, out, k)
    return out


@njit(cache=True)
def _layer_tiles(p: IntArray, layer: int, out: IntArray, k: int) -> int:
    parts_m = ceil_div(p[P_BLOCKS], p[P_TILE_BLOCKS])
    parts_y = ceil_div(p[P_ROWS], p[P_TILE_ROWS])
    have = 0
    for step in range(parts_m * parts_y):
        m, y = (
            (step // parts_y, step % parts_y)
            if p[P_ORDER] == ORDER_WEIGHTS
            else (step % parts_m, step // parts_m)
        )
        block, row = m * p[P_TILE_BLOCKS], y * p[P_TILE_ROWS]
        blocks, rows = min(p[P_TILE_BLOCKS], p[P_BLOCKS] - block), min(p[P_TILE_ROWS], p[P_ROWS] - row)
        out[k, S_LAYER], out[k, S_BLOCK], out[k, S_ROW] = layer, block, row
        out[k, S_CYCLES] = blocks * rows * p[P_CYCLES_PER_BLOCK_ROW]
        new_weights = y == 0 if p[P_ORDER] == ORDER_WEIGHTS else parts_m > 1 or y == 0
        if new_weights and not p[P_PINNED]:
            out[k, S_WEIGHT_BITS] = blocks * p[P_WEIGHT_BITS_PER_BLOCK]
        if p[P_IN_DRAM]:
            if y == 0 and parts_y > 1 and p[P_ORDER] == ORDER_WEIGHTS:
                have = 0  # the ring of rows starts over with every weight tile
            load, have = input_rows(p, row, row + rows, have)
            out[k, S_INPUT_BITS] = load * p[P_IN_BITS_PER_ROW]
        finished = (stored_rows(p, row + rows) - stored_rows(p, row)) * p[P_OUT_BITS_PER_ROW]
        part = finished * (block + blocks) // p[P_BLOCKS] - finished * block // p[P_BLOCKS]
        if p[P_OUT_DRAM]:
            out[k, S_STORE_BITS] = part
        if p[P_RESIDUAL_DRAM]:
            out[k, S_INPUT_BITS] += part
        k += 1
    return k


@njit(cache=True)
def run_events(
    layers: IntArray,
    plans: IntArray,
    assignment: IntArray,
    engines: int,
    dram_bits: int,
    rounds: int,
    events: IntArray,
) -> tuple[IntArray, int]:
    """Simulates `rounds` rounds.

    Args:
        events: int64 (room, EVENT_FIELDS) that receives the events as far as there is room.

    Returns:
        End of each round in cycles, int64 (rounds,), and the number of events written.
    """
    n = len(layers)
    slot, count = slots_of(assignment, engines)
    most = 0
    starts = np.zeros(engines + 1, dtype=np.int64)
    for e in range(engines):
        starts[e + 1] = starts[e] + len(tile_table(plans, assignment, e))
        most = max(most, starts[e + 1] - starts[e])
    tiles = np.zeros((starts[engines], 7), dtype=np.int64)
    for e in range(engines):
        tiles[starts[e] : starts[e + 1]] = tile_table(plans, assignment, e)
    width = 0
    for e in range(engines):
        width = max(width, count[e])
    layer_end = np.full((engines, rounds * width), _FAR, dtype=np.int64)  # computed, by round * count + slot
    layer_stored = np.full((n, rounds), _FAR, dtype=np.int64)
    # Program counters of the three stages of each engine, in tiles since the start.
    fetch, phase = np.zeros(engines, dtype=np.int64), np.zeros(engines, dtype=np.int64)
    compute, store = np.zeros(engines, dtype=np.int64), np.zeros(engines, dtype=np.int64)
    loaded = np.full((engines, most * rounds), _FAR, dtype=np.int64)
    computed = np.full((engines, most * rounds), _FAR, dtype=np.int64)
    stored = np.full((engines, most * rounds), _FAR, dtype=np.int64)
    fetch_free, engine_free = np.zeros(engines, dtype=np.int64), np.zeros(engines, dtype=np.int64)
    arrived, store_free = np.zeros(engines, dtype=np.int64), np.zeros(engines, dtype=np.int64)
    port_free = 0
    written = 0
    ends = np.zeros(rounds, dtype=np.int64)
    while True:
        best, best_engine, best_kind = _FAR, -1, -1
        for e in range(engines):
            per_round = starts[e + 1] - starts[e]
            total = per_round * rounds
            while fetch[e] < total:  # what needs no transfer needs no event
                tile = tiles[starts[e] + fetch[e] % per_round]
                if phase[e] == LOAD_WEIGHTS and tile[S_WEIGHT_BITS] == 0:
                    phase[e] = LOAD_INPUT
                if phase[e] == LOAD_WEIGHTS or tile[S_INPUT_BITS] > 0:
                    break
                loaded[e, fetch[e]] = arrived[e] if tile[S_WEIGHT_BITS] > 0 else 0
                phase[e] = LOAD_WEIGHTS
                fetch[e] += 1
            while store[e] < compute[e] and tiles[starts[e] + store[e] % per_round, S_STORE_BITS] == 0:
                k = store[e]
                layer = tiles[starts[e] + k % per_round, S_LAYER]
                stored[e, k] = computed[e, k] + plans[layer, P_LATENCY]
                store[e] += 1
                if _ends_layer(tiles[starts[e] : starts[e + 1]], k):
                    layer_stored[layer, k // per_round] = max(stored[e, k], store_free[e])
            if fetch[e] < total:
                ready = _load_ready(
                    e, fetch[e], phase[e], per_round, tiles[starts[e] :], layers, plans, slot, count,
                    layer_end, layer_stored, computed, fetch_free,
                )  # fmt: skip
                if ready < best:
                    best, best_engine, best_kind = ready, e, phase[e]
            if compute[e] < total and loaded[e, compute[e]] < _FAR:
                ready = _compute_ready(
                    e, compute[e], per_round, tiles[starts[e] :], layers, plans, assignment, slot, count,
                    layer_end, loaded, stored, engine_free,
                )  # fmt: skip
                if ready < best:
                    best, best_engine, best_kind = ready, e, COMPUTE
            if store[e] < compute[e]:
                ready = (
                    computed[e, store[e]] + plans[tiles[starts[e] + store[e] % per_round, S_LAYER], P_LATENCY]
                )
                if ready < best:
                    best, best_engine, best_kind = ready, e, STORE
        if best_engine < 0:
            break
        e = best_engine
        per_round = starts[e + 1] - starts[e]
        k = fetch[e] if best_kind < COMPUTE else (compute[e] if best_kind == COMPUTE else store[e])
        tile = tiles[starts[e] + k % per_round]
        layer, now_round = tile[S_LAYER], k // per_round
        start, end = best, best
        if best_kind < COMPUTE:
            bits = tile[S_WEIGHT_BITS] if best_kind == LOAD_WEIGHTS else tile[S_INPUT_BITS]
            start = max(best, port_free)
            end = start + ceil_div(bits, dram_bits)
            port_free = fetch_free[e] = end
            arrived[e] = end + DRAM_LATENCY_CYCLES
            phase[e] = LOAD_INPUT
            if best_kind == LOAD_INPUT:
                phase[e] = LOAD_WEIGHTS
                loaded[e, k] = arrived[e]
                fetch[e] += 1
        elif best_kind == COMPUTE:
            end = start + tile[S_CYCLES]
            engine_free[e] = computed[e, k] = end
            compute[e] += 1
            if _ends_layer(tiles[starts[e] : starts[e + 1]], k):
                layer_end[e, now_round * count[e] + slot[layer]] = end
                ends[now_round] = max(ends[now_round], end + plans[layer, P_LATENCY])
        else:
            start = max(best, port_free)
            end = start + ceil_div(tile[S_STORE_BITS], dram_bits)
            port_free = store_free[e] = stored[e, k] = end
            store[e] += 1
            if _ends_layer(tiles[starts[e] : starts[e + 1]], k):
                layer_stored[layer, now_round] = end
                ends[now_round] = max(ends[now_round], end)
        if written < len(events):
            events[written, V_KIND], events[written, V_ENGINE], events[written, V_LAYER] = best_kind, e, layer
            events[written, V_ROUND], events[written, V_TILE] = now_round, k % per_round
            events[written, V_START], events[written, V_END] = start, end
            written += 1
    return ends, written


@njit(cache=True)
def _ends_layer(tiles: IntArray, k: int) -> bool:
    """Whether tile number `k`, counted over all rounds, is the last of its layer in its round."""
    here = k % len(tiles)
    return here + 1 == len(tiles) or tiles[here + 1, S_LAYER] != tiles[here, S_LAYER]


@njit(cache=True)
def _load_ready(
    e: int, k: int, phase: int, per_round: int, tiles: IntArray, layers: IntArray, plans: IntArray,
    slot: IntArray, count: IntArray, layer_end: IntArray, layer_stored: IntArray, computed: IntArray,
    fetch_free: IntArray,
) -> int:  # fmt: skip
    """Returns when the next load of an engine may be asked for; far away while that is not known."""
    tile = tiles[k % per_round]
    layer, now_round = tile[S_LAYER], k // per_round
    sequence = now_round * count[e] + slot[layer]
    gate = sequence - min(plans[layer, P_LEAD], count[e] - 1) - 1
    ready = fetch_free[e]
    if gate >= 0:
        ready = max(ready, layer_end[e, gate])
    if k >= 2 and tiles[(k - 2) % per_round, S_LAYER] == layer and (k - 2) // per_round == now_round:
        ready = max(ready, computed[e, k - 2])
    if phase == LOAD_INPUT:
        if plans[layer, P_IN_DRAM] and layers[layer, L_INPUT] >= 0:
            ready = max(ready, layer_stored[layers[layer, L_INPUT], now_round])
        if plans[layer, P_RESIDUAL_DRAM] and layers[layer, L_RESIDUAL] >= 0:
            ready = max(ready, layer_stored[layers[layer, L_RESIDUAL], now_round])
    return ready


@njit(cache=True)
def _compute_ready(
    e: int, k: int, per_round: int, tiles: IntArray, layers: IntArray, plans: IntArray, assignment: IntArray,
    slot: IntArray, count: IntArray, layer_end: IntArray, loaded: IntArray, stored: IntArray, engine_free: IntArray,
) -> int:  # fmt: skip
    """Returns when the next compute of an engine may start; far away while that is not known."""
    tile = tiles[k % per_round]
    layer, now_round = tile[S_LAYER], k // per_round
    ready = max(engine_free[e], loaded[e, k])
    if plans[layer, P_OUT_DRAM] and k >= 2:
        ready = max(ready, stored[e, k - 2])
    if k % per_round > 0 and tiles[k % per_round - 1, S_LAYER] == layer:
        return ready
    for column in (L_INPUT, L_RESIDUAL):
        producer = layers[layer, column]
        if producer >= 0 and not plans[producer, P_OUT_DRAM]:
            other = assignment[producer]
            end = layer_end[other, now_round * count[other] + slot[producer]]
            ready = max(ready, end + plans[producer, P_LATENCY] if end < _FAR else _FAR)
    if not plans[layer, P_OUT_DRAM] and now_round >= 2:
        for reader in range(layer + 1, len(layers)):
            if assignment[reader] != e and (
                layers[reader, L_INPUT] == layer or layers[reader, L_RESIDUAL] == layer
            ):
                other = assignment[reader]
                ready = max(ready, layer_end[other, (now_round - 2) * count[other] + slot[reader]])
    return ready


@njit(cache=True)
def steady_cycles(
    layers: IntArray, plans: IntArray, assignment: IntArray, engines: int, dram_bits: int
) -> tuple[int, int]:
    """Returns (cycles per round in steady state, latency of the first round) in cycles."""
    warm_up = engines + 1
    ends, _ = run_events(
        layers,
        plans,
        assignment,
        engines,
        dram_bits,
        warm_up + MEASURED_ROUNDS,
        np.empty((0, EVENT_FIELDS), dtype=np.int64),
    )
    return ceil_div(ends[-1] - ends[warm_up - 1], MEASURED_ROUNDS), ends[0]
