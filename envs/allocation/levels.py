"""All engines of the space between two times: the fewest LUTs by run of layers, level of time and block RAMs.

`FrontierSearch` in `exact` knows LUTs and time only. Here a known design of cost `high` helps: any design at least as good
computes within `high`, moves no more over DRAM than the port can in that time, and so keeps the rest on chip
(`memory_bound`). Times from `low`, a bound on every design, to `high` are cut into `LEVELS` equal levels; faster
engines count as level 0. A chain of engines fits a level if none is slower and LUTs and block RAMs together fit. The least
level that any chain fits bounds all designs from below: the best design is one of those chains, or `high` is the best.

Every shape that is left out is dominated: by `distinct` and `widths_of` (more lanes or words that take no fewer cycles and no
shallower memories), by its LUTs, or by `high`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import rounded_terms
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_PA,
    M_WEIGHT_WORDS_PER_BLOCK,
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
    L_IN_W,
    L_IS_RESULT,
    L_OUT_C,
    L_OUT_W,
    L_PAD_L,
    L_SCALES,
    L_SW,
    L_W_KIND,
    W_SIGNED,
)
from foldwright.envs.allocation.engine_needs import Needs, count_luts, least_slices, needs_of
from foldwright.envs.allocation.frontier import (
    added_cycles,
    distinct,
    layer_cycles,
    lower_drains,
    needs_drains,
    pack_engine,
    set_height,
    widths_of,
    window_lanes,
)
from foldwright.envs.allocation.memory_bound import (
    LAYER_WORDS,
    W_LINE,
    W_PINNED,
    W_TILE,
    detour_bits,
    extend_run,
    layer_words,
    least_block_rams,
    spare_bits,
)
from foldwright.envs.allocation.score import MILLI, N_DRAM_BITS, N_DSP, N_HAS_DSP, N_LUT, N_POOL
from foldwright.envs.allocation.space import (
    BATCHES,
    COUNTS,
    DRAINS,
    ON_DSP,
    PLANES,
    WIDTHS,
    window_bits_of,
)
from foldwright.kernels import njit

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = [
    "LEVELS",
    "EnginePoint",
    "LevelTables",
    "close_levels",
    "enter_shapes",
    "lane_counts",
    "least_level",
    "shape_columns",
]

IntArray = npt.NDArray[np.int64]
_Table = npt.NDArray[np.int32]

LEVELS = 64
_FAR = 1 << 29
# Entries of the numbers of an enumeration.
_LOW, _HIGH, _LUTS, _POOL, _BATCH, _SPARE, _DSP = range(7)


@njit(cache=True)
def lane_counts(layers: IntArray, batch: int, is_batch: int) -> IntArray:
    """Returns the positions of `dn` that cut outputs, stored inputs or image rows into fewer groups, or fill a window sooner."""
    if is_batch:
        frames = np.zeros((1, layers.shape[1]), dtype=np.int64)
        frames[0, L_OUT_W] = batch
        return distinct(frames, COUNTS, L_OUT_W, 0)
    stored = layers.copy()
    for i in range(len(layers)):
        stored[i, L_IN_W] = ceil_div(layers[i, L_IN_W] + layers[i, L_PAD_L], layers[i, L_SW])
    marks = window_lanes(layers)
    marks[distinct(layers, COUNTS, L_OUT_W, 0)] = 1
    marks[distinct(layers, COUNTS, L_IN_W, 0)] = 1
    marks[distinct(stored, COUNTS, L_IN_W, 0)] = 1
    return np.flatnonzero(marks)


@njit(cache=True)
def shape_columns(layers: IntArray, batch: int, is_batch: int, kind: int) -> IntArray:
    """Returns the shapes of a kind of engine, int64 (shapes, 4): positions of planes, `dk`, `dn`; window; no `dm`, no drain."""
    lanes = lane_counts(layers, batch, is_batch)
    windows = 2 if window_bits_of(layers) > 0 else 1
    out = np.empty((len(PLANES) * windows * len(WIDTHS) * len(lanes), 4), dtype=np.int64)
    n = 0
    for planes in np.flatnonzero(kind == ON_DSP):
        for window in range(windows):
            for dk in widths_of(layers, planes, window * window_bits_of(layers)):
                for dn in lanes:
                    out[n, 0], out[n, 1], out[n, 2], out[n, 3] = planes, dk, dn, window
                    n += 1
    return out[:n]


@njit(cache=True)
def enter_shapes(
    layers: IntArray, lut_terms: IntArray, geometries: IntArray, numbers: IntArray, caps: IntArray, is_batch: int,
    is_and: int, columns: IntArray, best: IntArray, config: IntArray,
) -> int:  # fmt: skip
    """Enters all engines with one kind of lanes and of arithmetic, and returns how many there are.

    Args:
        caps: int64 (layers, layers + 1), the most LUTs of an engine for layers i..j-1, negative where none is of use.
        columns: see `shape_columns`.
        best: int32 (layers, layers + 1, levels, pool + 1): receives the fewest LUTs for layers i..j-1.
        config: int32 of the same shape: receives the engine, packed.
    """
    n, count, batch = len(layers), 0, numbers[_BATCH]
    needs = needs_of(layers, is_and)
    kept = detour_bits(layers) * batch > numbers[_SPARE]
    heights = distinct(layers, COUNTS, L_OUT_C, 1)
    row = np.zeros(ENGINE_FIELDS, dtype=np.int64)
    mappings = np.zeros((n, MAPPING_FIELDS), dtype=np.int64)
    words = np.zeros((n, LAYER_WORDS), dtype=np.int64)
    saving, times = np.zeros((n, 2), dtype=np.int64), np.zeros((n, 2), dtype=np.int64)
    reads = first_reads(layers)
    row[E_BATCH], row[E_AND], row[E_LEVELS], row[E_SCALES] = is_batch, is_and, 1, layers[:, L_SCALES].max()
    for c in range(len(columns)):
        planes, a_dk, a_dn, window = columns[c]
        row[E_PA_MASK], row[E_DSP], row[E_DK], row[E_DN] = (
            PLANES[planes],
            ON_DSP[planes],
            WIDTHS[a_dk],
            COUNTS[a_dn],
        )
        row[E_WINDOW] = window_bits_of(layers) if window else 0
        for drain in range(len(DRAINS)):
            row[E_DRAIN] = DRAINS[drain]
            if row[E_DRAIN] > row[E_DN]:
                break
            row[E_DM] = 1
            map_run(layers, 0, n, row, batch, mappings, saving)
            for i in range(n):
                layer_words(layers[i], row, mappings[i], batch, words[i])
            helps = needs_drains(mappings)
            if not helps:
                lower_drains(row, mappings, saving)
            for a_dm in heights:
                row[E_DM] = COUNTS[a_dm]
                for i in range(n):
                    set_height(layers[i], row, mappings[i])
                    each = mappings[i, M_WEIGHT_WORDS_PER_BLOCK]
                    words[i, W_TILE] = each
                    words[i, W_PINNED] = mappings[i, M_BLOCKS] * each
                layer_cycles(mappings, saving, times)
                code = pack_engine(a_dm, a_dk, a_dn, drain, planes, window, is_batch)
                count += 1
                if not _enter(
                    layers, row, mappings, times, reads, words, needs, kept, lut_terms, geometries, numbers, caps, code,
                    best, config,
                ):  # fmt: skip
                    break
            if not helps:
                break
    return count


@njit(cache=True)
def _enter(
    layers: IntArray, row: IntArray, mappings: IntArray, times: IntArray, reads: IntArray, words: IntArray,
    needs: Needs, kept: IntArray, lut_terms: IntArray, geometries: IntArray, numbers: IntArray, caps: IntArray,
    code: int, best: IntArray, config: IntArray,
) -> bool:  # fmt: skip
    """Enters one engine for every run of layers; returns whether it fits the LUTs of any, and a larger one might."""
    n, levels, any_fits = len(layers), best.shape[2], False
    low, span = numbers[_LOW], numbers[_HIGH] - numbers[_LOW] + 1
    live, run = np.zeros((n, 2), dtype=np.int64), np.zeros(4, dtype=np.int64)
    dm, of_layer, shallow, deep = row[E_DM], needs.of_layer, needs.shallow, needs.deep
    shallow[:] = -1
    for i in range(n if row[E_WINDOW] == 0 else 1):
        end = n
        while end > i and caps[i, end] < 0:
            end -= 1
        cycles, lut, acc, most, sums, blocks, depth, signed = 0, 0, -1, -1, -1, 0, -1, 0
        run[:] = 0
        for j in range(i, end):
            if mappings[j, M_PA] == 0:
                break
            cycles += added_cycles(times, reads, i, j)
            blocks += mappings[j, M_BLOCKS]
            signed = max(signed, of_layer[j, 3])
            stores, deeper = layers[j, L_IS_RESULT], (blocks + 63) // 64
            if (
                stores or deeper > depth or of_layer[j, 0] > acc or of_layer[j, 1] > most or of_layer[j, 2] > sums
            ):  # fmt: skip
                acc, most, sums = (
                    max(acc, of_layer[j, 0]),
                    max(most, of_layer[j, 1]),
                    max(sums, of_layer[j, 2]),
                )
                depth = deeper
                if shallow[acc, most, sums, stores] < 0 or deep[dm, acc, most, depth] < 0:
                    count_luts(row, needs, acc, most, sums, depth, stores, lut_terms)
                lut = rounded_terms(shallow[acc, most, sums, stores] + deep[dm, acc, most, depth])
            if lut > numbers[_LUTS] or least_slices(row, needs.levels[most]) > numbers[_DSP]:
                break
            # No run from here to a later layer takes fewer LUTs, nor does a larger engine; a larger one may get further.
            any_fits = any_fits or lut <= caps[i, j + 1 : end + 1].max()
            value = MILLI * cycles // numbers[_BATCH]
            if value > numbers[_HIGH]:
                break
            extend_run(layers, words, kept, i, j, live, run)
            if signed != row[E_AND] or lut > caps[i, j + 1]:
                continue
            level = max(0, value - low) * levels // span
            bram36 = 2
            if best[i, j + 1, level, min(bram36, numbers[_POOL])] <= lut:
                continue
            bram36 = least_block_rams(
                layers[i], row, mappings[i], run, words[i, W_LINE], numbers[_SPARE], geometries
            )
            _lower(best[i, j + 1, level], config[i, j + 1, level], bram36, lut, code)
    return any_fits


@njit(cache=True)
def _lower(best: IntArray, config: IntArray, bram36: int, lut: int, code: int) -> None:
    """Enters an engine for as many block RAMs as it needs and for more, as far as it has the fewest LUTs."""
    for b in range(bram36, len(best)):
        if best[b] <= lut:
            break
        best[b], config[b] = lut, code


@njit(cache=True)
def close_levels(best: IntArray, config: IntArray) -> None:
    """Makes each entry the best of all of its kind that are as fast or faster."""
    for k in range(best.shape[0]):
        for i in range(best.shape[1]):
            for j in range(best.shape[2]):
                for level in range(1, best.shape[3]):
                    before, here = best[k, i, j, level - 1], best[k, i, j, level]
                    for b in range(best.shape[4]):
                        if before[b] <= here[b]:
                            here[b], config[k, i, j, level, b] = before[b], config[k, i, j, level - 1, b]


@njit(cache=True)
def _fits(best: IntArray, edges: IntArray, level: int, lut_budget: int) -> bool:
    """Whether engines between the edges, none slower than a level, fit in LUTs and block RAMs together.

    One of them may be of kind dsp: totals are those of chains without it and with it.
    """
    kinds, pool = best.shape[0], best.shape[4] - 1
    total = np.full((2, pool + 1), _FAR, dtype=np.int64)
    total[0, 0] = 0
    for k in range(len(edges) - 1):
        after = np.full((2, pool + 1), _FAR, dtype=np.int64)
        for before in range(2):
            for kind in range(min(kinds, 2 - before)):
                mine, sums = best[kind, edges[k], edges[k + 1], level], after[before + kind]
                for a in range(pool + 1):
                    if total[before, a] <= lut_budget:
                        for b in range(pool + 1 - a):
                            sums[a + b] = min(sums[a + b], total[before, a] + mine[b])
        total = after
    return total.min() <= lut_budget


@njit(cache=True)
def least_level(best: IntArray, edges: IntArray, lut_budget: int, most: int) -> int:
    """Returns the least level below `most` that a chain with these edges fits, or `most`."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if _fits(best, edges, middle, lut_budget):
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True, slots=True)
class EnginePoint:
    """An engine for layers first..end-1 that no other of its run, frames and kind beats, nor any of planes: its level, LUTs and
    block RAMs."""

    batch_index: int
    first: int
    end: int
    level: int
    bram36: int
    lut: int
    code: int
    on_dsp: bool


