"""Lifetimes by hand, and first fit: nothing that lives together overlaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from foldwright.accel.cost import block_rams_of, geometry_table
from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import BUILT_PLACES, expand, settled
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.memory import (
    HOLDS_INPUT,
    HOLDS_PLACES,
    HOLDS_STAGE,
    HOLDS_TENSOR,
    HOLDS_WEIGHTS,
    I_ADDRESS,
    I_ENGINE,
    I_LAYER,
    I_MASK,
    I_MEMORY,
    I_WHAT,
    I_WORDS,
    ITEM_FIELDS,
    MEMORY_MAP,
    MEMORY_WEIGHT,
    bram36_in_use,
    deepest,
    first_fit,
    largest_first,
    live_items,
)
from foldwright.accel.schedule import network_tables
from foldwright.accel.tiles import P_PLACES
from foldwright.accel.workload import ActKind, WeightKind, Workload
from foldwright.netlists.part import load_part

IntArray = npt.NDArray[np.int64]


def items_from(rows: list[tuple[int, int, int, int]]) -> IntArray:
    """Returns items of (engine, memory, words, mask)."""
    items = np.zeros((len(rows), ITEM_FIELDS), dtype=np.int64)
    for item, (engine, memory, words, mask) in zip(items, rows, strict=True):
        item[I_ENGINE], item[I_MEMORY], item[I_WORDS], item[I_MASK] = engine, memory, words, mask
    return items


ROW = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 50), st.integers(1, 15))


@settings(deadline=None)  # the first call compiles
@given(st.lists(ROW, min_size=1, max_size=12))
def test_first_fit_never_overlaps_what_lives_together(rows: list[tuple[int, int, int, int]]) -> None:
    items = items_from(rows)
    depth = first_fit(items, 2)
    for i, a in enumerate(items):
        assert a[I_ADDRESS] >= 0
        assert a[I_ADDRESS] + a[I_WORDS] <= depth[a[I_ENGINE], a[I_MEMORY]]
        for b in items[:i]:
            same = a[I_ENGINE] == b[I_ENGINE] and a[I_MEMORY] == b[I_MEMORY] and a[I_MASK] & b[I_MASK]
            apart = a[I_ADDRESS] + a[I_WORDS] <= b[I_ADDRESS] or b[I_ADDRESS] + b[I_WORDS] <= a[I_ADDRESS]
            assert apart or not same
    for e in range(2):
        for memory in range(3):
            ends = [i[I_ADDRESS] + i[I_WORDS] for i in items if (i[I_ENGINE], i[I_MEMORY]) == (e, memory)]
            assert depth[e, memory] == max([int(memory == MEMORY_WEIGHT), *ends])  # weights are always there
            alive = [
                sum(r[2] for r in rows if r[:2] == (e, memory) and r[3] >> slot & 1) for slot in range(4)
            ]
            assert depth[e, memory] >= max(alive)


def test_first_fit_by_hand() -> None:
    # Largest first: 10 words always alive at 0; 8 in slot 0 at 10; 6 in slot 1 beside it, also at 10; 3 in both slots must
    # go above both, at 18; 2 in slot 1 fit between, at 16.
    items = items_from([(0, 1, 3, 3), (0, 1, 6, 2), (0, 1, 10, 3), (0, 1, 8, 1), (0, 1, 2, 2)])
    depth = first_fit(items, 1)
    assert items[:, I_ADDRESS].tolist() == [18, 10, 0, 10, 16]
    assert depth.tolist() == [[1, 21, 0]]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 9), max_size=20))
def test_largest_first_is_a_stable_sort(sizes: list[int]) -> None:
    expected = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    assert largest_first(np.array(sizes, dtype=np.int64)).tolist() == expected


def chain_of(*channels: int) -> LayerChain:
    chain = LayerChain((16, 8, 8, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    for count in channels:
        chain.conv(count)
    return chain


def held(
    workload: Workload, datapath: Datapath, choices: list[int]
) -> dict[tuple[int, int, int], tuple[int, int]]:
    """Returns (words, lifetime mask) by (engine, what, layer)."""
    tables = network_tables(workload, datapath, load_part("xc7z020"), 140, BUILT_PLACES)
    plans = expand(*tables, np.array(choices))
    items = live_items(tables[0], tables[1], tables[2], tables[3], datapath.batch_frames, plans)
    return {
        (int(i[I_ENGINE]), int(i[I_WHAT]), int(i[I_LAYER])): (int(i[I_WORDS]), int(i[I_MASK])) for i in items
    }


ONE_ENGINE = Datapath((Engine(4, 16, 4),), (0, 0, 0), 1, 32)
WHOLE_MAP = 8 * 3  # words of an 8x8 map with a pad of 1 in banks of 4 columns


def test_lifetimes_of_three_layers_by_hand() -> None:
    # Layer 0 streams its weights in one chunk of 4 blocks of 9 words and keeps its output on chip; layer 1 does so with the
    # output to DRAM; layer 2 is pinned and loads its input, the whole of it, one layer ahead.
    got = held(chain_of(16, 16, 16).workload("three"), ONE_ENGINE, [0, 1, 0, 1, 0, 0, 3, 0, 0])
    assert got[0, HOLDS_PLACES, 0] == (2 * 4 * 9, 0b111)  # of all layers that stream
    assert got[0, HOLDS_INPUT, 0][1] == 0b001
    assert got[0, HOLDS_TENSOR, 0] == (WHOLE_MAP, 0b011)
    assert (0, HOLDS_INPUT, 1) not in got
    assert got[0, HOLDS_STAGE, 1][1] == 0b110  # until the next layer has run: its last store may still wait
    assert got[0, HOLDS_WEIGHTS, 2] == (4 * 9, 0b111)
    assert got[0, HOLDS_INPUT, 2] == (WHOLE_MAP, 0b110)
    assert got[0, HOLDS_STAGE, 2][1] == 0b101  # round the corner, into the next round


def test_two_copies_of_an_image_loaded_ahead_stay() -> None:
    got = held(chain_of(16, 16, 16).workload("three"), ONE_ENGINE, [1, 0, 0, 0, 0, 0, 0, 0, 0])
    assert got[0, HOLDS_INPUT, 0] == (2 * WHOLE_MAP, 0b111)


def test_a_part_of_the_weights_stays_and_the_rest_takes_the_places() -> None:
    # Of 4 blocks 3 are pinned (choice 4): 27 words, and a chunk of one block. It alone streams, so that one place is enough.
    got = held(chain_of(16, 16, 16).workload("three"), ONE_ENGINE, [2, 1, 0, 4, 1, 0, 2, 0, 0])
    assert got[0, HOLDS_WEIGHTS, 1] == (27, 0b111)
    assert got[0, HOLDS_PLACES, 1] == (9, 0b111)


def grown(pool_bram36: int, places: int) -> tuple[list[int], int]:
    """Returns the places of both engines where all weights stream a block at a time, and the block RAMs left over."""
    datapath = Datapath((Engine(4, 64, 4), Engine(4, 64, 4)), (0, 1, 1), 1, 32)
    tables = network_tables(
        chain_of(16, 512, 4).workload("three"), datapath, load_part("xc7z020"), pool_bram36, places
    )
    tiles = tables[6].copy()
    tiles[:, 0] = [[1, 8, 0]] * 3
    plans, spare = settled(*tables[:6], tiles, tables[7], np.array([0, 1, 0, 0, 1, 0, 0, 0, 0]))
    return plans[[0, 1], P_PLACES].tolist(), int(spare)


def test_spare_block_rams_become_places() -> None:
    # Words of 256 bits, 512 in each four blocks. Engine 0 has four chunks of 9 words in a round and wants no more places;
    # engine 1 has 128 of 9 and one of 72 (512 channels are 8 words a tap), so that a place takes 72: 7 in 4 blocks.
    least, _ = grown(140, 2)
    assert least == [2, 2]
    for pool in range(10, 60):
        places, spare = grown(pool, 1 << 20)
        if spare >= 0:
            break
    assert places == [4, 7]
    assert grown(pool + 4, 1 << 20) == ([4, 14], 0)
    assert grown(pool + 4, 5) == ([4, 5], 4)
    assert grown(140, 1 << 20)[0] == [4, 129]


@given(st.integers(1, 300), st.integers(1, 5000))
def test_the_deepest_memory_of_some_block_rams_takes_no_more(width: int, words: int) -> None:
    table = geometry_table(load_part("xc7z020").block_ram)
    blocks = block_rams_of(width, words, table)
    depth = deepest(width, blocks, table)
    assert depth >= words
    assert block_rams_of(width, depth, table) == blocks
    assert block_rams_of(width, depth + 1, table) > blocks


def test_a_residual_keeps_its_tensor_alive() -> None:
    chain = chain_of(16)
    first = chain.last
    chain.conv(16)
    chain.conv(16, adds=first)
    got = held(chain.workload("residual"), ONE_ENGINE, [0, 1, 0, 0, 1, 0, 0, 0, 0])
    assert got[0, HOLDS_TENSOR, 0][1] == 0b111
    assert got[0, HOLDS_TENSOR, 1][1] == 0b110


def test_a_tensor_between_engines_has_two_copies_at_the_reader() -> None:
    datapath = Datapath((Engine(4, 16, 4), Engine(4, 16, 4)), (0, 1, 1), 1, 32)
    got = held(chain_of(16, 16, 16).workload("three"), datapath, [3, 1, 0, 3, 1, 0, 3, 0, 0])
    assert (0, HOLDS_TENSOR, 0) not in got
    assert got[1, HOLDS_TENSOR, 0] == (2 * WHOLE_MAP, 0b11)
    assert got[1, HOLDS_TENSOR, 1] == (WHOLE_MAP, 0b11)


def test_memories_without_words_take_no_block() -> None:
    geometries = geometry_table(load_part("xc7z020").block_ram)
    widths = np.array([[72, 72, 0]], dtype=np.int64)
    depth = np.zeros((1, 3), dtype=np.int64)
    assert bram36_in_use(widths, depth, geometries) == 0
    depth[0, MEMORY_WEIGHT] = 512  # 72 x 512 is one block
    assert bram36_in_use(widths, depth, geometries) == 1
    depth[0, MEMORY_MAP] = 513
    assert bram36_in_use(widths, depth, geometries) == 3
