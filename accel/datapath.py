"""The hardware that the allocator decides: engines, their memories, the DRAM port, and who computes what.

An engine is `dm x dn` dot-product units of `dk` bits: `dm` output channels by `dn` lanes. Kind `planes` counts pairs of
bits in LUTs; kind `dsp` adds and subtracts whole activations in the part's DSP slices (`accel.dsp_shape`). A lane is a
column of the feature map (`LaneMode.COLUMN`) or a frame of the batch (`LaneMode.BATCH`). Memories are whole RAMB36 in simple
dual-port mode, all rows (lanes) of an engine side by side at one address.

Units: widths in bits, depths in words. What it leaves out: several feature-map layouts per engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from foldwright.accel.dsp_shape import array_slices
from foldwright.accel.slots import byte_runs
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT

__all__ = [
    "BYTE_BITS",
    "MAX_BUILT_ENGINES",
    "MAX_ENGINES",
    "MOST_SUM_BITS",
    "WIDEST_WORD",
    "Arithmetic",
    "Datapath",
    "Engine",
    "EngineKind",
    "LaneMode",
    "Requant",
]

MAX_ENGINES = 16
MAX_BUILT_ENGINES = 8
"""Of a whole accelerator's RTL; more are for simulator and cost model, as a foreign dataflow of one engine a layer needs them."""
BYTE_BITS = 9
"""What one write enable of a block RAM covers, on 7-series and ECP5 alike (UG473, FPGA-TN-02204)."""
WIDEST_WORD = 1024
MOST_SUM_BITS = 16
"""Bits of a pooled sum at most: those of the widest activations."""
WIDEST_SCALED = 25
"""Bits of the wider operand of a DSP48E1's multiplier (UG479)."""


class Arithmetic(Enum):
    """What a unit does with a pair of bits before it counts."""

    XNOR = "xnor"  # weight planes stand for -1 / +1
    AND = "and"  # weight planes stand for 0 / 1


class EngineKind(Enum):
    """What the units of an engine are made of."""

    PLANES = "planes"  # counters of pairs of bits
    DSP = "dsp"  # DSP slices that add or subtract values of `planes_per_word` bits


class LaneMode(Enum):
    """What the `dn` lanes of an engine carry."""

    COLUMN = "column"  # dn neighbouring columns of one frame
    BATCH = "batch"  # the same pixel of dn frames


class Requant(Enum):
    """What an engine's result path makes codes of accumulators with."""

    THRESHOLDS = "thresholds"
    SCALE_SHIFT = "scale_shift"  # one multiplication, addition and shift a channel


