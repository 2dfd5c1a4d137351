"""Building a placement cell by cell, each on its best free site (njit): construction, relocation, ruin and recreate.

The wire that a cell adds is a sum over its nets of a function of x and one of y, each convex and piecewise linear: zero
inside the box of the net's placed cells, growing by the net's weight a tile outside. Both are tabulated over the grid;
the best free site is found by going through the columns and leaving out those whose x alone costs too much. Ties go to
the site nearest the middle of what is placed.
"""

from __future__ import annotations

import numpy as np

from foldwright.envs.placement.moves import Board, Int32, Int64, Wires
from foldwright.kernels import njit

__all__ = ["best_free_site", "construct", "relocate", "ruin"]

_TIE_SCALE = 1 << 12
"""Wire counts so much more than the distance to the middle, which is at most the grid's half perimeter."""


@njit(cache=True)
def _tabulate(wires: Wires, boxes: Int32, cell: int, axis: int, middle: int, out: Int64) -> None:
    """Writes what the cell's wire costs at every place of an axis, and behind it the distance to the middle."""
    out[:] = 0
    value, slope = 0, 0
    for at in range(wires.cell_offsets[cell], wires.cell_offsets[cell + 1]):
        net = wires.cell_nets[at]
        low, high, weight = boxes[net, 2 * axis], boxes[net, 2 * axis + 1], wires.weights[net]
        if high >= 0:
            value += weight * low
            slope -= weight
            out[low] += weight  # `out` holds by how much the slope grows, until it is summed up
            out[high] += weight
    for place in range(len(out)):
        slope += out[place]
        out[place] = value * _TIE_SCALE + abs(place - middle)
        value += slope


@njit(cache=True)
def best_free_site(
    wires: Wires, board: Board, boxes: Int32, holder: Int32, cell: int, middle: tuple[int, int], on_x: Int64, on_y: Int64
) -> int:  # fmt: skip
    """Returns the free site on which a cell adds least wire to the cells placed; -1 where no site of its kind is free.

    Args:
        boxes: The boxes of the nets' placed cells without this one; most x is -1 where there are none.
        on_x: int64 (width,), overwritten; `on_y`, int64 (height,), too.
    """
    _tabulate(wires, boxes, cell, 0, middle[0], on_x)
    _tabulate(wires, boxes, cell, 1, middle[1], on_y)
    kind, least_y = wires.kind[cell], on_y.min()
    found, best = -1, np.int64(1) << 62
    # From the cheapest x outwards: what lies further on either side costs more.
    start = board.first_column[kind, on_x.argmin()]
    for step in (1, -1):
        column = start if step == 1 else start - 1
        while board.kind_columns[kind] <= column < board.kind_columns[kind + 1]:
            here = on_x[board.column_x[column]]
            if here + least_y >= best:
                break
            for site in range(board.column_sites[column], board.column_sites[column + 1]):
                if holder[site] < 0 and here + on_y[board.xy[site, 1]] < best:
                    found, best = site, here + on_y[board.xy[site, 1]]
            column += step
    return found


@njit(cache=True)
def _extend(wires: Wires, boxes: Int32, cell: int, x: int, y: int) -> None:
    """Takes a cell at a tile into the boxes of its nets."""
    for at in range(wires.cell_offsets[cell], wires.cell_offsets[cell + 1]):
        box = boxes[wires.cell_nets[at]]
        if box[1] < 0:
            box[0], box[1], box[2], box[3] = x, x, y, y
        else:
            box[0], box[1], box[2], box[3] = min(box[0], x), max(box[1], x), min(box[2], y), max(box[3], y)


@njit(cache=True)
def _boxes(wires: Wires, board: Board, sites: Int32) -> Int32:
    """Returns the boxes of the nets' placed cells: least x, most x, least y, most y; -1 where there are none."""
    boxes = np.full((len(wires.weights), 4), -1, dtype=np.int32)
    for cell in range(len(sites)):
        if sites[cell] >= 0:
            _extend(wires, boxes, cell, board.xy[sites[cell], 0], board.xy[sites[cell], 1])
    return boxes


