"""The residual of an engine: reads what is added to a block's results, keeps it until they drain, and adds it.

Behind the reads of a block's operands the sequencer leaves the map to this component for one read of each plane group, or
two where lanes hold columns askew. Of every word the block's slot is kept, in one entry for each block on its way. The
entry's lanes leave with the block's beats and are added to their codes, modulo 2^sum_bits, a cycle behind them.

Of a loop state in cycle t, `offer` and `address` come at t + 2, for an address register at t + 3; the word comes at t + 5,
as `sequencer` says. `raw_valid` comes `stages` cycles before `valid`, with the lane group of its beat.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.residual_program import ResidualShape
from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.rtl.loops import accumulate, address_bits
from foldwright.accel.rtl.program import result_cycles
from foldwright.accel.rtl.sequencer import LOOP_ENDS

__all__ = ["ADD_CYCLES", "Residual", "code_cycles", "entries_needed", "residual_layout"]

ADD_CYCLES = 1
"""How much later sums leave than the codes that come."""
_ADDRESS_STAGES = 2
_WORD_STAGES = 5
_COUNT_BITS = 12


def residual_layout(shape: ResidualShape) -> data.StructLayout:
    """Returns the fields of a tile; `accel.residual_program` says what they mean."""
    address = address_bits(shape.words)
    slot = address_bits(max(len(slots) for slots in shape.slots.values()))
    widths = {"add": 1}
    widths |= dict.fromkeys(("base", "per_frame", "per_row", "per_column", "plane_step"), address)
    widths |= {"slot_start": slot, "slot_last": slot, "part_left": _COUNT_BITS, "part_last": _COUNT_BITS}
    widths |= {"code_mask": shape.bits, "sign_bit": shape.bits}
    if len(shape.sources) > 1:
        widths["source"] = address_bits(len(shape.sources))
    if len(shape.slots) > 1:
        widths["planes"] = address_bits(len(shape.slots))
    if not shape.is_batch:
        widths["lane"] = address_bits(shape.engine.dn)
    return data.StructLayout(widths)


def code_cycles(engine: Engine, *, adds: bool) -> int:
    """Returns `WriterShape.code_cycles`: of codes, or of sums where the engine adds residuals."""
    cycles = result_cycles(engine) + (ADD_CYCLES if adds else 0)
    return 0 if cycles == engine.levels.bit_length() else cycles


def entries_needed(latency: int) -> int:
    """Returns for how many blocks residuals must be kept, a power of two.

    A block's entry is taken from its first read until its last beat leaves. Blocks follow each other after two cycles at
    least, one for operands and one for the residual, and after their beats; so beside the block that drains and the one that
    is read, so many are on their way as fit into `latency`, the cycles from a block's last loop state to its first codes.
    """
    return 1 << (2 + -(-latency // 2) - 1).bit_length()


class Residual(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text.

    `go` takes the fields, `prime` follows a cycle later. `read` marks the loop states that are left to this component.
    """

    def __init__(self, shape: ResidualShape, stages: int, latency: int) -> None:
        """
        Args:
            stages: cycles from accumulators to codes.
            latency: cycles from a block's last loop state to its first codes.
        """
        self.shape, self.stages = shape, stages
        self.entries = entries_needed(latency)
        e = shape.engine
        lanes = e.drain_lanes * e.dm
        self._groups = -(-e.dn // e.drain_lanes)
        words = {f"word_{source}": In(e.map_width_bits) for source in shape.sources}
        super().__init__(
            {
                "go": In(1),
                "fields": In(residual_layout(shape)),
                "prime": In(1),
                "read": In(1),
                **{f"{loop}_end": In(1) for loop in LOOP_ENDS},
                "offer": Out(1),
                "address": Out(address_bits(shape.words)),
                **words,
                "raw_valid": In(1),
                "raw_lane_group": In(max(1, (self._groups - 1).bit_length())),
                "valid": In(1),
                "codes": In(lanes * e.levels.bit_length()),
                "valid_out": Out(1),
                "codes_out": Out(lanes * shape.sum_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        f = Signal(self.fields.shape(), name="taken")
        with m.If(self.go):
            m.d.sync += f.eq(self.fields)
        before = delayed(m, self.raw_valid, self.stages - 1, "raw_before")
        last = delayed(m, self.raw_lane_group == self._groups - 1, self.stages - 1, "raw_last")
        slot, block = self._blocks(m, f)
        second, group = self._reads(m, f, block)
        kept = self._keep(m, f, (slot, second, group), before & last)
        self._add(m, f, self._leave(m, f, kept, before, last))
        return m

    def _blocks(self, m: Module, f: Any) -> tuple[Signal, Signal]:
        """Returns slot and address of the block: a slot further, or a word where the word or the part is over."""
        slot, left = Signal.like(f.slot_last, name="slot"), Signal.like(f.part_last, name="part_left")
        address = Signal.like(f.base, name="block_address")
        part_over = left == 0
        word_over = part_over | (slot == f.slot_last)
        with m.If(self.prime):
            m.d.sync += [slot.eq(f.slot_start), left.eq(f.part_left), address.eq(f.base)]
        with m.Elif(self.block_end):
            m.d.sync += [slot.eq(Mux(word_over, 0, slot + 1)), address.eq(address + word_over)]
            m.d.sync += left.eq(Mux(part_over, f.part_last, left - 1))
        return slot, address

    def _reads(self, m: Module, f: Any, block: Signal) -> tuple[Signal, Signal]:
        """Addresses the reads; returns whether one is of the next group of columns, and its plane group."""
        bits = len(self.address)
        frame = accumulate(
            m, "frame_address", f.per_frame, self.frame_end, self.prime | self.block_end, 0, bits
        )
        row = accumulate(m, "row_address", f.per_row, self.row_end, self.prime | self.frame_end, 0, bits)
        column = accumulate(
            m, "column_address", f.per_column, self.column_end, self.prime | self.row_end, 0, bits
        )
        second, turn = Signal(name="second"), Signal(name="plane_turn")
        askew = Const(0) if self.shape.is_batch else f.lane != 0
        m.d.comb += turn.eq(self.read & (second | ~askew))
        m.d.sync += second.eq(self.read & askew & ~second)
        plane = accumulate(m, "plane_address", f.plane_step, turn, ~self.read, 0, bits)
        group = accumulate(m, "plane_group", 1, turn, ~self.read, 0, address_bits(self.shape.reads))
        far, near, inner = (Signal(bits, name=name) for name in ("far", "near", "inner"))
        both, later = Signal(bits, name="both"), Signal(bits, name="inner_later")
        m.d.sync += [
            far.eq(block + frame),
            near.eq(row + column),
            inner.eq(plane + Mux(second, f.per_column, 0)),
        ]
        m.d.sync += [both.eq(far + near), later.eq(inner)]
        m.d.comb += self.address.eq(both + later)
        m.d.comb += self.offer.eq(delayed(m, self.read, _ADDRESS_STAGES, "offer"))
        return second, group

    def _keep(self, m: Module, f: Any, read: tuple[Signal, Signal, Signal], leaves: Value) -> Value:
        """Keeps the slots that are read; returns the lanes of the entry that leaves, all plane groups of each.

        Args:
            read: slot, whether of the next group of columns, and plane group of what is read.
            leaves: the entry's last beat.
        """
        shape, e = self.shape, self.shape.engine
        size, after = e.dm * shape.word_planes, _WORD_STAGES + 1
        slot = delayed(m, read[0], _WORD_STAGES, "slot")
        words: list[Value] = [getattr(self, f"word_{source}") for source in shape.sources]
        word = _chosen(f.source, words) if len(words) > 1 else words[0]
        chosen = Signal(e.dn * size, name="chosen", reset_less=True)
        lanes = [chosen[lane * size : (lane + 1) * size] for lane in range(e.dn)]
        for lane, part in enumerate(lanes):
            m.d.sync += part.eq(self._slot(f, word[lane * e.dk : (lane + 1) * e.dk], slot))
        write, second = delayed(m, self.read, after, "write"), delayed(m, read[1], after, "second")
        group = delayed(m, read[2], after, "group")
        enables: list[Value] = []
        for lane in range(e.dn):
            mine: Value = Const(1) if shape.is_batch else (f.lane <= lane) ^ second
            enables += [write & mine & (group == k) for k in range(shape.reads)]
        head, tail = (Signal(address_bits(self.entries), name=name) for name in ("head", "tail"))
        enters = delayed(m, self.column_end & f.add, after, "enters")
        with m.If(self.prime):
            m.d.sync += [head.eq(0), tail.eq(0)]
        with m.Else():
            m.d.sync += [head.eq(head + enters), tail.eq(tail + (leaves & f.add))]
        ram = WideMemory(
            m, "kept", e.dn * shape.reads * size, self.entries, unit_bits=size, lanes=True, domain="comb",
            style="distributed",
        )  # fmt: skip
        ram.write(head, Cat(*(part for part in lanes for _ in range(shape.reads))), Cat(*enables))
        return ram.read(tail)

    def _slot(self, f: Any, word: Value, slot: Value) -> Value:
        """Returns the block's slot of a lane's word, plane by plane."""
        shape, e = self.shape, self.shape.engine
        options: list[Value] = []
        for pa, starts in shape.slots.items():
            planes = min(pa, shape.word_planes)
            cut = [
                Cat(*(word[k * (e.dk // pa) + start :][: e.dm] for k in range(planes))) for start in starts
            ]
            options.append(_chosen(slot, cut))
        return _chosen(f.planes, options) if len(options) > 1 else options[0]

    def _leave(self, m: Module, f: Any, kept: Value, before: Value, last: Value) -> Signal:
        """Returns the residuals of the beat whose codes come now: of each lane its plane groups."""
        e, size = self.shape.engine, self.shape.engine.dm * self.shape.word_planes * self.shape.reads
        step = e.drain_lanes * size
        groups = [kept[low : low + step] for low in range(0, e.dn * size, step)]
        start: Value = Const(0) if self.shape.is_batch else f.lane
        now = Signal(range(len(groups)), name="leaving")
        with m.If(self.prime):
            m.d.sync += now.eq(start)
        with m.Elif(before):
            m.d.sync += now.eq(Mux(last, start, Mux(now == len(groups) - 1, 0, now + 1)))
        picked = Signal(step, name="picked", reset_less=True)
        m.d.sync += picked.eq(_chosen(now, groups))
        return picked

    def _add(self, m: Module, f: Any, picked: Signal) -> None:
        shape, e, bits = self.shape, self.shape.engine, self.shape.engine.levels.bit_length()
        size = e.dm * shape.word_planes
        for place in range(e.drain_lanes * e.dm):
            lane, row = divmod(place, e.dm)
            options: list[Value] = []
            for pa in shape.slots:
                spots = [divmod(bit, pa) for bit in range(shape.bits)]
                options.append(
                    Cat(*(picked[(lane * shape.reads + k) * size + plane * e.dm + row] for k, plane in spots))
                )
            code = _chosen(f.planes, options) if len(options) > 1 else options[0]
            added = Mux(f.add, (code & f.code_mask) ^ f.sign_bit, 0)
            total = self.codes[place * bits : (place + 1) * bits] + added
            m.d.sync += self.codes_out[place * shape.sum_bits : (place + 1) * shape.sum_bits].eq(total)
        m.d.sync += self.valid_out.eq(self.valid)


def _chosen(index: Value, options: list[Value]) -> Value:
    """Returns options[index]; the last also for any index behind it."""
    out = options[-1]
    for k in range(len(options) - 2, -1, -1):
        out = Mux(index == k, options[k], out)
    return out
