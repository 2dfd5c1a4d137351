"""The folding problem: a choice of every node of a streaming chain within LUTs, block RAMs and DSP slices of a part.

This is FINN's own allocation problem, on its own estimates (`foldwright.accel.folding_tables`): every node is hardware of its
own, a frame streams through all of them, and the slowest node sets the cycles from frame to frame (the II). LUTs of width
converters between neighbours count; only neighbours of which one stream width divides the other's go together
(`is_integer_ratio` says why). Without a target the cost is the II in cycles per frame; with `target_cycles` the cost is LUTs,
and nodes may take no more cycles than that. `foldwright.envs.folding.front` has the Pareto front between the two.

`foldwright.envs.folding.space` has the decisions. The fallback is a folding within the budgets by some weighing of them; see
`ChainSearch.quick`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.folding_config import write_folding_config
from foldwright.accel.folding_tables import Attributes, FoldingTable
from foldwright.envs.folding.chain import Chain, chain_of
from foldwright.envs.folding.exact import LUT, ChainSearch, Found, Stopped, Uses
from foldwright.envs.folding.labels import MOST_USED
from foldwright.envs.folding.limits import explain_infeasible
from foldwright.envs.folding.relax import uses_of
from foldwright.envs.folding.score import cost_of_choices, rows_of_choices
from foldwright.envs.folding.space import FoldingSpace, too_many
from foldwright.envs.problem import INFEASIBLE, Bound, Choices, Cost
from foldwright.errors import ConfigError, IllegalSolutionError, VerificationError, nearest
from foldwright.jsonform import STRICT

__all__ = ["FoldingProblem", "FoldingSolution", "NodeFolding"]

IntArray = npt.NDArray[np.int64]

_MOST_CYCLES = 2**40


@dataclass(frozen=True, slots=True)
class NodeFolding:
    """The attributes that fold a node."""

    __pydantic_config__: ClassVar = STRICT

    node: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class FoldingSolution:
    """The foldings of all nodes, in streaming order."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.folding-solution/1"

    nodes: tuple[NodeFolding, ...]


