"""The independent referee of allocations: the rules of the space and of the datapath, in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foldwright.accel.datapath_check import datapath_mistakes
from foldwright.errors import IllegalSolutionError

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
    from foldwright.netlists.part import Part

__all__ = ["check_allocation"]


def check_allocation(problem: AllocationProblem, solution: AllocationSolution, part: Part) -> None:
    """Checks a datapath against the instance.

    Raises:
        IllegalSolutionError: with every rule it breaks.
    """
    datapath = solution.datapath
    wrong = datapath_mistakes(problem.workload, datapath, part, problem.lut_budget, problem.technology)
    if list(datapath.assignment) != sorted(datapath.assignment):
        wrong.append(f"assignment {datapath.assignment} is not contiguous")
    if len(datapath.engines) > problem.max_engines:
        wrong.append(f"{len(datapath.engines)} engines, allowed {problem.max_engines}")
    if wrong:
        raise IllegalSolutionError(f"allocation {problem.name!r}: " + "; ".join(wrong))
