"""What holds for every registered environment, whatever its problem."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env

import foldwright.envs
from foldwright.envs.batch import step_cap
from foldwright.envs.face import DecisionEnv, DecisionVectorEnv
from foldwright.envs.generator import SPLITS
from foldwright.envs.problem import MAX_CANDIDATES, Problem
from foldwright.envs.registry import load_instance, split
from foldwright.errors import ConfigError
from tests.support import python

KINDS = sorted(foldwright.envs.ENVIRONMENTS)
SMALL = {
    "allocation": "allocation/digits-w1a2-xc7z020-80",
    "placement": "placement/train-s0-7",
    "tiling": "tiling/digits-w1a2-b16-p20",
}
MOST_CANDIDATES = {"allocation": 1500, "placement": 50_000, "tiling": 1500}
"""Candidates of all decisions of instances that are walked step by step: placement has many, and quick, ones."""
STEPS = {"allocation": 60, "placement": 900, "tiling": 60}
"""Steps in which three episodes of random length end."""
Pick = Callable[[npt.NDArray[np.int8]], int]


def make(kind: str, **options: Any) -> DecisionEnv:
    env = gymnasium.make(foldwright.envs.ENVIRONMENTS[kind], disable_env_checker=True, **options).unwrapped
    assert isinstance(env, DecisionEnv)
    return env


def make_vector(kind: str, count: int, **options: Any) -> DecisionVectorEnv:
    env = gymnasium.make_vec(
        foldwright.envs.ENVIRONMENTS[kind], count, vectorization_mode="vector_entry_point", **options
    )
    assert isinstance(env, DecisionVectorEnv)
    return env


def at_random(seed: int) -> Pick:
    rng = np.random.default_rng(seed)
    return lambda mask: int(rng.choice(np.flatnonzero(mask)))


def episode(
    env: DecisionEnv, pick: Pick, **reset: Any
) -> Iterator[tuple[dict[str, Any], float, bool, bool, dict[str, Any]]]:
    """Yields what reset and every step of one episode give; the first has no reward."""
    observation, info = env.reset(**reset)
    yield observation, 0.0, False, False, info
    done = False
    while not done:
        observation, reward, terminated, truncated, info = env.step(pick(observation["action_mask"]))
        done = terminated or truncated
        yield observation, reward, terminated, truncated, info


@pytest.mark.parametrize("kind", KINDS)
def test_gymnasium_s_checker_is_silent(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(kind, instances=SMALL[kind]), skip_render_check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_stable_baselines_checker_is_silent(kind: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(make(kind, instances=SMALL[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_and_name_form_of_make_works(kind: str) -> None:
    env = gymnasium.make(f"foldwright.envs:{foldwright.envs.ENVIRONMENTS[kind]}", instances=SMALL[kind])
    _, info = env.reset(seed=0)
    assert info["instance"] == SMALL[kind]


def test_registering_loads_no_kernel() -> None:
    code = (
        "import sys, foldwright.envs; print(sorted({'numba', 'ortools', 'torch', 'onnx'} & set(sys.modules)))"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_observations_lie_in_the_space_over_a_whole_episode(kind: str) -> None:
    env = make(kind, instances="train", instance_count=4)
    for seed in range(4):
        for observation, *_ in episode(env, at_random(seed), seed=seed):
            assert observation in env.observation_space
            assert np.isfinite(observation["candidates"]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split_name", SPLITS)
def test_masks_equal_the_problem_s_own_and_leave_no_dead_end(kind: str, split_name: str) -> None:
    count = 2 if split_name == "heldout-size" else 4
    problems = [p for p in split(kind, split_name, 12, seed=5) if p.sizes.sum() < MOST_CANDIDATES[kind]][
        :count
    ]
    assert problems
    env = make(kind, instances=problems)
    for seed, problem in enumerate(problems):
        steps = episode(env, at_random(seed), options={"instance": problem})
        for place, (observation, _, terminated, _, info) in enumerate(steps):
            if terminated:
                assert place == len(problem.sizes)
                assert problem.cost_of(env.choices()) == info["cost"] > 0
                break
            allowed = problem.allowed(env.choices(), place)
            assert allowed.any()
            assert observation["action_mask"][: len(allowed)].tolist() == allowed.tolist()
            assert not observation["action_mask"][len(allowed) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_telescope_to_the_saving_over_the_bound(kind: str) -> None:
    env = make(kind, instances="validation", instance_count=3)
    for seed in range(3):
        steps = list(episode(env, at_random(seed), seed=seed))
        first, last = steps[0][4], steps[-1][4]
        assert first["cost"] == env.problem.cost_of(env.problem.fallback)
        total = sum(step[1] for step in steps)
        assert total == pytest.approx((first["cost"] - last["cost"]) / last["bound"], rel=1e-9)
        assert last["cost"] == env.problem.evaluate(env.solution()).value
        assert last["bound"] >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_that_scales_rewards_is_below_every_cost(kind: str) -> None:
    env = make(kind, instances="heldout-id", instance_count=6)
    for seed in range(6):
        *_, (_, _, _, _, info) = episode(env, at_random(seed), seed=seed)
        assert info["bound"] <= info["cost"]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_trajectory(kind: str) -> None:
    def trail() -> list[tuple[str, int, float]]:
        env = make(kind, instances="train", instance_count=8)
        return [(i["instance"], i["cost"], r) for _, r, _, _, i in episode(env, at_random(0), seed=3)]

    assert trail() == trail()


@pytest.mark.parametrize("kind", KINDS)
def test_a_forbidden_action_changes_nothing_and_costs_one(kind: str) -> None:
    env = make(kind, instances=SMALL[kind])
    before, _ = env.reset(seed=0)
    forbidden = int(np.flatnonzero(before["action_mask"] == 0)[-1])
    after, reward, terminated, truncated, info = env.step(forbidden)
    assert reward == -1.0
    assert (terminated, truncated, info["legal"]) == (False, False, False)
    for key, value in before.items():
        assert np.array_equal(value, after[key])
    assert env.choices().tolist() == env.problem.fallback.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_that_goes_nowhere_is_truncated_at_the_cap(kind: str) -> None:
    env = make(kind, instances=SMALL[kind])
    steps = list(episode(env, lambda mask: int(np.argmin(mask)), seed=0))
    assert len(steps) - 1 == step_cap(len(env.problem.sizes))
    assert [step[2:4] for step in steps[1:-1]] == [(False, False)] * (len(steps) - 2)
    assert steps[-1][2:4] == (False, True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_out_of_range_is_refused(kind: str) -> None:
    env = make(kind, instances=SMALL[kind])
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"action is 64, allowed are 0\.\.63"):
        env.step(MAX_CANDIDATES)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_options_are_refused_with_the_nearest(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"instances is 'trian'.*did you mean 'train'\?"):
        make(kind, instances="trian")
    with pytest.raises(ConfigError, match="render_mode is 'human'"):
        make(kind, instances=SMALL[kind]).__class__(SMALL[kind], render_mode="human")
    env = make(kind, instances=SMALL[kind])
    with pytest.raises(ConfigError, match=r"reset option 'instanc' is unknown; did you mean 'instance'\?"):
        env.reset(options={"instanc": "x"})
    other = SMALL["tiling" if kind == "allocation" else "allocation"]
    with pytest.raises(ConfigError, match=f"is of kind '{other.partition('/')[0]}', but '{kind}' is needed"):
        env.reset(options={"instance": other})


@pytest.mark.parametrize("kind", KINDS)
def test_batched_and_single_trajectories_are_equal(kind: str) -> None:
    count, steps = 3, STEPS[kind]
    vector = make_vector(kind, count, instances="train", instance_count=6)
    singles = [make(kind, instances="train", instance_count=6) for _ in range(count)]
    picks, single_picks = ([at_random(50 + i) for i in range(count)] for _ in range(2))
    observation, infos = vector.reset(seed=9)
    alone = [env.reset(seed=9 + i)[0] for i, env in enumerate(singles)]
    assert infos["instance"].tolist() == [env.problem.name for env in singles]
    ended = 0
    for _ in range(steps):
        for i in range(count):
            for key in observation:
                assert np.array_equal(observation[key][i], alone[i][key])
        actions = np.array([pick(mask) for pick, mask in zip(picks, observation["action_mask"], strict=True)])
        observation, rewards, terminated, truncated, infos = vector.step(actions)
        for i, env in enumerate(singles):
            alone[i], reward, done, cut, info = env.step(single_picks[i](alone[i]["action_mask"]))
            assert (rewards[i], terminated[i], truncated[i]) == (reward, done, cut)
            if done:
                ended += 1
                assert infos["final_info"]["cost"][i] == info["cost"]
                assert not infos["final_obs"][i]["action_mask"].any()
                alone[i], info = env.reset()
            assert (infos["cost"][i], infos["instance"][i]) == (info["cost"], info["instance"])
    assert ended >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_observations_without_a_copy_are_the_same_until_the_next_step(kind: str) -> None:
    copied, viewed = (
        make_vector(kind, 3, instances="train", instance_count=4, copy=c) for c in (True, False)
    )
    observation, _ = copied.reset(seed=2)
    first, _ = viewed.reset(seed=2)
    pick = at_random(0)
    for _ in range(20):
        actions = np.array([pick(mask) for mask in observation["action_mask"]])
        kept = observation["context"].copy()
        following, *_ = copied.step(actions)
        assert np.array_equal(observation["context"], kept)
        seen, *_ = viewed.step(actions)
        observation = following
        for key, value in observation.items():
            assert np.array_equal(value, seen[key])
            assert np.shares_memory(seen[key], first[key])


@pytest.mark.parametrize("kind", KINDS)
def test_the_stable_baselines_face_gives_the_same_trajectories(kind: str) -> None:
    pytest.importorskip("stable_baselines3")
    from foldwright.envs.sb3 import MaskedVecEnv

    count = 3
    vector = make_vector(kind, count, instances="train", instance_count=6)
    masked = MaskedVecEnv(make_vector(kind, count, instances="train", instance_count=6))
    masked.seed(4)
    observation, seen = vector.reset(seed=4)[0], masked.reset()
    picks = [at_random(i) for i in range(count)]
    returns, finished = np.zeros(count), 0
    for _ in range(STEPS[kind]):
        assert np.array_equal(np.stack(masked.env_method("action_masks")), observation["action_mask"] == 1)
        assert isinstance(seen, dict)
        assert all(np.array_equal(observation[key], seen[key]) for key in observation)
        actions = np.array([pick(mask) for pick, mask in zip(picks, observation["action_mask"], strict=True)])
        observation, rewards, terminated, truncated, _ = vector.step(actions)
        seen, sb3_rewards, dones, infos = masked.step(actions)
        returns += rewards
        assert np.allclose(rewards, sb3_rewards)
        assert dones.tolist() == (terminated | truncated).tolist()
        for i in np.flatnonzero(dones):
            finished += 1
            assert infos[i]["episode"]["r"] == pytest.approx(returns[i])
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            returns[i] = 0
    assert finished >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_maskable_ppo_learns_a_few_steps_on_the_batch(kind: str) -> None:
    pytest.importorskip("sb3_contrib")
    from sb3_contrib import MaskablePPO

    from foldwright.envs.sb3 import MaskedVecEnv

    envs = MaskedVecEnv(make_vector(kind, 4, instances=SMALL[kind]))
    model = MaskablePPO("MultiInputPolicy", envs, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(64)
    assert model.num_timesteps == 64


@pytest.mark.parametrize("kind", KINDS)
def test_render_shows_the_state(kind: str) -> None:
    text, image = (make(kind, instances=SMALL[kind], render_mode=mode) for mode in ("ansi", "rgb_array"))
    shown: list[Any] = []
    drawn: list[Any] = []
    for env, frames in ((text, shown), (image, drawn)):
        for _ in episode(env, lambda mask: int(np.flatnonzero(mask)[-1]), seed=0):
            frames.append(env.render())
    decisions = len(text.problem.sizes)
    assert f"{SMALL[kind]}: 0 of {decisions} decided" in shown[0]
    assert f"{decisions} of {decisions} decided" in shown[-1]
    assert all(len(line) < 140 for line in shown[-1].splitlines())
    assert drawn[0].dtype == np.uint8
    assert drawn[0].shape == drawn[-1].shape
    assert drawn[0].shape[1:] == (320, 3)
    assert not np.array_equal(drawn[0], drawn[-1])


def _shape(env: Any, key: str) -> tuple[int, ...]:
    shape: tuple[int, ...] = env.observation_space[key].shape
    return shape


@pytest.mark.parametrize("kind", KINDS)
def test_the_docstring_s_example_runs_and_its_shapes_are_right(kind: str) -> None:
    import doctest

    env = make(kind, instances=SMALL[kind])
    cls = type(env)
    tests = doctest.DocTestFinder(recurse=False).find(cls, cls.__name__, globs={})
    assert sum(len(t.examples) for t in tests) >= 5
    assert all(doctest.DocTestRunner().run(t).failed == 0 for t in tests)
    for key in ("candidates", "context"):
        assert f"`{key}`, float32 {_shape(env, key)}, -4..4" in str(cls.__doc__)
    square = _shape(make(kind, instances=SMALL[kind], flat=False), "candidates")
    assert f"or {square} with `flat=False`" in str(cls.__doc__)


@pytest.mark.parametrize("kind", KINDS)
def test_features_do_not_grow_with_the_instance(kind: str) -> None:
    large = {
        "allocation": "allocation/dorefa-xc7z020-80",
        "placement": "placement/systolic-857",
        "tiling": "tiling/cnv-w1a1-b16",
    }[kind]
    env = make(kind, instances=[SMALL[kind], large])
    shapes = []
    for name in (SMALL[kind], large):
        observation, info = env.reset(options={"instance": name})
        assert info["instance"] == name
        shapes.append({key: value.shape for key, value in observation.items()})
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kind", KINDS)
def test_flat_and_square_candidates_are_the_same(kind: str) -> None:
    flat, square = (
        make(kind, instances=SMALL[kind], flat=f).reset(seed=0)[0]["candidates"] for f in (True, False)
    )
    assert square.shape[0] == MAX_CANDIDATES
    assert np.array_equal(flat, square.ravel())


@pytest.mark.parametrize("kind", KINDS)
def test_every_feature_has_a_meaning(kind: str) -> None:
    from importlib import import_module

    kernels = import_module(f"foldwright.envs.{kind}.kernels")
    env = make(kind, instances="train", instance_count=40)
    seen: list[dict[str, Any]] = []
    for seed in range(24):
        seen += [step[0] for step in episode(env, at_random(seed), seed=seed)]
    candidates = np.concatenate([o["candidates"].reshape(64, -1)[o["action_mask"] == 1] for o in seen])
    context = np.array([o["context"] for o in seen[:-1]])
    assert candidates.shape[1] == len(kernels.CANDIDATE_FEATURES)
    assert context.shape[1] == len(kernels.CONTEXT_FEATURES)
    for names, values in ((kernels.CANDIDATE_FEATURES, candidates), (kernels.CONTEXT_FEATURES, context)):
        constant = [name for name, column in zip(names, values.T, strict=True) if len(np.unique(column)) == 1]
        assert constant == [], f"never changes: {constant}"


def test_the_cost_of_choices_that_were_met_before_is_looked_up_and_the_same() -> None:
    env = make("tiling", instances=SMALL["tiling"])
    asked = []
    costs = env.core.kit.costs

    def counted(*args: Any) -> None:
        asked.append(1)
        costs(*args)

    env.core.kit = replace(env.core.kit, costs=counted)
    ends = [[step[4]["cost"] for step in episode(env, at_random(seed), seed=0)][-1] for seed in (1, 1, 2)]
    assert ends[0] == ends[1] == env.problem.cost_of(finished(env, 1))
    assert ends[2] == env.problem.cost_of(finished(env, 2))
    assert len(asked) == 2


def finished(env: DecisionEnv, seed: int) -> npt.NDArray[np.int64]:
    """Returns the choices at the end of an episode."""
    assert list(episode(env, at_random(seed), seed=0))
    return env.choices()


def test_problems_of_the_source_are_built_once() -> None:
    env = make("tiling", instances="train", instance_count=2)
    seen: dict[str, Problem] = {}
    for _ in range(6):
        env.reset()
        assert seen.setdefault(env.problem.name, env.problem) is env.problem
    assert load_instance(env.problem.name) == env.problem
