"""The host's side: an AXI4-Lite slave with the registers of `registers`, the state of a run, and its first error.

    0x00 identity        0x18 rounds            0x30 items per round     0x48 cycles, low half
    0x04 version         0x1c rounds done       0x34 items per token     0x4c cycles, high half
    0x08 command         0x20 weights base      0x38 store token         0x50 loader stalls
    0x0c status          0x24 image base        0x3c program address     0x54 items
    0x10 error cause     0x28 bytes per round   0x40 program length      0x60 counter 0
    0x14 error detail    0x2c output base       0x44 watchdog            0x7c counter 7

A start resets everything but the configuration, then begins. An error sets `stop` until the host resets; a reset stops,
waits until DRAM owes nothing more, and resets. Writing configuration while something runs, less than a whole
register, or a register that cannot be written answers SLVERR and changes nothing; so does a start that cannot be.
Unknown addresses read as 0.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.registers import (
    COUNTERS,
    IDENTITY,
    REGISTERS,
    VERSION,
    Command,
    ErrorCause,
    Register,
)

__all__ = ["Control", "lite_ports"]

LITE_ADDRESS_BITS = 12
_BITS = 32
_SLVERR = 0b10
_CONFIGURATION = {info.register: info.bits for info in REGISTERS if info.writable}
_ERRORS = tuple(cause for cause in ErrorCause if cause is not ErrorCause.NONE)


def lite_ports() -> dict[str, Any]:
    """Returns the members of AXI4-Lite as a slave has them."""
    address = {"addr": In(LITE_ADDRESS_BITS), "prot": In(3), "valid": In(1), "ready": Out(1)}
    return {
        **{f"aw{name}": member for name, member in address.items()},
        **{"wdata": In(_BITS), "wstrb": In(_BITS // 8), "wvalid": In(1), "wready": Out(1)},
        **{"bresp": Out(2), "bvalid": Out(1), "bready": In(1)},
        **{f"ar{name}": member for name, member in address.items()},
        **{"rdata": Out(_BITS), "rresp": Out(2), "rvalid": Out(1), "rready": In(1)},
    }


class Control(Component):  # type: ignore[misc,unused-ignore]
    """Registers, run state and errors.

    `reset` lasts a cycle, and `start` is the cycle behind it where a run begins. Every cause has an input of its name
    (`read`, `token` ...) and one for its detail, `read_detail`. `quiet` says that DRAM owes nothing; `finished` that loader and
    storer have nothing left.
    """

    def __init__(self) -> None:
        names = [cause.name.lower() for cause in _ERRORS]
        super().__init__(
            {
                "start": Out(1),
                "stop": Out(1),
                "reset": Out(1),
                "quiet": In(1),
                "finished": In(1),
                "progress": In(1),
                "rounds_done": In(_BITS),
                "stalled": In(1),
                "items": In(_BITS),
                "counters": In(COUNTERS * _BITS),
                **{name: In(1) for name in names if name != "watchdog"},
                **{f"{name}_detail": In(_BITS) for name in names if name != "watchdog"},
                **{register.name.lower(): Out(bits) for register, bits in _CONFIGURATION.items()},
                **{f"s_axi_{name}": member for name, member in lite_ports().items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        begin, abort = Signal(name="begin"), Signal(name="abort")
        busy, failed = Signal(name="busy"), Signal(name="failed")
        done, stopping = Signal(name="done"), Signal(name="stopping")
        cause, detail = self._errors(m, busy, failed)
        self._states(m, begin, abort, busy, failed, done, stopping)
        low, high, stalls = self._count(m, busy)
        idle = Signal(name="idle")
        m.d.comb += idle.eq(~busy & ~failed & ~stopping & ~self.reset & ~self.start)
        self._write(m, idle, begin, abort)
        values = {
            Register.IDENTITY: IDENTITY,
            Register.VERSION: VERSION,
            Register.STATUS: Cat(busy, done, failed, stopping),
            Register.ERROR_CAUSE: cause,
            Register.ERROR_DETAIL: detail,
            Register.ROUNDS_DONE: self.rounds_done,
            Register.CYCLES_LOW: low,
            Register.CYCLES_HIGH: high,
            Register.STALLS: stalls,
            Register.ITEMS: self.items,
            **{register: getattr(self, register.name.lower()) for register in _CONFIGURATION},
        }
        places: dict[int, Value | int] = {int(register): value for register, value in values.items()}
        for k in range(COUNTERS):
            places[Register.COUNTERS + 4 * k] = self.counters.word_select(k, _BITS)
        self._read(m, places)
        return m

    def _states(
        self,
        m: Module,
        begin: Value,
        abort: Value,
        busy: Signal,
        failed: Signal,
        done: Signal,
        stopping: Signal,
    ) -> None:
        """One of idle (none set), reset, busy, failed and stopping; `again` is a run behind the reset."""
        again, complete = Signal(name="again"), Signal(name="complete")
        m.d.sync += complete.eq(busy & self.finished & (self.rounds_done == self.rounds))
        m.d.sync += self.stop.eq(failed | stopping)
        m.d.sync += [self.reset.eq(0), self.start.eq(self.reset & again)]
        with m.If(abort):
            m.d.sync += [stopping.eq(1), busy.eq(0), done.eq(0), again.eq(0)]
        with m.Elif(stopping), m.If(self.quiet & self.stop):
            m.d.sync += [stopping.eq(0), failed.eq(0), self.reset.eq(1)]
        with m.Elif(begin):
            m.d.sync += [self.reset.eq(1), again.eq(1), done.eq(0)]
        with m.Elif(self.start):
            m.d.sync += [busy.eq(1), again.eq(0)]
        with m.Elif(busy & self._failing):
            m.d.sync += [busy.eq(0), failed.eq(1)]
        with m.Elif(busy & complete):
            m.d.sync += [busy.eq(0), done.eq(1)]

    def _errors(self, m: Module, busy: Signal, failed: Signal) -> tuple[Signal, Signal]:
        """Keeps the first error of a run."""
        cause, detail = Signal(len(ErrorCause).bit_length(), name="cause"), Signal(_BITS, name="detail")
        self._failing, silent = Signal(name="failing"), Signal(_BITS, name="silent")
        late = Signal(name="late")
        m.d.sync += silent.eq(Mux(busy & ~self.progress, silent + 1, 0))
        m.d.sync += late.eq(busy & (self.watchdog != 0) & (silent == self.watchdog))
        with m.If(self.reset):
            m.d.sync += [cause.eq(ErrorCause.NONE), detail.eq(0)]
        for error in reversed(_ERRORS):
            name = error.name.lower()
            watchdog = error is ErrorCause.WATCHDOG
            with m.If(late if watchdog else getattr(self, name)):
                m.d.comb += self._failing.eq(1)
                with m.If(busy):
                    m.d.sync += cause.eq(error)
                    m.d.sync += detail.eq(self.rounds_done if watchdog else getattr(self, f"{name}_detail"))
        return cause, detail

    def _count(self, m: Module, busy: Signal) -> tuple[Signal, Signal, Signal]:
        """Returns cycles (low half, upper half as it was when the low one was read) and stalls."""
        cycles, stalls = Signal(2 * _BITS, name="cycles"), Signal(_BITS, name="stalls")
        self._upper = upper = Signal(_BITS, name="cycles_kept")
        self._cycles = cycles
        with m.If(self.reset):
            m.d.sync += [cycles.eq(0), stalls.eq(0)]
        with m.Elif(busy):
            m.d.sync += [cycles.eq(cycles + 1), stalls.eq(stalls + self.stalled)]
        return cycles[:_BITS], upper, stalls

    def _write(self, m: Module, idle: Signal, begin: Signal, abort: Signal) -> None:
        s = {name: getattr(self, f"s_axi_{name}") for name in lite_ports()}
        word, known = Signal(LITE_ADDRESS_BITS - 2, name="write_word"), Signal(name="write_known")
        data, whole = Signal(_BITS, name="write_data"), Signal(name="write_whole")
        addressed, filled = Signal(name="addressed"), Signal(name="filled")
        act, both = Signal(name="write_now"), Signal(name="write_both")
        chosen = {register: Signal(name=f"writes_{register.name.lower()}") for register in _CONFIGURATION}
        command = Signal(name="writes_command")
        m.d.comb += both.eq(addressed & filled & ~s["bvalid"] & ~act)
        m.d.sync += act.eq(both)  # what is written is decoded meanwhile
        m.d.sync += [flag.eq(word == register >> 2) for register, flag in chosen.items()]
        m.d.sync += command.eq(word == Register.COMMAND >> 2)
        m.d.comb += [s["awready"].eq(~addressed), s["wready"].eq(~filled)]
        with m.If(s["awvalid"] & ~addressed):
            m.d.sync += [addressed.eq(1), word.eq(s["awaddr"][2:])]
        with m.If(s["wvalid"] & ~filled):
            m.d.sync += [filled.eq(1), data.eq(s["wdata"]), whole.eq(s["wstrb"].all())]
        with m.If(s["bready"]):
            m.d.sync += s["bvalid"].eq(0)
        with m.If(act):
            m.d.sync += [
                addressed.eq(0),
                filled.eq(0),
                s["bvalid"].eq(1),
                s["bresp"].eq(Mux(known, 0, _SLVERR)),
            ]
        wants_start, wants_reset = (data & Command.START).any(), (data & Command.RESET).any()
        settable = Cat(*chosen.values()).any() & idle
        obeyed = command & (wants_reset | idle | ~wants_start)
        m.d.comb += [
            known.eq(whole & (settable | obeyed)),
            abort.eq(act & whole & command & wants_reset),
            begin.eq(act & whole & command & wants_start & ~wants_reset & idle),
        ]
        for register, flag in chosen.items():
            with m.If(act & whole & idle & flag):
                m.d.sync += getattr(self, register.name.lower()).eq(data)

    def _read(self, m: Module, values: dict[int, Value | int]) -> None:
        """Answers two cycles behind the address."""
        s = {name: getattr(self, f"s_axi_{name}") for name in lite_ports()}
        word, asked = Signal(LITE_ADDRESS_BITS - 2, name="read_word"), Signal(name="read_asked")
        m.d.comb += s["arready"].eq(~asked & ~s["rvalid"])
        with m.If(s["arvalid"] & s["arready"]):
            m.d.sync += [asked.eq(1), word.eq(s["araddr"][2:])]
        with m.If(s["rready"]):
            m.d.sync += s["rvalid"].eq(0)
        last = max(values) >> 2
        table = Array(values.get(4 * k, 0) for k in range(last + 1))
        bits = last.bit_length()
        with m.If(asked):
            m.d.sync += [asked.eq(0), s["rvalid"].eq(1)]
            m.d.sync += s["rdata"].eq(Mux(word > last, 0, table[word[:bits]]))
            with m.If(word == Register.CYCLES_LOW >> 2):
                m.d.sync += self._upper.eq(self._cycles[_BITS:])
