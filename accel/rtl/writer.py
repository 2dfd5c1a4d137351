"""The writer of an engine: pools its results, packs them into words and writes them where the next layer reads them.

A *beat* is what the engine gives in a cycle: `drain_lanes` lanes of `dm` codes, or of `dm` raw accumulators. The
writer cannot stall the engine, so beats come at least `hold_cycles` apart, and with pooling rows last at least
`foldwright.accel.writer_program.ENTRY_CYCLES`.

A write is at the port `latency_cycles` after its beat (and those of further plane groups in the cycles behind),
and in the memory a cycle later. Results for DRAM leave as items: codes at the same time, raw ones a cycle after
their beat.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.beats import BeatCounter
from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.rtl.pack import Pack, Planes
from foldwright.accel.rtl.place import Place
from foldwright.accel.rtl.pool import POOL_STAGES, Pool
from foldwright.accel.rtl.writer_layout import writer_layout
from foldwright.accel.writer_shape import WriterShape

__all__ = ["Writer", "latency_cycles"]

_STAGES = 3  # a beat's register, the held codes, the port's register


def latency_cycles(shape: WriterShape) -> int:
    """Returns the cycles from a beat to its first write."""
    return _STAGES + (POOL_STAGES if shape.pool_words else 0)


class Writer(Component):  # type: ignore[misc,unused-ignore]
    """Writes one tile at a time.

    `go` takes the fields over and comes only while not `busy`; the first beat follows two cycles later at the earliest.
    `busy` falls when the last result is in memory. `error` says that a beat came without a tile to belong to, until the
    next `go`. Beats of the kind that the tile does not use are not looked at.
    """

    def __init__(self, shape: WriterShape) -> None:
        self.shape = shape
        lanes = shape.drain_lanes * shape.dm
        ports: dict[str, Any] = {
            "go": In(1),
            "fields": In(writer_layout(shape)),
            "busy": Out(1),
            "error": Out(1),
            "hold_cycles": Out(shape.most_writes.bit_length()),
        }
        if shape.code_bits:
            ports |= {"valid": In(1), "codes": In(lanes * shape.code_bits)}
        if shape.store:
            ports |= {"raw_valid": In(1), "raw": In(lanes * shape.acc_bits)}
            ports |= {"store_valid": Out(1), "store_data": Out(shape.store_bits)}
        for t, target in enumerate(shape.targets):
            ports[f"map_{t}_enable"] = Out(target.dn * len(target.byte_runs))
            ports[f"map_{t}_address"] = Out(address_bits(target.words))
            ports[f"map_{t}_data"] = Out(shape.drain_lanes * target.dk)
        super().__init__(ports)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        f, prime = Signal(self.fields.shape(), name="taken"), Signal(name="prime")
        m.d.sync += prime.eq(self.go)
        with m.If(self.go):
            m.d.sync += f.eq(self.fields)
        m.d.comb += self.hold_cycles.eq(f.writes)
        m.submodules.beats = beats = BeatCounter(self.shape)
        m.d.comb += [beats.prime.eq(prime), beats.fields.eq(f), beats.beat.eq(self._beat(f))]
        self._status(m, f, beats)
        if self.shape.code_bits:
            self._codes(m, f, prime, beats)
        else:
            m.d.sync += [self.store_valid.eq(beats.live), self.store_data.eq(self.raw)]
        return m

    def _beat(self, f: Any) -> Value:
        if not self.shape.store:
            return self.valid
        return Mux(f.raw, self.raw_valid, self.valid) if self.shape.code_bits else self.raw_valid

    def _status(self, m: Module, f: Any, beats: BeatCounter) -> None:
        """Counts how long the tile is busy behind its last beat: stages and writes, or what the search still gives."""
        behind = latency_cycles(self.shape) + self.shape.most_writes + self.shape.search_cycles
        left = Signal(range(behind + 1), name="behind")
        m.d.comb += self.busy.eq(left != 0)
        with m.If(self.go):
            m.d.sync += left.eq(behind)
        with m.Elif(beats.running | beats.prime):
            m.d.sync += left.eq(self._behind(f))
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(self.go):
            m.d.sync += self.error.eq(0)
        with m.Elif(beats.beat & ~beats.running):
            m.d.sync += self.error.eq(1)

    def _behind(self, f: Any) -> Value:
        stages = latency_cycles(self.shape)
        written = stages - 1 + f.writes
        if not self.shape.store or not self.shape.code_bits:
            return written
        return Mux(f.raw, max(2, self.shape.search_cycles + 1), written)

    def _codes(self, m: Module, f: Any, prime: Value, beats: BeatCounter) -> None:
        shape = self.shape
        codes: Any = Signal(len(self.codes), name="codes_taken", reset_less=True)
        m.d.sync += codes.eq(self.codes)
        events: Any = beats.events
        if shape.pool_words:
            m.submodules.pool = pool = Pool(shape)
            m.d.comb += [pool.events.eq(events), pool.control.eq(beats.pool), pool.codes.eq(codes)]
            if shape.sum_bits:
                m.d.comb += pool.average.eq(f.average)
            events, codes = pool.events_out, pool.codes_out
        m.submodules.planes = planes = Planes(shape)
        m.d.comb += [planes.fields.eq(f), planes.load.eq(events.emit), planes.codes.eq(codes)]
        if shape.targets:
            self._targets(m, f, prime, events, planes)
        if shape.store:
            stored = planes.first & (f.route == shape.store_route)
            m.d.sync += self.store_valid.eq(Mux(f.raw, beats.live, stored))
            m.d.sync += self.store_data.eq(Mux(f.raw, self.raw, planes.held))

    def _targets(self, m: Module, f: Any, prime: Value, events: Any, planes: Planes) -> None:
        m.submodules.place = place = Place(self.shape)
        m.d.comb += [place.prime.eq(prime), place.fields.eq(f), place.events.eq(events)]
        address = Signal(len(place.outer), name="address", reset_less=True)
        near, far = Mux(planes.first, place.outer, address), Mux(planes.first, place.inner, f.plane_step)
        m.d.sync += address.eq(near + far)
        lanes = Signal(self.shape.drain_lanes, name="lanes", reset_less=True)
        with m.If(events.emit):
            m.d.sync += lanes.eq(events.lanes)
        for t, target in enumerate(self.shape.targets):
            m.submodules[f"pack_{t}"] = pack = Pack(self.shape, t)
            m.d.comb += [
                pack.active.eq(planes.active & (f.route == t) & ~f.raw),
                pack.planes.eq(f.planes),
                pack.slot.eq(place.slot),
                pack.lane.eq(place.frame_lane if target.is_batch else place.column_lane),
                pack.lanes.eq(lanes),
                pack.held.eq(planes.held),
                getattr(self, f"map_{t}_enable").eq(pack.enable),
                getattr(self, f"map_{t}_address").eq(address),
                getattr(self, f"map_{t}_data").eq(pack.data),
            ]
