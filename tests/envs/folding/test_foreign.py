"""Foldings from elsewhere: scored by the table, by the rule that FINN has, and as one of our datapaths."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foldwright.accel.cost import cost
from foldwright.accel.folding_config import match_folding, read_folding_config
from foldwright.accel.folding_import import read_folding_table
from foldwright.accel.folding_tables import FoldingChoice, FoldingNode, FoldingTable
from foldwright.accel.known_workloads import known_workload
from foldwright.accel.workload import Workload
from foldwright.envs.folding.dataflow import dataflow_datapath, score_dataflow
from foldwright.envs.folding.foreign import FoldingScore, score_folding
from foldwright.envs.folding.problem import FoldingProblem
from foldwright.envs.folding.rule import best_by_rule, fold_by_rule
from foldwright.errors import ConfigError
from foldwright.netlists.part import load_part
from tests.envs.folding.chains import BY_HAND, every_folding, random_table
from tests.support import shared


def test_a_score_adds_up_by_hand() -> None:
    """100 + 100 cycles side by side; 10 + 20 LUTs and 16 + 1 for the converter from 8 to 16 bits."""
    assert score_folding(BY_HAND, (0, 1)) == FoldingScore(
        100, "a", 47, 4, 0, converter_lut=17, other_ratios=0
    )


def test_converters_of_other_ratios_are_counted_and_told() -> None:
    """From 16 up to 48 bits, 48 + 1 LUTs, and down to 24, 24 + 1."""
    assert score_folding(BY_HAND, (1, 3)) == FoldingScore(50, "a", 22 + 60 + 74, 1, 0, 74, 1)


def test_scores_are_what_the_problem_counts() -> None:
    table = random_table(2)
    it = FoldingProblem("folding/random", table, 999, 99, 99)
    for positions, totals in every_folding(table):
        score, detail = score_folding(table, positions), it.evaluate(it.solution_of(list(positions))).detail
        assert (score.cycles, score.lut, score.bram18, score.dsp) == totals == tuple(detail.values())


def ladder(name: str, columns: int, rows: int, weights: int = 64) -> FoldingNode:
    """Returns a matrix node: block RAM, or LUT RAM for 30 LUTs more a block RAM; DSP slices for LUTs."""
    choices = []
    for simd in [d for d in range(1, columns + 1) if columns % d == 0]:
        for pe in [d for d in range(1, rows + 1) if rows % d == 0]:
            for style in ("block", "distributed"):
                for kind in ("lut", "dsp"):
                    n, block = simd * pe, style == "block"
                    lut = 50 + (10 if kind == "lut" else 2) * n + (0 if block else 30 * 2)
                    attributes = (("SIMD", simd), ("PE", pe), ("ram_style", style), ("resType", kind))
                    used = (weights * columns * rows // n, lut, 2 * block, n * (kind == "dsp"))
                    choices.append(FoldingChoice(attributes, *used, simd, pe))
    return FoldingNode(name, "MVAU_hls", tuple(choices))


CHAIN = FoldingTable((ladder("m0", 6, 4), ladder("m1", 4, 8, 32)))


def texts(positions: tuple[int, ...], table: FoldingTable = CHAIN) -> list[str]:
    return [n.choices[k].text for n, k in zip(table.nodes, positions, strict=True)]


def test_the_rule_raises_simd_first_then_pe() -> None:
    """m0 takes 64 * 24 = 1536 cycles, m1 32 * 32 = 1024; for 300 cycles m0 needs 6 at a time, its SIMD, and m1 4, its SIMD."""
    tail = " ram_style=block resType=lut"
    assert texts(fold_by_rule(CHAIN, 1536, 99)) == ["SIMD=1 PE=1" + tail, "SIMD=1 PE=1" + tail]
    assert texts(fold_by_rule(CHAIN, 1535, 99)) == ["SIMD=2 PE=1" + tail, "SIMD=1 PE=1" + tail]
    assert texts(fold_by_rule(CHAIN, 300, 99)) == ["SIMD=6 PE=1" + tail, "SIMD=4 PE=1" + tail]
    assert texts(fold_by_rule(CHAIN, 128, 99)) == ["SIMD=6 PE=2" + tail, "SIMD=4 PE=2" + tail]


def test_simd_of_matrix_nodes_is_capped_and_pe_goes_on() -> None:
    tail = " ram_style=block resType=lut"
    assert texts(fold_by_rule(CHAIN, 300, 99, most_simd=2)) == ["SIMD=2 PE=4" + tail, "SIMD=2 PE=2" + tail]


def test_what_one_node_cannot_reach_the_others_do_not_try() -> None:
    """Fully unfolded m0 takes 64 cycles; for 16 that m1 could, all are folded for 64."""
    assert fold_by_rule(CHAIN, 16, 99) == fold_by_rule(CHAIN, 64, 99)


def test_memories_leave_block_ram_where_that_is_over_budget() -> None:
    assert [score_folding(CHAIN, fold_by_rule(CHAIN, 300, budget)).bram18 for budget in (4, 3, 2, 1)] == [
        4,
        2,
        2,
        0,
    ]


def test_windows_open_last() -> None:
    choices = [
        FoldingChoice((("SIMD", s), ("parallel_window", w)), (1 if w else 9) * 4 // s, 9, 0, 0, s, s)
        for s in (1, 2, 4)
        for w in (0, 1)
    ]
    table = FoldingTable((FoldingNode("swg", "ConvolutionInputGenerator_rtl", tuple(choices)),))
    assert texts(fold_by_rule(table, 9, 0), table) == ["SIMD=4 parallel_window=0"]
    assert texts(fold_by_rule(table, 8, 0), table) == ["SIMD=4 parallel_window=1"]


@pytest.mark.parametrize("budgets", [(400, 4), (400, 1), (230, 4), (170, 4)])
def test_the_rule_never_beats_the_exact_search(budgets: tuple[int, int]) -> None:
    """All widths of this chain divide one another, so the rule uses no converter that the search may not."""
    even = FoldingTable((ladder("m0", 4, 4), CHAIN.nodes[1]))
    it = FoldingProblem("folding/ladder", even, *budgets, 0)
    found = best_by_rule(it)
    assert found is not None
    assert found.score == score_folding(even, found.positions)
    assert found.score.other_ratios == 0
    it.check(it.solution_of(list(found.positions)))
    choices, value, status = it.solve_exact(lambda work: False)
    assert choices is not None
    assert (status, value <= found.score.cycles) == ("optimal", True)


def config(folder: Path, **nodes: dict[str, Any]) -> Path:
    path = folder / "folding.json"
    path.write_text(json.dumps({"Defaults": {}, **nodes}), encoding="utf-8")
    return path


def short(layers: int) -> Workload:
    """Returns the first layers of CNV W1A1."""
    cnv = known_workload("cnv-w1a1")
    return replace(cnv, name="short", layers=cnv.layers[:layers])


def test_a_folding_becomes_one_engine_a_layer(tmp_path: Path) -> None:
    path = config(tmp_path, swg={"SIMD": 3}, m0={"PE": 16, "SIMD": 3}, m1={"PE": 32, "SIMD": 32})
    datapath, notes = dataflow_datapath(read_folding_config(path), short(2))
    assert [(e.shape, e.planes_per_word, e.levels) for e in datapath.engines] == [
        ("16x24x1", (8,), 1),  # three values of eight bits
        ("32x32x1", (1,), 1),
    ]
    assert datapath.assignment == (0, 1)
    assert notes == []


def test_what_has_no_counterpart_is_told(tmp_path: Path) -> None:
    path = config(tmp_path, m0={"PE": 4, "SIMD": 27}, m1={"PE": 2, "SIMD": 576}, m2={"PE": 1, "SIMD": 2})
    datapath, notes = dataflow_datapath(read_folding_config(path), short(3))
    assert [(e.shape, e.window_bits) for e in datapath.engines] == [
        ("4x216x1", 216),
        ("2x576x1", 0),
        ("1x4x1", 0),
    ]
    assert notes == [
        "m1: SIMD 576 is more than the 64 channels of a tap, which is all that a word takes",
        "m2: words of 2 bits became 4, the least that an engine has",
    ]


@pytest.mark.parametrize(
    ("act_bits", "shape", "planes", "notes"),
    [
        (3, "4x12x1", 4, []),  # a plane of zeros fills the word
        (5, "4x24x1", 8, []),
        (10, "4x24x1", 8, ["m0: takes 10 activation planes, 8 at a time"]),
    ],
)
def test_words_hold_all_planes_of_a_value(
    tmp_path: Path, act_bits: int, shape: str, planes: int, notes: list[str]
) -> None:
    one = short(1)
    other = replace(one, layers=(replace(one.layers[0], act_bits=act_bits),), image_bits=act_bits)
    datapath, told = dataflow_datapath(read_folding_config(config(tmp_path, m0={"PE": 4, "SIMD": 3})), other)
    assert (datapath.engines[0].shape, datapath.engines[0].planes_per_word, told) == (shape, (planes,), notes)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            {},
            "folds 0 matrix nodes by PE and SIMD (), but 'short' has 1 layers; choose the network that it is for",
        ),
        (
            {"m": {"PE": 513, "SIMD": 3}},
            "node 'm' as an engine of PE 513 by SIMD 3: engine 513x24x1: dm is 513, allowed 1..512",
        ),
        ({"m": {"PE": 1, "SIMD": 2304}}, "dk is 18432, allowed 4..1024"),
    ],
)
def test_foldings_that_do_not_suit_are_refused(tmp_path: Path, nodes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        dataflow_datapath(read_folding_config(config(tmp_path, **nodes)), short(1))


def test_our_cycles_are_finns_and_a_little_more(tmp_path: Path) -> None:
    """FINN: (64 / 16) (27 / 3) 900 = 32,400 cycles of the first layer, (64 / 32) (576 / 32) 784 = 28,224 of the second."""
    path = config(tmp_path, m0={"PE": 16, "SIMD": 3}, m1={"PE": 32, "SIMD": 32})
    score = score_dataflow(read_folding_config(path), short(2))
    assert 32_400 <= score.bound_cycles <= score.cycles <= 32_400 + 100
    assert score.use.lut == cost(score.datapath, load_part("xc7z020")).lut


PUBLISHED = [
    # table, configuration: II, LUTs, BRAM18 of the published folding; what the rule reaches in 53,200 LUTs and 280 BRAM18
    ("1w1a", "cnv-w1a1", 36, (32768, 23578, 147), 12800),
    ("1w2a", "cnv-w1a2", 18, (115200, 19415, 202), 25600),
    ("2w2a", "cnv-w2a2", 18, (115200, 19364, 202), 25600),
]


@pytest.mark.parametrize(("table", "folding", "most_simd", "totals", "rule_cycles"), PUBLISHED)
def test_published_foldings_and_finns_rule_on_its_tables(
    table: str, folding: str, most_simd: int, totals: tuple[int, int, int], rule_cycles: int
) -> None:
    """Measured elsewhere: SetFolding's best feasible targets are 7,812 and 3,906 frames/s at 100 MHz."""
    read = read_folding_table(shared(f"reference/finn_cnv/tab_{table}.json.gz"))
    chosen = read_folding_config(shared(f"reference/folding/bnn-pynq/{folding}_folding_config.json"))
    score = score_folding(read, match_folding(chosen, read).positions)
    assert (score.cycles, score.lut, score.bram18, score.dsp) == (*totals, 0)
    found = best_by_rule(FoldingProblem("folding/cnv", read, 53200, 280, 0), most_simd)
    assert found is not None
    assert found.score.cycles == rule_cycles
    ours = score_dataflow(chosen, known_workload(folding))
    planes = 2 if folding == "cnv-w2a2" else 1  # of a weight
    assert 1 <= ours.cycles / (planes * score.cycles) < 1.001
