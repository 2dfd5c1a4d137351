"""A netlist and a fabric as the arrays that kernels use: wires, board, and the tree of regions, columns and sites.

The board numbers the sites of the kinds that a netlist needs by kind, then column, then row; `SiteMap` leads from these
numbers to those of `placement_sites` and back. A decision names a site in three steps, each of at most 64 candidates: a
region, the n-th column of the cell's kind in it, the n-th site of that column in it. Regions are clock regions or parts of
them: small ones, so that the three steps have about as many candidates each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from foldwright.envs.placement.moves import Board, Int32, Wires
from foldwright.envs.problem import MAX_CANDIDATES
from foldwright.errors import InfeasibleError
from foldwright.netlists.fabric import Fabric, placement_sites
from foldwright.netlists.netlist import Netlist

__all__ = ["SiteMap", "board_of", "connectivity_order", "regions_of", "wires_of"]

_GAIN_SCALE = 1 << 20
_REGION_SIDES = (8, 16, 32, MAX_CANDIDATES)
"""Most columns of a kind, and sites of a column, in a region: the first that needs no more than 64 regions."""


@dataclass(frozen=True, slots=True)
class SiteMap:
    """The board's site of every site of `placement_sites`, kind by kind, and back."""

    to_board: tuple[Int32, ...]  # (sites of kind,) each
    to_table: Int32  # (sites,)

    def board_sites(self, kinds: Int32, sites: Int32) -> Int32:
        """Returns the board's sites of cells whose kinds and table sites are given."""
        out = np.empty(len(sites), dtype=np.int32)
        for k, numbers in enumerate(self.to_board):
            mine = kinds == k
            out[mine] = numbers[sites[mine]]
        return out


def wires_of(netlist: Netlist) -> Wires:
    """Returns the kernels' form of a netlist."""
    offsets, nets = netlist.by_cell()
    return Wires(
        kind=np.array(netlist.cell_kind, dtype=np.int32),
        cell_offsets=offsets.astype(np.int32),
        cell_nets=nets.astype(np.int32),
        net_offsets=netlist.net_offsets.astype(np.int32),
        net_cells=np.array(netlist.net_cells, dtype=np.int32),
        weights=np.array(netlist.net_weights, dtype=np.int64),
    )


def board_of(netlist: Netlist, fabric: Fabric) -> tuple[Board, SiteMap]:
    """Returns the sites that a netlist may use."""
    width, height = fabric.width, fabric.height
    tables = [placement_sites(fabric, kind) for kind in netlist.kinds]
    orders = [np.lexsort((table.y, table.x)) for table in tables]
    xs = [table.x[order] for table, order in zip(tables, orders, strict=True)]
    ys = [table.y[order] for table, order in zip(tables, orders, strict=True)]
    starts = np.cumsum([0, *map(len, xs)])
    column_x, column_sites, kind_columns = [], [0], [0]
    for k, x in enumerate(xs):
        found, counts = np.unique(x, return_counts=True)
        column_x += found.tolist()
        column_sites += (starts[k] + np.cumsum(counts)).tolist()
        kind_columns.append(len(column_x))
    all_y = np.concatenate(ys)
    first_column = [
        a + np.searchsorted(column_x[a:b], np.arange(width + 1)) for a, b in pairwise(kind_columns)
    ]
    first_site = [a + np.searchsorted(all_y[a:b], np.arange(height + 1)) for a, b in pairwise(column_sites)]
    board = Board(
        xy=np.stack([np.concatenate(xs), all_y], axis=1).astype(np.int32),
        kind_sites=starts.astype(np.int32),
        kind_columns=np.array(kind_columns, dtype=np.int32),
        column_x=np.array(column_x, dtype=np.int32),
        column_sites=np.array(column_sites, dtype=np.int32),
        first_column=np.array(first_column, dtype=np.int32),
        first_site=np.array(first_site, dtype=np.int32),
        reach=np.array([[_pitch(x), _pitch(y)] for x, y in zip(xs, ys, strict=True)], dtype=np.int32),
    )
    return board, _site_map(orders, starts)


