"""A host behind a serial port: reads and writes words of the block RAM and registers of the accelerator.

A request is seven bytes, numbers low byte first: `R` or `W`, a count of 32-bit words (16 bits), and a byte address
(32 bits), the first word's. `W` is followed by the words. The answer to `R` is the words; both end with a byte, `K` where
all went well, `E` where an address or register refused. Another first byte is answered with `?`. With bit 31 of the address the
rest is an offset among the registers (AXI4-Lite), without it an address of the RAM.

A request that breaks off is forgotten after `timeout_cycles` of silence.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, Flow, In, Out

from foldwright.accel.rtl.control import LITE_ADDRESS_BITS, lite_ports

__all__ = ["REGISTERS_BIT", "SerialHost"]

REGISTERS_BIT = 31
READ, WRITE, FINE, REFUSED, UNKNOWN = (ord(letter) for letter in "RWKE?")
_HEADER_BYTES = 6
_WORD_BYTES = 4


class SerialHost(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text. Bytes come with `in_valid`; `ram_*` are the host's ports of `BlockDram`."""

    def __init__(self, address_bits: int, timeout_cycles: int = 1 << 22) -> None:
        self.timeout_cycles = timeout_cycles
        lite = {
            f"m_lite_{name}": (Out if member.flow is Flow.In else In)(member.shape)
            for name, member in lite_ports().items()
        }
        super().__init__(
            {
                "in_valid": In(1),
                "in_data": In(8),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(8),
                "ram_valid": Out(1),
                "ram_write": Out(1),
                "ram_address": Out(address_bits),
                "ram_data": Out(32),
                "ram_word": In(32),
                "ram_done": In(1),
                **lite,
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._count, self._address = Signal(16, name="count"), Signal(32, name="address")
        self._word, self._place = Signal(32, name="word"), Signal(range(8), name="place")
        self._is_write, self._refused = Signal(name="is_write"), Signal(name="refused")
        silent = Signal(range(self.timeout_cycles + 1), name="silent")
        late = Signal(name="late")
        m.d.sync += [silent.eq(Mux(self.in_valid, 0, silent + ~late)), late.eq(silent == self.timeout_cycles)]
        in_registers = self._address[REGISTERS_BIT]
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.sync += [self._place.eq(0), self._refused.eq(0), self._word.eq(UNKNOWN)]
                with m.If(self.in_valid):
                    m.d.sync += [self._is_write.eq(self.in_data == WRITE), silent.eq(0), late.eq(0)]
                    m.next = "ANSWER"
                    with m.If((self.in_data == READ) | (self.in_data == WRITE)):
                        m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(self.in_valid):
                    m.d.sync += Cat(self._count, self._address).eq(
                        Cat(self._count, self._address, self.in_data)[8:]
                    )
                    m.d.sync += self._place.eq(self._place + 1)
                    with m.If(self._place == _HEADER_BYTES - 1):
                        m.d.sync += self._place.eq(0)
                        m.next = "NEXT"
                with m.Elif(late):
                    m.next = "IDLE"
            with m.State("NEXT"):
                m.next = "ASK"
                with m.If(self._count == 0):
                    m.d.sync += self._word.eq(Mux(self._refused, REFUSED, FINE))
                    m.next = "ANSWER"
                with m.Elif(self._is_write):
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                with m.If(self.in_valid):
                    m.d.sync += [self._word.eq(Cat(self._word[8:], self.in_data))]
                    m.d.sync += self._place.eq(self._place + 1)
                    with m.If(self._place == _WORD_BYTES - 1):
                        m.d.sync += self._place.eq(0)
                        m.next = "ASK"
                with m.Elif(late):
                    m.next = "IDLE"
            with m.State("ASK"):
                m.next = "RAM"
                with m.If(in_registers):
                    self._ask_registers(m)
                    m.next = "REGISTERS"
            with m.State("RAM"):
                self._reach_ram(m)
            with m.State("RAM_WAIT"), m.If(self.ram_done):
                m.d.sync += self._word.eq(self.ram_word)
                m.next = "SEND"
            with m.State("REGISTERS"):
                self._reach_registers(m)
            with m.State("SEND"):
                self._send(m)
            with m.State("STEP"):
                m.d.sync += [self._count.eq(self._count - 1), self._address.eq(self._address + _WORD_BYTES)]
                m.next = "NEXT"
            with m.State("ANSWER"):
                m.d.comb += self.out_valid.eq(1)
                with m.If(self.out_ready):
                    m.next = "IDLE"
        m.d.comb += [
            self.out_data.eq(self._word[:8]),
            self.ram_address.eq(self._address[2:]),
            self.ram_data.eq(self._word),
            self.ram_write.eq(self._is_write),
        ]
        return m

    def _reach_ram(self, m: Module) -> None:
        behind = self._address[2 + len(self.ram_address) : REGISTERS_BIT].any()
        m.d.comb += self.ram_valid.eq(~behind)
        with m.If(behind):
            m.d.sync += [self._refused.eq(1), self._word.eq(Mux(self._is_write, self._word, 0))]
        m.next = "RAM_WAIT"
        with m.If(self._is_write):
            m.next = "STEP"
        with m.Elif(behind):
            m.next = "SEND"

    def _ask_registers(self, m: Module) -> None:
        offset = self._address[:LITE_ADDRESS_BITS]
        m.d.sync += [
            self.m_lite_awvalid.eq(self._is_write),
            self.m_lite_wvalid.eq(self._is_write),
            self.m_lite_arvalid.eq(~self._is_write),
            self.m_lite_awaddr.eq(offset),
            self.m_lite_araddr.eq(offset),
            self.m_lite_wdata.eq(self._word),
            self.m_lite_wstrb.eq(0xF),
        ]

    def _reach_registers(self, m: Module) -> None:
        m.d.comb += [self.m_lite_bready.eq(1), self.m_lite_rready.eq(1)]
        for channel in ("aw", "w", "ar"):
            with m.If(getattr(self, f"m_lite_{channel}ready")):
                m.d.sync += getattr(self, f"m_lite_{channel}valid").eq(0)
        with m.If(self.m_lite_bvalid):
            m.d.sync += self._refused.eq(self._refused | self.m_lite_bresp[1])
            m.next = "STEP"
        with m.If(self.m_lite_rvalid):
            m.d.sync += [
                self._word.eq(self.m_lite_rdata),
                self._refused.eq(self._refused | self.m_lite_rresp[1]),
            ]
            m.next = "SEND"

    def _send(self, m: Module) -> None:
        m.d.comb += self.out_valid.eq(1)
        with m.If(self.out_ready):
            m.d.sync += [self._word.eq(self._word >> 8), self._place.eq(self._place + 1)]
            with m.If(self._place == _WORD_BYTES - 1):
                m.d.sync += self._place.eq(0)
                m.next = "STEP"
