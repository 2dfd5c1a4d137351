"""The best costs and bounds known of named instances, each with how it was found; `best_known.json` holds them.

Every entry keeps the choices that reach its cost, so that anybody can score them again; only solutions of more than
`MAX_CHOICES` decisions are left out, and then the seed and the solver tell how to find them again. An entry belongs to the
content of its instance: one whose instance has changed is not used. `benchmarks/best_known.py` improves the table and never
makes an entry worse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

from foldwright.agents.result import Result
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT, read_json

__all__ = ["BEST_KNOWN_FILE", "MAX_CHOICES", "BestKnown", "BestKnownTable", "best_known", "better"]

BEST_KNOWN_FILE = Path(__file__).parent / "best_known.json"
MAX_CHOICES = 512


@dataclass(frozen=True, slots=True)
class BestKnown:
    """The best cost and the best bound known of one instance.

    Attributes:
        instance_hash: The content hash of the instance that cost and bound belong to.
        choices: The candidates that cost `cost`; empty where they are more than `MAX_CHOICES`.
        solver, seed, cpu_seconds: Which search found the cost, and the CPU seconds it had used by then.
        bound_solver: Which search proved the bound; empty if it is the problem's own.
        bound_proof: The argument that proves the bound.
    """

    __pydantic_config__: ClassVar = STRICT

    instance: str
    instance_hash: str
    unit: str
    cost: int
    choices: tuple[int, ...]
    solver: str
    seed: int
    cpu_seconds: float
    bound: int
    bound_solver: str
    bound_proof: str

    def __post_init__(self) -> None:
        if self.cost < self.bound:
            raise ConfigError(
                f"best known of {self.instance!r}: cost {self.cost} is below its bound {self.bound}"
            )

    @property
    def is_optimal(self) -> bool:
        return self.cost == self.bound


@dataclass(frozen=True, slots=True)
class BestKnownTable:
    """All entries, sorted by instance, each instance once."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.best-known/1"

    entries: tuple[BestKnown, ...]

    def __post_init__(self) -> None:
        names = [entry.instance for entry in self.entries]
        if names != sorted(set(names)):
            raise ConfigError("best known: entries must be sorted by instance, each instance once")


@cache
def _table() -> dict[str, BestKnown]:
    if not BEST_KNOWN_FILE.is_file():
        return {}
    return {entry.instance_hash: entry for entry in read_json(BestKnownTable, BEST_KNOWN_FILE).entries}


def best_known(instance_hash: str) -> BestKnown | None:
    """Returns the entry of an instance by its content; None where nothing is known."""
    return _table().get(instance_hash)


def _entry_of(result: Result, instance_hash: str) -> BestKnown:
    found_s = result.history[-1][0] if result.history else result.cpu_seconds
    own = len(result.bound_history) < 2
    return BestKnown(
        instance=result.problem,
        instance_hash=instance_hash,
        unit=result.unit,
        cost=result.cost,
        choices=result.choices if len(result.choices) <= MAX_CHOICES else (),
        solver=result.solver,
        seed=result.seed,
        cpu_seconds=round(found_s, 3),
        bound=result.bound,
        bound_solver="" if own else result.solver,
        bound_proof=result.bound_proof,
    )


def better(known: BestKnown | None, results: Iterable[Result], instance_hash: str) -> BestKnown | None:
    """Returns the entry with what `results` improve; the earlier one stays where they are equal."""
    if known is not None and known.instance_hash != instance_hash:
        known = None
    for result in results:
        if not result.has_solution:
            continue
        new = _entry_of(result, instance_hash)
        best = new if known is None or new.cost < known.cost else known
        proof = new if known is None or new.bound > known.bound else known
        known = replace(
            best, bound=proof.bound, bound_solver=proof.bound_solver, bound_proof=proof.bound_proof
        )
    return known
