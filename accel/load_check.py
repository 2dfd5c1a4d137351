"""The referee's rules of loads: how long weights take at least, in which order they come, and when their place is free.

Plain Python on the events of a schedule, like `foldwright.accel.time_check`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

from foldwright.accel.datapath import Datapath
from foldwright.accel.layer_rules import block_count, weight_words
from foldwright.accel.schedule import LayerDecision, Schedule, TileEvent
from foldwright.accel.workload import Workload
from foldwright.errors import IllegalSolutionError

__all__ = ["StreamedWeights", "check_loads", "streamed_weights"]


def check_loads(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks the loads among the events of a schedule.

    Raises:
        IllegalSolutionError: with the first rule that is broken.
    """
    _check_turns(schedule.events)
    _check_beats(workload, datapath, schedule)
    _check_places(workload, datapath, schedule)


def _refuse(event: TileEvent, wrong: str) -> IllegalSolutionError:
    return IllegalSolutionError(
        f"schedule: {event.kind} of {event.layer!r} tile {event.tile} at {event.start_cycle}: {wrong}"
    )


def _check_turns(events: Iterable[TileEvent]) -> None:
    """Checks that an engine's loads of a kind come in the order in which its tiles need them."""
    loads = [e for e in events if e.kind in ("load_weights", "load_input")]
    loads.sort(key=lambda e: (e.engine, e.kind, e.start_cycle, e.end_cycle))
    for _, group in groupby(loads, key=lambda e: (e.engine, e.kind)):
        for a, b in pairwise(group):
            if (b.round, b.tile) <= (a.round, a.tile):
                raise _refuse(
                    b, f"comes after that of tile {a.tile} of round {a.round}, before which it is needed"
                )


def _check_beats(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that weights take the port for as long as their bits do at least."""
    uses = {
        e: {u.first_tile: u.blocks for u in streamed_weights(workload, datapath, schedule, e)}
        for e in range(len(datapath.engines))
    }
    for event in schedule.events:
        if event.kind != "load_weights":
            continue
        blocks = uses[event.engine].get(event.tile)
        if blocks is None:
            raise _refuse(event, "no weights come for this tile")
        engine = datapath.engines[event.engine]
        words = weight_words(workload.layers[workload.index[event.layer]], engine, blocks)
        needs = math.ceil(words * engine.weight_width_bits / datapath.dram_bits_per_cycle)
        if event.end_cycle - event.start_cycle < needs:
            raise _refuse(
                event, f"takes {event.end_cycle - event.start_cycle} cycles, needs at least {needs}"
            )


@dataclass(frozen=True, slots=True)
class StreamedWeights:
    """A chunk of weights that streams through an engine once a round: which tiles of the round use it, and its blocks."""

    layer: str
    first_tile: int
    last_tile: int
    blocks: int


def streamed_weights(
    workload: Workload, datapath: Datapath, schedule: Schedule, engine: int
) -> list[StreamedWeights]:
    """Returns what streams through an engine in a round, in order."""
    out, tile = [], 0
    for layer, decision, e in zip(workload.layers, schedule.decisions, datapath.assignment, strict=True):
        if e != engine:
            continue
        total = block_count(workload, layer, datapath.engines[e])
        tiles = _tiles(decision, total, layer.out_height)
        blocks = {low: min(decision.tile_blocks, total - low) for low in tiles}
        streamed = {low: max(0, min(n, low + n - decision.pinned_blocks)) for low, n in blocks.items()}
        for run in _runs(tiles, sum(n > 0 for n in streamed.values())):
            if streamed[tiles[run[0]]]:
                out.append(
                    StreamedWeights(layer.name, tile + run[0], tile + run[-1], streamed[tiles[run[0]]])
                )
        tile += len(tiles)
    return out


def _tiles(decision: LayerDecision, blocks: int, height: int) -> list[int]:
    """Returns the first block of each tile of a layer, in the order in which they run."""
    lows, rows = list(range(0, blocks, decision.tile_blocks)), math.ceil(height / decision.tile_rows)
    if decision.outer_loop == "weights":
        return [low for low in lows for _ in range(rows)]
    return [low for _ in range(rows) for low in lows]


def _runs(tiles: list[int], streaming: int) -> list[list[int]]:
    """Returns the tiles that use the same weights without others of the layer coming between; `streaming` tiles of blocks do."""
    if streaming < 2:  # one chunk at most, which stays until the layer ends
        return [[t for t, b in enumerate(tiles) if b == low] for low in dict.fromkeys(tiles)]
    return [[t for t, _ in group] for _, group in groupby(enumerate(tiles), key=lambda item: item[1])]


def _check_places(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that weights come to a place whose last user among the tiles shown has ended."""
    ends = {(e.engine, e.round, e.tile): e.end_cycle for e in schedule.events if e.kind == "compute"}
    for engine in range(len(datapath.engines)):
        uses = streamed_weights(workload, datapath, schedule, engine)
        order = {use.first_tile: n for n, use in enumerate(uses)}
        places = min(schedule.weight_places[engine], len(uses))
        for event in schedule.events:
            if event.kind != "load_weights" or event.engine != engine:
                continue
            rounds, before = divmod(order[event.tile] - places, len(uses))
            free = ends.get((engine, event.round + rounds, uses[before].last_tile))
            if free is not None and event.start_cycle < free:
                raise _refuse(
                    event, f"its place is free at {free} only, when tile {uses[before].last_tile} has ended"
                )
