"""What the accelerator has to compute: a graph of quantized layers, by shapes and bit widths only.

A `Layer` is one pass of an engine: a convolution or a matrix product (a convolution of a 1x1 map), then the
result path: thresholds (or scale and shift, or the raw accumulator), then an optional residual add, then an
optional pooling. Parameters (weights, threshold values) live in `foldwright.accel.network`; a workload is
enough to allocate, schedule and simulate.

Units: sizes in pixels, widths in bits. Source of the arithmetic: `docs/architecture.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from foldwright.errors import ModelError
from foldwright.jsonform import STRICT, plain

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "IMAGE",
    "ActKind",
    "Layer",
    "LayerKind",
    "Pool",
    "PoolKind",
    "ResultKind",
    "WeightKind",
    "Workload",
]

IMAGE = "image"
"""Name by which a layer refers to the workload's own input tensor."""


class LayerKind(Enum):
    """What the engine computes."""

    CONV = "conv"
    MATMUL = "matmul"


class WeightKind(Enum):
    """How weight values map to bit planes."""

    BINARY = "binary"  # -1, +1: one XNOR plane
    TERNARY = "ternary"  # -1, 0, +1: two XNOR planes of equal weight, or two AND planes
    ODD = "odd"  # odd levels -(2^b - 1) .. 2^b - 1: b XNOR planes
    SIGNED = "signed"  # two's complement: b AND planes


