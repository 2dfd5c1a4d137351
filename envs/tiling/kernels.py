"""Costs and observations of a batch of tiling episodes (njit); see `foldwright.envs.batch` for the arrays.

Every feature is relative to the instance: to its bound, its pool, its layer. Numbers of layers or block RAMs never
appear as such, and the shapes do not depend on the instance. All are clipped to -`LIMIT` .. `LIMIT`.

Candidate features (`CANDIDATE_*`): what the candidate says, and what the fallback completion needs with it.
Context features (`CONTEXT_*`): the layer that is decided, and the fallback completion so far.

An episode keeps what its completion needs (`Episode`): a step changes what the last decision changes and packs the
memories that it touches, which is exact. The completion is simulated at the end of an episode alone, for a simulation
takes tens of times as long as a step; on the way its cycles are estimated by those of the layers one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import (
    D_OUTPUT,
    D_TILE,
    D_WEIGHTS,
    DECISIONS,
    OUTPUT_CHIP,
    WEIGHTS_PINNED,
    WEIGHTS_PINNED_AHEAD,
    cycles_of_choices,
)
from foldwright.accel.mapping import ceil_div
from foldwright.accel.memory import MEMORY_MAP, MEMORY_WEIGHT
from foldwright.envs.problem import MAX_CANDIDATES
from foldwright.envs.tiling.memories import blocks_of, depth_of
from foldwright.envs.tiling.options import (
    CANDIDATE_WIDTH,
    IN_DRAM,
    MEMORIES,
    O_AHEAD_WORDS,
    O_CYCLES,
    O_IN_WORDS,
    O_LOAD,
    O_STAGE_WORDS,
    O_STORE,
    O_WEIGHT_WORDS,
    OUT_DRAM,
    PINNED,
    R_ALWAYS,
    R_DURING,
    R_ENGINE,
    R_FIRST,
    R_IN_MEMORY,
    R_IN_SLOT,
    R_LAST_READER,
    R_LEAD,
    R_OUT_SLOT,
    R_RESIDUAL,
    R_SOURCE,
    R_TILES,
    R_WEIGHT_SLOT,
    RESIDUAL_DRAM,
    T_MASK,
    T_SLOT,
    T_WORDS,
    clip,
    log2,
)
from foldwright.kernels import njit

__all__ = [
    "CANDIDATE_FEATURES",
    "CONTEXT_FEATURES",
    "Episode",
    "Instance",
    "costs",
    "observe",
    "state_entries",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

CANDIDATE_FEATURES = (
    "is the fallback", "lead / 2", "pinned", "output on chip", "tile blocks / blocks", "tile rows / rows", "rows outside",
    "block RAMs / pool", "change of block RAMs / pool", "layer's traffic cycles / bound", "change of traffic cycles / bound",
    "layer's stand-alone cycles / bound", "layer's stand-alone / compute cycles, log2 / 4", "tiles of the layer, log2 / 16",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides weights", "decides output", "decides tile", "progress", "cost / bound, log2 / 8", "block RAMs / pool",
    "traffic cycles / bound", "layer's compute / bound", "weights' load cycles / bound", "weights' bits / pool bits",
    "input's load cycles / bound", "output's store cycles / bound", "output's bits / pool bits", "input from DRAM",
    "residual from DRAM", "readers / 4", "distance to the last reader / layers", "layers of this engine / layers",
    "later compute / all compute", "later weights' bits / pool bits", "DRAM bits per cycle / 64", "taps / 25",
)  # fmt: skip


class Instance(NamedTuple):
    """An instance's arrays, see `options.OptionTables`; numbers are (batch, DRAM bits per cycle, pool)."""

    widths: IntArray
    geometries: IntArray
    numbers: IntArray
    options: IntArray
    features: FloatArray
    context: FloatArray
    records: IntArray
    tensors: IntArray
    edges: IntArray


# Entries of `Episode.totals`. S_START: cost and estimate of the fallback; S_FILLED: candidates that were described last.
S_START_COST, S_START_ESTIMATE, S_LOAD, S_STORE, S_BLOCKS, S_FILLED = range(6)
_TOTALS = 6


class Episode(NamedTuple):
    """What the fallback completion of an episode needs: views of its row of the core's state."""

    totals: IntArray  # int64 (6,)
    busy: IntArray  # int64 (engines,): stand-alone cycles of the layers
    depth: IntArray  # int64 (3 * engines,): words of each memory
    blocks: IntArray  # int64 (3 * engines,): block RAMs of each memory
    flags: IntArray  # int64 (layers,): of each layer's option
    words: IntArray  # int64 (slots,)
    masks: IntArray  # int64 (slots,)
    choices: IntArray  # int64 (decisions,)
    scratch: IntArray  # int64 (3, slots of the largest instance)


