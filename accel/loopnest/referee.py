"""The referee: what a loop nest takes on an array, step by step (njit).

Per step, pieces of the operands are loaded where they are touched for the first time since their tile changed, the array
computes, and the piece of outputs is stored when its tile needs it no longer: finished, or as partial sums that come back.
A load may begin when its copy is free: when the last step that used the tile before (with two copies, the one before that) has
ended, or for outputs when that tile is stored. Each piece takes whole beats of the DRAM port (`accel.loopnest.port`). A step
computes when the one before has ended and its loads are there. The first load and the last store are exposed.

Cycles of a step: the product of ceil(size / unroll) over K, C and OX, of the sizes of OY, FY and FX. Source of the loop
algebra: the data-centric view common to Timeloop (ISPASS 2019) and ZigZag (IEEE TC 2021); the timing is ours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.pieces import (
    D_AT,
    D_DIGIT,
    D_DIM,
    D_HIGH,
    D_LOW,
    D_STEP,
    INPUTS,
    OUTPUTS,
    WEIGHTS,
    advance,
    block_counts,
    fresh_lines,
    is_relevant,
    new_odometer,
    new_ranges,
    settle,
)
from foldwright.accel.loopnest.port import PSUMS, SPAN_FIELDS, STORES, new_port, place
from foldwright.accel.loopnest.tables import (
    A_DRAM_BITS,
    A_INPUT_BITS,
    A_OUTPUT_BITS,
    A_PSUM_BITS,
    A_WEIGHT_BITS,
    FX,
    FY,
    L_SX,
    L_SY,
    N_COPIES,
    N_HALO,
    N_OUTSIDE,
    N_STEP_LOOPS,
    N_UNROLL_C,
    N_UNROLL_K,
    N_UNROLL_X,
    OX,
    OY,
    C,
    K,
)
from foldwright.kernels import njit

__all__ = ["array_cycles", "moving_loop", "new_workspace", "referee"]

IntArray = npt.NDArray[np.int64]
Workspace = tuple[IntArray, IntArray]

# Entries of a score: the bits are those that cross the DRAM port.
(
    R_CYCLES, R_COMPUTE, R_STEPS, R_WEIGHT_BITS, R_INPUT_BITS, R_PSUM_LOAD_BITS, R_PSUM_STORE_BITS, R_OUTPUT_BITS,
) = range(8)  # fmt: skip
SCORE_FIELDS = 8
TOO_SLOW = np.iinfo(np.int64).max
FIRST_STEP = -2
"""In place of the loop that moved last."""
# Columns of a store that waits: since when, beats, number of its tile.
W_RELEASE, W_BEATS, W_TILE = range(3)


def new_workspace(steps: int) -> Workspace:
    """Returns room for a nest of so many steps: idle spans of the port, stores that wait."""
    return np.empty((4 * steps + 1, SPAN_FIELDS), dtype=np.int64), np.empty((steps + 1, 3), dtype=np.int64)


@njit(cache=True)
def moving_loop(layer: IntArray, odometer: IntArray, outside: int) -> int:
    """Returns the innermost loop outside the inputs' buffer that moves their tile, if it is over rows or columns; else -1."""
    for i in range(outside - 1, -1, -1):
        d = odometer[i, D_DIM]
        parent = layer[d]
        for before in range(i):
            if odometer[before, D_DIM] == d:
                parent = min(parent, odometer[before, D_STEP])
        if d != K and odometer[i, D_STEP] < parent:
            return -1 if d == C else i
    return -1


