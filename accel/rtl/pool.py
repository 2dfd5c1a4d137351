"""Maximum pooling of codes: a running maximum along a row, then one down the rows.

The maximum of a row's window is kept per lane group (frames side by side) or in one register (neighbouring columns).
The maxima of unfinished windows of rows stay in a row memory, one entry per result of a row, until the next row.

Stages behind the beat: horizontal maximum 1, row memory and its output register 2, vertical maximum 3; the entry is
written in the cycle after that. The same entry must not be read again within `ENTRY_CYCLES` of
`foldwright.accel.writer_program`, so a row must last as long.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.banks import SHALLOW_WORDS, WideMemory
from foldwright.accel.rtl.writer_layout import event_layout, pool_layout
from foldwright.accel.writer_shape import WriterShape

__all__ = ["POOL_STAGES", "Pool"]

POOL_STAGES = 3


class Pool(Component):  # type: ignore[misc,unused-ignore]
    """Pools beats; results and events leave `POOL_STAGES` cycles later, results marked by the event `emit`."""

    def __init__(self, shape: WriterShape) -> None:
        self.shape = shape
        self._bits = shape.drain_lanes * shape.dm * shape.code_bits
        super().__init__(
            {
                "events": In(event_layout(shape)),
                "control": In(pool_layout(shape)),
                "codes": In(self._bits),
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
        """Returns the maximum over the columns so far, a cycle later."""
        control, codes, live = self.control, self.codes, self.events.live
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
        m.d.comb += best.eq(Mux(control.first_x, codes, self._larger(before, codes)))
        m.d.comb += kept.eq(Mux(control.keep_x, codes, best))
        m.d.sync += row.eq(best)
        return row

    def _down(self, m: Module, row: Signal, events: list[Any], control: list[Any]) -> None:
        """Takes the maximum over the rows so far; the row memory was asked two stages before."""
        words = self.shape.pool_words
        style = "block" if words > SHALLOW_WORDS else "distributed"
        ram = WideMemory(m, "rows", self._bits, words, unit_bits=self._bits, style=style)
        before = Signal(self._bits, name="before", reset_less=True)
        m.d.sync += before.eq(ram.read(control[0].entry))
        now, best = control[2], Signal(self._bits, name="best_rows")
        kept, write = Signal(self._bits, name="kept_rows", reset_less=True), Signal(name="write_rows")
        m.d.comb += best.eq(Mux(now.first_y, row, self._larger(before, row)))
        m.d.sync += [
            self.codes_out.eq(best),
            kept.eq(Mux(now.keep_y, row, best)),
            write.eq(events[2].live & now.close_x & (now.keep_y | ~now.close_y)),
        ]
        ram.write(control[3].entry, kept, write)

    def _larger(self, a: Value, b: Value) -> Value:
        """Returns the larger code of every channel."""
        bits = self.shape.code_bits
        if bits == 1:
            return a | b
        pairs = ((a[k : k + bits], b[k : k + bits]) for k in range(0, self._bits, bits))
        return Cat(*(Mux(x > y, x, y) for x, y in pairs))


def _registered(m: Module, value: Any, name: str) -> Any:
    later = Signal(value.shape(), name=name)
    m.d.sync += later.eq(value)
    return later
