"""The array of `dm x dn` units and the shadow chain through which their results leave.

Weight words enter row by row, activation words lane by lane. Control bits come with the words they belong to
and are delayed here once for all units. Where `load` came with the last word of a block, all accumulators
move into shadow registers in one cycle, and the next block may follow without a gap; from then on
`drain_lanes` lanes leave with every step, lane 0 first, all `dm` channels of a lane side by side.

The interval between loads must be long enough for `drain_cycles` steps, or results are overwritten.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.unit import Unit, select_bits

__all__ = ["UnitArray", "delayed"]

_FANOUT = {"max_fanout": "256"}  # asks the vendor's tool to copy a control register instead of one slow net


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Returns a value some cycles later."""
    for k in range(cycles):
        later = Signal(len(value), name=f"{name}_{k + 1}", attrs=_FANOUT if k == cycles - 1 else {})
        m.d.sync += later.eq(value)
        value = later
    return value


class UnitArray(Component):  # type: ignore[misc,unused-ignore]
    """All units of an engine with their shadow chain.

    `results` holds the first lanes of a block `latency` cycles after its last word; `load_next` is set two
    cycles before, for what must be ready then. `step_next` moves the chain one cycle later. `results` is lane by
    lane, a lane `dm` accumulators.
    """

    def __init__(self, engine: Engine, technology: str = "generic", unit_module: str | None = None) -> None:
        """
        Args:
            unit_module: name of a module to instantiate for each unit instead of elaborating it again and again;
                the caller adds that module, converted from `unit`, to the design.
        """
        self.engine, self.technology, self._unit_module = engine, technology, unit_module
        e = engine
        self.unit = self._new_unit()
        self.unit_latency = self.unit.latency
        self.latency = self.unit_latency + 1
        self.drain_cycles = -(-e.dn // e.drain_lanes)
        super().__init__(
            {
                "weights": In(e.dm * e.dk),
                "acts": In(e.dn * e.dk),
                "planes": In(max(1, (len(e.planes_per_word) - 1).bit_length())),
                **{name: In(1) for name in ("negate", "zero", "shift", "clear", "load")},
                "step_next": In(1),
                "results": Out(e.drain_lanes * e.dm * e.acc_bits),
                "load_next": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        unit = self.unit
        minus = self.negate & ~self.zero
        control = {
            "planes": self.planes,
            "negate": delayed(m, minus, unit.negate_stage, "negate"),
            "zero": delayed(m, self.zero, unit.latency - 2, "zero"),
            "minus": delayed(m, minus, unit.latency - 1, "minus"),
            "shift": delayed(m, self.shift, unit.latency - 1, "shift"),
            "clear": delayed(m, self.clear, unit.latency - 1, "clear"),
        }
        m.d.comb += self.load_next.eq(delayed(m, self.load, unit.latency - 1, "load_next"))
        load = delayed(m, self.load_next, 1, "load")
        moves = delayed(m, self.load_next | self.step_next, 1, "moves")
        for row in range(self.engine.dm):
            accs = [self._place_unit(m, row, lane, control) for lane in range(self.engine.dn)]
            self._chain(m, row, accs, load, moves)
        return m

    def _new_unit(self) -> Unit:
        e = self.engine
        return Unit(
            e.dk,
            e.acc_bits,
            arithmetic=e.arithmetic,
            planes_per_word=e.planes_per_word,
            technology=self.technology,
        )

    def _place_unit(self, m: Module, row: int, lane: int, control: dict[str, Value]) -> Value:
        """Adds one unit; returns its accumulator."""
        dk = self.engine.dk
        inputs = {
            "weights": self.weights[row * dk : (row + 1) * dk],
            "acts": self.acts[lane * dk : (lane + 1) * dk],
            **control,
        }
        if self._unit_module is not None:
            acc = Signal(self.engine.acc_bits, name=f"acc_{row}_{lane}")
            ports = {f"i_{name}": value for name, value in inputs.items()}
            clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
            m.submodules[f"unit_{row}_{lane}"] = Instance(self._unit_module, **clock, **ports, o_acc=acc)
            return acc
        m.submodules[f"unit_{row}_{lane}"] = unit = self._new_unit() if row or lane else self.unit
        m.d.comb += [getattr(unit, name).eq(value) for name, value in inputs.items()]
        return unit.acc

    def _chain(self, m: Module, row: int, accs: list[Value], load: Value, moves: Value) -> None:
        e = self.engine
        shadow = [Signal(e.acc_bits, name=f"shadow_{row}_{lane}", reset_less=True) for lane in range(e.dn)]
        for lane, acc in enumerate(accs):
            behind = lane + e.drain_lanes
            following = shadow[behind] if behind < e.dn else Const(0, e.acc_bits)
            if behind < e.dn:
                chosen = select_bits(m, load, acc, following, self.technology)
                with m.If(moves):
                    m.d.sync += shadow[lane].eq(chosen)
            else:  # nothing follows: what leaves behind the last lane is not used, so no multiplexer
                with m.If(load):
                    m.d.sync += shadow[lane].eq(acc)
        for lane in range(e.drain_lanes):
            low = (lane * e.dm + row) * e.acc_bits
            m.d.comb += self.results[low : low + e.acc_bits].eq(Cat(shadow[lane]))
