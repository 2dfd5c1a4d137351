"""Folds constant subgraphs, and remembers which constants are quantized weights.

A weight goes through a quantizer, then perhaps through Transpose, Reshape, Cast or a product with a constant
scale; its integers and its scale follow along. Constants that hold small whole numbers count as weights of
scale 1 (streamlined graphs keep them so).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foldwright.accel.flow import Constant, Weights
from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.hostops import OPERATORS, evaluate
from foldwright.accel.onnx_import import Node
from foldwright.accel.quantops import grid_of

__all__ = ["MOVES", "fold", "weights_of"]

MOVES = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that move elements and compute nothing."""

MAX_WEIGHT_BITS = 16
_PLAIN_WEIGHT_LIMIT = 2**7


def fold(node: Node, operands: Sequence[Constant | None], opset: int) -> Constant:
    """Returns what a node makes of constants."""
    value = evaluate(node.op, [None if c is None else c.value for c in operands], node.attributes, opset)
    value = np.asarray(value)
    value.setflags(write=False)
    return Constant(value, _provenance(node, operands, value, opset))


def _provenance(
    node: Node, operands: Sequence[Constant | None], value: np.ndarray, opset: int
) -> Weights | None:
    first = operands[0]
    if first is None:
        return None
    if node.op in ("Quant", "IntQuant", "BipolarQuant"):
        return _quantized(node, [None if c is None else c.value for c in operands])
    if node.op == "DequantizeLinear":
        return _dequantized(node, first.value, [None if c is None else c.value for c in operands])
    if first.weights is None:
        other = operands[1] if len(operands) == 2 else None
        if node.op == "Mul" and other is not None and other.weights is not None:
            return _scaled(other.weights, first.value, value)
        return None
    if node.op in MOVES:
        rest = [None if c is None else c.value for c in operands[1:]]
        return first.weights.moved(
            lambda x: OPERATORS[node.op]([x, *rest], {**node.attributes, "_opset": opset})
        )
    if node.op in ("Identity", "Dropout") or (node.op == "Cast" and value.dtype.kind == "f"):
        return first.weights
    if node.op in ("Mul", "Div") and operands[1] is not None:
        factor = operands[1].value.astype(np.float64)
        return _scaled(first.weights, factor if node.op == "Mul" else 1 / factor, value)
    return None


def _scaled(weights: Weights, factor: np.ndarray, value: np.ndarray) -> Weights | None:
    return (
        Weights(weights.integers, weights.scale * factor) if value.shape == weights.integers.shape else None
    )


def _quantized(node: Node, x: Sequence[np.ndarray | None]) -> Weights | None:
    """Returns the integers that a QONNX quantizer rounds a constant to, zero point taken off."""
    values, scale = x[0], x[1]
    assert values is not None
    assert scale is not None
    if node.op == "BipolarQuant":
        return Weights(np.where(values >= 0, 1, -1).astype(np.int32), scale.astype(np.float64))
    zero = x[2]
    assert zero is not None
    if (zero != np.round(zero)).any():
        raise UnsupportedFormError("a zero point that is not whole")
    grid = grid_of(node.op, [np.ones(1), np.zeros(1), x[3]], node.attributes, None)
    if grid is not None and grid.bits > MAX_WEIGHT_BITS:
        raise UnsupportedFormError(f"weights of {grid.bits} bits, at most {MAX_WEIGHT_BITS} are allowed")
    unit = [values / scale, np.ones((), values.dtype), zero, x[3]]
    integers = evaluate("Quant", unit, node.attributes, 13)
    return Weights(np.rint(integers).astype(np.int32), scale.astype(np.float64))


def _dequantized(node: Node, integers: np.ndarray, x: Sequence[np.ndarray | None]) -> Weights | None:
    scale = x[1]
    assert scale is not None
    axis = node.attributes.get("axis", 1)
    per_axis = [-1 if i == axis % max(integers.ndim, 1) else 1 for i in range(integers.ndim)]
    zero = np.zeros(1, np.int64) if len(x) < 3 or x[2] is None else x[2].astype(np.int64)
    wide = [np.asarray(v).reshape(per_axis if v.size > 1 else ()) for v in (zero, scale.astype(np.float64))]
    offset_free = integers.astype(np.int64) - wide[0]
    if (
        offset_free.size
        and max(abs(int(offset_free.min())), abs(int(offset_free.max()))) >= 2**MAX_WEIGHT_BITS
    ):
        return None  # INT32 biases: a value, never weights
    return Weights(offset_free.astype(np.int32), wide[1])


def weights_of(constant: Constant) -> Weights | None:
    """Returns a constant as quantized weights; None where it is plain float numbers."""
    if constant.weights is not None:
        return constant.weights
    value = constant.value
    if value.size and np.abs(value).max() <= _PLAIN_WEIGHT_LIMIT and (value == np.round(value)).all():
        return Weights(value.astype(np.int32), np.ones(()))
    return None
