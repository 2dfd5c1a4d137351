"""Costs and observations of a batch of tiling episodes (njit); see `foldwright.envs.batch` for the arrays.

Every feature is relative to the instance: to its bound, its pool, its layer. Numbers of layers or block RAMs never
appear as such, and the shapes do not depend on the instance. All are clipped to -`LIMIT` .. `LIMIT`.

Candidate features (`CANDIDATE_*`): what the candidate says, and what the fallback completion needs with it.
Context features (`CONTEXT_*`): the layer that is decided, and the fallback completion so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import (
    D_OUTPUT,
    D_TILE,
    D_WEIGHTS,
    DECISIONS,
    OUTPUT_CHIP,
    cycles_of_choices,
    expand,
    total_traffic,
)
from foldwright.accel.mapping import M_CYCLES, ceil_div
from foldwright.accel.memory import bram36_in_use, first_fit, live_items
from foldwright.accel.tables import (
    L_INPUT,
    L_KH,
    L_KW,
    L_OUT_BITS,
    L_OUT_C,
    L_RESIDUAL,
    L_STORED_H,
    L_STORED_W,
)
from foldwright.accel.tiles import (
    ORDER_ROWS,
    P_BLOCKS,
    P_CYCLES_PER_BLOCK_ROW,
    P_IN_BITS_PER_ROW,
    P_IN_DRAM,
    P_IN_H,
    P_LATENCY,
    P_LEAD,
    P_ORDER,
    P_PINNED,
    P_RESIDUAL_DRAM,
    P_ROWS,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    standalone_cycles,
    traffic_bits,
)
from foldwright.kernels import njit

__all__ = ["CANDIDATE_FEATURES", "CONTEXT_FEATURES", "costs", "observe"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

CANDIDATE_FEATURES = (
    "is the fallback", "lead / 2", "pinned", "output on chip", "tile blocks / blocks", "tile rows / rows", "rows outside",
    "block RAMs / pool", "change of block RAMs / pool", "layer's traffic cycles / bound", "change of traffic cycles / bound",
    "layer's stand-alone cycles / bound", "layer's stand-alone / compute cycles, log2 / 4", "tiles of the layer, log2 / 16",
)  # fmt: skip
CONTEXT_FEATURES = (
    "decides weights", "decides output", "decides tile", "progress", "cost / bound, log2 / 8", "block RAMs / pool",
    "traffic cycles / bound", "layer's compute / bound", "weights' load cycles / bound", "weights' bits / pool bits",
    "input's load cycles / bound", "output's store cycles / bound", "output's bits / pool bits", "input from DRAM",
    "residual from DRAM", "readers / 4", "distance to the last reader / layers", "layers of this engine / layers",
    "later compute / all compute", "later weights' bits / pool bits", "DRAM bits per cycle / 64", "taps / 25",
)  # fmt: skip
LIMIT = 4.0
_POOL_BLOCK_BITS = 36864.0

# Positions of the packed arrays; the first two are common to all problems.
SIZES, FALLBACK, LAYERS, ENGINES, MAPPINGS, ASSIGNMENT, WIDTHS, GEOMETRIES, TILES, NUMBERS = range(10)


@njit(cache=True)
def _tables(flats: Any, offsets: IntArray, j: int) -> Any:
    """Returns the network tables of instance `j`."""
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
    flats: Any,
    offsets: IntArray,
    instance: IntArray,
    choices: IntArray,
    todo: npt.NDArray[np.bool_],
    out: IntArray,
) -> None:
    """Writes the cost of the fallback completion of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            layers, engines, mappings, assignment, widths, geometries, tiles, numbers = _tables(
                flats, offsets, instance[i]
            )
            row = choices[i, : DECISIONS * len(layers)]
            out[i] = cycles_of_choices(
                layers, engines, mappings, assignment, widths, geometries, tiles, numbers, row
            )


@njit(cache=True)
def _clip(value: float) -> float:
    return max(-LIMIT, min(LIMIT, value))


@njit(cache=True)
def _log2(value: float) -> float:
    return np.log2(max(value, 1e-9))


