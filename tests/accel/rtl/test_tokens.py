"""Tokens are neither lost nor made, whoever gives and takes them at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.rtl.loader_program import NO_TOKEN
from foldwright.accel.rtl.tokens import Tokens


def simulate(dut: Tokens, testbench: Any) -> None:
    sim = Simulator(dut)
    sim.add_clock(5e-9)
    sim.add_testbench(testbench)
    sim.run()


async def give(ctx: Any, dut: Tokens, giver: int, token: int) -> None:
    """Gives as soon as the giver's last gift is counted."""
    while not ctx.get(dut.give_ready) >> giver & 1:
        await ctx.tick()
    ctx.set(dut.give_valid, 1 << giver)
    ctx.set(dut.give_token, token << 7 * giver)
    await ctx.tick()
    ctx.set(dut.give_valid, 0)


@pytest.mark.parametrize("seed", range(3))
def test_every_token_is_taken_once_and_none_before_it_is_given(seed: int) -> None:
    dut, rng = Tokens(6, givers=4, takers=3), np.random.default_rng(seed)
    given, taken = Counter[int](), Counter[int]()

    async def bench(ctx: Any) -> None:
        wants = [int(t) for t in rng.integers(6, size=3)]
        for cycle in range(1500):
            valid, tokens = 0, 0
            for g in range(4):
                token = int(rng.integers(6))
                if ctx.get(dut.give_ready) >> g & 1 and rng.random() < 0.05 and cycle < 1200:
                    valid |= 1 << g
                    tokens |= token << 7 * g
                    given[token] += 1
            ctx.set(dut.give_valid, valid)
            ctx.set(dut.give_token, tokens)
            ctx.set(dut.want_valid, 0b111)
            ctx.set(dut.want_token, sum(t << 7 * k for k, t in enumerate(wants)))
            for k in range(3):
                if ctx.get(dut.grant) >> k & 1:
                    taken[wants[k]] += 1
                    assert taken[wants[k]] <= given[wants[k]]
            grants = ctx.get(dut.grant)
            await ctx.tick()
            wants = [int(rng.integers(6)) if grants >> k & 1 else t for k, t in enumerate(wants)]
            ctx.set(dut.want_token, sum(t << 7 * k for k, t in enumerate(wants)))
        assert not ctx.get(dut.error)
        left = {t: given[t] - taken[t] for t in range(6)}
        assert all(left[t] == 0 for t in wants), "who waits gets what is there"
        ctx.set(dut.want_valid, 0)
        await ctx.tick().repeat(4)
        ctx.set(dut.want_valid, 1)
        for token, count in left.items():
            ctx.set(dut.want_token, token)
            got = 0
            for _ in range(count * 8 + 20):
                got += ctx.get(dut.grant) & 1
                await ctx.tick()
            assert got == count

    simulate(dut, bench)
    assert sum(taken.values()) > 100


def test_all_givers_at_once_are_counted() -> None:
    dut = Tokens(4, givers=9, takers=1)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.give_valid, (1 << 9) - 1)
        ctx.set(dut.give_token, sum(2 << 7 * g for g in range(9)))
        await ctx.tick()
        ctx.set(dut.give_valid, 0)
        ctx.set(dut.want_valid, 1)
        ctx.set(dut.want_token, 2)
        got = 0
        for _ in range(60):
            got += ctx.get(dut.grant)
            await ctx.tick()
        assert got == 9
        assert not ctx.get(dut.error)

    simulate(dut, bench)


def test_a_token_can_be_taken_soon_after_it_is_given() -> None:
    dut = Tokens(4, givers=1, takers=1)

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(6)
        ctx.set(dut.want_valid, 1)
        await give(ctx, dut, 0, 0)
        waited = 1
        while not ctx.get(dut.grant):
            await ctx.tick()
            waited += 1
        assert waited <= 6
        ctx.set(dut.want_valid, 0)

    simulate(dut, bench)


def test_overflow_is_an_error_and_names_the_token() -> None:
    dut = Tokens(4, givers=2, takers=1)

    async def bench(ctx: Any) -> None:
        for _ in range(255):
            await give(ctx, dut, 1, 3)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.error)
        await give(ctx, dut, 1, 3)
        await ctx.tick().repeat(4)
        assert (ctx.get(dut.error), ctx.get(dut.error_token)) == (1, 3)

    simulate(dut, bench)


def test_a_gift_on_top_of_one_that_waits_is_an_error() -> None:
    dut = Tokens(4, givers=3, takers=1)

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(6)
        ctx.set(dut.give_valid, 0b111)
        ctx.set(dut.give_token, 2 << 14)
        await ctx.tick()
        await ctx.tick()
        await ctx.tick()
        assert ctx.get(dut.error)

    simulate(dut, bench)


def test_no_token_is_nobodys() -> None:
    dut = Tokens(4, givers=1, takers=1)

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(6)
        await give(ctx, dut, 0, NO_TOKEN)
        ctx.set(dut.want_valid, 1)
        for token in range(4):
            ctx.set(dut.want_token, token)
            for _ in range(6):
                assert not ctx.get(dut.grant)
                await ctx.tick()

    simulate(dut, bench)


def test_a_free_taker_passes_and_takes_what_is_there() -> None:
    """A token that is there is taken; without one, only a taker whose bit is set goes on."""
    dut = Tokens(4, givers=1, takers=2, passes=True)

    async def granted(ctx: Any, cycles: int = 12) -> int:
        ctx.set(dut.want_valid, 0b11)
        seen = 0
        for _ in range(cycles):
            await ctx.tick()
            seen |= ctx.get(dut.grant)
            ctx.set(dut.want_valid, 0b11 & ~seen)
        return seen

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(6)
        ctx.set(dut.want_token, 2 << 7 | 1)
        assert await granted(ctx) == 0b00
        ctx.set(dut.free, 0b01)
        assert await granted(ctx) == 0b01
        await give(ctx, dut, 0, 1)
        assert await granted(ctx) == 0b01
        ctx.set(dut.free, 0)
        assert await granted(ctx) == 0b00

    simulate(dut, bench)


def test_a_full_counter_is_no_error_while_closing() -> None:
    dut = Tokens(4, givers=2, takers=1, passes=True)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.closing, 1)
        for _ in range(260):
            await give(ctx, dut, 1, 3)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.error)

    simulate(dut, bench)
