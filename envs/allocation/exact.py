"""Allocation by exhaustion of a bound: every shape is counted, and designs are simulated in the order of their bound.

For a run of layers i..j-1 the *frontier* is the fewest cycles of any engine by its LUTs: all `dm`, `dk`, `dn`, planes,
windows and drains of the space are enumerated (njit). A dynamic programme over the cuts then finds the fewest LUTs of
any chain of engines that is no slower than a given time, and bisection on the time finds the fastest within the budget.
Block RAMs and DRAM are left out, so that time is a lower bound on every design; `FrontierSearch.solve` simulates
designs close to it until none that is left could be better, or the stop says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import COST_FIELDS, sum_of_terms
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_CYCLES,
    M_DRAIN,
    M_LATENCY,
    M_PA,
    M_ROWS,
    M_T,
    MAPPING_FIELDS,
    accumulator_bits,
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
    E_LEVELS,
    E_PA_MASK,
    E_SCALES,
    E_SUM,
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
    L_RAW,
    L_SCALES,
    L_SUM_BITS,
    L_W_KIND,
    W_SIGNED,
)
from foldwright.envs.allocation import space
from foldwright.envs.allocation.memory_bound import compulsory_bits
from foldwright.envs.allocation.score import MILLI, N_DSP, N_LUT, fits_choices, is_resident
from foldwright.envs.allocation.space import (
    BATCHES,
    COUNTS,
    DRAINS,
    PLANES,
    WIDTHS,
    fill_cost_row,
    levels_of,
    planes_suit,
    window_bits_of,
)
from foldwright.envs.problem import Bound, Choices
from foldwright.kernels import njit

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = [
    "FrontierSearch",
    "added_cycles",
    "close_frontier",
    "distinct",
    "fastest",
    "frontier",
    "least_luts",
    "least_multipliers",
    "lower_drains",
    "luts_of",
    "pack_engine",
    "total_buckets",
    "unpack_engine",
    "widths_of",
    "window_lanes",
]

IntArray = npt.NDArray[np.int64]

_FAR = 1 << 60
_MEMO = 61
LEADERS = 5
"""How many chains with the best designs by the quick rule a search offers to tiling."""
LOWEST_BOUNDS = 9
"""How many chains with the lowest bounds it offers beside them: the rule may score a design far above what tiling reaches."""
BUCKET_LUTS = 8
"""Frontiers count LUTs rounded down to this many: bounds stay bounds, and a design a few LUTs over is found out later."""
_SLACKS = (0, 2, 5, 10, 15, 20, 30, 50, 80, 120, 200)
"""Thousandths by which a chain's engines may be slower than its bound; each gives other, smaller engines."""


