"""Cycles of a co-simulated accelerator, beside what the simulator predicts.

Two numbers stand side by side, for every layer and for a round in steady state:

    measured    from a tile's `go` until its results are in memory, from the traces
    simulated   `accel.simulate` with the decisions that the layout has taken (`schedule_of`)

A `Waterfall` says where the measured cycles of a layer in a round went; its parts add up to them. What an engine waits in
front of a tile is counted to that tile's layer, in the order in which the causes end: until its program is read, until
other engines have given their tokens, and the rest, where it waits for the image or for room for results, as DRAM.

What is left between the two: the latency of a unit, which `mapping.unit_latency` estimates; how many words of a program differ
from those of the layer before, which shows where tiles are shorter than some thirty cycles; turns of token takers.

Left out: where the host could start sooner; refresh; what happens in the rounds in which the pipeline fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.spans import TileSpan, tile_spans
from foldwright.accel.cosim.timing import ProgramTile, TileTimes, program_tiles
from foldwright.accel.evaluate import (
    AHEAD,
    BUILT_PLACES,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_DRAM,
    WEIGHTS_PINNED,
    WEIGHTS_STREAMED,
    expand,
)
from foldwright.accel.export.executor import run_tiles
from foldwright.accel.export.package import Package
from foldwright.accel.layout import AcceleratorLayout, LayerLayout
from foldwright.accel.layout_cost import layout_mappings
from foldwright.accel.mapping import M_BLOCKS, M_ROWS
from foldwright.accel.schedule import NetworkTables, Schedule, build_schedule, network_tables
from foldwright.accel.tiles import ORDER_ROWS, ORDER_WEIGHTS, layer_cycles
from foldwright.netlists.part import Part

__all__ = [
    "CycleReport",
    "EngineCycles",
    "LayerCycles",
    "Waterfall",
    "cycle_report",
    "decided",
    "schedule_of",
    "simulated_layers",
]

Int64s = npt.NDArray[np.int64]

_GRANT_CYCLES = 9
"""The longest that a token which is there may take to be granted."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """Where the cycles of a layer in a round went; the parts add up to `total`.

    `ideal`: binary multiply-accumulates by those that the engine can do a cycle. `shape`: what whole blocks, words and
    lanes leave unused, and idle steps of blocks that are shorter than their drain. `fill_drain`: from `go` to the first
    operands and from the last ones to the memory. `window`: waits for the window of a layer that packs taps. `rest`:
    measured between `go` and the end, but none of these. Then what the engine waits in front of the layer's tiles.
    """

    ideal: float = 0.0
    shape: float = 0.0
    fill_drain: float = 0.0
    window: float = 0.0
    rest: float = 0.0
    program_wait: float = 0.0
    token_wait: float = 0.0
    dram_wait: float = 0.0

    @property
    def total(self) -> float:
        return float(sum(getattr(self, part.name) for part in fields(self)))

    @property
    def waits(self) -> float:
        return self.program_wait + self.token_wait + self.dram_wait


@dataclass(frozen=True, slots=True)
class LayerCycles:
    """Cycles of a layer in a round: all its tiles, waits in front of them left out."""

    layer: str
    engine: int
    tiles: int
    measured: float
    simulated: int
    waterfall: Waterfall

    @property
    def simulated_error(self) -> float:
        """By how much of the measured cycles the simulator is off; negative where it says fewer."""
        return self.simulated / self.measured - 1


@dataclass(frozen=True, slots=True)
class EngineCycles:
    """An engine's round: `utilisation` is the share of cycles between a tile's start and its end."""

    engine: int
    busy: float
    waits: float
    utilisation: float


@dataclass(frozen=True)
class CycleReport:
    """Layers, engines, and cycles per round in steady state: measured and simulated.

    `first_round` counts from the first tile's start until the first round's last result has left the engine.
    """

    layers: tuple[LayerCycles, ...]
    engines: tuple[EngineCycles, ...]
    frames_per_round: int
    steady_rounds: int
    first_round: int
    measured: float
    simulated: int

    @property
    def cycles_per_frame(self) -> float:
        return self.measured / self.frames_per_round

    @property
    def simulated_error(self) -> float:
        return self.simulated / self.measured - 1

    @property
    def worst_layer_error(self) -> float:
        """The simulator's largest error of a layer, without its sign."""
        return max(abs(layer.simulated_error) for layer in self.layers)

    @property
    def mean_layer_error(self) -> float:
        return sum(abs(layer.simulated_error) for layer in self.layers) / len(self.layers)

    def frames_per_second(self, clock_mhz: float) -> float:
        return clock_mhz * 1e6 / self.cycles_per_frame


