"""Exact search: the problem's own method where it has one, else every complete choice in turn.

Enumeration needs a product of sizes of at most `MAX_LEAVES`. It ends early when a cost meets the problem's
bound, and relies on `cost_of` alone, so what it proves does not depend on which candidates are allowed in
which order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foldwright.agents.faces import WithExact
from foldwright.agents.params import NoParams
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import NO_COST, StopRule
from foldwright.envs.problem import INFEASIBLE, Problem
from foldwright.errors import ConfigError

__all__ = ["MAX_LEAVES", "NoParams", "solve"]

MAX_LEAVES = 2_000_000
_OWN_PROOF = "the exact method of the problem"
_ENUMERATION = "all choices were scored"


def _enumerate(
    cost: Any,
    tables: Any,
    sizes: Any,
    choices: Any,
    state: Any,
    best: Any,
    best_cost: int,
    trace: Any,
    limit: int,
) -> int:
    """Scores `choices` and those after it in counting order; sets `state[0]` after the last."""
    used = 0
    trace[0, 0] = 0
    while used < limit and trace[0, 0] + 1 < len(trace) and state[0] == 0:
        value = cost(*tables, choices)
        used += 1
        if value != INFEASIBLE and value < best_cost:
            best_cost = value
            best[:] = choices
            trace[0, 0] += 1
            trace[trace[0, 0], 0] = used
            trace[trace[0, 0], 1] = value
        digit = len(sizes) - 1
        while digit >= 0 and choices[digit] == sizes[digit] - 1:
            choices[digit] = 0
            digit -= 1
        if digit >= 0:
            choices[digit] += 1
        else:
            state[0] = 1
    return used


def solve(problem: Problem, *, stop: StopRule, seed: int, params: NoParams | None = None) -> Result:
    """Solves exactly, or as far as the stop lets it.

    Raises:
        ConfigError: the problem has no exact method and is too large to enumerate.
    """
    if isinstance(problem, WithExact):
        return _by_problem(problem, stop, seed, params or NoParams())
    leaves = math.prod(int(size) for size in problem.sizes)
    if leaves > MAX_LEAVES:
        raise ConfigError(
            f"solver 'exact': {problem.name!r} has {leaves:.2e} combinations of choices and no exact method "
            f"of its own; at most {MAX_LEAVES} can be enumerated; use 'cp-sat' for a bound or 'anneal' for a solution"
        )
    return _by_enumeration(problem, stop, seed, params or NoParams())


def _by_enumeration(problem: Problem, stop: StopRule, seed: int, params: NoParams) -> Result:
    search = Search(problem, "exact", stop, seed, params)
    choices, state = np.zeros_like(search.sizes), np.zeros(1, dtype=np.int64)
    loop = search.bind(_enumerate, search.sizes, choices, state)
    search.start()
    while not state[0] and not search.done:
        search.run(loop, search.sizes, choices, state)
    if state[0] and search.best_cost < NO_COST:
        search.raise_bound(search.best_cost, _ENUMERATION)
    elif state[0]:
        search.exclude_all()
    return search.result()


def _by_problem(problem: Problem, stop: StopRule, seed: int, params: NoParams) -> Result:
    assert isinstance(problem, WithExact)
    search = Search(problem, "exact", stop, seed, params)
    search.start()
    if search.done or not search.prepare():
        return search.result()

    def asked(work: int) -> bool:
        return stop(search.clock(), search.iterations + work, search.best_cost)

    choices, bound, status = problem.solve_exact(asked)
    if choices is not None:
        search.evaluate(np.asarray(choices, dtype=np.int64))
    if status == "infeasible":
        search.exclude_all()
    else:
        search.raise_bound(bound, _OWN_PROOF)
    asked(0)  # whoever watches the search sees its end
    return search.result()
