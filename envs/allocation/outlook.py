"""What an engine may still become: quick estimates of the time that a partly decided design can reach (njit).

An estimate goes through a coarse grid of shapes and multiplies per layer, as `accel.mapping` does for a whole engine:
blocks of channels (by `dm`) x rows x groups of lanes (by `dn`) x cycles of a block (by `dk` and the planes per word). LUTs
are those of `accel.cost`, whose terms are products of the extents: a few probes at 0 and `_PROBE` give all coefficients.
Times are cycles per frame. Stalls are left out; block RAMs that are short count by the time to load what they should hold.

- `run_curves`: by a share of the LUTs, the least time of one engine on each run of layers, for few and many frames a round;
- `chain_curves`: the same of several engines on all layers from one on, cut where it is best;
- `survey`: given an engine's first decisions and the LUTs that are left, what each candidate of the next decision leads to:
  the rest of this engine taken from the grid, later engines by their curves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    C_BATCH,
    C_DK,
    C_DM,
    C_DN,
    C_DRAIN,
    C_PA_MASK,
    C_THRESHOLD_WORDS,
    C_WINDOW,
    COST_FIELDS,
    sum_of_terms,
)
from foldwright.accel.mapping import (
    M_CYCLES,
    M_DRAIN,
    M_LATENCY,
    M_PA,
    M_PACKED,
    M_T,
    M_WEIGHT_WORDS_PER_BLOCK,
    MAPPING_FIELDS,
    ceil_div,
    map_run,
    map_words,
)
from foldwright.accel.tables import (
    E_BATCH,
    E_DK,
    E_DM,
    E_DN,
    E_DRAIN,
    E_PA_MASK,
    E_WINDOW,
    ENGINE_FIELDS,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_INPUT,
    L_KH,
    L_KW,
    L_OUT_BITS,
    L_OUT_C,
    L_OUT_H,
    L_OUT_W,
    L_PARTS,
    L_RESIDUAL,
    L_STORED_H,
    L_STORED_W,
    L_SW,
    L_W_BITS,
)
from foldwright.accel.window_time import row_stall, window_interval
from foldwright.envs.allocation.memory_bound import (
    LAYER_WORDS,
    W_LINE,
    extend_run,
    layer_words,
    least_block_rams,
)
from foldwright.envs.allocation.score import N_DRAM_BITS, N_LUT, N_MAX_ENGINES, N_POOL
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
    PER_ENGINE,
    PLANES,
    WIDTHS,
    derive,
    first_decision,
    planes_suit,
    window_bits_of,
)
from foldwright.kernels import njit

__all__ = [
    "ASKED",
    "BLOCK_BITS",
    "BLOCK_PORT_BITS",
    "BUCKETS",
    "DECIDED",
    "FAR",
    "FREE",
    "GROUP_FRAMES",
    "Instance",
    "LutModel",
    "Run",
    "Shape",
    "Sketch",
    "Survey",
    "bit_macs",
    "blocks_ahead",
    "chain_curves",
    "cut_values",
    "edges_of",
    "engine_takes",
    "group_of",
    "join_curves",
    "new_survey",
    "open_after",
    "resident_blocks",
    "run_curves",
    "run_of",
    "runs_curve",
    "survey",
    "time_at",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

BUCKETS = 64
"""Curves have an entry for each 1 / BUCKETS of the LUTs, 0 and all of them included."""
FAR = np.float32(1e15)
"""A time that nothing takes: what does not fit."""
GROUP_FRAMES = np.array([1, 4, 16], dtype=np.int64)
"""Frames per round that curves are made for."""
_PROBE, _PROBE_BITS = 64, 7
"""The extent at which LUTs are probed, a power of two, and its bits: one less has one bit less to count."""
_DRAIN_SLACK = 1.03
"""The fewest drain lanes are taken that slow an engine down by less than this factor."""
_TYPICAL_LANES, _TYPICAL_HEIGHT = 8, 8
"""`dn` and `dm` of an engine on which modes of words are compared before its shape is known."""
_FEW_LAYERS = 10
"""Networks of so many layers or fewer get curves over a finer grid."""
_STREAM = 0.5
"""Share of the time to load what is short of block RAMs in the value of a completion: some of it hides behind compute."""
BLOCK_BITS, BLOCK_PORT_BITS = 36864, 72
"""Of a block RAM; estimates take no notice of its geometries, nor of those of other families."""
STEPS = 9
"""Entries of a layer's row of cycles, see `_block_cycles`."""
DECIDED, ASKED, FREE = range(3)
"""Whether a survey takes a choice as it is, goes through all candidates, or through a grid."""
_TIE = 0.02
"""Share of the slack in the value of a completion: among equally fast ones, room for others counts."""


