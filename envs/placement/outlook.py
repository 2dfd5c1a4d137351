"""What a cell adds on every free site, now and as far as one can guess later, and its best sites (njit).

The *wire* of a site is what the boxes of the cell's nets grow by, as in `foldwright.envs.placement.construct`. The *guess*
is the same with all cells in the boxes, those to come on their tiles of the plan; and a tenth of the cell's weight for each
tile from its own. Both are a function of x plus one of y, tabulated once a cell; then each region, and each column in it,
has a site that adds least wire and one with the best guess. Ties go to the site nearest the middle of the grid, then in
the order in which the construction looks at sites, so that least wire at all three decisions is what the construction
takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.envs.placement.episode import HEIGHT, PLACED, WIDTH, X0, X1, Y0, Y1
from foldwright.envs.placement.tree import span_of
from foldwright.kernels import njit

__all__ = ["PART", "TIE", "find_sites", "guess_of", "look_out", "wire_of"]

IntArray = npt.NDArray[np.int64]

PART = 10
"""Parts of a wire in which guesses are counted."""
TIE = 1 << 12
"""Wire counts so much more than the distance to the middle, as in the construction."""


@njit(cache=True)
def wire_of(episode: Any, width: int, x: int, y: int) -> int:
    """Returns the wire that the cell adds on a tile."""
    return (episode.wire[x] + episode.wire[width + y]) // TIE


@njit(cache=True)
def guess_of(episode: Any, width: int, x: int, y: int) -> int:
    """Returns the guess of a tile, in `PART`s of a wire."""
    return (episode.guess[x] + episode.guess[width + y]) // TIE


@njit(cache=True)
def look_out(instance: Any, episode: Any, cell: int) -> tuple[int, int]:
    """Tabulates wire and guess, counts neighbours to come; returns the cell's weight and that of its open nets.

    An open net has a cell that is neither placed nor this one.
    """
    tree, numbers, wire, guess = instance.tree, instance.numbers, episode.wire, episode.guess
    wire[:] = 0
    guess[:] = 0
    episode.coming[:] = 0
    width, total, open_weight = numbers[WIDTH], 0, 0
    starts = np.zeros(
        (4, 2), dtype=np.int64
    )  # value at place 0 and slope before it, of wire x, y and guess x, y
    for at in range(tree.cell_offsets[cell], tree.cell_offsets[cell + 1]):
        net = tree.cell_nets[at]
        box, weight = episode.nets[net], tree.weights[net]
        degree = tree.net_offsets[net + 1] - tree.net_offsets[net]
        total += weight
        if box[PLACED] > 0:
            for axis in range(2):
                _pull(wire[axis * width :], starts[axis], box[2 * axis], box[2 * axis + 1], weight)
        if degree > 1:
            if degree - box[PLACED] > 1:
                open_weight += weight
            x0, x1, y0, y1 = _whole_box(tree, episode, net, cell)
            _pull(guess, starts[2], x0, x1, PART * weight)
            _pull(guess[width:], starts[3], y0, y1, PART * weight)
    for axis in range(2):
        tile = episode.tiles[cell, axis]
        _pull(guess[axis * width :], starts[2 + axis], tile, tile, total)
    middle = ((width + 1) // 2, (numbers[HEIGHT] + 1) // 2)
    for axis in range(2):
        side = numbers[WIDTH + axis]
        _sum_up(wire[axis * width :], guess[axis * width :], starts, axis, side, middle[axis])
    return total, open_weight


@njit(cache=True)
def _whole_box(tree: Any, episode: Any, net: int, cell: int) -> Any:
    """Returns (x, last x, y, last y) of a net without a cell, those to come on their tiles of the plan; counts these."""
    box, degree = episode.nets[net], tree.net_offsets[net + 1] - tree.net_offsets[net]
    if box[PLACED] == degree - 1:
        return box[X0], box[X1], box[Y0], box[Y1]
    x0 = y0 = np.int64(1) << 40
    x1 = y1 = np.int64(-1)
    for pin in range(tree.net_offsets[net], tree.net_offsets[net + 1]):
        other = tree.net_cells[pin]
        if other != cell:
            x, y = episode.tiles[other, 0], episode.tiles[other, 1]
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
            episode.coming[tree.kind[other]] += 1 - episode.is_placed[other]
    return x0, x1, y0, y1


@njit(cache=True)
def _pull(table: IntArray, start: IntArray, low: int, high: int, weight: int) -> None:
    """Adds to a table, which holds changes of slopes, the distance to low .. high times a weight."""
    start[0] += weight * low
    start[1] -= weight
    table[low] += weight
    table[high] += weight


@njit(cache=True)
def _sum_up(wire: IntArray, guess: IntArray, starts: IntArray, axis: int, side: int, middle: int) -> None:
    """Turns changes of slopes into values times `TIE`, with the distance to the middle behind."""
    value, slope = starts[axis, 0], starts[axis, 1]
    later, later_slope = starts[2 + axis, 0], starts[2 + axis, 1]
    for place in range(side):
        slope += wire[place]
        later_slope += guess[place]
        tie = abs(place - middle)
        wire[place] = value * TIE + tie
        guess[place] = later * TIE + tie
        value += slope
        later += later_slope


@njit(cache=True)
def find_sites(instance: Any, episode: Any, kind: int) -> tuple[int, int]:
    """Finds the best sites of every region and column; returns the regions of least wire and of the best guess."""
    tree, width, across = instance.tree, instance.numbers[WIDTH], instance.numbers[-1]
    first, end = tree.kind_columns[kind], tree.kind_columns[kind + 1]
    episode.least[:] = -1
    episode.likely[:] = -1
    best, winners = np.full((2, len(tree.regions) + 1), np.int64(1) << 62), np.zeros(2, dtype=np.int64)
    start = tree.first_column[kind, episode.wire[:width].argmin()]
    # The construction's order of columns: from the cheapest x to the right, then to the left.
    for step in range(end - first):
        column = start + step if start + step < end else end - 1 - step
        x = tree.xy[tree.first_site[column, 0], 0]
        region_of_x = 0
        while tree.regions[region_of_x, 1] <= x:
            region_of_x += 1
        for region in range(region_of_x, len(tree.regions), across):
            _scan(instance, episode, x, region, column, best, winners)
    return winners[0], winners[1]


@njit(cache=True)
def _scan(
    instance: Any, episode: Any, x: int, region: int, column: int, best: IntArray, winners: IntArray
) -> None:
    """Looks for better sites in a column of a region; `best` holds the least of each region, and of all in the end."""
    tree, width, last = instance.tree, instance.numbers[WIDTH], episode.least.shape[1] - 1
    wire, guess = episode.wire, episode.guess
    low_wire = low_guess = np.int64(1) << 62
    first, end = span_of(tree.regions, tree.first_site, region, column)
    for site in range(first, end):
        if episode.taken[site] == 0:
            y = width + tree.xy[site, 1]
            here, later = wire[x] + wire[y], guess[x] + guess[y]
            if here < low_wire:
                low_wire, episode.least[region, column] = here, site
            if later < low_guess:
                low_guess, episode.likely[region, column] = later, site
    for of in range(2):
        value = low_wire if of == 0 else low_guess
        found = episode.least if of == 0 else episode.likely
        if value < best[of, region]:
            best[of, region], found[region, last] = value, found[region, column]
        if value < best[of, -1]:
            best[of, -1], winners[of] = value, region
