"""Episodes decided by a policy side by side: one per instance, to their ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foldwright.agents.policy import Policy
from foldwright.envs.batch import BatchCore
from foldwright.envs.kits import kit_of
from foldwright.envs.problem import Problem

__all__ = ["begin_episodes", "draw_actions", "greedy_costs"]


def begin_episodes(problems: Sequence[Problem]) -> BatchCore:
    """Returns a core with an episode on each problem, all of one kind."""
    core = BatchCore(kit_of(problems[0].kind), len(problems))
    core.begin(dict(enumerate(problems)))
    return core


def greedy_costs(policy: Policy, problems: Sequence[Problem]) -> npt.NDArray[np.int64]:
    """Returns the cost of what a policy decides on each problem, taking the likeliest candidate each time."""
    core = begin_episodes(problems)
    while core.mask.any():
        core.step(policy.logits(core.candidates, core.context, core.mask).argmax(axis=1))
    return core.cost.copy()


def draw_actions(
    logits: npt.NDArray[np.float32], greedy: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Returns a candidate for each row: the likeliest where `greedy`, else one drawn with the odds of the logits.

    Rows without any candidate get 0, which changes nothing.
    """
    noise = rng.gumbel(size=logits.shape)
    noise[greedy] = 0
    actions: npt.NDArray[np.int64] = (logits + noise).argmax(axis=1)
    return actions
