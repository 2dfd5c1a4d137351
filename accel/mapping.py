"""How one layer runs on one engine: planes, words, blocks and cycles (njit, integers only).

A *block* is `dm` output channels by `dn` lanes. Its accumulation takes

    T = weight_planes * ceil(act_bits / pa) * taps * ceil((C / groups) / (dk / pa)) + idle    cycles,

one weight word and one aligned column group a cycle; with tap packing the taps move into the words:
`ceil(C * taps / (dk / pa))`. Accumulators shift by one position a cycle; a step from one group of `pa` activation
planes to the next lower one shifts by more than the weight planes pass through, and the difference is idle. Blocks
follow each other every `max(T + residual reads, drain)` cycles, where drain is `ceil(dn / drain_lanes)` lanes times the
words that a lane writes: one for each `pa` bits *of the layer that reads them*, one where results leave the accelerator.
A layer that packs taps also waits for its window, in a row and at every row's start (`accel.window_time`). A tile
takes `tile_latency` cycles more than its blocks. The RTL in `accel/rtl` does the same, cycle for cycle, and is compared
with this file by `foldwright verify` and `benchmarks/rtl_networks.py`; `unit_latency` alone is an estimate.

A mapping is an int64 row; the constants `M_*` name its entries. `M_PA` is 0 where the engine cannot run the layer.
Lower bounds (`map_run`) leave out what other engines may add: words that another engine's layer makes a lane write.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.dsp_shape import dsp_latency
from foldwright.accel.tables import (
    E_AND,
    E_BATCH,
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_DSP,
    E_LEVELS,
    E_PA_MASK,
    E_SCALES,
    E_SUM,
    E_WINDOW,
    L_A_BITS,
    L_CODE_BITS,
    L_GROUPS,
    L_IN_C,
    L_IN_H,
    L_IN_W,
    L_INPUT,
    L_IS_IMAGE_IN,
    L_IS_RESULT,
    L_KH,
    L_KW,
    L_ONE_PLANE,
    L_OUT_BITS,
    L_OUT_C,
    L_OUT_H,
    L_OUT_W,
    L_PAD_L,
    L_PARTS,
    L_POOL_K,
    L_RAW,
    L_RESIDUAL,
    L_SUM_BITS,
    L_SW,
    L_W_BITS,
    L_W_KIND,
    W_BINARY,
    W_ODD,
    W_SIGNED,
    W_TERNARY,
)
from foldwright.accel.window_time import first_batch_words, row_stall, window_interval
from foldwright.kernels import njit

__all__ = [
    "MAPPING_FIELDS",
    "accumulator_bits",
    "ceil_div",
    "first_reads",
    "map_layers",
    "map_run",
    "map_words",
    "set_times",
    "tile_latency",
    "unit_latency",
    "weight_levels",
    "weight_planes",
]

IntArray = npt.NDArray[np.int64]

# Entries of a mapping row. M_INTERVAL: from block to block within a row. M_ROW_CYCLES: of one block over one row of all frames.
# M_PROGRAM, M_SWITCH: cycles to read the first program of a round, and the one behind another layer's.
(
    M_PA, M_PACKED, M_T, M_INTERVAL, M_DRAIN, M_BLOCKS, M_ROWS, M_GROUPS_PER_ROW, M_CYCLES,
    M_WEIGHT_WORDS_PER_BLOCK, M_WEIGHT_WORD_BITS, M_LATENCY, M_ROW_CYCLES, M_PROGRAM, M_SWITCH,
) = range(15)  # fmt: skip
MAPPING_FIELDS = 15

FLUSH_CYCLES = 11
"""Of a tile besides unit, search and drain: first loop state, six stages before the array, hand-overs, the writer's stages."""
POOL_CYCLES = 3
"""More in every tile of an engine whose writer has a row memory (`rtl.pool.POOL_STAGES`)."""
SCALE_CYCLES = 7
"""From accumulators to codes by scale and shift, in place of the stages of a search (`scale_words.SCALE_CYCLES`)."""
DEEP_WORDS = 16
"""Words of a window from which on choosing among them takes a stage more (`rtl.window_walk`)."""
_NO_READER = 1 << 30
# Words of a program: what every tile sets, the writer's fields of pooling, those of a window; per step, per tap column.
_FIELD_WORDS, _POOL_WORDS, _WINDOW_WORDS, _STEP_WORDS, _TAP_WORDS = 58, 13, 10, 3, 4
"""Where the engine also pools sums, one field of pooling more says which."""
_CHANGED_WORDS = 14
"""About how many differ from those of another layer, tables and pooling left out."""


