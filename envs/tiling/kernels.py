"""Costs and observations of a batch of tiling episodes (njit); see `foldwright.envs.batch` for the arrays.

Every feature is relative to the instance: to its bound, its pool, its layer. Numbers of layers or block RAMs never
appear as such, and the shapes do not depend on the instance. All are clipped (`envs.features`).

Candidate features (`CANDIDATE_*`): what the candidate says, and what the fallback completion needs with it. An output on chip
counts 1, and 2 where the layer is fused with the next one.
Context features (`CONTEXT_*`): the layer that is decided, and the fallback completion so far.

An episode keeps what its completion needs (`Episode`): a step changes what the last decision changes and packs the
memories that it touches, which is exact; where layers may be fused every candidate is counted whole (`whole`). The
completion is simulated at the end of an episode alone, for a simulation takes tens of times as long as a step; on the way
its cycles are estimated by those of the layers one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import (
    AHEAD,
    D_OUTPUT,
    D_TILE,
    D_WEIGHTS,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_FUSED,
    least_places,
    pinned_blocks,
)
from foldwright.accel.mapping import ceil_div
from foldwright.accel.memory import MEMORY_MAP, MEMORY_WEIGHT
from foldwright.envs.features import clip, log2
from foldwright.envs.problem import MAX_CANDIDATES
from foldwright.envs.tiling.memories import blocks_of, depth_of
from foldwright.envs.tiling.options import (
    CANDIDATE_WIDTH,
    F_CHIP,
    IN_DRAM,
    MEMORIES,
    O_AHEAD_WORDS,
    O_CYCLES,
    O_IN_WORDS,
    O_LOAD,
    O_STAGE_WORDS,
    O_STORE,
    O_TILE_BLOCKS,
    OUT_DRAM,
    PINNED,
    R_BLOCK_BITS,
    R_BLOCK_WORDS,
    R_BLOCKS,
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
    RESIDUAL_DRAM,
    T_MASK,
    T_SLOT,
    T_WORDS,
)
from foldwright.envs.tiling.whole import count_whole, fuses
from foldwright.kernels import njit

__all__ = [
    "CANDIDATE_FEATURES",
    "CONTEXT_FEATURES",
    "Episode",
    "Instance",
    "observe",
    "state_entries",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

CANDIDATE_FEATURES = (
    "is the fallback", "input ahead", "share of pinned weights", "output on chip", "tile blocks / blocks",
    "tile rows / rows", "rows outside", "block RAMs / pool", "change of block RAMs / pool",
    "layer's traffic cycles / bound", "change of traffic cycles / bound", "layer's stand-alone cycles / bound",
    "layer's stand-alone / compute cycles, log2 / 4", "tiles of the layer, log2 / 16",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides weights", "decides output", "decides tile", "progress", "cost / bound, log2 / 8", "block RAMs / pool",
    "traffic cycles / bound", "layer's compute / bound", "weights' load cycles / bound", "weights' bits / pool bits",
    "input's load cycles / bound", "output's store cycles / bound", "output's bits / pool bits", "input from DRAM",
    "residual from DRAM", "readers / 4", "distance to the last reader / layers", "layers of this engine / layers",
    "later compute / all compute", "later weights' bits / pool bits", "DRAM bits per cycle / 64", "taps / 25",
)  # fmt: skip


class Instance(NamedTuple):
    """An instance's arrays, see `options.OptionTables`; numbers are (batch, DRAM bits per cycle, pool, places)."""

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
    flags: IntArray  # int64 (layers,): of each layer's option, `PINNED` apart
    pinned: IntArray  # int64 (layers,): blocks of weights that stay
    words: IntArray  # int64 (slots,)
    masks: IntArray  # int64 (slots,)
    choices: IntArray  # int64 (decisions,)
    scratch: IntArray  # int64 (3, slots of the largest instance)