def state_entries(layers: int, engines: int) -> int:
    """Returns how many entries an episode's state takes at most."""
    return _TOTALS + (1 + 2 * MEMORIES) * engines + layers + 2 * layers * (2 + engines)


@njit(cache=True)
def costs(
    flats: Any,
    offsets: IntArray,
    instance: IntArray,
    choices: IntArray,
    todo: npt.NDArray[np.bool_],
    out: IntArray,
) -> None:
    """Writes the simulated cycles of the choices of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            j = instance[i]
            layers = flats[2][offsets[2, j] : offsets[2, j + 1]]
            out[i] = cycles_of_choices(
                layers,
                flats[3][offsets[3, j] : offsets[3, j + 1]],
                flats[4][offsets[4, j] : offsets[4, j + 1]],
                flats[5][offsets[5, j] : offsets[5, j + 1]],
                flats[6][offsets[6, j] : offsets[6, j + 1]],
                flats[7][offsets[7, j] : offsets[7, j + 1]],
                flats[8][offsets[8, j] : offsets[8, j + 1]],
                flats[9][offsets[9, j] : offsets[9, j + 1]],
                choices[i, : DECISIONS * len(layers)],
            )


@njit(cache=True)
def _instance(flats: Any, offsets: IntArray, j: int) -> Instance:
    return Instance(
        flats[6][offsets[6, j] : offsets[6, j + 1]],
        flats[7][offsets[7, j] : offsets[7, j + 1]],
        flats[9][offsets[9, j] : offsets[9, j + 1]],
        flats[10][offsets[10, j] : offsets[10, j + 1]],
        flats[11][offsets[11, j] : offsets[11, j + 1]],
        flats[12][offsets[12, j] : offsets[12, j + 1]],
        flats[13][offsets[13, j] : offsets[13, j + 1]],
        flats[14][offsets[14, j] : offsets[14, j + 1]],
        flats[15][offsets[15, j] : offsets[15, j + 1]],
    )


@njit(cache=True)
def _episode(it: Instance, state: IntArray, choices: IntArray, scratch: IntArray) -> Episode:
    n, engines, slots = len(it.records), len(it.widths), it.edges[-1]
    a = _TOTALS + engines
    b = a + MEMORIES * engines
    c = b + MEMORIES * engines
    d = c + n
    return Episode(
        state[:_TOTALS], state[_TOTALS:a], state[a:b], state[b:c], state[c:d], state[d : d + slots],
        state[d + slots : d + 2 * slots], choices[: DECISIONS * n], scratch,
    )  # fmt: skip


@njit(cache=True)
def observe(
    flats: Any, offsets: IntArray, instance: IntArray, bounds: IntArray, choices: IntArray, position: IntArray,
    cost: IntArray, todo: npt.NDArray[np.bool_], state: IntArray, candidates: FloatArray, context: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Takes in the last decision of every episode in `todo` and writes candidates, context and mask of the next one.

    Where there is a last decision, `cost` becomes the estimate of the fallback completion.
    """
    scratch = np.empty((3, state.shape[1]), dtype=np.int64)
    for i in range(len(instance)):
        if not todo[i]:
            continue
        j, p = instance[i], position[i]
        it = _instance(flats, offsets, j)
        now = _episode(it, state[i], choices[i], scratch)
        fallback = flats[1][offsets[1, j] : offsets[1, j + 1]]
        if p == 0:
            _begin(it, now, cost[i])
        elif now.choices[p - 1] != fallback[p - 1]:
            _take(it, now, p - 1, now.choices[p - 1])
            # Floats: the product of two costs may not fit an integer; the ratio at the start is exactly one.
            cost[i] = int(now.totals[S_START_COST] * (_estimate(it, now) / now.totals[S_START_ESTIMATE]))
        size = flats[0][offsets[0, j] + p]
        _describe(it, now, p, size, fallback[p], bounds[j], candidates[i], mask[i])
        _describe_state(it, now, p, cost[i], bounds[j], context[i])
        for k in range(size, now.totals[S_FILLED]):
            candidates[i, k] = 0
            mask[i, k] = 0
        now.totals[S_FILLED] = size


@njit(cache=True)
def _option(it: Instance, i: int, flags: int, tile: int) -> int:
    """Returns the row of a layer's option."""
    return it.records[i, R_FIRST] + flags * it.records[i, R_TILES] + tile


