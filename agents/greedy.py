"""Greedy construction, descent and restarts by perturbation (iterated local search).

A *sweep* visits decisions in some order and gives each its best candidate while all others stay. The first one takes
the decisions in their own order, from the fallback, or what costs less: the problem's own start or a random sample;
from the fallback it is the construction in which each decision takes the candidate whose fallback completion costs
least. More sweeps descend to a local optimum of single changes. Then a few random decisions of the best solution are
changed, and the descent starts again in a random order, with ties broken at random, until the stop.

Iterations are evaluations of complete choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foldwright.agents.params import require_range
from foldwright.agents.random_search import sample_starts
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import StopRule
from foldwright.envs.problem import INFEASIBLE, Choices, Problem
from foldwright.jsonform import STRICT

__all__ = ["GreedyParams", "solve"]


@dataclass(frozen=True, slots=True)
class GreedyParams:
    """Options of the greedy solver.

    Attributes:
        kick_share: Share of the decisions that a perturbation changes; at least two are.
        samples: Random samples from which the start is chosen, beside the fallback and what the problem offers.
        restarts: Perturbations after the first descent; 0 ends with it, -1 goes on until the stop.
    """

    __pydantic_config__: ClassVar = STRICT

    kick_share: float = 0.15
    samples: int = 4
    restarts: int = -1

    def __post_init__(self) -> None:
        require_range("solver 'greedy': option 'kick_share'", self.kick_share, 0.0, 1.0)
        require_range("solver 'greedy': option 'samples'", self.samples, 0, 10**9)
        require_range("solver 'greedy': option 'restarts'", self.restarts, -1, 10**9)


# Entries of the state of a sweep.
(_POSITION, _CANDIDATE, _BEFORE, _KEPT, _COST, _TIES, _DRAW_TIES) = range(7)


def _sweep(
    cost: Any, tables: Any, sizes: Any, order: Any, choices: Any, state: Any, rng: Any, best: Any,
    best_cost: int, trace: Any, limit: int,
) -> int:  # fmt: skip
    """Gives each decision of `order` its best candidate in turn, `_COST` being the cost of what is kept.

    Stops after `limit` evaluations or with a full trace, wherever that is, and goes on there when called again.
    """
    used = 0
    trace[0, 0] = 0
    while state[_POSITION] < len(order):
        decision = order[state[_POSITION]]
        if state[_CANDIDATE] == 0:
            state[_BEFORE] = state[_KEPT] = choices[decision]
            state[_TIES] = 1
        while state[_CANDIDATE] < sizes[decision]:
            if used >= limit or trace[0, 0] + 1 >= len(trace):
                return used
            candidate = state[_CANDIDATE]
            state[_CANDIDATE] += 1
            if candidate == state[_BEFORE]:
                continue
            choices[decision] = candidate
            value = cost(*tables, choices)
            used += 1
            if value == INFEASIBLE or (state[_COST] != INFEASIBLE and value > state[_COST]):
                continue
            if value == state[_COST]:
                state[_TIES] += 1
                if state[_DRAW_TIES] == 1 and rng.random() * state[_TIES] < 1.0:
                    state[_KEPT] = candidate
                continue
            state[_KEPT], state[_COST], state[_TIES] = candidate, value, 1
            if value < best_cost:
                best_cost = value
                best[:] = choices
                trace[0, 0] += 1
                trace[trace[0, 0], 0] = used
                trace[trace[0, 0], 1] = value
        choices[decision] = state[_KEPT]
        state[_POSITION] += 1
        state[_CANDIDATE] = 0
    return used


class _Descent:
    """Sweeps over a search's problem."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._state = np.zeros(7, dtype=np.int64)
        self._loop = search.bind(_sweep, search.sizes, search.free, search.fallback, self._state, search.rng)

    def sweep(self, choices: Choices, cost: int, order: Choices, random_ties: bool) -> int:
        """Improves choices in place by one sweep, or by what the stop leaves of it; returns their cost."""
        search = self._search
        self._state[:] = 0
        self._state[_COST], self._state[_DRAW_TIES] = cost, int(random_ties)
        while self._state[_POSITION] < len(order) and not search.done:
            search.run(self._loop, search.sizes, order, choices, self._state, search.rng)
        return int(self._state[_COST])

    def descend(self, choices: Choices, cost: int) -> int:
        """Sweeps in random orders until nothing improves; returns the cost of the choices."""
        while not self._search.done:
            order = self._search.rng.permutation(self._search.free)
            after = self.sweep(choices, cost, order, random_ties=True)
            if after == cost:
                break
            cost = after
        return cost


def _kick(search: Search, share: float) -> tuple[Choices, int]:
    """Returns the best choices with a few decisions changed, as far as they stay legal, and their cost."""
    choices, cost = search.best.copy(), search.best_cost
    count = min(len(search.free), max(2, round(share * len(search.free))))
    for decision in search.rng.choice(search.free, count, replace=False):
        if search.done:
            break
        before = choices[decision]
        choices[decision] = search.rng.integers(search.sizes[decision])
        after = search.evaluate(choices)
        if after == INFEASIBLE:
            choices[decision] = before
        else:
            cost = after
    return choices, cost


def solve(problem: Problem, *, stop: StopRule, seed: int, params: GreedyParams | None = None) -> Result:
    """Constructs, descends, then perturbs and descends until the stop."""
    params = params or GreedyParams()
    search = Search(problem, "greedy", stop, seed, params)
    descent = _Descent(search)
    search.start()
    sample_starts(search, params.samples)
    choices, cost = search.best.copy(), search.best_cost
    cost = descent.sweep(choices, cost, search.free, random_ties=False)
    descent.descend(choices, cost)
    kicks = 0
    while not search.done and kicks != params.restarts:
        descent.descend(*_kick(search, params.kick_share))
        kicks += 1
    return search.result()
