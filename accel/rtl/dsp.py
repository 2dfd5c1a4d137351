"""Four lanes of a row of an engine of kind `dsp`: sums of signed values in DSP48E1 slices, and their accumulators.

Each cycle a unit adds, for each of its four lanes, the values whose weight bit is 1 and subtracts the others. A slice holds one
value of the four lanes in `A:B`, adds it to or subtracts it from what the slice before hands on, field by field
(`USE_SIMD = "FOUR12"`), by `ALUMODE`, and leaves it out where `OPMODE` says so. The ends of the cascades are added in carry
chains. How a word is cut into cascades, and why no field overflows, says `accel.dsp_shape`.

The slice at *place* p adds p cycles after the one at place 0. Its weight and `use` come that much later; its value comes
p - 1 cycles later, since all slices but the first have two registers before the adder. Those delays are registers that all
rows (of values) or all lanes (of weights) share; they have a reset, so that no tool makes them shift registers in LUTs.

| technology | mapping |
|---|---|
| `xc7` | DSP48E1 primitives |
| `xc7-model`, `generic` | plain registers and adders in the same places |
| `xc7-words` | the same latency, all values of a word added at once, for fast simulation |

Source: UG479 (operation modes, SIMD), UG953 (ports and attributes of DSP48E1).
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.dsp_shape import (
    FIELD_BITS,
    LANES_PER_SLICE,
    cascade_count,
    dsp_latency,
    longest_cascade,
)
from foldwright.accel.rtl.popcount import WORDS
from foldwright.accel.rtl.unit import accumulated

__all__ = ["DspOperands", "DspUnit", "places_of"]

_SUM_BITS = FIELD_BITS * LANES_PER_SLICE
_LOW_BITS = 18  # of A:B, those of B


def places_of(engine: Engine) -> list[list[tuple[int, int]]]:
    """Returns the cascades: the values of a word with their places; all end at the same place."""
    values, bits = engine.values, max(engine.planes_per_word)
    count, longest = cascade_count(values, bits), longest_cascade(values, bits)
    out, first = [], 0
    for k in range(count):
        size = (values + k) // count
        out.append([(first + i, longest - size + i) for i in range(size)])
        first += size
    return out


class DspOperands:
    """The delay lines before the slices of an engine, shared by its units.

    `weights` has the bits of a row, `acts` those of a lane, value after value, `use` a bit for each place.
    """

    def __init__(
        self, m: Module, engine: Engine, technology: str, weights: Value, acts: Value, zero: Value
    ) -> None:
        """
        Args:
            weights, acts, zero: as they enter `UnitArray`.
        """
        bits, values = max(engine.planes_per_word), engine.values
        place = {value: p if technology != WORDS else 0 for c in places_of(engine) for value, p in c}
        rows = [weights[r * engine.dk :][:values] for r in range(engine.dm)]
        self.weights = [
            Cat(_late(m, row[v], place[v], f"weight_{r}_{v}") for v in range(values))
            for r, row in enumerate(rows)
        ]
        self.acts = []
        for lane in range(engine.dn):
            word = acts[lane * engine.dk :][: engine.dk]
            fields = [Cat(word[plane * values + v] for plane in range(bits)) for v in range(values)]
            self.acts.append(
                Cat(
                    _late(m, field, max(0, place[v] - 1), f"value_{lane}_{v}")
                    for v, field in enumerate(fields)
                )
            )
        line = [~zero]
        for p in range(1, longest_cascade(values, bits)):
            line.append(_late(m, line[-1], 1, f"use_{p}"))
        self.use = Cat(line)

    def group(self, index: int, dk: int) -> Value:
        """Returns the values of four lanes, zeros where there is no lane."""
        lanes = self.acts[index * LANES_PER_SLICE :][:LANES_PER_SLICE]
        return Cat(*lanes, Const(0, (LANES_PER_SLICE - len(lanes)) * dk))


class DspUnit(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text. `shift` and `clear` come with the sum, `latency - 1` cycles after the word."""

    lanes = LANES_PER_SLICE

    def __init__(self, engine: Engine, technology: str = "generic") -> None:
        self.engine, self.technology = engine, technology
        self._values, self._bits = engine.values, max(engine.planes_per_word)
        self.latency = dsp_latency(self._values, self._bits)
        super().__init__(
            {
                "weights": In(self._values),
                "acts": In(LANES_PER_SLICE * engine.dk),
                "use": In(longest_cascade(self._values, self._bits)),
                "shift": In(1),
                "clear": In(1),
                "acc": Out(LANES_PER_SLICE * engine.acc_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = self.engine.acc_bits
        sums = self._by_words(m) if self.technology == WORDS else self._by_cascades(m)
        for lane, total in enumerate(sums):
            acc = Signal(width, name=f"acc_{lane}")
            addend = Signal(width, name=f"addend_{lane}")
            m.d.comb += addend.eq(total.as_signed())
            m.d.sync += acc.eq(accumulated(m, acc, addend, self.shift, self.clear, self.technology))
            m.d.comb += self.acc[lane * width : (lane + 1) * width].eq(acc)
        return m

    def _value(self, lane: int, value: int) -> Value:
        return self.acts[lane * self.engine.dk + value * self._bits :][: self._bits]

    def _by_words(self, m: Module) -> list[Value]:
        """Adds all values of a word at once and waits as long as the slices take."""
        sums: list[Value] = []
        for lane in range(LANES_PER_SLICE):
            values = [self._value(lane, v) for v in range(self._values)]
            plus = sum(Mux(self.weights[v], value, 0) for v, value in enumerate(values))
            total: Value = (plus << 1) - sum(values)
            for stage in range(self.latency - 1):
                later = Signal(self.engine.acc_bits, name=f"sum_{lane}_at_{stage}", reset_less=True)
                m.d.sync += later.eq(total if stage else Mux(self.use[0], total, 0))
                total = later
            sums.append(total)
        return sums

    def _by_cascades(self, m: Module) -> list[Value]:
        ends: list[list[Value]] = []
        for cascade in places_of(self.engine):
            before: Value | None = None
            for value, place in cascade:
                fields = (
                    Cat(self._value(k, value), Const(0, FIELD_BITS - self._bits))
                    for k in range(LANES_PER_SLICE)
                )
                step = _primitive if self.technology == "xc7" else _model
                out, before = step(
                    m, Cat(*fields), self.weights[value], self.use[place], before, place, value
                )
            ends.append([out[k * FIELD_BITS :][:FIELD_BITS] for k in range(LANES_PER_SLICE)])
        return [_tree(m, [end[k] for end in ends], k) for k in range(LANES_PER_SLICE)]


def _operand_registers(place: int) -> int:
    return 2 if place else 1


def _late(m: Module, value: Value, cycles: int, name: str) -> Value:
    for k in range(cycles):
        later = Signal(len(value), name=f"{name}_{k + 1}")
        m.d.sync += later.eq(value)
        value = later
    return value


def _tree(m: Module, level: list[Value], lane: int) -> Value:
    """Returns the sum of signed numbers, with a register behind each level."""
    depth = 0
    while len(level) > 1:
        sums: list[Value] = []
        for k in range(0, len(level), 2):
            total = sum(x.as_signed() for x in level[k : k + 2])
            later = Signal(len(level[0]) + 1, name=f"end_{lane}_{depth}_{k}", reset_less=True)
            m.d.sync += later.eq(total)
            sums.append(later)
        level, depth = sums, depth + 1
    return level[0]


def _model(
    m: Module, fields: Value, add: Value, use: Value, before: Value | None, place: int, value: int
) -> tuple[Value, Value]:
    """Adds what a slice does, in plain registers; returns its sum for what follows and for the next slice."""
    name, out = f"slice_{value}", Signal(_SUM_BITS, name=f"slice_{value}_sum", reset_less=True)
    for k in range(_operand_registers(place)):
        later = Signal(_SUM_BITS, name=f"{name}_operand_{k}", reset_less=True)
        m.d.sync += later.eq(fields)
        fields = later
    adds, uses = Signal(name=f"{name}_add", reset_less=True), Signal(name=f"{name}_use", reset_less=True)
    m.d.sync += [adds.eq(add), uses.eq(use)]
    for low in range(0, _SUM_BITS, FIELD_BITS):
        x = fields[low : low + FIELD_BITS]
        z = Const(0, FIELD_BITS) if before is None else before[low : low + FIELD_BITS]
        m.d.sync += out[low : low + FIELD_BITS].eq(Mux(uses, Mux(adds, z + x, z - x), z))
    return out, out


_ENABLES = (
    "CEA1", "CEA2", "CEALUMODE", "CEB1", "CEB2", "CEC", "CECTRL", "CEP",
)  # fmt: skip
_UNUSED = {
    **{"ACIN": 30, "BCIN": 18, "C": 48, "D": 25, "CARRYINSEL": 3, "INMODE": 5},
    **dict.fromkeys(("CARRYCASCIN", "CARRYIN", "MULTSIGNIN", "CEAD", "CECARRYIN", "CED", "CEINMODE", "CEM"), 1),
    **{f"RST{name}": 1 for name in ("A", "ALLCARRYIN", "ALUMODE", "B", "C", "CTRL", "D", "INMODE", "M", "P")},
}  # fmt: skip
_ATTRIBUTES = {
    **{"USE_MULT": "NONE", "USE_SIMD": "FOUR12", "USE_DPORT": "FALSE", "A_INPUT": "DIRECT", "B_INPUT": "DIRECT"},
    **{"ALUMODEREG": 1, "OPMODEREG": 1, "PREG": 1, "CREG": 1, "MREG": 0, "DREG": 0, "ADREG": 0},
    **{"INMODEREG": 0, "CARRYINREG": 0, "CARRYINSELREG": 0, "IS_ALUMODE_INVERTED": Const(0b0011, 4)},
}  # fmt: skip
"""Weights reach `ALUMODE` inverted inside the slice: 0000 adds, 0011 subtracts."""


def _primitive(
    m: Module, fields: Value, add: Value, use: Value, before: Value | None, place: int, value: int
) -> tuple[Value, Value]:
    """Adds a slice; returns P for what follows and PCOUT for the next slice."""
    out, cascade = Signal(_SUM_BITS, name=f"slice_{value}_p"), Signal(_SUM_BITS, name=f"slice_{value}_pcout")
    registers = _operand_registers(place)
    m.submodules[f"slice_{value}"] = Instance(
        "DSP48E1",
        **{f"p_{name}": setting for name, setting in _ATTRIBUTES.items()},
        **{f"p_{name}": registers for name in ("AREG", "ACASCREG", "BREG", "BCASCREG")},
        **{f"i_{name}": Const(0, width) for name, width in _UNUSED.items()},
        **{f"i_{name}": Const(1, 1) for name in _ENABLES},
        i_CLK=ClockSignal(),
        i_A=fields[_LOW_BITS:],
        i_B=fields[:_LOW_BITS],
        i_PCIN=Const(0, _SUM_BITS) if before is None else before,
        i_OPMODE=Cat(use, use, Const(0, 2), Const(before is not None, 1), Const(0, 2)),
        i_ALUMODE=Cat(add, add, Const(0, 2)),
        o_P=out,
        o_PCOUT=cascade,
    )
    return out, cascade
