"""Costs and observations of a batch of allocation episodes (njit); see `foldwright.envs.batch` for the arrays.

Every feature is relative to the instance: to its bound, its budgets, its network, or to the candidates' own range. The
shapes do not depend on the instance. All are clipped to -`LIMIT` .. `LIMIT`. A candidate that is not allowed has zeros.

Candidate features (`CANDIDATE_FEATURES`): the design that the candidate leads to, completed by the fallback. Context
features (`CONTEXT_FEATURES`): what is decided, and the layers that the engine in question runs as far as is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import sum_of_terms
from foldwright.accel.evaluate import DECISIONS, bram36_of_choices
from foldwright.accel.mapping import M_CYCLES, M_PA, map_layers
from foldwright.accel.memory import memory_widths
from foldwright.accel.tables import (
    E_BATCH,
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_PA_MASK,
    E_WINDOW,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_KH,
    L_KW,
    L_OUT_C,
    L_OUT_H,
    L_OUT_W,
    L_W_BITS,
)
from foldwright.envs.allocation.score import (
    MILLI,
    N_DRAM_BITS,
    N_FF,
    N_LUT,
    N_MAX_ENGINES,
    N_POOL,
    cost_of_choices,
)
from foldwright.envs.allocation.space import PER_ENGINE, build, is_legal
from foldwright.envs.tiling.start import QUICK_TILES, quick_tiles
from foldwright.kernels import njit

__all__ = ["CANDIDATE_FEATURES", "CONTEXT_FEATURES", "costs", "observe", "weak_bound"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

CANDIDATE_FEATURES = (
    "is the fallback", "place among the candidates", "dm, log2 / 8", "dk, log2 / 10", "dn, log2 / 8", "drain lanes, log2 / 4",
    "planes mask / 8", "window", "batch lanes", "LUTs / budget", "flip-flops / budget", "block RAMs / pool",
    "change of LUTs / budget", "compute of the busiest engine / bound, log2 / 16", "this engine's / bound, log2 / 16",
    "this engine's layers / layers", "this engine's array use",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides engines", "decides cut", "decides frames", "decides dm", "decides dk", "decides dn", "decides drain",
    "decides planes", "decides window", "decides lanes", "progress", "cost / bound, log2 / 16", "LUTs / budget",
    "flip-flops / budget", "block RAMs / pool", "engine's number / 4", "engines / 4", "engines allowed / 4",
    "this engine's bit-MACs / all", "later engines' bit-MACs / all", "frames / 16", "most activation bits / 8",
    "mean weight bits / 8", "DRAM bits per cycle / 64", "weights' bits / pool bits, log2 / 8", "layers, log2 / 8",
    "smallest width of this engine's maps, log2 / 8", "largest channels of this engine, log2 / 12",
)  # fmt: skip
LIMIT = 4.0
_POOL_BLOCK_BITS = 36864.0

# What a design takes: whether it is allowed, LUTs, flip-flops, block RAMs, cycles of the busiest and of one engine.
Footprint = tuple[bool, int, int, int, int, int]


@njit(cache=True)
def _tables(flats: Any, offsets: IntArray, j: int) -> Any:
    """Returns the tables of instance `j`: layers, geometries, LUT terms, flip-flop terms, limits."""
    return (
        flats[2][offsets[2, j] : offsets[2, j + 1]],
        flats[3][offsets[3, j] : offsets[3, j + 1]],
        flats[4][offsets[4, j] : offsets[4, j + 1]],
        flats[5][offsets[5, j] : offsets[5, j + 1]],
        flats[6][offsets[6, j] : offsets[6, j + 1]],
    )


@njit(cache=True)
def costs(
    flats: Any,
    offsets: IntArray,
    instance: IntArray,
    choices: IntArray,
    todo: npt.NDArray[np.bool_],
    out: IntArray,
) -> None:
    """Writes the cost of the fallback completion of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            j = instance[i]
            layers, geometries, lut, ff, limits = _tables(flats, offsets, j)
            row = choices[i, : offsets[0, j + 1] - offsets[0, j]]
            out[i] = cost_of_choices(layers, geometries, lut, ff, limits, row)


