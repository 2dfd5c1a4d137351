"""The little that the environments' pictures need of drawing: colours, bars and squares on a numpy image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Colour", "Image", "bar", "paper", "square"]

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER, INK, GRID = (250, 250, 247), (40, 44, 52), (222, 222, 214)
BLUE, ORANGE, GREEN, VIOLET, RED = (
    (74, 124, 181),
    (214, 139, 70),
    (88, 150, 100),
    (142, 110, 168),
    (190, 60, 60),
)
WIDTH, ROW, MARGIN, LEFT = 320, 10, 8, 40
ROOM = WIDTH - LEFT - MARGIN
"""Pixels of the longest bar."""


def paper(rows: int) -> Image:
    """Returns an empty picture with room for rows of bars and one below them, uint8 (height, WIDTH, 3)."""
    return np.full(((rows + 1) * ROW + 3 * MARGIN, WIDTH, 3), PAPER, dtype=np.uint8)


def square(image: Image, top: int, left: int, colour: Colour, filled: bool) -> None:
    """Draws a square, hollow unless filled."""
    side = ROW - 2
    image[top : top + side, left : left + side] = colour
    if not filled:
        image[top + 2 : top + side - 2, left + 2 : left + side - 2] = PAPER


def bar(image: Image, top: int, height: int, part: int, whole: int, colour: Colour) -> None:
    """Draws a bar whose length is part / whole of the room."""
    length = min(ROOM, part * ROOM // max(1, whole))
    image[top : top + height, LEFT : LEFT + length] = colour