@njit(cache=True)
def _take_up(wires: Wires, board: Board, sites: Int32, boxes: Int32, cell: int) -> None:
    """Takes a cell off its site and out of the boxes of its nets; only a cell on the edge of a box changes it."""
    x, y = board.xy[sites[cell], 0], board.xy[sites[cell], 1]
    sites[cell] = -1
    for at in range(wires.cell_offsets[cell], wires.cell_offsets[cell + 1]):
        net = wires.cell_nets[at]
        box = boxes[net]
        if box[0] < x < box[1] and box[2] < y < box[3]:
            continue
        box[:] = -1
        for pin in range(wires.net_offsets[net], wires.net_offsets[net + 1]):
            other = sites[wires.net_cells[pin]]
            if other >= 0:
                x1, y1 = board.xy[other, 0], board.xy[other, 1]
                if box[1] < 0:
                    box[0], box[1], box[2], box[3] = x1, x1, y1, y1
                else:
                    box[0], box[1], box[2], box[3] = (
                        min(box[0], x1),
                        max(box[1], x1),
                        min(box[2], y1),
                        max(box[3], y1),
                    )


@njit(cache=True)
def _middle(board: Board, sites: Int32) -> tuple[int, int]:
    """Returns the mean tile of the cells placed; the middle of the grid where there are none."""
    x, y, count = 0, 0, 0
    for site in sites:
        if site >= 0:
            x, y, count = x + board.xy[site, 0], y + board.xy[site, 1], count + 1
    if count == 0:
        return board.first_column.shape[1] // 2, board.first_site.shape[1] // 2
    return x // count, y // count


@njit(cache=True)
def construct(wires: Wires, board: Board, order: Int64, sites: Int32) -> None:
    """Places the cells of `order` one after another, each on its best free site; `sites` is -1 where a cell is not placed."""
    _place(wires, board, order, sites, False)


@njit(cache=True)
def relocate(wires: Wires, board: Board, order: Int64, sites: Int32) -> None:
    """Takes up the cells of `order` one after another and puts each on its best free site."""
    _place(wires, board, order, sites, True)


@njit(cache=True)
def _place(wires: Wires, board: Board, order: Int64, sites: Int32, takes_up: bool) -> None:
    on_x = np.empty(board.first_column.shape[1] - 1, dtype=np.int64)
    on_y = np.empty(board.first_site.shape[1] - 1, dtype=np.int64)
    holder = np.full(len(board.xy), -1, dtype=np.int32)
    for cell in range(len(sites)):
        if sites[cell] >= 0:
            holder[sites[cell]] = cell
    middle, boxes = _middle(board, sites), _boxes(wires, board, sites)
    for cell in order:
        if takes_up:
            holder[sites[cell]] = -1
            _take_up(wires, board, sites, boxes, cell)
        site = best_free_site(wires, board, boxes, holder, cell, middle, on_x, on_y)
        sites[cell], holder[site] = site, cell
        _extend(wires, boxes, cell, board.xy[site, 0], board.xy[site, 1])


@njit(cache=True)
def ruin(wires: Wires, board: Board, sites: Int32, seed_cell: int, count: int, most_pins: int) -> Int64:
    """Takes up a cell and those around it in the netlist, `count` at most, and returns them, nearest first.

    Args:
        most_pins: Nets with more cells are not followed.
    """
    taken = np.empty(count, dtype=np.int64)
    taken[0], found, at = seed_cell, 1, 0
    sites[seed_cell] = -1
    while at < found < count:
        cell = taken[at]
        at += 1
        for k in range(wires.cell_offsets[cell], wires.cell_offsets[cell + 1]):
            net = wires.cell_nets[k]
            first, end = wires.net_offsets[net], wires.net_offsets[net + 1]
            if end - first > most_pins:
                continue
            for pin in range(first, end):
                other = wires.net_cells[pin]
                if sites[other] >= 0 and found < count:
                    taken[found] = other
                    sites[other] = -1
                    found += 1
    return taken[:found]
