"""Why no design reaches a rate: which of the limits that were asked for exclude each other, by CP-SAT's assumptions.

The model has one Boolean for each run of layers and number of frames per round: an engine for them with the fewest LUTs at which
it is fast enough, from the exact frontier of the whole part. Engines form a path over the layers. Each limit is enforced by a
literal that is assumed; what CP-SAT finds sufficient for infeasibility is made minimal by leaving one limit out after the other.
Block RAMs are left out, so a conflict is proven, and what would resolve it is necessary by the bound, not known to suffice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from foldwright.envs.allocation.score import N_LUT
from foldwright.envs.allocation.space import BATCHES

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["Conflict", "Limit", "conflicts_at"]

_MOST_ENGINES = 4
_MOST_DRAM_BITS = 1024


class Limit(Enum):
    """What a person may change."""

    RATE = "rate"
    LUTS = "LUTs"
    ENGINES = "engines"
    DRAM = "DRAM bits"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Limits that no design keeps together, though it keeps them without any one of them.

    `remedies` are the nearest values at which the bound allows the others: milli-cycles a frame, LUTs of all engines, engines,
    DRAM bits per cycle. A limit for which no value of the space or the part does has none.
    """

    limits: frozenset[Limit]
    remedies: dict[Limit, int]


def conflicts_at(problem: AllocationProblem, most_millicycles: int) -> list[Conflict]:
    """Returns conflicts that have only the rate in common; none where the bound allows the time.

    Args:
        most_millicycles: thousandths of a cycle that a frame may take.
    """
    model = _Model(problem, most_millicycles)
    left, found = set(Limit), []
    while (core := model.core(left)) is not None:
        found.append(Conflict(frozenset(core), model.remedies(core)))
        if core == {Limit.RATE}:
            break
        left -= core - {Limit.RATE}
    return found


class _Model:
    """The limits of an instance on engines that are fast enough, on the whole part."""

    def __init__(self, problem: AllocationProblem, most_millicycles: int) -> None:
        self._problem, self._most = problem, most_millicycles
        self._whole = replace(problem, budget_lut_percent=100.0, max_engines=_MOST_ENGINES)
        search, n = self._whole.search, len(problem.workload.layers)
        self._runs = [
            (b, i, j, int(luts))
            for b in range(len(BATCHES))
            for (i, j), luts in np.ndenumerate(search.least_luts_within(b, most_millicycles))
            if i < j and luts <= self._whole.tables[4][N_LUT]
        ]
        self._layers = n

    def core(self, limits: set[Limit]) -> set[Limit] | None:
        """Returns a minimal set of the limits that no design keeps; None where one keeps them all."""
        from ortools.sat.python import cp_model

        model, assumed, _, _ = self._model(limits)
        solver = _solver()
        if solver.solve(model) != cp_model.INFEASIBLE:
            return None
        named = {assumed[limit].index: limit for limit in limits}
        core = {named[k] for k in solver.sufficient_assumptions_for_infeasibility()}
        for limit in sorted(core, key=lambda c: list(Limit).index(c), reverse=True):
            without, _, _, _ = self._model(core - {limit})
            if limit is not Limit.RATE and _solver().solve(without) == cp_model.INFEASIBLE:
                core -= {limit}
        return core

    def remedies(self, core: set[Limit]) -> dict[Limit, int]:
        """Returns for each limit of a conflict the nearest value at which the others can be kept."""
        out = {Limit.RATE: self._problem.bound().value}
        for limit, which in ((Limit.LUTS, 2), (Limit.ENGINES, 3)):
            least = self._least(core - {limit}, which) if limit in core else None
            if least is not None:
                out[limit] = least
        if Limit.DRAM in core:
            wide = range(self._problem.dram_bits_per_cycle, _MOST_DRAM_BITS + 1)
            bits = next((b for b in wide if self._dram_bound(b) <= self._most), None)
            if bits is not None:
                out[Limit.DRAM] = bits
        return out

    def _least(self, limits: Iterable[Limit], which: int) -> int | None:
        from ortools.sat.python import cp_model

        parts = self._model(set(limits))
        parts[0].minimize(parts[which])
        solver = _solver()
        if solver.solve(parts[0]) != cp_model.OPTIMAL:
            return None
        return int(solver.objective_value)

    def _model(self, limits: set[Limit]) -> tuple[Any, dict[Limit, Any], Any, Any]:
        """Returns a model, the literals of its limits, and what its engines take in LUTs and number."""
        from ortools.sat.python import cp_model

        model = cp_model.CpModel()
        assumed = {limit: model.new_bool_var(limit.value) for limit in limits}
        picks = [(run, model.new_bool_var("")) for run in self._runs]
        flow: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for (b, i, j, _), literal in picks:
            flow[b, i].append(literal)
            flow[b, j].append(-literal)
        begins = [literal for (_, i, _, _), literal in picks if i == 0]
        for (_, layer), terms in flow.items():
            if 0 < layer < self._layers:
                model.add(sum(terms) == 0)
        luts = sum(run[3] * literal for run, literal in picks)
        engines = sum(literal for _, literal in picks)
        model.add(luts <= int(self._whole.tables[4][N_LUT]))
        model.add(engines <= _MOST_ENGINES)
        if Limit.RATE in assumed:
            model.add(sum(begins) == 1).only_enforce_if(assumed[Limit.RATE])
        if Limit.LUTS in assumed:
            model.add(luts <= int(self._problem.tables[4][N_LUT])).only_enforce_if(assumed[Limit.LUTS])
        if Limit.ENGINES in assumed:
            model.add(engines <= self._problem.max_engines).only_enforce_if(assumed[Limit.ENGINES])
        if Limit.DRAM in assumed and self._dram_bound(self._problem.dram_bits_per_cycle) > self._most:
            model.add(sum(begins) == 0).only_enforce_if(assumed[Limit.DRAM])
        model.add_assumptions(list(assumed.values()))
        return model, assumed, luts, engines

    def _dram_bound(self, bits: int) -> int:
        return int(replace(self._whole, dram_bits_per_cycle=bits).search.dram_bound())


def _solver() -> Any:
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    return solver
