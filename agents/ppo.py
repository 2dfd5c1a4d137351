"""A chunk of MaskablePPO (sb3-contrib) on the batched environment; needs torch and Stable-Baselines3 (`foldwright[rl]`).

Source: J. Schulman et al., "Proximal policy optimization algorithms" (2017); S. Huang, S. Ontanon, "A closer look at invalid
action masking in policy gradient algorithms" (2022). Undiscounted: an episode's return is what its cost fell by.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import Logger

from foldwright.agents.fit import Tensors, adam_state, load_adam
from foldwright.agents.policy_file import Weights
from foldwright.agents.policy_torch import ScorerPolicy, load_weights, weights_of
from foldwright.agents.train_config import NetworkConfig, PpoConfig
from foldwright.envs.problem import Problem
from foldwright.envs.sb3 import MaskedVecEnv

__all__ = ["ppo_chunk", "ppo_env", "ppo_model"]


class _LogCostVecEnv(MaskedVecEnv):
    """Rewards ln(cost before / cost after), whose sum over an episode is the logarithm of the improvement."""

    def step_wait(self) -> Any:
        before = self.envs.core.cost.astype(np.float64)
        observations, _, done, infos = super().step_wait()
        after = np.array([info["cost"] for info in infos], dtype=np.float64)
        reward = np.log(np.maximum(before, 1.0)) - np.log(np.maximum(after, 1.0))
        return observations, reward.astype(np.float32), done, infos


def ppo_env(kind: str, problems: Sequence[Problem], config: PpoConfig) -> MaskedVecEnv:
    """Returns episodes side by side on instances drawn from `problems`."""
    module = importlib.import_module(f"foldwright.envs.{kind}.env")
    envs = getattr(module, f"{kind.capitalize()}VectorEnv")(config.episodes, instances=list(problems))
    return (_LogCostVecEnv if config.reward == "log" else MaskedVecEnv)(envs)


def ppo_model(
    env: MaskedVecEnv, network: NetworkConfig, config: PpoConfig, learning_rate: float
) -> MaskablePPO:
    """Returns a silent MaskablePPO with our network."""
    model = MaskablePPO(
        ScorerPolicy,
        env,
        policy_kwargs={"width": network.width, "depth": network.depth},
        n_steps=config.rollout_steps,
        batch_size=min(config.batch_rows, config.rollout_steps * config.episodes),
        n_epochs=config.epochs,
        learning_rate=learning_rate,
        clip_range=config.clip_range,
        gamma=1.0,
        gae_lambda=config.gae_lambda,
        ent_coef=config.entropy_weight,
        vf_coef=config.value_weight,
        device="cpu",
    )
    model.set_logger(Logger(None, []))
    return model


def ppo_chunk(
    model: MaskablePPO, weights: Weights, optimizer: Tensors, config: PpoConfig, seed: int
) -> tuple[Weights, Tensors, int, float]:
    """Trains a model from weights and an optimizer's state; returns both after it, the decisions taken and the loss."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    scorer = model.policy.scorer
    load_weights(scorer, weights)
    load_adam(model.policy.optimizer, scorer, optimizer)
    model.env.seed(seed % 2**31)
    model.learn(config.rollouts * config.rollout_steps * config.episodes)
    loss = float(model.logger.name_to_value.get("train/loss", 0.0))
    return weights_of(scorer), adam_state(model.policy.optimizer, scorer), int(model.num_timesteps), loss
