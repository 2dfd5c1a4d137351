"""The tile-level simulator: layers by hand, tokens between engines, bounds on random schedules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import (
    BUILT_PLACES,
    OUTPUT_CHIP,
    OUTPUT_DRAM,
    WEIGHTS_PINNED,
    WEIGHTS_PINNED_AHEAD,
    expand,
    total_traffic,
)
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.mapping import M_CYCLES, M_LATENCY
from foldwright.accel.repeats import S_CYCLES, S_INPUT_BITS, S_PAUSE, S_STORE_BITS
from foldwright.accel.schedule import NetworkTables, network_tables
from foldwright.accel.simulate import (
    COMPUTE,
    EVENT_FIELDS,
    LOAD_INPUT,
    LOAD_WEIGHTS,
    STORE,
    V_END,
    V_ENGINE,
    V_KIND,
    V_LAYER,
    V_ROUND,
    V_START,
    run_events,
    steady_cycles,
)
from foldwright.accel.tile_table import tile_table
from foldwright.accel.tiles import DRAM_LATENCY_CYCLES as WAIT
from foldwright.accel.tiles import HAND_OVER_CYCLES as HAND
from foldwright.accel.workload import ActKind, WeightKind, Workload
from foldwright.envs.registry import split
from foldwright.envs.tiling import TilingProblem
from foldwright.netlists.part import load_part

IntArray = npt.NDArray[np.int64]
Decision = tuple[int, int, tuple[int, int, int]]
"""Weights, output, and (blocks, rows, order) of a layer's tile."""

STREAMED = 0
HALF_BIT = (1, ActKind.UNSIGNED)


def conv_chain(*channels: int) -> Workload:
    """3x3 convolutions with padding on an 8x8 map of 16 channels of one bit; by hand, T = 9 with 16-bit words."""
    chain = LayerChain((16, 8, 8, *HALF_BIT), (1, WeightKind.BINARY), HALF_BIT)
    for count in channels:
        chain.conv(count)
    return chain.workload("by hand")


def by_hand(
    workload: Workload, datapath: Datapath, decisions: list[Decision]
) -> tuple[NetworkTables, IntArray]:
    """Returns the tables with the tiles of the decisions as the only ones, and the plans."""
    made = network_tables(workload, datapath, load_part("xc7z020"), 140, BUILT_PLACES)
    tiles = np.array([[tile] for _, _, tile in decisions])
    tables = (*made[:6], tiles, made[7])
    choices = np.array([c for weights, output, _ in decisions for c in (weights, output, 0)])
    return tables, expand(*tables, choices)


def steady(workload: Workload, datapath: Datapath, decisions: list[Decision]) -> int:
    tables, plans = by_hand(workload, datapath, decisions)
    bits = datapath.dram_bits_per_cycle
    return int(steady_cycles(tables[0], plans, tables[3], len(datapath.engines), bits)[0])


def events_of(tables: NetworkTables, plans: IntArray, rounds: int) -> tuple[IntArray, IntArray]:
    room = np.empty((50_000, EVENT_FIELDS), dtype=np.int64)
    ends, count = run_events(tables[0], plans, tables[3], len(tables[1]), int(tables[7][1]), rounds, room)
    return ends, room[:count]


ONE = conv_chain(8)
SMALL_ENGINE = Datapath((Engine(4, 16, 4, acc_bits=8),), (0,), 1, 32)
WHOLE = (2, 8, 0)
# Engine 4x16x4 on ONE: blocks = 8/4 = 2; 8 rows; 2 groups of 4 columns a row; T = 1 plane * 1 plane * 9 taps * 16/16 = 9 and
# the drain takes 4 lanes / 1 = 4 < 9. Blocks = 2 * 8 * 2 * 9 = 288 cycles. A tile takes 11 + 4 (unit) + 1 (search) + 4 (drain)
# = 20 more; the next one's program, 58 + 3 (a step) + 4 * 3 (tap columns) = 73 words at most, is read meanwhile.
# Image: 8 * 8 pixels of one word of 16 bits, a beat each: 64 cycles and 8 of the transfer. Weights: 2 blocks * 9 words of 4 * 16
# bits = 1152 bits, 36 cycles and 8. Results: 2 blocks * 64 pixels are 128 items of 4 values of 8 bits, a beat each.
BLOCKS_ONE, FLUSH, IMAGE_ONE, WEIGHTS_ONE, STORE_ONE = 288, 20, 64 + 8, 36 + 8, 128
TILE_ONE = BLOCKS_ONE + FLUSH


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # Lead 0: the image is loaded when the layer before, which is the same a round earlier, has ended. The store has a
        # channel of the port for itself.
        (WEIGHTS_PINNED, HAND + IMAGE_ONE + WAIT + HAND + TILE_ONE),
        (STREAMED, HAND + WEIGHTS_ONE + IMAGE_ONE + WAIT + HAND + TILE_ONE),
        # Ahead: two copies of the image, so that one is loaded while the other is read.
        (WEIGHTS_PINNED_AHEAD, TILE_ONE),
    ],
)
def test_one_layer_takes_the_cycles_worked_out_by_hand(weights: int, expected: int) -> None:
    assert steady(ONE, SMALL_ENGINE, [(weights, OUTPUT_DRAM, WHOLE)]) == expected