def _pitch(places: npt.NDArray[np.int32]) -> int:
    """Returns the most common distance from one row or column of sites to the next."""
    steps = np.diff(np.unique(places))
    return int(np.median(steps)) if len(steps) else 1


def _site_map(orders: list[npt.NDArray[np.int64]], starts: npt.NDArray[np.int64]) -> SiteMap:
    to_board = []
    for order, start in zip(orders, starts, strict=False):
        numbers = np.empty(len(order), dtype=np.int32)
        numbers[order] = start + np.arange(len(order))
        to_board.append(numbers)
    return SiteMap(tuple(to_board), np.concatenate(orders).astype(np.int32))


def regions_of(board: Board, fabric: Fabric) -> npt.NDArray[np.int32]:
    """Returns the regions of the decision tree as (x, end x, y, end y), row by row, int32 (regions, 4).

    Raises:
        InfeasibleError: the fabric needs more than 64 of them.
    """
    for most in _REGION_SIDES:
        edges_x = _cuts([*fabric.region_columns, fabric.width], board.first_column, most)
        edges_y = _cuts([*fabric.region_rows, fabric.height], board.first_site, most)
        if (len(edges_x) - 1) * (len(edges_y) - 1) <= MAX_CANDIDATES:
            spans = [(*x, *y) for y in pairwise(edges_y) for x in pairwise(edges_x)]
            return np.array(spans, dtype=np.int32)
    raise InfeasibleError(
        f"a fabric of {fabric.width} x {fabric.height} tiles has {(len(edges_x) - 1) * (len(edges_y) - 1)} regions, "
        f"placement decides between {MAX_CANDIDATES} at most; use a smaller fabric"
    )


def _cuts(edges: list[int], first: Int32, most: int) -> list[int]:
    """Returns edges with more between them, until no row of `first` grows by more than `most` from one to the next."""
    out = [edges[0]]
    for start, end in pairwise(edges):
        parts = 1
        while True:
            inner = [start + (end - start) * i // parts for i in range(parts + 1)]
            if max(int((first[:, b] - first[:, a]).max()) for a, b in pairwise(inner)) <= most:
                break
            parts += 1
        out += inner[1:]
    return out


def connectivity_order(netlist: Netlist) -> npt.NDArray[np.int64]:
    """Returns the cells so that each is the one with the strongest nets to those before it; the heaviest cell begins.

    A net of d cells pulls each of its cells by weight / (d - 1) once one of them is in the order. Ties go to the cell
    with the heavier nets, then to the earlier one.
    """
    offsets, nets = netlist.by_cell()
    degree = np.diff(netlist.net_offsets)
    pulls = netlist.net_weights * _GAIN_SCALE // np.maximum(1, degree - 1)
    own = np.zeros(netlist.cells, dtype=np.int64)
    np.add.at(own, netlist.net_cells, np.repeat(pulls, degree))
    return np.array(
        _ordered(netlist, offsets.tolist(), nets.tolist(), pulls.tolist(), own.tolist()), dtype=np.int64
    )


def _ordered(
    netlist: Netlist, offsets: list[int], nets: list[int], pulls: list[int], own: list[int]
) -> list[int]:
    import heapq

    gain, is_open, touched = [0] * netlist.cells, [True] * netlist.cells, set()
    heap = [(0, -weight, cell) for cell, weight in enumerate(own)]
    heapq.heapify(heap)
    order: list[int] = []
    while heap:
        negative, _, cell = heapq.heappop(heap)
        if not is_open[cell] or -negative != gain[cell]:
            continue  # an entry from before its gain grew
        is_open[cell] = False
        order.append(cell)
        for net in nets[offsets[cell] : offsets[cell + 1]]:
            if net not in touched:
                touched.add(net)
                for other in netlist.cells_of(net).tolist():
                    if is_open[other]:
                        gain[other] += pulls[net]
                        heapq.heappush(heap, (-gain[other], -own[other], other))
    return order
