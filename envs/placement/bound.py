"""A proven lower bound on wirelength: no net is shorter than the smallest box with enough sites for its cells.

Cells stand on different sites, so the box around a net's cells holds, of each kind, at least as many sites as the net has
cells. The least half perimeter of such boxes depends on nothing but these counts and the fabric; the sum over nets of
weight times it is below every placement's cost, for a sum of minima is at most the minimum of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from foldwright.envs.placement.moves import Board
from foldwright.kernels import njit
from foldwright.netlists.netlist import Netlist

__all__ = ["PROOF", "least_half_perimeter", "net_bounds"]

PROOF = (
    "each net needs a box with a site for each of its cells; the sum of weight times the least half perimeter"
)

IntArray = npt.NDArray[np.int64]


def _sites_before(board: Board, width: int, height: int) -> IntArray:
    """Returns how many sites of each kind lie left of and below a tile, int64 (kinds, width + 1, height + 1)."""
    kinds = len(board.kind_sites) - 1
    counts = np.zeros((kinds, width + 1, height + 1), dtype=np.int64)
    for kind in range(kinds):
        mine = board.xy[board.kind_sites[kind] : board.kind_sites[kind + 1]]
        np.add.at(counts[kind], (mine[:, 0] + 1, mine[:, 1] + 1), 1)
    return counts.cumsum(axis=1).cumsum(axis=2)


@njit(cache=True)
def least_half_perimeter(before: IntArray, need: IntArray) -> int:
    """Returns the least half perimeter, in tiles, of a box with `need` sites of each kind; -1 if the grid has too few."""
    width, height = before.shape[1] - 1, before.shape[2] - 1
    best = width + height
    for x in range(width):
        for end_x in range(x + 1, min(width, x + best) + 1):
            y = 0
            for end_y in range(1, height + 1):
                # The lowest row is raised as long as the box up to `end_y` holds enough without it.
                while y < end_y and _holds(before, need, x, end_x, y, end_y):
                    best = min(best, end_x - x + end_y - y - 2)
                    y += 1
    return best if best < width + height else -1


@njit(cache=True)
def _holds(before: IntArray, need: IntArray, x: int, end_x: int, y: int, end_y: int) -> bool:
    for kind in range(len(need)):
        if need[kind] > 0:
            b = before[kind]
            if b[end_x, end_y] - b[x, end_y] - b[end_x, y] + b[x, y] < need[kind]:
                return False
    return True


def _counts_by_kind(netlist: Netlist) -> Iterator[tuple[int, ...]]:
    kinds = netlist.cell_kind[netlist.net_cells]
    counts = np.zeros((netlist.nets, len(netlist.kinds)), dtype=np.int64)
    nets = np.repeat(np.arange(netlist.nets), np.diff(netlist.net_offsets))
    np.add.at(counts, (nets, kinds), 1)
    return map(tuple, counts.tolist())


def net_bounds(netlist: Netlist, board: Board) -> IntArray:
    """Returns the least half perimeter that each net can have on a board, in tiles, int64 (nets,)."""
    before = _sites_before(board, board.first_column.shape[1] - 1, board.first_site.shape[1] - 1)
    known: dict[tuple[int, ...], int] = {}
    out = np.empty(netlist.nets, dtype=np.int64)
    for net, need in enumerate(_counts_by_kind(netlist)):
        if need not in known:
            known[need] = int(least_half_perimeter(before, np.array(need, dtype=np.int64)))
        out[net] = known[need]
    return out
