"""Random layers, maps and tilings for the tests of the writer."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from foldwright.accel.map_form import MapForm
from foldwright.accel.workload import ActKind, Layer, LayerKind, Pool, PoolKind, ResultKind
from foldwright.accel.writer_program import MapPlace, WriterTile, pool_entries
from foldwright.accel.writer_shape import MapTarget, WriterShape

__all__ = ["Case", "conv", "random_case", "tiles_of"]


def conv(name: str, channels: tuple[int, int], size: tuple[int, int], **more: object) -> Layer:
    """Returns a layer of `channels` in and out on a map of `size` rows and columns."""
    fields: dict[str, object] = {"act_bits": 2, "act_kind": ActKind.UNSIGNED, "result": ResultKind.THRESHOLDS}
    height, width = size
    return Layer(name, LayerKind.CONV, ("image",), channels[0], height, width, channels[1], **(fields | more))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """A producer, a map that it fills (target 0 unless `target` says another) and how the layer is cut."""

    shape: WriterShape
    gives: Layer
    reads: Layer
    pa: int = 1
    frames: int = 1
    target: int = 0
    offset: int = 0
    base: int = 0
    row_cuts: tuple[int, ...] = ()
    block_cuts: tuple[int, ...] = ()
    rows_outside: bool = False


def tiles_of(case: Case, place: MapPlace | None, blocks: int, raw: bool = False) -> list[WriterTile]:
    rows = [0, *case.row_cuts, case.gives.out_height]
    cuts = [0, *case.block_cuts, blocks]
    spans = [((a, b), (c, d)) for a, b in itertools.pairwise(cuts) for c, d in itertools.pairwise(rows)]
    if case.rows_outside:
        spans.sort(key=lambda span: span[1])
    tiles, bases, entries = [], {}, 0
    for block_range, row_range in spans:
        tile = WriterTile(case.gives, block_range, row_range, case.frames, place, raw, case.offset)
        if block_range not in bases:
            bases[block_range] = entries if case.rows_outside else 0
            entries += pool_entries(case.shape, tile)
        tiles.append(replace(tile, pool_base=bases[block_range]))
    return tiles


def random_case(rng: np.random.Generator) -> Case:
    """Returns a case of any kind that the writer can do."""
    byte = int(rng.choice([8, 9]))
    dm, batch = byte * int(rng.integers(1, 3)), bool(rng.integers(2))
    dn = int(rng.integers(1, 5))
    bits = int(rng.integers(1, 5))
    drain = int(rng.integers(1, dn + 1)) if batch and rng.random() < 0.5 else 1
    planes = [(1,), (2,), (1, 2), (1, 2, 4), (4,)][rng.integers(5)]
    widest = max(planes)
    segment = byte * int(rng.integers(1, 4)) + (int(rng.integers(0, byte)) if rng.random() < 0.4 else 0)
    dk = segment * widest
    to_batch = True if drain > 1 else bool(rng.integers(2))
    target = MapTarget(dk, planes, dn if drain > 1 else int(rng.integers(1, 5)), to_batch, 1, byte)
    usable = [pa for pa in planes if target.slots(pa, dm)]
    if not usable:
        return random_case(rng)
    pa = int(rng.choice(usable))
    pool = random_pool(rng) if rng.random() < 0.6 else None
    own_groups = int(rng.choice([1, 1, 2, 3]))
    groups = int(rng.choice([1, 1, 2, own_groups]))
    channels = math.lcm(own_groups, groups) * int(rng.integers(1, 2 * dm))
    height, width = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    if pool is not None:
        height, width = (max(size, k + 1, 4) for size, k in zip((height, width), pool.kernel, strict=True))
    sums = 0
    if pool is not None and rng.random() < 0.5:
        window = (height, width) if rng.random() < 0.3 else pool.kernel
        pool = replace(pool, kind=PoolKind.AVERAGE)
        if window != pool.kernel:
            pool = Pool(PoolKind.AVERAGE, window, window)
        sums = (pool.area * ((1 << bits) - 1)).bit_length()
    gives = conv(
        "gives", (own_groups, channels), (height, width), groups=own_groups, pool=pool, out_bits=sums or bits
    )
    stride = int(rng.integers(1, 4))
    padding = tuple(int(p) for p in rng.integers(0, 4, 4))
    reads = conv(
        "reads", (channels, groups), (gives.stored_height, gives.stored_width), groups=groups, padding=padding,
        stride=(1, stride), act_bits=sums or int(rng.integers(1, bits + 1)),
    )  # fmt: skip
    frames = int(rng.integers(1, 6))
    form = MapForm(gives, reads, target, dm, pa)
    base = int(rng.integers(0, 5))
    target = replace(target, words=base + form.words(frames) + 3)
    other = MapTarget(byte * 2, (1,), dn, True, 7, byte) if dm <= byte * 2 and rng.random() < 0.4 else None
    shape = WriterShape(
        dm, dn, bits, 6, batch, drain, 200 if pool or rng.random() < 0.3 else 0,
        (other, target) if other else (target,), bool(rng.integers(2)), sum_bits=sums,
    )  # fmt: skip
    cuts = tuple(
        sorted({int(r) for r in rng.integers(1, max(2, height), int(rng.integers(0, 3)))} - {height})
    )
    block_cuts = tuple(
        sorted({int(b) for b in rng.integers(1, form.blocks + 1, int(rng.integers(0, 3)))} - {form.blocks})
    )
    offset = 0 if reads.act_bits % pa else int(rng.integers(0, 1 << bits))
    if sums and pool is not None:  # all pixels of a window begin at the same value
        offset = 0 if any(pool.padding) else -pool.area * offset
    return Case(
        shape, gives, reads, pa, frames, int(other is not None), offset, base, cuts,
        block_cuts, bool(rng.integers(2)),
    )  # fmt: skip


def random_pool(rng: np.random.Generator) -> Pool:
    kernel, stride, padding = [], [], []
    for _ in range(2):
        s = int(rng.integers(1, 4))
        k = int(rng.integers(1, s + 2))
        kernel.append(k)
        stride.append(s)
        padding.append(int(rng.integers(0, k)))
    behind = [
        int(rng.integers(0, k)) if k <= s else int(rng.integers(0, k - 1))
        for k, s in zip(kernel, stride, strict=True)
    ]
    return Pool(
        PoolKind.MAX,
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1], behind[0], behind[1]),
    )
