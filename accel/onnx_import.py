"""Reads an ONNX file into a small graph of plain values, trusting nothing in it.

A `Graph` holds the nodes in an order in which each follows its producers, the constants as arrays, and the one
input and the one output. Everything else that a file may carry (training data, functions, external tensors,
control flow) is refused here, with the node, the reason and what to do. Nothing is executed and no other file
is opened. Dialects: standard ONNX with QuantizeLinear and DequantizeLinear, and QONNX (also under its older
domain names). What operators mean stands in `foldwright.accel.hostops` and `foldwright.accel.lowering`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from foldwright.accel.host_limits import MAX_ELEMENTS
from foldwright.accel.hostops import OPERATORS
from foldwright.accel.onnx_values import read_attribute, read_dtype, read_tensor
from foldwright.errors import ModelError, nearest

__all__ = ["MAX_FILE_BYTES", "Graph", "Node", "read_onnx"]

MAX_FILE_BYTES = 256 * 2**20
_OLDEST_OPSET = 7
_STANDARD = ("", "ai.onnx")
_QUANTIZED = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
_MICROSOFT = "com.microsoft"
_MICROSOFT_OPS = ("QuantizeLinear", "DequantizeLinear")
_HINTS = {
    "QLinearConv": "export in QDQ form (QuantizeLinear and DequantizeLinear around float operators)",
    "QLinearMatMul": "export in QDQ form (QuantizeLinear and DequantizeLinear around float operators)",
    "ConvInteger": "export in QDQ form (QuantizeLinear and DequantizeLinear around float operators)",
    "MatMulInteger": "export in QDQ form (QuantizeLinear and DequantizeLinear around float operators)",
    "If": "control flow cannot become hardware; export the traced graph",
    "Loop": "control flow cannot become hardware; export the traced graph",
    "Scan": "control flow cannot become hardware; export the traced graph",
    "Im2Col": "export before convolutions are lowered to matrix products",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: `inputs` may hold empty names for left-out optional operands."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}"

    @property
    def output(self) -> str:
        return self.outputs[0]

    def operand(self, position: int) -> str:
        """Returns the name of an operand, empty where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as read: one input, one output, nodes in execution order, constants by name."""

    path: str
    opset: int
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    input_name: str
    input_shape: tuple[int, ...]
    input_dtype: np.dtype[Any]
    output_name: str
    output_dtype: np.dtype[Any]

    def fail(self, node: Node, reason: str, remedy: str) -> NoReturn:
        """Raises the one form of error that names file, node, reason and remedy."""
        raise ModelError(f"{self.path}: {node}: {reason}\n  {remedy}")


def read_onnx(path: str | Path) -> Graph:
    """Reads an ONNX file.

    Raises:
        ModelError: the file is not a sound ONNX model, or holds something that no part of the tool takes.
    """
    model = _parse(Path(path))
    try:
        if all(isinstance(name, str) for name in _names(model.graph)):
            return _graph_of(model, str(path))
    except UnicodeDecodeError:  # protobuf decodes names when they are asked for: to bytes, or not at all
        pass
    raise ModelError(
        f"{path}: holds a name that is not UTF-8 text; the file is damaged\n  export it or download it again"
    )


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for named in (*graph.initializer, *graph.input, *graph.output):
        yield named.name


def _graph_of(model: onnx.ModelProto, where: str) -> Graph:
    opset = _opset(model, where)
    graph = model.graph
    if model.functions:
        raise ModelError(
            f"{where}: holds {len(model.functions)} model-local functions\n"
            "  inline them first (onnx.inliner.inline_local_functions) and save again"
        )
    constants = _initializers(graph, where)
    read = (_node(proto, i, where, constants) for i, proto in enumerate(graph.node))
    nodes = _distinct([node for node in read if node is not None])
    if not nodes:
        raise ModelError(f"{where}: the graph has no nodes\n  export the whole network, not only its weights")
    given = _only([v for v in graph.input if v.name not in constants], "input", where)
    result = _only(list(graph.output), "output", where)
    input_dtype = read_dtype(given, where)
    return Graph(
        path=where,
        opset=opset,
        nodes=_ordered(nodes, {*constants, given.name}, result.name, where),
        constants=constants,
        input_name=given.name,
        input_shape=_input_shape(given, where),
        input_dtype=input_dtype,
        output_name=result.name,
        output_dtype=read_dtype(result, where),
    )


def _parse(path: Path) -> onnx.ModelProto:
    try:
        if path.is_dir():
            raise ModelError(f"{path}: is a folder\n  name the .onnx file inside it")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelError(
                f"{path}: {size} bytes, more than the {MAX_FILE_BYTES} allowed\n"
                "  store weights as INT8 initializers with a Cast; no network of this size fits a small FPGA"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file\n  check the path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}\n  check its permissions") from None
    if not data:
        raise ModelError(
            f"{path}: is empty\n  the export or the download did not finish; make the file again"
        )
    if data[:2] == b"PK":
        raise ModelError(f"{path}: is a zip archive, not an ONNX file\n  unpack it and name the .onnx file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        raise ModelError(
            f"{path}: not an ONNX file, or truncated or damaged ({size} bytes)\n  export it or download it again"
        ) from None
    if not model.HasField("graph") or model.ir_version < 1:
        raise ModelError(f"{path}: holds no ONNX graph\n  check that this is a model saved by onnx.save")
    return model


def _opset(model: onnx.ModelProto, where: str) -> int:
    newest = onnx.defs.onnx_opset_version()
    version = 0
    for entry in model.opset_import:
        if entry.domain in _STANDARD:
            version = int(entry.version)
    if not _OLDEST_OPSET <= version <= newest:
        raise ModelError(
            f"{where}: opset {version or 'missing'} of the standard operators, allowed are "
            f"{_OLDEST_OPSET} to {newest}\n  export with opset_version=13"
        )
    return version


def _initializers(graph: onnx.GraphProto, where: str) -> dict[str, np.ndarray]:
    if graph.sparse_initializer:
        raise ModelError(f"{where}: sparse initializers are not read\n  export dense weights")
    constants = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise ModelError(f"{where}: two initializers are named {tensor.name!r}\n  export the model again")
        constants[tensor.name] = read_tensor(tensor, f"initializer {tensor.name!r}", where)
    return constants


def _node(proto: onnx.NodeProto, index: int, where: str, constants: dict[str, np.ndarray]) -> Node | None:
    """Returns a node, or files a Constant node's value among the constants and returns None."""
    name = proto.name or (proto.output[0] if proto.output and proto.output[0] else f"#{index}")
    label = f"{where}: {proto.op_type or 'node'} {name!r}"
    _check_operator(proto, label)
    if not proto.output or not proto.output[0]:
        raise ModelError(f"{label}: has no output\n  export the model again")
    attributes = {a.name: read_attribute(a, label, where) for a in proto.attribute}
    if proto.op_type != "Constant":
        return Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attributes)
    for key, dtype in (("value", None), ("value_float", np.float32), ("value_floats", np.float32),
                       ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
        if key in attributes:
            constants[proto.output[0]] = np.asarray(attributes[key], dtype)
            return None
    raise ModelError(f"{label}: holds none of value, value_float(s), value_int(s)\n  export the model again")


def _check_operator(proto: onnx.NodeProto, label: str) -> None:
    domain, op = proto.domain, proto.op_type
    if domain == _MICROSOFT and op in _MICROSOFT_OPS:
        return
    if domain not in (*_STANDARD, *_QUANTIZED):
        raise ModelError(
            f"{label}: unknown operator domain {domain!r}, known: standard ONNX, {', '.join(_QUANTIZED)}\n"
            f"  export with standard operators or QONNX's"
        )
    if op in OPERATORS or op == "Constant":
        return
    hint = _HINTS.get(op) or nearest(op, OPERATORS)
    raise ModelError(f"{label}: operator {op!r} is not known\n  {hint}")


def _only(values: Sequence[onnx.ValueInfoProto], what: str, where: str) -> onnx.ValueInfoProto:
    if len(values) == 1:
        return values[0]
    names = ", ".join(repr(v.name) for v in values[:4]) or "none"
    raise ModelError(
        f"{where}: the graph has {len(values)} {what}s ({names}), exactly one is allowed\n"
        f"  cut it with onnx.utils.extract_model so that one {what} is left"
    )


def _input_shape(value: onnx.ValueInfoProto, where: str) -> tuple[int, ...]:
    """Returns the shape of one frame; a symbolic batch (axis 0) counts as 1."""
    shape = value.type.tensor_type.shape
    sizes: list[int] = []
    for axis, dim in enumerate(shape.dim):
        fixed = dim.HasField("dim_value")
        if axis == 0 and not fixed and len(shape.dim) > 1:
            sizes.append(1)
        elif not fixed or dim.dim_value < 1:
            got = dim.dim_value if fixed else f"dynamic ({dim.dim_param or 'unnamed'})"
            raise ModelError(
                f"{where}: input {value.name!r}: dimension {axis} is {got}, a fixed positive size is needed\n"
                "  export with fixed shapes; hardware is built for one size"
            )
        else:
            sizes.append(int(dim.dim_value))
    if len(sizes) < 2 or sizes[0] != 1:
        raise ModelError(
            f"{where}: input {value.name!r} has shape {sizes}, allowed is one frame, [1, ...]\n  export with batch size 1"
        )
    if int(np.prod(sizes, dtype=object)) > MAX_ELEMENTS:
        raise ModelError(
            f"{where}: input {value.name!r} of {sizes} exceeds {MAX_ELEMENTS} elements\n  export a smaller image"
        )
    return tuple(sizes)


def _distinct(nodes: Sequence[Node]) -> list[Node]:
    """Gives nodes of one name numbers, as names are optional in ONNX but layers need them."""
    taken: dict[str, int] = {}
    result = []
    for node in nodes:
        taken[node.name] = taken.get(node.name, 0) + 1
        again = taken[node.name] > 1
        result.append(replace(node, name=f"{node.name}#{taken[node.name]}") if again else node)
    return result


def _ordered(nodes: Sequence[Node], given: set[str], result: str, where: str) -> tuple[Node, ...]:
    """Sorts the nodes that the output needs so that each follows its producers."""
    producer: dict[str, Node] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in producer or name in given:
                raise ModelError(
                    f"{where}: {node}: value {name!r} is written twice\n  export the model again"
                )
            producer[name] = node
    order: list[Node] = []
    state: dict[int, int] = {}  # 1: on the path, 2: done
    stack: list[tuple[Node | None, str]] = [(None, result)]
    while stack:
        reader, name = stack.pop()
        if reader is not None and name == "":
            order.append(reader)
            state[id(reader)] = 2
            continue
        if name in given:
            continue
        found = producer.get(name)
        if found is None:
            who = f"{reader}: reads" if reader is not None else "the graph's output is"
            raise ModelError(
                f"{where}: {who} {name!r}, which no node, initializer or input provides\n"
                "  an initializer is missing or a name is misspelt; export the model again"
            )
        if state.get(id(found)) == 1:
            raise ModelError(
                f"{where}: {found}: the graph has a cycle through {name!r}\n  unroll the loop and export again"
            )
        if id(found) not in state:
            state[id(found)] = 1
            stack.append((found, ""))
            stack.extend((found, operand) for operand in found.inputs if operand)
    return tuple(order)
