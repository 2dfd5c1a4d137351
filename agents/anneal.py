"""Simulated annealing over choices, in one loop that runs compiled where the problem's cost is.

A proposal changes one decision to any other candidate, moves it to a neighbouring candidate, changes two decisions,
or swaps the candidates of two. What breaks a budget is rejected. Costs of one problem may lie decades apart, so what
counts is the relative increase: one by the share `temperature` passes with probability 1/e. The temperature falls
geometrically. The first run starts from the best of the fallback, the problem's own start and some samples, later
runs from the best solution, by turns hot and warm; the first one is warm if the problem's own start is the best. Each
is twice as long as the one before it, and the last one fits into what the stop leaves.

Where the problem offers an outline, a quick estimate that allows what breaks a budget, runs on it come first, as long as they
take `outline_share` of the CPU time; what each found is scored, and the best of all is where the others begin.

Source: S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, "Optimization by Simulated Annealing", Science 220 (1983).
Iterations are evaluations of complete choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba.extending import register_jitable

from foldwright.agents.faces import WithOutline
from foldwright.agents.kernel import TRACE_ROWS, Kernel
from foldwright.agents.params import require_range
from foldwright.agents.random_search import sample_starts
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import StopRule, cpu_limit, evaluation_limit
from foldwright.envs.problem import INFEASIBLE, Choices, Problem
from foldwright.jsonform import STRICT

__all__ = ["AnnealParams", "Runs", "solve"]

_SKETCH_CHUNK = 256
_PER_EVALUATION = 50


@dataclass(frozen=True, slots=True)
class AnnealParams:
    """Options of the annealer.

    Attributes:
        start_temperature: First temperature of hot runs, as a share of the cost.
        reheat_temperature: First temperature of warm runs.
        end_temperature: Last temperature of all runs.
        samples: Random samples from which the start is chosen, beside the fallback and what the problem offers; none where the
            problem has an outline, which finds better ones.
        run_length: Proposals of the first run, per decision.
        step_share: Share of proposals that move a decision to a neighbouring candidate.
        pair_share: Share of proposals that change two decisions.
        swap_share: Share of proposals that swap the candidates of two decisions.
        outline_share: Share of the CPU time for runs on the outline; 0 for none.
        outline_proposals: Proposals of the first run on the outline, per decision; under a rule that counts evaluations the
            runs on it, of doubling length, make at most 50 for each evaluation that it allows.
    """

    __pydantic_config__: ClassVar = STRICT

    start_temperature: float = 0.1
    reheat_temperature: float = 0.003
    end_temperature: float = 0.0002
    samples: int = 8
    run_length: int = 200
    step_share: float = 0.2
    pair_share: float = 0.25
    swap_share: float = 0.05
    outline_share: float = 0.4
    outline_proposals: int = 100

    def __post_init__(self) -> None:
        where = "solver 'anneal': option "
        require_range(where + "'start_temperature'", self.start_temperature, 1e-9, 1e9)
        require_range(where + "'reheat_temperature'", self.reheat_temperature, 1e-9, 1e9)
        require_range(where + "'end_temperature'", self.end_temperature, 1e-12, self.start_temperature)
        require_range(where + "'samples'", self.samples, 0, 10**9)
        require_range(where + "'run_length'", self.run_length, 1, 10**9)
        for name in ("step_share", "pair_share", "swap_share"):
            require_range(where + repr(name), getattr(self, name), 0.0, 1.0)
        require_range(where + "'outline_share'", self.outline_share, 0.0, 1.0)
        require_range(where + "'outline_proposals'", self.outline_proposals, 1, 10**9)
        shares = self.step_share + self.pair_share + self.swap_share
        require_range(where + "'step_share' + 'pair_share' + 'swap_share'", shares, 0.0, 1.0 + 1e-9)


@register_jitable
def _propose(sizes: Any, free: Any, shares: Any, choices: Any, rng: Any) -> tuple[int, int]:
    """Changes one or two decisions in place; returns them, twice the same where it is one.

    `shares` are cumulative: below [0] swap two, below [1] change two, below [2] step one, else change one.
    """
    kind = rng.random()
    first = free[int(rng.random() * len(free))]
    second = first
    if kind < shares[1]:
        while second == first:
            second = free[int(rng.random() * len(free))]
    if kind < shares[0]:
        old = choices[first]
        choices[first] = min(choices[second], sizes[first] - 1)
        choices[second] = min(old, sizes[second] - 1)
    elif shares[1] <= kind < shares[2]:
        upwards = choices[first] == 0 or (choices[first] < sizes[first] - 1 and rng.random() < 0.5)
        choices[first] += 1 if upwards else -1
    else:
        _change(sizes, choices, first, rng)
        if second != first:
            _change(sizes, choices, second, rng)
    return first, second


@register_jitable
def _change(sizes: Any, choices: Any, decision: int, rng: Any) -> None:
    candidate = int(rng.random() * (sizes[decision] - 1))
    choices[decision] = candidate + 1 if candidate >= choices[decision] else candidate


def _anneal(
    cost: Any, tables: Any, sizes: Any, free: Any, shares: Any, choices: Any, heat: Any, rng: Any, best: Any,
    best_cost: int, trace: Any, limit: int,
) -> int:  # fmt: skip
    """Makes up to `limit` proposals from `choices`; `heat` is (temperature, factor a proposal, cost)."""
    old = choices.copy()
    current = int(heat[2])
    used = 0
    trace[0, 0] = 0
    while used < limit and trace[0, 0] + 1 < len(trace):
        first, second = _propose(sizes, free, shares, choices, rng)
        value = cost(*tables, choices)
        used += 1
        worse = (value - current) / max(current, 1)
        if value != INFEASIBLE and (worse <= 0 or rng.random() < math.exp(-worse / heat[0])):
            old[first], old[second] = choices[first], choices[second]
            current = value
            if value < best_cost:
                best_cost = value
                best[:] = choices
                trace[0, 0] += 1
                trace[trace[0, 0], 0] = used
                trace[trace[0, 0], 1] = value
        else:
            choices[first], choices[second] = old[first], old[second]
        heat[0] *= heat[1]
    heat[2] = current
    return used


class _Annealer:
    """Runs of the loop on a search's problem."""

    def __init__(self, search: Search, params: AnnealParams) -> None:
        self._search, self._params = search, params
        pairs = len(search.free) > 1
        swap, pair = (params.swap_share, params.pair_share) if pairs else (0.0, 0.0)
        self.shares = np.array([swap, swap + pair, swap + pair + params.step_share])
        self._heat = np.array([1.0, 1.0, 0.0])
        self._loop = search.bind(
            _anneal, search.sizes, search.free, self.shares, search.fallback, self._heat, search.rng
        )

    def run(self, choices: Choices, cost: int, temperature: float, length: int) -> None:
        """Anneals from `choices` over `length` proposals, or what the stop leaves of them."""
        search = self._search
        ratio = self._params.end_temperature / temperature
        self._heat[:] = temperature, min(1.0, ratio) ** (1 / length), cost
        while length > 0 and not search.done:
            length -= search.run(
                self._loop,
                search.sizes,
                search.free,
                self.shares,
                choices,
                self._heat,
                search.rng,
                most=length,
            )


