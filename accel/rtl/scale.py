"""The result path that scales and shifts: accumulators to codes by one multiplication each.

    code = clip((multiplier * acc + bias) >> shift, 0, greatest)

In cycle 1 operands are registered, in 2 the product, in 3 the sum: a shape that tools put into one DSP48E1 for each channel
and lane of a beat. The shift takes three steps, of sixteens, fours and ones, each of which keeps the bits that may still be
wanted and whether any above them is set. Negative sums become 0 in the first step. Parameters lie in LUT RAMs of their own,
one for each cycle that needs some, addressed by the block of output channels so many cycles later.

`accel.scale_words` has the form of a word. What it leaves out: pooling, the residual add, packing of codes into words.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine, Requant
from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.scale_words import (
    MULTIPLIER_BITS,
    SCALE_CYCLES,
    scale_bits,
    scale_fields,
    sum_bits,
)

__all__ = ["ScalePath"]

_STEPS = ((4, 2), (2, 2), (0, 2))
"""Of the shift: lowest bit of the amount, bits of it."""


class ScalePath(Component):  # type: ignore[misc,unused-ignore]
    """Turns `drain_lanes * dm` accumulators a cycle into codes `stages` cycles later.

    `block` must be stable from the cycle before the first accumulators of a block come.
    """

    def __init__(self, engine: Engine) -> None:
        assert engine.levels > 0, "an engine without codes has no result path"
        assert engine.requant is Requant.SCALE_SHIFT, "the engine has thresholds"
        self.engine = engine
        self.stages = SCALE_CYCLES
        self._bits = engine.levels.bit_length()
        lanes = engine.drain_lanes * engine.dm
        self.block_bits = max(1, (engine.threshold_words - 1).bit_length())
        super().__init__(
            {
                "accs": In(lanes * engine.acc_bits),
                "block": In(self.block_bits),
                "codes": Out(lanes * self._bits),
                "write_address": In(self.block_bits),
                "write_data": In(engine.dm * scale_bits(engine)),
                "write": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e, width = self.engine, self.engine.acc_bits
        fields = scale_fields(e)
        shift, addresses = fields["shift"].low, [self.block]
        for cycle in range(1, SCALE_CYCLES):
            addresses.append(delayed(m, addresses[-1], 1, f"block_{cycle}"))
        multipliers = self._table(m, "multipliers", fields["multiplier"].low, MULTIPLIER_BITS, addresses[1])
        biases = self._table(m, "biases", fields["bias"].low, fields["bias"].bits, addresses[2])
        amounts = [
            self._table(m, f"shifts_{k}", shift + low, bits, addresses[3 + k])
            for k, (low, bits) in enumerate(_STEPS)
        ]
        greatest = self._table(m, "greatest", fields["greatest"].low, self._bits, addresses[6])
        for k in range(e.drain_lanes * e.dm):
            row = k % e.dm
            acc = self.accs[k * width : (k + 1) * width].as_signed()
            total = self._sum(m, k, acc, multipliers[row].as_signed(), biases[row].as_signed())
            level, above = self._shifted(m, k, total, [table[row] for table in amounts])
            code = Mux(above | (level > greatest[row]), greatest[row], level)
            m.d.sync += self.codes[k * self._bits : (k + 1) * self._bits].eq(code)
        return m

    def _table(self, m: Module, name: str, low: int, bits: int, address: Value) -> list[Value]:
        """Returns per channel a field of the word that the address names, a cycle later."""
        e, whole = self.engine, scale_bits(self.engine)
        ram = WideMemory(
            m, name, e.dm * bits, e.threshold_words, unit_bits=bits, domain="comb", style="distributed"
        )
        parts = [self.write_data[c * whole + low : c * whole + low + bits] for c in range(e.dm)]
        ram.write(self.write_address, Cat(*parts), self.write)
        word = Signal(e.dm * bits, name=f"word_{name}", reset_less=True)
        m.d.sync += word.eq(ram.read(address))
        return [word[c * bits : (c + 1) * bits] for c in range(e.dm)]

    def _sum(self, m: Module, k: int, acc: Value, multiplier: Value, bias: Value) -> Signal:
        """Returns product plus bias, three cycles behind the accumulator."""
        operand = Signal(signed(self.engine.acc_bits), name=f"operand_{k}", reset_less=True)
        product = Signal(signed(self.engine.acc_bits + MULTIPLIER_BITS), name=f"product_{k}", reset_less=True)
        total = Signal(signed(sum_bits(self.engine)), name=f"sum_{k}", reset_less=True)
        m.d.sync += [operand.eq(acc), product.eq(operand * multiplier), total.eq(product + bias)]
        return total

    def _shifted(self, m: Module, k: int, total: Signal, amounts: list[Value]) -> tuple[Value, Value]:
        """Returns the low bits of a sum shifted right, 0 where it is negative, and whether any above them is set."""
        value: Value = total[:-1]
        above: Value = Const(0)
        negative: Value = total[-1]
        for (low, bits), amount in zip(_STEPS, amounts, strict=True):
            keep = self._bits + (1 << low) - 1
            options = [
                (value[start : start + keep], value[start + keep :].any())
                for start in range(0, min(1 << low + bits, len(value)), 1 << low)
            ]
            next_value = Signal(keep, name=f"shifted_{k}_{low}", reset_less=True)
            next_above = Signal(name=f"above_{k}_{low}", reset_less=True)
            chosen, over = options[-1]
            for n in range(len(options) - 2, -1, -1):
                chosen = Mux(amount == n, options[n][0], chosen)
                over = Mux(amount == n, options[n][1], over)
            m.d.sync += [next_value.eq(Mux(negative, 0, chosen)), next_above.eq(~negative & (above | over))]
            value, above, negative = next_value, next_above, Const(0)
        return value, above
