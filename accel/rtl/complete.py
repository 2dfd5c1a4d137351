"""A complete engine: the core with its maps, window, residual and writer, and what loads its memories.

The load bus comes from the loader: beats are collected per memory, and `load_write` stores the collected word. A memory is
named by `dest`: `first_dest` and the numbers of `LoadKind` behind it. The own map is filled by this engine's writer, an
inbox by the loader or by another engine's writer; each of those has an inbox of its own, so none waits for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine
from foldwright.accel.residual_program import ResidualShape
from foldwright.accel.rtl.array import delayed
from foldwright.accel.rtl.core import PROGRAM_WORDS, EngineCore
from foldwright.accel.rtl.dsp import DspUnit
from foldwright.accel.rtl.loader_place import Assembler, bus_ports
from foldwright.accel.rtl.maps import MapMemory
from foldwright.accel.rtl.program import WORD_BITS, threshold_bits
from foldwright.accel.rtl.residual import Residual, residual_layout
from foldwright.accel.rtl.sequencer import LOOP_ENDS, SOURCE_OWN, SOURCE_WINDOW, inbox_source
from foldwright.accel.rtl.unit import Unit, select_bits
from foldwright.accel.rtl.window import Window, WindowShape, window_layout
from foldwright.accel.rtl.writer import Writer
from foldwright.accel.rtl.writer_layout import writer_layout
from foldwright.accel.slots import byte_runs
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.writer_shape import WriterShape

__all__ = ["DESTS_OF_ENGINE", "CompleteEngine", "EngineShape", "InboxShape", "LoadKind"]


class LoadKind(IntEnum):
    """What the loader can fill."""

    PROGRAM = 0
    WEIGHTS = 1
    THRESHOLDS = 2
    INPUT = 3  # the loader's inbox, or line memory of the window


DESTS_OF_ENGINE = len(LoadKind)
"""Memories of an engine; those of engine e begin at number `e * DESTS_OF_ENGINE`."""


@dataclass(frozen=True, slots=True)
class InboxShape:
    """A map that another one fills: an engine, or `FROM_LOADER`; its writer writes bytes of so many lanes at once."""

    filler: int
    words: int
    byte_bits: int
    lanes: int = 1


@dataclass(frozen=True)
class EngineShape:
    """What an engine is built of.

    `targets` says where each target of the writer lies: the engine whose map it is; the own map where that is the engine
    itself, else that engine's inbox. `own_words` is 0 where there is no own map.
    """

    engine: Engine
    reach: int
    own_words: int
    inboxes: tuple[InboxShape, ...]
    window: WindowShape | None
    writer: WriterShape
    targets: tuple[int, ...]
    program_words: int = PROGRAM_WORDS
    residual: ResidualShape | None = None

    def inbox_suffix(self, filler: int) -> str:
        """Returns what names of an inbox end with: nothing for the first one."""
        return "" if self.inboxes[0].filler == filler else f"_of_{filler}"

    def inbox_of(self, filler: int) -> InboxShape | None:
        """Returns the inbox that a filler has, None where it has none."""
        return next((inbox for inbox in self.inboxes if inbox.filler == filler), None)

    @property
    def _extras(self) -> list[tuple[str, StructLayout]]:
        layouts = [("writer", writer_layout(self.writer))]
        if self.window:
            layouts.append(("window", window_layout(self.window)))
        if self.residual:
            layouts.append(("residual", residual_layout(self.residual)))
        return layouts

    @property
    def extra_widths(self) -> tuple[int, ...]:
        """Widths of the program's extra fields: writer, then window, then residual."""
        return tuple(field.width for _, layout in self._extras for _, field in layout)

    @property
    def extra_names(self) -> tuple[str, ...]:
        return tuple(f"{owner}.{name}" for owner, layout in self._extras for name, _ in layout)


