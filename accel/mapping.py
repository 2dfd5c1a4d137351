"""How one layer runs on one engine: planes, words, blocks and cycles (njit, integers only).

A *block* is `dm` output channels by `dn` lanes. Its accumulation takes

    T = weight_planes * ceil(act_bits / pa) * taps * ceil((C / groups) / (dk / pa)) + idle    cycles,

one weight word and one aligned column group a cycle; with tap packing the taps move into the words:
`ceil(C * taps / (dk / pa))`. Accumulators shift by one position a cycle; a step from one group of `pa` activation
planes to the next lower one shifts by more than the weight planes pass through, and the difference is idle. Blocks
follow each other every `max(T + residual reads, drain)` cycles, where drain is `ceil(dn / drain_lanes)` lanes times the
words that a lane writes. Between two tiles the pipeline flushes (`tile_latency`). The RTL in `accel/rtl` does the same,
cycle for cycle, and is compared with this file by `foldwright verify`.

A mapping is an int64 row; the constants `M_*` name its entries. `M_PA` is 0 where the engine cannot run the layer.
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
    E_PA_MASK,
    E_WINDOW,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_IN_H,
    L_IN_W,
    L_IS_IMAGE_IN,
    L_KH,
    L_KW,
    L_ONE_PLANE,
    L_OUT_BITS,
    L_OUT_C,
    L_OUT_H,
    L_OUT_W,
    L_PAD_L,
    L_RAW,
    L_RESIDUAL,
    L_SW,
    L_W_BITS,
    L_W_KIND,
    W_BINARY,
    W_ODD,
    W_SIGNED,
    W_TERNARY,
)
from foldwright.kernels import njit

__all__ = [
    "MAPPING_FIELDS",
    "accumulator_bits",
    "ceil_div",
    "map_layer",
    "map_layers",
    "map_words",
    "tile_latency",
    "unit_latency",
    "weight_levels",
    "weight_planes",
]

IntArray = npt.NDArray[np.int64]

# Entries of a mapping row.
(
    M_PA, M_PACKED, M_T, M_INTERVAL, M_DRAIN, M_BLOCKS, M_ROWS, M_GROUPS_PER_ROW, M_CYCLES,
    M_WEIGHT_WORDS_PER_BLOCK, M_WEIGHT_WORD_BITS, M_LATENCY,
) = range(12)  # fmt: skip
MAPPING_FIELDS = 12

FLUSH_CYCLES = 11
"""Of the sequencer, besides unit, thresholds and drain: memory and aligner stages, first state, hand-over."""
PROGRAM_WORDS, WORDS_PER_STEP, WORDS_PER_TAP_COLUMN = 25, 3, 4
"""Instruction words of a tile, read while the tile before it flushes."""


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
def map_layer(layer: IntArray, engine: IntArray, batch: int, out: IntArray) -> None:
    """Writes the fastest mapping of a layer on an engine into `out` (MAPPING_FIELDS,).

    Among equal block times the fewest planes per word win, which need the least weight memory.
    """
    out[:] = 0
    planes = weight_planes(layer[L_W_KIND], layer[L_W_BITS], engine[E_AND])
    if planes == 0:
        return
    groups, taps = layer[L_GROUPS], layer[L_KH] * layer[L_KW]
    channels = layer[L_IN_C] // groups
    window = channels * taps * layer[L_A_BITS]
    may_pack = layer[L_IS_IMAGE_IN] == 1 and groups == 1 and taps > 1 and window <= engine[E_WINDOW]
    lowest = engine[E_PA_MASK] & -engine[E_PA_MASK]
    best, steps = 0, 0
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
                steps = planes * plane_groups
    if best == 0:
        return
    out[M_WEIGHT_WORD_BITS] = engine[E_DM] * engine[E_DK] // lowest
    writes = 1 if layer[L_RAW] else ceil_div(layer[L_OUT_BITS], out[M_PA])
    out[M_DRAIN] = ceil_div(engine[E_DN], engine[E_DRAIN]) * writes
    residual_reads = writes if layer[L_RESIDUAL] > -2 else 0
    out[M_LATENCY] = tile_latency(layer, engine, steps, out[M_DRAIN])
    out[M_INTERVAL] = max(out[M_T] + residual_reads, out[M_DRAIN])
    out[M_BLOCKS] = groups * ceil_div(layer[L_OUT_C] // groups, engine[E_DM])
    out[M_ROWS] = layer[L_OUT_H]
    if engine[E_BATCH]:
        out[M_GROUPS_PER_ROW] = layer[L_OUT_W] * ceil_div(batch, engine[E_DN])
    else:
        out[M_GROUPS_PER_ROW] = batch * ceil_div(layer[L_OUT_W], engine[E_DN])
    out[M_CYCLES] = out[M_BLOCKS] * out[M_ROWS] * out[M_GROUPS_PER_ROW] * out[M_INTERVAL]


@njit(cache=True)
def unit_latency(dk: int) -> int:
    """Returns the pipeline stages of a dot-product unit (technology xc7): three, and one per level of counters."""
    stages, rows = 3, ceil_div(dk, 3)
    while rows > 3:
        rows, stages = ceil_div(rows, 3), stages + 1
    return stages


@njit(cache=True)
def tile_latency(layer: IntArray, engine: IntArray, steps: int, drain: int) -> int:
    """Returns the cycles from a tile's last operand word to the next tile's first one.

    The engine flushes unit, threshold search and drain while the next instruction is read; results are in memory then.
    """
    search, levels = 0, 0 if layer[L_RAW] else layer[L_OUT_BITS]
    while search < levels and search < 4:
        search += 1
    unit = unit_latency(engine[E_DK])
    if engine[E_DSP]:
        unit = dsp_latency(
            engine[E_DK] // engine[E_PA_MASK], engine[E_PA_MASK]
        )  # it has one way to hold planes
    flush = FLUSH_CYCLES + unit + search + drain
    return max(flush, PROGRAM_WORDS + WORDS_PER_STEP * steps + WORDS_PER_TAP_COLUMN * layer[L_KW])


@njit(cache=True)
def map_layers(layers: IntArray, engines: IntArray, assignment: IntArray, batch: int) -> IntArray:
    """Returns the mapping rows of all layers on their engines, int64 (layers, MAPPING_FIELDS)."""
    out = np.zeros((len(layers), MAPPING_FIELDS), dtype=np.int64)
    for i in range(len(layers)):
        map_layer(layers[i], engines[assignment[i]], batch, out[i])
    return out
