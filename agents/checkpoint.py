"""What a training keeps between chunks, as bytes: weights, optimizer, counters in one file, labels of a chunk in another.

The files are safetensors with a JSON text in the metadata. One file holds a whole checkpoint, so that weights and counters
never belong to different chunks. Where the bytes go is the business of a `Storage`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from foldwright.agents.imitate import Labels
from foldwright.errors import RunFolderError
from foldwright.jsonform import STRICT, from_json, to_json

__all__ = [
    "ChunkRecord",
    "Counters",
    "Storage",
    "TrainState",
    "labels_bytes",
    "read_labels",
    "read_state",
    "state_bytes",
    "without_times",
]

_KEY = "foldwright"
Tensors = Mapping[str, npt.NDArray[np.float32]]
Phase = Literal["imitation", "ppo", "done"]


class Storage(Protocol):
    """Keeps files by name, each whole or not at all."""

    def read(self, name: str) -> bytes | None:
        """Returns a file, or None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Writes a file; when it returns, the file survives a crash."""


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """How a chunk went: `gap` is the validation gap of its weights, `best_gap` the smallest so far."""

    chunk: int
    phase: Phase
    steps: int
    loss: float
    gap: float
    best_gap: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Counters:
    """What a checkpoint says beside its tensors.

    Attributes:
        chunk: The next chunk.
        steps: Decisions so far.
        averaged: Chunks whose weights are in the average.
        best_from: What the best weights are: "chunk N" or "average of N chunks".
        hashes: Content hashes of the instances trained on, sorted.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.training/1"

    phase: Phase
    chunk: int = 0
    steps: int = 0
    cpu_seconds: float = 0.0
    averaged: int = 0
    best_gap: float | None = None
    best_from: str = ""
    hashes: tuple[str, ...] = ()
    records: tuple[ChunkRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainState:
    """A training between two chunks; every mapping but `optimizer` has the tensors of a policy, or none."""

    counters: Counters
    weights: Tensors
    optimizer: Tensors = field(default_factory=dict)
    average: Tensors = field(default_factory=dict)
    best: Tensors = field(default_factory=dict)

    def count(self, **changes: Any) -> TrainState:
        """Returns the state with other counters."""
        return dataclasses.replace(self, counters=dataclasses.replace(self.counters, **changes))


_GROUPS = ("weights", "optimizer", "average", "best")


def state_bytes(state: TrainState) -> bytes:
    """Returns the file of a checkpoint."""
    tensors = {
        f"{group}/{name}": tensor for group in _GROUPS for name, tensor in getattr(state, group).items()
    }
    return _pack(tensors, to_json(state.counters))


def read_state(raw: bytes, where: str) -> TrainState:
    """Returns a checkpoint from its file.

    Raises:
        RunFolderError: the file is damaged.
    """
    tensors, text = _unpack(raw, where)
    groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        if group not in groups:
            raise _damaged(where, f"tensor {name[:60]!r} is unknown")
        groups[group][rest] = tensor
    return TrainState(from_json(Counters, text, where), **groups)


def labels_bytes(labels: Labels) -> bytes:
    """Returns the file of a chunk's labels."""
    return _pack({f.name: getattr(labels, f.name) for f in dataclasses.fields(Labels)}, "{}")


def read_labels(raw: bytes, where: str) -> Labels:
    """Returns a chunk's labels from their file.

    Raises:
        RunFolderError: the file is damaged.
    """
    tensors, _ = _unpack(raw, where)
    if set(tensors) != {f.name for f in dataclasses.fields(Labels)}:
        raise _damaged(where, "it holds other tensors than labels")
    return Labels(**tensors)


def _pack(tensors: Mapping[str, npt.NDArray[Any]], text: str) -> bytes:
    from safetensors.numpy import save

    return bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, {_KEY: text}))


def _unpack(raw: bytes, where: str) -> tuple[dict[str, Any], str]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(raw)  # checks the header, whose length and text stand first
        text = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"][_KEY]
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(where, str(error)[:200]) from None
    return tensors, text


def _damaged(where: str, why: str) -> RunFolderError:
    return RunFolderError(f"{where}: is damaged: {why}; train into another folder")


def without_times(state: TrainState) -> TrainState:
    """Returns a state with all CPU seconds zero: what a training limited by steps repeats exactly."""
    records = tuple(dataclasses.replace(record, cpu_seconds=0.0) for record in state.counters.records)
    return state.count(cpu_seconds=0.0, records=records)
