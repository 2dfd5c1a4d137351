"""Bench suites: which solvers run on which instances, with which budgets and how many seeds.

A suite is a TOML file, one of `SUITE_NAMES` that come along or a user's own:

    summary = "What it shows, in a sentence."
    instances = ["tiling/cnv-w1a1-b16", "allocation/train-s0-3", "my_instance.json"]
    solvers = ["anneal", {name = "cp-sat", params = {hint = "none"}}, "policy:tiling"]
    seeds = 10
    cpu_seconds = [0.01, 0.1, 1, 10]     # or: evaluations = [1000, 10000], which makes results reproducible

Everything is checked before a run begins, and every mistake is told.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from foldwright.agents.registry import get_solver
from foldwright.agents.stop import CpuSeconds, Evaluations, StopRule
from foldwright.envs.problem import Problem
from foldwright.envs.registry import content_hash, load_instance
from foldwright.errors import ConfigError, FoldwrightError, nearest
from foldwright.jsonform import plain
from foldwright.tomlform import list_mistakes, read_toml, short_repr

__all__ = [
    "DEFAULT_SEEDS",
    "SUITE_NAMES",
    "Budget",
    "SolverSpec",
    "Suite",
    "fallback_cost",
    "instance_hash",
    "load_problem",
    "load_suite",
    "suite_of",
]

DEFAULT_SEEDS = 10
_FOLDER = Path(__file__).parent / "suites"
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

SUITE_NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""The suites that come along."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use: CPU seconds, or evaluations, which make its result reproducible."""

    kind: Literal["cpu_seconds", "evaluations"]
    amount: float

    @property
    def rule(self) -> StopRule:
        return CpuSeconds(self.amount) if self.kind == "cpu_seconds" else Evaluations(int(self.amount))

    def __str__(self) -> str:
        return f"{self.amount:g} s" if self.kind == "cpu_seconds" else f"{int(self.amount):,} evaluations"


def _raising_value_error(error: FoldwrightError) -> ValueError:
    return ValueError(str(error).replace("\n", " "))


def _known_instance(name: str) -> str:
    try:
        load_problem(name)
    except FoldwrightError as error:
        raise _raising_value_error(error) from None
    return name