class LevelTables:
    """The tables of one instance between two times; see the module's docstring.

    Attributes:
        low: A bound on the cost of every design.
        high: The cost of a design that is known.
    """

    def __init__(self, problem: AllocationProblem, low: int, high: int) -> None:
        self._problem = problem
        self.low, self.high = low, max(low, high)
        self._layers, self._geometries, self._lut_terms, _, self._limits = problem.tables
        self._tables: dict[int, tuple[_Table, _Table]] = {}
        self.engines_counted = 0

    def _numbers(self, batch: int) -> IntArray:
        limits = self._limits
        spare = spare_bits(self._layers, self.high, batch, limits[N_DRAM_BITS])
        numbers = [self.low, self.high, limits[N_LUT], limits[N_POOL], batch, spare, limits[N_DSP]]
        return np.array(numbers, dtype=np.int64)

    def table(self, batch_index: int) -> tuple[_Table, _Table]:
        """Returns (fewest LUTs, engines) by kind for a number of frames per round; see `enter_shapes`."""
        if batch_index not in self._tables:
            n, batch = len(self._layers), int(BATCHES[batch_index])
            signed = self._layers[:, L_W_KIND] == W_SIGNED
            ways = [(int(s), 0) for s in np.unique(signed)]
            if self._limits[N_HAS_DSP] and not signed.all():
                ways.append((0, 1))
            shape = (1 + ways[-1][1], n, n + 1, LEVELS, int(self._limits[N_POOL]) + 1)
            best, config = np.full(shape, _FAR, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
            numbers = self._numbers(batch)
            caps = self._caps(batch_index)
            if numbers[_SPARE] >= 0 and caps.max() >= 0:
                for is_batch in range(1 + (batch > 1)):
                    for is_and, kind in ways:
                        columns = shape_columns(self._layers, batch, is_batch, kind)
                        self.engines_counted += enter_shapes(
                            self._layers, self._lut_terms, self._geometries, numbers, caps, is_batch, is_and, columns,
                            best[kind], config[kind],
                        )  # fmt: skip
            close_levels(best, config)
            self._tables[batch_index] = best, config
        return self._tables[batch_index]

    def _caps(self, batch_index: int) -> IntArray:
        """Returns the most LUTs that other engines, fast enough, leave to one for layers i..j-1; -1 where none."""
        n, most, budget = len(self._layers), self._problem.max_engines, int(self._limits[N_LUT])
        least: IntArray = self._problem.search.least_luts_within(batch_index, self.high)
        before = np.full(
            (most, n + 1), _FAR, dtype=np.int64
        )  # fewest LUTs of so many engines for the first layers
        after = np.full((most, n + 1), _FAR, dtype=np.int64)
        before[0, 0] = after[0, n] = 0
        for engines in range(1, most):
            before[engines] = (before[engines - 1, :n, None] + least).min(axis=0)
            after[engines, :n] = (least + after[engines - 1]).min(axis=1)
        caps = np.full((n, n + 1), -1, dtype=np.int64)
        for a in range(most):
            for b in range(most - a):
                caps = np.maximum(caps, budget - before[a, :n, None] - after[b])
        return np.where(least <= budget, caps, -1)

    def value(self, level: int) -> int:
        """Returns the least time of an engine of a level."""
        return self.low + -(-level * (self.high - self.low + 1) // LEVELS)

    def bound(self) -> int:
        """Returns a lower bound on the cost of every design, `high` at most."""
        least = LEVELS
        for batch_index in range(len(BATCHES)):
            best, _ = self.table(batch_index)
            for edges in self._edges():
                least = least_level(best, edges, int(self._limits[N_LUT]), least)
        return min(self.value(least), self.high)

    def _edges(self) -> Iterator[IntArray]:
        n = len(self._layers)
        for engines in range(1, min(self._problem.max_engines, n) + 1):
            for cuts in combinations(range(1, n), engines - 1):
                yield np.array((0, *cuts, n), dtype=np.int64)

    def points(self, batch_index: int) -> list[EnginePoint]:
        """Returns the engines of a number of frames per round that no other beats in level, block RAMs and LUTs."""
        best, config = self.table(batch_index)
        before = np.full_like(best, _FAR)
        before[..., 1:, :] = best[..., :-1, :]
        before[..., 1:] = np.minimum(before[..., 1:], best[..., :-1])
        before[1:] = np.minimum(before[1:], best[0])
        points = []
        for at in np.argwhere(best < before):
            kind, first, end, level, bram36 = (int(v) for v in at)
            lut, code = int(best[tuple(at)]), int(config[tuple(at)])
            points.append(EnginePoint(batch_index, first, end, level, bram36, lut, code, kind == 1))
        return points
