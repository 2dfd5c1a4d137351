"""Reads which cells and memories a Verilog design has, by their places in the hierarchy.

For the Verilog that yosys writes (`write_verilog`), where every instance and every memory begins a line of its own; not a
parser of the language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Names", "ports_of", "read_names"]

_NAME = r"(\\\S+|[A-Za-z_][\w$]*)"
_MODULE = re.compile(rf"^module {_NAME}\s*\(")
_INSTANCE = re.compile(rf"^  {_NAME}\s+(?:#\(|{_NAME}\s+\(\s*$)")
_MEMORY = re.compile(rf"^  reg (?:signed )?(?:\[\d+:\d+\] )?{_NAME}\s+\[\d+:\d+\];")
_PORT = re.compile(rf"^  (input|output|inout) (?:\[(\d+):(\d+)\] )?{_NAME}\s*;")


@dataclass(slots=True)
class _Module:
    instances: list[tuple[str, str]] = field(default_factory=list)  # name, module
    memories: list[str] = field(default_factory=list)
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """Places below the top module, parts joined by a slash: of instances of modules, and of memories."""

    cells: frozenset[str]
    memories: frozenset[str]


def read_names(verilog: str, top: str) -> Names:
    """Returns the places of all cells and memories below a module; nothing where it is not there."""
    modules = _modules(verilog)
    cells: set[str] = set()
    memories: set[str] = set()
    for place, module in _walk(modules, top, ""):
        memories |= {place + name for name in module.memories}
        cells |= {place + name for name, kind in module.instances if kind in modules}
    return Names(frozenset(cells), frozenset(memories))


def ports_of(verilog: str, name: str) -> dict[str, tuple[str, int]] | None:
    """Returns direction and bits of a module's ports; None where there is no such module."""
    module = _modules(verilog).get(name)
    return module.ports if module else None


def _walk(modules: dict[str, _Module], name: str, place: str) -> Iterator[tuple[str, _Module]]:
    module = modules.get(name)
    if module is None:
        return
    yield place, module
    for instance, kind in module.instances:
        yield from _walk(modules, kind, f"{place}{instance}/")


def _modules(verilog: str) -> dict[str, _Module]:
    modules: dict[str, _Module] = {}
    current = _Module()
    for line in verilog.splitlines():
        if found := _MODULE.match(line):
            current = modules.setdefault(_bare(found[1]), _Module())
        elif found := _MEMORY.match(line):
            current.memories.append(_bare(found[1]))
        elif found := _PORT.match(line):
            bits = abs(int(found[2]) - int(found[3])) + 1 if found[2] else 1
            current.ports[_bare(found[4])] = (found[1], bits)
        elif (found := _INSTANCE.match(line)) and found[2]:
            current.instances.append((_bare(found[2]), _bare(found[1])))
    return modules


def _bare(name: str) -> str:
    return name.removeprefix("\\")
