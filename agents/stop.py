"""When a search ends: tiny callables over CPU seconds, cost evaluations and the best cost so far.

A rule says yes or no; a search asks it after every step. `CpuSeconds` makes results that differ from run to
run; the others count work, so the same seed gives the same result. Work is counted in evaluations of complete
choices; CP-SAT counts its own deterministic time, and `EVALUATIONS_PER_UNIT` converts where a rule meets a
solver of the other sort.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from foldwright.errors import ConfigError

__all__ = [
    "EVALUATIONS_PER_UNIT",
    "NO_COST",
    "AnyOf",
    "CpuClock",
    "CpuSeconds",
    "DeterministicTime",
    "Evaluations",
    "NoImprovement",
    "StopRule",
    "TargetCost",
    "Watched",
    "any_of",
    "cpu_limit",
    "evaluation_limit",
    "fraction",
    "is_reproducible",
    "unit_limit",
    "without_counts",
]

EVALUATIONS_PER_UNIT = 1000
"""Evaluations that count as one unit of CP-SAT's deterministic time, which is about a second."""
NO_COST = 2**62
"""The best cost that a rule is given before a legal solution is found."""


class StopRule(Protocol):
    """Says whether a search should end now."""

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        """Returns true where the search should end."""


class CpuClock:
    """CPU seconds, user and system, of this process's threads and ended children since the clock was made."""

    def __init__(self) -> None:
        self._start = _cpu_seconds_of_process()

    def __call__(self) -> float:
        return _cpu_seconds_of_process() - self._start

    def charge(self, seconds: float) -> None:
        """Counts CPU time that was spent before."""
        self._start -= seconds


def _cpu_seconds_of_process() -> float:
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _require(ok: bool, rule: str, value: float, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"stop rule {rule}: got {value}, allowed is {allowed}")


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    """Ends after so much CPU time; results are not reproducible."""

    seconds: float

    def __post_init__(self) -> None:
        _require(math.isfinite(self.seconds) and self.seconds >= 0, "CpuSeconds", self.seconds, "0 or more")

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        return cpu_seconds >= self.seconds


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Ends after so many evaluations of complete choices."""

    count: int

    def __post_init__(self) -> None:
        _require(self.count >= 1, "Evaluations", self.count, "a whole number of at least 1")

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        return iterations >= self.count


@dataclass(frozen=True, slots=True)
class DeterministicTime:
    """Ends CP-SAT after so many units of its own time, other searches after the evaluations in them."""

    units: float

    def __post_init__(self) -> None:
        _require(math.isfinite(self.units) and self.units > 0, "DeterministicTime", self.units, "more than 0")

    @property
    def evaluations(self) -> int:
        return max(1, round(self.units * EVALUATIONS_PER_UNIT))

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        return iterations >= self.evaluations


@dataclass(frozen=True, slots=True)
class TargetCost:
    """Ends when a solution costs at most this much."""

    cost: int

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        return best_cost <= self.cost


@dataclass(slots=True)
class NoImprovement:
    """Ends after so many evaluations without a better cost; starts anew with each search."""

    evaluations: int
    _best: int = field(default=NO_COST, init=False, repr=False)
    _since: int = field(default=0, init=False, repr=False)
    _seen: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        _require(self.evaluations >= 1, "NoImprovement", self.evaluations, "a whole number of at least 1")

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        if iterations < self._seen:  # counts only fall where another search begins
            self._best, self._since = NO_COST, iterations
        self._seen = iterations
        if best_cost < self._best:
            self._best, self._since = best_cost, iterations
        return iterations - self._since >= self.evaluations


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Ends when any of its rules says so."""

    rules: tuple[StopRule, ...]

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        answers = [rule(cpu_seconds, iterations, best_cost) for rule in self.rules]  # each keeps its counts
        return any(answers)


@dataclass(frozen=True, slots=True, repr=False)
class Watched:
    """A rule that also tells how the search stands, after every step; it changes no result."""

    rule: StopRule
    tell: Callable[[float, int, int], None]

    def __call__(self, cpu_seconds: float, iterations: int, best_cost: int) -> bool:
        self.tell(cpu_seconds, iterations, best_cost)
        return self.rule(cpu_seconds, iterations, best_cost)

    def __repr__(self) -> str:
        return repr(self.rule)  # what a result records: watching leaves no trace


def any_of(*rules: StopRule) -> StopRule:
    """Returns the rule that ends when any of `rules` does.

    Raises:
        ConfigError: there is no rule, so a search could run for ever.
    """
    if not rules:
        raise ConfigError("any_of: got no stop rule, at least one is needed, such as CpuSeconds(1.0)")
    return rules[0] if len(rules) == 1 else AnyOf(tuple(rules))


def _parts(rule: StopRule) -> list[StopRule]:
    if isinstance(rule, AnyOf):
        return [part for inner in rule.rules for part in _parts(inner)]
    if isinstance(rule, Watched):
        return _parts(rule.rule)
    return [rule]


def is_reproducible(rule: StopRule) -> bool:
    """Returns whether a rule depends on counted work only; an unknown rule is taken to depend on time."""
    known = (Evaluations, DeterministicTime, TargetCost, NoImprovement)
    return all(isinstance(part, known) for part in _parts(rule))


def evaluation_limit(rule: StopRule) -> int | None:
    """Returns the most evaluations that a rule allows; None where it does not count them."""
    counts = [part.count for part in _parts(rule) if isinstance(part, Evaluations)]
    counts += [part.evaluations for part in _parts(rule) if isinstance(part, DeterministicTime)]
    return min(counts, default=None)


def unit_limit(rule: StopRule) -> float | None:
    """Returns the most deterministic time that a rule allows CP-SAT; None where it does not count work."""
    units = [part.units for part in _parts(rule) if isinstance(part, DeterministicTime)]
    units += [part.count / EVALUATIONS_PER_UNIT for part in _parts(rule) if isinstance(part, Evaluations)]
    return min(units, default=None)


def fraction(rule: StopRule, share: float) -> StopRule:
    """Returns a rule that ends after a share of the work or time of another; other parts stay as they are."""
    if isinstance(rule, Watched):
        return Watched(fraction(rule.rule, share), rule.tell)
    if isinstance(rule, AnyOf):
        return AnyOf(tuple(fraction(part, share) for part in rule.rules))
    if isinstance(rule, CpuSeconds):
        return CpuSeconds(rule.seconds * share)
    if isinstance(rule, Evaluations):
        return Evaluations(max(1, round(rule.count * share)))
    return (
        DeterministicTime(rule.units * share) if isinstance(rule, DeterministicTime) and share > 0 else rule
    )


def without_counts(rule: StopRule) -> StopRule:
    """Returns a rule without its parts that count work; it may be one that never ends a search."""
    if isinstance(rule, Watched):
        return Watched(without_counts(rule.rule), rule.tell)
    counting = (Evaluations, DeterministicTime)
    return AnyOf(tuple(part for part in _parts(rule) if not isinstance(part, counting)))


def cpu_limit(rule: StopRule) -> float | None:
    """Returns the most CPU seconds that a rule allows; None where it does not count them."""
    return min([part.seconds for part in _parts(rule) if isinstance(part, CpuSeconds)], default=None)
