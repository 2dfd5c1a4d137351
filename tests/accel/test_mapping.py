"""Layers on engines, worked out by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.cost import COST_FIELDS, cost_row
from foldwright.accel.datapath import Arithmetic, Engine, LaneMode
from foldwright.accel.known_workloads import LayerChain, known_workload
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_CYCLES,
    M_DRAIN,
    M_GROUPS_PER_ROW,
    M_INTERVAL,
    M_LATENCY,
    M_PA,
    M_PACKED,
    M_ROW_CYCLES,
    M_T,
    M_WEIGHT_WORD_BITS,
    M_WEIGHT_WORDS_PER_BLOCK,
    MAPPING_FIELDS,
    accumulator_bits,
    map_layers,
    map_run,
    map_words,
    unit_latency,
    weight_planes,
)
from foldwright.accel.rtl.popcount import popcount_latency
from foldwright.accel.tables import E_LEVELS, ENGINE_FIELDS, LAYER_FIELDS, engine_table, layer_table
from foldwright.accel.workload import ActKind, WeightKind, Workload

IntArray = npt.NDArray[np.int64]


def mapped(workload: Workload, layer: int, engine: Engine, batch: int = 1) -> IntArray:
    """Returns the mapping of a layer with all layers on one engine."""
    layers = layer_table(workload)
    out: IntArray = map_layers(layers, engine_table([engine]), np.zeros(len(layers), dtype=np.int64), batch)
    row: IntArray = out[layer]
    return row


def one_layer(
    weights: tuple[int, WeightKind],
    acts: tuple[int, ActKind],
    channels: int = 16,
    side: int = 8,
    stride: int = 1,
) -> Workload:
    chain = LayerChain((channels, side, side, *acts), weights, (1, ActKind.UNSIGNED))
    chain.conv(8, stride=stride)
    return chain.workload("one")


BINARY, UNSIGNED = (1, WeightKind.BINARY), (1, ActKind.UNSIGNED)


def test_tables_have_the_columns_that_kernels_make_room_for() -> None:
    engine = Engine(8, 16, 2)
    assert engine_table([engine]).shape == (1, ENGINE_FIELDS)
    assert cost_row(engine, stores=True).shape == (COST_FIELDS,)
    assert layer_table(known_workload("cnv-w1a1")).shape[1] == LAYER_FIELDS


def test_a_binary_convolution_by_hand() -> None:
    # CNV's second layer, 64 -> 64 channels, 28x28 out, on 16x64x15 draining two lanes a cycle: T = 9 taps * 64/64 = 9,
    # drain = ceil(15/2) = 8, 64/16 = 4 blocks, 28 rows, ceil(28/15) = 2 groups a row: 4 * 28 * 2 * 9 = 2016 cycles.
    got = mapped(known_workload("cnv-w1a1"), 1, Engine(16, 64, 15, drain_lanes=2))
    assert got[[M_PA, M_PACKED, M_T, M_DRAIN, M_INTERVAL]].tolist() == [1, 0, 9, 8, 9]
    assert got[[M_BLOCKS, M_GROUPS_PER_ROW, M_CYCLES]].tolist() == [4, 2, 2016]
    assert got[[M_WEIGHT_WORDS_PER_BLOCK, M_WEIGHT_WORD_BITS]].tolist() == [9, 1024]


def test_a_drain_longer_than_the_block_sets_the_pace() -> None:
    assert mapped(known_workload("cnv-w1a1"), 1, Engine(16, 64, 15))[[M_T, M_INTERVAL]].tolist() == [9, 15]


def test_the_window_packs_taps_of_the_image_into_words() -> None:
    # 3 channels * 9 taps = 27 bits fit one word of 64: 8 planes, 8 cycles instead of 8 * 9.
    first = known_workload("cnv-w1a1")
    assert mapped(first, 0, Engine(16, 64, 15))[[M_PACKED, M_T]].tolist() == [0, 72]
    assert mapped(first, 0, Engine(16, 64, 15, window_bits=215))[[M_PACKED, M_T]].tolist() == [0, 72]
    got = mapped(first, 0, Engine(16, 64, 15, window_bits=216))
    assert got[[M_PACKED, M_T, M_WEIGHT_WORDS_PER_BLOCK]].tolist() == [1, 8, 1]


def test_groups_and_planes_in_a_word_by_hand() -> None:
    # DoReFa's first layer: two groups of 34 -> 90 channels, 5x5, 2-bit maps, on 18x72x14 with both planes in a word of 36
    # channels: T = 1 * 1 * 25 * 1; blocks 2 * 90/18 = 10; 54 rows of ceil(54/14) = 4 groups; drain ceil(14/1) * 1 = 14.
    got = mapped(known_workload("dorefa"), 0, Engine(18, 72, 14, planes_per_word=(2,)))
    assert got[[M_PA, M_T, M_DRAIN, M_BLOCKS, M_CYCLES]].tolist() == [2, 25, 14, 10, 10 * 54 * 4 * 25]
    # Each weight word serves both planes: half of the bits are stored.
    assert got[[M_WEIGHT_WORDS_PER_BLOCK, M_WEIGHT_WORD_BITS]].tolist() == [25, 18 * 36]


def test_the_faster_of_two_word_layouts_is_taken() -> None:
    # 16 channels of 2 bits, words of 32: one plane a word takes 2 * 9 words, both planes 1 * 9.
    workload = one_layer(BINARY, (2, ActKind.UNSIGNED))
    assert mapped(workload, 0, Engine(4, 32, 2, planes_per_word=(1, 2)))[[M_PA, M_T]].tolist() == [2, 9]
    # With words of 16 both take 18 cycles: fewer planes win, for they need the least weight memory.
    assert mapped(workload, 0, Engine(4, 16, 2, planes_per_word=(1, 2)))[[M_PA, M_T]].tolist() == [1, 18]


def test_shifting_past_more_planes_than_the_weights_have_idles() -> None:
    # 4 bits as two groups of 2 planes: 9 taps * 2 + one idle cycle, for the accumulator shifts by two between them.
    got = mapped(one_layer(BINARY, (4, ActKind.UNSIGNED)), 0, Engine(4, 32, 2, planes_per_word=(2,)))
    assert got[M_T] == 9 * 2 + 1


def test_batch_lanes_carry_frames() -> None:
    engine = Engine(4, 16, 4, lanes=LaneMode.BATCH)
    got = mapped(one_layer(BINARY, UNSIGNED), 0, engine, batch=6)
    assert got[[M_GROUPS_PER_ROW, M_CYCLES]].tolist() == [8 * 2, 2 * 8 * 16 * 9]


def test_residuals_are_read_beside_the_operands() -> None:
    chain = LayerChain((16, 8, 8, *UNSIGNED), BINARY, (2, ActKind.UNSIGNED))
    first = chain.conv(16)
    chain.conv(16, reads=first, adds=first)
    got = mapped(chain.workload("residual"), 1, Engine(4, 16, 1))
    assert got[[M_T, M_INTERVAL]].tolist() == [18, 18 + 2]


def test_what_a_tile_takes_besides_its_blocks() -> None:
    # 11 + unit of 64 bits: 3 stages, rows 22 -> 8 -> 3: 5; one search stage; drain 8; 3 since other layers pool: 28.
    cnv = known_workload("cnv-w1a1")
    assert mapped(cnv, 1, Engine(16, 64, 15, drain_lanes=2))[M_LATENCY] == 28
    assert (
        mapped(cnv, 1, Engine(16, 64, 15, drain_lanes=2, levels=3))[M_LATENCY] == 29
    )  # a stage more to search
    # Raw results pass search and pooling by: 8 + 5 + 15 lanes + 2.
    assert mapped(cnv, 8, Engine(16, 64, 15))[M_LATENCY] == 8 + 5 + 15 + 2


def test_the_window_waits_at_every_row_and_is_filled_at_first() -> None:
    # Strips of 3 tap rows and batch lanes: a row begins with 3 batches of 3 pixels. A block takes 8 cycles, so that the first
    # batch hides behind it and two show: 2 * 3 cycles at each of 30 rows, and 3 more, the first, once in a tile.
    engine = Engine(16, 28, 9, lanes=LaneMode.BATCH, drain_lanes=2, window_bits=216, line_bits=24)
    got = mapped(known_workload("cnv-w1a1"), 0, engine, batch=9)
    assert got[[M_T, M_INTERVAL, M_ROW_CYCLES]].tolist() == [8, 8, 30 * 8 + 6]
    assert got[M_CYCLES] == 4 * 30 * (30 * 8 + 6)
    # 11 + unit of 28 bits: 3 stages, rows 10 -> 4 -> 2: 5; search 1, drain 5, pooling elsewhere 3, the first fill 3.
    assert got[M_LATENCY] == 11 + 5 + 1 + 5 + 3 + 3


def test_a_lane_writes_as_many_words_as_its_reader_holds_planes_in() -> None:
    # Results of two bits: two words where the reader holds one plane a word, one where it holds both; raw results leave as items.
    chain = LayerChain((16, 8, 8, *UNSIGNED), BINARY, (2, ActKind.UNSIGNED))
    chain.conv(16)
    chain.conv(16)
    layers = layer_table(chain.workload("two"))
    first, assignment = Engine(4, 16, 12), np.array([0, 1])
    for planes, drain in (((1,), 24), ((2,), 12)):
        reader = Engine(4, 32, 12, planes_per_word=planes)
        got = map_layers(layers, engine_table([first, reader]), assignment, 1)
        assert got[:, M_DRAIN].tolist() == [drain, 12]
        assert got[0, M_INTERVAL] == max(9, drain)


def test_a_run_is_never_slower_than_in_a_design() -> None:
    chain = LayerChain((16, 8, 8, *UNSIGNED), BINARY, (2, ActKind.UNSIGNED))
    chain.conv(16)
    chain.conv(16)
    layers = layer_table(chain.workload("two"))
    engines = engine_table([Engine(4, 16, 12), Engine(4, 32, 12)])
    row, out, saving = (
        engines[0].copy(),
        np.zeros((2, MAPPING_FIELDS), dtype=np.int64),
        np.zeros((2, 2), np.int64),
    )
    row[E_LEVELS] = 1
    map_run(layers, 0, 2, row, 1, out, saving)
    # Both on one engine: the first writes two words, 24 cycles a block instead of 12, in each of a row's one group.
    assert out[:, M_DRAIN].tolist() == [24, 12]
    assert saving.tolist() == [[12, 12], [0, 0]]
    design = map_layers(layers, engines[:1], np.zeros(2, dtype=np.int64), 1)
    assert (out[:, [M_CYCLES, M_LATENCY]] <= design[:, [M_CYCLES, M_LATENCY]]).all()


def test_parts_of_a_readers_groups_begin_blocks() -> None:
    # 12 channels for a reader of two groups: two parts of 6, each of 2 blocks of 4, where 3 blocks would hold all.
    chain = LayerChain((16, 8, 8, *UNSIGNED), BINARY, UNSIGNED)
    chain.conv(12)
    chain.conv(8, groups=2)
    assert mapped(chain.workload("groups"), 0, Engine(4, 16, 4))[M_BLOCKS] == 4


@pytest.mark.parametrize(
    ("dk", "planes"), [(28, (1,)), (32, (1,)), (64, (1,)), (128, (2,)), (72, (2,)), (96, (1, 2))]
)
def test_units_have_about_the_stages_of_their_netlist(dk: int, planes: tuple[int, ...]) -> None:
    stages = popcount_latency(dk, Arithmetic.XNOR, planes, "xc7") + 1
    row = engine_table([Engine(4, dk, 4)])[0]
    assert abs(unit_latency(row) - stages) <= 2


@pytest.mark.parametrize(
    ("kind", "bits", "xnor", "both"),
    [
        (WeightKind.BINARY, 1, 1, 2),
        (WeightKind.TERNARY, 2, 2, 2),
        (WeightKind.ODD, 3, 3, 4),
        (WeightKind.SIGNED, 4, 0, 4),
    ],
)
def test_weight_planes_by_kind(kind: WeightKind, bits: int, xnor: int, both: int) -> None:
    row = layer_table(one_layer((bits, kind), UNSIGNED))[0]
    from foldwright.accel.tables import L_W_BITS, L_W_KIND

    assert weight_planes(row[L_W_KIND], row[L_W_BITS], 0) == xnor
    assert weight_planes(row[L_W_KIND], row[L_W_BITS], 1) == both


def test_an_xnor_engine_cannot_run_signed_weights() -> None:
    workload = one_layer((4, WeightKind.SIGNED), UNSIGNED)
    assert mapped(workload, 0, Engine(4, 16, 4))[M_PA] == 0
    assert mapped(workload, 0, Engine(4, 16, 4, arithmetic=Arithmetic.AND))[M_T] == 4 * 9


def test_signed_maps_with_padding_take_one_plane_a_word() -> None:
    workload = one_layer(BINARY, (2, ActKind.SIGNED))
    assert mapped(workload, 0, Engine(4, 32, 4, planes_per_word=(1, 2)))[M_PA] == 1
    assert mapped(workload, 0, Engine(4, 32, 4, planes_per_word=(2,)))[M_PA] == 0


@pytest.mark.parametrize(
    ("stride", "batch", "is_batch", "expected"),
    [
        # Columns 0..7 shifted by the pad of 1 take 9 places, ceil(9/4) = 3 words a row.
        (1, 1, 0, 8 * 3),
        # Stride 2: ceil(9/2) = 5 places in each of 2 phases, ceil(5/4) = 2 words each.
        (2, 1, 0, 8 * 2 * 2),
        (1, 3, 0, 8 * 3 * 3),
        # Batch lanes: every pixel a word for each 4 frames.
        (1, 6, 1, 64 * 2),
    ],
)
def test_words_of_a_feature_map_by_hand(stride: int, batch: int, is_batch: int, expected: int) -> None:
    row = layer_table(one_layer(BINARY, UNSIGNED, stride=stride))[0]
    assert map_words(row, batch, 1, 16, 4, is_batch) == expected


def test_accumulators_hold_the_span_of_the_sum() -> None:
    # 9 taps * 64 channels of products 0 or 1: 576 < 2^10, and a sign.
    row = layer_table(one_layer(BINARY, UNSIGNED, channels=64))[0]
    assert accumulator_bits(row, 0) == 11
    # As AND planes a binary weight has two, of weights 1 and 2: three times the span.
    assert accumulator_bits(row, 1) == 12
