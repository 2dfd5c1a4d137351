"""Placement: a site of the fabric for every cell of a netlist, so that its wires are short."""

from foldwright.envs.placement.problem import PlacementProblem

__all__ = ["PlacementProblem"]
