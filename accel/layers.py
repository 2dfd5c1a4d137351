"""Integer layers: the parameters of one pass of an engine, and what it computes.

`IntegerLayer` is what RTL, weight images and verification need beside the shapes of `workload.Layer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from foldwright.accel import reference
from foldwright.accel.thresholds import ScaleShift
from foldwright.accel.workload import ActKind, Layer, LayerKind, ResultKind

__all__ = ["IntegerLayer", "LayerTrace"]


@dataclass(frozen=True)
class LayerTrace:
    """What one layer read and made, int64, (frames, channels, height, width).

    `accumulator` is before negation and thresholds; `result` is behind the thresholds; `output` is what is
    stored, behind residual add and pooling.
    """

    input: np.ndarray
    accumulator: np.ndarray
    result: np.ndarray
    output: np.ndarray
    residual: np.ndarray | None = None


@dataclass(frozen=True)
class IntegerLayer:
    """Parameters of one layer; all arrays are read-only.

    An accumulator `a` gives level `#{k: t >= thresholds[c, k]}` with `t = -a` where `negate[c]`, else `a`. The
    result is `base + step * level`, or the accumulator itself for a raw layer. With `scale_shift` the level is
    `clip((multiplier * t + bias) >> shift, 0, levels)`. The stored value `i` means `out_scale * i + out_offset`;
    for a raw layer without a common scale, `raw_scale[c] * i + raw_offset[c]`.
    """

    layer: Layer
    value: str  # name in the ONNX graph of the value that is stored
    weights: np.ndarray  # int32 (out, in / groups, kernel height, kernel width)
    thresholds: np.ndarray | None  # int64 (out, levels), ascending; None for raw
    negate: np.ndarray  # bool (out,)
    base: int
    step: int
    acc_min: np.ndarray  # int64 (out,): exact range of the accumulators
    acc_max: np.ndarray  # int64 (out,)
    out_scale: float
    out_offset: float
    raw_scale: np.ndarray  # float64 (out,): real value of one accumulator unit, before BatchNorm and the like
    raw_offset: np.ndarray  # float64 (out,)
    scale_shift: ScaleShift | None = None

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def levels(self) -> int:
        return 0 if self.thresholds is None else self.thresholds.shape[1]

    def accumulate(self, values: np.ndarray) -> np.ndarray:
        """Returns the accumulators for stored inputs (frames, C, H, W)."""
        layer = self.layer
        if layer.kind is LayerKind.MATMUL:
            values = values.reshape(len(values), layer.in_channels, 1, 1)
        return reference.convolve(values, self.weights, layer.stride, layer.padding, layer.groups)

    def result_of(self, accumulators: np.ndarray) -> np.ndarray:
        """Returns the integers behind the result path's thresholds."""
        if self.layer.result is ResultKind.RAW or self.thresholds is None:
            return accumulators
        if self.scale_shift is not None:
            levels = reference.levels_by_scale_shift(accumulators, self.scale_shift, self.levels, self.negate)
        else:
            levels = reference.levels_by_thresholds(accumulators, self.thresholds, self.negate)
        return self.base + self.step * levels

    def in_unit_steps(self) -> IntegerLayer:
        """Returns the same layer with results in steps of one: a threshold for every integer, repeated where none lies between.

        Two's complement stores codes of one each; signs are stored so under padding, which needs a 0 beside -1 and +1.
        """
        if (
            self.step == 1
            or self.layer.result is not ResultKind.THRESHOLDS
            or self.layer.out_kind is ActKind.BIPOLAR
        ):
            return self
        assert self.thresholds is not None
        return replace(self, thresholds=np.repeat(self.thresholds, self.step, axis=1), step=1)

    def trace(self, tensors: Mapping[str, np.ndarray]) -> LayerTrace:
        """Computes the layer from the stored tensors of its producers."""
        values = tensors[self.layer.inputs[0]]
        accumulators = self.accumulate(values)
        result = output = self.result_of(accumulators)
        residual = tensors[self.layer.inputs[1]] if len(self.layer.inputs) > 1 else None
        if residual is not None:
            output = output + residual
        if self.layer.pool is not None:
            output = reference.pool(output, self.layer.pool)
        return LayerTrace(values, accumulators, result, output, residual)
