"""In which order the loader of a built accelerator takes its loads, and what each of them waits for (njit).

Where weights stream and tensors between layers stay on chip, one loader brings the rows of the image and the weights
of all engines. It takes one load after the other, in an order that is fixed when the accelerator is exported, and waits
for each until its place is free, whatever could come behind it. The order is that of `foldwright.accel.export.loads`: by a
clock that counts rounds, a load stands where its place is free, and in case of doubt where it is needed.

A chunk of weights waits for the end of the last tile that uses what lies in its place (`tile_table`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.repeats import (
    C_COUNT,
    FAR,
    FRONT_AT,
    FRONT_FIELDS,
    FRONT_ROUND,
    READ_FREE,
    S_BACK,
    S_BLOCK,
    S_ENDS,
    S_INPUT_BITS,
    S_LAYER,
    S_REFILL,
    S_ROW,
    S_WEIGHT_BITS,
    T_COMPUTED,
    T_LOADED,
)
from foldwright.accel.tables import L_INPUT, L_IS_RESULT, L_RESIDUAL
from foldwright.accel.tiles import (
    HAND_OVER_CYCLES,
    P_BANDS,
    P_BLOCKS,
    P_IN_DRAM,
    P_LEAD,
    P_OUT_DRAM,
    P_RESIDUAL_DRAM,
    P_ROWS,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    chunk_count,
    layer_cycles,
)
from foldwright.kernels import njit

__all__ = [
    "first_fronts",
    "has_one_loader",
    "load_order",
    "loaded_tiles",
    "next_load",
    "note_load",
    "take_load",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

# Entries of a load: engine, tile of a round, whether it is an input, how many tiles before it the last one is that it waits
# for, and by how many turns of the order its round is behind the turn.
Y_ENGINE, Y_TILE, Y_IS_INPUT, Y_BACK, Y_LAG = range(5)
LOAD_FIELDS = 5
# Entries of the loader's line: place in the order, and turn.
N_AT, N_TURN = range(2)


@njit(cache=True)
def _stages(layers: IntArray, assignment: IntArray, engines: int) -> IntArray:
    """Returns by how many rounds each engine is behind the first; engines that hand over in a circle are one."""
    last, stages = np.zeros(engines, dtype=np.int64), np.zeros(engines, dtype=np.int64)
    for i in range(len(layers)):
        last[assignment[i]] = i
    stage, end = 0, last[assignment[0]]
    for i in range(len(layers)):
        if i > end:
            stage += 1
            end = last[assignment[i]]
        end = max(end, last[assignment[i]])
        stages[assignment[i]] = stage
    return stages


@njit(cache=True)
def has_one_loader(layers: IntArray, plans: IntArray, assignment: IntArray, engines: int) -> bool:
    """Whether weights stream and the rest is as the RTL does it: tensors between layers on chip, handed to the next stage."""
    streams, stages = False, _stages(layers, assignment, engines)
    for i in range(len(layers)):
        streams |= chunk_count(plans[i]) > 0
        inner = (plans[i, P_IN_DRAM] and layers[i, L_INPUT] >= 0) or (
            plans[i, P_OUT_DRAM] and not layers[i, L_IS_RESULT]
        )
        if inner or plans[i, P_RESIDUAL_DRAM] or plans[i, P_BANDS]:
            return False
        for column in (L_INPUT, L_RESIDUAL):
            maker = layers[i, column]
            if maker >= 0 and stages[assignment[i]] - stages[assignment[maker]] > 1:
                return False
    return streams


@njit(cache=True)
def _clock(
    layers: IntArray, plans: IntArray, assignment: IntArray, engines: int, tiles: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Returns start and end of every tile in its stage's round, 0 to 1: a layer has its share, a tile by blocks and rows."""
    stages = _stages(layers, assignment, engines)
    total, before = np.zeros(engines, dtype=np.int64), np.zeros(len(layers), dtype=np.int64)
    for i in range(len(layers)):
        before[i] = total[stages[assignment[i]]]
        total[stages[assignment[i]]] += layer_cycles(plans[i])
    starts, ends = np.zeros(len(tiles)), np.zeros(len(tiles))
    done = 0
    for t in range(len(tiles)):
        plan, i = plans[tiles[t, S_LAYER]], tiles[t, S_LAYER]
        cycles, size = layer_cycles(plan), plan[P_BLOCKS] * plan[P_ROWS]
        whole = size * total[stages[assignment[i]]]
        starts[t] = (before[i] * size + cycles * done) / whole
        blocks = min(plan[P_TILE_BLOCKS], plan[P_BLOCKS] - tiles[t, S_BLOCK])
        done += blocks * min(plan[P_TILE_ROWS], plan[P_ROWS] - tiles[t, S_ROW])
        ends[t] = (before[i] * size + cycles * done) / whole
        done = 0 if tiles[t, S_ENDS] else done
    return starts, ends


