"""What a simulation need not do twice: tiles within a layer of one engine, and whole rounds, that repeat (njit).

Most schedules of many small tiles soon repeat: relative to the start of a tile's computation, all that the future depends
on is as it was a *period* of tiles earlier, and the tiles to come are like those that came. Then times only shift, and
the simulator skips as many periods as stay within such tiles. The same holds for rounds: once one begins like the
one before, all rounds end at equal distances. Skipping is exact: the times are those that every event one by one gives.

Loads of a layer that repeats move on with its tiles. Loads of later layers stand still meanwhile, where they wait for a
tile that is not computed yet: periods end before that one. Times that lie before the start in question count as that
start: whatever waits for them has them already. Tiles are skipped where one engine has the port for itself and its loads
have no fixed order; rounds repeat with any number of engines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.mapping import ceil_div
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tiles import (
    ORDER_WEIGHTS,
    P_BLOCKS,
    P_IN_DRAM,
    P_ORDER,
    P_POOL_S,
    P_RESIDUAL_DRAM,
    P_ROW_TILES,
    P_TILE_BLOCKS,
)
from foldwright.kernels import njit

__all__ = ["loads_repeat", "mark_repeats", "periods_of", "rounds_repeat", "skip_tiles"]

IntArray = npt.NDArray[np.int64]

# Entries of a tile row. S_CYCLES: from its start until its results are in memory; S_PAUSE: from then until the program of the
# tile behind it is read. S_REFILL: how many tiles before this one, the rounds' counted on, has read the copy of the input that
# it fills, 0 where the prefetch lead alone says when it may be loaded; S_BACK: the last tile that uses what lies in the place of
# its chunk of weights. S_INNER and S_OUTER: up to which tile all are like those one (inner, outer) period earlier.
(
    S_LAYER, S_WEIGHT_BITS, S_INPUT_BITS, S_CYCLES, S_STORE_BITS, S_BLOCK, S_ROW, S_ENDS, S_PAUSE, S_REFILL, S_BACK,
    S_INNER, S_OUTER,
) = range(13)  # fmt: skip
TILE_FIELDS = 13
# Counters of an engine since the start, tiles that lack no load, that are computed, that are stored; for the latter two also
# place in the round and round.
F_COUNT, C_COUNT, C_AT, C_ROUND, W_COUNT, W_AT, W_ROUND = range(7)
PC_FIELDS = 7
T_LOADED, T_COMPUTED, T_STORED = range(3)
ENGINE_FREE, STORE_FREE = range(2)
READ_FREE, WRITE_FREE = range(2)  # of the port, in the row behind those of the engines
# Entries of a snapshot: tile, its start, how far loads lead and stores lag, then what is free when.
Q_COUNT, Q_NOW, Q_LEAD, Q_LAG, Q_FREE = range(5)
SNAPSHOT_FIELDS = Q_FREE + 4
# A snapshot of a tile adds the fronts of its loads: how many tiles they lead, or, where they are in another layer, which tile.
K_FRONT = SNAPSHOT_FIELDS
TILE_SNAPSHOT_FIELDS = K_FRONT + 4
# A start of a round adds where the engine is, relative to the round that engine 0 starts.
B_AT, B_ROUND = SNAPSHOT_FIELDS, SNAPSHOT_FIELDS + 1
BEGIN_FIELDS = SNAPSHOT_FIELDS + 2
# Entries of an engine's fronts, each of weights and then of inputs: the tile since the start, its place in the round, its round.
FRONT_AT, FRONT_ROUND, FRONT_FIELDS = 2, 4, 6
FAR = 1 << 60
"""What is not known yet."""


@njit(cache=True)
def periods_of(plan: IntArray) -> tuple[int, int]:
    """Returns after how many tiles a layer may repeat: within its inner loop, and from one outer step to the next."""
    parts_m = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS])
    parts_y = plan[P_ROW_TILES]
    if plan[P_ORDER] == ORDER_WEIGHTS:
        return plan[P_POOL_S], parts_y
    return 1, parts_m * plan[P_POOL_S]


@njit(cache=True)
def mark_repeats(tiles: IntArray, plans: IntArray) -> None:
    """Fills the columns S_INNER and S_OUTER of the tiles of one engine."""
    inner, outer = 1, 1
    for t in range(len(tiles) - 1, -1, -1):
        layer = tiles[t, S_LAYER]
        if tiles[t, S_ENDS]:
            inner, outer = periods_of(plans[layer])
        for column, period in ((S_INNER, inner), (S_OUTER, outer)):
            tiles[t, column] = t
            if _is_like(tiles, t, t - period):
                goes_on = t + 1 < len(tiles) and tiles[t + 1, S_LAYER] == layer
                tiles[t, column] = tiles[t + 1, column] if goes_on else t + 1


@njit(cache=True)
def _is_like(tiles: IntArray, a: int, b: int) -> bool:
    if b < 0 or tiles[a, S_LAYER] != tiles[b, S_LAYER] or tiles[a, S_ENDS] != tiles[b, S_ENDS]:
        return False
    for column in range(S_WEIGHT_BITS, S_STORE_BITS + 1):
        if tiles[a, column] != tiles[b, column]:
            return False
    return tiles[a, S_REFILL] == tiles[b, S_REFILL] and tiles[a, S_BACK] == tiles[b, S_BACK]


@njit(cache=True)
def _snapshot(pc: IntArray, free: IntArray, e: int, now: int, out: IntArray) -> None:
    """Writes what holds of an engine at `now`, the start of a tile's computation."""
    out[Q_COUNT], out[Q_NOW] = pc[e, C_COUNT], now
    out[Q_LEAD], out[Q_LAG] = pc[e, F_COUNT] - pc[e, C_COUNT], pc[e, C_COUNT] - pc[e, W_COUNT]
    for i in range(2):
        out[Q_FREE + i] = max(0, free[e, i] - now)
        out[Q_FREE + 2 + i] = max(0, free[len(pc), i] - now)


