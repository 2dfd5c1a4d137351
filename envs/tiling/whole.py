"""What of a batch of tiling episodes is computed from whole choices (njit): costs, and memory where layers are fused.

Fused layers change how long others' words live and how many rows are held, so there every candidate's memory and traffic are
counted anew, which takes tens of times as long as what `kernels` keeps of an episode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import (
    D_OUTPUT,
    DECISIONS,
    OUTPUT_FUSED,
    cycles_of_choices,
    expand,
    total_traffic,
)
from foldwright.accel.memory import bram36_in_use, first_fit, live_items
from foldwright.envs.features import clip
from foldwright.kernels import njit

__all__ = ["costs", "count_whole", "fuses"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@njit(cache=True)
def _tables(flats: Any, offsets: IntArray, j: int) -> Any:
    """Returns the `NetworkTables` of instance `j`, which a packed one has behind its candidates and fallback."""
    return (
        flats[2][offsets[2, j] : offsets[2, j + 1]],
        flats[3][offsets[3, j] : offsets[3, j + 1]],
        flats[4][offsets[4, j] : offsets[4, j + 1]],
        flats[5][offsets[5, j] : offsets[5, j + 1]],
        flats[6][offsets[6, j] : offsets[6, j + 1]],
        flats[7][offsets[7, j] : offsets[7, j + 1]],
        flats[8][offsets[8, j] : offsets[8, j + 1]],
        flats[9][offsets[9, j] : offsets[9, j + 1]],
    )


@njit(cache=True)
def costs(
    flats: Any, offsets: IntArray, instance: IntArray, choices: IntArray, todo: npt.NDArray[np.bool_], out: IntArray
) -> None:  # fmt: skip
    """Writes the simulated cycles of the choices of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            tables = _tables(flats, offsets, instance[i])
            out[i] = cycles_of_choices(*tables, choices[i, : DECISIONS * len(tables[0])])


@njit(cache=True)
def fuses(sizes: IntArray) -> bool:
    """Whether an instance's layers may be fused, given its candidates."""
    for p in range(D_OUTPUT, len(sizes), DECISIONS):
        if sizes[p] > OUTPUT_FUSED:
            return True
    return False


@njit(cache=True)
def _measured(tables: Any, choices: IntArray) -> tuple[int, int]:
    """Returns the block RAMs that choices need and the bits that they move."""
    layers, engines, mappings, assignment, widths, geometries, _, numbers = tables
    plans = expand(*tables, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    load, store = total_traffic(plans)
    return bram36_in_use(widths, first_fit(items, len(engines)), geometries), load + store


@njit(cache=True)
def count_whole(
    flats: Any, offsets: IntArray, j: int, bound: int, choices: IntArray, position: int, size: int,
    candidates: FloatArray, context: FloatArray, mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Writes mask, block RAMs and traffic of a decision's candidates, those of all other choices with them."""
    tables, kept = _tables(flats, offsets, j), choices[position]
    pool, per_bound = tables[7][2], 1.0 / (float(tables[7][1]) * bound)
    now, moved = _measured(tables, choices)
    context[5], context[6] = now / pool, clip(moved * per_bound)
    for k in range(size):
        choices[position] = k
        used, moves = _measured(tables, choices)
        mask[k] = used <= pool
        candidates[k, 7], candidates[k, 8] = clip(used / pool), clip((used - now) / pool)
        candidates[k, 10] = clip((moves - moved) * per_bound)
    choices[position] = kept
