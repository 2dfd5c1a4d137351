"""What is placed: cells that need a site of some kind, and the nets that join them.

A netlist is flat. Cells are numbered; a cell's place in the hierarchy is its *group*, a path such as
`engine0/unit3.2`. A net is a set of at least two cells and a weight, the number of its wires; which pin drives is
not kept, since the half perimeter of a net does not depend on it. Nets with identical cells are merged and their
weights added: it is the same cost with three times fewer nets on systolic arrays, and every placer gains.

What it leaves out: pins inside a cell, directions, delays, macros of several sites.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foldwright.errors import InputError, nearest
from foldwright.jsonform import parse_json

if TYPE_CHECKING:
    import networkx

__all__ = ["Netlist", "NetlistError", "build_netlist", "netlist_from_json", "unknown_name"]

_FORMAT = "foldwright.netlist/1"
_KEYS = ("format", "name", "cells", "nets")
_MAX_CELLS = 2**20
_MAX_PINS = 2**24
_MAX_TOTAL_WEIGHT = 2**48
_MAX_NAME = 256
_MAX_JSON_CHARS = 8 * 2**20
_SHOWN_MISTAKES = 6
_SHOWN_NAME = 80
_MAX_COMPARED = 20_000  # names; finding the nearest of more takes seconds

_Int32 = npt.NDArray[np.int32]
_Int64 = npt.NDArray[np.int64]


class NetlistError(InputError, ValueError):
    """A netlist breaks a rule; a ValueError too, so that a reader collects it and goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Netlist:
    """Cells with kinds and groups, and nets as rows of a sparse matrix (CSR); arrays are read-only.

    The cells of net `j` are `net_cells[net_offsets[j]:net_offsets[j + 1]]`, ascending, at least two; no two nets
    have the same cells. `kinds` and `groups` stand in the order in which cells first use them; the group "" is
    the top. Make one with `build_netlist`.
    """

    name: str
    kinds: tuple[str, ...]
    cell_names: tuple[str, ...]
    cell_kind: _Int32  # (cells,), index into kinds
    groups: tuple[str, ...]
    cell_group: _Int32  # (cells,), index into groups
    net_offsets: _Int64  # (nets + 1,)
    net_cells: _Int32  # (pins,), index into cell_names
    net_weights: _Int64  # (nets,)
    _cell_offsets: _Int64 = field(init=False, repr=False)  # (cells + 1,)
    _cell_nets: _Int32 = field(init=False, repr=False)  # (pins,)

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS:
            array: npt.NDArray[Any] = np.array(getattr(self, name), dtype=dtype)
            object.__setattr__(self, name, array)
        wrong = [*_cell_mistakes(self), *_net_mistakes(self)]
        if wrong:
            raise _error(self.name, wrong)
        net_of_pin = np.repeat(np.arange(self.nets, dtype=np.int32), np.diff(self.net_offsets))
        by_cell = np.argsort(self.net_cells, kind="stable")
        counts = np.bincount(self.net_cells, minlength=self.cells)
        object.__setattr__(self, "_cell_offsets", np.concatenate(([0], np.cumsum(counts))).astype(np.int64))
        object.__setattr__(self, "_cell_nets", net_of_pin[by_cell])
        for name, _ in (*_ARRAYS, ("_cell_offsets", None), ("_cell_nets", None)):
            getattr(self, name).setflags(write=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Netlist):
            return NotImplemented
        return self._names() == other._names() and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name, _ in _ARRAYS
        )

    def __hash__(self) -> int:
        return hash((*self._names(), self.net_cells.tobytes()))

    def _names(self) -> tuple[Any, ...]:
        return self.name, self.kinds, self.cell_names, self.groups

    @property
    def cells(self) -> int:
        return len(self.cell_names)

    @property
    def nets(self) -> int:
        return len(self.net_weights)

    @property
    def pins(self) -> int:
        return len(self.net_cells)

    def cells_of(self, net: int) -> _Int32:
        """Returns the cells of a net, ascending."""
        return self.net_cells[self.net_offsets[net] : self.net_offsets[net + 1]]

    def kind_of(self, cell: int) -> str:
        """Returns the kind of site that a cell needs."""
        return self.kinds[self.cell_kind[cell]]

    def by_cell(self) -> tuple[_Int64, _Int32]:
        """Returns the transposed rows: (offsets, nets) with the nets of cell `c` in `nets[offsets[c]:offsets[c + 1]]`."""
        return self._cell_offsets, self._cell_nets

    def count_by_kind(self) -> dict[str, int]:
        """Returns how many cells need a site of each kind, in the order of `kinds`."""
        counts = np.bincount(self.cell_kind, minlength=len(self.kinds))
        return dict(zip(self.kinds, counts.tolist(), strict=True))

    def graph(self) -> networkx.Graph[Any]:
        """Returns the bipartite graph of cells and nets: a cell's node is its name, a net's `("net", j)`."""
        import networkx

        graph = networkx.Graph(name=self.name)
        for cell, name in enumerate(self.cell_names):
            group = self.groups[self.cell_group[cell]]
            graph.add_node(name, bipartite=0, kind=self.kind_of(cell), group=group)
        for net, weight in enumerate(self.net_weights.tolist()):
            graph.add_node(("net", net), bipartite=1, weight=weight)
            graph.add_edges_from((("net", net), self.cell_names[cell]) for cell in self.cells_of(net))
        return graph

    def to_json(self) -> str:
        """Returns the JSON text, a cell or a net a line."""
        cells = [
            [name, self.kind_of(i), self.groups[self.cell_group[i]]] for i, name in enumerate(self.cell_names)
        ]
        nets = [
            [weight, [self.cell_names[cell] for cell in self.cells_of(net)]]
            for net, weight in enumerate(self.net_weights.tolist())
        ]
        rows = {"cells": cells, "nets": nets}
        head = f'{{\n "format": {json.dumps(_FORMAT)},\n "name": {json.dumps(self.name)}'
        parts = [f' "{key}": {_lines(value)}' for key, value in rows.items()]
        return ",\n".join([head, *parts]) + "\n}\n"