@njit(cache=True)
def _alike(times: IntArray, e: int, lead: int, one: IntArray, other: IntArray) -> bool:
    """Whether two snapshots of an engine say the same of the future, times being relative to their starts.

    Args:
        lead: of how many tiles loads may have come.
    """
    for i in range(Q_LAG, SNAPSHOT_FIELDS):
        if one[i] != other[i]:
            return False
    a, b, now, then = one[Q_COUNT], other[Q_COUNT], one[Q_NOW], other[Q_NOW]
    for i in range(lead):
        if max(times[T_LOADED, e, a + i], now) - now != max(times[T_LOADED, e, b + i], then) - then:
            return False
    for i in range(1, max(2, one[Q_LAG]) + 1):
        if times[T_COMPUTED, e, a - i] - now != times[T_COMPUTED, e, b - i] - then:
            return False
        stored = i > one[Q_LAG]
        if (
            stored
            and max(times[T_STORED, e, a - i], now) - now != max(times[T_STORED, e, b - i], then) - then
        ):
            return False
    return True


@njit(cache=True)
def skip_tiles(
    tiles: IntArray, layers: IntArray, plans: IntArray, pc: IntArray, free: IntArray, times: IntArray,
    layer_stored: IntArray, fronts: IntArray, is_waiting: bool, now: int, snapshots: IntArray,
) -> bool:  # fmt: skip
    """Skips repeating tiles before the next one of engine 0, which would start at `now`; returns whether it did.

    Args:
        fronts: int64 (FRONT_FIELDS,): which tile needs the next weights and the next input, and where it is.
        is_waiting: whether an input of another layer cannot be asked for yet.
        snapshots: int64 (tiles, TILE_SNAPSHOT_FIELDS), the newest snapshot of every place in a round, count -1 for none.
    """
    k, at, layer = pc[0, C_COUNT], pc[0, C_AT], tiles[pc[0, C_AT], S_LAYER]
    here = snapshots[at]
    _snapshot(pc, free, 0, now, here)
    last, gate = at, FAR
    for kind in range(2):
        ahead, lead = fronts[kind] - k, at + fronts[kind] - k
        inside = ahead < FAR // 2 and lead < len(tiles) and tiles[min(lead, len(tiles) - 1), S_LAYER] == layer
        here[K_FRONT + 2 * kind] = inside
        here[K_FRONT + 2 * kind + 1] = ahead if inside else fronts[kind]
        if inside:
            last = max(last, lead)
        elif ahead < FAR // 2:
            waits = tiles[fronts[FRONT_AT + kind], S_REFILL if kind else S_BACK]
            if kind == 0 or waits > 0:
                gate = min(gate, ahead - waits)
            if gate < 0 or (kind == 1 and not is_waiting):
                return False
    if at < 3 or tiles[at - 2, S_LAYER] != layer or here[Q_LAG] > 2:
        return False
    if not _inputs_are_there(layers, plans, layer_stored, pc, layer, now):
        return False
    inner, outer = periods_of(plans[layer])
    for column, period in ((S_INNER, inner), (S_OUTER, outer)):
        periods = min(tiles[at - 2, column] - 2 - last, gate - 2) // period
        if periods < 1 or snapshots[at - period, Q_COUNT] != k - period:
            continue
        before = snapshots[at - period]
        same = _alike(times, 0, last - at, here[:SNAPSHOT_FIELDS], before[:SNAPSHOT_FIELDS])
        for i in range(K_FRONT, TILE_SNAPSHOT_FIELDS):
            same &= here[i] == before[i]
        if same:
            _shift(
                pc, free, times, fronts, here, last - at, periods * period, periods * (now - before[Q_NOW])
            )
            return True
    return False


