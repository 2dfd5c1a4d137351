"""The Gymnasium faces of the batched core: one episode as `gymnasium.Env`, many as `gymnasium.vector.VectorEnv`.

Both have the same spaces and give the same trajectories: episode i of a vector environment seeded with s is the
environment seeded with s + i. Vector environments start the next episode in the step that ends one (`SAME_STEP`).

The candidates' features come as one row, (64 * features,), which is what Stable-Baselines3's checker asks for; with
`flat=False` they come as (64, features).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from foldwright.envs.batch import BatchCore, Kit, StepResult
from foldwright.envs.features import FEATURE_LIMIT
from foldwright.envs.problem import MAX_CANDIDATES, Problem
from foldwright.envs.source import Instances, InstanceSource
from foldwright.errors import ConfigError, nearest

__all__ = ["DecisionEnv", "DecisionVectorEnv", "observation_space", "observations", "views"]

RENDER_MODES = ("ansi", "rgb_array")

Observation = dict[str, npt.NDArray[Any]]


def observation_space(kit: Kit, flat: bool) -> spaces.Dict:
    """Returns the space of one episode's observations."""
    shape = (MAX_CANDIDATES * kit.candidate_features,) if flat else (MAX_CANDIDATES, kit.candidate_features)
    return spaces.Dict(
        {
            "action_mask": spaces.MultiBinary(MAX_CANDIDATES),
            "candidates": spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, shape, np.float32),
            "context": spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, (kit.context_features,), np.float32),
        }
    )


def observations(core: BatchCore, flat: bool, rows: npt.NDArray[np.int64] | None = None) -> Observation:
    """Returns copies of all episodes' observations, or of those of some rows."""
    pick = slice(None) if rows is None else rows
    return {key: value[pick].copy() for key, value in views(core, flat).items()}


def views(core: BatchCore, flat: bool) -> Observation:
    """Returns all episodes' observations without a copy: the next step overwrites them."""
    candidates = core.candidates
    return {
        "action_mask": core.mask,
        "candidates": candidates.reshape(core.episodes, -1) if flat else candidates,
        "context": core.context,
    }


def _check_options(options: dict[str, Any] | None) -> Any:
    """Returns the instance that the options of a reset ask for, or None."""
    unknown = sorted(set(options or {}) - {"instance"})
    if unknown:
        raise ConfigError(f"reset option {unknown[0]!r} is unknown; {nearest(unknown[0], ['instance'])}")
    return (options or {}).get("instance")


