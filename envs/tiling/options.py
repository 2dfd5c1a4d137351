"""What of a tiling instance does not depend on the state of an episode, computed once.

A layer's plan follows from four flags (`PINNED`, `IN_DRAM`, `OUT_DRAM`, `RESIDUAL_DRAM`) and a tile. `options` says what
each combination takes, `features` what an agent sees of it; the row `R_FIRST + flags * R_TILES + tile` of both is that of a
layer's combination. Where some blocks are pinned, what a layer takes lies between the two. `records` and `tensors` say
where a layer's words may lie and when (masks as in `foldwright.accel.memory`): every memory but that of weights, where all
lives always, is a run of slots, `edges[3 * engine + memory]` the first of it, in the order in which first fit takes items
of equal size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import AHEAD, DECISIONS, OUTPUT_CHIP, OUTPUT_DRAM, WEIGHTS_STREAMED, expand
from foldwright.accel.mapping import M_BLOCKS, M_CYCLES, M_PACKED, M_WEIGHT_WORDS_PER_BLOCK, ceil_div
from foldwright.accel.memory import (
    HOLDS_INPUT,
    HOLDS_STAGE,
    HOLDS_TENSOR,
    I_ENGINE,
    I_LAYER,
    I_MASK,
    I_WHAT,
    I_WORDS,
    MEMORY_LINE,
    MEMORY_MAP,
    MEMORY_WEIGHT,
    live_items,
)
from foldwright.accel.schedule import NetworkTables
from foldwright.accel.tables import (
    L_INPUT,
    L_KH,
    L_KW,
    L_OUT_BITS,
    L_OUT_C,
    L_RESIDUAL,
    L_STORED_H,
    L_STORED_W,
)
from foldwright.accel.tiles import (
    ORDER_ROWS,
    P_BLOCKS,
    P_IN_BITS_PER_ROW,
    P_IN_H,
    P_LINE_WORDS,
    P_MAP_WORDS,
    P_ORDER,
    P_ROWS,
    P_STAGE_WORDS,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    PLAN_FIELDS,
    plan_row,
    standalone_cycles,
    tile_cycles,
    traffic_bits,
)
from foldwright.envs.features import FEATURE_LIMIT, clip, log2
from foldwright.kernels import njit

__all__ = ["MEMORIES", "OptionTables", "option_tables"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

MEMORIES = 3
PINNED, IN_DRAM, OUT_DRAM, RESIDUAL_DRAM = 1, 2, 4, 8
_FLAGS = 16
_POOL_BLOCK_BITS = 36864.0

# Entries of an option. O_AHEAD_WORDS: of an image with the next round's loaded ahead, see `tiles.is_ahead`.
O_CYCLES, O_LOAD, O_STORE, O_TILE_BLOCKS, O_IN_WORDS, O_AHEAD_WORDS, O_STAGE_WORDS = range(7)
OPTION_FIELDS = 7
# Entries of a layer's record. R_LEAD: of the two masks of an input that is loaded 0 or 1 layers ahead.
(
    R_ENGINE, R_IN_MEMORY, R_BLOCKS, R_BLOCK_WORDS, R_IN_SLOT, R_OUT_SLOT, R_LEAD, _, R_DURING, R_FIRST, R_TILES,
    R_SOURCE, R_RESIDUAL, R_LAST_READER, R_BLOCK_BITS,
) = range(15)  # fmt: skip
RECORD_FIELDS = 15
# Entries of a tensor: where and when a layer's output lies on an engine that reads it; T_WORDS is 0 where none does.
T_SLOT, T_WORDS, T_MASK = range(3)
# Features that need no state, of a candidate and of a layer.
F_PINNED, F_CHIP, F_TRAFFIC = 2, 3, 9
CANDIDATE_WIDTH, CONTEXT_WIDTH = 14, 22


class OptionTables(NamedTuple):
    """The tables of one instance; see the module's docstring."""

    options: IntArray  # int64 (rows, OPTION_FIELDS)
    features: FloatArray  # float32 (rows, CANDIDATE_WIDTH)
    context: FloatArray  # float32 (layers, CONTEXT_WIDTH)
    records: IntArray  # int64 (layers, RECORD_FIELDS)
    tensors: IntArray  # int64 (layers * engines, 3)
    edges: IntArray  # int64 (3 * engines + 1,)


