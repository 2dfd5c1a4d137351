"""The cost model: block RAMs by hand, sums that add up, coefficients that reproduce the committed table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldwright.accel.cost import (
    COMPONENTS,
    ENGINE_RESERVE_BRAM36,
    LOADER_BRAM36,
    TERMS,
    Utilization,
    block_rams_of,
    bram36_of_engine,
    coefficients_for,
    cost,
    cost_breakdown,
    cost_row,
    features_of,
    geometry_table,
    lut_of_engine,
    reserve_bram36,
)
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.scale_words import scale_bits
from foldwright.errors import ConfigError
from foldwright.netlists.part import Part, load_part

__all__: list[str] = []

XC7 = load_part("xc7z020")
ECP5 = load_part("lfe5u-85f")
SMALL = Engine(4, 64, 4)


def one(engine: Engine) -> Datapath:
    return Datapath(engines=(engine,), assignment=(0,))


def features(engine: Engine, stores: bool = True) -> dict[str, int]:
    out = np.zeros(len(TERMS), dtype=np.int64)
    features_of(cost_row(engine, stores), out)
    return dict(zip(TERMS, out.tolist(), strict=True))


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [
        (72, 512, 1),  # exactly one RAMB36
        (73, 512, 2),  # three RAMB18 of 36x512
        (36, 512, 1),  # one RAMB18, counted as a whole block
        (36, 1024, 1),
        (36, 1025, 2),  # three RAMB18 of 36x512
        (1, 32768, 1),
        (1, 32769, 2),  # three RAMB18 of 1x16384
        (512, 512, 8),  # 15 RAMB18 of 36x512
        (512, 513, 15),  # 29 of 18x1024 beat 30 of 36x512
        (256, 4096, 29),  # 57 x 1 of 9x2048 two deep = 58; 64 of 4x4096; 114 of 36x512 ...
        (64, 0, 0),
        (0, 64, 0),
    ],
)
def test_block_rams_of_7_series_are_those_found_by_hand(width: int, depth: int, blocks: int) -> None:
    assert block_rams_of(width, depth, geometry_table(XC7.block_ram)) == blocks


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [
        (36, 512, 1),
        (37, 512, 2),
        (72, 512, 2),  # an EBR is half a RAMB36
        (18, 1025, 2),  # two of 9x2048; two of 18x1024
        (64, 1024, 4),
    ],
)
def test_block_rams_of_ecp5_are_those_found_by_hand(width: int, depth: int, blocks: int) -> None:
    assert block_rams_of(width, depth, geometry_table(ECP5.block_ram)) == blocks


def test_an_engine_takes_the_blocks_of_both_its_memories() -> None:
    engine = Engine(8, 72, 4, weight_words=600, map_words=512)
    # Weights 576 x 600: 32 RAMB18 of 18x1024 (36x512 needs 32 too); maps 4 x 9 bytes
    # of 8 bits, 324 x 512: 9 RAMB18.
    assert bram36_of_engine(engine, XC7) == 16 + 5
    # Half the width where every layer packs two planes and a weight word serves both.
    packed = replace(engine, planes_per_word=(2,))
    assert packed.weight_width_bits == 288
    assert bram36_of_engine(packed, XC7) == 8 + 5  # two planes of 36 bits, five bytes each: 10 RAMB18


def test_lanes_are_written_one_by_one_in_bytes_of_nine_bits() -> None:
    # Blocks of 4 channels come in bytes of 8 bits: 128 take 16, four lanes 576 with the ninth bits: 64 RAMB18 of 9x2048.
    engine = Engine(4, 128, 4, weight_words=1, map_words=2048)
    assert engine.map_block_width_bits == 576
    assert bram36_of_engine(engine, XC7) == 32 + 8  # 512 x 1 of weights: 15 RAMB18
    # Blocks of a multiple of 9 channels use all nine.
    assert Engine(9, 72, 4).map_block_width_bits == Engine(9, 72, 4).map_width_bits


def test_features_of_a_column_engine_are_those_found_by_hand() -> None:
    engine = Engine(4, 64, 6, drain_lanes=2, acc_bits=17, levels=3, window_bits=100, threshold_words=65)
    got = features(engine)
    assert got["unit.dk"] == 4 * 64 * 6
    assert (got["unit.acc"], got["unit"], got["unit.planes"]) == (4 * 6 * 17, 24, 0)
    # Two lanes drain at a time, so the last two have none behind them and need no multiplexer.
    assert (got["shadow.acc"], got["shadow.select"]) == (4 * 6 * 17, 4 * 4 * 17)
    assert (got["aligner.bits"], got["aligner.lane"]) == (6 * 64, 64)
    # Three thresholds: two stages, one and two thresholds, a flip bit beside the second stage.
    assert (got["result.acc"], got["result.choice"], got["result"]) == (8 * 2 * 17, 8 * 17, 8 * 2)
    assert got["threshold.bits"] == 4 * 17 + 4 * (2 * 17 + 1)
    # 68 and 140 bits wide, 65 words deep: two layers of 23 + 47 blocks of 3x64, five of 17 + 35 of 4x16.
    assert (got["threshold.ram64"], got["threshold.ram16"]) == (70 + 36, 5 * 52)
    assert got["threshold.select"] == 68 + 140
    assert (got["window.bits"], got["window"], got["window.registers"]) == (300, 1, 600)
    assert (got["writer.word"], got["writer.code"], got["writer"]) == (2 * 64, 2 * 4 * 2, 1)
    # Two lanes of four accumulators leave together, if they leave for DRAM.
    assert (got["writer.item"], got["store.bits"]) == (2 * 4 * 17, 2 * 4 * 17)
    assert features(engine, stores=False)["writer.item"] == features(engine, stores=False)["store.bits"] == 0
    assert got["select.bits"] == 0
    # Two words, of 1 or 2 planes: 24 units, one segment above the first, 64 takes seven bits.
    assert features(replace(engine, planes_per_word=(1, 2)))["unit.planes"] == 24 * 7


def test_features_of_a_dsp_engine_are_those_found_by_hand() -> None:
    engine = Engine(2, 80, 6, planes_per_word=(8,), kind=EngineKind.DSP, acc_bits=15, drain_lanes=2)
    got = features(engine)
    assert got["unit.dk"] == got["unit.acc"] == got["unit"] == got["unit.planes"] == 0
    # Ten values of eight bits: two cascades of five, as a field holds eight.
    assert (got["dsp.value"], got["dsp.ends"], got["dsp.acc"]) == (2 * 6 * 10, 2 * 6, 2 * 6 * 15)
    # Places 0 to 4 delay a value by 0, 0, 1, 2, 3 and a weight by 0 to 4.
    assert got["dsp.skew"] == 6 * 8 * 2 * 6 + 2 * 2 * 10
    assert got["shadow.acc"] == 2 * 6 * 15
    assert engine.dsp_slices == 2 * 2 * 10
    assert cost(one(engine), XC7).dsp == 40
    assert cost(one(engine), XC7, "generic").dsp == 0


def test_features_of_an_engine_that_scales_are_those_found_by_hand() -> None:
    engine = Engine(
        3, 64, 4, acc_bits=14, levels=5, drain_lanes=2, threshold_words=70, requant=Requant.SCALE_SHIFT
    )
    got = features(engine)
    for term in (
        "result.acc",
        "result.choice",
        "result",
        "threshold.bits",
        "threshold.ram64",
        "threshold.ram16",
    ):
        assert got[term] == 0
    assert (got["scale"], got["scale.code"], got["scale.acc"]) == (6, 18, 6 * 14)
    # A channel has a multiplier of 18 bits, a bias of 14 + 18 + 3, three steps of a shift, the greatest of 3 bits.
    assert got["scale.bits"] == 3 * (18 + 35 + 2 + 2 + 2 + 3) == 3 * scale_bits(engine)
    # Of 70 words the last six are half a RAM for twice the bits: 54 + 105 bits, three of 6, 9.
    assert got["scale.ram64"] == (18 + 35 + 3 * 2 + 3) + (9 + 18 + 3 * 1 + 2)
    assert got["scale.ram16"] == (14 + 27 + 3 * 2 + 3) * 5
    assert got["scale.select"] == got["scale.bits"]
    assert features(replace(engine, levels=0))["scale"] == 0


@pytest.mark.parametrize(
    ("part", "acc_bits", "slices"), [(XC7, 14, 6), (XC7, 25, 6), (ECP5, 18, 6), (ECP5, 19, 12)]
)
def test_multipliers_take_a_slice_for_each_channel_and_lane_of_a_beat(
    part: Part, acc_bits: int, slices: int
) -> None:
    engine = Engine(3, 64, 4, acc_bits=acc_bits, levels=5, drain_lanes=2, requant=Requant.SCALE_SHIFT)
    assert cost(one(engine), part).dsp == slices
    assert cost(one(engine), part, "generic").dsp == slices
    assert cost(one(replace(engine, levels=0)), part).dsp == 0


def test_batch_lanes_need_no_aligner_and_one_word_layout_no_multiplexer() -> None:
    assert features(replace(SMALL, lanes=LaneMode.BATCH))["aligner.bits"] == 0
    assert features(replace(SMALL, planes_per_word=(2,)))["select.bits"] == 0
    # Four rows of 64 bits choose between layouts once; of 32 stored bits where every layer packs two planes.
    assert features(replace(SMALL, planes_per_word=(1, 2)))["select.bits"] == 4 * 64
    assert features(replace(SMALL, planes_per_word=(2, 4)))["select.bits"] == 4 * 32
    assert features(replace(SMALL, planes_per_word=(1, 2, 4)))["select.bits"] == 2 * 4 * 64


@pytest.mark.parametrize(
    "change", [{"dm": 5}, {"dk": 68}, {"dn": 5}, {"acc_bits": 17}, {"levels": 2}, {"drain_lanes": 2}]
)
@pytest.mark.parametrize("technology", ["xc7", "generic"])
def test_every_enlargement_costs_luts_and_flip_flops(change: dict[str, Any], technology: str) -> None:
    small, large = (cost(one(e), XC7, technology) for e in (SMALL, replace(SMALL, **change)))
    assert large.lut > small.lut
    assert large.ff > small.ff


def test_lines_of_the_report_sum_up_to_the_cost() -> None:
    engines = (
        Engine(7, 68, 5, planes_per_word=(1, 2), window_bits=147, levels=3),
        Engine(10, 384, 3, arithmetic=Arithmetic.AND, lanes=LaneMode.BATCH),
    )
    datapath = Datapath(engines=engines, assignment=(0, 1, 0))
    for part in (XC7, ECP5):
        lines = cost_breakdown(datapath, part)
        total = cost(datapath, part)
        assert total == Utilization(
            sum(x.lut for x in lines), sum(x.ff for x in lines), sum(x.bram36 for x in lines), 0
        )
        assert {x.owner for x in lines} == {"engine 0", "engine 1", "datapath"}
        assert {x.component for x in lines} <= {*COMPONENTS, "memories"}
        rows = np.stack([cost_row(e, stores) for e, stores in zip(engines, (True, False), strict=True)])
        coefficients = coefficients_for(part)
        assert total.lut == lut_of_engine(rows, coefficients.lut).sum() + coefficients.fixed_lut
        assert total.ff == lut_of_engine(rows, coefficients.ff).sum() + coefficients.fixed_ff


def test_block_rams_include_programs_and_the_store_of_results() -> None:
    datapath = Datapath(engines=(SMALL, SMALL), assignment=(0, 1))
    # Results of 1 x 4 x 16 bits, 512 deep: one block of 72x512.
    reserved = LOADER_BRAM36 + 2 * ENGINE_RESERVE_BRAM36 + 1
    assert reserve_bram36(datapath, XC7) == reserved
    assert cost(datapath, XC7).bram36 == 2 * bram36_of_engine(SMALL, XC7) + reserved
    # 2,048 deep: four blocks of 18x2048.
    assert reserve_bram36(replace(datapath, store_words=2048), XC7) == reserved + 3


def test_hand_mapped_logic_is_only_for_7_series() -> None:
    with pytest.raises(ConfigError, match="technology 'xc7' is not for family 'ecp5'; known: generic"):
        cost(one(SMALL), ECP5, "xc7")
    with pytest.raises(ConfigError, match="did you mean 'generic'"):
        cost(one(SMALL), XC7, "generc")
    assert cost(one(SMALL), XC7).lut < cost(one(SMALL), XC7, "generic").lut
