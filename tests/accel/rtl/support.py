"""What the RTL tests share: words of bits, and a clocked run of a component."""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.sim import Simulator

__all__ = ["play", "word"]


def word(bits: Any) -> int:
    """Returns an array of bits as an int, the first (in C order) lowest."""
    return sum(int(b) << i for i, b in enumerate(np.asarray(bits).ravel()))


def play(dut: Any, inputs: list[dict[str, int]], outputs: list[str], extra: int = 0) -> list[dict[str, int]]:
    """Returns the outputs in every cycle, sampled before the clock edge that ends it."""
    seen: list[dict[str, int]] = []

    async def bench(ctx: Any) -> None:
        for values in [*inputs, *([{}] * extra)]:
            for name, value in values.items():
                ctx.set(getattr(dut, name), value)
            seen.append({name: ctx.get(getattr(dut, name)) for name in outputs})
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return seen
