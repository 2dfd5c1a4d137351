"""The solver `policy:<name or file>`: a learned policy decides, and what it decides is scored.

It decodes once by its method, greedy or beam, then samples until the stop. Single episodes run in one compiled loop, the
prefixes of a beam side by side in the batched core of the environments; an iteration is one complete solution. Where CPU
time runs out in the middle of a first decoding, its decisions so far are completed by the fallback, which is always legal.
Packing the instance for the policy counts as its CPU time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from foldwright.agents.params import require_range
from foldwright.agents.play import Player
from foldwright.agents.policy import Policy, load_policy
from foldwright.agents.registry import Solver
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import StopRule
from foldwright.envs.batch import BatchCore
from foldwright.envs.kits import kit_of
from foldwright.envs.problem import Problem
from foldwright.errors import PolicyError, VerificationError
from foldwright.jsonform import STRICT

__all__ = ["PolicyParams", "PolicySolver", "fork", "policy_solver"]

_LIKELIEST = 0.0
"""The temperature at which a player draws nothing."""


@dataclass(frozen=True, slots=True)
class PolicyParams:
    """Options of a policy as a solver.

    Attributes:
        decoding: What comes first: "greedy" takes the likeliest candidate each time, "beam" keeps the likeliest
            prefixes, "sampled" begins with samples.
        temperature: Divides the logits of samples; lower is closer to greedy.
        beam_width: Prefixes that a beam keeps.
        samples: Samples after the first decoding; 0 ends with it, -1 goes on until the stop.
    """

    __pydantic_config__: ClassVar = STRICT

    decoding: Literal["greedy", "sampled", "beam"] = "greedy"
    temperature: float = 1.0
    beam_width: int = 8
    samples: int = -1

    def __post_init__(self) -> None:
        require_range("policy: option 'temperature'", self.temperature, 0.01, 100.0)
        require_range("policy: option 'beam_width'", self.beam_width, 1, 1024)
        require_range("policy: option 'samples'", self.samples, -1, 10**9)


def fork(core: BatchCore, parents: npt.NDArray[np.int64]) -> None:
    """Lets episode i go on as a copy of episode `parents[i]`."""
    # all state that a core keeps, and nothing else, is in its public arrays with a row per episode
    for name, array in vars(core).items():
        if not name.startswith("_") and isinstance(array, np.ndarray) and len(array) == core.episodes:
            array[:] = array[parents]


def _play(search: Search, player: Player, temperature: float) -> bool:
    """Decides an episode and scores it; returns whether CPU time sufficed for all of it."""
    player.begin()
    while not player.finished and not search.done:
        player.go_on(temperature, search.rng)
    if player.finished or temperature == _LIKELIEST:
        search.evaluate(player.choices)
    return player.finished


def _beam(search: Search, policy: Policy, width: int) -> None:
    """Scores the solutions at the end of a beam search, the likeliest first."""
    core = BatchCore(kit_of(search.problem.kind), width)
    core.begin({0: search.problem})
    likelihood = np.zeros(1)
    while core.mask.any() and not search.done:
        logits = policy.logits(core.candidates, core.context, core.mask)
        total = likelihood[:, None] + _log_softmax(logits[: len(likelihood)])
        order = np.argsort(-total, axis=None, kind="stable")[: min(width, np.isfinite(total).sum())]
        likelihood = total.reshape(-1)[order]
        parents, actions = np.arange(core.episodes), np.zeros(core.episodes, dtype=np.int64)
        parents[: len(order)], actions[: len(order)] = np.divmod(order, total.shape[1])
        fork(core, parents)
        core.step(actions)
    complete = not core.mask.any()
    for row in range(len(likelihood) if complete else 1):
        if complete and search.done:
            break
        _score(search, core, row, complete)


def _score(search: Search, core: BatchCore, row: int, complete: bool) -> None:
    """Counts the solution of a row, and evaluates it where it is better than the best so far."""
    cost = int(core.cost[row])
    if complete and cost >= search.best_cost:
        search.iterations += 1
        return
    evaluated = search.evaluate(core.decided(row))
    if complete and evaluated != cost:
        raise VerificationError(
            f"{search.problem.name}: the environment says {cost}, evaluate says {evaluated} "
            f"for the same {search.problem.unit}"
        )


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    exact = logits.astype(np.float64)
    top = exact.max(axis=1, keepdims=True)
    exact -= np.where(np.isfinite(top), top, 0.0)
    result: npt.NDArray[np.float64] = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return result


def _warm_up(search: Search, policy: Policy, params: PolicyParams) -> None:
    """Compiles, or loads, what will be called, on an episode of its own."""
    Player(search.problem, policy).go_on(params.temperature, np.random.default_rng(0))
    if params.decoding == "beam":
        core, nothing = BatchCore(kit_of(search.problem.kind), 1), np.zeros(1, dtype=np.bool_)
        core.begin({0: search.problem})
        bank = core.bank
        core.kit.costs(bank.flats, bank.offsets, core.instance, core.choices, nothing, core.cost)
        policy.logits(core.candidates, core.context, core.mask)


def _solve(search: Search, policy: Policy, params: PolicyParams) -> Result:
    if len(search.free):
        _warm_up(search, policy, params)
    search.start()
    if search.done:
        return search.result()
    fallback_cost = search.best_cost
    if params.decoding == "beam":
        _beam(search, policy, params.beam_width)
    player = Player(search.problem, policy, fallback_cost)
    if params.decoding == "greedy":
        _play(search, player, _LIKELIEST)
    left = params.samples if params.samples >= 0 else 1 << 60
    while left and not search.done and _play(search, player, params.temperature):
        left -= 1
    return search.result()


@dataclass(frozen=True, slots=True)
class PolicySolver(Solver):
    """A policy behind the signature of every solver."""

    policy: Policy = field(kw_only=True)

    def run(self, problem: Problem, *, stop: StopRule, seed: int, params: Any) -> Result:
        """Decodes, then samples until the stop.

        Raises:
            PolicyError: the policy is for problems of another kind.
        """
        kind = self.policy.card.kind
        if problem.kind != kind:
            raise PolicyError(
                f"solver {self.name!r}: the policy decides {kind!r}, but {problem.name!r} is of kind "
                f"{problem.kind!r}; give a policy for {problem.kind!r}"
            )
        return _solve(Search(problem, self.name, stop, seed, params), self.policy, params)


def policy_solver(name_or_path: str) -> PolicySolver:
    """Returns a policy as a solver.

    Raises:
        PolicyError: no policy has this name, or the file is not one that can be used.
    """
    policy = load_policy(name_or_path)
    summary = (
        f"a policy for {policy.card.kind}, trained in {policy.card.training_cpu_seconds:.0f} CPU seconds"
    )
    return PolicySolver(f"policy:{name_or_path}", summary, __name__, "PolicyParams", policy=policy)
