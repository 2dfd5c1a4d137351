"""Reads the program memory one word a cycle and keeps the fields; see `program` for what the words mean.

A block RAM's output is slow: a word goes through a register behind it, and what it is to do is told from there into a
register each, so that it acts three cycles behind its address. A jump costs three cycles besides its own.

Words are read while a tile runs: they fill a shadow set, which `go` takes over as a whole. So a tile follows the one
before as soon as that has left, if its words are read by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.program import DATA_BITS, EXTRA_FIELDS, GIVES, TOKEN_BITS, WORD_BITS, Field

__all__ = ["READ_CYCLES", "ROUND_BITS", "ProgramReader"]

ROUND_BITS = 24
READ_CYCLES = 3
"""From a word's address to what it does; a jump costs as many besides its own."""
_SPECIAL = (
    Field.HALT, Field.GO, Field.WAIT, Field.ROUND, Field.JUMP, Field.STEP_FLAGS, Field.SLOT_FLAGS,
)  # fmt: skip


class ProgramReader(Component):  # type: ignore[misc,unused-ignore]
    """The program counter, the memory behind it and two registers per field.

    `go` lasts one cycle and starts a tile once `results_busy` is clear; `finished` says that its last loop turn passes,
    `tile_done` that its results have left too. Fields stand from the cycle after `go` on. `add_step` and `add_slot` are set
    with the last word of a table entry; of the fields that an entry needs, the `next_` values count. `extra` holds the
    fields from `EXTRA_FIELDS` on, side by side, as the next `go` means them: whoever needs them keeps them.
    """

    def __init__(self, words: int, widths: Mapping[Field, int], extra_widths: tuple[int, ...] = ()) -> None:
        self.depth, self.widths, self.extra_widths = words, dict(widths), extra_widths
        super().__init__(
            {
                "start": In(1),
                "rounds": In(ROUND_BITS),
                "stop": In(1),
                "finished": In(1),
                "results_busy": In(1),
                "write": In(1),
                "write_address": In(max(1, (words - 1).bit_length())),
                "write_data": In(WORD_BITS),
                "busy": Out(1),
                "running": Out(1),
                "go": Out(1),
                "prime": Out(1),
                "illegal": Out(1),
                "wait": Out(1),
                "wait_token": Out(TOKEN_BITS),
                "granted": In(1),
                "tile_done": Out(1),
                "gives": Out(GIVES),
                "give_tokens": Out(GIVES * TOKEN_BITS),
                "add_step": Out(1),
                "add_slot": Out(1),
                "data": Out(DATA_BITS),
                "extra": Out(max(1, sum(extra_widths))),
                **{field.name.lower(): Out(width) for field, width in self.widths.items()},
                **{f"next_{field.name.lower()}": Out(width) for field, width in self.widths.items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ram = memory.Memory(shape=WORD_BITS, depth=self.depth, init=[], attrs={"ram_style": "block"})
        m.submodules.memory = ram
        write, read = ram.write_port(), ram.read_port(domain="sync")
        counter, reading = Signal(len(read.addr), name="counter"), Signal(name="reading")
        fetched, come, valid = (Signal(name=name) for name in ("fetched", "come", "valid"))
        raw, word = (Signal(WORD_BITS, name=name, reset_less=True) for name in ("raw_word", "word"))
        now, illegal = {f: Signal(name=f"at_{f.name.lower()}") for f in _SPECIAL}, Signal(name="at_illegal")
        rounds, last_round = Signal(ROUND_BITS, name="rounds_left"), Signal(name="last_round")
        free = ~self.running & ~self.prime & ~self.results_busy
        stalled = Signal(name="stalled")
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write),
            read.addr.eq(counter),
            stalled.eq((now[Field.GO] & ~free) | (now[Field.WAIT] & ~self.granted)),
            read.en.eq(~stalled),
            self.wait.eq(now[Field.WAIT]),
            self.go.eq(now[Field.GO] & free),
            self.data.eq(word[:DATA_BITS]),
            self.wait_token.eq(self.data),
            self.add_step.eq(now[Field.STEP_FLAGS]),
            self.add_slot.eq(now[Field.SLOT_FLAGS]),
            self.busy.eq(reading | ~free),
            self.illegal.eq(illegal),
        ]
        with m.If(~stalled):
            field = raw[DATA_BITS:]
            m.d.sync += [
                fetched.eq(reading),
                come.eq(fetched),
                valid.eq(come),
                raw.eq(read.data),
                word.eq(raw),
            ]
            m.d.sync += [flag.eq(come & (field == f)) for f, flag in now.items()]
            m.d.sync += illegal.eq(come & ~self._is_known(field))
            with m.If(reading):
                m.d.sync += counter.eq(counter + 1)
        ends = now[Field.HALT] | (now[Field.ROUND] & last_round) | illegal | self.stop
        with m.If(ends | now[Field.JUMP]):  # what is on its way stands behind it
            m.d.sync += [stage.eq(0) for stage in (fetched, come, valid, illegal, *now.values())]
        with m.If(self.start & ~self.busy):
            m.d.sync += [
                counter.eq(0),
                reading.eq(1),
                rounds.eq(self.rounds),
                last_round.eq(self.rounds <= 1),
            ]
        with m.Elif(ends):
            m.d.sync += reading.eq(0)
        with m.Elif(now[Field.JUMP]):
            m.d.sync += counter.eq(self.data)
        with m.If(now[Field.ROUND]):
            m.d.sync += [rounds.eq(rounds - 1), last_round.eq(rounds == 2)]
        m.d.sync += self.prime.eq(self.go)
        with m.If(self.prime):
            m.d.sync += self.running.eq(1)
        with m.If(self.finished | self.stop):
            m.d.sync += self.running.eq(0)
        self._give(m)
        self._registers(m, valid, word[DATA_BITS:])
        return m

    def _is_known(self, field: Value) -> Value:
        """Whether a field is one of this engine's."""
        known = [*Field, *range(EXTRA_FIELDS, EXTRA_FIELDS + len(self.extra_widths))]
        return Cat(*(field == number for number in known)).any()

    def _give(self, m: Module) -> None:
        """Gives the tile's tokens when its results have left."""
        owed, tokens = Signal(GIVES, name="owed"), Signal(GIVES * TOKEN_BITS, name="owed_tokens")
        under_way, done = Signal(name="under_way"), self.tile_done
        m.d.comb += done.eq(under_way & ~self.running & ~self.prime & ~self.results_busy)
        m.d.comb += [self.gives.eq(Mux(done, owed, 0)), self.give_tokens.eq(tokens)]
        with m.If(self.go):
            m.d.sync += under_way.eq(1)
        with m.Elif(done | self.stop):
            m.d.sync += under_way.eq(0)
        with m.If(self.go):
            for k in range(GIVES):
                part = self.data.word_select(k, TOKEN_BITS)
                m.d.sync += [owed[k].eq(part != 0), tokens.word_select(k, TOKEN_BITS).eq(part - 1)]
        with m.Elif(done):
            m.d.sync += owed.eq(0)

    def _registers(self, m: Module, valid: Value, field: Value) -> None:
        for register in self.widths:
            name = register.name.lower()
            following = getattr(self, f"next_{name}")
            with m.If(valid & (field == register)):
                m.d.sync += following.eq(self.data)
            with m.If(self.go):
                m.d.sync += getattr(self, name).eq(following)
        low = 0
        for k, width in enumerate(self.extra_widths):
            with m.If(valid & (field == EXTRA_FIELDS + k)):
                m.d.sync += self.extra[low : low + width].eq(self.data)
            low += width