def test_events_of_one_layer_are_those_worked_out_by_hand() -> None:
    tables, plans = by_hand(ONE, SMALL_ENGINE, [(STREAMED, OUTPUT_DRAM, WHOLE)])
    ends, events = events_of(tables, plans, 1)
    first = {int(e[V_KIND]): (int(e[V_START]), int(e[V_END])) for e in events if e[V_ROUND] == 0}
    assert tables[2][0, M_CYCLES] == BLOCKS_ONE
    assert tables[2][0, M_LATENCY] == FLUSH
    assert first[LOAD_WEIGHTS] == (0, 44)
    assert first[LOAD_INPUT] == (44, 116)
    assert first[COMPUTE] == (116 + 52 + 7, 483)
    assert first[STORE] == (483, 611)
    assert ends.tolist() == [611]


def test_every_tile_loads_all_rows_that_it_reads() -> None:
    # Two tiles of 4 rows: the first reads rows 0..4, the second 3..7, each 5 rows of 8 words of 32 bits.
    decisions = [(WEIGHTS_PINNED, OUTPUT_DRAM, (2, 4, 0))]
    tables, plans = by_hand(ONE, SMALL_ENGINE, decisions)
    table = tile_table(tables[0], plans, tables[3], 0)
    assert table[:, S_INPUT_BITS].tolist() == [5 * 256, 5 * 256]
    assert table[:, S_CYCLES].tolist() == [144 + FLUSH] * 2
    assert table[:, S_STORE_BITS].tolist() == [64 * 32] * 2
    # Only the first load, 40 beats, is exposed; the second arrives while the first tile computes.
    assert steady(ONE, SMALL_ENGINE, decisions) == HAND + 48 + WAIT + HAND + 2 * (144 + FLUSH)


def test_short_tiles_wait_for_their_loads() -> None:
    # Tiles of one row take 36 + 20 cycles. The first and the last read 2 rows, in 16 + 8 cycles, the others 3, in 32. From
    # the end of a tile, 7 + 32 + 52 + 7 = 98 cycles pass until the tile behind the next starts, 42 more than the next takes.
    # Starts: 83, 139, then 98 after the end of the last but one: 237, 293, 391, 447, 545; the last is loaded in time: 601.
    cycles = steady(ONE, SMALL_ENGINE, [(WEIGHTS_PINNED, OUTPUT_DRAM, (2, 1, 0))])
    assert cycles == HAND + 601 + 36 + FLUSH


def test_two_copies_of_rows_go_on_across_rounds() -> None:
    # The same with the first tiles of a round loaded while the last of the round before are computed: every other tile
    # starts 98 cycles after the end of the last but one, or 90 where it reads two rows only, those at both edges.
    cycles = steady(ONE, SMALL_ENGINE, [(WEIGHTS_PINNED_AHEAD, OUTPUT_DRAM, (2, 1, 0))])
    assert cycles == 3 * (56 + 98) + 56 + 90


def test_a_starved_layer_takes_the_time_of_its_traffic() -> None:
    # One bit a cycle: image 1024, weights 1152 and results 64 items of 8 * 4 bits. One layer cannot load ahead of itself, so
    # latency and compute (8 rows * 1 group * 9 cycles on 8x16x8, 17 more) show; the store has a channel for itself.
    datapath = Datapath((Engine(8, 16, 8, drain_lanes=8, acc_bits=4),), (0,), 1, 1)
    decisions = [(STREAMED, OUTPUT_DRAM, (1, 8, 0))]
    _, plans = by_hand(ONE, datapath, decisions)
    assert total_traffic(plans) == (1152 + 1024, 2048)
    assert steady(ONE, datapath, decisions) == HAND + 1152 + 8 + 1024 + 8 + WAIT + HAND + 72 + 17


def test_layers_that_load_ahead_keep_a_slow_port_busy() -> None:
    # Two layers that stream their weights one layer ahead through a port of 2 bits: nothing but three loads is left.
    datapath = Datapath((Engine(8, 16, 8, drain_lanes=8, acc_bits=4),), (0, 0), 1, 2)
    decisions = [(1, OUTPUT_CHIP, (2, 8, 0)), (1, OUTPUT_DRAM, (1, 8, 0))]
    _, plans = by_hand(conv_chain(16, 8), datapath, decisions)
    load, _ = total_traffic(plans)
    assert steady(conv_chain(16, 8), datapath, decisions) == load // 2 + 3 * 8


TWO = conv_chain(16, 8)
TWO_ENGINES = Datapath((Engine(4, 16, 4), Engine(4, 16, 4, acc_bits=8)), (0, 1), 1, 32)
PIPE: list[Decision] = [(WEIGHTS_PINNED, OUTPUT_CHIP, (4, 8, 0)), (WEIGHTS_PINNED, OUTPUT_DRAM, (2, 8, 0))]


