"""A serial port, 8 data bits, no parity, one stop bit. A bit lasts `bit_cycles` clock cycles, four or more."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

__all__ = ["SerialReceiver", "SerialTransmitter"]

_FRAME_BITS = 10  # start, eight data bits, stop


class SerialReceiver(Component):  # type: ignore[misc,unused-ignore]
    """Samples the middle of every bit; `valid` lasts a cycle. A byte without its stop bit is dropped."""

    def __init__(self, bit_cycles: int) -> None:
        self.bit_cycles = bit_cycles
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line = Signal(init=1, name="line")
        m.submodules.line = FFSynchronizer(self.rx, line, init=1)
        timer, left = (
            Signal(range(self.bit_cycles), name="timer"),
            Signal(range(_FRAME_BITS + 1), name="left"),
        )
        broken = Signal(name="broken")
        m.d.sync += [self.valid.eq(0), timer.eq(timer - 1)]
        with m.If(left == 0):
            m.d.sync += [timer.eq(self.bit_cycles // 2 - 1), broken.eq(0)]
            with m.If(~line):
                m.d.sync += left.eq(_FRAME_BITS)
        with m.Elif(timer == 0):
            m.d.sync += [timer.eq(self.bit_cycles - 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += self.valid.eq(line & ~broken)
                with m.If(~line):  # no stop bit: wait until the line rests
                    m.d.sync += [left.eq(1), timer.eq(0), broken.eq(1)]
            with m.Elif((left == _FRAME_BITS) & line):  # a glitch, no start bit
                m.d.sync += left.eq(0)
            with m.Else():
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
        return m


class SerialTransmitter(Component):  # type: ignore[misc,unused-ignore]
    """Sends a byte when `valid` and `ready` are set."""

    def __init__(self, bit_cycles: int) -> None:
        self.bit_cycles = bit_cycles
        super().__init__({"tx": Out(1, init=1), "data": In(8), "valid": In(1), "ready": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timer, left = (
            Signal(range(self.bit_cycles), name="timer"),
            Signal(range(_FRAME_BITS + 2), name="left"),
        )
        frame = Signal(_FRAME_BITS, name="frame")
        m.d.comb += self.ready.eq(left == 0)
        with m.If(self.ready):
            m.d.sync += self.tx.eq(1)
            with m.If(self.valid):
                m.d.sync += [frame.eq(Cat(Const(0, 1), self.data, Const(1, 1))), left.eq(_FRAME_BITS + 1)]
                m.d.sync += timer.eq(0)
        with m.Elif(timer == 0):
            m.d.sync += [self.tx.eq(frame[0]), frame.eq(Cat(frame[1:], Const(1, 1))), left.eq(left - 1)]
            m.d.sync += timer.eq(self.bit_cycles - 1)
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m