@njit(cache=True)
def _inputs_are_there(
    layers: IntArray, plans: IntArray, layer_stored: IntArray, pc: IntArray, layer: int, now: int
) -> bool:
    """Whether what other layers left in DRAM for this one is stored, so that no load waits for it."""
    source, residual = layers[layer, L_INPUT], layers[layer, L_RESIDUAL]
    if plans[layer, P_IN_DRAM] and source >= 0 and layer_stored[pc[0, C_ROUND], source] > now:
        return False
    return not (
        plans[layer, P_RESIDUAL_DRAM] and residual >= 0 and layer_stored[pc[0, C_ROUND], residual] > now
    )


@njit(cache=True)
def _shift(
    pc: IntArray, free: IntArray, times: IntArray, fronts: IntArray, here: IntArray, lead: int, tiles: int, cycles: int
) -> None:  # fmt: skip
    """Moves the state of engine 0 by a number of tiles and cycles; later entries first, for they may overlap."""
    k = here[Q_COUNT]
    for i in range(lead - 1, -1, -1):
        times[T_LOADED, 0, k + tiles + i] = times[T_LOADED, 0, k + i] + cycles
    for i in range(1, 3):
        times[T_COMPUTED, 0, k + tiles - i] = times[T_COMPUTED, 0, k - i] + cycles
        times[T_STORED, 0, k + tiles - i] = times[T_STORED, 0, k - i] + cycles
    for column in (C_COUNT, W_COUNT):
        pc[0, column] += tiles
        pc[0, column + 1] += tiles
    for kind in range(2):
        if here[K_FRONT + 2 * kind]:
            fronts[kind] += tiles
            fronts[FRONT_AT + kind] += tiles  # its place in the round, in the same layer
    for i in range(2):
        free[0, i] += cycles
        free[1, i] += cycles


@njit(cache=True)
def rounds_repeat(
    pc: IntArray, free: IntArray, times: IntArray, layer_end: IntArray, layer_stored: IntArray, now: int,
    begins: IntArray,
) -> bool:  # fmt: skip
    """Whether the round that engine 0 starts at `now` begins like the one before, on all engines.

    `begins`, int64 (2, engines, BEGIN_FIELDS), holds the snapshots of the newest two starts of rounds.
    """
    this, engines = pc[0, C_ROUND], len(pc)
    begins[1] = begins[0]
    for e in range(engines):
        _snapshot(pc, free, e, now, begins[0, e, :SNAPSHOT_FIELDS])
        begins[0, e, B_AT], begins[0, e, B_ROUND] = pc[e, C_AT], pc[e, C_ROUND] - this
    if this < 2:
        return False
    for e in range(engines):
        one, other = begins[0, e], begins[1, e]
        if one[B_AT] != other[B_AT] or one[B_ROUND] != other[B_ROUND]:
            return False
        if one[Q_LEAD] != other[Q_LEAD] or other[Q_COUNT] < max(2, one[Q_LAG]):
            return False
        if not _alike(times, e, one[Q_LEAD], one[:SNAPSHOT_FIELDS], other[:SNAPSHOT_FIELDS]):
            return False
    then = begins[1, 0, Q_NOW]
    return _rows_alike(layer_end, now, then) and _rows_alike(layer_stored, now, then)


@njit(cache=True)
def _rows_alike(rows: IntArray, now: int, then: int) -> bool:
    """Whether what is known of layers and rounds is the same relative to two starts of rounds."""
    for r in range(1, len(rows)):
        for i in range(rows.shape[1]):
            a, b = rows[r, i], rows[r - 1, i]
            if (a == FAR) != (b == FAR) or (a != FAR and max(a - now, 0) != max(b - then, 0)):
                return False
    return True


@njit(cache=True)
def loads_repeat(
    line: IntArray, fronts: IntArray, pc: IntArray, times: IntArray, now: int, before: IntArray
) -> bool:
    """Whether loads stand to the round that starts `now` as they stood to the one before, which `before` remembers.

    Args:
        line: place in the loader's order and turn of it, (-1, round) where the order is not fixed.
        fronts: of each engine, as for `skip_tiles`.
        before: int64 (engines + 1, 3), of each engine tiles computed and both fronts, then place, turn and time.
    """
    engines = len(pc)
    then, alike = before[engines, 2], before[engines, 0] == line[0] and before[engines, 1] == line[1] - 1
    for e in range(engines):
        moved, last = pc[e, C_COUNT] - before[e, 0], 0
        for kind in range(2):
            if fronts[e, kind] < FAR:
                alike &= before[e, 1 + kind] == fronts[e, kind] - moved
                last = max(last, fronts[e, kind])
        if alike:
            for k in range(pc[e, F_COUNT], last):
                alike &= (
                    max(times[T_LOADED, e, k], now) - now == max(times[T_LOADED, e, k - moved], then) - then
                )
        before[e, 0], before[e, 1], before[e, 2] = pc[e, C_COUNT], fronts[e, 0], fronts[e, 1]
    before[engines, 0], before[engines, 1], before[engines, 2] = line[0], line[1], now
    return alike
