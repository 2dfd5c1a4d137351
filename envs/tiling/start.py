"""A schedule by rule: everything on chip if it fits, else the most useful things first (njit).

Allocation scores designs under it, and searches for better schedules begin with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import (
    AHEAD,
    D_TILE,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_FUSED,
    WEIGHTS_PARTLY,
    WEIGHTS_PINNED,
    WEIGHTS_PINNED_AHEAD,
    bram36_of_choices,
    pinned_levels,
)
from foldwright.accel.mapping import M_BLOCKS, M_ROWS, M_WEIGHT_WORDS_PER_BLOCK
from foldwright.accel.memory import largest_first
from foldwright.accel.tables import L_INPUT, L_RESIDUAL, L_STORED_H
from foldwright.accel.tiles import ORDER_ROWS
from foldwright.kernels import njit

if TYPE_CHECKING:
    from foldwright.envs.tiling.problem import TilingProblem

__all__ = ["QUICK_TILES", "fitted_start", "quick_choices", "quick_tiles", "resident_choices"]

IntArray = npt.NDArray[np.int64]

QUICK_TILES = 3
_FUSING_PASSES = 2
_FUSING_PARTS = (2, 4, 8, 16)
"""Bands that are tried, as parts of the last layer's rows."""


@njit(cache=True)
def quick_tiles(mappings: IntArray) -> IntArray:
    """Returns three tiles a layer, int64 (layers, 3, 3): everything at once, one block of all rows, the smallest."""
    tiles = np.zeros((len(mappings), QUICK_TILES, 3), dtype=np.int64)
    for i in range(len(mappings)):
        tiles[i, 0, 0], tiles[i, 0, 1] = mappings[i, M_BLOCKS], mappings[i, M_ROWS]
        tiles[i, 1, 0], tiles[i, 1, 1] = 1, mappings[i, M_ROWS]
        tiles[i, 2, 0], tiles[i, 2, 1] = 1, 1
    return tiles


@njit(cache=True)
def _has_reader(layers: IntArray, i: int) -> bool:
    for j in range(i + 1, len(layers)):
        if layers[j, L_INPUT] == i or layers[j, L_RESIDUAL] == i:
            return True
    return False


@njit(cache=True)
def resident_choices(layers: IntArray) -> IntArray:
    """Returns the schedule that keeps every tensor and all weights on chip and computes each layer in one tile."""
    choices = np.zeros(DECISIONS * len(layers), dtype=np.int64)
    for i in range(len(layers)):
        choices[DECISIONS * i] = WEIGHTS_PINNED_AHEAD
        choices[DECISIONS * i + 1] = OUTPUT_CHIP if _has_reader(layers, i) else 0
    return choices


@njit(cache=True)
def quick_choices(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray,
) -> IntArray:  # fmt: skip
    """Returns a schedule by rule: tensors on chip, one block at a time over all rows, inputs ahead, pinned weights, large tiles.

    Each step is taken for one layer after another (pinning: largest weights first, all of them or as many blocks as there is
    room for) and kept where it fits.
    """
    return _choices_around(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, (0, 0))


