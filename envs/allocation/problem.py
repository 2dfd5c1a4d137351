"""The allocation problem: a workload, a part and a LUT budget; the engines that take the fewest cycles a frame.

See `foldwright.envs.allocation.space` for the decisions and `score` for the cost: thousandths of a cycle per frame in
steady state, by the simulator. The pool of block RAMs is the part's less what programs and results on their way to DRAM
take; a design must fit in LUTs (a percentage of the part's), flip-flops, DSP slices and block RAMs. The fallback is one small
engine, 1x8x1 where it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import (
    CostCoefficients,
    coefficients_for,
    cost,
    cost_rows,
    geometry_table,
    operand_bits,
    reserve_bram36,
)
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.memory import store_words
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.workload import ResultKind, Workload
from foldwright.envs.allocation import space
from foldwright.envs.allocation.score import busiest_cycles, cost_of_choices, fits_choices, score
from foldwright.envs.allocation.smallest import least_needs, why_nothing_fits
from foldwright.envs.problem import INFEASIBLE, Bound, Choices, Cost
from foldwright.errors import ConfigError, IllegalSolutionError, InfeasibleError
from foldwright.jsonform import STRICT
from foldwright.netlists.part import Part, load_part

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AllocationProblem", "AllocationSolution"]

IntArray = npt.NDArray[np.int64]

_PLANES_OF_MASK = {int(m): tuple(p for p in (1, 2, 4, 8) if m & p) for m in space.PLANES}


@dataclass(frozen=True, slots=True)
class AllocationSolution:
    """A datapath; the depths of its memories do not matter here, a schedule sets them."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.allocation-solution/1"

    datapath: Datapath