def state_entries(layers: int, engines: int) -> int:
    """Returns how many entries an episode's state takes at most."""
    return _TOTALS + (1 + 2 * MEMORIES) * engines + 2 * layers + 2 * layers * (1 + engines)


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
    f = d + n
    return Episode(
        state[:_TOTALS], state[_TOTALS:a], state[a:b], state[b:c], state[c:d], state[d:f], state[f : f + slots],
        state[f + slots : f + 2 * slots], choices[: DECISIONS * n], scratch,
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
        if fuses(flats[0][offsets[0, j] : offsets[0, j + 1]]):
            count_whole(
                flats, offsets, j, bounds[j], now.choices, p, size, candidates[i], context[i], mask[i]
            )
        for k in range(size, now.totals[S_FILLED]):
            candidates[i, k] = 0
            mask[i, k] = 0
        now.totals[S_FILLED] = size


@njit(cache=True)
def _option(it: Instance, i: int, flags: int, tile: int) -> int:
    """Returns the row of a layer's option."""
    return it.records[i, R_FIRST] + flags * it.records[i, R_TILES] + tile


@njit(cache=True)
def _tile(now: Episode, i: int) -> int:
    """Returns a layer's tile in the fallback completion."""
    return now.choices[DECISIONS * i + D_TILE]


@njit(cache=True)
def _takes(it: Instance, i: int, flags: int, tile: int, pinned: int) -> tuple[int, int, int]:
    """Returns cycles and bits, loaded and stored, of a layer; cycles lie between those with no and with all weights pinned."""
    none, all_ = it.options[_option(it, i, flags, tile)], it.options[_option(it, i, flags | PINNED, tile)]
    blocks, streamed = it.records[i, R_BLOCKS], it.records[i, R_BLOCKS] - pinned
    cycles = all_[O_CYCLES] + (none[O_CYCLES] - all_[O_CYCLES]) * streamed // blocks
    load = (none[O_LOAD] - all_[O_LOAD]) // blocks * streamed
    if ceil_div(blocks, none[O_TILE_BLOCKS]) - pinned // none[O_TILE_BLOCKS] == 1:  # one chunk comes once
        load = it.records[i, R_BLOCK_BITS] * streamed
    return cycles, all_[O_LOAD] + load, none[O_STORE]


@njit(cache=True)
def _add_layer(it: Instance, now: Episode, i: int, times: int) -> None:
    """Counts the cycles and the traffic of a layer as it is now, or takes them away (-1 times)."""
    cycles, load, store = _takes(it, i, now.flags[i], _tile(now, i), now.pinned[i])
    now.busy[it.records[i, R_ENGINE]] += times * cycles
    now.totals[S_LOAD] += times * load
    now.totals[S_STORE] += times * store


@njit(cache=True)
def _weight_words(it: Instance, now: Episode, engine: int) -> int:
    """Returns the words of an engine's pinned weights and of its fewest places."""
    words, chunk, chunks = 0, 0, 0
    for i in range(len(it.records)):
        if it.records[i, R_ENGINE] != engine:
            continue
        blocks, pinned, each = it.records[i, R_BLOCKS], now.pinned[i], it.records[i, R_BLOCK_WORDS]
        words += pinned * each
        if pinned < blocks:
            tile = it.options[_option(it, i, now.flags[i], _tile(now, i)), O_TILE_BLOCKS]
            chunk = max(chunk, min(tile, blocks - pinned) * each)
            chunks += ceil_div(blocks, tile) - pinned // tile
    return words + min(least_places(it.numbers[3]), chunks) * chunk


@njit(cache=True)
def _estimate(it: Instance, now: Episode) -> int:
    """Returns estimated cycles: the busiest engine's, its layers one by one, or the DRAM port's."""
    return max(now.busy.max(), ceil_div(max(now.totals[S_LOAD], now.totals[S_STORE]), it.numbers[1]))


@njit(cache=True)
def _begin(it: Instance, now: Episode, cost: int) -> None:
    """Sets the state of an episode in which nothing is decided."""
    now.totals[:], now.busy[:], now.words[:], now.masks[:], now.pinned[:] = 0, 0, 0, 0, 0
    now.totals[S_FILLED] = MAX_CANDIDATES
    for i in range(len(it.records)):
        record = it.records[i]
        now.flags[i] = IN_DRAM | OUT_DRAM | (RESIDUAL_DRAM if record[R_RESIDUAL] > -2 else 0)
        option = it.options[_option(it, i, now.flags[i], _tile(now, i))]
        _add_layer(it, now, i, 1)
        now.words[record[R_IN_SLOT]], now.words[record[R_OUT_SLOT]] = (
            option[O_IN_WORDS],
            option[O_STAGE_WORDS],
        )
        now.masks[record[R_IN_SLOT]], now.masks[record[R_OUT_SLOT]] = record[R_LEAD], record[R_DURING]
    for memory in range(len(now.depth)):
        now.depth[memory] = -1
        _settle(it, now, memory)
    now.totals[S_START_COST], now.totals[S_START_ESTIMATE] = cost, _estimate(it, now)


@njit(cache=True)
def _depth(it: Instance, now: Episode, memory: int) -> int:
    """Returns the words of a memory."""
    if memory % MEMORIES == MEMORY_WEIGHT:
        return _weight_words(it, now, memory // MEMORIES)
    return depth_of(now.words, now.masks, it.edges[memory], it.edges[memory + 1], now.scratch)


@njit(cache=True)
def _blocks(it: Instance, now: Episode, memory: int) -> int:
    """Returns the block RAMs that a memory needs for what lies in it."""
    depth = _depth(it, now, memory)
    if depth == now.depth[memory]:
        return now.blocks[memory]
    return blocks_of(memory, depth, it.widths, it.geometries)


@njit(cache=True)
def _settle(it: Instance, now: Episode, memory: int) -> None:
    """Counts a memory anew after what lies in it changed."""
    depth = _depth(it, now, memory)
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
    chosen = now.choices[DECISIONS * i + D_TILE]
    if which == D_TILE:  # the choices hold the new tile already; the old one is the fallback, the last
        now.choices[DECISIONS * i + D_TILE] = record[R_TILES] - 1
    _add_layer(it, now, i, -1)
    now.choices[DECISIONS * i + D_TILE] = chosen
    if which == D_WEIGHTS:
        now.pinned[i] = pinned_blocks(record[R_BLOCKS], choice)
        now.masks[record[R_IN_SLOT]] = record[R_LEAD + choice % 2]
    _add_layer(it, now, i, 1)
    option = it.options[_option(it, i, now.flags[i], chosen)]
    now.words[record[R_IN_SLOT]] = _in_words(record, option, now.choices[DECISIONS * i + D_WEIGHTS])
    if which == D_TILE and now.flags[i] & OUT_DRAM:
        now.words[record[R_OUT_SLOT]] = option[O_STAGE_WORDS]
    _settle(it, now, MEMORIES * record[R_ENGINE] + MEMORY_WEIGHT)
    _settle(it, now, record[R_IN_MEMORY])
    if which == D_TILE and record[R_IN_MEMORY] != maps:
        _settle(it, now, maps)


@njit(cache=True)
def _in_words(record: IntArray, option: IntArray, choice: int) -> int:
    """Returns the words of an input from DRAM; two copies of an image stay where it is loaded ahead."""
    return option[O_AHEAD_WORDS if choice % 2 == AHEAD and record[R_SOURCE] < 0 else O_IN_WORDS]


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
        row = _option(it, i, now.flags[i], _tile(now, i))
        now.words[record[R_OUT_SLOT]], now.masks[record[R_OUT_SLOT]] = (
            it.options[row, O_STAGE_WORDS],
            record[R_DURING],
        )
    for c in range(i + 1, record[R_LAST_READER] + 1):
        reads = IN_DRAM if it.records[c, R_SOURCE] == i else 0
        reads |= RESIDUAL_DRAM if it.records[c, R_RESIDUAL] == i else 0
        if reads:
            _set_flags(it, now, c, reads, on_chip)
            option = it.options[_option(it, c, now.flags[c], _tile(now, c))]
            now.words[it.records[c, R_IN_SLOT]] = _in_words(
                it.records[c], option, now.choices[DECISIONS * c + D_WEIGHTS]
            )


@njit(cache=True)
def _set_flags(it: Instance, now: Episode, i: int, flags: int, off: bool) -> None:
    _add_layer(it, now, i, -1)
    now.flags[i] = now.flags[i] & ~flags if off else now.flags[i] | flags
    _add_layer(it, now, i, 1)


@njit(cache=True)
def _moved(it: Instance, i: int, flags: int, tile: int, pinned: int) -> int:
    """Returns the bits that a layer loads and stores."""
    _, load, store = _takes(it, i, flags, tile, pinned)
    return load + store


@njit(cache=True)
def _describe(
    it: Instance, now: Episode, position: int, size: int, fallback: int, bound: int, candidates: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Writes candidates and mask of a decision; the state is as before afterwards."""
    i, which = position // DECISIONS, position % DECISIONS
    record = it.records[i]
    weight_memory, words_of = MEMORIES * record[R_ENGINE] + MEMORY_WEIGHT, record[R_IN_SLOT]
    per_bound = 1.0 / (float(it.numbers[1]) * bound)
    blocks, flags, tile, pinned = now.totals[S_BLOCKS], now.flags[i], _tile(now, i), now.pinned[i]
    weights = now.choices[DECISIONS * i + D_WEIGHTS]
    in_mask, in_words, out_words = now.masks[words_of], now.words[words_of], now.words[record[R_OUT_SLOT]]
    own_traffic = _moved(it, i, flags, tile, pinned)
    for k in range(size):
        change, used, seen = 0, blocks, flags
        if which == D_OUTPUT and k >= OUTPUT_CHIP:
            more, change, seen = _try_output(it, now, i)
            used += more
        elif which != D_OUTPUT:
            if which == D_TILE:
                now.choices[DECISIONS * i + D_TILE] = k
            else:
                weights, now.pinned[i] = k, pinned_blocks(record[R_BLOCKS], k)
                now.masks[words_of] = record[R_LEAD + k % 2]
            option = it.options[_option(it, i, flags, _tile(now, i))]
            now.words[words_of] = _in_words(record, option, weights)
            if which == D_TILE and flags & OUT_DRAM:
                now.words[record[R_OUT_SLOT]] = option[O_STAGE_WORDS]
            change = _moved(it, i, flags, _tile(now, i), now.pinned[i]) - own_traffic
            used += _blocks(it, now, weight_memory) - now.blocks[weight_memory]
            same = now.masks[words_of] == in_mask and now.words[words_of] == in_words
            if not same or now.words[record[R_OUT_SLOT]] != out_words:
                used += _others(it, now, record)
        _write(it, now, i, seen, weights, used - blocks, candidates[k])
        candidates[k, 0], candidates[k, 10] = k == fallback, clip(change * per_bound)
        output = k if which == D_OUTPUT else now.choices[DECISIONS * i + D_OUTPUT]
        candidates[k, F_CHIP] += output == OUTPUT_FUSED
        mask[k] = used <= it.numbers[2]
    now.choices[DECISIONS * i + D_TILE], now.pinned[i] = tile, pinned
    now.masks[words_of], now.words[words_of], now.words[record[R_OUT_SLOT]] = in_mask, in_words, out_words


@njit(cache=True)
def _write(
    it: Instance, now: Episode, i: int, flags: int, weights: int, more_blocks: int, out: FloatArray
) -> None:
    """Writes what an agent sees of a layer as it is with a candidate."""
    blocks, row = it.records[i, R_BLOCKS], _option(it, i, flags, _tile(now, i))
    pinned_row, streamed = _option(it, i, flags | PINNED, _tile(now, i)), 1 - now.pinned[i] / blocks
    for f in range(CANDIDATE_WIDTH):
        out[f] = it.features[pinned_row, f] + streamed * (it.features[row, f] - it.features[pinned_row, f])
    out[1] = weights % 2
    out[7] = clip((now.totals[S_BLOCKS] + more_blocks) / it.numbers[2])
    out[8] = clip(more_blocks / it.numbers[2])


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
    """Returns (change of block RAMs, change of traffic, flags) with a layer's output on chip."""
    traffic, change = now.totals[S_LOAD] + now.totals[S_STORE], 0
    _move_output(it, now, i, True)
    flags, moved = now.flags[i], now.totals[S_LOAD] + now.totals[S_STORE] - traffic
    for e in range(len(it.widths)):
        maps = MEMORIES * e + MEMORY_MAP
        if e == it.records[i, R_ENGINE] or it.tensors[i * len(it.widths) + e, T_WORDS]:
            change += _blocks(it, now, maps) - now.blocks[maps]
    _move_output(it, now, i, False)
    return change, moved, flags


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
