"""ZigZag's mappings: its result of a layer (`NAME_complete.json`, ZigZag 3) read as a loop nest, and ours written that way.

ZigZag lists per operand the temporal loops of every memory level, innermost first, and the loops unrolled in space. The last
level is the memory that all operands share, DRAM: loops there lie outside the operand's buffer. Levels between the array and
DRAM are taken as one buffer, for the arrays here have one. The order of loops must be the same for all operands.

ZigZag does not say how fine pieces are moved, and how many copies there are: see `score.best_replay`. A file of ours says it
under `foldwright`.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

from foldwright.accel.loopnest.factors import explicit_loops, unrolled
from foldwright.accel.loopnest.nest import (
    OPERANDS,
    ArrayModel,
    Convolution,
    Dim,
    Loop,
    LoopNest,
    PerOperand,
    Unroll,
)
from foldwright.errors import ConfigError, InputError, nearest
from foldwright.jsonform import parse_json

__all__ = ["ForeignMapping", "read_zigzag", "zigzag_json"]

_LETTERS = {"weights": "W", "inputs": "I", "outputs": "O"}
_PAIR = re.compile(r"\(([A-Z]{1,2}), (\d{1,7})\)")
_RELATION = re.compile(r"I([XY]) = (\d{1,7})\*O([XY]) \+ (\d{1,7})\*F([XY])")
_SPATIAL = (Dim.K, Dim.C, Dim.OX)
_ONE_ONLY = ("B", "G")
_MAX_COVER = 1 << 30
Pairs = list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class ForeignMapping:
    """A mapping that was read; `is_open` where its file does not say steps, copies and halos (then at their least)."""

    nest: LoopNest
    is_open: bool


def read_zigzag(text: str, where: str) -> ForeignMapping:
    """Returns the mapping that a result of ZigZag holds.

    Args:
        where: what the text is, for messages.

    Raises:
        ConfigError: it is damaged, or says what a loop nest here cannot.
    """
    body = parse_json(text, where)
    given = _get(body, "inputs", dict, where)
    where = f"{where}: inputs"
    layer = _convolution(_get(given, "layer", dict, where), f"{where}.layer")
    temporal = _levels(_get(given, "temporal_mapping", dict, where), f"{where}.temporal_mapping")
    spatial = _levels(_get(given, "spatial_mapping", dict, where), f"{where}.spatial_mapping")
    _check_memories(given, temporal, where)
    unroll = _unroll(spatial, temporal, f"{where}.spatial_mapping")
    loops = _loops(layer, unroll, temporal, f"{where}.temporal_mapping")
    outside = PerOperand(**{o: len(temporal[o][-1]) for o in OPERANDS})
    is_open = "foldwright" not in body
    most = max(outside.weights, outside.inputs, outside.outputs)
    steps, copies, halo = (
        (most, PerOperand(1, 1, 1), True) if is_open else _ours(body, where.removesuffix(": inputs"))
    )
    try:
        spread = Unroll(*(unroll[d] for d in _SPATIAL))
        return ForeignMapping(LoopNest(layer, spread, loops, steps, outside, copies, halo), is_open)
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None


def _ours(body: dict[str, Any], where: str) -> tuple[int, PerOperand, bool]:
    """Returns what a file of ours says besides: loops that make the steps, copies, halos."""
    more = _get(body, "foldwright", dict, where)
    where = f"{where}: foldwright"
    copies = _get(more, "copies", list, where)
    if len(copies) != len(OPERANDS) or any(type(c) is not int for c in copies):
        raise ConfigError(
            f"{where}.copies: is {copies!r}, three whole numbers are needed: {', '.join(OPERANDS)}"
        )
    return _get(more, "step_loops", int, where), PerOperand(*copies), _get(more, "halo_reuse", bool, where)


def _get(body: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(body, dict):
        raise ConfigError(f"{where}: is {type(body).__name__}, an object with {key!r} is needed")
    if key not in body:
        raise ConfigError(f"{where}: has no {key!r}; {nearest(key, body)}")
    if not isinstance(body[key], kind) or (kind is int and isinstance(body[key], bool)):
        raise ConfigError(f"{where}.{key}: is {type(body[key]).__name__}, {kind.__name__} is needed")
    return body[key]


def _convolution(body: dict[str, Any], where: str) -> Convolution:
    sizes = {d.value: 1 for d in Dim}
    for name, size in _get(body, "loop_dimensions", dict, where).items():
        at = f"{where}.loop_dimensions.{name}"
        if type(size) is not int:
            raise ConfigError(f"{at}: is {size!r}, a whole number is needed")
        if name in _ONE_ONLY:
            if size != 1:
                raise ConfigError(
                    f"{at}: is {size}, only 1 can be scored: map one image and one group at a time"
                )
        elif name not in sizes:
            raise ConfigError(f"{at}: no loop of a convolution; {nearest(name, sizes)}")
        else:
            sizes[name] = size
    strides = {"X": 1, "Y": 1}
    for text in _get(body, "equation_relations", list, where):
        found = _RELATION.fullmatch(text) if isinstance(text, str) else None
        if not found or len({found[1], found[3], found[5]}) > 1:
            raise ConfigError(f"{where}.equation_relations: {text!r} is not like 'IX = 2*OX + 1*FX'")
        if int(found[4]) != 1:
            raise ConfigError(
                f"{where}.equation_relations: {text!r} has a dilation of {found[4]}, only 1 can be scored"
            )
        strides[found[1]] = int(found[2])
    name = _get(body, "name", str, where)
    try:
        k, c, oy, ox, fy, fx = sizes.values()
        return Convolution(name[:80], k, c, oy, ox, fy, fx, strides["Y"], strides["X"])
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None


def _levels(body: dict[str, Any], where: str) -> dict[str, list[Pairs]]:
    """Returns per operand the loops of each level as (dimension, count)."""
    out = {}
    for operand, letter in _LETTERS.items():
        levels = _get(body, letter, list, where)
        if not 1 <= len(levels) <= 16:
            raise ConfigError(f"{where}.{letter}: has {len(levels)} levels, allowed 1..16")
        out[operand] = [_pairs(level, f"{where}.{letter}[{i}]") for i, level in enumerate(levels)]
    return out


def _pairs(level: Any, where: str) -> Pairs:
    if not isinstance(level, list):
        raise ConfigError(f"{where}: is {type(level).__name__}, a list of loops is needed")
    pairs = []
    for text in level:
        found = _PAIR.fullmatch(text) if isinstance(text, str) else None
        if not found or int(found[2]) < 1:
            raise ConfigError(f"{where}: {text!r} is not a loop like '(K, 4)'")
        if found[1] in _ONE_ONLY and int(found[2]) == 1:
            continue
        if found[1] not in {d.value for d in Dim}:
            raise ConfigError(
                f"{where}: {text!r} is no loop of a convolution; {nearest(found[1], [d.value for d in Dim])}"
            )
        pairs.append((found[1], int(found[2])))
    return pairs


def _check_memories(given: dict[str, Any], temporal: dict[str, list[Pairs]], where: str) -> None:
    """Checks that every operand's last level is the memory that all share."""
    links = _get(_get(given, "layer", dict, where), "memory_operand_links", dict, f"{where}.layer")
    memories = _get(
        _get(given, "accelerator", dict, where), "mem_hierarchy_dict", dict, f"{where}.accelerator"
    )
    last = {}
    for operand, letter in _LETTERS.items():
        link = _get(links, letter, str, f"{where}.layer.memory_operand_links")
        levels = _get(memories, link, list, f"{where}.accelerator.mem_hierarchy_dict")
        if len(levels) != len(temporal[operand]) or len(levels) < 2:
            raise ConfigError(
                f"{where}.temporal_mapping.{letter}: has {len(temporal[operand])} levels, but the accelerator has {len(levels)} "
                f"memories for {operand}; at least a buffer and DRAM are needed, and loops for each"
            )
        last[letter] = str(levels[-1])
    if len(set(last.values())) > 1:
        raise ConfigError(
            f"{where}.accelerator.mem_hierarchy_dict: the last memory is not the same for all operands: {last}"
        )


