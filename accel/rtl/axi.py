"""The two masters of the DRAM port (AXI4, ARM IHI 0022): a stream of beats out of memory, a stream of beats into it.

Both use incrementing bursts of full beats, one transaction ID and 32-bit addresses. Bursts end at multiples of
16 beats, so none is longer than 16 beats and none crosses 4 KiB (16 beats of 8 bytes are 128 bytes).

`stop` ends the work and keeps the protocol: what the bus has accepted is finished, its data thrown away, and no
new burst begins. A master may be reset while it is `quiet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, Flow, In, Out

__all__ = ["ReadMaster", "Slice", "WriteMaster", "beat_shift", "join_ports", "read_ports", "write_ports"]

ADDRESS_BITS = 32
BEATS_BITS = 24
MOST_BEATS = 16

_INCR = 0b01
_BUFFERABLE = 0b0011  # normal memory, non-cacheable, bufferable
_ROOM_BITS = MOST_BEATS.bit_length()


def _address_ports(letter: str) -> dict[str, Any]:
    widths = {"addr": ADDRESS_BITS, "len": 8, "size": 3, "burst": 2, "cache": 4, "prot": 3, "valid": 1}
    return {**{f"a{letter}{name}": Out(bits) for name, bits in widths.items()}, f"a{letter}ready": In(1)}


def read_ports(data_bits: int) -> dict[str, Any]:
    """Returns the members of the channels AR and R as a master has them."""
    response = {"rdata": In(data_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1)}
    return {**_address_ports("r"), **response}


def write_ports(data_bits: int) -> dict[str, Any]:
    """Returns the members of the channels AW, W and B as a master has them."""
    data = {"wdata": Out(data_bits), "wstrb": Out(data_bits // 8), "wlast": Out(1), "wvalid": Out(1)}
    return {
        **_address_ports("w"),
        **data,
        "wready": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def join_ports(m: Module, outer: Any, inner: Any, ports: Mapping[str, Any], prefix: str = "m_axi_") -> None:
    """Connects ports of a submodule with those of the same names, behind `prefix`, of the module around it."""
    for name, member in ports.items():
        outside, inside = getattr(outer, prefix + name), getattr(inner, name)
        m.d.comb += outside.eq(inside) if member.flow is Flow.Out else inside.eq(outside)


def beat_shift(data_bits: int) -> int:
    """Returns log2 of the bytes of a beat."""
    return (data_bits // 8).bit_length() - 1


class Slice(Component):  # type: ignore[misc,unused-ignore]
    """A stage of a stream that registers data and `ready`; two words fit in."""

    def __init__(self, width: int) -> None:
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(width),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        kept, spare = Signal(name="kept"), Signal(len(self.in_data), name="spare")
        m.d.comb += self.in_ready.eq(~kept)
        with m.If(self.out_ready | ~self.out_valid):
            m.d.sync += [self.out_valid.eq(kept | self.in_valid), kept.eq(0)]
            m.d.sync += self.out_data.eq(Mux(kept, spare, self.in_data))
        with m.Elif(self.in_valid & ~kept):
            m.d.sync += [spare.eq(self.in_data), kept.eq(1)]
        return m


class ReadMaster(Component):  # type: ignore[misc,unused-ignore]
    """Takes requests (address of a beat, number of beats) and returns their beats in order.

    A burst takes two cycles to issue; `outstanding` bursts may wait for their data. `error` stays set from the
    first bad response on, `error_address` is the first byte of its burst.
    """

    def __init__(self, data_bits: int, outstanding: int = 8) -> None:
        self.data_bits, self.outstanding = data_bits, outstanding
        super().__init__(
            {
                "request_valid": In(1),
                "request_ready": Out(1),
                "request_address": In(ADDRESS_BITS),
                "request_beats": In(BEATS_BITS),
                "valid": Out(1),
                "ready": In(1),
                "data": Out(data_bits),
                "stop": In(1),
                "quiet": Out(1),
                "error": Out(1),
                "error_address": Out(ADDRESS_BITS),
                **read_ports(data_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.waiting = waiting = SyncFIFO(width=ADDRESS_BITS, depth=self.outstanding)
        self._issue(m, waiting)
        self._receive(m, waiting)
        return m

    def _issue(self, m: Module, waiting: SyncFIFO) -> None:
        shift = beat_shift(self.data_bits)
        left = Signal(BEATS_BITS, name="left")
        address, length = Signal(ADDRESS_BITS, name="address"), Signal(_ROOM_BITS, name="length")
        room = Const(MOST_BEATS, _ROOM_BITS) - address[shift : shift + _ROOM_BITS - 1]
        m.d.comb += [
            self.arsize.eq(shift),
            self.arburst.eq(_INCR),
            self.arcache.eq(_BUFFERABLE),
            waiting.w_data.eq(address),
        ]
        with m.If(self.arready):
            m.d.sync += self.arvalid.eq(0)
        with m.FSM(name="issue") as states:
            with m.State("FREE"):
                m.d.comb += self.request_ready.eq(~self.stop)
                m.d.sync += [address.eq(self.request_address), left.eq(self.request_beats)]
                with m.If(self.request_valid & ~self.stop):
                    m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += length.eq(Mux(left < room, left, room))
                m.next = "ISSUE"
                with m.If(self.stop | (left == 0)):
                    m.next = "FREE"
            with m.State("ISSUE"):
                with m.If(self.stop):
                    m.next = "FREE"
                with m.Elif((self.arready | ~self.arvalid) & waiting.w_rdy):
                    m.d.comb += waiting.w_en.eq(1)
                    m.d.sync += [self.arvalid.eq(1), self.araddr.eq(address), self.arlen.eq(length - 1)]
                    m.d.sync += [address.eq(address + (length << shift)), left.eq(left - length)]
                    m.next = "SIZE"
        m.d.comb += self.quiet.eq(states.ongoing("FREE") & ~waiting.r_rdy & ~self.arvalid)

    def _receive(self, m: Module, waiting: SyncFIFO) -> None:
        m.submodules.slice = stage = Slice(self.data_bits)
        came = self.rvalid & self.rready
        m.d.comb += [
            stage.in_valid.eq(self.rvalid),
            stage.in_data.eq(self.rdata),
            self.rready.eq(stage.in_ready),
            self.valid.eq(stage.out_valid & ~self.stop),
            self.data.eq(stage.out_data),
            stage.out_ready.eq(self.ready | self.stop),
            waiting.r_en.eq(came & self.rlast),
        ]
        with m.If(came & self.rresp[1] & ~self.error):
            m.d.sync += [self.error.eq(1), self.error_address.eq(waiting.r_data)]


class WriteMaster(Component):  # type: ignore[misc,unused-ignore]
    """Collects beats and writes them to consecutive addresses from `base` on, which `begin` sets.

    A burst is sent when its last beat is here: the one before a multiple of 16 beats, or the one that came last
    when `flush` is set for a cycle. `idle` says that nothing is left and all is acknowledged, `quiet` that the bus owes nothing.
    """

    def __init__(self, data_bits: int, outstanding: int = 8) -> None:
        self.data_bits, self.outstanding = data_bits, outstanding
        super().__init__(
            {
                "begin": In(1),
                "base": In(ADDRESS_BITS),
                "valid": In(1),
                "ready": Out(1),
                "data": In(data_bits),
                "flush": In(1),
                "stop": In(1),
                "idle": Out(1),
                "quiet": Out(1),
                "error": Out(1),
                **write_ports(data_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.beats = beats = SyncFIFO(width=self.data_bits, depth=2 * MOST_BEATS)
        m.submodules.bursts = bursts = SyncFIFO(width=_ROOM_BITS, depth=self.outstanding)
        self._collect(m, beats, bursts)
        self._send(m, beats, bursts)
        return m

    def _collect(self, m: Module, beats: SyncFIFO, bursts: SyncFIFO) -> None:
        shift = beat_shift(self.data_bits)
        address, following = Signal(ADDRESS_BITS, name="address"), Signal(ADDRESS_BITS, name="following")
        count, complete = Signal(_ROOM_BITS, name="count"), Signal(name="complete")
        owed = Signal(range(self.outstanding + 1), name="owed")
        accepted, commit = Signal(name="accepted"), Signal(name="commit")
        m.d.comb += [
            self.ready.eq(beats.w_rdy & ~complete & ~self.stop),
            accepted.eq(self.valid & self.ready),
            beats.w_en.eq(accepted),
            beats.w_data.eq(self.data),
            commit.eq(complete & (self.awready | ~self.awvalid) & (owed != self.outstanding) & ~self.stop),
            bursts.w_en.eq(commit & (count != 0)),
            bursts.w_data.eq(count),
            self.awsize.eq(shift),
            self.awburst.eq(_INCR),
            self.awcache.eq(_BUFFERABLE),
            self.quiet.eq(owed == 0),
            self.idle.eq((owed == 0) & (count == 0) & ~complete),
        ]
        last = following[shift : shift + _ROOM_BITS - 1] == MOST_BEATS - 1
        with m.If(self.awready):
            m.d.sync += self.awvalid.eq(0)
        with m.If(self.begin):
            m.d.sync += [address.eq(self.base), following.eq(self.base)]
        with m.Elif(accepted):
            m.d.sync += [
                count.eq(count + 1),
                following.eq(following + (1 << shift)),
                complete.eq(last | self.flush),
            ]
        with m.Elif(commit):
            m.d.sync += [self.awvalid.eq(count != 0), self.awaddr.eq(address), self.awlen.eq(count - 1)]
            m.d.sync += [address.eq(following), count.eq(0), complete.eq(0)]
        with m.Elif(self.flush):
            m.d.sync += complete.eq(1)
        m.d.sync += owed.eq(owed + bursts.w_en - (self.bvalid & self.bready))

    def _send(self, m: Module, beats: SyncFIFO, bursts: SyncFIFO) -> None:
        left, sending = Signal(_ROOM_BITS, name="send_left"), Signal(name="sending")
        move = self.wready | ~self.wvalid
        m.d.comb += [
            self.wstrb.eq((1 << self.data_bits // 8) - 1),
            self.bready.eq(1),
            bursts.r_en.eq(~sending),
            beats.r_en.eq(sending & move),
        ]
        with m.If(move):
            m.d.sync += [self.wvalid.eq(sending), self.wdata.eq(beats.r_data), self.wlast.eq(left == 1)]
        with m.If(~sending):
            m.d.sync += [left.eq(bursts.r_data), sending.eq(bursts.r_rdy)]
        with m.Elif(move):
            m.d.sync += [left.eq(left - 1), sending.eq(left != 1)]
        with m.If(self.bvalid & self.bresp[1]):
            m.d.sync += self.error.eq(1)
