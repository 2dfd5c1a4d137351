"""The tile-level simulator: layers by hand, tokens between engines, bounds on random schedules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import OUTPUT_CHIP, OUTPUT_DRAM, WEIGHTS_PINNED, expand, total_traffic
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.mapping import M_CYCLES, M_LATENCY
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
    tile_table,
)
from foldwright.accel.tiles import DRAM_LATENCY_CYCLES as WAIT
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
    made = network_tables(workload, datapath, load_part("xc7z020"), 140)
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
SMALL_ENGINE = Datapath((Engine(4, 16, 4),), (0,), 1, 32)
WHOLE = (2, 8, 0)
# Engine 4x16x4 on ONE: blocks = 8/4 = 2; 8 rows; 2 groups of 4 columns a row; T = 1 plane * 1 plane * 9 taps * 16/16 = 9 and
# the drain takes 4 lanes / 1 = 4 < 9. Compute = 2 * 8 * 2 * 9 = 288 cycles.
# Image: 16 * 8 * 8 = 1024 bits, 32 cycles at 32 bits each. Weights: 2 blocks * 9 words of 4 * 16 bits = 1152 bits, 36 cycles.
# Results: 8 * 8 * 8 = 512 bits, 16 cycles. After a tile the pipeline flushes in 11 + 4 (unit) + 1 (search) + 4 (drain) = 20
# cycles, while the next instruction is read: 25 + 3 for one step + 4 for each of 3 tap columns = 40 cycles, which counts.
COMPUTE_ONE, IMAGE_ONE, WEIGHTS_ONE, FLUSH = 288, 32, 36, 40


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # Lead 0: the image is loaded when the layer before, which is the same a round earlier, is computed. The store of
        # 16 cycles happens while the engine waits for the next image.
        (WEIGHTS_PINNED, IMAGE_ONE + WAIT + COMPUTE_ONE),
        (STREAMED, WEIGHTS_ONE + IMAGE_ONE + WAIT + COMPUTE_ONE),
    ],
)
def test_one_layer_takes_the_cycles_worked_out_by_hand(weights: int, expected: int) -> None:
    assert steady(ONE, SMALL_ENGINE, [(weights, OUTPUT_DRAM, WHOLE)]) == expected


def test_events_of_one_layer_are_those_worked_out_by_hand() -> None:
    tables, plans = by_hand(ONE, SMALL_ENGINE, [(STREAMED, OUTPUT_DRAM, WHOLE)])
    ends, events = events_of(tables, plans, 1)
    first = {int(e[V_KIND]): (int(e[V_START]), int(e[V_END])) for e in events if e[V_ROUND] == 0}
    assert tables[2][0, M_CYCLES] == COMPUTE_ONE
    assert first[LOAD_WEIGHTS] == (0, 36)
    assert first[LOAD_INPUT] == (36, 68)
    assert first[COMPUTE] == (108, 396)
    # At 396 the next round asks for its weights and holds the port to 432, then, asked for at 432, for its image, to 464.
    # The results are in memory at 396 + 40 = 436, so their store comes after the image: 464 to 480.
    assert tables[2][0, M_LATENCY] == FLUSH
    assert first[STORE] == (464, 480)
    assert ends.tolist() == [480]


def test_halo_rows_are_loaded_once_and_loads_hide_behind_compute() -> None:
    # Two tiles of 4 rows: the first reads rows 0..4, the second 3..8, of which 3 and 4 are there, so it loads 3 rows.
    decisions = [(WEIGHTS_PINNED, OUTPUT_DRAM, (2, 4, 0))]
    tables, plans = by_hand(ONE, SMALL_ENGINE, decisions)
    table = tile_table(plans, tables[3], 0)
    assert table[:, 2].tolist() == [5 * 128, 3 * 128]
    assert table[:, 3].tolist() == [144, 144]
    assert table[:, 4].tolist() == [256, 256]
    # Only the first load, 640 bits in 20 cycles, is exposed, and the flush between the tiles.
    assert steady(ONE, SMALL_ENGINE, decisions) == 20 + WAIT + COMPUTE_ONE + FLUSH


def test_every_short_tile_pays_its_flush() -> None:
    # Tiles of one row compute 36 cycles. The first loads rows 0 and 1 in 8 cycles; the others' rows arrive 44 cycles after
    # the tile before the last, earlier than the engine has flushed.
    cycles = steady(ONE, SMALL_ENGINE, [(WEIGHTS_PINNED, OUTPUT_DRAM, (2, 1, 0))])
    assert cycles == 8 + WAIT + COMPUTE_ONE + 7 * FLUSH


def test_a_starved_layer_takes_the_time_of_its_traffic() -> None:
    # One bit a cycle: image 1024, weights 1152 and results 512 bits. One layer cannot load ahead of itself, so latency
    # and compute (8 rows * 1 group * 9 cycles on 8x16x8) show, and the store fits behind the next round's weights.
    datapath = Datapath((Engine(8, 16, 8, drain_lanes=8),), (0,), 1, 1)
    decisions = [(STREAMED, OUTPUT_DRAM, (1, 8, 0))]
    _, plans = by_hand(ONE, datapath, decisions)
    assert total_traffic(plans) == (1152 + 1024, 512)
    assert steady(ONE, datapath, decisions) == 1152 + 512 + 1024 + WAIT + 72


def test_layers_that_load_ahead_keep_a_slow_port_busy() -> None:
    # Two layers that stream their weights one layer ahead through a port of 2 bits: nothing but traffic is left.
    datapath = Datapath((Engine(8, 16, 8, drain_lanes=8),), (0, 0), 1, 2)
    decisions = [(1, OUTPUT_CHIP, (2, 8, 0)), (1, OUTPUT_DRAM, (1, 8, 0))]
    _, plans = by_hand(conv_chain(16, 8), datapath, decisions)
    load, store = total_traffic(plans)
    assert steady(conv_chain(16, 8), datapath, decisions) == (load + store) // 2


TWO = conv_chain(16, 8)
TWO_ENGINES = Datapath((Engine(4, 16, 4), Engine(4, 16, 4)), (0, 1), 1, 32)
PIPE: list[Decision] = [(WEIGHTS_PINNED, OUTPUT_CHIP, (4, 8, 0)), (WEIGHTS_PINNED, OUTPUT_DRAM, (2, 8, 0))]


def test_two_engines_work_at_the_pace_of_the_slower() -> None:
    # Layer 1: 4 blocks * 8 rows * 2 groups * 9 = 576 cycles, 32 + 40 to load the image; layer 2 takes 288.
    assert steady(TWO, TWO_ENGINES, PIPE) == 32 + WAIT + 576


def test_a_producer_runs_at_most_one_round_ahead_of_its_reader() -> None:
    # The first layer now takes 144 cycles, its reader 288 * 4: the producer of round r + 2 waits for the reader of r.
    workload = conv_chain(4, 32)
    slow = [(WEIGHTS_PINNED, OUTPUT_CHIP, (1, 8, 0)), (WEIGHTS_PINNED, OUTPUT_DRAM, (8, 8, 0))]
    tables, plans = by_hand(workload, TWO_ENGINES, slow)
    _, events = events_of(tables, plans, 6)
    computed = {(int(e[V_LAYER]), int(e[V_ROUND])): e for e in events if e[V_KIND] == COMPUTE}
    for r in range(4):
        assert computed[0, r + 2][V_START] >= computed[1, r][V_END]
        assert computed[1, r][V_START] >= computed[0, r][V_END] + FLUSH
    assert computed[0, 2][V_START] == computed[1, 0][V_END]
    assert {int(e[V_ENGINE]) for e in computed.values()} == {0, 1}
    # In steady state a round is the reader's compute and flush; it never waits.
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
        moved = events[events[:, V_KIND] != COMPUTE]
        moved = moved[np.lexsort((moved[:, V_END], moved[:, V_START]))]
        assert (moved[1:, V_START] >= moved[:-1, V_END]).all()
        for e in range(len(tables[1])):
            mine = events[(events[:, V_KIND] == COMPUTE) & (events[:, V_ENGINE] == e)]
            assert (mine[1:, V_START] >= mine[:-1, V_END]).all()
