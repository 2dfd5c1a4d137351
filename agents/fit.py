"""Fits a policy's network to labelled decisions by gradient steps; needs torch (`foldwright[rl]`).

The loss of a decision is the cross-entropy to the odds exp(-excess / temperature) of its candidates, weighted by how much
the candidates differ; plus the expected excess itself, sum of p_i * excess_i, which is what a wrong choice costs; plus the
value's squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foldwright.agents.imitate import Labels
from foldwright.agents.policy_torch import CandidateScorer
from foldwright.agents.train_config import ImitationConfig

__all__ = ["LabelPool", "adam_of", "adam_state", "fit", "load_adam"]

_LEAST_WEIGHT = 0.1
"""Weight of a decision whose candidates all cost the same."""
_MAX_GRADIENT = 1.0

Tensors = dict[str, npt.NDArray[np.float32]]


class LabelPool:
    """Labelled decisions of several chunks, from which batches are drawn."""

    def __init__(self, shards: Sequence[Labels]) -> None:
        self._candidates = np.concatenate([labels.candidates for labels in shards])
        self._excess = np.concatenate([labels.excess for labels in shards])
        self._context = np.concatenate([labels.context for labels in shards])
        self._values = np.concatenate([labels.values for labels in shards])
        self._counts = np.concatenate([labels.counts for labels in shards]).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]]) if len(self) else self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def batch(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns candidates (rows, K, F), context, mask (rows, K), excess (rows, K) and values of some decisions."""
        counts = self._counts[rows]
        mask = np.arange(counts.max()) < counts[:, None]
        places = (self._starts[rows][:, None] + np.arange(counts.max()))[mask]
        candidates = np.zeros((*mask.shape, self._candidates.shape[1]), dtype=np.float32)
        excess = np.zeros(mask.shape, dtype=np.float32)
        candidates[mask], excess[mask] = self._candidates[places], self._excess[places]
        arrays = (candidates, self._context[rows], mask, excess, self._values[rows])
        return tuple(torch.from_numpy(array) for array in arrays)


def adam_of(scorer: CandidateScorer, learning_rate: float, state: Tensors) -> torch.optim.Adam:
    """Returns Adam over a network's weights, continued from `state` where that is not empty."""
    adam = torch.optim.Adam(scorer.parameters(), lr=learning_rate)
    load_adam(adam, scorer, state)
    return adam


def adam_state(adam: torch.optim.Optimizer, scorer: CandidateScorer) -> Tensors:
    """Returns Adam's moments and step counts as arrays named NAME.MOMENT."""
    return {
        f"{name}.{key}": np.array(tensor.detach().numpy(), dtype=np.float32)
        for name, parameter in scorer.named_parameters()
        for key, tensor in adam.state[parameter].items()
    }


def load_adam(adam: torch.optim.Optimizer, scorer: CandidateScorer, state: Tensors) -> None:
    """Puts back what `adam_state` returned; nothing where that is empty."""
    for name, parameter in scorer.named_parameters():
        mine = {
            key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")
        }
        if mine:
            adam.state[parameter] = {key: torch.from_numpy(np.array(value)) for key, value in mine.items()}


def _loss(scorer: CandidateScorer, batch: Any, config: ImitationConfig) -> Tensor:
    candidates, context, mask, excess, returns = batch
    logits, values = scorer(candidates, context, mask)
    log_odds = torch.log_softmax(logits, dim=1).masked_fill(~mask, 0.0)
    wanted = torch.softmax((-excess / config.temperature).masked_fill(~mask, float("-inf")), dim=1)
    weight = (excess.amax(dim=1) / config.temperature).clamp(_LEAST_WEIGHT, 1.0)
    imitation = -(wanted * log_odds).sum(dim=1) * weight
    regret = (log_odds.exp() * mask * excess).sum(dim=1)
    value = torch.nn.functional.smooth_l1_loss(values, returns)
    loss: Tensor = (imitation + config.regret_weight * regret).mean() + config.value_weight * value
    return loss


def fit(
    scorer: CandidateScorer,
    adam: torch.optim.Adam,
    pool: LabelPool,
    config: ImitationConfig,
    rng: np.random.Generator,
) -> float:
    """Takes the gradient steps of a chunk on batches drawn from a pool; returns the mean loss, 0 of an empty pool."""
    losses = []
    for _ in range(config.batches if len(pool) else 0):
        rows = rng.integers(len(pool), size=config.batch_rows)
        loss = _loss(scorer, pool.batch(rows), config)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), _MAX_GRADIENT)
        adam.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses)) if losses else 0.0
