"""What a design's engines take, one run of layers after another: what those decided leave to the next (njit)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    COST_FIELDS,
    sum_of_terms,
)
from foldwright.accel.mapping import (
    M_CYCLES,
    M_LATENCY,
    M_PA,
    MAPPING_FIELDS,
    map_run,
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
    L_GROUPS,
    L_IN_C,
    L_INPUT,
    L_KH,
    L_KW,
    L_OUT_BITS,
    L_OUT_C,
    L_STORED_H,
    L_STORED_W,
    L_W_BITS,
)
from foldwright.envs.allocation.engine_estimate import (
    rows_of,
)
from foldwright.envs.allocation.memory_bound import (
    LAYER_WORDS,
    W_LINE,
    extend_run,
    layer_words,
    least_block_rams,
)
from foldwright.envs.allocation.score import (
    N_DSP,
    N_LUT,
    N_MAX_ENGINES,
    N_POOL,
)
from foldwright.envs.allocation.space import (
    A_DK,
    A_DM,
    A_DN,
    A_DRAIN,
    A_LANES,
    A_PLANES,
    A_WINDOW,
    BATCHES,
    COUNTS,
    DRAINS,
    ON_DSP,
    PER_ENGINE,
    PLANES,
    WIDTHS,
    derive,
    first_decision,
    window_bits_of,
)
from foldwright.kernels import (
    njit,
)

__all__ = [
    "BLOCK_BITS",
    "BLOCK_PORT_BITS",
    "Instance",
    "Run",
    "blocks_ahead",
    "engine_takes",
    "resident_blocks",
    "run_of",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

BLOCK_BITS, BLOCK_PORT_BITS = 36864, 72
"""Of a block RAM; estimates take no notice of its geometries, nor of those of other families."""


class Instance(NamedTuple):
    """The tables of an instance, with the curves of its runs and chains."""

    layers: IntArray
    geometries: IntArray
    lut_terms: IntArray
    ff_terms: IntArray
    limits: IntArray
    curves: FloatArray
    chains: FloatArray


class Run(NamedTuple):
    """What an engine is made for: its layers, first..end-1, the frames per round, and what others leave to it.

    `lut_left` is also for the engines after it; `before` is the time of the slowest one that is decided. `dsp_left`: DSP slices
    of an engine of kind dsp, none where there is one already.
    """

    first: int
    end: int
    batch: int
    lut_left: float
    pool_left: float
    before: float
    dsp_left: int


@njit(cache=True)
def _engine_row(layers: IntArray, first: int, end: int, own: IntArray) -> IntArray:
    """Returns the row of an engine that runs layers first..end-1, by its seven choices."""
    row, _ = rows_of(layers[first:end])
    row[E_DM], row[E_DK], row[E_DN] = COUNTS[own[A_DM]], WIDTHS[own[A_DK]], COUNTS[own[A_DN]]
    row[E_DRAIN], row[E_PA_MASK], row[E_BATCH] = DRAINS[own[A_DRAIN]], PLANES[own[A_PLANES]], own[A_LANES]
    row[E_DSP] = ON_DSP[own[A_PLANES]]
    row[E_WINDOW] = window_bits_of(layers) if own[A_WINDOW] else 0
    return row


@njit(cache=True)
def resident_blocks(
    layers: IntArray, geometries: IntArray, first: int, end: int, batch: int, own: IntArray
) -> int:
    """Returns the fewest block RAMs of an engine with all weights and tensors on chip; 0 if it cannot run its layers."""
    row, n = _engine_row(layers, first, end, own), end
    words = np.zeros((n, LAYER_WORDS), dtype=np.int64)
    mappings, saving = (
        np.zeros((end - first, MAPPING_FIELDS), dtype=np.int64),
        np.zeros((end - first, 2), dtype=np.int64),
    )
    kept, live = np.ones(n, dtype=np.bool_), np.zeros((n, 2), dtype=np.int64)
    run = np.zeros(4, dtype=np.int64)
    map_run(layers, first, end, row, batch, mappings, saving)
    for i in range(first, end):
        if mappings[i - first, M_PA] == 0:
            return 0
        layer_words(layers[i], row, mappings[i - first], batch, words[i])
        kept[i] = layers[i, L_INPUT] >= 0
        extend_run(layers, words, kept, first, i, live, run)
    return least_block_rams(layers[first], row, mappings[0], run, words[first, W_LINE], 0, geometries)


@njit(cache=True)
def blocks_ahead(layers: IntArray, first: int, batch: int) -> float:
    """Returns about how many block RAMs hold the weights and maps of the layers from `first` on, whatever engines run them."""
    weights, maps = 0.0, 0.0
    for i in range(first, len(layers)):
        taps = layers[i, L_KH] * layers[i, L_KW] * (layers[i, L_IN_C] // layers[i, L_GROUPS])
        weights += taps * layers[i, L_OUT_C] * layers[i, L_W_BITS]
        maps = max(
            maps,
            float(layers[i, L_STORED_H] * layers[i, L_OUT_C] * layers[i, L_STORED_W] * layers[i, L_OUT_BITS]),
        )
    return (weights + 2.0 * batch * maps) / BLOCK_BITS


@njit(cache=True)
def engine_takes(
    layers: IntArray, lut_terms: IntArray, first: int, end: int, batch: int, own: IntArray
) -> tuple[float, float]:
    """Returns the cycles per frame and the LUTs of an engine by its seven choices."""
    row, cost_row = _engine_row(layers, first, end, own), np.zeros(COST_FIELDS, dtype=np.int64)
    derive(layers[first:end], np.zeros(end - first, dtype=np.int64), 0, row, cost_row)
    n = end - first
    mappings = np.empty((n, MAPPING_FIELDS), dtype=np.int64)
    map_run(layers, first, end, row, batch, mappings, np.empty((0, 2), dtype=np.int64))
    cycles = (mappings[:, M_CYCLES] + mappings[:, M_LATENCY]).sum()
    return cycles / batch, float(sum_of_terms(cost_row, lut_terms))


@njit(cache=True)
def run_of(it: Instance, edges: IntArray, choices: IntArray, engine: int) -> Run:
    """Returns what the engines before one, all decided, leave to it."""
    most = it.limits[N_MAX_ENGINES]
    batch, lut, pool, before = BATCHES[choices[most]], float(it.limits[N_LUT]), float(it.limits[N_POOL]), 0.0
    slices = it.limits[N_DSP]
    for e in range(engine):
        at = first_decision(most, e)
        own = choices[at : at + PER_ENGINE]
        time, taken = engine_takes(it.layers, it.lut_terms, edges[e], edges[e + 1], batch, own)
        lut, before = lut - taken, max(before, time)
        slices = 0 if ON_DSP[own[A_PLANES]] else slices
        pool -= resident_blocks(it.layers, it.geometries, edges[e], edges[e + 1], batch, own)
    pool -= blocks_ahead(it.layers, edges[engine + 1], batch)
    return Run(edges[engine], edges[engine + 1], batch, lut, pool, before, slices)
