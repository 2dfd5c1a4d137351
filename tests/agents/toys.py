"""Small problems for solvers, with optima known by hand or by brute force.

`Knapsack` is the multiple-choice knapsack: one candidate per decision, candidate k of decision d costs
`costs[d, k]` and weighs `weights[d, k]`, and all weights together may be at most `capacity`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.problem import INFEASIBLE, Bound, Choices, Cost
from foldwright.errors import IllegalSolutionError
from foldwright.jsonform import STRICT
from foldwright.kernels import njit

__all__ = ["BY_HAND", "CompiledKnapsack", "Knapsack", "Picks", "brute_force", "random_knapsack"]


@dataclass(frozen=True, slots=True)
class Picks:
    """A solution: the candidate of each decision."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.toy/1"

    picks: tuple[int, ...]


def _knapsack_cost(costs: Any, weights: Any, capacity: Any, choices: Any) -> int:
    cost, weight = 0, 0
    for decision in range(len(choices)):
        cost += costs[decision, choices[decision]]
        weight += weights[decision, choices[decision]]
    return cost if weight <= capacity else INFEASIBLE


knapsack_cost: Any = njit(cache=True)(_knapsack_cost)


@dataclass(frozen=True)
class Knapsack:
    """A multiple-choice knapsack whose cost is plain Python."""

    name: str
    costs: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...]
    capacity: int
    cp_leaves_out_weights: bool = False

    kind: ClassVar[str] = "toy"
    unit: ClassVar[str] = "points"

    @property
    def sizes(self) -> Choices:
        return np.array([len(row) for row in self.costs], dtype=np.int64)

    @property
    def fallback(self) -> Choices:
        return np.array([int(np.argmin(row)) for row in self.weights], dtype=np.int64)

    def labels(self, decision: int) -> list[str]:
        return [
            f"{c} points, weight {w}"
            for c, w in zip(self.costs[decision], self.weights[decision], strict=True)
        ]

    def cost_of(self, choices: Choices) -> int:
        weight = sum(row[k] for row, k in zip(self.weights, choices, strict=True))
        return (
            sum(row[k] for row, k in zip(self.costs, choices, strict=True))
            if weight <= self.capacity
            else INFEASIBLE
        )

    def allowed(self, choices: Choices, decision: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        trial = self.fallback
        trial[:decision] = choices[:decision]
        out = []
        for candidate in range(len(self.costs[decision])):
            trial[decision] = candidate
            out.append(self.cost_of(trial) != INFEASIBLE)
        return np.array(out)

    def evaluate(self, solution: Picks) -> Cost:
        self.check(solution)
        return Cost(self.cost_of(self.encode(solution)), self.unit)

    def check(self, solution: Picks) -> None:
        heavy = sum(self.weights[d][k] for d, k in enumerate(solution.picks))
        if heavy > self.capacity:
            raise IllegalSolutionError(f"{self.name}: weighs {heavy}, allowed is {self.capacity}")

    def bound(self) -> Bound:
        return Bound(sum(min(row) for row in self.costs), "the cheapest candidate of every decision")

    def decode(self, choices: Choices) -> Picks:
        return Picks(tuple(int(c) for c in choices))

    def encode(self, solution: Picks) -> Choices:
        return np.array(solution.picks, dtype=np.int64)

    def cp_model(self) -> CpProblem:
        """Returns the exact model, or, with `cp_leaves_out_weights`, one that knows no capacity."""
        from ortools.sat.python import cp_model

        model = cp_model.CpModel()
        picks, cost, weight = [], [], []
        for d, (costs, weights) in enumerate(zip(self.costs, self.weights, strict=True)):
            pick = model.new_int_var(0, len(costs) - 1, f"pick{d}")
            is_picked = [model.new_bool_var(f"pick{d}is{k}") for k in range(len(costs))]
            model.add_exactly_one(is_picked)
            model.add(pick == sum(k * b for k, b in enumerate(is_picked)))
            cost += [c * b for c, b in zip(costs, is_picked, strict=True)]
            weight += [w * b for w, b in zip(weights, is_picked, strict=True)]
            picks.append(pick)
        if not self.cp_leaves_out_weights:
            model.add(sum(weight) <= self.capacity)
        model.minimize(sum(cost))
        note = "without the capacity" if self.cp_leaves_out_weights else "nothing is left out"
        return CpProblem(model, tuple(picks), sum(cost), is_relaxation=True, note=note, is_complete=True)


@dataclass(frozen=True)
class CompiledKnapsack(Knapsack):
    """The same with a compiled cost; decisions have equally many candidates."""

    def kernel(self) -> tuple[Any, tuple[Any, ...]]:
        return knapsack_cost, (np.array(self.costs), np.array(self.weights), np.int64(self.capacity))


BY_HAND = Knapsack(
    # Capacity 6. The cheapest of each (1+1+1 = 3 points) weighs 4+4+4 = 12. Only one decision can take weight 4, which
    # leaves 2 for two decisions at 1 each: 1+5+6 = 12, 4+1+6 = 11 or 4+5+1 = 10. With none: 2+2+1 weights give
    # 3+2+6 = 11, 3+5+3 = 11, 4+2+3 = 9; all three at weight 2 weigh 6 and give 3+2+3 = 8, the optimum.
    name="toy/by-hand",
    costs=((1, 3, 4), (1, 2, 5), (1, 3, 6)),
    weights=((4, 2, 1), (4, 2, 1), (4, 2, 1)),
    capacity=6,
)


def random_knapsack(
    decisions: int, candidates: int, seed: int, tightness: float = 0.5, compiled: bool = True
) -> Knapsack:
    """Returns an instance in which cheap candidates are heavy; its capacity lies between least and most weight."""
    rng = np.random.default_rng(seed)
    weights = np.sort(rng.integers(1, 1000, (decisions, candidates)), axis=1)
    costs = np.sort(rng.integers(1, 1000, (decisions, candidates)), axis=1)[:, ::-1]
    least, most = int(weights[:, 0].sum()), int(weights[:, -1].sum())
    kind = CompiledKnapsack if compiled else Knapsack
    return kind(
        f"toy/random-{decisions}x{candidates}-{seed}",
        tuple(tuple(int(c) for c in row) for row in costs),
        tuple(tuple(int(w) for w in row) for row in weights),
        least + int(tightness * (most - least)),
    )


def brute_force(problem: Knapsack) -> int:
    """Returns the least cost over all choices; `INFEASIBLE` where none is legal."""
    every = itertools.product(*(range(size) for size in problem.sizes))
    costs = (problem.cost_of(np.array(choices)) for choices in every)
    return min((c for c in costs if c != INFEASIBLE), default=INFEASIBLE)
