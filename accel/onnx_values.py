"""Tensors, attributes and types of an ONNX file as plain Python and numpy values, each checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from foldwright.accel.host_limits import MAX_ELEMENTS
from foldwright.errors import ModelError

__all__ = ["read_attribute", "read_dtype", "read_tensor"]

_DTYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
}


def read_tensor(tensor: onnx.TensorProto, what: str, where: str) -> np.ndarray:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"{where}: {what} keeps its data in another file\n"
            "  save all in one file: onnx.save(model, path, save_as_external_data=False)"
        )
    if any(d < 0 for d in tensor.dims):
        raise ModelError(
            f"{where}: {what} has a negative dimension {list(tensor.dims)}\n  export the model again"
        )
    if int(np.prod([int(d) for d in tensor.dims], dtype=object)) > MAX_ELEMENTS:
        raise ModelError(
            f"{where}: {what} declares {list(tensor.dims)}, more than {MAX_ELEMENTS} elements\n  export again"
        )
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ModelError(
            f"{where}: {what} holds no numbers (data type {tensor.data_type})\n  export the model again"
        )
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, UnicodeDecodeError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{where}: {what} of shape {list(tensor.dims)} is damaged: {str(error).splitlines()[0][:120]}\n"
            "  export the model again"
        ) from None
    if array.dtype.kind not in "fiub":  # 4-bit integers and the like: widen to what numpy computes with
        array = array.astype(
            np.int8 if "int4" in array.dtype.name or "int2" in array.dtype.name else np.float32
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError(
            f"{where}: {what} holds NaN or infinity\n  the training diverged or the file is damaged"
        )
    array = np.ascontiguousarray(array).reshape(array.shape)
    array.setflags(write=False)
    return array


def read_attribute(attribute: onnx.AttributeProto, label: str, where: str) -> Any:
    kinds = onnx.AttributeProto
    match attribute.type:
        case kinds.FLOAT:
            return float(attribute.f)
        case kinds.INT:
            return int(attribute.i)
        case kinds.STRING:
            return attribute.s.decode("utf-8", "replace")
        case kinds.FLOATS:
            return tuple(float(v) for v in attribute.floats)
        case kinds.INTS:
            return tuple(int(v) for v in attribute.ints)
        case kinds.STRINGS:
            return tuple(s.decode("utf-8", "replace") for s in attribute.strings)
        case kinds.TENSOR:
            return read_tensor(
                attribute.t, f"{label.removeprefix(where + ': ')} attribute {attribute.name!r}", where
            )
    raise ModelError(
        f"{label}: attribute {attribute.name!r} is a subgraph or of unknown type\n  export a graph without control flow"
    )


def read_dtype(value: onnx.ValueInfoProto, where: str) -> np.dtype[Any]:
    kind = value.type.tensor_type.elem_type
    if not value.type.HasField("tensor_type") or kind not in _DTYPES:
        raise ModelError(
            f"{where}: {value.name!r} is not a tensor of numbers\n  export with float32 inputs and outputs"
        )
    return np.dtype(_DTYPES[kind])
