"""Checks the environments with Gymnasium's and Stable-Baselines3's checkers and measures their steps per second.

    python benchmarks/env_speed.py [--json FILE] [--seconds S]

Steps are random allowed actions on instances of the split `train`, after a warm-up that compiles the kernels and builds
the instances; seconds are CPU time of this process, all threads counted. `forbidden` steps take an action that the mask
forbids: they cost no simulation and show what the core itself takes.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

import foldwright.envs

__all__ = ["checks", "main", "speed"]

INSTANCES = 32
BATCH = 256
Step = Callable[[], int]
"""Takes a step of every episode and returns how many steps that were."""


def checks(env_id: str) -> dict[str, int]:
    """Returns how many warnings each checker gave."""
    from gymnasium.utils.env_checker import check_env as gymnasium_check
    from stable_baselines3.common.env_checker import check_env as sb3_check

    counts = {}
    for name, check in (("gymnasium", gymnasium_check), ("stable_baselines3", sb3_check)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check(gymnasium.make(env_id, render_mode="rgb_array").unwrapped)
        counts[name] = len(caught)
    return counts


def _allowed(rng: np.random.Generator, mask: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    actions: npt.NDArray[np.int64] = (rng.random(mask.shape) * mask).argmax(axis=-1)
    return actions


def _single(env_id: str) -> Step:
    env = gymnasium.make(env_id, instances="train", instance_count=INSTANCES).unwrapped
    rng = np.random.default_rng(0)
    last: list[Any] = [env.reset(seed=0)[0]]

    def step() -> int:
        last[0], _, terminated, truncated, _ = env.step(int(_allowed(rng, last[0]["action_mask"])))
        if terminated or truncated:
            last[0], _ = env.reset()
        return 1

    return step


def _batched(env_id: str, forbidden: bool = False) -> Step:
    env = gymnasium.make_vec(
        env_id, BATCH, vectorization_mode="vector_entry_point", instances="train", instance_count=INSTANCES
    )
    rng = np.random.default_rng(0)
    last: list[Any] = [env.reset(seed=0)[0]]

    def step() -> int:
        mask = last[0]["action_mask"]
        last[0], *_ = env.step(_allowed(rng, 1 - mask if forbidden else mask))
        return BATCH

    return step


def speed(step: Step, seconds: float, warm_up: int) -> float:
    """Returns steps per second of CPU time, over at least `seconds`."""
    for _ in range(warm_up):
        step()
    begin, steps = time.process_time(), 0
    while time.process_time() - begin < seconds:
        steps += step()
    return steps / (time.process_time() - begin)


def measure(env_id: str, seconds: float) -> dict[str, Any]:
    """Returns everything that is shown of an environment."""
    return {
        "warnings": checks(env_id),
        "steps_per_second": {
            "single": round(speed(_single(env_id), seconds, 400)),
            f"batched_{BATCH}": round(speed(_batched(env_id), seconds, 8)),
            f"batched_{BATCH}_forbidden": round(speed(_batched(env_id, forbidden=True), seconds, 8)),
        },
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds of each measurement")
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version()}
    for env_id in foldwright.envs.ENVIRONMENTS.values():
        results[env_id] = measure(env_id, args.seconds)
        print(env_id, json.dumps(results[env_id]))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
