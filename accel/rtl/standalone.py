"""A complete accelerator without a processor: block RAM in the place of DRAM, and a host behind a serial port.

`leds`: 0 blinks with the clock, 1 while DRAM is read, 2 while DRAM is written (both stretched so that an eye sees it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib.wiring import Component, Flow, In, Out

from foldwright.accel.rtl.accelerator import Accelerator, AcceleratorShape
from foldwright.accel.rtl.axi import MOST_BEATS, read_ports, write_ports
from foldwright.accel.rtl.block_dram import BlockDram
from foldwright.accel.rtl.control import lite_ports
from foldwright.accel.rtl.serial_host import SerialHost
from foldwright.accel.rtl.serial_port import SerialReceiver, SerialTransmitter
from foldwright.errors import ConfigError

__all__ = ["LEDS", "Standalone", "StandaloneParams"]

LEDS = 3
_LEAST_BIT_CYCLES = 4


@dataclass(frozen=True, slots=True)
class StandaloneParams:
    """Sizes.

    Attributes:
        ram_words: 32-bit words of block RAM, a power of two.
        bit_cycles: clock cycles of a bit on the serial lines.
        timeout_cycles: silence after which a request is forgotten.
        blink_bits: the bits of the counter whose highest one blinks.
    """

    ram_words: int
    bit_cycles: int
    timeout_cycles: int = 1 << 22
    blink_bits: int = 26

    def __post_init__(self) -> None:
        wrong = []
        if self.ram_words < MOST_BEATS or self.ram_words & self.ram_words - 1:
            wrong.append(f"ram_words is {self.ram_words}, a power of two from {MOST_BEATS} on is needed")
        if self.bit_cycles < _LEAST_BIT_CYCLES:
            wrong.append(
                f"a bit of the serial port lasts {self.bit_cycles} cycles, at least {_LEAST_BIT_CYCLES} are needed"
            )
        if wrong:
            raise ConfigError(f"standalone accelerator: {'; '.join(wrong)}")


class Standalone(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text.

    Args:
        init: words of the RAM from the start.
        core_module: the name of a module to instantiate for the accelerator, which is then not part of this one.
    """

    def __init__(
        self,
        shape: AcceleratorShape,
        params: StandaloneParams,
        init: Sequence[int] = (),
        *,
        core_module: str | None = None,
    ) -> None:
        self._shape, self._params, self._core_module = shape, params, core_module
        self._dram = BlockDram(params.ram_words, data_bits=shape.memory.data_bits, init=init)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(LEDS)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        params, dram = self._params, self._dram
        m.submodules.dram = dram
        m.submodules.host = host = SerialHost(dram.address_bits, params.timeout_cycles)
        m.submodules.receiver = receiver = SerialReceiver(params.bit_cycles)
        m.submodules.transmitter = transmitter = SerialTransmitter(params.bit_cycles)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            host.in_valid.eq(receiver.valid),
            host.in_data.eq(receiver.data),
            self.tx.eq(transmitter.tx),
            transmitter.valid.eq(host.out_valid),
            transmitter.data.eq(host.out_data),
            host.out_ready.eq(transmitter.ready),
            dram.host_valid.eq(host.ram_valid),
            dram.host_write.eq(host.ram_write),
            dram.host_address.eq(host.ram_address),
            dram.host_data.eq(host.ram_data),
            host.ram_word.eq(dram.host_word),
            host.ram_done.eq(dram.host_done),
        ]
        self._core(m, host)
        self._blink(m)
        return m

    def _core(self, m: Module, host: SerialHost) -> None:
        """Connects the accelerator, or an instance of its module, with the RAM and the host."""
        master = read_ports(self._dram.data_bits) | write_ports(self._dram.data_bits)
        members = {f"s_axi_{n}": (member, getattr(host, f"m_lite_{n}")) for n, member in lite_ports().items()}
        members |= {f"m_axi_{n}": (member, getattr(self._dram, n)) for n, member in master.items()}
        if self._core_module is None:
            m.submodules.core = core = Accelerator(self._shape)
            for name, (member, signal) in members.items():
                inner = getattr(core, name)
                m.d.comb += signal.eq(inner) if member.flow is Flow.Out else inner.eq(signal)
            return
        ports = {f"{'o' if x.flow is Flow.Out else 'i'}_{n}": signal for n, (x, signal) in members.items()}
        m.submodules.core = Instance(self._core_module, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports)

    def _blink(self, m: Module) -> None:
        count = Signal(self._params.blink_bits, name="count")
        m.d.sync += [count.eq(count + 1), self.leds[0].eq(count[-1])]
        for led, event in ((1, self._dram.rvalid), (2, self._dram.bvalid)):
            with m.If(event):
                m.d.sync += self.leds[led].eq(1)
            with m.Elif(count[:-2].all()):
                m.d.sync += self.leds[led].eq(0)