class CompleteEngine(Component):  # type: ignore[misc,unused-ignore]
    """Engine number `index` of an accelerator; see the module's text."""

    def __init__(
        self,
        shape: EngineShape,
        index: int,
        technology: str = "generic",
        *,
        dram_bits: int = 32,
        first_dest: int = 0,
        unit_module: str | None = None,
    ) -> None:
        self.shape, self.index, self.technology = shape, index, technology
        self.dram_bits, self.first_dest = dram_bits, first_dest
        self.core = EngineCore(
            shape.engine,
            technology,
            reach=shape.reach,
            program_words=shape.program_words,
            extra_widths=shape.extra_widths,
            unit_module=unit_module,
            inboxes=len(shape.inboxes),
            residual=shape.residual is not None,
        )
        self.writer = Writer(shape.writer)
        self.window = Window(shape.window) if shape.window else None
        self.residual: Residual | None = None
        if shape.residual is not None:
            self.residual = Residual(
                shape.residual, self.core.stages, self.core.block_latency + self.core.stages
            )
        core, writer = self.core.signature.members, self.writer.signature.members
        control = ("start", "rounds", "stop", "busy", "granted", "wait", "wait_token", "gives", "give_tokens")
        ports = {name: core[name] for name in control}
        for t, owner in enumerate(shape.targets):
            if owner != index:
                ports |= {
                    f"out_{owner}_{part}": writer[f"map_{t}_{part}"] for part in ("enable", "address", "data")
                }
        for inbox in shape.inboxes:
            if inbox.filler != FROM_LOADER:
                name = f"in{shape.inbox_suffix(inbox.filler)}"
                ports |= {
                    f"{name}_enable": In(shape.engine.dn * self._bytes(inbox.byte_bits)),
                    f"{name}_address": In(max(1, (inbox.words - 1).bit_length())),
                    f"{name}_data": In(inbox.lanes * shape.engine.dk),
                }
        if shape.writer.store:
            ports |= {"store_valid": writer["store_valid"], "store_data": writer["store_data"]}
        super().__init__(
            {
                **ports,
                "progress": Out(1),
                "illegal": Out(1),
                "error": Out(1),
                **{f"load_{name}": In(port.shape) for name, port in bus_ports(dram_bits).items()},
            }
        )

    @property
    def unit(self) -> Unit | DspUnit:
        """One unit, for a design that instantiates it by name."""
        return self.core.unit

    def _bytes(self, byte_bits: int) -> int:
        return len(byte_runs(self.shape.engine.dk, self.shape.engine.planes_per_word, byte_bits))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core, m.submodules.writer = core, writer = self.core, self.writer
        for name in ("start", "rounds", "stop", "granted"):
            m.d.comb += getattr(core, name).eq(getattr(self, name))
        for name in ("busy", "wait", "wait_token", "gives", "give_tokens"):
            m.d.comb += getattr(self, name).eq(getattr(core, name))
        m.d.comb += [
            self.progress.eq(core.go | core.raw_valid),
            self.illegal.eq(core.illegal),
            self.error.eq(writer.error),
            core.results_busy.eq(writer.busy),
            core.hold_cycles.eq(writer.hold_cycles),
            writer.go.eq(core.go),
        ]
        if self.shape.writer.store:
            m.d.comb += [writer.raw_valid.eq(core.raw_valid), writer.raw.eq(core.raw)]
        if self.shape.engine.levels and self.residual is None:
            m.d.comb += [writer.valid.eq(core.valid), writer.codes.eq(core.codes)]
        used = len(writer.fields.as_value())
        m.d.comb += writer.fields.as_value().eq(core.extra[:used])
        self._load_core(m)
        words = self._maps(m)
        if self.residual is not None:
            low = len(core.extra) - len(self.residual.fields.as_value())
            self._sums(m, self.residual, dict(words), core.extra[low:])
        if self.window is not None:
            words.append((SOURCE_WINDOW, self._window(m, core.extra[used:])))
        m.d.comb += core.map_word.eq(self._chosen(m, words))
        if self.shape.writer.store:
            m.d.comb += [self.store_valid.eq(writer.store_valid), self.store_data.eq(writer.store_data)]
        return m

    def _loaded(self, m: Module, kind: LoadKind, width: int) -> tuple[Value, Value]:
        """Returns the word collected for a memory, and when to store it."""
        assembler = Assembler(width, self.dram_bits, self.first_dest + kind)
        m.submodules[f"load_{kind.name.lower()}"] = assembler
        for name in ("shift", "data", "dest", "write"):
            m.d.comb += getattr(assembler, name).eq(getattr(self, f"load_{name}"))
        return assembler.word, assembler.mine

    def _load_core(self, m: Module) -> None:
        core, engine = self.core, self.shape.engine
        widths = {
            "program": (LoadKind.PROGRAM, WORD_BITS),
            "weight": (LoadKind.WEIGHTS, engine.weight_width_bits),
        }
        if engine.levels:
            widths["threshold"] = (LoadKind.THRESHOLDS, engine.dm * threshold_bits(engine))
        for name, (kind, width) in widths.items():
            word, write = self._loaded(m, kind, width)
            m.d.comb += [
                getattr(core, f"{name}_write").eq(write),
                getattr(core, f"{name}_write_address").eq(self.load_write_address),
                getattr(core, f"{name}_write_data").eq(word),
            ]

    def _maps(self, m: Module) -> list[tuple[int, Value]]:
        """Builds own map and inboxes; returns what they read, by source."""
        shape, engine, core, writer = self.shape, self.shape.engine, self.core, self.writer
        words: list[tuple[int, Value]] = []
        if shape.own_words:
            own = MapMemory(m, "own", engine, engine.byte_bits, shape.own_words)
            t = shape.targets.index(self.index)
            data = getattr(writer, f"map_{t}_data")
            own.write(
                getattr(writer, f"map_{t}_enable"),
                getattr(writer, f"map_{t}_address"),
                _lanes(data, engine.dk),
            )
            words.append((SOURCE_OWN, own.read(core.map_address, core.map_read)))
        for t, owner in enumerate(shape.targets):
            if owner != self.index:
                for part in ("enable", "address", "data"):
                    m.d.comb += getattr(self, f"out_{owner}_{part}").eq(getattr(writer, f"map_{t}_{part}"))
        for k, inbox in enumerate(shape.inboxes):
            map_ = MapMemory(
                m, f"inbox{shape.inbox_suffix(inbox.filler)}", engine, inbox.byte_bits, inbox.words
            )
            self._fill(m, map_, inbox.filler)
            words.append((inbox_source(k), map_.read(core.map_address, core.map_read)))
        return words

    def _fill(self, m: Module, inbox: MapMemory, filler: int) -> None:
        """Connects who fills an inbox."""
        engine = self.shape.engine
        if filler == FROM_LOADER:
            word, write = self._loaded(m, LoadKind.INPUT, engine.dk)
            lanes = [write & (self.load_write_lane == lane) for lane in range(engine.dn)]
            enable = Cat(*(lane.replicate(len(inbox.runs)) for lane in lanes))
            inbox.write(enable, self.load_write_address, [word])
            return
        enable, address, data = (
            getattr(self, f"in{self.shape.inbox_suffix(filler)}_{part}")
            for part in ("enable", "address", "data")
        )
        inbox.write(enable, address, _lanes(data, engine.dk))

    def _sums(self, m: Module, residual: Residual, words: dict[int, Value], fields: Value) -> None:
        """Connects what is added to the results on their way to the writer."""
        core, writer = self.core, self.writer
        m.submodules.residual = residual
        m.d.comb += [
            residual.go.eq(core.go),
            residual.fields.as_value().eq(fields),
            core.offer.eq(residual.offer),
            core.residual_address.eq(residual.address),
            writer.valid.eq(residual.valid_out),
            writer.codes.eq(residual.codes_out),
        ]
        for name in ("prime", "read", *(f"{loop}_end" for loop in LOOP_ENDS)):
            m.d.comb += getattr(residual, name).eq(getattr(core, name))
        for name in ("raw_valid", "raw_lane_group", "valid", "codes"):
            m.d.comb += getattr(residual, name).eq(getattr(core, name))
        for source in residual.shape.sources:
            m.d.comb += getattr(residual, f"word_{source}").eq(words[source])

    def _window(self, m: Module, fields: Value) -> Value:
        window, core = self.window, self.core
        assert window is not None
        m.submodules.window = window
        shape = window.shape
        word, write = self._loaded(m, LoadKind.INPUT, shape.channels * shape.act_bits)
        m.d.comb += [
            window.go.eq(delayed(m, core.go, 1, "window_go") & (core.source == SOURCE_WINDOW)),
            window.fields.as_value().eq(fields),
            window.take.eq(core.take),
            window.done.eq(core.done & (core.source == SOURCE_WINDOW)),
            core.window_ready.eq(window.ready),
            window.select.eq(core.map_address),
            window.write.eq(Cat(*(write & (self.load_write_lane == lane) for lane in range(shape.dn)))),
            window.write_address.eq(self.load_write_address),
            window.write_data.eq(word),
        ]
        return window.word

    def _chosen(self, m: Module, words: list[tuple[int, Value]]) -> Value:
        """Returns the word of the tile's source."""
        out = words[-1][1] if words else Const(0, self.shape.engine.map_width_bits)
        for source, word in words[:-1]:
            is_this = Signal(name=f"is_source_{source}")
            m.d.sync += is_this.eq(self.core.source == source)
            out = select_bits(m, is_this, word, out, self.technology)
        return out


def _lanes(data: Value, dk: int) -> list[Value]:
    return [data[k * dk : (k + 1) * dk] for k in range(len(data) // dk)]