class Runs:
    """The annealer on a search that another solver may share; made before the search starts, which compiles its loops."""

    def __init__(self, search: Search, params: AnnealParams) -> None:
        self._search, self._params = search, params
        self._annealer = _Annealer(search, params)
        sketches = isinstance(search.problem, WithOutline) and params.outline_share > 0
        self._sketcher = _Sketcher(search, params, self._annealer.shares) if sketches else None

    def from_starts(self) -> None:
        """Samples starts, sketches where the problem has an outline, and anneals until the search's stop."""
        search = self._search
        sample_starts(search, self._params.samples if self._sketcher is None else 0)
        if self._sketcher is not None:
            _sketch(search, self._sketcher, self._params, search.stop)
        # A good start is worth keeping, a random one is not.
        self.from_best(is_warm=search.is_offered_best or self._sketcher is not None)

    def from_best(self, is_warm: bool = True) -> None:
        """Anneals from the best solution, by turns warm and hot, until the search's stop."""
        search, params = self._search, self._params
        length = params.run_length * max(1, len(search.free))
        while not search.done:
            temperature = params.reheat_temperature if is_warm else params.start_temperature
            self._annealer.run(
                search.best.copy(), search.best_cost, temperature, _next_length(search, length)
            )
            length, is_warm = 2 * length, not is_warm


