"""LUTs and time of an engine by its shape, quickly (njit): what the estimates of allocation rest on.

LUTs are those of `accel.cost`, whose terms are products of the extents: a few probes at 0 and `_PROBE` give all coefficients.
Times multiply per layer, as `accel.mapping` does for a whole engine: blocks of channels (by `dm`) x rows x groups of lanes (by
`dn`) x cycles of a block (by `dk` and the planes per word). They are cycles per frame; only stalls of a window are in them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    C_DK,
    C_DM,
    C_DN,
    C_DRAIN,
    C_DSP,
    C_THRESHOLD_WORDS,
    COST_FIELDS,
    sum_of_terms,
)
from foldwright.accel.mapping import (
    M_DRAIN,
    M_LATENCY,
    M_PA,
    M_PACKED,
    M_T,
    M_WEIGHT_WORDS_PER_BLOCK,
    MAPPING_FIELDS,
    ceil_div,
    map_run,
)
from foldwright.accel.tables import (
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_PA_MASK,
    ENGINE_FIELDS,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_KH,
    L_KW,
    L_OUT_C,
    L_OUT_H,
    L_OUT_W,
    L_PARTS,
    L_RESIDUAL,
    L_SW,
    L_W_BITS,
)
from foldwright.accel.window_time import (
    row_stall,
    window_interval,
)
from foldwright.envs.allocation.space import (
    DRAINS,
    WIDTHS,
    derive,
)
from foldwright.kernels import (
    njit,
)

__all__ = [
    "STEPS",
    "LutModel",
    "base_luts",
    "bit_macs",
    "block_cycles",
    "busy_time",
    "lane_groups",
    "lut_model",
    "lut_offset",
    "lut_slope",
    "pick_drain",
    "rows_of",
    "window_stall",
]

IntArray = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_PROBE, _PROBE_BITS = 64, 7
"""The extent at which LUTs are probed, a power of two, and its bits: one less has one bit less to count."""
_DRAIN_SLACK = 1.03
"""The fewest drain lanes are taken that slow an engine down by less than this factor."""
STEPS = 9
"""Entries of a layer's row of cycles, see `block_cycles`."""


class LutModel(NamedTuple):
    """LUTs of an engine but for what depends on `dm` alone, of one mode of words and one kind of lanes.

    dm (dn (dk_dn_dm dk + bits_dn_dm bits(dk) + dn_dm) + drain_dm drain + dk_dm dk) + dn (dk_dn dk + dn_one) + dk_one dk
    + drain_dk drain dk + window.
    """

    dk_dn_dm: float
    dn_dm: float
    drain_dm: float
    dk_dm: float
    dk_dn: float
    dn_one: float
    dk_one: float
    bits_dn_dm: float
    drain_dk: float
    window: float


