"""Fusion by rows: layers of an engine that run in turns, a band of rows each, so that few rows of what they hand on are held.

Depth first, as it is also called. A layer may be fused with the next one; layers linked so are a *group*. The last layer's
tile says how many rows its bands have; a layer before it computes in each band what rows its readers in the group need
next, so bands differ by a kernel's overlap. Rows are never computed twice: those that later bands read again are held.
What no layer outside the group reads is held in a ring of rows; all else of a group lives from its first layer's slot to its
last one's. Streamed weights come anew for every tile.

Source of the idea: M. Alwani et al., "Fused-layer CNN accelerators", MICRO 2016; here without their recomputation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.mapping import ceil_div
from foldwright.accel.memory import slots_of
from foldwright.accel.tables import (
    L_INPUT,
    L_IS_RESULT,
    L_POOL_K,
    L_POOL_PAD,
    L_POOL_S,
    L_RESIDUAL,
)
from foldwright.accel.tiles import (
    ORDER_ROWS,
    P_BANDS,
    P_FIRST_SLOT,
    P_FUSED,
    P_HELD_ROWS,
    P_IN_DRAM,
    P_IN_H,
    P_KH,
    P_LAST_SLOT,
    P_ORDER,
    P_OUT_DRAM,
    P_PAD_T,
    P_POOL_K,
    P_POOL_PAD,
    P_POOL_S,
    P_ROW_TILES,
    P_ROWS,
    P_SH,
    P_STORED_H,
    P_TILE_ROWS,
    set_input_words,
    set_stage_words,
    stored_rows,
)
from foldwright.kernels import njit

__all__ = ["band_ends", "group_end", "may_fuse", "set_groups"]

IntArray = npt.NDArray[np.int64]


@njit(cache=True)
def may_fuse(layers: IntArray, i: int) -> bool:
    """Whether layer `i` may run in turns with the next one if that is on the same engine: its output is for other layers.

    An engine keeps the rows of one pooling only, so no layer but a group's first may pool windows that bands would cut.
    """
    if i + 1 >= len(layers) or layers[i, L_IS_RESULT]:
        return False
    after = layers[i + 1]
    return after[L_POOL_K] <= after[L_POOL_S] and after[L_POOL_PAD] == 0


@njit(cache=True)
def group_end(plans: IntArray, i: int) -> int:
    """Returns the last layer of the group that begins with layer `i`; that layer where it is not fused."""
    while plans[i, P_FUSED]:
        i += 1
    return i


@njit(cache=True)
def _rows_for(plan: IntArray, stored: int) -> int:
    """Returns the fewest output rows, before pooling, that complete so many rows behind it."""
    if stored == 0:
        return 0
    return min(plan[P_ROWS], max(0, (stored - 1) * plan[P_POOL_S] + plan[P_POOL_K] - plan[P_POOL_PAD]))


@njit(cache=True)
def _needed_rows(reader: IntArray, maker: IntArray, as_residual: bool, end: int) -> int:
    """Returns how many rows of its operand a layer needs for its output rows before `end`."""
    if end == 0:
        return 0
    if as_residual:
        return end
    if reader[P_IN_H] != maker[P_STORED_H]:  # read as one vector
        return maker[P_STORED_H]
    return min(reader[P_IN_H], max(0, (end - 1) * reader[P_SH] - reader[P_PAD_T] + reader[P_KH]))


@njit(cache=True)
def _first_needed_row(reader: IntArray, maker: IntArray, as_residual: bool, begin: int) -> int:
    """Returns the first row of its operand that a layer reads for its output rows from `begin` on."""
    if begin >= reader[P_ROWS]:
        return maker[P_STORED_H]
    if as_residual:
        return begin
    return max(0, begin * reader[P_SH] - reader[P_PAD_T]) if reader[P_IN_H] == maker[P_STORED_H] else 0


@njit(cache=True)
def band_ends(layers: IntArray, plans: IntArray, first: int, last: int) -> IntArray:
    """Returns the output rows, before pooling, that each layer of a group has computed after each band.

    int64 (layers of the group, bands), the first layer first; a band of a layer may be empty.
    """
    end = plans[last]
    step = ceil_div(end[P_TILE_ROWS], end[P_POOL_S]) * end[P_POOL_S] if last > first else end[P_TILE_ROWS]
    bands = ceil_div(end[P_ROWS], step)
    out = np.empty((last - first + 1, bands), dtype=np.int64)
    for b in range(bands):
        out[last - first, b] = min(end[P_ROWS], (b + 1) * step)
    for i in range(last - 1, first - 1, -1):
        plan = plans[i]
        for b in range(bands):
            rows, is_read = 0, False
            for c in range(i + 1, last + 1):
                if layers[c, L_INPUT] == i:
                    rows, is_read = max(rows, _needed_rows(plans[c], plan, False, out[c - first, b])), True
                if layers[c, L_RESIDUAL] == i:
                    rows, is_read = max(rows, _needed_rows(plans[c], plan, True, out[c - first, b])), True
            if not is_read:
                rows = ceil_div(plan[P_STORED_H] * (b + 1), bands)
            out[i - first, b] = _rows_for(plan, rows) if b + 1 < bands else plan[P_ROWS]
    return out


@njit(cache=True)
def _held_rows(layers: IntArray, plans: IntArray, ends: IntArray, i: int, first: int, last: int) -> int:
    """Returns the most rows of a layer's output that are on chip at once: all where a layer outside the group reads it."""
    for c in range(last + 1, len(layers)):
        if layers[c, L_INPUT] == i or layers[c, L_RESIDUAL] == i:
            return plans[i, P_STORED_H]
    held = 0
    for b in range(ends.shape[1]):
        high, low = stored_rows(plans[i], ends[i - first, b]), plans[i, P_STORED_H]
        for c in range(i + 1, last + 1):
            begin = ends[c - first, b - 1] if b else 0
            if layers[c, L_INPUT] == i:
                low = min(low, _first_needed_row(plans[c], plans[i], False, begin))
            if layers[c, L_RESIDUAL] == i:
                low = min(low, _first_needed_row(plans[c], plans[i], True, begin))
        held = max(held, high - low)
    return held


