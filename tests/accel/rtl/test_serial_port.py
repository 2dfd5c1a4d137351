"""Bytes go over a serial line and come back, also where sender and receiver disagree a little about the time of a bit."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.sim import Simulator

from foldwright.accel.rtl.serial_port import SerialReceiver, SerialTransmitter

BYTES = [0x00, 0xFF, 0x55, 0xA3]


def _run(dut: Any, *benches: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("bit_cycles", [4, 7, 60])
def test_bytes_are_sent_as_frames(bit_cycles: int) -> None:
    dut = SerialTransmitter(bit_cycles)
    levels: list[int] = []

    async def send(ctx: Any) -> None:
        for byte in BYTES:
            ctx.set(dut.data, byte)
            ctx.set(dut.valid, 1)
            await ctx.tick().until(dut.ready)
        ctx.set(dut.valid, 0)

    async def watch(ctx: Any) -> None:
        for _ in range((10 * bit_cycles + 4) * len(BYTES)):
            _, _, level = await ctx.tick().sample(dut.tx)
            levels.append(level)

    _run(dut, send, watch)
    at, seen = 0, []
    while (at := _first_low(levels, at)) >= 0:
        bits = [levels[at + bit_cycles // 2 + k * bit_cycles] for k in range(10)]
        assert (bits[0], bits[9]) == (0, 1)
        seen.append(sum(bit << k for k, bit in enumerate(bits[1:9])))
        at += bit_cycles // 2 + 9 * bit_cycles
    assert seen == BYTES


def _first_low(levels: list[int], at: int) -> int:
    return next((k for k in range(at, len(levels)) if not levels[k]), -1)


@pytest.mark.parametrize(("bit_cycles", "sent_cycles"), [(4, 4), (60, 60), (60, 58), (60, 62)])
def test_bytes_are_received(bit_cycles: int, sent_cycles: int) -> None:
    dut, seen = SerialReceiver(bit_cycles), list[int]()

    async def send(ctx: Any) -> None:
        await ctx.tick().repeat(5)
        for byte in BYTES:
            for bit in (0, *(byte >> k & 1 for k in range(8)), 1):
                ctx.set(dut.rx, bit)
                await ctx.tick().repeat(sent_cycles)
        await ctx.tick().repeat(2 * bit_cycles)

    async def watch(ctx: Any) -> None:
        for _ in range(10 * sent_cycles * len(BYTES) + 2 * bit_cycles):
            _, _, valid, data = await ctx.tick().sample(dut.valid, dut.data)
            if valid:
                seen.append(data)

    _run(dut, send, watch)
    assert seen == BYTES


def test_a_glitch_and_a_byte_without_stop_bit_are_dropped() -> None:
    dut, seen = SerialReceiver(8), list[int]()

    async def send(ctx: Any) -> None:
        for bits in ([0] * 2 + [1] * 98, [0] * 88 + [1] * 100):
            for bit in bits:
                ctx.set(dut.rx, bit)
                _, _, valid, data = await ctx.tick().sample(dut.valid, dut.data)
                seen.extend([data] * valid)

    _run(dut, send)
    assert seen == []
