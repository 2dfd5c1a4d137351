"""The simulator's cycles beside those that RTL simulations of whole networks gave, stored in `benchmarks/results`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.rtl_networks import RUNS
from foldwright.accel.cosim.cycles import schedule_of, simulated_layers
from foldwright.accel.layout import lay_out
from foldwright.accel.network import load_network
from foldwright.netlists.part import load_part
from tests.support import ROOT

MEASURED = json.loads((ROOT / "benchmarks" / "results" / "rtl_networks.json").read_text(encoding="utf-8"))
SMALL = ("digits_w1a2", "digits_w1a2:streamed", "digits_w2a2_balanced", "TFC_1W1A")


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row["network"], marks=() if row["network"] in SMALL else pytest.mark.slow)
        for row in MEASURED["rows"]
    ],
)
def test_layers_and_rounds_take_the_cycles_of_the_rtl(row: dict[str, Any]) -> None:
    setting, part = RUNS[row["network"]], load_part(MEASURED["part"])
    path = setting.path(row["network"])
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/models")
    layout = lay_out(load_network(path, requant=setting.requant), setting.datapath, tilings=setting.tilings)
    # Rounds: words of programs that change between layers are estimated, and where weights stream, tiles of blocks are not cut
    # at the groups of DoReFa's last layers. Layers: exact, but for the stages of DoReFa's unit, two cycles a tile.
    round_, layers = (0.01, 0.002) if setting.streams else (0.005, 0.001)
    assert schedule_of(layout, part).cycles_per_round == pytest.approx(row["cycles_per_round"], rel=round_)
    measured = [layer["measured"] for layer in row["layers"]]
    assert simulated_layers(layout, part) == pytest.approx(measured, rel=layers)