class ActKind(Enum):
    """How activation values map to bit planes."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"  # two's complement
    BIPOLAR = "bipolar"  # -1, +1 as one bit


class ResultKind(Enum):
    """What the result path does with an accumulator."""

    THRESHOLDS = "thresholds"
    SCALE_SHIFT = "scale_shift"
    RAW = "raw"


class PoolKind(Enum):
    """Pooling of the quantized results."""

    MAX = "max"
    AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooling window behind a layer. Pads are (top, left, bottom, right)."""

    __pydantic_config__: ClassVar = STRICT

    kind: PoolKind
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def area(self) -> int:
        """Pixels of a window."""
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True, slots=True)
class Layer:
    """One pass of an engine and its result path.

    `inputs` names the producer of the input tensor (a layer or `IMAGE`) and, for a residual add, the producer
    of the second operand. `out_height` and `out_width` are the convolution's, before pooling.
    `acc_bits` holds every accumulator value of this layer in two's complement. Averages are stored as sums, of `out_bits`;
    then `code_bits` are those of a result before the residual add and the pooling, 0 where nobody says.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str
    kind: LayerKind
    inputs: tuple[str, ...]
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    groups: int = 1
    weight_bits: int = 1
    weight_kind: WeightKind = WeightKind.BINARY
    act_bits: int = 1
    act_kind: ActKind = ActKind.BIPOLAR
    result: ResultKind = ResultKind.THRESHOLDS
    out_bits: int = 1
    out_kind: ActKind = ActKind.BIPOLAR
    acc_bits: int = 16
    pool: Pool | None = None
    code_bits: int = 0

    def __post_init__(self) -> None:
        positive = {
            "in_channels": self.in_channels,
            "in_height": self.in_height,
            "in_width": self.in_width,
            "out_channels": self.out_channels,
            "kernel": min(self.kernel),
            "stride": min(self.stride),
            "groups": self.groups,
            "weight_bits": self.weight_bits,
            "act_bits": self.act_bits,
            "out_bits": self.out_bits,
            "acc_bits": self.acc_bits,
            "code_bits": self.code_bits or self.out_bits,
        }
        wrong = [f"{key} is {value}, must be at least 1" for key, value in positive.items() if value < 1]
        if not wrong:
            if self.in_channels % self.groups or self.out_channels % self.groups:
                wrong.append(
                    f"groups={self.groups} divides not both channels {self.in_channels}, {self.out_channels}"
                )
            if min(self.padding) < 0 or self.out_height < 1 or self.out_width < 1:
                wrong.append(f"kernel {self.kernel} does not fit the {self.in_height}x{self.in_width} input")
            if not 1 <= len(self.inputs) <= 2:
                wrong.append(f"{len(self.inputs)} inputs, allowed are 1, or 2 with a residual")
        if wrong:
            raise ModelError(f"layer {self.name!r}: " + "; ".join(wrong))

    @property
    def out_height(self) -> int:
        return (self.in_height + self.padding[0] + self.padding[2] - self.kernel[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        return (self.in_width + self.padding[1] + self.padding[3] - self.kernel[1]) // self.stride[1] + 1

    @property
    def stored_height(self) -> int:
        """Rows of the tensor that this layer leaves behind, after pooling."""
        return _pooled(self.out_height, self.pool, 0)

    @property
    def stored_width(self) -> int:
        return _pooled(self.out_width, self.pool, 1)

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates per frame, padded taps included."""
        per_pixel = self.taps * (self.in_channels // self.groups) * self.out_channels
        return per_pixel * self.out_height * self.out_width

    @property
    def bit_macs(self) -> int:
        return self.macs * self.weight_bits * self.act_bits

    @property
    def weight_count(self) -> int:
        return self.taps * (self.in_channels // self.groups) * self.out_channels

    @property
    def weights_bits(self) -> int:
        """Size of all weights, unpadded."""
        return self.weight_count * self.weight_bits

    @property
    def stored_value_bits(self) -> int:
        """Width of one stored result: the accumulator's where results are raw."""
        return self.acc_bits if self.result is ResultKind.RAW else self.out_bits

    @property
    def averages(self) -> bool:
        """Whether results leave as sums over the windows of a pooling."""
        return self.pool is not None and self.pool.kind is PoolKind.AVERAGE

    @property
    def search_bits(self) -> int:
        """Bits of a result of the thresholds, as far as the shapes tell."""
        return self.code_bits or self.out_bits

    @property
    def out_tensor_bits(self) -> int:
        return self.out_channels * self.stored_height * self.stored_width * self.stored_value_bits


def _pooled(size: int, pool: Pool | None, axis: int) -> int:
    if pool is None:
        return size
    return (size + pool.padding[axis] + pool.padding[axis + 2] - pool.kernel[axis]) // pool.stride[axis] + 1


@dataclass(frozen=True)
class Workload:
    """Layers in an order in which each follows its producers."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.workload/1"

    name: str
    layers: tuple[Layer, ...]
    image_channels: int
    image_height: int
    image_width: int
    image_bits: int
    image_kind: ActKind = ActKind.UNSIGNED
    host_before: tuple[str, ...] = field(default=())
    host_after: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.layers:
            raise ModelError(f"workload {self.name!r} has no layer that the accelerator runs")
        shapes = {IMAGE: (self.image_channels, self.image_height, self.image_width)}
        for layer in self.layers:
            if layer.name in shapes:
                raise ModelError(f"workload {self.name!r}: two layers are named {layer.name!r}")
            for producer in layer.inputs:
                if producer not in shapes:
                    raise ModelError(
                        f"layer {layer.name!r} reads {producer!r}, which is not a layer before it"
                    )
            have = shapes[layer.inputs[0]]
            need = (layer.in_channels, layer.in_height, layer.in_width)
            flattened = layer.kind is LayerKind.MATMUL and need == (have[0] * have[1] * have[2], 1, 1)
            if have != need and not flattened:
                raise ModelError(
                    f"layer {layer.name!r} needs input {need}, but {layer.inputs[0]!r} gives {have}"
                )
            shapes[layer.name] = (layer.out_channels, layer.stored_height, layer.stored_width)

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each layer by name; `IMAGE` is -1."""
        return {IMAGE: -1, **{layer.name: i for i, layer in enumerate(self.layers)}}

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def bit_macs(self) -> int:
        return sum(layer.bit_macs for layer in self.layers)

    @property
    def weights_bits(self) -> int:
        return sum(layer.weights_bits for layer in self.layers)

    @property
    def image_tensor_bits(self) -> int:
        return self.image_channels * self.image_height * self.image_width * self.image_bits

    def consumers(self, producer: str) -> list[int]:
        """Positions of the layers that read a tensor."""
        return [i for i, layer in enumerate(self.layers) if producer in layer.inputs]

    def edges(self) -> Iterator[tuple[str, str]]:
        for layer in self.layers:
            for producer in layer.inputs:
                yield producer, layer.name

    def graph(self) -> nx.DiGraph:
        """Returns the layers as a directed graph, node `IMAGE` first."""
        import networkx as nx

        g = nx.DiGraph()
        g.add_node(IMAGE)
        for layer in self.layers:
            g.add_node(layer.name, layer=layer)
        g.add_edges_from(self.edges())
        return g

    def content_hash(self) -> str:
        """Returns a hash of shapes and widths that does not depend on any name."""
        rows = []
        for layer in self.layers:
            row = plain(layer)
            row["inputs"] = [self.index[p] for p in layer.inputs]
            del row["name"]
            if not layer.code_bits:
                del row["code_bits"]
            rows.append(row)
        image = [
            self.image_channels,
            self.image_height,
            self.image_width,
            self.image_bits,
            self.image_kind.value,
        ]
        return hashlib.sha256(json.dumps([image, rows]).encode()).hexdigest()[:16]