class _Sketcher:
    """Runs on a problem's outline, whose finds are scored by the problem itself."""

    def __init__(self, search: Search, params: AnnealParams, shares: Any) -> None:
        assert isinstance(search.problem, WithOutline)
        self._search, self._params, self._shares = search, params, shares
        function, tables = search.problem.outline()
        self._cost: Callable[[Choices], int] = lambda choices: int(function(*tables, choices))
        self._trace = np.zeros((TRACE_ROWS, 2), dtype=np.int64)
        self._heat, self._best = np.array([1.0, 1.0, 0.0]), search.fallback.copy()
        self._loop = Kernel(_Outlined(function, tables)).bind(
            _anneal, search.sizes, search.free, shares, search.fallback, self._heat, search.rng, self._best,
            0, self._trace, 0,
        )  # fmt: skip
        self._cost(search.fallback)  # warm-up

    def run(self, length: int, is_over: Callable[[], bool]) -> int:
        """Anneals on the outline from the best solution, scores what is found, and returns the proposals made."""
        search, params = self._search, self._params
        choices = search.best.copy()
        self._best[:] = choices
        cost = best = self._cost(choices)
        ratio, made = params.end_temperature / params.start_temperature, 0
        self._heat[:] = params.start_temperature, min(1.0, ratio) ** (1 / length), cost
        while made < length and not is_over():
            made += self._loop(
                search.sizes, search.free, self._shares, choices, self._heat, search.rng, self._best, best,
                self._trace, min(_SKETCH_CHUNK, length - made),
            )  # fmt: skip
            best = self._cost(self._best)
        search.evaluate(self._best)
        return made


@dataclass(frozen=True)
class _Outlined:
    """An outline as a problem's kernel."""

    function: Any
    tables: tuple[Any, ...]

    def kernel(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.tables


def _sketch(search: Search, sketcher: _Sketcher, params: AnnealParams, stop: StopRule) -> None:
    """Runs on the outline, each twice as long as the one before, within their share."""
    limit = cpu_limit(stop)
    most = math.inf if limit is not None else _PER_EVALUATION * (evaluation_limit(stop) or 0)
    length, made = params.outline_proposals * max(1, len(search.free)), 0

    def is_over() -> bool:
        return (
            search.done
            or made >= most
            or (limit is not None and search.clock() > params.outline_share * limit)
        )

    while most > 0 and not search.done and not (made and is_over()):
        began = search.clock()
        done = sketcher.run(int(min(length, most - made)), is_over if made else lambda: search.done)
        made += done
        length *= 2
        if limit is not None:  # what is left of the time, where that is less than two such runs
            left = done * (params.outline_share * limit - search.clock()) / max(1e-6, search.clock() - began)
            length = max(1, int(left)) if left < 2 * length else length


def _next_length(search: Search, length: int) -> int:
    """Returns the length of the next run: what the stop leaves, where that is less than two such runs."""
    left = search.expected_evaluations()
    return left if 0 < left < 2 * length else length


def solve(problem: Problem, *, stop: StopRule, seed: int, params: AnnealParams | None = None) -> Result:
    """Anneals in runs of doubling length until the stop."""
    params = params or AnnealParams()
    search = Search(problem, "anneal", stop, seed, params)
    runs = Runs(search, params)
    search.start()
    runs.from_starts()
    return search.result()
