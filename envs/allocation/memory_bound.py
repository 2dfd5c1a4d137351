"""The fewest block RAMs that an engine needs on a run of layers under any schedule, and the fewest DRAM bits (njit).

A design of cost `high` or less runs a round in at most `high * frames / 1000` cycles, and the DRAM port reads at most its
width in each of them. What is left of these bits beside the image is the *spare*. From it follows:

- Weights of a layer are pinned, or loaded at least once a round. So the weight memory holds all words of the run but those
  that the spare can load, and always one block of a layer.
- A tensor whose load exceeds the spare is on chip. It lies in the map memory of its reader's engine
  while it is written and read: with the reader's own output, if that is on chip too; twice, and always, if another engine
  writes it. Where all layers from its maker to its reader may be fused, only the rows of one kernel.
- Any other input takes at least the rows that an output row reads, in the map memory or the window's line memory.

Every engine may use all of the spare here. Residual operands, stage buffers, stores and fragmentation are left out. Each of
these figures is one that `foldwright.accel.memory` can only exceed, so their block RAMs are a lower bound.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import ENGINE_RESERVE_BRAM36, block_rams_of
from foldwright.accel.datapath import BYTE_BITS
from foldwright.accel.fusion import may_fuse
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_PA,
    M_PACKED,
    M_WEIGHT_WORD_BITS,
    M_WEIGHT_WORDS_PER_BLOCK,
    ceil_div,
    map_words,
)
from foldwright.accel.memory import map_width_bits
from foldwright.accel.tables import (
    E_BATCH,
    E_DK,
    E_DN,
    L_A_BITS,
    L_IN_C,
    L_IN_H,
    L_IN_W,
    L_INPUT,
    L_KH,
    L_OUT_H,
    L_PAD_T,
    L_SH,
)
from foldwright.kernels import njit

__all__ = [
    "LAYER_WORDS",
    "W_LINE",
    "W_PINNED",
    "W_TILE",
    "compulsory_bits",
    "detour_bits",
    "extend_run",
    "layer_words",
    "least_block_rams",
    "spare_bits",
]

IntArray = npt.NDArray[np.int64]

# Entries of a row of words: a layer on an engine.
# W_ROWS: of the input rows that an output row reads.
W_TILE, W_PINNED, W_ROWS, W_TENSOR, W_LINE = range(5)
LAYER_WORDS = 5


@njit(cache=True)
def _load_bits(layer: IntArray, beat_bits: int) -> int:
    """Returns the bits of a layer's input that one frame loads at least, each pixel in whole beats."""
    rows = min(layer[L_IN_H], (layer[L_OUT_H] - 1) * layer[L_SH] - layer[L_PAD_T] + layer[L_KH])
    pixel = ceil_div(layer[L_IN_C] * layer[L_A_BITS], beat_bits) * beat_bits
    return max(0, rows) * layer[L_IN_W] * pixel


@njit(cache=True)
def compulsory_bits(layers: IntArray, beat_bits: int) -> int:
    """Returns the bits that every frame loads at least: its image, whose pixels take whole beats of the port."""
    total = 0
    for i in range(len(layers)):
        if layers[i, L_INPUT] < 0:
            total += _load_bits(layers[i], beat_bits)
    return total


@njit(cache=True)
def detour_bits(layers: IntArray) -> IntArray:
    """Returns the bits a frame that each layer's input loads if it comes from DRAM; 0 for images."""
    out = np.zeros(len(layers), dtype=np.int64)
    for i in range(len(layers)):
        if layers[i, L_INPUT] >= 0:
            out[i] = _load_bits(layers[i], 1)
    return out


@njit(cache=True)
def spare_bits(layers: IntArray, high: int, batch: int, dram_bits: int) -> int:
    """Returns the bits a round that a design of cost `high` or less can load beside those it must."""
    return high * batch // 1000 * dram_bits - batch * compulsory_bits(layers, dram_bits)


@njit(cache=True)
def layer_words(layer: IntArray, engine: IntArray, mapping: IntArray, batch: int, out: IntArray) -> None:
    """Writes the words of a layer on an engine: of a tile's weights, of all, of the input's rows, of the whole input."""
    out[:] = 0
    out[W_TILE] = mapping[M_WEIGHT_WORDS_PER_BLOCK]
    out[W_PINNED] = mapping[M_BLOCKS] * mapping[M_WEIGHT_WORDS_PER_BLOCK]
    rows = _most_rows_read(layer)
    if mapping[M_PACKED]:
        columns = layer[L_IN_W] * ceil_div(batch, engine[E_DN])
        if not engine[E_BATCH]:
            columns = batch * ceil_div(layer[L_IN_W], engine[E_DN])
        out[W_LINE] = rows * columns
    elif mapping[M_PA]:
        total = map_words(layer, batch, mapping[M_PA], engine[E_DK], engine[E_DN], engine[E_BATCH])
        out[W_TENSOR], out[W_ROWS] = total, rows * (total // layer[L_IN_H])


@njit(cache=True)
def _most_rows_read(layer: IntArray) -> int:
    """Returns the most input rows that one output row reads."""
    most = 0
    for row in range(layer[L_OUT_H]):
        low = max(0, row * layer[L_SH] - layer[L_PAD_T])
        most = max(most, min(layer[L_IN_H], row * layer[L_SH] - layer[L_PAD_T] + layer[L_KH]) - low)
    return most


@njit(cache=True)
def extend_run(
    layers: IntArray, words: IntArray, kept: IntArray, i: int, j: int, live: IntArray, run: IntArray
) -> None:
    """Adds layer `j` to a run that begins with layer `i`.

    Args:
        kept: bool (layers,), whether the layer's input must be on chip.
        live: int64 (layers, 2), the words of each layer's input and output on chip while it runs.
        run: int64 (4,), of the run so far: words of all weights, of the largest tile, map words that always live, the
            most that live while a layer runs besides.
    """
    source = layers[j, L_INPUT]
    live[j, 0], live[j, 1] = words[j, W_ROWS], 0
    run[0] += words[j, W_PINNED]
    run[1] = max(run[1], words[j, W_TILE])
    if kept[j] and source < i and j == i:
        live[j, 0] = 0
        run[2] = 2 * words[j, W_TENSOR]
    elif kept[j]:
        fused = source >= i
        for k in range(max(i, source), j):
            fused &= may_fuse(layers, k)
        held = words[j, W_ROWS] if fused else words[j, W_TENSOR]
        live[j, 0] = held
        if source >= i:
            live[source, 1] = max(live[source, 1], held)
            run[3] = max(run[3], live[source, 0] + live[source, 1])
    run[3] = max(run[3], live[j, 0])


@njit(cache=True)
def least_block_rams(
    layer: IntArray, engine: IntArray, mapping: IntArray, run: IntArray, line_words: int, spare: int,
    geometries: IntArray,
) -> int:  # fmt: skip
    """Returns the fewest block RAMs of an engine for a run (see `extend_run`); `layer` is the run's first."""
    weight_bits = mapping[M_WEIGHT_WORD_BITS]
    weight_words = max(run[1], run[0] - max(0, spare) // weight_bits)
    total = ENGINE_RESERVE_BRAM36 + block_rams_of(weight_bits, weight_words, geometries)
    total += block_rams_of(map_width_bits(engine), run[2] + run[3], geometries)
    pixel = ceil_div(layer[L_IN_C] * layer[L_A_BITS], BYTE_BITS) * BYTE_BITS
    return total + block_rams_of(engine[E_DN] * pixel, line_words, geometries)
