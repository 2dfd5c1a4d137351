"""What candidates and state of an allocation episode lead to, as features (njit); `envs.allocation.outlook` estimates it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.tables import (
    L_GROUPS,
    L_IN_C,
    L_KH,
    L_KW,
    L_OUT_BITS,
    L_OUT_C,
    L_STORED_H,
    L_STORED_W,
    L_W_BITS,
)
from foldwright.envs.allocation.engine_curves import (
    BUCKETS,
    FAR,
    GROUP_FRAMES,
    cut_values,
    edges_of,
    group_of,
    runs_curve,
)
from foldwright.envs.allocation.engine_runs import (
    BLOCK_BITS,
    BLOCK_PORT_BITS,
    Instance,
    blocks_ahead,
    resident_blocks,
    run_of,
)
from foldwright.envs.allocation.memory_bound import compulsory_bits
from foldwright.envs.allocation.outlook import new_survey, open_after, survey
from foldwright.envs.allocation.score import MILLI, N_DRAM_BITS, N_LUT, N_MAX_ENGINES, N_POOL
from foldwright.envs.allocation.space import (
    A_DK,
    A_DM,
    A_DN,
    A_LANES,
    BATCHES,
    COUNTS,
    PER_ENGINE,
    WIDTHS,
    first_decision,
)
from foldwright.envs.features import FEATURE_LIMIT, clip, log2
from foldwright.kernels import njit

__all__ = ["look_ahead", "ratio"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@njit(cache=True)
def ratio(time: float, other: float, scale: float) -> float:
    """Returns the natural logarithm of a ratio, scaled and clipped."""
    return clip(scale * np.log(max(time, 1e-9) / max(other, 1e-9)))


@njit(cache=True)
def look_ahead(
    it: Instance, size: int, choices: IntArray, position: int, one: int, bound: int, mask: npt.NDArray[np.int8],
    candidates: FloatArray, context: FloatArray,
) -> None:  # fmt: skip
    """Writes the features that tell what candidates and state lead to; see `foldwright.envs.allocation.outlook`."""
    most = it.limits[N_MAX_ENGINES]
    ideal = float(it.chains[:, 0, BUCKETS].min())
    if ideal >= FAR:
        ideal = bound / MILLI
    values = np.full(size, np.float64(FAR))
    if position <= most:
        _look_at_runs(it, choices, position, ideal, values, candidates)
    elif one <= choices[0]:
        _look_at_shapes(it, choices, position, one, ideal, mask, values, candidates, context)
    best = values.min()
    if best < FAR:
        for k in range(size):
            if mask[k]:
                out = candidates[k]
                out[17] = ratio(values[k], ideal, 2.0)
                out[18], out[19] = ratio(values[k], best, 4.0), ratio(values[k], best, 32.0)
    _, image, weights = _traffic(it)
    port, batch = float(it.limits[N_DRAM_BITS]), BATCHES[choices[most]]
    context[32], context[33] = ratio(image / port, ideal, 1.0), ratio(weights / port / batch, ideal, 1.0)
    context[34], context[35] = ratio(best, ideal, 2.0), ratio(MILLI * ideal, bound, 2.0)


@njit(cache=True)
def _traffic(it: Instance) -> tuple[float, float, float]:
    """Returns bits: of the largest map, of what a frame must move, of all weights."""
    maps, weights = 0.0, 0.0
    for layer in it.layers:
        taps = layer[L_KH] * layer[L_KW] * (layer[L_IN_C] // layer[L_GROUPS])
        weights += taps * layer[L_OUT_C] * layer[L_W_BITS]
        maps = max(maps, float(layer[L_STORED_H] * layer[L_OUT_C] * layer[L_STORED_W] * layer[L_OUT_BITS]))
    return maps, float(compulsory_bits(it.layers, 1)), weights


@njit(cache=True)
def _look_at_runs(
    it: Instance, choices: IntArray, position: int, ideal: float, values: Doubles, candidates: FloatArray
) -> None:
    """Writes the outlook of numbers of engines, of cuts, or of frames per round."""
    maps, _, weights = _traffic(it)
    pool = it.limits[N_POOL] * float(BLOCK_BITS)
    for k in range(len(values)):
        if position == 0:
            values[k] = it.chains[k, 0, BUCKETS]
        elif position == it.limits[N_MAX_ENGINES]:
            edges = edges_of(it.layers, choices)
            values[k] = runs_curve(it.curves[group_of(BATCHES[k])], edges, 0)[BUCKETS]
            blocks = (weights + 2 * BATCHES[k] * maps) / pool
            short = max(0.0, blocks - 1) * pool / (it.limits[N_DRAM_BITS] * BATCHES[k])
            candidates[k, 24], candidates[k, 25] = clip(blocks), clip(np.log(blocks))
            candidates[k, 26] = ratio(short + 0.02 * ideal, ideal, 1.0)
    if 0 < position < it.limits[N_MAX_ENGINES] and position <= choices[0]:
        edges = np.zeros(position, dtype=np.int64)
        for cut in range(1, position):
            edges[cut] = edges[cut - 1] + choices[cut] + 1
        cut_values(it.curves[len(GROUP_FRAMES) - 1], it.chains, choices[0] + 1, edges, position - 1, values)


@njit(cache=True)
def _look_at_shapes(
    it: Instance, choices: IntArray, position: int, one: int, ideal: float, mask: npt.NDArray[np.int8], values: Doubles,
    candidates: FloatArray, context: FloatArray,
) -> None:  # fmt: skip
    """Writes the outlook of the candidates of an engine's decision."""
    most, found, edges = it.limits[N_MAX_ENGINES], new_survey(), edges_of(it.layers, choices)
    run = run_of(it, edges, choices, one)
    at, pool = first_decision(most, one), float(it.limits[N_POOL])
    rest = runs_curve(it.curves[group_of(run.batch)], edges, one + 1)
    survey(it, run, choices[at : at + PER_ENGINE], open_after(position - at), rest, found)
    for k in range(len(values)):
        values[k] = found.value[k] if mask[k] else FAR
        if values[k] >= FAR:
            continue
        out, engine = candidates[k], found.engine[k]
        out[20], out[21] = ratio(found.own[k], ideal, 2.0), ratio(found.rest[k], ideal, 2.0)
        out[22], out[23] = ratio(found.own[k], found.rest[k], 4.0), found.lut[k] / it.limits[N_LUT]
        held = resident_blocks(it.layers, it.geometries, run.first, run.end, run.batch, engine)
        blocks = (held + pool - run.pool_left) / pool
        out[24], out[25] = clip(blocks), clip(np.log(max(blocks, 1e-9)))
        short = max(0.0, blocks - 1) * pool * BLOCK_BITS / (it.limits[N_DRAM_BITS] * run.batch)
        out[26] = ratio(short + 0.02 * ideal, ideal, 1.0)
        out[27] = clip(COUNTS[engine[A_DM]] * WIDTHS[engine[A_DK]] / (BLOCK_PORT_BITS * pool))
        out[28], out[29] = log2(WIDTHS[engine[A_DK]]) / 10, log2(COUNTS[engine[A_DN]]) / 8
        out[30] = engine[A_LANES]
    context[28] = ratio(run.before, ideal, 2.0) if run.before > 0 else -FEATURE_LIMIT
    context[29], context[30] = run.lut_left / it.limits[N_LUT], clip(run.pool_left / pool)
    context[31] = clip(blocks_ahead(it.layers, run.end, run.batch) / pool)