@njit(cache=True)
def _needed(size: int, unit: int, counts: IntArray) -> int:
    return counts[size] if len(counts) else -(-size // unit)


@njit(cache=True)
def array_cycles(layer: IntArray, nest: IntArray, loops: IntArray) -> int:
    """Returns how long the array computes in all, pauses left out."""
    cycles = layer[OY] * layer[FY] * layer[FX]
    for d, unit in ((K, nest[N_UNROLL_K]), (C, nest[N_UNROLL_C]), (OX, nest[N_UNROLL_X])):
        cycles *= _needed(layer[d], unit, block_counts(layer[d], d, unit, loops, 0))
    return cycles


@njit(cache=True)
def _moves_tile(odometer: IntArray, operand: int, outside: int, tile_at: IntArray) -> bool:
    """Whether an operand's tile is another than noted; notes where it is now."""
    moves = False
    for i in range(outside):
        if is_relevant(operand, odometer[i, D_DIM]) and tile_at[i] != odometer[i, D_AT]:
            tile_at[i] = odometer[i, D_AT]
            moves = True
    return moves


@njit(cache=True)
def _comes_again(odometer: IntArray, operand: int, outside: int) -> bool:
    """Whether the tile stays when the loops outside the buffer move on: only loops that do not concern it have moves left."""
    for i in range(outside - 1, -1, -1):
        at_end = odometer[i, D_AT] + odometer[i, D_STEP] >= odometer[i, D_HIGH]
        if is_relevant(operand, odometer[i, D_DIM]):
            if not at_end or odometer[i, D_AT] != odometer[i, D_LOW]:
                return False
        elif not at_end:
            return True
    return False


# What a step does: whether weights and inputs are touched for the first time since their tile came, outputs for the first and
# the last time; whether their sums were begun before, and are finished now; the places of its input rows and columns among all.
NEW_WEIGHTS, NEW_INPUTS, FIRST_TOUCH, LAST_TOUCH, BEGUN, FINISHED, ROW, COL = range(8)


@njit(cache=True)
def _look(
    odometer: IntArray, outside: IntArray, row_values: IntArray, col_values: IntArray, step: IntArray
) -> None:
    """Writes what a step does as far as its loops say it."""
    step[:] = 0
    step[NEW_WEIGHTS] = step[NEW_INPUTS] = step[FIRST_TOUCH] = step[LAST_TOUCH] = step[FINISHED] = 1
    for i in range(len(odometer)):
        d = odometer[i, D_DIM]
        at_start = odometer[i, D_AT] == odometer[i, D_LOW]
        at_end = odometer[i, D_AT] + odometer[i, D_STEP] >= odometer[i, D_HIGH]
        if d in (OY, OX):
            step[NEW_WEIGHTS] &= at_start or i < outside[WEIGHTS]
        elif d == K:
            step[NEW_INPUTS] &= at_start or i < outside[INPUTS]
        else:
            step[FINISHED] &= at_end
        if d in (C, FY, FX):
            if i < outside[OUTPUTS]:
                step[BEGUN] |= not at_start
            else:
                step[FIRST_TOUCH] &= at_start
                step[LAST_TOUCH] &= at_end
        step[ROW] += odometer[i, D_DIGIT] * row_values[i]
        step[COL] += odometer[i, D_DIGIT] * col_values[i]


@njit(cache=True)
def _release_stores(
    port: IntArray, spans: IntArray, waiting: IntArray, first: int, last: int, tile: int, served: int
) -> tuple[int, int]:
    """Places the stores from `first` on of tiles up to `tile`; returns the next one, and when all of them are done."""
    while first < last and waiting[first, W_TILE] <= tile:
        served = place(port, spans, STORES, waiting[first, W_RELEASE], waiting[first, W_BEATS])
        first += 1
    return first, served


@njit(cache=True)
def referee(
    layer: IntArray, array: IntArray, nest: IntArray, loops: IntArray, limit: int, spans: IntArray, waiting: IntArray
) -> IntArray:  # fmt: skip
    """Returns the score of a nest, int64 (SCORE_FIELDS,).

    Args:
        limit: cycles that are of interest: beyond, R_CYCLES is TOO_SLOW and the rest is not complete.
        spans, waiting: the workspace.
    """
    score = np.zeros(SCORE_FIELDS, dtype=np.int64)
    count, dram = nest[N_STEP_LOOPS], array[A_DRAM_BITS]
    odometer, ranges = new_odometer(loops, count), new_ranges(layer)
    compute_left = array_cycles(layer, nest, loops)
    score[R_COMPUTE] = compute_left
    settle(odometer, ranges, 0)
    k_counts = block_counts(ranges[K, 1], K, nest[N_UNROLL_K], loops, count)
    c_counts = block_counts(ranges[C, 1], C, nest[N_UNROLL_C], loops, count)
    x_counts = block_counts(ranges[OX, 1], OX, nest[N_UNROLL_X], loops, count)
    outside, copies = nest[N_OUTSIDE : N_OUTSIDE + 3], nest[N_COPIES : N_COPIES + 3]
    moving = moving_loop(layer, odometer, outside[INPUTS]) if nest[N_HALO] else -1
    row_values, rows = fresh_lines(layer, odometer, OY, FY, layer[L_SY], outside[INPUTS], moving)
    col_values, cols = fresh_lines(layer, odometer, OX, FX, layer[L_SX], outside[INPUTS], moving)
    row_halo = moving >= 0 and odometer[moving, D_DIM] in (OY, FY)
    col_halo = moving >= 0 and not row_halo
    # Per operand: where the loops that move its tile stand, since when its copy is free, end of the tile before; has it all come?
    tile_at = np.full((3, count), -1, dtype=np.int64)
    free, before, has_come = (
        np.zeros(3, dtype=np.int64),
        np.zeros(3, dtype=np.int64),
        np.zeros(3, dtype=np.bool_),
    )
    port, step = new_port(), np.zeros(8, dtype=np.int64)
    first, stored, tile, store_end = (
        0,
        0,
        0,
        0,
    )  # stores that wait: first and last; number of the outputs' tile; last store placed
    end, served, moved, slides, stays = 0, 0, FIRST_STEP, False, False
    while moved != -1:
        for op in range(3):
            if moved >= outside[op]:
                continue
            moves = _moves_tile(odometer, op, outside[op], tile_at[op]) or moved == FIRST_STEP
            has_come[op] = not moves
            if op == OUTPUTS:
                stays = _comes_again(odometer, OUTPUTS, outside[OUTPUTS])
            if moves and moved != FIRST_STEP:
                free[op] = end if copies[op] == 1 else before[op]
                before[op] = end
                if op == INPUTS:
                    slides = moved == moving
                if op == OUTPUTS:
                    tile += 1
                    done = tile - copies[OUTPUTS]
                    first, store_end = _release_stores(port, spans, waiting, first, stored, done, store_end)
                    served = max(served, store_end)
        _look(odometer, outside, row_values, col_values, step)
        k, c = ranges[K, 1] - ranges[K, 0], ranges[C, 1] - ranges[C, 0]
        y, x = ranges[OY, 1] - ranges[OY, 0], ranges[OX, 1] - ranges[OX, 0]
        taps = (ranges[FY, 1] - ranges[FY, 0]) * (ranges[FX, 1] - ranges[FX, 0])
        if step[NEW_WEIGHTS] and not has_come[WEIGHTS]:
            bits = k * c * taps * array[A_WEIGHT_BITS]
            score[R_WEIGHT_BITS] += bits
            served = max(served, place(port, spans, WEIGHTS, free[WEIGHTS], -(-bits // dram)))
        if step[NEW_INPUTS] and not has_come[INPUTS]:
            area = rows[step[ROW], int(slides and row_halo)] * cols[step[COL], int(slides and col_halo)]
            bits = c * area * array[A_INPUT_BITS]
            score[R_INPUT_BITS] += bits
            if bits:
                served = max(served, place(port, spans, INPUTS, free[INPUTS], -(-bits // dram)))
        if step[BEGUN] and step[FIRST_TOUCH] and not has_come[OUTPUTS]:
            bits = k * y * x * array[A_PSUM_BITS]
            score[R_PSUM_LOAD_BITS] += bits
            served = max(served, place(port, spans, PSUMS, store_end, -(-bits // dram)))
        cycles = _needed(k, nest[N_UNROLL_K], k_counts) * _needed(c, nest[N_UNROLL_C], c_counts)
        cycles *= y * _needed(x, nest[N_UNROLL_X], x_counts) * taps
        compute_left -= cycles
        end = max(end, served) + cycles
        if end + compute_left > limit:
            score[R_CYCLES] = TOO_SLOW
            return score
        if step[LAST_TOUCH] and not stays:
            bits = k * y * x * array[A_OUTPUT_BITS if step[FINISHED] else A_PSUM_BITS]
            score[R_OUTPUT_BITS if step[FINISHED] else R_PSUM_STORE_BITS] += bits
            waiting[stored, W_RELEASE], waiting[stored, W_BEATS], waiting[stored, W_TILE] = (
                end,
                -(-bits // dram),
                tile,
            )
            stored += 1
        score[R_STEPS] += 1
        moved = advance(odometer, ranges)
    first, store_end = _release_stores(port, spans, waiting, first, stored, tile, store_end)
    cycles = max(end, served, store_end)
    score[R_CYCLES] = cycles if cycles <= limit else TOO_SLOW
    return score
