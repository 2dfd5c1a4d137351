"""What the referee works out from a layer and an engine alone, in plain Python: packing, words, blocks and cycles.

It shares no code with the planner's kernels (`foldwright.accel.mapping`), which have to agree with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.workload import IMAGE, ActKind, Layer, ResultKind, WeightKind, Workload

__all__ = [
    "block_count",
    "lane_writes",
    "least_flush",
    "least_reads",
    "packing_of",
    "row_cycles",
    "tensor_words",
    "weight_words",
    "window_batches",
]

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


def block_count(workload: Workload, layer: Layer, engine: Engine) -> int:
    """Returns the blocks of output channels: those of each group, or of each part that a group of a reader takes."""
    readers = (workload.layers[c] for c in workload.consumers(layer.name))
    groups = (reader.groups for reader in readers if reader.inputs[0] == layer.name)
    parts = math.lcm(layer.groups, *groups)
    return parts * math.ceil(layer.out_channels / parts / engine.dm)


def weight_words(layer: Layer, engine: Engine, blocks: int) -> int:
    pa, _, _, per_block = packing_of(layer, engine)
    return blocks * math.ceil(per_block * min(engine.planes_per_word) / pa)


def lane_writes(workload: Workload, datapath: Datapath, layer: Layer) -> int:
    """Returns the words that a lane writes for a pixel: as many as the reader with the fewest planes a word needs."""
    planes = _planes_of_readers(workload, datapath, layer)
    return math.ceil(layer.out_bits / min(planes)) if planes and layer.result is not ResultKind.RAW else 1


def least_reads(workload: Workload, datapath: Datapath, layer: Layer) -> int:
    """Returns the fewest words that a block reads of what the layer adds: one for each plane group, as its map has them.

    Those who have it as an input on the same engine shape the map, else the layer itself.
    """
    if len(layer.inputs) < 2:
        return 0
    at = datapath.assignment[workload.index[layer.name]]
    added = layer if layer.inputs[1] == IMAGE else workload.layers[workload.index[layer.inputs[1]]]
    readers = [c for c in workload.consumers(added.name) if workload.layers[c].inputs[0] == added.name]
    shaping = [workload.layers[c] for c in readers if datapath.assignment[c] == at and added is not layer]
    return math.ceil(added.out_bits / max(packing_of(x, datapath.engines[at])[0] for x in shaping or [layer]))


def _planes_of_readers(workload: Workload, datapath: Datapath, layer: Layer) -> list[int]:
    """Returns the planes a word of those for whom a layer's map is made: who has it as an input, else who adds it."""
    readers = workload.consumers(layer.name)
    shaping = [c for c in readers if workload.layers[c].inputs[0] == layer.name] or readers
    return [packing_of(workload.layers[c], datapath.engines[datapath.assignment[c]])[0] for c in shaping]


def row_cycles(layer: Layer, engine: Engine, frames: int, writes: int, reads: int) -> int:
    """Returns the cycles of one block over one row of all frames; `writes` of `lane_writes`, `reads` of `least_reads`."""
    _, packed, cycles, _ = packing_of(layer, engine)
    interval = max(cycles + reads, math.ceil(engine.dn / engine.drain_lanes) * writes)
    columns, rows = layer.out_width, math.ceil(frames / engine.dn)
    if engine.lanes is not LaneMode.BATCH:
        columns, rows = math.ceil(layer.out_width / engine.dn), frames
    if not packed:
        return rows * columns * interval
    batches = window_batches(layer, engine)
    later = max(interval, batches[-1])
    return rows * (max(interval, batches[0]) + sum(batches[1:]) + (columns - 1) * later)


def window_batches(layer: Layer, engine: Engine) -> list[int]:
    """Returns how many pixel words of each batch fill the window at a row's start; the last is that of every further column.

    Worked out word by word: a strip moves on by as many words as the stride has phases, and must reach the kernel's last column.
    """
    lanes = 1 if engine.lanes is LaneMode.BATCH else engine.dn
    height, width = layer.kernel
    stride = layer.stride[1]
    words = {
        (column % stride, column // stride // lanes)
        for lane in range(lanes)
        for column in range(lane * stride, lane * stride + width)
    }
    moved = min(stride, width)
    first = len(words) % moved or moved
    return [height * n for n in (first, *[moved] * ((len(words) - first) // moved))]


def least_flush(layer: Layer, engine: Engine, writes: int) -> int:
    """Returns the fewest cycles of a tile besides its blocks: control, unit, drain, threshold search or scaling, writer.

    A unit counts pairs in threes, then three counts into one until three are left. Fills of a window, pooling of other layers
    and thresholds of others come on top.
    """
    unit, rows = 3, math.ceil(engine.dk / 3)
    while rows > 3:
        unit, rows = unit + 1, math.ceil(rows / 3)
    behind = {
        ResultKind.THRESHOLDS: 11 + min(layer.search_bits, 4),
        ResultKind.SCALE_SHIFT: 11 + 7,  # operands, product, sum, three steps of the shift, clip
        ResultKind.RAW: 10,
    }[layer.result]
    return unit + math.ceil(engine.dn / engine.drain_lanes) * writes + behind
