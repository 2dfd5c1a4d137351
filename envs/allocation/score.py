"""What a design costs and how fast it is: the one kernel that scores allocations (njit).

The logic is counted by `accel.cost`, the memories by `accel.memory` and the cycles by `accel.simulate`, under a schedule
found by a fixed rule (`foldwright.envs.tiling.start`). The tiling problem can only improve on it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import C_DSP, multiplier_slices, sum_of_terms, value_slices
from foldwright.accel.evaluate import (
    ALL_PLACES,
    DECISIONS,
    bram36_of_choices,
    compute_bound,
    cycles_of_choices,
)
from foldwright.accel.mapping import M_PA, ceil_div, map_layers
from foldwright.accel.memory import memory_widths, reserve
from foldwright.envs.allocation.space import build, is_legal
from foldwright.envs.tiling.start import QUICK_TILES, quick_choices, quick_tiles, resident_choices
from foldwright.kernels import njit

__all__ = [
    "MILLI",
    "busiest_cycles",
    "cost_of_choices",
    "fits_choices",
    "is_resident",
    "logic_fits",
    "score",
    "slices_of",
]

IntArray = npt.NDArray[np.int64]

MILLI = 1000
NOT_FEASIBLE = -1
NO_SLICES = 1 << 40
# Entries of `limits`. N_HAS_DSP: whether an engine may be of kind dsp, as the technology of the RTL has it.
N_DRAM_BITS, N_POOL, N_LUT, N_FF, N_MAX_ENGINES, N_DSP, N_OPERAND_BITS, N_HAS_DSP = range(8)


@njit(cache=True)
def slices_of(row: IntArray, limits: IntArray) -> int:
    """Returns the DSP slices of an engine by its cost row; more than any part has where its kind is not to be had."""
    if row[C_DSP] and not limits[N_HAS_DSP]:
        return NO_SLICES
    return multiplier_slices(row, limits[N_OPERAND_BITS]) + value_slices(row)


@njit(cache=True)
def logic_fits(rows: IntArray, lut_terms: IntArray, ff_terms: IntArray, limits: IntArray) -> bool:
    """Whether LUTs, flip-flops and DSP slices of all engines fit; the limits have the fixed share taken off."""
    lut, ff, dsp = 0, 0, 0
    for e in range(len(rows)):
        lut += sum_of_terms(rows[e], lut_terms)
        ff += sum_of_terms(rows[e], ff_terms)
        dsp += slices_of(rows[e], limits)
    return lut <= limits[N_LUT] and ff <= limits[N_FF] and dsp <= limits[N_DSP]


@njit(cache=True)
def score(
    layers: IntArray, engines: IntArray, rows: IntArray, assignment: IntArray, batch: int, geometries: IntArray,
    lut_terms: IntArray, ff_terms: IntArray, limits: IntArray,
) -> int:  # fmt: skip
    """Returns thousandths of a cycle per frame, rounded up, or `NOT_FEASIBLE`."""
    if not logic_fits(rows, lut_terms, ff_terms, limits):
        return NOT_FEASIBLE
    mappings = map_layers(layers, engines, assignment, batch)
    if mappings[:, M_PA].min() == 0:
        return NOT_FEASIBLE
    widths = memory_widths(layers, engines, mappings, assignment)
    tiles = quick_tiles(mappings)
    pool = limits[N_POOL] - reserve(layers, engines, assignment, batch, geometries)
    if pool < 0:
        return NOT_FEASIBLE
    numbers = np.array([batch, limits[N_DRAM_BITS], pool, ALL_PLACES], dtype=np.int64)
    choices = quick_choices(layers, engines, mappings, assignment, widths, geometries, tiles, numbers)
    cycles = cycles_of_choices(
        layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices
    )
    return ceil_div(MILLI * cycles, batch) if cycles > 0 else NOT_FEASIBLE


@njit(cache=True)
def cost_of_choices(
    layers: IntArray,
    geometries: IntArray,
    lut_terms: IntArray,
    ff_terms: IntArray,
    limits: IntArray,
    choices: IntArray,
) -> int:
    """Returns thousandths of a cycle per frame of complete choices, or `NOT_FEASIBLE`."""
    if not is_legal(layers, limits[N_MAX_ENGINES], choices):
        return NOT_FEASIBLE
    engines, rows, assignment, batch = build(layers, limits[N_MAX_ENGINES], choices)
    return score(layers, engines, rows, assignment, batch, geometries, lut_terms, ff_terms, limits)


@njit(cache=True)
def is_resident(
    layers: IntArray,
    geometries: IntArray,
    lut_terms: IntArray,
    ff_terms: IntArray,
    limits: IntArray,
    choices: IntArray,
) -> bool:
    """Whether complete, legal choices have room for every tensor and all weights on chip."""
    engines, rows, assignment, batch = build(layers, limits[N_MAX_ENGINES], choices)
    if not logic_fits(rows, lut_terms, ff_terms, limits):
        return False
    mappings = map_layers(layers, engines, assignment, batch)
    if mappings[:, M_PA].min() == 0:
        return False
    widths = memory_widths(layers, engines, mappings, assignment)
    pool = limits[N_POOL] - reserve(layers, engines, assignment, batch, geometries)
    numbers = np.array([batch, limits[N_DRAM_BITS], pool, ALL_PLACES], dtype=np.int64)
    all_here = resident_choices(layers)
    tiles = quick_tiles(mappings)
    used = bram36_of_choices(
        layers, engines, mappings, assignment, widths, geometries, tiles, numbers, all_here
    )
    return used <= pool


@njit(cache=True)
def busiest_cycles(
    layers: IntArray,
    geometries: IntArray,
    lut_terms: IntArray,
    ff_terms: IntArray,
    limits: IntArray,
    choices: IntArray,
) -> float:
    """Returns the least cycles per frame of the busiest engine of legal choices, infinite where logic does not fit or run."""
    engines, rows, assignment, batch = build(layers, limits[N_MAX_ENGINES], choices)
    mappings = map_layers(layers, engines, assignment, batch)
    if not logic_fits(rows, lut_terms, ff_terms, limits) or mappings[:, M_PA].min() == 0:
        return np.inf
    return float(compute_bound(mappings, engines, assignment) / batch)


@njit(cache=True)
def fits_choices(
    layers: IntArray,
    geometries: IntArray,
    lut_terms: IntArray,
    ff_terms: IntArray,
    limits: IntArray,
    choices: IntArray,
) -> bool:
    """Whether complete choices are legal and fit with the smallest tiles, everything streamed."""
    if not is_legal(layers, limits[N_MAX_ENGINES], choices):
        return False
    engines, rows, assignment, batch = build(layers, limits[N_MAX_ENGINES], choices)
    if not logic_fits(rows, lut_terms, ff_terms, limits):
        return False
    mappings = map_layers(layers, engines, assignment, batch)
    if mappings[:, M_PA].min() == 0:
        return False
    widths = memory_widths(layers, engines, mappings, assignment)
    tiles = quick_tiles(mappings)
    pool = limits[N_POOL] - reserve(layers, engines, assignment, batch, geometries)
    numbers = np.array([batch, limits[N_DRAM_BITS], pool, ALL_PLACES], dtype=np.int64)
    smallest = np.zeros(DECISIONS * len(layers), dtype=np.int64)
    smallest[2::DECISIONS] = QUICK_TILES - 1
    used = bram36_of_choices(
        layers, engines, mappings, assignment, widths, geometries, tiles, numbers, smallest
    )
    return used <= pool
