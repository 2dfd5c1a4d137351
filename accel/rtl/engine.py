"""An engine for one tile at a time: the core with a feature map, filled and started by the host.

`verify` plays tiles on it. Ports are flat: the host writes the program, weights, thresholds and feature map through
simple write ports and pulses `start`; results leave as `core` says, and nothing takes them in.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Signal
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.rtl.core import PROGRAM_WORDS, EngineCore
from foldwright.accel.rtl.dsp import DspUnit
from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.rtl.unit import Unit

__all__ = ["PlanesEngine"]

_FLUSH_MARGIN = 2
_PASSED = (
    "program_write", "program_write_address", "program_write_data",
    "weight_write", "weight_write_address", "weight_write_data",
)  # fmt: skip
_THRESHOLDS = ("threshold_write", "threshold_write_address", "threshold_write_data")
_RESULTS = ("raw_valid", "raw_block", "raw_lane_group", "raw")
_CODES = ("valid", "block", "lane_group", "codes")


class PlanesEngine(Component):  # type: ignore[misc,unused-ignore]
    """The core with a map; `flush_cycles` is the pause between two tiles, in which the results of the first leave."""

    def __init__(
        self,
        engine: Engine,
        technology: str = "generic",
        *,
        reach: int = 3,
        program_words: int = PROGRAM_WORDS,
        unit_module: str | None = None,
    ) -> None:
        """
        Args:
            reach, unit_module: see `EngineCore`.
        """
        self.engine = engine
        self.core = EngineCore(
            engine, technology, reach=reach, program_words=program_words, unit_module=unit_module
        )
        self.stages, self.block_latency = self.core.stages, self.core.block_latency
        self.drain_cycles = self.core.drain_cycles
        self.flush_cycles = self.block_latency + self.drain_cycles + self.stages + _FLUSH_MARGIN
        members = self.core.signature.members
        shared = (*_PASSED, *_RESULTS, *((*_THRESHOLDS, *_CODES) if engine.levels else ()))
        self._shared = shared
        super().__init__(
            {
                "start": In(1),
                "busy": Out(1),
                **{name: members[name] for name in shared},
                "map_write": In(engine.dn),
                "map_write_address": In(address_bits(engine.map_words)),
                "map_write_data": In(engine.map_width_bits),
            }
        )

    @property
    def unit(self) -> Unit | DspUnit:
        """One unit, for a design that instantiates it by name."""
        return self.core.unit

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = core = self.core
        e = self.engine
        for name in self._shared:
            inner, outer = getattr(core, name), getattr(self, name)
            is_input = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if is_input else outer.eq(inner)
        ram = WideMemory(m, "map", e.map_width_bits, e.map_words, unit_bits=e.dk, lanes=True)
        ram.write(self.map_write_address, self.map_write_data, self.map_write)
        word = Signal(e.map_width_bits, name="map_word", reset_less=True)
        m.d.sync += word.eq(ram.read(core.map_address, core.map_read))
        flush = Signal(range(self.flush_cycles + 1), name="flush")
        with m.If(core.running):
            m.d.sync += flush.eq(self.flush_cycles)
        with m.Elif(flush != 0):
            m.d.sync += flush.eq(flush - 1)
        m.d.comb += [
            core.start.eq(self.start),
            core.rounds.eq(1),
            core.hold_cycles.eq(1),
            core.window_ready.eq(Const(1)),
            core.results_busy.eq(flush != 0),
            core.map_word.eq(word),
            self.busy.eq(core.busy),
        ]
        return m
