"""The independent referee of schedules: plain Python on the values, no kernel of the simulator or the planner.

It works out again, from the layer shapes alone, what must be on chip and for how long, how long each tile computes and
what moves over the DRAM port, and refuses a schedule that breaks one of these. It never says how to do better.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from foldwright.accel.datapath import Datapath, LaneMode
from foldwright.accel.layer_rules import block_count, packing_of, tensor_words, weight_words
from foldwright.accel.load_check import streamed_weights
from foldwright.accel.schedule import LayerDecision, MemoryBlock, Schedule
from foldwright.accel.tile_rules import Group, groups_of, rows_read
from foldwright.accel.time_check import check_times
from foldwright.accel.workload import Layer, Workload
from foldwright.errors import IllegalSolutionError
from foldwright.netlists.part import Part

__all__ = ["check_schedule"]

_MEMORIES = ("weights", "maps", "line")
_HOLDS_IN = {
    "weights": ("weights",),
    "places": ("weights",),
    "input": ("maps", "line"),
    "stage": ("maps",),
    "tensor": ("maps",),
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
    _check_blocks(workload, datapath, schedule.blocks)
    _check_overlaps(schedule.blocks)
    _check_sizes(workload, datapath, schedule)
    _check_places(workload, datapath, schedule)
    _check_pool(datapath, part, schedule, pool_bram36)
    check_times(workload, datapath, schedule)


def _check_blocks(workload: Workload, datapath: Datapath, blocks: Iterable[MemoryBlock]) -> None:
    """Checks that every block is words of a memory that is there, of a layer that is there, and told once."""
    _, counts = _slots(datapath)
    seen = set()
    for b in blocks:
        key = b.engine, b.holds, b.layer
        if not 0 <= b.engine < len(datapath.engines) or b.layer not in workload.index:
            wrong = f"engine {b.engine} or layer {b.layer!r} is not of this plan"
        elif b.memory not in _HOLDS_IN.get(b.holds, ()):
            wrong = f"{b.memory!r} memory, allowed {_HOLDS_IN.get(b.holds, ())}"
        elif b.address < 0 or b.words < 1:
            wrong = f"address {b.address} and {b.words} words, allowed from 0 and at least 1"
        elif not b.slots or not set(b.slots) <= set(range(counts[b.engine])):
            wrong = f"slots {b.slots}, allowed are some of 0..{counts[b.engine] - 1}"
        elif key in seen:
            wrong = "there is another such block"
        else:
            seen.add(key)
            continue
        raise IllegalSolutionError(
            f"schedule: block {b.holds!r} of {b.layer!r} on engine {b.engine}: {wrong}"
        )


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
                        f"schedule: engine {engine}, {memory} memory: {_place(a)} overlaps {_place(b)}"
                    )


def _place(block: MemoryBlock) -> str:
    return f"{block.holds} of {block.layer!r} at {block.address}..{block.address + block.words - 1}"


def _check_sizes(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that whatever a layer reads or keeps has a block that is large enough and lives long enough."""
    slots, counts = _slots(datapath)
    held = {(b.engine, b.holds, b.layer): b for b in schedule.blocks}
    groups = {i: g for g in groups_of(workload, schedule.decisions) for i in range(g.first, g.last + 1)}
    for i, (layer, decision) in enumerate(zip(workload.layers, schedule.decisions, strict=True)):
        e, group = datapath.assignment[i], groups[i]
        engine = datapath.engines[e]
        blocks = block_count(workload, layer, engine)
        _check_tile(layer, decision, blocks)
        _check_group(datapath, group, i)
        if decision.pinned_blocks:
            words, every = weight_words(layer, engine, decision.pinned_blocks), set(range(counts[e]))
            _need(held, (e, "weights", layer.name), words, every)
        during = range(slots[group.first], slots[group.last] + 1)
        _need_input(workload, datapath, schedule, held, group, i, during, counts[e])
        if not decision.output_on_chip:
            _need(held, (e, "stage", layer.name), 1, set(during))
        else:
            for c in workload.consumers(layer.name):
                lives = range(during.start, slots[groups[c].last] + 1)
                _need_tensor(workload, datapath, held, group, i, c, lives, counts)


def _check_group(datapath: Datapath, group: Group, i: int) -> None:
    """Checks that layers which run in turns may, and that their tiles are those of their bands."""
    if not group.is_fused:
        return
    layer, decision, pool = group.workload.layers[i], group.decisions[i], group.workload.layers[i].pool
    rows = max(end - begin for begin, end in pairwise([0, *group.ends[i]]))
    if datapath.assignment[i] != datapath.assignment[group.first]:
        wrong = "another engine has the others"
    elif i > group.first and pool is not None and (pool.kernel[0] > pool.stride[0] or pool.padding[0]):
        wrong = "it pools windows that bands of rows would cut"
    elif i < group.last and not decision.output_on_chip:
        wrong = "its output goes to DRAM"
    elif decision.tile_rows != rows or decision.outer_loop != "rows":
        wrong = f"tile_rows is {decision.tile_rows} and {decision.outer_loop} are outside, its bands make it {rows} and rows"
    else:
        return
    raise IllegalSolutionError(f"layer {layer.name!r}, fused with others: {wrong}")


