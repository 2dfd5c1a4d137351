"""The expert of placement: a whole placement that is kept legal, and good, whatever the episode decides.

It begins from the plan that the policy sees (`foldwright.envs.placement.plan`), annealed further: another good placement,
such as a mirror image, would teach what cannot be seen.

What a candidate leads to is told by a swap: the cell goes to a site of the candidate, who holds that site and is not
decided goes where the cell was; a region or a column is as good as the best of its sites. When the episode decides otherwise
than the expert, the swap is made; once the cell has its site, the cells that are not decided are annealed for a while, so
that the rest of the placement turns to what is decided. A repair never makes the placement worse.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.agents.place_search import as_placement
from foldwright.envs.placement.plan import plan_of
from foldwright.envs.placement.tree import COLUMN, LEVELS, REGION, SITE, Tree, column_of, span_of
from foldwright.envs.problem import INFEASIBLE, Choices, Problem
from foldwright.kernels import njit

__all__ = ["PlaceExpert"]

IntArray = npt.NDArray[np.int64]

_HOT, _COLD = 0.3, 0.01
"""First and last temperature of a repair over the mean cost of a net; it falls by the same factor at each step."""
_STEPS = 32
_FIRST_REPAIRS = 10
"""Proposals before the first decision over those of a repair."""
_AIMED = 0.7
"""Share of proposals near the middle of a cell's nets; the others are near the cell."""
_REACH = 2
"""Columns and sites that a proposal may be away from what it aims at."""
_WIDE_NET = 8
"""Nets with more cells do not say where one of them should be."""


class _Whole(NamedTuple):
    """A placement of all cells."""

    site: IntArray  # (cells,)
    holder: IntArray  # (sites,), the cell that stands there or -1
    length: IntArray  # (nets,), weight times half perimeter
    mark: IntArray  # (nets + 1,), who touched a net last; the number of touches
    rank: IntArray  # (cells,), place in the order


@njit(cache=True)
def _length(tree: Tree, site: IntArray, net: int) -> int:
    x0 = y0 = np.int64(1) << 40
    x1 = y1 = np.int64(-1)
    for pin in range(tree.net_offsets[net], tree.net_offsets[net + 1]):
        at = site[tree.net_cells[pin]]
        x, y = tree.xy[at, 0], tree.xy[at, 1]
        x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    return tree.weights[net] * (x1 - x0 + y1 - y0)


@njit(cache=True)
def _load(tree: Tree, whole: Any) -> int:
    """Sets holders, ranks and lengths by the sites; returns the cost."""
    whole.holder[:] = -1
    for i in range(len(tree.order)):
        whole.rank[tree.order[i]] = i
        whole.holder[whole.site[tree.order[i]]] = tree.order[i]
    for net in range(len(tree.weights)):
        whole.length[net] = _length(tree, whole.site, net)
    return whole.length.sum()


@njit(cache=True)
def _swap(whole: Any, cell: int, site: int) -> None:
    here, other = whole.site[cell], whole.holder[site]
    whole.site[cell], whole.holder[site], whole.holder[here] = site, cell, other
    if other >= 0:
        whole.site[other] = here


@njit(cache=True)
def _touch(tree: Tree, whole: Any, cell: int, other: int, keep: bool) -> int:
    """Returns by how much the nets of two cells have grown since their lengths were kept; keeps them anew if asked."""
    whole.mark[-1] += 1
    grown = 0
    for mover in (cell, other):
        if mover >= 0:
            for at in range(tree.cell_offsets[mover], tree.cell_offsets[mover + 1]):
                net = tree.cell_nets[at]
                if whole.mark[net] != whole.mark[-1]:
                    whole.mark[net] = whole.mark[-1]
                    length = _length(tree, whole.site, net)
                    grown += length - whole.length[net]
                    if keep:
                        whole.length[net] = length
    return grown


@njit(cache=True)
def _change(tree: Tree, whole: Any, cell: int, site: int) -> int:
    """Returns by how much the cost grows when a cell swaps to a site."""
    here, other = whole.site[cell], whole.holder[site]
    if site == here:
        return 0
    _swap(whole, cell, site)
    grown = _touch(tree, whole, cell, other, False)
    _swap(whole, cell, here)
    return grown


@njit(cache=True)
def _move(tree: Tree, whole: Any, cell: int, site: int) -> int:
    """Swaps a cell to a site; returns by how much the cost has grown."""
    other = whole.holder[site]
    _swap(whole, cell, site)
    return _touch(tree, whole, cell, other, True)


@njit(cache=True)
def _best_site(tree: Tree, whole: Any, choices: IntArray, i: int, level: int, k: int) -> tuple[int, int]:
    """Returns the site to which the i-th cell swaps at least cost under a candidate, and by how much the cost grows."""
    cell = tree.order[i]
    kind, region = tree.kind[cell], k if level == REGION else choices[LEVELS * i]
    low, high = (
        tree.first_column[kind, tree.regions[region, 0]],
        tree.first_column[kind, tree.regions[region, 1]],
    )
    if level != REGION:
        low = column_of(
            tree.regions, tree.first_column, kind, region, k if level == COLUMN else choices[LEVELS * i + 1]
        )
        high = low + 1
    found, least = -1, np.int64(1) << 62
    for column in range(low, high):
        first, end = span_of(tree.regions, tree.first_site, region, column)
        if level == SITE:
            first, end = first + k, first + k + 1
        for site in range(first, end):
            other = whole.holder[site]
            if other < 0 or whole.rank[other] >= i:
                grown = _change(tree, whole, cell, site)
                if grown < least:
                    found, least = site, grown
    return found, int(least)


