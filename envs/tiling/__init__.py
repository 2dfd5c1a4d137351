"""Tiling: how each layer of a network is cut and what stays on chip, so that a frame takes the fewest cycles."""

from foldwright.envs.tiling.problem import TilingProblem, TilingSolution

__all__ = ["TilingProblem", "TilingSolution"]
