"""The least time of engines by their share of the LUTs, for every run of layers: curves over a coarse grid of shapes (njit).

- `run_curves`: of one engine on each run of layers, for few and many frames a round;
- `chain_curves`: of several engines on all layers from one on, cut where it is best.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    C_BATCH,
    C_PA_MASK,
)
from foldwright.accel.mapping import (
    ceil_div,
)
from foldwright.accel.tables import (
    E_DK,
    E_PA_MASK,
    E_WINDOW,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_OUT_C,
    L_OUT_W,
    L_PARTS,
)
from foldwright.envs.allocation.engine_estimate import (
    STEPS,
    base_luts,
    block_cycles,
    lane_groups,
    lut_model,
    lut_offset,
    lut_slope,
    pick_drain,
    rows_of,
    window_stall,
)
from foldwright.envs.allocation.score import (
    N_LUT,
)
from foldwright.envs.allocation.space import (
    COUNTS,
    DRAINS,
    WIDTHS,
    window_bits_of,
)
from foldwright.kernels import (
    njit,
)

__all__ = [
    "BUCKETS",
    "FAR",
    "GRID_WIDTHS",
    "GROUP_FRAMES",
    "HEIGHTS",
    "LANES",
    "chain_curves",
    "cut_values",
    "edges_of",
    "group_of",
    "join_curves",
    "run_curves",
    "runs_curve",
    "time_at",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

BUCKETS = 64
"""Curves have an entry for each 1 / BUCKETS of the LUTs, 0 and all of them included."""
FAR = np.float32(1e15)
"""A time that nothing takes: what does not fit."""
GROUP_FRAMES = np.array([1, 4, 16], dtype=np.int64)
"""Frames per round that curves are made for."""
_FEW_LAYERS = 10
"""Networks of so many layers or fewer get curves over a finer grid."""


def _frozen(values: list[int]) -> IntArray:
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


HEIGHTS = _frozen([int(np.flatnonzero(v == COUNTS)[0]) for v in (1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 43, 64)])
_GRID_DK = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320)
GRID_WIDTHS = _frozen([int(np.flatnonzero(v == WIDTHS)[0]) for v in _GRID_DK])
LANES = _frozen([v - 1 for v in (1, 2, 3, 4, 6, 8, 10, 12, 16, 22, 32, 48)])


@njit(cache=True)
def time_at(curve: FloatArray, share: float) -> float:
    """Returns the time of a curve at a share of the LUTs; far away below zero."""
    if share < 0:
        return float(FAR)
    place = min(share, 1.0) * (len(curve) - 1)
    low = int(place)
    if low + 1 >= len(curve) or curve[low] >= FAR:
        return float(curve[low])
    return float(curve[low] + (place - low) * (curve[low + 1] - curve[low]))


@njit(cache=True)
def join_curves(one: FloatArray, other: FloatArray, out: FloatArray) -> None:
    """Lowers `out` to the times of two engines or chains that share the LUTs as is best; the slower one counts."""
    share = 0
    for b in range(len(out)):
        while share < b and one[share] > other[b - share]:
            share += 1
        value = max(one[share], other[b - share])
        if share > 0:
            value = min(value, max(one[share - 1], other[b - share + 1]))
        out[b] = min(out[b], value)


@njit(cache=True)
def group_of(batch: int) -> int:
    """Returns the position among `GROUP_FRAMES` whose curves stand for rounds of so many frames."""
    return 0 if batch < 2 else 1 if batch < 8 else 2


@njit(cache=True)
def _free_planes(layers: IntArray) -> int:
    """Returns the mask of all numbers of planes that can be of use."""
    mask, most_act = 1, layers[:, L_A_BITS].max()
    for planes in (2, 4):
        if planes < 2 * most_act:
            mask |= planes
    return mask


@njit(cache=True)
def _aligned(values: IntArray, grid: IntArray, extents: IntArray, most_parts: int) -> IntArray:
    """Returns the positions of the grid among values, and of those that split an extent into few even parts."""
    marks = np.zeros(len(values), dtype=np.int64)
    marks[grid] = 1
    for extent in extents:
        for parts in range(1, most_parts + 1):
            marks[min(np.searchsorted(values, ceil_div(extent, parts)), len(values) - 1)] = 1
    return np.flatnonzero(marks)


@njit(cache=True)
def _network_grids(layers: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Returns the positions of `dm`, `dk` and `dn` for the curves: finer for networks of few layers."""
    if len(layers) > _FEW_LAYERS:
        return HEIGHTS, GRID_WIDTHS, LANES
    heights = _aligned(COUNTS, HEIGHTS, layers[:, L_OUT_C] // layers[:, L_PARTS], 6)
    widths = _aligned(WIDTHS, GRID_WIDTHS, layers[:, L_IN_C] // layers[:, L_GROUPS], 3)
    return heights, widths, _aligned(COUNTS, LANES, layers[:, L_OUT_W], 6)


@njit(cache=True)
def run_curves(layers: IntArray, lut_terms: IntArray, limits: IntArray) -> FloatArray:
    """Returns the least time of one engine by LUTs, float32 (groups of frames, layers, layers + 1, BUCKETS + 1).

    The entry [g, i, j] is of layers i..j-1. Planes per word are the best for each layer, accumulators those of the network.
    """
    n = len(layers)
    out = np.full((len(GROUP_FRAMES), n, n + 1, BUCKETS + 1), FAR, dtype=np.float32)
    row, cost_row = rows_of(layers)
    heights, widths, columns = _network_grids(layers)
    base = np.zeros((n, n + 1, len(heights)))
    blocks = np.zeros((len(heights), n))
    for h in range(len(heights)):
        dm = COUNTS[heights[h]]
        for i in range(n):
            blocks[h, i] = layers[i, L_PARTS] * ceil_div(layers[i, L_OUT_C] // layers[i, L_PARTS], dm)
            for j in range(i + 1, n + 1):
                base[i, j, h] = base_luts(layers[i:j], cost_row, lut_terms, dm)
    steps, groups = np.zeros((n, STEPS), dtype=np.int64), np.zeros(n)
    mask = _free_planes(layers)
    row[E_WINDOW] = window_bits_of(layers)
    for is_batch in range(2):
        cost_row[C_BATCH], cost_row[C_PA_MASK] = is_batch, 1
        model = lut_model(cost_row, lut_terms)
        for a_dk in widths:
            row[E_DK], row[E_PA_MASK] = WIDTHS[a_dk], mask
            if not block_cycles(layers, 0, n, row, 1, steps):
                continue
            for a_dn in LANES if is_batch else columns:
                dn = COUNTS[a_dn]
                for g in range(is_batch, len(GROUP_FRAMES)):
                    if is_batch and dn > GROUP_FRAMES[g]:
                        continue
                    lane_groups(layers, dn, is_batch, GROUP_FRAMES[g], groups)
                    drain = DRAINS[pick_drain(steps, groups, blocks[0], dn)]
                    slope, offset = (
                        lut_slope(model, WIDTHS[a_dk], dn, drain),
                        lut_offset(model, WIDTHS[a_dk], dn, drain),
                    )
                    for h in range(len(heights)):
                        lut = slope * COUNTS[heights[h]] + offset
                        if lut > limits[N_LUT]:
                            break
                        _enter_runs(
                            steps, groups, blocks[h], dn, drain, base[:, :, h], lut, limits[N_LUT], GROUP_FRAMES[g],
                            is_batch, out[g],
                        )  # fmt: skip
    for b in range(1, BUCKETS + 1):
        out[:, :, :, b] = np.minimum(out[:, :, :, b], out[:, :, :, b - 1])
    return out


@njit(cache=True)
def _enter_runs(
    steps: IntArray, groups: Doubles, blocks: Doubles, dn: int, drain: int, base: Doubles, lut: float, most: int,
    batch: int, is_batch: int, out: FloatArray,
) -> None:  # fmt: skip
    """Enters one shape for every run of layers."""
    n, times, beats = len(steps), np.zeros(len(steps)), ceil_div(dn, drain)
    for i in range(n):
        cycles = max(steps[i, 0], beats * steps[i, 1])
        time = groups[i] * cycles
        if steps[i, 5]:
            time = window_stall(steps[i], groups[i], cycles, dn, is_batch)
        times[i] = blocks[i] * time + (steps[i, 2] + steps[i, 1] * (beats - 1)) / batch
    for i in range(n):
        total = 0.0
        for j in range(i + 1, n + 1):
            total += times[j - 1]
            bucket = int(np.ceil((lut + base[i, j]) * BUCKETS / most))
            if bucket > BUCKETS:
                break
            out[i, j, bucket] = min(out[i, j, bucket], total)


@njit(cache=True)
def chain_curves(curves: FloatArray, most_engines: int) -> FloatArray:
    """Returns the least time of exactly so many engines on all layers from one on, by LUTs.

    Args:
        curves: Of one group of frames, see `run_curves`.

    Returns:
        float32 (most_engines, layers, BUCKETS + 1), the entry [m] of m + 1 engines.
    """
    n = len(curves)
    out = np.full((most_engines, n, BUCKETS + 1), FAR, dtype=np.float32)
    for i in range(n - 1, -1, -1):
        out[0, i] = curves[i, n]
        for m in range(1, most_engines):
            for j in range(i + 1, n):
                join_curves(curves[i, j], out[m - 1, j], out[m, i])
    return out


@njit(cache=True)
def edges_of(layers: IntArray, choices: IntArray) -> IntArray:
    """Returns where the runs of layers begin, and the end of the last."""
    edges = np.zeros(choices[0] + 2, dtype=np.int64)
    for e in range(choices[0]):
        edges[e + 1] = edges[e] + choices[1 + e] + 1
    edges[choices[0] + 1] = len(layers)
    return edges


@njit(cache=True)
def runs_curve(curves: FloatArray, edges: IntArray, first: int) -> FloatArray:
    """Returns the curve of the engines from number `first` on, of runs between edges; zeros where there are none."""
    out = np.zeros(BUCKETS + 1, dtype=np.float32)
    for e in range(first, len(edges) - 1):
        joined = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        join_curves(out, curves[edges[e], edges[e + 1]], joined)
        out = joined
    return out


@njit(cache=True)
def cut_values(
    curves: FloatArray, chains: FloatArray, engines: int, edges: IntArray, cut: int, out: Doubles
) -> None:
    """Writes the least time with all LUTs after each candidate of a cut, far away where no layers are left.

    Args:
        engines: In all.
        edges: Where the runs begin, as far as cuts are decided: `cut` + 1 entries.
    """
    before, first = runs_curve(curves, edges[: cut + 1], 0), edges[cut]
    out[:] = FAR
    for k in range(min(len(out), len(curves) - 1 - first)):
        if len(curves) - (first + k + 1) < engines - cut - 1:
            break
        after = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        whole = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        join_curves(curves[first, first + k + 1], chains[engines - cut - 2, first + k + 1], after)
        join_curves(before, after, whole)
        out[k] = whole[BUCKETS]
