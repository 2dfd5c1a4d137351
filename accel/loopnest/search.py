"""The exact mapper of one layer: branch and bound over the space of `accel.loopnest.space`, scored by the referee (njit).

Tiles are taken in the order of what they take at least; the search ends where that exceeds the best. A candidate is left out only
if its bound is not below the best found, or if another choice for the same tiles and order keeps more on chip in as many
copies: the referee's port makes that never slower (`accel.loopnest.port`). Among equal cycles less traffic wins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.bounds import (
    T_LEAST,
    TILE_FIELDS,
    compulsory_traffic,
    least_cycles,
    order_least,
    tile_numbers,
)
from foldwright.accel.loopnest.options import (
    MOST_OPTIONS,
    OPTION_FIELDS,
    Z_BUFFER,
    Z_COPIES,
    Z_OUTSIDE,
    Z_TRAFFIC,
    keep_fitting,
    operand_options,
)
from foldwright.accel.loopnest.referee import R_CYCLES, TOO_SLOW, referee
from foldwright.accel.loopnest.space import (
    CANDIDATE_FIELDS,
    ORDERS,
    Q_COPIES,
    Q_ORDER,
    Q_OUTSIDE,
    all_tiles,
    is_canonical,
    write_nest,
)
from foldwright.accel.loopnest.tables import NEST_FIELDS
from foldwright.kernels import njit

__all__ = ["all_options", "choose", "fits", "search", "sorted_tiles"]

IntArray = npt.NDArray[np.int64]

# What the search found: cycles (TOO_SLOW for nothing), traffic in bits, candidates compared with bounds, candidates simulated.
F_CYCLES, F_TRAFFIC, F_BOUNDED, F_SIMULATED = range(4)


@njit(cache=True)
def sorted_tiles(
    layer: IntArray, array: IntArray, unroll: IntArray, max_steps: int
) -> tuple[IntArray, IntArray]:
    """Returns all tiles with their grain, int64 (n, 5), and their numbers, int64 (n, TILE_FIELDS), by cycles at least."""
    tiles = all_tiles(layer, unroll, max_steps)
    numbers = np.empty((len(tiles), TILE_FIELDS), dtype=np.int64)
    for t in range(len(tiles)):
        tile_numbers(layer, array, unroll, tiles[t], numbers[t])
    order = np.argsort(numbers[:, T_LEAST])
    return tiles[order], numbers[order]


@njit(cache=True)
def all_options(
    layer: IntArray, array: IntArray, unroll: IntArray, tiles: IntArray, order: IntArray, has_halo: bool, most_copies: int,
    options: IntArray, counts: IntArray,
) -> None:  # fmt: skip
    """Writes the options of all operands, int64 (3, MOST_OPTIONS, OPTION_FIELDS), and how many there are."""
    for op in range(3):
        counts[op] = operand_options(
            op, layer, array, unroll, tiles, order, has_halo, most_copies, options[op]
        )


@njit(cache=True)
def fits(buffers: IntArray, weights: IntArray, inputs: IntArray, outputs: IntArray) -> bool:
    """Whether three options fit a pool, or three buffers."""
    if len(buffers) == 1:
        return weights[Z_BUFFER] + inputs[Z_BUFFER] + outputs[Z_BUFFER] <= buffers[0]
    return (
        weights[Z_BUFFER] <= buffers[0] and inputs[Z_BUFFER] <= buffers[1] and outputs[Z_BUFFER] <= buffers[2]
    )


@njit(cache=True)
def choose(candidate: IntArray, weights: IntArray, inputs: IntArray, outputs: IntArray) -> None:
    """Writes three options into a candidate."""
    for op, option in ((0, weights), (1, inputs), (2, outputs)):
        candidate[Q_OUTSIDE + op], candidate[Q_COPIES + op] = option[Z_OUTSIDE], option[Z_COPIES]


@njit(cache=True)
def search(
    layer: IntArray, array: IntArray, buffers: IntArray, unroll: IntArray, has_halo: bool, most_copies: int, max_steps: int,
    spans: IntArray, waiting: IntArray,
) -> tuple[IntArray, IntArray]:  # fmt: skip
    """Returns what was found (F_*) and the best candidate.

    Args:
        buffers: bits, int64 (1,) for a pool or (3,).
        most_copies: of a tile.
        spans, waiting: the referee's workspace for `max_steps`.
    """
    found = np.array([TOO_SLOW, TOO_SLOW, 0, 0], dtype=np.int64)
    best, candidate = np.zeros(CANDIDATE_FIELDS, dtype=np.int64), np.zeros(CANDIDATE_FIELDS, dtype=np.int64)
    tiles, numbers = sorted_tiles(layer, array, unroll, max_steps)
    options = np.empty((3, MOST_OPTIONS, OPTION_FIELDS), dtype=np.int64)
    counts, compulsory = np.zeros(3, dtype=np.int64), compulsory_traffic(layer, array)
    nest, loops = np.zeros(NEST_FIELDS, dtype=np.int64), np.zeros((6, 2), dtype=np.int64)
    for t in range(len(tiles)):
        if not _is_less(numbers[t, T_LEAST], compulsory, found):
            break
        candidate[:5] = tiles[t]
        for order in ORDERS:
            if not is_canonical(layer, tiles[t], order):
                continue
            floor = order_least(layer, array, unroll, tiles[t], order, numbers[t])
            if not _is_less(floor, compulsory, found):
                continue
            candidate[Q_ORDER : Q_ORDER + 5] = order
            all_options(layer, array, unroll, tiles[t], order, has_halo, most_copies, options, counts)
            if len(buffers) == 3:
                for op in range(3):
                    counts[op] = keep_fitting(options[op], counts[op], buffers[op])
            for w in options[0, : counts[0]]:
                for i in options[1, : counts[1]]:
                    for o in options[2, : counts[2]]:
                        if not fits(buffers, w, i, o):
                            continue
                        found[F_BOUNDED] += 1
                        traffic = w[Z_TRAFFIC] + i[Z_TRAFFIC] + o[Z_TRAFFIC]
                        if not _is_less(max(floor, least_cycles(numbers[t], w, i, o)), traffic, found):
                            continue
                        choose(candidate, w, i, o)
                        n = write_nest(layer, unroll, candidate, has_halo, nest, loops)
                        score = referee(layer, array, nest, loops[:n], found[F_CYCLES], spans, waiting)
                        found[F_SIMULATED] += 1
                        if _is_less(score[R_CYCLES], traffic, found):
                            found[F_CYCLES], found[F_TRAFFIC] = score[R_CYCLES], traffic
                            best[:] = candidate
    return found, best


@njit(cache=True)
def _is_less(cycles: int, traffic: int, found: IntArray) -> bool:
    return cycles < found[F_CYCLES] or (cycles == found[F_CYCLES] and traffic < found[F_TRAFFIC])