def _unroll(spatial: dict[str, list[Pairs]], temporal: dict[str, list[Pairs]], where: str) -> dict[Dim, int]:
    flat = {}
    for operand, levels in spatial.items():
        letter = _LETTERS[operand]
        if len(levels) != len(temporal[operand]) + 1:
            needed = len(temporal[operand]) + 1
            raise ConfigError(
                f"{where}.{letter}: has {len(levels)} levels, {needed} are needed: the array's and each memory's"
            )
        if levels[-1]:
            raise ConfigError(f"{where}.{letter}[{len(levels) - 1}]: unrolls DRAM, of which there is one")
        sizes = dict.fromkeys(Dim, 1)
        for name, size in itertools.chain(*levels):
            sizes[Dim(name)] *= size
        flat[operand] = sizes
    first = flat["weights"]
    if any(sizes != first for sizes in flat.values()):
        raise ConfigError(f"{where}: the operands do not unroll the same loops")
    for dim, size in first.items():
        if size > 1 and dim not in _SPATIAL:
            raise ConfigError(
                f"{where}: unrolls {dim.value} by {size}; the arrays here unroll K, C and OX alone"
            )
    return first


def _loops(
    layer: Convolution, unroll: dict[Dim, int], temporal: dict[str, list[Pairs]], where: str
) -> tuple[Loop, ...]:
    """Returns the temporal loops, outermost first, by what one iteration covers."""
    flat = {operand: list(itertools.chain(*levels)) for operand, levels in temporal.items()}
    order = flat["weights"]
    for operand, loops in flat.items():
        if loops != order:
            raise ConfigError(f"{where}.{_LETTERS[operand]}: the loops are not in the order of W's")
    sizes, covered, out = layer.sizes, dict(unroll), []
    for name, count in order:
        dim = Dim(name)
        step = min(covered[dim], sizes[dim])
        covered[dim] = min(covered[dim] * count, _MAX_COVER)
        if -(-min(sizes[dim], covered[dim]) // step) != count:
            raise ConfigError(
                f"{where}: loops over {name} run past its {sizes[dim]}: {count} iterations of {step} are too many"
            )
        out.append(Loop(dim, step))
    for dim, size in sizes.items():
        if covered[dim] < size:
            raise ConfigError(f"{where}: loops over {dim.value} cover {covered[dim]} of {size}")
    return tuple(reversed(out))


def zigzag_json(nest: LoopNest, array: ArrayModel) -> str:
    """Returns a mapping in the form of ZigZag's result, with what ZigZag does not say under `foldwright`.

    Raises:
        ConfigError: a tile is no multiple of what lies inside it.
    """
    layer, loops = nest.convolution, explicit_loops(nest)
    room = array.buffer_bits * 3 if array.is_shared else array.buffer_bits
    memories = {"W": "I2", "I": "I1", "O": "O"}
    buffers = {"W": "weights", "I": "inputs", "O": "outputs"}
    spatial = [f"({dim.value}, {unrolled(nest)[dim]})" for dim in _SPATIAL]
    temporal = {}
    for operand, letter in _LETTERS.items():
        is_out = [loop.place < getattr(nest.outside, operand) for loop in loops]
        texts = [f"({loop.dim.value}, {loop.count})" for loop in loops]
        inner = [t for t, out in zip(texts, is_out, strict=True) if not out]
        temporal[letter] = [inner[::-1], texts[: len(texts) - len(inner)][::-1]]
    inputs = {
        "accelerator": {
            "mem_hierarchy_dict": {memories[x]: [buffers[x], "dram"] for x in memories},
            "mem_size_dict": {memories[x]: [bits] for x, bits in zip(memories, room, strict=True)},
        },
        "layer": {
            "name": layer.name,
            "loop_dimensions": {"B": 1, **{dim.value: size for dim, size in layer.sizes.items()}},
            "equation_relations": [f"IX = {layer.stride_x}*OX + 1*FX", f"IY = {layer.stride_y}*OY + 1*FY"],
            "operand_precision": {
                "W": array.weight_bits,
                "I": array.input_bits,
                "O": array.psum_bits,
                "O_final": array.output_bits,
            },
            "memory_operand_links": memories,
        },
        "spatial_mapping": {letter: [spatial, [], []] for letter in memories},
        "temporal_mapping": temporal,
    }
    ours = {
        "step_loops": sum(loop.place < nest.step_loops for loop in loops),
        "copies": [getattr(nest.copies, operand) for operand in OPERANDS],
        "halo_reuse": nest.halo_reuse,
    }
    return json.dumps({"inputs": inputs, "foldwright": ours}, indent=1) + "\n"
