"""The candidates of every allocation decision, and choices as tables of engines (njit).

Decisions, in order: number of engines; how many layers beyond one each but the last runs; frames per round; then per
engine lanes, words (of what kind its units are and how many planes a word holds), tap-packing window, `dm`, `dk`, `dn`, drain
lanes. Layers stay in their order, so each engine runs a contiguous run of them. One engine at most is of kind `dsp`, and only
where its layers' weights are odd levels: its slices would be shared out otherwise, and what they save is linear in them. The
rest follows: an engine is AND only if a layer's weights need it, accumulators are as wide as the widest layer's, thresholds
as many as the largest result needs. It scales and shifts where its layers do; those of a network all do, or none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    C_ACC,
    C_AND,
    C_BATCH,
    C_DK,
    C_DM,
    C_DN,
    C_DRAIN,
    C_DSP,
    C_LEVELS,
    C_PA_MASK,
    C_SCALES,
    C_STORES,
    C_SUM,
    C_THRESHOLD_WORDS,
    C_WINDOW,
    COST_FIELDS,
)
from foldwright.accel.mapping import accumulator_bits, ceil_div
from foldwright.accel.tables import (
    E_ACC,
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
    ENGINE_FIELDS,
    L_A_BITS,
    L_CODE_BITS,
    L_GROUPS,
    L_IN_C,
    L_IS_IMAGE_IN,
    L_IS_RESULT,
    L_KH,
    L_KW,
    L_OUT_C,
    L_PARTS,
    L_RAW,
    L_SCALES,
    L_SUM_BITS,
    L_W_KIND,
    W_SIGNED,
)
from foldwright.kernels import njit

__all__ = [
    "BATCHES",
    "DRAINS",
    "ON_DSP",
    "PER_ENGINE",
    "PLANES",
    "WIDTHS",
    "build",
    "build_engine",
    "decision_count",
    "derive",
    "fill_assignment",
    "fill_cost_row",
    "first_decision",
    "is_legal",
    "levels_of",
    "planes_suit",
    "window_bits_of",
]

IntArray = npt.NDArray[np.int64]


def _frozen(values: list[int]) -> IntArray:
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


COUNTS = _frozen(list(range(1, 65)))
"""Candidates of `dm` and `dn`."""
_WIDE = (
    136,
    144,
    152,
    160,
    168,
    176,
    180,
    184,
    192,
    200,
    204,
    208,
    216,
    224,
    232,
    240,
    252,
    256,
    270,
    272,
    288,
)
_WIDEST = (300, 320, 324, 352, 360, 384, 396, 416, 432, 448, 480, 512)
WIDTHS = _frozen([*range(8, 129, 4), *_WIDE, *_WIDEST])
"""Candidates of `dk`: every multiple of 4 to 128, then those that suit block-RAM ports or common channel counts."""
DRAINS = _frozen([1, 2, 3, 4, 6, 8, 12, 16])
PLANES = _frozen([1, 2, 3, 4, 6, 7, 2, 4, 8])
"""Planes per word of the candidates of words, as masks of 1, 2, 4, 8: (1,), (2,), (1, 2), (4,), (2, 4), (1, 2, 4); then of
units in DSP slices (2,), (4,), (8,)."""
ON_DSP = _frozen([0, 0, 0, 0, 0, 0, 1, 1, 1])
"""Whether the units of the candidates of words are in DSP slices."""
BATCHES = _frozen([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16])

PER_ENGINE = 7
A_LANES, A_PLANES, A_WINDOW, A_DM, A_DK, A_DN, A_DRAIN = range(PER_ENGINE)
"""The order of an engine's decisions. Lanes, planes and window come first: what an extent takes depends on them, so with
those of the fallback an array that fits in the end might seem too large."""
_MOST_LEVELS = 15
_MOST_SCALED_BITS = 8


@njit(cache=True)
def decision_count(max_engines: int) -> int:
    """Returns the number of decisions."""
    return 1 + max_engines + PER_ENGINE * max_engines


@njit(cache=True)
def window_bits_of(layers: IntArray) -> int:
    """Returns the tap-packing window of the image's first reader; 0 where packing its taps cannot help."""
    for i in range(len(layers)):
        if layers[i, L_IS_IMAGE_IN] and layers[i, L_GROUPS] == 1 and layers[i, L_KH] * layers[i, L_KW] > 1:
            return layers[i, L_IN_C] * layers[i, L_KH] * layers[i, L_KW] * layers[i, L_A_BITS]
    return 0


@njit(cache=True)
def first_decision(max_engines: int, engine: int) -> int:
    """Returns the position of an engine's first decision."""
    return 1 + max_engines + PER_ENGINE * engine


@njit(cache=True)
def is_legal(layers: IntArray, max_engines: int, choices: IntArray) -> bool:
    """Whether choices name one design: cuts ascend, planes divide words, nothing is said of engines that are not there."""
    engines, n = choices[0] + 1, len(layers)
    if engines > n:
        return False
    last, on_dsp = 0, 0
    for k in range(max_engines - 1):
        if k < engines - 1:
            last += choices[1 + k] + 1
            if last > n - (engines - 1 - k):
                return False
        elif choices[1 + k] != 0:
            return False
    batch = BATCHES[choices[max_engines]]
    most_act = layers[:, L_A_BITS].max()
    for e in range(max_engines):
        at = first_decision(max_engines, e)
        if e >= engines:
            for d in range(PER_ENGINE):
                if choices[at + d] != 0:
                    return False
            continue
        mask, dk = PLANES[choices[at + A_PLANES]], WIDTHS[choices[at + A_DK]]
        if not planes_suit(mask, dk, most_act):
            return False
        if DRAINS[choices[at + A_DRAIN]] > COUNTS[choices[at + A_DN]]:
            return False
        if choices[at + A_WINDOW] and (e > 0 or window_bits_of(layers) == 0):
            return False
        if choices[at + A_LANES] and batch == 1:
            return False
        if ON_DSP[choices[at + A_PLANES]]:
            on_dsp += 1
            if on_dsp > 1:
                return False
    return True


