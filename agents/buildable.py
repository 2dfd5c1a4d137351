"""Datapaths that the RTL can be built for today, near one that it cannot: a local search over shapes.

The allocator's space is wider than the accelerator's: blocks must be whole bytes of the maps that they are written to,
several lanes drain at once only from frames to frames, and all tensors between layers stay on chip; weights do too where
they fit, else those of all layers but the first stream. Blocks must also fill words as densely as the schedule of a plan
counts, so that plan and layout take the same cycles. The search starts from datapaths, their
arrays cut to several sizes, their layers split between two engines at every place, and moves a number or a layer at a
time; it takes what makes the slowest engine's round per frame shorter, within the LUTs, flip-flops and
block RAMs. Several starts, of other assignments, lanes and kinds of engine, are searched in turns; the better half goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foldwright.accel.cost import cost
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, EngineKind, LaneMode
from foldwright.accel.dsp_shape import LANES_PER_SLICE
from foldwright.accel.layout import AcceleratorLayout, LayeredNetwork, lay_out
from foldwright.accel.layout_cost import (
    bram36_of_layout,
    datapath_of_layout,
    engine_cycles,
    loose_layers,
    streamed_bits,
)
from foldwright.accel.mapping import M_CYCLES, M_LATENCY, accumulator_bits, map_layers
from foldwright.accel.tables import L_RAW, engine_table, layer_table
from foldwright.accel.tilings import LayerTiling
from foldwright.agents.stop import NO_COST, CpuClock, StopRule
from foldwright.envs.allocation.space import levels_of
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.netlists.part import Part

__all__ = ["Buildable", "nearest_buildable"]

_ROWS = (0, 16, 8, 4, 2, 1)
"""Rows of a tile of the image, the whole first, until the block RAMs suffice."""

_PARTS = (2, 8)
"""Tiles of blocks of a layer whose weights stream, where they do not fit at all."""

_WALKS, _RUNG_MOVES = 6, 2400
"""Starts from which the search goes on in turns, and the moves after which the better half of them goes on."""

_SLACK_PERCENT = 4
"""How much slower than the fastest so far a design may be that the search goes on from."""

_DM_STEPS = (-16, -8, 8, 16)
_DK_STEPS = (-32, -16, -8, -4, 4, 8, 16, 32)
_VALUE_STEPS = (-2, -1, 1, 2)
_DN_STEPS = (-3, -2, -1, 1, 2, 3)
_SLICED_VALUES = 7
_MOVES_PER_LAYER = 8
"""Moves of which one, on average, gives a layer to another engine."""
_LEAST_ACC_BITS = 4
_FEW_LANES = (4, 3, 2, 1)
"""Lanes of the designs to start from where nothing larger fits."""


@dataclass(frozen=True)
class Buildable:
    """A layout that can be built, and the cycles of a round, of the slowest engine or of DRAM, per thousand frames."""

    layout: AcceleratorLayout
    image_tile_rows: int
    cycles_per_1000_frames: int


def nearest_buildable(
    network: LayeredNetwork,
    datapaths: Sequence[Datapath],
    part: Part,
    lut_budget: int,
    technology: str,
    *,
    stop: StopRule,
    seed: int,
    schedule_cycles: Callable[[AcceleratorLayout], int] | None = None,
) -> Buildable:
    """Returns the fastest buildable datapath that was found near some others; a move that is drawn counts as an evaluation.

    Args:
        schedule_cycles: returns the cycles of a layout's schedule per 1000 frames, `NO_COST` where it has none; else the
            busiest engine's count.

    Raises:
        InfeasibleError: none was found; says what the last one that was tried lacks.
    """
    rng, clock, count = np.random.default_rng(seed), CpuClock(), 0
    judge = _Judge(network, part, lut_budget, technology, schedule_cycles)
    starts = [start for datapath in datapaths for start in _starts(datapath)]
    judged = [judge.of(start) for start in starts]
    if not any(judged):
        alone = [start for start in starts if len(start.engines) == 1]
        starts = [_narrower(start, dn) for start in alone[-4:] for dn in _FEW_LANES]
        judged = [judge.of(start) for start in starts]
    walks = _walks(starts, judged)
    while not stop(clock(), count, min(walk.cycles for walk in walks)):
        alive = max(1, len(walks) >> count // _RUNG_MOVES)
        walks[count % alive].step(judge, rng)
        count += 1
        if count % _RUNG_MOVES == 0:
            walks.sort(key=lambda walk: walk.cycles)
    best = min(walks, key=lambda walk: walk.cycles).best
    if best is None:
        raise InfeasibleError(
            f"{network.name}: no accelerator that can be built was found near {' or '.join(map(_shape, datapaths))}: "
            f"{judge.last_reason}; give another solver or seed, or fewer engines"
        )
    return best


@dataclass
class _Walk:
    """A search from designs to their neighbours, never far worse than the best that it has seen."""

    starts: list[Datapath]
    now: Datapath
    best: Buildable | None

    @property
    def cycles(self) -> int:
        return self.best.cycles_per_1000_frames if self.best else NO_COST

    def step(self, judge: _Judge, rng: np.random.Generator) -> None:
        """Tries a neighbour; as long as nothing fits, one of any start."""
        moved = _moved(self.now if self.best else self.starts[int(rng.integers(len(self.starts)))], rng)
        judged = judge.of(moved, self.cycles + self.cycles * _SLACK_PERCENT // 100) if moved else None
        if judged:
            self.now = judged.layout.datapath
            self.best = judged if judged.cycles_per_1000_frames <= self.cycles else self.best


def _walks(starts: list[Datapath], judged: list[Buildable | None]) -> list[_Walk]:
    """Returns walks from the best start of each make, the best ones first; one from all starts where nothing fits."""
    pairs = [(b, start) for b, start in zip(judged, starts, strict=True) if b is not None]
    best: dict[tuple[Any, ...], tuple[Buildable, Datapath]] = {}
    for b, start in sorted(pairs, key=lambda pair: pair[0].cycles_per_1000_frames):
        make = (start.assignment, *((engine.kind, engine.lanes) for engine in start.engines))
        best.setdefault(make, (b, start))
    walks = [_Walk(starts, start, b) for b, start in best.values()]
    return walks[:_WALKS] or [_Walk(starts, starts[0], None)]


class _Judge:
    """Says what a datapath is worth, None where it cannot be built or does not fit; remembers why the last did not."""

    def __init__(
        self, network: LayeredNetwork, part: Part, lut_budget: int, technology: str,
        schedule_cycles: Callable[[AcceleratorLayout], int] | None,
    ) -> None:  # fmt: skip
        self._network, self._part, self._luts, self._technology = network, part, lut_budget, technology
        self._schedule_cycles = schedule_cycles
        self._layers = layer_table(network.workload)
        self._acc_bits: dict[tuple[int, str, int], int] = {}
        self.last_reason = "nothing was tried"

    def of(self, datapath: Datapath, most: int = NO_COST) -> Buildable | None:
        """Judges a datapath, its accumulators and thresholds as its layers need them; None also beyond `most` cycles."""
        try:
            datapath = self._for_its_layers(datapath)
            if not self._fits_logic(datapath) or self._least_cycles(datapath) > most:
                return None
            for rows in _ROWS:
                layout = lay_out(self._network, datapath, image_tile_rows=rows, acc_bits=self._acc_bits)
                loose = loose_layers(layout)
                if loose:
                    self.last_reason = (
                        f"blocks of channels leave bits of the words of layer {loose[0]!r} over"
                    )
                    return None
                if self._fits(layout):
                    return self._judged(layout, most)
            for parts in _PARTS:
                layout = self._streamed(layout, parts)
                if self._fits(layout):
                    return self._judged(layout, most)
        except ConfigError as error:
            self.last_reason = str(error)
        return None

    def _for_its_layers(self, datapath: Datapath) -> Datapath:
        engines = list(datapath.engines)
        for e, engine in enumerate(engines):
            mine = [row for row, at in zip(self._layers, datapath.assignment, strict=True) if at == e]
            acc_bits = max(
                int(accumulator_bits(row, int(engine.arithmetic is Arithmetic.AND))) for row in mine
            )
            levels = max(0 if row[L_RAW] else int(levels_of(row)) for row in mine)
            engines[e] = replace(engine, acc_bits=max(_LEAST_ACC_BITS, acc_bits), levels=levels)
        return replace(datapath, engines=tuple(engines))

    def _least_cycles(self, datapath: Datapath) -> int:
        """Returns the cycles of the busiest engine per 1000 frames where nothing streams, without laying anything out."""
        engines, assignment = engine_table(datapath.engines), np.array(datapath.assignment, dtype=np.int64)
        mappings = map_layers(self._layers, engines, assignment, datapath.batch_frames)
        cycles = mappings[:, M_CYCLES] + mappings[:, M_LATENCY]
        slowest = int(np.bincount(assignment, weights=cycles).max())
        return 1000 * slowest // datapath.batch_frames

    def _fits_logic(self, datapath: Datapath) -> bool:
        used, budget = cost(datapath, self._part, self._technology), self._part.budget
        if used.lut > self._luts or used.ff > budget.ff or used.dsp > budget.dsp:
            self.last_reason = f"{used.lut} LUTs, {used.ff} flip-flops and {used.dsp} DSP slices are needed"
            return False
        return True

    def _fits(self, layout: AcceleratorLayout) -> bool:
        bram36 = bram36_of_layout(layout, self._part)
        self.last_reason = f"{bram36} block RAMs are needed"
        return bram36 <= self._part.budget.bram36 and self._fits_logic(datapath_of_layout(layout))

    def _judged(self, layout: AcceleratorLayout, most: int) -> Buildable | None:
        datapath = layout.datapath
        slowest = max(engine_cycles(layout))
        slowest = max(slowest, streamed_bits(layout) // datapath.dram_bits_per_cycle)
        cycles = 1000 * slowest // datapath.batch_frames
        if cycles <= most and self._schedule_cycles is not None:
            cycles = self._schedule_cycles(layout)
            self.last_reason = "its schedule counts more block RAMs than the part has"
        if cycles > most or cycles == NO_COST:
            return None
        return Buildable(layout, layout.layers[0].tile_rows, cycles)

    def _streamed(self, layout: AcceleratorLayout, parts: int) -> AcceleratorLayout:
        """Returns the layout with weights of all layers but the first streamed, in so many tiles of blocks."""
        tilings = {
            layer.index: LayerTiling(-(-layer.blocks // parts), streams_weights=True)
            for layer in layout.layers[1:]
        }
        tilings[0] = layout.layers[0].tiling
        return lay_out(self._network, layout.datapath, tilings=tilings, acc_bits=self._acc_bits)


def _shape(datapath: Datapath) -> str:
    return "+".join(engine.shape for engine in datapath.engines)


def _starts(datapath: Datapath) -> list[Datapath]:
    """Returns datapaths to start from: the array cut to several sizes, in one engine, in two others, with slices."""
    starts = [_rounded(datapath, step) for step in (1.0, 0.85, 0.7, 0.5)]
    splits = [split for start in starts[:2] for split in _splits(start)]
    starts += [_rounded(alone, step) for alone in _alone(datapath) for step in (1.0, 0.7)]
    starts += splits
    return starts + [sliced for start in starts if (sliced := _sliced(start)) is not None]


def _alone(datapath: Datapath) -> Iterator[Datapath]:
    """Yields one engine for all layers, with the units of all, by columns and by frames; activations two planes a word."""
    widest = max(datapath.engines, key=lambda e: e.units * e.dk)
    bit_macs = sum(e.bit_macs_per_cycle for e in datapath.engines)
    acc, coded = max(e.acc_bits for e in datapath.engines), max(datapath.engines, key=lambda e: e.levels)
    sums = max(e.sum_bits for e in datapath.engines)
    for lanes, dn in ((LaneMode.COLUMN, 14), (LaneMode.BATCH, 8)):
        for pa in (1, 2):
            dk = 36 * pa
            dm = max(8, min(64, bit_macs // (dk * dn) // 8 * 8))
            engine = replace(
                widest,
                dm=dm,
                dk=dk,
                dn=dn,
                lanes=lanes,
                planes_per_word=(pa,),
                kind=EngineKind.PLANES,
                drain_lanes=1,
                acc_bits=acc,
                levels=coded.levels,
                requant=coded.requant,
                sum_bits=sums,
            )
            yield Datapath(
                (engine,),
                (0,) * len(datapath.assignment),
                dn if lanes is LaneMode.BATCH else 1,
                datapath.dram_bits_per_cycle,
            )


def _splits(datapath: Datapath) -> Iterator[Datapath]:
    """Yields the first engine and the widest of the others, for every layer from which on the second one computes."""
    if len(datapath.engines) == 1:
        return
    engines = (datapath.engines[0], max(datapath.engines[1:], key=lambda e: e.bit_macs_per_cycle))
    for at in range(1, len(datapath.assignment)):
        assignment = (0,) * at + (1,) * (len(datapath.assignment) - at)
        if assignment != datapath.assignment:
            yield replace(datapath, engines=engines, assignment=assignment)


def _narrower(datapath: Datapath, dn: int) -> Datapath:
    """Returns one engine's datapath with fewer lanes."""
    engine = datapath.engines[0]
    batch = dn if engine.lanes is LaneMode.BATCH else datapath.batch_frames
    return replace(datapath, engines=(replace(engine, dn=dn),), batch_frames=batch)


