"""Costs and observations of a batch of placement episodes (njit); see `foldwright.envs.batch` for the arrays.

An episode keeps what is placed in its row of the state (`foldwright.envs.placement.episode`). Once a cell, all free sites
of its kind are looked at (`foldwright.envs.placement.outlook`); after that a candidate takes the same time whatever the
instance. A region and a column stand for their free site with the best *guess*: the wire that the cell adds there
now, and what it may cost later. "Wire" is the least that any of their free sites adds.

Wire and guess are given over the cell's weight, the sum of its nets': so they are tiles that the cell is moved on average.
The other features are relative to the grid or to the sites of the cell's kind; all are clipped (`envs.features`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.envs.features import clip
from foldwright.envs.placement.episode import (
    CELLS,
    COLUMNS,
    E_COMING_WIRE,
    E_LEAST,
    E_LIKELY,
    E_OPEN,
    E_PLACED,
    E_SUM_X,
    E_SUM_Y,
    E_WEIGHT,
    E_WIRE,
    HEIGHT,
    KINDS,
    PLACED,
    RADII,
    REGIONS,
    SITES,
    WIDTH,
    Instance,
    begin_episode,
    episode_of,
    place_cell,
    state_entries,
)
from foldwright.envs.placement.outlook import PART, find_sites, guess_of, look_out, wire_of
from foldwright.envs.placement.tree import COLUMN, LEVELS, REGION, Tree, column_of, cost_of_choices, span_of
from foldwright.kernels import njit

__all__ = ["CANDIDATE_FEATURES", "CONTEXT_FEATURES", "costs", "observe", "state_entries"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

CANDIDATE_FEATURES = (
    "guess over the best / weight", "guess over the best / weight, log2 / 2", "has the best guess",
    "wire over the least / weight", "wire over the least / weight, log2 / 2", "adds least wire",
    "wire of its site over the least / weight", "tiles to the plan / 8", "tiles to the middle of the placed / 8",
    "tiles to the middle of the grid / half perimeter", "tiles to the nearest edge / 4",
    "taken tiles next to it / tiles", "taken tiles around it / tiles", "free sites / sites",
    "tiles to columns of its neighbours to come, mean / 4", "its site is planned for another",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides region", "decides column", "decides site", "progress", "wire placed / bound, log2 / 8",
    "free sites of the kind / sites", "cells of the kind left / free sites", "sites of the kind / sites",
    "nets of the cell, log2 / 8", "nets with a placed cell / nets", "weight of those / weight",
    "weight of open nets / weight", "neighbours to come, log2 / 4", "least wire / weight, log2 / 4",
    "best guess / weight, log2 / 4", "width / (width + height)", "cells / sites", "half perimeter of the grid, log2 / 8",
)  # fmt: skip


@njit(cache=True)
def _instance(flats: Any, offsets: IntArray, j: int) -> Instance:
    """Returns the arrays of instance `j`."""
    numbers = flats[16][offsets[16, j] : offsets[16, j + 1]]
    tree = Tree(
        flats[2][offsets[2, j] : offsets[2, j + 1]].reshape(numbers[REGIONS], 4),
        flats[3][offsets[3, j] : offsets[3, j + 1]],
        flats[4][offsets[4, j] : offsets[4, j + 1]],
        flats[5][offsets[5, j] : offsets[5, j + 1]].reshape(numbers[SITES], 2),
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
    return Instance(
        tree,
        flats[15][offsets[15, j] : offsets[15, j + 1]],
        numbers,
        flats[17][offsets[17, j] : offsets[17, j + 1]],
        flats[18][offsets[18, j] : offsets[18, j + 1]].reshape(numbers[KINDS], numbers[WIDTH]),
    )


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
            mine = _instance(flats, offsets, instance[i])
            tree = mine.tree
            out[i] = cost_of_choices(
                tree.regions, tree.order, tree.kind, tree.xy, tree.kind_sites, tree.kind_columns, tree.first_column,
                tree.first_site, tree.cell_offsets, tree.cell_nets, tree.net_offsets, tree.net_cells, tree.weights,
                choices[i, : LEVELS * mine.numbers[CELLS]],
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
            mine = _instance(flats, offsets, instance[i])
            if position[i] == 0:
                begin_episode(mine, state[i])
            episode = episode_of(mine.numbers, state[i])
            nth, level = position[i] // LEVELS, position[i] % LEVELS
            if level == REGION:
                if nth > 0:
                    place_cell(mine, episode, choices[i], nth - 1)
                _turn_to(mine, episode, mine.tree.order[nth])
            if position[i] > 0:
                cost[i] = episode.numbers[E_WIRE] + episode.numbers[E_COMING_WIRE]
            size = flats[0][offsets[0, instance[i]] + position[i]]
            chosen = (choices[i, LEVELS * nth], choices[i, LEVELS * nth + 1])
            _describe_candidates(mine, episode, nth, level, chosen, candidates[i, :size], mask[i, :size])
            candidates[i, size:] = 0
            mask[i, size:] = 0
            _describe_decision(mine, episode, nth, level, bounds[instance[i]], context[i])


@njit(cache=True)
def _turn_to(instance: Any, episode: Any, cell: int) -> None:
    """Looks at all that the next cell could do."""
    numbers = episode.numbers
    numbers[E_WEIGHT], numbers[E_OPEN] = look_out(instance, episode, cell)
    numbers[E_LEAST], numbers[E_LIKELY] = find_sites(instance, episode, instance.tree.kind[cell])


@njit(cache=True)
def _candidate(
    instance: Any, episode: Any, kind: int, level: int, chosen: tuple[int, int], k: int
) -> tuple[int, int, int, int]:
    """Returns (free sites, sites, site of least wire, site of the best guess); no free sites where there is none."""
    tree, last = instance.tree, episode.least.shape[1] - 1
    if level == REGION:
        x0, x1, y0, y1 = tree.regions[k, 0], tree.regions[k, 1], tree.regions[k, 2], tree.regions[k, 3]
        sites = (x1 - x0) * (y1 - y0)
        return episode.free_in_region[k, kind], sites, episode.least[k, last], episode.likely[k, last]
    region = chosen[0]
    column = column_of(tree.regions, tree.first_column, kind, region, k if level == COLUMN else chosen[1])
    if column < 0:
        return 0, 0, -1, -1
    first, end = span_of(tree.regions, tree.first_site, region, column)
    if level == COLUMN:
        least, likely = episode.least[region, column], episode.likely[region, column]
        return episode.free_in_column[region, column], end - first, least, likely
    if first + k >= end or episode.taken[first + k]:
        return 0, 0, -1, -1
    return 1, 1, first + k, first + k


@njit(cache=True)
def _best_sites(
    instance: Any, episode: Any, kind: int, level: int, chosen: tuple[int, int]
) -> tuple[int, int]:
    """Returns the sites that add least wire and that have the best guess among all that the decision can lead to."""
    tree, last, numbers = instance.tree, episode.least.shape[1] - 1, episode.numbers
    if level == REGION:
        return episode.least[numbers[E_LEAST], last], episode.likely[numbers[E_LIKELY], last]
    if level != COLUMN:
        last = column_of(tree.regions, tree.first_column, kind, chosen[0], chosen[1])
    return episode.least[chosen[0], last], episode.likely[chosen[0], last]


@njit(cache=True)
def _describe_candidates(
    instance: Any, episode: Any, nth: int, level: int, chosen: tuple[int, int], out: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    tree, xy, width = instance.tree, instance.tree.xy, instance.numbers[WIDTH]
    cell = tree.order[nth]
    kind = tree.kind[cell]
    least, likely = _best_sites(instance, episode, kind, level, chosen)
    least_wire = wire_of(episode, width, xy[least, 0], xy[least, 1])
    best_guess = guess_of(episode, width, xy[likely, 0], xy[likely, 1])
    a_tile = 1.0 / max(1, episode.numbers[E_WEIGHT])
    for k in range(len(out)):
        free, sites, cheap, site = _candidate(instance, episode, kind, level, chosen, k)
        mask[k] = free > 0
        if free == 0:
            out[k] = 0
            continue
        x, y = xy[site, 0], xy[site, 1]
        guess = (guess_of(episode, width, x, y) - best_guess) * a_tile / PART
        wire = (wire_of(episode, width, xy[cheap, 0], xy[cheap, 1]) - least_wire) * a_tile
        out[k, 0], out[k, 1], out[k, 2] = clip(guess), clip(np.log2(1.0 + guess) / 2), site == likely
        out[k, 3], out[k, 4], out[k, 5] = clip(wire), clip(np.log2(1.0 + wire) / 2), cheap == least
        out[k, 6] = clip((wire_of(episode, width, x, y) - least_wire) * a_tile)
        out[k, 13] = free / sites
        out[k, 15] = episode.holder[site] >= 0 and episode.holder[site] != cell
        _describe_tile(instance, episode, cell, x, y, out[k])


@njit(cache=True)
def _describe_tile(instance: Any, episode: Any, cell: int, x: int, y: int, out: FloatArray) -> None:
    """Writes where a candidate's site is and what is around it."""
    numbers, planned = episode.numbers, episode.tiles[cell]
    width, height, placed = instance.numbers[WIDTH], instance.numbers[HEIGHT], max(1, numbers[E_PLACED])
    out[7] = clip((abs(x - planned[0]) + abs(y - planned[1])) / 8)
    out[8] = clip((abs(x - numbers[E_SUM_X] / placed) + abs(y - numbers[E_SUM_Y] / placed)) / 8)
    out[9] = (abs(x - 0.5 * width) + abs(y - 0.5 * height)) / (width + height)
    out[10] = clip(min(min(x, width - 1 - x), min(y, height - 1 - y)) / 4)
    out[11] = episode.crowd[0, x, y] / (2 * RADII[0] + 1) ** 2
    out[12] = episode.crowd[1, x, y] / (2 * RADII[1] + 1) ** 2
    away, coming = 0, 0
    for kind in range(len(episode.coming)):
        coming += episode.coming[kind]
        away += episode.coming[kind] * abs(x - instance.nearest_x[kind, x])
    out[14] = clip(away / max(1, coming) / 4)


