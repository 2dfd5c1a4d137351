"""Small folding tables: one solved by hand, random ones, and the optimum by trying everything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from foldwright.accel.folding_tables import (
    FoldingChoice,
    FoldingNode,
    FoldingTable,
    converter_lut,
    is_integer_ratio,
)

__all__ = ["BY_HAND", "Totals", "every_folding", "node", "random_table"]

Totals = tuple[int, int, int, int]
"""Cycles, LUTs, BRAM18, DSP slices."""


def node(name: str, *choices: tuple[int, int, int, int, int, int], op: str = "MVAU_hls") -> FoldingNode:
    """Returns a node; a choice is (cycles, LUT, BRAM18, DSP, input bits, output bits), its PE its number."""
    made = tuple(FoldingChoice((("PE", k + 1),), *numbers) for k, numbers in enumerate(choices))
    return FoldingNode(name, op, made)


BY_HAND = FoldingTable(
    (
        # cycles, LUT, BRAM18, DSP, in, out
        node("a", (100, 10, 1, 0, 8, 8), (50, 22, 1, 0, 16, 16), (50, 15, 1, 4, 16, 16)),
        node("b", (100, 10, 2, 0, 8, 4), (50, 20, 3, 0, 16, 4), (50, 40, 0, 0, 16, 4), (25, 60, 0, 0, 24, 4)),
    )
)
"""Converters: 8 to 8 and 16 to 16 none; 8 to 16 takes 16 + 1 = 17 LUTs, 16 to 8 takes 8 + 1 = 9, 8 to 24 takes 24 + 1 = 25, and
16 to 24 is no integer ratio.

- 100 cycles: the cheapest pair is 10 + 10 = 20 LUTs and 3 BRAM18.
- 50 cycles: `a` must be its second (22 LUTs) or third (15 LUTs, 4 DSP); with 16 bits `b` is its second (20, 3 BRAM18) or third
  (40, none); its fourth needs 24 bits, which 16 does not go to. So 42 LUTs with 4 BRAM18, 35 with 4 DSP, and 62 with 1 BRAM18,
  55 with 1 BRAM18 and 4 DSP.
- Fewer than 50 cycles: none, `a` takes 50.
"""


def random_table(
    seed: int, nodes: int = 4, choices: int = 5, widths: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
) -> FoldingTable:
    """Returns a random table: faster choices take more, memories and multipliers trade against LUTs."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(nodes):
        rows = []
        for _ in range(choices):
            speed = int(rng.integers(1, 9))
            bram18, dsp = int(rng.integers(0, 4)), int(rng.choice([0, 0, 1, 3]))
            lut = max(0, 12 * speed + int(rng.integers(0, 30)) - 8 * bram18 - 6 * dsp)
            rows.append((96 // speed, lut, bram18, dsp, int(rng.choice(widths)), int(rng.choice(widths))))
        made.append(node(f"n{n}", *rows))
    return FoldingTable(tuple(made))


def every_folding(table: FoldingTable) -> Iterator[tuple[tuple[int, ...], Totals]]:
    """Yields positions and totals of all foldings whose neighbours go together."""
    for positions in itertools.product(*(range(len(n.choices)) for n in table.nodes)):
        picked = [n.choices[k] for n, k in zip(table.nodes, positions, strict=True)]
        pairs = [(a.out_bits, b.in_bits) for a, b in itertools.pairwise(picked)]
        if all(is_integer_ratio(*pair) for pair in pairs):
            lut = sum(c.lut for c in picked) + sum(converter_lut(*pair) for pair in pairs)
            yield (
                positions,
                (
                    max(c.cycles for c in picked),
                    lut,
                    sum(c.bram18 for c in picked),
                    sum(c.dsp for c in picked),
                ),
            )
