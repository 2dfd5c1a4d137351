"""Workloads and engines as integer tables, the form in which every kernel reads them.

`layer_table(workload)` is int64 (layers, LAYER_FIELDS) and `engine_table(engines)` int64 (engines, ENGINE_FIELDS);
the module constants name the columns. Kinds are small integers, in the order of their Enum.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import Arithmetic, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.workload import IMAGE, ActKind, Layer, ResultKind, WeightKind, Workload

__all__ = ["ENGINE_FIELDS", "LAYER_FIELDS", "engine_row", "engine_table", "layer_table"]

IntTable = npt.NDArray[np.int64]

# Columns of a layer row. L_ONE_PLANE: signed activations with zero padding, whose words may hold one plane only. L_PARTS: equal
# parts of the output channels that each begin a block, for the groups of the layer and of its readers. L_IS_RESULT: no layer
# reads it. L_CODE_BITS: of a result of the thresholds; L_SUM_BITS: of a pooled sum, 0 where there is none. L_SCALES: results by
# scale and shift.
(
    L_IN_C, L_IN_H, L_IN_W, L_OUT_C, L_OUT_H, L_OUT_W, L_KH, L_KW, L_SH, L_SW, L_PAD_T, L_PAD_L, L_GROUPS,
    L_W_BITS, L_W_KIND, L_A_BITS, L_A_BIPOLAR, L_OUT_BITS, L_RAW, L_STORED_H, L_STORED_W,
    L_POOL_K, L_POOL_S, L_POOL_PAD, L_INPUT, L_RESIDUAL, L_ACC_BITS, L_IS_IMAGE_IN, L_ONE_PLANE,
    L_PARTS, L_IS_RESULT, L_CODE_BITS, L_SUM_BITS, L_SCALES,
) = range(34)  # fmt: skip
LAYER_FIELDS = 34

# Columns of an engine row.
E_DM, E_DK, E_DN, E_AND, E_BATCH, E_PA_MASK, E_DRAIN, E_WINDOW, E_LEVELS, E_ACC, E_DSP, E_SUM, E_SCALES = (
    range(13)
)
ENGINE_FIELDS = 13

W_BINARY, W_TERNARY, W_ODD, W_SIGNED = range(4)
_W_KIND = {
    WeightKind.BINARY: W_BINARY,
    WeightKind.TERNARY: W_TERNARY,
    WeightKind.ODD: W_ODD,
    WeightKind.SIGNED: W_SIGNED,
}


def _layer_row(workload: Workload, layer: Layer) -> list[int]:
    pool, index = layer.pool, workload.index
    readers = [workload.layers[c] for c in workload.consumers(layer.name)]
    split = (reader.groups for reader in readers if reader.inputs[0] == layer.name)
    return [
        layer.in_channels, layer.in_height, layer.in_width,
        layer.out_channels, layer.out_height, layer.out_width,
        *layer.kernel, *layer.stride, layer.padding[0], layer.padding[1], layer.groups,
        layer.weight_bits, _W_KIND[layer.weight_kind],
        layer.act_bits, int(layer.act_kind is ActKind.BIPOLAR),
        layer.stored_value_bits, int(layer.result is ResultKind.RAW), layer.stored_height, layer.stored_width,
        pool.kernel[0] if pool else 1, pool.stride[0] if pool else 1, pool.padding[0] if pool else 0,
        index[layer.inputs[0]], index[layer.inputs[1]] if len(layer.inputs) > 1 else -2,
        layer.acc_bits, int(layer.inputs[0] == IMAGE),
        int(layer.act_kind is ActKind.SIGNED and max(layer.padding) > 0),
        lcm(layer.groups, *split), int(not readers), layer.search_bits, _sum_bits(layer),
        int(layer.result is ResultKind.SCALE_SHIFT),
    ]  # fmt: skip


def _sum_bits(layer: Layer) -> int:
    return layer.out_bits if layer.averages and layer.result is not ResultKind.RAW else 0


def layer_table(workload: Workload) -> IntTable:
    """Returns the layers as int64 (layers, LAYER_FIELDS); producers by position, `IMAGE` -1, none -2."""
    return np.array([_layer_row(workload, layer) for layer in workload.layers], dtype=np.int64)


def engine_row(engine: Engine) -> list[int]:
    """Returns an engine as one row of the engine table."""
    return [
        engine.dm,
        engine.dk,
        engine.dn,
        int(engine.arithmetic is Arithmetic.AND),
        int(engine.lanes is LaneMode.BATCH),
        sum(engine.planes_per_word),  # 1, 2, 4, 8 are bits of a mask
        engine.drain_lanes,
        engine.window_bits,
        engine.levels,
        engine.acc_bits,
        int(engine.kind is EngineKind.DSP),
        engine.sum_bits,
        int(engine.requant is Requant.SCALE_SHIFT),
    ]


def engine_table(engines: Sequence[Engine]) -> IntTable:
    """Returns engines as int64 (engines, ENGINE_FIELDS)."""
    return np.array([engine_row(e) for e in engines], dtype=np.int64)