@dataclass(frozen=True)
class AllocationProblem:
    """One instance; see the module's docstring. Raises `InfeasibleError` where no small design fits."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.allocation-problem/1"

    name: str
    workload: Workload
    part: str = "xc7z020"
    budget_lut_percent: float = 80.0
    dram_bits_per_cycle: int = 32
    max_engines: int = 3
    technology: str = ""

    kind: ClassVar[str] = "allocation"
    unit: ClassVar[str] = "cycles per 1000 frames"

    def __post_init__(self) -> None:
        wrong = [
            f"{key} is {value}, allowed {low}..{high}"
            for key, value, low, high in (
                ("budget_lut_percent", self.budget_lut_percent, 0, 100),
                ("dram_bits_per_cycle", self.dram_bits_per_cycle, 1, 1024),
                ("max_engines", self.max_engines, 1, 4),
            )
            if not low <= value <= high
        ]
        if wrong:
            raise ConfigError(f"allocation {self.name!r}: " + "; ".join(wrong))
        kinds = sorted({x.result.value for x in self.workload.layers if x.result is not ResultKind.RAW})
        if len(kinds) > 1:
            raise ConfigError(
                f"allocation {self.name!r}: layers make results by {' and '.join(kinds)}; lower the whole network "
                "with one requant"
            )
        self.fallback  # noqa: B018 (raises where nothing fits)

    @cached_property
    def _part(self) -> Part:
        return load_part(self.part)

    @cached_property
    def _coefficients(self) -> CostCoefficients:
        return coefficients_for(self._part, self.technology)

    @property
    def lut_budget(self) -> int:
        return int(self._part.budget.lut * self.budget_lut_percent / 100)

    def pool_bram36(self, datapath: Datapath) -> int:
        """Returns the block RAMs that schedules of a datapath may use."""
        return self._part.budget.bram36 - reserve_bram36(datapath, self._part)

    @cached_property
    def tables(self) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
        c = self._coefficients
        lut, ff = self.lut_budget - c.fixed_lut, self._part.budget.ff - c.fixed_ff
        limits = np.array(
            [
                self.dram_bits_per_cycle, self._part.budget.bram36, lut, ff, self.max_engines,
                self._part.budget.dsp, operand_bits(self._part), int(c.technology != "generic"),
            ],
            dtype=np.int64,
        )  # fmt: skip
        return layer_table(self.workload), geometry_table(self._part.block_ram), c.lut, c.ff, limits

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        per_engine = [
            2,
            len(space.PLANES),
            2,
            len(space.COUNTS),
            len(space.WIDTHS),
            len(space.COUNTS),
            len(space.DRAINS),
        ]
        cuts = [max(1, min(64, len(self.workload.layers) - 1))] * (self.max_engines - 1)
        return np.array(
            [self.max_engines, *cuts, len(space.BATCHES), *(per_engine * self.max_engines)], dtype=np.int64
        )

    @cached_property
    def fallback(self) -> Choices:
        """One engine 1x8x1, where that fits; else the smallest that does."""
        choices = np.zeros(len(self.sizes), dtype=np.int64)
        if not fits_choices.py_func(*self.tables, choices):
            choices = self._smallest()
        choices.setflags(write=False)
        return choices

    def _smallest(self) -> Choices:
        """Returns the design with the fewest LUTs that was found within the other budgets.

        Raises:
            InfeasibleError: it is not within the budget of LUTs either, or there is none; says which budgets bind.
        """
        needs = least_needs(self)
        if needs[0].beyond(self.tables[4]):
            raise InfeasibleError(f"allocation {self.name!r}: {why_nothing_fits(self, needs)}")
        return needs[0].choices

    @property
    def least_luts(self) -> int:
        """LUTs of the smallest design that was found, below which no instance is posed."""
        return cost(self.decode(self._smallest()).datapath, self._part, self.technology).lut

    def within(self, budget_lut_percent: float) -> AllocationProblem:
        """Returns the instance with no more LUTs than this one; its search shares this one's frontiers."""
        from foldwright.envs.allocation.exact import FrontierSearch

        smaller = replace(self, budget_lut_percent=budget_lut_percent)
        vars(smaller)["search"] = FrontierSearch(smaller, self.search.frontiers)
        return smaller

    def labels(self, decision: int) -> list[str]:
        cuts = self.max_engines - 1
        if decision == 0:
            return [f"{k + 1} engines" for k in range(self.max_engines)]
        if decision <= cuts:
            return [f"engine {decision - 1} runs {k + 1} layers" for k in range(self.sizes[decision])]
        if decision == cuts + 1:
            return [f"{b} frames per round" for b in space.BATCHES]
        engine, which = divmod(decision - cuts - 2, space.PER_ENGINE)
        values: list[list[Any]] = [
            ["column", "batch"], [_words_label(k) for k in range(len(space.PLANES))], ["off", "on"],
            list(space.COUNTS), list(space.WIDTHS), list(space.COUNTS), list(space.DRAINS),
        ]  # fmt: skip
        what = ("lanes", "words of planes", "tap packing", "dm", "dk", "dn", "drain lanes")[which]
        return [f"engine {engine}: {what} {value}" for value in values[which]]

    def kernel(self) -> tuple[Any, tuple[IntArray, ...]]:
        """Returns the compiled cost function and its tables."""
        return cost_of_choices, self.tables

    def cost_of(self, choices: Choices) -> int:
        # As `cost_of_choices` does, but by its parts: each is compiled anyway, the whole only where a kernel is asked for.
        layers, geometries, lut, ff, limits = self.tables
        if not space.is_legal(layers, self.max_engines, choices):
            return INFEASIBLE
        engines, rows, assignment, batch = space.build(layers, self.max_engines, choices)
        return int(score.py_func(layers, engines, rows, assignment, batch, geometries, lut, ff, limits))

    def busiest_cycles(self, choices: Choices) -> float:
        """Returns the least cycles per frame of the busiest engine of legal choices, infinite where logic does not fit or run."""
        return float(busiest_cycles.py_func(*self.tables, choices))

    def allowed(self, choices: Choices, decision: int) -> npt.NDArray[np.bool_]:
        trial = self.fallback.copy()
        trial[:decision] = choices[:decision]
        out = np.empty(self.sizes[decision], dtype=np.bool_)
        for k in range(len(out)):
            trial[decision] = k
            out[k] = fits_choices.py_func(*self.tables, trial)
        return out

    def decode(self, choices: Choices) -> AllocationSolution:
        engines, rows, assignment, batch = space.build(self.tables[0], self.max_engines, choices)
        values = tuple(
            Engine(
                dm=int(e[0]),
                dk=int(e[1]),
                dn=int(e[2]),
                arithmetic=Arithmetic.AND if e[3] else Arithmetic.XNOR,
                lanes=LaneMode.BATCH if e[4] else LaneMode.COLUMN,
                planes_per_word=_PLANES_OF_MASK[int(e[5])],
                kind=EngineKind.DSP if e[10] else EngineKind.PLANES,
                drain_lanes=int(e[6]),
                window_bits=int(e[7]),
                acc_bits=int(row[7]),
                levels=int(row[8]),
                threshold_words=int(row[10]),
                sum_bits=int(e[11]),
                requant=Requant.SCALE_SHIFT if row[14] else Requant.THRESHOLDS,
            )
            for e, row in zip(engines, rows, strict=True)
        )
        assigned = tuple(int(a) for a in assignment)
        store = int(store_words(self.tables[0][-1], engines[assignment[-1]], batch))
        return AllocationSolution(Datapath(values, assigned, int(batch), self.dram_bits_per_cycle, store))

    def encode(self, solution: AllocationSolution) -> Choices:
        """Returns the choices of a datapath whose shapes are among the candidates.

        Raises:
            IllegalSolutionError: a value is not among them, or they do not go together.
        """
        datapath = solution.datapath
        choices = self.fallback.copy()
        assigned = list(datapath.assignment)
        count = len(datapath.engines)
        if assigned != sorted(assigned) or count > self.max_engines:
            raise IllegalSolutionError(
                f"allocation: assignment {assigned} is not up to {self.max_engines} contiguous runs"
            )
        choices[0] = count - 1
        for k in range(1, count):
            choices[k] = assigned.index(k) - assigned.index(k - 1) - 1
        choices[self.max_engines] = _position(space.BATCHES, datapath.batch_frames, "batch_frames")
        for e, engine in enumerate(datapath.engines):
            at = space.first_decision(self.max_engines, e)
            choices[at : at + space.PER_ENGINE] = (
                int(engine.lanes is LaneMode.BATCH),
                _words_position(engine),
                int(engine.window_bits > 0),
                _position(space.COUNTS, engine.dm, "dm"),
                _position(space.WIDTHS, engine.dk, "dk"),
                _position(space.COUNTS, engine.dn, "dn"),
                _position(space.DRAINS, engine.drain_lanes, "drain_lanes"),
            )
        if not space.is_legal(self.tables[0], self.max_engines, choices):
            raise IllegalSolutionError(
                "allocation: the space has one engine of kind dsp at most, packs taps on the first engine alone, and has batch "
                "lanes only where a round has several frames"
            )
        return choices

    def evaluate(self, solution: AllocationSolution) -> Cost:
        datapath = solution.datapath
        used = cost(datapath, self._part, self.technology)
        rows = cost_rows(datapath)
        layers, geometries, lut, ff, limits = self.tables
        limits = limits.copy()
        limits[0] = datapath.dram_bits_per_cycle
        assignment = np.array(datapath.assignment, dtype=np.int64)
        value = int(
            score.py_func(
                layers,
                engine_table(datapath.engines),
                rows,
                assignment,
                datapath.batch_frames,
                geometries,
                lut,
                ff,
                limits,
            )
        )
        if value < 0:
            raise IllegalSolutionError(
                f"allocation {self.name!r}: does not fit: {used.lut} of {self.lut_budget} LUTs, {used.ff} of "
                f"{self._part.budget.ff} flip-flops, {used.dsp} of {self._part.budget.dsp} DSP slices, or not "
                f"in {self.pool_bram36(datapath)} block RAMs"
            )
        return Cost(value, self.unit, {"lut": used.lut, "ff": used.ff})

    def check(self, solution: AllocationSolution) -> None:
        """Checks budgets by the cost model's line-by-line breakdown and that each engine can run its layers."""
        from foldwright.envs.allocation.check import check_allocation

        check_allocation(self, solution, self._part)

    def bound(self) -> Bound:
        """Returns the best compute cycles of any design of the space within the LUTs, memories and DRAM left out."""
        return self.search.bound()

    @cached_property
    def search(self) -> Any:
        from foldwright.envs.allocation.exact import FrontierSearch

        return FrontierSearch(self)

    @property
    def preparation_seconds(self) -> float:
        """CPU time of the frontiers, which the bound, the start, the exact search and the model rest on."""
        seconds: float = self.search.cpu_seconds
        return seconds

    @cached_property
    def start(self) -> Choices:
        """Returns a good design by rule; see `foldwright.envs.allocation.start`."""
        from foldwright.envs.allocation.start import quick_start

        return quick_start(self)

    @cached_property
    def levels(self) -> Any:
        """The engines between the bound and the start's time; see `foldwright.envs.allocation.levels`."""
        from foldwright.envs.allocation.levels import LevelTables

        return LevelTables(self, self.bound().value, max(1, self.cost_of(self.start)))

    @cached_property
    def outlook(self) -> Any:
        """The tables with the curves of runs; see `foldwright.envs.allocation.outlook`."""
        from foldwright.envs.allocation.completion import instance_of

        return instance_of(self)

    def completions(
        self, choices: Choices, decision: int, mask: npt.NDArray[np.int8]
    ) -> npt.NDArray[np.int64]:
        """Returns good completions by candidate; see `foldwright.envs.allocation.completion`."""
        from foldwright.envs.allocation.completion import completions

        return completions(self.outlook, choices, decision, mask)

    def cp_model(self) -> Any:
        """Returns the instance for CP-SAT; see `foldwright.envs.allocation.model`."""
        from foldwright.envs.allocation.model import allocation_model

        return allocation_model(self)

    def solve_exact(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        """Searches designs in the order of their bound; see `foldwright.envs.allocation.exact`."""
        result: tuple[Choices | None, int, str] = self.search.solve(stop)
        return result


def _words_label(position: int) -> str:
    planes = _PLANES_OF_MASK[int(space.PLANES[position])]
    return f"{planes} in DSP slices" if space.ON_DSP[position] else f"{planes}"


def _words_position(engine: Engine) -> int:
    on_dsp = engine.kind is EngineKind.DSP
    allowed = np.where(on_dsp == space.ON_DSP, space.PLANES, -1)
    return _position(allowed, sum(engine.planes_per_word), f"planes_per_word of kind {engine.kind.value}")


def _position(values: IntArray, value: int, what: str) -> int:
    found = np.flatnonzero(values == value)
    if not len(found):
        raise IllegalSolutionError(
            f"allocation: {what}={value} is not a candidate; allowed are {[int(v) for v in values if v >= 0]}"
        )
    return int(found[0])
