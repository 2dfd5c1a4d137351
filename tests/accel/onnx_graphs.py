"""Small ONNX graphs for tests, and a float run of any graph that shares no code with lowering.

Numbers in these graphs are small dyadic fractions, so that float32 is exact and results must be equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from foldwright.accel.hostops import evaluate
from foldwright.accel.onnx_import import read_onnx

__all__ = ["Graph", "float_run"]

QONNX = "qonnx.custom_op.general"
_QONNX_OPS = ("Quant", "BipolarQuant", "MultiThreshold", "Trunc", "IntQuant")


class Graph:
    """Collects nodes; every method returns the name of the value it makes."""

    def __init__(self, shape: list[Any], dtype: int = TensorProto.FLOAT, opset: int = 13) -> None:
        self.shape, self.dtype, self.opset = shape, dtype, opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        domain = QONNX if kind in _QONNX_OPS else ""
        self.nodes.append(
            helper.make_node(
                kind, list(inputs), [name], name=f"{kind}_{len(self.nodes)}", domain=domain, **attributes
            )
        )
        return name

    def quant(
        self,
        value: str,
        bits: float,
        scale: Any = 1.0,
        signed: int = 1,
        narrow: int = 0,
        zero: float = 0.0,
        mode: str = "ROUND",
    ) -> str:
        operands = [self.const(scale), self.const(zero), self.const(bits)]
        return self.op("Quant", value, *operands, signed=signed, narrow=narrow, rounding_mode=mode)

    def weights(self, integers: np.ndarray, scale: Any = 1.0, bits: int = 4) -> str:
        return self.quant(self.const(integers * np.asarray(scale)), bits, scale)

    def batch_norm(self, value: str, gamma: Any, beta: Any, mean: Any, var: Any) -> str:
        return self.op(
            "BatchNormalization", value, *(self.const(v) for v in (gamma, beta, mean, var)), epsilon=0.0
        )

    def model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", self.dtype, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(QONNX, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def save(self, folder: Path, output: str) -> Path:
        path = folder / "graph.onnx"
        path.write_bytes(self.model(output).SerializeToString())
        return path


def float_run(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Runs every node of a graph in float, frame by frame."""
    graph = read_onnx(path)
    outputs = []
    for frame in inputs:
        values = {**graph.constants, graph.input_name: frame[None].astype(graph.input_dtype)}
        for node in graph.nodes:
            operands = [values[name] if name else None for name in node.inputs]
            values[node.output] = np.asarray(evaluate(node.op, operands, node.attributes, graph.opset))
        outputs.append(values[graph.output_name])
    return np.concatenate(outputs)
