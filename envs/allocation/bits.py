"""Allocation with bits per layer: which bits each layer has, and the engines for what that gives, as one problem.

The first decisions pick an option of each layer (`foldwright.accel.bit_options`), the others are those of
`AllocationProblem` for the workload with these bits, which also scores them. A solution may cost at most `max_drop` of
accuracy, by the sum over its options. A layer that is tied to an earlier one keeps the picked weights and takes the bits of
the earlier one's results. The fallback has the most accurate option of every layer and one 1x8x1 engine.

Search with a proof: `bits_search`. The instances, environments and policies of plain allocation know nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.bit_options import MILLIONTHS, BitOption, BitOptions
from foldwright.accel.datapath import Datapath
from foldwright.accel.workload import Workload
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.problem import INFEASIBLE, Bound, Choices, Cost
from foldwright.errors import ConfigError, IllegalSolutionError, InfeasibleError
from foldwright.jsonform import STRICT

__all__ = ["BitsProblem", "BitsSolution"]

_KEPT_PROBLEMS = 64
_NEAR = 1e-7  # drops are rounded to a thousandth of a millionth


@dataclass(frozen=True, slots=True)
class BitsSolution:
    """The option of every layer and a datapath for them."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.bits-solution/1"

    options: tuple[BitOption, ...]
    datapath: Datapath


