"""Every mapping of the mapper's space as a value, scored one by one: for small layers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from foldwright.accel.loopnest.exhaustive import plain_tiles
from foldwright.accel.loopnest.nest import (
    OPERANDS,
    ArrayModel,
    Convolution,
    Dim,
    Loop,
    LoopNest,
    PerOperand,
    Unroll,
)
from foldwright.accel.loopnest.score import Score, score
from foldwright.errors import IllegalSolutionError

__all__ = ["all_scores"]

_MOVES = {
    "weights": {Dim.K, Dim.C, Dim.FY, Dim.FX},
    "inputs": {Dim.C, Dim.OY, Dim.OX, Dim.FY, Dim.FX},
    "outputs": {Dim.K, Dim.OY, Dim.OX},
}


def _nests(layer: Convolution, unroll: Unroll) -> Iterator[tuple[tuple[Loop, ...], set[int]]]:
    """Yields lists of loops, and the places between them where a buffer may begin."""
    sizes = layer.sizes
    units = {Dim.K: unroll.out_channels, Dim.C: unroll.in_channels, Dim.OY: 1, Dim.OX: unroll.columns}
    tiles = [[(d, t) for t in plain_tiles(sizes[d], unit)] for d, unit in units.items()]
    for four in itertools.product(*tiles):
        for taps in {(sizes[Dim.FY], sizes[Dim.FX]), (1, sizes[Dim.FX]), (1, 1)}:
            groups: list[tuple[Loop, ...]] = [(Loop(d, t),) for d, t in four if t < sizes[d]]
            rows, cols = (Loop(Dim.FY, taps[0]),), (Loop(Dim.FX, taps[1]),)
            both = (rows if taps[0] < sizes[Dim.FY] else ()) + (cols if taps[1] < sizes[Dim.FX] else ())
            groups += [both] if both else []
            for order in itertools.permutations(groups):
                yield tuple(itertools.chain(*order)), {0, *itertools.accumulate(map(len, order))}


def all_scores(layer: Convolution, array: ArrayModel, max_steps: int) -> Iterator[tuple[LoopNest, Score]]:
    """Yields every mapping that fits with its score, one for each that behaves on its own."""
    unroll = Unroll(
        min(layer.out_channels, array.out_channels),
        min(layer.in_channels, array.in_channels),
        min(layer.out_width, array.columns),
    )
    for loops, places in _nests(layer, unroll):
        stops = [[p for p in places if p == 0 or loops[p - 1].dim in _MOVES[operand]] for operand in OPERANDS]
        for outside in itertools.product(*stops):
            copies = [(1, 2) if stop and array.double_buffered else (1,) for stop in outside]
            for count in itertools.product(*copies):
                nest = LoopNest(layer, unroll, loops, len(loops), PerOperand(*outside), PerOperand(*count))
                if nest.steps > max_steps:
                    continue
                try:
                    found = score(nest, array)
                except IllegalSolutionError:
                    continue
                assert found is not None
                yield nest, found
