"""Elementwise operators between an accumulator and its quantizer, as functions per channel.

Every one of them is monotone in each channel, and so is any chain of them: that is what makes thresholds exact.
A `Step` works on float64 arrays of shape (channels, samples). Operators that are not monotone have no step; the
value they make must be computed on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.host_quantizers import QUANTIZERS
from foldwright.accel.hostops import OPERATORS, evaluate
from foldwright.accel.quantops import Grid, grid_of

if TYPE_CHECKING:
    from foldwright.accel.onnx_import import Node
    from foldwright.accel.view import View

__all__ = ["Step", "affine_step", "step_of"]

Array = np.ndarray


@dataclass(frozen=True)
class Step:
    """A monotone function per channel.

    `increasing` says that it falls in no channel. `affine` is (scale, offset) where the step is that and the
    same in all channels. `grid` is the grid that it rounds to, and `why` the reason where it leaves none.
    """

    name: str
    apply: Callable[[Array], Array]
    increasing: bool = True
    affine: tuple[float, float] | None = None
    clamp: tuple[float, float] | None = None
    quantizes: bool = False
    grid: Grid | None = None
    why: str = ""

    def after(self, before: Grid | None) -> Grid | None:
        """Returns the grid behind this step, given the one before it."""
        if self.quantizes:
            return self.grid
        if before is None:
            return None
        if self.affine is not None:
            return before.affine(*self.affine)
        return before.clamped(*self.clamp) if self.clamp is not None else None


_MONOTONE = (
    "LeakyRelu",
    "Sigmoid",
    "HardSigmoid",
    "Tanh",
    "Elu",
    "Selu",
    "Softplus",
    "Floor",
    "Ceil",
    "Round",
    "Exp",
)
_IDENTITY = ("Identity", "Dropout")


def affine_step(name: str, scale: Array, offset: Array) -> Step:
    """Returns the step `scale * x + offset`, with one scale and offset per channel or for all."""
    column = np.asarray(scale, np.float64).reshape(-1, 1), np.asarray(offset, np.float64).reshape(-1, 1)
    same = bool((column[0] == column[0][0]).all() and (column[1] == column[1][0]).all())
    return Step(
        name,
        lambda x: x * column[0] + column[1],
        bool((column[0] >= 0).all()),
        (float(column[0][0, 0]), float(column[1][0, 0])) if same else None,
    )


def step_of(
    node: Node, operands: Sequence[Array | None], view: View, before: Grid | None, opset: int
) -> Step | None:
    """Returns a node as a step; None where it is not one (not elementwise, or not monotone).

    Args:
        operands: the node's operands in order, None for the flowing one and for those left out.
    """
    op, a = node.op, node.attributes
    if op in _IDENTITY or (op == "Cast" and int(a.get("to", 0)) in (1, 10, 11)):
        return affine_step(str(node), np.ones(1), np.zeros(1))
    if op == "DequantizeLinear" or op in QUANTIZERS:
        return _quantizer(node, operands, view, before, opset)
    if op in ("Add", "Sub", "Mul", "Div", "Neg"):
        return _arithmetic(node, operands, view)
    if op == "BatchNormalization":
        return _batch_norm(node, operands, view)
    if op in ("Relu", "Clip", "Max", "Min"):
        return _bounds(node, operands, view)
    if op == "PRelu" and operands[1] is not None:
        slope = view.per_channel(operands[1]).reshape(-1, 1)
        return Step(str(node), lambda x: np.where(x >= 0, x, slope * x)) if (slope >= 0).all() else None
    if op in _MONOTONE and a.get("alpha", 1.0) >= 0:
        return Step(
            str(node),
            lambda x: OPERATORS[op]([x], {**a, "_opset": opset}),
            why=f"{node} leaves no even steps",
        )
    return None


def _arithmetic(node: Node, operands: Sequence[Array | None], view: View) -> Step | None:
    if node.op == "Neg":
        return affine_step(str(node), -np.ones(1), np.zeros(1))
    first = operands[0] is None
    constant = operands[1] if first else operands[0]
    if constant is None:
        return None
    c = view.per_channel(constant)
    one, none = np.ones(1), np.zeros(1)
    match node.op:
        case "Add":
            return affine_step(str(node), one, c)
        case "Sub":
            return affine_step(str(node), one if first else -one, -c if first else c)
        case "Mul":
            return affine_step(str(node), c, none)
    if not first or (c == 0).any():
        return None
    step = affine_step(str(node), 1 / c, none)
    column = c.reshape(-1, 1)  # divide, as 1/c times is not always the same number
    return Step(step.name, lambda x: x / column, step.increasing, step.affine)


def _batch_norm(node: Node, operands: Sequence[Array | None], view: View) -> Step:
    if node.attributes.get("training_mode", 0):
        raise UnsupportedFormError("training_mode=1; export the model in inference mode")
    gamma, beta, mean, var = (
        view.per_channel(
            np.asarray(v).reshape([-1 if i == 1 else 1 for i in range(len(view.shape))])
        ).reshape(-1, 1)
        for v in operands[1:5]
    )
    spread = var + float(np.float32(node.attributes.get("epsilon", 1e-5)))
    if not (spread > 0).all():
        raise UnsupportedFormError("its variance plus epsilon is not positive in every channel")
    scale = gamma / np.sqrt(spread)
    whole = affine_step(str(node), scale, beta - mean * scale)
    return Step(whole.name, lambda x: (x - mean) * scale + beta, whole.increasing, whole.affine)


def _bounds(node: Node, operands: Sequence[Array | None], view: View) -> Step | None:
    low, high = (0.0, np.inf) if node.op == "Relu" else (-np.inf, np.inf)
    if node.op == "Clip":
        given = [None if v is None else float(v.reshape(-1)[0]) for v in [*operands[1:3], None, None][:2]]
        low = node.attributes.get("min", -np.inf) if given[0] is None else given[0]
        high = node.attributes.get("max", np.inf) if given[1] is None else given[1]
    elif node.op in ("Max", "Min"):
        constant = next((v for v in operands if v is not None), None)
        if constant is None or constant.size != 1 or len(operands) != 2:
            return None
        bound = float(constant.reshape(-1)[0])
        low, high = (bound, np.inf) if node.op == "Max" else (-np.inf, bound)
    if not low <= high:
        return None
    why = f"{node} clips between two steps of the quantizer before it"
    return Step(str(node), lambda x: np.clip(x, low, high), clamp=(low, high), why=why)


def _quantizer(
    node: Node, operands: Sequence[Array | None], view: View, before: Grid | None, opset: int
) -> Step | None:
    if any(v is None and name for v, name in zip(operands[1:], node.inputs[1:], strict=True)):
        raise UnsupportedFormError("its scale, zero point, bit width or thresholds are not constant")
    if node.op == "DequantizeLinear":
        scale, zero = _per_axis(node, operands, view)
        return affine_step(str(node), scale, -zero * scale)
    wide: list[Any] = [None]
    attributes = dict(node.attributes)
    for value in operands[1:]:  # the graph's float32, widened: thresholds are found in float64
        wide.append(value.astype(np.float64) if value is not None and value.dtype.kind == "f" else value)
    grid = grid_of(node.op, wide[1:], node.attributes, before)
    if node.op == "MultiThreshold":
        attributes["data_layout"] = "CN"
        _check_thresholds(node, wide[1], view)
    elif node.op == "QuantizeLinear":
        axis = int(attributes.get("axis", 1))
        if any(v is not None and v.size > 1 for v in wide[1:]) and not view.is_channel_axis(axis):
            raise UnsupportedFormError(f"axis {axis} of {list(view.shape)} is not the channels")
        attributes["axis"] = 0
    else:
        wide[1:3] = [v if v is None or v.size == 1 else view.per_channel(v).reshape(-1, 1) for v in wide[1:3]]
    rising = node.op != "MultiThreshold" or float(attributes.get("out_scale", 1.0)) >= 0

    def apply(x: Array) -> Array:
        return evaluate(node.op, [x, *wide[1:]], attributes, opset).astype(np.float64)

    apply(np.zeros((view.chw[0], 1)))  # a bad form is an error here, where the node is known
    return Step(
        str(node), apply, rising, None, None, True, grid, f"the scale of {node} differs between channels"
    )


def _per_axis(node: Node, operands: Sequence[Array | None], view: View) -> tuple[Array, Array]:
    axis = node.attributes.get("axis", 1)
    shape = [-1 if i == axis % len(view.shape) else 1 for i in range(len(view.shape))]
    parts = []
    for value in [*operands[1:3], None][:2]:
        if value is None or value.size == 1:
            parts.append(np.full(1, 0.0 if value is None else float(value.reshape(-1)[0])))
        else:
            parts.append(view.per_channel(value.astype(np.float64).reshape(shape)))
    return parts[0], parts[1]


def _check_thresholds(node: Node, thresholds: Array, view: View) -> None:
    layout = node.attributes.get("data_layout", "")
    axis = layout.find("C") if "C" in layout else 1
    if not view.is_channel_axis(axis):
        raise UnsupportedFormError(
            f"data_layout {layout!r}: axis {axis} of {list(view.shape)} is not the channels"
        )
    if thresholds.ndim != 2 or thresholds.shape[0] not in (1, view.chw[0]) or thresholds.shape[1] < 1:
        raise UnsupportedFormError(
            f"thresholds of shape {list(thresholds.shape)} for {view.chw[0]} channels, [channels, levels] is needed"
        )
