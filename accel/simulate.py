"""Tile-level event simulator: engines, their fetch queues, one DRAM port, tokens between engines (njit).

Events of an engine, in order: *load* (weights, then input rows of a tile), *compute* of the tile, *store* of its finished
rows. Rules:

- A tile lasts from its start until its results are in memory; the next one starts then at the earliest, or when its program
  is read, which takes long in every other round (`mapping._set_program`): half of that wait counts in each.
- The DRAM port reads and writes at once (AXI has a channel for each), `dram_bits` a cycle each way. A channel serves one
  transfer at a time; a load keeps it for `TRANSFER_CYCLES` besides its beats and arrives `DRAM_LATENCY_CYCLES` after the
  last, while the next one is under way.
- Loads wait for their places: a chunk of weights for the end of the tile that last used what lies there (`tile_table`), so
  that weights come as far ahead as there are places, over layers and rounds.
- Where weights stream and all tensors between layers stay on chip, as the RTL does it, loads come in the fixed order of its
  loader (`foldwright.accel.load_order`). Else, of all that may be loaded when the port is free, what is needed first comes
  first: the engine's tiles until then take the fewest cycles; weights and inputs of an engine each in the order of its tiles.
- There an input may be loaded when the tile before the last has ended; that of a layer's first tiles when the layer `lead + 1`
  places before it, or before the first layer of its group, has; an input of which two copies stay (`tiles.is_ahead`), or a
  fused layer's, when the tile that read the copy last has; an input that another layer left in DRAM when it is stored.
- A tile starts when it is loaded, its stage buffer is free, and for a layer's first tile when the producers have ended.
- Of results that leave the accelerator the storer holds two rounds; a tensor for another layer has a stage buffer of two tiles.
- A tensor handed to another engine has two copies: its producer runs at most one round ahead of the reader.
- Who waits for another part of the accelerator goes on `HAND_OVER_CYCLES` after what it waits for.

Several rounds run; the first ones fill the pipeline, cycles per round are measured over the next, and more rounds
follow at their heels, whose loads contend for the port as in steady state. Left out: results that leave for DRAM while
their tile still runs, refresh and page misses (folded into the usable bits per cycle), bank conflicts between loads and results.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.load_order import (
    LOAD_FIELDS,
    N_AT,
    N_TURN,
    Y_ENGINE,
    Y_IS_INPUT,
    Y_LAG,
    Y_TILE,
    first_fronts,
    has_one_loader,
    load_order,
    loaded_tiles,
    next_load,
    note_load,
    take_load,
)
from foldwright.accel.mapping import ceil_div
from foldwright.accel.repeats import (
    BEGIN_FIELDS,
    C_AT,
    C_COUNT,
    C_ROUND,
    ENGINE_FREE,
    F_COUNT,
    FAR,
    FRONT_AT,
    FRONT_ROUND,
    PC_FIELDS,
    Q_NOW,
    READ_FREE,
    S_BACK,
    S_CYCLES,
    S_ENDS,
    S_LAYER,
    S_PAUSE,
    S_STORE_BITS,
    STORE_FREE,
    T_COMPUTED,
    T_LOADED,
    T_STORED,
    TILE_SNAPSHOT_FIELDS,
    W_AT,
    W_COUNT,
    W_ROUND,
    WRITE_FREE,
    loads_repeat,
    mark_repeats,
    rounds_repeat,
    skip_tiles,
)
from foldwright.accel.tables import L_INPUT, L_IS_RESULT, L_RESIDUAL
from foldwright.accel.tile_table import all_tiles
from foldwright.accel.tile_waits import (
    Z_BACK,
    Z_BEGINS,
    Z_GATE,
    Z_GATE_ROUNDS,
    Z_LAYERS,
    Z_LOAD_BEATS,
    Z_MAKER,
    Z_RESIDUAL_MAKER,
    Z_STAGES,
    Z_STORE_BEATS,
    tile_waits,
)
from foldwright.accel.tiles import (
    DRAM_LATENCY_CYCLES,
    HAND_OVER_CYCLES,
    P_BANDS,
    P_OUT_DRAM,
    TRANSFER_CYCLES,
)
from foldwright.kernels import njit

__all__ = ["DRAM_LATENCY_CYCLES", "EVENT_FIELDS", "run_events", "steady_cycles"]

IntArray = npt.NDArray[np.int64]

MEASURED_ROUNDS = 4
# Entries of an event row.
V_KIND, V_ENGINE, V_LAYER, V_ROUND, V_TILE, V_START, V_END = range(7)
EVENT_FIELDS = 7
LOAD_WEIGHTS, LOAD_INPUT, COMPUTE, STORE = range(4)


@njit(cache=True)
def run_events(
    layers: IntArray, plans: IntArray, assignment: IntArray, engines: int, dram_bits: int, rounds: int, events: IntArray,
) -> tuple[IntArray, int]:  # fmt: skip
    """Simulates until `rounds` rounds are done; later ones follow at their heels, so that the last is like the others.

    Args:
        events: int64 (room, EVENT_FIELDS) that receives the events as far as there is room. With no room at all, what
            repeats is skipped (`foldwright.accel.repeats`), with the same ends of rounds.

    Returns:
        End of each round in cycles, int64 (rounds,), and the number of events written.
    """
    tiles, starts = all_tiles(layers, plans, assignment, engines)
    ahead = rounds + engines + 1
    most = 0
    for e in range(engines):
        most = max(most, starts[e + 1] - starts[e])
    # Per engine and tile since the start, with what handing over takes where others wait for it: T_LOADED, T_STORED and the
    # ends of layers, but not T_COMPUTED. An entry counts once the stage's counter has passed it.
    times = np.empty((3, engines, most * ahead), dtype=np.int64)
    pc = np.zeros((engines, PC_FIELDS), dtype=np.int64)
    free = np.zeros((engines + 1, 2), dtype=np.int64)
    layer_end = np.full((ahead, len(layers)), FAR, dtype=np.int64)
    layer_stored = np.full((ahead, len(layers)), FAR, dtype=np.int64)
    quick = len(events) == 0  # whoever wants the events wants all of them
    fixed = has_one_loader(layers, plans, assignment, engines)
    skips = quick and engines == 1 and not fixed and not plans[:, P_BANDS].any()
    if skips:
        mark_repeats(tiles, plans)
    snapshots = np.full((len(tiles) if skips else 0, TILE_SNAPSHOT_FIELDS), -1, dtype=np.int64)
    begins = np.full((2, engines, BEGIN_FIELDS), -1, dtype=np.int64)
    line = np.zeros(2, dtype=np.int64)
    fronts, gaps = first_fronts(tiles, starts)
    waits = tile_waits(layers, plans, assignment, tiles, starts, dram_bits)
    order = np.empty((0, LOAD_FIELDS), dtype=np.int64)
    loader_then = np.full((engines + 1, 3), -1, dtype=np.int64)
    times[T_LOADED] = 0
    if fixed:
        order = load_order(layers, plans, assignment, tiles, starts)
        line[N_TURN] = order[:, Y_LAG].min()
    until = _cycles_until(tiles, starts)
    # of each engine: when its next weights, input, compute and store may begin; after how many cycles both loads are needed
    ready = np.full((engines, 4), FAR, dtype=np.int64)
    needs = np.zeros((engines, 2), dtype=np.int64)
    stale = np.ones(engines, dtype=np.bool_)
    written, wanted, distance = 0, rounds, 0
    ends = np.zeros(ahead, dtype=np.int64)
    while True:
        best, best_engine, best_kind = FAR, -1, -1
        for e in range(engines):
            if stale[e]:
                stale[e] = False
                first, all_tiles_ahead = starts[e], ahead * (starts[e + 1] - starts[e])
                pc[e, F_COUNT] = loaded_tiles(fronts, pc, e, all_tiles_ahead)
                if _settle_stores(e, starts, tiles, pc, free, times, layer_stored):
                    stale[:] = True
                    stale[e] = False
                for stage in range(STORE + 1):
                    ready[e, stage] = FAR
                if not fixed and fronts[e, 0] < all_tiles_ahead:
                    ready[e, 0] = _weights_ready(e, fronts, starts, tiles, pc, times)
                    needs[e, 0] = _needed_in(e, 0, fronts, starts, until, pc)
                if not fixed and fronts[e, 1] < all_tiles_ahead:
                    t = first + fronts[e, FRONT_AT + LOAD_INPUT]
                    ready[e, 1] = _input_ready(e, t, fronts, waits, pc, times)
                    if waits[t, Z_LAYERS] and ready[e, 1] < FAR:
                        ended = _layers_ended(
                            waits[t], fronts[e, FRONT_ROUND + LOAD_INPUT], layer_end, layer_stored
                        )
                        ready[e, 1] = max(ready[e, 1], ended)
                    needs[e, 1] = _needed_in(e, 1, fronts, starts, until, pc)
                if pc[e, C_COUNT] < pc[e, F_COUNT]:
                    t = first + pc[e, C_AT]
                    ready[e, 2] = _compute_ready(e, t, waits, pc, free, times)
                    if waits[t, Z_BEGINS]:
                        layer = tiles[t, S_LAYER]
                        others_ready = _layer_may_begin(
                            layer, pc[e, C_ROUND], layers, plans, assignment, layer_end, layer_stored
                        )
                        ready[e, 2] = max(ready[e, 2], others_ready)
                if pc[e, W_COUNT] < pc[e, C_COUNT]:
                    ready[e, 3] = times[T_COMPUTED, e, pc[e, W_COUNT]]
            for stage in range(COMPUTE, STORE + 1):
                if ready[e, stage] < best:
                    best, best_engine, best_kind = ready[e, stage], e, stage
        if not fixed:
            begin, loader, kind = _first_needed(ready, needs, free[engines, READ_FREE])
            if begin < FAR and begin <= best:
                best, best_engine, best_kind = begin, loader, kind
        else:
            begin = next_load(line, order, starts, pc, free, times, ahead)
            if begin < FAR and begin <= best:
                best, best_engine = begin, order[line[N_AT], Y_ENGINE]
                best_kind = LOAD_INPUT if order[line[N_AT], Y_IS_INPUT] else LOAD_WEIGHTS
        if best_engine < 0:
            break
        if quick and best_kind == COMPUTE:
            starts_round = best_engine == 0 and pc[0, C_AT] == 0 and distance == 0
            repeats = starts_round and rounds_repeat(pc, free, times, layer_end, layer_stored, best, begins)
            if starts_round:
                if not fixed:
                    line[N_AT], line[N_TURN] = -1, pc[0, C_ROUND]
                repeats = loads_repeat(line, fronts, pc, times, best, loader_then) and repeats
            if repeats:
                # What engine 0 starts now comes again and again; the round before it need only end.
                wanted, distance = min(rounds, pc[0, C_ROUND]), best - begins[1, 0, Q_NOW]
                if _rounds_done(pc) >= wanted:
                    break
            if skips and skip_tiles(
                tiles,
                layers,
                plans,
                pc,
                free,
                times,
                layer_stored,
                fronts[0],
                ready[0, 1] == FAR,
                best,
                snapshots,
            ):
                stale[0] = True
                continue
        e = best_engine
        first, per_round = starts[e], starts[e + 1] - starts[e]
        column = C_COUNT if best_kind == COMPUTE else W_COUNT
        k, at, now_round = pc[e, column], pc[e, column + 1], pc[e, column + 2]
        if fixed and best_kind < COMPUTE:
            at, now_round = order[line[N_AT], Y_TILE] - first, line[N_TURN] - order[line[N_AT], Y_LAG]
        elif best_kind < COMPUTE:
            at, now_round = fronts[e, FRONT_AT + best_kind], fronts[e, FRONT_ROUND + best_kind]
        t = first + at
        layer = tiles[t, S_LAYER]
        start, end = best, best
        stale[e] = True
        if best_kind < COMPUTE:
            start = max(best, free[engines, READ_FREE])
            end = start + waits[t, Z_LOAD_BEATS + best_kind] + TRANSFER_CYCLES
            free[engines, READ_FREE] = end
            loaded = end + DRAM_LATENCY_CYCLES + HAND_OVER_CYCLES
            if fixed:
                take_load(line, order, starts, gaps, fronts, times, loaded)
            else:
                note_load(e, best_kind, starts, gaps, fronts, times, loaded)
        elif best_kind == COMPUTE:
            end = start + tiles[t, S_CYCLES]
            times[T_COMPUTED, e, k] = end
            free[e, ENGINE_FREE] = end + tiles[t, S_PAUSE]
            _advance(pc, e, C_COUNT, per_round)
            if tiles[t, S_ENDS]:
                stale[:] = True
                layer_end[now_round, layer] = end + HAND_OVER_CYCLES
                ends[now_round] = max(ends[now_round], end)
        else:
            start = max(best, free[engines, WRITE_FREE])
            end = start + waits[t, Z_STORE_BEATS]
            free[engines, WRITE_FREE] = free[e, STORE_FREE] = end
            times[T_STORED, e, k] = end + HAND_OVER_CYCLES
            _advance(pc, e, W_COUNT, per_round)
            if tiles[t, S_ENDS]:
                stale[:] = True
                layer_stored[now_round, layer] = end + HAND_OVER_CYCLES
                ends[now_round] = max(ends[now_round], end)
        if written < len(events):
            events[written, V_KIND], events[written, V_ENGINE], events[written, V_LAYER] = best_kind, e, layer
            events[written, V_ROUND], events[written, V_TILE] = now_round, at
            events[written, V_START], events[written, V_END] = start, end
            written += 1
        if at + 1 == per_round and best_kind >= COMPUTE:
            _settle_stores(e, starts, tiles, pc, free, times, layer_stored)
            if _rounds_done(pc) >= wanted:
                break
    for r in range(wanted, rounds):
        ends[r] = ends[r - 1] + distance
    return ends[:rounds], written


@njit(cache=True, forceinline=True)
def _settle_stores(
    e: int,
    starts: IntArray,
    tiles: IntArray,
    pc: IntArray,
    free: IntArray,
    times: IntArray,
    layer_stored: IntArray,
) -> bool:
    """Passes stores that need no transfer; returns whether a layer is stored by that."""
    first, per_round, ended = starts[e], starts[e + 1] - starts[e], False
    while pc[e, W_COUNT] < pc[e, C_COUNT] and tiles[first + pc[e, W_AT], S_STORE_BITS] == 0:
        t, k = first + pc[e, W_AT], pc[e, W_COUNT]
        times[T_STORED, e, k] = times[T_COMPUTED, e, k] + HAND_OVER_CYCLES
        if tiles[t, S_ENDS]:
            ended, stored = True, max(times[T_COMPUTED, e, k], free[e, STORE_FREE])
            layer_stored[pc[e, W_ROUND], tiles[t, S_LAYER]] = stored + HAND_OVER_CYCLES
        _advance(pc, e, W_COUNT, per_round)
    return ended


@njit(cache=True)
def _rounds_done(pc: IntArray) -> int:
    """Returns how many rounds all engines have computed and stored."""
    done = pc[0, W_ROUND]
    for e in range(1, len(pc)):
        done = min(done, pc[e, W_ROUND])
    return done


@njit(cache=True, forceinline=True)
def _advance(pc: IntArray, e: int, column: int, per_round: int) -> None:
    """Moves a stage of an engine to its next tile."""
    pc[e, column] += 1
    pc[e, column + 1] += 1
    if pc[e, column + 1] == per_round:
        pc[e, column + 1] = 0
        pc[e, column + 2] += 1


@njit(cache=True)
def _cycles_until(tiles: IntArray, starts: IntArray) -> IntArray:
    """Returns how long an engine computes in a round before each tile, and behind the last, int64 (tiles + engines,)."""
    engines = len(starts) - 1
    out = np.zeros(starts[engines] + engines, dtype=np.int64)
    for e in range(engines):
        for t in range(starts[e], starts[e + 1]):
            out[t + e + 1] = out[t + e] + tiles[t, S_CYCLES]
    return out


@njit(cache=True, forceinline=True)
def _needed_in(e: int, kind: int, fronts: IntArray, starts: IntArray, until: IntArray, pc: IntArray) -> int:
    """Returns in how many cycles at the soonest an engine gets to the tile at the front of its loads of a kind."""
    low = starts[e] + e
    rounds, at = fronts[e, FRONT_ROUND + kind] - pc[e, C_ROUND], fronts[e, FRONT_AT + kind]
    return rounds * until[starts[e + 1] + e] + until[low + at] - until[low + pc[e, C_AT]]


@njit(cache=True)
def _first_needed(ready: IntArray, needs: IntArray, port_free: int) -> tuple[int, int, int]:
    """Returns start, engine and kind of the load that comes next: the one needed first of those that may start first."""
    begin, engine, kind, least = FAR, -1, -1, FAR
    for e in range(len(ready)):
        for k in range(2):
            if ready[e, k] == FAR:
                continue
            at = max(ready[e, k], port_free)
            if at < begin or (at == begin and needs[e, k] < least):
                begin, engine, kind, least = at, e, k, needs[e, k]
    return begin, engine, kind


@njit(cache=True, forceinline=True)
def _weights_ready(
    e: int, fronts: IntArray, starts: IntArray, tiles: IntArray, pc: IntArray, times: IntArray
) -> int:
    """Returns when the weights at an engine's front may be asked for; far away while that is not known."""
    gate = fronts[e, LOAD_WEIGHTS] - tiles[starts[e] + fronts[e, FRONT_AT + LOAD_WEIGHTS], S_BACK]
    if gate >= pc[e, C_COUNT]:
        return FAR
    # tiles before the last two have ended, and what they let go is let go
    return times[T_COMPUTED, e, gate] + HAND_OVER_CYCLES if gate >= max(0, pc[e, C_COUNT] - 2) else 0


