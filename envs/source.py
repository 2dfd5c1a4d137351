"""Where environments draw their instances from: a split, names, or problems given, each built when first drawn."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TypeAlias

import numpy as np

from foldwright.envs.generator import SPLITS
from foldwright.envs.problem import Problem
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError, nearest

__all__ = ["InstanceSource", "Instances"]

Instances: TypeAlias = str | Problem | Sequence[str | Problem]
"""A split such as "train", an instance by name or file, a problem, or a list of the last three."""


class InstanceSource:
    """The instances that an environment of one kind draws from.

    Args:
        count: how many instances of a generated split there are; the seed says which.
    """

    def __init__(self, kind: str, instances: Instances, count: int = 64, seed: int = 0) -> None:
        if count < 1:
            raise ConfigError(f"instance_count is {count}, must be at least 1")
        self.kind = kind
        self._items: list[str | Problem] = _listed(kind, instances, count, seed)
        if not self._items:
            raise ConfigError("instances is an empty list; give at least one")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Problem:
        problem = self.load(self._items[index])
        self._items[index] = problem
        return problem

    def draw(self, rng: np.random.Generator) -> Problem:
        """Returns an instance at random, all alike."""
        return self[int(rng.integers(len(self)))]

    def load(self, item: str | Problem) -> Problem:
        """Returns an instance by name, file or itself.

        Raises:
            ConfigError: there is none, or it is of another kind.
        """
        problem = load_instance(item) if isinstance(item, str) else item
        if problem.kind != self.kind:
            raise ConfigError(
                f"instance {problem.name!r} is of kind {problem.kind!r}, but {self.kind!r} is needed"
            )
        return problem


def _listed(kind: str, instances: Instances, count: int, seed: int) -> list[str | Problem]:
    if not isinstance(instances, str):
        return list(instances) if isinstance(instances, Sequence) else [instances]
    if "/" in instances or instances.endswith(".json"):
        return [instances]
    if instances not in SPLITS:
        raise ConfigError(
            f"instances is {instances!r}: neither a split nor an instance such as '{kind}/train-s0-0'; "
            + nearest(instances, SPLITS)
        )
    if instances == "heldout-real":
        return [f"{kind}/{name}" for name in import_module(f"foldwright.envs.{kind}.instances").real_names()]
    return [f"{kind}/{instances}-s{seed}-{index}" for index in range(count)]
