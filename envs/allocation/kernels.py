"""Costs and observations of a batch of allocation episodes (njit); see `foldwright.envs.batch` for the arrays.

Every feature is relative to the instance: to its bound, its budgets, its network, or to the candidates' own range. The
shapes do not depend on the instance. All are clipped (`envs.features`). A candidate that is not allowed has zeros.

Candidate features (`CANDIDATE_FEATURES`): the design that the candidate leads to, completed by the fallback. Context
features (`CONTEXT_FEATURES`): what is decided, and the layers that the engine in question runs as far as is known.

Several features are of the `outlook`: what a candidate leads to if the rest is decided well, by estimates. They are relative
to the *ideal*, the least time of any number of engines by the curves of their runs.

With every tensor streamed an engine takes what its own layers need, so an episode keeps what each engine of its
completion takes (a *part*) and a candidate measures the engine that it changes. A design is simulated at the end of an
episode alone; on the way its cycles are estimated by the compute of the busiest engine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import COST_FIELDS, LOADER_BRAM36, sum_of_terms
from foldwright.accel.fusion import set_groups
from foldwright.accel.mapping import M_CYCLES, M_PA, MAPPING_FIELDS, map_run
from foldwright.accel.memory import (
    bram36_in_use,
    engine_reserve,
    first_fit,
    live_items,
    memory_widths,
    set_least_places,
)
from foldwright.accel.tables import (
    E_BATCH,
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_DSP,
    E_PA_MASK,
    E_WINDOW,
    ENGINE_FIELDS,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_KH,
    L_KW,
    L_OUT_C,
    L_OUT_W,
    L_RESIDUAL,
    L_W_BITS,
)
from foldwright.accel.tiles import PLAN_FIELDS, plan_row
from foldwright.envs.allocation.engine_curves import (
    BUCKETS,
    GROUP_FRAMES,
)
from foldwright.envs.allocation.engine_estimate import bit_macs
from foldwright.envs.allocation.engine_runs import (
    Instance,
)
from foldwright.envs.allocation.prospects import look_ahead
from foldwright.envs.allocation.score import (
    MILLI,
    N_DRAM_BITS,
    N_DSP,
    N_FF,
    N_LUT,
    N_MAX_ENGINES,
    N_POOL,
    cost_of_choices,
    slices_of,
)
from foldwright.envs.allocation.space import (
    BATCHES,
    PER_ENGINE,
    build_engine,
    fill_assignment,
    is_legal,
)
from foldwright.envs.features import clip, log2
from foldwright.kernels import njit

__all__ = [
    "CANDIDATE_FEATURES",
    "CONTEXT_FEATURES",
    "Total",
    "costs",
    "observe",
    "state_entries",
    "weak_bound",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

CANDIDATE_FEATURES = (
    "is the fallback", "place among the candidates", "dm, log2 / 8", "dk, log2 / 10", "dn, log2 / 8", "drain lanes, log2 / 4",
    "planes mask / 8", "window", "batch lanes", "LUTs / budget", "flip-flops / budget", "block RAMs / pool",
    "change of LUTs / budget", "compute of the busiest engine / bound, log2 / 16", "this engine's / bound, log2 / 16",
    "this engine's layers / layers", "this engine's array use", "outlook / ideal, ln x 2", "outlook / best, ln x 4",
    "outlook / best, ln x 32", "this engine's in the outlook / ideal, ln x 2", "later engines' / ideal, ln x 2",
    "this engine's / later engines', ln x 4", "LUTs in the outlook / budget", "resident block RAMs / pool",
    "resident block RAMs / pool, ln", "time to load what is not resident / ideal, ln", "largest weights' width / ports",
    "dk in the outlook, log2 / 10", "dn in the outlook, log2 / 8", "batch lanes in the outlook", "kind dsp",
    "DSP slices / budget",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides engines", "decides cut", "decides frames", "decides lanes", "decides planes", "decides window", "decides dm",
    "decides dk", "decides dn", "decides drain", "progress", "cost / bound, log2 / 16", "LUTs / budget",
    "flip-flops / budget", "block RAMs / pool", "engine's number / 4", "engines / 4", "engines allowed / 4",
    "this engine's bit-MACs / all", "later engines' bit-MACs / all", "frames / 16", "most activation bits / 8",
    "mean weight bits / 8", "DRAM bits per cycle / 64", "weights' bits / pool bits, log2 / 8", "layers, log2 / 8",
    "smallest width of this engine's maps, log2 / 8", "largest channels of this engine, log2 / 12",
    "slowest engine before / ideal, ln x 2", "LUTs left / budget", "block RAMs left to this engine / pool",
    "block RAMs for the later layers / pool", "image and results over DRAM / ideal, ln", "weights over DRAM / ideal, ln",
    "best outlook / ideal, ln x 2", "ideal / bound, ln x 2",
)  # fmt: skip
_POOL_BLOCK_BITS = 36864.0

# Entries of a part, what an engine takes. PART_RUNS: whether it can run its layers (if not, the two before are 0).
PART_LUT, PART_FF, PART_BLOCKS, PART_CYCLES, PART_RUNS, PART_DSP = range(6)
_PART = 6
# A row of the core's state: cost and estimate of the fallback, then the parts of the engines.
S_START_COST, S_START_ESTIMATE, S_PARTS = range(3)


class Total(NamedTuple):
    """What a design takes; cycles are of the busiest engine's compute, thousandths of one per frame."""

    allowed: bool
    lut: int
    ff: int
    blocks: int
    cycles: int


