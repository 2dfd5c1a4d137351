"""The window of tap packing: stands in for the feature map of a first layer whose taps lie in its words.

The array sees a 1x1 convolution of `taps * channels` channels, packed channel = tap * channels + channel. Of a `select`
= plane group * words + word in cycle t, the word of all lanes comes at t + 2: bit i * (dk / pa) + j of a lane is plane
`group * pa + i` of packed channel `word * (dk / pa) + j`, 0 behind the last of either.

The line memory holds pixels of `line_bits`, channel c in bits `c * act_bits` and up, one pixel for each lane in a word.
Batch lanes: column x of the map stands at `row + x`, lanes are frames. Column lanes: padded column `x + pad_left` in lane
`(x + pad_left) // stride mod dn`, at `row + group * stride + phase`, where phase is `(x + pad_left) mod stride` and group is
`(x + pad_left) // stride // dn`.

Pixels shift one word a cycle into *staging*, whose first register is the memory's output register, and, a batch at a
time, into the window: no multiplexer stands before either. `window_time` says what that takes.

Handshake, all of it in cycles of the sequencer's first stage: a block may start (`take`) where `ready` is set; `done` is
set in its last cycle (`take` and `done` coincide where it takes one). Its selects come 3 cycles behind, so from
`take + 3` up to `done + 3`. `go` takes the fields of a tile, at the earliest with the last `done` of the tile before; the rows
that a tile reads are in memory from `go + 3` on. Windows follow in the order block, frame, row, column.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.rtl.window_walk import WindowShape, WindowWalk, window_layout

__all__ = ["Window", "WindowShape", "window_layout"]

_COMMIT_STAGES = 3
_LOW_SELECT_BITS = 4


class Window(Component):  # type: ignore[misc,unused-ignore]
    """Line memory, prefetch, staging, window registers and the choice of words.

    A choice among up to 16 words is made in one stage behind a register of `select`, one among more in two stages
    (`WindowShape.is_deep`), and then the window has to change a cycle earlier.
    """

    def __init__(self, shape: WindowShape) -> None:
        self.shape = shape
        self._walk = WindowWalk(shape)
        super().__init__(
            {
                "go": In(1),
                "fields": In(window_layout(shape)),
                "take": In(1),
                "done": In(1),
                "ready": Out(1),
                "select": In(address_bits(shape.words * shape.plane_groups)),
                "word": Out(shape.dn * shape.dk),
                "write": In(shape.dn),
                "write_address": In(address_bits(shape.line_words)),
                "write_data": In(shape.line_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.walk = walk = self._walk
        m.d.comb += [walk.go.eq(self.go), walk.fields.eq(self.fields)]
        self._shake_hands(m)
        window = self._registers(m, self._staging(m))
        options = [
            self._option(window, group, word)
            for group in range(self.shape.plane_groups)
            for word in range(self.shape.words)
        ]
        self._choose(m, options)
        return m

    def _shake_hands(self, m: Module) -> None:
        """Keeps whether the window may be overwritten (`free`) and whether one waits for its block (`waits`).

        A deep choice uses the window a cycle earlier, so `done` counts at once and `ready` comes a cycle later.
        """
        walk, is_deep = self._walk, self.shape.is_deep
        free, waits = Signal(init=1, name="free"), Signal(name="waits")
        completes = walk.launch & walk.final
        frees, waiting = self.go | self.done, waits | completes
        if is_deep:
            frees, waiting = self.go | (self.done & ~completes), waits
        m.d.comb += [walk.free.eq(free | self.done if is_deep else free), self.ready.eq(waiting)]
        with m.If(frees):
            m.d.sync += free.eq(1)
        with m.Elif(completes):
            m.d.sync += free.eq(0)
        waits_on = waiting & ~self.take
        m.d.sync += waits.eq(~self.go & (waits_on | completes if is_deep else waits_on))

    def _staging(self, m: Module) -> list[Signal]:
        """Returns the words of a batch, the one read last first."""
        s, walk = self.shape, self._walk
        width, bits = s.dn * s.line_bits, s.line_bits
        ram = WideMemory(m, "line", width, s.line_words, unit_bits=bits, lanes=True)
        ram.write(self.write_address, self.write_data.replicate(s.dn), self.write)
        read, count = ram.read(walk.address, walk.read), s.kernel[0] * s.moved_words
        words = [Signal(width, name=f"staged_{k}", reset_less=True) for k in range(count)]
        with m.If(walk.load):
            m.d.sync += words[0].eq(read)
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(words)]
        masked = s.dn // s.lanes_across * bits
        for lane in range(s.lanes_across):
            with m.If(walk.clear[lane]):
                m.d.sync += words[0][lane * masked : (lane + 1) * masked].eq(0)
        return words

    def _registers(self, m: Module, staged: list[Signal]) -> list[list[Signal]]:
        """Returns the strips of the window: for each tap row its line words."""
        s = self.shape
        rows, moved = s.kernel[0], s.moved_words
        commit = delayed(m, self._walk.launch, _COMMIT_STAGES, "commit")
        strips = []
        for y in range(rows):
            name = f"window_{y}"
            strip = [
                Signal(s.dn * s.line_bits, name=f"{name}_{u}", reset_less=True) for u in range(s.strip_words)
            ]
            following = [*strip[moved:], *(staged[-1 - (k * rows + y)] for k in range(moved))]
            with m.If(commit):
                m.d.sync += [register.eq(value) for register, value in zip(strip, following, strict=True)]
            strips.append(strip)
        return strips

    def _option(self, window: list[list[Signal]], group: int, word: int) -> Value:
        """Returns one word of all lanes."""
        s = self.shape
        bits: list[Value] = []
        for lane in range(s.dn):
            for plane in range(group * s.pa, (group + 1) * s.pa):
                channels = range(word * s.channels_per_word, (word + 1) * s.channels_per_word)
                bits += [self._bit(window, lane, plane, channel) for channel in channels]
        return Cat(*bits)

    def _bit(self, window: list[list[Signal]], lane: int, plane: int, channel: int) -> Value:
        """Returns a plane of a packed channel as a lane sees it."""
        s = self.shape
        if channel >= s.packed_channels or plane >= s.act_bits:
            return C(0, 1)
        tap, part = divmod(channel, s.channels)
        y, x = divmod(tap, s.kernel[1])
        u = x
        if not s.is_batch:
            column, phase = divmod(lane * s.stride[1] + x, s.stride[1])
            group, lane = divmod(column, s.dn)
            u = group * s.stride[1] + phase
        bit = window[y][u][lane * s.line_bits + part * s.act_bits + plane]
        return ~bit if s.flip_sign and plane == s.act_bits - 1 else bit

    def _choose(self, m: Module, options: list[Value]) -> None:
        """Delivers the selected word two cycles after `select`."""
        select = Signal.like(self.select, name="select_now")
        word = Signal(len(self.word), name="word_now", reset_less=True)
        m.d.sync += select.eq(self.select)
        m.d.comb += self.word.eq(word)
        if self.shape.is_deep:
            low, size = self.select[:_LOW_SELECT_BITS], 1 << _LOW_SELECT_BITS
            parts = []
            for first in range(0, len(options), size):
                part = Signal(len(word), name=f"part_{first // size}", reset_less=True)
                m.d.sync += part.eq(_tree(low, options[first : first + size]))
                parts.append(part)
            select, options = select[_LOW_SELECT_BITS:], parts
        m.d.sync += word.eq(_tree(select, options))


def _tree(index: Value, options: list[Value]) -> Value:
    """Returns options[index] as a tree of two-way choices, whatever is cheapest for an index behind the last."""
    if len(options) == 1:
        return options[0]
    pairs = [Mux(index[0], odd, even) for even, odd in zip(options[::2], options[1::2], strict=False)]
    return _tree(index[1:], [*pairs, *options[len(options) & ~1 :]])
