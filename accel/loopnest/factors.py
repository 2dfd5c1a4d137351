"""Loop nests as other mappers write them: every loop by its count, down to what the array unrolls.

Counts say a tile only where it is a multiple of what lies inside; the last iteration of each loop may be shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

from foldwright.accel.loopnest.nest import Dim, LoopNest
from foldwright.errors import ConfigError

__all__ = ["Factor", "explicit_loops", "unrolled"]

_INSIDE = (Dim.K, Dim.C, Dim.FY, Dim.FX, Dim.OY, Dim.OX)
"""The order of the loops inside a step that a nest leaves open, outermost first: outputs stay longest at the array."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A loop of `count` iterations, of which the very last round runs `last`.

    `place` is the nest's own loop that it stands for; the nest's number of loops for those inside.
    """

    dim: Dim
    count: int
    last: int
    place: int


def unrolled(nest: LoopNest) -> dict[Dim, int]:
    """Returns what the array takes of each dimension in one cycle."""
    sizes = nest.convolution.sizes
    unroll = {Dim.K: nest.unroll.out_channels, Dim.C: nest.unroll.in_channels, Dim.OX: nest.unroll.columns}
    return {dim: min(size, unroll.get(dim, 1)) for dim, size in sizes.items()}


def explicit_loops(nest: LoopNest) -> tuple[Factor, ...]:
    """Returns all temporal loops of more than one iteration, outermost first.

    Raises:
        ConfigError: a tile is no multiple of what lies inside it.
    """
    sizes, covered = nest.convolution.sizes, unrolled(nest)
    innermost = sizes.copy()
    for loop in nest.loops:
        innermost[loop.dim] = loop.step
    out: list[Factor] = []

    def add(dim: Dim, size: int, place: int) -> None:
        """Adds the loop that covers `size` by what is covered."""
        count = -(-size // covered[dim])
        if count > 1:
            last = (sizes[dim] - 1) // covered[dim] % count + 1
            out.append(Factor(dim, count, last, place))
        if count * covered[dim] != size and size != sizes[dim]:
            raise ConfigError(
                f"mapping of {nest.convolution.name!r}: a tile of {size} {dim.value} is no multiple of the {covered[dim]} inside "
                "it, which counts of loops cannot say; map with tiles that are"
            )
        covered[dim] = size

    for dim in reversed(_INSIDE):
        add(dim, innermost[dim], len(nest.loops))
    for i in range(len(nest.loops) - 1, -1, -1):
        dim = nest.loops[i].dim
        outer = next(
            (nest.loops[j].step for j in range(i - 1, -1, -1) if nest.loops[j].dim is dim), sizes[dim]
        )
        add(dim, outer, i)
    return tuple(reversed(out))
