"""Turns a placed netlist into the plain values of the floorplan picture."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np

from foldwright.netlists.fabric import Fabric, expand_range
from foldwright.netlists.netlist import Netlist
from foldwright.netlists.placement import Placement, coordinates, net_lengths
from foldwright.report.data import Floorplan, FloorplanGroup, FloorplanNet

__all__ = ["floorplan_of", "group_label"]

_SHOWN_NETS = 24
_WORDS = {
    "unit": "units", "row": "weight registers", "lane": "lanes", "threshold": "thresholds", "result": "results",
    "weights": "weight memory", "map": "map memory", "line": "line memory", "window": "windows",
}  # fmt: skip


def group_label(path: str) -> str:
    """Returns what a group of a datapath's netlist is in a legend; its numbers beyond the engine's are dropped.

    >>> group_label("engine1/unit3.2"), group_label("dma"), group_label("engine0/control")
    ('engine 1 units', 'dma', 'engine 0 control')
    """
    owner, _, part = path.partition("/")
    owner = re.sub(r"(?<=[a-z])(?=\d)", " ", owner)
    part = re.sub(r"[\d.]+$", "", part.partition("/")[0])
    return f"{owner} {_WORDS.get(part, part)}".strip() or "top"


def floorplan_of(
    netlist: Netlist, fabric: Fabric, placement: Placement, part: str, note: str = ""
) -> Floorplan:
    """Returns the floorplan: cells by group, and the nets with the most wire, the widest first."""
    x, y = coordinates(netlist, fabric, placement)
    return Floorplan(
        part=part,
        width=fabric.width,
        height=fabric.height,
        columns=fabric.column_kinds,
        holes=tuple((h.name, *_corners(h.columns, h.rows)) for h in fabric.holes),
        region_columns=fabric.region_columns,
        region_rows=fabric.region_rows,
        is_upwards=fabric.y_grows == "up",
        groups=_groups(netlist, fabric, x.tolist(), y.tolist()),
        nets=_nets(netlist, x, y),
        note=note,
    )


def _corners(columns: str, rows: str) -> tuple[int, int, int, int]:
    across, up = expand_range(columns), expand_range(rows)
    return across[0], up[0], across[-1], up[-1]


def _groups(netlist: Netlist, fabric: Fabric, x: list[int], y: list[int]) -> tuple[FloorplanGroup, ...]:
    heights = {rule.kind: rule.height // rule.stacked for rule in fabric.sites if not rule.lut}
    cells: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    labels = [group_label(path) for path in netlist.groups]
    for i, group in enumerate(netlist.cell_group):
        cells[labels[group]].append((x[i], y[i], max(1, heights.get(netlist.kind_of(i), 1))))
    return tuple(FloorplanGroup(label, tuple(places)) for label, places in cells.items())


def _nets(netlist: Netlist, x: np.ndarray, y: np.ndarray) -> tuple[FloorplanNet, ...]:
    """Returns the nets with the largest wirelength, weight times half the perimeter."""
    wire = net_lengths(netlist, x, y) * netlist.net_weights
    most = np.argsort(-wire, kind="stable")[:_SHOWN_NETS]
    widest = sorted((int(j) for j in most), key=lambda j: -int(netlist.net_weights[j]))
    return tuple(_net(netlist, j, x, y) for j in widest)


def _net(netlist: Netlist, j: int, x: np.ndarray, y: np.ndarray) -> FloorplanNet:
    cells = netlist.cells_of(j)
    pins = tuple((int(x[c]), int(y[c])) for c in cells)
    return FloorplanNet(f"{netlist.cell_names[cells[0]]} ...", int(netlist.net_weights[j]), pins)