@njit(cache=True)
def _choices_around(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, group: tuple[int, int],
) -> IntArray:  # fmt: skip
    """Returns the schedule by rule around fused layers, first..last of `group`, weights pinned; none if both are the same."""
    n, (first, last) = len(layers), group
    choices = resident_choices(layers)
    for i in range(first, last):
        choices[DECISIONS * i + 1] = OUTPUT_FUSED
    fixed = choices.copy()
    if (
        bram36_of_choices(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
        <= numbers[2]
    ):
        return choices
    choices[:] = 0
    choices[2::DECISIONS] = QUICK_TILES - 1
    if last > first:
        choices[DECISIONS * first : DECISIONS * last + 1] = fixed[DECISIONS * first : DECISIONS * last + 1]
        choices[DECISIONS * last + D_TILE] = 0
    by_weight = largest_first(mappings[:, M_BLOCKS] * mappings[:, M_WEIGHT_WORDS_PER_BLOCK])
    for step in range(5):
        for k in range(n):
            i = by_weight[k] if step == 3 else k
            at = DECISIONS * i + (1, D_TILE, 0, 0, D_TILE)[step]
            if (step == 0 and not _has_reader(layers, i)) or (
                step == 4 and choices[DECISIONS * i] // 2 * 2 != WEIGHTS_PINNED
            ):
                continue
            if last > first and first <= i <= last and (step > 0 or i < last):
                continue
            before, tries = choices[at], 1
            if step == 3:
                tries += pinned_levels(mappings[i, M_BLOCKS])
            for t in range(tries):
                choices[at] = (
                    OUTPUT_CHIP,
                    1,
                    AHEAD,
                    before % 2 + (WEIGHTS_PARTLY - 2 + 2 * t if t else WEIGHTS_PINNED),
                    0,
                )[step]
                used = bram36_of_choices(
                    layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices
                )
                if used <= numbers[2]:
                    break
                choices[at] = before
    return choices


def fitted_start(problem: TilingProblem) -> IntArray:
    """Returns the best of the schedule by rule and those around fused layers, by their outlines, after quick mends of it.

    Where the rule's tile is not among the instance's it takes the best of these: such a tile is beaten on its layer alone, but
    the smallest one may be far slower than what the allocation counted with. Then layers are fused with the next one, one after
    another, where that helps.
    """
    layers, engines, mappings, assignment, widths, geometries, tiles, numbers = problem.tables
    quick = quick_tiles(mappings)
    by_rule = quick_choices(layers, engines, mappings, assignment, widths, geometries, quick, numbers)
    outline, tables = problem.outline()
    best = problem.by_rule.copy()
    cost = outline(*tables, best)
    for trial in _fused_starts(problem, quick):
        value = outline(*tables, trial)
        if value < cost:
            best, cost = trial, value
    for i in range(len(layers)):
        at = DECISIONS * i + D_TILE
        if (tiles[i] == quick[i, by_rule[at]]).all(axis=1).any():
            continue
        trial = best.copy()
        for k in range(int(problem.sizes[at])):
            trial[at] = k
            value = outline(*tables, trial)
            if value < cost:
                best[at], cost = k, value
    for _ in range(_FUSING_PASSES):
        for i in range(len(layers)):
            for trial in _with_link(problem, best, i):
                value = outline(*tables, trial)
                if value < cost:
                    best, cost = trial, value
    simulated = problem.cost_of(best), problem.cost_of(problem.by_rule)
    return best if 0 < simulated[0] <= simulated[1] or simulated[1] < 0 else problem.by_rule


def _with_link(problem: TilingProblem, choices: IntArray, i: int) -> Iterator[IntArray]:
    """Yields choices with layer `i` fused with the next one: its weights and the next one's as they are or pinned, in bands of
    several sizes of the group's last layer; or not fused any more, if it is.
    """
    sizes, tiles, at = problem.sizes, problem.tables[6], DECISIONS * i
    if sizes[at + 1] <= OUTPUT_FUSED:
        return
    if choices[at + 1] == OUTPUT_FUSED:
        trial = choices.copy()
        trial[at + 1] = OUTPUT_CHIP
        yield trial
        return
    last = i + 1
    while choices[DECISIONS * last + 1] == OUTPUT_FUSED:
        last += 1
    rows = int(problem.tables[2][last, M_ROWS])
    mine = tiles[last, : sizes[DECISIONS * last + D_TILE]]
    wanted = {int(np.argmin(np.abs(mine[:, 1] - rows / parts))) for parts in _FUSING_PARTS}
    for tile in sorted(wanted | {int(choices[DECISIONS * last + D_TILE])}):
        for pins in (False, True):
            trial = choices.copy()
            trial[at + 1], trial[DECISIONS * last + D_TILE] = OUTPUT_FUSED, tile
            for layer in (i, i + 1) if pins else ():
                trial[DECISIONS * layer] = WEIGHTS_PINNED + choices[DECISIONS * layer] % 2
                if layer < last:
                    trial[DECISIONS * layer + D_TILE] = 0
            yield trial


def _fused_starts(problem: TilingProblem, quick: IntArray) -> Iterator[IntArray]:
    """Yields schedules by rule around groups of fused layers, which begin an engine's work and end where its maps get smaller.

    The group's bands are an eighth and a quarter of the last layer's rows, its weights pinned.
    """
    layers, engines, mappings, assignment, widths, geometries, tiles, numbers = problem.tables
    for e in range(len(engines)):
        mine = np.flatnonzero(assignment == e)
        last = first = int(mine[0])
        while problem.sizes[DECISIONS * last + 1] > OUTPUT_FUSED:
            last += 1
            narrows = last + 1 < len(layers) and layers[last + 1, L_STORED_H] < layers[last, L_STORED_H]
            goes_on = problem.sizes[DECISIONS * last + 1] > OUTPUT_FUSED
            rows = int(mappings[last, M_ROWS])
            for band in {-(-rows // 8), -(-rows // 4)} if (narrows or not goes_on) and rows > 1 else ():
                cut = quick.copy()
                cut[first : last + 1, :, 0] = mappings[first : last + 1, M_BLOCKS, None]
                cut[last, :, 1:] = band, ORDER_ROWS
                choices = _choices_around(
                    layers, engines, mappings, assignment, widths, geometries, cut, numbers, (first, last)
                )
                for i in range(len(layers)):
                    at = DECISIONS * i + D_TILE
                    away = np.abs(tiles[i, : problem.sizes[at]] - cut[i, choices[at]])
                    choices[at] = int(np.argmin(away @ np.array([1, 1000 if i == last else 1, 0])))
                yield choices
