"""The fewest cycles of any engine by its LUTs, for every run of layers: all shapes of the space are enumerated (njit).

An entry [k, i, j, b] of a frontier is of engines of kind k (0 planes, 1 dsp), of layers i..j-1, and of engines with up to
`BUCKET_LUTS` * b LUTs, rounded down. A chain has one engine of kind dsp at most.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import rounded_terms
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_CYCLES,
    M_DRAIN,
    M_LATENCY,
    M_PA,
    M_ROW_CYCLES,
    M_ROWS,
    M_T,
    M_WEIGHT_WORD_BITS,
    MAPPING_FIELDS,
    ceil_div,
    first_reads,
    map_run,
)
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
    E_WINDOW,
    ENGINE_FIELDS,
    L_A_BITS,
    L_GROUPS,
    L_IN_C,
    L_IS_IMAGE_IN,
    L_IS_RESULT,
    L_KH,
    L_KW,
    L_OUT_C,
    L_OUT_W,
    L_PARTS,
    L_SCALES,
    L_W_KIND,
    W_SIGNED,
)
from foldwright.envs.allocation.engine_needs import Needs, count_luts, least_slices, needs_of
from foldwright.envs.allocation.score import MILLI
from foldwright.envs.allocation.space import (
    BATCHES,
    COUNTS,
    DRAINS,
    ON_DSP,
    PLANES,
    WIDTHS,
    planes_suit,
    window_bits_of,
)
from foldwright.kernels import njit

__all__ = [
    "BUCKET_LUTS",
    "FAR",
    "Frontiers",
    "added_cycles",
    "distinct",
    "fastest",
    "frontier",
    "kinds_of",
    "layer_cycles",
    "least_luts",
    "lower_drains",
    "needs_drains",
    "pack_engine",
    "set_height",
    "unpack_engine",
    "widths_of",
    "window_lanes",
]

IntArray = npt.NDArray[np.int64]

FAR = 1 << 60
BUCKET_LUTS = 8
"""Frontiers count LUTs rounded down to this many: bounds stay bounds, and a design a few LUTs over is found out later."""


@njit(cache=True)
def needs_drains(mappings: IntArray) -> bool:
    """Whether a faster drain would help any layer."""
    for i in range(len(mappings)):
        if mappings[i, M_DRAIN] > mappings[i, M_T]:
            return True
    return False


@njit(cache=True)
def set_height(layer: IntArray, row: IntArray, mapping: IntArray) -> None:
    """Changes a mapping to the `dm` of an engine, on which nothing but blocks and weight words depends."""
    parts = layer[L_PARTS]
    mapping[M_BLOCKS] = parts * ceil_div(layer[L_OUT_C] // parts, row[E_DM])
    mapping[M_CYCLES] = mapping[M_BLOCKS] * mapping[M_ROWS] * mapping[M_ROW_CYCLES]
    mapping[M_WEIGHT_WORD_BITS] = row[E_DM] * row[E_DK] // (row[E_PA_MASK] & -row[E_PA_MASK])


@njit(cache=True)
def distinct(layers: IntArray, values: IntArray, column: int, grouped: int) -> IntArray:
    """Returns the positions of values that cut some layer's extent into fewer parts than the value before.

    Between them an engine grows without becoming faster.
    """
    keep, n = np.zeros(len(values), dtype=np.int64), 0
    for k in range(len(values)):
        for i in range(len(layers)):
            extent = layers[i, column] // (layers[i, L_PARTS] if grouped else 1)
            if k == 0 or ceil_div(extent, values[k]) < ceil_div(extent, values[k - 1]):
                keep[n] = k
                n += 1
                break
    return keep[:n]


@njit(cache=True)
def window_lanes(layers: IntArray) -> IntArray:
    """Returns marks of `COUNTS`: column lanes that may fill a window in fewer words than fewer lanes do."""
    marks = np.zeros(len(COUNTS), dtype=np.int64)
    if window_bits_of(layers) > 0:
        for i in range(len(layers)):
            if layers[i, L_IS_IMAGE_IN]:
                marks[: layers[i, L_KW]] = 1
    return marks


@njit(cache=True)
def lower_drains(row: IntArray, mappings: IntArray, saving: IntArray) -> None:
    """Takes off a tile's latency what more drain lanes may save, for an engine that stands for all that have more.

    Where the drain does not set the pace of any layer, more drain lanes are not enumerated.
    """
    lanes, least = ceil_div(row[E_DN], row[E_DRAIN]), ceil_div(row[E_DN], DRAINS[-1])
    for i in range(len(mappings)):
        writes = mappings[i, M_DRAIN] // lanes
        mappings[i, M_LATENCY] -= writes * (lanes - least)
        if saving[i, 1] > 0:
            saving[i, 1] -= (writes - 1) * (lanes - least)


@njit(cache=True)
def widths_of(layers: IntArray, planes: int, window_bits: int) -> IntArray:
    """Returns the positions of `dk` that need fewer words for some layer than the smaller ones do.

    Of units in DSP slices all that suit: more values may make shorter cascades, which are quicker and delay less.

    Args:
        planes: position in `PLANES`.
    """
    mask = PLANES[planes]
    keep, n = np.zeros(len(WIDTHS), dtype=np.int64), 0
    most_act = layers[:, L_A_BITS].max()
    last = -1
    for k in range(len(WIDTHS)):
        if not planes_suit(mask, WIDTHS[k], most_act):
            continue
        fewer = last < 0 or ON_DSP[planes] == 1
        for i in range(len(layers)):
            channels = layers[i, L_IN_C] // layers[i, L_GROUPS]
            packed = (
                channels * layers[i, L_KH] * layers[i, L_KW]
                if window_bits and layers[i, L_IS_IMAGE_IN]
                else channels
            )
            for log_pa in range(4):
                if mask >> log_pa & 1 and last >= 0:
                    pa = 1 << log_pa
                    fewer = fewer or ceil_div(channels, WIDTHS[k] // pa) < ceil_div(
                        channels, WIDTHS[last] // pa
                    )
                    fewer = fewer or ceil_div(packed, WIDTHS[k] // pa) < ceil_div(packed, WIDTHS[last] // pa)
        if fewer:
            keep[n] = k
            n += 1
        last = k
    return keep[:n]


@njit(cache=True)
def frontier(
    layers: IntArray, lut_terms: IntArray, lut_budget: int, dsp_budget: int, batch: int, is_batch: int, is_and: int, kind: int,
    best: IntArray, config: IntArray,
) -> int:  # fmt: skip
    """Enumerates all engines of one kind, with one kind of lanes and of arithmetic, and returns how many there are.

    Args:
        best: int64 (layers, layers + 1, buckets): receives the fewest milli-cycles a frame of layers i..j-1 by LUTs.
        config: int32 of the same shape: receives the engine, packed.
    """
    n, count = len(layers), 0
    needs = needs_of(layers, is_and)
    row = np.zeros(ENGINE_FIELDS, dtype=np.int64)
    mappings = np.zeros((n, MAPPING_FIELDS), dtype=np.int64)
    saving, times = np.zeros((n, 2), dtype=np.int64), np.zeros((n, 2), dtype=np.int64)
    reads = first_reads(layers)
    row[E_BATCH], row[E_AND], row[E_LEVELS], row[E_SCALES] = is_batch, is_and, 1, layers[:, L_SCALES].max()
    row[E_DSP] = kind
    heights = distinct(layers, COUNTS, L_OUT_C, 1)
    marks = window_lanes(layers)
    marks[distinct(layers, COUNTS, L_OUT_W, 0)] = 1
    lanes = np.flatnonzero(marks)
    if is_batch:
        frames = np.zeros((1, layers.shape[1]), dtype=np.int64)
        frames[0, L_OUT_W] = batch
        lanes = distinct(frames, COUNTS, L_OUT_W, 0)
    for a_planes in np.flatnonzero(kind == ON_DSP):
        row[E_PA_MASK] = PLANES[a_planes]
        for window in range(2 if window_bits_of(layers) > 0 else 1):
            row[E_WINDOW] = window_bits_of(layers) if window else 0
            for a_dk in widths_of(layers, a_planes, row[E_WINDOW]):
                row[E_DK] = WIDTHS[a_dk]
                for a_dn in lanes:
                    row[E_DN] = COUNTS[a_dn]
                    for a_drain in range(len(DRAINS)):
                        row[E_DRAIN] = DRAINS[a_drain]
                        if row[E_DRAIN] > row[E_DN]:
                            break
                        row[E_DM] = 1
                        map_run(layers, 0, n, row, batch, mappings, saving)
                        helps = needs_drains(mappings)
                        if not helps:
                            lower_drains(row, mappings, saving)
                        for a_dm in heights:
                            row[E_DM] = COUNTS[a_dm]
                            for i in range(n):
                                set_height(layers[i], row, mappings[i])
                            layer_cycles(mappings, saving, times)
                            code = pack_engine(a_dm, a_dk, a_dn, a_drain, a_planes, window, is_batch)
                            count += 1
                            if not _update(
                                layers, row, mappings, times, reads, needs, lut_terms, lut_budget, dsp_budget, batch, code,
                                best, config,
                            ):  # fmt: skip
                                break
                        if not helps:
                            break
    return count


@njit(cache=True)
def layer_cycles(mappings: IntArray, saving: IntArray, out: IntArray) -> None:
    """Writes of each layer, into int64 (layers, 2), its cycles where another engine is the first to read it, and what it takes
    more where its own engine is, see `map_run`.
    """
    for i in range(len(mappings)):
        more = mappings[i, M_BLOCKS] * mappings[i, M_ROWS] * saving[i, 0] + saving[i, 1]
        out[i, 0], out[i, 1] = mappings[i, M_CYCLES] + mappings[i, M_LATENCY] - more, more


@njit(cache=True)
def added_cycles(times: IntArray, reads: IntArray, i: int, j: int) -> int:
    """Returns the cycles by which a run from layer `i` on becomes longer with layer `j`; `reads` as of `first_reads`.

    Who reads the new layer is not known; those that it is the first to read lie on its own engine.
    """
    cycles = times[j, 0]
    if reads[j, 0] >= i:
        cycles += times[reads[j, 0], 1]
    if reads[j, 1] >= i:
        cycles += times[reads[j, 1], 1]
    return cycles


@njit(cache=True)
def pack_engine(dm: int, dk: int, dn: int, drain: int, planes: int, window: int, lanes: int) -> int:
    return ((((dm * 64 + dk) * 64 + dn) * 16 + drain) * 16 + planes) * 4 + window * 2 + lanes


@njit(cache=True)
def _update(
    layers: IntArray, row: IntArray, mappings: IntArray, times: IntArray, reads: IntArray, needs: Needs,
    lut_terms: IntArray, lut_budget: int, dsp_budget: int, batch: int, code: int, best: IntArray, config: IntArray,
) -> bool:  # fmt: skip
    """Enters one engine for every run of layers; returns whether it fits the budget for any.

    A run that needs no AND engine is entered for XNOR only, as the rules of the space have it.
    """
    n, dm, any_fits = len(layers), row[E_DM], False
    of_layer, shallow, deep = needs.of_layer, needs.shallow, needs.deep
    shallow[:] = -1
    for i in range(n if row[E_WINDOW] == 0 else 1):
        cycles, lut, acc, levels, sums, words, depth, signed = 0, 0, -1, -1, -1, 0, -1, 0
        for j in range(i, n):
            if mappings[j, M_PA] == 0:
                break
            cycles += added_cycles(times, reads, i, j)
            words += mappings[j, M_BLOCKS]
            signed = max(signed, of_layer[j, 3])
            stores, deeper = layers[j, L_IS_RESULT], (words + 63) // 64
            if (
                stores or deeper > depth or of_layer[j, 0] > acc or of_layer[j, 1] > levels or of_layer[j, 2] > sums
            ):  # fmt: skip
                acc, levels, sums = (
                    max(acc, of_layer[j, 0]),
                    max(levels, of_layer[j, 1]),
                    max(sums, of_layer[j, 2]),
                )
                depth = deeper
                if shallow[acc, levels, sums, stores] < 0 or deep[dm, acc, levels, depth] < 0:
                    count_luts(row, needs, acc, levels, sums, depth, stores, lut_terms)
                lut = rounded_terms(shallow[acc, levels, sums, stores] + deep[dm, acc, levels, depth])
            if lut > lut_budget or least_slices(row, needs.levels[levels]) > dsp_budget:
                break
            any_fits = True
            if signed != row[E_AND]:
                continue
            value, bucket = MILLI * cycles // batch, lut // BUCKET_LUTS
            if value < best[i, j + 1, bucket]:
                best[i, j + 1, bucket], config[i, j + 1, bucket] = value, code
    return any_fits


@njit(cache=True)
def _close(best: IntArray, config: IntArray) -> None:
    """Makes each entry the best of all of its kind with as many LUTs or fewer."""
    for k in range(best.shape[0]):
        for i in range(best.shape[1]):
            for j in range(best.shape[2]):
                for lut in range(1, best.shape[3]):
                    if best[k, i, j, lut - 1] <= best[k, i, j, lut]:
                        best[k, i, j, lut] = best[k, i, j, lut - 1]
                        config[k, i, j, lut] = config[k, i, j, lut - 1]


@njit(cache=True)
def least_luts(best: IntArray, kind: int, i: int, j: int, value: int) -> int:
    """Returns the fewest LUTs of a kind of engine that run layers i..j-1 in `value` or less; far away if none do."""
    low, high = 0, best.shape[3]
    while low < high:
        middle = (low + high) // 2
        if best[kind, i, j, middle] <= value:
            high = middle
        else:
            low = middle + 1
    return low if low < best.shape[3] else FAR


@njit(cache=True)
def kinds_of(best: IntArray, edges: IntArray, value: int) -> tuple[int, int]:
    """Returns the fewest LUTs, in buckets, of a chain no slower than `value`, and its engine of kind dsp; -1 where it has none.

    Far away or farther where there is no such chain.
    """
    total, most, on_dsp, far = 0, 0, -1, 0
    for k in range(len(edges) - 1):
        planes = least_luts(best, 0, edges[k], edges[k + 1], value)
        slices = least_luts(best, 1, edges[k], edges[k + 1], value) if len(best) > 1 else FAR
        if planes >= FAR and slices < FAR:
            far, planes = far + 1, 2 * best.shape[3]  # that engine must be the one
        total += planes
        if planes - slices > most:
            most, on_dsp = planes - slices, k
    return (FAR if far > 1 else total - most), on_dsp


@njit(cache=True)
def fastest(best: IntArray, edges: IntArray, budget: int) -> int:
    """Returns the least time at which the engines between the edges together stay within a budget, in buckets."""
    low, high = 0, 0
    for k in range(len(edges) - 1):
        least = FAR
        for kind in range(len(best)):
            mine = best[kind, edges[k], edges[k + 1]]
            least = min(least, mine[budget])
            for bucket in range(budget + 1):
                if mine[bucket] < FAR:
                    high = max(high, mine[bucket])
                    break
        low = max(low, least)
    if low >= FAR or kinds_of(best, edges, high)[0] > budget:
        return FAR
    while low < high:
        middle = (low + high) // 2
        if kinds_of(best, edges, middle)[0] <= budget:
            high = middle
        else:
            low = middle + 1
    return low


def unpack_engine(code: int) -> tuple[int, ...]:
    """Returns the seven choices of a packed engine, in the order of the decisions."""
    code, lanes = divmod(code, 2)
    code, window = divmod(code, 2)
    code, planes = divmod(code, 16)
    code, drain = divmod(code, 16)
    code, dn = divmod(code, 64)
    dm, dk = divmod(code, 64)
    return lanes, planes, window, dm, dk, dn, drain


class Frontiers:
    """The closed frontiers of one network by frames per round, each enumerated when it is first asked for."""

    def __init__(
        self, layers: IntArray, lut_terms: IntArray, lut_budget: int, dsp_budget: int, has_dsp: bool
    ) -> None:
        """Args:
        has_dsp: whether an engine may be of kind dsp.
        """
        self.layers, self.lut_budget = layers, lut_budget
        self._lut_terms, self._dsp_budget = lut_terms, dsp_budget
        self._kinds = 1 + (has_dsp and bool((layers[:, L_W_KIND] != W_SIGNED).any()))
        self._closed: dict[int, tuple[IntArray, IntArray]] = {}
        self._columns: tuple[IntArray, IntArray] | None = None
        self.engines_counted = 0

    def of(self, batch_index: int) -> tuple[IntArray, IntArray]:
        """Returns (fewest milli-cycles, engines) for a number of frames per round, column lanes included."""
        if batch_index not in self._closed:
            best, config = self._nothing()
            if batch_index > 0:
                best[:], config[:] = self._column_frontier()
            self._enumerate(int(BATCHES[batch_index]), int(batch_index > 0), best, config)
            _close(best, config)
            self._closed[batch_index] = best, config
        return self._closed[batch_index]

    def _nothing(self) -> tuple[IntArray, IntArray]:
        n = len(self.layers)
        shape = (self._kinds, n, n + 1, self.lut_budget // BUCKET_LUTS + 1)
        return np.full(shape, FAR, dtype=np.int64), np.full(shape, -1, dtype=np.int32)

    def _enumerate(self, batch: int, is_batch: int, best: IntArray, config: IntArray) -> None:
        ways = [(int(w == W_SIGNED), 0) for w in np.unique(self.layers[:, L_W_KIND])]
        for is_and, kind in sorted({*ways, *([(0, 1)] if self._kinds > 1 else [])}):
            self.engines_counted += frontier(
                self.layers, self._lut_terms, self.lut_budget, self._dsp_budget, batch, is_batch, is_and, kind, best[kind],
                config[kind],
            )  # fmt: skip

    def _column_frontier(self) -> tuple[IntArray, IntArray]:
        """Returns the frontier of column lanes in rounds of the most frames, which bounds rounds of fewer.

        Column lanes take as many cycles for each frame, but flush once a round.
        """
        if self._columns is None:
            self._columns = self._nothing()
            self._enumerate(int(BATCHES[-1]), 0, *self._columns)
        return self._columns

    def load_kernels(self) -> None:
        """Compiles the kernels, or takes them from the cache, by a network of one layer without a budget."""
        best, config = np.full((1, 1, 2, 1), FAR, dtype=np.int64), np.full((1, 1, 2, 1), -1, dtype=np.int32)
        frontier(self.layers[:1], self._lut_terms, 0, 0, 1, 0, 0, 0, best[0], config[0])
        _close(best, config)
        fastest(best, np.array([0, 1], dtype=np.int64), 0)
