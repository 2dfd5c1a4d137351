"""What a placement episode keeps in its row of the state, and how a decided cell changes it (njit).

A cell that is placed changes its nets' boxes, the free sites of its region and column, and how crowded the tiles around it
are. Cells that are not placed are thought of on their sites of the plan (`foldwright.envs.placement.plan`). A cell that goes
elsewhere swaps with who is planned there, so that the plan stays a placement.

From the first decision on the cost is an estimate: the wirelength of the cells placed, and for a net of d cells with p
placed the share (d - p) / (d - 1) of the least length that it needs alone (all of it while p < 2). It grows by what a
cell adds beyond the proven bound, and equals the placement's cost in the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.envs.placement.tree import LEVELS, Tree, column_of, span_of
from foldwright.kernels import njit

__all__ = [
    "ACROSS",
    "CELLS",
    "COLUMNS",
    "HEIGHT",
    "KINDS",
    "NETS",
    "REGIONS",
    "SITES",
    "WIDTH",
    "Episode",
    "Instance",
    "begin_episode",
    "episode_of",
    "place_cell",
    "state_entries",
]

IntArray = npt.NDArray[np.int64]

# Numbers of an instance; ACROSS counts the regions of a row of them.
CELLS, SITES, NETS, REGIONS, COLUMNS, KINDS, WIDTH, HEIGHT, ACROSS = range(9)
# Numbers of an episode.
E_WIRE, E_COMING_WIRE, E_SUM_X, E_SUM_Y, E_PLACED = range(5)
# ... and of the cell it decides: weights of all and of open nets, regions of least wire and best guess.
E_WEIGHT, E_OPEN, E_LEAST, E_LIKELY = range(5, 9)
_EPISODE_NUMBERS = 9
# A net of an episode.
X0, X1, Y0, Y1, PLACED = range(5)
_NET_FIELDS = 5

RADII = (1, 3)
"""Half sides of the squares of tiles in which a tile's neighbourhood is counted."""


class Instance(NamedTuple):
    """What does not change in an episode."""

    tree: Tree
    lengths: IntArray  # (nets,): least length of each net times its weight
    numbers: IntArray  # (9,)
    plan: IntArray  # (cells,): the site of each cell
    nearest_x: IntArray  # (kinds, width): x of the column of a kind that is nearest to each x


class Episode(NamedTuple):
    """The parts of a row of the state.

    `crowd[r, x, y]` counts the tiles within `RADII[r]` of a tile that are taken or beyond the edge. `wire` and `guess` are
    the tables of `foldwright.envs.placement.outlook` for the cell being decided, the places along x before those along y;
    `least` holds its sites that add least wire, `likely` those with the best guess, of each region (in the last
    column) and of each column in it, -1 where none is free.
    """

    numbers: IntArray  # (9,)
    taken: IntArray  # (sites,)
    holder: IntArray  # (sites,): who is, or is planned to come, there; or -1
    free: IntArray  # (kinds,)
    left: IntArray  # (kinds,)
    coming: IntArray  # (kinds,): neighbours that are not placed yet, of the cell being decided
    free_in_region: IntArray  # (regions, kinds)
    free_in_column: IntArray  # (regions, columns)
    nets: IntArray  # (nets, 5)
    tiles: IntArray  # (cells, 2): the tiles of `site`
    site: IntArray  # (cells,): where a cell is, or is planned to come
    is_placed: IntArray  # (cells,)
    crowd: IntArray  # (2, width, height)
    wire: IntArray  # (width + height,)
    guess: IntArray  # (width + height,)
    least: IntArray  # (regions, columns + 1)
    likely: IntArray  # (regions, columns + 1)


@njit(cache=True)
def state_entries(numbers: IntArray) -> int:
    """Returns how many integers an episode keeps."""
    n, s, m, r, c, k = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    around = 2 * numbers[6] * numbers[7] + 2 * (numbers[6] + numbers[7])
    return (
        _EPISODE_NUMBERS + 2 * s + 3 * k + r * k + r * c + _NET_FIELDS * m + 4 * n + around + 2 * r * (c + 1)
    )


@njit(cache=True)
def episode_of(numbers: IntArray, row: IntArray) -> Episode:
    """Returns the parts of a row of the state, as views of it."""
    n, s, m, r, c, k = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    w, h = numbers[6], numbers[7]
    a = _EPISODE_NUMBERS
    b = a + 2 * s
    d = b + 3 * k
    e = d + r * k
    f = e + r * c
    g = f + _NET_FIELDS * m
    i = g + 4 * n
    j = i + 2 * w * h
    o = j + 2 * (w + h)
    q = o + r * (c + 1)
    return Episode(
        row[:a],
        row[a : a + s],
        row[a + s : b],
        row[b : b + k],
        row[b + k : b + 2 * k],
        row[b + 2 * k : d],
        row[d:e].reshape(r, k),
        row[e:f].reshape(r, c),
        row[f:g].reshape(m, _NET_FIELDS),
        row[g : g + 2 * n].reshape(n, 2),
        row[g + 2 * n : g + 3 * n],
        row[g + 3 * n : i],
        row[i:j].reshape(2, w, h),
        row[j : j + w + h],
        row[j + w + h : o],
        row[o:q].reshape(r, c + 1),
        row[q : q + r * (c + 1)].reshape(r, c + 1),
    )


