"""Files that are not sound ONNX models end in a message, whatever is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from foldwright.accel.network import load_network
from foldwright.accel.onnx_import import read_onnx
from foldwright.errors import FoldwrightError, ModelError
from tests.accel.onnx_graphs import Graph


def _sound() -> onnx.ModelProto:
    g = Graph([1, 2, 6, 6])
    weights = g.weights(np.arange(-9, 9).reshape(1, 2, 3, 3) % 7 - 3)
    bn = g.batch_norm(g.op("Conv", g.quant("x", 4), weights, pads=[1, 1, 1, 1]), [1.5], [0.5], [1], [4])
    return g.model(
        g.op("MaxPool", g.quant(g.op("Relu", bn), 2, signed=0), kernel_shape=[2, 2], strides=[2, 2])
    )


def test_a_sound_file_is_read_in_execution_order(tmp_path: Path) -> None:
    model = _sound()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = tmp_path / "backwards.onnx"
    path.write_bytes(model.SerializeToString())
    graph = read_onnx(path)
    known = {graph.input_name, *graph.constants}
    for node in graph.nodes:
        assert known.issuperset(filter(None, node.inputs))
        known.update(node.outputs)
    assert (graph.input_shape, str(graph.input_dtype), graph.opset) == ((1, 2, 6, 6), "float32", 13)
    assert load_network(path).workload.layers[0].pool is not None


def test_a_symbolic_batch_counts_as_one_frame(tmp_path: Path) -> None:
    model = _sound()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    path = tmp_path / "batch.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_network(path).run(np.ones((3, 2, 6, 6))).shape == (3, 1, 3, 3)


def test_nodes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    model = _sound()
    for node in model.graph.node:
        node.name = "same"
    path = tmp_path / "same.onnx"
    path.write_bytes(model.SerializeToString())
    names = [node.name for node in read_onnx(path).nodes]
    assert len(set(names)) == len(names)


def _truncated(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString()[:-20])


def _bytes(content: bytes) -> Callable[[onnx.ModelProto], bytes]:
    return lambda model: content


def _dim(axis: int, value: int | str | None) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        if isinstance(value, int):
            dim.dim_value = value
        elif value is not None:
            dim.dim_param = value

    return change


def _node(index: int, **fields: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for field, value in fields.items():
            setattr(model.graph.node[index], field, value)

    return change


def _opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def _drop_initializer(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _negative_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


def _huge_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**40]


def _short_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer[4].raw_data = b"123"


def _nan(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32("nan"), "c0"))


def _strings(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(helper.make_tensor("c0", TensorProto.STRING, [1], [b"a"]))


def _two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("v0", TensorProto.FLOAT, None))


def _no_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def _twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[-1])


def _functions(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="mine")


def _subgraph(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute.append(helper.make_attribute("body", helper.make_graph([], "g", [], [])))


def _not_utf8(model: onnx.ModelProto) -> bytes:
    """Names that are not UTF-8: protobuf raises UnicodeDecodeError for them, and only when they are read."""
    return bytes(
        model.SerializeToString().replace(b"Conv_4", b"Conv\xff\xfe").replace(b"MaxPool", b"MaxP\xff\xfel")
    )


BAD = [
    ("ends in the middle", _truncated, "truncated or damaged"),
    ("text", _bytes(b"hello, world: not a model\n" * 9), "not an ONNX file"),
    ("empty", _bytes(b""), "is empty"),
    ("a zip archive", _bytes(b"PK\x03\x04" + bytes(60)), "is a zip archive"),
    (
        "a protobuf without a graph",
        _bytes(onnx.ModelProto(ir_version=8).SerializeToString()),
        "no ONNX graph",
    ),
    ("names that are not text", _not_utf8, "name that is not UTF-8"),
    ("a negative dimension", _dim(2, -6), r"input 'x': dimension 2 is -6"),
    ("a dimension of zero", _dim(1, 0), r"input 'x': dimension 1 is 0"),
    ("a dynamic height", _dim(2, "height"), r"dimension 2 is dynamic \(height\)"),
    ("an unnamed dynamic width", _dim(3, None), r"dimension 3 is dynamic \(unnamed\)"),
    ("a batch of eight", _dim(0, 8), r"shape \[8, 2, 6, 6\], allowed is one frame"),
    ("an image of 2^40 pixels", _dim(3, 2**40), "exceeds 67108864 elements"),
    (
        "a misspelt operator",
        _node(2, op_type="Convv"),
        r"Convv 'Conv_2': operator 'Convv' is not known\n.*'Conv'",
    ),
    ("an operator of another form", _node(2, op_type="QLinearConv"), r"QLinearConv 'Conv_2'.*\n.*QDQ form"),
    ("control flow", _node(2, op_type="Loop"), r"Loop 'Conv_2'.*\n.*control flow"),
    ("a foreign domain", _node(2, domain="my.ops"), r"unknown operator domain 'my.ops', known"),
    ("an old opset", _opset(5), r"opset 5 .* allowed are 7 to"),
    ("an opset of the future", _opset(999), r"opset 999 "),
    ("a missing initializer", _drop_initializer, r"reads 'c0', which no node, initializer or input provides"),
    ("a cycle", _cycle, r"the graph has a cycle"),
    ("data in another file", _external, r"initializer 'c0' keeps its data in another file"),
    (
        "an initializer of negative size",
        _negative_initializer,
        r"initializer 'c0' has a negative dimension \[-1\]",
    ),
    ("an initializer of 2^80 elements", _huge_initializer, r"initializer 'c0' declares"),
    ("an initializer without its data", _short_initializer, r"initializer 'c4' of shape \[.*\] is damaged"),
    ("NaN", _nan, r"initializer 'c0' holds NaN"),
    ("text as weights", _strings, r"initializer 'c0' holds no numbers"),
    ("two outputs", _two_outputs, r"the graph has 2 outputs \('v\d+', 'v0'\), exactly one"),
    ("no nodes", _no_nodes, r"no nodes"),
    ("a value written twice", _twice, r"is written twice"),
    ("local functions", _functions, r"1 model-local functions\n.*inline"),
    ("a subgraph as an attribute", _subgraph, r"attribute 'body' is a subgraph"),
]


@pytest.mark.parametrize(("reason", "change", "says"), BAD, ids=[row[0] for row in BAD])
def test_bad_files_end_in_a_message(
    reason: str, change: Callable[[onnx.ModelProto], bytes | None], says: str, tmp_path: Path
) -> None:
    model = _sound()
    content = change(model)
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.SerializeToString() if content is None else content)
    with pytest.raises(ModelError, match=says) as caught:
        load_network(path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(str(path))
    assert 2 <= len(lines) < 10  # what is wrong, then what to do


def test_folders_and_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        load_network(tmp_path)
    with pytest.raises(ModelError, match="no such file"):
        load_network(tmp_path / "absent.onnx")


def test_a_file_over_the_limit_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # sparse: it takes no room
    with pytest.raises(ModelError, match="more than the 268435456 allowed"):
        load_network(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_end_in_anything_but_our_errors(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(_sound().SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with contextlib.suppress(FoldwrightError):
        network = load_network(path)
        network.run(np.zeros((1, *network.input_shape[1:])))
