"""Layers, arrays and nests that several tests of loop nests use; random ones come from a seed."""

from __future__ import annotations

import random

from foldwright.accel.loopnest.nest import (
    ArrayModel,
    Convolution,
    Dim,
    Loop,
    LoopNest,
    PerOperand,
    Unroll,
)

__all__ = ["ROW", "SCALAR", "random_array", "random_layer", "random_nest", "row_nest"]

ROW = Convolution("row", 1, 1, 1, 4, 1, 1)
"""Four outputs in a row, each one product."""
SCALAR = ArrayModel("scalar", 1, 1, 1, 8, 8, 8, 8, 8, (64, 64, 64))
"""One product a cycle, everything a byte, a byte a cycle from DRAM."""


def row_nest(copies: int) -> LoopNest:
    """Returns a step for each output; inputs and outputs move on with it, the weight stays."""
    outside = PerOperand(0, 1, 1)
    return LoopNest(ROW, Unroll(1, 1, 1), (Loop(Dim.OX, 1),), 1, outside, PerOperand(1, copies, copies))


def random_layer(r: random.Random, most: int = 6) -> Convolution:
    sizes = [r.randint(1, most) for _ in range(4)]
    return Convolution("random", *sizes, *(r.randint(1, 3) for _ in range(4)))


def random_array(r: random.Random, buffer_bits: tuple[int, ...] = (1 << 20,)) -> ArrayModel:
    dm, dk, dn = (r.randint(1, 4) for _ in range(3))
    return ArrayModel(
        "random",
        dm,
        dk,
        dn,
        r.choice([1, 2, 8]),
        r.choice([1, 2, 8]),
        r.choice([8, 16]),
        r.choice([1, 8, 20]),
        r.choice([1, 3, 8, 32, 64]),
        buffer_bits,
    )


def random_nest(r: random.Random, layer: Convolution, most_loops: int = 7) -> LoopNest:
    """Returns any nest, loops of one dimension that do not divide each other included."""
    left, loops = layer.sizes, []
    for _ in range(r.randint(0, most_loops)):
        dim = r.choice(list(Dim))
        left[dim] = r.randint(1, left[dim])
        loops.append(Loop(dim, left[dim]))
    steps = r.randint(0, len(loops))
    outside = PerOperand(*(r.randint(0, steps) for _ in range(3)))
    copies = PerOperand(*(r.randint(1, 2) for _ in range(3)))
    unroll = Unroll(r.randint(1, 4), r.randint(1, 4), r.randint(1, 3))
    return LoopNest(layer, unroll, tuple(loops), steps, outside, copies, r.random() < 0.7)