@njit(cache=True)
def set_groups(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, batch: int, plans: IntArray
) -> None:
    """Writes into plan rows whose links are set when each layer lives, and what follows from the bands of groups."""
    slot, _ = slots_of(assignment, len(engines))
    first = 0
    while first < len(plans):
        last = group_end(plans, first)
        for i in range(first, last + 1):
            plans[i, P_FIRST_SLOT], plans[i, P_LAST_SLOT] = slot[first], slot[last]
        if last > first:
            ends = band_ends(layers, plans, first, last)
            for i in range(first, last):
                plans[i, P_HELD_ROWS] = _held_rows(layers, plans, ends, i, first, last)
            for i in range(first, last + 1):
                _set_bands(layers[i], engines[assignment[i]], mappings[i], batch, ends[i - first], plans[i])
        first = last + 1


@njit(cache=True)
def _set_bands(
    layer: IntArray, engine: IntArray, mapping: IntArray, batch: int, ends: IntArray, plan: IntArray
) -> None:
    """Writes what follows from a layer's bands: tiles of rows, their largest, and the buffers for them."""
    before = 0
    plan[P_BANDS], plan[P_ORDER], plan[P_ROW_TILES], plan[P_TILE_ROWS] = len(ends), ORDER_ROWS, 0, 0
    for end in ends:
        if end == before:
            continue
        plan[P_ROW_TILES] += 1
        plan[P_TILE_ROWS] = max(plan[P_TILE_ROWS], end - before)
        before = end
    if plan[P_IN_DRAM]:
        set_input_words(layer, engine, mapping, batch, ends, plan)
    if plan[P_OUT_DRAM]:
        set_stage_words(layer, engine, batch, plan)
