"""Drives memories, aligner and array from the program: one map read and one weight word per cycle.

Loop state is stage 0. Addresses take three more stages, a memory and its output register two, aligner and
weight selection one: control bits reach the array `FRONT_STAGES` cycles after the loop state they belong to.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.fetch import ProgramReader
from foldwright.accel.rtl.loops import Events, Table, address_bits, loop_events, offsets
from foldwright.accel.rtl.program import (
    DURATION_BITS,
    GROUP_BITS,
    LANE_BITS,
    SLOTS,
    STEPS,
    WORD_BITS,
    Field,
)

__all__ = [
    "FRONT_STAGES",
    "LOOP_ENDS",
    "SOURCE_OWN",
    "SOURCE_WINDOW",
    "Sequencer",
    "inbox_source",
    "part_bits",
    "residual_ports",
]

FRONT_STAGES = 6
_MASK_STAGE = 5
SOURCE_OWN, _SOURCE_INBOX, SOURCE_WINDOW = range(3)
"""What a tile reads: the engine's own map, the first map that others fill, the window of a packed layer; then more inboxes."""
_TO_READER = ("start", "rounds", "stop", "results_busy", "granted")
_FROM_READER = (
    "busy", "running", "go", "illegal", "wait", "wait_token", "tile_done", "gives", "give_tokens", "extra",
)  # fmt: skip
LOOP_ENDS = ("column", "row", "frame", "block")
"""The loops whose ends a residual's addresses follow."""
_ROW_BITS = 16
_COUNT_BITS = 16


def inbox_source(index: int) -> int:
    """Returns the number by which programs name an engine's inbox."""
    return _SOURCE_INBOX if index == 0 else SOURCE_WINDOW + index


def _source_bits(inboxes: int) -> int:
    """Returns the bits that name what a tile reads."""
    return max(SOURCE_WINDOW, inbox_source(max(0, inboxes - 1))).bit_length()