def _check_places(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that an engine's places of streamed weights are there for good, and each large enough for every chunk."""
    _, counts = _slots(datapath)
    if len(schedule.weight_places) != len(counts):
        raise IllegalSolutionError(
            f"schedule: weight_places is {schedule.weight_places}, needed is one for each of {len(counts)} engines"
        )
    for e, engine in enumerate(datapath.engines):
        uses = streamed_weights(workload, datapath, schedule, e)
        places = schedule.weight_places[e]
        if not uses:
            continue
        if places < 1:
            raise IllegalSolutionError(
                f"schedule: engine {e} streams weights, but has {places} places for them"
            )
        words = max(weight_words(workload.layers[workload.index[u.layer]], engine, u.blocks) for u in uses)
        held = {(b.engine, b.holds, b.layer): b for b in schedule.blocks}
        _need(held, (e, "places", uses[0].layer), places * words, set(range(counts[e])))


def _need_input(
    workload: Workload, datapath: Datapath, schedule: Schedule, held: dict[tuple[int, str, str], MemoryBlock],
    group: Group, i: int, during: range, slots: int,
) -> None:  # fmt: skip
    """Checks an input from DRAM: the rows of a tile twice, or the tensor, twice and always if loaded a round ahead."""
    layer, decision, e = workload.layers[i], schedule.decisions[i], datapath.assignment[i]
    producer = workload.index[layer.inputs[0]]
    if producer >= 0 and schedule.decisions[producer].output_on_chip:
        return
    engine = datapath.engines[e]
    rows, cut = layer.in_height, decision.tile_rows < layer.out_height
    ahead = decision.input_lead > 0 and producer < 0
    again = decision.outer_loop == "weights" and decision.tile_blocks < block_count(workload, layer, engine)
    spans = [rows_read(layer, begin, end) for begin, end in pairwise([0, *group.ends[i]]) if begin < end]
    if cut and (group.is_fused or schedule.keeps_rows):
        rows = max(high - low for low, high in spans)
    elif cut:
        rows = min(rows, (decision.tile_rows - 1) * layer.stride[0] + layer.kernel[0])
    if (
        cut and schedule.keeps_rows and not again and not ahead
    ):  # a tile's rows, and those that the next one adds
        added = [max(0, b[1] - max(a[1], b[0])) for a, b in pairwise(spans)]
        rows = max(high - low + more for (low, high), more in zip(spans, [*added, 0], strict=True))
    elif cut or ahead:
        rows *= 2
    if packing_of(layer, engine)[1]:
        batch = engine.lanes is LaneMode.BATCH
        columns = layer.in_width if batch else math.ceil(layer.in_width / engine.dn) * datapath.batch_frames
        words = rows * columns * (math.ceil(datapath.batch_frames / engine.dn) if batch else 1)
    else:
        words = rows * (tensor_words(layer, engine, datapath.batch_frames) // layer.in_height)
    early = {(during.start - decision.input_lead) % slots, *during}
    _need(held, (e, "input", layer.name), words, set(range(slots)) if ahead else early)


def _need_tensor(
    workload: Workload, datapath: Datapath, held: dict[tuple[int, str, str], MemoryBlock], group: Group, i: int,
    consumer: int, lives: range, counts: list[int],
) -> None:  # fmt: skip
    e, here = datapath.assignment[consumer], datapath.assignment[i]
    reader = workload.layers[consumer]
    if workload.index[reader.inputs[0]] != i:
        return  # a residual operand is laid out as the reader's results, checked through its block's lifetime only
    words = tensor_words(reader, datapath.engines[e], datapath.batch_frames)
    words = words // workload.layers[i].stored_height * group.held_rows(i) if group.is_fused else words
    during = set(lives) if e == here else set(range(counts[e]))
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
    if not 0 <= decision.input_lead <= 1:
        wrong.append(f"input_lead is {decision.input_lead}, allowed 0, 1")
    if not (
        0 <= decision.pinned_blocks <= blocks and decision.streamed_blocks == blocks - decision.pinned_blocks
    ):
        wrong.append(
            f"{decision.pinned_blocks} blocks are pinned and {decision.streamed_blocks} stream, it has {blocks}"
        )
    if wrong:
        raise IllegalSolutionError(f"layer {layer.name!r}: " + "; ".join(wrong))


def _check_pool(datapath: Datapath, part: Part, schedule: Schedule, pool_bram36: int) -> None:
    """Checks that the memories are deep enough for every block and that their block RAMs fit the pool."""
    total = 0
    for e, engine in enumerate(datapath.engines):
        widths = (engine.weight_width_bits, engine.map_block_width_bits, engine.line_width_bits)
        depths = (engine.weight_words, engine.map_words, engine.line_words)
        for memory, width, depth in zip(_MEMORIES, widths, depths, strict=True):
            ends = [b.address + b.words for b in schedule.blocks if b.engine == e and b.memory == memory]
            if max(ends, default=0) > depth:
                raise IllegalSolutionError(
                    f"schedule: engine {e}, {memory} memory: blocks end at {max(ends)}, it has {depth} words"
                )
            total += _block_rams(part, width, depth) if depth else 0
    if total > pool_bram36:
        raise IllegalSolutionError(
            f"schedule: the memories take {total} block RAMs, the pool has {pool_bram36}"
        )
    if total != schedule.bram36:
        raise IllegalSolutionError(f"schedule: says {schedule.bram36} block RAMs, its memories take {total}")


def _block_rams(part: Part, width: int, depth: int) -> int:
    whole = [math.ceil(width / w) * math.ceil(depth / d) for w, d in part.block_ram.geometries]
    halves = [
        math.ceil(math.ceil(width / w) * math.ceil(depth / d) / 2) for w, d in part.block_ram.half_geometries
    ]
    return min(whole + halves)
