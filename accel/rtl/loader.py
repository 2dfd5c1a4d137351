"""The fetch stage: reads its own program from DRAM, runs it, and hands what it loads to the memories.

The program memory has one word a cycle for each of issuer and placer, which run the same program; see
`loader_program`. While the program itself is loaded, both stand.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.axi import ADDRESS_BITS, ReadMaster, beat_shift, join_ports, read_ports
from foldwright.accel.rtl.loader_issue import Issuer, ahead_ports
from foldwright.accel.rtl.loader_place import Placer, bus_ports
from foldwright.accel.rtl.loader_program import TOKEN_BITS
from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.rtl.program import DATA_BITS, WORD_BITS

__all__ = ["Loader"]

_ISSUER = ("weights_base", "image_base", "round_bytes", "rounds")


class Loader(Component):  # type: ignore[misc,unused-ignore]
    """Begins with `start`, one cycle long; needs a reset before the next.

    `done` says that the program has ended and all its data are in their memories; one that runs ahead of the rounds is ended by
    `finish`, which says that the engines have ended for which it loads. `error` is an illegal instruction: its
    field and its place (field << 24 | place), or 0xff << 24 | words for a program that is empty or too long. `waiting`
    counts as a stall.
    """

    def __init__(
        self,
        data_bits: int,
        program_words: int = 1024,
        outstanding: int = 8,
        queue: int = 8,
        *,
        runs_ahead: bool = False,
    ) -> None:
        self.data_bits, self.program_words, self._runs_ahead = data_bits, program_words, runs_ahead
        self._read, bits = ReadMaster(data_bits, outstanding), address_bits(program_words)
        self._issuer, self._placer = (
            Issuer(bits, runs_ahead),
            Placer(data_bits, bits, queue, runs_ahead=runs_ahead),
        )
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "program_address": In(ADDRESS_BITS),
                "program_length": In(DATA_BITS),
                **dict.fromkeys(_ISSUER, In(ADDRESS_BITS)),
                **(ahead_ports() if runs_ahead else {}),
                "want_valid": Out(1),
                "want_token": Out(TOKEN_BITS),
                "grant": In(1),
                "give_valid": Out(1),
                "give_token": Out(TOKEN_BITS),
                "give_ready": In(1),
                "after_valid": Out(1),
                "after_token": Out(TOKEN_BITS),
                "after_ready": In(1),
                "start_engines": Out(1),
                "waiting": Out(1),
                "progress": Out(1),
                "done": Out(1),
                "quiet": Out(1),
                "error": Out(1),
                "error_detail": Out(WORD_BITS),
                "read_error": Out(1),
                "read_error_address": Out(ADDRESS_BITS),
                **bus_ports(data_bits),
                **{f"m_axi_{name}": member for name, member in read_ports(data_bits).items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.read = read = self._read
        m.submodules.issuer = issuer = self._issuer
        m.submodules.placer = placer = self._placer
        join_ports(m, self, read, read_ports(self.data_bits))
        join_ports(m, self, placer, bus_ports(self.data_bits), prefix="")
        running = Signal(name="running")
        m.d.comb += [getattr(issuer, name).eq(getattr(self, name)) for name in _ISSUER]
        m.d.comb += [
            issuer.begin.eq(self.start),
            issuer.run.eq(running & ~self.stop),
            placer.run.eq(running & ~self.stop),
            placer.load.eq(issuer.load),
            issuer.room.eq(placer.room),
            placer.beat.eq(read.data),
            placer.valid.eq(read.valid & running),
            self.want_valid.eq(issuer.want_valid & ~self.stop),
            self.want_token.eq(issuer.want_token),
            issuer.grant.eq(self.grant),
            self.give_valid.eq(issuer.give_valid & ~self.stop),
            self.give_token.eq(issuer.give_token),
            issuer.give_ready.eq(self.give_ready),
            self.after_valid.eq(placer.give_valid),
            self.after_token.eq(placer.give_token),
            placer.give_ready.eq(self.after_ready),
            self.start_engines.eq(issuer.start_engines),
            self.waiting.eq(issuer.want_valid & ~issuer.grant),
            self.progress.eq(read.valid & read.ready),
            self.quiet.eq(read.quiet),
            read.stop.eq(self.stop),
            self.read_error.eq(read.error),
            self.read_error_address.eq(read.error_address),
        ]
        if self._runs_ahead:
            m.d.comb += issuer.finish.eq(self.finish & running)
            m.d.comb += [self.want_engine.eq(issuer.want_engine), self.fed.eq(issuer.fed)]
        m.d.sync += self.done.eq(issuer.done & placer.idle & ~issuer.load)
        self._boot(m, running)
        return m

    def _boot(self, m: Module, running: Signal) -> None:
        """Loads the program; then the requests are the issuer's and the beats the placer's."""
        read, issuer, placer = self._read, self._issuer, self._placer
        write, place = (
            Signal(name="boot_write"),
            Signal(address_bits(self.program_words) + 1, name="boot_place"),
        )
        words = self.data_bits // WORD_BITS
        whole = beat_shift(self.data_bits) - beat_shift(WORD_BITS)  # log2 of the words of a beat
        wrong = Signal(name="boot_wrong")
        m.d.comb += [
            read.request_valid.eq(issuer.request_valid),
            read.request_address.eq(issuer.request_address),
            read.request_beats.eq(issuer.request_beats),
            issuer.request_ready.eq(read.request_ready & running),
            read.ready.eq(placer.ready & running),
            self.error.eq(issuer.error | wrong),
            self.error_detail.eq(Mux(wrong, Cat(self.program_length, Const(0xFF, 8)), issuer.error_detail)),
        ]
        beats, bad = Signal(DATA_BITS, name="boot_beats"), Signal(name="boot_bad")
        with m.FSM(name="boot"):
            with m.State("IDLE"), m.If(self.start):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += bad.eq((self.program_length == 0) | (self.program_length > self.program_words))
                m.d.sync += beats.eq((self.program_length + (words - 1)) >> whole)
                m.next = "ASK"
            with m.State("ASK"):
                m.d.sync += wrong.eq(bad)
                m.d.comb += read.request_valid.eq(~bad)
                m.d.comb += [read.request_address.eq(self.program_address), read.request_beats.eq(beats)]
                with m.If(read.request_ready & ~bad):
                    m.next = "FILL"
            with m.State("FILL"):
                last_part = place[:whole] == words - 1 if whole else Const(1)
                m.d.comb += [write.eq(read.valid), read.ready.eq(last_part)]
                with m.If(read.valid):
                    m.d.sync += place.eq(place + 1)
                with m.If(read.valid & last_part):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 1):
                        m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += running.eq(1)
        word = read.data.word_select(place[:whole], WORD_BITS) if whole else read.data
        self._memory(m, write, place, word)

    def _memory(self, m: Module, write: Value, place: Value, word: Value) -> None:
        """One port is the issuer's and writes the program, the other is the placer's."""
        ram = memory.Memory(shape=WORD_BITS, depth=self.program_words, init=[], attrs={"ram_style": "block"})
        m.submodules.program = ram
        filled, issue, other = ram.write_port(), ram.read_port(), ram.read_port()
        address = Signal(len(issue.addr), name="program_place")
        m.d.comb += [
            address.eq(Mux(write, place, self._issuer.address)),
            filled.addr.eq(address),
            filled.data.eq(word),
            filled.en.eq(write),
            issue.addr.eq(address),
            issue.en.eq(self._issuer.enable & ~write),
            self._issuer.word.eq(issue.data),
            other.addr.eq(self._placer.address),
            other.en.eq(self._placer.enable),
            self._placer.word.eq(other.data),
        ]
