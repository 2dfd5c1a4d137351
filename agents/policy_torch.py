"""The network of policies in torch, and as a policy of sb3-contrib's MaskablePPO; the only module with torch.

`CandidateScorer` computes what `agents.policy.Policy` computes, and a value from the same pool. It evaluates allowed
candidates only, laid one after another: observations have room for 64, of which few are allowed.

    model = MaskablePPO(ScorerPolicy, MaskedVecEnv(TilingVectorEnv(256)), policy_kwargs={"width": 64})
    raw = policy_bytes(PolicyCard.of_kind("tiling", width=64), weights_of(model.policy.scorer))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from foldwright.agents.policy import Policy
from foldwright.agents.policy_file import Weights
from foldwright.errors import ConfigError

__all__ = ["CandidateScorer", "ScorerPolicy", "load_weights", "scorer_of", "weights_of"]

_FORBIDDEN = -1e8
"""Logit of a forbidden candidate where a distribution needs a finite one."""
_HIDDEN_GAIN = 2**0.5
_SCORE_GAIN = 0.01
"""A policy begins close to even odds, as in Stable-Baselines3."""


def _layers(features: int, width: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width if layer else features, width) for layer in range(depth))


class CandidateScorer(nn.Module):
    """Scores the candidates of decisions, whatever their number, and values the state.

    Args:
        width: Units of every hidden layer.
        depth: Layers that encode a candidate, and layers that encode the context.
    """

    def __init__(
        self, candidate_features: int, context_features: int, width: int = 64, depth: int = 1
    ) -> None:
        super().__init__()
        self.candidate_features, self.context_features = candidate_features, context_features
        self.width, self.depth = width, depth
        self.phi = _layers(candidate_features, width, depth)
        self.psi = _layers(context_features, width, depth)
        self.head = nn.Linear(4 * width, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.value_head = nn.Linear(3 * width, width)
        self.value = nn.Linear(width, 1)
        self.reset()

    def reset(self) -> None:
        """Draws fresh weights from torch's global generator: orthogonal, with almost equal scores."""
        gains = {self.score: _SCORE_GAIN, self.value: 1.0}
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, gains.get(module, _HIDDEN_GAIN))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, candidates: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits, float32 (rows, K), -inf where the mask forbids, and values, float32 (rows,).

        Args:
            candidates: Features, float32 (rows, K, F).
            context: Features, float32 (rows, G).
            mask: 0 or False where a candidate is forbidden, (rows, K).
        """
        allowed = mask != 0
        own, pooled, rows = self._encode(candidates, context, allowed)
        logits = own.new_full(allowed.shape, float("-inf"))
        return logits.masked_scatter(allowed, self._scores(own, pooled, rows)), self._values(pooled)

    def evaluate_actions(
        self, candidates: Tensor, context: Tensor, mask: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns values, log-probabilities of actions and entropies, float32 (rows,) each.

        Only allowed candidates are looked at, a few of the 64 that observations have room for.

        Args:
            actions: int64 (rows,), all allowed.
        """
        allowed = mask != 0
        own, pooled, rows = self._encode(candidates, context, allowed)
        scores = self._scores(own, pooled, rows)
        nothing = pooled.new_zeros(len(pooled))
        top = nothing.scatter_reduce(0, rows, scores.detach(), "amax", include_self=False)
        shifted = scores - top[rows]
        log_odds = shifted - nothing.index_add(0, rows, shifted.exp()).log()[rows]
        entropy = -nothing.index_add(0, rows, log_odds.exp() * log_odds)
        wanted = torch.arange(len(actions), device=own.device) * allowed.shape[1] + actions
        places = torch.searchsorted(allowed.reshape(-1).nonzero().squeeze(1), wanted)
        return self._values(pooled), log_odds[places], entropy

    def values(self, candidates: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Returns the values alone, float32 (rows,)."""
        return self._values(self._encode(candidates, context, mask != 0)[1])

    def _encode(self, candidates: Tensor, context: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the allowed candidates' codes, each row's pool, and the row of each allowed candidate."""
        own = _through(self.phi, candidates[allowed])
        counts = allowed.sum(dim=1)
        rows = torch.repeat_interleave(torch.arange(len(counts), device=own.device), counts)
        nothing = own.new_zeros((len(counts), self.width))
        mean = nothing.index_add(0, rows, own) / counts.clamp(min=1).unsqueeze(1)
        # codes are not negative, so the zero to begin with changes no maximum; lengths are right by construction
        top = torch.segment_reduce(own, "max", lengths=counts, axis=0, unsafe=True, initial=0)
        return own, torch.cat([_through(self.psi, context), mean, top], dim=1), rows

    def _scores(self, own: Tensor, pooled: Tensor, rows: Tensor) -> Tensor:
        """Returns the logits of the allowed candidates, one after another."""
        # the head's product, split in what each candidate and what its whole row adds
        weight = self.head.weight
        shared = nn.functional.linear(pooled, weight[:, self.width :], self.head.bias)
        hidden = torch.relu(nn.functional.linear(own, weight[:, : self.width]) + shared[rows])
        scores: Tensor = self.score(hidden).squeeze(1)
        return scores

    def _values(self, pooled: Tensor) -> Tensor:
        values: Tensor = self.value(torch.relu(self.value_head(pooled))).squeeze(1)
        return values


def _through(layers: nn.ModuleList, rows: Tensor) -> Tensor:
    for layer in layers:
        rows = torch.relu(layer(rows))
    return rows


def weights_of(scorer: CandidateScorer) -> Weights:
    """Returns copies of a network's weights, as `policy_bytes` takes them."""
    return {
        name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in scorer.state_dict().items()
    }


def load_weights(scorer: CandidateScorer, weights: Weights) -> None:
    """Copies weights into a network.

    Raises:
        ConfigError: they are of a network of another shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in scorer.state_dict().items()}
    given = {name: tensor.shape for name, tensor in weights.items()}
    wrong = sorted(name for name in shapes | given if shapes.get(name) != given.get(name))
    if wrong:
        got, needed = given.get(wrong[0]), shapes.get(wrong[0])
        raise ConfigError(
            f"weights {wrong[0]!r} have shape {got}, the network needs {needed}; use its width and depth"
        )
    scorer.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in weights.items()})


def scorer_of(policy: Policy) -> CandidateScorer:
    """Returns the network of a policy, for example to train it further."""
    card = policy.card
    scorer = CandidateScorer(card.candidate_features, card.context_features, card.width, card.depth)
    load_weights(scorer, policy.weights)
    return scorer


class _NoFeatures(BaseFeaturesExtractor):
    """Stands where Stable-Baselines3 wants an extractor; the scorer takes observations as they are."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, features_dim=1)


class ScorerPolicy(MaskableActorCriticPolicy):
    """`CandidateScorer` as a policy of MaskablePPO, over the observations of our environments.

    Args:
        width: Units of every hidden layer of `scorer`.
        depth: Layers of its encoders.
    """

    scorer: CandidateScorer

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Discrete,
        lr_schedule: Any,
        width: int = 64,
        depth: int = 1,
        **options: Any,
    ) -> None:
        self._scorer_shape = (width, depth)
        options = {"net_arch": [], "features_extractor_class": _NoFeatures} | options
        super().__init__(observation_space, action_space, lr_schedule, **options)

    def _build(self, lr_schedule: Any) -> None:
        flat = self.observation_space["candidates"].shape
        actions, context = int(self.action_space.n), self.observation_space["context"].shape[0]
        self.scorer = CandidateScorer(int(np.prod(flat)) // actions, context, *self._scorer_shape)
        self.optimizer = self.optimizer_class(
            self.scorer.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        width, depth = self._scorer_shape
        return super()._get_constructor_parameters() | {"width": width, "depth": depth}

    def _inputs(self, obs: Any) -> tuple[Tensor, Tensor, Tensor]:
        mask = obs["action_mask"]
        candidates = obs["candidates"].float().reshape(*mask.shape, self.scorer.candidate_features)
        return candidates, obs["context"].float(), mask

    def _distribution(self, logits: Tensor) -> MaskableDistribution:
        # The logits are masked by the observation's own mask, which is what `action_masks` repeats. Finite instead of
        # -inf: the last observation of an episode allows nothing, and gives even odds.
        return self.action_dist.proba_distribution(action_logits=logits.clamp(min=_FORBIDDEN))

    def forward(
        self, obs: Any, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions, values (rows, 1) and log-probabilities."""
        logits, values = self.scorer(*self._inputs(obs))
        log_odds = torch.log_softmax(logits.clamp(min=_FORBIDDEN), dim=1)
        if deterministic:
            actions = log_odds.argmax(dim=1)
        else:  # the candidate whose exponential clock of its odds rings first
            actions = (log_odds.exp() / torch.empty_like(log_odds).exponential_()).argmax(dim=1)
        return actions, values.unsqueeze(1), log_odds.gather(1, actions.unsqueeze(1)).squeeze(1)

    def evaluate_actions(
        self, obs: Any, actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values (rows, 1), log-probabilities of the actions, and entropies."""
        values, log_probabilities, entropies = self.scorer.evaluate_actions(
            *self._inputs(obs), actions.long()
        )
        return values.unsqueeze(1), log_probabilities, entropies

    def get_distribution(self, obs: Any, action_masks: Any = None) -> MaskableDistribution:
        """Returns the distribution over actions."""
        return self._distribution(self.scorer(*self._inputs(obs))[0])

    def predict_values(self, obs: Any) -> Tensor:
        """Returns values (rows, 1)."""
        return self.scorer.values(*self._inputs(obs)).unsqueeze(1)
