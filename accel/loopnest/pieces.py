"""How the pieces of a loop nest follow each other (njit): an odometer over loops, and what input rows or columns are new.

The odometer is int64 (loops, O_FIELDS) beside the present range of every dimension, int64 (6, 2). Loops must not be more than
the arrays that `new_odometer` returns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.tables import FX, FY, OX, OY, C, K
from foldwright.kernels import njit

__all__ = ["advance", "block_counts", "fresh_lines", "is_relevant", "new_odometer", "new_ranges", "settle"]

IntArray = npt.NDArray[np.int64]

# Columns of the odometer: dimension, step, range that the loop runs over, where it stands, how often it moved.
D_DIM, D_STEP, D_LOW, D_HIGH, D_AT, D_DIGIT = range(6)
ODOMETER_FIELDS = 6
WEIGHTS, INPUTS, OUTPUTS = range(3)


@njit(cache=True)
def is_relevant(operand: int, dim: int) -> bool:
    """Whether a loop over a dimension moves an operand's data."""
    if operand == WEIGHTS:
        return dim in (K, C, FY, FX)
    if operand == INPUTS:
        return dim != K
    return dim in (K, OY, OX)


@njit(cache=True)
def new_odometer(loops: IntArray, count: int) -> IntArray:
    """Returns the odometer of the first `count` loops, not yet set."""
    odometer = np.zeros((count, ODOMETER_FIELDS), dtype=np.int64)
    for i in range(count):
        odometer[i, D_DIM], odometer[i, D_STEP] = loops[i]
    return odometer


@njit(cache=True)
def new_ranges(layer: IntArray) -> IntArray:
    """Returns the whole range of every dimension, int64 (6, 2)."""
    ranges = np.zeros((6, 2), dtype=np.int64)
    ranges[:, 1] = layer[:6]
    return ranges


@njit(cache=True)
def settle(odometer: IntArray, ranges: IntArray, first: int) -> None:
    """Sets the loops from `first` on to the start of the ranges that the loops outside them leave."""
    for i in range(first, len(odometer)):
        d = odometer[i, D_DIM]
        odometer[i, D_LOW], odometer[i, D_HIGH] = ranges[d]
        odometer[i, D_AT], odometer[i, D_DIGIT] = ranges[d, 0], 0
        ranges[d, 1] = min(ranges[d, 1], ranges[d, 0] + odometer[i, D_STEP])


@njit(cache=True)
def advance(odometer: IntArray, ranges: IntArray) -> int:
    """Moves to the next iteration and returns the outermost loop that moved, -1 behind the last one."""
    i = len(odometer) - 1
    while i >= 0:
        d = odometer[i, D_DIM]
        ranges[d, 0], ranges[d, 1] = odometer[i, D_LOW], odometer[i, D_HIGH]
        if odometer[i, D_AT] + odometer[i, D_STEP] < odometer[i, D_HIGH]:
            break
        i -= 1
    if i < 0:
        return -1
    odometer[i, D_AT] += odometer[i, D_STEP]
    odometer[i, D_DIGIT] += 1
    ranges[d, 0] = odometer[i, D_AT]
    ranges[d, 1] = min(odometer[i, D_HIGH], odometer[i, D_AT] + odometer[i, D_STEP])
    settle(odometer, ranges, i + 1)
    return i


@njit(cache=True)
def block_counts(size: int, dim: int, unit: int, loops: IntArray, first: int) -> IntArray:
    """Returns how many times `unit` is needed for 0, 1, ... `size` of a dimension that the loops from `first` on cut.

    Where no loop cuts it, that is a mere division and the array is empty.
    """
    cut = False
    for i in range(first, len(loops)):
        cut = cut or (loops[i, 0] == dim and loops[i, 1] < size)
    counts = np.empty(size + 1 if cut and unit > 1 else 0, dtype=np.int64)
    if not len(counts):
        return counts
    for n in range(size + 1):
        counts[n] = -(-n // unit)
    for i in range(len(loops) - 1, first - 1, -1):
        step = loops[i, 1]
        if loops[i, 0] == dim:
            for n in range(step + 1, size + 1):
                counts[n] = n // step * counts[step] + counts[n % step]
    return counts


@njit(cache=True)
def fresh_lines(
    layer: IntArray, odometer: IntArray, out_dim: int, kernel_dim: int, stride: int, outside: int, moving: int
) -> tuple[IntArray, IntArray]:  # fmt: skip
    """Returns how many input rows (or columns) each piece of a tile is the first to touch.

    Pieces are counted in the mixed radix of the loops over `out_dim` and `kernel_dim`, by the counts of their largest ranges.

    Args:
        outside: loops outside the inputs' buffer.
        moving: the loop outside the buffer whose moves leave shared lines on chip, or -1.

    Returns:
        The place values of all loops, 0 for those of other dimensions, int64 (loops,). New lines of each piece,
        int64 (pieces, 2): with an empty buffer, and with the tile before `moving` moved still there.
    """
    count = len(odometer)
    values, pieces = np.zeros(count, dtype=np.int64), 1
    mine = np.zeros(count, dtype=np.int64)
    n = 0
    left = np.array([layer[out_dim], layer[kernel_dim]])
    for i in range(count):
        if odometer[i, D_DIM] == out_dim or odometer[i, D_DIM] == kernel_dim:
            mine[n] = i
            n += 1
    for m in range(n - 1, -1, -1):
        i = mine[m]
        parent = layer[odometer[i, D_DIM]]
        for before in range(m):
            if odometer[mine[before], D_DIM] == odometer[i, D_DIM]:
                parent = min(parent, odometer[mine[before], D_STEP])
        values[i] = pieces
        pieces *= -(-parent // odometer[i, D_STEP])
    own = odometer[mine[:n]].copy()
    ranges = np.zeros((6, 2), dtype=np.int64)
    ranges[out_dim, 1], ranges[kernel_dim, 1] = left
    settle(own, ranges, 0)
    lines = np.zeros((pieces, 2), dtype=np.int64)
    size = (layer[out_dim] - 1) * stride + layer[kernel_dim]
    # For every line the number of the tile that touched it last, and of the tile whose predecessor holds it.
    touched, held = np.full(size, -1, dtype=np.int64), np.full(size, -1, dtype=np.int64)
    tile, moved = 0, -1
    low, high = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    while True:
        if moved < 0 or mine[moved] < outside:
            tile += 1
            if moved >= 0 and mine[moved] == moving:
                for o in range(low[0], high[0]):
                    for f in range(low[1], high[1]):
                        held[o * stride + f] = tile
            low[0], high[0], low[1], high[1] = 0, layer[out_dim], 0, layer[kernel_dim]
            for m in range(n):
                if mine[m] < outside:
                    g = 0 if own[m, D_DIM] == out_dim else 1
                    low[g], high[g] = own[m, D_AT], min(own[m, D_HIGH], own[m, D_AT] + own[m, D_STEP])
        piece = 0
        for m in range(n):
            piece += own[m, D_DIGIT] * values[mine[m]]
        for o in range(ranges[out_dim, 0], ranges[out_dim, 1]):
            for f in range(ranges[kernel_dim, 0], ranges[kernel_dim, 1]):
                line = o * stride + f
                if touched[line] != tile:
                    touched[line] = tile
                    lines[piece, 0] += 1
                    lines[piece, 1] += held[line] != tile
        moved = advance(own, ranges)
        if moved < 0:
            break
    return values, lines