@njit(cache=True)
def _fill_options(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, tiles: IntArray, numbers: IntArray,
    records: IntArray, bound: int, options: IntArray, features: FloatArray,
) -> None:  # fmt: skip
    """Writes what every combination of flags and tile takes and looks like."""
    plan, flags = np.empty(PLAN_FIELDS, dtype=np.int64), np.zeros(6, dtype=np.int64)
    for i in range(len(layers)):
        engine = engines[assignment[i]]
        for combination in range(_FLAGS):
            flags[0], flags[1] = assignment[i], mappings[i, M_BLOCKS] if combination & PINNED else 0
            flags[3], flags[4] = combination & IN_DRAM > 0, combination & OUT_DRAM > 0
            flags[5] = combination & RESIDUAL_DRAM > 0
            for t in range(records[i, R_TILES]):
                row = records[i, R_FIRST] + combination * records[i, R_TILES] + t
                flags[2] = 1
                plan_row(layers[i], engine, mappings[i], numbers, tiles[i, t], flags, plan)
                options[row, O_AHEAD_WORDS] = plan[P_MAP_WORDS] + plan[P_LINE_WORDS]
                flags[2] = 0
                plan_row(layers[i], engine, mappings[i], numbers, tiles[i, t], flags, plan)
                _fill_option(plan, numbers[1], bound, options[row], features[row])
                features[row, F_PINNED], features[row, F_CHIP] = combination & PINNED > 0, 1 - flags[4]


@njit(cache=True)
def _fill_option(plan: IntArray, bits: int, bound: int, option: IntArray, out: FloatArray) -> None:
    load, store = traffic_bits(plan)
    option[O_CYCLES], option[O_LOAD], option[O_STORE] = standalone_cycles(plan, bits), load, store
    option[O_TILE_BLOCKS], option[O_STAGE_WORDS] = plan[P_TILE_BLOCKS], plan[P_STAGE_WORDS]
    option[O_IN_WORDS] = plan[P_MAP_WORDS] + plan[P_LINE_WORDS]
    out[4], out[5] = plan[P_TILE_BLOCKS] / plan[P_BLOCKS], plan[P_TILE_ROWS] / plan[P_ROWS]
    out[6] = plan[P_ORDER] == ORDER_ROWS
    out[F_TRAFFIC] = clip((load + store) / (float(bits) * bound))
    out[11] = clip(option[O_CYCLES] / bound)
    compute = tile_cycles(plan, plan[P_BLOCKS], plan[P_ROWS])
    out[12] = clip(log2(option[O_CYCLES] / compute) / 4)
    steps = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS]) * ceil_div(plan[P_ROWS], plan[P_TILE_ROWS])
    out[13] = clip(log2(steps) / 16)


def option_tables(tables: NetworkTables, sizes: IntArray, bound: int) -> OptionTables:
    """Returns the tables of an instance, given its candidates and the bound that scales its features."""
    layers, engines, mappings, assignment, _, _, tiles, numbers = tables
    n = len(layers)
    records = np.full((n, RECORD_FIELDS), -1, dtype=np.int64)
    records[:, R_ENGINE], records[:, R_TILES] = assignment, sizes[DECISIONS - 1 :: DECISIONS]
    records[:, R_BLOCKS], records[:, R_BLOCK_WORDS] = (
        mappings[:, M_BLOCKS],
        mappings[:, M_WEIGHT_WORDS_PER_BLOCK],
    )
    records[:, R_BLOCK_BITS] = expand(*tables, np.zeros(DECISIONS * n, dtype=np.int64))[
        :, P_WEIGHT_BITS_PER_BLOCK
    ]
    records[:, R_FIRST] = np.cumsum(_FLAGS * records[:, R_TILES]) - _FLAGS * records[:, R_TILES]
    records[:, R_SOURCE], records[:, R_RESIDUAL] = layers[:, L_INPUT], layers[:, L_RESIDUAL]
    for i in range(n):
        readers = np.flatnonzero((layers[:, L_INPUT] == i) | (layers[:, L_RESIDUAL] == i))
        records[i, R_LAST_READER] = max([i, *readers])
    tensors = _lifetimes(tables, records)
    edges = _slots(mappings, records, tensors, len(engines))
    rows = int(_FLAGS * records[:, R_TILES].sum())
    options = np.empty((rows, OPTION_FIELDS), dtype=np.int64)
    features = np.zeros((rows, CANDIDATE_WIDTH), dtype=np.float32)
    _fill_options(layers, engines, mappings, assignment, tiles, numbers, records, bound, options, features)
    context = _contexts(tables, bound)
    return OptionTables(options, features, context, records, tensors.reshape(-1, 3), edges)