@njit(cache=True)
def _needed_drains(mappings: IntArray) -> bool:
    """Whether a faster drain would help any layer."""
    for i in range(len(mappings)):
        if mappings[i, M_DRAIN] > mappings[i, M_T]:
            return True
    return False


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
def widths_of(layers: IntArray, mask: int, window_bits: int) -> IntArray:
    """Returns the positions of `dk` that need fewer words for some layer than the smaller ones do."""
    keep, n = np.zeros(len(WIDTHS), dtype=np.int64), 0
    most_act = layers[:, L_A_BITS].max()
    last = -1
    for k in range(len(WIDTHS)):
        if not planes_suit(mask, WIDTHS[k], most_act):
            continue
        fewer = last < 0
        for i in range(len(layers)):
            channels = layers[i, L_IN_C] // layers[i, L_GROUPS]
            packed = (
                channels * layers[i, L_KH] * layers[i, L_KW]
                if window_bits and layers[i, L_IS_IMAGE_IN]
                else channels
            )
            for log_pa in range(3):
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
    layers: IntArray, lut_terms: IntArray, lut_budget: int, dsp_budget: int, batch: int, is_batch: int, is_and: int,
    best: IntArray, config: IntArray,
) -> int:  # fmt: skip
    """Enumerates all engines with one kind of lanes and of arithmetic and returns how many there are.

    Args:
        best: int64 (layers, layers + 1, buckets): receives the fewest milli-cycles a frame of layers i..j-1 by LUTs.
        config: int64 of the same shape: receives the engine, packed.
    """
    n, count = len(layers), 0
    needs = np.zeros((n, 4), dtype=np.int64)
    for i in range(n):
        needs[i, 0] = accumulator_bits(layers[i], is_and)
        needs[i, 1] = 0 if layers[i, L_RAW] else levels_of(layers[i])
        needs[i, 2], needs[i, 3] = layers[i, L_W_KIND] == W_SIGNED, layers[i, L_SUM_BITS]
    row = np.zeros(ENGINE_FIELDS, dtype=np.int64)
    mappings = np.zeros((n, MAPPING_FIELDS), dtype=np.int64)
    saving, reads = np.zeros((n, 2), dtype=np.int64), first_reads(layers)
    memo = np.zeros((_MEMO, 2), dtype=np.int64)
    row[E_BATCH], row[E_AND], row[E_LEVELS], row[E_SCALES] = is_batch, is_and, 1, layers[:, L_SCALES].max()
    heights = distinct(layers, COUNTS, L_OUT_C, 1)
    marks = window_lanes(layers)
    marks[distinct(layers, COUNTS, L_OUT_W, 0)] = 1
    lanes = np.flatnonzero(marks)
    if is_batch:
        frames = np.zeros((1, layers.shape[1]), dtype=np.int64)
        frames[0, L_OUT_W] = batch
        lanes = distinct(frames, COUNTS, L_OUT_W, 0)
    for a_planes in range(len(PLANES)):
        row[E_PA_MASK] = PLANES[a_planes]
        for window in range(2 if window_bits_of(layers) > 0 else 1):
            row[E_WINDOW] = window_bits_of(layers) if window else 0
            for a_dk in widths_of(layers, row[E_PA_MASK], row[E_WINDOW]):
                row[E_DK] = WIDTHS[a_dk]
                for a_dn in lanes:
                    row[E_DN] = COUNTS[a_dn]
                    for a_drain in range(len(DRAINS)):
                        row[E_DRAIN] = DRAINS[a_drain]
                        if row[E_DRAIN] > row[E_DN]:
                            break
                        helps = False
                        for a_dm in heights:
                            row[E_DM] = COUNTS[a_dm]
                            map_run(layers, 0, n, row, batch, mappings, saving)
                            code = pack_engine(a_dm, a_dk, a_dn, a_drain, a_planes, window, is_batch)
                            helps = helps or _needed_drains(mappings)
                            if not helps:
                                lower_drains(row, mappings, saving)
                            count += 1
                            if not _update(
                                layers,
                                row,
                                mappings,
                                saving,
                                reads,
                                needs,
                                lut_terms,
                                lut_budget,
                                dsp_budget,
                                batch,
                                code,
                                best,
                                config,
                                memo,
                            ):
                                break
                        if not helps:
                            break
    return count


@njit(cache=True)
def _saved(mapping: IntArray, saving: IntArray) -> int:
    """Returns the cycles that a layer takes less if another engine is the first to read it, see `map_run`."""
    return mapping[M_BLOCKS] * mapping[M_ROWS] * saving[0] + saving[1]


@njit(cache=True)
def added_cycles(mappings: IntArray, saving: IntArray, reads: IntArray, i: int, j: int) -> int:
    """Returns the cycles by which a run from layer `i` on becomes longer with layer `j`; `reads` as of `first_reads`.

    Who reads the new layer is not known; those that it is the first to read lie on its own engine.
    """
    cycles = mappings[j, M_CYCLES] + mappings[j, M_LATENCY] - _saved(mappings[j], saving[j])
    for source in reads[j]:
        if source >= i:
            cycles += _saved(mappings[source], saving[source])
    return cycles


@njit(cache=True)
def pack_engine(dm: int, dk: int, dn: int, drain: int, planes: int, window: int, lanes: int) -> int:
    return ((((dm * 64 + dk) * 64 + dn) * 16 + drain) * 16 + planes) * 4 + window * 2 + lanes


