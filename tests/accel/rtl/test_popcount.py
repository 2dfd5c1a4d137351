"""The hand-mapped popcount against plain counting, and both technologies in the simulator."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.datapath import Arithmetic
from foldwright.accel.rtl.lutnet import _Lut
from foldwright.accel.rtl.popcount import MappedPopcount, Popcount, count_bits


def expected(x: np.ndarray, y: np.ndarray, arithmetic: Arithmetic, pa: int) -> np.ndarray:
    hits = ~(x ^ y) if arithmetic is Arithmetic.XNOR else x & y
    planes = hits.reshape(len(x), pa, -1).sum(axis=2)
    weighted: np.ndarray = planes @ (1 << np.arange(pa))
    return weighted


def evaluated(
    mapped: MappedPopcount, x: np.ndarray, y: np.ndarray, negate: np.ndarray, choice: int
) -> np.ndarray:
    off = np.zeros(len(x), dtype=bool)
    values = dict(zip(mapped.weights, x.T, strict=True)) | dict(zip(mapped.acts, y.T, strict=True))
    values |= {mapped.negate: negate, mapped.zero: off}
    for nets in mapped.planes:
        values |= {net: off | bool(choice >> i & 1) for i, net in enumerate(nets)}
    out = mapped.net.evaluate(values)
    bits = [out[net].astype(np.int64) << i for i, net in enumerate(mapped.count)]
    total: np.ndarray = np.sum(bits, axis=0)
    return total


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
@pytest.mark.parametrize("dk", range(4, 8))
def test_mapped_netlist_counts_every_input_of_a_small_word(arithmetic: Arithmetic, dk: int) -> None:
    vectors = (np.arange(1 << (2 * dk + 1))[:, None] >> np.arange(2 * dk + 1) & 1).astype(bool)
    x, y, negate = vectors[:, :dk], vectors[:, dk : 2 * dk], vectors[:, -1]
    got = evaluated(MappedPopcount(dk, arithmetic, (1,)), x, y, negate, 0)
    want = expected(x, y, arithmetic, 1)
    mask = (1 << count_bits(dk)) - 1
    assert (got == np.where(negate, ~want & mask, want)).all()


@pytest.mark.parametrize("planes", [(1,), (2,), (4,), (8,), (1, 2), (1, 4), (1, 2, 4), (2, 4), (1, 2, 4, 8)])
@pytest.mark.parametrize("dk", [8, 24, 64, 72, 136, 256, 384])
def test_mapped_netlist_counts_random_words(planes: tuple[int, ...], dk: int) -> None:
    rng = np.random.default_rng([dk, *planes])
    mapped = MappedPopcount(dk, Arithmetic.XNOR, planes)
    mask = (1 << count_bits(dk, planes)) - 1
    for choice, pa in enumerate(planes):
        x, y = rng.random((2, 500, dk)) < rng.random((2, 500, 1))
        x[0], y[0], x[1], y[1] = True, True, True, False  # the ends of the range
        negate = rng.random(500) < 0.5
        want = expected(x, y, Arithmetic.XNOR, pa)
        got = evaluated(mapped, x, y, negate, choice)
        assert (got == np.where(negate, ~want & mask, want)).all()


def test_mapped_netlist_needs_few_luts() -> None:
    """The figures that the cost model starts from; the plain counters of the literature give 78 and 295."""
    luts = {dk: MappedPopcount(dk, Arithmetic.AND, (1,)).net.luts for dk in (64, 72, 256)}
    assert luts[64] <= 70
    assert luts[72] <= 77
    assert luts[256] <= 265


def test_a_wrong_truth_table_is_found() -> None:
    mapped = MappedPopcount(16, Arithmetic.XNOR, (1,))
    cell = mapped.net._cells[0]
    assert isinstance(cell, _Lut)
    object.__setattr__(cell, "table6", cell.table6 ^ 1 << 0b101010)
    x = np.zeros((1, 16), dtype=bool)
    y = ~x
    assert evaluated(mapped, x, y, x[:, 0], 0)[0] != 0


@pytest.mark.parametrize("technology", ["generic", "xc7-model", "xc7-words"])
@pytest.mark.parametrize(("dk", "planes"), [(4, (1,)), (36, (1,)), (24, (2,)), (24, (1, 2)), (16, (1, 2, 4))])
def test_words_stream_through_at_one_a_cycle(technology: str, dk: int, planes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(dk)
    words = 12
    x, y = rng.integers(0, 2, (2, words, dk)).astype(bool)
    negate, zero = rng.integers(0, 2, words), rng.integers(0, 4, words) == 0
    negate[zero] = 0
    choice = len(planes) - 1
    dut = Popcount(dk, planes_per_word=planes, technology=technology)
    got: list[int] = []

    def word(bits: np.ndarray) -> int:
        return sum(int(b) << i for i, b in enumerate(bits))

    async def bench(ctx):  # type: ignore[no-untyped-def]
        ctx.set(dut.planes, choice)
        for t in range(words + dut.latency):
            if t < words:
                ctx.set(dut.weights, word(x[t]))
                ctx.set(dut.acts, word(y[t]))
            for port, values, stage in (
                (dut.negate, negate, dut.negate_stage),
                (dut.zero, zero, dut.latency - 1),
            ):
                ctx.set(port, int(values[t - stage]) if 0 <= t - stage < words else 0)
            if t >= dut.latency:
                got.append(ctx.get(dut.count))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    want = expected(x, y, Arithmetic.XNOR, planes[choice])
    mask = (1 << count_bits(dk, planes)) - 1
    want = np.where(zero, 0, np.where(negate == 1, ~want & mask, want))
    assert got == want.tolist()