@njit(cache=True)
def build(layers: IntArray, max_engines: int, choices: IntArray) -> tuple[IntArray, IntArray, IntArray, int]:
    """Returns (engine table, cost rows, assignment, frames per round) of legal choices."""
    count = choices[0] + 1
    assignment = np.empty(len(layers), dtype=np.int64)
    fill_assignment(choices, assignment)
    engines = np.zeros((count, ENGINE_FIELDS), dtype=np.int64)
    rows = np.zeros((count, COST_FIELDS), dtype=np.int64)
    for e in range(count):
        build_engine(layers, max_engines, choices, assignment, e, engines[e], rows[e])
    return engines, rows, assignment, BATCHES[choices[max_engines]]


@njit(cache=True)
def fill_assignment(choices: IntArray, assignment: IntArray) -> None:
    """Writes the engine of every layer of legal choices."""
    assignment[:] = 0
    cut = 0
    for k in range(choices[0]):
        cut += choices[1 + k] + 1
        assignment[cut:] = k + 1


@njit(cache=True)
def build_engine(
    layers: IntArray, max_engines: int, choices: IntArray, assignment: IntArray, e: int, row: IntArray, cost_row: IntArray
) -> None:  # fmt: skip
    """Writes an engine's row and its cost row, both all zeros before."""
    at = first_decision(max_engines, e)
    row[E_DM], row[E_DK] = COUNTS[choices[at + A_DM]], WIDTHS[choices[at + A_DK]]
    row[E_DN], row[E_DRAIN] = COUNTS[choices[at + A_DN]], DRAINS[choices[at + A_DRAIN]]
    row[E_PA_MASK], row[E_DSP] = PLANES[choices[at + A_PLANES]], ON_DSP[choices[at + A_PLANES]]
    row[E_BATCH] = choices[at + A_LANES]
    row[E_WINDOW] = window_bits_of(layers) if choices[at + A_WINDOW] else 0
    derive(layers, assignment, e, row, cost_row)


@njit(cache=True)
def planes_suit(mask: int, dk: int, most_act: int) -> bool:
    """Whether words of `dk` bits split evenly into every number of planes of a mask, none of them more than useful."""
    for log_pa in range(4):
        if mask >> log_pa & 1 and (dk % (1 << log_pa) or (1 << log_pa) >= 2 * most_act):
            return False
    return True


@njit(cache=True)
def derive(layers: IntArray, assignment: IntArray, e: int, row: IntArray, cost_row: IntArray) -> None:
    """Sets an engine's arithmetic, result path, accumulators and sums by its layers and writes its cost row."""
    acc, levels, words, stores, sums = 4, 0, 0, 0, 0
    for i in range(len(layers)):
        if assignment[i] == e and layers[i, L_W_KIND] == W_SIGNED:
            row[E_AND] = 1
    for i in range(len(layers)):
        if assignment[i] == e:
            acc = max(acc, accumulator_bits(layers[i], row[E_AND]))
            if not layers[i, L_RAW]:
                levels = max(levels, levels_of(layers[i]))
                row[E_SCALES] = layers[i, L_SCALES]
            parts = layers[i, L_PARTS]
            words += parts * ceil_div(layers[i, L_OUT_C] // parts, row[E_DM])
            stores, sums = max(stores, layers[i, L_IS_RESULT]), max(sums, layers[i, L_SUM_BITS])
    row[E_LEVELS], row[E_ACC], row[E_SUM] = levels, acc, sums
    fill_cost_row(row, acc, levels, words, stores, cost_row)


@njit(cache=True)
def fill_cost_row(
    row: IntArray, acc_bits: int, levels: int, threshold_words: int, stores: int, cost_row: IntArray
) -> None:
    """Writes the cost row of an engine row with what its layers need; `stores`: the last layer is among them.

    The sums are those of the engine row.
    """
    cost_row[C_DM], cost_row[C_DK], cost_row[C_DN], cost_row[C_AND] = (
        row[E_DM],
        row[E_DK],
        row[E_DN],
        row[E_AND],
    )
    cost_row[C_BATCH], cost_row[C_PA_MASK], cost_row[C_DRAIN] = row[E_BATCH], row[E_PA_MASK], row[E_DRAIN]
    cost_row[C_ACC], cost_row[C_LEVELS], cost_row[C_WINDOW] = acc_bits, levels, row[E_WINDOW]
    cost_row[C_THRESHOLD_WORDS], cost_row[C_STORES] = threshold_words, stores
    cost_row[C_SUM], cost_row[C_SCALES], cost_row[C_DSP] = row[E_SUM], row[E_SCALES], row[E_DSP]


@njit(cache=True)
def levels_of(layer: IntArray) -> int:
    """Returns the greatest code of a layer, of thresholds how many there are; wider results than can be count as the most."""
    if layer[L_SCALES]:
        return (1 << min(layer[L_CODE_BITS], _MOST_SCALED_BITS)) - 1
    return _MOST_LEVELS if layer[L_CODE_BITS] > 4 else (1 << layer[L_CODE_BITS]) - 1
