"""Tiles: classes against brute force, halo and buffers by hand, options that nothing beats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldwright.accel import tiles
from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import expand, total_traffic
from foldwright.accel.known_workloads import LayerChain, known_workload, pooling
from foldwright.accel.mapping import M_BLOCKS
from foldwright.accel.repeats import S_CYCLES, S_INPUT_BITS, S_STORE_BITS, S_WEIGHT_BITS
from foldwright.accel.schedule import network_tables
from foldwright.accel.tables import L_OUT_H, layer_table
from foldwright.accel.tile_table import tile_table
from foldwright.accel.tiles import (
    P_CHUNK_WORDS,
    P_LINE_WORDS,
    P_MAP_WORDS,
    P_STAGE_WORDS,
    P_WEIGHT_WORDS,
    PLAN_FIELDS,
    ceil_classes,
    chunk_count,
    input_rows,
    layer_cycles,
    plan_row,
    standalone_cycles,
    stored_rows,
    tile_options,
)
from foldwright.accel.workload import ActKind, WeightKind, Workload
from foldwright.envs.registry import split
from foldwright.envs.tiling import TilingProblem
from foldwright.netlists.part import load_part

IntArray = npt.NDArray[np.int64]


@pytest.mark.parametrize("size", [*range(1, 130), 224, 1000])
def test_classes_are_the_smallest_tile_of_every_count(size: int) -> None:
    smallest: dict[int, int] = {}
    for tile in range(size, 0, -1):
        smallest[-(-size // tile)] = tile
    assert ceil_classes(size).tolist() == sorted(smallest.values())


def plan(**fields: int) -> IntArray:
    """Returns a plan row with the entries named, such as `in_h=8` for `P_IN_H`."""
    out = np.zeros(PLAN_FIELDS, dtype=np.int64)
    for name, value in fields.items():
        out[getattr(tiles, f"P_{name.upper()}")] = value
    return out


def test_a_tile_loads_the_rows_that_it_reads() -> None:
    p = plan(in_h=8, kh=3, sh=1, pad_t=1, rows=8)
    assert input_rows(p, 0, 4) == 5  # rows 0..4: one below the tile
    assert input_rows(p, 4, 8) == 5  # rows 3..7
    strided = plan(in_h=9, kh=3, sh=2, pad_t=0, rows=4)
    assert [input_rows(strided, 0, 2), input_rows(strided, 2, 4)] == [5, 5]


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(1, 40))
def test_a_sweep_loads_every_needed_row(height: int, kernel: int, stride: int, pad: int, tile: int) -> None:
    rows = (height + 2 * pad - kernel) // stride + 1
    if rows < 1 or pad >= kernel:
        return
    p = plan(in_h=height, kh=kernel, sh=stride, pad_t=pad, rows=rows)
    for start in range(0, rows, tile):
        reads = range(start * stride - pad, (min(start + tile, rows) - 1) * stride - pad + kernel)
        assert input_rows(p, start, min(start + tile, rows)) == sum(0 <= y < height for y in reads)


def test_pooled_rows_are_stored_when_complete() -> None:
    p = plan(rows=8, stored_h=4, pool_k=2, pool_s=2)
    assert [stored_rows(p, r) for r in range(9)] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    overlapping = plan(rows=5, stored_h=3, pool_k=3, pool_s=2, pool_pad=1)
    # Windows cover rows -1..1, 1..3, 3..5: complete after 2, 4, and at the end.
    assert [stored_rows(overlapping, r) for r in range(6)] == [0, 0, 1, 1, 2, 3]


def pooled_chain() -> Workload:
    chain = LayerChain((16, 16, 16, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(32, pool=pooling(2, 2))
    chain.conv(32)
    return chain.workload("pooled")


def row_of(tile: tuple[int, int, int], flags: tuple[int, int, int, int, int, int]) -> IntArray:
    """Returns the plan row of the first layer of `pooled_chain` on 8x16x4: 4 blocks, 16 rows, 9 weight words a block."""
    tables = network_tables(
        pooled_chain(), Datapath((Engine(8, 16, 4),), (0, 0), 1, 32), load_part("xc7z020"), 140
    )
    out = np.zeros(PLAN_FIELDS, dtype=np.int64)
    plan_row(tables[0][0], tables[1][0], tables[2][0], tables[7], np.array(tile), np.array(flags), out)
    return out


@pytest.mark.parametrize(
    ("tile", "pinned", "words", "chunk", "chunks"),
    [
        ((4, 16, 0), 0, 0, 4 * 9, 1),
        ((2, 16, 0), 0, 0, 2 * 9, 2),
        ((1, 16, 0), 4, 4 * 9, 0, 0),  # pinned weights are all there, whatever the tile
        ((2, 16, 0), 1, 9, 2 * 9, 2),  # the first tile streams one of its blocks, the second both
        ((2, 16, 0), 3, 3 * 9, 9, 1),
        ((1, 4, 1), 1, 9, 9, 3 * 4),  # rows outside: four times over
        ((1, 4, 1), 3, 3 * 9, 9, 1),  # but what is the only chunk stays
    ],
)
def test_words_of_weights_by_hand(
    tile: tuple[int, int, int], pinned: int, words: int, chunk: int, chunks: int
) -> None:
    row = row_of(tile, (0, pinned, 0, 1, 1, 0))
    assert row[[P_WEIGHT_WORDS, P_CHUNK_WORDS]].tolist() == [words, chunk]
    assert chunk_count(row) == chunks
    loaded = tile_table(layer_table(pooled_chain())[:1], row[None], np.zeros(1, dtype=np.int64), 0)[
        :, S_WEIGHT_BITS
    ]
    assert (loaded > 0).sum() == chunks
    # A word takes 8 * 16 bits, four beats.
    sweeps = 4 if chunks > 4 else 1
    assert loaded.sum() == sweeps * (4 - pinned) * 9 * 128


def test_buffers_of_maps_by_hand() -> None:
    # A row of 16 columns and the pad of 1 take ceil(17/4) = 5 words. Everything at once: 16 rows.
    whole = row_of((4, 16, 0), (0, 0, 0, 1, 1, 0))
    assert whole[P_MAP_WORDS] == 16 * 5
    # Tiles of 2 rows: the 4 rows that one reads, twice. The whole twice where it is loaded a round ahead.
    assert row_of((4, 2, 0), (0, 0, 0, 1, 1, 0))[P_MAP_WORDS] == 2 * 4 * 5
    assert row_of((4, 16, 0), (0, 1, 1, 1, 1, 0))[P_MAP_WORDS] == 2 * 16 * 5
    # Results to DRAM: 4 blocks * 8 channels of one bit are two words of 16, times 8 rows of ceil(8/4) = 2 groups.
    assert whole[P_STAGE_WORDS] == 2 * 8 * 2
    # In tiles: two buffers of one word, 2 rows after pooling (one may be left over), 2 groups.
    assert row_of((1, 2, 0), (0, 0, 0, 1, 1, 0))[P_STAGE_WORDS] == 2 * 1 * 2 * 2
    on_chip = row_of((1, 2, 0), (0, 0, 0, 0, 0, 0))
    assert on_chip[[P_MAP_WORDS, P_STAGE_WORDS, P_LINE_WORDS]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_traffic_is_what_the_tiles_load_and_store(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (problem,) = list(split("tiling", "train", 1, seed=100 + seed))
    assert isinstance(problem, TilingProblem)
    for _ in range(10):
        tables = problem.tables
        plans = expand(*tables, rng.integers(problem.sizes))
        rows = np.concatenate([tile_table(tables[0], plans, tables[3], e) for e in range(len(tables[1]))])
        load, store = total_traffic(plans)
        assert rows[:, [S_WEIGHT_BITS, S_INPUT_BITS]].sum() == load
        assert rows[:, S_STORE_BITS].sum() == store
        assert rows[:, S_CYCLES].sum() == sum(layer_cycles(plan) for plan in plans)


def test_no_tile_beats_all_options() -> None:
    # All tiles, not only ceil classes, of a layer small enough to enumerate.
    workload, datapath = pooled_chain(), Datapath((Engine(8, 16, 4),), (0, 0), 1, 8)
    layers, engines, mappings, *_, numbers = network_tables(workload, datapath, load_part("xc7z020"), 140)
    for i, layer in enumerate(layers):
        options = tile_options(layer, engines[0], mappings[i], numbers, int(i == 0), 64)
        assert len(options) < 64, "thinned out: the test needs all of them"
        for pinned, in_dram, out_dram, ahead in np.ndindex(2, 2, 2, 2):
            flags = np.array(
                [0, pinned * mappings[i, M_BLOCKS], ahead, 1 if i == 0 else in_dram, out_dram, 0]
            )

            def score(
                tile: tuple[int, int, int], i: int = i, flags: IntArray = flags
            ) -> tuple[int, int, int]:
                out = np.zeros(PLAN_FIELDS, dtype=np.int64)
                plan_row(layers[i], engines[0], mappings[i], numbers, np.array(tile), flags, out)
                words = int(out[P_MAP_WORDS] + out[P_STAGE_WORDS] + out[P_LINE_WORDS])
                chunks = min(2, int(chunk_count(out))) * int(out[P_CHUNK_WORDS])
                return chunks, words, int(standalone_cycles(out, 8))

            kept = [score((int(t[0]), int(t[1]), int(t[2]))) for t in options]
            for blocks, rows, order in np.ndindex(int(mappings[i, M_BLOCKS]), int(layer[L_OUT_H]), 2):
                tile = score((blocks + 1, rows + 1, order))
                # A tile that is not the smallest of its class needs more words for the same count; cycles of uneven tiles
                # differ by the exposed first load only, which the class's smallest has shortest.
                assert any(all(a <= b for a, b in zip(k, tile, strict=True)) for k in kept), tile


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 64), st.integers(1, 30), st.integers(2, 20))
def test_options_are_few_and_end_with_the_smallest(channels: int, side: int, most: int) -> None:
    chain = LayerChain((8, side, side, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(channels)
    datapath = Datapath((Engine(2, 8, 2),), (0,), 1, 16)
    tables = network_tables(chain.workload("x"), datapath, load_part("xc7z020"), 140)
    options = tile_options(tables[0][0], tables[1][0], tables[2][0], tables[7], 1, most)
    assert len(options) <= most
    assert options[-1].tolist() == [1, 1, options[-1][2]]
    assert len(np.unique(options, axis=0)) == len(options)


def test_line_memories_hold_pixels_not_words() -> None:
    # CNV's image with the window: 32 rows of ceil(32/15) = 3 groups of pixels; two-row tiles keep 4 rows twice.
    workload = known_workload("cnv-w1a1")
    datapath = Datapath((Engine(16, 64, 15, window_bits=216),), (0,) * 9, 1, 32)
    layers, engines, mappings, *_, numbers = network_tables(workload, datapath, load_part("xc7z020"), 140)
    out = np.zeros(PLAN_FIELDS, dtype=np.int64)
    for rows, kept in ((30, 32), (2, 8)):
        plan_row(
            layers[0],
            engines[0],
            mappings[0],
            numbers,
            np.array([4, rows, 0]),
            np.array([0, 1, 0, 1, 0, 0]),
            out,
        )
        assert out[[P_LINE_WORDS, P_MAP_WORDS]].tolist() == [kept * 3, 0]
