"""Allocation: which engines a part should hold for a network, so that frames take the fewest cycles."""

from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution

__all__ = ["AllocationProblem", "AllocationSolution"]
