"""Runs a search loop fully compiled where the problem's cost is a compiled function, else as plain Python.

A loop is an ordinary function `loop(cost, tables, ...)` that scores choices by `cost(*tables, choices)`.
Compiled, the cost function is passed as a first-class function value, so the machine code of a loop depends
only on the types of the tables and is cached on disk like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba  # only for typeof

from foldwright.agents.faces import WithKernel
from foldwright.envs.problem import Problem
from foldwright.kernels import njit, types

__all__ = ["CHUNK_SECONDS", "TRACE_ROWS", "Kernel", "Loop"]

CHUNK_SECONDS = 0.002
"""CPU time that one call of a loop should take: long against the 0.1 ms of a call, short against budgets."""
TRACE_ROWS = 65
"""Rows of a trace, int64 (rows, 2): row 0 has the count of improvements, the others (evaluations, cost)."""

Loop = Callable[..., Any]


@cache
def _compiled(loop: Loop, signature: Any) -> Loop:
    return njit(signature, cache=True)(loop)


class Kernel:
    """The cost function of a problem, or of any other face with a kernel, ready to be handed to loops."""

    def __init__(self, problem: Problem | WithKernel) -> None:
        self.is_compiled = isinstance(problem, WithKernel)
        self._tables: tuple[Any, ...] = ()
        self._cost: Any = getattr(problem, "cost_of", None)
        if isinstance(problem, WithKernel):
            self._cost, self._tables = problem.kernel()

    def bind(self, loop: Loop, *examples: Any) -> Callable[..., Any]:
        """Returns `loop` with the cost function in place, compiled for arguments like `examples`.

        The loop must return an int; what else it finds out it writes into its arrays.
        """
        if not self.is_compiled:
            return lambda *args: loop(self._cost, (), *args)
        tables = tuple(numba.typeof(table) for table in self._tables)
        function = types.FunctionType(types.int64(*tables, types.int64[::1]))
        signature = types.int64(function, types.Tuple(tables), *(numba.typeof(e) for e in examples))
        compiled = _compiled(loop, signature)
        return lambda *args: compiled(self._cost, self._tables, *args)
