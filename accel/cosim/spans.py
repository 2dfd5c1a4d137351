"""Which tile an engine ran when: the starts and ends in its trace, beside the tiles of its program.

A span lasts from a tile's `go` to the cycle in which its results are in memory, counted from the end of reset. Writes
of a tile come after its start and up to its end; the next tile may start in the very cycle of the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.export.executor import ROUNDS_OF_PROGRAM, RunTile, run_tiles
from foldwright.accel.layout import AcceleratorLayout
from foldwright.errors import VerificationError

__all__ = ["TileSpan", "records_of", "tile_spans"]


@dataclass(frozen=True, slots=True)
class TileSpan:
    """A tile that was run: `round` counts all rounds, `run.round` those of the program."""

    run: RunTile
    round: int
    start_cycle: int
    end_cycle: int

    @property
    def layer(self) -> int:
        return self.run.layer.index

    @property
    def cycles(self) -> int:
        return self.end_cycle - self.start_cycle


def tile_spans(
    layout: AcceleratorLayout, traces: Sequence[npt.NDArray[Any]], rounds: int
) -> list[list[TileSpan]]:
    """Returns the spans of each engine in the order of time.

    Raises:
        VerificationError: an engine did not start and end the tiles of its program.
    """
    if len(traces) != len(layout.engines):
        raise VerificationError(
            f"{len(traces)} engines are traced, the accelerator has {len(layout.engines)}; build it with trace=True"
        )
    return [_spans(layout, e, records, rounds) for e, records in enumerate(traces)]


def _spans(layout: AcceleratorLayout, engine: int, records: npt.NDArray[Any], rounds: int) -> list[TileSpan]:
    tiles = list(_tiles(layout, engine, rounds))
    starts, ends = (
        records["cycle"][records[name] != 0].astype(np.int64) for name in ("tile_start", "tile_end")
    )
    if not len(starts) == len(ends) == len(tiles):
        raise VerificationError(
            f"engine {engine} started {len(starts)} tiles and ended {len(ends)}, "
            f"{rounds} rounds have {len(tiles)}"
        )
    wrong = np.flatnonzero((ends <= starts) | (starts < np.concatenate([[0], ends[:-1]])))
    if wrong.size:
        k = int(wrong[0])
        raise VerificationError(
            f"engine {engine}: tile {k} starts in cycle {starts[k]} and ends in cycle {ends[k]}, out of order"
        )
    return [
        TileSpan(run, round_, int(start), int(end))
        for (run, round_), start, end in zip(tiles, starts, ends, strict=True)
    ]


def _tiles(layout: AcceleratorLayout, engine: int, rounds: int) -> Iterator[tuple[RunTile, int]]:
    runs = list(run_tiles(layout, engine))
    for round_ in range(rounds):
        yield from ((run, round_) for run in runs if run.round == round_ % ROUNDS_OF_PROGRAM)


def records_of(records: npt.NDArray[Any], span: TileSpan) -> slice:
    """Returns where the records lie that a tile wrote."""
    low, high = np.searchsorted(records["cycle"], [span.start_cycle, span.end_cycle], side="right")
    return slice(int(low), int(high))