@njit(cache=True, forceinline=True)
def _input_ready(e: int, t: int, fronts: IntArray, waits: IntArray, pc: IntArray, times: IntArray) -> int:
    """Returns when the tiles have ended whose input the one at an engine's front may replace; far away while not known."""
    gate = fronts[e, LOAD_INPUT] - waits[t, Z_BACK]
    if waits[t, Z_BACK] == 0 or gate < max(0, pc[e, C_COUNT] - 2):
        return 0
    return times[T_COMPUTED, e, gate] + HAND_OVER_CYCLES if gate < pc[e, C_COUNT] else FAR


@njit(cache=True)
def _layers_ended(row: IntArray, now_round: int, layer_end: IntArray, layer_stored: IntArray) -> int:
    """Returns when the layers have ended, and are stored, that the input of a tile waits for; `row` is the tile's waits."""
    ready, gate_round = 0, now_round - row[Z_GATE_ROUNDS]
    if row[Z_GATE] >= 0 and gate_round >= 0:
        ready = layer_end[gate_round, row[Z_GATE]]
    for column in (Z_MAKER, Z_RESIDUAL_MAKER):
        if row[column] >= 0:
            ready = max(ready, layer_stored[now_round, row[column]])
    return ready


@njit(cache=True, forceinline=True)
def _compute_ready(e: int, t: int, waits: IntArray, pc: IntArray, free: IntArray, times: IntArray) -> int:
    """Returns when an engine's next tile may start for all that the engine knows; far away while that is not known."""
    k = pc[e, C_COUNT]
    if waits[t, Z_STAGES] == 0 or k < 2:
        return max(free[e, ENGINE_FREE], times[T_LOADED, e, k])
    if k - 2 >= pc[e, W_COUNT]:
        return FAR
    return max(free[e, ENGINE_FREE], times[T_LOADED, e, k], times[T_STORED, e, k - 2])


@njit(cache=True)
def _layer_may_begin(
    layer: int, now_round: int, layers: IntArray, plans: IntArray, assignment: IntArray, layer_end: IntArray,
    layer_stored: IntArray,
) -> int:  # fmt: skip
    """Returns when other engines have made what a layer reads, and no longer read what it writes over."""
    e, ready = assignment[layer], 0
    for column in (L_INPUT, L_RESIDUAL):
        producer = layers[layer, column]
        if producer >= 0 and assignment[producer] != e and not plans[producer, P_OUT_DRAM]:
            ready = max(ready, layer_end[now_round, producer])
    if now_round < 2:
        return ready
    if layers[layer, L_IS_RESULT]:
        ready = max(ready, layer_stored[now_round - 2, layer])
    if not plans[layer, P_OUT_DRAM]:
        for reader in range(layer + 1, len(layers)):
            reads = layers[reader, L_INPUT] == layer or layers[reader, L_RESIDUAL] == layer
            if reads and assignment[reader] != e:
                ready = max(ready, layer_end[now_round - 2, reader])
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
