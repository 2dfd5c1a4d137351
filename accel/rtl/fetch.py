"""Reads the program memory one word a cycle and keeps the fields; see `program` for what the words mean.

The loops reload their counts from the fields, so words are taken only while no tile runs; the array still
empties meanwhile, for which no field is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.program import DATA_BITS, WORD_BITS, Field

__all__ = ["ProgramReader"]


class ProgramReader(Component):  # type: ignore[misc,unused-ignore]
    """The program counter, the memory behind it and a register per field.

    `go` lasts one cycle and starts a tile; `finished` says that its last loop turn passes. The next `go`
    comes at the earliest `flush_cycles` after that. `add_step` and `add_slot` are set with the last word of a
    table entry.
    """

    def __init__(self, words: int, flush_cycles: int, widths: Mapping[Field, int]) -> None:
        self.depth, self.flush_cycles = words, flush_cycles
        self.widths = dict(widths)
        super().__init__(
            {
                "start": In(1),
                "finished": In(1),
                "write": In(1),
                "write_address": In(max(1, (words - 1).bit_length())),
                "write_data": In(WORD_BITS),
                "busy": Out(1),
                "running": Out(1),
                "go": Out(1),
                "prime": Out(1),
                "add_step": Out(1),
                "add_slot": Out(1),
                "data": Out(DATA_BITS),
                **{field.name.lower(): Out(width) for field, width in self.widths.items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ram = memory.Memory(shape=WORD_BITS, depth=self.depth, init=[])
        m.submodules.memory = ram
        write, read = ram.write_port(), ram.read_port(domain="sync")
        counter, loading = Signal(len(read.addr), name="counter"), Signal(name="loading")
        valid, flush = Signal(name="valid"), Signal(range(self.flush_cycles + 1), name="flush")
        field = read.data[DATA_BITS:]
        at_go, at_halt = valid & (field == Field.GO), valid & (field == Field.HALT)
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write),
            read.addr.eq(counter),
            read.en.eq(~at_go),
            self.go.eq(at_go & (flush == 0)),
            self.data.eq(read.data[:DATA_BITS]),
            self.add_step.eq(valid & (field == Field.STEP_FLAGS)),
            self.add_slot.eq(valid & (field == Field.SLOT_FLAGS)),
            self.busy.eq(loading | self.prime | self.running | (flush != 0)),
        ]
        with m.If(self.start & ~self.busy):
            m.d.sync += [counter.eq(0), loading.eq(1)]
        with m.Elif(at_halt):
            m.d.sync += [loading.eq(0), valid.eq(0)]
        with m.Elif(at_go):
            m.d.sync += valid.eq(flush != 0)
            with m.If(flush == 0):
                m.d.sync += loading.eq(0)
        with m.Elif(loading):
            m.d.sync += [counter.eq(counter + 1), valid.eq(1)]
        m.d.sync += self.prime.eq(self.go)
        with m.If(self.prime):
            m.d.sync += self.running.eq(1)
        with m.If(self.finished):
            m.d.sync += [self.running.eq(0), loading.eq(1), flush.eq(self.flush_cycles)]
        with m.Elif(flush != 0):
            m.d.sync += flush.eq(flush - 1)
        for register in self.widths:
            with m.If(valid & (field == register)):
                m.d.sync += getattr(self, register.name.lower()).eq(self.data)
        return m
