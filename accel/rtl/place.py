"""Finds where a result goes: address, slot and lane in a feature map, counted up and never computed.

The address of a beat is `map_base` plus what its block, frame, row and column added. A block advances the slot, then
the word; where a part of channels ends a new word begins. A frame advances the lane of a map with frames side by
side, then the address. A column advances the phase, then the lane of a map with columns side by side, then the data
group. Phases of one data group and the next data group lie `column_step` apart, so `phase_back` leads from the last
phase of a lane to the first of the next lane.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.loops import accumulate
from foldwright.accel.rtl.writer_layout import event_layout, writer_layout
from foldwright.accel.writer_shape import WriterShape

__all__ = ["Place"]


class Place(Component):  # type: ignore[misc,unused-ignore]
    """Keeps the place of the last result: `outer + inner` is its address, one cycle after its events.

    `column_lane` is the lane in maps with columns side by side, `frame_lane` that in maps with frames side by side,
    counted in lane groups of `drain_lanes`.
    """

    def __init__(self, shape: WriterShape) -> None:
        self.shape = shape
        f = writer_layout(shape)
        address, lane = f["map_base"].width, f["lane_last"].width
        super().__init__(
            {
                "prime": In(1),
                "fields": In(f),
                "events": In(event_layout(shape)),
                "outer": Out(address),
                "inner": Out(address),
                "slot": Out(f["slot_last"].width),
                "column_lane": Out(lane),
                "frame_lane": Out(lane),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        f, e = self.fields, self.events
        bits = len(f.map_base)
        slot, block = self._blocks(m)
        frame_lane, frame = self._frames(m)
        column_lane, column = self._columns(m)
        row = accumulate(m, "row", f.per_row, e.row_step, self.prime | e.frame_end, 0, bits)
        with m.If(e.emit):
            m.d.sync += [self.outer.eq(block + frame), self.inner.eq(row + column), self.slot.eq(slot)]
            m.d.sync += [self.column_lane.eq(column_lane), self.frame_lane.eq(frame_lane)]
        return m

    def _blocks(self, m: Module) -> tuple[Signal, Signal]:
        """Returns slot and address of the block."""
        f, on = self.fields, self.events.block_end
        slot, left = Signal.like(f.slot_last, name="slot_now"), Signal.like(f.part_last, name="part_left")
        address = Signal.like(f.map_base, name="block_address")
        part_over = left == 0
        word_over = part_over | (slot == f.slot_last)
        with m.If(self.prime):
            m.d.sync += [slot.eq(f.slot_start), left.eq(f.part_left), address.eq(f.map_base)]
        with m.Elif(on):
            m.d.sync += [slot.eq(Mux(word_over, 0, slot + 1)), address.eq(address + word_over)]
            m.d.sync += left.eq(Mux(part_over, f.part_last, left - 1))
        return slot, address

    def _frames(self, m: Module) -> tuple[Signal, Signal]:
        """Returns lane and address of the frame; a batch goes through its frames for every pixel again."""
        f, e = self.fields, self.events
        lane, address = (
            Signal.like(f.frame_start, name="frame_lane_now"),
            Signal.like(f.map_base, name="frame"),
        )
        over = lane == f.frame_last
        next_lane: Value = Mux(over, 0, lane + 1)[: len(lane)]
        next_address: Value = (address + Mux(over, f.per_frame, 0))[: len(address)]
        with m.If(self.prime | e.block_end):
            m.d.sync += [lane.eq(f.frame_start), address.eq(0)]
        if not self.shape.is_batch:
            with m.Elif(e.frame_end):
                m.d.sync += [lane.eq(next_lane), address.eq(next_address)]
            return lane, address
        first_lane, first = (
            Signal.like(lane, name="frame_lane_first"),
            Signal.like(address, name="frame_first"),
        )
        with m.Elif(e.pixel_end & ~e.frame_end):
            m.d.sync += [lane.eq(first_lane), address.eq(first)]
        with m.Elif(e.live):
            m.d.sync += [lane.eq(next_lane), address.eq(next_address)]
        with m.If(self.prime | e.block_end):
            m.d.sync += [first_lane.eq(f.frame_start), first.eq(0)]
        with m.Elif(e.frame_end):
            m.d.sync += [first_lane.eq(next_lane), first.eq(next_address)]
        return lane, address

    def _columns(self, m: Module) -> tuple[Signal, Signal]:
        """Returns lane and address of the column within its row."""
        f, e = self.fields, self.events
        phase, lane = (
            Signal.like(f.phase_start, name="phase"),
            Signal.like(f.lane_start, name="column_lane_now"),
        )
        address = Signal.like(f.map_base, name="column")
        phase_over, lane_over = phase == f.phase_last, lane == f.lane_last
        with m.If(self.prime | e.row_end):
            m.d.sync += [phase.eq(f.phase_start), lane.eq(f.lane_start), address.eq(0)]
        with m.Elif(e.column_step):
            m.d.sync += phase.eq(Mux(phase_over, 0, phase + 1))
            with m.If(phase_over):
                m.d.sync += lane.eq(Mux(lane_over, 0, lane + 1))
            m.d.sync += address.eq(address + Mux(phase_over & ~lane_over, f.phase_back, f.column_step))
        return lane, address
