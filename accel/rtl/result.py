"""The result path: accumulators to codes by binary search over each channel's thresholds.

A code is the number of thresholds that the accumulator reaches, searched in A = bit_length(levels) pipelined
stages, one bit per stage from the highest. Stage j chooses among 2^j thresholds, which stay in a LUT RAM of
their own, addressed by the block of output channels j cycles later than stage 0, so that blocks may follow
each other.

The comparison is that of the difference's sign modulo 2^acc_bits: offsets of the accumulator (XNOR constants)
cost nothing, as long as accumulators and thresholds of a channel span less than 2^(acc_bits - 1). Where a
channel's `flip` bit is set all bits of the code are inverted (falling channels).

A threshold word holds, channel by channel, the 2^A - 1 thresholds ascending and the flip bit on top.
What it leaves out: pooling, scale and shift (`rtl.scale`), the residual add, packing of codes into words.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.rtl.program import code_bits, threshold_bits

__all__ = ["ResultPath", "search_order"]


def search_order(stages: int) -> list[list[int]]:
    """Returns, per stage, the threshold index that each value of the bits found so far compares with.

    >>> search_order(3)
    [[3], [1, 5], [0, 2, 4, 6]]
    """
    return [[(2 * k + 1 << stages - 1 - j) - 1 for k in range(1 << j)] for j in range(stages)]


class ResultPath(Component):  # type: ignore[misc,unused-ignore]
    """Turns `drain_lanes * dm` accumulators a cycle into codes `stages` cycles later.

    `block` must be stable from the cycle before the first accumulators of a block come.
    """

    def __init__(self, engine: Engine, technology: str = "generic") -> None:
        assert engine.levels > 0, "an engine without thresholds has no result path"
        self.engine = engine
        self.stages = code_bits(engine.levels)
        lanes = engine.drain_lanes * engine.dm
        self.block_bits = max(1, (engine.threshold_words - 1).bit_length())
        super().__init__(
            {
                "accs": In(lanes * engine.acc_bits),
                "block": In(self.block_bits),
                "codes": Out(lanes * self.stages),
                "write_address": In(self.block_bits),
                "write_data": In(engine.dm * threshold_bits(engine)),
                "write": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e, width = self.engine, self.engine.acc_bits
        accs: list[Value] = [self.accs[k * width : (k + 1) * width] for k in range(e.drain_lanes * e.dm)]
        found: list[Value] = [Const(0, 0)] * len(accs)
        address: Value = self.block
        flips: list[Value] = []
        for stage, order in enumerate(search_order(self.stages)):
            last = stage == self.stages - 1
            table, flips = self._table(m, stage, order, address, last)
            for k in range(len(accs)):
                own = table[k % e.dm]
                reached = ~(accs[k] - _choose(found[k], own))[width - 1]
                found[k] = (
                    _later(m, Cat(reached, found[k]), f"found_{stage}_{k}")
                    if not last
                    else Cat(reached, found[k])
                )
                accs[k] = accs[k] if last else _later(m, accs[k], f"acc_{stage}_{k}")
            address = delayed(m, address, 1, f"block_{stage}")
        for k, bits in enumerate(found):
            code = bits ^ flips[k % e.dm].replicate(self.stages)
            m.d.sync += self.codes[k * self.stages : (k + 1) * self.stages].eq(code)
        return m

    def _table(
        self, m: Module, stage: int, order: list[int], address: Value, last: bool
    ) -> tuple[list[list[Value]], list[Value]]:
        """Returns per channel the thresholds of a stage, in the order of the bits found, and the flip bit."""
        e, width = self.engine, self.engine.acc_bits
        whole = threshold_bits(e)
        row = len(order) * width + last
        ram = WideMemory(
            m,
            f"thresholds_{stage}",
            e.dm * row,
            e.threshold_words,
            unit_bits=row,
            domain="comb",
            style="distributed",
        )
        parts: list[Value] = []
        for channel in range(e.dm):
            low = channel * whole
            parts += [self.write_data[low + t * width : low + (t + 1) * width] for t in order]
            parts += [self.write_data[low + whole - 1]] if last else []
        ram.write(self.write_address, Cat(*parts), self.write)
        word = _later(m, ram.read(address), f"word_{stage}")
        table = [[word[c * row + k * width :][:width] for k in range(len(order))] for c in range(e.dm)]
        return table, [word[c * row + row - 1] for c in range(e.dm)]


def _later(m: Module, value: Value, name: str) -> Signal:
    out = Signal(len(value), name=name)
    m.d.sync += out.eq(value)
    return out


def _choose(index: Value, options: list[Value]) -> Value:
    """Returns options[index] by a tree of multiplexers, the highest bit of the index outside."""
    if len(options) == 1:
        return options[0]
    half = len(options) // 2
    return Mux(index[-1], _choose(index[:-1], options[half:]), _choose(index[:-1], options[:half]))
