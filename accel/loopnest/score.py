"""Scores of loop nests: what a mapping needs of the buffers, and what the referee says of it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar

from foldwright.accel.loopnest.nest import (
    MAX_STEPS,
    OPERANDS,
    ArrayModel,
    Convolution,
    Dim,
    LoopNest,
    PerOperand,
)
from foldwright.accel.loopnest.referee import (
    R_COMPUTE,
    R_CYCLES,
    R_INPUT_BITS,
    R_OUTPUT_BITS,
    R_PSUM_LOAD_BITS,
    R_PSUM_STORE_BITS,
    R_STEPS,
    R_WEIGHT_BITS,
    TOO_SLOW,
    new_workspace,
    referee,
)
from foldwright.accel.loopnest.tables import array_row, layer_row, nest_rows
from foldwright.errors import ConfigError, IllegalSolutionError
from foldwright.jsonform import STRICT

__all__ = [
    "Score",
    "best_replay",
    "buffer_bits",
    "check_fits",
    "compulsory_bits",
    "layer_bound",
    "score",
    "tile_bits",
]

_RELEVANT = {
    "weights": (Dim.K, Dim.C, Dim.FY, Dim.FX),
    "inputs": (Dim.C, Dim.OY, Dim.OX, Dim.FY, Dim.FX),
    "outputs": (Dim.K, Dim.OY, Dim.OX),
}


@dataclass(frozen=True, slots=True)
class Score:
    """What the referee says of a mapping; bits are those that cross the DRAM port, `buffer_bits` what the tiles need."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.loop_nest_score/1"

    cycles: int
    compute_cycles: int
    bound_cycles: int
    steps: int
    weight_bits: int
    input_bits: int
    psum_load_bits: int
    psum_store_bits: int
    output_bits: int
    buffer_bits: PerOperand

    @property
    def traffic_bits(self) -> int:
        loads = self.weight_bits + self.input_bits + self.psum_load_bits
        return loads + self.psum_store_bits + self.output_bits


def compulsory_bits(layer: Convolution, array: ArrayModel) -> int:
    """Returns the bits that every mapping moves: each weight and input once in, each output once out."""
    taps = layer.kernel_height * layer.kernel_width
    weights = layer.out_channels * layer.in_channels * taps * array.weight_bits
    inputs = layer.in_channels * layer.in_height * layer.in_width * array.input_bits
    return weights + inputs + layer.out_channels * layer.out_height * layer.out_width * array.output_bits


