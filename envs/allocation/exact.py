"""Allocation by exhaustion of a bound: every shape is counted, and designs are simulated in the order of their bound.

For a run of layers i..j-1 the *frontier* is the fewest cycles of any engine by its LUTs: all `dm`, `dk`, `dn`, planes,
windows and drains of the space are enumerated (njit). A dynamic programme over the cuts then finds the fewest LUTs of
any chain of engines, one of kind dsp at most, that is no slower than a given time, and bisection on the time finds the
fastest within the budget. Block RAMs and DRAM are left out, so that time is a lower bound on every design;
`FrontierSearch.solve` simulates designs close to it until none that is left could be better, or the stop says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foldwright.envs.allocation import space
from foldwright.envs.allocation.frontier import (
    BUCKET_LUTS,
    FAR,
    Frontiers,
    fastest,
    kinds_of,
    least_luts,
    unpack_engine,
)
from foldwright.envs.allocation.memory_bound import compulsory_bits
from foldwright.envs.allocation.score import MILLI, N_DSP, N_HAS_DSP, N_LUT, fits_choices, is_resident
from foldwright.envs.allocation.space import BATCHES
from foldwright.envs.problem import Bound, Choices

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["FrontierSearch"]

IntArray = npt.NDArray[np.int64]

LEADERS = 5
"""How many chains with the best designs by the quick rule a search offers to tiling."""
_SLACKS = (0, 2, 5, 10, 15, 20, 30, 50, 80, 120, 200)
"""Thousandths by which a chain's engines may be slower than its bound; each gives other, smaller engines."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """Cuts and frames per round with the bound on the time of any design that has them."""

    value: int
    batch_index: int
    cuts: tuple[int, ...]


