"""What candidates take at least, in closed form (njit).

All bounds say one thing: the array waits for the first loads, computes, and the last store follows; the port carries every beat,
loads before the step that needs them and stores behind the one that makes them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.options import Z_LOADS, Z_STORES, Z_WAIT, lines
from foldwright.accel.loopnest.space import TAPS, ceil_div, grain_taps, tile_count
from foldwright.accel.loopnest.tables import (
    A_DRAM_BITS,
    A_INPUT_BITS,
    A_OUTPUT_BITS,
    A_WEIGHT_BITS,
    FX,
    FY,
    L_SX,
    L_SY,
    OX,
    OY,
    C,
    K,
)
from foldwright.kernels import njit

__all__ = ["compulsory_traffic", "least_cycles", "order_least", "tile_numbers"]

IntArray = npt.NDArray[np.int64]

# Numbers of four tiles and a grain that no order changes: cycles at least; beats of the first loads; cycles of the array in all
# and in the last step; beats of the last store.
T_LEAST, T_FIRST, T_COMPUTE, T_LAST_COMPUTE, T_LAST_STORE = range(5)
TILE_FIELDS = 5


@njit(cache=True)
def compulsory_traffic(layer: IntArray, array: IntArray) -> int:
    """Returns the bits that every mapping moves: each weight and input once in, each output once out."""
    loads = layer[K] * layer[C] * layer[FY] * layer[FX] * array[A_WEIGHT_BITS]
    area = lines(layer[OY], layer[FY], layer[L_SY]) * lines(layer[OX], layer[FX], layer[L_SX])
    loads += layer[C] * area * array[A_INPUT_BITS]
    return loads + layer[K] * layer[OY] * layer[OX] * array[A_OUTPUT_BITS]


@njit(cache=True)
def _unit(unroll: IntArray, d: int) -> int:
    if d == OY:
        return 1
    return unroll[2] if d == OX else unroll[d]


@njit(cache=True)
def _blocks(layer: IntArray, tiles: IntArray, unroll: IntArray, d: int) -> int:
    """Returns the blocks of the array that all tiles of a dimension take."""
    unit = _unit(unroll, d)
    return layer[d] // tiles[d] * ceil_div(tiles[d], unit) + ceil_div(layer[d] % tiles[d], unit)


@njit(cache=True)
def tile_numbers(layer: IntArray, array: IntArray, unroll: IntArray, tiles: IntArray, out: IntArray) -> None:
    """Writes what holds for four tiles and a grain in every order (T_*)."""
    fy, fx = grain_taps(layer, tiles[4])
    dram = array[A_DRAM_BITS]
    compute, last, outputs = layer[FY] * layer[FX], fy * fx, 1
    for d in range(4):
        edge = (layer[d] - 1) % tiles[d] + 1
        compute *= _blocks(layer, tiles, unroll, d)
        last *= ceil_div(edge, _unit(unroll, d))
        outputs *= edge if d != C else 1
    area = lines(tiles[OY], fy, layer[L_SY]) * lines(tiles[OX], fx, layer[L_SX])
    first = ceil_div(tiles[K] * tiles[C] * fy * fx * array[A_WEIGHT_BITS], dram)
    first += ceil_div(tiles[C] * area * array[A_INPUT_BITS], dram)
    store = ceil_div(outputs * array[A_OUTPUT_BITS], dram)
    traffic = compulsory_traffic(layer, array)
    loads = traffic - layer[K] * layer[OY] * layer[OX] * array[A_OUTPUT_BITS]
    out[T_FIRST], out[T_COMPUTE], out[T_LAST_COMPUTE], out[T_LAST_STORE] = first, compute, last, store
    out[T_LEAST] = max(first + compute + store, ceil_div(loads, dram) + last + store, ceil_div(traffic, dram))


@njit(cache=True)
def order_least(
    layer: IntArray, array: IntArray, unroll: IntArray, tiles: IntArray, order: IntArray, numbers: IntArray
) -> int:
    """Returns cycles that tiles take in an order at least, whatever is kept on chip.

    What the first round of the inner loops touches must be there before its last step, and what the last round finishes is stored
    after its first. Both hold at every depth, and together, for the outermost loop's iterations keep these rounds apart.
    """
    fy, fx = grain_taps(layer, tiles[4])
    dram = array[A_DRAM_BITS]
    taps_y, taps_x, is_round = fy, fx, np.zeros(4, dtype=np.bool_)
    before, behind, outer = numbers[T_FIRST], numbers[T_LAST_STORE], 0
    while outer < 5 and tile_count(layer, tiles, order[outer]) == 1:
        outer += 1
    for start in range(4, outer, -1):
        if order[start] == TAPS:
            taps_y, taps_x = layer[FY], layer[FX]
        else:
            is_round[order[start]] = True
        # Cycles of the first and of the last round, of the first one's last step and of the last one's first step.
        head, tail, head_end, tail_start = taps_y * taps_x, taps_y * taps_x, fy * fx, fy * fx
        sizes, ends = tiles[:4].copy(), np.empty(4, dtype=np.int64)
        for d in range(4):
            ends[d] = (layer[d] - 1) % tiles[d] + 1
            whole, edge = ceil_div(tiles[d], _unit(unroll, d)), ceil_div(ends[d], _unit(unroll, d))
            if is_round[d]:
                blocks = _blocks(layer, tiles, unroll, d)
                head, tail, head_end, tail_start = (
                    head * blocks,
                    tail * blocks,
                    head_end * edge,
                    tail_start * whole,
                )
                sizes[d], ends[d] = layer[d], layer[d]
            else:
                head, tail, head_end, tail_start = (
                    head * whole,
                    tail * edge,
                    head_end * whole,
                    tail_start * edge,
                )
        bits = sizes[K] * sizes[C] * taps_y * taps_x * array[A_WEIGHT_BITS]
        area = lines(sizes[OY], taps_y, layer[L_SY]) * lines(sizes[OX], taps_x, layer[L_SX])
        bits += sizes[C] * area * array[A_INPUT_BITS]
        before = max(before, ceil_div(bits, dram) - head + head_end)
        done = ceil_div(ends[K] * ends[OY] * ends[OX] * array[A_OUTPUT_BITS], dram)
        behind = max(behind, done - tail + tail_start)
    return max(numbers[T_LEAST], before + numbers[T_COMPUTE] + behind)


@njit(cache=True)
def least_cycles(numbers: IntArray, weights: IntArray, inputs: IntArray, outputs: IntArray) -> int:
    """Returns cycles that a candidate takes at least, from its tiles' numbers and its operands' options.

    The array waits for the first loads and computes; the last step follows all loads; the port carries everything.
    """
    wait = weights[Z_WAIT] + inputs[Z_WAIT] + outputs[Z_WAIT]
    loads = weights[Z_LOADS] + inputs[Z_LOADS] + outputs[Z_LOADS]
    computed = numbers[T_FIRST] + numbers[T_COMPUTE] + wait + numbers[T_LAST_STORE]
    return max(computed, loads + numbers[T_LAST_COMPUTE] + numbers[T_LAST_STORE], loads + outputs[Z_STORES])
