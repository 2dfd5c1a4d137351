"""The Gymnasium faces of the tiling problem; see `TilingEnv`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from foldwright.envs.batch import Kit
from foldwright.envs.face import DecisionEnv, DecisionVectorEnv
from foldwright.envs.tiling.kernels import (
    CANDIDATE_FEATURES,
    CONTEXT_FEATURES,
    observe,
    state_entries,
)
from foldwright.envs.tiling.options import option_tables
from foldwright.envs.tiling.problem import TilingProblem
from foldwright.envs.tiling.render import picture, table
from foldwright.envs.tiling.whole import costs

__all__ = ["TILING_KIT", "TilingEnv", "TilingVectorEnv"]


def _pack(problem: TilingProblem) -> tuple[npt.NDArray[Any], ...]:
    options = option_tables(problem.tables, problem.sizes, _bound(problem))
    return (problem.sizes, problem.fallback, *problem.tables, *options)


def _bound(problem: TilingProblem) -> int:
    return max(1, problem.bound().value)


def _state_entries(problem: TilingProblem) -> int:
    return state_entries(len(problem.workload.layers), len(problem.datapath.engines))


TILING_KIT = Kit(
    "tiling",
    len(CANDIDATE_FEATURES),
    len(CONTEXT_FEATURES),
    _pack,
    costs,
    observe,
    _bound,
    state_entries=_state_entries,
)


class TilingEnv(DecisionEnv):
    """Decides, layer by layer, how a network runs on a datapath: weights, output, tile.

    Problem:
        `foldwright.envs.tiling.problem`: three decisions a layer; the cost is the simulator's cycles per round.
    Observation:
        A dict. `candidates`, float32 (896,), -4..4, or (64, 14) with `flat=False`:
        `kernels.CANDIDATE_FEATURES` of each candidate of the next decision, zeros beyond the last.
        `context`, float32 (22,), -4..4: `kernels.CONTEXT_FEATURES`. `action_mask`, int8
        (64,), 0 or 1. After the last decision all are zero.
    Action:
        Discrete(64): the candidate that the next decision takes.
    Mask:
        A candidate is allowed iff the block RAMs of the decisions so far, the candidate, and the fallback for all later
        decisions fit the pool. One always is. Another action leaves the state unchanged.
    Reward:
        (cost before - cost after) / bound, without a unit, larger is better, -1 for a forbidden action. The cost is the
        simulator's before the first and after the last decision; between them it is an estimate for the fallback
        completion, fused layers taken as if they were not: the cycles of the busiest engine's layers one by one, or
        of the DRAM port, whichever are more, scaled
        to the simulator's for the fallback. A simulation takes tens of times as long as everything else in
        a step (`benchmarks/env_speed.py`). An undiscounted episode sums to (cycles of the fallback - cycles) / bound exactly.
    Terminated / Truncated:
        Terminated after the last decision; truncated after 4 * decisions + 16 steps.
    Info:
        `cost` (cycles, see Reward), `bound` (cycles), `instance` (name); after a step `legal`.
    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("foldwright.envs:foldwright/Tiling-v0", instances="tiling/digits-w1a2-b16")
        >>> observation, info = env.reset(seed=0)
        >>> done = False
        >>> while not done:
        ...     action = observation["action_mask"].argmax()
        ...     observation, reward, done, truncated, info = env.step(action)
        >>> info["instance"], info["cost"] >= info["bound"]
        ('tiling/digits-w1a2-b16', True)
    """

    kit: ClassVar[Kit] = TILING_KIT
    draw_table = staticmethod(table)
    draw_picture = staticmethod(picture)


class TilingVectorEnv(DecisionVectorEnv):
    """Many tiling episodes at once; see `TilingEnv`."""

    kit: ClassVar[Kit] = TILING_KIT
