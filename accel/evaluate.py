"""Decisions of a whole network in, cycles and block RAMs out: the one kernel that scores schedules (njit).

Each layer takes three decisions (`DECISIONS`): how its weights come (0, 1, 2: streamed, loaded at most that many layers
ahead; `WEIGHTS_PINNED` and `WEIGHTS_PINNED_AHEAD`: on chip for good, an input from DRAM loaded 0 or 1 layers ahead),
where its output goes (`OUTPUT_DRAM`, `OUTPUT_CHIP`), and its tile (an index into `tiles`). A network with its hardware
travels through the kernels as one tuple, `NetworkTables`:

    (layers, engines, mappings, assignment, widths, geometries, tiles, numbers)

`tiles` is int64 (layers, MAX_TILES, 3), `geometries` as in `cost.geometry_table`, and `numbers` is (batch, DRAM bits per
cycle, pool of RAMB36).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.mapping import M_BLOCKS, M_CYCLES, M_LATENCY, M_ROWS, ceil_div
from foldwright.accel.memory import bram36_in_use, first_fit, live_items
from foldwright.accel.simulate import steady_cycles
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tiles import PLAN_FIELDS, layer_cycles, plan_row, traffic_bits
from foldwright.kernels import njit

__all__ = [
    "DECISIONS",
    "MAX_TILES",
    "OUTPUT_CHIP",
    "OUTPUT_DRAM",
    "WEIGHTS_PINNED",
    "WEIGHTS_PINNED_AHEAD",
    "bram36_of_choices",
    "compute_bound",
    "cycles_of_choices",
    "expand",
    "resident_choices",
    "round_cycles",
    "total_traffic",
]

IntArray = npt.NDArray[np.int64]

DECISIONS = 3
MAX_TILES = 64
D_WEIGHTS, D_OUTPUT, D_TILE = range(DECISIONS)
WEIGHTS_PINNED, WEIGHTS_PINNED_AHEAD = 3, 4
_ONE_AHEAD = 1
OUTPUT_DRAM, OUTPUT_CHIP = 0, 1
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
            _ONE_AHEAD if i in streamed else WEIGHTS_PINNED_AHEAD,
            OUTPUT_CHIP if i in read else OUTPUT_DRAM,
            int(cut.argmin()),
        )
    return choices


@njit(cache=True)
def expand(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> IntArray:  # fmt: skip
    """Returns the plan rows that the choices stand for, int64 (layers, PLAN_FIELDS)."""
    n = len(layers)
    plans = np.zeros((n, PLAN_FIELDS), dtype=np.int64)
    flags = np.zeros(6, dtype=np.int64)
    for i in range(n):
        weights = choices[DECISIONS * i + D_WEIGHTS]
        flags[0], flags[1] = assignment[i], weights >= WEIGHTS_PINNED
        flags[2] = weights - WEIGHTS_PINNED if weights >= WEIGHTS_PINNED else weights
        source, residual = layers[i, L_INPUT], layers[i, L_RESIDUAL]
        flags[3] = 1 if source < 0 else choices[DECISIONS * source + D_OUTPUT] == OUTPUT_DRAM
        flags[4] = choices[DECISIONS * i + D_OUTPUT] == OUTPUT_DRAM
        flags[5] = residual >= -1 and (
            residual < 0 or choices[DECISIONS * residual + D_OUTPUT] == OUTPUT_DRAM
        )
        engine = engines[assignment[i]]
        tile = tiles[i, choices[DECISIONS * i + D_TILE]]
        plan_row(layers[i], engine, mappings[i], numbers, tile, flags, plans[i])
    return plans


@njit(cache=True)
def bram36_of_choices(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> int:  # fmt: skip
    """Returns the block RAMs that the choices need, fragmentation counted."""
    plans = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    return bram36_in_use(widths, first_fit(items, len(engines)), geometries)


@njit(cache=True)
def cycles_of_choices(
    layers: IntArray, engines: IntArray, mappings: IntArray, assignment: IntArray, widths: IntArray,
    geometries: IntArray, tiles: IntArray, numbers: IntArray, choices: IntArray,
) -> int:  # fmt: skip
    """Returns the cycles per round in steady state, or `TOO_BIG` where the memories exceed the pool."""
    plans = expand(layers, engines, mappings, assignment, widths, geometries, tiles, numbers, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    if bram36_in_use(widths, first_fit(items, len(engines)), geometries) > numbers[2]:
        return TOO_BIG
    return round_cycles(layers, engines, plans, assignment, numbers[1])[0]


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