@njit(cache=True)
def _update(
    layers: IntArray, row: IntArray, mappings: IntArray, saving: IntArray, reads: IntArray, needs: IntArray,
    lut_terms: IntArray, lut_budget: int, dsp_budget: int, batch: int, code: int, best: IntArray, config: IntArray,
    memo: IntArray,
) -> bool:  # fmt: skip
    """Enters one engine for every run of layers; returns whether it fits the budget for any.

    A run that needs no AND engine is entered for XNOR only, as the rules of the space have it.
    """
    n = len(layers)
    memo[:, 0] = -1
    any_fits = False
    for i in range(n if row[E_WINDOW] == 0 else 1):
        cycles, lut, acc, levels, words, depth, signed, row[E_SUM] = 0, 0, 0, -1, 0, -1, 0, 0
        for j in range(i, n):
            if mappings[j, M_PA] == 0:
                break
            cycles += added_cycles(mappings, saving, reads, i, j)
            words += mappings[j, M_BLOCKS]
            signed = max(signed, needs[j, 2])
            stores, wider = layers[j, L_IS_RESULT], needs[j, 3] > row[E_SUM]
            if wider:
                row[E_SUM] = needs[j, 3]
            if stores or wider or needs[j, 0] > acc or needs[j, 1] > levels or (words + 63) // 64 > depth:
                acc, levels, depth = max(acc, needs[j, 0]), max(levels, needs[j, 1]), (words + 63) // 64
                lut = luts_of(row, acc, levels, depth, stores, lut_terms, memo)
            if lut > lut_budget or least_multipliers(row, levels) > dsp_budget:
                break
            any_fits = True
            if signed != row[E_AND]:
                continue
            value = MILLI * cycles // batch
            if value < best[i, j + 1, lut // BUCKET_LUTS]:
                best[i, j + 1, lut // BUCKET_LUTS], config[i, j + 1, lut // BUCKET_LUTS] = value, code
    return any_fits


@njit(cache=True)
def least_multipliers(row: IntArray, levels: int) -> int:
    """Returns the fewest DSP slices of an engine that makes codes up to `levels`: one for each channel and lane of a beat."""
    return row[E_DM] * row[E_DRAIN] if row[E_SCALES] and levels > 0 else 0


@njit(cache=True)
def luts_of(
    row: IntArray, acc: int, levels: int, depth: int, stores: int, lut_terms: IntArray, memo: IntArray
) -> int:
    """Returns the LUTs of an engine whose threshold memories are `depth` times 64 words deep, or a little less."""
    key = (((acc * 256 + levels) * 65536 + depth) * 2 + stores) * 64 + row[E_SUM]
    place = key % len(memo)
    if memo[place, 0] != key:
        cost_row = np.zeros(COST_FIELDS, dtype=np.int64)
        fill_cost_row(row, acc, levels, max(1, 64 * depth - 63), stores, cost_row)
        memo[place, 0], memo[place, 1] = key, sum_of_terms(cost_row, lut_terms)
    return memo[place, 1]


@njit(cache=True)
def close_frontier(best: IntArray, config: IntArray) -> None:
    """Makes each entry the best of all with as many LUTs or fewer."""
    for i in range(best.shape[0]):
        for j in range(best.shape[1]):
            for lut in range(1, best.shape[2]):
                if best[i, j, lut - 1] <= best[i, j, lut]:
                    best[i, j, lut], config[i, j, lut] = best[i, j, lut - 1], config[i, j, lut - 1]


@njit(cache=True)
def least_luts(best: IntArray, i: int, j: int, value: int) -> int:
    """Returns the fewest LUTs that run layers i..j-1 in `value` or less; far away if none do."""
    low, high = 0, best.shape[2]
    while low < high:
        middle = (low + high) // 2
        if best[i, j, middle] <= value:
            high = middle
        else:
            low = middle + 1
    return low if low < best.shape[2] else _FAR


@njit(cache=True)
def total_buckets(best: IntArray, edges: IntArray, value: int) -> int:
    total = 0
    for k in range(len(edges) - 1):
        total += least_luts(best, edges[k], edges[k + 1], value)
    return total


@njit(cache=True)
def fastest(best: IntArray, edges: IntArray) -> int:
    """Returns the least time at which the engines between the edges together stay within the budget."""
    budget, low, high = best.shape[2] - 1, 0, 0
    for k in range(len(edges) - 1):
        least, most = best[edges[k], edges[k + 1], budget], 0
        for bucket in range(budget + 1):
            if best[edges[k], edges[k + 1], bucket] < _FAR:
                most = best[edges[k], edges[k + 1], bucket]
                break
        low, high = max(low, least), max(high, most)
    if low >= _FAR or total_buckets(best, edges, high) > budget:
        return _FAR
    while low < high:
        middle = (low + high) // 2
        if total_buckets(best, edges, middle) <= budget:
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True, slots=True)
class _Chain:
    """Cuts and frames per round with the bound on the time of any design that has them."""

    value: int
    batch_index: int
    cuts: tuple[int, ...]


class FrontierSearch:
    """Frontiers of one instance, made once: its bound and its exact search."""

    def __init__(self, problem: AllocationProblem) -> None:
        self._problem = problem
        self._layers, _, self._lut_terms, _, limits = problem.tables
        self._budget, self._dsp_budget = int(limits[N_LUT]), int(limits[N_DSP])
        self._frontiers: dict[int, tuple[IntArray, IntArray]] = {}
        self._columns: tuple[IntArray, IntArray] | None = None
        self._chains: list[_Chain] | None = None
        self.best: tuple[int, Choices] | None = None
        self._leaders: dict[bytes, tuple[int, Choices]] = {}
        self.engines_counted = 0
        self.cpu_seconds = 0.0
        """What the frontiers and chains took, loading of kernels apart."""

    def _frontier(self, batch_index: int) -> tuple[IntArray, IntArray]:
        """Returns the closed frontier for a number of frames per round, column lanes included."""
        if batch_index not in self._frontiers:
            n, batch = len(self._layers), int(BATCHES[batch_index])
            shape = (n, n + 1, self._budget // BUCKET_LUTS + 1)
            best, config = np.full(shape, _FAR, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
            if batch_index > 0:
                best[:], config[:] = self._column_frontier()
            self._enumerate(batch, int(batch_index > 0), best, config)
            close_frontier(best, config)
            self._frontiers[batch_index] = best, config
        return self._frontiers[batch_index]

    def _enumerate(self, batch: int, is_batch: int, best: IntArray, config: IntArray) -> None:
        for is_and in sorted({int(kind == W_SIGNED) for kind in self._layers[:, L_W_KIND]}):
            self.engines_counted += frontier(
                self._layers,
                self._lut_terms,
                self._budget,
                self._dsp_budget,
                batch,
                is_batch,
                is_and,
                best,
                config,
            )

    def _column_frontier(self) -> tuple[IntArray, IntArray]:
        """Returns the frontier of column lanes in rounds of the most frames, which bounds rounds of fewer.

        Column lanes take as many cycles for each frame, but flush once a round.
        """
        if self._columns is None:
            shape = self._frontier(0)[0].shape
            self._columns = np.full(shape, _FAR, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
            self._enumerate(int(BATCHES[-1]), 0, *self._columns)
        return self._columns

    def least_luts_within(self, batch_index: int, value: int) -> IntArray:
        """Returns the fewest LUTs of engines no slower than `value`, int64 (layers, layers + 1), rounded down."""
        best, _ = self._frontier(batch_index)
        n = len(self._layers)
        out = np.full((n, n + 1), _FAR, dtype=np.int64)
        for i, j in combinations(range(n + 1), 2):
            out[i, j] = min(_FAR, BUCKET_LUTS * least_luts(best, i, j, value))
        return out

    def chains(self) -> list[_Chain]:
        """Returns every way to cut the layers and choose frames per round, the best bound first."""
        if self._chains is None:
            _load_kernels(self._layers, self._lut_terms)
            before, found = time.process_time(), []
            n = len(self._layers)
            for batch_index in range(len(BATCHES)):
                best, _ = self._frontier(batch_index)
                for engines in range(1, min(self._problem.max_engines, n) + 1):
                    for cuts in combinations(range(1, n), engines - 1):
                        value = int(fastest(best, np.array((0, *cuts, n), dtype=np.int64)))
                        if value < _FAR:
                            found.append(_Chain(value, batch_index, cuts))
            self._chains = sorted(found, key=lambda c: (c.value, len(c.cuts), c.batch_index, c.cuts))
            self.cpu_seconds = time.process_time() - before
        return self._chains

    def bound(self) -> Bound:
        chains = self.chains()
        dram = self._dram_bound()
        if chains[0].value >= dram:
            proof = f"no engines of the space within the LUTs compute faster: {self.engines_counted} engines counted"
            return Bound(chains[0].value, proof)
        return Bound(dram, "image and outputs on the DRAM port")

    def _dram_bound(self) -> int:
        workload = self._problem.workload
        outputs = sum(lay.out_tensor_bits for lay in workload.layers if not workload.consumers(lay.name))
        return MILLI * max(int(compulsory_bits(self._layers)), outputs) // self._problem.dram_bits_per_cycle

    def designs(self, chain: _Chain) -> Iterator[Choices]:
        """Yields designs of a chain: the smallest engines at its bound, then a little slower ones."""
        for slack in _SLACKS:
            yield self.design(chain, chain.value + chain.value * slack // 1000)

    def design(self, chain: _Chain, value: int) -> Choices:
        """Returns the smallest engines of a chain that are no slower than `value` by their bound."""
        best, config = self._frontier(chain.batch_index)
        runs = list(pairwise((0, *chain.cuts, len(self._layers))))
        choices = self._problem.fallback.copy()
        choices[0] = len(runs) - 1
        choices[self._problem.max_engines] = chain.batch_index
        for e, (i, j) in enumerate(runs):
            if e < len(runs) - 1:
                choices[1 + e] = j - i - 1
            bucket = least_luts(best, i, j, value)
            at = space.first_decision(self._problem.max_engines, e)
            choices[at : at + space.PER_ENGINE] = unpack_engine(int(config[i, j, bucket]))
        return choices

    def solve(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        """Returns the best choices, the bound, and "optimal" where every design that is left is bounded worse.

        Designs that keep everything on chip come first: they are the quickest to simulate and rarely stall.
        """
        bound = self.bound().value
        self.best, self._simulated, self._leaders = None, 0, {}
        for resident in (True, False):
            for chain in self.chains():
                if (self.best and chain.value >= self.best[0]) or stop(self._simulated):
                    break
                self._try(chain, resident, stop)
        if self.best is None:
            return None, bound, "unknown"
        return self.best[1], bound, "optimal" if self.best[0] <= bound else "feasible"

    def _keep(self, cost: int, choices: Choices) -> None:
        """Enters a design among the leaders if it is the best of its chain."""
        key = choices[: self._problem.max_engines + 1].tobytes()
        if key not in self._leaders or cost < self._leaders[key][0]:
            self._leaders[key] = cost, choices

    def leading(self) -> list[Choices]:
        """Returns designs worth a search for their schedules: the best of those simulated, then those of lowest bounds.

        One design a chain; what fits with no schedule is left out.
        """
        best = sorted(self._leaders.values(), key=lambda leader: leader[0])[:LEADERS]
        fitting = (d for d in map(self._first_that_fits, self.chains()) if d is not None)
        return [*(choices for _, choices in best), *islice(fitting, LOWEST_BOUNDS)]

    def _first_that_fits(self, chain: _Chain) -> Choices | None:
        """Returns the fastest design of a chain that has room for the smallest tiles; None without any."""
        tables = self._problem.tables
        return next((d for d in self.designs(chain) if fits_choices.py_func(*tables, d)), None)

    def cheapest(self, value: int) -> Iterator[tuple[int, Choices]]:
        """Yields (LUTs of the engines, choices) of chains no slower than `value` by their bound, cheapest first."""
        found = []
        for chain in self.chains():
            if chain.value <= value:
                best, _ = self._frontier(chain.batch_index)
                edges = np.array((0, *chain.cuts, len(self._layers)), dtype=np.int64)
                found.append((int(total_buckets(best, edges, value)) * BUCKET_LUTS, chain))
        for luts, chain in sorted(found, key=lambda f: (f[0], f[1].value, f[1].batch_index, f[1].cuts)):
            yield luts, self.design(chain, value)

    def _try(self, chain: _Chain, resident: bool, stop: Callable[[int], bool]) -> None:
        """Simulates the designs of a chain that do, or do not, have room for everything."""
        tables = self._problem.tables
        for choices in self.designs(chain):
            if bool(is_resident.py_func(*tables, choices)) is not resident:
                continue
            cost = self._problem.cost_of(choices)
            self._simulated += 1
            if cost > 0:
                self._keep(cost, choices)
                if self.best is None or cost < self.best[0]:
                    self.best = cost, choices
            if stop(self._simulated):
                return


def _load_kernels(layers: IntArray, lut_terms: IntArray) -> None:
    """Compiles the kernels of the frontiers, or takes them from the cache, by a network of one layer without a budget."""
    best, config = np.full((1, 2, 1), _FAR, dtype=np.int64), np.full((1, 2, 1), -1, dtype=np.int64)
    frontier(layers[:1], lut_terms, 0, 0, 1, 0, 0, best, config)
    close_frontier(best, config)
    fastest(best, np.array([0, 1], dtype=np.int64))


def unpack_engine(code: int) -> tuple[int, ...]:
    """Returns the seven choices of a packed engine, in the order of the decisions."""
    code, lanes = divmod(code, 2)
    code, window = divmod(code, 2)
    code, planes = divmod(code, 16)
    code, drain = divmod(code, 16)
    code, dn = divmod(code, 64)
    dm, dk = divmod(code, 64)
    return lanes, planes, window, dm, dk, dn, drain