def layer_bound(layer: Convolution, array: ArrayModel) -> int:
    """Returns cycles that no mapping goes below: the array's, in whole blocks, or the port's for what must cross it."""
    compute = layer.out_height * layer.kernel_height * layer.kernel_width
    compute *= -(-layer.out_channels // array.out_channels) * -(-layer.in_channels // array.in_channels)
    compute *= -(-layer.out_width // array.columns)
    return max(compute, -(-compulsory_bits(layer, array) // array.dram_bits_per_cycle))


def _tile_sizes(nest: LoopNest, outside: int) -> dict[Dim, int]:
    sizes = nest.convolution.sizes
    for loop in nest.loops[:outside]:
        sizes[loop.dim] = loop.step
    return sizes


def tile_bits(nest: LoopNest, array: ArrayModel) -> PerOperand:
    """Returns the bits of each operand's largest tile, one copy.

    Outputs count as partial sums, unless the array finishes each in one cycle.
    """
    layer = nest.convolution
    w, o = (_tile_sizes(nest, getattr(nest.outside, operand)) for operand in ("weights", "outputs"))
    i = _tile_sizes(nest, nest.outside.inputs)
    rows = (i[Dim.OY] - 1) * min(layer.stride_y, i[Dim.FY]) + i[Dim.FY]
    cols = (i[Dim.OX] - 1) * min(layer.stride_x, i[Dim.FX]) + i[Dim.FX]
    at_once = layer.in_channels <= nest.unroll.in_channels and layer.kernel_height == layer.kernel_width == 1
    return PerOperand(
        weights=math.prod(w[d] for d in _RELEVANT["weights"]) * array.weight_bits,
        inputs=i[Dim.C] * rows * cols * array.input_bits,
        outputs=math.prod(o[d] for d in _RELEVANT["outputs"])
        * (array.output_bits if at_once else array.psum_bits),
    )


def buffer_bits(nest: LoopNest, array: ArrayModel) -> PerOperand:
    """Returns what each operand's copies need."""
    tiles = tile_bits(nest, array)
    return PerOperand(*(getattr(tiles, o) * getattr(nest.copies, o) for o in OPERANDS))


def _overflow(nest: LoopNest, array: ArrayModel) -> str:
    needed = [getattr(buffer_bits(nest, array), o) for o in OPERANDS]
    if array.is_shared:
        total, room = sum(needed), array.buffer_bits[0]
        return f"tiles need {total} bits of the pool, array {array.name!r} has {room}" if total > room else ""
    over = [
        f"{o} need {bits} bits, array {array.name!r} has {room}"
        for o, bits, room in zip(OPERANDS, needed, array.buffer_bits, strict=True)
        if bits > room
    ]
    return "; ".join(over)


def check_fits(nest: LoopNest, array: ArrayModel) -> None:
    """Raises where an array cannot run a nest.

    Raises:
        IllegalSolutionError: it unrolls more than the array has, its tiles do not fit, or there are no second copies.
    """
    where = f"mapping of {nest.convolution.name!r}"
    for name in ("out_channels", "in_channels", "columns"):
        asked, there = getattr(nest.unroll, name), getattr(array, name)
        if asked > there:
            raise IllegalSolutionError(
                f"{where} unrolls {asked} {name}, array {array.name!r} has {there}; choose another array or mapping"
            )
    if not array.double_buffered and max(getattr(nest.copies, o) for o in OPERANDS) > 1:
        raise IllegalSolutionError(
            f"{where} keeps two copies of a tile, array {array.name!r} is not double buffered"
        )
    over = _overflow(nest, array)
    if over:
        raise IllegalSolutionError(f"{where}: {over}; cut smaller tiles or keep fewer copies")


def score(nest: LoopNest, array: ArrayModel, limit: int = TOO_SLOW - 1) -> Score | None:
    """Returns the referee's score of a mapping; None if it takes more than `limit` cycles.

    Raises:
        IllegalSolutionError: the array cannot run it.
    """
    check_fits(nest, array)
    row, loops = nest_rows(nest)
    layer, work = layer_row(nest.convolution), new_workspace(nest.steps)
    found = referee(layer, array_row(array), row, loops, limit, *work)
    if found[R_CYCLES] == TOO_SLOW:
        return None
    return Score(
        cycles=int(found[R_CYCLES]),
        compute_cycles=int(found[R_COMPUTE]),
        bound_cycles=layer_bound(nest.convolution, array),
        steps=int(found[R_STEPS]),
        weight_bits=int(found[R_WEIGHT_BITS]),
        input_bits=int(found[R_INPUT_BITS]),
        psum_load_bits=int(found[R_PSUM_LOAD_BITS]),
        psum_store_bits=int(found[R_PSUM_STORE_BITS]),
        output_bits=int(found[R_OUTPUT_BITS]),
        buffer_bits=buffer_bits(nest, array),
    )


def _moves(nest: LoopNest, operand: str) -> bool:
    """Whether loops outside an operand's buffer move its tile."""
    outside = getattr(nest.outside, operand)
    return any(nest.counts[i] > 1 and nest.loops[i].dim in _RELEVANT[operand] for i in range(outside))


def best_replay(nest: LoopNest, array: ArrayModel, max_steps: int = MAX_STEPS) -> tuple[LoopNest, Score]:
    """Returns a mapping as it does best on an array where its source does not say everything.

    What is left open is how fine pieces are moved, and how many copies of a tile there are: every level of the nest of no more
    than `max_steps` makes steps once, and every choice of copies that fits is tried, most copies first.

    Raises:
        IllegalSolutionError: its tiles do not fit in single copies.
        ConfigError: even the coarsest level has more steps.
    """
    choices = [(2, 1) if array.double_buffered and _moves(nest, o) else (1,) for o in OPERANDS]
    kept: list[tuple[int, ...]] = []
    for copies in sorted(itertools.product(*choices), key=sum, reverse=True):
        covered = any(all(a >= b for a, b in zip(k, copies, strict=True)) for k in kept)
        if not covered and not _overflow(replace(nest, copies=PerOperand(*copies)), array):
            kept.append(copies)
    if not kept:
        check_fits(replace(nest, copies=PerOperand(1, 1, 1)), array)
    best: tuple[LoopNest, Score] | None = None
    first = max(getattr(nest.outside, o) for o in OPERANDS)
    for level, copies in itertools.product(range(first, len(nest.loops) + 1), kept):
        if math.prod(nest.counts[:level]) > max_steps:
            break
        tried = replace(nest, step_loops=level, copies=PerOperand(*copies))
        found = score(tried, array, best[1].cycles - 1 if best else TOO_SLOW - 1)
        if found is not None:
            best = tried, found
    if best is None:
        raise ConfigError(
            f"mapping of {nest.convolution.name!r} has more than {max_steps} steps at every level"
        )
    return best