@njit(cache=True)
def _candidate_costs(
    tree: Tree, whole: Any, choices: IntArray, decision: int, cost: int, mask: Any, out: IntArray
) -> None:
    for k in range(len(mask)):
        out[k] = INFEASIBLE
        if mask[k] != 0:
            out[k] = cost + _best_site(tree, whole, choices, decision // LEVELS, decision % LEVELS, k)[1]


@njit(cache=True)
def _aim(tree: Tree, site: IntArray, cell: int) -> tuple[int, int]:
    """Returns the mean tile of the cells that share narrow nets with a cell; its own tile where there are none."""
    weight, x, y = 0, 0, 0
    for at in range(tree.cell_offsets[cell], tree.cell_offsets[cell + 1]):
        net = tree.cell_nets[at]
        first, end = tree.net_offsets[net], tree.net_offsets[net + 1]
        if end - first <= _WIDE_NET:
            for pin in range(first, end):
                other = tree.net_cells[pin]
                if other != cell:
                    weight += tree.weights[net]
                    x += tree.weights[net] * tree.xy[site[other], 0]
                    y += tree.weights[net] * tree.xy[site[other], 1]
    if weight == 0:
        return tree.xy[site[cell], 0], tree.xy[site[cell], 1]
    return (x + weight // 2) // weight, (y + weight // 2) // weight


@njit(cache=True)
def _near(value: int, low: int, high: int, rng: Any) -> int:
    return max(low, min(high - 1, value - _REACH + int(rng.random() * (2 * _REACH + 1))))


@njit(cache=True)
def _propose(tree: Tree, whole: Any, cell: int, rng: Any) -> int:
    """Returns a site of the cell's kind near where its nets are, or near the cell."""
    kind, here = tree.kind[cell], whole.site[cell]
    x, y = tree.xy[here, 0], tree.xy[here, 1]
    if rng.random() < _AIMED:
        x, y = _aim(tree, whole.site, cell)
    column = _near(tree.first_column[kind, x], tree.kind_columns[kind], tree.kind_columns[kind + 1], rng)
    return _near(tree.first_site[column, y], tree.first_site[column, 0], tree.first_site[column, -1], rng)


@njit(cache=True)
def _repair(tree: Tree, whole: Any, first: int, proposals: int, cost: int, rng: Any) -> int:
    """Anneals the cells from the `first` of the order on; returns the cost, which is not above the one before."""
    undecided, before, start = len(tree.order) - first, whole.site.copy(), cost
    temperature = _HOT * cost / max(1, len(tree.weights))
    for _ in range(_STEPS):
        for _ in range(proposals * undecided // (len(tree.order) * _STEPS)):
            cell = tree.order[first + int(rng.random() * undecided)]
            site = _propose(tree, whole, cell, rng)
            other = whole.holder[site]
            if other == cell or (other >= 0 and whole.rank[other] < first):
                continue
            grown = _change(tree, whole, cell, site)
            if grown <= 0 or rng.random() < np.exp(-grown / temperature):
                cost += _move(tree, whole, cell, site)
        temperature *= (_COLD / _HOT) ** (1.0 / (_STEPS - 1))
    if cost > start:
        whole.site[:] = before
        cost = _load(tree, whole)
    return cost


class PlaceExpert:
    """Knows a good placement under an episode's decisions; see `foldwright.agents.faces.Guide` and the module.

    Args:
        choices: A solution, which is not used.
        repair: Proposals of a repair where nothing is decided; fewer by the share of the cells that are.
    """

    def __init__(self, problem: Problem, choices: Choices, repair: int, rng: np.random.Generator) -> None:
        self._problem, self._repair, self._rng = as_placement(problem, "expert"), repair, rng
        self._tree = self._problem.tree
        wires, board = self._problem.wires, self._problem.board
        sites, nets = plan_of(wires, board, self._tree.order), len(self._tree.weights)
        self._whole = _Whole(
            sites,
            np.empty(len(self._tree.xy), dtype=np.int64),
            np.empty(nets, dtype=np.int64),
            np.zeros(nets + 1, dtype=np.int64),
            np.empty(len(sites), dtype=np.int64),
        )
        cost = _load(self._tree, self._whole)
        self.cost = int(_repair(self._tree, self._whole, 0, _FIRST_REPAIRS * repair, cost, rng))
        self.choices: Choices = self._problem.choices_of(self._whole.site.astype(np.int32))

    def candidate_costs(
        self, decision: int, mask: npt.NDArray[np.int8], mends: bool = True
    ) -> npt.NDArray[np.int64]:
        """Returns the cost that each allowed candidate leads to, int64 (64,); `INFEASIBLE` for the others.

        A swap always fits, so nothing depends on `mends`.
        """
        out = np.empty(len(mask), dtype=np.int64)
        _candidate_costs(self._tree, self._whole, self.choices, decision, self.cost, mask, out)
        return out

    def follow(self, decision: int, candidate: int) -> None:
        """Takes over a decision of the episode, and repairs the rest once a cell has another site than the expert's."""
        i, level = decision // LEVELS, decision % LEVELS
        if level == REGION:
            self._wanted = int(self._whole.site[self._tree.order[i]])
        if self.choices[decision] != candidate:
            site, _ = _best_site(self._tree, self._whole, self.choices, i, level, candidate)
            self.cost += int(_move(self._tree, self._whole, self._tree.order[i], site))
            self.choices = self._problem.choices_of(self._whole.site.astype(np.int32))
        if level == SITE and self._whole.site[self._tree.order[i]] != self._wanted:
            self.cost = int(_repair(self._tree, self._whole, i + 1, self._repair, self.cost, self._rng))
            self.choices = self._problem.choices_of(self._whole.site.astype(np.int32))
