"""Folding instances: a table file with a part's budgets, options that are checked, generated tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from foldwright.accel.known_workloads import known_workload
from foldwright.agents.registry import SOLVERS
from foldwright.agents.stop import Evaluations
from foldwright.envs import ENVIRONMENTS
from foldwright.envs.folding.estimate import estimated_table
from foldwright.envs.folding.instances import cycles_for, generated, named, names, open_table, real
from foldwright.envs.registry import KINDS, is_folding_table, load_instance, option_names
from foldwright.errors import ConfigError, PartError


@pytest.fixture(name="table")
def _table(tmp_path: Path) -> Path:
    path = tmp_path / "net.v2.json"
    choices = [[{"PE": 1}, 20, 20, 1, 0, 8, 8], [{"PE": 2}, 10, 50, 1, 0, 8, 8]]
    path.write_text(json.dumps([{"name": "m", "op": "MVAU_hls", "choices": choices}]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "budgets"),
    [
        ({}, (53200, 280, 220)),  # of an XC7Z020: RAMB36 are two BRAM18 each
        ({"budget_percent": 70}, (37240, 196, 154)),
        ({"budget_percent": 70.0, "budget_dsp": 0}, (37240, 196, 0)),
        ({"budget_lut": 60, "budget_bram18": 2}, (60, 2, 220)),
        ({"part": "lfe5u-85f"}, (83640, 208, 156)),  # whose blocks have 18 kbit
    ],
)
def test_budgets_are_the_parts_unless_given(
    table: Path, options: dict[str, Any], budgets: tuple[int, ...]
) -> None:
    it = open_table(table, options)
    assert tuple(it.caps.tolist()) == budgets
    assert (it.name, it.target_cycles, it.clock_mhz) == ("folding/net.v2", 0, 100.0)


def test_a_target_is_a_rate_or_cycles(table: Path) -> None:
    assert open_table(table, {"target_fps": 9e6, "clock_mhz": 200}).target_cycles == 22
    assert open_table(table, {"target_cycles": 15}).target_cycles == 15
    assert cycles_for(100e6 / 3, 100) == 3


BAD_OPTIONS = [
    ({"budget_luts": 3}, "no option 'budget_luts'; did you mean 'budget_lut'?"),
    ({"budget_lut": "many"}, "budget_lut: Input should be a valid integer (got 'many')"),
    ({"budget_lut": -1}, "budget_lut is -1, allowed 0..67108863"),
    ({"budget_percent": 0}, "budget_percent is 0, allowed are more than 0 to 100"),
    ({"clock_mhz": 0.5}, "clock_mhz is 0.5, allowed 1..2000"),
    ({"target_fps": 1, "target_cycles": 1}, "target_fps and target_cycles exclude each other; give one"),
    ({"target_fps": 2e8}, "target_fps is 2e+08, allowed up to the clock, 1e+08: a frame takes a cycle"),
    ({"target_fps": 0}, "target_fps is 0, allowed up to the clock"),
    ({"target_cycles": 0}, "target_cycles is 0, allowed are whole numbers from 1"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_wrong_options_are_told(table: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        open_table(table, options)


def test_an_unknown_part_is_told(table: Path) -> None:
    with pytest.raises(PartError, match="did you mean 'xc7z020'"):
        open_table(table, {"part": "xc7z02"})


def test_the_registry_knows_a_table_by_its_beginning(table: Path, tmp_path: Path) -> None:
    assert is_folding_table(table)
    assert "budget_lut" in option_names(table)
    assert load_instance(table, {"budget_lut": 60}).kind == "folding"
    other = tmp_path / "instance.json"
    other.write_text('  {"format": "x"}', encoding="utf-8")
    assert not is_folding_table(other)
    assert option_names("tiling/digits-w1a2-b16") == ()
    with pytest.raises(ConfigError, match=r"no option 'budget_lut'; instances have none"):
        load_instance("tiling/digits-w1a2-b16", {"budget_lut": 3})


def test_folding_is_a_kind_without_an_environment() -> None:
    assert set(KINDS) - set(ENVIRONMENTS) == {"folding"}


def test_there_are_no_named_instances_and_the_error_says_what_to_give() -> None:
    assert names() == []
    assert list(real(3, 0)) == []
    with pytest.raises(ConfigError, match=r"name a table file \(.json or .json.gz\), or a generated one as"):
        named("cnv")


@pytest.mark.parametrize("split", ["train", "validation", "heldout-id", "heldout-size"])
def test_generated_instances_are_solved_and_repeat(split: str) -> None:
    for index in range(2):
        it = generated(split, 3, index)
        assert it == generated(split, 3, index)
        result = SOLVERS["exact"](it, stop=Evaluations(10**6), seed=0)
        assert result.status.value == "optimal"
        it.check(result.solution)


def test_estimates_fall_and_rise_with_parallelism() -> None:
    table = estimated_table(known_workload("digits-w1a2"))
    assert [node.name for node in table.nodes] == [f"{w}{k}" for k in range(4) for w in ("window", "matrix")]
    first = {dict(c.attributes)["PE"]: c for c in table.nodes[1].choices if dict(c.attributes)["SIMD"] == 1}
    assert first[1].cycles == 16 * 9 * 64 == 16 * first[16].cycles
    assert first[1].lut < first[16].lut
