"""The mapper's face: the best mapping of a layer on an array, and the Pareto set over cycles, traffic and buffers.

Both are exact within the space of `accel.loopnest.space` and a limit of steps: a step is a set of transfers that somebody must
ask for, and with steps of single cycles every mapping looks good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest import search as kernels
from foldwright.accel.loopnest.nest import (
    MAX_STEPS,
    OPERANDS,
    ArrayModel,
    Convolution,
    Loop,
    LoopNest,
    PerOperand,
    Unroll,
)
from foldwright.accel.loopnest.pareto import P_BUFFER, P_CANDIDATE, P_CYCLES, P_TRAFFIC, pareto
from foldwright.accel.loopnest.referee import TOO_SLOW, new_workspace
from foldwright.accel.loopnest.score import Score, score
from foldwright.accel.loopnest.space import write_nest
from foldwright.accel.loopnest.tables import (
    DIMS,
    N_COPIES,
    N_OUTSIDE,
    NEST_FIELDS,
    array_row,
    layer_row,
)
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.jsonform import STRICT

__all__ = ["MappedLayer", "MapperParams", "ParetoPoint", "map_layer", "pareto_set"]

IntArray = npt.NDArray[np.int64]
Arguments = tuple[IntArray, IntArray, IntArray, IntArray, bool, int, int, IntArray, IntArray]


@dataclass(frozen=True, slots=True)
class MapperParams:
    """What the mapper may do: steps of a mapping at most, and whether the array keeps halos."""

    __pydantic_config__: ClassVar = STRICT

    max_steps: int = 4096
    halo_reuse: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_steps <= MAX_STEPS:
            raise ConfigError(f"max_steps is {self.max_steps}, allowed 1..{MAX_STEPS}")


@dataclass(frozen=True, slots=True)
class MappedLayer:
    """The best mapping, its score, and how many candidates were compared with bounds and simulated for it."""

    nest: LoopNest
    score: Score
    bounded: int
    simulated: int


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A mapping that no other beats in cycles, traffic and buffers together."""

    cycles: int
    traffic_bits: int
    buffer_bits: int
    nest: LoopNest


def _arguments(layer: Convolution, array: ArrayModel, params: MapperParams) -> Arguments:
    unroll = (
        min(layer.out_channels, array.out_channels),
        min(layer.in_channels, array.in_channels),
        min(layer.out_width, array.columns),
    )
    return (
        layer_row(layer),
        array_row(array),
        np.array(array.buffer_bits, dtype=np.int64),
        np.array(unroll, dtype=np.int64),
        params.halo_reuse,
        2 if array.double_buffered else 1,
        params.max_steps,
        *new_workspace(params.max_steps),
    )


def _nest(layer: Convolution, unroll: IntArray, candidate: IntArray, halo_reuse: bool) -> LoopNest:
    """Returns a candidate as a value, loops of one iteration left out."""
    row, rows = np.zeros(NEST_FIELDS, dtype=np.int64), np.zeros((6, 2), dtype=np.int64)
    count = write_nest(layer_row(layer), unroll, candidate, halo_reuse, row, rows)
    loops = [Loop(DIMS[d], int(step)) for d, step in rows[:count]]
    moves = [loop.step < layer.sizes[loop.dim] for loop in loops]
    outside = PerOperand(*(sum(moves[: row[N_OUTSIDE + op]]) for op in range(len(OPERANDS))))
    copies = PerOperand(*(int(row[N_COPIES + op]) for op in range(len(OPERANDS))))
    kept = tuple(loop for loop, does in zip(loops, moves, strict=True) if does)
    spread = Unroll(*(int(u) for u in unroll))
    return LoopNest(layer, spread, kept, len(kept), outside, copies, halo_reuse)


def map_layer(layer: Convolution, array: ArrayModel, params: MapperParams = MapperParams()) -> MappedLayer:
    """Returns the mapping with the fewest cycles, and among those the least traffic.

    Raises:
        InfeasibleError: no mapping fits the buffers within the steps allowed.
    """
    arguments = _arguments(layer, array, params)
    found, candidate = kernels.search(*arguments)
    if found[kernels.F_CYCLES] == TOO_SLOW:
        raise _infeasible(layer, array, params)
    nest = _nest(layer, arguments[3], candidate, params.halo_reuse)
    scored = score(nest, array)
    assert scored is not None
    assert (scored.cycles, scored.traffic_bits) == (found[kernels.F_CYCLES], found[kernels.F_TRAFFIC])
    return MappedLayer(nest, scored, int(found[kernels.F_BOUNDED]), int(found[kernels.F_SIMULATED]))


def pareto_set(
    layer: Convolution, array: ArrayModel, params: MapperParams = MapperParams(max_steps=256)
) -> tuple[ParetoPoint, ...]:
    """Returns the mappings that none beats in cycles, traffic and buffers together, fastest first; one for each such triple.

    Raises:
        InfeasibleError: no mapping fits the buffers within the steps allowed.
    """
    arguments = _arguments(layer, array, params)
    points, _ = pareto(*arguments)
    if not len(points):
        raise _infeasible(layer, array, params)
    order = np.lexsort((points[:, P_BUFFER], points[:, P_TRAFFIC], points[:, P_CYCLES]))
    return tuple(
        ParetoPoint(
            int(p[P_CYCLES]),
            int(p[P_TRAFFIC]),
            int(p[P_BUFFER]),
            _nest(layer, arguments[3], p[P_CANDIDATE:], params.halo_reuse),
        )
        for p in points[order]
    )


def _infeasible(layer: Convolution, array: ArrayModel, params: MapperParams) -> InfeasibleError:
    """Returns the error that says which buffer is too small for a single block, or that steps are too few."""
    channels = min(layer.in_channels, array.in_channels)
    outputs = min(layer.out_channels, array.out_channels)
    columns = min(layer.out_width, array.columns)
    at_once = channels == layer.in_channels and layer.kernel_height == layer.kernel_width == 1
    least = (
        outputs * channels * array.weight_bits,
        channels * columns * array.input_bits,
        outputs * columns * (array.output_bits if at_once else array.psum_bits),
    )
    where = f"layer {layer.name!r} on array {array.name!r}"
    if array.is_shared and sum(least) > array.buffer_bits[0]:
        return InfeasibleError(
            f"{where}: one block needs {sum(least)} bits of the pool, which has {array.buffer_bits[0]}"
        )
    for operand, needed, room in zip(OPERANDS, least, array.buffer_bits, strict=False):
        if not array.is_shared and needed > room:
            return InfeasibleError(
                f"{where}: one block needs {needed} bits for {operand}, the buffer has {room}"
            )
    return InfeasibleError(
        f"{where}: no mapping of {params.max_steps} steps or fewer fits the buffers; allow more steps or give larger buffers"
    )
