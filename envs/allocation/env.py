"""The Gymnasium faces of the allocation problem; see `AllocationEnv`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from foldwright.envs.allocation.kernels import (
    CANDIDATE_FEATURES,
    CONTEXT_FEATURES,
    costs,
    observe,
    state_entries,
    weak_bound,
)
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.envs.allocation.render import picture, table
from foldwright.envs.batch import Kit
from foldwright.envs.face import DecisionEnv, DecisionVectorEnv

__all__ = ["ALLOCATION_KIT", "AllocationEnv", "AllocationVectorEnv"]


def _pack(problem: AllocationProblem) -> tuple[npt.NDArray[Any], ...]:
    curves = problem.outlook.curves.reshape(-1), problem.outlook.chains.reshape(-1)
    return (problem.sizes, problem.fallback, *problem.tables, *curves)


def _bound(problem: AllocationProblem) -> int:
    layers, _, lut, _, limits = problem.tables
    return int(weak_bound(layers, lut, limits))


def _state_entries(problem: AllocationProblem) -> int:
    return state_entries(problem.max_engines)


ALLOCATION_KIT = Kit(
    "allocation",
    len(CANDIDATE_FEATURES),
    len(CONTEXT_FEATURES),
    _pack,
    costs,
    observe,
    _bound,
    state_entries=_state_entries,
)


class AllocationEnv(DecisionEnv):
    """Decides, one number after another, which engines a part holds for a network.

    Problem:
        `foldwright.envs.allocation.problem`: number of engines, layers of each, frames per round, then seven decisions an
        engine; the cost is thousandths of the simulator's cycles per frame under a schedule made by rule.
    Observation:
        A dict. `candidates`, float32 (2112,), -4..4, or (64, 33) with `flat=False`:
        `kernels.CANDIDATE_FEATURES` of each candidate of the next decision, zeros where it is not allowed or beyond the last.
        `context`, float32 (36,), -4..4:
        `kernels.CONTEXT_FEATURES`. `action_mask`, int8 (64,), 0 or 1. After the last decision all are zero.
    Action:
        Discrete(64): the candidate that the next decision takes.
    Mask:
        A candidate is allowed iff the design that it leads to, with the fallback (the smallest engine) for all later
        decisions, is legal and fits in LUTs, flip-flops and block RAMs. One always is. Another action leaves the state unchanged.
    Reward:
        (cost before - cost after) / bound, without a unit, larger is better, -1 for a forbidden action. The cost is the
        simulator's before the first and after the last decision; between them it is an estimate for the fallback
        completion: the compute of the busiest engine, scaled to the simulator's cost of the fallback, for a simulation
        takes longer than everything else in a step. An undiscounted episode sums to (cost of the fallback - cost) / bound
        exactly.
    Terminated / Truncated:
        Terminated after the last decision; truncated after 4 * decisions + 16 steps.
    Info:
        `cost` (cycles per 1000 frames, see Reward), `bound` (the same unit; quick to compute and weaker than the
        problem's own), `instance` (name); after a step `legal`.
    Example:
        >>> import gymnasium
        >>> env = gymnasium.make(
        ...     "foldwright.envs:foldwright/Allocation-v0", instances="allocation/digits-w1a2-xc7z020-80"
        ... )
        >>> observation, info = env.reset(seed=0)
        >>> done = False
        >>> while not done:
        ...     action = observation["action_mask"].argmax()
        ...     observation, reward, done, truncated, info = env.step(action)
        >>> info["instance"], info["cost"] >= info["bound"]
        ('allocation/digits-w1a2-xc7z020-80', True)
    """

    kit: ClassVar[Kit] = ALLOCATION_KIT
    draw_table = staticmethod(table)
    draw_picture = staticmethod(lambda problem, choices, _: picture(problem, choices))


class AllocationVectorEnv(DecisionVectorEnv):
    """Many allocation episodes at once; see `AllocationEnv`."""

    kit: ClassVar[Kit] = ALLOCATION_KIT
