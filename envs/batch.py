"""The core of every environment: a batch of episodes over possibly different instances, one decision a step.

State is kept as arrays over the episodes. What depends on the problem is a `Kit`: how an instance packs into integer
arrays, and two compiled functions, one for costs and one for observations. Packed instances lie one after another in
flat arrays (`Bank`), so that one call serves episodes over different instances. The faces are in `envs.face`, `envs.sb3`.

Reward: the partial cost C_t is that of the decisions taken and the fallback for the rest, or, where a kit keeps state, an
estimate of it that is exact before the first and after the last decision; a step earns (C_before - C_after) / bound, so
an episode earns (C_0 - C_final) / bound. An action that the mask forbids changes nothing and earns -1. After
`step_cap` steps an unfinished episode is truncated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.envs.problem import MAX_CANDIDATES, Choices, Problem

__all__ = ["FORBIDDEN_REWARD", "Bank", "BatchCore", "Kit", "StepResult", "step_cap"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

FORBIDDEN_REWARD = -1.0
KNOWN_COSTS = 1 << 16
"""How many costs of finished episodes a core remembers: policies that have learned repeat themselves."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What the core needs to know of a kind of problem.

    `pack` returns int64 or float32 arrays, the first two being `sizes` and `fallback`. `costs(flats, offsets, instance,
    choices, todo, out)` and `observe(flats, offsets, instance, bounds, choices, position, cost, todo, candidates, context,
    mask)` work on the rows where `todo` is true and must leave `choices` as they found them. `bound` is a proven lower
    bound on the cost, quick to compute, by which rewards and features are scaled.

    With `state_entries` (of an instance) every episode has a row of that many int64 at least, `observe` takes these rows
    after `todo`, is called once after every decision of an episode, in order, and once at its start (position 0), and
    brings `cost` up to date: an estimate that equals the cost where nothing is decided. `costs` is then asked only when
    an episode is finished.
    """

    kind: str
    candidate_features: int
    context_features: int
    pack: Callable[[Any], tuple[npt.NDArray[Any], ...]]
    costs: Callable[..., None]
    observe: Callable[..., None]
    bound: Callable[[Any], int]
    state_entries: Callable[[Any], int] | None = None


def step_cap(decisions: Any) -> Any:
    """Returns after how many steps an episode is truncated: room for three forbidden actions a decision."""
    return 4 * decisions + 16


def _packed_type(array: npt.NDArray[Any]) -> type:
    return np.float32 if array.dtype == np.float32 else np.int64


class Bank:
    """Packed instances one after another; `offsets[a, j]` is where instance j begins in array a."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._packed: list[tuple[npt.NDArray[Any], ...]] = []
        self._slots: dict[int, int] = {}
        self.problems: list[Problem] = []
        self.flats: tuple[npt.NDArray[Any], ...] = ()
        self.offsets: IntArray = np.zeros((0, 0), dtype=np.int64)
        self.bounds: IntArray = np.zeros(0, dtype=np.int64)
        self.decisions: IntArray = np.zeros(0, dtype=np.int64)
        self.first_costs: IntArray = np.zeros(0, dtype=np.int64)
        self.names: npt.NDArray[Any] = np.zeros(0, dtype=object)
        self.state_entries = 0

    def slot(self, problem: Problem, fallback_cost: int | None = None) -> int:
        """Returns the number of an instance, packing it if it is new.

        Args:
            fallback_cost: What its fallback costs, where that is known: a simulation of the slowest solution takes a while.
        """
        found = self._slots.get(id(problem))
        if found is None:
            found = self._slots[id(problem)] = len(self.problems)
            self.problems.append(problem)  # also keeps its id from being given again
            self._packed.append(
                tuple(np.ascontiguousarray(a, dtype=_packed_type(a)) for a in self._kit.pack(problem))
            )
            self._flatten()
            self.bounds = np.append(self.bounds, max(1, self._kit.bound(problem)))
            self.decisions = np.append(self.decisions, len(problem.sizes))
            first = problem.cost_of(problem.fallback) if fallback_cost is None else fallback_cost
            self.first_costs = np.append(self.first_costs, first)
            self.names = np.append(self.names, np.array([problem.name], dtype=object))
            if self._kit.state_entries:
                self.state_entries = max(self.state_entries, self._kit.state_entries(problem))
        return found

    def _flatten(self) -> None:
        columns = list(zip(*self._packed, strict=True))
        self.flats = tuple(np.concatenate(column) for column in columns)
        self.offsets = np.array([np.cumsum([0, *map(len, column)]) for column in columns], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step gave: float64 (episodes,) rewards and three bool (episodes,)."""

    reward: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    legal: npt.NDArray[np.bool_]

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        return self.terminated | self.truncated


class BatchCore:
    """Episodes side by side. Row i is over `problem(i)`; `choices[i]` holds the fallback where nothing is decided yet."""

    def __init__(self, kit: Kit, episodes: int) -> None:
        self.kit = kit
        self.bank = Bank(kit)
        n = self.episodes = episodes
        self.choices: IntArray = np.zeros((n, 0), dtype=np.int64)
        self.instance: IntArray = np.zeros(n, dtype=np.int64)
        self.position: IntArray = np.zeros(n, dtype=np.int64)
        self.cost: IntArray = np.zeros(n, dtype=np.int64)
        self.steps: IntArray = np.zeros(n, dtype=np.int64)
        self.candidates: FloatArray = np.zeros((n, MAX_CANDIDATES, kit.candidate_features), dtype=np.float32)
        self.context: FloatArray = np.zeros((n, kit.context_features), dtype=np.float32)
        self.mask: npt.NDArray[np.int8] = np.zeros((n, MAX_CANDIDATES), dtype=np.int8)
        self.state: IntArray = np.zeros((n, 0), dtype=np.int64)
        self._rows = np.arange(n)
        self._known: dict[tuple[int, bytes], int] = {}

    def problem(self, row: int) -> Problem:
        """Returns the instance of an episode."""
        return self.bank.problems[self.instance[row]]

    def decided(self, row: int) -> Choices:
        """Returns an episode's choices, completed by the fallback."""
        return self.choices[row, : self.bank.decisions[self.instance[row]]].copy()

    def begin(self, problems: dict[int, Problem]) -> None:
        """Starts new episodes on the given rows."""
        for row, problem in problems.items():
            slot = self.bank.slot(problem)
            decisions = int(self.bank.decisions[slot])
            if decisions > self.choices.shape[1]:
                self.choices = np.pad(self.choices, ((0, 0), (0, decisions - self.choices.shape[1])))
            self.choices[row, :decisions] = problem.fallback
            self.instance[row], self.cost[row] = slot, self.bank.first_costs[slot]
            self.position[row] = self.steps[row] = 0
        if self.bank.state_entries > self.state.shape[1]:
            self.state = np.pad(self.state, ((0, 0), (0, self.bank.state_entries - self.state.shape[1])))
        todo = np.zeros(self.episodes, dtype=np.bool_)
        todo[list(problems)] = True
        self._observe(todo)

    def step(self, actions: npt.NDArray[np.int64]) -> StepResult:
        """Takes one action in every episode, each in 0 .. MAX_CANDIDATES - 1."""
        rows, decisions = self._rows, self.bank.decisions[self.instance]
        legal = self.mask[rows, actions] == 1
        places = np.minimum(self.position, decisions - 1)
        # The fallback is what stands there: to choose it changes no cost.
        changed = legal & (self.choices[rows, places] != actions)
        self.choices[rows[legal], places[legal]] = actions[legal]
        self.position += legal
        self.steps += 1
        terminated = self.position >= decisions
        truncated = ~terminated & (self.steps >= step_cap(decisions))
        before = self.cost.copy()
        if self.kit.state_entries:
            self._finish(np.flatnonzero(legal & terminated))
        elif changed.any():
            self._ask_costs(changed)
        self._observe(legal & ~terminated)
        for array in (self.candidates, self.context, self.mask):
            array[terminated] = 0
        reward = np.where(legal, (before - self.cost) / self.bank.bounds[self.instance], FORBIDDEN_REWARD)
        return StepResult(reward, terminated, truncated, legal)

    def _finish(self, rows: IntArray) -> None:
        """Sets the cost of finished episodes; choices that were met before are looked up."""
        todo = np.zeros(self.episodes, dtype=np.bool_)
        asked = []
        for row in rows.tolist():
            slot = int(self.instance[row])
            key = slot, self.choices[row, : self.bank.decisions[slot]].tobytes()
            known = self._known.get(key)
            if known is None:
                todo[row] = True
                asked.append((row, key))
            else:
                self.cost[row] = known
        if asked:
            self._ask_costs(todo)
        for row, key in asked:
            if len(self._known) >= KNOWN_COSTS:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[key] = int(self.cost[row])

    def _ask_costs(self, todo: npt.NDArray[np.bool_]) -> None:
        self.kit.costs(self.bank.flats, self.bank.offsets, self.instance, self.choices, todo, self.cost)

    def _observe(self, todo: npt.NDArray[np.bool_]) -> None:
        bank, state = self.bank, (self.state,) if self.kit.state_entries else ()
        self.kit.observe(
            bank.flats, bank.offsets, self.instance, bank.bounds, self.choices, self.position, self.cost, todo,
            *state, self.candidates, self.context, self.mask,
        )  # fmt: skip
