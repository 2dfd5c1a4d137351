"""A convolution, an array of multipliers with buffers and one DRAM port, and a mapping of one on the other as a loop nest.

The array takes `out_channels x in_channels x columns` products a cycle (K, C and OX unrolled in space), all of one kernel tap
and one output row. A mapping is an ordered list of temporal loops, outermost first; a loop's `step` is how much of its
dimension one iteration covers, so tiles need not divide anything and the last one may be smaller.

Three places in the list matter. The first `step_loops` loops make *steps*: what lies inside one runs without a transfer
in between, and what a step touches is moved in one piece. Per operand, the first `outside` loops lie outside its buffer: what all
loops further in touch stays on chip (its *tile*) until one of those outside moves on. Pieces of a tile are loaded when they
are first needed, so a tile that is a whole tensor does not mean that computing waits for all of it.

Sizes in elements unless a name says bits. What it leaves out: batches, groups, dilation, padding (a layer's input is what it
reads, borders included), several levels of memory on chip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT

__all__ = [
    "MAX_STEPS",
    "OPERANDS",
    "ArrayModel",
    "Convolution",
    "Dim",
    "Loop",
    "LoopNest",
    "PerOperand",
    "Unroll",
]

MAX_SIZE = 1 << 20
MAX_WORK = 1 << 52
"""Products of a layer, and bits of a tensor: cycles and bits stay exact in 64 bits."""
MAX_LINES = 1 << 24
MAX_LOOPS = 32
MAX_STEPS = 1_000_000
OPERANDS = ("weights", "inputs", "outputs")


class Dim(Enum):
    """The loops of a convolution: output channels, input channels, output rows and columns, kernel rows and columns."""

    K = "K"
    C = "C"
    OY = "OY"
    OX = "OX"
    FY = "FY"
    FX = "FX"


def _check(what: str, rows: list[tuple[str, int, int, int]], more: list[str] | None = None) -> None:
    wrong = [
        f"{name} is {value}, allowed {low}..{high}"
        for name, value, low, high in rows
        if not low <= value <= high
    ]
    if wrong or more:
        raise ConfigError(f"{what}: " + "; ".join(wrong + (more or [])))


@dataclass(frozen=True, slots=True)
class Convolution:
    """The shape of one layer: K, C, OY, OX, FY, FX and the strides."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.convolution/1"

    name: str
    out_channels: int
    in_channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int = 1
    stride_x: int = 1

    def __post_init__(self) -> None:
        names = ("out_channels", "in_channels", "out_height", "out_width", "kernel_height", "kernel_width")
        rows = [(n, int(getattr(self, n)), 1, MAX_SIZE) for n in (*names, "stride_y", "stride_x")]
        _check(f"convolution {self.name!r}", rows)
        rows = [
            ("products", self.products, 1, MAX_WORK),
            ("inputs", self.in_channels * self.in_height * self.in_width, 1, MAX_WORK),
            ("out_height * kernel_height", self.out_height * self.kernel_height, 1, MAX_LINES),
            ("out_width * kernel_width", self.out_width * self.kernel_width, 1, MAX_LINES),
        ]
        _check(f"convolution {self.name!r}", rows)

    @property
    def sizes(self) -> dict[Dim, int]:
        return {
            Dim.K: self.out_channels,
            Dim.C: self.in_channels,
            Dim.OY: self.out_height,
            Dim.OX: self.out_width,
            Dim.FY: self.kernel_height,
            Dim.FX: self.kernel_width,
        }

    @property
    def products(self) -> int:
        return math.prod(self.sizes.values())

    @property
    def in_height(self) -> int:
        """Rows that are read: where the stride is larger than the kernel, those between are not."""
        return (self.out_height - 1) * min(self.stride_y, self.kernel_height) + self.kernel_height

    @property
    def in_width(self) -> int:
        return (self.out_width - 1) * min(self.stride_x, self.kernel_width) + self.kernel_width


