"""The solvers by name, behind one signature; a solver's module is imported when it is first called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from foldwright.agents.params import make_params
from foldwright.agents.result import Result
from foldwright.agents.stop import StopRule
from foldwright.envs.problem import Problem
from foldwright.errors import ConfigError, nearest

__all__ = ["POLICY_PREFIX", "SOLVERS", "Solver", "get_solver"]


@dataclass(frozen=True, slots=True)
class Solver:
    """A solver: `solver(problem, stop=..., seed=..., params=...) -> Result`.

    Attributes:
        summary: What it does, in one line.
        module: Where its `solve` and its option set stand.
        params: The name of its option set in that module.
        variants: Kinds of problems for which it stands elsewhere: the kind, its module, its option set.
    """

    name: str
    summary: str
    module: str
    params: str
    variants: tuple[tuple[str, str, str], ...] = ()

    def _place(self, kind: str) -> tuple[str, str]:
        """Returns the module and the option set for a kind of problem."""
        found = [(module, params) for of, module, params in self.variants if of == kind]
        return found[0] if found else (self.module, self.params)

    def make_params(self, given: Mapping[str, Any] | None = None, kind: str = "") -> Any:
        """Returns the solver's option set for a kind of problem from names and values; see `agents.params.make_params`."""
        module, params = self._place(kind)
        return make_params(getattr(importlib.import_module(module), params), given, self.name)

    def __call__(self, problem: Problem, *, stop: StopRule, seed: int = 0, params: Any = None) -> Result:
        """Searches for a solution of `problem` until `stop` or a proof.

        Args:
            params: The solver's option set, or a mapping of its option names to values.

        Raises:
            ConfigError: the options are wrong, or the solver does not suit the problem.
        """
        if seed < 0:
            raise ConfigError(f"solver {self.name!r}: seed is {seed}, allowed are whole numbers from 0")
        options = self.make_params(params, problem.kind)
        return self.run(problem, stop=stop, seed=seed, params=options)

    def run(self, problem: Problem, *, stop: StopRule, seed: int, params: Any) -> Result:
        """Searches with an option set that is made; what a solver of another sort replaces."""
        module, _ = self._place(problem.kind)
        found: Result = importlib.import_module(module).solve(problem, stop=stop, seed=seed, params=params)
        return found


def _placer(name: str, params: str) -> tuple[tuple[str, str, str], ...]:
    return (("placement", f"foldwright.agents.place_{name}", params),)


_ALL = (
    Solver(
        "random",
        "samples allowed choices",
        "foldwright.agents.random_search",
        "NoParams",
        _placer("random", "NoParams"),
    ),
    Solver(
        "greedy",
        "construction, descent, perturbation",
        "foldwright.agents.greedy",
        "GreedyParams",
        _placer("greedy", "PlaceGreedyParams"),
    ),
    Solver(
        "anneal",
        "simulated annealing in a compiled loop",
        "foldwright.agents.anneal",
        "AnnealParams",
        _placer("anneal", "PlaceAnnealParams"),
    ),
    Solver(
        "cp-sat",
        "OR-tools on the problem's model, with bounds",
        "foldwright.agents.cpsat",
        "CpSatParams",
        _placer("cpsat", "PlaceCpSatParams"),
    ),
    Solver(
        "hybrid", "annealing, CP-SAT from there, annealing again", "foldwright.agents.hybrid", "HybridParams"
    ),
    Solver("exact", "the problem's exact method, or enumeration", "foldwright.agents.exact", "NoParams"),
)
SOLVERS: Mapping[str, Solver] = MappingProxyType({solver.name: solver for solver in _ALL})
"""Every solver by its name; beside them stand policies, see `get_solver`."""
POLICY_PREFIX = "policy:"


def get_solver(name: str) -> Solver:
    """Returns the solver of a name, or a policy as "policy:<name or file>".

    Raises:
        ConfigError: there is none; with the nearest name.
        PolicyError: no policy has this name, or its file cannot be used.
    """
    if name.startswith(POLICY_PREFIX):
        from foldwright.agents.decode import policy_solver

        return policy_solver(name.removeprefix(POLICY_PREFIX))
    if name not in SOLVERS:
        raise ConfigError(f"no solver {name!r}; {nearest(name, SOLVERS)}, {POLICY_PREFIX}NAME-OR-FILE")
    return SOLVERS[name]