def _rounded(datapath: Datapath, share: float) -> Datapath:
    """Returns a datapath with blocks of whole bytes, its arrays made smaller by a share."""
    engines = []
    for k, engine in enumerate(datapath.engines):
        is_last = k == datapath.assignment[-1] and datapath.assignment.count(k) == 1
        dm = engine.dm if is_last else max(8, int(engine.dm * share) // 8 * 8)
        pa = max(engine.planes_per_word)
        dk = max(engine.dk, dm * pa, 4 * pa)
        engines.append(replace(engine, dm=dm, dk=dk - dk % (4 * pa), planes_per_word=(pa,)))
    return replace(datapath, engines=tuple(engines))


def _sliced(datapath: Datapath) -> Datapath | None:
    """Returns the datapath with a first engine of DSP slices and frames in all lanes; None where one would not serve."""
    first, last = datapath.engines[0], datapath.engines[-1]
    if len(datapath.engines) == 1 or not first.window_bits or first.arithmetic is Arithmetic.AND:
        return None
    engines = [replace(e, lanes=LaneMode.BATCH, dn=last.dn, drain_lanes=1) for e in datapath.engines]
    engines[0] = replace(engines[0], **_slices(last.dn, _SLICED_VALUES))
    return replace(datapath, engines=tuple(engines), batch_frames=last.dn)


def _slices(dn: int, values: int) -> dict[str, Any]:
    """Returns the fields of an engine of DSP slices with `dn` lanes.

    About a quarter of the lanes leave in a beat: blocks of three or four cycles then leave as fast as they come.
    """
    return {
        "kind": EngineKind.DSP, "planes_per_word": (8,), "dk": 8 * values, "dm": 8,
        "drain_lanes": -(-dn // LANES_PER_SLICE),
    }  # fmt: skip


def _moved(datapath: Datapath, rng: np.random.Generator) -> Datapath | None:
    """Returns a datapath with one or two numbers changed, None where that is no datapath."""
    engines, assignment = list(datapath.engines), list(datapath.assignment)
    batch = datapath.batch_frames
    try:
        for _ in range(int(rng.integers(1, 5))):
            k = int(rng.integers(len(engines)))
            if len(engines) > 1 and rng.integers(_MOVES_PER_LAYER) == 0:
                layer = int(rng.integers(len(assignment)))
                assignment[layer] = k
                continue
            engines[k] = replace(engines[k], **dict(_one_move(engines[k], k, rng)))
        used = sorted(set(assignment))
        engines, assignment = [engines[k] for k in used], [used.index(k) for k in assignment]
        lanes = [e.dn for e in engines if e.lanes is LaneMode.BATCH]
        if lanes:
            batch = lanes[int(rng.integers(len(lanes)))]
            engines = [
                replace(e, dn=batch, drain_lanes=min(e.drain_lanes, batch))
                if e.lanes is LaneMode.BATCH
                else e
                for e in engines
            ]
        return replace(datapath, engines=tuple(engines), assignment=tuple(assignment), batch_frames=batch)
    except ConfigError:
        return None


def _one_move(engine: Engine, k: int, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    """Yields the fields that change; the first engine, which reads images, may also change its kind."""
    kind = int(rng.integers(5 if k else 6))
    if kind == 0:
        nines = [n for n in (9, 18, 27, 36, 45) if abs(n - engine.dm) < 10]
        yield "dm", int(rng.choice([*(engine.dm // 8 * 8 + step for step in _DM_STEPS), *nines]))
    elif kind == 1:
        pa = max(engine.planes_per_word)
        steps = _VALUE_STEPS if engine.kind is EngineKind.DSP else _DK_STEPS
        yield "dk", engine.dk + pa * int(rng.choice(steps))
    elif kind == 2:
        yield "dn", engine.dn + int(rng.choice(_DN_STEPS))
    elif kind == 3:
        yield "drain_lanes", int(rng.integers(1, 5 if engine.kind is EngineKind.DSP else 3))
    elif kind == 4:
        yield "planes_per_word", ((1,), (2,))[int(rng.integers(2))]
    elif engine.kind is EngineKind.DSP:
        yield from {"kind": EngineKind.PLANES, "planes_per_word": (1,), "dk": engine.dk // 2}.items()
    else:
        yield from _slices(engine.dn, int(rng.integers(6, 10))).items()
