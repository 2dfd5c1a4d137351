"""Costs and observations of a batch of placement episodes (njit); see `foldwright.envs.batch` for the arrays.

An episode keeps what is placed in its row of the state, and a decision changes only what its cell touches: a step takes
time in the nets of one cell and the candidates of one decision, never in all nets or sites.

Between the first and the last decision the cost is an estimate: the wirelength of the cells placed, and for a net of d
cells with p placed the share (d - p) / (d - 1) of its length in the fallback (all of it while p < 2). It equals the
fallback's cost where nothing is placed and the placement's where all is.

Every feature is relative to the grid, to the bound, to the sites of the cell's kind; all are clipped to -`LIMIT` ..
`LIMIT`. The *pull* is the weighted mean of the middles of the cell's nets as far as they are placed (else of all placed
cells, else of the grid). A region stands for its tile nearest the pull, a column for its tile nearest the pull in the
region.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.envs.placement.tree import (
    COLUMN,
    LEVELS,
    REGION,
    Tree,
    column_of,
    cost_of_choices,
    span_of,
)
from foldwright.kernels import njit

__all__ = ["CANDIDATE_FEATURES", "CONTEXT_FEATURES", "costs", "observe", "state_entries"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

CANDIDATE_FEATURES = (
    "x less the pull's / width", "y less the pull's / height", "distance to the pull / half perimeter",
    "wire added, cells / bound, log2 / 4", "wire added over the least, cells / bound", "wire added / the most",
    "adds least wire", "free sites / sites", "free sites / free sites of the kind", "x / width", "y / height",
    "distance to the middle of the placed / half perimeter", "distance to the middle of the grid / half perimeter",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides region", "decides column", "decides site", "progress", "cost / bound, log2 / 8", "wire placed / bound, log2 / 8",
    "free sites of the kind / sites", "cells of the kind left / free sites", "sites of the kind / sites",
    "nets of the cell, log2 / 8", "nets with a placed cell / nets", "weight of those / weight", "pull's x / width",
    "pull's y / height", "middle's x / width", "middle's y / height", "width / (width + height)", "cells / sites",
    "half perimeter of its placed nets / the grid's", "cells of its placed nets left / cells",
)  # fmt: skip
LIMIT = 4.0

# Numbers of an instance, and of an episode.
CELLS, SITES, NETS, REGIONS, COLUMNS, KINDS, WIDTH, HEIGHT = range(8)
E_WIRE, E_CREDIT, E_SUM_X, E_SUM_Y, E_PLACED = range(5)
_EPISODE_NUMBERS = 5
# A net of an episode.
X0, X1, Y0, Y1, PLACED = range(5)
_NET_FIELDS = 5


@njit(cache=True)
def state_entries(numbers: IntArray) -> int:
    """Returns how many integers an episode keeps."""
    return (
        _EPISODE_NUMBERS
        + numbers[CELLS]
        + numbers[SITES]
        + 2 * numbers[KINDS]
        + numbers[REGIONS] * (numbers[KINDS] + numbers[COLUMNS])
        + _NET_FIELDS * numbers[NETS]
    )


@njit(cache=True)
def _parts(numbers: IntArray, row: IntArray) -> Any:
    """Returns (numbers, site of cell, taken, free by kind, left by kind, free by region and kind, ... column, nets)."""
    n, s, m, r, c, k = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    a = _EPISODE_NUMBERS
    b = a + n
    d = b + s
    e = d + k
    f = e + k
    g = f + r * k
    h = g + r * c
    return (
        row[:a],
        row[a:b],
        row[b:d],
        row[d:e],
        row[e:f],
        row[f:g].reshape(r, k),
        row[g:h].reshape(r, c),
        row[h : h + _NET_FIELDS * m].reshape(m, _NET_FIELDS),
    )


@njit(cache=True)
def _tables(flats: Any, offsets: IntArray, j: int) -> Any:
    """Returns the tree, the fallback's lengths by net, and the numbers of instance `j`."""
    numbers = flats[16][offsets[16, j] : offsets[16, j + 1]]
    tree = Tree(
        flats[2][offsets[2, j] : offsets[2, j + 1]],
        flats[3][offsets[3, j] : offsets[3, j + 1]],
        flats[4][offsets[4, j] : offsets[4, j + 1]],
        flats[5][offsets[5, j] : offsets[5, j + 1]],
        flats[6][offsets[6, j] : offsets[6, j + 1]],
        flats[7][offsets[7, j] : offsets[7, j + 1]],
        flats[8][offsets[8, j] : offsets[8, j + 1]].reshape(numbers[KINDS], numbers[WIDTH] + 1),
        flats[9][offsets[9, j] : offsets[9, j + 1]].reshape(numbers[COLUMNS], numbers[HEIGHT] + 1),
        flats[10][offsets[10, j] : offsets[10, j + 1]],
        flats[11][offsets[11, j] : offsets[11, j + 1]],
        flats[12][offsets[12, j] : offsets[12, j + 1]],
        flats[13][offsets[13, j] : offsets[13, j + 1]],
        flats[14][offsets[14, j] : offsets[14, j + 1]],
    )
    return tree, flats[15][offsets[15, j] : offsets[15, j + 1]], numbers


