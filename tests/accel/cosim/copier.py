"""A small accelerator for the harness's tests: registers over AXI4-Lite and a DMA that copies bursts of DRAM.

Registers: 0x00 write 1 to start, reads bit 0 done and bit 1 error; 0x04 source, 0x08 target, 0x0c bursts, 0x10 a `Fault`
that it commits on purpose.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib.wiring import Component, In, Out

__all__ = ["BURST_BEATS", "Copier", "Fault", "copier_text"]

BURST_BEATS = 8
_LITE = {
    **{"awaddr": In(8), "awvalid": In(1), "awready": Out(1)},
    **{"wdata": In(32), "wstrb": In(4), "wvalid": In(1), "wready": Out(1)},
    **{"bresp": Out(2), "bvalid": Out(1), "bready": In(1)},
    **{"araddr": In(8), "arvalid": In(1), "arready": Out(1)},
    **{"rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1)},
}
_FULL: dict[str, Any] = {
    **{f"{way}addr": Out(32) for way in ("ar", "aw")},
    **{f"{way}len": Out(8) for way in ("ar", "aw")},
    **{f"{way}size": Out(3) for way in ("ar", "aw")},
    **{f"{way}burst": Out(2) for way in ("ar", "aw")},
    **{f"{way}valid": Out(1) for way in ("ar", "aw", "w")},
    **{f"{way}ready": In(1) for way in ("ar", "aw", "w")},
    **{"rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1)},
    **{"wlast": Out(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1)},
}


class Fault(IntEnum):
    """What the copier does wrong, where it is asked to."""

    NONE = 0
    VALID_FALLS = 1
    PAYLOAD_CHANGES = 2
    EARLY_LAST = 3
    NEVER_DONE = 4
    NO_ANSWER = 5  # to reads of registers
    ANSWER_FALLS = 6  # to reads of registers, after a cycle


class Copier(Component):  # type: ignore[misc,unused-ignore]
    """The whole design. Trace 0 records the beats written, 128 bits wide, and bursts as tiles; trace 1 the beats read."""

    def __init__(self, data_bits: int) -> None:
        self.data_bits = data_bits
        lite = {f"s_axi_{name}": port for name, port in _LITE.items()}
        data = {"rdata": In(data_bits), "wdata": Out(data_bits), "wstrb": Out(data_bits // 8)}
        full = {f"m_axi_{name}": port for name, port in (_FULL | data).items()}
        traces = {
            **{"trace0_write": Out(16), "trace0_address": Out(12), "trace0_data": Out(128)},
            **{"trace0_tile_start": Out(1), "trace0_tile_end": Out(1), "trace0_tile": Out(9)},
            **{"trace1_write": Out(1), "trace1_data": Out(data_bits)},
        }
        super().__init__(lite | full | traces)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.source, self.target, self.bursts = Signal(32), Signal(32), Signal(9)
        self.fault, self.start = Signal(4), Signal()
        self.done, self.error = Signal(), Signal()
        self._registers(m)
        self._copy(m)
        return m

    def _registers(self, m: Module) -> None:
        store = Signal()
        m.d.comb += [
            store.eq(self.s_axi_awvalid & self.s_axi_wvalid & ~self.s_axi_bvalid),
            self.s_axi_awready.eq(store),
            self.s_axi_wready.eq(store),
            self.start.eq(store & (self.s_axi_awaddr == 0) & self.s_axi_wdata[0]),
            self.s_axi_arready.eq(~self.s_axi_rvalid & (self.fault != Fault.NO_ANSWER)),
        ]
        places = {4: self.source, 8: self.target, 12: self.bursts, 16: self.fault}
        with m.If(store):
            m.d.sync += self.s_axi_bvalid.eq(1)
            for address, place in places.items():
                with m.If(self.s_axi_awaddr == address):
                    m.d.sync += place.eq(self.s_axi_wdata)
        with m.Elif(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [self.s_axi_rvalid.eq(1), self.s_axi_rdata.eq(Cat(self.done, self.error))]
            for address, place in places.items():
                with m.If(self.s_axi_araddr == address):
                    m.d.sync += self.s_axi_rdata.eq(place)
        with m.Elif(self.s_axi_rready | (self.fault == Fault.ANSWER_FALLS)):
            m.d.sync += self.s_axi_rvalid.eq(0)

    def _copy(self, m: Module) -> None:
        beats = Array(Signal(self.data_bits, name=f"beat{k}") for k in range(BURST_BEATS))
        at, burst, offset = Signal(range(BURST_BEATS)), Signal(9), Signal(32)
        wobble = Signal(32)
        for way in ("ar", "aw"):
            m.d.comb += [
                getattr(self, f"m_axi_{way}len").eq(BURST_BEATS - 1),
                getattr(self, f"m_axi_{way}size").eq((self.data_bits // 8).bit_length() - 1),
                getattr(self, f"m_axi_{way}burst").eq(1),
            ]
        m.d.comb += [
            offset.eq(burst * (BURST_BEATS * self.data_bits // 8)),
            self.m_axi_araddr.eq(self.source + offset + wobble),
            self.m_axi_awaddr.eq(self.target + offset),
            self.m_axi_wdata.eq(beats[at]),
            self.m_axi_wstrb.eq(-1),
            self.m_axi_wlast.eq(at == BURST_BEATS - 1 - (self.fault == Fault.EARLY_LAST)),
            self.trace0_data.eq(beats[at]),
            self.trace0_address.eq(burst * BURST_BEATS + at),
            self.trace0_tile.eq(burst),
            self.trace1_data.eq(self.m_axi_rdata),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [self.done.eq(0), self.error.eq(0), burst.eq(0)]
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.m_axi_arvalid.eq(1)
                with m.If(self.m_axi_arready):
                    m.d.comb += self.trace0_tile_start.eq(1)
                    m.next = "TAKE"
                with m.Elif(self.fault == Fault.VALID_FALLS):
                    m.next = "WAIT"
                with m.Elif(self.fault == Fault.PAYLOAD_CHANGES):
                    m.d.sync += wobble.eq(wobble + 64)
            with m.State("WAIT"):
                m.next = "READ"
            with m.State("TAKE"):
                m.d.comb += [self.m_axi_rready.eq(1), self.trace1_write.eq(self.m_axi_rvalid)]
                with m.If(self.m_axi_rvalid):
                    m.d.sync += [beats[at].eq(self.m_axi_rdata), at.eq(at + 1)]
                    m.d.sync += self.error.eq(self.error | self.m_axi_rresp[1])
                    with m.If(self.m_axi_rlast):
                        m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.m_axi_awvalid.eq(1)
                with m.If(self.m_axi_awready):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.m_axi_wvalid.eq(1)
                with m.If(self.m_axi_wready):
                    m.d.comb += self.trace0_write.eq((1 << self.data_bits // 8) - 1)
                    m.d.sync += at.eq(at + 1)
                    with m.If(at == BURST_BEATS - 1):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.m_axi_bready.eq(1)
                with m.If(self.m_axi_bvalid):
                    m.d.comb += self.trace0_tile_end.eq(1)
                    m.d.sync += [burst.eq(burst + 1), self.error.eq(self.error | self.m_axi_bresp[1])]
                    m.next = "READ"
                    with m.If(burst + 1 == self.bursts):
                        m.d.sync += self.done.eq(self.fault != Fault.NEVER_DONE)
                        m.next = "IDLE"


def copier_text(data_bits: int) -> str:
    """Returns the RTLIL of a copier."""
    return str(rtlil.convert(Copier(data_bits), name="copier", emit_src=False))
