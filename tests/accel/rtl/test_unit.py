"""A unit computes dot products of integers plane pair by plane pair."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.datapath import Arithmetic
from foldwright.accel.rtl.unit import Unit


def to_word(bits: np.ndarray) -> int:
    return sum(int(b) << i for i, b in enumerate(bits))


@pytest.mark.parametrize("technology", ["generic", "xc7-model", "xc7-words"])
@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_blocks_of_signed_products_follow_each_other_without_a_gap(
    technology: str, arithmetic: Arithmetic
) -> None:
    """3-bit two's complement (AND) or odd weights (XNOR) by signed 2-bit activations, 2 words, 3 blocks."""
    rng = np.random.default_rng(5)
    dk, words, blocks, wb, ab = 12, 2, 3, 3, 2
    dut = Unit(dk, 14, arithmetic=arithmetic, technology=technology)
    wp = rng.integers(0, 2, (blocks, wb, words, dk))
    xp = rng.integers(0, 2, (blocks, ab, words, dk))
    x = xp[:, 0] - 2 * xp[:, 1]
    if arithmetic is Arithmetic.AND:
        want = ((wp[:, 0] + 2 * wp[:, 1] - 4 * wp[:, 2]) * x).sum(axis=(1, 2))
    else:
        odd = ((2 * wp - 1) * (1 << np.arange(wb))[None, :, None, None]).sum(axis=1)
        minus_ones = ((1 - wp) * (1 << np.arange(wb))[None, :, None, None]).sum(axis=(1, 2, 3))
        want = (odd * x).sum(axis=(1, 2)) - minus_ones  # acc = value + sum(c_k) * N, here sum(c_k) = -1
    pairs = sorted(((i, g) for i in range(wb) for g in range(ab)), key=lambda p: -p[0] - p[1])
    steps = []
    for b in range(blocks):
        last = None
        for i, g in pairs:
            for w in range(words):
                sign = (g == ab - 1) ^ (i == wb - 1 and arithmetic is Arithmetic.AND)
                shift = last is not None and last - i - g == 1
                steps.append(
                    (to_word(wp[b, i, w]), to_word(xp[b, g, w]), int(sign), int(shift), int(last is None))
                )
                last = i + g
    got = []

    async def bench(ctx):  # type: ignore[no-untyped-def]
        for t in range(len(steps) + dut.latency):
            if t < len(steps):
                ctx.set(dut.weights, steps[t][0])
                ctx.set(dut.acts, steps[t][1])
            at = {"negate": (2, dut.negate_stage), "minus": (2, dut.latency - 1)}
            at |= {"shift": (3, dut.latency - 1), "clear": (4, dut.latency - 1)}
            for name, (field, stage) in at.items():
                ctx.set(getattr(dut, name), steps[t - stage][field] if 0 <= t - stage < len(steps) else 0)
            ctx.set(dut.zero, int(not 0 <= t - (dut.latency - 2) < len(steps)))
            await ctx.tick()
            done = t + 1 - dut.latency + 1
            if done > 0 and done % (len(pairs) * words) == 0 and done <= len(steps):
                got.append(ctx.get(dut.acc))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert got == (want % (1 << 14)).tolist()