class DecisionEnv(gymnasium.Env[Any, Any]):
    """One episode over the decisions of a problem; the environments say more."""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 (the base's type)
    kit: ClassVar[Kit]
    draw_table: ClassVar[Callable[..., str]]
    """Returns the state as text, from problem, choices, position and cost."""
    draw_picture: ClassVar[Callable[..., npt.NDArray[np.uint8]]]
    """Returns the state as a picture, from problem, choices and position."""

    def __init__(
        self,
        instances: Instances = "train",
        render_mode: str | None = None,
        instance_count: int = 64,
        instance_seed: int = 0,
        flat: bool = True,
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(f"render_mode is {render_mode!r}; {nearest(render_mode, RENDER_MODES)}")
        self.render_mode, self.flat = render_mode, flat
        self.source = InstanceSource(self.kit.kind, instances, instance_count, instance_seed)
        self.core = BatchCore(self.kit, 1)
        self.observation_space = observation_space(self.kit, flat)
        self.action_space = spaces.Discrete(MAX_CANDIDATES)

    @property
    def problem(self) -> Problem:
        """The instance of the running episode."""
        return self.core.problem(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        wanted = _check_options(options)
        problem = self.source.draw(self.np_random) if wanted is None else self.source.load(wanted)
        self.core.begin({0: problem})
        return self._observation(), self._info()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if not 0 <= int(action) < MAX_CANDIDATES:
            raise ConfigError(f"action is {action}, allowed are 0..{MAX_CANDIDATES - 1}; the mask says which")
        result = self.core.step(np.array([action], dtype=np.int64))
        info = self._info() | {"legal": bool(result.legal[0])}
        return (
            self._observation(),
            float(result.reward[0]),
            bool(result.terminated[0]),
            bool(result.truncated[0]),
            info,
        )

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which actions are allowed, bool (64,); what maskable agents ask for."""
        return self.core.mask[0].astype(np.bool_)

    def render(self) -> Any:
        """Returns the decisions so far as a text table ("ansi") or a picture, uint8 (height, width, 3) ("rgb_array").

        The cost that the table tells is that of the decisions so far, completed by the fallback.
        """
        problem, choices, position = self.problem, self.choices(), int(self.core.position[0])
        if self.render_mode == "ansi":
            return self.draw_table(problem, choices, position, problem.cost_of(choices))
        if self.render_mode == "rgb_array":
            return self.draw_picture(problem, choices, position)
        return None

    def choices(self) -> npt.NDArray[np.int64]:
        """Returns the decisions so far, completed by the fallback, int64 (decisions,)."""
        return self.core.decided(0)

    def solution(self) -> Any:
        """Returns the decisions so far, completed by the fallback, as a solution of the problem."""
        return self.problem.decode(self.choices())

    def _observation(self) -> Observation:
        return {key: value[0] for key, value in observations(self.core, self.flat).items()}

    def _info(self) -> dict[str, Any]:
        core = self.core
        return {
            "cost": int(core.cost[0]),
            "bound": int(core.bank.bounds[core.instance[0]]),
            "instance": self.problem.name,
        }


class DecisionVectorEnv(VectorEnv[Any, Any, Any]):
    """Many episodes at once; the same core, one call a step.

    With `copy=False`, as in Gymnasium's own vector environments, observations are views that the next step overwrites.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    kit: ClassVar[Kit]

    def __init__(
        self,
        num_envs: int = 1,
        instances: Instances = "train",
        instance_count: int = 64,
        instance_seed: int = 0,
        flat: bool = True,
        copy: bool = True,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs is {num_envs}, must be at least 1")
        self.num_envs, self.render_mode, self.flat, self.copy = num_envs, None, flat, copy
        self.source = InstanceSource(self.kit.kind, instances, instance_count, instance_seed)
        self.core = BatchCore(self.kit, num_envs)
        self.single_observation_space = observation_space(self.kit, flat)
        self.single_action_space = spaces.Discrete(MAX_CANDIDATES)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [seeding.np_random(None)[0] for _ in range(num_envs)]

    def seed_rows(self, seed: int | Sequence[int | None] | None) -> None:
        """Seeds the draws of instances: row i by seed + i, or by its own entry."""
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int | np.integer) else seed
        for i, one in enumerate(seeds or ()):
            if one is not None:
                self._rngs[i] = seeding.np_random(int(one))[0]

    def restart(self, rows: Sequence[int], problem: Problem | None = None) -> None:
        """Starts new episodes on rows, on a given instance or one drawn by each row's own generator."""
        self.core.begin({int(i): problem or self.source.draw(self._rngs[i]) for i in rows})

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        self.seed_rows(seed)
        wanted = _check_options(options)
        self.restart(range(self.num_envs), None if wanted is None else self.source.load(wanted))
        return self._observations(), self._infos()

    def step(
        self, actions: npt.NDArray[np.int64]
    ) -> tuple[Observation, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:
        result = self.step_core(actions)
        infos = self._infos() | {"legal": result.legal, "_legal": np.ones(self.num_envs, dtype=np.bool_)}
        done = result.done
        if done.any():
            rows = np.flatnonzero(done)
            final = observations(self.core, self.flat, rows)
            infos |= {"final_obs": np.full(self.num_envs, None, dtype=object), "_final_obs": done}
            for k, i in enumerate(rows):
                infos["final_obs"][i] = {key: value[k] for key, value in final.items()}
            infos |= {"final_info": dict(infos), "_final_info": done}
            self.restart(rows.tolist())
            infos |= self._infos()
        return self._observations(), result.reward, result.terminated, result.truncated, infos

    def step_core(self, actions: npt.NDArray[np.int64]) -> StepResult:
        """Takes a step without starting new episodes."""
        actions = np.asarray(actions, dtype=np.int64)
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() >= MAX_CANDIDATES:
            raise ConfigError(
                f"actions have shape {actions.shape} and values {actions.min()}..{actions.max()}; "
                f"allowed are {self.num_envs} values of 0..{MAX_CANDIDATES - 1}"
            )
        return self.core.step(actions)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which actions are allowed, bool (num_envs, 64)."""
        return self.core.mask.astype(np.bool_)

    def _observations(self) -> Observation:
        return observations(self.core, self.flat) if self.copy else views(self.core, self.flat)

    def _infos(self) -> dict[str, Any]:
        core, everywhere = self.core, np.ones(self.num_envs, dtype=np.bool_)
        bank, instance = core.bank, core.instance
        infos = {"cost": core.cost.copy(), "bound": bank.bounds[instance], "instance": bank.names[instance]}
        return infos | {f"_{key}": everywhere for key in infos}
