"""Checks the environments with Gymnasium's and Stable-Baselines3's checkers and measures their steps per second.

    python benchmarks/env_speed.py [--json FILE] [--seconds S]

Steps are random allowed actions on instances of the split `train`, after a warm-up that compiles the kernels and builds
the instances; seconds are CPU time of this process, all threads counted. `views` is the batch without copies of the
observations, `sb3` the face for Stable-Baselines3. `forbidden` steps take an action that the mask forbids: they cost no
simulation and show what the core itself takes. `parts_us` says where the microseconds of a batched step go: the
simulation at the end of an episode, the kernel that keeps state, mask and features, new episodes, the copies, the rest in
Python, and, outside of the step, picking the actions.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

import foldwright.envs

__all__ = ["checks", "main", "parts", "speed", "stable_baselines_steps", "vector"]

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


class Picker:
    """Picks actions at random among those that the mask allows, or among those that it forbids."""

    def __init__(self, wanted: int = 1) -> None:
        self._rng, self._wanted = np.random.default_rng(0), wanted

    def __call__(self, mask: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        ranks = (mask == self._wanted).cumsum(axis=1, dtype=np.int8)
        drawn = self._rng.integers(np.maximum(1, ranks[:, -1]))
        actions: npt.NDArray[np.int64] = (ranks > drawn[:, None]).argmax(axis=1)
        return actions


def _single(env_id: str) -> Step:
    env = gymnasium.make(env_id, instances="train", instance_count=INSTANCES).unwrapped
    pick = Picker()
    last: list[Any] = [env.reset(seed=0)[0]]

    def step() -> int:
        last[0], _, terminated, truncated, _ = env.step(int(pick(last[0]["action_mask"][None])[0]))
        if terminated or truncated:
            last[0], _ = env.reset()
        return 1

    return step


def vector(env_id: str, copy: bool = True) -> Any:
    """Returns the vector environment that is measured."""
    return gymnasium.make_vec(
        env_id, BATCH, vectorization_mode="vector_entry_point", instances="train",
        instance_count=INSTANCES, copy=copy,
    )  # fmt: skip


def _batched(env: Any, forbidden: bool = False) -> Step:
    pick = Picker(0 if forbidden else 1)
    last: list[Any] = [env.reset(seed=0)[0]]

    def step() -> int:
        last[0], *_ = env.step(pick(last[0]["action_mask"]))
        return BATCH

    return step


def stable_baselines_steps(env_id: str) -> Step:
    """Returns what steps the face for Stable-Baselines3 with random allowed actions."""
    from foldwright.envs.sb3 import MaskedVecEnv

    env = MaskedVecEnv(vector(env_id))
    env.seed(0)
    pick = Picker()
    env.reset()

    def step() -> int:
        env.step(pick(env.action_masks()))
        return BATCH

    return step


def parts(env_id: str, seconds: float) -> dict[str, float]:
    """Returns the microseconds of a batched step by what takes them."""
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            result = call(*args, **kwargs)
            spent[name] = spent.get(name, 0.0) + time.process_time() - begin
            return result

        return inner

    env = vector(env_id)
    core, pick = env.core, Picker()
    last, _ = env.reset(seed=0)
    for _ in range(40):
        last, *_ = env.step(pick(last["action_mask"]))
    kit = core.kit
    core.kit = replace(
        kit, costs=timed("simulation", kit.costs), observe=timed("state, mask, features", kit.observe)
    )
    env._observations = timed("copy", env._observations)
    taken, step, choose, steps = 0.0, timed("all", env.step), timed("picking actions", pick), 0
    while taken < seconds:
        last, *_ = step(choose(last["action_mask"]))
        taken, steps = spent["all"], steps + BATCH
    rest = spent.pop("all") - spent["simulation"] - spent["state, mask, features"] - spent["copy"]
    spent["Python, with the draw of new instances"] = rest
    return {name: round(1e6 * value / steps, 3) for name, value in spent.items()}


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
            f"batched_{BATCH}": round(speed(_batched(vector(env_id)), seconds, 40)),
            f"batched_{BATCH}_views": round(speed(_batched(vector(env_id, copy=False)), seconds, 40)),
            f"batched_{BATCH}_sb3": round(speed(stable_baselines_steps(env_id), seconds, 40)),
            f"batched_{BATCH}_forbidden": round(speed(_batched(vector(env_id), forbidden=True), seconds, 8)),
        },
        "parts_us": parts(env_id, seconds),
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
