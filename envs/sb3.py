"""The Stable-Baselines3 face of the batched core: a `VecEnv` with `action_masks()`, for MaskablePPO and its kin.

The only module that imports stable_baselines3 (`foldwright[rl]`). Trajectories equal those of the Gymnasium faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from foldwright.envs.face import DecisionVectorEnv, observations

__all__ = ["MaskedVecEnv"]


class MaskedVecEnv(VecEnv):
    """Wraps a `DecisionVectorEnv`, for example `MaskedVecEnv(TilingVectorEnv(256))`.

    Each `info` of a finished episode holds `terminal_observation`, `TimeLimit.truncated` and `episode` (r, l, t), as
    Stable-Baselines3's own monitor writes them; t is 0, for results must not depend on the time of day.
    """

    def __init__(self, envs: DecisionVectorEnv) -> None:
        self.envs = envs  # first: the base asks for its render mode
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._actions = np.zeros(envs.num_envs, dtype=np.int64)
        self._returns = np.zeros(envs.num_envs)

    def reset(self) -> dict[str, npt.NDArray[Any]]:
        self.envs.seed_rows(self._seeds)
        self._reset_seeds()
        self._returns[:] = 0
        self.envs.restart(range(self.num_envs))
        return observations(self.envs.core, self.envs.flat)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        self._actions = np.asarray(actions, dtype=np.int64)

    def step_wait(
        self,
    ) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any], npt.NDArray[Any], list[dict[str, Any]]]:
        envs = self.envs
        result = envs.step_core(self._actions)
        self._returns += result.reward
        infos: list[dict[str, Any]] = [{"cost": cost} for cost in envs.core.cost.tolist()]
        done = result.done
        if done.any():
            rows = np.flatnonzero(done)
            final = observations(envs.core, envs.flat, rows)
            for k, i in enumerate(rows.tolist()):
                last = {key: value[k] for key, value in final.items()}
                infos[i] |= self._ending(i, last, bool(result.truncated[i]))
            self._returns[done] = 0
            envs.restart(rows.tolist())
        return observations(envs.core, envs.flat), result.reward.astype(np.float32), done, infos

    def _ending(self, row: int, last: dict[str, npt.NDArray[Any]], truncated: bool) -> dict[str, Any]:
        core = self.envs.core
        return {
            "terminal_observation": last,
            "TimeLimit.truncated": truncated,
            "episode": {"r": float(self._returns[row]), "l": int(core.steps[row]), "t": 0.0},
            "instance": core.problem(row).name,
            "bound": int(core.bank.bounds[core.instance[row]]),
        }

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which actions are allowed, bool (num_envs, 64)."""
        return self.envs.action_masks()

    def close(self) -> None:
        self.envs.close()

    def _rows(self, indices: int | Sequence[int] | None) -> list[int]:
        return [int(i) for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: int | Sequence[int] | None = None) -> list[Any]:
        return [getattr(self.envs, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: int | Sequence[int] | None = None) -> None:
        setattr(self.envs, attr_name, value)

    def has_attr(self, attr_name: str) -> bool:
        return attr_name == "action_masks" or hasattr(self.envs, attr_name)

    def env_method(
        self, method_name: str, *args: Any, indices: int | Sequence[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        if method_name == "action_masks":  # what sb3_contrib asks of every environment
            masks = self.action_masks()
            return [masks[i] for i in self._rows(indices)]
        result = getattr(self.envs, method_name)(*args, **kwargs)
        return [result] * len(self._rows(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: int | Sequence[int] | None = None) -> list[bool]:
        return [False] * len(self._rows(indices))
