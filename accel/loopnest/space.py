"""The mappings that the exact mapper chooses from (njit).

A candidate cuts K, C, OY and OX into tiles and the kernel, by its `grain`, into nothing, rows or taps. It runs the five loops
over all that in some order (that over taps is two loops, rows outside). Tiles: every class of ceil(size / tile) by its
smallest tile, and every class of multiples of the unroll; none smaller than the unroll. Per operand, the loops outside its
buffer end with one that moves its tile: all other places mean the same as one of these. Halos are reused wherever the array can.

A candidate is int64 (CANDIDATE_FIELDS,): four tiles, the grain, five loops outermost first, loops outside and copies per operand.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.tables import (
    FX,
    FY,
    N_COPIES,
    N_HALO,
    N_OUTSIDE,
    N_STEP_LOOPS,
    N_UNROLL_K,
    NEST_FIELDS,
    OX,
    OY,
    C,
    K,
)
from foldwright.accel.tiles import ceil_classes
from foldwright.kernels import njit

__all__ = ["all_tiles", "ceil_div", "grain_taps", "is_canonical", "tile_count", "tile_sizes", "write_nest"]

IntArray = npt.NDArray[np.int64]

# Entries of a candidate; the first five are its tiles and grain.
Q_TILE, Q_GRAIN, Q_ORDER, Q_OUTSIDE, Q_COPIES = 0, 4, 5, 10, 13
CANDIDATE_FIELDS = 16
GRAIN_TILE, GRAIN_ROW, GRAIN_TAP = range(3)
TAPS = 4
"""The loop over the kernel, beside K, C, OY and OX."""
ORDERS = np.array(list(itertools.permutations((K, C, OY, OX, TAPS))), dtype=np.int64)


@njit(cache=True)
def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@njit(cache=True)
def tile_sizes(size: int, unit: int) -> IntArray:
    """Returns the tiles of a dimension to choose from, ascending."""
    multiples = np.minimum(ceil_classes(ceil_div(size, unit)) * unit, size)
    both = np.unique(np.concatenate((ceil_classes(size), multiples)))
    return both[both >= min(unit, size)]


@njit(cache=True)
def grain_taps(layer: IntArray, grain: int) -> tuple[int, int]:
    """Returns the kernel rows and columns of a step."""
    return (layer[FY] if grain == GRAIN_TILE else 1), (layer[FX] if grain < GRAIN_TAP else 1)


@njit(cache=True)
def tile_count(layer: IntArray, tiles: IntArray, d: int) -> int:
    """Returns the iterations of one of the five loops; `tiles` are four tiles and the grain."""
    if d == TAPS:
        fy, fx = grain_taps(layer, tiles[Q_GRAIN])
        return layer[FY] // fy * (layer[FX] // fx)
    return ceil_div(layer[d], tiles[d])


@njit(cache=True)
def all_tiles(layer: IntArray, unroll: IntArray, max_steps: int) -> IntArray:
    """Returns all tiles with their grain that make no more steps, int64 (n, 5)."""
    ks, cs = tile_sizes(layer[K], unroll[0]), tile_sizes(layer[C], unroll[1])
    ys, xs = tile_sizes(layer[OY], 1), tile_sizes(layer[OX], unroll[2])
    tiles = np.empty((0, 5), dtype=np.int64)
    for fills in range(2):  # counts, then fills
        n = 0
        for k in ks:
            for c in cs:
                blocks = ceil_div(layer[K], k) * ceil_div(layer[C], c)
                if blocks > max_steps:
                    continue
                for y in ys:
                    for x in xs:
                        steps = blocks * ceil_div(layer[OY], y) * ceil_div(layer[OX], x)
                        for grain in range(GRAIN_TAP + 1):
                            fy, fx = grain_taps(layer, grain)
                            if steps * (layer[FY] // fy) * (layer[FX] // fx) > max_steps:
                                break
                            if (grain == GRAIN_ROW and layer[FY] == 1) or (
                                grain == GRAIN_TAP and layer[FX] == 1
                            ):
                                continue
                            if fills:
                                tiles[n, 0], tiles[n, 1], tiles[n, 2], tiles[n, 3], tiles[n, 4] = (
                                    k,
                                    c,
                                    y,
                                    x,
                                    grain,
                                )
                            n += 1
        if not fills:
            tiles = np.empty((n, 5), dtype=np.int64)
    return tiles


@njit(cache=True)
def is_canonical(layer: IntArray, tiles: IntArray, order: IntArray) -> bool:
    """Whether an order stands for itself: loops of one iteration do nothing, so they come first, in order."""
    before, singles_only = -1, True
    for d in order:
        is_single = tile_count(layer, tiles, d) == 1
        if is_single and (not singles_only or d < before):
            return False
        singles_only = singles_only and is_single
        before = d
    return True


@njit(cache=True)
def write_nest(
    layer: IntArray, unroll: IntArray, candidate: IntArray, has_halo: bool, nest: IntArray, loops: IntArray
) -> int:
    """Writes a candidate as rows for the referee, loops in int64 (6, 2), and returns how many loops it has."""
    count, placed = 0, np.zeros(6, dtype=np.int64)  # loops written: so far, and before each of the five
    for i in range(5):
        d = candidate[Q_ORDER + i]
        if d != TAPS:
            loops[count, 0], loops[count, 1] = d, candidate[Q_TILE + d]
            count += 1
        if d == TAPS and candidate[Q_GRAIN] >= GRAIN_ROW:
            loops[count, 0], loops[count, 1] = FY, 1
            count += 1
        if d == TAPS and candidate[Q_GRAIN] == GRAIN_TAP:
            loops[count, 0], loops[count, 1] = FX, 1
            count += 1
        placed[i + 1] = count
    nest[:NEST_FIELDS] = 0
    nest[N_STEP_LOOPS], nest[N_HALO] = count, has_halo
    for op in range(3):
        nest[N_OUTSIDE + op] = placed[candidate[Q_OUTSIDE + op]]
    nest[N_COPIES : N_COPIES + 3] = candidate[Q_COPIES : Q_COPIES + 3]
    nest[N_UNROLL_K : N_UNROLL_K + 3] = unroll
    return count
