"""A design that yosys has mapped to an ECP5 (its JSON), and the netlist of it that a placer takes.

Block RAMs and multipliers are cells of their own; logic is gathered into clusters of one tile, each grown from a cell by
what shares most with it, a net of n pins counting 1 / (n - 1). Nets of many cells (clock, reset) are left out: their length
hardly depends on the placement. Pins and PLLs are left out too.

LUTs of a primitive: a carry cell takes two, a 16 x 4 RAM six (FPGA-TN-02205); multiplexers behind LUTs take none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foldwright.errors import InputError
from foldwright.netlists.fabric import CLUSTER_KIND, Fabric, cluster_capacity
from foldwright.netlists.netlist import Netlist, build_netlist

__all__ = ["LOCKABLE", "MappedDesign", "mapped_netlist", "read_mapped", "top_of"]

LOCKABLE = {"DP16KD": "EBR", "MULT18X18D": "MULT18"}
"""Primitives whose place we decide, and the kind of site that each takes."""

_LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6, "PFUMX": 0, "L6MUX21": 0, "TRELLIS_FF": 0}
_FLIP_FLOP = "TRELLIS_FF"
_MOST_PINS = 200
_NEAR_PINS = 16
_SHOWN = 80
_CONSTANTS = ("0", "1", "x", "z")


@dataclass(frozen=True, eq=False)
class MappedDesign:
    """The whole JSON and the name of the top module; `cells` is part of the JSON."""

    body: dict[str, Any]
    top: str

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        return dict(self.body["modules"][self.top]["cells"])

    @cached_property
    def lockable(self) -> dict[str, str]:
        """The cells whose place we decide, each with the kind of its site, by name."""
        kinds = {name: LOCKABLE.get(cell["type"], "") for name, cell in self.cells.items()}
        return {name: kind for name, kind in sorted(kinds.items(), key=_natural) if kind}

    @cached_property
    def nets(self) -> list[list[str]]:
        """The cells of every net, each once, in the order of their names in the JSON."""
        pins: dict[int, dict[str, None]] = defaultdict(dict)
        for name, cell in self.cells.items():
            for bits in cell["connections"].values():
                for bit in bits:
                    if bit not in _CONSTANTS:
                        pins[bit][name] = None
        return [list(cells) for _, cells in sorted(pins.items())]

    def with_attributes(self, name: str, values: Mapping[str, str]) -> str:
        """Returns the JSON text with an attribute set on the given cells."""
        cells = self.cells
        changed = cells | {
            cell: cells[cell] | {"attributes": cells[cell].get("attributes", {}) | {name: value}}
            for cell, value in values.items()
        }
        module = self.body["modules"][self.top] | {"cells": changed}
        return json.dumps(self.body | {"modules": self.body["modules"] | {self.top: module}})

    def attributes(self, name: str) -> dict[str, str]:
        """Returns an attribute of all cells that have it."""
        found = {cell: x.get("attributes", {}).get(name) for cell, x in self.cells.items()}
        return {cell: value for cell, value in found.items() if value is not None}


def _natural(item: tuple[str, str]) -> list[tuple[int, str]]:
    """Orders `ram.0.2` before `ram.0.10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in item[0].split(".")]


def read_mapped(text: str, top: str, where: str) -> MappedDesign:
    """Returns the design of a JSON text.

    Raises:
        InputError: it is not JSON of yosys, has no such module, or a cell of it is not as yosys writes cells.
    """
    try:
        body = json.loads(text)
        cells = body["modules"][top]["cells"]
        assert isinstance(cells, dict)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise InputError(
            f"{where}: is no JSON of yosys with module {top!r}; run the synthesis again"
        ) from None
    for name, cell in cells.items():
        if not _is_cell(cell):
            raise InputError(
                f"{where}: cell {name[:_SHOWN]!r} needs a type, attributes by name, and connections as lists of bits; "
                "run the synthesis again"
            )
    return MappedDesign(body, top)


def top_of(text: str, where: str) -> str:
    """Returns the name of the top module of a JSON text of yosys: the one with that attribute, or the only one.

    Raises:
        InputError: it is not JSON of yosys, or no module is the top.
    """
    try:
        modules = json.loads(text)["modules"]
        assert isinstance(modules, dict)
        named = [n for n, m in modules.items() if str(m.get("attributes", {}).get("top", "")).strip("0")]
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError):
        raise InputError(f"{where}: is no JSON of yosys; write it with 'write_json'") from None
    if len(named) == 1 or len(modules) == 1:
        return str((named or list(modules))[0])
    raise InputError(
        f"{where}: {len(named)} of {len(modules)} modules have the attribute top; run 'hierarchy -auto-top' before 'write_json'"
    )


def _is_cell(cell: object) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("type"), str):
        return False
    attributes, connections = cell.get("attributes", {}), cell.get("connections")
    return (
        isinstance(attributes, dict)
        and isinstance(connections, dict)
        and all(isinstance(bits, list) and all(map(_is_bit, bits)) for bits in connections.values())
    )


def _is_bit(bit: object) -> bool:
    return bit in _CONSTANTS if isinstance(bit, str) else type(bit) is int


def mapped_netlist(design: MappedDesign, fabric: Fabric) -> Netlist:
    """Returns the netlist: cells that can be locked by their own names, clusters of logic as `logic/N`."""
    owner = {name: name for name in design.lockable}
    clusters = _clusters(design, *cluster_capacity(fabric))
    for k, members in enumerate(clusters):
        owner |= dict.fromkeys(members, f"logic/{k}")
    rows = [(name, kind, "memories") for name, kind in design.lockable.items()]
    rows += [(f"logic/{k}", CLUSTER_KIND, "logic") for k in range(len(clusters))]
    nets = (
        ({owner[cell] for cell in cells if cell in owner}, 1)
        for cells in design.nets
        if len(cells) <= _MOST_PINS
    )
    return build_netlist(design.top, rows, ((sorted(pins), weight) for pins, weight in nets))


def _clusters(design: MappedDesign, most_luts: int, most_ffs: int) -> list[list[str]]:
    """Returns cells of logic gathered into tiles, greedily."""
    logic = {name: cell["type"] for name, cell in design.cells.items() if cell["type"] in _LUTS}
    near: dict[str, list[list[str]]] = defaultdict(list)
    for cells in design.nets:
        joined = [cell for cell in cells if cell in logic]
        if 2 <= len(joined) <= _NEAR_PINS:
            for cell in joined:
                near[cell].append(joined)
    free, clusters = dict.fromkeys(logic), []
    while free:
        first = next(iter(free))
        members: list[str] = []
        luts, ffs, gains = most_luts, most_ffs, {first: 1.0}
        while gains:
            cell = max(gains, key=lambda name: gains[name])
            del gains[cell]
            need, need_ff = _LUTS[logic[cell]], int(logic[cell] == _FLIP_FLOP)
            if need > luts or need_ff > ffs:
                continue
            luts, ffs = luts - need, ffs - need_ff
            members.append(cell)
            del free[cell]
            _add_gains(gains, near[cell], free)
        clusters.append(members)
    return clusters


def _add_gains(gains: dict[str, float], nets: Iterable[list[str]], free: Mapping[str, None]) -> None:
    for net in nets:
        for cell in net:
            if cell in free:
                gains[cell] = gains.get(cell, 0.0) + 1 / (len(net) - 1)
