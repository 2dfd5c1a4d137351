"""Stage 0 of the window: walks over the line words of a tile's windows in the order in which they are shifted in.

The order, from outside: block, frame, row, batch (`window_time`: what the window moves on by), word of a strip,
tap row. The last word of a batch waits until the window is free, since it moves the batch into it; nothing else
waits, so reads go on without a gap from batch to batch, row to row and block to block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import C, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.loops import Loop, accumulate, address_bits
from foldwright.accel.window_time import strip_batches, strip_words
from foldwright.errors import ConfigError

__all__ = ["WindowShape", "WindowWalk", "window_layout"]

_COUNT_BITS = 16
_DEEPEST_IN_ONE_STAGE = 16


@dataclass(frozen=True, slots=True)
class WindowShape:
    """What a window is built for.

    Attributes:
        kernel: height and width.
        stride: down and across.
        pad_left: columns of padding before a row; rows of padding are in the fields of a tile.
        dk: bits of a lane's word, `pa` planes of `dk / pa` packed channels.
        is_batch: lanes are frames, else neighbouring output columns.
        line_words: depth of the line memory.
        flip_sign: invert the top bit of each value, which turns x into x + 2^(act_bits - 1).
    """

    channels: int
    act_bits: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad_left: int
    dk: int
    pa: int
    dn: int
    is_batch: bool
    line_words: int
    flip_sign: bool = False

    def __post_init__(self) -> None:
        counts = (self.channels, self.act_bits, *self.kernel, *self.stride, self.pa, self.dn, self.line_words)
        if min(counts) < 1 or self.pad_left < 0:
            raise ConfigError(f"{self}: every size must be at least 1, the padding at least 0")
        if self.dk % self.pa:
            raise ConfigError(f"window words of {self.dk} bits do not hold {self.pa} planes; pick a divisor")

    @property
    def line_bits(self) -> int:
        """Bits of a pixel, one lane of a line word."""
        return self.channels * self.act_bits

    @property
    def packed_channels(self) -> int:
        return self.channels * self.kernel[0] * self.kernel[1]

    @property
    def channels_per_word(self) -> int:
        return self.dk // self.pa

    @property
    def words(self) -> int:
        """Words of one plane group."""
        return -(-self.packed_channels // self.channels_per_word)

    @property
    def plane_groups(self) -> int:
        return -(-self.act_bits // self.pa)

    @property
    def is_deep(self) -> bool:
        """Whether the choice among all words takes two stages."""
        return self.words * self.plane_groups > _DEEPEST_IN_ONE_STAGE

    @property
    def lanes_across(self) -> int:
        """Neighbouring columns of a line word."""
        return 1 if self.is_batch else self.dn

    @property
    def strip_words(self) -> int:
        """Line words of a tap row in the window."""
        return strip_words(self.kernel[1], self.stride[1], self.lanes_across)

    @property
    def moved_words(self) -> int:
        """Line words by which a tap row moves on from window to window."""
        return min(self.stride[1], self.kernel[1])

    @property
    def strip_batches(self) -> int:
        return strip_batches(self.kernel[1], self.stride[1], self.lanes_across)


def window_layout(shape: WindowShape) -> data.StructLayout:
    """Returns the fields of a tile.

    `blocks`, `frames`, `rows` and `columns` count its loops, a column being a group of `dn` for column lanes;
    `base` is the line address of the first input row, `row_words` and `frame_words` lead to the next ones;
    `first_row` is the number of that input row, negative in the padding; `in_height` and `in_width` end the map.
    """
    counts = dict.fromkeys(("blocks", "frames", "rows", "columns"), _COUNT_BITS)
    addresses = dict.fromkeys(("base", "row_words", "frame_words"), address_bits(shape.line_words))
    sizes = dict.fromkeys(("first_row", "in_height", "in_width"), _COUNT_BITS)
    return data.StructLayout({**counts, **addresses, **sizes})


class WindowWalk(Component):  # type: ignore[misc,unused-ignore]
    """The loops of a tile's windows.

    `launch` says in cycle t that a batch's last word is walked over, `final` that it completes a window. That
    word's `address` and `read` come at t + 1, `load` and `clear` (lanes of padding) at t + 2.
    """

    def __init__(self, shape: WindowShape) -> None:
        self.shape = shape
        self._address_bits = address_bits(shape.line_words)
        super().__init__(
            {
                "go": In(1),
                "fields": In(window_layout(shape)),
                "free": In(1),
                "launch": Out(1),
                "final": Out(1),
                "address": Out(self._address_bits),
                "read": Out(1),
                "load": Out(1),
                "clear": Out(shape.lanes_across),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, s = Module(), self.shape
        fields, prime, running = Signal(window_layout(s)), Signal(name="prime"), Signal(name="running")
        batches = Signal(_COUNT_BITS, name="batches_count")
        m.d.sync += prime.eq(self.go)
        with m.If(self.go):
            m.d.sync += [fields.eq(self.fields), batches.eq(self.fields.columns + (s.strip_batches - 1))]
        row_done = Signal(name="row_done")
        first_words = s.strip_words - (s.strip_batches - 1) * s.moved_words
        words = Mux(row_done | prime, first_words, s.moved_words)
        tap_row, word = Loop(m, "tap_row", C(s.kernel[0])), Loop(m, "word", words)
        batch, row = Loop(m, "batch", batches), Loop(m, "row", fields.rows)
        frame, block = Loop(m, "frame", fields.frames), Loop(m, "block", fields.blocks)

        step = running & (~(tap_row.last & word.last) | self.free)
        tap_rows_done = running & tap_row.last & (~word.last | self.free)
        tap_row.drive(step, prime)
        word.drive(tap_rows_done, prime)
        m.d.comb += self.launch.eq(running & tap_row.last & word.last & self.free)
        m.d.comb += row_done.eq(batch.drive(self.launch, prime))
        rows_done = row.drive(row_done, prime)
        frames_done = frame.drive(rows_done, prime)
        done = block.drive(frames_done, prime)
        with m.If(prime | done):
            m.d.sync += running.eq(prime)
        self._count_fills(m, row_done | prime)
        on = _Events(prime, step, tap_rows_done, row_done, rows_done, frames_done)
        wraps = tap_rows_done & (word.left == _wrap_left(s))
        self._addresses(m, fields, on, wraps)
        self._masks(m, fields, on, wraps)
        return m

    def _count_fills(self, m: Module, restart: Value) -> None:
        """Tells the batches that only fill the strip at a row's start from those that complete a window."""
        fills = self.shape.strip_batches - 1
        left = Signal(range(fills + 1), name="fills_left")
        with m.If(restart):
            m.d.sync += [left.eq(fills), self.final.eq(fills == 0)]
        with m.Elif(self.launch & ~self.final):
            m.d.sync += [left.eq(left - 1), self.final.eq(left == 1)]

    def _addresses(self, m: Module, fields: Any, on: _Events, wraps: Value) -> None:
        s, bits = self.shape, self._address_bits
        start, row_step = Signal(bits, name="start"), Signal(bits, name="row_step")
        with m.If(self.go):
            m.d.sync += start.eq(self.fields.base - (s.pad_left if s.is_batch else 0))
        shifted = [fields.row_words << k for k in range(s.stride[0].bit_length()) if s.stride[0] >> k & 1]
        m.d.sync += row_step.eq(sum(shifted[1:], shifted[0]))  # adders, lest it become a DSP
        fresh, row_starts = on.prime | on.frames_done, on.prime | on.row_done
        frame_base = accumulate(m, "frame_base", fields.frame_words, on.rows_done, fresh, start, bits)
        row_base, following = Signal(bits, name="row_base"), Signal(bits, name="row_following")
        next_frame = frame_base + fields.frame_words
        m.d.comb += following.eq(Mux(fresh, start, Mux(on.rows_done, next_frame, row_base + row_step)))
        with m.If(row_starts):
            m.d.sync += row_base.eq(following)
        moves = Mux(wraps, s.stride[1] - s.moved_words + 1, 1)
        column = accumulate(m, "column_address", moves, on.tap_rows_done, row_starts, following, bits)
        tap_row_starts = on.prime | on.tap_rows_done
        tap_row = accumulate(m, "tap_row_address", fields.row_words, on.step, tap_row_starts, 0, bits)
        m.d.sync += [self.address.eq(column + tap_row), self.read.eq(on.step), self.load.eq(self.read)]

    def _masks(self, m: Module, fields: Any, on: _Events, wraps: Value) -> None:
        """Marks what lies outside the map: one bit for batch lanes, one a lane for column lanes."""
        s, bits = self.shape, _COUNT_BITS
        frame_starts, row_starts = on.prime | on.rows_done, on.prime | on.row_done
        first = accumulate(m, "first_tap_row", s.stride[0], on.row_done, frame_starts, fields.first_row, bits)
        tap_bits, tap_row_starts = address_bits(s.kernel[0]), on.prime | on.tap_rows_done
        tap_row = accumulate(m, "tap_row_number", 1, on.step, tap_row_starts, 0, tap_bits)
        x = Signal(signed(bits + 1), name="x")  # column of the word's first lane
        across = s.lanes_across * s.stride[1]
        with m.If(row_starts):
            m.d.sync += x.eq(-s.pad_left)
        with m.Elif(on.tap_rows_done):
            m.d.sync += x.eq(x + Mux(wraps, across - s.moved_words + 1, 1))
        row, left = Signal(bits, name="row_number"), Signal(signed(bits + 2), name="columns_left")
        near, is_before = Signal(max(1, s.pad_left.bit_length()), name="near"), Signal(name="is_before")
        m.d.sync += [row.eq(first + tap_row), left.eq(fields.in_width - x)]
        m.d.sync += [near.eq(x), is_before.eq(x < 0)]
        outside = row >= fields.in_height
        low = ((s.lanes_across - 1) * s.stride[1]).bit_length()
        far = left[low:-1].any()
        for lane in range(s.lanes_across):
            at = lane * s.stride[1]
            behind = left[-1] | ~(far | (left[:low] > at))
            before = is_before & (near < max(0, (1 << len(near)) - at))
            m.d.sync += self.clear[lane].eq(self.read & (outside | behind | before))


@dataclass(frozen=True, slots=True)
class _Events:
    """Which loops step in this cycle; `prime` comes once, the cycle before the first word."""

    prime: Value
    step: Value
    tap_rows_done: Value
    row_done: Value
    rows_done: Value
    frames_done: Value


def _wrap_left(shape: WindowShape) -> int:
    """Returns how many words of a batch are left at the last one of a group of columns.

    A batch begins in the phase behind those of a strip's last, unfinished group.
    """
    unfinished = (shape.strip_words - 1) % shape.moved_words + 1
    return shape.moved_words - (shape.moved_words - 1 - unfinished) % shape.moved_words
