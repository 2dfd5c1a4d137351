"""Measures how many steps per second MaskablePPO learns from, end to end, and what the environment takes of that.

    python benchmarks/train_throughput.py [--json FILE] [--seconds S] [--env ID]

`environment` steps the face for Stable-Baselines3 with random allowed actions. `defaults` is MaskablePPO as it comes,
on one `gymnasium.Env`; `batched` steps 256 episodes at once, learns in minibatches of 4,096, 4 epochs a rollout, with
two layers of 64; `scorer` the same with our network instead, `CandidateScorer` of width 64, which scores allowed
candidates only, and `scorer_width_32` one half as wide, also with one epoch; `scorer_parts` is what shares of its CPU
time go where. One torch thread; seconds are CPU time of this process, rollouts and learning together, after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import MaskablePPO

import foldwright.envs  # noqa: F401 (registers the environments)
from foldwright.agents.ppo import ppo_model
from foldwright.agents.train_config import NetworkConfig, PpoConfig
from foldwright.envs.face import DecisionVectorEnv
from foldwright.envs.sb3 import MaskedVecEnv

__all__ = ["learning_speed", "main", "parts", "stepping_speed"]

BATCH, INSTANCES = 256, 32
ROLLOUT_STEPS, WARM_UP = 64, 40


def learning_speed(model: MaskablePPO, seconds: float) -> float:
    """Returns steps per second of CPU time over whole rollouts with their learning."""
    model.learn(1)  # one rollout compiles and builds the instances
    begin, first = time.process_time(), model.num_timesteps
    while time.process_time() - begin < seconds:
        model.learn(1, reset_num_timesteps=False)
    return float(model.num_timesteps - first) / (time.process_time() - begin)


def stepping_speed(env: MaskedVecEnv, seconds: float) -> float:
    """Returns steps per second of CPU time with random allowed actions."""
    rng, begin, steps = np.random.default_rng(0), 0.0, 0
    env.reset()
    for k in range(1 << 40):
        if k == WARM_UP:
            begin = time.process_time()
        elif k > WARM_UP and time.process_time() - begin > seconds:
            break
        ranks = env.action_masks().cumsum(axis=1, dtype=np.int8)
        env.step((ranks > rng.integers(ranks[:, -1])[:, None]).argmax(axis=1))
        steps += BATCH * (k >= WARM_UP)
    return steps / (time.process_time() - begin)


def _vector(env_id: str) -> MaskedVecEnv:
    env = gymnasium.make_vec(
        env_id, BATCH, vectorization_mode="vector_entry_point", instances="train", instance_count=INSTANCES
    )
    assert isinstance(env, DecisionVectorEnv)
    return MaskedVecEnv(env)


def _batched(env_id: str) -> MaskablePPO:
    return MaskablePPO(
        "MultiInputPolicy", _vector(env_id), n_steps=ROLLOUT_STEPS, batch_size=4096, n_epochs=4,
        gamma=1.0, policy_kwargs={"net_arch": [64, 64]}, seed=0, device="cpu",
    )  # fmt: skip


def _defaults(env_id: str) -> MaskablePPO:
    env = gymnasium.make(env_id, instances="train", instance_count=INSTANCES)
    return MaskablePPO("MultiInputPolicy", env, seed=0, device="cpu")


def _scorer(env_id: str, width: int = 64, epochs: int = 4) -> MaskablePPO:
    config = PpoConfig(rollout_steps=ROLLOUT_STEPS, batch_rows=4096, epochs=epochs)
    return ppo_model(_vector(env_id), NetworkConfig(width=width, depth=1), config, 3e-4)


def parts(model: MaskablePPO) -> dict[str, float]:
    """Returns the shares of a rollout's CPU time: updates, the environments' steps, acting and the buffer."""
    spent = {"update": 0.0, "environment": 0.0}

    def timed(owner: Any, method: str, part: str) -> None:
        call = getattr(owner, method)

        def inner(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent[part] += time.process_time() - began

        setattr(owner, method, inner)

    timed(model, "train", "update")
    timed(model.env, "step", "environment")
    began = time.process_time()
    model.learn(1, reset_num_timesteps=False)
    whole = time.process_time() - began
    shares = {part: round(seconds / whole, 3) for part, seconds in spent.items()}
    return shares | {"acting and buffer": round(1 - sum(spent.values()) / whole, 3)}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds of each measurement")
    parser.add_argument("--env", default="foldwright/Tiling-v0", help="environment to train on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scorer = _scorer(args.env)
    rates = {
        "environment": stepping_speed(_vector(args.env), args.seconds),
        "batched": learning_speed(_batched(args.env), args.seconds),
        "scorer": learning_speed(scorer, args.seconds),
        "scorer_width_32": learning_speed(_scorer(args.env, width=32), args.seconds),
        "scorer_width_32_epoch_1": learning_speed(_scorer(args.env, width=32, epochs=1), args.seconds),
        "defaults": learning_speed(_defaults(args.env), args.seconds),
    }
    results: dict[str, Any] = {
        "env": args.env,
        "episodes_at_once": BATCH,
        "steps_per_second": {name: round(rate) for name, rate in rates.items()},
        "scorer_parts": parts(scorer),
    }
    print(json.dumps(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
