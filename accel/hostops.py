"""What every known ONNX operator computes, in numpy, in the data types of the graph.

Used to fold constant subgraphs and to run the steps that stay on the host; only the order of sums in float
convolutions differs from other runtimes. Left out: training modes, resizing other than nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from foldwright.accel import host_products as products
from foldwright.accel import host_quantizers as quantizers
from foldwright.accel import host_shapes as shapes
from foldwright.accel.host_limits import Array, Attributes, UnsupportedFormError, limited

__all__ = ["OPERATORS", "evaluate"]


def evaluate(op: str, inputs: Sequence[Array | None], attributes: Attributes, opset: int) -> Array:
    """Returns the first output of an operator.

    Raises:
        UnsupportedFormError: the operands or attributes do not fit the operator, or the result is too large.
    """
    call = OPERATORS[op]
    try:
        with np.errstate(all="ignore"):
            result = call(list(inputs), {**attributes, "_opset": opset})
    except UnsupportedFormError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UnsupportedFormError(f"operands do not fit: {text}") from None
    return result


def _binary(call: Callable[[Any, Any], Any]) -> Callable[[list[Any], Attributes], Array]:
    def run(x: list[Any], a: Attributes) -> Array:
        limited(np.broadcast_shapes(x[0].shape, x[1].shape))
        return np.asarray(call(x[0], x[1])).astype(x[0].dtype)

    return run


def _unary(call: Callable[[Any], Any]) -> Callable[[list[Any], Attributes], Array]:
    return lambda x, a: np.asarray(call(x[0])).astype(x[0].dtype)


def _divide(left: Array, right: Array) -> Array:
    return left / right if left.dtype.kind == "f" else np.trunc(left / right)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _clip(x: list[Any], a: Attributes) -> Array:
    low = x[1] if len(x) > 1 and x[1] is not None else a.get("min", -np.inf)
    high = x[2] if len(x) > 2 and x[2] is not None else a.get("max", np.inf)
    return np.minimum(np.maximum(x[0], low), high).astype(x[0].dtype)


def _elu(x: list[Any], a: Attributes) -> Array:
    return np.where(x[0] > 0, x[0], a.get("alpha", 1.0) * np.expm1(np.minimum(x[0], 0))).astype(x[0].dtype)


def _selu(x: list[Any], a: Attributes) -> Array:
    alpha, gamma = a.get("alpha", 1.67326319217681884765625), a.get("gamma", 1.05070102214813232421875)
    return (gamma * np.where(x[0] > 0, x[0], alpha * np.expm1(np.minimum(x[0], 0)))).astype(x[0].dtype)


def _batch_norm(x: list[Any], a: Attributes) -> Array:
    if a.get("training_mode", 0):
        raise UnsupportedFormError("training_mode=1; export the model in inference mode")
    values = x[0]
    gamma, beta, mean, var = (quantizers.axis_operand(v, values, 1) for v in x[1:5])
    scale = gamma / np.sqrt(var + np.float32(a.get("epsilon", 1e-5)))
    return ((values - mean) * scale + beta).astype(values.dtype)


def _cast(x: list[Any], a: Attributes) -> Array:
    from onnx.helper import tensor_dtype_to_np_dtype

    dtype = np.dtype(tensor_dtype_to_np_dtype(int(a["to"])))
    if dtype.kind not in "fiub":
        raise UnsupportedFormError(f"cast to {dtype}")
    return x[0].astype(dtype)


def _softmax(x: list[Any], a: Attributes, log: bool = False) -> Array:
    new = a["_opset"] >= 13
    axis = a.get("axis", -1 if new else 1)
    values = x[0] if new else x[0].reshape(int(np.prod(x[0].shape[:axis])), -1)
    shifted = values - values.max(axis if new else 1, keepdims=True)
    total = np.exp(shifted).sum(axis if new else 1, keepdims=True)
    return (shifted - np.log(total) if log else np.exp(shifted) / total).reshape(x[0].shape)


def _arg_max(x: list[Any], a: Attributes) -> Array:
    return np.asarray(np.argmax(x[0], a.get("axis", 0), keepdims=bool(a.get("keepdims", 1))))


def _reduce(call: Callable[..., Array]) -> Callable[[list[Any], Attributes], Array]:
    def run(x: list[Any], a: Attributes) -> Array:
        return np.asarray(call(x[0], axis=shapes.axes(x, a), keepdims=bool(a.get("keepdims", 1)))).astype(
            x[0].dtype
        )

    return run


OPERATORS: Mapping[str, Callable[[list[Any], Attributes], Array]] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "ArgMax": _arg_max,
    "AveragePool": products.average_pool,
    "BatchNormalization": _batch_norm,
    "BipolarQuant": quantizers.bipolar,
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Clip": _clip,
    "Concat": shapes.concat,
    "ConstantOfShape": shapes.filled,
    "Conv": products.conv,
    "DepthToSpace": shapes.depth_to_space,
    "DequantizeLinear": quantizers.dequantize_linear,
    "Div": _binary(_divide),
    "Dropout": lambda x, a: x[0],
    "Elu": _elu,
    "Exp": _unary(np.exp),
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Floor": _unary(np.floor),
    "Gather": lambda x, a: np.take(x[0], x[1].astype(np.int64), a.get("axis", 0)),
    "Gemm": products.gemm,
    "GlobalAveragePool": _unary(lambda v: v.mean((2, 3), keepdims=True)),
    "GlobalMaxPool": _unary(lambda v: v.max((2, 3), keepdims=True)),
    "HardSigmoid": lambda x, a: np.clip(a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5), 0, 1).astype(
        x[0].dtype
    ),
    "Identity": lambda x, a: x[0],
    "IntQuant": quantizers.quant,
    "LeakyRelu": lambda x, a: np.where(x[0] >= 0, x[0], a.get("alpha", 0.01) * x[0]).astype(x[0].dtype),
    "Log": _unary(np.log),
    "LogSoftmax": lambda x, a: _softmax(x, a, log=True),
    "MatMul": products.matmul,
    "Max": _binary(np.maximum),
    "MaxPool": products.max_pool,
    "Min": _binary(np.minimum),
    "Mul": _binary(np.multiply),
    "MultiThreshold": quantizers.multi_threshold,
    "Neg": _unary(np.negative),
    "PRelu": lambda x, a: np.where(x[0] >= 0, x[0], x[1] * x[0]).astype(x[0].dtype),
    "Pad": shapes.pad,
    "Pow": _binary(np.power),
    "Quant": quantizers.quant,
    "QuantizeLinear": quantizers.quantize_linear,
    "Reciprocal": _unary(lambda v: 1 / v),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "Relu": _unary(lambda v: np.maximum(v, 0)),
    "Reshape": shapes.reshape,
    "Resize": shapes.resize,
    "Round": _unary(np.round),
    "Selu": _selu,
    "Shape": lambda x, a: np.asarray(x[0].shape, np.int64)[slice(a.get("start", 0), a.get("end"))],
    "Sigmoid": _unary(_sigmoid),
    "Sign": _unary(np.sign),
    "Slice": shapes.sliced,
    "Softmax": _softmax,
    "Softplus": _unary(lambda v: np.logaddexp(v, 0)),
    "SpaceToDepth": shapes.space_to_depth,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": lambda x, a: np.squeeze(x[0], shapes.axes(x, a)),
    "Sub": _binary(np.subtract),
    "Tanh": _unary(np.tanh),
    "Transpose": lambda x, a: np.transpose(x[0], a.get("perm")),
    "Trunc": quantizers.trunc,
    "Unsqueeze": shapes.unsqueeze,
    "Upsample": shapes.resize,
}
