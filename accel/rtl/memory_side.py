"""All that stands between the engines, DRAM and the host: loader, storer, tokens and control.

Tokens are given by the loader (at once, and behind a transfer), by the storer, and by three outputs of each engine; loader
and engines take them. Everything but the configuration is reset at a start, the engines too, by `reset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib.wiring import Component, Flow, In, Out

from foldwright.accel.rtl.axi import join_ports, read_ports, write_ports
from foldwright.accel.rtl.control import Control, lite_ports
from foldwright.accel.rtl.loader import Loader
from foldwright.accel.rtl.loader_place import bus_ports
from foldwright.accel.rtl.loader_program import ENGINE_BITS, MOST_ENGINES, TOKEN_BITS
from foldwright.accel.rtl.registers import COUNTERS
from foldwright.accel.rtl.storer import Storer
from foldwright.accel.rtl.tokens import Tokens
from foldwright.errors import ConfigError

__all__ = ["GIVES_PER_ENGINE", "MemorySide", "MemorySideParams"]

GIVES_PER_ENGINE = 3
_CONFIGURES_LOADER = (
    "program_address",
    "program_length",
    "weights_base",
    "image_base",
    "round_bytes",
    "rounds",
)
_CONFIGURES_STORER = ("output_base", "items_per_round", "items_per_token")


@dataclass(frozen=True, slots=True)
class MemorySideParams:
    """Sizes.

    Attributes:
        data_bits: width of the DRAM port, 32 or 64.
        item_bits: width of a result item.
        outstanding: bursts on the way, for each direction.
        queue: transfers that are asked for before their data have come.
        runs_ahead: the loader does not stop behind the last round, but when the engines have ended for which it loads.
    """

    data_bits: int = 32
    engines: int = 1
    item_bits: int = 32
    item_depth: int = 512
    tokens: int = 32
    program_words: int = 1024
    outstanding: int = 8
    queue: int = 8
    runs_ahead: bool = False

    def __post_init__(self) -> None:
        wrong = [] if self.data_bits in (32, 64) else [f"data_bits {self.data_bits} is not 32 or 64"]
        least = {"engines": 1, "item_bits": 1, "item_depth": 2, "tokens": 1, "program_words": 4, "queue": 4}
        wrong += [
            f"{n} {getattr(self, n)} is below {low}" for n, low in least.items() if getattr(self, n) < low
        ]
        if self.runs_ahead and self.engines > MOST_ENGINES:
            wrong.append(f"engines {self.engines} is above {MOST_ENGINES}, for which a loader can run ahead")
        if self.tokens > 127:
            wrong.append(f"tokens {self.tokens} is above 127")
        if wrong:
            raise ConfigError(f"memory side: {'; '.join(wrong)}")


class _Ends(Component):  # type: ignore[misc,unused-ignore]
    """Remembers which engines have ended since the start.

    `engine` asks for one by its number plus 1, `fed` for all whose bit is set; `any` says that one has.
    """

    def __init__(self, engines: int) -> None:
        asked = {"busy": In(engines), "engine": In(ENGINE_BITS), "fed": In(MOST_ENGINES)}
        super().__init__({**asked, "ended": Out(1), "all": Out(1), "any": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        count = len(self.busy)
        before, ends = Signal(count, name="busy_before"), Signal(count, name="ends")
        m.d.sync += [before.eq(self.busy), ends.eq(ends | (before & ~self.busy))]
        m.d.sync += [self.any.eq(ends.any()), self.all.eq(self.fed.any() & ~(self.fed & ~ends).any())]
        m.d.sync += self.ended.eq(Cat(ends[e] & (self.engine == e + 1) for e in range(count)).any())
        return m


class MemorySide(Component):  # type: ignore[misc,unused-ignore]
    """The ports of the whole accelerator outside (`s_axi_*`, `m_axi_*`), those for memories and engines inside.

    Bit or field e of `want_*`, `engine_error` and `writer_error` is engine e's; its gives are `3 * e` to `3 * e + 2`.
    Gives are counted one a cycle: an output must not give again before as many cycles as there are givers have passed.
    `stop` holds from an error on until the reset that the host asks for.
    """

    def __init__(self, params: MemorySideParams) -> None:
        self.params = p = params
        self._loader = Loader(p.data_bits, p.program_words, p.outstanding, p.queue, runs_ahead=p.runs_ahead)
        self._storer = Storer(p.item_bits, p.data_bits, p.item_depth, p.outstanding)
        gives = GIVES_PER_ENGINE * p.engines
        self._tokens = Tokens(p.tokens, givers=3 + gives, takers=1 + p.engines, passes=p.runs_ahead)
        self._control = Control()
        master = read_ports(p.data_bits) | write_ports(p.data_bits)
        super().__init__(
            {
                **{f"s_axi_{name}": member for name, member in lite_ports().items()},
                **{f"m_axi_{name}": member for name, member in master.items()},
                **bus_ports(p.data_bits),
                "item_valid": In(1),
                "item": In(p.item_bits),
                "want_valid": In(p.engines),
                "want_token": In(p.engines * TOKEN_BITS),
                "grant": Out(p.engines),
                "give_valid": In(gives),
                "give_token": In(gives * TOKEN_BITS),
                "start_engines": Out(1),
                "rounds": Out(32),
                "stop": Out(1),
                "reset": Out(1),
                **({"engine_busy": In(p.engines)} if p.runs_ahead else {}),
                "progress": In(1),
                "engine_error": In(p.engines),
                "writer_error": In(p.engines),
                "counters": In(COUNTERS * 32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        control, loader, storer = self._control, self._loader, self._storer
        m.submodules.control = control
        m.submodules.loader = ResetInserter(control.reset)(loader)
        m.submodules.storer = ResetInserter(control.reset)(storer)
        m.submodules.tokens = ResetInserter(control.reset)(self._tokens)
        for name, member in lite_ports().items():
            outside, inside = getattr(self, f"s_axi_{name}"), getattr(control, f"s_axi_{name}")
            m.d.comb += outside.eq(inside) if member.flow is Flow.Out else inside.eq(outside)
        for part, ports in ((loader, read_ports), (storer, write_ports)):
            for name, member in ports(self.params.data_bits).items():
                outside, inside = getattr(self, f"m_axi_{name}"), getattr(part, f"m_axi_{name}")
                m.d.comb += outside.eq(inside) if member.flow is Flow.Out else inside.eq(outside)
        join_ports(m, self, loader, bus_ports(self.params.data_bits), prefix="")
        m.d.comb += [getattr(loader, name).eq(getattr(control, name)) for name in _CONFIGURES_LOADER]
        m.d.comb += [getattr(storer, name).eq(getattr(control, name)) for name in _CONFIGURES_STORER]
        m.d.comb += [
            storer.token.eq(control.store_token),
            storer.item_valid.eq(self.item_valid),
            storer.item.eq(self.item),
            self.start_engines.eq(loader.start_engines),
            self.rounds.eq(control.rounds),
            self.stop.eq(control.stop),
            self.reset.eq(control.reset),
        ]
        if self.params.runs_ahead:
            m.submodules.ends = ends = ResetInserter(control.reset)(_Ends(self.params.engines))
            m.d.comb += [ends.busy.eq(self.engine_busy), ends.engine.eq(loader.want_engine)]
            m.d.comb += [ends.fed.eq(loader.fed), loader.finish.eq(ends.all)]
            m.d.comb += [self._tokens.free.eq(ends.ended), self._tokens.closing.eq(ends.any)]
        m.d.comb += [x.eq(control.start) for x in (loader.start, storer.start)]
        m.d.comb += [x.eq(control.stop) for x in (loader.stop, storer.stop)]
        self._share_tokens(m)
        self._watch(m)
        return m

    def _share_tokens(self, m: Module) -> None:
        tokens, loader, storer = self._tokens, self._loader, self._storer
        m.d.comb += [
            tokens.give_valid.eq(
                Cat(loader.give_valid, loader.after_valid, storer.give_valid, self.give_valid)
            ),
            tokens.give_token.eq(
                Cat(loader.give_token, loader.after_token, storer.give_token, self.give_token)
            ),
            Cat(loader.give_ready, loader.after_ready, storer.give_ready).eq(tokens.give_ready),
            tokens.want_valid.eq(Cat(loader.want_valid, self.want_valid)),
            tokens.want_token.eq(Cat(loader.want_token, self.want_token)),
            Cat(loader.grant, self.grant).eq(tokens.grant),
        ]

    def _watch(self, m: Module) -> None:
        """Tells control what goes on; errors are registered once more."""
        control, loader, storer, tokens = self._control, self._loader, self._storer, self._tokens
        m.d.comb += [
            control.quiet.eq(loader.quiet & storer.quiet),
            control.rounds_done.eq(storer.rounds),
            control.items.eq(storer.items),
            control.stalled.eq(loader.waiting),
            control.counters.eq(self.counters),
        ]
        m.d.sync += [
            control.finished.eq(loader.done & storer.idle),
            control.progress.eq(self.progress | loader.progress | storer.progress),
        ]
        errors: tuple[tuple[str, Any, Any], ...] = (
            ("loader_instruction", loader.error, loader.error_detail),
            ("engine_instruction", self.engine_error.any(), self.engine_error),
            ("token", tokens.error, tokens.error_token),
            ("read", loader.read_error, loader.read_error_address),
            ("write", storer.write_error, storer.items),
            ("store_overflow", storer.overflow, storer.items),
            ("writer", self.writer_error.any(), self.writer_error),
        )
        for name, happened, detail in errors:
            late, told = Signal(name=f"{name}_late"), Signal(32, name=f"{name}_told")
            m.d.sync += [late.eq(happened), told.eq(detail)]
            m.d.comb += [getattr(control, name).eq(late), getattr(control, f"{name}_detail").eq(told)]
