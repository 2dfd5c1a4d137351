"""Pipelined netlists of 7-series LUT6_2 and CARRY4 cells: built once, counted, evaluated and emitted.

A net is an int: 0 and 1 are the constants, inputs and cell outputs count up from 2. Every net lies in a
pipeline stage; a cell's inputs must lie in one stage, which is checked while building, so a netlist cannot be
out of step. `evaluate` computes the netlist in numpy, registers transparent; `emit` puts it into an Amaranth
module, as primitives (`xc7`) or, since Amaranth's simulator knows no primitives, as behavioural models of
them (`xc7-model`).

What it leaves out: LUT packing and placement. Source of the cells' behaviour: Xilinx UG474 and UG953.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value

__all__ = ["TECHNOLOGIES", "Bits", "LutNetlist", "table"]

TECHNOLOGIES = ("generic", "xc7", "xc7-model")

Bits = npt.NDArray[np.bool_]
_CARRY_BITS = 4


def table(function: Callable[..., int], inputs: int) -> int:
    """Returns a truth table: bit k is the value of the function where input i is bit i of k."""
    rows = ((k >> i & 1 for i in range(inputs)) for k in range(1 << inputs))
    return sum(bool(function(*row)) << k for k, row in enumerate(rows))


@dataclass(frozen=True, slots=True)
class _Lut:
    """One LUT: `o5` is None for a single function of up to 6 inputs."""

    inputs: tuple[int, ...]
    table6: int
    table5: int
    o6: int
    o5: int | None


@dataclass(frozen=True, slots=True)
class _Carry:
    """One CARRY4: `start` feeds CYINIT of a first block, `chain` is the CO[3] net of the block before."""

    start: int
    chain: int | None
    select: tuple[int, ...]
    data: tuple[int, ...]
    sums: tuple[int, ...]
    carries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Register:
    source: int
    out: int
    reset: int


class LutNetlist:
    """A netlist under construction; cells stand in an order in which each follows its sources."""

    def __init__(self) -> None:
        self._stage: list[int] = [-1, -1]  # of each net; -1: a constant, good in every stage
        self._cells: list[_Lut | _Carry | _Register] = []
        self._inputs: list[int] = []

    @property
    def luts(self) -> int:
        """LUT6 sites; a LUT with two outputs is one."""
        return sum(isinstance(c, _Lut) for c in self._cells)

    @property
    def carry4s(self) -> int:
        return sum(isinstance(c, _Carry) for c in self._cells)

    @property
    def registers(self) -> int:
        return sum(isinstance(c, _Register) for c in self._cells)

    def input(self, count: int, stage: int = 0) -> list[int]:
        """Returns new input nets that arrive in a pipeline stage."""
        nets = [self._net(stage) for _ in range(count)]
        self._inputs += nets
        return nets

    def lut(self, function: Callable[..., int], inputs: Sequence[int]) -> int:
        """Returns the output of a LUT of up to 6 inputs."""
        self._check_width(inputs, 6)
        out = self._net(self._common_stage(inputs))
        self._cells.append(_Lut(tuple(inputs), table(function, len(inputs)), 0, out, None))
        return out

    def lut2(
        self, function6: Callable[..., int], function5: Callable[..., int], inputs: Sequence[int]
    ) -> tuple[int, int]:
        """Returns outputs O6 and O5 of one LUT6_2 that computes two functions of the same up to 5 inputs."""
        self._check_width(inputs, 5)
        stage, n = self._common_stage(inputs), len(inputs)
        o6, o5 = self._net(stage), self._net(stage)
        self._cells.append(_Lut(tuple(inputs), table(function6, n), table(function5, n), o6, o5))
        return o6, o5

    def carry(
        self, select: Sequence[int], data: Sequence[int], start: int = 0
    ) -> tuple[list[int], list[int]]:
        """Returns sums (select ^ carry in) and carries (carry in if select else data) of a chain."""
        stage = self._common_stage([*select, *data, start])
        sums: list[int] = []
        carries: list[int] = []
        for low in range(0, len(select), _CARRY_BITS):
            s, d = select[low : low + _CARRY_BITS], data[low : low + _CARRY_BITS]
            o, co = ([self._net(stage) for _ in s] for _ in range(2))
            self._cells.append(
                _Carry(
                    start if low == 0 else 0,
                    carries[-1] if low else None,
                    tuple(s),
                    tuple(d),
                    tuple(o),
                    tuple(co),
                )
            )
            sums += o
            carries += co
        return sums, carries

    def register(self, source: int, reset: int = 0) -> int:
        """Returns the net one stage later; a synchronous `reset` of the same stage clears it."""
        if source < 2 and not reset:
            return source
        out = self._net(self._common_stage([source, reset]) + 1)
        self._cells.append(_Register(source, out, reset))
        return out

    def evaluate(self, inputs: Mapping[int, Bits]) -> list[Bits]:
        """Returns the value of every net for many input vectors at once, registers transparent."""
        some = next(iter(inputs.values()))
        value: list[Any] = [None] * len(self._stage)
        value[0], value[1] = np.zeros_like(some), np.ones_like(some)
        for net in self._inputs:
            value[net] = inputs[net]
        for cell in self._cells:
            if isinstance(cell, _Lut):
                index = sum(
                    (value[net].astype(np.int64) << i for i, net in enumerate(cell.inputs)), np.int64(0)
                )
                value[cell.o6] = _look_up(cell.table6, len(cell.inputs), index)
                if cell.o5 is not None:
                    value[cell.o5] = _look_up(cell.table5, len(cell.inputs), index)
            elif isinstance(cell, _Carry):
                carry = value[cell.start if cell.chain is None else cell.chain]
                for s, d, o, co in zip(cell.select, cell.data, cell.sums, cell.carries, strict=True):
                    value[o] = value[s] ^ carry
                    carry = value[co] = np.where(value[s], carry, value[d])
            else:
                value[cell.out] = value[cell.source] & ~value[cell.reset]
        return value

    def emit(self, m: Module, inputs: Mapping[int, Value], technology: str) -> list[Any]:
        """Adds the netlist to a module.

        Args:
            inputs: the value of every input net.
            technology: "xc7" for primitives, "xc7-model" for their behavioural models.

        Returns:
            The Amaranth value of every net.
        """
        assert technology in ("xc7", "xc7-model"), technology
        value: list[Any] = [Const(0, 1), Const(1, 1), *([None] * (len(self._stage) - 2))]
        for net in self._inputs:
            value[net] = inputs[net]
        lut, carry = (_lut_cell, _carry_cell) if technology == "xc7" else (_lut_model, _carry_model)
        for cell in self._cells:
            if isinstance(cell, _Lut):
                lut(m, cell, value)
            elif isinstance(cell, _Carry):
                carry(m, cell, value)
            else:
                value[cell.out] = flop = Signal(name=f"r{cell.out}")
                m.d.sync += flop.eq(value[cell.source])
                if cell.reset:
                    with m.If(value[cell.reset]):
                        m.d.sync += flop.eq(0)
        return value

    def stage_of(self, net: int) -> int:
        """Returns the pipeline stage of a net, -1 for a constant."""
        return self._stage[net]

    def _net(self, stage: int) -> int:
        self._stage.append(stage)
        return len(self._stage) - 1

    def _common_stage(self, nets: Sequence[int]) -> int:
        stages = {self._stage[net] for net in nets} - {-1}
        assert len(stages) == 1, f"nets {list(nets)} lie in stages {sorted(stages)}: a register is missing"
        return stages.pop()

    @staticmethod
    def _check_width(inputs: Sequence[int], most: int) -> None:
        assert 1 <= len(inputs) <= most, f"a LUT of {len(inputs)} inputs, at most {most} fit"


def _look_up(truth: int, width: int, index: Any) -> Bits:
    rows = np.array([truth >> k & 1 for k in range(1 << width)], dtype=np.bool_)
    return np.asarray(rows[index])


def _lut_cell(m: Module, cell: _Lut, value: list[Any]) -> None:
    ports = {f"i_I{i}": value[net] for i, net in enumerate(cell.inputs)}
    value[cell.o6] = o6 = Signal(name=f"n{cell.o6}")
    width = len(cell.inputs)
    if cell.o5 is None:
        m.submodules += Instance(f"LUT{width}", p_INIT=Const(cell.table6, 1 << width), **ports, o_O=o6)
        return
    value[cell.o5] = o5 = Signal(name=f"n{cell.o5}")
    ports |= {f"i_I{i}": Const(0, 1) for i in range(width, 5)}
    init = _widened(cell.table6, width) << 32 | _widened(cell.table5, width)
    m.submodules += Instance("LUT6_2", p_INIT=Const(init, 64), **ports, i_I5=Const(1, 1), o_O6=o6, o_O5=o5)


def _widened(truth: int, width: int) -> int:
    """Returns the table with its unused inputs up to the fifth left without effect."""
    for w in range(width, 5):
        truth |= truth << (1 << w)
    return truth


def _carry_cell(m: Module, cell: _Carry, value: list[Any]) -> None:
    n = len(cell.sums)
    sums, carries = Signal(_CARRY_BITS, name=f"s{cell.sums[0]}"), Signal(_CARRY_BITS, name=f"c{cell.sums[0]}")
    chain = Const(0, 1) if cell.chain is None else value[cell.chain]
    m.submodules += Instance(
        "CARRY4",
        i_CI=chain,
        i_CYINIT=value[cell.start],
        i_S=Cat(*(value[net] for net in cell.select), Const(0, _CARRY_BITS - n)),
        i_DI=Cat(*(value[net] for net in cell.data), Const(0, _CARRY_BITS - n)),
        o_O=sums,
        o_CO=carries,
    )
    for k in range(n):
        value[cell.sums[k]], value[cell.carries[k]] = sums[k], carries[k]


def _lut_model(m: Module, cell: _Lut, value: list[Any]) -> None:
    width = len(cell.inputs)
    index = Cat(*(value[net] for net in cell.inputs))
    for net, truth in ((cell.o6, cell.table6), (cell.o5, cell.table5)):
        if net is not None:
            value[net] = out = Signal(name=f"n{net}")
            m.d.comb += out.eq(Const(truth, 1 << width).bit_select(index, 1))


def _carry_model(m: Module, cell: _Carry, value: list[Any]) -> None:
    carry = value[cell.start if cell.chain is None else cell.chain]
    for s, d, o, co in zip(cell.select, cell.data, cell.sums, cell.carries, strict=True):
        value[o], value[co] = Signal(name=f"n{o}"), Signal(name=f"n{co}")
        m.d.comb += [value[o].eq(value[s] ^ carry), value[co].eq(Mux(value[s], carry, value[d]))]
        carry = value[co]
