"""Where an operand's tile may be kept in a candidate's order, and what each place costs, in closed form (njit)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.pieces import INPUTS, OUTPUTS, WEIGHTS, is_relevant
from foldwright.accel.loopnest.space import GRAIN_TAP, Q_GRAIN, TAPS, ceil_div, grain_taps, tile_count
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
    OX,
    OY,
    C,
    K,
)
from foldwright.kernels import njit

__all__ = ["keep_fitting", "lines", "operand_options"]

IntArray = npt.NDArray[np.int64]

# Columns of an option: loops outside, copies, bits in the buffer, bits loaded and stored, beats of its loads and of its stores at
# least, cycles that the array waits because there is no second copy.
Z_OUTSIDE, Z_COPIES, Z_BUFFER, Z_TRAFFIC, Z_LOADS, Z_STORES, Z_WAIT = range(7)
OPTION_FIELDS = 7
MOST_OPTIONS = 10


@njit(cache=True)
def lines(outputs: int, taps: int, stride: int) -> int:
    """Returns the input rows (or columns) that so many output rows read through so many kernel rows."""
    return (outputs - 1) * min(stride, taps) + taps


@njit(cache=True)
def operand_options(
    operand: int, layer: IntArray, array: IntArray, unroll: IntArray, tiles: IntArray, order: IntArray, has_halo: bool,
    most_copies: int, out: IntArray,
) -> int:  # fmt: skip
    """Writes the places and copies that an operand's tile can have in an order (Z_*) and returns how many there are.

    The first keeps the whole tensor; the more loops are outside, the smaller the tile.

    Args:
        tiles: four tiles and the grain.
        out: int64 (MOST_OPTIONS, OPTION_FIELDS).
    """
    # Options; sweeps by loops that do not concern it; tiles in all; sweeps that count if a loop further in moves the tile.
    n, again, moves, pending = 0, 1, 1, 1
    edge = np.empty(4, dtype=np.int64)
    for d in range(4):
        edge[d] = (layer[d] - 1) % tiles[d] + 1
    for outside in range(6):
        if outside:
            d = order[outside - 1]
            count = tile_count(layer, tiles, d)
            if count == 1:
                continue
            moves *= count
            concerns = operand != OUTPUTS if d == TAPS else is_relevant(operand, d)
            if not concerns:
                pending *= count
                continue
            again, pending = again * pending, 1
        if operand == WEIGHTS:
            _weights(layer, array, tiles, order, outside, again, edge, out[n])
        elif operand == INPUTS:
            _inputs(layer, array, tiles, order, outside, again, edge, has_halo, out[n])
        else:
            _outputs(layer, array, unroll, tiles, order, outside, again, edge, out[n])
        row = out[n].copy()
        for copies in range(most_copies if outside else 1, 0, -1):
            out[n] = row
            out[n, Z_OUTSIDE], out[n, Z_COPIES], out[n, Z_BUFFER] = outside, copies, row[Z_BUFFER] * copies
            out[n, Z_WAIT] = row[Z_WAIT] * (moves - 1) if copies == 1 else 0
            n += 1
    return n


@njit(cache=True)
def keep_fitting(options: IntArray, count: int, room: int) -> int:
    """Keeps the options that fit, without those that another beats in loops outside and copies; returns how many."""
    n = 0
    for i in range(count):
        if options[i, Z_BUFFER] > room:
            continue
        beaten = False
        for j in range(n):
            fewer = options[j, Z_OUTSIDE] <= options[i, Z_OUTSIDE]
            beaten = beaten or (fewer and options[j, Z_COPIES] >= options[i, Z_COPIES])
        if not beaten:
            options[n] = options[i]
            n += 1
    return n


@njit(cache=True)
def _is_inside(order: IntArray, outside: int, d: int) -> bool:
    for i in range(outside):
        if order[i] == d:
            return False
    return True


@njit(cache=True)
def _held(layer: IntArray, tiles: IntArray, order: IntArray, outside: int, d: int) -> int:
    """Returns how much of a dimension a tile in the buffer has."""
    return layer[d] if _is_inside(order, outside, d) else tiles[d]


@njit(cache=True)
def _held_taps(layer: IntArray, tiles: IntArray, order: IntArray, outside: int) -> tuple[int, int]:
    """Returns the kernel rows and columns that a tile in the buffer has."""
    if _is_inside(order, outside, TAPS):
        return layer[FY], layer[FX]
    return grain_taps(layer, tiles[Q_GRAIN])


@njit(cache=True)
def _beats(
    layer: IntArray, tiles: IntArray, first: int, second: int, third: int, bits: int, dram: int
) -> int:
    """Returns the beats of all pieces of three dimensions, each in whole beats; `third` may be -1 for none."""
    total = 0
    for part in range(8 if third >= 0 else 4):
        count, size = 1, 1
        for i, d in ((0, first), (1, second), (2, third)):
            if d < 0:
                continue
            whole, rest = layer[d] // tiles[d], layer[d] % tiles[d]
            if part >> i & 1:
                count, size = count * (1 if rest else 0), size * rest
            else:
                count, size = count * whole, size * tiles[d]
        total += count * ceil_div(size * bits, dram)
    return total


@njit(cache=True)
def _sweep(layer: IntArray, tiles: IntArray, d: int, is_cut: bool, is_split: bool, moving: int) -> int:
    """Returns the input rows or columns loaded in one sweep of all loops outside the buffer.

    Args:
        d: OY or OX.
        is_cut: the loop over its tiles is outside; is_split: so is that over single kernel rows (columns).
        moving: the innermost of them if what tiles share stays on chip: `d`, TAPS, or -1.
    """
    taps, stride = (layer[FY], layer[L_SY]) if d == OY else (layer[FX], layer[L_SX])
    if is_split:
        # One kernel row reads as many rows as there are outputs; the next one reads all but one of them if the stride is 1.
        tiles_moved = tile_count(layer, tiles, d) if is_cut else 1
        return layer[d] + (taps - 1) * (tiles_moved if moving == TAPS and stride == 1 else layer[d])
    if not is_cut or moving == d:
        return lines(layer[d], taps, stride)
    rest = layer[d] % tiles[d]
    return layer[d] // tiles[d] * lines(tiles[d], taps, stride) + (lines(rest, taps, stride) if rest else 0)


@njit(cache=True)
def _weights(
    layer: IntArray, array: IntArray, tiles: IntArray, order: IntArray, outside: int, again: int, edge: IntArray, out: IntArray
) -> None:  # fmt: skip
    width, dram = array[A_WEIGHT_BITS], array[A_DRAM_BITS]
    fy, fx = grain_taps(layer, tiles[Q_GRAIN])
    held_y, held_x = _held_taps(layer, tiles, order, outside)
    channels = _held(layer, tiles, order, outside, K) * _held(layer, tiles, order, outside, C)
    out[Z_BUFFER] = channels * held_y * held_x * width
    out[Z_TRAFFIC] = layer[K] * layer[C] * layer[FY] * layer[FX] * width * again
    out[Z_LOADS] = (
        tile_count(layer, tiles, TAPS) * again * _beats(layer, tiles, K, C, -1, fy * fx * width, dram)
    )
    out[Z_STORES] = 0
    out[Z_WAIT] = ceil_div(edge[K] * edge[C] * fy * fx * width, dram)


@njit(cache=True)
def _inputs(
    layer: IntArray, array: IntArray, tiles: IntArray, order: IntArray, outside: int, again: int, edge: IntArray,
    has_halo: bool, out: IntArray,
) -> None:  # fmt: skip
    width, dram = array[A_INPUT_BITS], array[A_DRAM_BITS]
    fy, fx = grain_taps(layer, tiles[Q_GRAIN])
    held_y, held_x = _held_taps(layer, tiles, order, outside)
    rows = lines(_held(layer, tiles, order, outside, OY), held_y, layer[L_SY])
    cols = lines(_held(layer, tiles, order, outside, OX), held_x, layer[L_SX])
    moving = order[outside - 1] if outside and has_halo else -1
    # Of the two loops over taps the inner one moves: columns, unless the kernel has but one.
    by_cols = tiles[Q_GRAIN] == GRAIN_TAP and layer[FX] > 1
    y_moving = -1 if moving == TAPS and by_cols else moving
    x_moving = -1 if moving == TAPS and not by_cols else moving
    is_split = not _is_inside(order, outside, TAPS)
    area = _sweep(layer, tiles, OY, not _is_inside(order, outside, OY), is_split and fy < layer[FY], y_moving)
    area *= _sweep(
        layer, tiles, OX, not _is_inside(order, outside, OX), is_split and fx < layer[FX], x_moving
    )
    out[Z_BUFFER] = _held(layer, tiles, order, outside, C) * rows * cols * width
    out[Z_TRAFFIC] = layer[C] * area * again * width
    out[Z_LOADS], out[Z_STORES], out[Z_WAIT] = ceil_div(out[Z_TRAFFIC], dram), 0, 0
    if moving < 0 or moving == C:
        area = lines(edge[OY], fy, layer[L_SY]) * lines(edge[OX], fx, layer[L_SX])
        out[Z_WAIT] = ceil_div(edge[C] * area * width, dram)


@njit(cache=True)
def _outputs(
    layer: IntArray, array: IntArray, unroll: IntArray, tiles: IntArray, order: IntArray, outside: int, again: int,
    edge: IntArray, out: IntArray,
) -> None:  # fmt: skip
    done, partial, dram = array[A_OUTPUT_BITS], array[A_PSUM_BITS], array[A_DRAM_BITS]
    at_once = layer[C] <= unroll[1] and layer[FY] * layer[FX] == 1
    held = _held(layer, tiles, order, outside, K) * _held(layer, tiles, order, outside, OY)
    out[Z_BUFFER] = held * _held(layer, tiles, order, outside, OX) * (done if at_once else partial)
    out[Z_TRAFFIC] = layer[K] * layer[OY] * layer[OX] * (done + 2 * (again - 1) * partial)
    spills = (again - 1) * _beats(layer, tiles, K, OY, OX, partial, dram) if again > 1 else 0
    out[Z_LOADS], out[Z_STORES] = spills, spills + _beats(layer, tiles, K, OY, OX, done, dram)
    out[Z_WAIT] = ceil_div(edge[K] * edge[OY] * edge[OX] * (min(done, partial) if again > 1 else done), dram)