@dataclass(frozen=True)
class FoldingProblem:
    """One instance; see the module's docstring. Raises `InfeasibleError` where no folding keeps the budgets and the target."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.folding-problem/1"

    name: str
    table: FoldingTable
    budget_lut: int
    budget_bram18: int
    budget_dsp: int
    target_cycles: int = 0
    clock_mhz: float = 100.0

    kind: ClassVar[str] = "folding"

    def __post_init__(self) -> None:
        wrong = [
            f"{key} is {value}, allowed {low}..{high}"
            for key, value, low, high in (
                ("budget_lut", self.budget_lut, 0, MOST_USED[0] - 1),
                ("budget_bram18", self.budget_bram18, 0, MOST_USED[1] - 1),
                ("budget_dsp", self.budget_dsp, 0, MOST_USED[2] - 1),
                ("target_cycles", self.target_cycles, 0, _MOST_CYCLES),
                ("clock_mhz", self.clock_mhz, 1, 2000),
            )
            if not low <= value <= high
        ]
        wrong += too_many(self.table, self.chain)
        if wrong:
            raise ConfigError(f"folding {self.name!r}: " + "; ".join(wrong))
        try:
            if self._found is None:
                raise explain_infeasible(self)
        except Stopped as stopped:
            raise ConfigError(
                f"folding {self.name!r}: no folding within the budgets was found and none excluded ({stopped}); "
                "give larger budgets or a lower target"
            ) from None

    @property
    def unit(self) -> str:
        """The unit of the cost: LUTs where a target is given."""
        return "LUTs" if self.target_cycles else "cycles per frame"

    @property
    def most_cycles(self) -> int:
        """The cycles per frame that a folding may take."""
        return self.target_cycles or _MOST_CYCLES

    @cached_property
    def caps(self) -> IntArray:
        """The budgets of LUTs, block RAMs and DSP slices, int64 (3,)."""
        caps = np.array([self.budget_lut, self.budget_bram18, self.budget_dsp], dtype=np.int64)
        caps.setflags(write=False)
        return caps

    @cached_property
    def chain(self) -> Chain:
        return chain_of(self.table)

    @cached_property
    def search(self) -> ChainSearch:
        return ChainSearch(self.chain)

    @cached_property
    def _found(self) -> Found | None:
        return self.search.fits(self.caps, self.most_cycles, lambda work: False)

    def fps_of(self, cycles: int) -> float:
        """Returns the frames per second of so many cycles per frame."""
        return self.clock_mhz * 1e6 / cycles

    @cached_property
    def space(self) -> FoldingSpace:
        return FoldingSpace(self.table, self.chain)

    @cached_property
    def tables(self) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
        """What `score.cost_of_choices` reads: rows, pairs, numbers of pairs, converters, limits."""
        limits = np.array([self.most_cycles, *self.caps, self.target_cycles > 0], dtype=np.int64)
        return self.chain.rows, self.space.pairs, self.space.numbers, self.chain.converters, limits

    @property
    def sizes(self) -> IntArray:
        return self.space.sizes

    @cached_property
    def fallback(self) -> Choices:
        assert self._found is not None
        choices = self.choices_of(self._found)
        choices.setflags(write=False)
        return choices

    def labels(self, decision: int) -> list[str]:
        return self.space.labels(decision)

    def kernel(self) -> tuple[Any, tuple[IntArray, ...]]:
        """Returns the compiled cost function and its tables."""
        return cost_of_choices, self.tables

    def cost_of(self, choices: Choices) -> int:
        return int(cost_of_choices(*self.tables, choices))

    def allowed(self, choices: Choices, decision: int) -> npt.NDArray[np.bool_]:
        trial = self.fallback.copy()
        trial[:decision] = choices[:decision]
        out = np.empty(self.sizes[decision], dtype=np.bool_)
        for k in range(len(out)):
            trial[decision] = k
            out[k] = self.cost_of(trial) != INFEASIBLE
        return out

    def decode(self, choices: Choices) -> FoldingSolution:
        rows = rows_of_choices(*self.tables[1:3], choices)
        return self.solution_of([int(k) for k in self.chain.origin[rows]])

    def solution_of(self, positions: list[int]) -> FoldingSolution:
        """Returns the solution of choices by their positions in the nodes of the table."""
        return FoldingSolution(
            tuple(
                NodeFolding(node.name, node.choices[k].attributes)
                for node, k in zip(self.table.nodes, positions, strict=True)
            )
        )

    def choices_of(self, found: Found) -> Choices:
        """Returns the choices of a chain that the search found."""
        return self.space.choices_of([int(k) for k in self.search.chain.origin[found.picks]])

    def positions_of(self, solution: FoldingSolution) -> list[int]:
        """Returns the positions of a solution's choices in the nodes of the table.

        Raises:
            IllegalSolutionError: a node is missing or unknown, or its attributes are none of its choices.
        """
        want, got = [node.name for node in self.table.nodes], [part.node for part in solution.nodes]
        if got != want:
            first = next((a for a, b in zip(got, want, strict=False) if a != b), "")
            hint = f"; {first!r} is not next: {nearest(first, want)}" if first else ""
            raise IllegalSolutionError(
                f"folding {self.name!r}: foldings of {len(got)} nodes, needed are those of the {len(want)} of the table in "
                f"their order{hint}"
            )
        out = []
        for node, part in zip(self.table.nodes, solution.nodes, strict=True):
            k = node.find(part.attributes)
            if k < 0:
                text = " ".join(f"{name}={value}" for name, value in part.attributes)
                raise IllegalSolutionError(
                    f"node {node.name!r}: {text or 'no attribute'} is none of the {len(node.choices)} choices of the table, "
                    f"such as {node.choices[0].text}"
                )
            out.append(k)
        return out

    def encode(self, solution: FoldingSolution) -> Choices:
        """Returns the choices of a solution.

        Raises:
            IllegalSolutionError: as `positions_of` does.
        """
        return self.space.choices_of(self.positions_of(solution))

    def uses(self, solution: FoldingSolution) -> Uses:
        """Returns what a solution takes, whatever the budgets; LUTs are -1 where widths do not go together."""
        rows = rows_of_choices(*self.tables[1:3], self.encode(solution))
        return Uses(*(int(value) for value in uses_of(self.chain.rows, self.chain.converters, rows)))

    def evaluate(self, solution: FoldingSolution) -> Cost:
        uses, value = self.uses(solution), self.cost_of(self.encode(solution))
        if value == INFEASIBLE:
            self.check(solution)
            raise VerificationError(f"folding {self.name!r}: the referee allows a solution that has no cost")
        detail = {"cycles": uses.cycles, "lut": uses.lut, "bram18": uses.bram18, "dsp": uses.dsp}
        return Cost(value, self.unit, detail)

    def check(self, solution: FoldingSolution) -> None:
        """Adds up the table's own numbers in plain Python and applies the rules of widths, budgets and target."""
        from foldwright.envs.folding.check import check_folding

        check_folding(self, solution)

    def bound(self) -> Bound:
        """Returns the best cost that the budgets allow when they are weighed against one another; see `relax`."""
        self.search.warm_up()
        if self.target_cycles:
            least = self.search.bound(LUT, self.caps, self.target_cycles)
            return Bound(
                least, "the fewest LUTs at the target, with what is over the other budgets paid for in LUTs"
            )
        levels = self.search.levels
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            over = self.search.bound(LUT, self.caps, int(levels[middle])) > self.budget_lut
            low, high = (middle + 1, high) if over else (low, middle)
        return Bound(
            int(levels[low]),
            "with fewer cycles the budgets, weighed against one another, are too small for every folding",
        )

    def solve_exact(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        """Returns the fewest cycles, among such foldings the fewest LUTs, or the fewest LUTs at the target; see `exact`."""
        assert self._found is not None
        best, bound, before = self._found, self.bound().value, self.search.work

        def asked(work: int) -> bool:
            return stop(work - before)

        most_cycles = self.target_cycles
        if not most_cycles:
            best, bound = self.search.fewest_cycles(self.caps, best, asked, bound)
            most_cycles = best.uses.cycles
        try:
            if self.target_cycles or bound == most_cycles:
                best = self.search.least(LUT, self.caps, most_cycles, asked) or best
                bound = best.uses.lut if self.target_cycles else bound
        except Stopped:
            pass
        value = best.uses.lut if self.target_cycles else best.uses.cycles
        return self.choices_of(best), bound, "optimal" if value == bound else "feasible"

    def cp_model(self) -> Any:
        """Returns the instance for CP-SAT; see `foldwright.envs.folding.model`."""
        from foldwright.envs.folding.model import folding_model

        return folding_model(self)

    def content_hash(self) -> str:
        """Returns a hash of the table that does not depend on the names of its nodes."""
        body = [[node.op, [(c.attributes, c.estimates) for c in node.choices]] for node in self.table.nodes]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:16]

    def finn_config(self, solution: FoldingSolution) -> str:
        """Returns a solution as the JSON text of a configuration that FINN reads."""
        return write_folding_config(self.table, self.positions_of(solution))

    def summary(self, solution: FoldingSolution) -> str:
        """Returns what a solution takes and the rate that it gives, in words."""
        uses = self.uses(solution)
        return (
            f"{self.fps_of(uses.cycles):,.0f} frames/s at {self.clock_mhz:g} MHz ({uses.cycles:,} cycles), {uses.lut:,} of "
            f"{self.budget_lut:,} LUTs, {uses.bram18} of {self.budget_bram18} BRAM18, {uses.dsp} of {self.budget_dsp} DSP slices"
        )
