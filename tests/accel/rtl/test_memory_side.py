"""Loader, storer, tokens and control together, as the host sees them: whole runs, every cause of an error, stop and restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.rtl.loader_program import (
    Instruction,
    Jump,
    Label,
    LoaderField,
    Statement,
    Transfer,
    loader_words,
)
from foldwright.accel.rtl.memory_side import MemorySide, MemorySideParams
from foldwright.accel.rtl.registers import (
    COUNTERS,
    IDENTITY,
    REGISTERS,
    VERSION,
    Command,
    ErrorCause,
    Register,
    Status,
)
from foldwright.errors import ConfigError
from tests.accel.rtl.axi_memory import AxiMemory, LiteHost, put_words

F, R = LoaderField, Register
PROGRAM, WEIGHTS, IMAGES, OUTPUT = 0x4000, 0x8000, 0x1_0000, 0x2_0FF0
READY, USED, STORED, NEVER = 1, 2, 3, 9
IMAGE_WORDS, ROUND_BYTES, ITEMS = 20, 0x100, 5
OKAY, SLVERR = 0, 2

SOUND: list[Statement] = [
    Instruction(F.START_ENGINES),
    Transfer(0, 1, pixels=8),
    Label("round"),
    Transfer(0, 0, image=True, pixels=IMAGE_WORDS, give_after=READY),
    Instruction(F.WAIT, USED),
    Instruction(F.WAIT, STORED),
    Instruction(F.ROUND),
    Jump("round"),
]
"""Each round loads an image for engine 0, and goes on when that is used and its results are stored."""


@dataclass
class System:
    """A memory side with DRAM, a host, and an engine 0 that hands a round's image words on, five sums of four."""

    data_bits: int = 32
    seed: int = 0
    pause: float = 0.2
    bad: range = range(0)
    program: list[int] = field(default_factory=lambda: loader_words(SOUND))

    def __post_init__(self) -> None:
        self.dut = MemorySide(
            MemorySideParams(
                data_bits=self.data_bits, engines=2, item_bits=40, item_depth=16, program_words=64, tokens=12
            )
        )
        rng = np.random.default_rng(self.seed)
        self.memory = AxiMemory(self.dut, self.data_bits, rng, self.pause, prefix="m_axi_", bad=self.bad)
        self.host = LiteHost(self.dut, np.random.default_rng(self.seed + 1))
        put_words(self.memory, PROGRAM, self.program)

    def simulate(self, test: Callable[[Any, System], Awaitable[None]]) -> None:
        async def bench(ctx: Any) -> None:
            await test(ctx, self)

        sim = Simulator(self.dut)
        sim.add_clock(5e-9)
        sim.add_testbench(self.memory.serve, background=True)
        sim.add_testbench(self.run_engine, background=True)
        sim.add_testbench(bench)
        sim.run()

    async def run_engine(self, ctx: Any) -> None:
        dut = self.dut
        words: list[int] = []
        beats: list[int] = []
        sending: list[int] = []
        while True:
            ctx.set(dut.want_valid, 0b01)
            ctx.set(dut.want_token, READY)
            _, _, shift, data, dest, write, grant, reset = await ctx.tick().sample(
                dut.shift, dut.data, dut.dest, dut.write, dut.grant, dut.reset
            )
            ctx.set(dut.give_valid, 0)
            ctx.set(dut.item_valid, 0)
            if reset:
                words, beats, sending = [], [], []
            if write and dest == 0:
                words.append(beats[-1])
            beats += [data] if shift else []
            if grant & 1:
                sending = [sum(words[k : k + 4]) for k in range(0, IMAGE_WORDS, 4)]
                words.clear()
                ctx.set(dut.give_valid, 0b010)
                ctx.set(dut.give_token, USED << 7)
            elif sending:
                ctx.set(dut.item_valid, 1)
                ctx.set(dut.item, sending.pop(0) % (1 << 40))

    async def configure(self, ctx: Any, rounds: int = 3, watchdog: int = 3000) -> None:
        values = {
            R.ROUNDS: rounds,
            R.WEIGHTS_BASE: WEIGHTS,
            R.IMAGE_BASE: IMAGES,
            R.ROUND_BYTES: ROUND_BYTES,
            R.OUTPUT_BASE: OUTPUT,
            R.ITEMS_PER_ROUND: ITEMS,
            R.ITEMS_PER_TOKEN: ITEMS,
            R.STORE_TOKEN: STORED,
            R.PROGRAM_ADDRESS: PROGRAM,
            R.PROGRAM_LENGTH: len(self.program),
            R.WATCHDOG: watchdog,
        }
        for register, value in values.items():
            assert await self.host.write(ctx, register, value) == OKAY
            assert await self.host.read(ctx, register) == value

    async def start(self, ctx: Any) -> None:
        assert await self.host.write(ctx, R.COMMAND, Command.START) == OKAY

    async def end(self, ctx: Any) -> Status:
        """Waits until nothing runs and returns the status."""
        for _ in range(3000):
            status = Status(await self.host.read(ctx, R.STATUS))
            if not status & (Status.BUSY | Status.STOPPING) and status:
                return status
        raise AssertionError("the run does not end")

    def results(self, rounds: int) -> list[int]:
        size = self.data_bits // 8
        item = -(-40 // self.data_bits) * size
        return [self.memory.word(OUTPUT + k * item, item) for k in range(rounds * ITEMS)]

    def expected(self, rounds: int) -> list[int]:
        size = self.data_bits // 8
        out = []
        for r in range(rounds):
            words = [self.memory.word(IMAGES + r * ROUND_BYTES + k * size, size) for k in range(IMAGE_WORDS)]
            out += [sum(words[k : k + 4]) % (1 << 40) for k in range(0, IMAGE_WORDS, 4)]
        return out


@pytest.mark.parametrize("data_bits", [32, 64])
@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_runs_end_with_all_results_in_memory(data_bits: int, pause: float) -> None:
    system = System(data_bits, pause=pause)

    async def test(ctx: Any, s: System) -> None:
        assert await s.host.read(ctx, R.STATUS) == 0
        await s.configure(ctx)
        ctx.set(s.dut.counters, sum((7 + k) << 32 * k for k in range(COUNTERS)))
        for _ in range(2):
            await s.start(ctx)
            assert await s.end(ctx) == Status.DONE
            assert s.results(3) == s.expected(3)
            assert await s.host.read(ctx, R.ROUNDS_DONE) == 3
            assert await s.host.read(ctx, R.ITEMS) == 3 * ITEMS
            assert await s.host.read(ctx, R.ERROR_CAUSE) == ErrorCause.NONE
            cycles = await s.host.read(ctx, R.CYCLES_LOW)
            assert 100 < cycles < 3000
            assert await s.host.read(ctx, R.CYCLES_HIGH) == 0
            assert 0 < await s.host.read(ctx, R.STALLS) < cycles
            assert await s.host.read(ctx, R.CYCLES_LOW) == cycles, "time stands still behind the end"
            for a in [a for a in s.memory.bytes_at if a >= OUTPUT]:
                del s.memory.bytes_at[a]
        for k in range(COUNTERS):
            assert await s.host.read(ctx, R.COUNTERS + 4 * k) == 7 + k

    system.simulate(test)


def test_host_sees_identity_and_is_refused_what_cannot_be() -> None:
    async def test(ctx: Any, s: System) -> None:
        host = s.host
        assert await host.read(ctx, R.IDENTITY) == IDENTITY
        assert await host.read(ctx, R.VERSION) == VERSION
        assert await host.read(ctx, 0xFFC) == 0
        assert await host.read(ctx, 0x58) == 0
        assert await host.write(ctx, R.ROUNDS, 5, strobe=0b0111) == SLVERR
        assert await host.read(ctx, R.ROUNDS) == 0
        assert await host.write(ctx, R.ITEMS, 5) == SLVERR
        await s.configure(ctx)
        await s.start(ctx)
        assert await host.write(ctx, R.ROUNDS, 99) == SLVERR
        assert await host.write(ctx, R.COMMAND, Command.START) == SLVERR
        assert await host.write(ctx, R.COMMAND, 0) == OKAY
        assert await s.end(ctx) == Status.DONE
        assert await host.read(ctx, R.ROUNDS) == 3

    System().simulate(test)


def test_an_answer_holds_until_the_host_takes_it() -> None:
    async def test(ctx: Any, s: System) -> None:
        await s.configure(ctx)
        await s.start(ctx)
        await ctx.tick().repeat(10)
        ctx.set(s.dut.s_axi_araddr, R.CYCLES_LOW)
        ctx.set(s.dut.s_axi_arvalid, 1)
        await ctx.tick().until(s.dut.s_axi_arready)
        ctx.set(s.dut.s_axi_arvalid, 0)
        await ctx.tick().until(s.dut.s_axi_rvalid)
        seen = []
        for _ in range(5):
            await ctx.tick()
            seen.append(ctx.get(s.dut.s_axi_rdata))
        assert seen[0] > 0
        assert seen == seen[:1] * 5  # though every cycle is counted
        ctx.set(s.dut.s_axi_rready, 1)
        assert await s.end(ctx) == Status.DONE

    System().simulate(test)


def test_addresses_in_the_map_are_told_apart() -> None:
    places = [info.register for info in REGISTERS if info.register is not R.COUNTERS]
    assert sorted(places) == sorted(set(Register) - {R.COUNTERS})


@dataclass(frozen=True)
class Fault:
    """How an error comes about, and what the host must read. `detail` None: not looked at."""

    cause: ErrorCause
    detail: int | None
    program: list[int] | None = None
    bad: range = range(0)
    ports: dict[str, int] = field(default_factory=dict)  # set while it runs


SECOND = IMAGES + ROUND_BYTES
WAITS: list[Statement] = [*SOUND[:2], Instruction(F.WAIT, NEVER)]
FAULTS = {
    "unknown loader instruction": Fault(
        ErrorCause.LOADER_INSTRUCTION, 0xEE00_0001, [F.START_ENGINES << 24, 0xEE00_1234]
    ),
    "empty loader program": Fault(ErrorCause.LOADER_INSTRUCTION, 0xFF00_0000, []),
    "engine": Fault(ErrorCause.ENGINE_INSTRUCTION, 0b10, ports={"engine_error": 0b10}),
    "token counter full": Fault(
        ErrorCause.TOKEN, 4, loader_words([Instruction(F.GIVE, 4), Instruction(F.GIVE, 4), Instruction(F.JUMP)])
    ),
    "gift lost": Fault(ErrorCause.TOKEN, 5, ports={"give_valid": 0b100000, "give_token": 5 << 35}),
    "nothing happens": Fault(ErrorCause.WATCHDOG, 0, loader_words(WAITS)),
    "read of weights": Fault(ErrorCause.READ, WEIGHTS, bad=range(WEIGHTS, WEIGHTS + 64)),
    "read of an image": Fault(ErrorCause.READ, SECOND + 64, bad=range(SECOND + 68, SECOND + 128)),
    "write": Fault(ErrorCause.WRITE, None, bad=range(OUTPUT + 40, OUTPUT + 100)),
    "store overflow": Fault(ErrorCause.STORE_OVERFLOW, None, ports={"item_valid": 1}),
    "writer": Fault(ErrorCause.WRITER, 0b01, ports={"writer_error": 0b01}),
    "first of two": Fault(ErrorCause.ENGINE_INSTRUCTION, 0b11, ports={"engine_error": 0b11, "writer_error": 0b11}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_stops_everything_and_a_reset_brings_it_back(name: str) -> None:
    fault = FAULTS[name]
    system = System(bad=fault.bad)
    if fault.program is not None:
        system.program = fault.program
        put_words(system.memory, PROGRAM, fault.program)

    async def test(ctx: Any, s: System) -> None:
        dut, host = s.dut, s.host
        await s.configure(ctx, watchdog=1500)
        await s.start(ctx)
        await ctx.tick().repeat(100)
        while fault.ports and not ctx.get(dut.stop):
            for port, value in fault.ports.items():
                ctx.set(getattr(dut, port), value)
            await ctx.tick()
        for port in fault.ports:
            ctx.set(getattr(dut, port), 0)
        assert await s.end(ctx) == Status.ERROR
        assert ctx.get(dut.stop)
        assert await host.read(ctx, R.ERROR_CAUSE) == fault.cause
        if fault.detail is not None:
            assert await host.read(ctx, R.ERROR_DETAIL) == fault.detail
        assert await host.write(ctx, R.COMMAND, Command.START) == SLVERR
        before = await host.read(ctx, R.CYCLES_LOW)
        await ctx.tick().repeat(50)
        bursts = len(s.memory.bursts)
        assert await host.read(ctx, R.CYCLES_LOW) == before
        assert len(s.memory.bursts) == bursts
        await _restart(ctx, s)

    system.simulate(test)


async def _restart(ctx: Any, s: System) -> None:
    """Resets, repairs what was wrong, and expects a whole run."""
    s.memory.bad = range(0)
    assert await s.host.write(ctx, R.COMMAND, Command.RESET) == OKAY
    while await s.host.read(ctx, R.STATUS):
        pass
    assert not ctx.get(s.dut.stop)
    assert await s.host.read(ctx, R.ERROR_CAUSE) == ErrorCause.NONE
    assert await s.host.read(ctx, R.IMAGE_BASE) == IMAGES, "the configuration stays"
    s.program = loader_words(SOUND)
    put_words(s.memory, PROGRAM, s.program)
    await s.configure(ctx)
    await s.start(ctx)
    assert await s.end(ctx) == Status.DONE
    assert s.results(3) == s.expected(3)


@pytest.mark.parametrize("cycles", [3, 60, 170, 300, 420])
def test_reset_in_the_middle_of_a_run_leaves_nothing_behind(cycles: int) -> None:
    async def test(ctx: Any, s: System) -> None:
        await s.configure(ctx)
        await s.start(ctx)
        await ctx.tick().repeat(cycles)
        await _restart(ctx, s)

    System(seed=cycles, pause=0.5).simulate(test)


def test_reset_waits_for_memory() -> None:
    async def test(ctx: Any, s: System) -> None:
        await s.configure(ctx, watchdog=0)
        await s.start(ctx)
        await ctx.tick().repeat(12)
        s.memory.silent = True
        await ctx.tick().repeat(300)
        assert await s.host.read(ctx, R.STATUS) == Status.BUSY, "no watchdog"
        await s.host.write(ctx, R.COMMAND, Command.RESET)
        await ctx.tick().repeat(300)
        assert await s.host.read(ctx, R.STATUS) == Status.STOPPING
        s.memory.silent = False
        await _restart(ctx, s)

    System().simulate(test)


def test_params_refuse_what_cannot_be_built() -> None:
    with pytest.raises(ConfigError) as caught:
        MemorySideParams(data_bits=48, engines=0, tokens=128)
    assert str(caught.value) == (
        "memory side: data_bits 48 is not 32 or 64; engines 0 is below 1; tokens 128 is above 127"
    )