@dataclass(frozen=True)
class BitsProblem:
    """One instance; see the module's docstring.

    Raises:
        InfeasibleError: even the most accurate options lose more than `max_drop`, or their fallback does not fit.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.bits-problem/1"

    name: str
    options: BitOptions
    max_drop: float
    part: str = "xc7z020"
    budget_lut_percent: float = 80.0
    dram_bits_per_cycle: int = 32
    max_engines: int = 3
    technology: str = ""

    kind: ClassVar[str] = "bits"
    unit: ClassVar[str] = AllocationProblem.unit

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= MILLIONTHS:
            raise ConfigError(f"bits {self.name!r}: max_drop is {self.max_drop}, allowed 0..{MILLIONTHS}")
        least = self.options.drop_of(self._most_accurate)
        if least > self.drop_budget:
            raise InfeasibleError(
                f"bits {self.name!r}: the most accurate options lose {least / MILLIONTHS:g} {self.options.unit} together "
                f"({self._worst_layers()}), but max_drop is {self.max_drop:g}; raise it to {least / MILLIONTHS:g}, or "
                "offer options of more bits"
            )
        self.inner(self._most_accurate)

    def _worst_layers(self) -> str:
        drops = [
            (option.drop, layer.name)
            for layer, option in zip(
                self.options.workload.layers, self.chosen(self._most_accurate), strict=True
            )
        ]
        return ", ".join(f"{name} {drop:g}" for drop, name in sorted(drops, key=lambda d: -d[0])[:3])

    @property
    def drop_budget(self) -> int:
        """The accuracy that may be lost, in millionths."""
        return round(self.max_drop * MILLIONTHS)

    @cached_property
    def _most_accurate(self) -> tuple[int, ...]:
        picks = self.options.completed(self.options.every)
        assert picks is not None  # the options say so
        return picks

    @cached_property
    def _problems(self) -> dict[tuple[int, ...], AllocationProblem]:
        return {}

    def inner(self, picks: tuple[int, ...]) -> AllocationProblem:
        """Returns the allocation problem of picked options; the last few are kept."""
        if picks not in self._problems:
            while len(self._problems) >= _KEPT_PROBLEMS:
                del self._problems[next(iter(self._problems))]
            self._problems[picks] = self.allocation(self.options.workload_of(picks))
        return self._problems[picks]

    def allocation(self, workload: Workload) -> AllocationProblem:
        """Returns a new allocation problem of a workload within this problem's budgets."""
        return AllocationProblem(
            name=self.name,
            workload=workload,
            part=self.part,
            budget_lut_percent=self.budget_lut_percent,
            dram_bits_per_cycle=self.dram_bits_per_cycle,
            max_engines=self.max_engines,
            technology=self.technology,
        )

    def chosen(self, picks: tuple[int, ...]) -> tuple[BitOption, ...]:
        """Returns the picked options."""
        return tuple(options[k] for options, k in zip(self.options.layers, picks, strict=True))

    @property
    def layer_count(self) -> int:
        return len(self.options.layers)

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        options = [len(layer) for layer in self.options.layers]
        return np.array([*options, *self.inner(self._most_accurate).sizes], dtype=np.int64)

    @cached_property
    def fallback(self) -> Choices:
        choices = np.array([*self._most_accurate, *self.inner(self._most_accurate).fallback], dtype=np.int64)
        choices.setflags(write=False)
        return choices

    def labels(self, decision: int) -> list[str]:
        n = self.layer_count
        if decision >= n:
            return self.inner(self._most_accurate).labels(decision - n)
        name = self.options.workload.layers[decision].name
        return [f"{name}: {option.label}" for option in self.options.layers[decision]]

    def picks_of(self, choices: Choices) -> tuple[int, ...] | None:
        """Returns the options that complete choices stand for; None where they lose too much, or ties have no option."""
        picks = self.options.aligned(tuple(int(c) for c in choices[: self.layer_count]))
        if picks is None or self.options.drop_of(picks) > self.drop_budget:
            return None
        return picks

    def cost_of(self, choices: Choices) -> int:
        picks = self.picks_of(choices)
        if picks is None:
            return INFEASIBLE
        try:
            return self.inner(picks).cost_of(choices[self.layer_count :])
        except InfeasibleError:
            return INFEASIBLE

    def allowed(self, choices: Choices, decision: int) -> npt.NDArray[np.bool_]:
        n = self.layer_count
        trial = self.fallback.copy()
        trial[:decision] = choices[:decision]
        if decision >= n:
            picks = self.picks_of(trial)
            assert picks is not None  # earlier decisions were allowed
            return self.inner(picks).allowed(trial[n:], decision - n)
        out = np.empty(self.sizes[decision], dtype=np.bool_)
        for k in range(len(out)):
            trial[decision] = k
            out[k] = self._is_open(trial)
        return out

    def _is_open(self, trial: Choices) -> bool:
        """Whether complete choices with the fallback's engine are legal and fit."""
        picks = self.picks_of(trial)
        if picks is None:
            return False
        engines = trial[self.layer_count :]
        last = len(engines) - 1
        try:
            return bool(self.inner(picks).allowed(engines, last)[engines[last]])
        except InfeasibleError:
            return False

    def decode(self, choices: Choices) -> BitsSolution:
        picks = self.picks_of(choices)
        if picks is None:
            raise IllegalSolutionError(
                f"bits {self.name!r}: the choices lose more than {self.max_drop:g} {self.options.unit}"
            )
        datapath = self.inner(picks).decode(choices[self.layer_count :]).datapath
        return BitsSolution(self.chosen(picks), datapath)

    def encode(self, solution: BitsSolution) -> Choices:
        picks = self._picks_in(solution)
        engines = self.inner(picks).encode(AllocationSolution(solution.datapath))
        return np.array([*picks, *engines], dtype=np.int64)

    def _picks_in(self, solution: BitsSolution) -> tuple[int, ...]:
        """Returns the positions of a solution's options.

        Raises:
            IllegalSolutionError: an option is not among those of its layer.
        """
        if len(solution.options) != self.layer_count:
            raise IllegalSolutionError(
                f"bits {self.name!r}: options of {len(solution.options)} layers, but there are {self.layer_count}"
            )
        try:
            return self.options.picks_of(solution.options)
        except ConfigError as error:
            raise IllegalSolutionError(f"bits {self.name!r}: {error}") from None

    def evaluate(self, solution: BitsSolution) -> Cost:
        picks = self._picks_in(solution)
        drop = self.options.drop_of(picks)
        if drop > self.drop_budget or not self.options.keeps_ties(picks):
            raise IllegalSolutionError(
                f"bits {self.name!r}: the options lose {drop / MILLIONTHS:g} {self.options.unit}, allowed {self.max_drop:g}"
                if drop > self.drop_budget
                else f"bits {self.name!r}: results that are added differ in bits"
            )
        cost = self.inner(picks).evaluate(AllocationSolution(solution.datapath))
        return Cost(cost.value, cost.unit, {**cost.detail, "drop_millionths": drop})

    def check(self, solution: BitsSolution) -> None:
        """Checks the accuracy budget by the drops as they stand, then the datapath as allocation does."""
        picks = self._picks_in(solution)
        lost = sum(option.drop for option in solution.options)
        if lost > self.max_drop + _NEAR:
            raise IllegalSolutionError(
                f"bits {self.name!r}: {lost:g} {self.options.unit} are lost, allowed {self.max_drop:g}"
            )
        workload = self.options.workload
        bits = {layer.name: o.out_bits for layer, o in zip(workload.layers, solution.options, strict=True)}
        for layer in workload.layers:
            if any(bits[added] != bits[layer.name] for added in layer.inputs[1:]):
                raise IllegalSolutionError(
                    f"bits {self.name!r}: layer {layer.name!r} adds results of other bits"
                )
        self.inner(picks).check(AllocationSolution(solution.datapath))

    @cached_property
    def start(self) -> Choices:
        """Returns the options with the fewest bit-MACs, with allocation's own start for them."""
        from foldwright.envs.allocation.bits_model import fewest_bit_macs

        picks = fewest_bit_macs(self.options, self.drop_budget).picks
        try:
            return np.array([*picks, *self.inner(picks).start], dtype=np.int64)
        except InfeasibleError:
            return self.fallback

    def bound(self) -> Bound:
        """Returns the bound with the cheapest bits that each layer may have alone; `solve_exact` finds better ones."""
        bound: Bound = self.search.bound()
        return bound

    @cached_property
    def search(self) -> Any:
        from foldwright.envs.allocation.bits_search import BitsSearch

        return BitsSearch(self)

    def solve_exact(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        """Branches on the options in the order of a bound; see `foldwright.envs.allocation.bits_search`."""
        result: tuple[Choices | None, int, str] = self.search.solve(stop)
        return result