@njit(cache=True)
def _engine_loads(plans: IntArray, tiles: IntArray, first: int, engine: int, out: IntArray, n: int) -> int:
    """Appends the loads of an engine, whose tiles these are from `first` on: weights, then inputs; returns how many there are."""
    begin, count = n, len(tiles)
    for t in range(count):
        if tiles[t, S_WEIGHT_BITS] > 0:
            out[n, Y_ENGINE], out[n, Y_TILE], out[n, Y_IS_INPUT] = engine, first + t, 0
            out[n, Y_BACK] = tiles[t, S_BACK]
            n += 1
    _in_turn(out[begin:n], count)
    begin = n
    for t in range(count):
        if tiles[t, S_INPUT_BITS] > 0:
            back = tiles[t, S_REFILL]
            if back == 0:
                within = t >= 2 and tiles[t - 2, S_LAYER] == tiles[t, S_LAYER]
                back = 2 if within else _waits_for_layer(plans, tiles, t)
            out[n, Y_ENGINE], out[n, Y_TILE], out[n, Y_IS_INPUT], out[n, Y_BACK] = engine, first + t, 1, back
            n += 1
    _in_turn(out[begin:n], count)
    return n


@njit(cache=True)
def _in_turn(loads: IntArray, count: int) -> None:
    """Makes loads of one kind, in the order of an engine's `count` tiles, wait at least as long as those before them."""
    for k in range(2 * len(loads)):
        load, before = loads[k % len(loads)], loads[(k - 1) % len(loads)]
        apart = load[Y_TILE] - before[Y_TILE]
        load[Y_BACK] = min(load[Y_BACK], before[Y_BACK] + (apart if apart > 0 else apart + count))


@njit(cache=True)
def _waits_for_layer(plans: IntArray, tiles: IntArray, t: int) -> int:
    """Returns how many tiles before this the last one of the layer before is, far away where the lead is not 0."""
    layer = tiles[t, S_LAYER]
    if plans[layer, P_LEAD] > 0:
        return FAR
    back = 1
    while back <= t and tiles[t - back, S_LAYER] == layer:
        back += 1
    return back


@njit(cache=True)
def load_order(
    layers: IntArray, plans: IntArray, assignment: IntArray, tiles: IntArray, starts: IntArray
) -> IntArray:
    """Returns the loads of a turn in order, int64 (loads, LOAD_FIELDS); a turn of the order lasts a round.

    Args:
        tiles: of all engines, an engine's from its entry of `starts` on.
    """
    engines, n = len(starts) - 1, 0
    loads = np.empty((2 * len(tiles), LOAD_FIELDS), dtype=np.int64)
    for e in range(engines):
        n = _engine_loads(plans, tiles[starts[e] : starts[e + 1]], starts[e], e, loads, n)
    loads = loads[:n]
    begin, end = _clock(layers, plans, assignment, engines, tiles)
    stages = _stages(layers, assignment, engines)
    place, needed = np.empty(n), np.empty(n)
    for k in range(n):
        e, t = loads[k, Y_ENGINE], loads[k, Y_TILE]
        per_round = starts[e + 1] - starts[e]
        rounds, gate = divmod(t - starts[e] - loads[k, Y_BACK], per_round)
        at = end[starts[e] + gate]
        lag = stages[e] + rounds + (1 if at >= 1 else 0)
        place[k], needed[k] = at if at < 1 else 0.0, stages[e] + begin[t] - lag
        loads[k, Y_LAG] = lag
    by_need = np.argsort(needed, kind="mergesort")
    return loads[by_need[np.argsort(place[by_need], kind="mergesort")]]


