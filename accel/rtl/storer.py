"""The result stage: takes items from a writer that cannot wait, and writes them to DRAM one behind the other.

An item fills whole beats, its first bits in the first beat. At the end of a round what is left is flushed, and the next
round's items go on when DRAM has acknowledged it: `rounds` counts what the host may read.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.axi import ADDRESS_BITS, BEATS_BITS, WriteMaster, join_ports, write_ports
from foldwright.accel.rtl.loader_program import TOKEN_BITS
from foldwright.accel.rtl.loops import Loop

__all__ = ["Storer"]

_OWED_BITS = 6


class Storer(Component):  # type: ignore[misc,unused-ignore]
    """Begins with `start`, one cycle long, behind a reset.

    An item that comes while all `depth` places are taken is lost and sets `overflow`. After every `items_per_token` items
    that have left for DRAM, `token` is given once; 0 gives none. A beat a cycle leaves, but two cycles a burst.
    """

    def __init__(self, width: int, data_bits: int, depth: int = 512, outstanding: int = 8) -> None:
        self.width, self.data_bits, self.depth = width, data_bits, depth
        self.beats = -(-width // data_bits)
        self._write = WriteMaster(data_bits, outstanding)
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "output_base": In(ADDRESS_BITS),
                "items_per_round": In(BEATS_BITS),
                "items_per_token": In(BEATS_BITS),
                "token": In(TOKEN_BITS),
                "item_valid": In(1),
                "item": In(width),
                "give_valid": Out(1),
                "give_token": Out(TOKEN_BITS),
                "give_ready": In(1),
                "items": Out(ADDRESS_BITS),
                "rounds": Out(ADDRESS_BITS),
                "progress": Out(1),
                "idle": Out(1),
                "quiet": Out(1),
                "overflow": Out(1),
                "write_error": Out(1),
                **{f"m_axi_{name}": member for name, member in write_ports(data_bits).items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.write = write = self._write
        m.submodules.items = fifo = SyncFIFOBuffered(width=self.width, depth=self.depth)
        join_ports(m, self, write, write_ports(self.data_bits))
        left, last = Signal(range(self.beats + 1), name="beats_left"), Signal(name="last_beat")
        bits = Signal(self.beats * self.data_bits, name="bits")
        moved, gone, ending = Signal(name="moved"), Signal(name="gone"), Signal(name="ending")
        m.d.comb += [
            write.begin.eq(self.start),
            write.base.eq(self.output_base),
            write.stop.eq(self.stop),
            write.valid.eq(left != 0),
            write.data.eq(bits),
            moved.eq(write.valid & write.ready),
            last.eq(left == 1),
            gone.eq(moved & last),
            fifo.w_en.eq(self.item_valid & ~self.stop),
            fifo.w_data.eq(self.item),
            self.progress.eq(moved | (self.m_axi_bvalid & self.m_axi_bready)),
            self.quiet.eq(write.quiet),
            self.write_error.eq(write.error),
            self.give_token.eq(self.token),
        ]
        with m.If(self.item_valid & ~fifo.w_rdy & ~self.stop):
            m.d.sync += self.overflow.eq(1)
        held = self._count(m, gone, ending)
        m.d.comb += fifo.r_en.eq(~held & ((left == 0) | gone))
        with m.If(fifo.r_en & fifo.r_rdy):
            m.d.sync += [bits.eq(fifo.r_data), left.eq(self.beats)]
        with m.Elif(moved):
            m.d.sync += [bits.eq(Cat(bits[self.data_bits :], Const(0, self.data_bits))), left.eq(left - 1)]
        m.d.sync += self.idle.eq(write.idle & ~ending & (left == 0) & ~fifo.r_rdy & ~self.item_valid)
        return m

    def _count(self, m: Module, gone: Signal, ending: Signal) -> Value:
        """Counts items that have left. Returns whether no more may follow now: tokens or a round's end come first."""
        end, asked = Signal(name="round_end"), Signal(name="flush_asked")
        m.d.comb += end.eq(Loop(m, "round_items", self.items_per_round).drive(gone, self.start))
        token = Loop(m, "token_items", self.items_per_token).drive(gone, self.start)
        owed = Signal(_OWED_BITS, name="tokens_owed")
        m.d.comb += self.give_valid.eq((owed != 0) & self.give_ready)
        m.d.comb += self._write.flush.eq(ending & ~asked)
        m.d.sync += [owed.eq(owed + token - self.give_valid), asked.eq(ending)]
        m.d.sync += self.items.eq(self.items + gone)
        with m.If(end):
            m.d.sync += ending.eq(1)
        with m.Elif(asked & ending & self._write.idle):
            m.d.sync += [ending.eq(0), self.rounds.eq(self.rounds + 1)]
        return end | ending | owed[-1]
