"""Solutions to learn from: the best that a search finds for an instance within counted work, and how to mend one.

The search is the problem's exact method where it has one, enumeration where that takes few enough evaluations, else
annealing; all are reproducible. `Expert` follows such a solution through an episode: it says what every allowed
candidate of the next decision leads to, and where the episode leaves the solution, it mends the rest by local search.
Where a problem knows completions of its own, they count too.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from foldwright.agents.faces import Guide, WithCompletions, WithExact
from foldwright.agents.kernel import Kernel
from foldwright.agents.registry import get_solver
from foldwright.agents.result import Result
from foldwright.agents.stop import NO_COST, Evaluations
from foldwright.envs.problem import INFEASIBLE, Choices, Problem

__all__ = ["Expert", "best_found", "guide_of"]


def best_found(problem: Problem, evaluations: int, seed: int) -> Result:
    """Returns the result of the search that suits an instance best, within so many evaluations."""
    leaves = math.prod(int(size) for size in problem.sizes)
    exact = isinstance(problem, WithExact) or leaves <= evaluations
    solver = get_solver("exact" if exact else "anneal")
    return solver(problem, stop=Evaluations(evaluations), seed=seed)


@register_jitable
def _mended(cost: Any, tables: Any, fallback: Any, choices: Any, first: int) -> int:
    """Moves choices from `first` on, one after another, towards the fallback until they fit; returns their cost.

    Given that the decisions before `first` and the fallback fit, some such choices do.
    """
    value = cost(*tables, choices)
    if value != INFEASIBLE:
        return value
    wanted = choices.copy()
    choices[first:] = fallback[first:]
    value = cost(*tables, choices)
    for decision in range(first, len(choices)):
        candidate, last = wanted[decision], fallback[decision]
        while candidate != last:
            choices[decision] = candidate
            trial = cost(*tables, choices)
            if trial != INFEASIBLE:
                value = trial
                break
            # halves the way, which keeps the trials few
            candidate = last + (candidate - last) // 2 if candidate > last else last - (last - candidate) // 2
        if candidate == last:
            choices[decision] = last
    return value


def _mend(cost: Any, tables: Any, fallback: Any, choices: Any, first: int) -> int:
    return int(_mended(cost, tables, fallback, choices, first))


def _candidate_costs(
    cost: Any, tables: Any, fallback: Any, choices: Any, first: int, mends: bool, mask: Any, out: Any
) -> int:
    """Writes the cost that each allowed candidate of decision `first` leads to; returns how many are allowed."""
    count = 0
    for candidate in range(len(mask)):
        out[candidate] = INFEASIBLE
        if mask[candidate] != 0:
            trial = choices.copy()
            trial[first] = candidate
            if mends:
                out[candidate] = _mended(cost, tables, fallback, trial, first + 1)
            else:
                out[candidate] = cost(*tables, trial)
            count += 1
    return count


def _climb(
    cost: Any, tables: Any, sizes: Any, choices: Any, first: int, value: int, limit: int, rng: Any
) -> int:
    """Tries `limit` random changes of one or two decisions from `first` on, keeps the better; returns the cost."""
    last = len(choices)
    if first >= last:
        return value
    for _ in range(limit):
        one = first + int(rng.random() * (last - first))
        two = first + int(rng.random() * (last - first)) if rng.random() < 0.5 else one
        old_one, old_two = choices[one], choices[two]
        choices[one] = int(rng.random() * sizes[one])
        choices[two] = int(rng.random() * sizes[two])
        trial = cost(*tables, choices)
        if trial != INFEASIBLE and trial <= value:
            value = trial
        else:
            choices[one], choices[two] = old_one, old_two
    return value


def _costs_of(cost: Any, tables: Any, many: Any, out: Any) -> int:
    """Writes the costs of many choices; returns how many they are."""
    for i in range(len(many)):
        out[i] = cost(*tables, many[i])
    return len(many)


class Expert:
    """Knows a good completion of an episode's decisions, and keeps one while the episode goes its own way.

    Attributes:
        choices: The decisions taken, completed as well as the expert knows.
        cost: What they cost.
    """

    def __init__(self, problem: Problem, choices: Choices, repair: int, rng: np.random.Generator) -> None:
        self.problem, self._repair, self._rng = problem, repair, rng
        self.choices: Choices = np.array(choices, dtype=np.int64)
        self.cost = int(problem.cost_of(self.choices))
        self._fallback: Choices = np.array(problem.fallback, dtype=np.int64)
        self._sizes: Choices = np.array(problem.sizes, dtype=np.int64)
        self._ahead: dict[tuple[int, int], tuple[int, Choices]] = {}
        self._before = self.choices.copy()  # with which candidates were scored
        self._bind()

    def _bind(self) -> None:
        kernel, mask = Kernel(self.problem), np.zeros(1, dtype=np.int8)
        self._costs = kernel.bind(_candidate_costs, self._fallback, self.choices, 0, True, mask, self.choices)
        self._mend = kernel.bind(_mend, self._fallback, self.choices, 0)
        self._costs_of = kernel.bind(_costs_of, np.zeros((1, 1), dtype=np.int64), self.choices)
        self._climb = kernel.bind(_climb, self._sizes, self.choices, 0, 0, 0, self._rng)

    def candidate_costs(
        self, decision: int, mask: npt.NDArray[np.int8], mends: bool = True
    ) -> npt.NDArray[np.int64]:
        """Returns the cost that each allowed candidate leads to, int64 (64,); `INFEASIBLE` for the others.

        Without `mends`, also for those after which the completion does not fit as it is.
        """
        out = np.empty(len(mask), dtype=np.int64)
        self._before = self.choices.copy()
        self._costs(self._fallback, self.choices, decision, mends, mask, out)
        if isinstance(self.problem, WithCompletions):
            self._look_ahead(self.problem, decision, mask, out)
        return out

    def _look_ahead(
        self, problem: WithCompletions, decision: int, mask: npt.NDArray[np.int8], out: npt.NDArray[np.int64]
    ) -> None:
        """Lowers the costs of candidates to those of the problem's own completions, and remembers these."""
        self._ahead = {}
        allowed = np.flatnonzero(mask)
        for tried in problem.completions(self.choices, decision, mask):
            costs = np.empty(len(allowed), dtype=np.int64)
            self._costs_of(np.ascontiguousarray(tried[allowed]), costs)
            for candidate, cost in zip(allowed.tolist(), costs.tolist(), strict=True):
                if cost != INFEASIBLE and (out[candidate] == INFEASIBLE or cost < out[candidate]):
                    out[candidate] = cost
                    self._ahead[decision, candidate] = cost, tried[candidate].copy()
        if self._ahead:
            cost, choices = min(self._ahead.values(), key=lambda known: known[0])
            if cost < self.cost:
                self.cost, self.choices = cost, choices.copy()

    def follow(self, decision: int, candidate: int) -> None:
        """Takes over a decision of the episode, with the completion that is known to be best, and mends that if need be."""
        ahead = self._ahead.get((decision, candidate))
        if ahead is not None:
            self.cost, self.choices = ahead[0], ahead[1].copy()
        elif self.choices[decision] != candidate:
            cost = self._take(decision, candidate)
            self.cost = self._climb(
                self._sizes, self.choices, decision + 1, int(cost), self._repair, self._rng
            )

    def _take(self, decision: int, candidate: int) -> int:
        """Takes a candidate into the better of the completion known and the one that candidates were scored with; mends it."""
        found = []
        for choices in (self.choices, self._before):
            trial = choices.copy()
            trial[:decision], trial[decision] = self.choices[:decision], candidate
            cost = int(self._mend(self._fallback, trial, decision + 1))
            found.append((cost if cost != INFEASIBLE else NO_COST, cost, trial))
        _, cost, self.choices = min(found, key=lambda known: known[0])
        return cost


_GUIDES = {"placement": ("foldwright.agents.place_expert", "PlaceExpert")}
"""Module and class of the experts that know a kind of problem better than `Expert`, with the same arguments."""


def guide_of(problem: Problem, choices: Choices, repair: int, rng: np.random.Generator) -> Guide:
    """Returns the expert that suits a problem, on choices to begin with; see `Expert` for the arguments."""
    if problem.kind not in _GUIDES:
        return Expert(problem, choices, repair, rng)
    module, name = _GUIDES[problem.kind]
    guide: Guide = getattr(importlib.import_module(module), name)(problem, choices, repair, rng)
    return guide
