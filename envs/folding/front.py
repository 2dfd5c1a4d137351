"""The Pareto front of a folding problem: the fewest LUTs at every rate, each point proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldwright.envs.folding.exact import LUT, Uses

if TYPE_CHECKING:
    from foldwright.envs.folding.problem import FoldingProblem, FoldingSolution

__all__ = ["FrontPoint", "pareto_front"]


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A folding that no other beats in both cycles per frame and LUTs, within the budgets of block RAMs and DSP slices."""

    uses: Uses
    solution: FoldingSolution


def pareto_front(problem: FoldingProblem) -> Iterator[FrontPoint]:
    """Yields all points of the front within the budgets and the target, from the fewest cycles on.

    Going through the cycles that a folding can take in ascending order, each next point is the folding of fewest LUTs at these
    cycles, if it has fewer than the point before; else none that is faster or as fast has.
    """
    caps = problem.caps.copy()
    for level in problem.search.levels:
        if level > problem.most_cycles:
            return
        found = problem.search.least(LUT, caps, int(level), lambda work: False)
        if found is not None:
            yield FrontPoint(found.uses, problem.decode(problem.choices_of(found)))
            caps[LUT] = found.uses.lut - 1
        if caps[LUT] < 0:
            return
