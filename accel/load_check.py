"""The referee's rules of loads: how long weights take at least, in which order they come, and when their place is free.

Plain Python on the events of a schedule, like `foldwright.accel.time_check`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from foldwright.accel.datapath import Datapath
from foldwright.accel.layer_rules import weight_words
from foldwright.accel.schedule import Schedule, TileEvent
from foldwright.accel.tile_rules import engine_tiles, groups_of
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
    out = []
    pinned = {d.layer: d.pinned_blocks for d in schedule.decisions}
    tiles = engine_tiles(workload, datapath, schedule.decisions, engine)
    streams = [max(0, min(t.blocks, t.block + t.blocks - pinned[t.layer])) for t in tiles]
    fused = {workload.layers[i].name for i in _fused(workload, schedule)}
    by_layer: dict[str, list[int]] = {}
    for k, tile in enumerate(tiles):
        by_layer.setdefault(tile.layer, []).append(k)
    for layer, mine in by_layer.items():
        chunks = len({tiles[k].block for k in mine if streams[k]})
        if layer in fused:  # other layers' weights come between
            runs = [[k] for k in mine]
        elif chunks < 2:  # one chunk at most, which stays until the layer ends
            runs = [
                [k for k in mine if tiles[k].block == low]
                for low in dict.fromkeys(tiles[k].block for k in mine)
            ]
        else:
            runs = [list(group) for _, group in groupby(mine, key=lambda k: tiles[k].block)]
        out += [StreamedWeights(layer, run[0], run[-1], streams[run[0]]) for run in runs if streams[run[0]]]
    return sorted(out, key=lambda use: use.first_tile)


def _fused(workload: Workload, schedule: Schedule) -> Iterator[int]:
    """Yields the layers that run in turns with others."""
    for group in groups_of(workload, schedule.decisions):
        if group.is_fused:
            yield from range(group.first, group.last + 1)


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
