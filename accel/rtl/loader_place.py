"""The placer: runs the loader's program for where the beats go. See `loader_program` for the loops.

On the bus to the memories, `shift` says that `data` is the next beat of a word for memory `dest`. In the cycle behind a
word's last beat `write` is set with the word's `address` and `lane`, in the next one again for the mirror; `dest` still
holds then. An `Assembler` in front of each memory puts the words together.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.loader_issue import InstructionReader, keep_registers
from foldwright.accel.rtl.loader_program import NO_TOKEN, PLACE_BITS, TOKEN_BITS, LoaderField
from foldwright.accel.rtl.loops import Loop
from foldwright.accel.rtl.program import LANE_BITS, WORD_BITS

__all__ = ["Assembler", "Placer", "bus_ports"]

DEST_BITS = 7

_FLAG = 8
_WRITE_CYCLES = 4
_LOOPS = (LoaderField.FRAMES, LoaderField.ROWS, LoaderField.PIXELS, LoaderField.WORDS, LoaderField.BEATS)
_KEPT = (
    *_LOOPS, LoaderField.DEST, LoaderField.ADDRESS, LoaderField.FRAME_STEP, LoaderField.ROW_STEP, LoaderField.PIXEL_STEP,
    LoaderField.PHASE_BACK, LoaderField.GROUP_STEP, LoaderField.PHASES, LoaderField.LANES, LoaderField.MIRROR,
)  # fmt: skip


def bus_ports(data_bits: int) -> dict[str, Any]:
    """Returns the members of the bus to the memories as the placer has them."""
    return {
        "shift": Out(1),
        "data": Out(data_bits),
        "dest": Out(DEST_BITS),
        "write": Out(1),
        "write_address": Out(PLACE_BITS),
        "write_lane": Out(LANE_BITS),
    }


class Assembler(Component):  # type: ignore[misc,unused-ignore]
    """Collects the beats of memory `number` into `word`, first beat lowest; `mine` says when to write it."""

    def __init__(self, width: int, data_bits: int, number: int) -> None:
        self.number, self.beats = number, -(-width // data_bits)
        ports = {"shift": In(1), "data": In(data_bits), "dest": In(DEST_BITS), "write": In(1)}
        super().__init__({**ports, "word": Out(width), "mine": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beats = Signal(self.beats * len(self.data), name="beats")
        m.d.comb += [self.word.eq(beats), self.mine.eq(self.write & (self.dest == self.number))]
        with m.If(self.shift & (self.dest == self.number)):
            m.d.sync += beats.eq(Cat(beats[len(self.data) :], self.data))
        return m


class _Turn:
    """Counts from a start to its last value, then from 0. The low half of `setting` is the count, the other the start."""

    def __init__(self, m: Module, name: str, setting: Signal) -> None:
        self.value, self.last = Signal(LANE_BITS, name=f"{name}_now"), Signal(name=f"{name}_last")
        count, self._start = setting[:_FLAG], setting[_FLAG:]
        self._m = m
        self._starts_last, self._single = Signal(name=f"{name}_starts_last"), Signal(name=f"{name}_single")
        self._before_last = Signal(LANE_BITS, name=f"{name}_before_last")
        m.d.sync += [self._starts_last.eq(self._start == (count - 1)[:_FLAG]), self._single.eq(count == 1)]
        m.d.sync += self._before_last.eq(count - 2)

    def drive(self, step: Value, restart: Value) -> None:
        """Counts on `step`; `restart` goes first. The setting must stand a cycle before."""
        m = self._m
        with m.If(restart):
            m.d.sync += [self.value.eq(self._start), self.last.eq(self._starts_last)]
        with m.Elif(step):
            m.d.sync += self.value.eq(Mux(self.last, 0, self.value + 1))
            m.d.sync += self.last.eq(Mux(self.last, self._single, self.value == self._before_last))


class Placer(Component):  # type: ignore[misc,unused-ignore]
    """Takes a beat a cycle, one less per word with a mirror, three less between transfers.

    The registers of the next transfer are read while one runs. `load` comes once for every transfer that was asked for
    in DRAM, `room` says that there may be one more. A beat that comes in cycle t is on the bus in t + 1, its word is written in
    t + 2; the token of `GIVE_AFTER` is given at the earliest in t + 5.
    """

    def __init__(
        self, data_bits: int, address_bits: int, queue: int = 8, *, runs_ahead: bool = False
    ) -> None:
        self.queue, self._address_bits, self._runs_ahead = queue, address_bits, runs_ahead
        super().__init__(
            {
                "run": In(1),
                "word": In(WORD_BITS),
                "address": Out(address_bits),
                "enable": Out(1),
                "load": In(1),
                "room": Out(1),
                "valid": In(1),
                "ready": Out(1),
                "beat": In(data_bits),
                "give_valid": Out(1),
                "give_token": Out(TOKEN_BITS),
                "give_ready": In(1),
                "idle": Out(1),
                **bus_ports(data_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        F = LoaderField
        special = (F.HALT, F.LOAD, F.JUMP)
        reader = InstructionReader(
            m, "place", self._address_bits, self.run, self.word, special, runs_ahead=self._runs_ahead
        )
        m.d.comb += [self.address.eq(reader.address), self.enable.eq(reader.enable)]
        next_up = keep_registers(m, reader, _KEPT)
        now = {f: Signal.like(register, name=f"{f.name.lower()}_now") for f, register in next_up.items()}
        begin, begun, prime = Signal(name="begin"), Signal(name="begun"), Signal(name="prime")
        active, ready, mirrored = Signal(name="active"), Signal(name="ready_now"), Signal(name="mirrored")
        asked, giving = Signal(range(self.queue + 1), name="asked"), Signal(name="giving")
        m.d.comb += [
            begin.eq(reader.at(F.LOAD) & ~active & ~giving & (asked != 0)),
            reader.take.eq(begin | reader.plain | reader.at(F.JUMP)),
            reader.jump.eq(reader.at(F.JUMP)),
            self.room.eq(asked != self.queue),
        ]
        m.d.sync += [asked.eq(asked + self.load - begin), begun.eq(begin), prime.eq(begun)]
        taken = Signal(name="taken")
        ends = self._loops(m, now, taken, prime)
        with m.If(begin):
            m.d.sync += [now[f].eq(register) for f, register in next_up.items()]
            m.d.sync += active.eq(1)
        with m.Elif(ends[F.FRAMES]):
            m.d.sync += active.eq(0)
        more = active & ~begun & ~ends[F.FRAMES] & ~(ends[F.BEATS] & mirrored)
        m.d.sync += [mirrored.eq(now[F.MIRROR] != 0), ready.eq(prime | more)]
        m.d.comb += [self.ready.eq(ready), taken.eq(self.valid & ready)]
        place, lane = self._addresses(m, now, ends, prime)
        self._drive_bus(m, now, taken, ends[F.BEATS], place, lane)
        self._give(m, reader, begin, ends[F.FRAMES], giving)
        rest = Signal(name="rest")
        m.d.comb += rest.eq((asked == 0) & ~self.load & ~active & ~giving)
        written = delayed(m, rest, _WRITE_CYCLES - 1, "rest")
        m.d.sync += self.idle.eq(rest & written)
        return m

    def _loops(
        self, m: Module, now: dict[LoaderField, Signal], taken: Value, prime: Value
    ) -> dict[LoaderField, Value]:
        """Returns which loops end with the beat that is taken."""
        ends: dict[LoaderField, Value] = {}
        step = taken
        for field in reversed(_LOOPS):
            step = ends[field] = Loop(m, field.name.lower(), now[field]).drive(step, prime)
        return ends

    def _addresses(
        self, m: Module, now: dict[LoaderField, Signal], ends: dict[LoaderField, Value], prime: Value
    ) -> tuple[Signal, Signal]:
        """Returns address and lane of the word that is being filled."""
        F = LoaderField
        place, pixel, row, frame = (
            Signal(PLACE_BITS, name=f"{name}_place") for name in ("word", "pixel", "row", "frame")
        )
        batch = now[F.DEST][_FLAG]
        lane, phase = _Turn(m, "lane", now[F.LANES]), _Turn(m, "phase", now[F.PHASES])
        wraps = ~batch & phase.last
        turn = Mux(lane.last, now[F.GROUP_STEP], now[F.PHASE_BACK])
        next_pixel = pixel + Mux(wraps, turn, now[F.PIXEL_STEP])
        next_row = row + now[F.ROW_STEP]
        next_frame = frame + Mux(batch & ~lane.last, 0, now[F.FRAME_STEP])
        with m.If(prime):
            m.d.sync += [x.eq(now[F.ADDRESS]) for x in (place, pixel, row, frame)]
        with m.Elif(ends[F.ROWS]):
            m.d.sync += [x.eq(next_frame) for x in (place, pixel, row, frame)]
        with m.Elif(ends[F.PIXELS]):
            m.d.sync += [x.eq(next_row) for x in (place, pixel, row)]
        with m.Elif(ends[F.WORDS]):
            m.d.sync += [x.eq(next_pixel) for x in (place, pixel)]
        with m.Elif(ends[F.BEATS]):
            m.d.sync += place.eq(place + 1)
        row_starts = prime | ends[F.PIXELS]
        phase.drive(ends[F.WORDS], row_starts)
        lane.drive(Mux(batch, ends[F.ROWS], ends[F.WORDS] & phase.last), Mux(batch, prime, row_starts))
        return place, lane.value

    def _drive_bus(
        self,
        m: Module,
        now: dict[LoaderField, Signal],
        taken: Value,
        word_ends: Value,
        place: Signal,
        lane: Signal,
    ) -> None:
        first, again = Signal(name="write_next"), Signal(name="write_again")
        address, mirrored = Signal(PLACE_BITS, name="address_next"), Signal(PLACE_BITS, name="address_again")
        lane_next = Signal(LANE_BITS, name="lane_next")
        m.d.sync += [
            self.shift.eq(taken),
            self.data.eq(self.beat),
            first.eq(word_ends),
            again.eq(first & (now[LoaderField.MIRROR] != 0)),
            mirrored.eq(address + now[LoaderField.MIRROR]),
            self.write.eq(first | again),
            self.write_address.eq(Mux(again, mirrored, address)),
        ]
        with m.If(taken):
            m.d.sync += self.dest.eq(now[LoaderField.DEST])
        with m.If(word_ends):
            m.d.sync += [address.eq(place), lane_next.eq(lane)]
        with m.If(first):
            m.d.sync += self.write_lane.eq(lane_next)

    def _give(self, m: Module, reader: InstructionReader, begin: Value, ends: Value, giving: Signal) -> None:
        """Gives the token of a transfer when its last word, mirrored or not, is in the memory."""
        token, waits = Signal(TOKEN_BITS, init=NO_TOKEN, name="next_token"), Signal(name="give_waits")
        owed = Signal(name="owed")
        m.d.comb += [
            owed.eq(ends & (self.give_token != NO_TOKEN)),
            self.give_valid.eq(waits & self.give_ready),
        ]
        with m.If(begin):
            m.d.sync += [self.give_token.eq(token), token.eq(NO_TOKEN)]
        with m.Elif(reader.plain & (reader.field == LoaderField.GIVE_AFTER)):
            m.d.sync += token.eq(reader.data)
        with m.If(owed):
            m.d.sync += giving.eq(1)
        with m.Elif(self.give_valid):
            m.d.sync += giving.eq(0)
        with m.If(delayed(m, owed, _WRITE_CYCLES, "written")):
            m.d.sync += waits.eq(1)
        with m.Elif(self.give_ready):
            m.d.sync += waits.eq(0)
