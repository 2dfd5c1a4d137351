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

import numpy as np
import numpy.typing as npt
from numba import njit

from foldwright.accel.mapping import M_CYCLES, result_latency
from foldwright.accel.memory import bram36_in_use, first_fit, live_items
from foldwright.accel.simulate import steady_cycles
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tiles import P_LATENCY, PLAN_FIELDS, plan_row, traffic_bits

__all__ = [
    "DECISIONS",
    "MAX_TILES",
    "OUTPUT_CHIP",
    "OUTPUT_DRAM",
    "WEIGHTS_PINNED",
    "WEIGHTS_PINNED_AHEAD",
    "bram36_of_choices",
    "cycles_of_choices",
    "expand",
]

IntArray = npt.NDArray[np.int64]

DECISIONS = 3
MAX_TILES = 64
D_WEIGHTS, D_OUTPUT, D_TILE = range(DECISIONS)
WEIGHTS_PINNED, WEIGHTS_PINNED_AHEAD = 3, 4
OUTPUT_DRAM, OUTPUT_CHIP = 0, 1
TOO_BIG = -1


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
        plan_row(layers[i], engine, mappings[i], numbers[0], tile, flags, plans[i])
        plans[i, P_LATENCY] = result_latency(engine, mappings[i])
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
    return steady_cycles(layers, plans, assignment, len(engines), numbers[1])[0]


@njit(cache=True)
def compute_bound(layers: IntArray, mappings: IntArray, engines: IntArray, assignment: IntArray) -> int:
    """Returns the cycles that the busiest engine needs whatever the schedule.

    A layer that follows its own producer on the same engine waits for the results of that one.
    """
    total = np.zeros(len(engines), dtype=np.int64)
    last = np.full(len(engines), -3, dtype=np.int64)
    for i in range(len(layers)):
        e = assignment[i]
        total[e] += mappings[i, M_CYCLES]
        if last[e] >= 0 and (layers[i, L_INPUT] == last[e] or layers[i, L_RESIDUAL] == last[e]):
            total[e] += result_latency(engines[e], mappings[last[e]])
        last[e] = i
    return total.max()


@njit(cache=True)
def total_traffic(plans: IntArray) -> tuple[int, int]:
    """Returns (bits loaded, bits stored) per round."""
    load, store = 0, 0
    for i in range(len(plans)):
        a, b = traffic_bits(plans[i])
        load, store = load + a, store + b
    return load, store
