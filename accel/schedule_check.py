"""The independent referee of schedules: plain Python on the values, no kernel of the simulator or the planner.

It works out again, from the layer shapes alone, what must be on chip and for how long, how long each tile computes and
what moves over the DRAM port, and refuses a schedule that breaks one of these. It never says how to do better.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise

from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.schedule import LayerDecision, MemoryBlock, Schedule, TileEvent
from foldwright.accel.workload import IMAGE, ActKind, Layer, ResultKind, WeightKind, Workload
from foldwright.errors import IllegalSolutionError
from foldwright.netlists.part import Part

__all__ = ["check_schedule"]

_MEMORIES = ("weights", "maps", "line")
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


def check_schedule(
    workload: Workload, datapath: Datapath, part: Part, schedule: Schedule, pool_bram36: int
) -> None:
    """Checks a schedule.

    Raises:
        IllegalSolutionError: with the first rule that it breaks.
    """
    if [d.layer for d in schedule.decisions] != [layer.name for layer in workload.layers]:
        raise IllegalSolutionError("schedule: the decisions are not those of the workload's layers, in order")
    _check_overlaps(schedule.blocks)
    _check_sizes(workload, datapath, schedule)
    _check_pool(datapath, part, schedule, pool_bram36)
    _check_port(schedule.events)
    _check_engines(workload, datapath, schedule)
    _check_total(workload, datapath, schedule)


def _check_overlaps(blocks: Iterable[MemoryBlock]) -> None:
    by_memory = defaultdict(list)
    for block in blocks:
        by_memory[block.engine, block.memory].append(block)
    for (engine, memory), group in by_memory.items():
        for i, a in enumerate(group):
            for b in group[:i]:
                apart = a.address + a.words <= b.address or b.address + b.words <= a.address
                if not apart and set(a.slots) & set(b.slots):
                    raise IllegalSolutionError(
                        f"schedule: engine {engine}, {memory} memory: {a.holds} of {a.layer!r} at {a.address}..{a.address + a.words - 1} "
                        f"overlaps {b.holds} of {b.layer!r} at {b.address}..{b.address + b.words - 1}"
                    )


def _planes_per_word(layer: Layer, engine: Engine) -> tuple[int, bool, int, int]:
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


def _tensor_words(layer: Layer, engine: Engine, frames: int) -> int:
    """Returns the words of a layer's whole input in the memory of its engine."""
    pa, *_ = _planes_per_word(layer, engine)
    groups = layer.groups
    per_pixel = (
        groups * math.ceil(layer.in_channels / groups / (engine.dk // pa)) * math.ceil(layer.act_bits / pa)
    )
    if engine.lanes is LaneMode.BATCH:
        return per_pixel * layer.in_height * layer.in_width * math.ceil(frames / engine.dn)
    columns = math.ceil((layer.in_width + layer.padding[1]) / layer.stride[1])
    return per_pixel * layer.in_height * layer.stride[1] * math.ceil(columns / engine.dn) * frames


def _block_count(layer: Layer, engine: Engine) -> int:
    return layer.groups * math.ceil(layer.out_channels / layer.groups / engine.dm)


def _weight_words(layer: Layer, engine: Engine, blocks: int) -> int:
    pa, _, _, per_block = _planes_per_word(layer, engine)
    return blocks * math.ceil(per_block * min(engine.planes_per_word) / pa)


def _check_sizes(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that whatever a layer reads or keeps has a block that is large enough and lives long enough."""
    slots, counts = _slots(datapath)
    held = {(b.engine, b.holds, b.layer): b for b in schedule.blocks}
    for i, (layer, decision) in enumerate(zip(workload.layers, schedule.decisions, strict=True)):
        e = datapath.assignment[i]
        engine = datapath.engines[e]
        blocks = _block_count(layer, engine)
        _check_tile(layer, decision, blocks)
        copies = 1 if decision.weights_pinned or decision.tile_blocks >= blocks else 2
        here = blocks if decision.weights_pinned else decision.tile_blocks
        every = set(range(counts[e]))
        during = every if decision.weights_pinned else {slots[i]}
        _need(held, (e, "weights", layer.name), copies * _weight_words(layer, engine, here), during)
        _need_input(workload, datapath, schedule, held, i, slots[i])
        if decision.output_on_chip:
            for c in workload.consumers(layer.name):
                _need_tensor(workload, datapath, held, i, c, slots, counts)


def _need_input(
    workload: Workload,
    datapath: Datapath,
    schedule: Schedule,
    held: dict[tuple[int, str, str], MemoryBlock],
    i: int,
    slot: int,
) -> None:
    layer, decision, e = workload.layers[i], schedule.decisions[i], datapath.assignment[i]
    producer = workload.index[layer.inputs[0]]
    if producer >= 0 and schedule.decisions[producer].output_on_chip:
        return
    engine = datapath.engines[e]
    rows = layer.in_height
    if decision.tile_rows < layer.out_height:
        rows = min(rows, (2 * decision.tile_rows - 1) * layer.stride[0] + layer.kernel[0])
    if _planes_per_word(layer, engine)[1]:
        batch = engine.lanes is LaneMode.BATCH
        columns = layer.in_width if batch else math.ceil(layer.in_width / engine.dn) * datapath.batch_frames
        words = rows * columns * (math.ceil(datapath.batch_frames / engine.dn) if batch else 1)
    else:
        words = rows * (_tensor_words(layer, engine, datapath.batch_frames) // layer.in_height)
    _need(held, (e, "input", layer.name), words, {slot})


def _need_tensor(
    workload: Workload, datapath: Datapath, held: dict[tuple[int, str, str], MemoryBlock], i: int, consumer: int,
    slots: list[int], counts: list[int],
) -> None:  # fmt: skip
    e, here = datapath.assignment[consumer], datapath.assignment[i]
    reader = workload.layers[consumer]
    if workload.index[reader.inputs[0]] != i:
        return  # a residual operand is laid out as the reader's results, checked through its block's lifetime only
    words = _tensor_words(reader, datapath.engines[e], datapath.batch_frames)
    during = set(range(slots[i], slots[consumer] + 1)) if e == here else set(range(counts[e]))
    _need(held, (e, "tensor", workload.layers[i].name), words * (1 if e == here else 2), during)


def _need(
    held: dict[tuple[int, str, str], MemoryBlock], key: tuple[int, str, str], words: int, during: set[int]
) -> None:
    block = held.get(key)
    if block is None or block.words < words or not during <= set(block.slots):
        got = "no block" if block is None else f"{block.words} words in slots {block.slots}"
        raise IllegalSolutionError(
            f"schedule: {key[1]} of {key[2]!r} needs {words} words on engine {key[0]} in slots {tuple(sorted(during))}, has {got}"
        )


def _slots(datapath: Datapath) -> tuple[list[int], list[int]]:
    counts = [0] * len(datapath.engines)
    slots = []
    for e in datapath.assignment:
        slots.append(counts[e])
        counts[e] += 1
    return slots, counts


def _check_tile(layer: Layer, decision: LayerDecision, blocks: int) -> None:
    wrong = []
    if not 1 <= decision.tile_blocks <= blocks:
        wrong.append(f"tile_blocks is {decision.tile_blocks}, allowed 1..{blocks}")
    if not 1 <= decision.tile_rows <= layer.out_height:
        wrong.append(f"tile_rows is {decision.tile_rows}, allowed 1..{layer.out_height}")
    if decision.outer_loop not in ("weights", "rows"):
        wrong.append(f"outer_loop is {decision.outer_loop!r}, allowed 'weights', 'rows'")
    if not 0 <= decision.prefetch_lead <= 2:
        wrong.append(f"prefetch_lead is {decision.prefetch_lead}, allowed 0..2")
    if wrong:
        raise IllegalSolutionError(f"layer {layer.name!r}: " + "; ".join(wrong))


def _check_pool(datapath: Datapath, part: Part, schedule: Schedule, pool_bram36: int) -> None:
    """Checks that the memories' depths hold every block and that their block RAMs fit the pool."""
    total = 0
    for e, engine in enumerate(datapath.engines):
        widths = (engine.weight_width_bits, engine.map_block_width_bits, engine.line_width_bits)
        for memory, width in zip(_MEMORIES, widths, strict=True):
            ends = [b.address + b.words for b in schedule.blocks if b.engine == e and b.memory == memory]
            if ends:
                total += _block_rams(part, width, max(ends))
    if total > pool_bram36:
        raise IllegalSolutionError(
            f"schedule: the memories take {total} block RAMs, the pool has {pool_bram36}"
        )


def _block_rams(part: Part, width: int, depth: int) -> int:
    whole = [math.ceil(width / w) * math.ceil(depth / d) for w, d in part.block_ram.geometries]
    halves = [
        math.ceil(math.ceil(width / w) * math.ceil(depth / d) / 2) for w, d in part.block_ram.half_geometries
    ]
    return min(whole + halves)


def _check_port(events: tuple[TileEvent, ...]) -> None:
    transfers = sorted((e for e in events if e.kind != "compute"), key=lambda e: (e.start_cycle, e.end_cycle))
    for a, b in pairwise(transfers):
        if b.start_cycle < a.end_cycle:
            raise IllegalSolutionError(
                f"schedule: {b.kind} of {b.layer!r} starts at {b.start_cycle} while {a.kind} of {a.layer!r} holds the DRAM port "
                f"until {a.end_cycle}"
            )


def _check_engines(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that every engine computes its tiles one after another, each as long as its blocks take."""
    layers = {layer.name: layer for layer in workload.layers}
    decisions = {d.layer: d for d in schedule.decisions}
    last_end: dict[int, int] = {}
    for event in (e for e in schedule.events if e.kind == "compute"):
        if event.start_cycle < last_end.get(event.engine, event.start_cycle):
            raise IllegalSolutionError(
                f"schedule: engine {event.engine} starts {event.layer!r} at {event.start_cycle} before it is free"
            )
        last_end[event.engine] = event.end_cycle
        layer, decision = layers[event.layer], decisions[event.layer]
        blocks = _block_count(layer, datapath.engines[event.engine])
        least = _least_cycles(layer, datapath.engines[event.engine], datapath.batch_frames)
        full = decision.tile_blocks >= blocks and decision.tile_rows >= layer.out_height
        if full and event.end_cycle - event.start_cycle < blocks * layer.out_height * least:
            raise IllegalSolutionError(
                f"schedule: {event.layer!r} computes {event.end_cycle - event.start_cycle} cycles, "
                f"needs at least {blocks * layer.out_height * least}"
            )


def _check_total(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that the cycles of a round are no fewer than the blocks of the busiest engine take."""
    busy = [0] * len(datapath.engines)
    for layer, e in zip(workload.layers, datapath.assignment, strict=True):
        engine = datapath.engines[e]
        least = _least_cycles(layer, engine, datapath.batch_frames)
        busy[e] += _block_count(layer, engine) * layer.out_height * least
    if schedule.cycles_per_round < max(busy):
        raise IllegalSolutionError(
            f"schedule: a round is said to take {schedule.cycles_per_round} cycles, but engine {busy.index(max(busy))} computes "
            f"{max(busy)}"
        )


def _least_cycles(layer: Layer, engine: Engine, frames: int) -> int:
    """Returns the cycles of one block over one row."""
    pa, _, cycles, _ = _planes_per_word(layer, engine)
    writes = 1 if layer.result is ResultKind.RAW else math.ceil(layer.out_bits / pa)
    extra = writes if len(layer.inputs) > 1 else 0
    interval = max(cycles + extra, math.ceil(engine.dn / engine.drain_lanes) * writes)
    if engine.lanes is LaneMode.BATCH:
        return layer.out_width * math.ceil(frames / engine.dn) * interval
    return frames * math.ceil(layer.out_width / engine.dn) * interval
