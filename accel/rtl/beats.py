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
from foldwright.accel.rtl.writer_layout import POSITION_BITS, event_layout, pool_layout, writer_layout
from foldwright.accel.writer_shape import WriterShape

__all__ = ["BeatCounter"]


@dataclass(frozen=True, slots=True)
class _Ends:
    """Ends of a beat's loops; all but `group` only in live beats."""

    group: Value
    pixel: Value
    row: Value
    frame: Value
    block: Value
    tile: Value
    last_column: Value
    last_row: Value


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
        events = self.events
        close_x, close_y = self._windows(m, ends, group) if self.shape.pool_words else (Const(1), Const(1))
        values = {
            "live": self.live,
            "emit": self.live & close_x & close_y,
            "pixel_end": ends.pixel,
            "column_step": ends.pixel & close_x,
            "row_end": ends.row,
            "row_step": ends.row & close_y,
            "frame_end": ends.frame,
            "block_end": ends.block,
            "tile_end": ends.tile,
        }
        for name, value in values.items():
            m.d.sync += events[name].eq(value)
        return m

    def _ends(self, m: Module, group: Signal) -> _Ends:
        f, batch, groups = self.fields, self.shape.is_batch, self.shape.lane_groups
        loops = {name: Loop(m, name, f[name]) for name in ("columns", "rows", "frames", "blocks")}
        column, row, frame, block = loops.values()
        beat, at_end = self.beat & self.running, group == groups - 1
        group_end = beat & at_end
        step: Value = group_end
        for loop in loops.values():
            step = loop.drive(step, self.prime)
        with m.If(self.prime):
            m.d.sync += [self.running.eq(1), group.eq(0)]
        with m.Elif(beat):
            m.d.sync += [group.eq(Mux(at_end, 0, group + 1)), self.running.eq(~step)]
        last_group = frame.last if batch else column.last
        dropping, cut = Signal(name="dropping"), last_group & (group + 1 == f.last_groups)
        with m.If(self.prime | group_end):
            m.d.sync += dropping.eq(0)
        with m.Elif(beat & cut):
            m.d.sync += dropping.eq(1)
        m.d.comb += self.live.eq(beat & ~dropping)
        m.d.sync += self.events.lanes.eq(Mux(cut, f.last_mask, Const(-1, self.shape.drain_lanes)))
        live_end = self.live & (cut | at_end)
        row_end = live_end & column.last
        frame_end = row_end & row.last
        block_end = frame_end & frame.last
        return _Ends(
            group=group_end,
            pixel=live_end if batch else self.live,
            row=row_end,
            frame=frame_end,
            block=block_end,
            tile=block_end & block.last,
            last_column=column.last if batch else column.last & (cut | at_end),
            last_row=row.last,
        )

    def _windows(self, m: Module, ends: _Ends, group: Signal) -> tuple[Value, Value]:
        """Describes the beat to the pooling; returns whether its windows end."""
        f, pool = self.fields, self.pool
        x = self._window(m, "x", ends.pixel, ends.row, Const(1), ends.last_column)
        y = self._window(m, "y", ends.row, ends.frame, f.fresh_y, ends.last_row)
        for axis, (first, close, full) in {"x": x, "y": y}.items():
            m.d.sync += [pool[f"first_{axis}"].eq(first), pool[f"close_{axis}"].eq(close)]
            m.d.sync += pool[f"keep_{axis}"].eq(full & f[f"overlap_{axis}"])
        entry, base = Signal.like(pool.entry, name="entry"), Signal.like(pool.entry, name="entry_base")
        after = (entry + x[1])[: len(entry)]
        with m.If(self.prime):
            m.d.sync += [entry.eq(f.pool_base), base.eq(f.pool_base)]
        with m.Elif(ends.frame & f.pool_keep):
            m.d.sync += [entry.eq(after), base.eq(after)]
        with m.Elif(ends.row):
            m.d.sync += entry.eq(base)
        with m.Elif(self.live):
            m.d.sync += entry.eq(after)
        m.d.sync += [pool.entry.eq(entry), pool.group.eq(group)]
        return x[1], y[1]

    def _window(
        self, m: Module, axis: str, step: Value, restart: Value, fresh_start: Value, last: Value
    ) -> tuple[Value, Value, Value]:
        """Returns whether the window begins here, ends here, and whether it is complete."""
        f = self.fields
        position, fresh = Signal(POSITION_BITS, name=f"position_{axis}"), Signal(name=f"fresh_{axis}")
        full = position == f[f"close_{axis}"]
        with m.If(self.prime | restart):
            m.d.sync += [position.eq(f[f"start_{axis}"]), fresh.eq(fresh_start)]
        with m.Elif(step):
            following = Mux(position == f[f"wrap_{axis}"], f[f"overlap_{axis}"], position + 1)
            m.d.sync += [position.eq(following), fresh.eq(0)]
        return fresh | (position == 0), full | (last & f[f"finish_{axis}"]), full
