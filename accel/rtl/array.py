"""The array of `dm x dn` units, or of `dm` rows of DSP slices, and the shadow chain through which their results leave.

Weight words enter row by row, activation words lane by lane. Control bits come with the words they belong to
and are delayed here once for all units. Where `load` came with the last word of a block, all accumulators
move into shadow registers in one cycle, and the next block may follow without a gap; from then on
`drain_lanes` lanes leave with every step, lane 0 first, all `dm` channels of a lane side by side.

The interval between loads must be long enough for `drain_cycles` steps, or results are overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine, EngineKind
from foldwright.accel.dsp_shape import dsp_latency
from foldwright.accel.rtl.dsp import DspOperands, DspUnit
from foldwright.accel.rtl.popcount import popcount_latency
from foldwright.accel.rtl.unit import Unit, select_bits

__all__ = ["UnitArray", "delayed", "new_unit", "unit_latency"]

Operands = Callable[[int, int], dict[str, Value]]
"""Of a row and a group of lanes, the inputs of its unit."""

_FANOUT = {"max_fanout": "256"}  # asks the vendor's tool to copy a control register instead of one slow net


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Returns a value some cycles later."""
    for k in range(cycles):
        later = Signal(len(value), name=f"{name}_{k + 1}", attrs=_FANOUT if k == cycles - 1 else {})
        m.d.sync += later.eq(value)
        value = later
    return value


def unit_latency(engine: Engine, technology: str) -> int:
    """Returns the cycles from a word to the accumulators."""
    if engine.kind is EngineKind.DSP:
        return int(dsp_latency(engine.values, max(engine.planes_per_word)))
    return popcount_latency(engine.dk, engine.arithmetic, engine.planes_per_word, technology) + 1


def new_unit(engine: Engine, technology: str) -> Unit | DspUnit:
    """Returns one of the units of an engine: of a lane, or of four lanes in DSP slices."""
    if engine.kind is EngineKind.DSP:
        return DspUnit(engine, technology)
    return Unit(
        engine.dk,
        engine.acc_bits,
        arithmetic=engine.arithmetic,
        planes_per_word=engine.planes_per_word,
        technology=technology,
    )


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
        self.unit = new_unit(engine, technology)
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
        last = self.unit_latency - 1
        shared = {name: delayed(m, getattr(self, name), last, name) for name in ("shift", "clear")}
        operands = self._values(m) if self.engine.kind is EngineKind.DSP else self._pairs(m)
        m.d.comb += self.load_next.eq(delayed(m, self.load, last, "load_next"))
        load = delayed(m, self.load_next, 1, "load")
        moves = delayed(m, self.load_next | self.step_next, 1, "moves")
        for row in range(self.engine.dm):
            accs: list[Value] = []
            for group in range(-(-self.engine.dn // self.unit.lanes)):
                accs += self._place_unit(m, row, group, {**operands(row, group), **shared})
            self._chain(m, row, accs[: self.engine.dn], load, moves)
        return m

    def _pairs(self, m: Module) -> Operands:
        """Returns what the unit of a row and a lane counts."""
        unit, dk = self.unit, self.engine.dk
        assert isinstance(unit, Unit)
        minus = self.negate & ~self.zero
        control = {
            "planes": self.planes,
            "negate": delayed(m, minus, unit.negate_stage, "negate"),
            "zero": delayed(m, self.zero, unit.latency - 2, "zero"),
            "minus": delayed(m, minus, unit.latency - 1, "minus"),
        }
        return lambda row, lane: {
            "weights": self.weights[row * dk : (row + 1) * dk],
            "acts": self.acts[lane * dk : (lane + 1) * dk],
            **control,
        }

    def _values(self, m: Module) -> Operands:
        """Returns what the slices of a row and four lanes add."""
        held = DspOperands(m, self.engine, self.technology, self.weights, self.acts, self.zero)
        return lambda row, group: {
            "weights": held.weights[row],
            "acts": held.group(group, self.engine.dk),
            "use": held.use,
        }

    def _place_unit(self, m: Module, row: int, group: int, inputs: dict[str, Value]) -> list[Value]:
        """Adds one unit; returns its accumulators, lane by lane."""
        width, name = self.engine.acc_bits, f"unit_{row}_{group}"
        if self._unit_module is not None:
            acc: Value = Signal(self.unit.lanes * width, name=f"acc_{row}_{group}")
            ports = {f"i_{port}": value for port, value in inputs.items()}
            clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
            m.submodules[name] = Instance(self._unit_module, **clock, **ports, o_acc=acc)
        else:
            unit = new_unit(self.engine, self.technology) if row or group else self.unit
            m.submodules[name] = unit
            m.d.comb += [getattr(unit, port).eq(value) for port, value in inputs.items()]
            acc = unit.acc
        return [acc[k * width : (k + 1) * width] for k in range(self.unit.lanes)]

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