@dataclass(frozen=True, slots=True)
class ArrayModel:
    """A neutral accelerator: an array, buffers, one DRAM port.

    `buffer_bits` has one entry for a pool that all operands share, or three: weights, inputs, outputs. A partial sum takes
    `psum_bits` on chip and in DRAM, a finished output `output_bits` in DRAM. A `double_buffered` array may keep two copies
    of a tile, one in use and one being loaded or stored.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.array_model/1"

    name: str
    out_channels: int
    in_channels: int
    columns: int
    weight_bits: int
    input_bits: int
    psum_bits: int
    output_bits: int
    dram_bits_per_cycle: int
    buffer_bits: tuple[int, ...]
    double_buffered: bool = True

    def __post_init__(self) -> None:
        shape = [(n, int(getattr(self, n)), 1, 1 << 16) for n in ("out_channels", "in_channels", "columns")]
        bits = [
            (n, int(getattr(self, n)), 1, 64)
            for n in ("weight_bits", "input_bits", "psum_bits", "output_bits")
        ]
        more = [("dram_bits_per_cycle", self.dram_bits_per_cycle, 1, 1 << 16)]
        more += [(f"buffer_bits[{i}]", size, 1, 1 << 50) for i, size in enumerate(self.buffer_bits)]
        count = len(self.buffer_bits)
        words = (
            []
            if count in (1, 3)
            else [f"buffer_bits has {count} entries, allowed are 1 (shared) or 3 ({', '.join(OPERANDS)})"]
        )
        _check(f"array {self.name!r}", shape + bits + more, words)

    @property
    def is_shared(self) -> bool:
        """Whether the operands share one pool."""
        return len(self.buffer_bits) == 1


@dataclass(frozen=True, slots=True)
class PerOperand:
    """A number for each operand."""

    __pydantic_config__: ClassVar = STRICT

    weights: int
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Unroll:
    """How much of K, C and OX the array takes in one cycle."""

    __pydantic_config__: ClassVar = STRICT

    out_channels: int
    in_channels: int
    columns: int


@dataclass(frozen=True, slots=True)
class Loop:
    """A temporal loop: an iteration covers `step` of `dim`, the last one what is left."""

    __pydantic_config__: ClassVar = STRICT

    dim: Dim
    step: int


@dataclass(frozen=True, slots=True)
class LoopNest:
    """A mapping of a convolution: `loops` outermost first, what makes a step, and per operand tile and copies.

    With `halo_reuse`, the rows or columns that a tile of inputs shares with the one before it stay on chip where the innermost
    loop outside the buffer that moves the tile is one of rows or columns.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.loop_nest/1"

    convolution: Convolution
    unroll: Unroll
    loops: tuple[Loop, ...]
    step_loops: int
    outside: PerOperand
    copies: PerOperand
    halo_reuse: bool = True

    def __post_init__(self) -> None:
        where = f"loop nest of {self.convolution.name!r}"
        rows = [
            (f"unroll.{n}", int(getattr(self.unroll, n)), 1, 1 << 16)
            for n in ("out_channels", "in_channels", "columns")
        ]
        rows += [
            ("number of loops", len(self.loops), 0, MAX_LOOPS),
            ("step_loops", self.step_loops, 0, len(self.loops)),
        ]
        rows += [(f"outside.{o}", int(getattr(self.outside, o)), 0, self.step_loops) for o in OPERANDS]
        rows += [(f"copies.{o}", int(getattr(self.copies, o)), 1, 2) for o in OPERANDS]
        left = self.convolution.sizes
        for i, loop in enumerate(self.loops):
            rows.append((f"loops[{i}] over {loop.dim.value}: step", loop.step, 1, left[loop.dim]))
            left[loop.dim] = max(1, loop.step)
        _check(where, rows)
        _check(where, [("number of steps", self.steps, 1, MAX_STEPS)])

    @property
    def counts(self) -> tuple[int, ...]:
        """The iterations of each loop, those within an edge tile left out."""
        left, out = self.convolution.sizes, []
        for loop in self.loops:
            out.append(-(-left[loop.dim] // loop.step))
            left[loop.dim] = loop.step
        return tuple(out)

    @property
    def steps(self) -> int:
        """The number of steps; where loops of a dimension do not divide each other, the number at most."""
        return math.prod(self.counts[: self.step_loops])
