"""The referee's rules of time: what computes and what moves, when, and how long a round is at least.

Plain Python on the events of a schedule. Events outside the round shown are unknown here, so an order is only checked
where both ends of it are seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

from foldwright.accel.datapath import Datapath
from foldwright.accel.layer_rules import lane_writes, least_flush, least_reads, row_cycles
from foldwright.accel.load_check import check_loads
from foldwright.accel.schedule import Schedule, TileEvent
from foldwright.accel.tile_rules import RuledTile, engine_tiles, groups_of
from foldwright.accel.workload import Workload
from foldwright.errors import IllegalSolutionError

__all__ = ["check_times"]

_KINDS = ("load_weights", "load_input", "compute", "store")
_BEFORE: dict[str, tuple[str, ...]] = {"compute": ("load_weights", "load_input"), "store": ("compute",)}
_Tile = tuple[str, int]  # layer, position among the tiles of its engine in a round
_Tiles = dict[_Tile, RuledTile]


def check_times(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks the events of a schedule and its totals.

    Raises:
        IllegalSolutionError: with the first rule that is broken.
    """
    tiles = {
        (tile.layer, k): tile
        for e in range(len(datapath.engines))
        for k, tile in enumerate(engine_tiles(workload, datapath, schedule.decisions, e))
    }
    least = _least_cycles(workload, datapath, tiles)
    _check_names(datapath, schedule, least)
    _check_port(schedule.events)
    check_loads(workload, datapath, schedule)
    _check_engines(schedule, least, all_shown=len(datapath.engines) == 1)
    _check_order(schedule.events)
    _check_tensors(workload, schedule, tiles)
    _check_totals(workload, datapath, schedule, least)


def _least_cycles(workload: Workload, datapath: Datapath, tiles: _Tiles) -> dict[_Tile, int]:
    """Returns the fewest cycles from each tile's start until its results are in memory."""
    out: dict[_Tile, int] = {}
    for (name, at), tile in tiles.items():
        i = workload.index[name]
        layer, engine = workload.layers[i], datapath.engines[datapath.assignment[i]]
        writes = lane_writes(workload, datapath, layer)
        reads = least_reads(workload, datapath, layer)
        cycles = row_cycles(layer, engine, datapath.batch_frames, writes, reads)
        out[name, at] = tile.blocks * tile.rows * cycles + least_flush(layer, engine, writes)
    return out


def _check_names(datapath: Datapath, schedule: Schedule, least: dict[_Tile, int]) -> None:
    engine_of = {d.layer: e for d, e in zip(schedule.decisions, datapath.assignment, strict=True)}
    for event in schedule.events:
        if event.kind not in _KINDS:
            wrong = f"kind is {event.kind!r}, allowed {_KINDS}"
        elif engine_of.get(event.layer) != event.engine or (event.layer, event.tile) not in least:
            wrong = f"no such tile on engine {event.engine}"
        elif event.end_cycle < event.start_cycle:
            wrong = f"ends at {event.end_cycle}, before it starts"
        else:
            continue
        raise IllegalSolutionError(f"schedule: {_event(event)}: {wrong}")


def _event(event: TileEvent) -> str:
    return f"{event.kind} of {event.layer!r} tile {event.tile} at {event.start_cycle}"


def _check_port(events: tuple[TileEvent, ...]) -> None:
    """Checks that each channel of the DRAM port, reads and writes, moves one thing at a time."""
    for kinds in (("load_weights", "load_input"), ("store",)):
        mine = sorted((e for e in events if e.kind in kinds), key=lambda e: (e.start_cycle, e.end_cycle))
        for a, b in pairwise(mine):
            if b.start_cycle < a.end_cycle:
                raise IllegalSolutionError(
                    f"schedule: {_event(b)}: {a.kind} of {a.layer!r} holds the DRAM port until {a.end_cycle}"
                )