@njit(cache=True)
def _current(it: Instance, now: Episode, i: int) -> int:
    """Returns the row of a layer's option in the fallback completion."""
    return _option(it, i, now.flags[i], now.choices[DECISIONS * i + D_TILE])


@njit(cache=True)
def _estimate(it: Instance, now: Episode) -> int:
    """Returns estimated cycles: the busiest engine's, its layers one by one, or the DRAM port's."""
    return max(now.busy.max(), ceil_div(max(now.totals[S_LOAD], now.totals[S_STORE]), it.numbers[1]))


@njit(cache=True)
def _begin(it: Instance, now: Episode, cost: int) -> None:
    """Sets the state of an episode in which nothing is decided."""
    now.totals[:], now.busy[:], now.words[:], now.masks[:] = 0, 0, 0, 0
    now.totals[S_FILLED] = MAX_CANDIDATES
    for i in range(len(it.records)):
        record = it.records[i]
        now.flags[i] = IN_DRAM | OUT_DRAM | (RESIDUAL_DRAM if record[R_RESIDUAL] > -2 else 0)
        option = it.options[_current(it, now, i)]
        now.busy[record[R_ENGINE]] += option[O_CYCLES]
        now.totals[S_LOAD] += option[O_LOAD]
        now.totals[S_STORE] += option[O_STORE]
        now.words[record[R_WEIGHT_SLOT]] = option[O_WEIGHT_WORDS]
        now.words[record[R_IN_SLOT]], now.words[record[R_OUT_SLOT]] = (
            option[O_IN_WORDS],
            option[O_STAGE_WORDS],
        )
        now.masks[record[R_WEIGHT_SLOT]] = now.masks[record[R_IN_SLOT]] = record[R_LEAD]
        now.masks[record[R_OUT_SLOT]] = record[R_DURING]
    for memory in range(len(now.depth)):
        now.depth[memory] = -1
        _settle(it, now, memory)
    now.totals[S_START_COST], now.totals[S_START_ESTIMATE] = cost, _estimate(it, now)


@njit(cache=True)
def _blocks(it: Instance, now: Episode, memory: int) -> int:
    """Returns the block RAMs that a memory needs for what lies in its slots."""
    depth = depth_of(now.words, now.masks, it.edges[memory], it.edges[memory + 1], now.scratch)
    if depth == now.depth[memory]:
        return now.blocks[memory]
    return blocks_of(memory, depth, it.widths, it.geometries)


@njit(cache=True)
def _settle(it: Instance, now: Episode, memory: int) -> None:
    """Counts a memory anew after its slots changed."""
    depth = depth_of(now.words, now.masks, it.edges[memory], it.edges[memory + 1], now.scratch)
    if depth != now.depth[memory]:
        blocks = blocks_of(memory, depth, it.widths, it.geometries)
        before = now.blocks[memory] if now.depth[memory] >= 0 else 0
        now.totals[S_BLOCKS] += blocks - before
        now.depth[memory], now.blocks[memory] = depth, blocks


@njit(cache=True)
def _take(it: Instance, now: Episode, decision: int, choice: int) -> None:
    """Takes a decision other than the fallback into the state."""
    i, which = decision // DECISIONS, decision % DECISIONS
    record = it.records[i]
    maps = MEMORIES * record[R_ENGINE] + MEMORY_MAP
    if which == D_OUTPUT:
        _move_output(it, now, i, True)
        for e in range(len(it.widths)):
            _settle(it, now, MEMORIES * e + MEMORY_MAP)
        return
    before = it.options[_option(it, i, now.flags[i], now.choices[DECISIONS * i + D_TILE])]
    if which == D_TILE:  # the choices hold the new tile already; the old one is the fallback, the last
        before = it.options[_option(it, i, now.flags[i], record[R_TILES] - 1)]
    elif choice >= WEIGHTS_PINNED:
        now.flags[i] |= PINNED
    option = it.options[_current(it, now, i)]
    _charge(now, record[R_ENGINE], before, option)
    now.words[record[R_WEIGHT_SLOT]] = option[O_WEIGHT_WORDS]
    now.words[record[R_IN_SLOT]] = _in_words(record, option, now.choices[DECISIONS * i + D_WEIGHTS])
    if which == D_WEIGHTS:
        _set_masks(record, now, choice)
    elif now.flags[i] & OUT_DRAM:
        now.words[record[R_OUT_SLOT]] = option[O_STAGE_WORDS]
    _settle(it, now, MEMORIES * record[R_ENGINE] + MEMORY_WEIGHT)
    _settle(it, now, record[R_IN_MEMORY])
    if which == D_TILE and record[R_IN_MEMORY] != maps:
        _settle(it, now, maps)