def _frozen(values: list[int]) -> IntArray:
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


# Positions of the grid among the candidates.
_HEIGHTS = _frozen([int(np.flatnonzero(v == COUNTS)[0]) for v in (1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 43, 64)])
_GRID_DK = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320)
_GRID_WIDTHS = _frozen([int(np.flatnonzero(v == WIDTHS)[0]) for v in _GRID_DK])
_LANES = _frozen([v - 1 for v in (1, 2, 3, 4, 6, 8, 10, 12, 16, 22, 32, 48)])


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


class Survey(NamedTuple):
    """What the candidates of a decision lead to, an entry each: value, the times of this engine and of those after it, its
    LUTs, and its seven choices.

    The value is the time of the slowest engine, with something for room that is left to others and for the block RAMs that
    are short, as if what they should hold came over the DRAM port in every round.
    """

    value: Doubles  # float64 (64,)
    own: Doubles  # float64 (64,)
    rest: Doubles  # float64 (64,)
    lut: Doubles  # float64 (64,)
    engine: IntArray  # int64 (64, 7)


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

    `lut_left` is also for the engines after it; `before` is the time of the slowest one that is decided.
    """

    first: int
    end: int
    batch: int
    lut_left: float
    pool_left: float
    before: float


class Sketch(NamedTuple):
    """What all shapes of a survey share: the choice in question, and tables by `dm`."""

    asked: int
    heights: IntArray  # int64 (heights,), positions of `dm`
    blocks: Doubles  # float64 (heights, layers)
    bases: Doubles  # float64 (heights,), LUTs
    weight: Doubles  # float64 (layers,), blocks of a typical height
    lanes: Doubles  # float64 (2, layers), what `_lane_groups` writes, and the same times cycles


class Shape(NamedTuple):
    """The choices of an engine but for `dm`, as positions."""

    dk: int
    dn: int
    drain: int
    planes: int
    window: int
    lanes: int


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
def _lut_model(cost_row: IntArray, lut_terms: IntArray) -> LutModel:
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
    bits = (p * step - rise) / (p - _PROBE_BITS)
    dk_dn_dm = ((rise - _PROBE_BITS * bits) / p - dk_one - p * (dk_dn + dk_dm)) / p**2
    drain_one = _probe(row, lut_terms, 0, 0, 0, _PROBE) - none
    drain_dk = (_probe(row, lut_terms, 0, _PROBE, 0, _PROBE) - none - p * dk_one - drain_one) / p**2
    window = _probe(row, lut_terms, 0, 0, 1, 0) - none - dn_one
    return LutModel(dk_dn_dm, dn_dm, drain_dm, dk_dm, dk_dn, dn_one, dk_one, bits / p**2, drain_dk, window)


@njit(cache=True)
def _slope(model: LutModel, dk: float, dn: float, drain: float) -> float:
    """Returns the LUTs that one more of `dm` takes, thresholds left out."""
    units = model.dk_dn_dm * dk + model.bits_dn_dm * (np.floor(np.log2(dk)) + 1.0) + model.dn_dm
    return dn * units + model.drain_dm * drain + model.dk_dm * dk


@njit(cache=True)
def _offset(model: LutModel, dk: float, dn: float, drain: float) -> float:
    own = model.dk_one * dk + model.drain_dk * drain * dk + model.window
    return dn * (model.dk_dn * dk + model.dn_one) + own


@njit(cache=True)
def _base_luts(layers: IntArray, cost_row: IntArray, lut_terms: IntArray, dm: int) -> float:
    """Returns the LUTs that depend on `dm` alone: control and thresholds."""
    row, words = cost_row.copy(), 0
    for i in range(len(layers)):
        words += layers[i, L_PARTS] * ceil_div(layers[i, L_OUT_C] // layers[i, L_PARTS], dm)
    row[C_THRESHOLD_WORDS] = words
    return _probe(row, lut_terms, dm, 0, 0, 0)


@njit(cache=True)
def _rows_of(layers: IntArray) -> tuple[IntArray, IntArray]:
    """Returns the engine row and the cost row of an engine for some layers, its shape left out."""
    row, cost_row = np.zeros(ENGINE_FIELDS, dtype=np.int64), np.zeros(COST_FIELDS, dtype=np.int64)
    row[E_DM], row[E_DK], row[E_DN], row[E_DRAIN], row[E_PA_MASK] = 1, WIDTHS[0], 1, 1, 1
    derive(layers, np.zeros(len(layers), dtype=np.int64), 0, row, cost_row)
    return row, cost_row


@njit(cache=True)
def _lane_groups(layers: IntArray, dn: int, is_batch: int, batch: int, out: Doubles) -> None:
    """Writes the rows times groups of lanes that each layer takes, per frame."""
    for i in range(len(layers)):
        groups = float(ceil_div(layers[i, L_OUT_W], dn))
        if is_batch:
            groups = layers[i, L_OUT_W] * ceil_div(batch, dn) / batch
        out[i] = layers[i, L_OUT_H] * groups


@njit(cache=True)
def _block_cycles(layers: IntArray, first: int, end: int, row: IntArray, batch: int, steps: IntArray) -> bool:
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
def _window_time(step: IntArray, groups: float, cycles: int, dn: int, is_batch: int) -> float:
    """Returns the cycles of a layer that packs taps, for each block of channels: blocks of so many cycles, and their waits.

    Args:
        groups: rows times groups of lanes, see `_lane_groups`.
    """
    kernel, lanes = (step[5], step[6]), 1 if is_batch else dn
    columns = step[8] if is_batch else ceil_div(step[8], dn)
    stall = row_stall(kernel, step[7], lanes, cycles) / columns
    return groups * (window_interval(kernel, step[7], lanes, cycles) + stall)


@njit(cache=True)
def _busy(steps: IntArray, groups: Doubles, blocks: Doubles, dn: int, drain: int) -> float:
    """Returns the cycles of all layers, by what a block of each takes; windows left out."""
    total = 0.0
    for i in range(len(steps)):
        total += blocks[i] * groups[i] * max(steps[i, 0], ceil_div(dn, drain) * steps[i, 1])
    return total


@njit(cache=True)
def _pick_drain(steps: IntArray, groups: Doubles, blocks: Doubles, dn: int) -> int:
    """Returns the position of the fewest drain lanes that hardly slow the layers down."""
    best = _DRAIN_SLACK * _busy(steps, groups, blocks, dn, dn)
    at = 0
    while (
        at + 1 < len(DRAINS) and DRAINS[at + 1] <= dn and _busy(steps, groups, blocks, dn, DRAINS[at]) > best
    ):
        at += 1
    return at


@njit(cache=True)
def time_at(curve: FloatArray, share: float) -> float:
    """Returns the time of a curve at a share of the LUTs; far away below zero."""
    if share < 0:
        return float(FAR)
    place = min(share, 1.0) * (len(curve) - 1)
    low = int(place)
    if low + 1 >= len(curve) or curve[low] >= FAR:
        return float(curve[low])
    return float(curve[low] + (place - low) * (curve[low + 1] - curve[low]))


@njit(cache=True)
def join_curves(one: FloatArray, other: FloatArray, out: FloatArray) -> None:
    """Lowers `out` to the times of two engines or chains that share the LUTs as is best; the slower one counts."""
    share = 0
    for b in range(len(out)):
        while share < b and one[share] > other[b - share]:
            share += 1
        value = max(one[share], other[b - share])
        if share > 0:
            value = min(value, max(one[share - 1], other[b - share + 1]))
        out[b] = min(out[b], value)


@njit(cache=True)
def group_of(batch: int) -> int:
    """Returns the position among `GROUP_FRAMES` whose curves stand for rounds of so many frames."""
    return 0 if batch < 2 else 1 if batch < 8 else 2


@njit(cache=True)
def _free_planes(layers: IntArray) -> int:
    """Returns the mask of all numbers of planes that can be of use."""
    mask, most_act = 1, layers[:, L_A_BITS].max()
    for planes in (2, 4):
        if planes < 2 * most_act:
            mask |= planes
    return mask


@njit(cache=True)
def _aligned(values: IntArray, grid: IntArray, extents: IntArray, most_parts: int) -> IntArray:
    """Returns the positions of the grid among values, and of those that split an extent into few even parts."""
    marks = np.zeros(len(values), dtype=np.int64)
    marks[grid] = 1
    for extent in extents:
        for parts in range(1, most_parts + 1):
            marks[min(np.searchsorted(values, ceil_div(extent, parts)), len(values) - 1)] = 1
    return np.flatnonzero(marks)


@njit(cache=True)
def _network_grids(layers: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Returns the positions of `dm`, `dk` and `dn` for the curves: finer for networks of few layers."""
    if len(layers) > _FEW_LAYERS:
        return _HEIGHTS, _GRID_WIDTHS, _LANES
    heights = _aligned(COUNTS, _HEIGHTS, layers[:, L_OUT_C] // layers[:, L_PARTS], 6)
    widths = _aligned(WIDTHS, _GRID_WIDTHS, layers[:, L_IN_C] // layers[:, L_GROUPS], 3)
    return heights, widths, _aligned(COUNTS, _LANES, layers[:, L_OUT_W], 6)


@njit(cache=True)
def run_curves(layers: IntArray, lut_terms: IntArray, limits: IntArray) -> FloatArray:
    """Returns the least time of one engine by LUTs, float32 (groups of frames, layers, layers + 1, BUCKETS + 1).

    The entry [g, i, j] is of layers i..j-1. Planes per word are the best for each layer, accumulators those of the network.
    """
    n = len(layers)
    out = np.full((len(GROUP_FRAMES), n, n + 1, BUCKETS + 1), FAR, dtype=np.float32)
    row, cost_row = _rows_of(layers)
    heights, widths, columns = _network_grids(layers)
    base = np.zeros((n, n + 1, len(heights)))
    blocks = np.zeros((len(heights), n))
    for h in range(len(heights)):
        dm = COUNTS[heights[h]]
        for i in range(n):
            blocks[h, i] = layers[i, L_PARTS] * ceil_div(layers[i, L_OUT_C] // layers[i, L_PARTS], dm)
            for j in range(i + 1, n + 1):
                base[i, j, h] = _base_luts(layers[i:j], cost_row, lut_terms, dm)
    steps, groups = np.zeros((n, STEPS), dtype=np.int64), np.zeros(n)
    mask = _free_planes(layers)
    row[E_WINDOW] = window_bits_of(layers)
    for is_batch in range(2):
        cost_row[C_BATCH], cost_row[C_PA_MASK] = is_batch, 1
        model = _lut_model(cost_row, lut_terms)
        for a_dk in widths:
            row[E_DK], row[E_PA_MASK] = WIDTHS[a_dk], mask
            if not _block_cycles(layers, 0, n, row, 1, steps):
                continue
            for a_dn in _LANES if is_batch else columns:
                dn = COUNTS[a_dn]
                for g in range(is_batch, len(GROUP_FRAMES)):
                    if is_batch and dn > GROUP_FRAMES[g]:
                        continue
                    _lane_groups(layers, dn, is_batch, GROUP_FRAMES[g], groups)
                    drain = DRAINS[_pick_drain(steps, groups, blocks[0], dn)]
                    slope, offset = (
                        _slope(model, WIDTHS[a_dk], dn, drain),
                        _offset(model, WIDTHS[a_dk], dn, drain),
                    )
                    for h in range(len(heights)):
                        lut = slope * COUNTS[heights[h]] + offset
                        if lut > limits[N_LUT]:
                            break
                        _enter_runs(
                            steps, groups, blocks[h], dn, drain, base[:, :, h], lut, limits[N_LUT], GROUP_FRAMES[g],
                            is_batch, out[g],
                        )  # fmt: skip
    for b in range(1, BUCKETS + 1):
        out[:, :, :, b] = np.minimum(out[:, :, :, b], out[:, :, :, b - 1])
    return out


@njit(cache=True)
def _enter_runs(
    steps: IntArray, groups: Doubles, blocks: Doubles, dn: int, drain: int, base: Doubles, lut: float, most: int,
    batch: int, is_batch: int, out: FloatArray,
) -> None:  # fmt: skip
    """Enters one shape for every run of layers."""
    n, times, beats = len(steps), np.zeros(len(steps)), ceil_div(dn, drain)
    for i in range(n):
        cycles = max(steps[i, 0], beats * steps[i, 1])
        time = groups[i] * cycles
        if steps[i, 5]:
            time = _window_time(steps[i], groups[i], cycles, dn, is_batch)
        times[i] = blocks[i] * time + (steps[i, 2] + steps[i, 1] * (beats - 1)) / batch
    for i in range(n):
        total = 0.0
        for j in range(i + 1, n + 1):
            total += times[j - 1]
            bucket = int(np.ceil((lut + base[i, j]) * BUCKETS / most))
            if bucket > BUCKETS:
                break
            out[i, j, bucket] = min(out[i, j, bucket], total)


@njit(cache=True)
def chain_curves(curves: FloatArray, most_engines: int) -> FloatArray:
    """Returns the least time of exactly so many engines on all layers from one on, by LUTs.

    Args:
        curves: Of one group of frames, see `run_curves`.

    Returns:
        float32 (most_engines, layers, BUCKETS + 1), the entry [m] of m + 1 engines.
    """
    n = len(curves)
    out = np.full((most_engines, n, BUCKETS + 1), FAR, dtype=np.float32)
    for i in range(n - 1, -1, -1):
        out[0, i] = curves[i, n]
        for m in range(1, most_engines):
            for j in range(i + 1, n):
                join_curves(curves[i, j], out[m - 1, j], out[m, i])
    return out


@njit(cache=True)
def _modes(layers: IntArray, first: int, own: IntArray, open_: IntArray) -> IntArray:
    """Returns (planes, window) as positions, int64 (modes, 2), that an engine's decisions leave open.

    Args:
        layers: All of the instance.
        first: Of the engine's run; only the engine that reads the image packs taps.
        own: The seven choices of the engine; see `survey` for which of them are open.
    """
    most_act = layers[:, L_A_BITS].max()
    windows = 2 if first == 0 and window_bits_of(layers) > 0 else 1
    least_dk = WIDTHS[own[A_DK]] if open_[A_DK] == DECIDED else 4 * WIDTHS[0]
    out, n = np.zeros((2 * len(PLANES), 2), dtype=np.int64), 0
    for planes in range(len(PLANES)):
        if open_[A_PLANES] == DECIDED and planes != own[A_PLANES]:
            continue
        if not planes_suit(PLANES[planes], least_dk, most_act):
            continue
        for window in range(windows):
            if open_[A_WINDOW] != DECIDED or window == own[A_WINDOW]:
                out[n, 0], out[n, 1] = planes, window
                n += 1
    return out[:n]


@njit(cache=True)
def _grid(open_: int, position: int, grid: IntArray, size: int) -> IntArray:
    """Returns the positions of an extent to go through: what is decided, all candidates, or the grid."""
    if open_ == DECIDED:
        return np.array([position])
    return np.arange(size) if open_ == ASKED else grid


@njit(cache=True)
def _heaviest(layers: IntArray) -> tuple[int, int]:
    """Returns the two layers with the most bit-MACs, the same one twice where there is no other."""
    work = np.zeros(len(layers))
    for i in range(len(layers)):
        work[i] = float(bit_macs(layers[i]))
    first = int(np.argmax(work))
    work[first] = -1.0
    return first, int(np.argmax(work))


@njit(cache=True)
def _widths_grid(layers: IntArray) -> IntArray:
    """Returns the positions of `dk` of the grid and those that split the channels of the heaviest layers evenly."""
    marks = np.zeros(len(WIDTHS), dtype=np.int64)
    marks[_GRID_WIDTHS] = 1
    for i in _heaviest(layers):
        channels = layers[i, L_IN_C] // layers[i, L_GROUPS]
        for parts in range(1, 4):
            for planes in (1, 2):
                at = np.searchsorted(WIDTHS, planes * ceil_div(channels, parts))
                marks[min(at, len(WIDTHS) - 1)] = 1
    return np.flatnonzero(marks)


@njit(cache=True)
def _columns_grid(layers: IntArray) -> IntArray:
    """Returns the positions of `dn` of the grid and those that split the lines of the heaviest layers evenly."""
    marks = np.zeros(len(COUNTS), dtype=np.int64)
    marks[_LANES] = 1
    for i in _heaviest(layers):
        for parts in range(1, 7):
            marks[min(len(COUNTS), ceil_div(layers[i, L_OUT_W], parts)) - 1] = 1
    return np.flatnonzero(marks)


@njit(cache=True)
def _frames_grid(batch: int) -> IntArray:
    marks = np.zeros(len(COUNTS), dtype=np.int64)
    for parts in range(1, batch + 1):
        marks[ceil_div(batch, parts) - 1] = 1
    return np.flatnonzero(marks)


@njit(cache=True)
def open_after(known: int) -> IntArray:
    """Returns which choices of an engine are open when the first `known` are decided and the next is in question."""
    out = np.full(PER_ENGINE, FREE, dtype=np.int64)
    out[:known] = DECIDED
    if known < PER_ENGINE:
        out[known] = ASKED
    return out


@njit(cache=True)
def survey(it: Instance, run: Run, own: IntArray, open_: IntArray, rest: FloatArray, found: Survey) -> None:
    """Writes what each candidate of an engine's next decision leads to; see `Survey`.

    Args:
        own: The seven choices of the engine, as far as they are decided.
        open_: Of each choice whether it is `DECIDED`, `ASKED` (all candidates are gone through) or `FREE` (a grid is). The
            first that is asked has the entries of `found`.
        rest: Curve of the engines after it.
    """
    mine, asked = it.layers[run.first : run.end], int(np.flatnonzero(open_ == ASKED)[0])
    found.value[:] = FAR
    row, cost_row = _rows_of(mine)
    heights = _grid(open_[A_DM], own[A_DM], _HEIGHTS, len(COUNTS))
    blocks, bases = np.zeros((len(heights), len(mine))), np.zeros(len(heights))
    for h in range(len(heights)):
        bases[h] = _base_luts(mine, cost_row, it.lut_terms, COUNTS[heights[h]])
        for i in range(len(mine)):
            parts = mine[i, L_PARTS]
            blocks[h, i] = parts * ceil_div(mine[i, L_OUT_C] // parts, COUNTS[heights[h]])
    modes = _modes(it.layers, run.first, own, open_)
    models = _models(it, cost_row, modes)
    steps = np.zeros((len(modes), len(mine), STEPS), dtype=np.int64)
    columns = _grid(open_[A_DN], own[A_DN], _columns_grid(mine), len(COUNTS))
    frames = _grid(open_[A_DN], own[A_DN], _frames_grid(run.batch), len(COUNTS))
    sketch = Sketch(asked, heights, blocks, bases, blocks[len(heights) // 2].copy(), np.zeros((2, len(mine))))
    for a_dk in _grid(open_[A_DK], own[A_DK], _widths_grid(mine), len(WIDTHS)):
        runs = _mode_cycles(it, run, row, modes, WIDTHS[a_dk], steps)
        if open_[A_PLANES] == FREE and open_[A_WINDOW] == FREE:
            _keep_best_mode(mine, models, WIDTHS[a_dk], steps, sketch.weight, runs)
        for m in range(len(modes)):
            for is_batch in range(2 if runs[m] and run.batch > 1 else int(runs[m])):
                if open_[A_LANES] == DECIDED and is_batch != own[A_LANES]:
                    continue
                model = _model_of(models[m, is_batch])
                for a_dn in frames if is_batch else columns:
                    _lane_groups(mine, COUNTS[a_dn], is_batch, run.batch, sketch.lanes[0])
                    held = _map_blocks(mine, steps[m], run, WIDTHS[a_dk], COUNTS[a_dn], is_batch)
                    low, high = own[A_DRAIN], own[A_DRAIN] + 1
                    if open_[A_DRAIN] == FREE:
                        low = _pick_drain(steps[m], sketch.lanes[0], sketch.weight, COUNTS[a_dn])
                        high = low + 1
                    elif open_[A_DRAIN] == ASKED:
                        low, high = 0, len(DRAINS)
                    for a_drain in range(low, high):
                        if DRAINS[a_drain] <= COUNTS[a_dn]:
                            shape = Shape(a_dk, a_dn, a_drain, modes[m, 0], modes[m, 1], is_batch)
                            _weigh(it, run, sketch, steps[m], model, shape, held, rest, found)


@njit(cache=True)
def _models(it: Instance, cost_row: IntArray, modes: IntArray) -> Doubles:
    """Returns the LUT model of each mode with column and with batch lanes, float64 (modes, 2, fields)."""
    models = np.zeros((len(modes), 2, 10))
    for m in range(len(modes)):
        cost_row[C_PA_MASK] = PLANES[modes[m, 0]]
        cost_row[C_WINDOW] = window_bits_of(it.layers) if modes[m, 1] else 0
        for is_batch in range(2):
            cost_row[C_BATCH] = is_batch
            models[m, is_batch] = np.array(_lut_model(cost_row, it.lut_terms))
    return models


@njit(cache=True)
def _model_of(values: Doubles) -> LutModel:
    return LutModel(
        values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7], values[8], values[9]
    )  # fmt: skip


@njit(cache=True)
def _mode_cycles(
    it: Instance, run: Run, row: IntArray, modes: IntArray, dk: int, steps: IntArray
) -> npt.NDArray[np.bool_]:
    """Writes the cycles of a block in each mode, and returns in which modes words of `dk` bits can run the layers."""
    runs, most_act = np.zeros(len(modes), dtype=np.bool_), it.layers[:, L_A_BITS].max()
    row[E_DK] = dk
    for m in range(len(modes)):
        row[E_PA_MASK] = PLANES[modes[m, 0]]
        row[E_WINDOW] = window_bits_of(it.layers) if modes[m, 1] else 0
        if planes_suit(row[E_PA_MASK], dk, most_act):
            runs[m] = _block_cycles(it.layers, run.first, run.end, row, run.batch, steps[m])
    return runs


@njit(cache=True)
def _keep_best_mode(
    mine: IntArray, models: Doubles, dk: int, steps: IntArray, weight: Doubles, runs: npt.NDArray[np.bool_]
) -> None:
    """Leaves of the modes the one with the least product of cycles and LUTs, on a typical engine."""
    best, least, groups = -1, np.inf, np.zeros(len(mine))
    _lane_groups(mine, 1, 0, 1, groups)
    for m in range(len(runs)):
        if runs[m]:
            model = _model_of(models[m, 0])
            score = _busy(steps[m], groups, weight, 1, 1)
            score *= (
                _slope(model, dk, _TYPICAL_LANES, 2) + _offset(model, dk, _TYPICAL_LANES, 2) / _TYPICAL_HEIGHT
            )
            if score < least:
                best, least = m, score
    runs[:] = False
    if best >= 0:
        runs[best] = True


@njit(cache=True)
def _map_blocks(mine: IntArray, steps: IntArray, run: Run, dk: int, dn: int, is_batch: int) -> float:
    """Returns about how many block RAMs hold the feature maps of a run on chip."""
    most, before, always = 0, 0, 0
    for i in range(len(mine)):
        words = 0
        if mine[i, L_INPUT] >= 0:
            words = map_words(mine[i], run.batch, steps[i, 3], dk, dn, is_batch)
        if mine[i, L_INPUT] >= 0 and mine[i, L_INPUT] < run.first:
            always, words = max(always, 2 * words), 0
        most, before = max(most, before + words), words
    return _blocks_about(float(always + most), float(dk * dn))


@njit(cache=True)
def _blocks_about(words: float, width: float) -> float:
    """Returns about how many block RAMs hold words of a width: by their bits, and by their ports."""
    return max(words * width / BLOCK_BITS, width / BLOCK_PORT_BITS) if words > 0 else 0.0


@njit(cache=True)
def _weigh(
    it: Instance, run: Run, sketch: Sketch, steps: IntArray, model: LutModel, shape: Shape, held: float, rest: FloatArray,
    found: Survey,
) -> None:  # fmt: skip
    """Enters the engines of all heights with the other extents of a shape, each where it is the best so far."""
    dk, dn, drain = WIDTHS[shape.dk], COUNTS[shape.dn], DRAINS[shape.drain]
    slope, offset, flush, n = _slope(model, dk, dn, drain), _offset(model, dk, dn, drain), 0.0, len(steps)
    busy, beats = sketch.lanes[1], ceil_div(dn, drain)
    for i in range(n):
        cycles = max(steps[i, 0], beats * steps[i, 1])
        busy[i] = sketch.lanes[0, i] * cycles
        if steps[i, 5]:
            busy[i] = _window_time(steps[i], sketch.lanes[0, i], cycles, dn, shape.lanes)
        flush += steps[i, 2] + steps[i, 1] * (beats - 1)
    flush /= run.batch
    lowest = PLANES[shape.planes] & -PLANES[shape.planes]
    for h in range(len(sketch.heights)):
        height = sketch.heights[h]
        lut = sketch.bases[h] + offset + slope * COUNTS[height]
        if lut > run.lut_left:  # thresholds of few channels at once are deep: a larger engine may fit
            continue
        own, words = flush, 0.0
        for i in range(n):
            own += sketch.blocks[h, i] * busy[i]
            words += sketch.blocks[h, i] * steps[i, 4]
        k = (shape.lanes, shape.planes, shape.window, height, shape.dk, shape.dn, shape.drain)[sketch.asked]
        if own >= found.value[k]:
            continue
        later = time_at(rest, (run.lut_left - lut) / it.limits[N_LUT])
        if later >= FAR:
            continue
        blocks = held + _blocks_about(words, COUNTS[height] * dk / lowest)
        stream = (
            _STREAM * max(0.0, blocks - run.pool_left) * BLOCK_BITS / (it.limits[N_DRAM_BITS] * run.batch)
        )
        value = max(run.before, own, later) + _TIE * (own + later) + stream
        if value < found.value[k]:
            found.value[k], found.own[k], found.rest[k], found.lut[k] = value, own, later, lut
            engine = found.engine[k]
            engine[A_DM], engine[A_DK], engine[A_DN], engine[A_DRAIN] = (
                height,
                shape.dk,
                shape.dn,
                shape.drain,
            )
            engine[A_PLANES], engine[A_WINDOW], engine[A_LANES] = shape.planes, shape.window, shape.lanes


@njit(cache=True)
def _engine_row(layers: IntArray, first: int, end: int, own: IntArray) -> IntArray:
    """Returns the row of an engine that runs layers first..end-1, by its seven choices."""
    row, _ = _rows_of(layers[first:end])
    row[E_DM], row[E_DK], row[E_DN] = COUNTS[own[A_DM]], WIDTHS[own[A_DK]], COUNTS[own[A_DN]]
    row[E_DRAIN], row[E_PA_MASK], row[E_BATCH] = DRAINS[own[A_DRAIN]], PLANES[own[A_PLANES]], own[A_LANES]
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
def edges_of(layers: IntArray, choices: IntArray) -> IntArray:
    """Returns where the runs of layers begin, and the end of the last."""
    edges = np.zeros(choices[0] + 2, dtype=np.int64)
    for e in range(choices[0]):
        edges[e + 1] = edges[e] + choices[1 + e] + 1
    edges[choices[0] + 1] = len(layers)
    return edges


@njit(cache=True)
def runs_curve(curves: FloatArray, edges: IntArray, first: int) -> FloatArray:
    """Returns the curve of the engines from number `first` on, of runs between edges; zeros where there are none."""
    out = np.zeros(BUCKETS + 1, dtype=np.float32)
    for e in range(first, len(edges) - 1):
        joined = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        join_curves(out, curves[edges[e], edges[e + 1]], joined)
        out = joined
    return out


@njit(cache=True)
def cut_values(
    curves: FloatArray, chains: FloatArray, engines: int, edges: IntArray, cut: int, out: Doubles
) -> None:
    """Writes the least time with all LUTs after each candidate of a cut, far away where no layers are left.

    Args:
        engines: In all.
        edges: Where the runs begin, as far as cuts are decided: `cut` + 1 entries.
    """
    before, first = runs_curve(curves, edges[: cut + 1], 0), edges[cut]
    out[:] = FAR
    for k in range(min(len(out), len(curves) - 1 - first)):
        if len(curves) - (first + k + 1) < engines - cut - 1:
            break
        after = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        whole = np.full(BUCKETS + 1, FAR, dtype=np.float32)
        join_curves(curves[first, first + k + 1], chains[engines - cut - 2, first + k + 1], after)
        join_curves(before, after, whole)
        out[k] = whole[BUCKETS]


@njit(cache=True)
def new_survey() -> Survey:
    """Returns room for what a survey finds; another survey may take it again."""
    most = len(COUNTS)
    return Survey(
        np.full(most, np.float64(FAR)), np.zeros(most), np.zeros(most), np.zeros(most),
        np.zeros((most, PER_ENGINE), dtype=np.int64),
    )  # fmt: skip


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
    for e in range(engine):
        at = first_decision(most, e)
        own = choices[at : at + PER_ENGINE]
        time, taken = engine_takes(it.layers, it.lut_terms, edges[e], edges[e + 1], batch, own)
        lut, before = lut - taken, max(before, time)
        pool -= resident_blocks(it.layers, it.geometries, edges[e], edges[e + 1], batch, own)
    pool -= blocks_ahead(it.layers, edges[engine + 1], batch)
    return Run(edges[engine], edges[engine + 1], batch, lut, pool, before)
