"""What the RTL needs for a tile and for a round, cycle for cycle, from the programs alone.

A tile lasts from its `go` to the cycle in which its results are in memory. Its parts add up:

    compute      blocks * frames * rows * columns * cycles of a block, idle steps included
    window       what a layer that packs taps waits for its window: at the start, and at every row's start
    fill, drain  from `go` to the first loop state, and from the last one through unit, drain, threshold search and writer

A program is read a word a cycle while the tile before runs, from its `go` on; a tile starts when the one before has left
and its own words are read. Of tokens, only how long after a tile's end another engine can have them is modelled, as a
constant; the turn of a taker may differ by as many cycles as there are takers. Of DRAM: one
transfer after the other, a beat a cycle or what the DRAM gives, and a latency that a transfer before hides. Left out:
contention of loads with results.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from foldwright.accel.cosim.run import DramModel
from foldwright.accel.datapath import Engine
from foldwright.accel.export.dram import pixel_bytes
from foldwright.accel.export.executor import (
    ROUNDS_OF_PROGRAM,
    RunTile,
    core_program,
    run_tiles,
)
from foldwright.accel.export.loads import Load, image_loads, load_order
from foldwright.accel.export.package import Package
from foldwright.accel.layout import Source
from foldwright.accel.mapping import ceil_div
from foldwright.accel.rtl.array import unit_latency
from foldwright.accel.rtl.program import DATA_BITS, GIVES, TOKEN_BITS, Field
from foldwright.accel.rtl.sequencer import FRONT_STAGES
from foldwright.accel.rtl.writer import latency_cycles
from foldwright.accel.window_time import first_take, row_stall, window_interval
from foldwright.accel.workload import ResultKind

__all__ = [
    "GO_TO_FIRST_CYCLES",
    "ProgramTile",
    "TileTime",
    "expected_ends",
    "program_tiles",
    "tile_time",
    "transfer_cycles",
]

GO_TO_FIRST_CYCLES = 2
"""From `go` to a tile's first loop state."""
_JUMP_CYCLES = 1
"""A jump costs a cycle besides its own word's."""
_GIVE_CYCLES = 4
"""From a tile's end to when its tokens are there to be taken."""
_WAIT_CYCLES = 2
"""From asking for a token that is there to the grant, besides the word's own cycle."""
_TRANSFER_CYCLES = 8
"""Of an image transfer besides its beats, where one follows the other (measured: 7 to 8)."""
_REQUEST_CYCLES = 15
"""From a free copy to the request for it, besides DRAM's latency; hidden while another transfer runs."""


@dataclass(frozen=True, slots=True)
class TileTime:
    """Cycles of a tile, see the module's text."""

    compute: int
    window: int
    fill_drain: int

    @property
    def total(self) -> int:
        return self.compute + self.window + self.fill_drain


def tile_time(package: Package, run: RunTile) -> TileTime:
    """Returns what a tile takes on the RTL (technologies with the latency of `xc7`)."""
    layout, layer = package.layout, run.layer
    shape, engine = package.hardware.engines[layer.engine], layer.encoding.engine
    program = core_program(layout, run)
    fields, cycles = program.fields, program.block_cycles
    rows = fields[Field.GROUPS] * fields[Field.BLOCKS] * fields[Field.FRAMES] * fields[Field.ROWS]
    compute = rows * fields[Field.COLUMNS] * cycles
    hold = layout.beat_interval(layer) // ceil_div(engine.dn, engine.drain_lanes)
    behind = latency_cycles(shape.writer) - 1 + hold
    search = engine.levels.bit_length()
    if layer.entry.layer.result is ResultKind.RAW and engine.levels:
        behind, search = max(2, engine.levels.bit_length() + 1), 0
    drain = FRONT_STAGES + _unit_cycles(engine) + 1 + (ceil_div(engine.dn, engine.drain_lanes) - 1) * hold
    fill_drain = GO_TO_FIRST_CYCLES - 1 + drain + search + 1 + behind
    return TileTime(compute, _window_stalls(package, run, rows, fields[Field.COLUMNS], cycles), fill_drain)


@lru_cache(maxsize=64)
def _unit_cycles(engine: Engine) -> int:
    """Returns the cycles from a unit's last word to its accumulator."""
    return unit_latency(engine, "xc7")


def _window_stalls(package: Package, run: RunTile, rows: int, columns: int, cycles: int) -> int:
    """Returns by how much the blocks of a tile end later than blocks that never wait for a window."""
    layer = run.layer
    window = package.hardware.engines[layer.engine].window
    if layer.source is not Source.WINDOW or window is None:
        return 0
    kernel, stride, lanes = window.kernel, window.stride[1], window.lanes_across
    # The window's `go` is a cycle behind the engine's.
    stalls: int = 1 + first_take(kernel, stride, lanes, window.is_deep) - GO_TO_FIRST_CYCLES
    within = window_interval(kernel, stride, lanes, cycles) - cycles
    stalls += (rows - 1) * row_stall(kernel, stride, lanes, cycles) + (rows * columns - 1) * within
    return stalls


@dataclass(frozen=True, slots=True)
class ProgramTile:
    """A tile with the words that lead to its `go`: cycles to read them, tokens it waits for in turn, tokens it gives."""

    run: RunTile
    words: int
    waits: tuple[int, ...]
    gives: tuple[int, ...]


