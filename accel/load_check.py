"""The referee's rules of loads: how long weights take at least, in which order they come, and when their place is free.

Plain Python on the events of a schedule, like `foldwright.accel.time_check`. What an accelerator of today's RTL does is asked
of a schedule that it could be: weights stream, tensors between layers stay on chip, none goes further than one stage.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby, pairwise

from foldwright.accel.datapath import Datapath
from foldwright.accel.layer_rules import block_count, weight_words
from foldwright.accel.schedule import LayerDecision, Schedule, TileEvent
from foldwright.accel.workload import IMAGE, Workload
from foldwright.errors import IllegalSolutionError

__all__ = ["check_loads"]

_PLACES = 2


def check_loads(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks the loads among the events of a schedule.

    Raises:
        IllegalSolutionError: with the first rule that is broken.
    """
    _check_turns(schedule.events)
    _check_beats(workload, datapath, schedule)
    if _is_as_built(workload, datapath, schedule):
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
    decisions = {d.layer: d for d in schedule.decisions}
    uses = {e: _uses(workload, datapath, schedule, e) for e in range(len(datapath.engines))}
    for event in schedule.events:
        if event.kind != "load_weights":
            continue
        blocks = {first: count for _, first, _, count in uses[event.engine]}.get(event.tile)
        if blocks is None or decisions[event.layer].weights_pinned:
            raise _refuse(event, "no weights come for this tile")
        engine = datapath.engines[event.engine]
        words = weight_words(workload.layers[workload.index[event.layer]], engine, blocks)
        needs = math.ceil(words * engine.weight_width_bits / datapath.dram_bits_per_cycle)
        if event.end_cycle - event.start_cycle < needs:
            raise _refuse(
                event, f"takes {event.end_cycle - event.start_cycle} cycles, needs at least {needs}"
            )


def _uses(
    workload: Workload, datapath: Datapath, schedule: Schedule, engine: int
) -> list[tuple[str, int, int, int]]:
    """Returns the weights that stream through an engine in a round: layer, first and last tile that use them, blocks."""
    out, tile = [], 0
    for layer, decision, e in zip(workload.layers, schedule.decisions, datapath.assignment, strict=True):
        if e != engine:
            continue
        total = block_count(workload, layer, datapath.engines[e])
        for low, tiles in _runs(decision, total, layer.out_height):
            if not decision.weights_pinned:
                blocks = min(decision.tile_blocks, total - low)
                out.append((layer.name, tile, tile + tiles - 1, blocks))
            tile += tiles
    return out


def _runs(decision: LayerDecision, blocks: int, height: int) -> list[tuple[int, int]]:
    """Returns the first block of each run of tiles that share weights, and how many tiles the run has."""
    lows, rows = list(range(0, blocks, decision.tile_blocks)), math.ceil(height / decision.tile_rows)
    if decision.outer_loop == "weights" or len(lows) == 1:
        return [(low, rows) for low in lows]
    return [(low, 1) for _ in range(rows) for low in lows]


def _is_as_built(workload: Workload, datapath: Datapath, schedule: Schedule) -> bool:
    stays = {d.layer: d.output_on_chip for d in schedule.decisions}
    if all(d.weights_pinned for d in schedule.decisions):
        return False
    if any(workload.consumers(name) and not on_chip for name, on_chip in stays.items()):
        return False
    if any(IMAGE in layer.inputs[1:] for layer in workload.layers):
        return False
    stage = _stages(datapath.assignment)
    engine_of = {layer.name: e for layer, e in zip(workload.layers, datapath.assignment, strict=True)}
    return all(
        stage[engine_of[layer.name]] - stage[engine_of[source]] <= 1
        for layer in workload.layers
        for source in layer.inputs
        if source != IMAGE
    )


def _stages(assignment: tuple[int, ...]) -> dict[int, int]:
    """Returns the stage of each engine: engines whose spans of layers overlap are one."""
    spans: dict[int, list[int]] = defaultdict(list)
    for place, engine in enumerate(assignment):
        spans[engine].append(place)
    stage, reached, out = -1, -1, {}
    for engine, places in sorted(spans.items(), key=lambda item: item[1][0]):
        if places[0] > reached:
            stage += 1
        reached = max(reached, places[-1])
        out[engine] = stage
    return out


def _check_places(workload: Workload, datapath: Datapath, schedule: Schedule) -> None:
    """Checks that weights come to a place whose last user among the tiles shown has ended."""
    ends = {(e.engine, e.round, e.tile): e.end_cycle for e in schedule.events if e.kind == "compute"}
    for engine in range(len(datapath.engines)):
        uses = _uses(workload, datapath, schedule, engine)
        order = {first: n for n, (_, first, _, _) in enumerate(uses)}
        for event in schedule.events:
            if event.kind != "load_weights" or event.engine != engine:
                continue
            rounds, before = divmod(order[event.tile] - min(_PLACES, len(uses)), len(uses))
            free = ends.get((engine, event.round + rounds, uses[before][2]))
            if free is not None and event.start_cycle < free:
                raise _refuse(
                    event, f"its place is free at {free} only, when tile {uses[before][2]} has ended"
                )