def part_bits(engine: Engine) -> int:
    """Returns the bits that number a part of a weight word: what one step of a layer uses of it."""
    return int(max(engine.planes_per_word) // min(engine.planes_per_word)).bit_length() - 1


def residual_ports(engine: Engine) -> dict[str, Any]:
    """Returns the ports through which a residual is read between the operands."""
    ends = {f"{loop}_end": Out(1) for loop in LOOP_ENDS}
    return {
        "prime": Out(1), "read": Out(1), **ends, "offer": In(1), "residual_address": In(address_bits(engine.map_words))
    }  # fmt: skip


class Sequencer(Component):  # type: ignore[misc,unused-ignore]
    """The control of an engine.

    Of a loop state in cycle t, the addresses come at t + 3, `mask`, `begin_group` and `fill` at t + 5 beside
    the word they belong to, `part` at t + 5, and the control bits of the array at t + 6. `advance` comes with
    a `load` behind which the next channel block begins. A block whose `source` is the window begins with `take`
    and ends with `done`; it waits for `window_ready`. `extra` is for what stands around, see `ProgramReader`. With
    `residual`, idle steps may leave the map to another (`read`), whose `residual_address` counts at t + 2 with `offer`.
    """

    def __init__(
        self,
        engine: Engine,
        program_words: int = 1024,
        extra_widths: tuple[int, ...] = (),
        *,
        inboxes: int = 1,
        residual: bool = False,
    ) -> None:
        self.engine, self._residual = engine, residual
        self._source_bits = _source_bits(inboxes)
        self._map_bits, self._part_bits = address_bits(engine.map_words), part_bits(engine)
        self._weight_bits = address_bits(engine.weight_words) + self._part_bits
        block_bits = address_bits(engine.threshold_words)
        planes_bits = max(1, (len(engine.planes_per_word) - 1).bit_length())
        self._reader = ProgramReader(program_words, self._widths(block_bits, planes_bits), extra_widths)
        members = self._reader.signature.members
        super().__init__(
            {
                **{name: members[name] for name in (*_TO_READER, *_FROM_READER)},
                "window_ready": In(1),
                "take": Out(1),
                "done": Out(1),
                "source": Out(self._source_bits),
                "program_write": In(1),
                "program_address": In(address_bits(program_words)),
                "program_data": In(WORD_BITS),
                "map_address": Out(self._map_bits),
                "map_read": Out(1),
                "weight_address": Out(address_bits(engine.weight_words)),
                "part": Out(max(1, self._part_bits)),
                "mask": Out(engine.dn),
                "begin_group": Out(1),
                "fill": Out(1),
                **{name: Out(1) for name in ("negate", "zero", "shift", "clear", "load", "advance")},
                "planes": Out(planes_bits),
                "threshold_base": Out(block_bits),
                **(residual_ports(engine) if residual else {}),
            }
        )

    def _widths(self, block_bits: int, planes_bits: int) -> dict[Field, int]:
        counts = (
            Field.GROUPS, Field.BLOCKS, Field.FRAMES, Field.ROWS, Field.COLUMNS, Field.KERNEL_ROWS, Field.WORDS,
        )  # fmt: skip
        rows = (Field.ROW_START, Field.ROW_STEP, Field.ROW_LIMIT)
        loops = (
            Field.MAP_PER_GROUP, Field.MAP_PER_FRAME, Field.MAP_PER_ROW, Field.MAP_PER_COLUMN, Field.MAP_PER_KERNEL_ROW,
        )  # fmt: skip
        maps = (Field.MAP_BASE, *loops, Field.STEP_MAP, Field.SLOT_MAP)
        weights = (Field.WEIGHT_BASE, Field.WEIGHTS_PER_BLOCK, Field.STEP_WEIGHT, Field.WEIGHT_STEP)
        return {
            **dict.fromkeys(counts, _COUNT_BITS),
            **dict.fromkeys(rows, _ROW_BITS),
            **dict.fromkeys(maps, self._map_bits),
            **dict.fromkeys(weights, self._weight_bits),
            **dict.fromkeys((Field.COLUMN_START, Field.COLUMN_STEP), GROUP_BITS),
            **dict.fromkeys((Field.SLOT_LOW, Field.SLOT_HIGH), GROUP_BITS + LANE_BITS),
            Field.THRESHOLD_BASE: block_bits,
            Field.PLANES: planes_bits,
            Field.SOURCE: self._source_bits,
        }

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.reader = reader = self._reader
        for name in _TO_READER:
            m.d.comb += getattr(reader, name).eq(getattr(self, name))
        for name in _FROM_READER:
            m.d.comb += getattr(self, name).eq(getattr(reader, name))
        m.d.comb += [
            reader.write.eq(self.program_write),
            reader.write_address.eq(self.program_address),
            reader.write_data.eq(self.program_data),
            self.source.eq(reader.source),
            self.planes.eq(reader.planes),
            self.threshold_base.eq(reader.threshold_base),
        ]
        step, slot = self._tables(m, reader)
        first, held = Signal(name="block_first"), Signal(name="held")
        m.d.comb += held.eq(reader.running & first & (reader.source == SOURCE_WINDOW) & ~self.window_ready)
        m.d.comb += self.take.eq(
            reader.running & first & (reader.source == SOURCE_WINDOW) & self.window_ready
        )
        events = loop_events(m, reader, step, slot, held)
        m.d.sync += first.eq(events.column | events.prime | held)
        m.d.comb += self.done.eq(events.column)
        at = offsets(m, reader, events, self._map_bits, self._weight_bits)
        self._addresses(m, at, step.current, slot.current, events.counting)
        self._masks(m, at, slot.current)
        self._controls(m, events, step.current, first)
        if self._residual:
            m.d.comb += [self.prime.eq(reader.prime), self.read.eq(self._reads_residual(step.current))]
            m.d.comb += [getattr(self, f"{loop}_end").eq(getattr(events, loop)) for loop in LOOP_ENDS]
        return m

    def _reads_residual(self, step: Any) -> Value:
        return self._reader.running & step["idle"] & step["residual"]

    def _tables(self, m: Module, reader: ProgramReader) -> tuple[Table, Table]:
        flags = {"last": 1, "idle": 1, "negate": 1, "shift": 1, "duration": DURATION_BITS}
        flags |= {"residual": 1} if self._residual else {}
        steps = data.StructLayout({**flags, "map": self._map_bits, "weight": self._weight_bits})
        edge = GROUP_BITS + LANE_BITS
        marks = {"last": 1, "start": 1, "fill": 1, "group": GROUP_BITS}
        slots = data.StructLayout({**marks, "map": self._map_bits, "low": edge, "high": edge})
        step, slot = Table(m, "step", steps, STEPS), Table(m, "slot", slots, SLOTS)
        step_flags, slot_flags = reader.data[: sum(flags.values())], reader.data[: 3 + GROUP_BITS]
        step.fill(Cat(step_flags, reader.next_step_map, reader.next_step_weight), reader.add_step, reader.go)
        entry = Cat(slot_flags, reader.next_slot_map, reader.next_slot_low, reader.next_slot_high)
        slot.fill(entry, reader.add_slot, reader.go)
        return step, slot

    def _addresses(self, m: Module, at: dict[str, Signal], step: Any, slot: Any, counting: Value) -> None:
        """Sums five map offsets in three stages, three weight offsets in two."""
        high = _later(m, at["row"] + at["kernel"], self._map_bits, "map_high")
        low = _later(m, at["column"] + at["word"], self._map_bits, "map_low")
        near = _later(m, step["map"] + slot["map"], self._map_bits, "map_near")
        both = _later(m, high + low, self._map_bits, "map_both")
        near = _later(m, near, self._map_bits, "map_near_2")
        operands: Value = both + near
        reads = counting & (slot["start"] | slot["fill"])
        if self._residual:
            operands = Mux(self.offer, self.residual_address, operands)
            reads = reads | self._reads_residual(step)
        m.d.sync += self.map_address.eq(operands)
        m.d.comb += self.map_read.eq(delayed(m, reads, 3, "map_read"))
        base = _later(m, at["weights"] + step["weight"], self._weight_bits, "weight_base")
        count = _later(m, at["weight"], self._weight_bits, "weight_count")
        index = _later(m, base + count, self._weight_bits, "weight_index")
        part = self._part_bits
        address = _later(m, index, self._weight_bits, "weight_place")
        m.d.comb += self.weight_address.eq(address[part:])
        if part:
            m.d.comb += self.part.eq(delayed(m, address[:part], 2, "part"))

    def _masks(self, m: Module, at: dict[str, Signal], slot: Any) -> None:
        """Marks lanes of padding: rows outside the map, and columns outside a slot's edges."""
        row = _later(m, at["input_row"] + at["kernel_row"], _ROW_BITS, "row")
        outside = Signal(name="row_outside")
        m.d.sync += outside.eq(row >= self._reader.row_limit)
        group = _later(m, at["group"] + slot["group"], GROUP_BITS, "group")
        low, high = (
            _later(m, slot["low"], len(slot["low"]), "low"),
            _later(m, slot["high"], len(slot["high"]), "high"),
        )
        below, above = self._outside(m, group, low, "low"), self._outside(m, group, high, "high")
        mask = Signal(self.engine.dn, name="mask_3")
        for lane in range(self.engine.dn):
            real = below.after(lane) & ~above.after(lane)
            m.d.sync += mask[lane].eq(outside | ~real)
        m.d.comb += self.mask.eq(delayed(m, mask, _MASK_STAGE - 3, "mask"))
        for name, out in (("start", self.begin_group), ("fill", self.fill)):
            m.d.comb += out.eq(delayed(m, slot[name], _MASK_STAGE, name))

    @staticmethod
    def _outside(m: Module, group: Signal, edge: Signal, name: str) -> _Edge:
        place = edge[LANE_BITS:]
        less, same = Signal(name=f"{name}_before"), Signal(name=f"{name}_same")
        lane = Signal(LANE_BITS, name=f"{name}_lane")
        difference = (group - place)[:GROUP_BITS]  # signed: a group may lie before the first
        m.d.sync += [less.eq(difference[-1]), same.eq(difference == 0), lane.eq(edge[:LANE_BITS])]
        return _Edge(less, same, lane)

    def _controls(self, m: Module, on: Events, step: Any, block_first: Signal) -> None:
        """Delays the control bits to the words they belong to."""
        step_first = Signal(name="step_first")
        m.d.sync += step_first.eq(on.step | on.prime)
        run = self._reader.running
        bits = {
            "negate": step["negate"],
            "zero": ~on.counting,
            "shift": run & step_first & step["shift"],
            "clear": run & block_first,
            "load": on.column,
            "advance": on.block,
        }
        for name, value in bits.items():
            m.d.comb += getattr(self, name).eq(delayed(m, value, FRONT_STAGES, name))


class _Edge:
    """Where a group lies to an edge: whole groups before it, or its lanes below one."""

    def __init__(self, before: Signal, same: Signal, lane: Signal) -> None:
        self._before, self._same, self._lane = before, same, lane

    def after(self, lane: int) -> Value:
        """Whether a lane lies at the edge or behind it."""
        return ~(self._before | (self._same & (Const(lane, LANE_BITS) < self._lane)))


def _later(m: Module, value: Value, bits: int, name: str) -> Signal:
    out = Signal(bits, name=name)
    m.d.sync += out.eq(value)
    return out