def program_tiles(package: Package, engine: int) -> list[ProgramTile]:
    """Returns the tiles of two rounds; words behind the last one lead to the first."""
    out: list[ProgramTile] = []
    runs, words = run_tiles(package.layout, engine), 0
    waits: list[int] = []
    for instruction in package.programs[engine]:
        code, value = instruction >> DATA_BITS, instruction % (1 << DATA_BITS)
        if code == Field.GO:
            parts = [value >> TOKEN_BITS * k & (1 << TOKEN_BITS) - 1 for k in range(GIVES)]
            gives = tuple(part - 1 for part in parts if part)
            out.append(ProgramTile(next(runs), words, tuple(waits), gives))
            words, waits = 0, []
            continue
        words += 1 + (_JUMP_CYCLES if code == Field.JUMP else 0)
        if code == Field.WAIT:
            waits.append(value)
    first = out[0]
    out[0] = ProgramTile(first.run, first.words + words, first.waits, first.gives)
    return out


@dataclass
class _Tokens:
    """When each token was given, in order; None takes those of the start."""

    initial: dict[int, int]
    given: dict[int, list[int]] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)

    def next_of(self, token: int) -> int | None:
        """Returns when the token to take next is there; None where that is not known yet."""
        k = self.taken.get(token, 0) - self.initial.get(token, 0)
        given = self.given.get(token, [])
        if k < 0:
            return 0
        return given[k] + _GIVE_CYCLES if k < len(given) else None

    def take(self, token: int) -> None:
        self.taken[token] = self.taken.get(token, 0) + 1

    def give(self, token: int, cycle: int) -> None:
        self.given.setdefault(token, []).append(cycle)


def expected_ends(package: Package, rounds: int, dram: DramModel | None = None) -> list[int]:
    """Returns when each round ends by this model, in cycles from the start of the engines."""
    model = _RoundModel(package, rounds, dram or DramModel())
    while model.step():
        pass
    return model.ends


class _RoundModel:
    """Engines, loader and storer, each as far as the tokens that it needs are known."""

    def __init__(self, package: Package, rounds: int, dram: DramModel) -> None:
        self.package, self.rounds, self.dram = package, rounds, dram
        count = len(package.layout.engines)
        self.programs = [program_tiles(package, e) for e in range(count)]
        self.tokens = _Tokens(dict(package.tokens.initial))
        self.done, self.started, self.ended = [0] * count, [-1] * count, [0] * count
        self.loaded, self.port = 0, 0
        layout = package.layout
        self.loads = load_order(layout) if layout.streams_weights else ([], image_loads(layout))
        self.ends: list[int] = []
        self.times = [[tile_time(package, tile.run).total for tile in tiles] for tiles in self.programs]

    def step(self) -> bool:
        """Moves everyone on by at most one tile; returns whether anyone moved."""
        moved = [self._load(), *(self._run(e) for e in range(len(self.programs)))]
        return any(moved)

    def _run(self, e: int) -> bool:
        tiles = self.programs[e]
        if self.done[e] == len(tiles) // ROUNDS_OF_PROGRAM * self.rounds:
            return False
        place = self.done[e] % len(tiles)
        tile = tiles[place]
        ready = [self.tokens.next_of(token) for token in tile.waits]
        known = [cycle for cycle in ready if cycle is not None]
        if len(known) < len(ready):
            return False
        at = self.started[e] + 1 + tile.words - len(known)
        for token, cycle in zip(tile.waits, known, strict=True):
            at = max(at, cycle) + 1 + _WAIT_CYCLES
            self.tokens.take(token)
        self.started[e] = max(at, self.ended[e])
        self.ended[e] = end = self.started[e] + self.times[e][place]
        self.done[e] += 1
        for token in tile.gives:
            self.tokens.give(token, end)
        if tile.run.layer.consumer < 0 and tile.run.is_last:
            self.ends.append(end)
            self.tokens.give(self.package.tokens.results_free, end + self.dram.latency_cycles)
        return True

    def _load(self) -> bool:
        (begin, rounds), place = self.loads, self.loaded - len(self.loads[0])
        load, tokens = begin[self.loaded] if place < 0 else rounds[place % len(rounds)], self.package.tokens
        layer, key, numbers = load.run.layer, load.run.layer.index, (tokens.full, tokens.free)
        if load.is_weights:
            key, numbers = layer.engine, (tokens.weights_full, tokens.weights_free)
        full, free = (number[key] for number in numbers)
        at = self.tokens.next_of(free)
        if at is None:
            return False
        self.tokens.take(free)
        asked = at + _REQUEST_CYCLES + self.dram.latency_cycles
        self.port = max(self.port, asked) + transfer_cycles(self.package, load, self.dram)
        self.tokens.give(full, self.port)
        self.loaded += 1
        return True


def transfer_cycles(package: Package, load: Load, dram: DramModel) -> int:
    """Returns how long the port is busy with a load."""
    run, layer, port_bits = load.run, load.run.layer, package.dram_bits
    if load.is_weights:
        words = run.cut.blocks_count * layer.weight_words_per_block
        beats = words * ceil_div(layer.encoding.engine.weight_width_bits, port_bits)
    else:
        low, high = layer.held_rows(run.cut.row_tile)
        row_bytes = layer.entry.layer.in_width * pixel_bytes(layer, port_bits)
        beats = package.batch_frames * (high - low) * row_bytes * 8 // port_bits
    return _TRANSFER_CYCLES + int(beats / min(1.0, dram.beats_per_cycle))