@njit(cache=True)
def costs(
    flats: Any,
    offsets: IntArray,
    instance: IntArray,
    choices: IntArray,
    todo: npt.NDArray[np.bool_],
    out: IntArray,
) -> None:
    """Writes the cost of every episode in `todo`, what is not decided being completed by the fallback."""
    for i in range(len(instance)):
        if todo[i]:
            tree, _, numbers = _tables(flats, offsets, instance[i])
            out[i] = cost_of_choices(
                tree.regions, tree.order, tree.kind, tree.xy, tree.kind_sites, tree.kind_columns, tree.first_column,
                tree.first_site, tree.cell_offsets, tree.cell_nets, tree.net_offsets, tree.net_cells, tree.weights,
                choices[i, : LEVELS * numbers[CELLS]],
            )  # fmt: skip


@njit(cache=True)
def observe(
    flats: Any, offsets: IntArray, instance: IntArray, bounds: IntArray, choices: IntArray, position: IntArray,
    cost: IntArray, todo: npt.NDArray[np.bool_], state: IntArray, candidates: FloatArray, context: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Places what was decided and writes candidates, context and mask of the next decision of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            tree, lengths, numbers = _tables(flats, offsets, instance[i])
            if position[i] == 0:
                _begin(tree, lengths, numbers, state[i])
            elif position[i] % LEVELS == 0:
                cost[i] = _place(tree, lengths, numbers, state[i], choices[i], position[i] // LEVELS - 1)
            size = flats[0][offsets[0, instance[i]] + position[i]]
            _observe_one(
                tree, numbers, state[i], choices[i], position[i], size, bounds[instance[i]], cost[i],
                candidates[i], context[i], mask[i],
            )  # fmt: skip


@njit(cache=True)
def _begin(tree: Tree, lengths: IntArray, numbers: IntArray, row: IntArray) -> None:
    """Sets an episode to nothing placed."""
    row[: state_entries(numbers)] = 0
    scalars, sites, _, free, left, free_in_region, free_in_column, nets = _parts(numbers, row)
    sites[:] = -1
    nets[:, X1] = -1
    scalars[E_CREDIT] = lengths.sum()
    for cell in range(numbers[CELLS]):
        left[tree.kind[cell]] += 1
    for kind in range(numbers[KINDS]):
        free[kind] = tree.kind_sites[kind + 1] - tree.kind_sites[kind]
        for region in range(numbers[REGIONS]):
            low = tree.first_column[kind, tree.regions[region, 0]]
            for column in range(low, tree.first_column[kind, tree.regions[region, 1]]):
                first, end = span_of(tree.regions, tree.first_site, region, column)
                free_in_column[region, column] = end - first
                free_in_region[region, kind] += end - first


@njit(cache=True)
def _place(tree: Tree, lengths: IntArray, numbers: IntArray, row: IntArray, choices: IntArray, i: int) -> int:
    """Puts the i-th cell of the order on the site decided; returns the estimate of the cost."""
    scalars, sites, taken, free, left, free_in_region, free_in_column, nets = _parts(numbers, row)
    cell, region = tree.order[i], choices[LEVELS * i]
    kind = tree.kind[cell]
    column = column_of(tree.regions, tree.first_column, kind, region, choices[LEVELS * i + 1])
    site = span_of(tree.regions, tree.first_site, region, column)[0] + choices[LEVELS * i + 2]
    sites[cell], taken[site] = site, 1
    free[kind] -= 1
    left[kind] -= 1
    free_in_region[region, kind] -= 1
    free_in_column[region, column] -= 1
    x, y = tree.xy[site, 0], tree.xy[site, 1]
    scalars[E_SUM_X] += x
    scalars[E_SUM_Y] += y
    scalars[E_PLACED] += 1
    for at in range(tree.cell_offsets[cell], tree.cell_offsets[cell + 1]):
        net = tree.cell_nets[at]
        box, degree = nets[net], tree.net_offsets[net + 1] - tree.net_offsets[net]
        if box[PLACED] == 0:
            box[X0], box[X1], box[Y0], box[Y1] = x, x, y, y
        else:
            scalars[E_WIRE] += tree.weights[net] * (
                max(0, box[X0] - x, x - box[X1]) + max(0, box[Y0] - y, y - box[Y1])
            )
            scalars[E_CREDIT] -= _credit(lengths[net], degree, box[PLACED])
            scalars[E_CREDIT] += _credit(lengths[net], degree, box[PLACED] + 1)
            box[X0], box[X1] = min(box[X0], x), max(box[X1], x)
            box[Y0], box[Y1] = min(box[Y0], y), max(box[Y1], y)
        box[PLACED] += 1
    return scalars[E_WIRE] + scalars[E_CREDIT]


@njit(cache=True)
def _credit(length: int, degree: int, placed: int) -> int:
    return length * (degree - placed) // (degree - 1)


@njit(cache=True)
def _clip(value: float) -> float:
    return max(-LIMIT, min(LIMIT, value))


@njit(cache=True)
def _pull(tree: Tree, nets: IntArray, scalars: IntArray, numbers: IntArray, cell: int) -> tuple[int, int]:
    """Returns the tile that a cell's placed nets pull it to; see the module's docstring."""
    weight, x, y = 0, 0, 0
    for at in range(tree.cell_offsets[cell], tree.cell_offsets[cell + 1]):
        net = tree.cell_nets[at]
        if nets[net, PLACED] > 0:
            weight += tree.weights[net]
            x += tree.weights[net] * (nets[net, X0] + nets[net, X1])
            y += tree.weights[net] * (nets[net, Y0] + nets[net, Y1])
    if weight > 0:
        return x // (2 * weight), y // (2 * weight)
    if scalars[E_PLACED] > 0:
        return scalars[E_SUM_X] // scalars[E_PLACED], scalars[E_SUM_Y] // scalars[E_PLACED]
    return numbers[WIDTH] // 2, numbers[HEIGHT] // 2


@njit(cache=True)
def _wire_added(tree: Tree, nets: IntArray, cell: int, x: int, y: int) -> int:
    """Returns by how much the placed nets of a cell grow when it goes to a tile."""
    added = 0
    for at in range(tree.cell_offsets[cell], tree.cell_offsets[cell + 1]):
        net = tree.cell_nets[at]
        if nets[net, PLACED] > 0:
            added += tree.weights[net] * (
                max(0, nets[net, X0] - x, x - nets[net, X1]) + max(0, nets[net, Y0] - y, y - nets[net, Y1])
            )
    return added


@njit(cache=True)
def _candidate(
    tree: Tree, parts: Any, kind: int, level: int, chosen: tuple[int, int], k: int, pull: tuple[int, int]
) -> tuple[int, int, int, int]:  # fmt: skip
    """Returns (free sites, sites, x, y) of a candidate; no sites where there is no such candidate."""
    taken, free_in_region, free_in_column = parts[2], parts[5], parts[6]
    region = k if level == REGION else chosen[0]
    x0, x1, y0, y1 = (
        tree.regions[region, 0],
        tree.regions[region, 1],
        tree.regions[region, 2],
        tree.regions[region, 3],
    )
    x, y = max(x0, min(x1 - 1, pull[0])), max(y0, min(y1 - 1, pull[1]))
    if level == REGION:
        return free_in_region[region, kind], (x1 - x0) * (y1 - y0), x, y
    nth = k if level == COLUMN else chosen[1]
    column = column_of(tree.regions, tree.first_column, kind, region, nth)
    if column < 0:
        return 0, 0, 0, 0
    first, end = span_of(tree.regions, tree.first_site, region, column)
    if level == COLUMN:
        return free_in_column[region, column], end - first, tree.xy[first, 0] if end > first else x, y
    if first + k >= end:
        return 0, 0, 0, 0
    return 1 - taken[first + k], 1, tree.xy[first + k, 0], tree.xy[first + k, 1]


@njit(cache=True)
def _observe_one(
    tree: Tree, numbers: IntArray, row: IntArray, choices: IntArray, position: int, size: int, bound: int, cost: int,
    candidates: FloatArray, context: FloatArray, mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    candidates[:] = 0
    mask[:] = 0
    parts = _parts(numbers, row)
    scalars, free, nets = parts[0], parts[3], parts[7]
    i, level = position // LEVELS, position % LEVELS
    cell = tree.order[i]
    kind, chosen = tree.kind[cell], (choices[LEVELS * i], choices[LEVELS * i + 1])
    pull = _pull(tree, nets, scalars, numbers, cell)
    placed = max(1, scalars[E_PLACED])
    middle_x, middle_y = scalars[E_SUM_X] / placed, scalars[E_SUM_Y] / placed
    width, height = float(numbers[WIDTH]), float(numbers[HEIGHT])
    around, scale = 1.0 / (width + height), numbers[CELLS] / float(bound)
    least, most = np.int64(1) << 62, 0
    for k in range(size):
        open_sites, sites, x, y = _candidate(tree, parts, kind, level, chosen, k, pull)
        if open_sites == 0:
            continue
        mask[k] = 1
        added = _wire_added(tree, nets, cell, x, y)
        least, most = min(least, added), max(most, added)
        out = candidates[k]
        out[0], out[1] = (x - pull[0]) / width, (y - pull[1]) / height
        out[2] = (abs(x - pull[0]) + abs(y - pull[1])) * around
        out[3] = _clip(np.log2(1.0 + added * scale) / 4)
        out[4] = added
        out[7], out[8] = open_sites / sites, open_sites / free[kind]
        out[9], out[10] = x / width, y / height
        out[11] = (abs(x - middle_x) + abs(y - middle_y)) * around
        out[12] = (abs(x - 0.5 * width) + abs(y - 0.5 * height)) * around
    for k in range(size):
        if mask[k]:
            added = candidates[k, 4]
            candidates[k, 4] = _clip((added - least) * scale)
            candidates[k, 5] = added / max(1, most)
            candidates[k, 6] = added == least
    context[:] = 0
    context[level] = 1
    context[3] = position / (LEVELS * numbers[CELLS])
    context[4] = _clip(np.log2(max(cost, 1) / bound) / 8)
    context[5] = _clip(np.log2(1 + scalars[E_WIRE] / bound) / 8)
    context[12], context[13] = pull[0] / width, pull[1] / height
    context[14], context[15] = middle_x / width, middle_y / height
    context[16] = width * around
    _describe_cell(tree, parts, numbers, cell, context)


@njit(cache=True)
def _describe_cell(tree: Tree, parts: Any, numbers: IntArray, cell: int, out: FloatArray) -> None:
    """Writes what is known of the cell: its kind's sites and its nets."""
    free, left, nets, kind = parts[3], parts[4], parts[7], tree.kind[cell]
    sites = tree.kind_sites[kind + 1] - tree.kind_sites[kind]
    out[6] = free[kind] / sites
    out[7] = left[kind] / free[kind]
    out[8] = sites / numbers[SITES]
    out[17] = numbers[CELLS] / numbers[SITES]
    first, end = tree.cell_offsets[cell], tree.cell_offsets[cell + 1]
    active, active_weight, weight, around, missing = 0, 0, 0, 0, 0
    for at in range(first, end):
        net = tree.cell_nets[at]
        weight += tree.weights[net]
        if nets[net, PLACED] > 0:
            active += 1
            active_weight += tree.weights[net]
            around += nets[net, X1] - nets[net, X0] + nets[net, Y1] - nets[net, Y0]
            missing += tree.net_offsets[net + 1] - tree.net_offsets[net] - nets[net, PLACED]
    out[9] = _clip(np.log2(1.0 + end - first) / 8)
    out[10] = active / max(1, end - first)
    out[11] = active_weight / max(1, weight)
    out[18] = around / max(1, active) / (numbers[WIDTH] + numbers[HEIGHT])
    out[19] = _clip(missing / max(1, active) / numbers[CELLS])
