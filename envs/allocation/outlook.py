"""What an engine may still become: quick estimates of the time that a partly decided design can reach (njit).

Given an engine's first decisions and the LUTs that are left, a `survey` says what each candidate of the next decision leads
to: the rest of this engine taken from a coarse grid (`engine_estimate`), later engines by their curves (`engine_curves`).
Times are cycles per frame; block RAMs that are short count by the time to load what they should hold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    C_BATCH,
    C_DSP,
    C_PA_MASK,
    C_WINDOW,
)
from foldwright.accel.dsp_shape import array_slices
from foldwright.accel.mapping import (
    ceil_div,
    map_words,
)
from foldwright.accel.tables import (
    E_DK,
    E_DSP,
    E_PA_MASK,
    E_WINDOW,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_INPUT,
    L_OUT_C,
    L_OUT_W,
    L_PARTS,
    L_W_KIND,
    W_SIGNED,
)
from foldwright.envs.allocation.engine_curves import (
    FAR,
    GRID_WIDTHS,
    HEIGHTS,
    LANES,
    time_at,
)
from foldwright.envs.allocation.engine_estimate import (
    STEPS,
    LutModel,
    base_luts,
    bit_macs,
    block_cycles,
    busy_time,
    lane_groups,
    lut_model,
    lut_offset,
    lut_slope,
    pick_drain,
    rows_of,
    window_stall,
)
from foldwright.envs.allocation.engine_runs import (
    BLOCK_BITS,
    BLOCK_PORT_BITS,
    Instance,
    Run,
)
from foldwright.envs.allocation.score import (
    N_DRAM_BITS,
    N_HAS_DSP,
    N_LUT,
)
from foldwright.envs.allocation.space import (
    A_DK,
    A_DM,
    A_DN,
    A_DRAIN,
    A_LANES,
    A_PLANES,
    A_WINDOW,
    COUNTS,
    DRAINS,
    ON_DSP,
    PER_ENGINE,
    PLANES,
    WIDTHS,
    planes_suit,
    window_bits_of,
)
from foldwright.kernels import (
    njit,
)

__all__ = [
    "ASKED",
    "DECIDED",
    "FREE",
    "Shape",
    "Sketch",
    "Survey",
    "new_survey",
    "open_after",
    "survey",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_TYPICAL_LANES, _TYPICAL_HEIGHT = 8, 8
"""`dn` and `dm` of an engine on which modes of words are compared before its shape is known."""
_STREAM = 0.5
"""Share of the time to load what is short of block RAMs in the value of a completion: some of it hides behind compute."""
DECIDED, ASKED, FREE = range(3)
"""Whether a survey takes a choice as it is, goes through all candidates, or through a grid."""
_TIE = 0.02
"""Share of the slack in the value of a completion: among equally fast ones, room for others counts."""


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


class Sketch(NamedTuple):
    """What all shapes of a survey share: the choice in question, and tables by `dm`."""

    asked: int
    heights: IntArray  # int64 (heights,), positions of `dm`
    blocks: Doubles  # float64 (heights, layers)
    bases: Doubles  # float64 (heights,), LUTs
    weight: Doubles  # float64 (layers,), blocks of a typical height
    lanes: Doubles  # float64 (2, layers), what `lane_groups` writes, and the same times cycles


class Shape(NamedTuple):
    """The choices of an engine but for `dm`, as positions."""

    dk: int
    dn: int
    drain: int
    planes: int
    window: int
    lanes: int


@njit(cache=True)
def _modes(it: Instance, run: Run, own: IntArray, open_: IntArray) -> IntArray:
    """Returns (planes, window) as positions, int64 (modes, 2), that an engine's decisions leave open.

    Only the engine that reads the image packs taps. Units in DSP slices are looked at where words are decided or in question.

    Args:
        own: The seven choices of the engine; see `survey` for which of them are open.
    """
    layers = it.layers
    most_act = layers[:, L_A_BITS].max()
    signed = (layers[run.first : run.end, L_W_KIND] == W_SIGNED).any()
    takes_dsp = it.limits[N_HAS_DSP] and run.dsp_left > 0 and not signed and open_[A_PLANES] != FREE
    windows = 2 if run.first == 0 and window_bits_of(layers) > 0 else 1
    least_dk = WIDTHS[own[A_DK]] if open_[A_DK] == DECIDED else 4 * WIDTHS[0]
    out, n = np.zeros((2 * len(PLANES), 2), dtype=np.int64), 0
    for planes in range(len(PLANES)):
        if open_[A_PLANES] == DECIDED and planes != own[A_PLANES]:
            continue
        if not planes_suit(PLANES[planes], least_dk, most_act) or (ON_DSP[planes] and not takes_dsp):
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
    marks[GRID_WIDTHS] = 1
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
    marks[LANES] = 1
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
    row, cost_row = rows_of(mine)
    heights = _grid(open_[A_DM], own[A_DM], HEIGHTS, len(COUNTS))
    blocks, bases = np.zeros((len(heights), len(mine))), np.zeros(len(heights))
    for h in range(len(heights)):
        bases[h] = base_luts(mine, cost_row, it.lut_terms, COUNTS[heights[h]])
        for i in range(len(mine)):
            parts = mine[i, L_PARTS]
            blocks[h, i] = parts * ceil_div(mine[i, L_OUT_C] // parts, COUNTS[heights[h]])
    modes = _modes(it, run, own, open_)
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
                    lane_groups(mine, COUNTS[a_dn], is_batch, run.batch, sketch.lanes[0])
                    held = _map_blocks(mine, steps[m], run, WIDTHS[a_dk], COUNTS[a_dn], is_batch)
                    low, high = own[A_DRAIN], own[A_DRAIN] + 1
                    if open_[A_DRAIN] == FREE:
                        low = pick_drain(steps[m], sketch.lanes[0], sketch.weight, COUNTS[a_dn])
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
        cost_row[C_PA_MASK], cost_row[C_DSP] = PLANES[modes[m, 0]], ON_DSP[modes[m, 0]]
        cost_row[C_WINDOW] = window_bits_of(it.layers) if modes[m, 1] else 0
        for is_batch in range(2):
            cost_row[C_BATCH] = is_batch
            models[m, is_batch] = np.array(lut_model(cost_row, it.lut_terms))
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
        row[E_PA_MASK], row[E_DSP] = PLANES[modes[m, 0]], ON_DSP[modes[m, 0]]
        row[E_WINDOW] = window_bits_of(it.layers) if modes[m, 1] else 0
        if planes_suit(row[E_PA_MASK], dk, most_act):
            runs[m] = block_cycles(it.layers, run.first, run.end, row, run.batch, steps[m])
    return runs


@njit(cache=True)
def _keep_best_mode(
    mine: IntArray, models: Doubles, dk: int, steps: IntArray, weight: Doubles, runs: npt.NDArray[np.bool_]
) -> None:
    """Leaves of the modes the one with the least product of cycles and LUTs, on a typical engine."""
    best, least, groups = -1, np.inf, np.zeros(len(mine))
    lane_groups(mine, 1, 0, 1, groups)
    for m in range(len(runs)):
        if runs[m]:
            model = _model_of(models[m, 0])
            score = busy_time(steps[m], groups, weight, 1, 1)
            score *= (
                lut_slope(model, dk, _TYPICAL_LANES, 2)
                + lut_offset(model, dk, _TYPICAL_LANES, 2) / _TYPICAL_HEIGHT
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
    slope, offset, flush, n = (
        lut_slope(model, dk, dn, drain),
        lut_offset(model, dk, dn, drain),
        0.0,
        len(steps),
    )
    busy, beats = sketch.lanes[1], ceil_div(dn, drain)
    for i in range(n):
        cycles = max(steps[i, 0], beats * steps[i, 1])
        busy[i] = sketch.lanes[0, i] * cycles
        if steps[i, 5]:
            busy[i] = window_stall(steps[i], sketch.lanes[0, i], cycles, dn, shape.lanes)
        flush += steps[i, 2] + steps[i, 1] * (beats - 1)
    flush /= run.batch
    lowest = PLANES[shape.planes] & -PLANES[shape.planes]
    for h in range(len(sketch.heights)):
        height = sketch.heights[h]
        lut = sketch.bases[h] + offset + slope * COUNTS[height]
        if lut > run.lut_left:  # thresholds of few channels at once are deep: a larger engine may fit
            continue
        if ON_DSP[shape.planes] and array_slices(COUNTS[height], dk // lowest, dn) > run.dsp_left:
            break
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
def new_survey() -> Survey:
    """Returns room for what a survey finds; another survey may take it again."""
    most = len(COUNTS)
    return Survey(
        np.full(most, np.float64(FAR)), np.zeros(most), np.zeros(most), np.zeros(most),
        np.zeros((most, PER_ENGINE), dtype=np.int64),
    )  # fmt: skip
