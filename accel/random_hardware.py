"""Small accelerators with room to spare, and random networks to run on them: trials of RTL against the integer reference.

A *variant* is hardware that is built once; a *trial* is a random network with programs for a variant, stored images and
the manners of a DRAM. Trials differ in all that programs decide: shapes, kernels, strides, padding, groups, bits, pooling,
tiles of rows, frames and rounds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.build import Simulator
from foldwright.accel.cosim.frames import FramesRun, run_frames
from foldwright.accel.cosim.run import DramModel, Limits
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.export.fitting import Fillers, Room, roomy_hardware
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out
from foldwright.accel.mapping import M_CYCLES, map_layers
from foldwright.accel.random_network import (
    FirstLayer,
    RandomNetwork,
    random_network,
    random_residual_network,
)
from foldwright.accel.rtl.accelerator import AcceleratorShape
from foldwright.accel.rtl.window import WindowShape
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import ActKind, Layer, ResultKind, WeightKind
from foldwright.errors import ConfigError

__all__ = ["VARIANTS", "Trial", "Variant", "draw_trial", "run_trial"]

_DENSE = (WeightKind.BINARY, WeightKind.TERNARY, WeightKind.ODD)
_LATENCIES = (0, 1, 5, 20, 80, 300)
_LIMITS = Limits(cycles=20_000_000, seconds=300.0)
MOST_CYCLES = 60_000
"""Of the engines in a round, by the cost model; longer networks are drawn again."""


@dataclass(frozen=True)
class Variant:
    """Hardware to try networks on. `assignments` are the engines of networks that it can run.

    Where its room has bits for residuals, networks have blocks with residual adds behind `stem` layers; else they are chains.
    """

    name: str
    engines: tuple[Engine, ...]
    assignments: tuple[tuple[int, ...], ...]
    fillers: Fillers
    storing: int = 0
    first: FirstLayer | None = None
    dram_bits: int = 32
    streams: bool = False
    stem: int = 1
    room: Room = field(default_factory=Room)

    @cached_property
    def hardware(self) -> AcceleratorShape:
        return roomy_hardware(
            self.engines,
            self.fillers,
            storing=self.storing,
            window=self._window(),
            dram_bits=self.dram_bits,
            room=self.room,
            streams=self.streams,
        )

    @property
    def weight_kinds(self) -> tuple[WeightKind, ...]:
        has_xnor = any(engine.arithmetic is Arithmetic.XNOR for engine in self.engines)
        return _DENSE if has_xnor else (*_DENSE, WeightKind.SIGNED)

    @property
    def most_levels(self) -> int:
        return min((engine.levels for engine in self.engines if engine.levels), default=0)

    @property
    def sum_bits(self) -> int:
        """The bits of a pooled sum that every engine with thresholds has; 0 where one only pools maxima."""
        return min((engine.sum_bits for engine in self.engines if engine.levels), default=0)

    @property
    def result(self) -> ResultKind:
        """How the engines make codes, all of them in one way."""
        return ResultKind(self.engines[0].requant.value)

    def _window(self) -> WindowShape | None:
        """Returns the window for the given first layer, all of whose planes go into few words."""
        first, engine = self.first, self.engines[0]
        if first is None:
            return None
        pa = max(engine.planes_per_word) if not first.pad_left or first.act_kind is not ActKind.SIGNED else 1
        return WindowShape(
            channels=first.channels,
            act_bits=first.act_bits,
            kernel=first.kernel,
            stride=first.stride,
            pad_left=first.pad_left,
            dk=engine.dk,
            pa=pa,
            dn=engine.dn,
            is_batch=engine.lanes is LaneMode.BATCH,
            line_words=1,
            flip_sign=first.act_kind is ActKind.SIGNED and pa > 1,
        )


def _engine(dm: int, dk: int, dn: int, lanes: LaneMode, **rest: Any) -> Engine:
    return Engine(dm, dk, dn, lanes=lanes, **{"acc_bits": 18, "levels": 3, **rest})


def _dsp(dm: int, dk: int, dn: int, bits: int, lanes: LaneMode, **rest: Any) -> Engine:
    return _engine(dm, dk, dn, lanes, kind=EngineKind.DSP, planes_per_word=(bits,), **rest)


def _scaling(dm: int, dk: int, dn: int, lanes: LaneMode, **rest: Any) -> Engine:
    return _engine(dm, dk, dn, lanes, requant=Requant.SCALE_SHIFT, **rest)


_B, _C, _AND = LaneMode.BATCH, LaneMode.COLUMN, Arithmetic.AND
_ONE = ((0,), (0, 0), (0, 0, 0))
_TWO = ((0, 1), (0, 0, 1), (0, 1, 1))
_BACK = ((0, 1, 0),)
_TO_AND_FRO = ((0, 1, 0), (0, 0, 1, 0), (0, 1, 1, 0, 0), (0, 1, 0, 1, 0))
_THREE = ((0, 1, 2), (0, 2, 1, 2), (0, 1, 0, 2), (0, 2, 1, 0, 2))
_BLOCKS = tuple((0,) * count for count in (3, 4, 5, 6))
_BLOCKS_BEHIND = tuple((0,) + (1,) * count for count in (3, 4, 5))
_BLOCKS_AROUND = tuple((0, 1) + (0,) * count for count in (2, 3, 4))
_ADDS = Room(own_words=4096, inbox_words=8192, residual_bits=4)

VARIANTS = (
    Variant("batch", (_engine(8, 16, 3, _B),), _ONE, ((FROM_LOADER,),)),
    Variant("column", (_engine(8, 16, 2, _C),), _ONE, ((FROM_LOADER,),), streams=True),
    Variant(
        "column-planes", (_engine(8, 32, 4, _C, planes_per_word=(1, 2)),), _ONE, ((FROM_LOADER,),), dram_bits=64
    ),
    Variant(
        "batch-and-pairs",
        (_engine(8, 32, 4, _B, arithmetic=_AND, planes_per_word=(2,), levels=7, drain_lanes=2),),
        _ONE,
        ((FROM_LOADER,),), streams=True,
    ),
    Variant("column-and-nines", (_engine(9, 36, 3, _C, arithmetic=_AND),), _ONE, ((FROM_LOADER,),)),
    Variant(
        "batch-wide", (_engine(16, 64, 2, _B, levels=15, drain_lanes=2),), _ONE, ((FROM_LOADER,),), dram_bits=64, streams=True
    ),
    Variant(
        "column-to-batch",
        (_engine(8, 24, 3, _C), _engine(16, 32, 2, _B)),
        _TWO, ((FROM_LOADER,), (0,)), 1, streams=True,
    ),
    Variant(
        "batch-to-column",
        (_engine(18, 36, 1, _B, arithmetic=_AND), _engine(8, 40, 3, _C, arithmetic=_AND, planes_per_word=(1, 2))),
        _TWO, ((FROM_LOADER,), (0,)), 1,
    ),
    Variant(
        "batches-then-raw",
        (_engine(8, 32, 5, _B, drain_lanes=2), _engine(8, 32, 5, _B, levels=0, drain_lanes=5)),
        ((0, 1), (0, 0, 1)), ((FROM_LOADER,), (0,)), 1, streams=True,
    ),
    Variant(
        "window-columns-and-back",
        (_engine(8, 32, 3, _C, window_bits=45), _engine(8, 16, 2, _B)),
        _BACK, ((1,), (0,)), 0, FirstLayer(5, 1, ActKind.UNSIGNED, (3, 3), (1, 1), 1), streams=True,
    ),
    Variant(
        "window-batch",
        (_engine(8, 24, 3, _B, planes_per_word=(1, 2), window_bits=150),),
        _ONE, ((),), 0, FirstLayer(3, 2, ActKind.SIGNED, (5, 5), (2, 2)),
    ),
    Variant(
        "window-signed-bytes",
        (_engine(8, 27, 2, _C, arithmetic=_AND, window_bits=216), _engine(9, 54, 2, _C, arithmetic=_AND)),
        _TWO, ((), (0,)), 1, FirstLayer(3, 8, ActKind.SIGNED, (3, 3), (2, 1), 1), 64, streams=True,
    ),
    Variant("dsp-columns", (_dsp(8, 40, 3, 4, _C),), _ONE, ((FROM_LOADER,),)),
    Variant(
        "dsp-window-then-batch",
        (_dsp(8, 72, 5, 8, _B, window_bits=216, drain_lanes=2), _engine(8, 16, 5, _B)),
        _TWO, ((), (0,)), 1, FirstLayer(3, 8, ActKind.UNSIGNED, (3, 3), (1, 1), 1),
    ),
    Variant("batch-residual", (_engine(8, 16, 3, _B),), _BLOCKS, ((FROM_LOADER,),), streams=True, room=_ADDS),
    Variant(
        "column-residual", (_engine(8, 32, 4, _C, planes_per_word=(1, 2)),), _BLOCKS, ((FROM_LOADER,),), room=_ADDS
    ),
    Variant(
        "batch-residual-pairs",
        (_engine(16, 64, 5, _B, planes_per_word=(2,), drain_lanes=2),),
        _BLOCKS, ((FROM_LOADER,),), dram_bits=64, room=_ADDS,
    ),
    Variant(
        "residual-from-inbox",
        (_engine(9, 18, 2, _C, arithmetic=_AND), _engine(9, 36, 3, _C, arithmetic=_AND)),
        _BLOCKS_BEHIND, ((FROM_LOADER,), (0,)), 1, streams=True, room=_ADDS,
    ),
    Variant(
        "two-fill-an-inbox", (_engine(8, 16, 3, _B), _engine(8, 40, 3, _C)), _TO_AND_FRO, ((FROM_LOADER, 1), (0,)), streams=True
    ),
    Variant(
        "three-engines",
        (_engine(8, 24, 2, _C), _engine(16, 32, 3, _B), _engine(8, 32, 2, _C, planes_per_word=(1, 2))),
        _THREE, ((FROM_LOADER, 1), (0, 2), (0, 1)), 2,
    ),
    Variant(
        "residual-from-second-inbox",
        (_engine(8, 16, 3, _B, arithmetic=_AND), _engine(8, 24, 2, _C, arithmetic=_AND)),
        _BLOCKS_AROUND, ((FROM_LOADER, 1), (0,)), streams=True, stem=2, room=_ADDS,
    ),
    Variant("batch-averages", (_engine(8, 32, 3, _B, sum_bits=9, drain_lanes=2),), _ONE, ((FROM_LOADER,),), streams=True),
    Variant(
        "column-averages-to-batch",
        (_engine(9, 36, 4, _C, planes_per_word=(1, 2), sum_bits=8), _engine(8, 32, 2, _B, planes_per_word=(2,), sum_bits=10)),
        _TWO, ((FROM_LOADER,), (0,)), 1,
    ),
    Variant(
        "averages-of-sums", (_engine(8, 32, 3, _B, planes_per_word=(2,), sum_bits=9),), _BLOCKS, ((FROM_LOADER,),), room=_ADDS
    ),
    Variant(
        "column-averages-of-sums", (_engine(8, 32, 4, _C, sum_bits=8),), _BLOCKS, ((FROM_LOADER,),), streams=True, room=_ADDS
    ),
    Variant("scale-columns", (_scaling(8, 16, 2, _C, levels=7),), _ONE, ((FROM_LOADER,),), streams=True),
    Variant(
        "scale-batch-and-bytes",
        (_scaling(8, 32, 4, _B, arithmetic=_AND, planes_per_word=(1, 2), levels=255, drain_lanes=2, acc_bits=22),),
        _ONE, ((FROM_LOADER,),), dram_bits=64,
    ),
    Variant(
        "scale-window-and-back",
        (_scaling(9, 36, 3, _C, window_bits=45), _scaling(18, 36, 2, _B)),
        _BACK, ((1,), (0,)), 0, FirstLayer(5, 1, ActKind.UNSIGNED, (3, 3), (1, 1), 1),
    ),
    Variant(
        "scale-residual", (_scaling(8, 32, 4, _C, planes_per_word=(1, 2)),), _BLOCKS, ((FROM_LOADER,),), streams=True, room=_ADDS
    ),
    Variant(
        "scale-batch-residual", (_scaling(16, 64, 5, _B, drain_lanes=2),), _BLOCKS, ((FROM_LOADER,),), dram_bits=64, room=_ADDS
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Trial:
    """A network on a variant; `images` are stored values (frames, C, H, W)."""

    network: RandomNetwork
    package: Package
    images: npt.NDArray[np.int64]
    dram: DramModel

    @property
    def rounds(self) -> int:
        return -(-len(self.images) // self.package.batch_frames)

    def described(self) -> dict[str, Any]:
        """Returns what one has to know to see what this trial is."""
        return {
            "layers": [str(entry.layer) for entry in self.network.layers.values()],
            "assignment": self.package.layout.datapath.assignment,
            "batch_frames": self.package.batch_frames,
            "frames": len(self.images),
            "tilings": [str(layer.tiling) for layer in self.package.layout.layers],
            "dram": str(self.dram),
        }


def draw_trial(
    variant: Variant, rng: np.random.Generator, refused: Counter[str] | None = None, tries: int = 1000
) -> Trial:
    """Returns a random trial that a variant can run.

    Args:
        refused: counts the reasons for which networks were drawn again.
    """
    refused = Counter() if refused is None else refused
    for _ in range(tries):
        try:
            return _draw(variant, rng)
        except ConfigError as error:
            refused[_reason(str(error))] += 1
    raise ConfigError(
        f"{variant.name}: none of {tries} networks fits; most often: {refused.most_common(1)[0][0]}"
    )


def _reason(text: str) -> str:
    """Returns the last part of a message without names and numbers."""
    words = text.rsplit(": ", 1)[-1].split("; ")[0].split()
    return " ".join(word for word in words if not any(c.isdigit() for c in word))


def _draw(variant: Variant, rng: np.random.Generator) -> Trial:
    assignment = variant.assignments[int(rng.integers(len(variant.assignments)))]
    kinds, levels, bits = variant.weight_kinds, variant.most_levels, variant.room.residual_bits
    sums = variant.sum_bits
    if bits:
        network = random_residual_network(
            rng,
            len(assignment),
            weight_kinds=kinds,
            most_levels=levels,
            residual_bits=bits,
            stem=variant.stem,
            sum_bits=sums,
            result=variant.result,
        )
    else:
        network = random_network(
            rng,
            len(assignment),
            weight_kinds=kinds,
            most_levels=levels,
            first=variant.first,
            sum_bits=sums,
            result=variant.result,
        )
    batch = int(rng.integers(1, 2 * max(engine.dn for engine in variant.engines) + 1))
    datapath = Datapath(variant.engines, assignment, batch_frames=batch)
    mappings = map_layers(
        layer_table(network.workload), engine_table(variant.engines), np.array(assignment), batch
    )
    if int(mappings[:, M_CYCLES].sum()) > MOST_CYCLES:
        raise ConfigError("draw: the network takes too long")
    rows = network.workload.layers[0].out_height
    tile_rows = int(rng.integers(0, rows + 1)) if rng.random() < 0.6 else 0
    tilings = {0: LayerTiling(rows=tile_rows)}
    if variant.streams and rng.random() < 0.8:
        tilings = {k: _random_tiling(rng, layer) for k, layer in enumerate(network.workload.layers)}
    packed = package(
        lay_out(network, datapath, tilings=tilings), variant.dram_bits, hardware=variant.hardware
    )
    frames = int(rng.integers(1, 3 * batch + 1))
    rounds = -(-frames // batch)
    size = max(1 << 16, 1 << (packed.addresses(rounds)["end"] - 1).bit_length())
    dram = DramModel(
        size_bytes=size,
        latency_cycles=int(rng.choice(_LATENCIES)),
        beats_per_cycle=float(rng.choice([0.25, 1.0, 2.0])),
        outstanding=int(rng.integers(1, 9)),
        stall_percent=int(rng.integers(0, 61)) if rng.random() < 0.7 else 0,
        seed=int(rng.integers(1 << 32)),
    )
    return Trial(network, packed, network.random_image(frames, rng), dram)


def _random_tiling(rng: np.random.Generator, layer: Layer) -> LayerTiling:
    return LayerTiling(
        blocks=int(rng.integers(0, 4)),
        rows=int(rng.integers(0, layer.out_height + 1)) if rng.random() < 0.5 else 0,
        rows_outside=bool(rng.random() < 0.5),
        streams_weights=bool(rng.random() < 0.6),
    )


def run_trial(trial: Trial, simulator: Simulator) -> tuple[FramesRun, int]:
    """Runs a trial; returns the run and the number of values that differ from the reference.

    Raises:
        VerificationError: the accelerator reports an error, hangs, or breaks the rules of AXI.
    """
    run = run_frames(trial.package, simulator, trial.images, dram=trial.dram, limits=_LIMITS)
    traces = trial.network.integer_tensors(trial.images)
    expected = traces[trial.network.workload.layers[-1].name].output
    return run, int((run.values != expected).sum())
