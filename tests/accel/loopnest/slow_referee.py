"""What a loop nest takes on an array, in plain Python: sets of elements, one cycle after the other.

It shares no code with the referee: data are sets of coordinates, the port decides anew in every cycle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from foldwright.accel.loopnest.nest import ArrayModel, Dim, LoopNest

__all__ = ["SlowScore", "slow_referee"]

Ranges = dict[Dim, range]
RELEVANT = {
    "weights": {Dim.K, Dim.C, Dim.FY, Dim.FX},
    "inputs": {Dim.C, Dim.OY, Dim.OX, Dim.FY, Dim.FX},
    "outputs": {Dim.K, Dim.OY, Dim.OX},
}


@dataclass
class SlowScore:
    cycles: int = 0
    weights: int = 0
    inputs: int = 0
    psum_loads: int = 0
    psum_stores: int = 0
    outputs: int = 0


@dataclass
class Transfer:
    kind: str
    deadline: float
    beats: int
    after_step: int = -1  # released when this step has ended
    after_tile: int = 0  # released when all stores of tiles up to here are done
    tile: int = 0  # of a store


@dataclass
class Step:
    ranges: Ranges
    starts: tuple[int, ...]
    cycles: int
    moved: int
    needs: list[Transfer] = field(default_factory=list)


def walk(
    nest: LoopNest, ranges: Ranges, i: int, starts: tuple[int, ...]
) -> Iterator[tuple[Ranges, tuple[int, ...]]]:
    """Yields ranges and loop positions of all steps in order."""
    if i == nest.step_loops:
        yield ranges, starts
        return
    loop = nest.loops[i]
    whole = ranges[loop.dim]
    for low in range(whole.start, whole.stop, loop.step):
        part = {**ranges, loop.dim: range(low, min(low + loop.step, whole.stop))}
        yield from walk(nest, part, i + 1, (*starts, low))


def cycles_of(nest: LoopNest, ranges: Ranges, i: int) -> int:
    """Counts the cycles of the loops inside a step one by one."""
    if i < len(nest.loops):
        loop = nest.loops[i]
        whole = ranges[loop.dim]
        return sum(
            cycles_of(nest, {**ranges, loop.dim: range(low, min(low + loop.step, whole.stop))}, i + 1)
            for low in range(whole.start, whole.stop, loop.step)
        )
    unroll = {Dim.K: nest.unroll.out_channels, Dim.C: nest.unroll.in_channels, Dim.OX: nest.unroll.columns}
    return math.prod(math.ceil(len(r) / unroll.get(d, 1)) for d, r in ranges.items())


def touched(nest: LoopNest, operand: str, r: Ranges) -> set[tuple[int, ...]]:
    layer = nest.convolution
    if operand == "weights":
        return set(itertools.product(r[Dim.K], r[Dim.C], r[Dim.FY], r[Dim.FX]))
    if operand == "outputs":
        return set(itertools.product(r[Dim.K], r[Dim.OY], r[Dim.OX]))
    rows = {layer.stride_y * o + f for o in r[Dim.OY] for f in r[Dim.FY]}
    cols = {layer.stride_x * o + f for o in r[Dim.OX] for f in r[Dim.FX]}
    return set(itertools.product(r[Dim.C], rows, cols))


def steps_of(nest: LoopNest) -> list[Step]:
    whole = {dim: range(size) for dim, size in nest.convolution.sizes.items()}
    steps: list[Step] = []
    for ranges, starts in walk(nest, whole, 0, ()):
        moved = -1
        if steps:
            moved = next(i for i, (a, b) in enumerate(zip(steps[-1].starts, starts, strict=True)) if a != b)
        steps.append(Step(ranges, starts, cycles_of(nest, ranges, nest.step_loops), moved))
    return steps


def tiles_of(nest: LoopNest, steps: list[Step], operand: str) -> list[int]:
    """Returns the number of the tile that each step uses."""
    outside = getattr(nest.outside, operand)
    keys = [
        tuple(s.starts[i] for i in range(outside) if nest.loops[i].dim in RELEVANT[operand]) for s in steps
    ]
    return list(itertools.accumulate(int(a != b) for a, b in itertools.pairwise([keys[0], *keys])))


def moving(nest: LoopNest) -> int:
    """Returns the loop whose moves leave shared rows or columns on chip, -2 if there is none."""
    for i in reversed(range(nest.outside.inputs)):
        dim = nest.loops[i].dim
        if dim is not Dim.K and nest.counts[i] > 1:
            return -2 if dim is Dim.C else i
    return -2


def _add_loads(nest: LoopNest, array: ArrayModel, steps: list[Step], operand: str, score: SlowScore) -> None:
    tiles = tiles_of(nest, steps, operand)
    copies = getattr(nest.copies, operand)
    width = array.weight_bits if operand == "weights" else array.input_bits
    last_of = {tile: i for i, tile in enumerate(tiles)}
    present: set[tuple[int, ...]] = set()
    of_tile: set[tuple[int, ...]] = set()
    for i, step in enumerate(steps):
        if i and tiles[i] != tiles[i - 1]:
            keeps = operand == "inputs" and nest.halo_reuse and step.moved == moving(nest)
            present = of_tile if keeps else set()
            of_tile = set()
        data = touched(nest, operand, step.ranges)
        bits = len(data - present) * width
        present, of_tile = present | data, of_tile | data
        if bits:
            setattr(score, operand, getattr(score, operand) + bits)
            free = last_of.get(tiles[i] - copies, -1)
            step.needs.append(Transfer(operand, i, -(-bits // array.dram_bits_per_cycle), free))


def _add_outputs(
    nest: LoopNest, array: ArrayModel, steps: list[Step], score: SlowScore
) -> list[list[Transfer]]:
    """Adds the loads of partial sums and returns the stores that each step leaves behind."""
    layer, copies = nest.convolution, nest.copies.outputs
    tiles = tiles_of(nest, steps, "outputs")
    first_of = {tile: i for i, tile in reversed(list(enumerate(tiles)))}
    whole = layer.in_channels * layer.kernel_height * layer.kernel_width
    done: dict[tuple[int, ...], int] = {}
    pieces = [touched(nest, "outputs", s.ranges) for s in steps]
    stores: list[list[Transfer]] = []
    for i, (step, data) in enumerate(zip(steps, pieces, strict=True)):
        here = [j for j in range(len(steps)) if tiles[j] == tiles[i] and pieces[j] & data]
        assert all(pieces[j] == data for j in here)
        sums = {done.get(e, 0) for e in data}
        assert len(sums) == 1
        if i == here[0] and sums != {0}:
            bits = len(data) * array.psum_bits
            score.psum_loads += bits
            beats = -(-bits // array.dram_bits_per_cycle)
            step.needs.append(Transfer("psums", i, beats, after_tile=tiles[i] - copies))
        count = math.prod(len(step.ranges[d]) for d in (Dim.C, Dim.FY, Dim.FX))
        for e in data:
            done[e] = done.get(e, 0) + count
        stores.append([])
        if i == here[-1]:
            finished = done[next(iter(data))] == whole
            bits = len(data) * (array.output_bits if finished else array.psum_bits)
            if finished:
                score.outputs += bits
            else:
                score.psum_stores += bits
            beats = -(-bits // array.dram_bits_per_cycle)
            deadline = first_of.get(tiles[i] + copies, math.inf)
            stores[-1].append(Transfer("stores", deadline, beats, i, tile=tiles[i]))
    assert set(done.values()) == {whole}
    return stores


def slow_referee(nest: LoopNest, array: ArrayModel) -> SlowScore:
    """Returns what the referee must find."""
    score, steps = SlowScore(), steps_of(nest)
    for operand in ("weights", "inputs"):
        _add_loads(nest, array, steps, operand, score)
    stores = _add_outputs(nest, array, steps, score)
    queues: dict[str, list[Transfer]] = {k: [] for k in ("stores", "weights", "inputs", "psums")}
    for step, left in zip(steps, stores, strict=True):
        for transfer in (*step.needs, *left):
            queues[transfer.kind].append(transfer)
    now, ended, running, until = 0, -1, False, 0
    while True:
        if running and now == until:
            ended, running = ended + 1, False
        heads = [q[0] for q in queues.values() if q]
        if not running and ended + 1 < len(steps) and all(t.deadline > ended + 1 for t in heads):
            running, until = True, now + steps[ended + 1].cycles
        if not heads and not running:
            score.cycles = now
            return score
        ready = [
            t
            for t in heads
            if t.after_step <= ended
            and all(s.tile > t.after_tile for s in queues["stores"] if t.kind == "psums")
        ]
        if ready:
            head = min(ready, key=lambda t: t.deadline)
            head.beats -= 1
            if head.beats == 0:
                queues[head.kind].pop(0)
        now += 1
