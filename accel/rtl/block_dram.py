"""Block RAM in the place of DRAM: an AXI4 slave for the accelerator's master, and a second way in for a host.

It answers what `axi` sends: incrementing bursts of full beats on one ID, every byte strobed. One read and one write burst
are under way at a time; a beat a cycle goes through. The host goes first, a word at a time. Words behind the end answer
SLVERR and stay as they are. `words` is a power of two, at least a burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import memory
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, Flow, In, Out

from foldwright.accel.rtl.axi import beat_shift, read_ports, write_ports

__all__ = ["BlockDram", "slave_ports"]

_QUEUE = 8
_LATENCY = 2  # the memory and a register behind it
_SLVERR = 0b10


def slave_ports(data_bits: int) -> dict[str, Any]:
    """Returns the members of all five channels as a slave has them."""
    master = read_ports(data_bits) | write_ports(data_bits)
    return {
        name: (Out if member.flow is Flow.In else In)(member.shape, init=member.init)
        for name, member in master.items()
    }


class BlockDram(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text.

    `host_valid` with `host_write` writes `host_data` in that cycle; without, it asks for a word, which comes with
    `host_done`. The host waits for one word before it asks again.
    """

    def __init__(self, words: int, *, data_bits: int = 32, init: Sequence[int] = ()) -> None:
        self.words, self.data_bits, self._init = words, data_bits, list(init)
        self.address_bits = words.bit_length() - 1
        super().__init__(
            {
                **slave_ports(data_bits),
                "host_valid": In(1),
                "host_write": In(1),
                "host_address": In(self.address_bits),
                "host_data": In(data_bits),
                "host_word": Out(data_bits),
                "host_done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.ram = ram = memory.Memory(
            shape=unsigned(self.data_bits), depth=self.words, init=self._init
        )
        self._write(m, ram.write_port())
        self._read(m, ram.read_port())
        return m

    def _place(self, address: Any) -> tuple[Any, Any]:
        """Returns the word of a byte address, and whether it lies behind the end."""
        shift = beat_shift(self.data_bits)
        return address[shift : shift + self.address_bits], address[shift + self.address_bits :].any()

    def _write(self, m: Module, port: Any) -> None:
        address = Signal(self.address_bits, name="write_address")
        busy, outside = Signal(name="write_busy"), Signal(name="write_outside")
        host = self.host_valid & self.host_write
        beat = self.wvalid & self.wready
        first, behind = self._place(self.awaddr)
        m.d.comb += [
            self.awready.eq(~busy & ~self.bvalid),
            self.wready.eq(busy & ~host),
            port.en.eq(host | (beat & ~outside)),
            port.addr.eq(Mux(host, self.host_address, address)),
            port.data.eq(Mux(host, self.host_data, self.wdata)),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [busy.eq(1), address.eq(first), outside.eq(behind)]
        with m.If(self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(beat):
            m.d.sync += address.eq(address + 1)
            with m.If(self.wlast):
                m.d.sync += [busy.eq(0), self.bvalid.eq(1), self.bresp.eq(Mux(outside, _SLVERR, 0))]

    def _read(self, m: Module, port: Any) -> None:
        """Asks for a word only where the queue has room for it: what the memory was asked for cannot wait."""
        m.submodules.queue = queue = SyncFIFO(width=self.data_bits + 2, depth=_QUEUE)
        address, left = Signal(self.address_bits, name="read_address"), Signal(9, name="read_left")
        outside = Signal(name="read_outside")
        on_way = Signal(_LATENCY, name="on_way")  # a bit per stage
        mine, last = Signal(_LATENCY, name="of_host"), Signal(_LATENCY, name="is_last")
        host = self.host_valid & ~self.host_write
        room, issue = Signal(name="room"), Signal(name="issue")
        word = Signal(self.data_bits, name="word")
        first, behind = self._place(self.araddr)
        m.d.sync += room.eq(queue.w_level < _QUEUE - _LATENCY - 2)
        m.d.comb += [
            self.arready.eq(left == 0),
            issue.eq((left != 0) & room & ~host),
            port.addr.eq(Mux(host, self.host_address, address)),
            queue.w_en.eq(on_way[-1] & ~mine[-1]),
            queue.w_data.eq(Cat(word, outside, last[-1])),
            Cat(self.rdata, self.rresp[1], self.rlast).eq(queue.r_data),
            self.rvalid.eq(queue.r_rdy),
            queue.r_en.eq(self.rready),
            self.host_word.eq(word),
            self.host_done.eq(on_way[-1] & mine[-1]),
        ]
        m.d.sync += [
            word.eq(port.data),
            on_way.eq(Cat(issue | host, on_way[:-1])),
            mine.eq(Cat(host, mine[:-1])),
            last.eq(Cat(left == 1, last[:-1])),
        ]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [address.eq(first), left.eq(self.arlen + 1), outside.eq(behind)]
        with m.If(issue):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
