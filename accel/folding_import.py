"""Reads folding tables from JSON files, trusting nothing in them; see `foldwright.accel.folding_tables`.

File form: a list, plain or in gzip, of nodes

    {"name": ..., "op": ..., "choices": [[attributes, cycles, LUT, BRAM18, DSP, input bits, output bits], ...]}

with the optional shapes `ishape`, `oshape`, `MW` and `MH`, which describe the node and are checked but not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from foldwright.accel.folding_tables import (
    COLUMNS,
    MAX_CHOICES,
    MAX_NODES,
    FoldingChoice,
    FoldingNode,
    FoldingTable,
)
from foldwright.accel.foreign_json import is_name, kind_of, read_foreign_text, shown
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import parse_json

__all__ = ["MAX_TABLE_BYTES", "read_folding_table"]

MAX_TABLE_BYTES = 16 * 2**20
"""Of the JSON text, unpacked; the table of a network of twenty nodes takes well under one megabyte."""
_SHAPES = ("ishape", "oshape", "MW", "MH")
_MOST_ATTRIBUTES = 32
_SHOWN_MISTAKES = 6
_ENOUGH_MISTAKES = 100
"""A file with so many is not read on: telling millions of them would take more memory than the file."""


def read_folding_table(path: str | Path) -> FoldingTable:
    """Reads a folding table from a `.json` or `.json.gz` file.

    Raises:
        ConfigError: the file cannot be read, is too large or not such a table; with every mistake by node, choice and value.
    """
    where = str(path)
    body = parse_json(read_foreign_text(path, MAX_TABLE_BYTES), where)
    if not isinstance(body, list):
        raise ConfigError(
            f"{where}: is not a folding table: its top level is {kind_of(body)}, but a list of nodes is needed"
        )
    if len(body) > MAX_NODES:
        raise ConfigError(f"{where}: {len(body)} nodes, allowed 1..{MAX_NODES}")
    mistakes: list[str] = []
    nodes = []
    for index, item in enumerate(body):
        node = _node(item, index, mistakes)
        if node is not None:
            nodes.append(node)
        if len(mistakes) > _ENOUGH_MISTAKES:
            break
    if not mistakes:
        try:
            return FoldingTable(tuple(nodes))
        except ConfigError as error:
            mistakes.append(str(error))
    raise ConfigError(_told(where, mistakes))


def _told(where: str, mistakes: list[str]) -> str:
    shown = [f"  {mistake}" for mistake in mistakes[:_SHOWN_MISTAKES]]
    if len(mistakes) > len(shown):
        at_least = "at least " if len(mistakes) > _ENOUGH_MISTAKES else ""
        shown.append(f"  and {at_least}{len(mistakes) - len(shown)} more")
    return "\n".join([f"{where}: is not a sound folding table", *shown])


def _node(item: Any, index: int, mistakes: list[str]) -> FoldingNode | None:
    """Returns a node of the file, or notes what is wrong with it."""
    if not isinstance(item, dict):
        mistakes.append(f"node {index}: is {shown(item)}, not an object with name, op and choices")
        return None
    label = f"node {item['name']!r}" if is_name(item.get("name")) else f"node {index}"
    wrong = list(islice(_node_mistakes(item, label), _ENOUGH_MISTAKES))
    choices = []
    for k, choice in enumerate(item["choices"] if not wrong else ()):
        try:
            choices.append(_choice(choice))
        except ConfigError as error:
            wrong.append(f"{label}, choice {k}: {error}")
            if len(wrong) > _ENOUGH_MISTAKES:
                break
    if not wrong:
        try:
            return FoldingNode(item["name"], item["op"], tuple(choices))
        except ConfigError as error:
            wrong.append(str(error))
    mistakes += wrong
    return None


def _node_mistakes(item: dict[str, Any], label: str) -> Iterator[str]:
    known = ("name", "op", "choices", *_SHAPES)
    for key in item:
        if key not in known:
            yield f"{label}: unknown key {shown(key)}; {nearest(key[:60], known)}"
    for key in ("name", "op"):
        if not isinstance(item.get(key), str):
            yield f"{label}: {key} is {shown(item.get(key))}, needed is a text"
    choices = item.get("choices")
    if not isinstance(choices, list):
        yield f"{label}: choices is {shown(choices)}, needed is a list"
    elif not 1 <= len(choices) <= MAX_CHOICES:
        yield f"{label}: {len(choices)} choices, allowed 1..{MAX_CHOICES}"
    for key in _SHAPES:
        value = item.get(key, 1)
        sizes = value if isinstance(value, list) else [value]
        if not sizes or any(type(size) is not int or size < 1 for size in sizes):
            yield f"{label}: {key} is {shown(value)}, allowed are whole numbers from 1"


def _choice(item: Any) -> FoldingChoice:
    if not isinstance(item, list) or len(item) != 1 + len(COLUMNS):
        raise ConfigError(f"is {shown(item)}, needed is [attributes, {', '.join(COLUMNS)}]")
    attributes, *numbers = item
    if not isinstance(attributes, dict) or len(attributes) > _MOST_ATTRIBUTES:
        raise ConfigError(
            f"attributes are {shown(attributes)}, needed is an object of at most {_MOST_ATTRIBUTES}"
        )
    wrong = [
        f"attribute {shown(name)} is {shown(value)}, needed is a whole number or a text"
        for name, value in attributes.items()
        if type(value) not in (int, str)
    ]
    wrong += [
        f"{name} is {shown(value)}, needed is a whole number"
        for name, value in zip(COLUMNS, numbers, strict=True)
        if type(value) is not int
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))
    return FoldingChoice(tuple(attributes.items()), *numbers)
