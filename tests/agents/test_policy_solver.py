"""Policies as solvers: legal on every kind of problem, repeatable, exact in what they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.agents import policy as policy_module
from foldwright.agents.decode import fork
from foldwright.agents.registry import Solver, get_solver
from foldwright.agents.result import Result
from foldwright.agents.stop import CpuSeconds, Evaluations, StopRule
from foldwright.envs import ENVIRONMENTS
from foldwright.envs.batch import BatchCore
from foldwright.envs.kits import kit_of
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError, PolicyError
from foldwright.solve import list_all, solve_instance
from tests.agents.policies import INSTANCES, random_policy, written

__all__: list[str] = []

ALL = [pytest.param(kind, name, id=name) for kind in ENVIRONMENTS for name in INSTANCES[kind]]
DECODINGS = ("greedy", "sampled", "beam")


@pytest.fixture(scope="module", name="solvers")
def _solvers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Solver]:
    folder = tmp_path_factory.mktemp("policies")
    files = {
        kind: written(random_policy(kind, seed=2), folder / f"{kind}.safetensors") for kind in ENVIRONMENTS
    }
    return {kind: get_solver(f"policy:{file}") for kind, file in files.items()}


def solved(solver: Solver, name: str, stop: StopRule, seed: int = 3, **params: Any) -> Result:
    return solver(load_instance(name), stop=stop, seed=seed, params=params)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_decoding_is_legal_and_counts_exactly(
    solvers: dict[str, Solver], kind: str, name: str, decoding: str
) -> None:
    problem = load_instance(name)
    result = solved(solvers[kind], name, Evaluations(21), decoding=decoding)
    problem.check(result.solution)
    assert problem.evaluate(result.solution).value == result.cost >= result.bound
    assert result.iterations == 21
    assert result.reproducible
    assert result.params["decoding"] == decoding
    again = solved(solvers[kind], name, Evaluations(21), decoding=decoding)
    assert again.without_times() == result.without_times()


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_greedy_takes_the_likeliest_candidate_each_time(
    solvers: dict[str, Solver], kind: str, name: str
) -> None:
    problem, policy = load_instance(name), random_policy(kind, seed=2)
    core = BatchCore(kit_of(kind), 1)
    core.begin({0: problem})
    while core.mask.any():
        core.step(policy.logits(core.candidates, core.context, core.mask).argmax(axis=1))
    greedy = solved(solvers[kind], name, Evaluations(2))
    expected = core.decided(0)
    cost = min(problem.cost_of(expected), problem.cost_of(problem.fallback))
    assert greedy.cost == cost
    assert greedy.iterations == 2
    narrow = solved(solvers[kind], name, Evaluations(2), decoding="beam", beam_width=1)
    assert narrow.choices == greedy.choices


# A placement's fallback beats weights drawn at random, so the solver would give that and not the beam's choices.
@pytest.mark.parametrize(("kind", "name"), [case for case in ALL if case.values[0] != "placement"])
def test_a_wide_beam_finds_the_likeliest_solutions_in_order(
    solvers: dict[str, Solver], kind: str, name: str
) -> None:
    problem, policy = load_instance(name), random_policy(kind, seed=2)
    log_odds = []
    for width in (1, 16):
        result = solved(solvers[kind], name, Evaluations(2), decoding="beam", beam_width=width)
        assert result.iterations == 2
        assert result.cost < problem.cost_of(problem.fallback)  # so that these are the beam's choices
        log_odds.append(likelihood(policy, name, np.array(result.choices)))
    assert log_odds == sorted(log_odds)


def likelihood(
    policy: policy_module.Policy, name: str, choices: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> float:
    """Returns the logarithm of the probability that a policy gives to choices."""
    core, total = BatchCore(kit_of(policy.card.kind), 1), 0.0
    core.begin({0: load_instance(name)})
    for choice in choices:
        logits = policy.logits(core.candidates, core.context, core.mask)[0].astype(np.float64)
        top = logits.max()
        total += logits[choice] - top - np.log(np.exp(logits - top).sum())
        core.step(np.array([choice]))
    return total


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_a_forked_episode_goes_on_like_its_parent(kind: str) -> None:
    core, rng = BatchCore(kit_of(kind), 3), np.random.default_rng(0)
    core.begin(dict.fromkeys(range(3), load_instance(INSTANCES[kind][-1])))
    for _ in range(5):
        core.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in core.mask]))
    fork(core, np.array([0, 2, 2]))
    while core.mask[2].any():
        assert (core.mask[1] == core.mask[2]).all()
        assert (core.candidates[1] == core.candidates[2]).all()
        assert (core.context[1] == core.context[2]).all()
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in core.mask])
        actions[1] = actions[2]
        rewards = core.step(actions).reward
        assert rewards[1] == rewards[2]
    for row in range(3):
        assert core.cost[row] == core.problem(row).cost_of(core.decided(row))
    assert (core.decided(1) == core.decided(2)).all()


def test_samples_differ_between_seeds_and_follow_the_temperature(solvers: dict[str, Solver]) -> None:
    name, policy = INSTANCES["tiling"][0], random_policy("tiling", seed=2)
    found = {
        temperature: [
            solved(solvers["tiling"], name, Evaluations(2), seed, decoding="sampled", temperature=temperature)
            for seed in range(6)
        ]
        for temperature in (0.01, 100.0)
    }
    assert len({run.choices for run in found[100.0]}) > 1
    cold, hot = ([likelihood(policy, name, np.array(run.choices)) for run in runs] for runs in found.values())
    assert min(cold) > max(hot)


def test_samples_can_be_left_out(solvers: dict[str, Solver]) -> None:
    name = INSTANCES["tiling"][0]
    assert solved(solvers["tiling"], name, Evaluations(100), samples=0).iterations == 2
    assert solved(solvers["tiling"], name, Evaluations(100), samples=5).iterations == 7
    beam = solved(solvers["tiling"], name, Evaluations(100), decoding="beam", beam_width=6, samples=0)
    assert beam.iterations == 7


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_short_cpu_time_still_gives_a_legal_solution(solvers: dict[str, Solver], decoding: str) -> None:
    problem = load_instance(INSTANCES["tiling"][1])
    result = solvers["tiling"](problem, stop=CpuSeconds(0.001), seed=0, params={"decoding": decoding})
    problem.check(result.solution)
    assert not result.reproducible


def test_a_policy_of_another_kind_is_refused(solvers: dict[str, Solver]) -> None:
    with pytest.raises(
        PolicyError, match=r"the policy decides 'tiling', but 'allocation/.*' is of kind 'allocation'"
    ):
        solved(solvers["tiling"], INSTANCES["allocation"][0], Evaluations(1))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"decoding": "greed"}, "'greedy', 'sampled' or 'beam'"),  # not one of the choices
        ({"beam": 3}, "no option 'beam'; did you mean 'beam_width'"),  # misspelt
        ({"temperature": 0.0}, "allowed is 0.01 to 100"),  # would divide by zero
        ({"beam_width": 10**6}, "allowed is 1 to 1024"),  # more rows than memory
        ({"samples": -2}, "allowed is -1 to 1000000000"),  # neither a count nor "until the stop"
    ],
)
def test_wrong_options_are_refused(solvers: dict[str, Solver], params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        solved(solvers["tiling"], INSTANCES["tiling"][0], Evaluations(1), **params)


def test_solve_takes_a_shipped_policy_by_name_and_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_module, "POLICY_FOLDER", tmp_path)
    written(random_policy("tiling"), tmp_path / "tiling-a.safetensors")
    result = solve_instance(INSTANCES["tiling"][0], "policy:tiling-a", deterministic=3)
    assert (result.solver, result.iterations) == ("policy:tiling-a", 3)
    assert "  policy:tiling-a a policy for tiling, trained in 0 CPU seconds" in list_all()
    with pytest.raises(PolicyError, match="did you mean 'tiling-a'"):
        get_solver("policy:tilling")
    with pytest.raises(ConfigError, match=r"no solver 'polic'; .*policy:NAME-OR-FILE"):
        get_solver("polic")
