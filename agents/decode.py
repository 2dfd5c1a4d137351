"""The solver `policy:<name or file>`: a learned policy decides, and what it decides is scored.

It decodes once by its method, greedy or beam, then samples until the stop. Episodes run side by side in the batched
core of the environments; an iteration is one complete solution. Where CPU time runs out in the middle of a first
decoding, its decisions so far are completed by the fallback, which is always legal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from foldwright.agents.params import require_range
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

_FIRST_ROWS = 4
"""Episodes of the first round of samples; each round has twice as many, so that short budgets see a round end."""


@dataclass(frozen=True, slots=True)
class PolicyParams:
    """Options of a policy as a solver.

    Attributes:
        decoding: What comes first: "greedy" takes the likeliest candidate each time, "beam" keeps the likeliest
            prefixes, "sampled" begins with samples.
        temperature: Divides the logits of samples; lower is closer to greedy.
        beam_width: Prefixes that a beam keeps.
        rows: Samples that are drawn side by side, at most.
        samples: Samples after the first decoding; 0 ends with it, -1 goes on until the stop.
    """

    __pydantic_config__: ClassVar = STRICT

    decoding: Literal["greedy", "sampled", "beam"] = "greedy"
    temperature: float = 1.0
    beam_width: int = 8
    rows: int = 64
    samples: int = -1

    def __post_init__(self) -> None:
        require_range("policy: option 'temperature'", self.temperature, 0.01, 100.0)
        require_range("policy: option 'beam_width'", self.beam_width, 1, 1024)
        require_range("policy: option 'rows'", self.rows, 1, 1024)
        require_range("policy: option 'samples'", self.samples, -1, 10**9)


def fork(core: BatchCore, parents: npt.NDArray[np.int64]) -> None:
    """Lets episode i go on as a copy of episode `parents[i]`."""
    # all state that a core keeps, and nothing else, is in its public arrays with a row per episode
    for name, array in vars(core).items():
        if not name.startswith("_") and isinstance(array, np.ndarray) and len(array) == core.episodes:
            array[:] = array[parents]


class _Decoder:
    """Episodes of one search, decided by its policy."""

    def __init__(self, search: Search, policy: Policy, params: PolicyParams) -> None:
        self._search, self._policy, self._params = search, policy, params
        beam = params.beam_width if params.decoding == "beam" else 1
        self._core = BatchCore(kit_of(search.problem.kind), max(params.rows, beam))
        self._warm_up()

    def _warm_up(self) -> None:
        """Compiles what will be called and packs the instance."""
        if len(self._search.free):
            self._begin(1)
            core, bank, nothing = self._core, self._core.bank, np.zeros(self._core.episodes, dtype=np.bool_)
            core.kit.costs(bank.flats, bank.offsets, core.instance, core.choices, nothing, core.cost)
            core.step(self._logits().argmax(axis=1))

    def _begin(self, count: int) -> None:
        self._core.mask[:] = 0  # rows that another round left unfinished do nothing more
        self._core.begin(dict.fromkeys(range(count), self._search.problem))

    def _logits(self) -> npt.NDArray[np.float32]:
        core = self._core
        return self._policy.logits(core.candidates, core.context, core.mask)

    @property
    def _running(self) -> bool:
        """Whether an episode has something left to decide, and the search has not ended."""
        return bool(self._core.mask.any()) and not self._search.done

    @property
    def _forced(self) -> bool:
        return int(np.count_nonzero(self._core.mask, axis=1).max()) <= 1

    def greedy(self) -> None:
        """Scores the solution of the likeliest candidates."""
        core = self._core
        self._begin(1)
        while self._running:
            core.step(core.mask.argmax(axis=1) if self._forced else self._logits().argmax(axis=1))
        self._score(range(1), complete=not core.mask.any())

    def sample(self, count: int) -> None:
        """Scores solutions drawn from the policy, unless CPU time runs out before."""
        core = self._core
        self._begin(count)
        while self._running:
            if self._forced:
                core.step(core.mask.argmax(axis=1))
            else:
                core.step(_draw(self._logits(), self._params.temperature, self._search.rng))
        if not core.mask.any():
            self._score(range(count), complete=True)

    def beam(self) -> None:
        """Scores the solutions at the end of a beam search, the likeliest first."""
        core, width = self._core, self._params.beam_width
        self._begin(1)
        likelihood = np.zeros(1)
        while self._running:
            total = likelihood[:, None] + _log_softmax(self._logits()[: len(likelihood)])
            order = np.argsort(-total, axis=None, kind="stable")[: min(width, np.isfinite(total).sum())]
            likelihood = total.reshape(-1)[order]
            parents, actions = np.arange(core.episodes), np.zeros(core.episodes, dtype=np.int64)
            parents[: len(order)], actions[: len(order)] = np.divmod(order, total.shape[1])
            fork(core, parents)
            core.step(actions)
        complete = not core.mask.any()
        self._score(range(len(likelihood) if complete else 1), complete)

    def _score(self, rows: Iterable[int], complete: bool) -> None:
        """Counts the solutions of rows, and evaluates those that are better than the best so far."""
        core, search = self._core, self._search
        for row in rows:
            if complete and search.done:
                break
            cost = int(core.cost[row])
            if complete and cost >= search.best_cost:
                search.iterations += 1
                continue
            evaluated = search.evaluate(core.decided(row))
            if complete and evaluated != cost:
                raise VerificationError(
                    f"{search.problem.name}: the environment says {cost}, evaluate says {evaluated} "
                    f"for the same {search.problem.unit}"
                )


def _draw(
    logits: npt.NDArray[np.float32], temperature: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Returns a candidate for each row, drawn with the probabilities that the logits say."""
    odds = np.cumsum(np.exp(_shifted(logits) / temperature), axis=1)
    drawn = rng.random(len(odds)) * odds[:, -1]
    # rows without any candidate end up with the last one, which the core refuses
    actions: npt.NDArray[np.int64] = np.minimum((odds <= drawn[:, None]).sum(axis=1), odds.shape[1] - 1)
    return actions


def _shifted(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    exact = logits.astype(np.float64)
    top = exact.max(axis=1, keepdims=True)
    exact -= np.where(np.isfinite(top), top, 0.0)
    return exact


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = _shifted(logits)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _solve(search: Search, policy: Policy, params: PolicyParams) -> Result:
    decoder = _Decoder(search, policy, params)
    search.start()
    if not search.done and params.decoding != "sampled":
        (decoder.greedy if params.decoding == "greedy" else decoder.beam)()
    left = params.samples if params.samples >= 0 else 1 << 60
    rows = min(_FIRST_ROWS, params.rows)
    while not search.done and left:
        count = max(1, min(rows, left, search.expected_evaluations()))
        decoder.sample(count)
        left -= count
        rows = min(2 * rows, params.rows)
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
