"""One dot-product unit: a popcount and an accumulator that shifts between wavefronts of plane pairs.

Each cycle `acc <= (0 if clear else acc << 1 if shift else acc) + (minus ? -count : count)`, modulo
2^acc_bits. The popcount delivers `~count` where it was told to negate; `minus` then extends the sign and adds
the missing one. A cycle with nothing to count has `zero` set at the popcount and all accumulator controls
clear, so no clock enable is needed.

Finished accumulators leave through a chain of shadow registers (`array`), whose multiplexers are
`select_bits`: two bits share one LUT6_2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Arithmetic
from foldwright.accel.rtl.lutnet import LutNetlist
from foldwright.accel.rtl.popcount import WORDS, Popcount

__all__ = ["Unit", "accumulated", "select_bits"]

_NOT = Const(0, 1)


def select_bits(m: Module, choose_first: Value, first: Value, second: Value, technology: str) -> Value:
    """Returns `first` where chosen, else `second`; on 7-series two bits take one LUT."""
    if technology in ("generic", WORDS):
        return Mux(choose_first, first, second)
    width = len(first)
    net = LutNetlist()
    [choice], a, b = net.input(1), net.input(width), net.input(width)
    out: list[int] = []
    for k in range(0, width, 2):
        pins = [choice, a[k], b[k], *a[k + 1 : k + 2], *b[k + 1 : k + 2]]
        if len(pins) == 5:
            out += net.lut2(lambda s, p, q, *_: p if s else q, lambda s, _p, _q, p, q: p if s else q, pins)
        else:
            out.append(net.lut(lambda s, p, q: p if s else q, pins))
    ports: dict[int, Value] = {choice: choose_first}
    ports |= {net_id: first[i] for i, net_id in enumerate(a)} | {
        net_id: second[i] for i, net_id in enumerate(b)
    }
    values = net.emit(m, ports, technology)
    return Cat(*(values[k] for k in out))


def accumulated(
    m: Module, acc: Value, addend: Value, shift: Value, clear: Value, technology: str, minus: Value = _NOT
) -> Value:
    """Returns an accumulator's next value: on 7-series one LUT6_2 per bit on a carry chain."""
    width = len(acc)
    if technology in ("generic", WORDS):
        return Mux(clear, 0, Mux(shift, acc << 1, acc)[:width]) + addend + minus
    net = LutNetlist()
    [carry, shifts, clears] = net.input(3)
    held, add = net.input(width), net.input(width)
    select, data = [], []
    for k in range(width):
        pins = [clears, shifts, add[k], held[k], *held[max(k - 1, 0) : k]]
        s, d = net.lut2(
            lambda c, h, p, here, below=0: p ^ _held(c, h, here, below),
            lambda c, h, _p, here, below=0: _held(c, h, here, below),
            pins,
        )
        select.append(s)
        data.append(d)
    sums, _ = net.carry(select, data, carry)
    ports: dict[int, Value] = {carry: minus, shifts: shift, clears: clear}
    for k in range(width):
        ports |= {held[k]: acc[k], add[k]: addend[k]}
    values = net.emit(m, ports, technology)
    return Cat(*(values[s] for s in sums))


def _held(clear: int, shift: int, here: int, below: int) -> int:
    return 0 if clear else below if shift else here


class Unit(Component):  # type: ignore[misc,unused-ignore]
    """Dot product of `dk` pairs of bits a cycle.

    After the words come, in this order: `negate` (`negate_stage` cycles), `zero` (`latency - 2`), and with
    the accumulator `minus`, `shift`, `clear` (`latency - 1`); `acc` holds the sum `latency` cycles after the
    last word.
    """

    lanes = 1

    def __init__(
        self,
        dk: int,
        acc_bits: int = 16,
        *,
        arithmetic: Arithmetic = Arithmetic.XNOR,
        planes_per_word: Sequence[int] = (1,),
        technology: str = "generic",
    ) -> None:
        self.acc_bits, self.technology = acc_bits, technology
        self.popcount = Popcount(
            dk, arithmetic=arithmetic, planes_per_word=planes_per_word, technology=technology
        )
        self.negate_stage = self.popcount.negate_stage
        self.latency = self.popcount.latency + 1
        super().__init__(
            {
                "weights": In(dk),
                "acts": In(dk),
                "planes": In(len(self.popcount.planes)),
                **{name: In(1) for name in ("negate", "zero", "minus", "shift", "clear")},
                "acc": Out(acc_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.popcount = popcount = self.popcount
        for name in ("weights", "acts", "planes", "negate", "zero"):
            m.d.comb += getattr(popcount, name).eq(getattr(self, name))
        wide = self.acc_bits - len(popcount.count)
        addend = popcount.count if wide <= 0 else Cat(popcount.count, self.minus.replicate(wide))
        addend = addend[: self.acc_bits]
        m.d.sync += self.acc.eq(
            accumulated(m, self.acc, addend, self.shift, self.clear, self.technology, self.minus)
        )
        return m
