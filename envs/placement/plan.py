"""A plan: where each cell of a netlist may come to stand, known before the first decision.

It is a whole placement by a short annealing run (`foldwright.envs.placement.moves`) of counted proposals, so few that it
is far from what a search finds. An episode looks at it to see what a cell's neighbours to come may want.
"""

from __future__ import annotations

import numpy as np

from foldwright.envs.placement.construct import construct
from foldwright.envs.placement.moves import Board, Int64, Wires, anneal, begin, new_run

__all__ = ["plan_of"]

_PER_TEMPERATURE = 1.5
"""Proposals a cell at each temperature; the shortest run of the solver `anneal` makes cells^(1/3), 4 or 5 for 100 cells."""
_DIRECTED_SHARE = 0.8
_HEAT = 1.0
_WINDOW_SHARE = 0.2
_SEED = 0
_MOST_TEMPERATURES = 1000
"""Many more than a schedule has; where no wire costs anything, it has no end."""


def plan_of(wires: Wires, board: Board, order: Int64) -> Int64:
    """Returns the board's site of every cell, int64 (cells,); equal arguments give equal plans.

    Args:
        order: The cells as the construction, from which the run starts, places them.
    """
    sites = np.full(len(order), -1, dtype=np.int32)
    construct(wires, board, order, sites)
    run = new_run(wires, board, sites, _SEED)
    side = max(board.first_column.shape[1], board.first_site.shape[1]) - 1
    proposals = max(1, int(_PER_TEMPERATURE * len(order)))
    begin(run, proposals, _DIRECTED_SHARE, _HEAT, max(1.0, _WINDOW_SHARE * side))
    anneal(wires, board, run, _MOST_TEMPERATURES * proposals)
    return run.site.astype(np.int64)
