"""The writer leaves the same memory image and items as a scatter of every value by its coordinates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from foldwright.accel.map_form import MapForm
from foldwright.accel.rtl.writer import Writer
from foldwright.accel.workload import Pool, PoolKind
from foldwright.accel.writer_program import MapPlace, WriterTile, writer_fields
from foldwright.accel.writer_shape import MapTarget, WriterShape
from tests.accel.rtl.writer_cases import Case, conv, random_case, tiles_of
from tests.accel.rtl.writer_model import expected_items, expected_map, expected_values, play_tiles, tile_beats


def random_codes(case: Case, bits: int, rng: np.random.Generator) -> np.ndarray:
    gives = case.gives
    return rng.integers(0, 1 << bits, (case.frames, gives.out_channels, gives.out_height, gives.out_width))


def check_map(case: Case, seed: int) -> None:
    shape, rng = case.shape, np.random.default_rng(seed)
    gives = case.gives
    narrow = case.reads.act_bits % case.pa and not gives.averages
    codes = random_codes(case, case.reads.act_bits if narrow else shape.code_bits, rng)
    form = MapForm(gives, case.reads, shape.targets[case.target], shape.dm, case.pa)
    place = MapPlace(form, case.target, case.base)
    tiles = tiles_of(case, place, form.blocks)
    memories = [
        np.array(
            [
                [int.from_bytes(rng.bytes(t.dk // 8 + 1), "little") % (1 << t.dk) for _ in range(t.dn)]
                for _ in range(t.words)
            ],
            dtype=object,
        )
        for t in shape.targets
    ]  # noise, so that bits that nothing writes are seen
    want = [memory.copy() for memory in memories]
    expected_map(
        want[case.target], expected_values(codes, gives, case.offset, shape.result_bits), place, shape.dm
    )
    beats = [list(tile_beats(shape, tile, codes, form.parts, shape.code_bits, rng)) for tile in tiles]
    got = play_tiles(shape, tiles, beats, memories, rng)
    assert not got.items
    for t, memory in enumerate(want):
        wrong = np.argwhere(got.memories[t] != memory)
        assert not len(wrong), (
            f"map {t}: {len(wrong)} words differ, first (address, lane) {wrong[:5].tolist()}"
        )


@pytest.mark.parametrize("seed", range(30))
def test_any_map_equals_the_scatter_of_its_values(seed: int) -> None:
    check_map(random_case(np.random.default_rng(seed)), seed)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_items_for_dram_come_in_the_order_of_the_loops(seed: int, raw: bool) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng)
    shape = replace(case.shape, store=True)
    case = replace(case, shape=shape)
    bits = shape.acc_bits if raw else shape.code_bits
    values = random_codes(case, bits, rng)
    blocks = case.gives.groups * -(-(case.gives.out_channels // case.gives.groups) // shape.dm)
    case = replace(case, block_cuts=tuple(cut for cut in case.block_cuts if cut < blocks))
    tiles = tiles_of(case, None, blocks, raw)
    beats = [list(tile_beats(shape, tile, values, case.gives.groups, bits, rng)) for tile in tiles]
    got = play_tiles(shape, tiles, beats, [], rng)
    want = [item for tile in tiles for item in expected_items(shape, tile, values, bits)]
    assert len(got.items) == len(want)
    for item, (value, mask) in zip(got.items, want, strict=True):
        assert item & mask == value


def test_an_engine_without_codes_stores_accumulators() -> None:
    shape = WriterShape(dm=3, dn=3, code_bits=0, acc_bits=7, is_batch=False, store=True)
    rng = np.random.default_rng(1)
    gives = conv("gives", (1, 4), (2, 5))
    values = rng.integers(0, 128, (2, 4, 2, 5))
    tile = WriterTile(gives, (0, 2), (0, 2), 2, raw=True)
    got = play_tiles(shape, [tile], [list(tile_beats(shape, tile, values, 1, 7, rng))], [], rng)
    want = expected_items(shape, tile, values, 7)
    assert [item & mask for item, (_, mask) in zip(got.items, want, strict=True)] == [
        value for value, _ in want
    ]


def test_two_frames_pooled_to_one_pixel_by_hand() -> None:
    # 2x2 pixels of 8 one-bit channels, pooled to the bits set anywhere; frame 1 stands in lane 1.
    target = MapTarget(dk=16, planes_per_word=(1,), dn=2, is_batch=True, words=4)
    shape = WriterShape(8, 2, 1, 8, is_batch=True, pool_words=2, targets=(target,))
    gives = conv("gives", (1, 8), (2, 2), pool=Pool(PoolKind.MAX, (2, 2), (2, 2)))
    form = MapForm(gives, conv("reads", (8, 1), (1, 1), act_bits=1), target, 8, 1)
    pixels = [[0x01, 0x80], [0x02, 0x00], [0x04, 0x81], [0x01, 0x00]]
    tile = WriterTile(gives, (0, 1), (0, 2), 2, MapPlace(form, base=3))
    memory = np.full((4, 2), 0xFFFF, dtype=object)
    play_tiles(
        shape, [tile], [[code for pixel in pixels for code in pixel]], [memory], np.random.default_rng(0)
    )
    assert memory.tolist() == [[0xFFFF, 0xFFFF]] * 3 + [[0x07, 0x81]]


def test_a_window_over_a_whole_map_by_hand() -> None:
    # 20 rows of 17 pixels, codes of two bits that are all 3: 1,020 in ten bits, of which two planes go into a word.
    target = MapTarget(dk=16, planes_per_word=(2,), dn=1, is_batch=True, words=5)
    shape = WriterShape(8, 1, 2, 8, is_batch=True, pool_words=1, targets=(target,), sum_bits=10)
    gives = conv("gives", (1, 8), (20, 17), pool=Pool(PoolKind.AVERAGE, (20, 17), (20, 17)), out_bits=10)
    form = MapForm(gives, conv("reads", (8, 1), (1, 1), act_bits=10), target, 8, 2)
    tiles = [WriterTile(gives, (0, 1), rows, 1, MapPlace(form)) for rows in ((0, 7), (7, 20))]
    memory, beats = np.full((5, 1), 0xFFFF, dtype=object), [[0xFFFF] * (17 * n) for n in (7, 13)]
    play_tiles(shape, tiles, beats, [memory], np.random.default_rng(0))
    planes = [0xFF if 1020 >> bit & 1 else 0 for bit in range(10)]
    assert memory[:, 0].tolist() == [
        low | high << 8 for low, high in zip(planes[::2], planes[1::2], strict=True)
    ]


def test_sums_and_maxima_pass_one_writer_in_turns() -> None:
    """The same codes pooled to their sums, then to their largest, whose upper planes stay empty."""
    target = MapTarget(dk=16, planes_per_word=(1,), dn=3, is_batch=False, words=64)
    shape = WriterShape(8, 2, 3, 8, is_batch=False, pool_words=4, targets=(target,), sum_bits=7)
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 8, (1, 8, 7, 7))
    memory, base = np.zeros((64, 3), dtype=object), 0
    want, tiles, beats = memory.copy(), [], []
    for kind, bits in ((PoolKind.AVERAGE, 7), (PoolKind.MAX, 3), (PoolKind.AVERAGE, 7)):
        gives = conv("gives", (1, 8), (7, 7), pool=Pool(kind, (3, 3), (2, 2)), out_bits=bits)
        form = MapForm(gives, conv("reads", (8, 1), (3, 3), act_bits=bits), target, 8, 1)
        tiles.append(WriterTile(gives, (0, 1), (0, 7), 1, MapPlace(form, base=base)))
        expected_map(want, expected_values(codes, gives, 0, 7), MapPlace(form, base=base), 8)
        beats.append(list(tile_beats(shape, tiles[-1], codes, 1, 3, rng)))
        base += form.words(1)
    play_tiles(shape, tiles, beats, [memory], rng)
    assert np.array_equal(memory, want)


def test_a_beat_without_a_tile_is_an_error_until_the_next_go() -> None:
    target = MapTarget(8, (1,), 1, True, 4)
    dut = Writer(WriterShape(8, 1, 1, 8, is_batch=True, targets=(target,)))
    gives = conv("gives", (1, 8), (1, 1))
    form = MapForm(gives, conv("reads", (8, 1), (1, 1), act_bits=1), target, 8, 1)
    fields = writer_fields(dut.shape, WriterTile(gives, (0, 1), (0, 1), place=MapPlace(form)))

    async def bench(ctx: Any) -> None:
        for name, value in fields.items():
            ctx.set(getattr(dut.fields, name), value)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.error)
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.error)
        assert not ctx.get(dut.busy)
        ctx.set(dut.go, 1)
        await ctx.tick()
        ctx.set(dut.go, 0)
        assert ctx.get(dut.busy)
        assert not ctx.get(dut.error)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_codes_that_follow_the_accumulators_of_a_stored_tile_do_no_harm() -> None:
    target = MapTarget(8, (1,), 1, True, 4)
    shape = WriterShape(8, 1, 4, 6, is_batch=True, targets=(target,), store=True)
    dut = Writer(shape)
    gives = conv("gives", (1, 8), (1, 1))
    raw = writer_fields(shape, WriterTile(gives, (0, 1), (0, 1), raw=True))
    seen = []

    async def bench(ctx: Any) -> None:
        for name, value in raw.items():
            ctx.set(getattr(dut.fields, name), value)
        for cycle in range(20):
            ctx.set(dut.go, cycle == 0)
            ctx.set(dut.raw_valid, cycle == 3)
            ctx.set(dut.valid, cycle == 3 + shape.code_bits)
            seen.append((ctx.get(dut.busy), ctx.get(dut.store_valid), ctx.get(dut.map_0_enable)))
            assert not ctx.get(dut.error)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert [stored for _, stored, _ in seen] == [int(cycle == 4) for cycle in range(20)]
    assert not any(enable for _, _, enable in seen)
    assert seen[3 + shape.code_bits][0], "not busy any more, but the codes of its last beat are still to come"
