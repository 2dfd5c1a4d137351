"""Decisions of a whole network in, cycles and block RAMs out: the one kernel that scores schedules (njit).

Each layer takes three decisions (`DECISIONS`): how much of its weights stays on chip for good, none
(`WEIGHTS_STREAMED`), all (`WEIGHTS_PINNED`) or some blocks (`pinned_blocks`), and whether its input, where it comes from DRAM,
is loaded one layer ahead (`AHEAD` more); where its output goes (`OUTPUT_DRAM`, `OUTPUT_CHIP`, or `OUTPUT_FUSED`: on chip, and
the layer runs in turns with the next one, see `foldwright.accel.fusion`); and its tile (an index into
`tiles`). What streams comes as soon as it has a place: an engine has as many as the pool has room for (`grow_places`), up to
a limit. A network with its hardware travels through the kernels as one tuple, `NetworkTables`:

    (layers, engines, mappings, assignment, widths, geometries, tiles, numbers)

`tiles` is int64 (layers, MAX_TILES, 3), `geometries` as in `cost.geometry_table`, and `numbers` is (batch, DRAM bits per
cycle, pool of RAMB36, most places of weights of an engine, whether rows of inputs stay for the next tile).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.fusion import set_groups
from foldwright.accel.mapping import M_BLOCKS, M_CYCLES, M_LATENCY, M_ROWS, ceil_div
from foldwright.accel.memory import (
    bram36_in_use,
    first_fit,
    grow_places,
    live_items,
    set_least_places,
)
from foldwright.accel.simulate import steady_cycles
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tiles import P_FUSED, PLAN_FIELDS, layer_cycles, plan_row, traffic_bits
from foldwright.kernels import njit

__all__ = [
    "AHEAD",
    "ALL_PLACES",
    "BUILT_PLACES",
    "DECISIONS",
    "MAX_TILES",
    "OUTPUT_CHIP",
    "OUTPUT_DRAM",
    "OUTPUT_FUSED",
    "WEIGHTS_PARTLY",
    "WEIGHTS_PINNED",
    "WEIGHTS_PINNED_AHEAD",
    "WEIGHTS_STREAMED",
    "bram36_of_choices",
    "compute_bound",
    "cycles_of_choices",
    "expand",
    "least_places",
    "pinned_blocks",
    "pinned_levels",
    "resident_choices",
    "round_cycles",
    "settled",
    "total_traffic",
    "weights_choice",
]

IntArray = npt.NDArray[np.int64]

DECISIONS = 3
MAX_TILES = 64
D_WEIGHTS, D_OUTPUT, D_TILE = range(DECISIONS)
AHEAD = 1
WEIGHTS_STREAMED, WEIGHTS_PINNED, WEIGHTS_PINNED_AHEAD, WEIGHTS_PARTLY = 0, 2, 3, 4
BUILT_PLACES = 2
"""Places of streamed weights that the RTL's loader knows."""
ALL_PLACES = 1 << 20
"""No limit but the pool."""
_MOST_PARTS = 15
OUTPUT_DRAM, OUTPUT_CHIP, OUTPUT_FUSED = 0, 1, 2
TOO_BIG = -1


def resident_choices(
    tables: Any, image_tile_rows: int, streamed_blocks: Mapping[int, int] | None = None
) -> IntArray:
    """Returns the choices of a network whose tensors stay in maps: weights pinned, or streamed, and images one layer ahead.

    Args:
        tables: a `NetworkTables`.
        image_tile_rows: output rows of a tile of layers that read the image; the nearest that the tables offer.
        streamed_blocks: of a tile of layers, by index, whose weights stream; the nearest that the tables offer.
    """
    streamed = streamed_blocks or {}
    layers, _, mappings, _, _, _, tiles, _ = tables
    read = set(layers[:, L_INPUT].tolist())
    choices = np.zeros(DECISIONS * len(layers), dtype=np.int64)
    for i, options in enumerate(tiles):
        rows = image_tile_rows if layers[i, L_INPUT] < 0 else mappings[i, M_ROWS]
        blocks = streamed.get(i, mappings[i, M_BLOCKS])
        cut = np.abs(options[:, 0] - blocks) + np.abs(options[:, 1] - rows) * 2**20
        if i not in streamed:
            cut += np.abs(options[:, 0] - blocks) * 2**40
        choices[DECISIONS * i : DECISIONS * (i + 1)] = (
            (WEIGHTS_STREAMED if i in streamed else WEIGHTS_PINNED) + AHEAD,
            OUTPUT_CHIP if i in read else OUTPUT_DRAM,
            int(cut.argmin()),
        )
    return choices


@njit(cache=True)
def least_places(most: int) -> int:
    """Returns how many places of streamed weights an engine has at least, given the most: what is built has all of them."""
    return BUILT_PLACES if most == BUILT_PLACES else 1


@njit(cache=True)
def pinned_levels(blocks: int) -> int:
    """Returns in how many ways some but not all blocks of a layer may be pinned."""
    return min(blocks - 1, _MOST_PARTS)


