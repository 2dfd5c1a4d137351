"""Turns codes into the words and byte enables of a feature map, one plane group after another.

A beat's codes stand in shift registers from which every write takes `pa` planes. Each plane goes to all slots of the
word; the enables choose the slot and the lane. The first slot of a word clears the rest of the word, so that slots
that no block fills hold 0.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.writer_layout import writer_layout
from foldwright.accel.writer_shape import MapTarget, WriterShape

__all__ = ["Pack", "Planes"]


class Planes(Component):  # type: ignore[misc,unused-ignore]
    """Holds the results of a beat, codes or sums, and moves on by the planes of a word every cycle.

    `load` takes codes, plus the constant of the tile. `active` lasts for the beat's writes, `first` marks the first.
    """

    def __init__(self, shape: WriterShape) -> None:
        self.shape = shape
        bits = shape.drain_lanes * shape.dm * shape.result_bits
        super().__init__(
            {
                "fields": In(writer_layout(shape)),
                "load": In(1),
                "codes": In(bits),
                "active": Out(1),
                "first": Out(1),
                "held": Out(bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        f, bits = self.fields, self.shape.result_bits
        left = Signal.like(f.writes, name="left")
        m.d.sync += self.first.eq(self.load)
        with m.If(self.load):
            m.d.sync += [left.eq(f.writes), self.active.eq(1)]
        with m.Else():
            m.d.sync += [left.eq(left - 1), self.active.eq(self.active & (left != 1))]
        held = Signal(len(self.held), name="held_codes", reset_less=True)
        m.d.comb += self.held.eq(held)
        for low in range(0, len(held), bits):
            code = held[low : low + bits]
            with m.If(self.load):
                m.d.sync += code.eq(self.codes[low : low + bits] + f.code_offset)
            if self.shape.most_writes > 1:
                with m.Else():
                    m.d.sync += code.eq(self._shifted(code))
        return m

    def _shifted(self, code: Value) -> Value:
        """Returns the code without the planes of this write."""
        f, users = self.fields, self._users()
        least = min(users)
        out: Value = code >> least
        for pa, routes in users.items():
            if pa != least:
                out = Mux(reduce(or_, ((f.route == t) & (f.planes == k) for t, k in routes)), code >> pa, out)
        return out

    def _users(self) -> dict[int, list[tuple[int, int]]]:
        """Returns which (target, position in its list) takes each number of planes."""
        users: dict[int, list[tuple[int, int]]] = {}
        for t, target in enumerate(self.shape.targets):
            for k, pa in enumerate(target.planes_per_word):
                users.setdefault(pa, []).append((t, k))
        return users


class Pack(Component):  # type: ignore[misc,unused-ignore]
    """The write port of one target, a register behind `Planes` and `Place`; `address` is the caller's.

    `enable` has a bit per lane and byte, the bytes of a lane side by side.
    """

    def __init__(self, shape: WriterShape, index: int) -> None:
        self.shape, self.index = shape, index
        self.target: MapTarget = shape.targets[index]
        self._byte_count = len(self.target.byte_runs)
        f = writer_layout(shape)
        super().__init__(
            {
                "active": In(1),
                "planes": In(f["planes"].width),
                "slot": In(f["slot_last"].width),
                "lane": In(f["lane_last"].width),
                "lanes": In(shape.drain_lanes),
                "held": In(shape.drain_lanes * shape.dm * shape.result_bits),
                "enable": Out(self.target.dn * self._byte_count),
                "data": Out(shape.drain_lanes * self.target.dk),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slots = max(len(self.target.slots(pa, self.shape.dm)) for pa in self.target.planes_per_word)
        chosen = [self.slot == s if slots > 1 else Const(1) for s in range(slots)]
        lane_enable, byte_enable = (
            Signal(self.target.dn, name="lane_enable"),
            Signal(self._byte_count, name="byte_enable"),
        )
        r = self.shape.drain_lanes
        for lane in range(self.target.dn):
            m.d.sync += lane_enable[lane].eq(self.active & (self.lane == lane // r) & self.lanes[lane % r])
        m.d.sync += byte_enable.eq(Cat(*self._bytes(chosen)))
        words = Signal(len(self.data), name="words", reset_less=True)
        m.d.sync += words.eq(Cat(*(bit for lane in range(r) for bit in self._word(lane, chosen))))
        m.d.comb += self.data.eq(words)
        for lane in range(self.target.dn):
            low = lane * self._byte_count
            m.d.comb += self.enable[low : low + self._byte_count].eq(Mux(lane_enable[lane], byte_enable, 0))
        return m

    def _options(self) -> list[tuple[int, int, list[int]]]:
        """Returns the planes per word that fit: position in the target's list, planes, lowest bits of slots."""
        target = self.target
        fitting = ((k, pa, target.slots(pa, self.shape.dm)) for k, pa in enumerate(target.planes_per_word))
        return [(k, pa, slots) for k, pa, slots in fitting if slots]

    def _choose(self, values: list[tuple[int, Value]]) -> Value:
        """Returns the value that goes with `planes`; the last also for any other."""
        out = values[-1][1]
        for k, value in values[:-1]:
            out = Mux(self.planes == k, value, out)
        return out

    def _bytes(self, chosen: list[Value]) -> list[Value]:
        enables = []
        for low, _ in self.target.byte_runs:
            values: list[tuple[int, Value]] = []
            for k, pa, slots in self._options():
                at = low % (self.target.dk // pa)
                own = [s for s, start in enumerate(slots) if start <= at < start + self.shape.dm]
                values.append((k, chosen[own[0]] | chosen[0] if own else chosen[0]))
            enables.append(self._choose(values))
        return enables

    def _word(self, lane: int, chosen: list[Value]) -> list[Value]:
        """Returns the bits of a lane's word."""
        layers = []
        for k, pa, slots in self._options():
            word: list[Value] = [Const(0, 1)] * self.target.dk
            for plane in range(min(pa, self.shape.result_bits)):
                for s, start in enumerate(slots):
                    for row in range(self.shape.dm):
                        code = (lane * self.shape.dm + row) * self.shape.result_bits
                        at = plane * (self.target.dk // pa) + start + row
                        word[at] = self.held[code + plane] & chosen[s]
            layers.append((k, word))
        return [self._choose([(k, word[bit]) for k, word in layers]) for bit in range(self.target.dk)]
