"""Stage 0 of the sequencer: the hardware loops and the offsets that they add up.

Every loop keeps a registered flag for its last turn and the two tables are read one entry ahead, so the
longest path is one AND of flags into clock enables.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory

from foldwright.accel.rtl.fetch import ProgramReader
from foldwright.accel.rtl.program import DURATION_BITS

__all__ = ["Events", "Loop", "Table", "accumulate", "address_bits", "loop_events", "offsets"]


def address_bits(depth: int) -> int:
    """Returns the width of an address of `depth` words."""
    return max(1, (depth - 1).bit_length())


def accumulate(
    m: Module, name: str, add: Value | int, on: Value, restart: Value, start: Value | int, bits: int
) -> Signal:
    """Returns a register that adds `add` on `on` and takes `start` on `restart`, which goes first."""
    out = Signal(bits, name=name)
    with m.If(restart):
        m.d.sync += out.eq(start)
    with m.Elif(on):
        m.d.sync += out.eq(out + add)
    return out


class Loop:
    """A counter of turns left with a registered flag for the last one."""

    def __init__(self, m: Module, name: str, count: Value) -> None:
        self.left, self.last = Signal(len(count), name=f"{name}_left"), Signal(name=f"{name}_last")
        self._m, self._count = m, count

    def drive(self, step: Value, prime: Value) -> Value:
        """Counts on `step`; the turn after the last starts again. Returns whether the last turn ends."""
        m = self._m
        with m.If(prime | (step & self.last)):
            m.d.sync += [self.left.eq(self._count), self.last.eq(self._count == 1)]
        with m.Elif(step):
            m.d.sync += [self.left.eq(self.left - 1), self.last.eq(self.left == 2)]
        return step & self.last


class Table:
    """A small table in two halves, read one entry ahead; behind its last entry comes the first again.

    One half is read while the other is filled; `switch` changes them where the other has been filled.
    """

    def __init__(self, m: Module, name: str, layout: data.StructLayout, depth: int) -> None:
        ram = memory.Memory(shape=layout.size, depth=2 * depth, init=[])
        ram.attrs["ram_style"] = "distributed"
        m.submodules[f"{name}_table"] = ram
        self._m, self._write, self._read = m, ram.write_port(), ram.read_port(domain="comb")
        self.current, self.following = Signal(layout, name=name), data.View(layout, self._read.data)
        self._half = Signal(name=f"{name}_half")
        self._pointer = Signal(address_bits(depth), name=f"{name}_pointer")
        self._filled = Signal(address_bits(depth) + 1, name=f"{name}_filled")

    def fill(self, entry: Value, add: Value, switch: Value) -> None:
        """Appends an entry to the half that is not read on `add`; `switch` starts reading from the beginning."""
        m = self._m
        place = Cat(self._filled[:-1], ~self._half)
        m.d.comb += [self._write.addr.eq(place), self._write.data.eq(entry), self._write.en.eq(add)]
        with m.If(switch):
            m.d.sync += [
                self._half.eq(self._half ^ (self._filled != 0)),
                self._filled.eq(0),
                self._pointer.eq(0),
            ]
        with m.Elif(add):
            m.d.sync += self._filled.eq(self._filled + 1)

    def drive(self, advance: Value) -> None:
        """Takes the next entry on `advance`."""
        m = self._m
        m.d.comb += self._read.addr.eq(Cat(self._pointer, self._half))
        with m.If(advance):
            m.d.sync += self.current.eq(self.following)
            m.d.sync += self._pointer.eq(Mux(self.following["last"], 0, self._pointer + 1))


@dataclass(frozen=True, slots=True)
class Events:
    """Which loops step in this cycle: the tap (`counting`), then outward. Idle steps count nothing.

    `prime` comes once, the cycle before the first loop state.
    """

    prime: Value
    held: Value
    counting: Value
    word: Value
    kernel_row: Value
    step: Value
    column: Value
    row: Value
    frame: Value
    block: Value
    group: Value


def loop_events(m: Module, reader: ProgramReader, step: Table, slot: Table, held: Value) -> Events:
    """Builds the loops and returns their events; the last turn of all tells the reader.

    `held` stops the loops for a cycle; it may come only in the first cycle of a block.
    """
    run, prime = reader.running, reader.prime
    names = ("words", "kernel_rows", "columns", "rows", "frames", "blocks", "groups")
    word, kernel_row, column, row, frame, block, group = (
        Loop(m, name, getattr(reader, name)) for name in names
    )
    idle_left = Signal(DURATION_BITS, name="idle_left")
    step_done, idle = Signal(name="step_done"), step.current["idle"]
    counting = run & ~idle & ~held
    word_done = counting & slot.current["last"]
    kernel_done = word.drive(word_done, prime)
    inner_done = kernel_row.drive(kernel_done, prime)
    m.d.comb += step_done.eq(Mux(idle, run & (idle_left <= 1), inner_done))
    block_done = step_done & step.current["last"]
    row_done = column.drive(block_done, prime)
    rows_done = row.drive(row_done, prime)
    frames_done = frame.drive(rows_done, prime)
    blocks_done = block.drive(frames_done, prime)
    m.d.comb += reader.finished.eq(group.drive(blocks_done, prime))
    slot.drive(counting | prime)
    step.drive(step_done | prime)
    with m.If(step_done | prime):
        m.d.sync += idle_left.eq(step.following["duration"])
    with m.Else():
        m.d.sync += idle_left.eq(idle_left - 1)
    return Events(
        prime, held, counting, word_done, kernel_done, step_done, block_done, row_done, rows_done, frames_done,
        blocks_done,
    )  # fmt: skip


def offsets(
    m: Module, reader: ProgramReader, on: Events, map_bits: int, weight_bits: int
) -> dict[str, Signal]:
    """Returns the registers that the loops add up, by name."""
    fresh, r = on.prime, reader
    group_base = accumulate(m, "group_base", r.map_per_group, on.group, fresh, r.map_base, map_bits)
    group_start = Mux(on.group, group_base + r.map_per_group, group_base)
    frame_start = Mux(fresh, r.map_base, group_start)
    frame_base = accumulate(
        m, "frame_base", r.map_per_frame, on.frame, fresh | on.block, frame_start, map_bits
    )
    row_start = Mux(fresh | on.block, frame_start, frame_base + r.map_per_frame)
    return {
        "row": accumulate(m, "row_base", r.map_per_row, on.row, fresh | on.frame, row_start, map_bits),
        "column": accumulate(m, "column_offset", r.map_per_column, on.column, fresh | on.row, 0, map_bits),
        "kernel": accumulate(
            m, "kernel_offset", r.map_per_kernel_row, on.kernel_row, fresh | on.step, 0, map_bits
        ),
        "word": accumulate(m, "word_offset", 1, on.word, fresh | on.kernel_row | on.step, 0, map_bits),
        "weights": accumulate(m, "weights", r.weights_per_block, on.block, fresh, r.weight_base, weight_bits),
        "weight": accumulate(m, "weight", r.weight_step, on.counting, fresh | on.step, 0, weight_bits),
        "input_row": accumulate(
            m, "input_row", r.row_step, on.row, fresh | on.frame, r.row_start, len(r.row_start)
        ),
        "kernel_row": accumulate(m, "kernel_row", 1, on.kernel_row, fresh | on.step, 0, len(r.row_start)),
        "group": accumulate(
            m, "data_group", r.column_step, on.column, fresh | on.row, r.column_start, len(r.column_start)
        ),
    }
