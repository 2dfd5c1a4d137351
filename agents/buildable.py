"""Datapaths that the RTL can be built for today, near one that it cannot: a local search over shapes.

The allocator's space is wider than the accelerator's: blocks must be whole bytes of the maps that they are written to,
several lanes drain at once only from frames to frames, and all weights and tensors between layers stay on chip. The
search starts from a datapath, keeps its assignment, and moves one number at a time; it takes what makes the slowest
engine's round per frame shorter, within the LUTs, flip-flops and block RAMs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foldwright.accel.cost import FIXED_BRAM36, cost
from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.layout import AcceleratorLayout, lay_out
from foldwright.accel.layout_cost import bram36_of_layout, engine_cycles
from foldwright.accel.network import Network
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.netlists.part import Part

__all__ = ["Buildable", "nearest_buildable"]

_ROWS = (0, 16, 8, 4, 2, 1)
"""Rows of a tile of the image, the whole first, until the block RAMs suffice."""

_DM_STEPS = (-16, -8, 8, 16)
_DK_STEPS = (-32, -16, -8, -4, 4, 8, 16, 32)
_DN_STEPS = (-3, -2, -1, 1, 2, 3)
_FEW_LANES = (4, 3, 2, 1)
"""Lanes of the designs to start from where nothing larger fits."""


@dataclass(frozen=True)
class Buildable:
    """A layout that can be built, and the cycles of the slowest engine's round per thousand frames."""

    layout: AcceleratorLayout
    image_tile_rows: int
    cycles_per_1000_frames: int


def nearest_buildable(
    network: Network,
    datapath: Datapath,
    part: Part,
    lut_budget: int,
    technology: str,
    *,
    evaluations: int,
    seed: int,
) -> Buildable:
    """Returns the fastest buildable datapath that was found near another.

    Raises:
        InfeasibleError: none was found; says what the given datapath lacks.
    """
    rng = np.random.default_rng(seed)
    judge = _Judge(network, part, lut_budget, technology)
    starts = [_rounded(datapath, step) for step in (1.0, 0.85, 0.7, 0.5)]
    starts += [_rounded(alone, step) for alone in _alone(datapath) for step in (1.0, 0.7)]
    found = [(judge.of(start), start) for start in starts]
    if not any(judged for judged, _ in found):
        starts = [_narrower(start, dn) for start in starts[-4:] for dn in _FEW_LANES]
        found = [(judge.of(start), start) for start in starts]
    best, now = min(found, key=lambda pair: pair[0].cycles_per_1000_frames if pair[0] else 1 << 62)
    for _ in range(evaluations):
        moved = _moved(now if best else starts[int(rng.integers(len(starts)))], rng)
        judged = judge.of(moved) if moved is not None else None
        if judged and (best is None or judged.cycles_per_1000_frames <= best.cycles_per_1000_frames):
            best, now = judged, judged.layout.datapath
    if best is None:
        raise InfeasibleError(
            f"{network.name}: no accelerator that can be built was found near {'+'.join(e.shape for e in datapath.engines)}: "
            f"{judge.last_reason}; give another solver or seed, or fewer engines"
        )
    return best


class _Judge:
    """Says what a datapath is worth, None where it cannot be built or does not fit; remembers why the last did not."""

    def __init__(self, network: Network, part: Part, lut_budget: int, technology: str) -> None:
        self._network, self._part, self._luts, self._technology = network, part, lut_budget, technology
        self._acc_bits: dict[tuple[int, str, int], int] = {}
        self.last_reason = "nothing was tried"

    def of(self, datapath: Datapath) -> Buildable | None:
        try:
            used = cost(datapath, self._part, self._technology)
            if used.lut > self._luts or used.ff > self._part.budget.ff:
                self.last_reason = f"{used.lut} LUTs and {used.ff} flip-flops are needed"
                return None
            for rows in _ROWS:
                layout = lay_out(self._network, datapath, image_tile_rows=rows, acc_bits=self._acc_bits)
                if bram36_of_layout(layout, self._part) <= self._part.budget.bram36 - FIXED_BRAM36:
                    slowest = max(engine_cycles(layout, e) for e in range(len(datapath.engines)))
                    return Buildable(layout, rows, 1000 * slowest // datapath.batch_frames)
            self.last_reason = f"{bram36_of_layout(layout, self._part)} block RAMs are needed"
        except ConfigError as error:
            self.last_reason = str(error)
        return None


def _alone(datapath: Datapath) -> Iterator[Datapath]:
    """Yields one engine for all layers, with the units of all, by columns and by frames; activations two planes a word."""
    widest = max(datapath.engines, key=lambda e: e.units * e.dk)
    bit_macs = sum(e.bit_macs_per_cycle for e in datapath.engines)
    acc, levels = max(e.acc_bits for e in datapath.engines), max(e.levels for e in datapath.engines)
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
                drain_lanes=1,
                acc_bits=acc,
                levels=levels,
            )
            yield Datapath(
                (engine,),
                (0,) * len(datapath.assignment),
                dn if lanes is LaneMode.BATCH else 1,
                datapath.dram_bits_per_cycle,
            )


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
        dk = max(engine.dk, dm * pa)
        engines.append(replace(engine, dm=dm, dk=dk - dk % (4 * pa), planes_per_word=(pa,)))
    return replace(datapath, engines=tuple(engines))


def _moved(datapath: Datapath, rng: np.random.Generator) -> Datapath | None:
    """Returns a datapath with one or two numbers changed, None where that is no datapath."""
    engines = list(datapath.engines)
    batch = datapath.batch_frames
    try:
        for _ in range(int(rng.integers(1, 5))):
            k = int(rng.integers(len(engines)))
            for name, value in _one_move(engines[k], rng):
                engines[k] = replace(engines[k], **{name: value})
        lanes = [e.dn for e in engines if e.lanes is LaneMode.BATCH]
        if lanes:
            batch = lanes[int(rng.integers(len(lanes)))]
            engines = [
                replace(e, dn=batch, drain_lanes=min(e.drain_lanes, batch))
                if e.lanes is LaneMode.BATCH
                else e
                for e in engines
            ]
        return replace(datapath, engines=tuple(engines), batch_frames=batch)
    except ConfigError:
        return None


def _one_move(engine: Engine, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    kind = int(rng.integers(5))
    if kind == 0:
        nines = [n for n in (9, 18, 27, 36, 45) if abs(n - engine.dm) < 10]
        yield "dm", int(rng.choice([*(engine.dm // 8 * 8 + step for step in _DM_STEPS), *nines]))
    elif kind == 1:
        pa = max(engine.planes_per_word)
        yield "dk", engine.dk + pa * int(rng.choice(_DK_STEPS))
    elif kind == 2:
        yield "dn", engine.dn + int(rng.choice(_DN_STEPS))
    elif kind == 3:
        yield "drain_lanes", int(rng.integers(1, 3))
    else:
        yield "planes_per_word", ((1,), (2,))[int(rng.integers(2))]
