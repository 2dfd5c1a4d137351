"""The Gymnasium faces of the placement problem; see `PlacementEnv`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.envs.batch import Kit
from foldwright.envs.face import DecisionEnv, DecisionVectorEnv
from foldwright.envs.placement.kernels import (
    CANDIDATE_FEATURES,
    CONTEXT_FEATURES,
    costs,
    observe,
    state_entries,
)
from foldwright.envs.placement.plan import plan_of
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.envs.placement.render import picture, table

__all__ = ["PLACEMENT_KIT", "PlacementEnv", "PlacementVectorEnv", "numbers_of"]


def numbers_of(problem: PlacementProblem) -> npt.NDArray[np.int64]:
    """Returns the numbers of an instance; see `foldwright.envs.placement.episode`."""
    tree, netlist = problem.tree, problem.netlist
    columns, width, height = len(tree.first_site), problem.grid.width, problem.grid.height
    sizes = (netlist.cells, len(tree.xy), netlist.nets, len(tree.regions), columns, len(netlist.kinds))
    across = np.count_nonzero(tree.regions[:, 2] == 0)
    return np.array([*sizes, width, height, across], dtype=np.int64)


def _nearest_x(problem: PlacementProblem) -> npt.NDArray[np.int64]:
    """Returns, for each kind and x, the x of the kind's nearest column, int64 (kinds, width)."""
    board, places = problem.board, np.arange(problem.grid.width)
    columns = [board.column_x[a:b] for a, b in pairwise(board.kind_columns.tolist())]
    return np.array([x[np.abs(places[:, None] - x).argmin(axis=1)] for x in columns], dtype=np.int64)


def _pack(problem: PlacementProblem) -> tuple[npt.NDArray[Any], ...]:
    plan = plan_of(problem.wires, problem.board, problem.tree.order)
    arrays = (
        problem.sizes,
        problem.fallback,
        *problem.tree,
        problem.least_lengths,
        numbers_of(problem),
        plan,
        _nearest_x(problem),
    )
    return tuple(array.ravel() for array in arrays)


def _bound(problem: PlacementProblem) -> int:
    return problem.bound().value


def _state_entries(problem: PlacementProblem) -> int:
    return int(state_entries(numbers_of(problem)))


PLACEMENT_KIT = Kit(
    "placement", len(CANDIDATE_FEATURES), len(CONTEXT_FEATURES), _pack, costs, observe, _bound,
    state_entries=_state_entries,
)  # fmt: skip


class PlacementEnv(DecisionEnv):
    """Decides, cell by cell, where a netlist stands on a fabric: region, column, site.

    Problem:
        `foldwright.envs.placement.problem`: three decisions a cell, in the order of the strongest nets to the cells before;
        the cost is the weighted half-perimeter wirelength in tiles.
    Observation:
        A dict. `candidates`, float32 (1024,), -4..4, or (64, 16) with `flat=False`:
        `kernels.CANDIDATE_FEATURES` of each candidate of the next decision, zeros where it is not allowed or beyond the last.
        `context`, float32 (18,), -4..4: `kernels.CONTEXT_FEATURES`. `action_mask`, int8
        (64,), 0 or 1. After the last decision all are zero.
    Action:
        Discrete(64): the candidate that the next decision takes.
    Mask:
        A candidate is allowed iff it holds a free site of the cell's kind. One always is, for a netlist that fits. Another
        action leaves the state unchanged.
    Reward:
        (cost before - cost after) / bound, without a unit, larger is better, -1 for a forbidden action. The cost is the
        fallback's before the first and the placement's after the last decision; between them it is the wirelength of the
        cells placed and, for the share of each net that is not, the least that the net needs (see `episode`). An undiscounted
        episode sums to (cost of the fallback - cost) / bound exactly.
    Terminated / Truncated:
        Terminated after the last decision; truncated after 4 * decisions + 16 steps.
    Info:
        `cost` (tiles, see Reward), `bound` (tiles), `instance` (name); after a step `legal`.
    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("foldwright.envs:foldwright/Placement-v0", instances="placement/train-s0-0")
        >>> observation, info = env.reset(seed=0)
        >>> done = False
        >>> while not done:
        ...     action = observation["action_mask"].argmax()
        ...     observation, reward, done, truncated, info = env.step(action)
        >>> info["instance"], info["cost"] >= info["bound"]
        ('placement/train-s0-0', True)
    """

    kit: ClassVar[Kit] = PLACEMENT_KIT
    draw_table = staticmethod(table)
    draw_picture = staticmethod(picture)


class PlacementVectorEnv(DecisionVectorEnv):
    """Many placement episodes at once; see `PlacementEnv`."""

    kit: ClassVar[Kit] = PLACEMENT_KIT
