"""The Pareto set of one layer's mappings over cycles, traffic and buffers (njit).

Every candidate of `accel.loopnest.space` whose bound no known point beats is scored by the referee. A coarse grid over traffic
and buffers answers most questions of the kind "is this beaten?"; the rest is asked of the points one by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.bounds import compulsory_traffic, least_cycles, order_least
from foldwright.accel.loopnest.options import MOST_OPTIONS, OPTION_FIELDS, Z_BUFFER, Z_TRAFFIC
from foldwright.accel.loopnest.referee import R_CYCLES, TOO_SLOW, referee
from foldwright.accel.loopnest.search import all_options, choose, fits, sorted_tiles
from foldwright.accel.loopnest.space import CANDIDATE_FIELDS, ORDERS, Q_ORDER, is_canonical, write_nest
from foldwright.accel.loopnest.tables import NEST_FIELDS
from foldwright.kernels import njit

__all__ = ["pareto"]

IntArray = npt.NDArray[np.int64]

CELLS = 128
OCTAVES_TRAFFIC, OCTAVES_BUFFER = 8, 40
"""What the grid spans: of traffic from the compulsory on, of buffers from a bit on; the last cells have what is beyond."""
# Columns of a point, before its candidate.
P_CYCLES, P_TRAFFIC, P_BUFFER, P_CANDIDATE = range(4)


@njit(cache=True)
def _cell(value: int, least: int, octaves: int) -> int:
    """Returns the cell of a value on a logarithmic scale; monotone."""
    return min(int(np.log2(max(value, least) / least) * CELLS / octaves), CELLS - 1)


@njit(cache=True)
def _limit(
    grid: IntArray, points: IntArray, count: int, traffic: int, buffer: int, compulsory: int, least: int
) -> int:
    """Returns the cycles from which on a candidate is beaten; where that is `least` or less, any such number."""
    limit = grid[_cell(traffic, compulsory, OCTAVES_TRAFFIC), _cell(buffer, 1, OCTAVES_BUFFER)]
    if limit <= least:
        return limit
    for p in range(count):
        if points[p, P_TRAFFIC] <= traffic and points[p, P_BUFFER] <= buffer:
            limit = min(limit, points[p, P_CYCLES])
    return limit


@njit(cache=True)
def _remove_beaten(points: IntArray, count: int, cycles: int, traffic: int, buffer: int) -> int:
    kept = 0
    for p in range(count):
        slower = points[p, P_CYCLES] >= cycles
        if not (slower and points[p, P_TRAFFIC] >= traffic and points[p, P_BUFFER] >= buffer):
            points[kept] = points[p]
            kept += 1
    return kept


@njit(cache=True)
def pareto(
    layer: IntArray, array: IntArray, buffers: IntArray, unroll: IntArray, has_halo: bool, most_copies: int, max_steps: int,
    spans: IntArray, waiting: IntArray,
) -> tuple[IntArray, int]:  # fmt: skip
    """Returns the points, int64 (points, P_CANDIDATE + CANDIDATE_FIELDS), and how many candidates were simulated.

    Args: as of `accel.loopnest.search.search`.
    """
    tiles, numbers = sorted_tiles(layer, array, unroll, max_steps)
    options = np.empty((3, MOST_OPTIONS, OPTION_FIELDS), dtype=np.int64)
    counts, compulsory = np.zeros(3, dtype=np.int64), compulsory_traffic(layer, array)
    nest, loops = np.zeros(NEST_FIELDS, dtype=np.int64), np.zeros((6, 2), dtype=np.int64)
    candidate = np.zeros(CANDIDATE_FIELDS, dtype=np.int64)
    points, count = np.empty((1024, P_CANDIDATE + CANDIDATE_FIELDS), dtype=np.int64), 0
    grid, simulated = np.full((CELLS, CELLS), TOO_SLOW, dtype=np.int64), 0
    for t in range(len(tiles)):
        candidate[:5] = tiles[t]
        for order in ORDERS:
            if not is_canonical(layer, tiles[t], order):
                continue
            candidate[Q_ORDER : Q_ORDER + 5] = order
            floor = order_least(layer, array, unroll, tiles[t], order, numbers[t])
            all_options(layer, array, unroll, tiles[t], order, has_halo, most_copies, options, counts)
            traffic, buffer = 0, 0  # of the best options
            for op in range(3):
                traffic += options[op, 0, Z_TRAFFIC]
                buffer += options[op, : counts[op], Z_BUFFER].min()
            if _limit(grid, points, count, traffic, buffer, compulsory, floor) <= floor:
                continue
            for w in options[0, : counts[0]]:
                for i in options[1, : counts[1]]:
                    for o in options[2, : counts[2]]:
                        if not fits(buffers, w, i, o):
                            continue
                        traffic = w[Z_TRAFFIC] + i[Z_TRAFFIC] + o[Z_TRAFFIC]
                        buffer = w[Z_BUFFER] + i[Z_BUFFER] + o[Z_BUFFER]
                        least = max(floor, least_cycles(numbers[t], w, i, o))
                        limit = _limit(grid, points, count, traffic, buffer, compulsory, least)
                        if limit <= least:
                            continue
                        choose(candidate, w, i, o)
                        n = write_nest(layer, unroll, candidate, has_halo, nest, loops)
                        cycles = referee(layer, array, nest, loops[:n], limit - 1, spans, waiting)[R_CYCLES]
                        simulated += 1
                        if cycles >= limit:
                            continue
                        count = _remove_beaten(points, count, cycles, traffic, buffer)
                        if count == len(points):
                            points = np.concatenate((points, np.empty_like(points)))
                        points[count, P_CYCLES], points[count, P_TRAFFIC] = cycles, traffic
                        points[count, P_BUFFER], points[count, P_CANDIDATE:] = buffer, candidate
                        count += 1
                        row, col = (
                            _cell(traffic, compulsory, OCTAVES_TRAFFIC),
                            _cell(buffer, 1, OCTAVES_BUFFER),
                        )
                        beaten = grid[row + 1 :, col + 1 :]
                        beaten[:] = np.minimum(beaten, cycles)
    return points[:count], simulated