_ARRAYS: tuple[tuple[str, type], ...] = (
    ("cell_kind", np.int32),
    ("cell_group", np.int32),
    ("net_offsets", np.int64),
    ("net_cells", np.int32),
    ("net_weights", np.int64),
)


def netlist_from_json(text: str, where: str) -> Netlist:
    """Returns the netlist of a JSON text; `where` says in messages what the text is.

    The rows are read here and not by pydantic, which keeps every mistake of a file: millions of wrong rows would take
    gigabytes.

    Raises:
        ConfigError: the text is not JSON.
        NetlistError: it is of another format, or the netlist breaks a rule.
    """
    if len(text) > _MAX_JSON_CHARS:
        raise NetlistError(f"{where}: {len(text)} characters, more than the {_MAX_JSON_CHARS} allowed")
    body = parse_json(text, where)
    form = body.get("format") if isinstance(body, dict) else None
    if form != _FORMAT:
        shown = reprlib.repr(form)
        raise NetlistError(
            f"{where}: format is {shown}, but {_FORMAT!r} is needed; write the file again with this version"
        )
    wrong = list(islice(_form_mistakes(body), _SHOWN_MISTAKES))
    if wrong:
        raise NetlistError("\n  ".join([f"{where}: not a netlist", *wrong]))
    try:
        return build_netlist(body["name"], body["cells"], ((pins, weight) for weight, pins in body["nets"]))
    except NetlistError as error:
        raise NetlistError(f"{where}: {error}") from None


def _form_mistakes(body: dict[str, Any]) -> Iterator[str]:
    """Yields what is wrong with the shape of a netlist's JSON, row by row."""
    for key in body:
        if key not in _KEYS:
            yield f"{key[:_SHOWN_NAME]}: unknown key; {nearest(key[:_MAX_NAME], _KEYS)}"
    if not _is_name(body.get("name")):
        yield f"name: must be a text of up to {_MAX_NAME} characters"
    for key, is_row, form in (
        ("cells", _is_cell, f"[name, kind, group], texts of up to {_MAX_NAME} characters"),
        ("nets", _is_net, "[weight, [cell, ...]], a whole number and names of cells"),
    ):
        rows = body.get(key)
        if not isinstance(rows, list):
            yield f"{key}: must be a list"
            continue
        for i, row in enumerate(rows):
            if not is_row(row):
                yield f"{key}.{i}: must be {form} (got {reprlib.repr(row)})"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_NAME


def _is_cell(row: object) -> bool:
    return isinstance(row, list) and len(row) == 3 and all(map(_is_name, row))


def _is_net(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 2
        and type(row[0]) is int
        and isinstance(row[1], list)
        and all(isinstance(pin, str) for pin in row[1])
    )


def build_netlist(
    name: str, cells: Iterable[tuple[str, str, str]], nets: Iterable[tuple[Iterable[str | int], int]]
) -> Netlist:
    """Returns a netlist of cells (name, kind, group) and nets (names or numbers of cells, weight).

    Nets with the same cells are merged and their weights added; nets of fewer than two cells are dropped.

    Raises:
        NetlistError: a cell stands twice, a net names an unknown cell, or a weight is below 1; all are named.
    """
    rows = list(cells)
    names = tuple(row[0] for row in rows)
    number = {cell: i for i, cell in enumerate(names)}
    merged: dict[tuple[int, ...], int] = {}
    wrong: list[str] = []
    for j, (pins, weight) in enumerate(nets):
        found = _numbers(f"net {j}", pins, number, wrong)
        if not 1 <= weight <= _MAX_TOTAL_WEIGHT:
            got = str(weight) if len(str(weight)) < 20 else f"a number of {len(str(weight))} characters"
            wrong.append(f"net {j}: weight is {got}, allowed are 1..{_MAX_TOTAL_WEIGHT}")
        elif len(found) > 1:
            merged[found] = merged.get(found, 0) + weight
    if wrong:
        raise _error(name, wrong)
    kinds, cell_kind = _numbered([row[1] for row in rows])
    groups, cell_group = _numbered([row[2] for row in rows])
    offsets = np.cumsum([0, *map(len, merged)], dtype=np.int64)
    flat = np.array([cell for pins in merged for cell in pins], dtype=np.int32)
    weights = np.array([min(w, _MAX_TOTAL_WEIGHT + 1) for w in merged.values()], dtype=np.int64)
    return Netlist(name, kinds, names, cell_kind, groups, cell_group, offsets, flat, weights)


