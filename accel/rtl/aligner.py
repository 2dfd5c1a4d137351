"""Turns column groups read from the feature map into what the lanes need, one lane further per tap.

The map's banks hold neighbouring columns, so a read gives `dn` columns of an aligned group. Output lane j of
tap offset o (`kx // stride`) needs column j + o: the first tap of a phase takes a group as it is (`start`),
every further tap shifts all lanes by one, and the vacated last lane fills from the next group: from the word
being read (`fill`), or from what is left of it. So a phase of one tap takes one read, of up to `dn + 1` taps
two. A `mask` bit clears a column of the word being read (padding); it uses the registers' reset and costs no
LUT per bit.

`reach` is the most taps of one phase: `ceil(kernel / stride)`; the rest of the next group needs `reach - 2`
lanes of registers. With reach 1, as for batch lanes, the aligner is one masked register.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.unit import select_bits

__all__ = ["Aligner"]


class Aligner(Component):  # type: ignore[misc,unused-ignore]
    """Aligns the words of `dn` lanes of `dk` bits; `acts` follows `word` one cycle later."""

    def __init__(self, dn: int, dk: int, reach: int = 3, technology: str = "generic") -> None:
        self.dn, self.dk, self.technology = dn, dk, technology
        self.kept = min(max(reach - 2, 0), dn - 1)
        self.shifts = reach > 1
        super().__init__(
            {
                "word": In(dn * dk),
                "mask": In(dn),
                "start": In(1),
                "fill": In(1),
                "acts": Out(dn * dk),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dk, dn = self.dk, self.dn
        lanes = [self.word[j * dk : (j + 1) * dk] for j in range(dn)]
        acts = [Signal(dk, name=f"acts_{j}") for j in range(dn)]
        for j in range(dn):
            m.d.comb += self.acts[j * dk : (j + 1) * dk].eq(acts[j])
        if not self.shifts:
            for j in range(dn):
                self._load(m, acts[j], lanes[j], self.mask[j])
            return m
        kept = self._keep(m, lanes)
        for j in range(dn - 1):
            following = select_bits(m, self.start, lanes[j], acts[j + 1], self.technology)
            self._load(m, acts[j], following, self.start & self.mask[j])
        self._load_last(m, acts[-1], lanes, kept)
        return m

    @staticmethod
    def _load(m: Module, register: Signal, value: Value, clear: Value) -> None:
        m.d.sync += register.eq(value)
        with m.If(clear):
            m.d.sync += register.eq(0)

    def _keep(self, m: Module, lanes: list[Value]) -> Signal | None:
        """Returns the first lane of what is left of the next group, None where nothing is ever left."""
        if not self.kept:
            return None
        kept = [Signal(self.dk, name=f"kept_{k}") for k in range(self.kept)]
        for k, register in enumerate(kept):
            following = lanes[k + 1]
            if k + 1 < self.kept:
                following = select_bits(m, self.fill, lanes[k + 1], kept[k + 1], self.technology)
                self._load(m, register, following, self.fill & self.mask[k + 1])
            else:  # taken over in the very next tap, so it need not hold
                self._load(m, register, following, self.mask[k + 1])
        return kept[0]

    def _load_last(self, m: Module, last: Signal, lanes: list[Value], kept: Signal | None) -> None:
        first, own = lanes[0], lanes[-1]
        if self.dn == 1:
            value = (
                first
                if kept is None
                else select_bits(m, self.start | self.fill, first, kept, self.technology)
            )
        else:
            value = select_bits(m, self.start, own, first, self.technology)
            if kept is not None:
                held = select_bits(m, self.fill, first, kept, self.technology)
                value = select_bits(m, self.start, own, held, self.technology)
        clear = (self.start & self.mask[-1]) | (self.fill & self.mask[0])
        self._load(m, last, value, clear)