@njit(cache=True)
def first_fronts(tiles: IntArray, starts: IntArray) -> tuple[IntArray, IntArray]:
    """Returns the fronts of loads at the start, and how many tiles behind each tile the next one is that something is loaded for.

    A front is which tile of an engine needs the next weights, or the next input, counted from the start; far away where none
    of that kind is ever loaded. Its place in the round and its round are kept beside it.

    Returns:
        int64 (engines, FRONT_FIELDS) and int64 (tiles, 2).
    """
    engines = len(starts) - 1
    fronts = np.zeros((engines, FRONT_FIELDS), dtype=np.int64)
    gaps = np.full((len(tiles), 2), FAR, dtype=np.int64)
    for e in range(engines):
        for kind in range(2):
            column = S_INPUT_BITS if kind else S_WEIGHT_BITS
            first = FAR
            for t in range(starts[e + 1] - 1, starts[e] - 1, -1):
                if tiles[t, column] > 0:
                    first = t
            fronts[e, kind] = fronts[e, FRONT_AT + kind] = first - starts[e] if first < FAR else FAR
            if first == FAR:
                continue
            following = first + starts[e + 1] - starts[e]
            for t in range(starts[e + 1] - 1, starts[e] - 1, -1):
                gaps[t, kind] = following - t
                if tiles[t, column] > 0:
                    following = t
    return fronts, gaps


@njit(cache=True)
def loaded_tiles(fronts: IntArray, pc: IntArray, e: int, most: int) -> int:
    """Returns up to which tile, counted from the start, an engine lacks no load; the next is enough where nothing is loaded."""
    front = min(fronts[e, 0], fronts[e, 1])
    return min(front if front < FAR else pc[e, C_COUNT] + 1, most)


@njit(cache=True)
def next_load(
    line: IntArray,
    order: IntArray,
    starts: IntArray,
    pc: IntArray,
    free: IntArray,
    times: IntArray,
    ahead: int,
) -> int:
    """Returns when the loader may begin what is next in its order, far away while that is not known or there is none."""
    while line[N_TURN] < ahead + len(starts):
        load = order[line[N_AT]]
        round_, e = line[N_TURN] - load[Y_LAG], load[Y_ENGINE]
        if 0 <= round_ < ahead:
            k = round_ * (starts[e + 1] - starts[e]) + load[Y_TILE] - starts[e] - load[Y_BACK]
            if k >= pc[e, C_COUNT]:
                return FAR
            here = times[T_COMPUTED, e, k] + HAND_OVER_CYCLES if k >= 0 else 0
            return max(here, free[len(pc), READ_FREE])
        _pass(line, order)
    return FAR


@njit(cache=True)
def _pass(line: IntArray, order: IntArray) -> None:
    line[N_AT] += 1
    if line[N_AT] == len(order):
        line[N_AT], line[N_TURN] = 0, line[N_TURN] + 1


@njit(cache=True)
def take_load(
    line: IntArray,
    order: IntArray,
    starts: IntArray,
    gaps: IntArray,
    fronts: IntArray,
    times: IntArray,
    loaded: int,
) -> None:
    """Notes that what is next in the order is there at `loaded`, and goes on to the next."""
    load = order[line[N_AT]]
    note_load(load[Y_ENGINE], load[Y_IS_INPUT], starts, gaps, fronts, times, loaded)
    _pass(line, order)


@njit(cache=True)
def note_load(
    e: int, kind: int, starts: IntArray, gaps: IntArray, fronts: IntArray, times: IntArray, loaded: int
) -> None:
    """Notes that weights (kind 0) or input (1) of the tile at an engine's front are there at `loaded`; the front goes on."""
    k, at = fronts[e, kind], fronts[e, FRONT_AT + kind]
    times[T_LOADED, e, k] = max(times[T_LOADED, e, k], loaded)
    gap, per_round = gaps[starts[e] + at, kind], starts[e + 1] - starts[e]
    fronts[e, kind] += gap
    fronts[e, FRONT_AT + kind] += gap
    if fronts[e, FRONT_AT + kind] >= per_round:  # a gap is a round at most
        fronts[e, FRONT_AT + kind] -= per_round
        fronts[e, FRONT_ROUND + kind] += 1
