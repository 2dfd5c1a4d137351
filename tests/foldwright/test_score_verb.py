"""The verb `score`: a folding by a table's estimates and by our models, a line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foldwright.cli import main
from tests.support import shared

FOLDING = {
    f"m{k}": {"PE": pe, "SIMD": simd} for k, (pe, simd) in enumerate(((16, 1), (16, 16), (16, 16), (10, 32)))
}


def test_a_network_that_comes_along_is_scored_by_our_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the four layers of digits_w1a2 the second takes longest: (32 / 16) (144 / 16) 64 = 1,152 cycles and a little."""
    path = tmp_path / "f.json"
    path.write_text(json.dumps(FOLDING), encoding="utf-8")
    assert main(["score", str(path), "--network", "digits_w1a2", "--clock-mhz", "200"]) == 0
    lines = {line[:15].strip(): line[15:] for line in capsys.readouterr().out.splitlines()}
    rate, words = lines["by our models"].split(": ")
    cycles = int(words.split()[0].replace(",", ""))
    assert 1_152 <= cycles < 1_152 + 50
    assert rate == f"{200e6 / cycles:,.0f} frames/s at 200 MHz"
    assert lines["engines"] == "16x8x1 + 16x32x1 + 16x32x1 + 10x64x1 (dm x dk x dn)"
    assert "note" not in lines


def test_the_published_folding_is_on_one_scale_with_ours(capsys: pytest.CaptureFixture[str]) -> None:
    folding = str(shared("reference/folding/bnn-pynq/cnv-w1a1_folding_config.json"))
    table = str(shared("reference/finn_cnv/tab_1w1a.json.gz"))
    assert main(["score", folding, "--table", table, "--network", "cnv-w1a1"]) == 0
    out = capsys.readouterr().out
    assert (
        "by the table   3,052 frames/s at 100 MHz: 32,768 cycles of MVAU_hls_6; 23,578 LUTs, 419 of them in width converters, "
        "147 BRAM18, 0 DSP slices"
    ) in out
    assert (
        "note           ram_style auto is counted as block, as FINN's estimators do: 9 nodes, MVAU_hls_0 first"
        in out
    )
    assert "by our models  3,05" in out
    assert (
        "16x24x1 + 32x32x1 + 16x32x1 + 16x32x1 + 4x32x1 + 1x32x1 + 1x4x1 + 1x8x1 + 5x4x1 (dm x dk x dn)"
        in out
    )