@njit(cache=True)
def begin_episode(instance: Any, row: IntArray) -> None:
    """Sets an episode to nothing placed."""
    tree, numbers = instance.tree, instance.numbers
    row[: state_entries(numbers)] = 0
    episode = episode_of(numbers, row)
    episode.site[:] = instance.plan
    episode.holder[:] = -1
    episode.nets[:, X1] = -1
    episode.numbers[E_COMING_WIRE] = instance.lengths.sum()
    for cell in range(numbers[CELLS]):
        episode.left[tree.kind[cell]] += 1
        episode.holder[episode.site[cell]] = cell
        episode.tiles[cell] = tree.xy[episode.site[cell]]
    for kind in range(numbers[KINDS]):
        episode.free[kind] = tree.kind_sites[kind + 1] - tree.kind_sites[kind]
        for region in range(numbers[REGIONS]):
            low = tree.first_column[kind, tree.regions[region, 0]]
            for column in range(low, tree.first_column[kind, tree.regions[region, 1]]):
                first, end = span_of(tree.regions, tree.first_site, region, column)
                episode.free_in_column[region, column] = end - first
                episode.free_in_region[region, kind] += end - first
    _count_beyond_edges(episode.crowd)


@njit(cache=True)
def _count_beyond_edges(crowd: IntArray) -> None:
    _, width, height = crowd.shape
    for r in range(len(RADII)):
        radius = RADII[r]
        for x in range(width):
            inside_x = min(width - 1, x + radius) - max(0, x - radius) + 1
            for y in range(height):
                inside_y = min(height - 1, y + radius) - max(0, y - radius) + 1
                crowd[r, x, y] = (2 * radius + 1) ** 2 - inside_x * inside_y


@njit(cache=True)
def place_cell(instance: Any, episode: Any, choices: IntArray, i: int) -> None:
    """Puts the i-th cell of the order on the site decided."""
    tree, numbers = instance.tree, episode.numbers
    cell, region = tree.order[i], choices[LEVELS * i]
    kind = tree.kind[cell]
    column = column_of(tree.regions, tree.first_column, kind, region, choices[LEVELS * i + 1])
    site = span_of(tree.regions, tree.first_site, region, column)[0] + choices[LEVELS * i + 2]
    episode.taken[site] = 1
    episode.free[kind] -= 1
    episode.left[kind] -= 1
    episode.free_in_region[region, kind] -= 1
    episode.free_in_column[region, column] -= 1
    x, y = tree.xy[site, 0], tree.xy[site, 1]
    _swap_plan(tree, episode, cell, site)
    episode.is_placed[cell] = 1
    numbers[E_SUM_X] += x
    numbers[E_SUM_Y] += y
    numbers[E_PLACED] += 1
    _count_tile(episode.crowd, x, y)
    for at in range(tree.cell_offsets[cell], tree.cell_offsets[cell + 1]):
        net = tree.cell_nets[at]
        box, degree = episode.nets[net], tree.net_offsets[net + 1] - tree.net_offsets[net]
        if box[PLACED] == 0:
            box[X0], box[X1], box[Y0], box[Y1] = x, x, y, y
        else:
            numbers[E_WIRE] += tree.weights[net] * (
                max(0, box[X0] - x, x - box[X1]) + max(0, box[Y0] - y, y - box[Y1])
            )
            numbers[E_COMING_WIRE] -= _share(instance.lengths[net], degree, box[PLACED])
            numbers[E_COMING_WIRE] += _share(instance.lengths[net], degree, box[PLACED] + 1)
            box[X0], box[X1] = min(box[X0], x), max(box[X1], x)
            box[Y0], box[Y1] = min(box[Y0], y), max(box[Y1], y)
        box[PLACED] += 1


@njit(cache=True)
def _swap_plan(tree: Tree, episode: Any, cell: int, site: int) -> None:
    """Takes a cell to a site, and who is planned there to where the cell was planned."""
    here, other = episode.site[cell], episode.holder[site]
    episode.holder[here], episode.holder[site], episode.site[cell] = other, cell, site
    episode.tiles[cell] = tree.xy[site]
    if other >= 0 and other != cell:
        episode.site[other] = here
        episode.tiles[other] = tree.xy[here]


@njit(cache=True)
def _share(length: int, degree: int, placed: int) -> int:
    return length * (degree - placed) // (degree - 1)


@njit(cache=True)
def _count_tile(crowd: IntArray, x: int, y: int) -> None:
    """Counts a tile as taken in the neighbourhoods it lies in."""
    _, width, height = crowd.shape
    for r in range(len(RADII)):
        for near_x in range(max(0, x - RADII[r]), min(width, x + RADII[r] + 1)):
            for near_y in range(max(0, y - RADII[r]), min(height, y + RADII[r] + 1)):
                crowd[r, near_x, near_y] += 1