def _numbers(
    net: str, pins: Iterable[str | int], number: dict[str, int], wrong: list[str]
) -> tuple[int, ...]:
    """Returns the cells of a net as ascending numbers; adds unknown ones to `wrong`."""
    found: set[int] = set()
    for pin in pins:
        cell = number.get(pin, -1) if isinstance(pin, str) else pin
        if 0 <= cell < len(number):
            found.add(cell)
        elif len(wrong) < _SHOWN_MISTAKES:
            wrong.append(_unknown_cell(net, pin, number))
        else:
            wrong.append("")
    return tuple(sorted(found))


def _unknown_cell(net: str, pin: str | int, number: dict[str, int]) -> str:
    if isinstance(pin, str):
        return f"{net}: {unknown_name('cell', pin, number)}"
    return f"{net}: cell number {pin} is not one of 0..{len(number) - 1}"


def unknown_name(what: str, name: str, known: Collection[str]) -> str:
    """Returns the message about a name that is not known, with the nearest where there are not too many."""
    shown = repr(name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + "...")
    ending = nearest(name[:_MAX_NAME], known) if len(known) <= _MAX_COMPARED else f"there are {len(known)}"
    return f"no {what} is named {shown}; {ending}"


def _numbered(texts: Sequence[str]) -> tuple[tuple[str, ...], _Int32]:
    """Returns the different texts by first use, and the number of each text among them."""
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return tuple(number), np.array([number[text] for text in texts], dtype=np.int32)


def _error(name: str, wrong: Sequence[str]) -> NetlistError:
    more = len(wrong) - _SHOWN_MISTAKES
    lines = list(wrong[:_SHOWN_MISTAKES]) + ([f"and {more} more"] if more > 0 else [])
    return NetlistError(f"netlist {name!r}: " + "\n  ".join(lines))


def _cell_mistakes(netlist: Netlist) -> list[str]:
    names, wrong = netlist.cell_names, []
    if not names:
        return ["no cells; a netlist has at least one"]
    if len(names) > _MAX_CELLS:
        return [f"{len(names)} cells, allowed are up to {_MAX_CELLS}"]
    seen: set[str] = set()
    for cell in names:
        if cell in seen:
            wrong.append(f"cell {cell!r} stands twice; every cell needs a name of its own")
        elif not 1 <= len(cell) <= _MAX_NAME:
            wrong.append(f"a cell's name has {len(cell)} characters, allowed 1..{_MAX_NAME}")
        seen.add(cell)
    if "" in netlist.kinds:
        wrong.append("a cell's kind is empty; name the kind of site that it needs, such as 'CLB'")
    for what, known, used in (
        ("kinds", netlist.kinds, netlist.cell_kind),
        ("groups", netlist.groups, netlist.cell_group),
    ):
        if used.shape != (len(names),) or list(dict.fromkeys(used.tolist())) != list(range(len(known))):
            wrong.append(f"{what} must be numbered in the order in which the {len(names)} cells use them")
    return wrong


def _net_mistakes(netlist: Netlist) -> list[str]:
    offsets, pins, weights = netlist.net_offsets, netlist.net_cells, netlist.net_weights
    if len(pins) > _MAX_PINS:
        return [f"{len(pins)} pins, allowed are up to {_MAX_PINS}"]
    rows = len(weights) + 1
    if offsets.shape != (rows,) or offsets[0] != 0 or offsets[-1] != len(pins):
        return [f"net_offsets must have {rows} entries from 0 to {len(pins)}"]
    if (np.diff(offsets) < 2).any():
        return [f"net {int(np.argmax(np.diff(offsets) < 2))} has fewer than two cells"]
    if len(pins) and not 0 <= pins.min() <= pins.max() < netlist.cells:
        return [f"a net holds a cell number outside 0..{netlist.cells - 1}"]
    steps = np.diff(pins) > 0
    steps[offsets[1:-1] - 1] = True  # from one net to the next there is no order
    if not steps.all():
        return ["the cells of a net must ascend, none twice"]
    if len(weights) and (weights.min() < 1 or int(weights.astype(object).sum()) > _MAX_TOTAL_WEIGHT):
        return [f"weights must be at least 1 and at most {_MAX_TOTAL_WEIGHT} together"]
    if len({pins[a:b].tobytes() for a, b in pairwise(offsets.tolist())}) != len(weights):
        return ["two nets have the same cells; merge them and add their weights"]
    return []


def _lines(rows: list[list[Any]]) -> str:
    return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]"
