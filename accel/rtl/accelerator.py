"""The accelerator: engines around the memory side, with AXI4-Lite in front and AXI4 behind.

Ports are those of `memory_side` (`s_axi_*`, `m_axi_*`). With `trace` every engine also shows what it writes and when its
tiles begin and end (`trace{e}_*`), for co-simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, ResetInserter
from amaranth.lib.wiring import Component, Out

from foldwright.accel.rtl.complete import DESTS_OF_ENGINE, CompleteEngine, EngineShape
from foldwright.accel.rtl.loader_program import TOKEN_BITS
from foldwright.accel.rtl.memory_side import MemorySide, MemorySideParams
from foldwright.accel.rtl.program import GIVES
from foldwright.accel.rtl.program import TOKEN_BITS as PROGRAM_TOKEN_BITS

__all__ = ["Accelerator", "AcceleratorShape"]


@dataclass(frozen=True)
class AcceleratorShape:
    """What an accelerator is built of."""

    engines: tuple[EngineShape, ...]
    memory: MemorySideParams

    @property
    def storing(self) -> int:
        """The engine whose results go to DRAM."""
        return next(e for e, shape in enumerate(self.engines) if shape.writer.store)


class Accelerator(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text.

    Attributes:
        unit_modules: per engine, the name of a module to instantiate for each unit, see `UnitArray`.
    """

    def __init__(
        self,
        shape: AcceleratorShape,
        technology: str = "generic",
        *,
        trace: bool = False,
        unit_modules: Mapping[int, str] | None = None,
    ) -> None:
        self.shape, self.trace = shape, trace
        names = unit_modules or {}
        self.engines = [
            CompleteEngine(
                engine,
                e,
                technology,
                dram_bits=shape.memory.data_bits,
                first_dest=e * DESTS_OF_ENGINE,
                unit_module=names.get(e),
            )
            for e, engine in enumerate(shape.engines)
        ]
        self.memory = MemorySide(shape.memory)
        outer = {n: m for n, m in self.memory.signature.members.items() if n.startswith(("s_axi_", "m_axi_"))}
        traced: dict[str, Any] = {}
        for e, engine in enumerate(self.engines if trace else ()):
            for name, value in _traced(engine).items():
                traced[f"trace{e}_{name}"] = Out(len(value))
        super().__init__({**outer, **traced})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = self.memory
        for name, member in self.signature.members.items():
            if name.startswith(("s_axi_", "m_axi_")):
                inner, outer = getattr(memory, name), getattr(self, name)
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        for e, engine in enumerate(self.engines):
            m.submodules[f"engine{e}"] = ResetInserter(memory.reset)(engine)
            self._connect(m, e, engine)
        m.d.comb += memory.progress.eq(Cat(*(engine.progress for engine in self.engines)).any())
        storing = self.engines[self.shape.storing]
        m.d.comb += [memory.item_valid.eq(storing.store_valid), memory.item.eq(storing.store_data)]
        return m

    def _connect(self, m: Module, e: int, engine: CompleteEngine) -> None:
        memory = self.memory
        for name in ("shift", "data", "dest", "write", "write_address", "write_lane"):
            m.d.comb += getattr(engine, f"load_{name}").eq(getattr(memory, name))
        m.d.comb += [
            engine.start.eq(memory.start_engines),
            engine.rounds.eq(memory.rounds),
            engine.stop.eq(memory.stop),
            engine.granted.eq(memory.grant[e]),
            memory.want_valid[e].eq(engine.wait),
            memory.want_token.word_select(e, TOKEN_BITS).eq(engine.wait_token),
            memory.engine_error[e].eq(engine.illegal),
            memory.writer_error[e].eq(engine.error),
        ]
        for k in range(GIVES):
            token = engine.give_tokens.word_select(k, PROGRAM_TOKEN_BITS)
            m.d.comb += [
                memory.give_valid[GIVES * e + k].eq(engine.gives[k]),
                memory.give_token.word_select(GIVES * e + k, TOKEN_BITS).eq(token),
            ]
        for owner in engine.shape.targets:
            if owner != e:
                suffix = self.engines[owner].shape.inbox_suffix(e)
                for part in ("enable", "address", "data"):
                    m.d.comb += getattr(self.engines[owner], f"in{suffix}_{part}").eq(
                        getattr(engine, f"out_{owner}_{part}")
                    )
        if self.shape.memory.runs_ahead:
            m.d.comb += memory.engine_busy[e].eq(engine.busy)
        if self.trace:
            for name, value in _traced(engine).items():
                m.d.comb += getattr(self, f"trace{e}_{name}").eq(value)


def _traced(engine: CompleteEngine) -> dict[str, Any]:
    """Returns what is recorded of an engine."""
    writer, core = engine.writer, engine.core
    targets = range(len(engine.shape.targets))
    writes = [getattr(writer, f"map_{t}_enable").any() for t in targets]
    if engine.shape.writer.store:
        writes.append(writer.store_valid)
    out: dict[str, Any] = {"write": Cat(*writes)}
    for t in targets:
        out |= {f"{part}{t}": getattr(writer, f"map_{t}_{part}") for part in ("enable", "address", "data")}
    if engine.shape.writer.store:
        out["store"] = writer.store_data
    return out | {"tile_start": core.go, "tile_end": core.tile_done}
