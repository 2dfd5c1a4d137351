"""The issuer: runs the loader's program for what it does to tokens and to DRAM. See `loader_program`.

Also the reader of instructions, which issuer and placer have alike.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.axi import ADDRESS_BITS, BEATS_BITS
from foldwright.accel.rtl.loader_program import (
    ENGINE_BITS,
    MOST_ENGINES,
    PLACE_BITS,
    TOKEN_BITS,
    WIDTHS,
    LoaderField,
)
from foldwright.accel.rtl.program import DATA_BITS, WORD_BITS

__all__ = ["InstructionReader", "Issuer", "ahead_ports", "keep_registers"]

_FLAG = 8


class InstructionReader:
    """Fetches an instruction a cycle; `address` and `enable` go to the memory, whose word comes a cycle later.

    `field` and `data` hold while `valid` is set, until `take`. A jump costs three cycles. An instruction of `special` is
    told by `at`, any other sets `plain`, one that is none of the program's `unknown`; all of these are registers.
    """

    def __init__(
        self,
        m: Module,
        name: str,
        address_bits: int,
        run: Value,
        word: Value,
        special: tuple[LoaderField, ...],
        *,
        runs_ahead: bool = False,
    ) -> None:
        self.address, self.enable = (
            Signal(address_bits, name=f"{name}_address"),
            Signal(name=f"{name}_enable"),
        )
        self.valid, self.take = Signal(name=f"{name}_valid"), Signal(name=f"{name}_take")
        self.jump, instruction = Signal(name=f"{name}_jump"), Signal(WORD_BITS, name=f"{name}_instruction")
        self.field, self.data = instruction[DATA_BITS:], instruction[:DATA_BITS]
        self.place = (self.address - 3)[:address_bits]
        self.plain, self.unknown = Signal(name=f"{name}_plain"), Signal(name=f"{name}_unknown")
        fetched, read, come = (Signal(name=f"{name}_{stage}") for stage in ("fetched", "read", "come"))
        raw = Signal(WORD_BITS, name=f"{name}_raw")
        self._at = {f: Signal(name=f"{name}_{f.name.lower()}") for f in special}
        field = raw[DATA_BITS:]
        fields = tuple(f for f in LoaderField if runs_ahead or f is not LoaderField.NEXT_IMAGE)
        known, fixed = _is_one_of(field, fields), _is_one_of(field, special)
        m.d.comb += self.enable.eq(run & (~self.valid | self.take))
        with m.If(self.enable):
            m.d.sync += [self.address.eq(self.address + 1), fetched.eq(1)]
            m.d.comb += come.eq(read & ~self.jump)
            m.d.sync += [raw.eq(word), read.eq(fetched & ~self.jump)]
            m.d.sync += [instruction.eq(raw), self.valid.eq(come)]
            m.d.sync += [self.plain.eq(come & known & ~fixed), self.unknown.eq(come & ~known)]
            m.d.sync += [flag.eq(come & (field == f)) for f, flag in self._at.items()]
            with m.If(self.jump):
                m.d.sync += [self.address.eq(self.data), fetched.eq(0)]

    def at(self, field: LoaderField) -> Signal:
        """Whether this is next."""
        return self._at[field]


def _is_one_of(field: Value, known: tuple[LoaderField, ...]) -> Value:
    return Cat(*(field == f for f in known)).any()


def keep_registers(
    m: Module, reader: InstructionReader, names: tuple[LoaderField, ...]
) -> dict[LoaderField, Signal]:
    """Returns a register per field that takes the data of its instructions."""
    kept = {f: Signal(WIDTHS[f], name=f.name.lower()) for f in names}
    for f, register in kept.items():
        with m.If(reader.plain & (reader.field == f)):
            m.d.sync += register.eq(reader.data)
    return kept


def ahead_ports() -> dict[str, Any]:
    """Returns the further members of a loader that runs ahead."""
    return {"finish": In(1), "want_engine": Out(ENGINE_BITS), "fed": Out(MOST_ENGINES)}


class Issuer(Component):  # type: ignore[misc,unused-ignore]
    """Takes one instruction a cycle, `LOAD` two cycles and two more a run.

    `load` says that the placer may do one more transfer; `room` that there may be one. `done` stays set behind the last round or
    `HALT`, `error` behind an unknown instruction, whose word is `error_detail` with its place as data. One that runs ahead knows
    `NEXT_IMAGE` too, says with `want_engine` whose token it wants (0: anybody's, else a number plus 1) and with `fed` for which
    engines it loads, and begins nothing more from `finish` on, when they have ended.
    """

    def __init__(self, address_bits: int, runs_ahead: bool = False) -> None:
        self._address_bits, self._runs_ahead = address_bits, runs_ahead
        super().__init__(
            {
                "begin": In(1),
                "run": In(1),
                "word": In(WORD_BITS),
                "address": Out(address_bits),
                "enable": Out(1),
                "weights_base": In(ADDRESS_BITS),
                "image_base": In(ADDRESS_BITS),
                "round_bytes": In(ADDRESS_BITS),
                "rounds": In(ADDRESS_BITS),
                "room": In(1),
                **(ahead_ports() if runs_ahead else {}),
                "load": Out(1),
                "request_valid": Out(1),
                "request_ready": In(1),
                "request_address": Out(ADDRESS_BITS),
                "request_beats": Out(BEATS_BITS),
                "want_valid": Out(1),
                "want_token": Out(TOKEN_BITS),
                "grant": In(1),
                "give_valid": Out(1),
                "give_token": Out(TOKEN_BITS),
                "give_ready": In(1),
                "start_engines": Out(1),
                "done": Out(1),
                "error": Out(1),
                "error_detail": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        F = LoaderField
        special: tuple[LoaderField, ...] = (F.HALT, F.LOAD, F.WAIT, F.GIVE, F.START_ENGINES, F.ROUND, F.JUMP)
        if self._runs_ahead:
            special = (*special, F.NEXT_IMAGE)
        run = Signal(name="runs")
        reader = InstructionReader(
            m, "issue", self._address_bits, run, self.word, special, runs_ahead=self._runs_ahead
        )
        walked = self._walk(m, reader, run)
        at_once = reader.plain | reader.at(F.START_ENGINES) | reader.at(F.ROUND) | reader.at(F.JUMP)
        if self._runs_ahead:
            at_once |= reader.at(F.NEXT_IMAGE)
        waited = (reader.at(F.WAIT) & self.grant) | (reader.at(F.GIVE) & self.give_ready)
        m.d.comb += [
            run.eq(self.run & ~self.done & ~self.error),
            self.address.eq(reader.address),
            self.enable.eq(reader.enable),
            self.want_valid.eq(reader.at(F.WAIT) & run),
            self.want_token.eq(reader.data),
            self.give_valid.eq(reader.at(F.GIVE) & self.give_ready & run),
            self.give_token.eq(reader.data),
            reader.jump.eq(reader.at(F.JUMP)),
            reader.take.eq(at_once | waited | walked),
        ]
        m.d.sync += self.start_engines.eq(reader.at(F.START_ENGINES) & run)
        with m.If(reader.unknown & run):
            place = Cat(reader.place, Const(0, DATA_BITS - self._address_bits))
            m.d.sync += [self.error.eq(1), self.error_detail.eq(Cat(place, reader.field))]
        last = self._rounds(m, reader)
        with m.If(reader.at(F.HALT) | (reader.at(F.ROUND) & last)):
            m.d.sync += self.done.eq(1)
        if self._runs_ahead:
            m.d.comb += self.want_engine.eq(reader.data[_FLAG:])
            with m.If(reader.at(F.START_ENGINES)):
                m.d.sync += self.fed.eq(reader.data)
            with m.If(self.finish):
                m.d.sync += self.done.eq(1)
        return m

    def _rounds(self, m: Module, reader: InstructionReader) -> Signal:
        """Moves the image pointer. Returns whether this is the last round."""
        left, last = Signal(ADDRESS_BITS, name="rounds_left"), Signal(name="last_round")
        with m.If(self.begin):
            m.d.sync += [self._image.eq(self.image_base), left.eq(self.rounds), last.eq(self.rounds <= 1)]
        goes_on = reader.at(LoaderField.ROUND)
        if self._runs_ahead:
            goes_on |= reader.at(LoaderField.NEXT_IMAGE) & ~last
        with m.Elif(goes_on):
            m.d.sync += self._image.eq(self._image + self.round_bytes)
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
        return last

    def _walk(self, m: Module, reader: InstructionReader, run: Signal) -> Value:
        """Asks for the runs of a transfer. Returns whether the last one is asked for."""
        F = LoaderField
        r = keep_registers(
            m,
            reader,
            (F.SOURCE_LOW, F.SOURCE_HIGH, F.RUNS, F.RUN_BEATS, F.RUN_BYTES, F.FRAMES, F.FRAME_BYTES),
        )
        self._image = Signal(ADDRESS_BITS, name="image_pointer")
        place, frame = Signal(ADDRESS_BITS, name="run_address"), Signal(ADDRESS_BITS, name="frame_address")
        runs, frames = Signal(PLACE_BITS, name="runs_left"), Signal(PLACE_BITS, name="frames_left")
        base = Mux(r[F.SOURCE_HIGH][_FLAG], self._image, self.weights_base)
        walked, last_run, last_frame = (Signal(name=name) for name in ("walked", "last_run", "last_frame"))
        m.d.comb += [self.request_address.eq(place), self.request_beats.eq(r[F.RUN_BEATS])]
        with m.FSM(name="walk"):
            with m.State("IDLE"):
                m.d.sync += frame.eq(base + Cat(r[F.SOURCE_LOW], r[F.SOURCE_HIGH][:_FLAG]))
                m.d.sync += frames.eq(r[F.FRAMES])
                with m.If(reader.at(F.LOAD) & self.room & run):
                    m.d.comb += self.load.eq(
                        1
                    )  # the placer begins now: data may come before all is asked for
                    m.next = "FRAME"
            with m.State("FRAME"):
                m.d.sync += [place.eq(frame), frame.eq(frame + r[F.FRAME_BYTES])]
                m.d.sync += [runs.eq(r[F.RUNS]), last_run.eq(r[F.RUNS] == 1)]
                m.d.sync += [frames.eq(frames - 1), last_frame.eq(frames == 1)]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.request_valid.eq(1)
                with m.If(self.request_ready):
                    m.d.sync += [place.eq(place + r[F.RUN_BYTES]), runs.eq(runs - 1), last_run.eq(runs == 2)]
                    with m.If(last_run):
                        m.next = "FRAME"
                        with m.If(last_frame):
                            m.d.comb += walked.eq(1)
                            m.next = "IDLE"
        return walked
