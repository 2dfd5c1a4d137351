"""Plain search of one layer's mappings: all of the mapper's space, one after the other, without bounds (njit).

It is there to be compared with: it shares the referee with the exact mapper and nothing else. A mapping is given up only where
the referee has seen it fall behind the best.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.nest import ArrayModel, Convolution
from foldwright.accel.loopnest.referee import (
    R_CYCLES,
    R_INPUT_BITS,
    R_OUTPUT_BITS,
    R_PSUM_LOAD_BITS,
    R_PSUM_STORE_BITS,
    R_WEIGHT_BITS,
    TOO_SLOW,
    new_workspace,
    referee,
)
from foldwright.accel.loopnest.tables import array_row, layer_row
from foldwright.kernels import njit

__all__ = ["exhaustive_search", "plain_tiles"]

IntArray = npt.NDArray[np.int64]


def plain_tiles(size: int, unit: int) -> list[int]:
    """Returns the tiles of the mapper's space, from their definition.

    >>> plain_tiles(10, 4)  # in 1, 2 and 3 parts; multiples of 4 besides
    [4, 5, 8, 10]
    """
    unit = min(unit, size)
    by_parts, by_blocks = {}, {}
    for tile in range(size, unit - 1, -1):
        by_parts[math.ceil(size / tile)] = tile
        if tile % unit == 0 or tile == size:
            by_blocks[math.ceil(math.ceil(size / unit) / math.ceil(tile / unit))] = tile
    return sorted({*by_parts.values(), *by_blocks.values()})


def exhaustive_search(
    layer: Convolution, array: ArrayModel, max_steps: int, has_halo: bool = True
) -> tuple[int, int, int]:
    """Returns the fewest cycles, the least traffic in bits with them, and how many mappings were tried; cycles 0 for none."""
    unroll = (
        min(layer.out_channels, array.out_channels),
        min(layer.in_channels, array.in_channels),
        min(layer.out_width, array.columns),
    )
    kernels = {(layer.kernel_height, layer.kernel_width), (1, layer.kernel_width), (1, 1)}
    sizes = (
        plain_tiles(layer.out_channels, unroll[0]),
        plain_tiles(layer.in_channels, unroll[1]),
        plain_tiles(layer.out_height, 1),
        plain_tiles(layer.out_width, unroll[2]),
    )
    tiles = [(*four, *taps) for four in itertools.product(*sizes) for taps in kernels]
    orders = [tuple(order) for order in itertools.permutations((0, 1, 2, 3, 4))]
    result = _search(
        layer_row(layer),
        array_row(array),
        np.array(array.buffer_bits, dtype=np.int64),
        np.array(unroll, dtype=np.int64),
        np.array(tiles, dtype=np.int64),
        np.array(orders, dtype=np.int64),
        has_halo,
        2 if array.double_buffered else 1,
        max_steps,
        *new_workspace(max_steps),
    )
    cycles, traffic, tried = (int(v) for v in result)
    return (0 if cycles == TOO_SLOW else cycles), traffic, tried


@njit(cache=True)
def _search(
    layer: IntArray, array: IntArray, buffers: IntArray, unroll: IntArray, tiles: IntArray, orders: IntArray, has_halo: bool,
    most_copies: int, max_steps: int, spans: IntArray, waiting: IntArray,
) -> IntArray:  # fmt: skip
    best_cycles, best_traffic, tried = TOO_SLOW, TOO_SLOW, 0
    nest, loops = np.zeros(11, dtype=np.int64), np.zeros((6, 2), dtype=np.int64)
    nest[7], nest[8:11] = has_halo, unroll
    for tile in tiles:
        counts = np.ones(5, dtype=np.int64)
        for d in range(4):
            counts[d] = -(-layer[d] // tile[d])
        counts[4] = -(-layer[4] // tile[4]) * -(-layer[5] // tile[5])
        if counts.prod() > max_steps:
            continue
        for order in orders:
            n, skip = 0, False
            last_single = -1
            for i in range(5):  # loops of one iteration in one place only
                d = order[i]
                if counts[d] == 1:
                    skip = skip or last_single != i - 1 or (i > 0 and order[i - 1] > d)
                    last_single = i
                    continue
                if d == 4:
                    if tile[4] < layer[4]:
                        loops[n] = 4, tile[4]
                        n += 1
                    if tile[5] < layer[5]:
                        loops[n] = 5, tile[5]
                        n += 1
                else:
                    loops[n] = d, tile[d]
                    n += 1
            if skip:
                continue
            nest[0] = n
            for outside_w in range(n + 1):
                if not _stops(outside_w, loops, n, 0):
                    continue
                for outside_i in range(n + 1):
                    if not _stops(outside_i, loops, n, 1):
                        continue
                    for outside_o in range(n + 1):
                        if not _stops(outside_o, loops, n, 2):
                            continue
                        nest[1], nest[2], nest[3] = outside_w, outside_i, outside_o
                        for code in range(8):
                            nest[4], nest[5], nest[6] = 1 + (code & 1), 1 + (code >> 1 & 1), 1 + (code >> 2)
                            extra = (nest[4] > 1 and outside_w == 0) or (nest[5] > 1 and outside_i == 0)
                            if extra or (nest[6] > 1 and outside_o == 0) or (code and most_copies == 1):
                                continue
                            if not _fits(layer, array, buffers, nest, loops):
                                continue
                            tried += 1
                            score = referee(layer, array, nest, loops[:n], best_cycles, spans, waiting)
                            if score[R_CYCLES] == TOO_SLOW:
                                continue
                            traffic = score[R_WEIGHT_BITS] + score[R_INPUT_BITS] + score[R_PSUM_LOAD_BITS]
                            traffic += score[R_PSUM_STORE_BITS] + score[R_OUTPUT_BITS]
                            if score[R_CYCLES] < best_cycles or traffic < best_traffic:
                                best_cycles, best_traffic = score[R_CYCLES], traffic
    return np.array([best_cycles, best_traffic, tried])


@njit(cache=True)
def _stops(outside: int, loops: IntArray, count: int, operand: int) -> bool:
    """Whether an operand's buffer may begin behind so many loops: none, or up to one that moves its tile.

    The two loops over taps are one here.
    """
    if outside == 0:
        return True
    d = loops[outside - 1, 0]
    if d == 4 and outside < count and loops[outside, 0] == 5:
        return False
    if operand == 0:
        return d != 2 and d != 3
    if operand == 1:
        return d != 0
    return d != 1 and d < 4


@njit(cache=True)
def _fits(layer: IntArray, array: IntArray, buffers: IntArray, nest: IntArray, loops: IntArray) -> bool:
    needed = np.zeros(3, dtype=np.int64)
    for operand in range(3):
        held = layer[:6].copy()
        for i in range(nest[1 + operand]):
            held[loops[i, 0]] = loops[i, 1]
        if operand == 0:
            bits = held[0] * held[1] * held[4] * held[5] * array[3]
        elif operand == 1:
            rows, cols = np.zeros(layer[2] * layer[6] + layer[4]), np.zeros(layer[3] * layer[7] + layer[5])
            for f in range(held[4]):
                rows[f : f + held[2] * layer[6] : layer[6]] = 1
            for f in range(held[5]):
                cols[f : f + held[3] * layer[7] : layer[7]] = 1
            bits = held[1] * int(rows.sum()) * int(cols.sum()) * array[4]
        else:
            at_once = layer[1] <= nest[9] and layer[4] * layer[5] == 1
            bits = held[0] * held[2] * held[3] * array[6 if at_once else 5]
        needed[operand] = bits * nest[4 + operand]
    if len(buffers) == 1:
        return needed.sum() <= buffers[0]
    return bool((needed <= buffers).all())