def _check_engines(schedule: Schedule, least: dict[_Tile, int], all_shown: bool) -> None:
    """Checks that every engine computes its tiles one after another, each for as long as its blocks take.

    `all_shown`: none may be left out. Of several engines some run ahead, so that the round shown may lack a tile of theirs.
    """
    missing = set(least) if all_shown else set()
    free: dict[int, int] = {}
    latest: dict[int, tuple[int, int]] = {}
    computes = (e for e in schedule.events if e.kind == "compute")
    for event in sorted(computes, key=lambda e: (e.engine, e.start_cycle, e.end_cycle)):
        if event.start_cycle < free.get(event.engine, event.start_cycle):
            raise IllegalSolutionError(
                f"schedule: {_event(event)}: engine {event.engine} starts before it is free at {free[event.engine]}"
            )
        if (event.round, event.tile) <= latest.get(event.engine, (-1, -1)):
            raise IllegalSolutionError(
                f"schedule: {_event(event)}: comes after tile {latest[event.engine][1]} of round {latest[event.engine][0]}"
            )
        free[event.engine], latest[event.engine] = event.end_cycle, (event.round, event.tile)
        needs, takes = least[event.layer, event.tile], event.end_cycle - event.start_cycle
        if takes < needs:
            raise IllegalSolutionError(
                f"schedule: {_event(event)}: computes {takes} cycles, needs at least {needs}"
            )
        missing.discard((event.layer, event.tile))
    if missing:
        layer, tile = min(missing)
        raise IllegalSolutionError(f"schedule: tile {tile} of {layer!r} is not computed in the round shown")


def _check_order(events: tuple[TileEvent, ...]) -> None:
    """Checks that a tile computes after its loads and is stored after it was computed."""
    at = {(e.kind, e.engine, e.round, e.tile): e for e in events}
    for event in events:
        for kind in _BEFORE.get(event.kind, ()):
            other = at.get((kind, event.engine, event.round, event.tile))
            if other is not None and event.start_cycle < other.end_cycle:
                raise IllegalSolutionError(
                    f"schedule: {_event(event)}: its {kind} ends at {other.end_cycle} only"
                )


def _check_tensors(workload: Workload, schedule: Schedule, tiles: _Tiles) -> None:
    """Checks that no layer reads a tensor of its round before the whole of it is there, or of a fused layer what it reads."""
    made: dict[tuple[str, str, int], list[tuple[int, int]]] = defaultdict(
        list
    )  # first row of a tile, its end
    for e in schedule.events:
        made[e.kind, e.layer, e.round].append((tiles[e.layer, e.tile].row, e.end_cycle))
    on_chip = {d.layer: d.output_on_chip for d in schedule.decisions}
    group_of = {i: g for g in groups_of(workload, schedule.decisions) for i in range(g.first, g.last + 1)}
    for e in schedule.events:
        at = workload.index[e.layer]
        for source in workload.layers[at].inputs:
            if source not in on_chip or e.kind != ("compute" if on_chip[source] else "load_input"):
                continue
            before, maker = workload.layers[workload.index[source]].out_height, workload.index[source]
            if group_of[maker] is group_of[at]:
                before = group_of[at].rows_for(
                    maker, group_of[at].read_before(at, maker, tiles[e.layer, e.tile])
                )
            ends = made["compute" if on_chip[source] else "store", source, e.round]
            ready = max((end for row, end in ends if row < before), default=e.start_cycle)
            if e.start_cycle < ready:
                raise IllegalSolutionError(f"schedule: {_event(e)}: {source!r} is complete at {ready} only")


def _check_totals(
    workload: Workload, datapath: Datapath, schedule: Schedule, least: dict[_Tile, int]
) -> None:
    """Checks that a round is as long as each engine and the DRAM port are busy, and the traffic what has to move."""
    busy = [0] * len(datapath.engines)
    for (name, _), cycles in least.items():
        busy[datapath.assignment[workload.index[name]]] += cycles
    streamed = {
        d.layer: max(0, d.streamed_blocks - 1) / (d.pinned_blocks + d.streamed_blocks)
        for d in schedule.decisions
        if d.pinned_blocks
    }  # the last block may be smaller than the others
    on_chip = {d.layer for d in schedule.decisions if d.output_on_chip}
    loads = sum(int(layer.weight_count * streamed.get(layer.name, 1)) for layer in workload.layers)
    stores = sum(layer.out_tensor_bits for layer in workload.layers if layer.name not in on_chip)
    stores *= datapath.batch_frames
    port = math.ceil(max(schedule.loaded_bits, schedule.stored_bits) / datapath.dram_bits_per_cycle)
    for name, cycles in [
        *((f"engine {e} computes", b) for e, b in enumerate(busy)),
        ("the DRAM port takes", port),
    ]:
        if schedule.cycles_per_round < cycles:
            raise IllegalSolutionError(
                f"schedule: a round is said to take {schedule.cycles_per_round} cycles, but {name} {cycles}"
            )
    for name, value, low in (
        ("loaded_bits", schedule.loaded_bits, loads),
        ("stored_bits", schedule.stored_bits, stores),
        ("latency_cycles", schedule.latency_cycles, max(busy)),
    ):
        if value < low:
            raise IllegalSolutionError(f"schedule: {name} is {value}, at least {low} by its decisions")
