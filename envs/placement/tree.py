"""The decisions of placement, compiled: from region, column and site to a placement and its cost, and what is allowed.

Cells are decided in a fixed order, three decisions each: a region, the n-th column of the cell's kind in it, the n-th
site of that column in it. Choices that name no site, or one that is taken, stand for the first free site of the kind, so
that all choices mean some legal placement; `allowed` keeps to those that mean what they say. All arrays are int64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.kernels import njit

__all__ = [
    "LEVELS",
    "Tree",
    "allowed_candidates",
    "choices_of_sites",
    "column_of",
    "cost_of_choices",
    "has_free_site",
    "sites_of_choices",
    "span_of",
    "tree_sizes",
]

IntArray = npt.NDArray[np.int64]

LEVELS = 3
"""Decisions of a cell: region, column, site."""
REGION, COLUMN, SITE = range(LEVELS)


class Tree(NamedTuple):
    """What the decisions are about; `first_column` and `first_site` as in `moves.Board`."""

    regions: IntArray  # (regions, 4): x, end x, y, end y
    order: IntArray  # (cells,)
    kind: IntArray  # (cells,)
    xy: IntArray  # (sites, 2)
    kind_sites: IntArray  # (kinds + 1,)
    kind_columns: IntArray  # (kinds + 1,)
    first_column: IntArray  # (kinds, width + 1)
    first_site: IntArray  # (columns, height + 1)
    cell_offsets: IntArray  # (cells + 1,)
    cell_nets: IntArray  # (pins,)
    net_offsets: IntArray  # (nets + 1,)
    net_cells: IntArray  # (pins,)
    weights: IntArray  # (nets,)


@njit(cache=True)
def column_of(regions: IntArray, first_column: IntArray, kind: int, region: int, nth: int) -> int:
    """Returns the n-th column of a kind in a region; -1 where it has no such column."""
    column = first_column[kind, regions[region, 0]] + nth
    return column if column < first_column[kind, regions[region, 1]] else -1


@njit(cache=True)
def span_of(regions: IntArray, first_site: IntArray, region: int, column: int) -> tuple[int, int]:
    """Returns the first site of a column in a region, and the one after the last."""
    return first_site[column, regions[region, 2]], first_site[column, regions[region, 3]]


@njit(cache=True)
def _site_at(tree: Tree, kind: int, region: int, nth_column: int, nth_site: int) -> int:
    column = column_of(tree.regions, tree.first_column, kind, region, nth_column)
    if column < 0:
        return -1
    first, end = span_of(tree.regions, tree.first_site, region, column)
    return first + nth_site if first + nth_site < end else -1


@njit(cache=True)
def sites_of_choices(tree: Tree, choices: IntArray, cells: int, taken: npt.NDArray[np.bool_]) -> IntArray:
    """Returns the sites of the first `cells` cells of the order, -1 for the others, and marks them in `taken`."""
    sites = np.full(len(tree.order), -1, dtype=np.int64)
    first_free = tree.kind_sites[:-1].copy()
    for i in range(cells):
        cell = tree.order[i]
        kind = tree.kind[cell]
        site = _site_at(tree, kind, choices[LEVELS * i], choices[LEVELS * i + 1], choices[LEVELS * i + 2])
        if site < 0 or taken[site]:
            while taken[first_free[kind]]:
                first_free[kind] += 1
            site = first_free[kind]
        sites[cell] = site
        taken[site] = True
    return sites


@njit(cache=True)
def cost_of_choices(
    regions: IntArray, order: IntArray, kind: IntArray, xy: IntArray, kind_sites: IntArray, kind_columns: IntArray,
    first_column: IntArray, first_site: IntArray, cell_offsets: IntArray, cell_nets: IntArray, net_offsets: IntArray,
    net_cells: IntArray, weights: IntArray, choices: IntArray,
) -> int:  # fmt: skip
    """Returns the weighted half-perimeter wirelength of the placement that complete choices mean, in tiles."""
    tree = Tree(
        regions, order, kind, xy, kind_sites, kind_columns, first_column, first_site, cell_offsets, cell_nets,
        net_offsets, net_cells, weights,
    )  # fmt: skip
    sites = sites_of_choices(tree, choices, len(order), np.zeros(len(xy), dtype=np.bool_))
    cost = 0
    for net in range(len(weights)):
        site = sites[net_cells[net_offsets[net]]]
        x0, y0 = xy[site, 0], xy[site, 1]
        x1, y1 = x0, y0
        for pin in range(net_offsets[net] + 1, net_offsets[net + 1]):
            site = sites[net_cells[pin]]
            x, y = xy[site, 0], xy[site, 1]
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        cost += weights[net] * (x1 - x0 + y1 - y0)
    return cost


@njit(cache=True)
def choices_of_sites(tree: Tree, sites: IntArray) -> IntArray:
    """Returns the choices that mean a placement; the inverse of `sites_of_choices` for legal placements."""
    choices = np.zeros(LEVELS * len(sites), dtype=np.int64)
    for i in range(len(sites)):
        cell = tree.order[i]
        kind, site = tree.kind[cell], sites[cell]
        x, y = tree.xy[site, 0], tree.xy[site, 1]
        for r in range(len(tree.regions)):
            x0, x1, y0, y1 = tree.regions[r, 0], tree.regions[r, 1], tree.regions[r, 2], tree.regions[r, 3]
            if x0 <= x < x1 and y0 <= y < y1:
                column = tree.first_column[kind, x]
                choices[LEVELS * i] = r
                choices[LEVELS * i + 1] = column - tree.first_column[kind, x0]
                choices[LEVELS * i + 2] = site - tree.first_site[column, y0]
    return choices


@njit(cache=True)
def tree_sizes(tree: Tree) -> IntArray:
    """Returns the number of candidates of each decision: the most that a cell of its kind has anywhere."""
    kinds, regions = len(tree.kind_sites) - 1, len(tree.regions)
    columns, sites = np.ones(kinds, dtype=np.int64), np.ones(kinds, dtype=np.int64)
    for kind in range(kinds):
        for r in range(regions):
            low = tree.first_column[kind, tree.regions[r, 0]]
            high = tree.first_column[kind, tree.regions[r, 1]]
            columns[kind] = max(columns[kind], high - low)
            for column in range(low, high):
                first, end = span_of(tree.regions, tree.first_site, r, column)
                sites[kind] = max(sites[kind], end - first)
    out = np.empty(LEVELS * len(tree.order), dtype=np.int64)
    for i in range(len(tree.order)):
        kind = tree.kind[tree.order[i]]
        out[LEVELS * i], out[LEVELS * i + 1], out[LEVELS * i + 2] = regions, columns[kind], sites[kind]
    return out


@njit(cache=True)
def has_free_site(tree: Tree, taken: npt.NDArray[np.bool_], region: int, column: int) -> bool:
    """Whether a column has a free site in a region."""
    first, end = span_of(tree.regions, tree.first_site, region, column)
    for site in range(first, end):
        if not taken[site]:
            return True
    return False


@njit(cache=True)
def allowed_candidates(tree: Tree, choices: IntArray, decision: int, size: int) -> npt.NDArray[np.bool_]:
    """Returns which candidates lead to a free site, given the choices before the decision."""
    out = np.zeros(size, dtype=np.bool_)
    i, level = decision // LEVELS, decision % LEVELS
    taken = np.zeros(len(tree.xy), dtype=np.bool_)
    sites_of_choices(tree, choices, i, taken)
    kind, region = tree.kind[tree.order[i]], choices[LEVELS * i]
    for k in range(size):
        if level == REGION:
            low, high = (
                tree.first_column[kind, tree.regions[k, 0]],
                tree.first_column[kind, tree.regions[k, 1]],
            )
            for column in range(low, high):
                out[k] |= has_free_site(tree, taken, k, column)
        elif level == COLUMN:
            column = column_of(tree.regions, tree.first_column, kind, region, k)
            out[k] = column >= 0 and has_free_site(tree, taken, region, column)
        else:
            site = _site_at(tree, kind, region, choices[LEVELS * i + 1], k)
            out[k] = site >= 0 and not taken[site]
    return out
