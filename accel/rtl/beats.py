"""Counts the beats of a tile: which loop each one ends, and where it stands in its pooling window.

Order of the loops from outside: block, frame (or group of frames), row, column (or group of columns), lane group.
Beats of lanes that are not real (past the row's end, past the last frame) are counted and dropped.

A *position* in a window is that in the oldest window open. It starts at the padding, ends a window at `close`
(kernel - 1), and goes on after `wrap` with 0, or with 1 where the next window overlaps by one position and has
thus begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.loops import Loop, address_bits
from foldwright.accel.rtl.writer_layout import event_layout, pool_layout, writer_layout
from foldwright.accel.writer_shape import WriterShape

__all__ = ["BeatCounter"]


@dataclass(frozen=True, slots=True)
class _Ends:
    """Ends of the loops, in live beats only; `last_column` and `last_row` say so before the beat comes."""

    pixel: Value
    row: Value
    frame: Value
    block: Value
    last_column: Value
    last_row: Value


class _Window:
    """The position along one axis, with registered flags: `first` of a window, `full` where it is complete."""

    def __init__(self, m: Module, axis: str, fields: Any, bits: int) -> None:
        self.first, self.full = Signal(name=f"first_{axis}"), Signal(name=f"full_{axis}")
        self._m, self._position = m, Signal(bits, name=f"position_{axis}")
        self._at_wrap = Signal(name=f"at_wrap_{axis}")
        names = ("close", "wrap", "start", "overlap", "finish")
        self._close, self._wrap, self._start, self.overlap, self._finish = (
            fields[f"{n}_{axis}"] for n in names
        )

    def closes(self, last: Value) -> Value:
        """Returns whether the window ends here, where need be because the last position is this one."""
        return self.full | (last & self._finish)

    def drive(self, step: Value, restart: Value, fresh: Value | int) -> None:
        """Moves on by one on `step`; `restart` goes first, and begins a window if nothing stands before (`fresh`)."""
        m, position = self._m, self._position
        following = Mux(self._at_wrap, self.overlap, position + 1)[: len(position)]
        for condition, value, first in ((restart, self._start, fresh), (~restart & step, following, 0)):
            with m.If(condition):
                m.d.sync += [position.eq(value), self.first.eq(first | (value == 0))]
                m.d.sync += [self.full.eq(value == self._close), self._at_wrap.eq(value == self._wrap)]


class BeatCounter(Component):  # type: ignore[misc,unused-ignore]
    """Describes a beat in the cycle after it came; `live` tells at once whether it is real.

    `prime` comes before the first beat, with the fields. `running` lasts until the last beat, real or not.
    """

    def __init__(self, shape: WriterShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "prime": In(1),
                "beat": In(1),
                "fields": In(writer_layout(shape)),
                "live": Out(1),
                "running": Out(1),
                "events": Out(event_layout(shape)),
                "pool": Out(pool_layout(shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        group = Signal(address_bits(self.shape.lane_groups), name="group")
        ends = self._ends(m, group)
        close_x, close_y = self._windows(m, ends, group) if self.shape.pool_words else (Const(1), Const(1))
        values = {
            "live": self.live,
            "emit": self.live & close_x & close_y & ~self.fields.raw,
            "pixel_end": ends.pixel,
            "column_step": ends.pixel & close_x,
            "row_end": ends.row,
            "row_step": ends.row & close_y,
            "frame_end": ends.frame,
            "block_end": ends.block,
        }
        for name, value in values.items():
            m.d.sync += self.events[name].eq(value)
        return m

    def _ends(self, m: Module, group: Signal) -> _Ends:
        f, batch = self.fields, self.shape.is_batch
        loops = {name: Loop(m, name, f[name]) for name in ("columns", "rows", "frames", "blocks")}
        column, row, frame, _ = loops.values()
        beat, at_end, at_cut = self.beat & self.running, Signal(name="at_end"), Signal(name="at_cut")
        step: Value = beat & at_end
        for loop in loops.values():
            step = loop.drive(step, self.prime)
        with m.If(self.prime):
            m.d.sync += self.running.eq(1)
        with m.Elif(step):
            m.d.sync += self.running.eq(0)
        self._count(m, group, beat, at_end, at_cut)
        cut = at_cut & (frame.last if batch else column.last)
        dropping = Signal(name="dropping")
        with m.If(self.prime | (beat & at_end)):
            m.d.sync += dropping.eq(0)
        with m.Elif(beat & cut):
            m.d.sync += dropping.eq(1)
        m.d.comb += self.live.eq(beat & ~dropping)
        m.d.sync += self.events.lanes.eq(Mux(cut, f.last_mask, Const(-1, self.shape.drain_lanes)))
        last_group = cut | at_end
        row_end = self.live & last_group & column.last
        return _Ends(
            pixel=self.live & last_group if batch else self.live,
            row=row_end,
            frame=row_end & row.last,
            block=row_end & row.last & frame.last,
            last_column=column.last if batch else column.last & last_group,
            last_row=row.last,
        )

    def _count(self, m: Module, group: Signal, beat: Value, at_end: Signal, at_cut: Signal) -> None:
        """Counts lane groups and marks the last one, and the last one that is real where the group is the last."""
        following = Mux(at_end, 0, group + 1)[: len(group)]
        for condition, value in ((self.prime, Const(0, len(group))), (~self.prime & beat, following)):
            with m.If(condition):
                m.d.sync += [group.eq(value), at_end.eq(value == self.shape.lane_groups - 1)]
                m.d.sync += at_cut.eq(value == self.fields.last_group)

    def _windows(self, m: Module, ends: _Ends, group: Signal) -> tuple[Value, Value]:
        """Describes the beat to the pooling; returns whether its windows end."""
        f, pool = self.fields, self.pool
        x, y = (_Window(m, axis, f, self.shape.position_bits) for axis in "xy")
        close_x, close_y = x.closes(ends.last_column), y.closes(ends.last_row)
        x.drive(ends.pixel, self.prime | ends.row, 1)
        y.drive(ends.row, self.prime | ends.frame, f.fresh_y)
        for axis, window, close in (("x", x, close_x), ("y", y, close_y)):
            m.d.sync += [pool[f"first_{axis}"].eq(window.first), pool[f"close_{axis}"].eq(close)]
            m.d.sync += pool[f"keep_{axis}"].eq(window.full & window.overlap)
        entry, base = Signal.like(pool.entry, name="entry"), Signal.like(pool.entry, name="entry_base")
        after = (entry + close_x)[: len(entry)]
        with m.If(self.prime):
            m.d.sync += [entry.eq(f.pool_base), base.eq(f.pool_base)]
        with m.Elif(ends.frame & f.pool_keep):
            m.d.sync += [entry.eq(after), base.eq(after)]
        with m.Elif(ends.row):
            m.d.sync += entry.eq(base)
        with m.Elif(self.live):
            m.d.sync += entry.eq(after)
        m.d.sync += [pool.entry.eq(entry), pool.group.eq(group)]
        return close_x, close_y
