"""The least that any design takes of a part, by search over small engines: where an instance begins, and why one cannot be posed.

One engine takes less than several. All lanes, planes and windows are tried over a grid of small extents, then the best for each
resource is improved one decision at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foldwright.accel.cost import coefficients_for, cost_breakdown, sum_of_terms
from foldwright.accel.evaluate import DECISIONS, bram36_of_choices
from foldwright.accel.mapping import M_PA, map_layers
from foldwright.accel.memory import memory_widths, reserve
from foldwright.envs.allocation import space
from foldwright.envs.allocation.score import (
    N_DRAM_BITS,
    N_DSP,
    N_FF,
    N_LUT,
    N_POOL,
    slices_of,
)
from foldwright.envs.problem import Choices
from foldwright.envs.tiling.start import QUICK_TILES, quick_tiles
from foldwright.netlists.part import load_part

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["RESOURCES", "Need", "least_needs", "need_of", "why_nothing_fits"]

RESOURCES = ("LUTs", "flip-flops", "block RAMs", "DSP slices")
_LIMITS = (N_LUT, N_FF, N_POOL, N_DSP)
_HEIGHTS = (0, 1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63)
_WIDTHS = (0, 1, 2, 4, 6, 10, 14)
_LANES = (0, 1, 3)
_SWEEPS = 2


@dataclass(frozen=True, slots=True)
class Need:
    """What a design takes at least under any schedule, in the order of `RESOURCES`, the fixed share of logic left out."""

    choices: Choices
    takes: tuple[int, int, int, int]

    def beyond(self, limits: Choices) -> list[int]:
        """Returns the resources of which it takes more than there is, as places in `RESOURCES`."""
        return [r for r, limit in enumerate(_LIMITS) if self.takes[r] > limits[limit]]


def need_of(problem: AllocationProblem, choices: Choices) -> Need | None:
    """Returns what choices take with the smallest tiles, everything streamed; None where they name no design that runs."""
    layers, geometries, lut, ff, limits = problem.tables
    if not space.is_legal(layers, problem.max_engines, choices):
        return None
    engines, rows, assignment, batch = space.build(layers, problem.max_engines, choices)
    mappings = map_layers(layers, engines, assignment, batch)
    if mappings[:, M_PA].min() == 0:
        return None
    widths, tiles = memory_widths(layers, engines, mappings, assignment), quick_tiles(mappings)
    numbers = np.array([batch, limits[N_DRAM_BITS], 0], dtype=np.int64)
    smallest = np.zeros(DECISIONS * len(layers), dtype=np.int64)
    smallest[2::DECISIONS] = QUICK_TILES - 1
    blocks = bram36_of_choices(
        layers, engines, mappings, assignment, widths, geometries, tiles, numbers, smallest
    )
    return Need(
        choices,
        (
            sum(int(sum_of_terms(row, lut)) for row in rows),
            sum(int(sum_of_terms(row, ff)) for row in rows),
            int(blocks) + int(reserve(layers, engines, assignment, batch, geometries)),
            sum(int(slices_of(row, limits)) for row in rows),
        ),
    )


def least_needs(problem: AllocationProblem) -> list[Need]:
    """Returns, for each resource, the design that takes least of it among those within the other budgets, or among all."""
    seen = [need for choices in _grid(problem) if (need := need_of(problem, choices)) is not None]
    return [_improved(problem, _best(problem, seen, r), r) for r in range(len(RESOURCES))]


def _grid(problem: AllocationProblem) -> Iterator[Choices]:
    at = space.first_decision(problem.max_engines, 0)
    for planes in range(len(space.PLANES)):
        for window in range(2):
            for lanes in range(2):
                for height in _HEIGHTS:
                    for width in _WIDTHS:
                        for columns in _LANES[: 1 if lanes else None]:
                            choices = np.zeros(len(problem.sizes), dtype=np.int64)
                            choices[problem.max_engines] = lanes  # frames side by side are two or more
                            choices[at : at + space.PER_ENGINE] = (
                                lanes,
                                planes,
                                window,
                                height,
                                width,
                                columns,
                                0,
                            )
                            yield choices


def _rank(problem: AllocationProblem, need: Need, resource: int) -> tuple[int, int, int]:
    """Returns what is smaller for a better design: how many other budgets it breaks, and what it takes."""
    others = [r for r in need.beyond(problem.tables[4]) if r != resource]
    return len(others), need.takes[resource], sum(need.takes)


def _best(problem: AllocationProblem, needs: list[Need], resource: int) -> Need:
    return min(needs, key=lambda need: _rank(problem, need, resource))


def _improved(problem: AllocationProblem, need: Need, resource: int) -> Need:
    """Returns the best design by changes of one decision of the engine at a time."""
    at = space.first_decision(problem.max_engines, 0)
    for _ in range(_SWEEPS):
        for decision in range(at, at + space.PER_ENGINE):
            for k in range(int(problem.sizes[decision])):
                trial = need.choices.copy()
                trial[decision] = k
                other = need_of(problem, trial)
                if other is not None:
                    need = _best(problem, [need, other], resource)
    return need


def why_nothing_fits(problem: AllocationProblem, needs: list[Need]) -> str:
    """Returns which budgets bind, and what of each would do; see `least_needs`."""
    alone = [r for r, need in enumerate(needs) if need.beyond(problem.tables[4]) == [r]]
    if alone:
        return "; or ".join(_asked(problem, needs[r], r) for r in alone)
    fewest = min(needs, key=lambda need: len(need.beyond(problem.tables[4])))
    return "; and ".join(_asked(problem, fewest, r) for r in fewest.beyond(problem.tables[4]))


def _asked(problem: AllocationProblem, need: Need, resource: int) -> str:
    """Returns what of a resource a design needs, what there is, and where to ask for more."""
    part = load_part(problem.part)
    c = coefficients_for(part, problem.technology)
    fixed = (c.fixed_lut, c.fixed_ff, 0, 0)[resource]
    takes, limit = need.takes[resource] + fixed, int(problem.tables[4][_LIMITS[resource]]) + fixed
    words = f"the smallest design found needs {takes:,} {RESOURCES[resource]}, the budget is {limit:,}"
    if resource > 0:
        return f"{words}; choose a part with {takes:,} or more"
    words += f" ({problem.budget_lut_percent:g} % of {problem.part})"
    if takes <= part.budget.lut:
        percent = np.ceil(1e4 * takes / part.budget.lut) / 100
        return f"{words}; give a budget of {percent:g} % or more, or choose a larger part"
    lines = cost_breakdown(problem.decode(need.choices).datapath, part, problem.technology)
    most = max(lines, key=lambda line: line.lut)
    return f"{words}, and the whole part has {part.budget.lut:,}; {most.lut:,} are {most.component}; choose a larger part"