def state_entries(max_engines: int) -> int:
    """Returns how many entries an episode's state takes."""
    return S_PARTS + _PART * max_engines


@njit(cache=True)
def _instance(flats: Any, offsets: IntArray, j: int) -> Instance:
    n, most = offsets[2, j + 1] - offsets[2, j], flats[6][offsets[6, j] + N_MAX_ENGINES]
    return Instance(
        flats[2][offsets[2, j] : offsets[2, j + 1]],
        flats[3][offsets[3, j] : offsets[3, j + 1]],
        flats[4][offsets[4, j] : offsets[4, j + 1]],
        flats[5][offsets[5, j] : offsets[5, j + 1]],
        flats[6][offsets[6, j] : offsets[6, j + 1]],
        flats[7][offsets[7, j] : offsets[7, j + 1]].reshape(len(GROUP_FRAMES), n, n + 1, BUCKETS + 1),
        flats[8][offsets[8, j] : offsets[8, j + 1]].reshape(most, n, BUCKETS + 1),
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
    """Writes the cost of the choices of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            j = instance[i]
            it = _instance(flats, offsets, j)
            row = choices[i, : offsets[0, j + 1] - offsets[0, j]]
            out[i] = cost_of_choices(it.layers, it.geometries, it.lut_terms, it.ff_terms, it.limits, row)


@njit(cache=True)
def observe(
    flats: Any, offsets: IntArray, instance: IntArray, bounds: IntArray, choices: IntArray, position: IntArray,
    cost: IntArray, todo: npt.NDArray[np.bool_], state: IntArray, candidates: FloatArray, context: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Takes in the last decision of every episode in `todo` and writes candidates, context and mask of the next one.

    Where there is a last decision, `cost` becomes the estimate of the fallback completion.
    """
    for i in range(len(instance)):
        if not todo[i]:
            continue
        j, p = instance[i], position[i]
        it = _instance(flats, offsets, j)
        row = choices[i, : offsets[0, j + 1] - offsets[0, j]]
        most = it.limits[N_MAX_ENGINES]
        parts = state[i, S_PARTS : S_PARTS + _PART * most].reshape(most, _PART)
        assignment = np.empty(len(it.layers), dtype=np.int64)
        fill_assignment(row, assignment)
        engines = np.zeros((most, ENGINE_FIELDS), dtype=np.int64)
        if p == 0 or row[p - 1] != flats[1][offsets[1, j] + p - 1]:
            changed = _engine_of(p - 1, most) if p - 1 > most else -1
            now = _measure(it, row, assignment, changed, engines, parts)
            if p == 0:
                state[i, S_START_COST], state[i, S_START_ESTIMATE] = cost[i], max(1, now.cycles)
            # Floats: the product of two costs may not fit an integer; the ratio at the start is exactly one.
            cost[i] = int(state[i, S_START_COST] * (now.cycles / state[i, S_START_ESTIMATE]))
        size, fallback = flats[0][offsets[0, j] + p], flats[1][offsets[1, j] + p]
        _observe_one(
            it,
            size,
            fallback,
            bounds[j],
            row,
            p,
            cost[i],
            assignment,
            parts,
            candidates[i],
            context[i],
            mask[i],
        )


@njit(cache=True)
def weak_bound(layers: IntArray, lut: IntArray, limits: IntArray) -> int:
    """Returns a quick lower bound on thousandths of a cycle per frame: as if all LUTs were dot-product units.

    A unit takes the term unit.dk for every bit of its word, and a bit of a word does at most one bit-MAC a cycle.
    """
    total = 0
    for i in range(len(layers)):
        total += bit_macs(layers[i])
    most = limits[N_LUT] * MILLI // max(lut[0], 1)
    return max(1, MILLI * total // max(most, 1))


@njit(cache=True)
def _engine_of(position: int, max_engines: int) -> int:
    """Returns the engine that a decision is about; a cut is about the engine whose run of layers it sets."""
    if position <= max_engines:
        return max(0, min(position, max_engines - 1) - 1)
    return (position - max_engines - 1) // PER_ENGINE


@njit(cache=True)
def _measure(
    it: Instance, choices: IntArray, assignment: IntArray, only: int, engines: IntArray, parts: IntArray
) -> Total:
    """Measures the engines of legal choices, or one of them, and returns what the design takes.

    Args:
        engines, parts: a row per engine; those that are measured are written.
    """
    count, lut, ff, dsp = choices[0] + 1, 0, 0, 0
    batch = BATCHES[choices[it.limits[N_MAX_ENGINES]]]
    cost_row = np.empty(COST_FIELDS, dtype=np.int64)
    for e in range(len(parts)):
        if only < 0 or e == only:
            parts[e] = 0
        if e < count and (only < 0 or e == only):
            engines[e], cost_row[:] = 0, 0
            build_engine(it.layers, it.limits[N_MAX_ENGINES], choices, assignment, e, engines[e], cost_row)
            parts[e, PART_LUT] = sum_of_terms(cost_row, it.lut_terms)
            parts[e, PART_FF] = sum_of_terms(cost_row, it.ff_terms)
            parts[e, PART_DSP] = slices_of(cost_row, it.limits)
        lut, ff, dsp = lut + parts[e, PART_LUT], ff + parts[e, PART_FF], dsp + parts[e, PART_DSP]
    if lut > it.limits[N_LUT] or ff > it.limits[N_FF] or dsp > it.limits[N_DSP]:
        return Total(False, lut, ff, 0, 0)
    blocks, cycles, runs = LOADER_BRAM36, 0, True
    for e in range(count):
        if only < 0 or e == only:
            _measure_memories(it, assignment, batch, e, engines[e], parts[e])
        blocks, cycles = blocks + parts[e, PART_BLOCKS], max(cycles, parts[e, PART_CYCLES])
        runs = runs and parts[e, PART_RUNS] == 1
    if not runs:
        return Total(False, lut, ff, 0, 0)
    return Total(blocks <= it.limits[N_POOL], lut, ff, blocks, MILLI * cycles // batch)


@njit(cache=True)
def _measure_memories(
    it: Instance, assignment: IntArray, batch: int, e: int, engine: IntArray, part: IntArray
) -> None:
    """Writes an engine's block RAMs with the smallest tiles, everything streamed, and its compute cycles per round."""
    first = 0
    while assignment[first] != e:
        first += 1
    end = first
    while end < len(assignment) and assignment[end] == e:
        end += 1
    layers, mine = it.layers[first:end], np.zeros(end - first, dtype=np.int64)
    mappings = np.zeros((end - first, MAPPING_FIELDS), dtype=np.int64)
    plans = np.zeros((end - first, PLAN_FIELDS), dtype=np.int64)
    tile, flags = np.array([1, 1, 0]), np.array([0, 0, 0, 1, 1, 0])
    numbers = np.array([batch, 0])
    map_run(it.layers, first, end, engine, batch, mappings, np.empty((0, 2), dtype=np.int64))
    for i in range(end - first):
        if mappings[i, M_PA] == 0:
            return
        flags[5] = layers[i, L_RESIDUAL] > -2
        plan_row(layers[i], engine, mappings[i], numbers, tile, flags, plans[i])
    alone = engine.reshape(1, ENGINE_FIELDS)
    set_groups(layers, alone, mappings, mine, batch, plans)
    set_least_places(plans, mine, 1, 1)
    widths = memory_widths(layers, alone, mappings, mine)
    # Nothing stays on chip, so no item depends on who reads what, and the layers of one engine can stand alone.
    items = live_items(layers, alone, mappings, mine, batch, plans)
    part[PART_BLOCKS] = bram36_in_use(widths, first_fit(items, 1), it.geometries)
    part[PART_BLOCKS] += engine_reserve(layers, engine, batch, it.geometries)
    part[PART_CYCLES], part[PART_RUNS] = mappings[:, M_CYCLES].sum(), 1


@njit(cache=True)
def _observe_one(
    it: Instance, size: int, fallback: int, bound: int, choices: IntArray, position: int, cost: int,
    assignment: IntArray, parts: IntArray, candidates: FloatArray, context: FloatArray, mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    candidates[:] = 0
    mask[:] = 0
    most = it.limits[N_MAX_ENGINES]
    one = _engine_of(position, most)
    only = one if position > most else -1
    # Legal choices stay legal where they take the fallback, so `parts` are those of a design that is allowed.
    lut, ff, blocks = parts[:, PART_LUT].sum(), parts[:, PART_FF].sum(), parts[:, PART_BLOCKS].sum()
    engines, trial, run = np.zeros((most, ENGINE_FIELDS), dtype=np.int64), parts.copy(), assignment.copy()
    for k in range(size):
        choices[position] = k
        if not is_legal(it.layers, most, choices):
            continue
        if only < 0:
            fill_assignment(choices, run)
        found = _measure(it, choices, run, only, engines, trial)
        if found.allowed:
            mask[k] = 1
            out = candidates[k]
            out[0], out[1] = k == fallback, k / size
            if one <= choices[0]:
                own = MILLI * trial[one, PART_CYCLES] // BATCHES[choices[most]]
                _describe_engine(it.layers, engines[one], run, one, bound, own, out)
            out[9], out[10] = found.lut / it.limits[N_LUT], found.ff / it.limits[N_FF]
            out[11] = found.blocks / it.limits[N_POOL]
            out[32] = trial[:, PART_DSP].sum() / max(1, it.limits[N_DSP])
            out[12] = (found.lut - lut) / it.limits[N_LUT]
            out[13] = clip(log2(found.cycles / bound) / 16)
    choices[position] = fallback
    _describe_state(it.layers, it.limits, choices, position, one, bound, cost, assignment, context)
    context[12], context[13] = lut / it.limits[N_LUT], ff / it.limits[N_FF]
    context[14] = blocks / it.limits[N_POOL]
    look_ahead(it, size, choices, position, one, bound, mask, candidates, context)


@njit(cache=True)
def _describe_engine(
    layers: IntArray, row: IntArray, assignment: IntArray, one: int, bound: int, cycles: int, out: FloatArray
) -> None:
    """Writes the shape of an engine and how well its array is used."""
    mine, work = 0, 0.0
    for i in range(len(layers)):
        if assignment[i] == one:
            mine += 1
            work += bit_macs(layers[i])
    out[2], out[3] = log2(row[E_DM]) / 8, log2(row[E_DK]) / 10
    out[4], out[5] = log2(row[E_DN]) / 8, log2(row[E_DRAIN]) / 4
    out[6], out[7], out[8] = row[E_PA_MASK] / 8, row[E_WINDOW] > 0, row[E_BATCH]
    out[31] = row[E_DSP]
    out[14] = clip(log2(cycles / bound) / 16)
    out[15] = mine / len(layers)
    array = float(row[E_DM] * row[E_DK] * row[E_DN])
    out[16] = clip(MILLI * work / (max(cycles, 1) * array))


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
    assignment: IntArray,
    out: FloatArray,
) -> None:
    """Writes what is decided so far and what the engine in question has to compute."""
    n, batch = len(layers), BATCHES[choices[limits[N_MAX_ENGINES]]]
    work, own, later, weights, bits, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    narrow, wide = 1 << 30, 1
    for i in range(n):
        macs = float(bit_macs(layers[i]))
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
    out[11] = clip(log2(cost / bound) / 16)
    out[15], out[16], out[17] = one / 4, (choices[0] + 1) / 4, limits[N_MAX_ENGINES] / 4
    out[18], out[19], out[20] = own / work, later / work, batch / 16
    out[21], out[22] = bits / 8, weights / count / 8
    out[23] = clip(limits[N_DRAM_BITS] / 64)
    out[24] = clip(log2(weights / (limits[N_POOL] * _POOL_BLOCK_BITS)) / 8)
    out[25] = log2(n) / 8
    out[26] = log2(narrow) / 8 if own > 0 else 0.0
    out[27] = log2(wide) / 12
