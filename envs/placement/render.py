"""Pictures of a placement while it is decided: a text table, and a small raster drawn with numpy alone."""

from __future__ import annotations

import numpy as np

from foldwright.envs import raster
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.envs.placement.tree import LEVELS, sites_of_choices
from foldwright.envs.problem import Choices

__all__ = ["picture", "table"]

_COLOURS = (raster.BLUE, raster.ORANGE, raster.GREEN, raster.VIOLET, raster.RED)
_TEXT_COLUMNS = 100


def _placed(problem: PlacementProblem, choices: Choices, position: int) -> list[tuple[int, int, int]]:
    """Returns (kind, x, y) of every cell that is decided."""
    taken = np.zeros(len(problem.board.xy), dtype=np.bool_)
    sites = sites_of_choices(problem.tree, choices, position // LEVELS, taken)
    cells = np.flatnonzero(sites >= 0)
    places = problem.board.xy[sites[cells]].tolist()
    return [(int(problem.wires.kind[c]), x, y) for c, (x, y) in zip(cells, places, strict=True)]


def table(problem: PlacementProblem, choices: Choices, position: int, cost: int) -> str:
    """Returns the grid as text, the first letter of each kind where a cell stands, top row first; then a line in words."""
    width, height = problem.grid.width, problem.grid.height
    step = -(-width // _TEXT_COLUMNS)  # tiles that share a character
    rows = [["."] * -(-width // step) for _ in range(-(-height // step))]
    for kind, x, y in _placed(problem, choices, position):
        rows[y // step][x // step] = problem.netlist.kinds[kind][0]
    bound = max(1, problem.bound().value)
    words = (
        f"{problem.name}: {position} of {len(choices)} decided, {position // LEVELS} of {problem.netlist.cells} cells placed: "
        f"{cost} tiles, {cost / bound:.2f} x bound"
    )
    return "\n".join([*("".join(row) for row in reversed(rows)), words])


def picture(problem: PlacementProblem, choices: Choices, position: int) -> raster.Image:
    """Returns a picture, uint8 (height, 320, 3): free sites grey, cells in the colour of their kind, the top row on top."""
    width, height = problem.grid.width, problem.grid.height
    pixels = max(1, (raster.WIDTH - 2 * raster.MARGIN) // width)
    image = np.full((height * pixels + 2 * raster.MARGIN, raster.WIDTH, 3), raster.PAPER, dtype=np.uint8)
    squares = [(raster.GRID, x, y) for x, y in problem.board.xy.tolist()]
    squares += [(_COLOURS[kind % len(_COLOURS)], x, y) for kind, x, y in _placed(problem, choices, position)]
    gap = int(pixels > 2)
    for colour, x, y in squares:
        top, left = raster.MARGIN + (height - 1 - y) * pixels, raster.MARGIN + x * pixels
        image[top : top + pixels - gap, left : left + pixels - gap] = colour
    return image