class FrontierSearch:
    """Frontiers of one instance, made once: its bound and its exact search."""

    def __init__(self, problem: AllocationProblem, frontiers: Frontiers | None = None) -> None:
        """Args:
        frontiers: of the same network on the same part, with as many LUTs as the problem allows or more.
        """
        self._problem = problem
        self._layers, _, lut_terms, _, limits = problem.tables
        self._budget = int(limits[N_LUT])
        self.frontiers = frontiers or Frontiers(
            self._layers, lut_terms, self._budget, int(limits[N_DSP]), bool(limits[N_HAS_DSP])
        )
        self._chains: list[_Chain] | None = None
        self.best: tuple[int, Choices] | None = None
        self._leaders: dict[bytes, tuple[int, Choices]] = {}
        self.cpu_seconds = 0.0
        """What the frontiers and chains took, loading of kernels apart."""

    def least_luts_within(self, batch_index: int, value: int) -> IntArray:
        """Returns the fewest LUTs of engines no slower than `value`, int64 (layers, layers + 1), rounded down."""
        best, _ = self.frontiers.of(batch_index)
        n = len(self._layers)
        out = np.full((n, n + 1), FAR, dtype=np.int64)
        for i, j in combinations(range(n + 1), 2):
            least = min(int(least_luts(best, kind, i, j, value)) for kind in range(len(best)))
            out[i, j] = min(FAR, BUCKET_LUTS * least)
        return out

    def chains(self) -> list[_Chain]:
        """Returns every way to cut the layers and choose frames per round, the best bound first."""
        if self._chains is None:
            self.frontiers.load_kernels()
            before, found = time.process_time(), []
            n, buckets = len(self._layers), self._budget // BUCKET_LUTS
            for batch_index in range(len(BATCHES)):
                best, _ = self.frontiers.of(batch_index)
                for engines in range(1, min(self._problem.max_engines, n) + 1):
                    for cuts in combinations(range(1, n), engines - 1):
                        value = int(fastest(best, np.array((0, *cuts, n), dtype=np.int64), buckets))
                        if value < FAR:
                            found.append(_Chain(value, batch_index, cuts))
            self._chains = sorted(found, key=lambda c: (c.value, len(c.cuts), c.batch_index, c.cuts))
            self.cpu_seconds = time.process_time() - before
        return self._chains

    def bound(self) -> Bound:
        chains = self.chains()
        dram = self.dram_bound()
        if chains[0].value >= dram:
            proof = f"no engines of the space within the LUTs compute faster: {self.frontiers.engines_counted} engines counted"
            return Bound(chains[0].value, proof)
        return Bound(dram, "image and outputs on the DRAM port")

    def dram_bound(self) -> int:
        workload, beat_bits = self._problem.workload, self._problem.dram_bits_per_cycle
        outputs = sum(lay.out_tensor_bits for lay in workload.layers if not workload.consumers(lay.name))
        return -(-MILLI * max(int(compulsory_bits(self._layers, beat_bits)), outputs) // beat_bits)

    def designs(self, chain: _Chain) -> Iterator[Choices]:
        """Yields designs of a chain: the smallest engines at its bound, then a little slower ones."""
        for slack in _SLACKS:
            yield self.design(chain, chain.value + chain.value * slack // 1000)

    def design(self, chain: _Chain, value: int) -> Choices:
        """Returns the smallest engines of a chain that are no slower than `value` by their bound."""
        best, config = self.frontiers.of(chain.batch_index)
        runs = list(pairwise((0, *chain.cuts, len(self._layers))))
        choices = self._problem.fallback.copy()
        choices[0] = len(runs) - 1
        choices[self._problem.max_engines] = chain.batch_index
        on_dsp = kinds_of(best, np.array((0, *chain.cuts, len(self._layers)), dtype=np.int64), value)[1]
        for e, (i, j) in enumerate(runs):
            if e < len(runs) - 1:
                choices[1 + e] = j - i - 1
            kind = int(e == on_dsp)
            bucket = least_luts(best, kind, i, j, value)
            at = space.first_decision(self._problem.max_engines, e)
            choices[at : at + space.PER_ENGINE] = unpack_engine(int(config[kind, i, j, bucket]))
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

    def leading(self, per_frames: int = 1) -> list[Choices]:
        """Returns designs worth a search for their schedules: the best of those simulated, one a chain, then others.

        The others are `fastest_by_frames`: the rule that allocation simulates may score a design far above what tiling reaches.
        """
        best = sorted(self._leaders.values(), key=lambda leader: leader[0])[:LEADERS]
        return [*(choices for _, choices in best), *self.fastest_by_frames(per_frames)]

    def fastest_by_frames(self, most: int) -> list[Choices]:
        """Returns, for each number of frames per round, designs of up to `most` chains whose engines are the fastest.

        Each has room for the smallest tiles. Bounds hardly tell the numbers of frames apart, memories do. The fastest comes
        first.
        """
        tables = self._problem.tables
        found: list[list[tuple[float, Choices]]] = [[] for _ in BATCHES]
        for chain in self.chains():
            kept = found[chain.batch_index]
            slowest = kept[-1][0] if len(kept) == most else np.inf
            if chain.value >= MILLI * slowest:
                continue
            timed = sorted(
                ((self._problem.busiest_cycles(c), c) for c in self.designs(chain)), key=lambda pair: pair[0]
            )
            faster = (
                (cycles, c) for cycles, c in timed if cycles < slowest and fits_choices.py_func(*tables, c)
            )
            kept.extend(islice(faster, 1))
            kept.sort(key=lambda pair: pair[0])
            del kept[most:]
        everything = sorted((pair for kept in found for pair in kept), key=lambda pair: pair[0])
        return [choices for _, choices in everything]

    def like(self, choices: Choices, most: int) -> list[Choices]:
        """Returns designs, as many as asked for at most, that fit and cut layers and frames as choices do."""
        cuts = tuple(int(c) for c in np.cumsum(choices[1 : 1 + choices[0]] + 1))
        batch_index, tables = int(choices[self._problem.max_engines]), self._problem.tables
        same = (c for c in self.chains() if (c.cuts, c.batch_index) == (cuts, batch_index))
        fitting = (d for chain in same for d in self.designs(chain) if fits_choices.py_func(*tables, d))
        return list(islice(fitting, most))

    def cheapest(self, value: int) -> Iterator[tuple[int, Choices]]:
        """Yields (LUTs of the engines, choices) of chains no slower than `value` by their bound, cheapest first."""
        found = []
        for chain in self.chains():
            if chain.value <= value:
                best, _ = self.frontiers.of(chain.batch_index)
                edges = np.array((0, *chain.cuts, len(self._layers)), dtype=np.int64)
                found.append((int(kinds_of(best, edges, value)[0]) * BUCKET_LUTS, chain))
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
