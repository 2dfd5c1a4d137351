"""Writes the steps of `onnx_steps` to a QONNX file.

The file is the float32 dialect of QONNX: domain `qonnx.custom_op.general`, opset 13, IR version 8, a fixed
batch, every tensor with its shape, so that qonnx executes it as it stands. BatchNormalization stays a
float32 node: folding it into thresholds is the importer's work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from foldwright.accel.onnx_steps import (
    INPUT,
    Add,
    BatchNorm,
    Bipolar,
    Conv,
    Dense,
    Flatten,
    Graph,
    Quant,
    QuantNode,
    Reals,
    Relu,
    Step,
)
from foldwright.accel.workload import Pool, PoolKind
from foldwright.errors import ModelError, nearest

__all__ = ["export_qonnx", "to_model"]

_DOMAIN = "qonnx.custom_op.general"
_OPSET = 13
_IR_VERSION = 8


def to_model(graph: Graph) -> onnx.ModelProto:
    """Returns the ONNX model of a graph.

    Raises:
        ModelError: a shape does not fit, a name is unknown or stands twice, a number is not finite.
    """
    if not graph.steps:
        raise ModelError(f"graph {graph.name!r} has no step; add at least one operator")
    writer = _Writer(graph.input_shape)
    previous = INPUT
    for step in graph.steps:
        writer.write(step, step.inputs or (previous,))
        previous = step.name
    return writer.model(graph, previous)


def export_qonnx(graph: Graph, path: str | Path) -> Path:
    """Writes a graph to a file, whole or not at all, and returns its path."""
    path = Path(path)
    content = to_model(graph).SerializeToString(deterministic=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from None
    return path


Shape = tuple[int, ...]


@dataclass
class _Writer:
    """Nodes, constants and shapes of the graph so far."""

    input_shape: Shape
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.input_shape) < 2 or min(self.input_shape) < 1:
            raise ModelError(f"input shape {self.input_shape}: needs a batch and positive sizes")
        self.shapes = {INPUT: self.input_shape}

    def write(self, step: Step, inputs: tuple[str, ...]) -> None:
        if step.name in self.shapes:
            raise ModelError(f"step {step.name!r} stands twice; give each step a name of its own")
        for name in inputs:
            if name not in self.shapes:
                raise ModelError(f"step {step.name!r} reads {name!r}; {nearest(name, self.shapes)}")
        wanted = 2 if isinstance(step.op, Add) else 1
        if len(inputs) != wanted:
            raise ModelError(f"step {step.name!r}: {len(inputs)} inputs, but {wanted} needed")
        self.shapes[step.name] = self.emit(step.op, step.name, inputs)

    def model(self, graph: Graph, output: str) -> onnx.ModelProto:
        float32 = onnx.TensorProto.FLOAT
        inner = [name for name in self.shapes if name not in (INPUT, output)]
        body = helper.make_graph(
            self.nodes,
            graph.name,
            [helper.make_tensor_value_info(INPUT, float32, self.input_shape)],
            [helper.make_tensor_value_info(output, float32, self.shapes[output])],
            initializer=self.constants,
            value_info=[helper.make_tensor_value_info(n, float32, self.shapes[n]) for n in inner],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_DOMAIN, 1)]
        return helper.make_model(
            body, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="foldwright"
        )

    def constant(self, name: str, values: Any) -> str:
        array = np.asarray(values, dtype=np.float32)
        if not np.isfinite(array).all():
            raise ModelError(f"{name!r} holds numbers that are not finite in float32; check the training")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))

    def quantized(self, name: str, weights: Reals, quant: QuantNode) -> str:
        real = self.constant(f"{name}.weights", weights)
        out = f"{name}.quantized"
        self.shapes[out] = self.emit(quant, out, (real,), tuple(weights.shape))
        return out

    def channels(self, name: str, source: str, rank: int) -> Shape:
        shape = self.shapes[source]
        if len(shape) != rank:
            raise ModelError(f"step {name!r} needs {rank} axes, but {source!r} has the shape {shape}")
        return shape

    @singledispatchmethod
    def emit(self, op: Any, name: str, inputs: tuple[str, ...], shape: Shape | None = None) -> Shape:
        """Appends the nodes of one operator and returns the shape of its output."""
        raise ModelError(f"step {name!r}: {type(op).__name__} is not an operator of this exporter")

    @emit.register
    def _quant(self, op: Quant, name: str, inputs: tuple[str, ...], shape: Shape | None = None) -> Shape:
        extra = (("scale", op.scale), ("zero_point", 0.0), ("bits", op.bits))
        constants = [self.constant(f"{name}.{key}", value) for key, value in extra]
        flags = {"signed": int(op.signed), "narrow": int(op.narrow), "rounding_mode": op.rounding}
        self.node("Quant", name, [*inputs, *constants], domain=_DOMAIN, **flags)
        return shape or self.shapes[inputs[0]]

    @emit.register
    def _bipolar(self, op: Bipolar, name: str, inputs: tuple[str, ...], shape: Shape | None = None) -> Shape:
        scale = self.constant(f"{name}.scale", op.scale)
        self.node("BipolarQuant", name, [*inputs, scale], domain=_DOMAIN)
        return shape or self.shapes[inputs[0]]

    @emit.register
    def _conv(self, op: Conv, name: str, inputs: tuple[str, ...]) -> Shape:
        batch, channels, height, width = self.channels(name, inputs[0], 4)
        if op.weights.ndim != 4 or op.weights.shape[1] * op.groups != channels:
            got = f"weights {op.weights.shape} in {op.groups} groups"
            raise ModelError(f"step {name!r}: {got} do not fit {channels} channels")
        out, kernel = op.weights.shape[0], op.weights.shape[2:]
        operands = [*inputs, self.quantized(name, op.weights, op.quant)]
        if op.bias is not None:
            operands.append(self.constant(f"{name}.bias", _sized(name, "bias", op.bias, out)))
        self.node(
            "Conv", name, operands,
            kernel_shape=kernel, strides=op.stride, pads=op.padding, group=op.groups, dilations=(1, 1),
        )  # fmt: skip
        return (batch, out, *_window(name, (height, width), kernel, op.stride, op.padding))

    @emit.register
    def _dense(self, op: Dense, name: str, inputs: tuple[str, ...]) -> Shape:
        batch, features = self.channels(name, inputs[0], 2)
        if op.weights.ndim != 2 or op.weights.shape[1] != features:
            raise ModelError(f"step {name!r}: weights {op.weights.shape} do not fit {features} features")
        self.node("MatMul", name, [*inputs, self.quantized(name, op.weights.T, op.quant)])
        return (batch, op.weights.shape[0])

    @emit.register
    def _batch_norm(self, op: BatchNorm, name: str, inputs: tuple[str, ...]) -> Shape:
        shape = self.shapes[inputs[0]]
        parts = {"gain": op.gain, "bias": op.bias, "mean": op.mean, "variance": op.variance}
        constants = [
            self.constant(f"{name}.{key}", _sized(name, key, part, shape[1])) for key, part in parts.items()
        ]
        self.node("BatchNormalization", name, [*inputs, *constants], epsilon=op.epsilon)
        return shape

    @emit.register
    def _pool(self, op: Pool, name: str, inputs: tuple[str, ...]) -> Shape:
        batch, channels, height, width = self.channels(name, inputs[0], 4)
        kind = "MaxPool" if op.kind is PoolKind.MAX else "AveragePool"
        self.node(kind, name, inputs, kernel_shape=op.kernel, strides=op.stride, pads=op.padding)
        return (batch, channels, *_window(name, (height, width), op.kernel, op.stride, op.padding))

    @emit.register
    def _relu(self, op: Relu, name: str, inputs: tuple[str, ...]) -> Shape:
        self.node("Relu", name, inputs)
        return self.shapes[inputs[0]]

    @emit.register
    def _flatten(self, op: Flatten, name: str, inputs: tuple[str, ...]) -> Shape:
        shape = self.shapes[inputs[0]]
        self.node("Flatten", name, inputs, axis=1)
        return (shape[0], int(np.prod(shape[1:])))

    @emit.register
    def _add(self, op: Add, name: str, inputs: tuple[str, ...]) -> Shape:
        first, second = (self.shapes[source] for source in inputs)
        if first != second:
            raise ModelError(f"step {name!r} adds shapes {first} and {second}; they must be equal")
        self.node("Add", name, inputs)
        return first


def _sized(name: str, part: str, values: Reals, count: int) -> Reals:
    if values.shape != (count,):
        raise ModelError(f"step {name!r}: {part} has the shape {values.shape}, but needs ({count},)")
    return values


def _window(
    name: str, size: tuple[int, int], kernel: tuple[int, ...], stride: tuple[int, int], pads: tuple[int, ...]
) -> Shape:
    out = tuple((size[i] + pads[i] + pads[i + 2] - kernel[i]) // stride[i] + 1 for i in range(2))
    if min(out) < 1 or min(stride) < 1 or min(pads) < 0:
        raise ModelError(
            f"step {name!r}: kernel {kernel}, stride {stride}, padding {pads} do not fit a map of {size}"
        )
    return out
