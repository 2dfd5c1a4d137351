"""A placed netlist becomes the plain values of the floorplan: every cell once, and the nets that cost most."""

from __future__ import annotations

import numpy as np

from foldwright.netlists.fabric import grid_fabric, placement_sites
from foldwright.netlists.netlist import build_netlist
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import Placement
from foldwright.report.placed import floorplan_of, group_label


def test_a_floorplan_by_hand() -> None:
    """Two units and a memory on an 8 x 10 grid: CLB columns 0, 1, 2, 4, 5, 7 of ten tiles, BRAM column 6 of two sites."""
    cells = [
        ("a", "CLB", "engine0/unit0.0"),
        ("b", "CLB", "engine0/unit0.1"),
        ("m", "BRAM", "engine0/weights"),
    ]
    netlist = build_netlist("n", cells, [(("a", "b"), 3), (("b", "m"), 64), (("a", "m"), 1)])
    fabric = grid_fabric(8, 10)
    site = np.array([0, 12, 1], dtype=np.int32)  # tiles (0, 0), (1, 2) and the upper block RAM, (6, 5)
    assert placement_sites(fabric, "CLB").names[12] == "CLB_X1Y2"
    plan = floorplan_of(netlist, fabric, Placement(site), "grid")
    groups = {g.label: g.cells for g in plan.groups}
    assert groups == {"engine 0 units": ((0, 0, 1), (1, 2, 1)), "engine 0 weight memory": ((6, 5, 5),)}
    assert [n.weight for n in plan.nets] == [64, 3, 1]
    assert plan.nets[0].pins == ((1, 2), (6, 5))
    assert plan.columns[6] == "BRAM"


def test_the_hole_and_the_clock_regions_of_a_real_part_are_told() -> None:
    fabric = load_part("xc7z020").fabric
    assert fabric is not None
    netlist = build_netlist("n", [("a", "CLB", ""), ("d", "DSP48", "")], [((0, 1), 1)])
    plan = floorplan_of(netlist, fabric, Placement(np.zeros(2, dtype=np.int32)), "xc7z020")
    assert plan.holes == (("PS7", 10, 50, 32, 149),)
    assert (plan.width, plan.height, plan.region_rows) == (74, 150, (0, 50, 100))
    assert plan.groups[0].label == "top"
    assert {c[2] for c in plan.groups[0].cells} == {1, 2}  # two DSP48 share five rows


def test_labels_keep_the_engine_and_drop_the_rest() -> None:
    assert group_label("engine2/lane14") == "engine 2 lanes"
    assert group_label("engine0/result3.1") == "engine 0 results"
    assert group_label("") == "top"
