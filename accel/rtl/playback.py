"""Plays a tile on an engine in Amaranth's simulator: fills the memories, starts, and gathers what leaves.

Everything goes through the engine's ports, as the host would do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.sim import Simulator

from foldwright.accel.rtl.engine import PlanesEngine
from foldwright.accel.rtl.fetch import READ_CYCLES
from foldwright.errors import VerificationError

__all__ = ["Images", "Playback", "play_tile"]

Int64s = npt.NDArray[np.int64]
_PERIOD_S = 5e-9


@dataclass(frozen=True, slots=True)
class Images:
    """What the memories hold, each from address 0; `thresholds` is empty for engines without."""

    program: list[int]
    weights: list[int]
    thresholds: list[int]
    feature_map: list[int]


@dataclass(frozen=True, slots=True)
class Playback:
    """What left the engine, block by block.

    `first_cycle` and `intervals` are counted in clock cycles from the start pulse: when the first accumulators came,
    and how far apart blocks came. `busy_cycles` is how long the engine was busy, `run_cycles` how long its loops ran.
    """

    raw: Int64s  # (blocks, dn, dm) accumulators modulo 2^acc_bits
    codes: Int64s  # (blocks, dn, dm); empty without thresholds
    channel_blocks: Int64s  # (blocks,)
    first_cycle: int
    intervals: Int64s  # (blocks - 1,)
    busy_cycles: int
    run_cycles: int


def play_tile(dut: PlanesEngine, images: Images, blocks: int, most_cycles: int) -> Playback:
    """Runs the program on the images.

    Args:
        blocks: how many blocks must leave.
        most_cycles: when to give up.

    Raises:
        VerificationError: the engine is still busy after `most_cycles`, or another number of blocks left.
    """
    player = _Player(dut, images, most_cycles)
    sim = Simulator(dut)
    sim.add_clock(_PERIOD_S)
    sim.add_testbench(player.run)
    sim.run()
    groups = dut.drain_cycles
    got = len(player.raw) / groups
    if player.cycle >= most_cycles or got != blocks:
        raise VerificationError(
            f"engine {dut.engine.shape}: {got:g} blocks left in {player.cycle} cycles, {blocks} in at most "
            f"{most_cycles} were expected; the sequencer is stuck or its program is wrong"
        )
    return player.playback()


class _Player:
    def __init__(self, dut: PlanesEngine, images: Images, most_cycles: int) -> None:
        self.dut, self.images, self.most_cycles = dut, images, most_cycles
        self.cycle = 0
        self.raw: list[tuple[int, int, int]] = []  # cycle, channel block, word
        self.codes: list[int] = []

    async def run(self, ctx: Any) -> None:
        dut, images = self.dut, self.images
        await _fill(ctx, dut, "program", images.program)
        await _fill(ctx, dut, "weight", images.weights)
        if dut.stages:
            await _fill(ctx, dut, "threshold", images.thresholds)
        await _fill(ctx, dut, "map", images.feature_map, (1 << dut.engine.dn) - 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while ctx.get(dut.busy) and self.cycle < self.most_cycles:
            if ctx.get(dut.raw_valid):
                self.raw.append((self.cycle, ctx.get(dut.raw_block), ctx.get(dut.raw)))
            if dut.stages and ctx.get(dut.valid):
                self.codes.append(ctx.get(dut.codes))
            await ctx.tick()
            self.cycle += 1

    def playback(self) -> Playback:
        dut, e = self.dut, self.dut.engine
        first = self.raw[:: dut.drain_cycles]
        times = np.array([cycle for cycle, _, _ in first], dtype=np.int64)
        return Playback(
            raw=self._unpacked([word for _, _, word in self.raw], e.acc_bits),
            codes=self._unpacked(self.codes, dut.core.code_bits),
            channel_blocks=np.array([block for _, block, _ in first], dtype=np.int64),
            first_cycle=int(times[0]),
            intervals=np.diff(times),
            busy_cycles=self.cycle,
            run_cycles=self.cycle - len(self.images.program) - READ_CYCLES - dut.flush_cycles,
        )

    def _unpacked(self, words: list[int], bits: int) -> Int64s:
        """Returns words of lanes of channels as (blocks, dn, dm); lanes past the last are dropped."""
        e = self.dut.engine
        values = [word >> k * bits & (1 << bits) - 1 for word in words for k in range(e.drain_lanes * e.dm)]
        shaped = np.array(values, dtype=np.int64).reshape(-1, self.dut.drain_cycles * e.drain_lanes, e.dm)
        return shaped[:, : e.dn]


async def _fill(ctx: Any, dut: PlanesEngine, name: str, words: list[int], enable: int = 1) -> None:
    ctx.set(getattr(dut, f"{name}_write"), enable)
    for address, word in enumerate(words):
        ctx.set(getattr(dut, f"{name}_write_address"), address)
        ctx.set(getattr(dut, f"{name}_write_data"), word)
        await ctx.tick()
    ctx.set(getattr(dut, f"{name}_write"), 0)
