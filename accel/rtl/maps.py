"""A feature map: lanes of words that are written byte by byte and read whole, through an output register.

A lane's word of `dk` bits is cut into bytes, segment by segment (a segment is what the smallest plane of a word takes);
the last byte of a segment may be short. Every byte takes `byte_bits` of the memory, the width of one write enable.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.slots import byte_runs

__all__ = ["MapMemory"]


class MapMemory:
    """Makes the memory inside module `m` under `name`."""

    def __init__(self, m: Module, name: str, engine: Engine, byte_bits: int, words: int) -> None:
        dn = engine.dn
        self._m, self._name, self.dn, self.byte_bits = m, name, dn, byte_bits
        self.runs = byte_runs(engine.dk, engine.planes_per_word, byte_bits)
        width = dn * len(self.runs) * byte_bits
        self._ram = WideMemory(m, name, width, words, unit_bits=byte_bits, lanes=True)

    def write(self, enable: Value, address: Value, words: list[Value]) -> None:
        """Connects the write port.

        Args:
            enable: one bit per lane and byte, lane by lane.
            words: what lanes 0, 1, .. take, again from the first behind the last.
        """
        lanes = [self._stored(words[lane % len(words)]) for lane in range(self.dn)]
        self._ram.write(address, Cat(*lanes), enable)

    def _stored(self, word: Value) -> Value:
        """Returns a lane's word with every byte at its full width."""
        parts: list[Value] = []
        for low, bits in self.runs:
            parts += [word[low : low + bits], Const(0, self.byte_bits - bits)]
        return Cat(*parts)

    def read(self, address: Value, enable: Value) -> Signal:
        """Returns the words of all lanes, `dn * dk` bits, two cycles after the address."""
        stored = self._ram.read(address, enable)
        size = len(self.runs) * self.byte_bits
        parts = [
            stored[lane * size + k * self.byte_bits :][:bits]
            for lane in range(self.dn)
            for k, (_, bits) in enumerate(self.runs)
        ]
        out = Signal(sum(len(part) for part in parts), name=f"{self._name}_word", reset_less=True)
        self._m.d.sync += out.eq(Cat(*parts))
        return out