@njit(cache=True)
def pinned_blocks(blocks: int, choice: int) -> int:
    """Returns how many blocks of a layer a choice of its weights keeps on chip.

    >>> [pinned_blocks.py_func(4, c) for c in range(0, 10, 2)]
    [0, 4, 3, 2, 1]
    """
    level = choice // 2
    if level < 2:
        return level * blocks
    levels = min(blocks - 1, _MOST_PARTS)
    return ceil_div(blocks * (levels + 2 - level), levels + 1)


def weights_choice(blocks: int, pinned: int, ahead: int) -> int:
    """Returns the choice of weights that pins so many blocks, -1 where none does."""
    for level in range(2 + pinned_levels(blocks)):
        if pinned_blocks(blocks, 2 * level) == pinned:
            return 2 * level + ahead
    return -1


@njit(cache=True)
def expand(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> IntArray:  # fmt: skip
    """Returns the plan rows that the choices stand for, with the fewest places, int64 (layers, PLAN_FIELDS)."""
    n = len(layers)
    plans = np.zeros((n, PLAN_FIELDS), dtype=np.int64)
    flags = np.zeros(6, dtype=np.int64)
    for i in range(n):
        weights = choices[DECISIONS * i + D_WEIGHTS]
        flags[0], flags[1] = assignment[i], pinned_blocks(mappings[i, M_BLOCKS], weights)
        flags[2] = weights % 2
        source, residual = layers[i, L_INPUT], layers[i, L_RESIDUAL]
        flags[3] = 1 if source < 0 else choices[DECISIONS * source + D_OUTPUT] == OUTPUT_DRAM
        flags[4] = choices[DECISIONS * i + D_OUTPUT] == OUTPUT_DRAM
        flags[5] = residual >= -1 and (
            residual < 0 or choices[DECISIONS * residual + D_OUTPUT] == OUTPUT_DRAM
        )
        engine = engines[assignment[i]]
        tile = tiles[i, choices[DECISIONS * i + D_TILE]]
        plan_row(layers[i], engine, mappings[i], numbers, tile, flags, plans[i])
        plans[i, P_FUSED] = choices[DECISIONS * i + D_OUTPUT] == OUTPUT_FUSED
    set_groups(layers, engines, mappings, assignment, numbers[0], plans)
    set_least_places(plans, assignment, len(engines), least_places(numbers[3]))
    return plans


@njit(cache=True)
def bram36_of_choices(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> int:  # fmt: skip
    """Returns the block RAMs that the choices need with the fewest places, fragmentation counted."""
    plans = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    return bram36_in_use(widths, first_fit(items, len(engines)), geometries)


@njit(cache=True)
def cycles_of_choices(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> int:  # fmt: skip
    """Returns the cycles per round in steady state, or `TOO_BIG` where the memories exceed the pool."""
    plans, spare = settled(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
    return round_cycles(layers, engines, plans, assignment, numbers[1])[0] if spare >= 0 else TOO_BIG


@njit(cache=True)
def settled(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> tuple[IntArray, int]:  # fmt: skip
    """Returns the plan rows with all places that there is room for, and the block RAMs left, less than 0 if they do not fit."""
    plans = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    depth = first_fit(items, len(engines))
    spare = numbers[2] - bram36_in_use(widths, depth, geometries)
    if spare >= 0:
        spare = grow_places(plans, assignment, widths, geometries, depth, spare, numbers[3])
    return plans, spare


@njit(cache=True)
def round_cycles(
    layers: IntArray, engines: IntArray, plans: IntArray, assignment: IntArray, dram_bits: int
) -> tuple[int, int]:
    """Returns (cycles per round in steady state, latency of the first round).

    The rounds that are measured may end a little sooner than they recur where work was done ahead in the first ones; no
    engine and no port can be busy for longer than a round, so the round is at least as long as each of them is busy.
    """
    cycles, latency = steady_cycles(layers, plans, assignment, len(engines), dram_bits)
    busy = np.zeros(len(engines), dtype=np.int64)
    for i in range(len(plans)):
        busy[assignment[i]] += layer_cycles(plans[i])
    load, store = total_traffic(plans)
    return max(cycles, busy.max(), ceil_div(max(load, store), dram_bits)), latency


@njit(cache=True)
def compute_bound(mappings: IntArray, engines: IntArray, assignment: IntArray) -> int:
    """Returns the cycles that the busiest engine needs whatever the schedule: every layer is at least one tile."""
    total = np.zeros(len(engines), dtype=np.int64)
    for i in range(len(mappings)):
        total[assignment[i]] += mappings[i, M_CYCLES] + mappings[i, M_LATENCY]
    return total.max()


@njit(cache=True)
def total_traffic(plans: IntArray) -> tuple[int, int]:
    """Returns (bits loaded, bits stored) per round."""
    load, store = 0, 0
    for i in range(len(plans)):
        a, b = traffic_bits(plans[i])
        load, store = load + a, store + b
    return load, store
