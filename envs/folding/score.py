"""What a folding costs: the one kernel that adds up its rows and converters and compares with the budgets (njit)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.envs.folding.chain import R_CYCLES
from foldwright.envs.folding.relax import uses_of
from foldwright.envs.folding.space import DECISIONS
from foldwright.kernels import njit

__all__ = ["cost_of_choices", "rows_of_choices"]

IntArray = npt.NDArray[np.int64]

_INFEASIBLE = -1
L_CYCLES, L_COUNTS_LUT = 0, 4


@njit(cache=True)
def rows_of_choices(pairs: IntArray, numbers: IntArray, choices: IntArray) -> IntArray:
    """Returns the row that the decisions of every node stand for, int64 (nodes,); -1 where they name no pair of widths.

    Args:
        pairs: first row and number of variants of every pair of widths, int64 (pairs, 2).
        numbers: the pair that the first two decisions of a node name, -1 for none, int64 (nodes, first, second).
    """
    rows = np.empty(len(numbers), dtype=np.int64)
    for node in range(len(numbers)):
        at = DECISIONS * node
        pair = numbers[node, choices[at], choices[at + 1]]
        rows[node] = pair if pair < 0 else pairs[pair, 0] + min(choices[at + 2], pairs[pair, 1] - 1)
    return rows


@njit(cache=True)
def cost_of_choices(
    rows: IntArray,
    pairs: IntArray,
    numbers: IntArray,
    converters: IntArray,
    limits: IntArray,
    choices: IntArray,
) -> int:
    """Returns the cycles of the slowest node, or the LUTs where those are counted; -1 where a rule or a budget is broken.

    Args:
        limits: most cycles, LUTs, block RAMs, DSP slices, and whether LUTs are the cost, int64 (5,).
    """
    picks = rows_of_choices(pairs, numbers, choices)
    if picks.min() < 0:
        return _INFEASIBLE
    uses = uses_of(rows, converters, picks)
    if uses[1] < 0:
        return _INFEASIBLE
    for k in range(L_COUNTS_LUT):
        if uses[k] > limits[k]:
            return _INFEASIBLE
    return uses[1] if limits[L_COUNTS_LUT] else uses[R_CYCLES]