@njit(cache=True)
def observe(
    flats: Any, offsets: IntArray, instance: IntArray, bounds: IntArray, choices: IntArray, position: IntArray,
    cost: IntArray, todo: npt.NDArray[np.bool_], candidates: FloatArray, context: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Writes candidates, context and mask of the next decision of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            j, p = instance[i], position[i]
            row = choices[i, : offsets[0, j + 1] - offsets[0, j]]
            size, fallback = flats[0][offsets[0, j] + p], flats[1][offsets[1, j] + p]
            layers, geometries, lut, ff, limits = _tables(flats, offsets, j)
            _observe_one(
                layers, geometries, lut, ff, limits, size, fallback, bounds[j], row, p, cost[i], candidates[i],
                context[i], mask[i],
            )  # fmt: skip


@njit(cache=True)
def weak_bound(layers: IntArray, lut: IntArray, limits: IntArray) -> int:
    """Returns a quick lower bound on thousandths of a cycle per frame: as if all LUTs were dot-product units.

    A unit takes the term unit.dk for every bit of its word, and a bit of a word does at most one bit-MAC a cycle.
    """
    total = 0
    for i in range(len(layers)):
        total += _bit_macs(layers[i])
    most = limits[N_LUT] * MILLI // max(lut[0], 1)
    return max(1, MILLI * total // max(most, 1))


@njit(cache=True)
def _bit_macs(layer: IntArray) -> int:
    per_pixel = layer[L_KH] * layer[L_KW] * (layer[L_IN_C] // layer[L_GROUPS]) * layer[L_OUT_C]
    return per_pixel * layer[L_OUT_H] * layer[L_OUT_W] * layer[L_W_BITS] * layer[L_A_BITS]


@njit(cache=True)
def _engine_of(position: int, max_engines: int) -> int:
    """Returns the engine that a decision is about; a cut is about the engine whose run of layers it sets."""
    if position <= max_engines:
        return max(0, min(position, max_engines - 1) - 1)
    return (position - max_engines - 1) // PER_ENGINE


@njit(cache=True)
def _clip(value: float) -> float:
    return max(-LIMIT, min(LIMIT, value))


@njit(cache=True)
def _log2(value: float) -> float:
    return np.log2(max(value, 1e-9))


@njit(cache=True)
def _footprint(
    layers: IntArray, geometries: IntArray, lut_terms: IntArray, ff_terms: IntArray, limits: IntArray, choices: IntArray,
    one: int,
) -> Footprint:  # fmt: skip
    """Returns what complete choices take with the smallest tiles, everything streamed; `one` is an engine."""
    if not is_legal(layers, limits[N_MAX_ENGINES], choices):
        return False, 0, 0, 0, 0, 0
    engines, rows, assignment, batch = build(layers, limits[N_MAX_ENGINES], choices)
    lut, ff = 0, 0
    for e in range(len(rows)):
        lut += sum_of_terms(rows[e], lut_terms)
        ff += sum_of_terms(rows[e], ff_terms)
    if lut > limits[N_LUT] or ff > limits[N_FF]:
        return False, lut, ff, 0, 0, 0
    mappings = map_layers(layers, engines, assignment, batch)
    if mappings[:, M_PA].min() == 0:
        return False, lut, ff, 0, 0, 0
    numbers = np.array([batch, limits[N_DRAM_BITS], limits[N_POOL]], dtype=np.int64)
    smallest = np.zeros(DECISIONS * len(layers), dtype=np.int64)
    smallest[DECISIONS - 1 :: DECISIONS] = QUICK_TILES - 1
    widths = memory_widths(layers, engines, mappings, assignment)
    tiles = quick_tiles(mappings)
    used = bram36_of_choices(
        layers, engines, mappings, assignment, widths, geometries, tiles, numbers, smallest
    )
    busy = np.zeros(limits[N_MAX_ENGINES], dtype=np.int64)
    for i in range(len(layers)):
        busy[assignment[i]] += mappings[i, M_CYCLES]
    return used <= limits[N_POOL], lut, ff, used, MILLI * busy.max() // batch, MILLI * busy[one] // batch


@njit(cache=True)
def _observe_one(
    layers: IntArray, geometries: IntArray, lut_terms: IntArray, ff_terms: IntArray, limits: IntArray, size: int,
    fallback: int, bound: int, choices: IntArray, position: int, cost: int, candidates: FloatArray, context: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    candidates[:] = 0
    mask[:] = 0
    one = _engine_of(position, limits[N_MAX_ENGINES])
    now = _footprint(layers, geometries, lut_terms, ff_terms, limits, choices, one)
    for k in range(size):
        choices[position] = k
        found = _footprint(layers, geometries, lut_terms, ff_terms, limits, choices, one)
        if found[0]:
            mask[k] = 1
            out = candidates[k]
            out[0], out[1] = k == fallback, k / size
            _describe_engine(layers, limits, choices, one, bound, found[5], out)
            out[9], out[10] = found[1] / limits[N_LUT], found[2] / limits[N_FF]
            out[11] = found[3] / limits[N_POOL]
            out[12] = (found[1] - now[1]) / limits[N_LUT]
            out[13] = _clip(_log2(found[4] / bound) / 16)
    choices[position] = fallback
    _describe_state(layers, limits, choices, position, one, bound, cost, context)
    context[12], context[13] = now[1] / limits[N_LUT], now[2] / limits[N_FF]
    context[14] = now[3] / limits[N_POOL]


@njit(cache=True)
def _describe_engine(
    layers: IntArray, limits: IntArray, choices: IntArray, one: int, bound: int, cycles: int, out: FloatArray
) -> None:
    """Writes the shape of an engine and how well its array is used."""
    engines, _, assignment, _ = build(layers, limits[N_MAX_ENGINES], choices)
    if one >= len(engines):
        return
    row, mine, work = engines[one], 0, 0.0
    for i in range(len(layers)):
        if assignment[i] == one:
            mine += 1
            work += _bit_macs(layers[i])
    out[2], out[3] = _log2(row[E_DM]) / 8, _log2(row[E_DK]) / 10
    out[4], out[5] = _log2(row[E_DN]) / 8, _log2(row[E_DRAIN]) / 4
    out[6], out[7], out[8] = row[E_PA_MASK] / 8, row[E_WINDOW] > 0, row[E_BATCH]
    out[14] = _clip(_log2(cycles / bound) / 16)
    out[15] = mine / len(layers)
    array = float(row[E_DM] * row[E_DK] * row[E_DN])
    out[16] = _clip(MILLI * work / (max(cycles, 1) * array))


@njit(cache=True)
def _kind_of(position: int, max_engines: int) -> int:
    """Returns which of the ten kinds a decision is: engines, cut, frames, then an engine's seven."""
    if position == 0:
        return 0
    if position < max_engines:
        return 1
    return 2 if position == max_engines else 3 + (position - max_engines - 1) % PER_ENGINE


@njit(cache=True)
def _describe_state(
    layers: IntArray,
    limits: IntArray,
    choices: IntArray,
    position: int,
    one: int,
    bound: int,
    cost: int,
    out: FloatArray,
) -> None:
    """Writes what is decided so far and what the engine in question has to compute."""
    engines, _, assignment, batch = build(layers, limits[N_MAX_ENGINES], choices)
    n = len(layers)
    work, own, later, weights, bits, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    narrow, wide = 1 << 30, 1
    for i in range(n):
        macs = float(_bit_macs(layers[i]))
        work += macs
        own += macs if assignment[i] == one else 0.0
        later += macs if assignment[i] > one else 0.0
        values = (
            layers[i, L_KH]
            * layers[i, L_KW]
            * (layers[i, L_IN_C] // layers[i, L_GROUPS])
            * layers[i, L_OUT_C]
        )
        weights, count = weights + values * layers[i, L_W_BITS], count + values
        bits = max(bits, float(layers[i, L_A_BITS]))
        if assignment[i] == one:
            narrow, wide = min(narrow, layers[i, L_OUT_W]), max(wide, layers[i, L_OUT_C])
    out[:] = 0
    out[_kind_of(position, limits[N_MAX_ENGINES])] = 1
    out[10] = position / len(choices)
    out[11] = _clip(_log2(cost / bound) / 16)
    out[15], out[16], out[17] = one / 4, len(engines) / 4, limits[N_MAX_ENGINES] / 4
    out[18], out[19], out[20] = own / work, later / work, batch / 16
    out[21], out[22] = bits / 8, weights / count / 8
    out[23] = _clip(limits[N_DRAM_BITS] / 64)
    out[24] = _clip(_log2(weights / (limits[N_POOL] * _POOL_BLOCK_BITS)) / 8)
    out[25] = _log2(n) / 8
    out[26] = _log2(narrow) / 8 if own > 0 else 0.0
    out[27] = _log2(wide) / 12
