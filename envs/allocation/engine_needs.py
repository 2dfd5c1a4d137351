"""What runs of layers ask of an engine, and the LUTs that follow (njit): shared by the enumerations of all engines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import COST_FIELDS, thousandths_of_terms
from foldwright.accel.dsp_shape import array_slices
from foldwright.accel.mapping import accumulator_bits
from foldwright.accel.tables import (
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_DSP,
    E_PA_MASK,
    E_SCALES,
    E_SUM,
    L_OUT_C,
    L_RAW,
    L_SUM_BITS,
    L_W_KIND,
    W_SIGNED,
)
from foldwright.envs.allocation.space import COUNTS, fill_cost_row, levels_of
from foldwright.kernels import njit

__all__ = ["Needs", "count_luts", "least_slices", "needs_of"]

IntArray = npt.NDArray[np.int64]


class Needs(NamedTuple):
    """What layers ask of an engine with one kind of arithmetic, and the thousandths of LUTs that follow, as far as known.

    Attributes:
        of_layer: int64 (layers, 4): places of accumulator bits, levels and bits of sums among the ascending values that occur,
            and whether weights are signed.
        shallow: int64 (accumulators, levels, sums, 2): of the engine in question with threshold memories of no depth, the last
            one whether it stores results; -1 where not known, as all are of the next engine.
        deep: int64 (dm, accumulators, levels, depths): what threshold memories of so many times 64 words, or a little less, take
            more, which is the same for all engines; -1 where not known.
    """

    of_layer: IntArray
    acc_bits: IntArray
    levels: IntArray
    sum_bits: IntArray
    shallow: IntArray
    deep: IntArray


@njit(cache=True)
def needs_of(layers: IntArray, is_and: int) -> Needs:
    """Returns what layers need, nothing known of LUTs."""
    n, most_words = len(layers), layers[:, L_OUT_C].sum()
    values = np.zeros((3, n), dtype=np.int64)
    for i in range(n):
        values[0, i] = accumulator_bits(layers[i], is_and)
        values[1, i] = 0 if layers[i, L_RAW] else levels_of(layers[i])
        values[2, i] = layers[i, L_SUM_BITS]
    acc, levels, sums = np.unique(values[0]), np.unique(values[1]), np.unique(values[2])
    of_layer = np.zeros((n, 4), dtype=np.int64)
    of_layer[:, 0], of_layer[:, 1] = np.searchsorted(acc, values[0]), np.searchsorted(levels, values[1])
    of_layer[:, 2], of_layer[:, 3] = np.searchsorted(sums, values[2]), layers[:, L_W_KIND] == W_SIGNED
    shallow = np.full((len(acc), len(levels), len(sums), 2), -1, dtype=np.int64)
    deep = np.full((COUNTS[-1] + 1, len(acc), len(levels), most_words // 64 + 2), -1, dtype=np.int64)
    return Needs(of_layer, acc, levels, sums, shallow, deep)


@njit(cache=True)
def least_slices(row: IntArray, levels: int) -> int:
    """Returns the fewest DSP slices of an engine that makes codes up to `levels`: one for each channel and lane of a beat that
    scales, and those of the units of kind dsp.
    """
    slices = row[E_DM] * row[E_DRAIN] if row[E_SCALES] and levels > 0 else 0
    if row[E_DSP]:
        slices += array_slices(row[E_DM], row[E_DK] // row[E_PA_MASK], row[E_DN])
    return slices


@njit(cache=True)
def count_luts(
    row: IntArray,
    needs: Needs,
    acc: int,
    levels: int,
    sums: int,
    depth: int,
    stores: int,
    lut_terms: IntArray,
) -> None:
    """Makes an entry of `shallow` and one of `deep` known; `acc`, `levels` and `sums` are places."""
    dm, base = row[E_DM], needs.shallow[acc, levels, sums, stores]
    if base < 0:
        base = _thousandths(row, needs, acc, levels, sums, 0, stores, lut_terms)
        needs.shallow[acc, levels, sums, stores] = base
    if needs.deep[dm, acc, levels, depth] < 0:
        whole = _thousandths(row, needs, acc, levels, sums, max(1, 64 * depth - 63), stores, lut_terms)
        needs.deep[dm, acc, levels, depth] = whole - base


@njit(cache=True)
def _thousandths(
    row: IntArray,
    needs: Needs,
    acc: int,
    levels: int,
    sums: int,
    words: int,
    stores: int,
    lut_terms: IntArray,
) -> int:
    cost_row = np.zeros(COST_FIELDS, dtype=np.int64)
    row[E_SUM] = needs.sum_bits[sums]
    fill_cost_row(row, needs.acc_bits[acc], needs.levels[levels], words, stores, cost_row)
    return thousandths_of_terms(cost_row, lut_terms)
