"""Folding: a choice for every node of a streaming chain by a table of estimates, for the fewest cycles a frame or LUTs."""

from foldwright.envs.folding.problem import FoldingProblem, FoldingSolution, NodeFolding

__all__ = ["FoldingProblem", "FoldingSolution", "NodeFolding"]