@njit(cache=True)
def _moved(option: IntArray) -> int:
    """Returns the bits that an option loads and stores."""
    return option[O_LOAD] + option[O_STORE]


@njit(cache=True)
def _charge(now: Episode, engine: int, before: IntArray, after: IntArray) -> None:
    """Counts the cycles and the traffic of a layer whose option changes."""
    now.busy[engine] += after[O_CYCLES] - before[O_CYCLES]
    now.totals[S_LOAD] += after[O_LOAD] - before[O_LOAD]
    now.totals[S_STORE] += after[O_STORE] - before[O_STORE]


@njit(cache=True)
def _set_masks(record: IntArray, now: Episode, choice: int) -> None:
    """Sets when weights and input of a layer are on chip."""
    pinned = choice >= WEIGHTS_PINNED
    ahead = record[R_LEAD + (choice - WEIGHTS_PINNED if pinned else choice)]
    now.masks[record[R_WEIGHT_SLOT]] = record[R_ALWAYS] if pinned else ahead
    now.masks[record[R_IN_SLOT]] = record[R_ALWAYS] if _is_ahead(record, choice) else ahead


@njit(cache=True)
def _is_ahead(record: IntArray, choice: int) -> bool:
    """Whether two copies of an input from DRAM stay, by how the layer's weights come; see `tiles.is_ahead`."""
    return choice == WEIGHTS_PINNED_AHEAD or (0 < choice < WEIGHTS_PINNED and record[R_SOURCE] < 0)


@njit(cache=True)
def _in_words(record: IntArray, option: IntArray, choice: int) -> int:
    """Returns the words of an input from DRAM, by how the layer's weights come."""
    return option[O_AHEAD_WORDS if _is_ahead(record, choice) else O_IN_WORDS]


@njit(cache=True)
def _move_output(it: Instance, now: Episode, i: int, on_chip: bool) -> None:
    """Moves a layer's output on chip or back to DRAM, for its readers too; the memories are not counted anew."""
    engines, record = len(it.widths), it.records[i]
    _set_flags(it, now, i, OUT_DRAM, on_chip)
    for e in range(engines):
        tensor = it.tensors[i * engines + e]
        if tensor[T_WORDS] or e == record[R_ENGINE]:
            now.words[tensor[T_SLOT]], now.masks[tensor[T_SLOT]] = (
                tensor[T_WORDS] if on_chip else 0,
                tensor[T_MASK],
            )
    if not on_chip:
        now.words[record[R_OUT_SLOT]] = it.options[_current(it, now, i), O_STAGE_WORDS]
        now.masks[record[R_OUT_SLOT]] = record[R_DURING]
    for c in range(i + 1, record[R_LAST_READER] + 1):
        reads = IN_DRAM if it.records[c, R_SOURCE] == i else 0
        reads |= RESIDUAL_DRAM if it.records[c, R_RESIDUAL] == i else 0
        if reads:
            _set_flags(it, now, c, reads, on_chip)
            option, choice = it.options[_current(it, now, c)], now.choices[DECISIONS * c + D_WEIGHTS]
            now.words[it.records[c, R_IN_SLOT]] = _in_words(it.records[c], option, choice)


@njit(cache=True)
def _set_flags(it: Instance, now: Episode, i: int, flags: int, off: bool) -> None:
    before = it.options[_current(it, now, i)]
    now.flags[i] = now.flags[i] & ~flags if off else now.flags[i] | flags
    _charge(now, it.records[i, R_ENGINE], before, it.options[_current(it, now, i)])