def test_two_engines_work_at_the_pace_of_the_slower() -> None:
    # Layer 1: 4 blocks * 8 rows * 2 groups * 9 = 576 cycles, and the image's load; layer 2 takes 288.
    assert steady(TWO, TWO_ENGINES, PIPE) == HAND + IMAGE_ONE + WAIT + HAND + 576 + FLUSH


def test_a_producer_runs_at_most_one_round_ahead_of_its_reader() -> None:
    # The first layer now takes 144 cycles, its reader 288 * 4: the producer of round r + 2 waits for the reader of r.
    workload = conv_chain(4, 32)
    slow = [(WEIGHTS_PINNED, OUTPUT_CHIP, (1, 8, 0)), (WEIGHTS_PINNED, OUTPUT_DRAM, (8, 8, 0))]
    tables, plans = by_hand(workload, TWO_ENGINES, slow)
    _, events = events_of(tables, plans, 6)
    computed = {(int(e[V_LAYER]), int(e[V_ROUND])): e for e in events if e[V_KIND] == COMPUTE}
    for r in range(4):
        assert computed[0, r + 2][V_START] >= computed[1, r][V_END] + HAND
        assert computed[1, r][V_START] >= computed[0, r][V_END] + HAND
    assert computed[0, 2][V_START] == computed[1, 0][V_END] + HAND
    assert {int(e[V_ENGINE]) for e in computed.values()} == {0, 1}
    # In steady state a round is the reader's tile; it never waits.
    assert steady(workload, TWO_ENGINES, slow) == 8 * 8 * 2 * 9 + FLUSH


def test_the_last_round_is_like_those_before() -> None:
    tables, plans = by_hand(TWO, TWO_ENGINES, [(1, OUTPUT_CHIP, (1, 1, 0)), (1, OUTPUT_DRAM, (1, 1, 1))])
    few, _ = events_of(tables, plans, 5)
    many, _ = events_of(tables, plans, 12)
    assert few.tolist() == many[:5].tolist()
    assert len(set(np.diff(many)[3:].tolist())) == 1


@pytest.mark.parametrize("decisions", [PIPE, [(0, OUTPUT_DRAM, (1, 1, 0)), (2, OUTPUT_DRAM, (1, 1, 1))]])
def test_more_dram_bits_are_never_slower_here(decisions: list[Decision]) -> None:
    cycles = [
        steady(TWO, Datapath(TWO_ENGINES.engines, (0, 1), 1, bits), decisions)
        for bits in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > cycles[-1]


@pytest.mark.parametrize(("name", "count"), [("train", 12), ("validation", 6)])
def test_no_schedule_beats_the_bound(name: str, count: int) -> None:
    rng = np.random.default_rng(7)
    for problem in split("tiling", name, count, seed=11):
        assert isinstance(problem, TilingProblem)
        bound = problem.bound().value
        for _ in range(30):
            cycles = problem.cost_of(rng.integers(problem.sizes))
            assert cycles < 0 or cycles >= bound, problem.name


def test_transfers_never_overlap_and_engines_take_one_tile_at_a_time() -> None:
    rng = np.random.default_rng(3)
    for problem in split("tiling", "train", 6, seed=12):
        assert isinstance(problem, TilingProblem)
        tables = problem.tables
        _, events = events_of(tables, expand(*tables, rng.integers(problem.sizes)), 2)
        for kinds in ((LOAD_WEIGHTS, LOAD_INPUT), (STORE,)):
            moved = events[np.isin(events[:, V_KIND], kinds)]
            moved = moved[np.lexsort((moved[:, V_END], moved[:, V_START]))]
            assert (moved[1:, V_START] >= moved[:-1, V_END]).all()
        for e in range(len(tables[1])):
            mine = events[(events[:, V_KIND] == COMPUTE) & (events[:, V_ENGINE] == e)]
            assert (mine[1:, V_START] >= mine[:-1, V_END]).all()


@pytest.mark.parametrize("first", [8, 2, 1])
def test_a_short_last_tile_waits_for_half_of_the_program_that_follows(first: int) -> None:
    # Matrix products of 16 bits on 4x16x1: T = 1, a block a channel of 4; a tile takes 11 + 4 + 1 + 1 = 17 more. All words of
    # the next program are read in 58 + 3 + 4 = 65 cycles, in every other round, behind the tile of the last layer.
    chain = LayerChain((16, 1, 1, *HALF_BIT), (1, WeightKind.BINARY), HALF_BIT)
    chain.matmul(16)
    chain.matmul(4 * first)
    datapath = Datapath((Engine(4, 16, 1, acc_bits=8),), (0, 0), 8, 64)
    decisions = [
        (WEIGHTS_PINNED_AHEAD, OUTPUT_CHIP, (4, 1, 0)),
        (WEIGHTS_PINNED_AHEAD, OUTPUT_DRAM, (first, 1, 0)),
    ]
    tables, plans = by_hand(chain.workload("dense"), datapath, decisions)
    table = tile_table(tables[0], plans, tables[3], 0)
    assert table[:, S_CYCLES].tolist() == [4 * 8 + 17, first * 8 + 17]
    assert table[:, S_PAUSE].tolist() == [0, (max(0, 65 - 8 * first - 17) + 1) // 2]
