"""What is on chip when: words, lifetimes and first-fit addresses in the memories of each engine (njit).

Each engine has three memories: weights, feature maps, and the line memory of a tap-packing window. An engine's layers
take *slots* 0..n-1 in order, round after round, so a lifetime is a cyclic interval of slots, kept as a bit mask (hence
at most 63 layers an engine). Pinned weights, the places of streamed ones, tensors handed from engine to engine (twice: one
is filled while the other is read) and images that are loaded a round ahead live always. What fused layers hold lives from
the first slot of their group to the last (`foldwright.accel.fusion`). Addresses are first fit, largest
first, ties by position: deterministic, and fragmentation is counted because depth is the highest address in use.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import ENGINE_RESERVE_BRAM36, LOADER_BRAM36, block_rams_of
from foldwright.accel.datapath import BYTE_BITS
from foldwright.accel.mapping import M_PA, M_PACKED, accumulator_bits, ceil_div, map_words
from foldwright.accel.tables import (
    E_AND,
    E_BATCH,
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_PA_MASK,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_INPUT,
    L_IS_RESULT,
    L_OUT_BITS,
    L_OUT_C,
    L_OUT_H,
    L_OUT_W,
    L_RESIDUAL,
    L_STORED_H,
    L_STORED_W,
    L_SUM_BITS,
)
from foldwright.accel.tiles import (
    P_CHUNK_WORDS,
    P_FIRST_SLOT,
    P_HELD_ROWS,
    P_LAST_SLOT,
    P_LEAD,
    P_LINE_WORDS,
    P_MAP_WORDS,
    P_OUT_DRAM,
    P_PLACES,
    P_STAGE_WORDS,
    P_STORED_H,
    P_WEIGHT_WORDS,
    chunk_count,
    is_ahead,
)
from foldwright.kernels import njit

__all__ = [
    "ITEM_FIELDS",
    "MAX_SLOTS",
    "MEMORY_LINE",
    "MEMORY_MAP",
    "MEMORY_WEIGHT",
    "bram36_in_use",
    "deepest",
    "engine_reserve",
    "first_fit",
    "grow_places",
    "largest_first",
    "live_items",
    "map_width_bits",
    "memory_widths",
    "reserve",
    "set_least_places",
    "slots_of",
    "store_depth",
    "store_words",
]

IntArray = npt.NDArray[np.int64]

MAX_SLOTS = 63
MEMORY_WEIGHT, MEMORY_MAP, MEMORY_LINE = 0, 1, 2

_LEAST_STORE_WORDS = 512
_STORE_ROUNDS = 2
_LEAST_ACC_BITS = 4

# Entries of an item row. I_WHAT: what the words hold; places belong to the first layer of an engine that streams.
I_ENGINE, I_MEMORY, I_WORDS, I_MASK, I_ADDRESS, I_LAYER, I_WHAT = range(7)
ITEM_FIELDS = 7
HOLDS_WEIGHTS, HOLDS_INPUT, HOLDS_STAGE, HOLDS_TENSOR, HOLDS_PLACES = range(5)


@njit(cache=True)
def slots_of(assignment: IntArray, engines: int) -> tuple[IntArray, IntArray]:
    """Returns (slot of each layer on its engine, layers of each engine)."""
    slot = np.zeros(len(assignment), dtype=np.int64)
    count = np.zeros(engines, dtype=np.int64)
    for i in range(len(assignment)):
        slot[i] = count[assignment[i]]
        count[assignment[i]] += 1
    return slot, count


@njit(cache=True)
def _cyclic_mask(first: int, last: int, count: int) -> int:
    """Returns the mask of slots first..last, counted modulo `count`."""
    if last - first + 1 >= count:
        return (1 << count) - 1
    mask = 0
    for s in range(first, last + 1):
        mask |= 1 << (s % count)
    return mask


@njit(cache=True)
def live_items(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, batch: int, plans: IntArray
) -> IntArray:
    """Returns everything that takes words, int64 (items, ITEM_FIELDS), addresses not yet given."""
    n = len(layers)
    _, count = slots_of(assignment, len(engines))
    items = np.zeros((n * 4 + (n + 1) * len(engines), ITEM_FIELDS), dtype=np.int64)
    k = _add_places(items, assignment, plans, count)
    for i in range(n):
        e, all_slots = assignment[i], (1 << count[assignment[i]]) - 1
        lead = min(plans[i, P_LEAD], count[e] - 1)
        begin, end = plans[i, P_FIRST_SLOT], plans[i, P_LAST_SLOT]
        ahead = _cyclic_mask(begin - lead + count[e], end + count[e], count[e])
        k = _add(items, k, e, MEMORY_WEIGHT, plans[i, P_WEIGHT_WORDS], all_slots, i, HOLDS_WEIGHTS)
        inputs = all_slots if is_ahead(plans[i]) else ahead
        k = _add(items, k, e, MEMORY_MAP, plans[i, P_MAP_WORDS], inputs, i, HOLDS_INPUT)
        k = _add(items, k, e, MEMORY_LINE, plans[i, P_LINE_WORDS], inputs, i, HOLDS_INPUT)
        if plans[i, P_OUT_DRAM]:
            during = _cyclic_mask(begin, end + 1, count[e])
            k = _add(items, k, e, MEMORY_MAP, plans[i, P_STAGE_WORDS], during, i, HOLDS_STAGE)
        else:
            k = _add_tensor(items, k, layers, engines, mappings, assignment, batch, i, plans, count)
    return items[:k]


@njit(cache=True)
def _add_places(items: IntArray, assignment: IntArray, plans: IntArray, count: IntArray) -> int:
    """Adds the places of streamed weights of every engine; returns how many items there are."""
    k = 0
    for e in range(len(count)):
        chunk, first = 0, -1
        for i in range(len(plans)):
            if assignment[i] == e and plans[i, P_CHUNK_WORDS]:
                chunk, first = max(chunk, plans[i, P_CHUNK_WORDS]), i if first < 0 else first
        if first >= 0:
            words, always = plans[first, P_PLACES] * chunk, (1 << count[e]) - 1
            k = _add(items, k, e, MEMORY_WEIGHT, words, always, first, HOLDS_PLACES)
    return k


@njit(cache=True)
def set_least_places(plans: IntArray, assignment: IntArray, engines: int, least: int) -> None:
    """Gives every engine so many places for its streamed weights, or fewer where fewer chunks stream."""
    for e in range(engines):
        chunks = 0
        for i in range(len(plans)):
            if assignment[i] == e:
                chunks += chunk_count(plans[i])
        for i in range(len(plans)):
            if assignment[i] == e:
                plans[i, P_PLACES] = min(chunks, least)


@njit(cache=True)
def deepest(width_bits: int, blocks: int, geometries: IntArray) -> int:
    """Returns the most words of a width that so many block RAMs hold, all in one geometry."""
    depth = 0
    for g in range(len(geometries)):
        across = ceil_div(width_bits, geometries[g, 0]) * geometries[g, 2]
        depth = max(depth, 2 * blocks // across * geometries[g, 1])
    return depth


@njit(cache=True)
def grow_places(
    plans: IntArray, assignment: IntArray, widths: IntArray, geometries: IntArray, depth: IntArray, spare: int, most: int
) -> int:  # fmt: skip
    """Gives spare block RAMs to the places of streamed weights; returns how many are left over.

    The engine with the fewest places for its chunks of a round is next, until each has as many as chunks, or `most`, or
    nothing fits. `depth`, int64 (engines, 3), grows with them.
    """
    engines = len(depth)
    chunk, wanted = np.zeros(engines, dtype=np.int64), np.zeros(engines, dtype=np.int64)
    places = np.zeros(engines, dtype=np.int64)
    for i in range(len(plans)):
        e = assignment[i]
        chunk[e] = max(chunk[e], plans[i, P_CHUNK_WORDS])
        wanted[e] += chunk_count(plans[i])
        places[e] = plans[i, P_PLACES]
    while True:
        e = -1
        for f in range(engines):
            if places[f] < min(wanted[f], most) and (e < 0 or places[f] * wanted[e] < places[e] * wanted[f]):
                e = f
        if e < 0:
            break
        before, more = block_rams_of(widths[e, MEMORY_WEIGHT], depth[e, MEMORY_WEIGHT], geometries), 0
        room, added = min(wanted[e], most) - places[e], 0
        while more <= spare and added == 0:
            deep = deepest(widths[e, MEMORY_WEIGHT], before + more, geometries)
            added = min(room, max(0, deep - depth[e, MEMORY_WEIGHT]) // chunk[e])
            more += added == 0
        if added == 0:
            wanted[e] = 0  # nothing fits
            continue
        places[e] += added
        depth[e, MEMORY_WEIGHT] += added * chunk[e]
        spare -= block_rams_of(widths[e, MEMORY_WEIGHT], depth[e, MEMORY_WEIGHT], geometries) - before
    for i in range(len(plans)):
        plans[i, P_PLACES] = places[assignment[i]]
    return spare


@njit(cache=True)
def _add(
    items: IntArray, k: int, engine: int, memory: int, words: int, mask: int, layer: int, what: int
) -> int:
    if words == 0:
        return k
    items[k, I_ENGINE], items[k, I_MEMORY], items[k, I_WORDS], items[k, I_MASK] = engine, memory, words, mask
    items[k, I_LAYER], items[k, I_WHAT] = layer, what
    return k + 1


@njit(cache=True)
def _add_tensor(
    items: IntArray, k: int, layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray,
    batch: int, producer: int, plans: IntArray, count: IntArray,
) -> int:  # fmt: skip
    """Adds the output tensor of a layer to the memory of every engine that reads it."""
    for e in range(len(engines)):
        words, last = 0, -1
        for c in range(producer + 1, len(layers)):
            if assignment[c] != e:
                continue
            if layers[c, L_INPUT] == producer:
                pa = mappings[c, M_PA]
                words = max(
                    words,
                    map_words(layers[c], batch, pa, engines[e, E_DK], engines[e, E_DN], engines[e, E_BATCH]),
                )
                last = c
            if layers[c, L_RESIDUAL] == producer:
                added = _residual_words(
                    layers[c], layers[producer, L_OUT_BITS], engines[e], mappings[c, M_PA], batch
                )
                words = max(words, added)
                last = c
        if last < 0:
            continue
        if e == assignment[producer]:
            held = plans[producer, P_HELD_ROWS]
            if held < plans[producer, P_STORED_H]:
                words = ceil_div(words, plans[producer, P_STORED_H]) * held
            during = _cyclic_mask(plans[producer, P_FIRST_SLOT], plans[last, P_LAST_SLOT], count[e])
            k = _add(items, k, e, MEMORY_MAP, words, during, producer, HOLDS_TENSOR)
        else:
            k = _add(items, k, e, MEMORY_MAP, 2 * words, (1 << count[e]) - 1, producer, HOLDS_TENSOR)
    return k


@njit(cache=True)
def _residual_words(layer: IntArray, bits: int, engine: IntArray, pa: int, batch: int) -> int:
    """Returns the words of the second operand, of so many bits, laid out as the layer's own results before their pooling."""
    per_pixel = ceil_div(layer[L_OUT_C], engine[E_DK] // pa) * ceil_div(bits, pa)
    if engine[E_BATCH]:
        return per_pixel * layer[L_OUT_H] * layer[L_OUT_W] * ceil_div(batch, engine[E_DN])
    return per_pixel * layer[L_OUT_H] * ceil_div(layer[L_OUT_W], engine[E_DN]) * batch


@njit(cache=True)
def largest_first(sizes: IntArray) -> IntArray:
    """Returns the positions of sizes in falling order, ties by position (insertion sort: few items, quick to compile)."""
    order = np.arange(len(sizes))
    for a in range(1, len(sizes)):
        item, b = order[a], a
        while b > 0 and sizes[order[b - 1]] < sizes[item]:
            order[b] = order[b - 1]
            b -= 1
        order[b] = item
    return order


@njit(cache=True)
def first_fit(items: IntArray, engines: int) -> IntArray:
    """Gives every item its address and returns the depths, int64 (engines, 3): weights, maps, line."""
    depth = np.zeros((engines, 3), dtype=np.int64)
    depth[:, MEMORY_WEIGHT] = 1  # an engine has one even where nothing lies in it
    order = largest_first(items[:, I_WORDS])
    n = len(items)
    for a in range(n):
        item = order[a]
        address, moved = 0, True
        while moved:
            moved = False
            for b in range(a):
                other = order[b]
                if (
                    items[other, I_ENGINE] != items[item, I_ENGINE]
                    or items[other, I_MEMORY] != items[item, I_MEMORY]
                ):
                    continue
                if not items[other, I_MASK] & items[item, I_MASK]:
                    continue
                start, end = items[other, I_ADDRESS], items[other, I_ADDRESS] + items[other, I_WORDS]
                if address < end and start < address + items[item, I_WORDS]:
                    address, moved = end, True
        items[item, I_ADDRESS] = address
        e, memory = items[item, I_ENGINE], items[item, I_MEMORY]
        depth[e, memory] = max(depth[e, memory], address + items[item, I_WORDS])
    return depth


@njit(cache=True)
def map_width_bits(engine: IntArray) -> int:
    """Returns the width of a feature-map word in block RAM, `Engine.map_block_width_bits`: whole bytes of each plane."""
    most = 1
    while engine[E_PA_MASK] >= 2 * most:
        most *= 2
    byte = BYTE_BITS if engine[E_DM] % BYTE_BITS == 0 else BYTE_BITS - 1
    return engine[E_DN] * most * ceil_div(engine[E_DK] // most, byte) * BYTE_BITS


@njit(cache=True)
def memory_widths(layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray) -> IntArray:
    """Returns the word widths, int64 (engines, 3): weights, maps (as `Engine.map_block_width_bits`), line."""
    out = np.zeros((len(engines), 3), dtype=np.int64)
    for e in range(len(engines)):
        lowest = engines[e, E_PA_MASK] & -engines[e, E_PA_MASK]
        out[e, MEMORY_WEIGHT] = engines[e, E_DM] * engines[e, E_DK] // lowest
        out[e, MEMORY_MAP] = map_width_bits(engines[e])
    for i in range(len(layers)):
        if mappings[i, M_PACKED]:
            pixel = ceil_div(layers[i, L_IN_C] * layers[i, L_A_BITS], BYTE_BITS) * BYTE_BITS
            bits = engines[assignment[i], E_DN] * pixel
            out[assignment[i], MEMORY_LINE] = max(out[assignment[i], MEMORY_LINE], bits)
    return out


@njit(cache=True)
def bram36_in_use(widths: IntArray, depth: IntArray, geometries: IntArray) -> int:
    """Returns the block RAMs of all memories; `geometries` as in `cost.geometry_table`."""
    total = 0
    for e in range(len(widths)):
        for memory in range(3):
            if depth[e, memory] > 0:
                total += block_rams_of(widths[e, memory], depth[e, memory], geometries)
    return total


@njit(cache=True)
def store_words(layer: IntArray, engine: IntArray, batch: int) -> int:
    """Returns how deep the store of a layer's results on their way to DRAM is: two rounds of them, a power of two.

    A result is what leaves an engine in a cycle: `drain_lanes` lanes of a block, but of an engine with column lanes one.
    """
    groups = layer[L_GROUPS]
    items = groups * ceil_div(layer[L_OUT_C] // groups, engine[E_DM]) * layer[L_STORED_H] * layer[L_STORED_W]
    if engine[E_BATCH]:
        full, rest = batch // engine[E_DN], batch % engine[E_DN]
        items *= full * ceil_div(engine[E_DN], engine[E_DRAIN]) + ceil_div(rest, engine[E_DRAIN])
    else:
        items *= batch
    return store_depth(items)


@njit(cache=True)
def store_depth(items: int) -> int:
    """Returns the words of a store for a round of `items` results."""
    words = _LEAST_STORE_WORDS
    while words < _STORE_ROUNDS * items:
        words *= 2
    return words


@njit(cache=True)
def engine_reserve(layers: IntArray, engine: IntArray, batch: int, geometries: IntArray) -> int:
    """Returns the block RAMs of an engine that no schedule can use: its program, rows of pooling, the store of results."""
    acc_bits, last = _LEAST_ACC_BITS, -1
    for i in range(len(layers)):
        acc_bits = max(acc_bits, accumulator_bits(layers[i], engine[E_AND]), layers[i, L_SUM_BITS])
        if layers[i, L_IS_RESULT]:
            last = i
    if last < 0:
        return ENGINE_RESERVE_BRAM36
    bits = engine[E_DRAIN] * engine[E_DM] * acc_bits
    return ENGINE_RESERVE_BRAM36 + block_rams_of(bits, store_words(layers[last], engine, batch), geometries)


@njit(cache=True)
def reserve(
    layers: IntArray, engines: IntArray, assignment: IntArray, batch: int, geometries: IntArray
) -> int:
    """Returns the block RAMs of a design that no schedule can use; `cost.reserve_bram36` of its datapath."""
    total = LOADER_BRAM36
    for e in range(len(engines)):
        total += engine_reserve(layers[assignment == e], engines[e], batch, geometries)
    return total