@dataclass(frozen=True, slots=True)
class Engine:
    """One array of dot-product units with its memories and its result path.

    `planes_per_word` lists how many activation planes a word may hold; a layer uses one entry `pa` of it, and
    then a word covers `dk / pa` channels. With several entries the weight words pass a selecting multiplexer.
    `drain_lanes` lanes of results leave per cycle. `levels` is the number of thresholds per channel (0: results
    leave raw). `window_bits` is the size of the window register of the tap-packing line buffer, 0 without one; the
    line memory beside it holds `line_words` words of `dn` pixels of `line_bits`. Kind `dsp` has one entry in `planes_per_word`,
    the bits of its values, and takes weights of -1 and +1 in each plane (XNOR). `sum_bits` is the width of a sum over the
    window of an average pooling, 0 for an engine that only pools maxima. With `requant` scale_shift, `levels` is the greatest
    code, and words of parameters (`accel.scale_words`) lie where thresholds would.
    """

    __pydantic_config__: ClassVar = STRICT

    dm: int
    dk: int
    dn: int
    arithmetic: Arithmetic = Arithmetic.XNOR
    lanes: LaneMode = LaneMode.COLUMN
    planes_per_word: tuple[int, ...] = (1,)
    drain_lanes: int = 1
    acc_bits: int = 16
    levels: int = 1
    window_bits: int = 0
    weight_words: int = 512
    map_words: int = 512
    threshold_words: int = 64
    line_bits: int = 0
    line_words: int = 0
    kind: EngineKind = EngineKind.PLANES
    sum_bits: int = 0
    requant: Requant = Requant.THRESHOLDS

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value}, allowed {low}..{high}"
            for name, value, low, high in (
                ("dm", self.dm, 1, 512),
                ("dk", self.dk, 4, WIDEST_WORD),
                ("dn", self.dn, 1, 128),
                ("drain_lanes", self.drain_lanes, 1, self.dn),
                ("acc_bits", self.acc_bits, 4, 48),
                ("levels", self.levels, 0, 255),
                ("window_bits", self.window_bits, 0, 65536),
                ("weight_words", self.weight_words, 1, 2**24),
                ("map_words", self.map_words, 0, 2**24),
                ("threshold_words", self.threshold_words, 1, 2**16),
                ("line_bits", self.line_bits, 0, 4096),
                ("line_words", self.line_words, 0, 2**20),
                ("sum_bits", self.sum_bits, 0, MOST_SUM_BITS if self.levels else 0),
            )
            if not low <= value <= high
        ]
        pa = self.planes_per_word
        if not pa or any(p not in (1, 2, 4, 8) or self.dk % p for p in pa) or list(pa) != sorted(set(pa)):
            wrong.append(
                f"planes_per_word is {pa}, allowed are ascending values of 1, 2, 4, 8 that divide dk={self.dk}"
            )
        if self.kind is EngineKind.DSP and (
            self.arithmetic is not Arithmetic.XNOR or pa not in ((2,), (4,), (8,))
        ):
            wrong.append(
                f"kind dsp needs xnor arithmetic and one of 2, 4, 8 planes_per_word, got {self.arithmetic.value} and {pa}"
            )
        if self.requant is Requant.SCALE_SHIFT and self.acc_bits > WIDEST_SCALED:
            wrong.append(
                f"acc_bits is {self.acc_bits}, requant scale_shift allows 4..{WIDEST_SCALED}, what a DSP slice multiplies; use "
                "thresholds"
            )
        if wrong:
            raise ConfigError(f"engine {self.dm}x{self.dk}x{self.dn}: " + "; ".join(wrong))

    @property
    def shape(self) -> str:
        return f"{self.dm}x{self.dk}x{self.dn}"

    @property
    def byte_bits(self) -> int:
        """What one write enable covers in the maps that this engine's writer fills."""
        return BYTE_BITS if self.dm % BYTE_BITS == 0 else BYTE_BITS - 1

    @property
    def units(self) -> int:
        return self.dm * self.dn

    @property
    def values(self) -> int:
        """Channels of a word that holds the most planes."""
        return self.dk // max(self.planes_per_word)

    @property
    def dsp_slices(self) -> int:
        """DSP slices of an engine of kind `dsp`: one for each value of four lanes."""
        if self.kind is EngineKind.PLANES:
            return 0
        return int(array_slices.py_func(self.dm, self.values, self.dn))

    @property
    def multipliers(self) -> int:
        """Multipliers of a result path that scales: one for each channel and lane of a beat."""
        scales = self.requant is Requant.SCALE_SHIFT and self.levels > 0
        return self.dm * self.drain_lanes if scales else 0

    @property
    def bit_macs_per_cycle(self) -> int:
        return self.dm * self.dk * self.dn

    @property
    def weight_width_bits(self) -> int:
        """Width of a weight word: all rows, each replicated over the planes that every layer packs."""
        return self.dm * self.dk // min(self.planes_per_word)

    @property
    def map_width_bits(self) -> int:
        """Width of a feature-map word: all lanes."""
        return self.dn * self.dk

    @property
    def map_block_width_bits(self) -> int:
        """Width that the feature map takes in block RAM: lanes are written one by one, in bytes that take nine bits each."""
        return self.dn * len(byte_runs(self.dk, self.planes_per_word, self.byte_bits)) * BYTE_BITS

    @property
    def item_bits(self) -> int:
        """Width of a result for DRAM: the lanes of a beat, all channels of a block, raw or as codes."""
        return self.drain_lanes * self.dm * max(self.acc_bits, self.levels.bit_length(), self.sum_bits)

    @property
    def line_width_bits(self) -> int:
        """Width that the line memory takes in block RAM: one pixel for every lane, each whole bytes of nine bits."""
        return self.dn * -(-self.line_bits // BYTE_BITS) * BYTE_BITS


@dataclass(frozen=True, slots=True)
class Datapath:
    """Engines, which layer runs on which, frames per round, and the DRAM port.

    A *round* is `batch_frames` frames that pass together; an engine with batch lanes carries them side by side,
    one with column lanes one after another. `assignment[i]` is the engine of layer `i`. `store_words` results of the last
    layer's engine wait for DRAM at most.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.datapath/1"

    engines: tuple[Engine, ...]
    assignment: tuple[int, ...]
    batch_frames: int = 1
    dram_bits_per_cycle: int = 32
    store_words: int = 512

    def __post_init__(self) -> None:
        wrong = []
        if not 1 <= len(self.engines) <= MAX_ENGINES:
            wrong.append(f"{len(self.engines)} engines, allowed 1..{MAX_ENGINES}")
        if any(not 0 <= e < len(self.engines) for e in self.assignment):
            wrong.append(f"assignment {self.assignment} names an engine that is not there")
        elif set(self.assignment) != set(range(len(self.engines))):
            wrong.append(f"assignment {self.assignment} leaves an engine without a layer")
        if not 1 <= self.batch_frames <= 1024:
            wrong.append(f"batch_frames is {self.batch_frames}, allowed 1..1024")
        if not 1 <= self.dram_bits_per_cycle <= 1024:
            wrong.append(f"dram_bits_per_cycle is {self.dram_bits_per_cycle}, allowed 1..1024")
        if not 1 <= self.store_words <= 2**20:
            wrong.append(f"store_words is {self.store_words}, allowed 1..{2**20}")
        if wrong:
            raise ConfigError("datapath: " + "; ".join(wrong))
