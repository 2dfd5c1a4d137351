"""A wide memory in slices side by side: one address, one word, no slice wider than `MOST_BITS`.

Simulators and synthesis treat a write enable bit by bit; a memory of several thousand bits makes expressions that
neither likes. Slices are cut between units (lanes, channels, block-RAM ports), so block RAMs are used as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Module, Value, unsigned
from amaranth.lib import memory

__all__ = ["MOST_BITS", "SHALLOW_WORDS", "WideMemory"]

MOST_BITS = 2016
"""Twenty-eight block-RAM ports of 72 bits."""
SHALLOW_WORDS = 64
"""What one LUT RAM holds; a small memory up to this depth lies in LUTs."""


class WideMemory:
    """Makes the slices inside module `m` under `name`, `name_1` and so on.

    Attributes:
        unit_bits: where the word may be cut: a multiple of this many bits.
        lanes: one write enable a unit instead of one for the word.
        style: what it lies in, "block" or "distributed"; said, so that tools and the cost model agree.
    """

    def __init__(
        self,
        m: Module,
        name: str,
        width: int,
        depth: int,
        *,
        unit_bits: int,
        lanes: bool = False,
        domain: str = "sync",
        style: str = "block",
    ) -> None:
        self._m, self._unit_bits, self._lanes, self._domain = m, unit_bits, lanes, domain
        self._slices: list[tuple[int, int, Any]] = []
        step = max(1, MOST_BITS // unit_bits) * unit_bits
        for index, low in enumerate(range(0, width, step)):
            bits = min(step, width - low)
            ram = memory.Memory(shape=unsigned(bits), depth=depth, init=[], attrs={"ram_style": style})
            m.submodules[name if index == 0 else f"{name}_{index}"] = ram
            self._slices.append((low, bits, ram))

    def write(self, address: Value, data: Value, enable: Value) -> None:
        for low, bits, ram in self._slices:
            port = ram.write_port(granularity=self._unit_bits) if self._lanes else ram.write_port()
            first = low // self._unit_bits
            mine = enable[first : first + bits // self._unit_bits] if self._lanes else enable
            self._m.d.comb += [port.addr.eq(address), port.data.eq(data[low : low + bits]), port.en.eq(mine)]

    def read(self, address: Value, enable: Value | int = 1) -> Value:
        """Returns the word read: a cycle later, or at once in domain "comb"."""
        return Cat(*self._words(address, enable))

    def _words(self, address: Value, enable: Value | int) -> Iterator[Value]:
        for _, _, ram in self._slices:
            port = ram.read_port(domain=self._domain)
            self._m.d.comb += port.addr.eq(address)
            if self._domain != "comb":
                self._m.d.comb += port.en.eq(enable)
            yield port.data
