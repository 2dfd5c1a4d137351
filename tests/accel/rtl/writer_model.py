"""A plain model of the writer: values are scattered by their coordinates; and a player of beats on the real one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth.sim import Simulator

from foldwright.accel.reference import pool
from foldwright.accel.rtl.writer import Writer, latency_cycles
from foldwright.accel.workload import Layer
from foldwright.accel.writer_program import MapPlace, WriterTile, writer_fields
from foldwright.accel.writer_shape import MapTarget, WriterShape

__all__ = ["Played", "expected_items", "expected_map", "expected_values", "play_tiles", "tile_beats"]


def expected_values(codes: np.ndarray, layer: Layer, offset: int, bits: int) -> np.ndarray:
    """Returns what is stored, (frames, channels, H, W): pooled, the constant added."""
    pooled = codes if layer.pool is None else pool(codes, layer.pool)
    return (pooled + offset) % (1 << bits)


def _slot_starts(target: MapTarget, pa: int, dm: int) -> list[int]:
    """The slots of a plane, found by looking for whole free bytes from the low end."""
    segment, plane = target.dk // max(target.planes_per_word), target.dk // pa
    if dm > segment:
        return list(range(0, plane - dm + 1, dm))
    starts, at = [], 0
    while at + dm <= plane:
        if at // segment != (at + dm - 1) // segment:
            at = (at // segment + 1) * segment
            continue
        starts.append(at)
        at += dm
    return starts


def expected_map(memory: np.ndarray, values: np.ndarray, place: MapPlace, dm: int) -> None:
    """Writes a whole map into memory, object (words, dn): each word of every pixel is cleared first."""
    form, target = place.form, place.form.target
    reads, gives = form.consumer, form.producer
    frames, channels, height, width = values.shape
    starts = _slot_starts(target, form.pa, dm)
    parts = math.lcm(reads.groups, gives.groups)
    part_size = channels // parts
    part_blocks = -(-part_size // dm)
    group_blocks = part_blocks * parts // reads.groups
    group_words = -(-group_blocks // len(starts))
    plane_groups = -(-reads.act_bits // form.pa)
    stride = 1 if target.is_batch else reads.stride[1]
    per_row = width if target.is_batch else -(-(width + reads.padding[1]) // (stride * target.dn))
    for f, y, x in np.ndindex(frames, height, width):
        if target.is_batch:
            lane, frame, column, phase = f % target.dn, f // target.dn, x, 0
        else:
            position, phase = divmod(x + reads.padding[1], stride)
            column, lane = divmod(position, target.dn)
            frame = f
        pixel = ((frame * height + y) * per_row + column) * stride + phase
        first = place.base + pixel * plane_groups * reads.groups * group_words
        memory[first : first + plane_groups * reads.groups * group_words, lane] = 0
        for c in range(channels):
            part, within = divmod(c, part_size)
            group, block = divmod(part * part_blocks + within // dm, group_blocks)
            word, slot = divmod(block, len(starts))
            for bit in range(reads.act_bits):
                row = ((bit // form.pa) * reads.groups + group) * group_words + word
                at = bit % form.pa * (target.dk // form.pa) + starts[slot] + within % dm
                memory[first + row, lane] |= int(values[f, c, y, x] >> bit & 1) << at


def tile_beats(
    shape: WriterShape, tile: WriterTile, values: np.ndarray, parts: int, bits: int, rng: np.random.Generator
) -> Iterator[int]:
    """Yields the beats of a tile; lanes that are not real hold noise, rows past a part's last channel what becomes 0."""
    size = tile.layer.out_channels // parts
    per_part = -(-size // shape.dm)
    idle = -tile.code_offset % (1 << bits)
    if tile.layer.pool is not None and tile.layer.averages and not tile.raw:
        idle = -tile.code_offset // tile.layer.pool.area
    frames, _, _, width = values.shape
    lanes = frames if shape.is_batch else width
    groups = -(-lanes // shape.dn)
    for block in range(*tile.blocks):
        part, index = divmod(block, per_part)
        rows = np.arange(index * shape.dm, (index + 1) * shape.dm)
        channels = np.where(rows < size, part * size + rows, -1)
        for outer in range(groups if shape.is_batch else frames):
            for y in range(*tile.rows):
                for inner in range(width if shape.is_batch else groups):
                    for first in range(0, shape.dn, shape.drain_lanes):
                        word = 0
                        for k in range(shape.drain_lanes):
                            lane = first + k
                            f, x = (
                                (outer * shape.dn + lane, inner)
                                if shape.is_batch
                                else (outer, inner * shape.dn + lane)
                            )
                            real = f < frames and x < width and lane < shape.dn
                            for r, c in enumerate(channels):
                                value = int(rng.integers(0, 1 << bits))
                                if real:
                                    value = int(values[f, c, y, x]) if c >= 0 else idle
                                word |= value << (k * shape.dm + r) * bits
                        yield word


def expected_items(
    shape: WriterShape, tile: WriterTile, values: np.ndarray, bits: int
) -> list[tuple[int, int]]:
    """Returns the items of a tile and, for each, the bits of lanes and rows that are real."""
    layer, window = tile.layer, None if tile.raw else tile.layer.pool
    wide = bits if tile.raw else shape.result_bits
    stored = values if tile.raw else expected_values(values, layer, tile.code_offset, wide)
    frames, _, height, width = stored.shape
    rows = range(*tile.rows)
    if window is not None:
        ends = [
            min(y * window.stride[0] - window.padding[0] + window.kernel[0], layer.out_height) - 1
            for y in range(height)
        ]
        rows = [y for y in range(height) if tile.rows[0] <= ends[y] < tile.rows[1]]  # type: ignore[assignment]
    size = layer.out_channels // layer.groups
    per_group = -(-size // shape.dm)
    items = []
    for block in range(*tile.blocks):
        group, index = divmod(block, per_group)
        channels = range(group * size + index * shape.dm, group * size + min(size, (index + 1) * shape.dm))
        for first in range(0, frames, shape.dn if shape.is_batch else 1):
            together = (
                range(first, min(frames, first + shape.dn)) if shape.is_batch else range(first, first + 1)
            )
            for y in rows:
                for x in range(width):
                    for lane in range(0, len(together), shape.drain_lanes):
                        value = mask = 0
                        for k, f in enumerate(together[lane : lane + shape.drain_lanes]):
                            for r, c in enumerate(channels):
                                at = (k * shape.dm + r) * wide
                                value |= int(stored[f, c, y, x]) << at
                                mask |= (1 << wide) - 1 << at
                        items.append((value, mask))
    return items


@dataclass
class Played:
    """What left the writer: the memories of its targets as they stand, and the items for DRAM."""

    memories: list[np.ndarray]
    items: list[int] = field(default_factory=list)
    latencies: list[int] = field(
        default_factory=list
    )  # cycles from the last beat of a tile until it is not busy


def play_tiles(
    shape: WriterShape,
    tiles: list[WriterTile],
    beats: list[list[int]],
    memories: list[np.ndarray],
    rng: np.random.Generator,
) -> Played:
    """Runs tiles one after another with beats as close as they may come, or now and then farther apart."""
    dut, out = Writer(shape), Played(memories)

    async def tick(ctx: Any) -> None:
        busy = ctx.get(dut.busy)
        for t, target in enumerate(shape.targets):
            enable = ctx.get(getattr(dut, f"map_{t}_enable"))
            if not enable:
                continue
            assert busy, "written while not busy"
            word = ctx.get(getattr(dut, f"map_{t}_data"))
            address = ctx.get(getattr(dut, f"map_{t}_address"))
            runs = target.byte_runs
            for lane in range(target.dn):
                data = word >> lane % shape.drain_lanes * target.dk
                for k, (low, bits) in enumerate(runs):
                    if enable >> lane * len(runs) + k & 1:
                        mask = (1 << bits) - 1 << low
                        out.memories[t][address, lane] = out.memories[t][address, lane] & ~mask | data & mask
        if shape.store and ctx.get(dut.store_valid):
            assert busy, "stored while not busy"
            out.items.append(ctx.get(dut.store_data))
        await ctx.tick()

    async def bench(ctx: Any) -> None:
        for tile, words in zip(tiles, beats, strict=True):
            fields = writer_fields(shape, tile)
            for name, value in fields.items():
                target_field = getattr(dut.fields, name)
                ctx.set(target_field, value % (1 << len(target_field)))
            assert not ctx.get(dut.busy)
            ctx.set(dut.go, 1)
            await tick(ctx)
            ctx.set(dut.go, 0)
            await tick(ctx)
            kind = "raw" if tile.raw else "codes"
            valid = getattr(dut, "raw_valid" if tile.raw else "valid")
            assert ctx.get(dut.hold_cycles) == fields["writes"]
            loose = rng.random() < 0.3
            for k, word in enumerate(words):
                if k:
                    for _ in range(fields["writes"] - 1 + int(loose and rng.integers(0, 3))):
                        await tick(ctx)
                ctx.set(valid, 1)
                ctx.set(getattr(dut, kind), word)
                assert ctx.get(dut.busy)
                await tick(ctx)
                ctx.set(valid, 0)
            waited = 0
            while ctx.get(dut.busy):
                await tick(ctx)
                waited += 1
                assert waited < 100
            out.latencies.append(waited)
            assert not ctx.get(dut.error)
            if not tile.raw:
                assert waited == latency_cycles(shape) - 1 + fields["writes"]

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return out