@njit(cache=True)
def _describe(
    it: Instance, now: Episode, position: int, size: int, fallback: int, bound: int, candidates: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Writes candidates and mask of a decision; the state is as before afterwards."""
    i, which = position // DECISIONS, position % DECISIONS
    record, tile = it.records[i], now.choices[position - which + D_TILE]
    weight_memory = MEMORIES * record[R_ENGINE] + MEMORY_WEIGHT
    per_bound = 1.0 / (float(it.numbers[1]) * bound)
    blocks, flags = now.totals[S_BLOCKS], now.flags[i]
    own_traffic = _moved(it.options[_current(it, now, i)])
    in_weights, elsewhere = now.blocks[weight_memory], 0
    for k in range(size):
        if which == D_OUTPUT:
            row, change = _current(it, now, i), 0
            if k == OUTPUT_CHIP:
                elsewhere, change, row = _try_output(it, now, i)
        else:
            if which == D_TILE:
                row = _option(it, i, flags, k)
            else:
                row = _option(it, i, flags | (PINNED if k >= WEIGHTS_PINNED else 0), tile)
            change = _moved(it.options[row]) - own_traffic
            weights_changed, maps_changed = _try_words(it, now, i, which, k, it.options[row])
            if weights_changed:
                in_weights = _blocks(it, now, weight_memory)
            if maps_changed:
                elsewhere = _others(it, now, record)
        used = blocks + in_weights - now.blocks[weight_memory] + elsewhere
        out = candidates[k]
        for f in range(CANDIDATE_WIDTH):
            out[f] = it.features[row, f]
        out[0] = k == fallback
        lead = now.choices[position - which] if which != D_WEIGHTS else k
        out[1] = (lead - WEIGHTS_PINNED if lead >= WEIGHTS_PINNED else lead) / 2
        out[7], out[8] = clip(used / it.numbers[2]), clip((used - blocks) / it.numbers[2])
        out[10] = clip(change * per_bound)
        mask[k] = used <= it.numbers[2]
    if which != D_OUTPUT:
        _try_words(it, now, i, which, fallback, it.options[_option(it, i, flags, tile)])


@njit(cache=True)
def _try_words(it: Instance, now: Episode, i: int, which: int, k: int, option: IntArray) -> tuple[bool, bool]:
    """Lets a layer's slots hold what a candidate needs; returns whether its weights' memory and any other changes."""
    record = it.records[i]
    at, of_in, of_out = record[R_WEIGHT_SLOT], record[R_IN_SLOT], record[R_OUT_SLOT]
    mask, in_mask = now.masks[at], now.masks[of_in]
    weights = k if which == D_WEIGHTS else now.choices[DECISIONS * i + D_WEIGHTS]
    words = _in_words(record, option, weights)
    if which == D_WEIGHTS:
        _set_masks(record, now, k)
    weights_changed = now.words[at] != option[O_WEIGHT_WORDS] or now.masks[at] != mask
    maps_changed = now.words[of_in] != words or (now.masks[of_in] != in_mask and words > 0)
    now.words[at], now.words[of_in] = option[O_WEIGHT_WORDS], words
    if which == D_TILE and now.flags[i] & OUT_DRAM:
        maps_changed = maps_changed or now.words[of_out] != option[O_STAGE_WORDS]
        now.words[of_out] = option[O_STAGE_WORDS]
    return weights_changed, maps_changed


@njit(cache=True)
def _others(it: Instance, now: Episode, record: IntArray) -> int:
    """Returns by how many block RAMs the memories of a layer's maps differ from what is counted."""
    maps = MEMORIES * record[R_ENGINE] + MEMORY_MAP
    change = _blocks(it, now, maps) - now.blocks[maps]
    if record[R_IN_MEMORY] != maps:
        change += _blocks(it, now, record[R_IN_MEMORY]) - now.blocks[record[R_IN_MEMORY]]
    return change


@njit(cache=True)
def _try_output(it: Instance, now: Episode, i: int) -> tuple[int, int, int]:
    """Returns (change of block RAMs, change of traffic, row of the option) with a layer's output on chip."""
    traffic, change = now.totals[S_LOAD] + now.totals[S_STORE], 0
    _move_output(it, now, i, True)
    row, moved = _current(it, now, i), now.totals[S_LOAD] + now.totals[S_STORE] - traffic
    for e in range(len(it.widths)):
        maps = MEMORIES * e + MEMORY_MAP
        if e == it.records[i, R_ENGINE] or it.tensors[i * len(it.widths) + e, T_WORDS]:
            change += _blocks(it, now, maps) - now.blocks[maps]
    _move_output(it, now, i, False)
    return change, moved, row


@njit(cache=True)
def _describe_state(
    it: Instance, now: Episode, position: int, cost: int, bound: int, out: FloatArray
) -> None:
    """Writes the context: the layer's constants and where the episode stands."""
    i, which = position // DECISIONS, position % DECISIONS
    for f in range(len(out)):
        out[f] = it.context[i, f]
    out[0], out[1], out[2] = which == D_WEIGHTS, which == D_OUTPUT, which == D_TILE
    out[3] = position / len(now.choices)
    out[4] = clip(log2(cost / bound) / 8)
    out[5] = now.totals[S_BLOCKS] / it.numbers[2]
    out[6] = clip((now.totals[S_LOAD] + now.totals[S_STORE]) / (float(it.numbers[1]) * bound))
    out[13], out[14] = now.flags[i] & IN_DRAM > 0, now.flags[i] & RESIDUAL_DRAM > 0
