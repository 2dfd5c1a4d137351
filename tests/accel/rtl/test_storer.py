"""Items come to DRAM one behind the other, are counted by round and by token, and are never lost unseen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.rtl.storer import Storer
from tests.accel.rtl.axi_memory import AxiMemory

BASE, TOKEN = 0x1FF0, 11


@dataclass
class Stored:
    tokens: list[int] = field(default_factory=list)  # items that had left when each was given
    rounds: list[int] = field(default_factory=list)  # items in memory when the count went up
    overflow: bool = False
    idle: bool = False


def store(
    dut: Storer, items: list[int], per_round: int, per_token: int, *, pause: float, rate: float
) -> tuple[Stored, AxiMemory]:
    """Offers an item with probability `rate` in each cycle, without asking whether there is room."""
    rng, stored = np.random.default_rng(len(items)), Stored()
    memory = AxiMemory(dut, dut.data_bits, rng, pause, prefix="m_axi_", reads=False)
    item_bytes = dut.beats * dut.data_bits // 8

    async def bench(ctx: Any) -> None:
        for port, value in (
            ("output_base", BASE),
            ("items_per_round", per_round),
            ("items_per_token", per_token),
        ):
            ctx.set(getattr(dut, port), value)
        ctx.set(dut.token, TOKEN)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        waiting = list(items)
        quiet_cycles = 0
        while quiet_cycles < 200:
            offers = bool(waiting) and rng.random() < rate
            ctx.set(dut.item_valid, int(offers))
            ctx.set(dut.item, waiting.pop(0) if offers else 0)
            ctx.set(dut.give_ready, int(rng.random() < 0.5))
            if ctx.get(dut.give_valid):
                assert ctx.get(dut.give_token) == TOKEN
                stored.tokens.append(ctx.get(dut.items))
            if ctx.get(dut.rounds) > len(stored.rounds):
                stored.rounds.append(sum(1 for a in memory.bytes_at if a >= BASE) // item_bytes)
            quiet_cycles = 0 if waiting else quiet_cycles + 1
            await ctx.tick()
        stored.overflow, stored.idle = bool(ctx.get(dut.overflow)), bool(ctx.get(dut.idle))

    sim = Simulator(dut)
    sim.add_clock(5e-9)
    sim.add_testbench(memory.serve, background=True)
    sim.add_testbench(bench)
    sim.run()
    return stored, memory


@pytest.mark.parametrize(("width", "data_bits"), [(12, 32), (32, 32), (100, 32), (64, 64), (130, 64)])
def test_items_lie_padded_one_behind_the_other(width: int, data_bits: int) -> None:
    dut = Storer(width, data_bits, depth=64)
    rng = np.random.default_rng(width)
    items = [int.from_bytes(rng.bytes(32)) % (1 << width) for _ in range(60)]
    stored, memory = store(dut, items, 20, 7, pause=0.2, rate=0.2 / dut.beats)
    size = dut.beats * data_bits // 8
    assert [memory.word(BASE + k * size, size) for k in range(60)] == items
    assert stored.rounds == [20, 40, 60], "all of a round is in memory when it counts, nothing of the next"
    assert len(stored.tokens) == 60 // 7
    assert all(count >= 7 * (k + 1) for k, count in enumerate(stored.tokens))
    assert stored.idle
    assert not stored.overflow


def test_no_tokens_without_a_number_between_them() -> None:
    stored, _ = store(Storer(32, 32, depth=64), list(range(30)), 30, 0, pause=0.2, rate=0.2)
    assert stored.tokens == []


def test_a_token_each_item() -> None:
    stored, memory = store(Storer(32, 32, depth=128), list(range(100)), 100, 1, pause=0.0, rate=0.9)
    assert len(stored.tokens) == 100
    assert [memory.word(BASE + 4 * k, 4) for k in range(100)] == list(range(100))


def test_an_item_without_room_is_an_overflow() -> None:
    stored, _ = store(Storer(64, 32, depth=16), list(range(60)), 60, 0, pause=0.2, rate=1.0)
    assert stored.overflow
