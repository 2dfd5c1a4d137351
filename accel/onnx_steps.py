"""A network as a short list of named steps, to be written as QONNX by `onnx_export`.

Each step takes the output of the step before it unless it names its inputs, so chains need no wiring and
residual branches are possible. Weights may be real numbers, which the quantizer in the file rounds, or
integers times a scale (`exact_weights`), which it leaves as they are.

Sizes are in pixels, paddings are (top, left, bottom, right). Left out: zero points, scales by channel,
dilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.quantize import Quantized, Quantizer
from foldwright.accel.workload import Pool
from foldwright.errors import ModelError, nearest

__all__ = [
    "INPUT",
    "Add",
    "BatchNorm",
    "Bipolar",
    "Conv",
    "Dense",
    "Flatten",
    "Graph",
    "Op",
    "Quant",
    "QuantNode",
    "Reals",
    "Relu",
    "Step",
    "exact_weights",
    "quant_node",
]

INPUT = "input"
"""Name of the graph's input tensor."""

_ROUNDINGS = ("ROUND", "HALF_EVEN", "HALF_UP", "FLOOR", "CEIL")

Reals = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Quant:
    """QONNX's `Quant`: `clip(round(x / scale), low, high) * scale`; `narrow` drops the lowest level.

    `ROUND` takes ties to even; `HALF_UP` takes them away from zero, which for unsigned levels is the rounding
    of `foldwright.accel.quantize`.
    """

    scale: float
    bits: int
    signed: bool = False
    narrow: bool = False
    rounding: str = "ROUND"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.float32(self.scale) > 0):
            raise ModelError(f"Quant: scale is {self.scale}, must be greater than 0 and finite in float32")
        if not 1 <= self.bits <= 32:
            raise ModelError(f"Quant: bits is {self.bits}, allowed are 1 to 32")
        if self.rounding not in _ROUNDINGS:
            raise ModelError(f"Quant: no rounding {self.rounding!r}; {nearest(self.rounding, _ROUNDINGS)}")


@dataclass(frozen=True, slots=True)
class Bipolar:
    """QONNX's `BipolarQuant`: `scale` where x >= 0, else `-scale`."""

    scale: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.float32(self.scale) > 0):
            raise ModelError(f"Bipolar: scale is {self.scale}, must be greater than 0 and finite in float32")


QuantNode = Quant | Bipolar


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """A convolution with quantized weights."""

    weights: Reals  # (out, in / groups, height, width)
    quant: QuantNode
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    bias: Reals | None = None  # (out,)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A matrix product with quantized weights."""

    weights: Reals  # (out, in)
    quant: QuantNode


@dataclass(frozen=True, slots=True, eq=False)
class BatchNorm:
    """`(x - mean) / sqrt(variance + epsilon) * gain + bias` by channel."""

    gain: Reals  # (channels,)
    bias: Reals  # (channels,)
    mean: Reals  # (channels,)
    variance: Reals  # (channels,)
    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class Relu:
    """`max(x, 0)`."""


@dataclass(frozen=True, slots=True)
class Flatten:
    """All axes but the batch into one, channels slowest."""


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of two tensors of one shape."""


Op = Quant | Bipolar | Conv | Dense | BatchNorm | Pool | Relu | Flatten | Add


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operator by name; no inputs means the output of the step before it."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network: steps in an order in which each follows its inputs; the last one gives the output."""

    name: str
    input_shape: tuple[int, ...]  # (batch, channels, height, width) or (batch, features)
    steps: Sequence[Step]


def quant_node(levels: Sequence[int], scale: float, rounding: str = "ROUND") -> QuantNode:
    """Returns the smallest node whose range holds the levels of a quantizer.

    Odd levels such as -3, -1, 1, 3 stand in a node of one bit more, as its range also holds the even numbers.
    """
    low, high = levels[0], levels[-1]
    if tuple(levels) == (-1, 1):
        return Bipolar(scale)
    if low >= 0:
        return Quant(scale, max(1, high.bit_length()), rounding=rounding)
    bits = 1 + max(high.bit_length(), (-low - 1).bit_length())
    narrow = low > -(1 << bits - 1)
    return Quant(scale, bits, signed=True, narrow=narrow, rounding=rounding)


def exact_weights(quantizer: Quantizer, quantized: Quantized) -> tuple[Reals, QuantNode]:
    """Returns weights and their node for `Conv` and `Dense`: the node leaves these weights unchanged."""
    return quantized.values().astype(np.float32), quant_node(quantizer.levels, quantized.scale)
