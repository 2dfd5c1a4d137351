"""Foldings from elsewhere on a folding table: what they take by its estimates, converters of any ratio counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foldwright.accel.folding_tables import FoldingTable, converter_lut, is_integer_ratio
from foldwright.envs.folding.chain import R_FIELDS, R_IN
from foldwright.envs.folding.relax import uses_of

__all__ = ["FoldingScore", "score_folding"]


@dataclass(frozen=True, slots=True)
class FoldingScore:
    """What a folding takes.

    Attributes:
        cycles: of the slowest node, which is the II; `slowest` names it.
        converter_lut: the LUTs of converters among `lut`.
        other_ratios: neighbours of which neither stream width divides the other's; a folding problem refuses them.
    """

    cycles: int
    slowest: str
    lut: int
    bram18: int
    dsp: int
    converter_lut: int
    other_ratios: int


def score_folding(table: FoldingTable, positions: Sequence[int]) -> FoldingScore:
    """Returns what choices take, given by their positions in the nodes of a table."""
    chosen = [node.choices[k] for node, k in zip(table.nodes, positions, strict=True)]
    rows = np.zeros((len(chosen), R_FIELDS), dtype=np.int64)  # of one input and one output width each
    rows[:, :R_IN] = [choice.estimates[:R_IN] for choice in chosen]
    converters = np.zeros((len(chosen), 1, 1), dtype=np.int64)
    converters[1:, 0, 0] = [converter_lut(a.out_bits, b.in_bits) for a, b in pairwise(chosen)]
    cycles, lut, bram18, dsp = (int(v) for v in uses_of(rows, converters, np.arange(len(chosen))))
    slowest = max(range(len(chosen)), key=lambda node: chosen[node].cycles)
    return FoldingScore(
        cycles=cycles,
        slowest=table.nodes[slowest].name,
        lut=lut,
        bram18=bram18,
        dsp=dsp,
        converter_lut=int(converters.sum()),
        other_ratios=sum(not is_integer_ratio(a.out_bits, b.in_bits) for a, b in pairwise(chosen)),
    )
