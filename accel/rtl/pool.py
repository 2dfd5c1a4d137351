"""Pooling of codes, the larger one or the sum: along a row first, then down the rows.

What a row's window has come to is kept per lane group (frames side by side) or in one register (neighbouring columns).
Of windows of rows that are not finished it stays in a row memory, one entry per result of a row, until the next row.
Sums are `sum_bits` wide, maxima lie in the bits of a code; a tile has either.

Stages behind the beat: the row 1, row memory and its output register 2, the rows 3; the entry is
written in the cycle after that. The same entry must not be read again within `ENTRY_CYCLES` of
`foldwright.accel.writer_program`, so a row must last as long.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.banks import SHALLOW_WORDS, WideMemory
from foldwright.accel.rtl.writer_layout import event_layout, pool_layout
from foldwright.accel.writer_shape import WriterShape

__all__ = ["POOL_STAGES", "Pool"]

POOL_STAGES = 3


class Pool(Component):  # type: ignore[misc,unused-ignore]
    """Pools beats; results and events leave `POOL_STAGES` cycles later, results marked by the event `emit`.

    `average` holds for a tile whose windows are summed; hardware without sums has no such port.
    """

    def __init__(self, shape: WriterShape) -> None:
        self.shape = shape
        lanes = shape.drain_lanes * shape.dm
        self._bits = lanes * shape.result_bits
        super().__init__(
            {
                "events": In(event_layout(shape)),
                "control": In(pool_layout(shape)),
                **({"average": In(1)} if shape.sum_bits else {}),
                "codes": In(lanes * shape.code_bits),
                "events_out": Out(event_layout(shape)),
                "codes_out": Out(self._bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        events, control = [self.events], [self.control]
        for stage in range(1, POOL_STAGES + 1):
            events.append(_registered(m, events[-1], f"events_{stage}"))
            control.append(_registered(m, control[-1], f"control_{stage}"))
        m.d.comb += self.events_out.eq(events[-1])
        row, row_now = self._across(m), Signal(self._bits, name="row_now", reset_less=True)
        m.d.sync += row_now.eq(row)
        self._down(m, row_now, events, control)
        return m

    def _across(self, m: Module) -> Signal:
        """Returns what the columns so far come to, a cycle later."""
        control, codes, live = self.control, self._wide(self.codes), self.events.live
        best, kept = Signal(self._bits, name="best"), Signal(self._bits, name="kept")
        row = Signal(self._bits, name="row", reset_less=True)
        if self.shape.is_batch and self.shape.lane_groups > 1:
            ram = WideMemory(
                m,
                "best",
                self._bits,
                self.shape.lane_groups,
                unit_bits=self._bits,
                domain="comb",
                style="distributed",
            )
            ram.write(control.group, kept, live)
            before = ram.read(control.group)
        else:
            held = Signal(self._bits, name="best_held", reset_less=True)
            with m.If(live):
                m.d.sync += held.eq(kept)
            before = held
        m.d.comb += best.eq(self._joined(control.first_x, before, codes))
        m.d.comb += kept.eq(Mux(control.keep_x, codes, best))
        m.d.sync += row.eq(best)
        return row

    def _down(self, m: Module, row: Signal, events: list[Any], control: list[Any]) -> None:
        """Joins a row with the rows so far; the row memory was asked two stages before."""
        words = self.shape.pool_words
        style = "block" if words > SHALLOW_WORDS else "distributed"
        ram = WideMemory(m, "rows", self._bits, words, unit_bits=self._bits, style=style)
        before = Signal(self._bits, name="before", reset_less=True)
        m.d.sync += before.eq(ram.read(control[0].entry))
        now, best = control[2], Signal(self._bits, name="best_rows")
        kept, write = Signal(self._bits, name="kept_rows", reset_less=True), Signal(name="write_rows")
        m.d.comb += best.eq(self._joined(now.first_y, before, row))
        m.d.sync += [
            self.codes_out.eq(best),
            kept.eq(Mux(now.keep_y, row, best)),
            write.eq(events[2].live & now.close_x & (now.keep_y | ~now.close_y)),
        ]
        ram.write(control[3].entry, kept, write)

    def _wide(self, codes: Value) -> Value:
        """Returns codes as wide as results."""
        bits, wide = self.shape.code_bits, self.shape.result_bits
        if bits == wide:
            return codes
        return Cat(*(Cat(codes[k : k + bits], Const(0, wide - bits)) for k in range(0, len(codes), bits)))

    def _joined(self, first: Value, before: Value, value: Value) -> Value:
        """Returns what a window comes to with one value more, which may be its first."""
        larger = Mux(first, value, self._larger(before, value))
        if not self.shape.sum_bits:
            return larger
        wide = self.shape.result_bits
        spans = [slice(k, k + wide) for k in range(0, self._bits, wide)]
        sums = Cat(*((value[span] + Mux(first, 0, before[span]))[:wide] for span in spans))
        return Mux(self.average, sums, larger)

    def _larger(self, a: Value, b: Value) -> Value:
        """Returns the larger code of every channel."""
        bits, wide = self.shape.code_bits, self.shape.result_bits
        if wide == 1:
            return a | b
        out: list[Value] = []
        for k in range(0, self._bits, wide):
            x, y = a[k : k + bits], b[k : k + bits]
            out.append(Mux(x > y, x, y))
            if wide > bits:
                out.append(Const(0, wide - bits))
        return Cat(*out)


def _registered(m: Module, value: Any, name: str) -> Any:
    later = Signal(value.shape(), name=name)
    m.d.sync += later.eq(value)
    return later