@njit(cache=True)
def _describe_decision(
    instance: Any, episode: Any, nth: int, level: int, bound: int, out: FloatArray
) -> None:
    """Writes the context: the state of the episode, and what is known of the cell."""
    tree, counts, numbers = instance.tree, instance.numbers, episode.numbers
    cell = tree.order[nth]
    kind, weight = tree.kind[cell], max(1, numbers[E_WEIGHT])
    sites, half = tree.kind_sites[kind + 1] - tree.kind_sites[kind], counts[WIDTH] + counts[HEIGHT]
    last, width = episode.least.shape[1] - 1, counts[WIDTH]
    least, likely = episode.least[numbers[E_LEAST], last], episode.likely[numbers[E_LIKELY], last]
    wire = wire_of(episode, width, tree.xy[least, 0], tree.xy[least, 1])
    guess = guess_of(episode, width, tree.xy[likely, 0], tree.xy[likely, 1]) / PART
    first, end = tree.cell_offsets[cell], tree.cell_offsets[cell + 1]
    active, active_weight = 0, 0
    for at in range(first, end):
        net = tree.cell_nets[at]
        if episode.nets[net, PLACED] > 0:
            active += 1
            active_weight += tree.weights[net]
    out[:LEVELS] = 0
    out[level] = 1
    out[3] = nth / counts[CELLS]
    out[4] = clip(np.log2(1 + numbers[E_WIRE] / bound) / 8)
    out[5] = episode.free[kind] / sites
    out[6] = episode.left[kind] / episode.free[kind]
    out[7] = sites / counts[SITES]
    out[8] = clip(np.log2(1.0 + end - first) / 8)
    out[9] = active / max(1, end - first)
    out[10] = active_weight / weight
    out[11] = numbers[E_OPEN] / weight
    out[12] = clip(np.log2(1.0 + episode.coming.sum()) / 4)
    out[13] = clip(np.log2(1.0 + wire / weight) / 4)
    out[14] = clip(np.log2(1.0 + guess / weight) / 4)
    out[15] = width / half
    out[16] = counts[CELLS] / counts[SITES]
    out[17] = clip(np.log2(half) / 8)