@njit(cache=True)
def bit_macs(layer: IntArray) -> int:
    """Returns the products of one bit by one bit that a layer takes for a frame."""
    per_pixel = layer[L_KH] * layer[L_KW] * (layer[L_IN_C] // layer[L_GROUPS]) * layer[L_OUT_C]
    return per_pixel * layer[L_OUT_H] * layer[L_OUT_W] * layer[L_W_BITS] * layer[L_A_BITS]


@njit(cache=True)
def _probe(row: IntArray, lut_terms: IntArray, dm: int, dk: int, dn: int, drain: int) -> float:
    row[C_DM], row[C_DK], row[C_DN], row[C_DRAIN] = dm, dk, dn, drain
    return float(sum_of_terms(row, lut_terms))


@njit(cache=True)
def lut_model(cost_row: IntArray, lut_terms: IntArray) -> LutModel:
    """Returns the coefficients for a cost row's planes, lanes, window, accumulators and levels."""
    p, row = float(_PROBE), cost_row.copy()
    row[C_THRESHOLD_WORDS] = 0
    none = _probe(row, lut_terms, 0, 0, 0, 0)
    dk_one = (_probe(row, lut_terms, 0, _PROBE, 0, 0) - none) / p
    dn_one = (_probe(row, lut_terms, 0, 0, _PROBE, 0) - none) / p
    dk_dn = (_probe(row, lut_terms, 0, _PROBE, _PROBE, 0) - none - p * (dk_one + dn_one)) / p**2
    base = _probe(row, lut_terms, _PROBE, 0, 0, 0)
    dk_dm = (_probe(row, lut_terms, _PROBE, _PROBE, 0, 0) - base - p * dk_one) / p**2
    dn_dm = (_probe(row, lut_terms, _PROBE, 0, _PROBE, 0) - base - p * dn_one) / p**2
    drain_dm = (_probe(row, lut_terms, _PROBE, 0, 0, _PROBE) - base) / p**2
    whole = _probe(row, lut_terms, _PROBE, _PROBE, _PROBE, 0)
    step = whole - _probe(
        row, lut_terms, _PROBE, _PROBE - 1, _PROBE, 0
    )  # of one dk, which takes one bit more to count
    rise = whole - _probe(row, lut_terms, _PROBE, 0, _PROBE, 0)  # of all dk
    if row[C_DSP]:
        step = rise / p  # of units in slices no term has the bits of dk; cascades make single steps uneven
    bits = (p * step - rise) / (p - _PROBE_BITS)
    dk_dn_dm = ((rise - _PROBE_BITS * bits) / p - dk_one - p * (dk_dn + dk_dm)) / p**2
    drain_one = _probe(row, lut_terms, 0, 0, 0, _PROBE) - none
    drain_dk = (_probe(row, lut_terms, 0, _PROBE, 0, _PROBE) - none - p * dk_one - drain_one) / p**2
    window = _probe(row, lut_terms, 0, 0, 1, 0) - none - dn_one
    return LutModel(dk_dn_dm, dn_dm, drain_dm, dk_dm, dk_dn, dn_one, dk_one, bits / p**2, drain_dk, window)


@njit(cache=True)
def lut_slope(model: LutModel, dk: float, dn: float, drain: float) -> float:
    """Returns the LUTs that one more of `dm` takes, thresholds left out."""
    units = model.dk_dn_dm * dk + model.bits_dn_dm * (np.floor(np.log2(dk)) + 1.0) + model.dn_dm
    return dn * units + model.drain_dm * drain + model.dk_dm * dk


@njit(cache=True)
def lut_offset(model: LutModel, dk: float, dn: float, drain: float) -> float:
    own = model.dk_one * dk + model.drain_dk * drain * dk + model.window
    return dn * (model.dk_dn * dk + model.dn_one) + own


@njit(cache=True)
def base_luts(layers: IntArray, cost_row: IntArray, lut_terms: IntArray, dm: int) -> float:
    """Returns the LUTs that depend on `dm` alone: control and thresholds."""
    row, words = cost_row.copy(), 0
    for i in range(len(layers)):
        words += layers[i, L_PARTS] * ceil_div(layers[i, L_OUT_C] // layers[i, L_PARTS], dm)
    row[C_THRESHOLD_WORDS] = words
    return _probe(row, lut_terms, dm, 0, 0, 0)


@njit(cache=True)
def rows_of(layers: IntArray) -> tuple[IntArray, IntArray]:
    """Returns the engine row and the cost row of an engine for some layers, its shape left out."""
    row, cost_row = np.zeros(ENGINE_FIELDS, dtype=np.int64), np.zeros(COST_FIELDS, dtype=np.int64)
    row[E_DM], row[E_DK], row[E_DN], row[E_DRAIN], row[E_PA_MASK] = 1, WIDTHS[0], 1, 1, 1
    derive(layers, np.zeros(len(layers), dtype=np.int64), 0, row, cost_row)
    return row, cost_row


@njit(cache=True)
def lane_groups(layers: IntArray, dn: int, is_batch: int, batch: int, out: Doubles) -> None:
    """Writes the rows times groups of lanes that each layer takes, per frame."""
    for i in range(len(layers)):
        groups = float(ceil_div(layers[i, L_OUT_W], dn))
        if is_batch:
            groups = layers[i, L_OUT_W] * ceil_div(batch, dn) / batch
        out[i] = layers[i, L_OUT_H] * groups


@njit(cache=True)
def block_cycles(layers: IntArray, first: int, end: int, row: IntArray, batch: int, steps: IntArray) -> bool:
    """Writes per layer: cycles of a block, words that a lane writes, cycles of a tile besides its blocks with one lane to drain,
    planes, weight words of a block; where the taps are packed the kernel's height and width, the stride, columns.

    Returns whether the engine can run all of them.
    """
    n = end - first
    mappings = np.empty((n, MAPPING_FIELDS), dtype=np.int64)
    map_run(layers, first, end, row, batch, mappings, np.empty((0, 2), dtype=np.int64))
    for i in range(n):
        mapping = mappings[i]
        if mapping[M_PA] == 0:
            return False
        reads = mapping[M_DRAIN] if layers[first + i, L_RESIDUAL] > -2 else 0
        steps[i, 0], steps[i, 1], steps[i, 2] = mapping[M_T] + reads, mapping[M_DRAIN], mapping[M_LATENCY]
        steps[i, 3], steps[i, 4] = mapping[M_PA], mapping[M_WEIGHT_WORDS_PER_BLOCK]
        steps[i, 5:] = 0
        if mapping[M_PACKED]:
            layer = layers[first + i]
            steps[i, 5], steps[i, 6] = layer[L_KH], layer[L_KW]
            steps[i, 7], steps[i, 8] = layer[L_SW], layer[L_OUT_W]
    return True


@njit(cache=True)
def window_stall(step: IntArray, groups: float, cycles: int, dn: int, is_batch: int) -> float:
    """Returns the cycles of a layer that packs taps, for each block of channels: blocks of so many cycles, and their waits.

    Args:
        groups: rows times groups of lanes, see `lane_groups`.
    """
    kernel, lanes = (step[5], step[6]), 1 if is_batch else dn
    columns = step[8] if is_batch else ceil_div(step[8], dn)
    stall = row_stall(kernel, step[7], lanes, cycles) / columns
    return groups * (window_interval(kernel, step[7], lanes, cycles) + stall)


@njit(cache=True)
def busy_time(steps: IntArray, groups: Doubles, blocks: Doubles, dn: int, drain: int) -> float:
    """Returns the cycles of all layers, by what a block of each takes; windows left out."""
    total = 0.0
    for i in range(len(steps)):
        total += blocks[i] * groups[i] * max(steps[i, 0], ceil_div(dn, drain) * steps[i, 1])
    return total


@njit(cache=True)
def pick_drain(steps: IntArray, groups: Doubles, blocks: Doubles, dn: int) -> int:
    """Returns the position of the fewest drain lanes that hardly slow the layers down."""
    best = _DRAIN_SLACK * busy_time(steps, groups, blocks, dn, dn)
    at = 0
    while (
        at + 1 < len(DRAINS)
        and DRAINS[at + 1] <= dn
        and busy_time(steps, groups, blocks, dn, DRAINS[at]) > best
    ):
        at += 1
    return at
