"""Labels for imitation (DAgger): episodes of policy and oracle mixed, every decision labelled by an expert.

Ross, Gordon, Bagnell, "A reduction of imitation learning and structured prediction to no-regret online learning" (2011);
the labels are costs to go, as in Ross and Bagnell, "Reinforcement and imitation learning via interactive no-regret
learning" (2014). An oracle's solution is one of many that cost the same, so a label is not its candidate alone. For each
allowed candidate of a decision the expert completes the episode as well as it knows and scores the whole: the label is
the excess of that cost over the best candidate's, as a difference of natural logarithms, cut at `MAX_EXCESS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foldwright.agents.faces import Guide
from foldwright.agents.oracle import guide_of
from foldwright.agents.policy import Policy
from foldwright.agents.rollout import begin_episodes, draw_actions
from foldwright.envs.batch import BatchCore
from foldwright.envs.problem import INFEASIBLE, Choices, Problem

__all__ = ["MAX_EXCESS", "Labels", "label_episodes"]

MAX_EXCESS = 1.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled decisions; the allowed candidates of all lie one after another.

    Attributes:
        counts: Allowed candidates of each decision.
        values: What the rest of the episode earned, the target of the value.
    """

    candidates: Floats  # float32 (candidates, F)
    excess: Floats  # float32 (candidates,), 0 for the best of a decision
    context: Floats  # float32 (decisions, G)
    counts: npt.NDArray[np.int32]  # int32 (decisions,)
    values: Floats  # float32 (decisions,)

    def __len__(self) -> int:
        return len(self.counts)


def label_episodes(
    problems: Sequence[Problem],
    oracles: Sequence[Choices],
    policy: Policy,
    *,
    oracle_share: float,
    repair: int,
    mends: bool,
    label_decisions: int,
    log_reward: bool,
    rng: np.random.Generator,
) -> Labels:
    """Plays an episode on each problem and labels its decisions.

    Args:
        oracles: The oracle's choices for each problem.
        policy: Decides where the oracle does not; in every other episode the likeliest candidate, else one drawn.
        oracle_share: Chance of a decision to be the oracle's.
        repair: Evaluations for mending the oracle after another decision.
        mends: Whether labels mend the expert's completion where it does not fit; if not, the candidate's excess is
            `MAX_EXCESS` there.
        label_decisions: A label is the excess over the share of the cost that so many decisions have; 0 means all.
        log_reward: Whether values are of the logarithm of the cost, or of the cost over the bound.
    """
    core = begin_episodes(problems)
    experts = [guide_of(*pair, repair, rng) for pair in zip(problems, oracles, strict=True)]
    greedy = np.arange(len(problems)) % 2 == 0
    steps: list[_Step] = []
    while core.mask.any():
        actions = draw_actions(policy.logits(core.candidates, core.context, core.mask), greedy, rng)
        by_oracle = rng.random(len(actions)) < oracle_share
        rows = np.flatnonzero(core.mask.any(axis=1))
        labelled = rows[
            core.mask[rows].sum(axis=1) > 1
        ]  # where one candidate is left, there is nothing to learn
        excess = [_excess(experts[row], core, row, mends, label_decisions) for row in labelled]
        steps.append(_Step.seen(core, labelled, excess))
        for row in rows:
            decision = int(core.position[row])
            own = int(experts[row].choices[decision])
            if by_oracle[row] and core.mask[row, own]:
                actions[row] = own
            experts[row].follow(decision, int(actions[row]))
        core.step(actions)
    return _joined(steps, core, log_reward)


def _excess(expert: Guide, core: BatchCore, row: int, mends: bool, label_decisions: int) -> Floats:
    """Returns the label of a row's next decision, an entry for each allowed candidate."""
    mask, decision = core.mask[row], int(core.position[row])
    costs = expert.candidate_costs(decision, mask, mends)[mask != 0].astype(np.float64)
    if (costs == INFEASIBLE).all():  # even the expert's own candidate: the mask forbids it
        costs = expert.candidate_costs(decision, mask)[mask != 0].astype(np.float64)
    costs[costs == INFEASIBLE] = np.inf
    excess = np.log(np.maximum(costs, 1.0)) - np.log(max(costs.min(), 1.0))
    if label_decisions:
        excess *= core.bank.decisions[core.instance[row]] / label_decisions
    return np.minimum(excess, MAX_EXCESS).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Step:
    """The decisions of one step of a batch, `costs` being those before it."""

    rows: npt.NDArray[np.int64]
    candidates: Floats
    excess: Floats
    context: Floats
    counts: npt.NDArray[np.int32]
    costs: npt.NDArray[np.int64]

    @staticmethod
    def seen(core: BatchCore, rows: npt.NDArray[np.int64], excess: list[Floats]) -> _Step:
        allowed = core.mask[rows] != 0
        return _Step(
            rows,
            core.candidates[rows][allowed],
            np.concatenate([*excess, np.zeros(0, dtype=np.float32)]),
            core.context[rows],
            allowed.sum(axis=1).astype(np.int32),
            core.cost[rows],
        )


def _joined(steps: list[_Step], core: BatchCore, log_reward: bool) -> Labels:
    rows = np.concatenate([step.rows for step in steps])
    before, after = np.concatenate([step.costs for step in steps]), core.cost[rows]
    if log_reward:
        values = np.log(np.maximum(before, 1)) - np.log(np.maximum(after, 1))
    else:
        values = (before - after) / core.bank.bounds[core.instance[rows]]
    return Labels(
        np.concatenate([step.candidates for step in steps]),
        np.concatenate([step.excess for step in steps]),
        np.concatenate([step.context for step in steps]),
        np.concatenate([step.counts for step in steps]),
        values.astype(np.float32),
    )
