"""FINN's folding configurations: read, matched to the choices of a folding table, written.

File form: a JSON object with an object of attributes for every node, and under "Defaults" what holds for kinds of nodes:
`{"Defaults": {"ram_style": ["block", ["MVAU_hls"]]}, "MVAU_hls_0": {"PE": 16, "SIMD": 3}, ...}`; instead of a list of kinds "all"
may stand, and further pairs of value and kinds may follow.

What a configuration leaves open is what FINN takes (`FINN_DEFAULTS`; the buffers of window generators are distributed). The
value "auto" leaves the choice to the vendor's tool; FINN's estimators count it as block RAM for `ram_style` and as LUTs for
`resType`, and so does this module. Attributes that do not enter a table's estimates (FIFO depths and the like) are told in
notes; unknown ones are refused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from foldwright.accel.folding_tables import FoldingNode, FoldingTable
from foldwright.accel.foreign_json import is_name, kind_of, read_foreign_text, shown
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import parse_json

__all__ = [
    "FINN_DEFAULTS",
    "FoldingConfig",
    "MatchedFolding",
    "match_folding",
    "read_folding_config",
    "write_folding_config",
]

MAX_CONFIG_BYTES = 2**20
FINN_DEFAULTS: Mapping[str, int | str] = MappingProxyType(
    {"PE": 1, "SIMD": 1, "parallel_window": 0, "ram_style": "auto", "resType": "auto"}
)
"""The value of an attribute that a configuration does not give."""
_AUTO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"ram_style": ("auto", "block", "distributed"), "resType": ("auto", "lut", "dsp")}
)
"""What "auto" is counted as: the first of these that a node offers."""
_MEMORY_MODES = ("internal_decoupled", "decoupled")
"""What estimates of tables assume: weights that stream from a memory beside the array. The second is its older name."""
_NOT_ESTIMATED = (
    "inFIFODepths", "outFIFODepths", "depth", "depth_trigger_bram", "depth_trigger_uram", "impl_style",
    "preferred_impl_style", "ram_style_thresholds", "runtime_writeable_weights", "slr", "mem_port", "partition_id",
    "device_id",
)  # fmt: skip
_WINDOWS = "ConvolutionInputGenerator"
_DEFAULTS = "Defaults"
_SHOWN_MISTAKES = 6
_LARGEST_VALUE = 2**40


@dataclass(frozen=True)
class FoldingConfig:
    """A configuration as read: attributes by node, and (name, value, kinds of nodes) of defaults; no kinds stand for all."""

    where: str
    nodes: Mapping[str, Mapping[str, Any]]
    defaults: tuple[tuple[str, Any, tuple[str, ...]], ...]

    def given(self, node: FoldingNode) -> dict[str, Any]:
        """Returns what the configuration says of a node; its own attributes come before defaults."""
        general = {name: value for name, value, kinds in self.defaults if not kinds or node.op in kinds}
        return {**general, **self.nodes.get(node.name, {})}


@dataclass(frozen=True, slots=True)
class MatchedFolding:
    """The choices of a table that a configuration means, by their positions in the nodes, and what had to be assumed."""

    positions: tuple[int, ...]
    notes: tuple[str, ...]


def read_folding_config(path: str | Path) -> FoldingConfig:
    """Reads a configuration.

    Raises:
        ConfigError: the file cannot be read or is not one; with every mistake by node, attribute and value.
    """
    where = str(path)
    body = parse_json(read_foreign_text(path, MAX_CONFIG_BYTES), where)
    if not isinstance(body, dict):
        raise ConfigError(
            f"{where}: is not a folding configuration: its top level is {kind_of(body)}, but an object of nodes is needed"
        )
    wrong = list(_mistakes(body))
    if wrong:
        raise ConfigError(_told(f"{where}: is not a sound folding configuration", wrong))
    defaults = tuple(
        (name, value, () if kinds == "all" else tuple(kinds))
        for name, pairs in body.get(_DEFAULTS, {}).items()
        for value, kinds in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return FoldingConfig(where, {k: v for k, v in body.items() if k != _DEFAULTS}, defaults)


def _told(headline: str, wrong: Sequence[str]) -> str:
    more = [f"  and {len(wrong) - _SHOWN_MISTAKES} more"] if len(wrong) > _SHOWN_MISTAKES else []
    return "\n".join([headline, *(f"  {text}" for text in wrong[:_SHOWN_MISTAKES]), *more])


def _mistakes(body: dict[str, Any]) -> Iterator[str]:
    for node, attributes in body.items():
        if not is_name(node):
            yield f"node {shown(node)}: is not a printable name"
        elif not isinstance(attributes, dict):
            yield f"node {node!r}: is {shown(attributes)}, needed is an object of attributes"
        elif node == _DEFAULTS:
            yield from _wrong_defaults(attributes)
        else:
            yield from _wrong_attributes(f"node {node!r}", attributes)


def _wrong_defaults(defaults: dict[str, Any]) -> Iterator[str]:
    for name, pairs in defaults.items():
        if not isinstance(pairs, list) or not pairs or len(pairs) % 2:
            yield f"{_DEFAULTS}: {shown(name)} is {shown(pairs)}, needed is [value, kinds of nodes, ...]"
            continue
        for value, kinds in zip(pairs[::2], pairs[1::2], strict=True):
            if kinds != "all" and not (isinstance(kinds, list) and kinds and all(map(is_name, kinds))):
                yield f'{_DEFAULTS}: {shown(name)} is for {shown(kinds)}, needed is "all" or a list of kinds of nodes'
            yield from _wrong_attributes(_DEFAULTS, {name: value})


def _wrong_attributes(where: str, attributes: dict[str, Any]) -> Iterator[str]:
    known = (*FINN_DEFAULTS, "mem_mode", *_NOT_ESTIMATED)
    for name, value in attributes.items():
        if name not in known:
            yield f"{where}: unknown attribute {shown(name)}; {nearest(name[:60], known)}"
        elif name == "mem_mode" and value not in _MEMORY_MODES:
            yield f"{where}: mem_mode is {shown(value)}, but tables estimate {_MEMORY_MODES[0]!r} alone"
        elif name in FINN_DEFAULTS:
            default = FINN_DEFAULTS[name]
            if type(value) is not type(default):
                yield f"{where}: {name} is {shown(value)}, needed is {kind_of(default)} such as {default!r}"
            elif isinstance(value, int) and not 0 <= value <= _LARGEST_VALUE:
                yield f"{where}: {name} is {value}, allowed 0..{_LARGEST_VALUE}"


def match_folding(config: FoldingConfig, table: FoldingTable) -> MatchedFolding:
    """Returns the choices of a table that a configuration means.

    Raises:
        ConfigError: the configuration names a node that the table has not, or values that no choice of a node has.
    """
    names = [node.name for node in table.nodes]
    wrong = [
        f"node {name!r}: is not in the table; {nearest(name, names)}"
        for name in config.nodes
        if name not in names
    ]
    notes: dict[str, list[str]] = defaultdict(list)
    positions = []
    for node in table.nodes:
        try:
            positions.append(_match(node, config, notes))
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError(_told(f"{config.where}: does not suit the folding table", wrong))
    return MatchedFolding(
        tuple(positions), tuple(f"{what}: {_listed(nodes)}" for what, nodes in notes.items())
    )


def _listed(nodes: list[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes, {nodes[0]} first"


def _default(node: FoldingNode, name: str) -> int | str | None:
    """Returns the value that FINN gives an attribute; None of attributes that this module does not know."""
    if name == "ram_style" and node.op.startswith(_WINDOWS):
        return "distributed"
    return FINN_DEFAULTS.get(name)


def _match(node: FoldingNode, config: FoldingConfig, notes: dict[str, list[str]]) -> int:
    """Returns the choice of a node that a configuration means, and notes what was assumed."""
    given, used = config.given(node), [name for name, _ in node.choices[0].attributes]
    _refuse_unused(node, given, used)
    for name in _NOT_ESTIMATED:
        if name in given:
            notes[f"{name} does not enter the estimates"].append(node.name)
    wanted = {name: given.get(name, _default(node, name)) for name in used}
    matching = [
        k
        for k, choice in enumerate(node.choices)
        if all(wanted.get(n) == v or (wanted.get(n) == "auto" and n in _AUTO) for n, v in choice.attributes)
    ]
    if not matching:
        raise ConfigError(_no_choice(node, wanted))
    best = min(matching, key=lambda k: [_rank(name, value) for name, value in node.choices[k].attributes])
    counted = dict(node.choices[best].attributes)
    for name in used if len(node.choices) > 1 else ():
        if wanted[name] == "auto" and counted[name] != "auto":
            notes[f"{name} auto is counted as {counted[name]}, as FINN's estimators do"].append(node.name)
        elif name not in given:
            notes[f"{name} is not given, FINN's default is {counted[name]}"].append(node.name)
    return best


def _refuse_unused(node: FoldingNode, given: Mapping[str, Any], used: Sequence[str]) -> None:
    for name, value in given.items():
        if name in FINN_DEFAULTS and name not in used and value not in (_default(node, name), "auto"):
            offered = f"the table has {', '.join(used)}" if used else "the table has one choice for it"
            raise ConfigError(f"node {node.name!r}: is not folded by {name} (here {shown(value)}); {offered}")


def _rank(name: str, value: int | str) -> int:
    """Returns how soon "auto" is counted as a value; 0 for attributes that know no "auto"."""
    order: tuple[int | str, ...] = _AUTO.get(name, ())
    return order.index(value) if value in order else len(order)


def _no_choice(node: FoldingNode, wanted: Mapping[str, Any]) -> str:
    text = " ".join(f"{name}={value}" for name, value in wanted.items())
    for name, value in wanted.items():
        values = sorted({v for c in node.choices for n, v in c.attributes if n == name}, key=str)
        numbers = sorted(v for v in values if isinstance(v, int))
        if value != "auto" and value not in values:
            listed = ", ".join(map(str, (numbers or values)[:24]))
            return f"node {node.name!r}: {name} is {shown(value)}, the table has {listed}"
    return f"node {node.name!r}: no choice of the table is {text}, though each value by itself is in one"


def write_folding_config(table: FoldingTable, positions: Sequence[int]) -> str:
    """Returns the JSON text of the configuration that takes these choices; reading it gives them back."""
    body: dict[str, Any] = {_DEFAULTS: {}}
    for node, position in zip(table.nodes, positions, strict=True):
        attributes = dict(node.choices[position].attributes)
        if attributes:
            body[node.name] = attributes
    return json.dumps(body, indent=2) + "\n"
