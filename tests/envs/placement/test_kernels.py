"""What a policy sees of a placement: the greedy construction is among it, and guesses of what comes later."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.agents.rollout import begin_episodes
from foldwright.envs.batch import BatchCore
from foldwright.envs.placement import PlacementProblem
from foldwright.envs.placement.construct import construct
from foldwright.envs.placement.env import numbers_of
from foldwright.envs.placement.episode import episode_of
from foldwright.envs.placement.kernels import CANDIDATE_FEATURES
from foldwright.envs.placement.plan import plan_of
from foldwright.envs.registry import load_instance
from foldwright.netlists.netlist import build_netlist

LEAST_WIRE = CANDIDATE_FEATURES.index("adds least wire")
BEST_GUESS = CANDIDATE_FEATURES.index("has the best guess")


def problem_named(name: str) -> PlacementProblem:
    problem = load_instance(f"placement/{name}")
    assert isinstance(problem, PlacementProblem)
    return problem


def constructed(problem: PlacementProblem) -> npt.NDArray[np.int32]:
    sites = np.full(problem.netlist.cells, -1, dtype=np.int32)
    construct(problem.wires, problem.board, problem.tree.order, sites)
    return sites


def follow_feature(problem: PlacementProblem, feature: int) -> BatchCore:
    """Returns an episode in which the first candidate with the feature is taken each time."""
    core = begin_episodes([problem])
    while core.mask.any():
        marked = np.flatnonzero(core.candidates[0, :, feature] * core.mask[0] == 1)
        assert len(marked) == 1
        core.step(marked[:1])
    return core


@pytest.mark.parametrize(
    "name", ["train-s0-1", "train-s0-3", "validation-s0-1", "heldout-size-s0-0", "systolic-857"]
)
def test_least_wire_at_every_decision_is_the_greedy_construction(name: str) -> None:
    problem = problem_named(name)
    core = follow_feature(problem, LEAST_WIRE)
    assert problem.sites_of(core.decided(0)).tolist() == constructed(problem).tolist()


def test_guesses_of_what_comes_later_are_worth_something() -> None:
    problems = [problem_named(f"train-s0-{i}") for i in range(12)]
    by_guess = [int(follow_feature(problem, BEST_GUESS).cost[0]) for problem in problems]
    by_wire = [problem.wirelength(constructed(problem)) for problem in problems]
    assert np.log(np.array(by_guess) / by_wire).mean() < 0


@pytest.mark.parametrize("name", ["train-s0-1", "validation-s0-1"])
def test_a_plan_is_a_placement_that_beats_the_construction(name: str) -> None:
    problem = problem_named(name)
    plan = plan_of(problem.wires, problem.board, problem.tree.order).astype(np.int32)
    problem.check(problem.placement_of(plan))
    assert problem.wirelength(plan) < problem.wirelength(constructed(problem))


def test_who_goes_elsewhere_swaps_its_plan_so_that_it_stays_a_placement() -> None:
    problem, rng = problem_named("train-s0-1"), np.random.default_rng(0)
    core = begin_episodes([problem])
    numbers = numbers_of(problem)
    while core.mask.any():
        episode = episode_of(numbers, core.state[0])
        assert len(set(episode.site.tolist())) == problem.netlist.cells
        assert episode.holder[episode.site].tolist() == list(range(problem.netlist.cells))
        assert (episode.holder >= 0).sum() == problem.netlist.cells
        core.step(rng.choice(np.flatnonzero(core.mask[0]), size=1))


def test_the_plan_of_a_single_cell_is_a_site() -> None:
    problem = PlacementProblem("placement/one", build_netlist("one", [("a", "CLB", "")], []), "grid-7x5")
    assert plan_of(problem.wires, problem.board, problem.tree.order).shape == (1,)
    core = follow_feature(problem, LEAST_WIRE)
    assert problem.sites_of(core.decided(0)).tolist() == constructed(problem).tolist()
