"""What each tile of a round takes of the DRAM port and waits for, worked out once before a simulation (njit).

The simulator asks for every tile of every round when its loads and its computation may begin. What of the answer does not
depend on times stands here, a row for each tile (int64, WAIT_FIELDS), so that its loop reads few tables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.mapping import ceil_div
from foldwright.accel.memory import slots_of
from foldwright.accel.repeats import S_INPUT_BITS, S_LAYER, S_REFILL, S_STORE_BITS, S_WEIGHT_BITS
from foldwright.accel.tables import L_INPUT, L_IS_RESULT, L_RESIDUAL
from foldwright.accel.tiles import P_FIRST_SLOT, P_IN_DRAM, P_LEAD, P_OUT_DRAM, P_RESIDUAL_DRAM
from foldwright.kernels import njit

__all__ = [
    "Z_BACK",
    "Z_BEGINS",
    "Z_GATE",
    "Z_GATE_ROUNDS",
    "Z_LAYERS",
    "Z_LOAD_BEATS",
    "Z_MAKER",
    "Z_RESIDUAL_MAKER",
    "Z_STAGES",
    "Z_STORE_BEATS",
    "tile_waits",
]

IntArray = npt.NDArray[np.int64]

# Entries of a row. Z_LOAD_BEATS: of weights, then of inputs. Its input waits for: Z_GATE, the end of that layer, Z_GATE_ROUNDS
# rounds before, or none (-1); Z_BACK, the end of so many tiles before it, or 0; both makers (-1 for none) to be stored in DRAM;
# Z_LAYERS: whether for any of these layers. The tile itself: Z_STAGES, the store of the tile before the last; Z_BEGINS, what
# its layer waits for.
(
    Z_LOAD_BEATS, _INPUT_BEATS, Z_STORE_BEATS, Z_GATE, Z_GATE_ROUNDS, Z_BACK, Z_MAKER, Z_RESIDUAL_MAKER, Z_LAYERS, Z_STAGES,
    Z_BEGINS,
) = range(11)  # fmt: skip
WAIT_FIELDS = 11


@njit(cache=True)
def tile_waits(
    layers: IntArray, plans: IntArray, assignment: IntArray, tiles: IntArray, starts: IntArray, dram_bits: int
) -> IntArray:
    """Returns the rows of all engines' tiles, int64 (tiles, WAIT_FIELDS).

    Args:
        tiles: of all engines, an engine's from its entry of `starts` on.
    """
    slot, count = slots_of(assignment, len(starts) - 1)
    by_slot = np.empty((len(count), len(layers)), dtype=np.int64)
    for i in range(len(layers)):
        by_slot[assignment[i], slot[i]] = i
    out = np.zeros((len(tiles), WAIT_FIELDS), dtype=np.int64)
    for e in range(len(count)):
        for t in range(starts[e], starts[e + 1]):
            layer, plan, row = tiles[t, S_LAYER], plans[tiles[t, S_LAYER]], out[t]
            row[Z_LOAD_BEATS] = ceil_div(tiles[t, S_WEIGHT_BITS], dram_bits)
            row[_INPUT_BEATS] = ceil_div(tiles[t, S_INPUT_BITS], dram_bits)
            row[Z_STORE_BEATS] = ceil_div(tiles[t, S_STORE_BITS], dram_bits)
            row[Z_GATE], row[Z_BACK] = -1, tiles[t, S_REFILL]
            if tiles[t, S_REFILL] == 0:
                place = plan[P_FIRST_SLOT] - min(plan[P_LEAD], count[e] - 1) - 1
                row[Z_GATE_ROUNDS] = place < 0
                row[Z_GATE] = by_slot[e, place + count[e] if place < 0 else place]
                row[Z_BACK] = 2 if t - starts[e] >= 2 and tiles[t - 2, S_LAYER] == layer else 0
            row[Z_MAKER] = layers[layer, L_INPUT] if plan[P_IN_DRAM] else -1
            row[Z_RESIDUAL_MAKER] = layers[layer, L_RESIDUAL] if plan[P_RESIDUAL_DRAM] else -1
            row[Z_LAYERS] = max(row[Z_GATE], row[Z_MAKER], row[Z_RESIDUAL_MAKER]) >= 0
            row[Z_STAGES] = plan[P_OUT_DRAM] and not layers[layer, L_IS_RESULT]
            row[Z_BEGINS] = t == starts[e] or tiles[t - 1, S_LAYER] != layer
    return out