def _lifetimes(tables: NetworkTables, records: IntArray) -> IntArray:
    """Sets the masks of the records and returns the tensors, int64 (layers, engines, 3), their slots not yet known."""
    layers, engines, mappings, assignment, *_, numbers = tables
    tensors = np.zeros((len(layers), len(engines), 3), dtype=np.int64)
    choices = np.zeros(DECISIONS * len(layers), dtype=np.int64)
    for lead, output in ((0, OUTPUT_CHIP), (0, OUTPUT_DRAM), (1, OUTPUT_DRAM)):
        choices[::DECISIONS] = WEIGHTS_STREAMED + AHEAD * lead
        choices[1::DECISIONS] = output
        plans = expand(*tables, choices)
        for item in live_items(layers, engines, mappings, assignment, numbers[0], plans):
            if item[I_WHAT] == HOLDS_INPUT:
                records[item[I_LAYER], R_LEAD + lead] = item[I_MASK]
            elif item[I_WHAT] == HOLDS_STAGE:
                records[item[I_LAYER], R_DURING] = item[I_MASK]
            elif item[I_WHAT] == HOLDS_TENSOR:
                tensors[item[I_LAYER], item[I_ENGINE], T_WORDS] = item[I_WORDS]
                tensors[item[I_LAYER], item[I_ENGINE], T_MASK] = item[I_MASK]
    return tensors


def _slots(mappings: IntArray, records: IntArray, tensors: IntArray, engines: int) -> IntArray:
    """Gives every layer its slots in the memories and returns where each memory's begin."""
    edges, slot = [0], 0
    for e in range(engines):
        for memory in (MEMORY_WEIGHT, MEMORY_MAP, MEMORY_LINE):
            for i, record in enumerate(records):
                mine = record[R_ENGINE] == e
                in_memory = MEMORY_LINE if mappings[i, M_PACKED] else MEMORY_MAP
                if mine and memory == in_memory:
                    record[R_IN_MEMORY], record[R_IN_SLOT], slot = MEMORIES * e + memory, slot, slot + 1
                if memory == MEMORY_MAP and (mine or tensors[i, e, T_WORDS]):
                    tensors[i, e, T_SLOT] = slot
                    record[R_OUT_SLOT] = slot if mine else record[R_OUT_SLOT]
                    slot += 1
            edges.append(slot)
    return np.array(edges, dtype=np.int64)


def _contexts(tables: NetworkTables, bound: int) -> FloatArray:
    """Returns what is known of each layer and of those after it whatever is decided, float32 (layers, CONTEXT_WIDTH)."""
    layers, _, mappings, assignment, _, _, _, numbers = tables
    n = len(layers)
    out = np.zeros((n, CONTEXT_WIDTH))
    plans = expand(*tables, np.zeros(DECISIONS * n, dtype=np.int64))
    batch, bits, pool = (int(v) for v in numbers[:3])
    weights = (plans[:, P_BLOCKS] * plans[:, P_WEIGHT_BITS_PER_BLOCK]).astype(float)
    values = layers[:, L_OUT_C] * layers[:, L_STORED_H] * layers[:, L_STORED_W]
    output = (batch * values * layers[:, L_OUT_BITS]).astype(float)
    out[:, 7] = mappings[:, M_CYCLES] / bound
    out[:, 8] = weights / (bits * bound)
    out[:, 9] = weights / (pool * _POOL_BLOCK_BITS)
    out[:, 10] = plans[:, P_IN_H] * plans[:, P_IN_BITS_PER_ROW] / (float(bits) * bound)
    out[:, 11], out[:, 12] = output / (bits * bound), output / (pool * _POOL_BLOCK_BITS)
    for i in range(n):
        readers = np.flatnonzero((layers[:, L_INPUT] == i) | (layers[:, L_RESIDUAL] == i))
        out[i, 15] = len(readers) / 4
        out[i, 16] = (max([i, *readers]) - i) / n
        out[i, 17] = (assignment == assignment[i]).sum() / n
        out[i, 18] = mappings[i + 1 :, M_CYCLES].sum() / mappings[:, M_CYCLES].sum()
        out[i, 19] = weights[i + 1 :].sum() / (pool * _POOL_BLOCK_BITS)
    out[:, 20] = bits / 64
    out[:, 21] = layers[:, L_KH] * layers[:, L_KW] / 25
    return np.clip(out, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.float32)
