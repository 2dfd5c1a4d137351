"""One episode decided by a policy in one compiled loop: observation, scores and choice without a call of Python between.

A decision in Python costs many times what its features and its scores do, and a policy is of use where there is no
time for more than one solution. `Player` holds an episode; `go_on` decides a part of it, so that its caller can look
at the clock.
"""

from __future__ import annotations

from typing import Any

import numba  # only for typeof
import numpy as np

from foldwright.agents.policy import Policy, score_decision
from foldwright.envs.batch import BatchCore
from foldwright.envs.kits import kit_of
from foldwright.envs.problem import Choices, Problem
from foldwright.kernels import njit, types

__all__ = ["Player"]

_CHUNK = 48
"""Decisions of one call: about half a millisecond, long against the call and short against budgets."""


def _decide(
    observe: Any, observed: Any, network: Any, room: Any, logits: Any, temperature: Any, rng: Any, limit: int
) -> int:
    """Takes `limit` decisions, or those that are left; returns how many.

    Args:
        observed: What `observe` takes, in its order, of a core with one episode.
        temperature: Divides the scores of candidates drawn at random; 0 takes the likeliest.
    """
    choices, position, context, mask = observed[4], observed[5], observed[10], observed[11]
    candidates, decisions = observed[9], observed[1][0, observed[2][0] + 1] - observed[1][0, observed[2][0]]
    taken = 0
    while taken < limit and position[0] < decisions:
        count = score_decision(network, candidates[0], context[0], mask[0], room, logits)
        best, most = -1, -np.inf
        for k in range(len(logits)):
            if mask[0, k] != 0:
                value = np.float64(logits[k])
                if temperature > 0.0 and count > 1:
                    value = value / temperature - np.log(-np.log(1.0 - rng.random()))
                if best < 0 or value > most:
                    best, most = k, value
        choices[0, position[0]] = best
        position[0] += 1
        taken += 1
        if position[0] < decisions:
            observe(*observed)
    return taken


class Player:
    """Episodes on one instance, one after another.

    Args:
        fallback_cost: What the instance's fallback costs, where that is known.
    """

    def __init__(self, problem: Problem, policy: Policy, fallback_cost: int | None = None) -> None:
        self._problem = problem
        self._core = BatchCore(kit_of(problem.kind), 1)
        self._core.bank.slot(problem, fallback_cost)
        self.begin()
        core, bank = self._core, self._core.bank
        # none of these arrays is ever replaced: the core keeps one episode, on one instance
        observed = (
            bank.flats, bank.offsets, core.instance, bank.bounds, core.choices, core.position, core.cost,
            np.ones(1, dtype=np.bool_), core.state, core.candidates, core.context, core.mask,
        )  # fmt: skip
        logits = np.empty(core.mask.shape[1], dtype=np.float32)
        self._arguments = (core.kit.observe, observed, policy.network, policy.room(), logits)
        self._decide = _bound(problem.kind, *self._arguments)

    def begin(self) -> None:
        """Starts an episode."""
        self._core.begin({0: self._problem})

    @property
    def finished(self) -> bool:
        return bool(self._core.position[0] >= len(self._problem.sizes))

    @property
    def choices(self) -> Choices:
        """What is decided, completed by the fallback."""
        return self._core.decided(0)

    def go_on(self, temperature: float, rng: np.random.Generator) -> None:
        """Takes some decisions; temperature 0 takes the likeliest candidates, else they are drawn."""
        self._decide(*self._arguments, temperature, rng, _CHUNK)


_BOUND: dict[str, Any] = {}
"""`_decide` compiled by kind of problem; what it takes has the same types for every instance and policy of a kind."""


def _bound(kind: str, _: Any, observed: Any, *others: Any) -> Any:
    """Returns `_decide` compiled for arguments like these."""
    if kind not in _BOUND:
        typed = [numba.typeof(value) for value in observed]
        function = types.FunctionType(types.void(*typed))
        rng = numba.typeof(np.random.default_rng(0))
        _BOUND[kind] = njit(
            types.int64(
                function, types.Tuple(typed), *map(numba.typeof, others), types.float64, rng, types.int64
            ),
            cache=True,
        )(_decide)
    return _BOUND[kind]
