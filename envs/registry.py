"""Every instance by name, from a file, or from a split, whatever its problem.

Of the kinds of problems, `folding` has no environment: chains are solved exactly in milliseconds, so nothing is left to
learn. The kinds with one are the keys of `foldwright.envs.ENVIRONMENTS`.

>>> load_instance("tiling/digits-w1a2-b16").kind
'tiling'
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foldwright.envs.generator import SPLITS, split_number
from foldwright.envs.problem import Problem
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import from_json, parse_json, plain, read_text

__all__ = [
    "KINDS",
    "SPLITS",
    "content_hash",
    "instance_names",
    "is_folding_table",
    "load_instance",
    "option_names",
    "split",
]

KINDS = ("allocation", "folding", "placement", "tiling")
_CLASSES = {
    "allocation": "AllocationProblem",
    "folding": "FoldingProblem",
    "placement": "PlacementProblem",
    "tiling": "TilingProblem",
}
_PACKED, _GZIP = ".json.gz", b"\x1f\x8b"
_LOOKED_AT_BYTES = 4096


def _instances(kind: str) -> Any:
    if kind not in KINDS:
        raise ConfigError(f"no problem is named {kind!r}; {nearest(kind, KINDS)}")
    return importlib.import_module(f"foldwright.envs.{kind}.instances")


def instance_names(kind: str = "") -> list[str]:
    """Returns the named instances of a problem, or of all, such as "tiling/cnv-w1a1-b16", sorted."""
    kinds = [kind] if kind else KINDS
    return [f"{k}/{name}" for k in kinds for name in _instances(k).names()]


def load_instance(name_or_path: str | Path, options: Mapping[str, Any] | None = None) -> Problem:
    """Returns an instance by name, from a JSON file that `to_json` wrote, or of a folding table.

    Args:
        options: what makes an instance of a folding table, such as `budget_lut`; other instances have none.

    Raises:
        ConfigError: no instance has this name, or the file is not one; the message has the nearest name.
        InfeasibleError: a file describes an instance without any legal solution.
    """
    text = str(name_or_path)
    known = option_names(text)
    if unknown := sorted(set(options or {}) - set(known)):
        raise ConfigError(
            f"{text}: no option {unknown[0]!r}; {nearest(unknown[0], known) if known else 'instances have none'}"
        )
    if known:
        problem: Problem = _instances("folding").open_table(text, options)
        return problem
    if text.endswith(".json") or Path(text).is_file():
        return _read(text)
    kind, _, name = text.partition("/")
    if kind not in KINDS or not name:
        raise ConfigError(f"no instance is named {text!r}; {nearest(text, instance_names())}")
    problem = _instances(kind).named(name)
    return problem


def option_names(name_or_path: str | Path) -> tuple[str, ...]:
    """Returns the names of the options that `load_instance` takes for an instance: none but for a folding table."""
    return tuple(_instances("folding").OPTION_NAMES) if is_folding_table(name_or_path) else ()


def is_folding_table(path: str | Path) -> bool:
    """Whether a file may be a folding table: what is packed by gzip, or begins as a JSON list."""
    if str(path).endswith(_PACKED):
        return True
    try:
        with Path(path).open("rb") as file:
            begin = file.read(_LOOKED_AT_BYTES).lstrip()
    except OSError:
        return False
    return begin.startswith((_GZIP, b"["))


def _read(path: str) -> Problem:
    text = read_text(path)
    body = parse_json(text, path)
    form = body.get("format") if isinstance(body, dict) else None
    for kind in KINDS:
        cls = getattr(importlib.import_module(f"foldwright.envs.{kind}.problem"), _CLASSES[kind])
        if form == cls.FORMAT:
            problem: Problem = cls.read(text, path) if hasattr(cls, "read") else from_json(cls, text, path)
            return problem
    bits = importlib.import_module("foldwright.envs.allocation.bits").BitsProblem
    if form == bits.FORMAT:
        return from_json(bits, text, path)
    raise ConfigError(
        f"{path}: format is {form!r}, not that of an instance; allowed are "
        + ", ".join(f"'foldwright.{kind}-problem/1'" for kind in (*KINDS, "bits"))
    )


def split(kind: str, name: str, count: int, seed: int = 0) -> Iterator[Problem]:
    """Yields `count` instances of a split; `heldout-real` ends earlier when all of its instances were given.

    Raises:
        ConfigError: no problem or no split has this name.
    """
    instances = _instances(kind)
    split_number(name)
    if name == "heldout-real":
        return iter(instances.real(count, seed))
    return (instances.generated(name, seed, index) for index in range(count))


def content_hash(problem: Problem) -> str:
    """Returns a hash of an instance that does not depend on any name."""
    if problem.kind == "placement":
        body = {"kind": problem.kind, "netlist": problem.content_hash(), "fabric": problem.fabric}  # type: ignore[attr-defined]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    body = {key: value for key, value in plain(problem).items() if key not in ("name", "workload")}
    if not body.get("fuses", True):  # what instances were before they could fuse
        del body["fuses"]
    if problem.kind == "folding":
        body["kind"], body["table"] = problem.kind, problem.content_hash()  # type: ignore[attr-defined]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    body["kind"], body["workload"] = problem.kind, problem.workload.content_hash()  # type: ignore[attr-defined]
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
