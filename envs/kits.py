"""What learned policies ask of an environment by the name of its problem: its kit, and what its features mean."""

from __future__ import annotations

import hashlib
import importlib
import json
from functools import cache
from typing import Any

from foldwright.envs import ENVIRONMENTS
from foldwright.envs.batch import Kit
from foldwright.errors import ConfigError, nearest

__all__ = ["feature_names", "feature_version", "kit_of"]


def _module(kind: str, name: str) -> Any:
    if kind not in ENVIRONMENTS:
        raise ConfigError(f"no problem is named {kind!r}; {nearest(kind, ENVIRONMENTS)}")
    return importlib.import_module(f"foldwright.envs.{kind}.{name}")


def kit_of(kind: str) -> Kit:
    """Returns what the batched core needs to know of a kind of problem.

    Raises:
        ConfigError: no problem has this name; with the nearest one.
    """
    kit: Kit = getattr(_module(kind, "env"), f"{kind.upper()}_KIT")
    return kit


def feature_names(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of the candidate features and of the context features, in the order of the arrays."""
    kernels = _module(kind, "kernels")
    return tuple(kernels.CANDIDATE_FEATURES), tuple(kernels.CONTEXT_FEATURES)


@cache
def feature_version(kind: str) -> str:
    """Returns a hash of a problem's name and its features' names; a policy only fits the features it learned on."""
    text = json.dumps([kind, *feature_names(kind)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