@njit(cache=True)
def observe(
    flats: Any, offsets: IntArray, instance: IntArray, bounds: IntArray, choices: IntArray, position: IntArray,
    cost: IntArray, todo: npt.NDArray[np.bool_], candidates: FloatArray, context: FloatArray,
    mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Writes candidates, context and mask of the next decision of every episode in `todo`."""
    for i in range(len(instance)):
        if todo[i]:
            j = instance[i]
            size = flats[0][offsets[0, j] + position[i]]
            fallback = flats[1][offsets[1, j] + position[i]]
            _observe_one(
                *_tables(flats, offsets, j), size, fallback, bounds[j], choices[i], position[i], cost[i],
                candidates[i], context[i], mask[i],
            )  # fmt: skip


@njit(cache=True)
def _block_rams(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, batch: int, plans: IntArray,
) -> int:  # fmt: skip
    items = live_items(layers, engines, mappings, assignment, batch, plans)
    return bram36_in_use(widths, first_fit(items, len(engines)), geometries)


@njit(cache=True)
def _observe_one(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray, geometries: IntArray,
    tiles: IntArray, numbers: IntArray, size: int, fallback: int, bound: int, choices: IntArray, position: int,
    cost: int, candidates: FloatArray, context: FloatArray, mask: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    candidates[:] = 0
    mask[:] = 0
    n = len(layers)
    layer, which = position // DECISIONS, position % DECISIONS
    row = choices[: DECISIONS * n]
    plans = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, row)
    pool, bits = float(numbers[2]), numbers[1]
    used_now = _block_rams(layers, engines, mappings, assignment, widths, geometries, numbers[0], plans)
    load, store = total_traffic(plans)
    traffic_now = float(load + store)
    per_bound = 1.0 / (float(bits) * bound)
    used = used_now
    for k in range(size):
        row[position] = k
        trial = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, row)
        # Two candidates that differ in the loop order alone need the same words.
        if which != D_TILE or k == 0 or (tiles[layer, k, :2] != tiles[layer, k - 1, :2]).any():
            used = _block_rams(layers, engines, mappings, assignment, widths, geometries, numbers[0], trial)
        mask[k] = used <= numbers[2]
        load, store = total_traffic(trial)
        _describe(trial[layer], which, k == fallback, row, layer, used, used_now, pool, bits, candidates[k])
        own_load, own_store = traffic_bits(trial[layer])
        candidates[k, 9] = _clip((own_load + own_store) * per_bound)
        candidates[k, 10] = _clip((load + store - traffic_now) * per_bound)
        candidates[k, 11] = _clip(standalone_cycles(trial[layer], bits) / bound)
    row[position] = fallback
    context[0], context[1], context[2] = which == D_WEIGHTS, which == D_OUTPUT, which == D_TILE
    context[3] = position / (DECISIONS * n)
    context[4] = _clip(_log2(cost / bound) / 8)
    context[5] = used_now / pool
    context[6] = _clip(traffic_now * per_bound)
    _describe_layer(layers, mappings, assignment, numbers, plans, layer, bound, context)


@njit(cache=True)
def _describe(
    plan: IntArray, which: int, is_fallback: bool, choices: IntArray, layer: int, used: int, used_now: int, pool: float,
    bits: int, out: FloatArray,
) -> None:  # fmt: skip
    """Writes what a candidate says and needs."""
    out[0] = is_fallback
    out[1] = plan[P_LEAD] / 2
    out[2] = plan[P_PINNED]
    out[3] = choices[DECISIONS * layer + D_OUTPUT] == OUTPUT_CHIP
    out[4] = plan[P_TILE_BLOCKS] / plan[P_BLOCKS]
    out[5] = plan[P_TILE_ROWS] / plan[P_ROWS]
    out[6] = plan[P_ORDER] == ORDER_ROWS
    out[7] = _clip(used / pool)
    out[8] = _clip((used - used_now) / pool)
    steps = ceil_div(plan[P_BLOCKS], plan[P_TILE_BLOCKS]) * ceil_div(plan[P_ROWS], plan[P_TILE_ROWS])
    compute = plan[P_BLOCKS] * plan[P_ROWS] * plan[P_CYCLES_PER_BLOCK_ROW] + plan[P_LATENCY]
    out[12] = _clip(_log2(standalone_cycles(plan, bits) / compute) / 4)
    out[13] = _clip(_log2(steps) / 16)


@njit(cache=True)
def _describe_layer(
    layers: IntArray, mappings: IntArray, assignment: IntArray, numbers: IntArray, plans: IntArray, layer: int, bound: int,
    out: FloatArray,
) -> None:  # fmt: skip
    """Writes what is known of the layer and of those after it."""
    n, plan = len(layers), plans[layer]
    pool_bits = numbers[2] * _POOL_BLOCK_BITS
    per_bound = 1.0 / (float(numbers[1]) * bound)
    weights = float(plan[P_BLOCKS] * plan[P_WEIGHT_BITS_PER_BLOCK])
    output = float(
        numbers[0] * layers[layer, L_OUT_C] * layers[layer, L_STORED_H] * layers[layer, L_STORED_W]
    )
    output *= layers[layer, L_OUT_BITS]
    readers, last = 0, layer
    for c in range(layer + 1, n):
        if layers[c, L_INPUT] == layer or layers[c, L_RESIDUAL] == layer:
            readers, last = readers + 1, c
    later_compute, all_compute, later_weights, mine = 0.0, 0.0, 0.0, 0
    for c in range(n):
        all_compute += mappings[c, M_CYCLES]
        mine += assignment[c] == assignment[layer]
        if c > layer:
            later_compute += mappings[c, M_CYCLES]
            later_weights += float(plans[c, P_BLOCKS] * plans[c, P_WEIGHT_BITS_PER_BLOCK])
    out[7] = _clip(mappings[layer, M_CYCLES] / bound)
    out[8] = _clip(weights * per_bound)
    out[9] = _clip(weights / pool_bits)
    out[10] = _clip(float(plan[P_IN_H] * plan[P_IN_BITS_PER_ROW]) * per_bound)
    out[11] = _clip(output * per_bound)
    out[12] = _clip(output / pool_bits)
    out[13], out[14] = plan[P_IN_DRAM], plan[P_RESIDUAL_DRAM]
    out[15] = _clip(readers / 4)
    out[16] = (last - layer) / n
    out[17] = mine / n
    out[18] = later_compute / all_compute
    out[19] = _clip(later_weights / pool_bits)
    out[20] = _clip(numbers[1] / 64)
    out[21] = _clip(layers[layer, L_KH] * layers[layer, L_KW] / 25)