@njit(cache=True)
def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@njit(cache=True)
def weight_planes(kind: int, bits: int, is_and: int) -> int:
    """Returns the weight planes of a layer on an XNOR or an AND engine; 0 where they do not go together."""
    if is_and:
        if kind in (W_BINARY, W_TERNARY):
            return 2
        return bits + 1 if kind == W_ODD else bits
    if kind == W_BINARY:
        return 1
    if kind == W_TERNARY:
        return 2
    return 0 if kind == W_SIGNED else bits


@njit(cache=True)
def weight_levels(kind: int, planes: int, is_and: int) -> int:
    """Returns the weight planes of distinct weight; the two XNOR planes of a ternary weight count alike."""
    return 1 if kind == W_TERNARY and not is_and else planes


@njit(cache=True)
def accumulator_bits(layer: IntArray, is_and: int) -> int:
    """Returns the width an engine's accumulators need for a layer.

    They hold sums of plane products before the constants are folded in, compared modulo a power of two, so the span of
    the sum decides: taps * channels * (2^weight levels - 1) * (2^act_bits - 1), one bit for the sign.
    """
    planes = weight_planes(layer[L_W_KIND], layer[L_W_BITS], is_and)
    weight_span = 2 if planes == 2 and layer[L_W_KIND] == W_TERNARY and not is_and else (1 << planes) - 1
    depth = layer[L_KH] * layer[L_KW] * (layer[L_IN_C] // layer[L_GROUPS])
    span, bits = depth * weight_span * ((1 << layer[L_A_BITS]) - 1), 1
    while span > 0:
        span, bits = span >> 1, bits + 1
    return bits


@njit(cache=True)
def map_words(layer: IntArray, batch: int, pa: int, dk: int, dn: int, is_batch: int) -> int:
    """Returns the words (of all lanes) that hold this layer's input for `batch` frames.

    Column lanes: bank = floor((x + pad) / stride) mod dn, with (x + pad) mod stride in the address.
    """
    groups = layer[L_GROUPS]
    per_pixel = groups * ceil_div(layer[L_IN_C] // groups, dk // pa) * ceil_div(layer[L_A_BITS], pa)
    if is_batch:
        return per_pixel * layer[L_IN_H] * layer[L_IN_W] * ceil_div(batch, dn)
    stride = layer[L_SW]
    columns = stride * ceil_div(ceil_div(layer[L_IN_W] + layer[L_PAD_L], stride), dn)
    return per_pixel * layer[L_IN_H] * columns * batch


@njit(cache=True)
def _choose_words(layer: IntArray, engine: IntArray, out: IntArray) -> None:
    """Writes planes per word, tap packing, T and the weights' words of the fastest way, all zeros where there is none.

    Among equal block times the fewest planes per word win, which need the least weight memory.
    """
    out[:] = 0
    planes = weight_planes(layer[L_W_KIND], layer[L_W_BITS], engine[E_AND])
    if planes == 0 or (engine[E_DSP] and engine[E_AND]):
        return
    groups, taps = layer[L_GROUPS], layer[L_KH] * layer[L_KW]
    channels = layer[L_IN_C] // groups
    window = channels * taps * layer[L_A_BITS]
    may_pack = layer[L_IS_IMAGE_IN] == 1 and groups == 1 and taps > 1 and window <= engine[E_WINDOW]
    lowest = engine[E_PA_MASK] & -engine[E_PA_MASK]
    best = 0
    for log_pa in range(4):
        pa = 1 << log_pa
        if not engine[E_PA_MASK] & pa or (layer[L_ONE_PLANE] and pa > 1):
            continue
        plane_groups = ceil_div(layer[L_A_BITS], pa)
        idle = (plane_groups - 1) * max(0, pa - weight_levels(layer[L_W_KIND], planes, engine[E_AND]))
        for packed in range(2 if may_pack else 1):
            word_steps = (
                ceil_div(channels * taps, engine[E_DK] // pa)
                if packed
                else taps * ceil_div(channels, engine[E_DK] // pa)
            )
            cycles = planes * plane_groups * word_steps + idle
            if best == 0 or cycles < best:
                best = cycles
                out[M_PA], out[M_PACKED], out[M_T] = pa, packed, cycles
                out[M_WEIGHT_WORDS_PER_BLOCK] = ceil_div(planes * word_steps, pa // lowest)
    out[M_WEIGHT_WORD_BITS] = engine[E_DM] * engine[E_DK] // lowest


@njit(cache=True)
def _set_times(
    layer: IntArray, engine: IntArray, batch: int, reader_pa: int, extras: IntArray, residual_reads: int, out: IntArray
) -> None:  # fmt: skip
    """Completes a mapping whose words are chosen.

    Args:
        reader_pa: planes per word of the layer that reads the results; 0 where none does, or none that is known.
        extras: what the engine's layers make it have, see `_extras`.
        residual_reads: of a block.
    """
    writes = 1
    if 0 < reader_pa < layer[L_OUT_BITS] and not layer[L_RAW]:
        writes = ceil_div(layer[L_OUT_BITS], reader_pa)
    out[M_DRAIN] = ceil_div(engine[E_DN], engine[E_DRAIN]) * writes
    out[M_INTERVAL] = max(out[M_T] + residual_reads, out[M_DRAIN])
    out[M_LATENCY] = tile_latency(layer, engine, out[M_DRAIN], unit_latency(engine), extras)
    columns, frames, stall = layer[L_OUT_W], batch, 0
    if engine[E_BATCH]:
        frames = ceil_div(batch, engine[E_DN])
    else:
        columns = ceil_div(layer[L_OUT_W], engine[E_DN])
    if out[M_PACKED]:
        kernel, lanes, cycles = (layer[L_KH], layer[L_KW]), 1, out[M_INTERVAL]
        if not engine[E_BATCH]:
            lanes = engine[E_DN]
        stall = row_stall(kernel, layer[L_SW], lanes, cycles)
        out[M_INTERVAL] = window_interval(kernel, layer[L_SW], lanes, cycles)
        # What the first fill takes beyond a row's; the sum over rows and blocks is exact with it.
        out[M_LATENCY] += min(first_batch_words(kernel[0], kernel[1], layer[L_SW], lanes), cycles)
        words = ceil_div(layer[L_IN_C] * kernel[0] * kernel[1], engine[E_DK] // out[M_PA])
        out[M_LATENCY] += words * ceil_div(layer[L_A_BITS], out[M_PA]) > DEEP_WORDS
    out[M_BLOCKS] = layer[L_PARTS] * ceil_div(layer[L_OUT_C] // layer[L_PARTS], engine[E_DM])
    out[M_ROWS], out[M_GROUPS_PER_ROW] = layer[L_OUT_H], frames * columns
    out[M_ROW_CYCLES] = frames * (columns * out[M_INTERVAL] + stall)
    out[M_CYCLES] = out[M_BLOCKS] * out[M_ROWS] * out[M_ROW_CYCLES]


@njit(cache=True)
def _set_program(layer: IntArray, engine: IntArray, extras: IntArray, out: IntArray) -> None:
    """Writes how long the words of a tile's program are read, the grant of one token included.

    A program begins with all fields in every other round (`export.executor`); then only those that change are set, here
    about so many: some, the tables where there are several taps, the writer's where the engine pools.
    """
    planes = weight_planes(layer[L_W_KIND], layer[L_W_BITS], engine[E_AND])
    taps = 1 if out[M_PACKED] else layer[L_KW]
    steps = planes * ceil_div(layer[L_A_BITS], out[M_PA]) + (out[M_DRAIN] > out[M_T])
    tables = _STEP_WORDS * steps + _TAP_WORDS * taps
    pooling = _POOL_WORDS + extras[2] if extras[0] else 0
    out[M_PROGRAM] = _FIELD_WORDS + tables + pooling + (_WINDOW_WORDS if out[M_PACKED] else 0)
    out[M_SWITCH] = _CHANGED_WORDS + pooling + (tables if taps > 1 else 0)


@njit(cache=True)
def unit_latency(engine: IntArray) -> int:
    """Returns about how many pipeline stages a dot-product unit has (technology xc7): three, and one per level of counters.

    What the netlist has (`rtl.popcount.popcount_latency`, one more) is a search's result, one cycle off on average.
    """
    if engine[E_DSP]:  # it has one way to hold planes
        return dsp_latency(engine[E_DK] // engine[E_PA_MASK], engine[E_PA_MASK])
    stages, rows = 3, ceil_div(engine[E_DK], 3)
    while rows > 3:
        rows, stages = ceil_div(rows, 3), stages + 1
    return stages


@njit(cache=True)
def tile_latency(layer: IntArray, engine: IntArray, drain: int, unit_cycles: int, extras: IntArray) -> int:
    """Returns the cycles of a tile besides those of its blocks, the fill of a window left out.

    From `go` to the first operand word, and from the last one until the results are in memory: unit, drain, threshold
    search or scaling, residual add, pooling and writer. Raw results on an engine with codes pass these and the writer by.

    Args:
        extras: whether the engine's writer has a row memory, whether the engine adds residuals; more is not looked at.
    """
    levels = max(engine[E_LEVELS], 0 if layer[L_RAW] else (1 << min(layer[L_CODE_BITS], 4)) - 1)
    if layer[L_RESIDUAL] > -2 and engine[E_LEVELS] > 0:
        levels = engine[E_LEVELS]  # what is stored is a sum, wider than a code
    search = 0
    while levels >> search:
        search += 1
    if engine[E_SCALES] and levels > 0:
        search = SCALE_CYCLES
    if layer[L_RAW] and search > 0:
        return FLUSH_CYCLES - 3 + unit_cycles + drain + max(2, search + extras[1] + 1)
    return FLUSH_CYCLES + unit_cycles + drain + search + extras[1] + (POOL_CYCLES if extras[0] else 0)


@njit(cache=True)
def _pools(layer: IntArray) -> int:
    return (layer[L_POOL_K] > 1 and not layer[L_RAW]) or layer[L_SUM_BITS] > 0


@njit(cache=True)
def _extras(layer: IntArray) -> IntArray:
    """Returns what a layer makes an engine have: a row memory, an adder of residuals, sums of pooling."""
    return np.array([_pools(layer), layer[L_RESIDUAL] > -2, layer[L_SUM_BITS] > 0], dtype=np.int64)


@njit(cache=True)
def _residual_reads(layers: IntArray, engines: IntArray, assignment: IntArray, out: IntArray, i: int) -> int:
    """Returns the reads of a block's residual: a word for each plane group of it as the layer that takes it as its input has it.

    Two for each where lanes hold columns askew, `stored_tensors.residual_reads`.
    """
    source, engine = layers[i, L_RESIDUAL], assignment[i]
    if source == -2:
        return 0
    bits, pa, padding = layers[i, L_OUT_BITS], out[i, M_PA], 0
    if source >= 0:
        bits = layers[source, L_OUT_BITS]
        for reader in range(source + 1, len(layers)):
            if layers[reader, L_INPUT] == source and assignment[reader] == engine and out[reader, M_PA]:
                pa, padding = out[reader, M_PA], max(padding, layers[reader, L_PAD_L])
    askew = not engines[engine, E_BATCH] and padding % engines[engine, E_DN]
    return ceil_div(bits, pa) * (2 if askew else 1)


@njit(cache=True)
def map_layers(layers: IntArray, engines: IntArray, assignment: IntArray, batch: int) -> IntArray:
    """Returns the mapping rows of all layers on their engines, int64 (layers, MAPPING_FIELDS)."""
    out = np.zeros((len(layers), MAPPING_FIELDS), dtype=np.int64)
    for i in range(len(layers)):
        _choose_words(layers[i], engines[assignment[i]], out[i])
    set_times(layers, engines, assignment, batch, out)
    return out


@njit(cache=True)
def set_times(layers: IntArray, engines: IntArray, assignment: IntArray, batch: int, out: IntArray) -> None:
    """Completes mappings of which planes per word, packing and T are given."""
    n = len(layers)
    reader_pa, extras = np.full(n, _NO_READER, dtype=np.int64), np.zeros((len(engines), 3), dtype=np.int64)
    for i in range(n):
        extras[assignment[i]] |= _extras(layers[i])
        if layers[i, L_INPUT] >= 0:
            reader_pa[layers[i, L_INPUT]] = min(reader_pa[layers[i, L_INPUT]], out[i, M_PA])
    for i in range(n):
        source = layers[i, L_RESIDUAL]
        if (
            source >= 0 and reader_pa[source] == _NO_READER
        ):  # only added, so in words like those of who adds it
            reader_pa[source] = out[i, M_PA]
    for e in range(len(engines)):
        if engines[e, E_SUM]:
            extras[e, 0], extras[e, 2] = 1, 1
    for i in range(n):
        if out[i, M_PA]:
            e, pa = assignment[i], 0 if layers[i, L_IS_RESULT] else reader_pa[i]
            reads = _residual_reads(layers, engines, assignment, out, i)
            _set_times(layers[i], engines[e], batch, pa, extras[e], reads, out[i])
            _set_program(layers[i], engines[e], extras[e], out[i])


@njit(cache=True)
def first_reads(layers: IntArray) -> IntArray:
    """Returns the layers whose results each layer is the first to read, int64 (layers, 2), -1 for none."""
    out, is_read = np.full((len(layers), 2), -1, dtype=np.int64), np.zeros(len(layers), dtype=np.bool_)
    for i in range(len(layers)):
        for k, source in enumerate((layers[i, L_INPUT], layers[i, L_RESIDUAL])):
            if source >= 0 and not is_read[source]:
                out[i, k], is_read[source] = source, True
    return out


@njit(cache=True)
def map_run(
    layers: IntArray, first: int, end: int, engine: IntArray, batch: int, out: IntArray, saving: IntArray
) -> None:
    """Writes mappings of layers first..end-1 on one engine that are no slower than in any design with them on it.

    Args:
        engine: with one threshold or more; it may have fewer than it will.
        out: int64 (end - first, MAPPING_FIELDS): the results of each layer are read on this engine, if anywhere; without what
            programs take.
        saving: int64 (end - first, 2), or without rows: the cycles of one block over one row, and of a tile's latency, that a
            layer takes less if another engine is the first to read it.
    """
    reads = np.full(end - first, _NO_READER, dtype=np.int64)
    for i in range(first, end):
        _choose_words(layers[i], engine, out[i - first])
        for source in (layers[i, L_INPUT], layers[i, L_RESIDUAL]):
            if source >= first and reads[source - first] == _NO_READER and out[i - first, M_PA]:
                reads[source - first] = out[i - first, M_PA]
    for i in range(first, end):
        row = out[i - first]
        if row[M_PA] == 0:
            continue
        own = engine
        if layers[i, L_RAW] and engine[E_SCALES]:  # raw results may have an engine that makes no codes
            own = engine.copy()
            own[E_SCALES] = 0
        extras, pa, added = _extras(layers[i]), reads[i - first] % _NO_READER, 0
        if layers[i, L_RESIDUAL] > -2:
            source = layers[i, L_RESIDUAL]
            widest = 1
            while engine[E_PA_MASK] >= 2 * widest:
                widest *= 2
            added = ceil_div(layers[source if source >= 0 else i, L_OUT_BITS], widest)
        if len(saving) > 0:
            saving[i - first] = 0
            if 0 < pa < layers[i, L_OUT_BITS] and not layers[i, L_RAW]:
                _set_times(layers[i], own, batch, 0, extras, added, row)
                saving[i - first, 0], saving[i - first, 1] = row[M_ROW_CYCLES], row[M_LATENCY]
        _set_times(layers[i], own, batch, pa, extras, added, row)
        if len(saving) > 0 and saving[i - first, 1] > 0:
            saving[i - first, 0] = row[M_ROW_CYCLES] - saving[i - first, 0]
            saving[i - first, 1] = row[M_LATENCY] - saving[i - first, 1]
