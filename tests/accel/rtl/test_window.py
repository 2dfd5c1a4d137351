"""The window delivers every packed word of every block, as early as `window_time` says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.rtl.window import Window, WindowShape
from foldwright.accel.window_time import (
    first_take,
    ready_after,
    row_stall,
    strip_words,
    window_interval,
)
from foldwright.errors import ConfigError


@dataclass(frozen=True)
class Job:
    """A tile and its input. `frames` counts frames for column lanes, groups of dn frames for batch lanes."""

    shape: WindowShape
    values: np.ndarray  # int64 (frames, channels, height, width)
    pad_top: int
    blocks: int
    first_out_row: int
    rows: int
    columns: int
    base: int
    row_words: int

    @property
    def frame_words(self) -> int:
        return self.row_words * (int(self.values.shape[2]) + self.pad_top)

    @property
    def frame_groups(self) -> int:
        return len(self.values) // (self.shape.dn if self.shape.is_batch else 1)

    def fields(self) -> dict[str, int]:
        s, limit = self.shape, self.shape.line_words
        skipped = self.first_out_row * s.stride[0]
        return {
            "blocks": self.blocks,
            "frames": self.frame_groups,
            "rows": self.rows,
            "columns": self.columns,
            "base": (self.base + skipped * self.row_words) % limit,
            "row_words": self.row_words,
            "frame_words": self.frame_words,
            "first_row": (skipped - self.pad_top) % (1 << 16),
            "in_height": self.values.shape[2],
            "in_width": self.values.shape[3],
        }

    def writes(self) -> list[tuple[int, int, int]]:
        """Lane, address and data of every pixel in the line memory."""
        s, out = self.shape, []
        (_, sx), (count, _, height, width) = s.stride, self.values.shape
        for f in range(count):
            for y in range(height):
                for x in range(width):
                    lane, group, offset = f % s.dn, f // s.dn, x
                    if not s.is_batch:
                        column, phase = divmod(x + s.pad_left, sx)
                        lane, group, offset = column % s.dn, f, column // s.dn * sx + phase
                    at = self.base + group * self.frame_words + (y + self.pad_top) * self.row_words + offset
                    pixel = sum(int(v) << c * s.act_bits for c, v in enumerate(self.values[f, :, y, x]))
                    out.append((lane, at % s.line_words, pixel))
        return out

    def words(self) -> list[list[int]]:
        """Every word of every block."""
        return [
            self._words(f, y, x)
            for _ in range(self.blocks)
            for f in range(self.frame_groups)
            for y in range(self.first_out_row, self.first_out_row + self.rows)
            for x in range(self.columns)
        ]

    def _words(self, frame: int, y: int, x: int) -> list[int]:
        s = self.shape
        each = s.dk // s.pa
        words = np.zeros((s.plane_groups, s.words, s.dn, s.pa, each), dtype=np.int64)
        for lane in range(s.dn):
            f, column = (frame * s.dn + lane, x) if s.is_batch else (frame, x * s.dn + lane)
            packed = np.zeros(s.words * each, dtype=np.int64)
            packed[: s.packed_channels] = self._window(f, y, column)
            for plane in range(s.act_bits):
                words[plane // s.pa, :, lane, plane % s.pa] = (packed >> plane & 1).reshape(s.words, each)
        flat = words.reshape(s.plane_groups * s.words, -1)
        return [sum(int(b) << i for i, b in enumerate(row)) for row in flat]

    def _window(self, frame: int, y: int, x: int) -> np.ndarray:
        s, out = self.shape, []
        _, channels, height, width = self.values.shape
        for ky in range(s.kernel[0]):
            for kx in range(s.kernel[1]):
                at_y, at_x = y * s.stride[0] - self.pad_top + ky, x * s.stride[1] - s.pad_left + kx
                inside = 0 <= at_y < height and 0 <= at_x < width
                pixel = self.values[frame, :, at_y, at_x] if inside else np.zeros(channels, dtype=np.int64)
                out.append(pixel ^ (1 << s.act_bits - 1) if s.flip_sign else pixel)
        return np.concatenate(out)


def job_of(shape: WindowShape, rng: np.random.Generator, frame_groups: int = 2, blocks: int = 2) -> Job:
    """A tile of a few rows of random input."""
    height, width = int(rng.integers(2, 7)), int(rng.integers(2, 9))
    frames = frame_groups * (shape.dn if shape.is_batch else 1)
    values = rng.integers(0, 1 << shape.act_bits, (frames, shape.channels, height, width))
    pad_top = int(rng.integers(0, shape.kernel[0]))
    reach = width + 2 * shape.pad_left - shape.kernel[1]
    columns = max(1, reach // shape.stride[1] + 1)
    if not shape.is_batch:
        columns = -(-columns // shape.dn)
    stored = (-(-(width + shape.pad_left) // shape.stride[1]) // shape.lanes_across + 1) * shape.stride[1]
    job = Job(
        shape,
        values,
        pad_top,
        blocks,
        int(rng.integers(0, 2)),
        int(rng.integers(1, 4)),
        columns,
        int(rng.integers(0, 50)),
        stored + width + int(rng.integers(0, 3)),
    )
    most = job.base + job.frame_groups * job.frame_words + 8
    return replace(job, shape=replace(shape, line_words=most))


def random_shape(rng: np.random.Generator) -> WindowShape:
    pa = int(rng.choice([1, 1, 2, 4]))
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    channels, act_bits = int(rng.integers(1, 5)), int(rng.integers(1, 9))
    words = int(rng.integers(1, 4))
    each = -(-channels * kernel[0] * kernel[1] // words)
    return WindowShape(
        channels=channels,
        act_bits=act_bits,
        kernel=kernel,
        stride=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        pad_left=int(rng.integers(0, kernel[1])),
        dk=pa * (each + int(rng.integers(0, 3))),
        pa=pa,
        dn=int(rng.integers(1, 5)),
        is_batch=bool(rng.integers(0, 2)),
        line_words=1,
        flip_sign=bool(rng.integers(0, 2)),
    )


@dataclass
class Played:
    """Of every block of all tiles: when it could be taken, when it was, and what the selects gave."""

    ready: list[int]
    take: list[int]
    go: list[int]
    words: list[dict[int, int]]


def play(job: Job, cycles: int, rng: np.random.Generator, delay: float = 0.0, tiles: int = 1) -> Played:
    """Runs a tile as a sequencer would, blocks of `cycles` cycles, delayed at random with this probability.

    Further tiles, all alike, begin up to three cycles behind the last cycle of the tile before, at the earliest in it.
    """
    dut, played = Window(job.shape), Played([], [], [], [])
    options = job.shape.plane_groups * job.shape.words
    blocks = job.blocks * job.frame_groups * job.rows * job.columns

    async def bench(ctx: Any) -> None:
        s = job.shape
        old = rng.integers(
            0, 1 << s.line_bits, (s.dn, s.line_words), dtype=np.uint64
        )  # what padding must hide
        refuse = [(lane, address, int(data)) for (lane, address), data in np.ndenumerate(old)]
        for lane, address, data in [*refuse, *job.writes()]:
            ctx.set(dut.write, 1 << lane)
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_data, data)
            await ctx.tick()
        ctx.set(dut.write, 0)
        now, ends, starts, seen_ready = 0, 0, 0, False
        selects: dict[int, tuple[int, int]] = {}
        while len(played.take) < tiles * blocks or now < max(selects) + 4:
            running = len(played.take) < len(played.go) * blocks
            if running and now >= ends and ctx.get(dut.ready):
                if not seen_ready:
                    played.ready.append(now)
                seen_ready = rng.random() < delay
                if not seen_ready:
                    order = [*rng.permutation(options), *rng.integers(0, options, cycles)][:cycles]
                    selects |= {now + 3 + k: (len(played.take), int(s)) for k, s in enumerate(order)}
                    played.take.append(now)
                    played.words.append({})
                    ends = now + cycles
                    starts = ends - 1 + int(rng.integers(0, 4))
            go = now == starts and len(played.take) == len(played.go) * blocks < tiles * blocks
            if go:
                played.go.append(now)
                ctx.set(dut.fields, job.fields())
            ctx.set(dut.go, go)
            ctx.set(dut.take, played.take[-1:] == [now])
            ctx.set(dut.done, now == ends - 1)
            ctx.set(dut.select, selects[now][1] if now in selects else int(rng.integers(0, options)))
            if now - 2 in selects:
                block, select = selects[now - 2]
                played.words[block][select] = ctx.get(dut.word)
            await ctx.tick()
            now += 1
            assert now < 100_000, "the window is never ready"

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return played


def compare(job: Job, played: Played, tiles: int = 1) -> None:
    want = job.words() * tiles
    assert len(played.words) == len(want)
    for block, (seen, words) in enumerate(zip(played.words, want, strict=True)):
        for select, word in seen.items():
            assert word == words[select], f"block {block}, select {select}"


def starts_row(job: Job, block: int) -> bool:
    return block % job.columns == 0


@pytest.mark.parametrize("seed", range(60))
def test_every_word_is_right_at_the_first_cycle_that_is_ready(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    shape = random_shape(rng)
    job = job_of(shape, rng)
    options = shape.plane_groups * shape.words
    cycles = options + int(rng.integers(0, 4)) if seed % 2 else int(rng.integers(1, 8))
    played = play(job, cycles, rng)
    compare(job, played)
    kernel, sx, lanes = shape.kernel, shape.stride[1], shape.lanes_across
    assert played.take[0] - played.go[0] == first_take(kernel, sx, lanes, shape.is_deep)
    interval, stall = window_interval(kernel, sx, lanes, cycles), row_stall(kernel, sx, lanes, cycles)
    want = [interval + stall * starts_row(job, block) for block in range(1, len(played.take))]
    assert np.diff(played.take).tolist() == want


@pytest.mark.parametrize("seed", range(40))
def test_delayed_takes_and_a_second_tile_change_no_word(seed: int) -> None:
    rng = np.random.default_rng([seed, 2])
    shape = random_shape(rng)
    job = job_of(shape, rng)
    cycles = int(rng.integers(1, 2 + shape.plane_groups * shape.words))
    played = play(job, cycles, rng, delay=float(rng.choice([0.3, 0.9])), tiles=2)
    compare(job, played, tiles=2)
    blocks = len(played.take) // 2
    for tile in range(2):
        ready, takes = (x[tile * blocks : (tile + 1) * blocks] for x in (played.ready, played.take))
        able = played.go[tile] + first_take(shape.kernel, shape.stride[1], shape.lanes_across, shape.is_deep)
        for block in range(blocks):
            assert ready[block] == able
            able = ready_after(
                shape.kernel,
                shape.stride[1],
                shape.lanes_across,
                cycles,
                takes[block],
                able,
                starts_row(job, block + 1),
            )


@pytest.mark.parametrize("is_batch", [True, False])
def test_a_first_layer_of_three_channels_and_eight_bits(is_batch: bool) -> None:
    rng = np.random.default_rng(3)
    shape = WindowShape(3, 8, (3, 3), (1, 1), 1, 28, 1, 9, is_batch, 256)
    job = job_of(shape, rng)
    played = play(job, 8, rng)
    compare(job, played)
    assert all(len(seen) == 8 for seen in played.words)
    assert window_interval((3, 3), 1, shape.lanes_across, 8) == 8
    assert row_stall((3, 3), 1, shape.lanes_across, 8) == (6 if is_batch else 3)


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", range(1, 9))
def test_a_strip_ends_with_the_last_word_that_some_lane_needs(kernel: int, stride: int, lanes: int) -> None:
    columns = [lane * stride + tap for lane in range(lanes) for tap in range(kernel)]
    needed = {(c // stride // lanes) * stride + c % stride for c in columns}
    assert strip_words(kernel, stride, lanes) == max(needed) + 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dk": 27, "pa": 2}, "window words of 27 bits do not hold 2 planes; pick a divisor"),
        ({"channels": 0}, "every size must be at least 1, the padding at least 0"),
        ({"pad_left": -1}, "every size must be at least 1, the padding at least 0"),
    ],
)
def test_shapes_that_cannot_be_built_say_why(changed: dict[str, int], message: str) -> None:
    shape = WindowShape(3, 8, (3, 3), (1, 1), 1, 28, 1, 9, True, 256)
    with pytest.raises(ConfigError, match=message):
        replace(shape, **changed)  # type: ignore[arg-type]