def schedule_of(layout: AcceleratorLayout, part: Part) -> Schedule:
    """Returns the simulator's schedule for what a layout does.

    Every tensor between layers stays on chip. Streamed weights come as soon as one of their two places is free, and an image has
    two copies. Blocks take as many cycles as the layout's words are (`layout_mappings`).
    """
    tables, choices = decided(layout, part)
    return build_schedule(layout.network.workload, tables, choices)[0]


def decided(layout: AcceleratorLayout, part: Part) -> tuple[NetworkTables, Int64s]:
    """Returns the tables, every layer's first tile the layout's, and the choices."""
    tables = network_tables(layout.network.workload, layout.datapath, part, part.budget.bram36, BUILT_PLACES)
    layers, engines, _, assignment, widths, geometries, tiles, numbers = tables
    mappings = layout_mappings(layout)
    tiles, choices = tiles.copy(), np.zeros(DECISIONS * len(layers), dtype=np.int64)
    for i, layer in enumerate(layout.layers):
        blocks = int(mappings[i, M_BLOCKS])
        tiles[i, 0] = (
            min(layer.tiling.blocks or blocks, blocks),
            min(layer.tile_rows, int(mappings[i, M_ROWS])),
            ORDER_ROWS if layer.tiling.rows_outside else ORDER_WEIGHTS,
        )
        output = OUTPUT_CHIP if layer.index in layout.tensors else OUTPUT_DRAM
        weights = AHEAD + (WEIGHTS_STREAMED if layer.tiling.streams_weights else WEIGHTS_PINNED)
        choices[DECISIONS * i : DECISIONS * (i + 1)] = (weights, output, 0)
    return (layers, engines, mappings, assignment, widths, geometries, tiles, numbers), choices


def simulated_layers(layout: AcceleratorLayout, part: Part) -> list[int]:
    """Returns the simulator's cycles of each layer in a round, tile latencies included."""
    tables, choices = decided(layout, part)
    return [int(layer_cycles(plan)) for plan in expand(*tables, choices)]


