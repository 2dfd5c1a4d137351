"""What the loader brings while the engines run, and in which order: rows of the image, and weights that stream.

Everything that comes has two places, used in turns: a load may go when the tile that used its place last is computed.
The loader takes one load after the other, so they stand in the order in which they may go, by a clock that counts
rounds: engines that hand over in a circle share a round, engines behind them are a round later, and a tile takes its
share of its engines' cycles. That order never stops for good: what a load waits for needs only loads before it.

The order repeats every two rounds (copies alternate) behind a beginning in which later engines have nothing to do yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from foldwright.accel.export.executor import ROUNDS_OF_PROGRAM, RunTile, run_tiles
from foldwright.accel.layout import AcceleratorLayout
from foldwright.accel.layout_cost import layer_cycles
from foldwright.errors import ConfigError

__all__ = ["Load", "image_loads", "load_order"]


@dataclass(frozen=True, slots=True)
class Load:
    """Weights, or rows of the image, for the tile that uses them first."""

    run: RunTile
    is_weights: bool


@dataclass(frozen=True, slots=True)
class _Timed:
    """A load of round 0 and its twin of round 1: when it may go and when it is needed, in rounds."""

    ready: Fraction
    needed: Fraction
    loads: tuple[Load, Load]


def image_loads(layout: AcceleratorLayout) -> list[Load]:
    """Returns the loads of images in two rounds."""
    runs = run_tiles(layout, layout.layers[0].engine)
    return [Load(run, False) for run in runs if run.layer.producer < 0 and run.takes_rows]


def load_order(layout: AcceleratorLayout) -> tuple[list[Load], list[Load]]:
    """Returns the loads of the beginning, and those of two rounds that repeat behind it.

    Raises:
        ConfigError: a tensor goes to an engine more than a round behind its maker, which no order of loads allows for.
    """
    _check_distances(layout)
    timed = list(_timed(layout))
    rounds = 2 * ROUNDS_OF_PROGRAM + 2 + max(_stages(layout))
    moments = sorted(
        (load.ready + round_, load.needed + round_, k, round_)
        for k, load in enumerate(timed)
        for round_ in range(rounds + ROUNDS_OF_PROGRAM)
    )
    begin = 1 + max(place for place, (_, _, _, round_) in enumerate(moments) if round_ == 0)
    order = [timed[k].loads[round_ % ROUNDS_OF_PROGRAM] for _, _, k, round_ in moments]
    return order[:begin], order[begin : begin + ROUNDS_OF_PROGRAM * len(timed)]


def _timed(layout: AcceleratorLayout) -> Iterator[_Timed]:
    clock = _clock(layout)
    for engine in range(len(layout.engines)):
        runs = list(run_tiles(layout, engine))
        half = len(runs) // ROUNDS_OF_PROGRAM
        weights = [k for k in range(half) if runs[k].takes_weights]
        ends = [k for k in range(half) if runs[k].leaves_weights]
        image = [k for k in range(half) if runs[k].layer.producer < 0 and runs[k].takes_rows]
        image_ends = [k for k in range(half) if runs[k].layer.producer < 0 and runs[k].leaves_rows]
        for is_weights, starts, leaves in ((True, weights, ends), (False, image, image_ends)):
            for n, k in enumerate(starts):
                rounds_ago, last = divmod(n - 2, len(starts))
                ready = clock[engine][leaves[last]][1] + rounds_ago
                loads = (Load(runs[k], is_weights), Load(runs[half + k], is_weights))
                yield _Timed(ready, clock[engine][k][0], loads)


def _stages(layout: AcceleratorLayout) -> list[int]:
    """Returns by how many rounds each engine is behind the first one; engines that hand over in a circle are one."""
    order = [layer.engine for layer in layout.layers]
    last = {engine: place for place, engine in enumerate(order)}
    stages, stage, end = dict.fromkeys(order, 0), 0, last[order[0]]
    for place, engine in enumerate(order):
        if place > end:
            stage += 1
            end = last[engine]
        end = max(end, last[engine])
        stages[engine] = stage
    return [stages[engine] for engine in range(len(layout.engines))]


def _check_distances(layout: AcceleratorLayout) -> None:
    """A maker of round r waits for the readers of round r - 2, so their loads must come before its own."""
    stages = _stages(layout)
    for tensor in layout.tensors.values():
        maker = layout.layers[tensor.producer]
        if stages[tensor.engine] - stages[maker.engine] > 1:
            raise ConfigError(
                f"what layer {maker.name!r} makes on engine {maker.engine} goes past other engines to engine {tensor.engine}, "
                "and weights stream; keep all weights on chip, or use fewer engines"
            )


def _clock(layout: AcceleratorLayout) -> list[list[tuple[Fraction, Fraction]]]:
    """Returns start and end of every tile of each engine's round, in rounds."""
    stages, cycles_of = _stages(layout), layer_cycles(layout)
    totals = dict.fromkeys(stages, 0)
    for layer, cycles in zip(layout.layers, cycles_of, strict=True):
        totals[stages[layer.engine]] += cycles
    out: list[list[tuple[Fraction, Fraction]]] = [[] for _ in stages]
    spent = dict.fromkeys(stages, 0)
    for layer, cycles in zip(layout.layers, cycles_of, strict=True):
        stage = stages[layer.engine]
        size, done = layer.blocks * layer.entry.layer.out_height, [0]
        done += [tile.blocks_count * (tile.rows[1] - tile.rows[0]) for tile in layer.order]
        ends = [Fraction(cycles * sum(done[: k + 1]), size) for k in range(len(done))]
        out[layer.engine] += [
            tuple(stage + (spent[stage] + at) / totals[stage] for at in span)  # type: ignore[misc]
            for span in pairwise(ends)
        ]
        spent[stage] += cycles
    return out
