"""The block RAMs of an episode's completion, kept up to date decision by decision (njit).

First fit gives every memory of every engine its addresses alone, and what a decision changes lies in a few memories, so
only those are packed again. The result equals `accel.memory.first_fit`, which packs all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import block_rams_of
from foldwright.accel.memory import MEMORY_WEIGHT
from foldwright.envs.tiling.options import MEMORIES
from foldwright.kernels import njit

__all__ = ["blocks_of", "depth_of"]

IntArray = npt.NDArray[np.int64]


@njit(cache=True)
def depth_of(words: IntArray, masks: IntArray, first: int, end: int, scratch: IntArray) -> int:
    """Returns the highest address in use of a memory whose items lie in slots first..end-1; no words, no item.

    Args:
        scratch: int64 (3, slots), overwritten: words, masks and addresses of the items, largest first.
    """
    n = 0
    for s in range(first, end):
        size = words[s]
        if size == 0:
            continue
        b = n
        while b > 0 and scratch[0, b - 1] < size:
            scratch[0, b], scratch[1, b] = scratch[0, b - 1], scratch[1, b - 1]
            b -= 1
        scratch[0, b], scratch[1, b] = size, masks[s]
        n += 1
    depth = 0
    for a in range(n):
        size, mask, address, moved = scratch[0, a], scratch[1, a], 0, True
        while moved:
            moved = False
            for b in range(a):
                end_of_b = scratch[2, b] + scratch[0, b]
                if scratch[1, b] & mask and address < end_of_b and scratch[2, b] < address + size:
                    address, moved = end_of_b, True
        scratch[2, a] = address
        depth = max(depth, address + size)
    return depth


@njit(cache=True)
def blocks_of(memory: int, depth: int, widths: IntArray, geometries: IntArray) -> int:
    """Returns the block RAMs of a memory, numbered `MEMORIES * engine + kind`.

    An engine has its weight memory even where nothing lies in it.
    """
    e, kind = memory // MEMORIES, memory % MEMORIES
    if depth == 0 and kind == MEMORY_WEIGHT:
        depth = 1
    return block_rams_of(widths[e, kind], depth, geometries)