def cycle_report(
    package: Package, traces: Sequence[npt.NDArray[Any]], frames: int, part: Part
) -> CycleReport:
    """Measures a run of `frames` frames and puts the prediction beside it.

    Args:
        part: what the simulator's schedule is made for.

    Raises:
        VerificationError: the traces do not fit the program.
    """
    layout, batch = package.layout, package.batch_frames
    rounds = -(-frames // batch)
    spans = tile_spans(layout, traces, rounds)
    last = layout.layers[-1]
    ends = [x.end_cycle for x in spans[last.engine] if x.layer == last.index and x.run.is_last]
    steady = _steady_rounds(rounds, len(spans))
    waits = _Waits(package, spans)
    simulated = simulated_layers(layout, part)
    times = TileTimes(package)
    layers = tuple(
        _layer_cycles(package, layer, spans[layer.engine], steady, waits, times, simulated[layer.index])
        for layer in layout.layers
    )
    return CycleReport(
        layers=layers,
        engines=tuple(_engine_cycles(e, layers) for e in range(len(spans))),
        frames_per_round=batch,
        steady_rounds=len(steady),
        first_round=ends[0] - min(x[0].start_cycle for x in spans),
        measured=_distance(ends),
        simulated=schedule_of(layout, part).cycles_per_round,
    )


def _steady_rounds(rounds: int, engines: int) -> range:
    """Returns the rounds behind those that fill the pipeline, an even number where there are enough."""
    first = min(engines + 1, rounds - 1)  # two copies of what is handed over fill first
    return range(first + ((rounds - first) % 2 if rounds - first > 1 else 0), rounds)


def _distance(ends: Sequence[int]) -> float:
    """Returns the cycles from round to round: the median over two rounds, since a program covers two."""
    if len(ends) < 2:
        return float(ends[0])
    later = np.array(ends[len(ends) // 4 :] if len(ends) >= 8 else ends)
    if len(later) < 4:
        return float(later[-1] - later[-2])
    return float(np.median(later[2:] - later[:-2])) / 2


def _layer_cycles(
    package: Package, layer: LayerLayout, spans: list[TileSpan], steady: range, waits: _Waits, times: TileTimes,
    simulated: int,
) -> LayerCycles:  # fmt: skip
    """Returns the means over the steady rounds."""
    mine = [(k, x) for k, x in enumerate(spans) if x.layer == layer.index and x.round in steady]
    measured = sum(x.cycles for _, x in mine) / len(steady)
    runs = [run for run in run_tiles(package.layout, layer.engine) if run.layer is layer and run.round == 0]
    parts = [times.of(run) for run in runs]
    engine, compute = layer.encoding.engine, sum(t.compute for t in parts)
    work = layer.entry.layer.bit_macs * package.batch_frames
    ideal = work / (engine.dm * engine.dk * engine.dn)
    waited = [waits.of(layer.engine, k) for k, _ in mine]
    water = Waterfall(
        ideal=ideal,
        shape=compute - ideal,
        fill_drain=float(sum(t.fill_drain for t in parts)),
        window=float(sum(t.window for t in parts)),
        rest=measured - sum(t.total for t in parts),
        program_wait=sum(w.program_wait for w in waited) / len(steady),
        token_wait=sum(w.token_wait for w in waited) / len(steady),
        dram_wait=sum(w.dram_wait for w in waited) / len(steady),
    )
    return LayerCycles(layer.name, layer.engine, len(runs), measured, simulated, water)


def _engine_cycles(engine: int, layers: Sequence[LayerCycles]) -> EngineCycles:
    mine = [layer for layer in layers if layer.engine == engine]
    busy, waits = sum(layer.measured for layer in mine), sum(layer.waterfall.waits for layer in mine)
    return EngineCycles(engine, busy, waits, busy / (busy + waits))


class _Waits:
    """Why an engine stood still in front of each of its tiles."""

    def __init__(self, package: Package, spans: list[list[TileSpan]]) -> None:
        self.package, self.spans = package, spans
        self.programs = [program_tiles(package, e) for e in range(len(spans))]
        self.given: dict[int, list[int]] = {}
        self.takes: dict[tuple[int, int, int], int] = {}
        counts: dict[int, int] = {}
        for e, mine in enumerate(spans):
            for k, span in enumerate(mine):
                tile = self._tile(e, k)
                for token in tile.gives:
                    self.given.setdefault(token, []).append(span.end_cycle)
                for token in tile.waits:
                    self.takes[e, k, token] = counts.get(token, 0)
                    counts[token] = counts.get(token, 0) + 1

    def _tile(self, engine: int, place: int) -> ProgramTile:
        tiles = self.programs[engine]
        return tiles[place % len(tiles)]

    def of(self, engine: int, place: int) -> Waterfall:
        """Returns the waits in front of an engine's tile number `place`."""
        if place == 0:
            return Waterfall()
        before, span, tile = (
            self.spans[engine][place - 1],
            self.spans[engine][place],
            self._tile(engine, place),
        )
        begin = before.end_cycle
        read = min(max(begin, before.start_cycle + 1 + tile.words), span.start_cycle)
        granted = read
        if tile.waits:
            handed = max((self._handed(engine, place, token) for token in tile.waits), default=0)
            granted = min(max(read, handed) + _GRANT_CYCLES * len(tile.waits), span.start_cycle)
        tokens = self.package.tokens
        outer = {tokens.full[-1], tokens.results_free, *tokens.weights_full.values()}
        if not outer & set(tile.waits):
            granted = span.start_cycle
        parts = (read - begin, granted - read, span.start_cycle - granted)
        return replace(Waterfall(), program_wait=parts[0], token_wait=parts[1], dram_wait=parts[2])

    def _handed(self, engine: int, place: int, token: int) -> int:
        """Returns when an engine gave the token that a tile took; 0 for those of the start, of loader and storer."""
        k = self.takes[engine, place, token] - self.package.tokens.initial.get(token, 0)
        given = self.given.get(token, [])
        return given[k] if 0 <= k < len(given) else 0