class SolverSpec(BaseModel):
    """A solver of the registry with its options."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1)]
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _exists(self) -> SolverSpec:
        try:
            get_solver(self.name)
        except FoldwrightError as error:
            raise _raising_value_error(error) from None
        return self

    def make_params(self, kind: str) -> Any:
        """Returns the solver's option set for a kind of problem."""
        return get_solver(self.name).make_params(self.params, kind)

    @property
    def label(self) -> str:
        """What tables call it: the name, and the options that the suite sets."""
        options = ", ".join(f"{key}={value}" for key, value in sorted(self.params.items()))
        return f"{self.name} ({options})" if options else self.name

    def identity(self, kind: str) -> str:
        """Returns the full option set for a kind of problem as JSON, with a digest of a policy's file: what a run belongs to."""
        body = plain(self.make_params(kind))
        if self._policy:
            from foldwright.agents.policy import shipped_policies

            file = shipped_policies().get(self._policy, Path(self._policy))
            body = {**body, "policy_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        return json.dumps(body, sort_keys=True)

    @cached_property
    def training_cpu_seconds(self) -> float | None:
        """CPU seconds that a policy's training took; None for a solver that is not trained."""
        if not self._policy:
            return None
        from foldwright.agents.policy import load_policy

        return load_policy(self._policy).card.training_cpu_seconds

    @property
    def _policy(self) -> str:
        """The name or file of the policy; empty for other solvers."""
        prefix, _, name = self.name.partition(":")
        return name if prefix == "policy" else ""


def _named_only(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


_Instance = Annotated[str, Field(min_length=1), AfterValidator(_known_instance)]
_Solver = Annotated[SolverSpec, BeforeValidator(_named_only)]
_Seconds = Annotated[float, Field(gt=0, le=1e6)]
_Count = Annotated[int, Field(ge=1, le=10**12)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_some(value: Any) -> Any:
    if value in ([], ()):
        raise ValueError("is empty; give at least one")
    return _as_tuple(value)


_FROM_LIST = BeforeValidator(_as_tuple)  # strict tuples take no list, and TOML has no tuple
_SOME = BeforeValidator(_as_some)  # a minimum length would count wrong items as absent, too


class Suite(BaseModel):
    """One suite; see the module's docstring."""

    model_config = _STRICT

    summary: str = ""
    instances: Annotated[tuple[_Instance, ...], _SOME]
    solvers: Annotated[tuple[_Solver, ...], _SOME]
    seeds: Annotated[int, Field(ge=1, le=1000)] = DEFAULT_SEEDS
    cpu_seconds: Annotated[tuple[_Seconds, ...], _FROM_LIST] = ()
    evaluations: Annotated[tuple[_Count, ...], _FROM_LIST] = ()

    @model_validator(mode="after")
    def _agree(self) -> Suite:
        if bool(self.cpu_seconds) == bool(self.evaluations):
            got = "both are" if self.cpu_seconds else "neither is"
            raise ValueError(
                f"give either cpu_seconds, such as [0.1, 1], or evaluations, such as [1000]; {got} given"
            )
        self._require_options()
        for what, items in (
            ("instances", self.instances),
            ("solvers", [solver.label for solver in self.solvers]),
            ("budgets", [str(budget) for budget in self.budgets]),
        ):
            twice = sorted({item for item in items if list(items).count(item) > 1})
            if twice:
                raise ValueError(f"{what} names {twice[0]!r} twice; once is enough")
        return self

    def _require_options(self) -> None:
        """Refuses options that a solver does not have for a kind of problem among the instances."""
        for kind in dict.fromkeys(load_problem(name).kind for name in self.instances):
            for solver in self.solvers:
                try:
                    solver.make_params(kind)
                except FoldwrightError as error:
                    raise _raising_value_error(error) from None

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets in rising order."""
        seconds = [Budget("cpu_seconds", amount) for amount in sorted(self.cpu_seconds)]
        return tuple(seconds) or tuple(Budget("evaluations", n) for n in sorted(self.evaluations))

    @property
    def is_reproducible(self) -> bool:
        """Whether every machine gets the same costs."""
        return not self.cpu_seconds

    @cached_property
    def digest(self) -> str:
        """What makes it this suite: the contents of its instances and its budgets.

        Solvers and seeds stay out: a folder of runs grows by them.
        """
        hashes = [instance_hash(name) for name in self.instances]
        body = [hashes, [(b.kind, b.amount) for b in self.budgets]]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:16]

    def narrowed(self, solvers: tuple[str, ...], seeds: int | None) -> Suite:
        """Returns the suite with other solvers or another count of seeds; empty and None keep its own.

        A name that the suite lists keeps its options.

        Raises:
            ConfigError: a solver does not exist.
        """
        listed = {s.label: s for s in self.solvers} | {s.name: s for s in reversed(self.solvers)}
        body: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        if solvers:
            body["solvers"] = tuple(listed.get(name) or _solver_given(name) for name in solvers)
        if seeds is not None:
            body["seeds"] = seeds
        try:
            return Suite(**body)
        except ValidationError as error:
            raise ConfigError(_mistakes(error, "command line")) from None


def _solver_given(name: str) -> SolverSpec:
    get_solver(name)
    return SolverSpec(name=name)


@cache
def load_problem(name: str) -> Problem:
    """Returns an instance by name or file, built once per process: bounds and tables are kept in it."""
    return load_instance(name)


@cache
def instance_hash(name: str) -> str:
    """Returns the content hash of an instance by name or file."""
    return content_hash(load_problem(name))


@cache
def fallback_cost(name: str) -> int:
    """Returns the cost of an instance's fallback: what is known before any search."""
    problem = load_problem(name)
    return int(problem.cost_of(problem.fallback))


def load_suite(name_or_path: str) -> Suite:
    """Returns a suite by its name or from a TOML file.

    Raises:
        ConfigError: there is none, it cannot be read, or it has mistakes; all of them are told.
    """
    path = Path(name_or_path)
    if name_or_path in SUITE_NAMES:
        path = _FOLDER / f"{name_or_path}.toml"
    elif path.suffix != ".toml" and not path.is_file():
        raise ConfigError(
            f"no suite is named {name_or_path!r}; {nearest(name_or_path, SUITE_NAMES)}; "
            "a file of your own ends with .toml"
        )
    body = read_toml(path)
    try:
        return Suite(**body)
    except ValidationError as error:
        raise ConfigError(_mistakes(error, str(name_or_path))) from None


def suite_of(**values: Any) -> Suite:
    """Returns a suite made of values instead of a file.

    Raises:
        ConfigError: with all mistakes.
    """
    try:
        return Suite(**values)
    except ValidationError as error:
        raise ConfigError(_mistakes(error, "command line")) from None


def _mistakes(error: ValidationError, where: str) -> str:
    return list_mistakes([_mistake(e) for e in error.errors()], where)


def _mistake(e: Any) -> str:
    path = [str(part) for part in e["loc"]]
    place = f"{'.'.join(path)}: " if path else ""
    if e["type"] == "missing":
        return f"{place}is missing"
    if e["type"] == "extra_forbidden":
        known = SolverSpec.model_fields if len(path) > 1 else Suite.model_fields
        return f"{place}unknown key; {nearest(path[-1], known)}"
    message = e["msg"].removeprefix("Value error, ")
    if e["type"] == "value_error":
        return place + message
    return f"{place}{message[:1].lower()}{message[1:]} (got {short_repr(e['input'])})"
