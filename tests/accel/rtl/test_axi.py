"""Beats pass the DRAM port unchanged and in order, whatever the memory does; errors are kept and `stop` leaves nothing owed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.rtl.axi import ReadMaster, Slice, WriteMaster
from tests.accel.rtl.axi_memory import AxiMemory

MOST_CYCLES = 20_000


def simulate(dut: Any, testbench: Any, *background: Any) -> None:
    sim = Simulator(dut)
    sim.add_clock(5e-9)
    for process in background:
        sim.add_testbench(process, background=True)
    sim.add_testbench(testbench)
    sim.run()


def read_all(
    data_bits: int, requests: list[tuple[int, int]], seed: int, pause: float, bad: range = range(0)
) -> tuple[list[int], AxiMemory, dict[str, int], int]:
    """Returns the beats of all requests, the memory, the error ports, and the cycles that it took."""
    dut, rng = ReadMaster(data_bits), np.random.default_rng(seed)
    memory = AxiMemory(dut, data_bits, rng, pause, writes=False, bad=bad)
    got: list[int] = []
    took = 0

    async def ask(ctx: Any) -> None:
        for address, beats in requests:
            ctx.set(dut.request_address, address)
            ctx.set(dut.request_beats, beats)
            ctx.set(dut.request_valid, 1)
            while not (await ctx.tick().sample(dut.request_ready))[2]:
                pass
            ctx.set(dut.request_valid, 0)

    async def take(ctx: Any) -> None:
        nonlocal took
        while len(got) < sum(beats for _, beats in requests) and took < MOST_CYCLES:
            ready = int(rng.random() >= pause)
            ctx.set(dut.ready, ready)
            _, _, valid, data = await ctx.tick().sample(dut.valid, dut.data)
            got.extend([data] if valid and ready else [])
            took += 1
        await ctx.tick().repeat(5)
        assert ctx.get(dut.quiet)
        errors.update(error=ctx.get(dut.error), address=ctx.get(dut.error_address))

    errors: dict[str, int] = {}
    simulate(dut, take, memory.serve, ask)
    return got, memory, errors, took


@pytest.mark.parametrize("data_bits", [32, 64])
@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_read_returns_beats_in_order_and_bursts_stay_in_pages(data_bits: int, pause: float) -> None:
    rng, size = np.random.default_rng(data_bits), data_bits // 8
    requests = [(int(rng.integers(0, 1 << 12)) * size, int(rng.integers(1, 60))) for _ in range(12)]
    requests += [(4096 - 3 * size, 7), (8192 - 16 * size, 40), (0xFFFFF000 - size, 2)]
    got, memory, errors, _ = read_all(data_bits, requests, 1, pause)
    assert got == [memory.word(a + k * size, size) for a, beats in requests for k in range(beats)]
    assert not errors["error"]
    assert memory.most_waiting > 1


def test_read_hides_latency_behind_outstanding_bursts() -> None:
    beats = 640
    *_, took = read_all(32, [(0, beats)], 2, 0.0)
    assert took < beats * 1.1 + 40


def test_read_error_is_kept_with_the_address_of_its_burst() -> None:
    *_, errors, _ = read_all(32, [(0x100, 8), (0x1000, 40), (0x2000, 4)], 3, 0.2, bad=range(0x1048, 0x1060))
    assert errors == {"error": 1, "address": 0x1040}


def test_read_stops_and_owes_nothing() -> None:
    dut, rng = ReadMaster(32), np.random.default_rng(4)
    memory = AxiMemory(dut, 32, rng, 0.3, writes=False)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.request_beats, 200)
        ctx.set(dut.request_valid, 1)
        await ctx.tick().repeat(30)
        ctx.set(dut.stop, 1)
        await ctx.tick()
        issued = len(memory.bursts)
        for _ in range(2000):
            assert not ctx.get(dut.valid)
            await ctx.tick()
        assert ctx.get(dut.quiet)
        assert 0 < len(memory.bursts) <= issued + 1

    simulate(dut, bench, memory.serve)


@pytest.mark.parametrize("data_bits", [32, 64])
@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_write_puts_beats_at_consecutive_addresses(data_bits: int, pause: float) -> None:
    dut, rng, size = WriteMaster(data_bits), np.random.default_rng(5), data_bits // 8
    memory = AxiMemory(dut, data_bits, rng, pause, reads=False)
    base, beats = 4096 - 5 * size, [int(x) for x in rng.integers(0, 1 << 32, 150)]
    flushed = {3, 4, 40, 149}

    async def bench(ctx: Any) -> None:
        ctx.set(dut.base, base)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        for k, beat in enumerate(beats):
            ctx.set(dut.valid, 1)
            ctx.set(dut.data, beat)
            ctx.set(dut.flush, int(k == 40))
            while not (await ctx.tick().sample(dut.ready))[2]:
                pass
            ctx.set(dut.flush, int(k in flushed and k != 40))
            if k in flushed:
                ctx.set(dut.valid, 0)
                await ctx.tick()
        ctx.set(dut.flush, 0)
        await ctx.tick().until(dut.idle)
        assert ctx.get(dut.quiet)
        assert not ctx.get(dut.error)

    simulate(dut, bench, memory.serve)
    assert [memory.word(base + k * size, size) for k in range(len(beats))] == beats
    lengths = [n for _, _, n in memory.bursts]
    assert lengths[:2] == [4, 1], "flushed, then up to the page"
    assert 16 in lengths


def test_write_error_is_kept() -> None:
    dut = WriteMaster(32)
    memory = AxiMemory(dut, 32, np.random.default_rng(6), 0.2, reads=False, bad=range(0x40, 0x80))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.valid, 1)
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.error)
        await ctx.tick().repeat(150)
        ctx.set(dut.valid, 0)
        ctx.set(dut.stop, 1)
        await ctx.tick().until(dut.quiet)
        assert ctx.get(dut.error)

    simulate(dut, bench, memory.serve)


def test_slice_keeps_order_and_loses_nothing() -> None:
    dut, rng = Slice(8), np.random.default_rng(7)
    sent: list[int] = []
    got: list[int] = []

    async def bench(ctx: Any) -> None:
        value, offered = 0, False
        for _ in range(400):
            if not offered:
                offered, value = bool(rng.random() < 0.6), int(rng.integers(256))
                ctx.set(dut.in_data, value)
                ctx.set(dut.in_valid, offered)
            ready = int(rng.random() < 0.6)
            ctx.set(dut.out_ready, ready)
            _, _, taken, valid, data = await ctx.tick().sample(dut.in_ready, dut.out_valid, dut.out_data)
            got.extend([data] if valid and ready else [])
            if offered and taken:
                sent.append(value)
                offered = False

    simulate(dut, bench)
    assert len(got) > 150
    assert got == sent[: len(got)]
    assert len(sent) - len(got) <= 2
