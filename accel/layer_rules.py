"""What the referee works out from a layer and an engine alone, in plain Python: packing, words, blocks and cycles.

It shares no code with the planner's kernels (`foldwright.accel.mapping`), which have to agree with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from foldwright.accel.datapath import Arithmetic, Engine, LaneMode
from foldwright.accel.workload import IMAGE, ActKind, Layer, ResultKind, WeightKind

__all__ = ["block_count", "packing_of", "row_cycles", "tensor_words", "weight_words"]

_PLANES: dict[Arithmetic, dict[WeightKind, Callable[[int], int]]] = {
    Arithmetic.XNOR: {
        WeightKind.BINARY: lambda b: 1,
        WeightKind.TERNARY: lambda b: 2,
        WeightKind.ODD: lambda b: b,
    },
    Arithmetic.AND: {
        WeightKind.BINARY: lambda b: 2,
        WeightKind.TERNARY: lambda b: 2,
        WeightKind.ODD: lambda b: b + 1,
        WeightKind.SIGNED: lambda b: b,
    },
}


def packing_of(layer: Layer, engine: Engine) -> tuple[int, bool, int, int]:
    """Returns (planes per word, taps packed, block cycles, weight words a block) of the quickest way."""
    is_and = engine.arithmetic is Arithmetic.AND
    planes = _PLANES[engine.arithmetic][layer.weight_kind](layer.weight_bits)
    channels = layer.in_channels // layer.groups
    fits = layer.inputs[0] == IMAGE and layer.groups == 1 and layer.taps > 1
    fits = fits and channels * layer.taps * layer.act_bits <= engine.window_bits
    ways = []
    distinct = 1 if planes == 2 and layer.weight_kind is WeightKind.TERNARY and not is_and else planes
    for pa in engine.planes_per_word:
        if pa > 1 and layer.act_kind is ActKind.SIGNED and max(layer.padding) > 0:
            continue
        groups = math.ceil(layer.act_bits / pa)
        idle = (groups - 1) * max(0, pa - distinct)
        plain = layer.taps * math.ceil(channels / (engine.dk // pa))
        ways.append((planes * groups * plain + idle, pa, False, planes * plain))
        if fits:
            taps_in_words = math.ceil(channels * layer.taps / (engine.dk // pa))
            ways.append((planes * groups * taps_in_words + idle, pa, True, planes * taps_in_words))
    cycles, pa, packed, words = min(ways)
    return pa, packed, cycles, words


def tensor_words(layer: Layer, engine: Engine, frames: int) -> int:
    """Returns the words of a layer's whole input in the memory of its engine."""
    pa, *_ = packing_of(layer, engine)
    groups = layer.groups
    per_pixel = (
        groups * math.ceil(layer.in_channels / groups / (engine.dk // pa)) * math.ceil(layer.act_bits / pa)
    )
    if engine.lanes is LaneMode.BATCH:
        return per_pixel * layer.in_height * layer.in_width * math.ceil(frames / engine.dn)
    columns = math.ceil((layer.in_width + layer.padding[1]) / layer.stride[1])
    return per_pixel * layer.in_height * layer.stride[1] * math.ceil(columns / engine.dn) * frames


def block_count(layer: Layer, engine: Engine) -> int:
    return layer.groups * math.ceil(layer.out_channels / layer.groups / engine.dm)


def weight_words(layer: Layer, engine: Engine, blocks: int) -> int:
    pa, _, _, per_block = packing_of(layer, engine)
    return blocks * math.ceil(per_block * min(engine.planes_per_word) / pa)


def row_cycles(layer: Layer, engine: Engine, frames: int) -> int:
    """Returns the cycles of one block over one row."""
    pa, _, cycles, _ = packing_of(layer, engine)
    writes = 1 if layer.result is ResultKind.RAW else math.ceil(layer.out_bits / pa)
    extra = writes if len(layer.inputs) > 1 else 0
    interval = max(cycles + extra, math.ceil(engine.dn / engine.drain_lanes) * writes)
    if engine.lanes is LaneMode.BATCH:
        return layer.out_width * math.ceil(frames / engine.dn) * interval
    return frames * math.ceil(layer.out_width / engine.dn) * interval
