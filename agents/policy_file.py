"""Files of policies: weights as safetensors, and one JSON text in its metadata that says what they are.

A file begins with the length of its header (8 bytes, little-endian), then the header as JSON, then the tensors'
bytes (https://github.com/huggingface/safetensors). Nothing in it is ever run or unpickled. `read_policy_file` takes
no claim of a file on trust: sizes, names, shapes, offsets and values are all checked before they are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.envs import ENVIRONMENTS
from foldwright.envs.kits import feature_names, feature_version
from foldwright.errors import ConfigError, PolicyError, nearest
from foldwright.jsonform import STRICT, from_json, parse_json, to_json

__all__ = [
    "MAX_POLICY_BYTES",
    "MAX_WEIGHT",
    "PolicyCard",
    "Weights",
    "check_weights",
    "policy_bytes",
    "read_policy_file",
    "weight_shapes",
]

MAX_POLICY_BYTES = 5 * 2**20
MAX_WEIGHT = 1000.0
"""With features up to 4, widths up to 512 and up to 4 layers, no sum of such weights leaves the range of float32."""
_METADATA_KEY = "foldwright"
_RANGES = {
    "candidate_features": (1, 256),
    "context_features": (1, 256),
    "width": (1, 512),
    "depth": (1, 4),
    "seed": (0, 2**63 - 1),
    "training_cpu_seconds": (0, 1e12),
}

Weights = Mapping[str, npt.NDArray[np.float32]]
"""The tensors of a policy by name, as `weight_shapes` lists them."""


@dataclass(frozen=True, slots=True)
class PolicyCard:
    """What a policy is and where it comes from.

    Attributes:
        kind: The problem that it decides.
        feature_version: A hash of the names of its input features; see `envs.kits.feature_version`.
        width: Units of every hidden layer.
        depth: Layers that encode a candidate, and layers that encode the context.
        seed: What its training was seeded with.
        training_cpu_seconds: CPU time of its training.
        training_hashes: `content_hash` of every instance that it was trained on.
        recipe: How it was trained, in words.
        versions: Versions of the packages that trained it.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.policy/1"

    kind: str
    feature_version: str
    candidate_features: int
    context_features: int
    width: int = 64
    depth: int = 1
    seed: int = 0
    training_cpu_seconds: float = 0.0
    training_hashes: tuple[str, ...] = ()
    recipe: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ENVIRONMENTS:
            raise ConfigError(f"policy: kind is {self.kind!r}; {nearest(self.kind, ENVIRONMENTS)}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"policy: {name} is {value}, allowed is {low} to {high}")

    @staticmethod
    def of_kind(kind: str, **fields: Any) -> PolicyCard:
        """Returns the card of a policy for an environment as it is now."""
        candidate, context = feature_names(kind)
        return PolicyCard(kind, feature_version(kind), len(candidate), len(context), **fields)


def weight_shapes(card: PolicyCard) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor of a policy; a weight is (outputs, inputs)."""
    width, shapes = card.width, dict[str, tuple[int, ...]]()
    for part, features in (("phi", card.candidate_features), ("psi", card.context_features)):
        for layer in range(card.depth):
            shapes[f"{part}.{layer}.weight"] = (width, width if layer else features)
            shapes[f"{part}.{layer}.bias"] = (width,)
    shapes |= {"head.weight": (width, 4 * width), "head.bias": (width,), "score.weight": (1, width)}
    shapes |= {"value_head.weight": (width, 3 * width), "value_head.bias": (width,)}
    return shapes | {"value.weight": (1, width), "value.bias": (1,)}


def check_weights(card: PolicyCard, weights: Weights, where: str) -> None:
    """Checks names, shapes, types and values of a policy's tensors.

    Raises:
        PolicyError: with the first tensor that is wrong, and how.
    """
    shapes = weight_shapes(card)
    _check_names(set(weights), set(shapes), where)
    for name, shape in shapes.items():
        tensor = weights[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise PolicyError(
                f"{where}: tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, needed is float32 {list(shape)}"
            )
        if not np.isfinite(tensor).all():
            bad = tensor.size - int(np.isfinite(tensor).sum())
            raise PolicyError(
                f"{where}: tensor {name!r} holds {bad} values that are NaN or infinite; train again"
            )
        if np.abs(tensor).max() > MAX_WEIGHT:
            raise PolicyError(
                f"{where}: tensor {name!r} holds {np.abs(tensor).max():g}, allowed is up to {MAX_WEIGHT:g}; "
                "its training diverged"
            )


def _check_names(got: set[str], needed: set[str], where: str) -> None:
    if missing := sorted(needed - got):
        raise PolicyError(f"{where}: tensor {missing[0]!r} is missing ({len(missing)} of {len(needed)} are)")
    if extra := sorted(got - needed):
        raise PolicyError(f"{where}: tensor {extra[0][:60]!r} is unknown; {nearest(extra[0][:60], needed)}")


def policy_bytes(card: PolicyCard, weights: Weights) -> bytes:
    """Returns the file of a policy; write it whole or not at all.

    Raises:
        PolicyError: the weights do not fit the card, or are not numbers.
    """
    from safetensors.numpy import save

    check_weights(card, weights, f"policy for {card.kind!r}")
    tensors = {name: np.ascontiguousarray(weights[name]) for name in weight_shapes(card)}
    raw: bytes = save(tensors, metadata={_METADATA_KEY: to_json(card)})
    if len(raw) > MAX_POLICY_BYTES:
        raise PolicyError(
            f"policy for {card.kind!r}: {len(raw)} bytes, more than the {MAX_POLICY_BYTES} allowed"
        )
    return raw


def read_policy_file(path: str | Path) -> tuple[PolicyCard, Weights]:
    """Returns card and weights of a policy file, all checked.

    Raises:
        PolicyError: the file cannot be read, is none of ours, damaged, or for other features than those of now.
    """
    where, raw = str(path), _read_bytes(Path(path))
    header, data = _split(raw, where)
    card = _card(header.pop("__metadata__", None), where)
    shapes = weight_shapes(card)
    _check_names(set(header), set(shapes), where)
    spans = {name: _span(header[name], name, shape, where) for name, shape in shapes.items()}
    _check_cover(sorted(spans.values()), len(data), where)
    weights = {
        name: np.frombuffer(data[begin:end], dtype="<f4").reshape(shapes[name]).astype(np.float32)
        for name, (begin, end) in spans.items()
    }
    check_weights(card, weights, where)
    return card, weights


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise PolicyError(
                f"{path}: is {'no file' if path.exists() else 'missing'}; give a .safetensors file"
            )
        with path.open("rb") as file:
            raw = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_POLICY_BYTES:
        raise PolicyError(f"{path}: is larger than the {MAX_POLICY_BYTES} bytes that a policy may have")
    return raw


def _split(raw: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    """Returns the header and the tensors' bytes."""
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 10 or length > len(raw) - 8:
        # a good header's length may begin like these two, but then it fits; theirs, read as one, never does
        if raw[:2] == b"PK" or raw[:1] == b"\x80":
            raise PolicyError(
                f"{where}: is a zip archive or a pickle, which may run code when read and never is; "
                "export the policy as safetensors"
            )
        raise PolicyError(
            f"{where}: is no safetensors file or was cut short: "
            f"its header should have {length} bytes, {max(0, len(raw) - 8)} are there"
        )
    try:
        header = parse_json(raw[8 : 8 + length].decode("utf-8"), where)
    except UnicodeDecodeError:
        raise PolicyError(f"{where}: is no safetensors file: its header is not UTF-8 text") from None
    except ConfigError as error:
        raise PolicyError(f"{where}: is no safetensors file: its header is {_after(error, where)}") from None
    if not isinstance(header, dict):
        raise PolicyError(f"{where}: is no safetensors file: its header is no JSON object")
    return header, raw[8 + length :]


def _after(error: ConfigError, where: str) -> str:
    return str(error).removeprefix(f"{where}: ")[:300]


def _card(metadata: Any, where: str) -> PolicyCard:
    text = metadata.get(_METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise PolicyError(
            f"{where}: is a safetensors file, but not of a policy: it has no {_METADATA_KEY!r} text"
        )
    try:
        card = from_json(PolicyCard, text, where)
    except ConfigError as error:
        raise PolicyError(str(error)) from None
    if card.feature_version != feature_version(card.kind):
        raise PolicyError(
            f"{where}: was trained on features {card.feature_version[:40]!r} of {card.kind!r}, "
            f"but this version has {feature_version(card.kind)!r}; train it again"
        )
    sizes = tuple(len(names) for names in feature_names(card.kind))
    if sizes != (card.candidate_features, card.context_features):
        raise PolicyError(
            f"{where}: takes {card.candidate_features} candidate and {card.context_features} context features, "
            f"but {card.kind!r} has {sizes[0]} and {sizes[1]}"
        )
    return card


def _span(entry: Any, name: str, shape: tuple[int, ...], where: str) -> tuple[int, int]:
    """Returns where a tensor's bytes begin and end, its entry being as it must."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise PolicyError(f"{where}: tensor {name!r} needs exactly dtype, shape and data_offsets")
    if entry["dtype"] != "F32" or entry["shape"] != list(shape):
        got = f"{entry['dtype']} {entry['shape']}"
        raise PolicyError(f"{where}: tensor {name!r} is {got[:80]}, needed is F32 {list(shape)}")
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(at) is not int for at in offsets):
        raise PolicyError(
            f"{where}: tensor {name!r}: data_offsets are {str(offsets)[:80]}, needed are two numbers"
        )
    if offsets[0] < 0 or offsets[1] - offsets[0] != 4 * math.prod(shape):
        raise PolicyError(
            f"{where}: tensor {name!r} claims bytes {offsets[0]} to {offsets[1]}, needed are {4 * math.prod(shape)}"
        )
    return offsets[0], offsets[1]


def _check_cover(spans: list[tuple[int, int]], length: int, where: str) -> None:
    """Refuses tensors that overlap or leave bytes over."""
    at = 0
    for begin, end in spans:
        if begin != at:
            raise PolicyError(
                f"{where}: tensors overlap or leave a hole at byte {min(at, begin)} of the data"
            )
        at = end
    if at != length:
        raise PolicyError(f"{where}: tensors need {at} bytes, {length} are there; the file is damaged")
