"""The host's part of a network: graph nodes before and after the accelerator, run in numpy and named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from foldwright.accel.flow import Constant, Host
from foldwright.accel.host_quantizers import QUANTIZERS
from foldwright.accel.hostops import evaluate
from foldwright.accel.onnx_import import Graph, Node
from foldwright.accel.quantops import Grid
from foldwright.accel.walk import Walk

__all__ = ["HostProgram", "program"]

_SILENT = ("Identity", "Dropout")


@dataclass(frozen=True)
class HostProgram:
    """Nodes that make `wanted` out of the given values; `steps` names them for people."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    given: str
    wanted: str
    opset: int
    steps: tuple[str, ...]

    def run(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Computes one frame from the graph's input and the values that the accelerator made."""
        known = {**self.constants, **values}
        for node in self.nodes:
            operands = [known[name] if name else None for name in node.inputs]
            known[node.output] = np.asarray(evaluate(node.op, operands, node.attributes, self.opset))
        return known[self.wanted]


def program(
    graph: Graph,
    lowered: Walk,
    wanted: str,
    given: Collection[str],
    stored: Collection[str],
    grid: Grid | None,
) -> HostProgram:
    """Collects the nodes that make a value out of given values.

    Args:
        grid: the image's, where the program makes the image.
    """
    producers = {node.output: node for node in graph.nodes}
    needed: set[int] = set()
    constants: dict[str, np.ndarray] = {}
    stack, seen = [wanted], set(given)
    while stack:
        value = stack.pop()
        if value in seen or not value:
            continue
        seen.add(value)
        state = lowered.states[value]
        if isinstance(state, Constant):
            constants[value] = state.value
            continue
        needed.add(id(producers[value]))
        stack.extend(producers[value].inputs)
    nodes = tuple(node for node in graph.nodes if id(node) in needed)
    return HostProgram(nodes, constants, graph.input_name, wanted, graph.opset, _names(nodes, lowered, grid))


def _names(nodes: tuple[Node, ...], lowered: Walk, grid: Grid | None) -> tuple[str, ...]:
    names = []
    for node in nodes:
        if node.op in _SILENT:
            continue
        name = str(node)
        if grid is not None and node.op in QUANTIZERS:
            sign = "signed" if grid.low < 0 else "unsigned"
            name += f": {grid.levels + 1} {sign} values of scale {grid.scale:.6g}"
        state = lowered.states[node.output]
        if node.op in ("Conv", "Gemm", "MatMul") and isinstance(state, Host):
            name += f" ({_macs(node, lowered, state):,} multiply-accumulates)"
        names.append(name)
    return tuple(names)


def _macs(node: Node, lowered: Walk, state: Host) -> int:
    weight = lowered.states[node.inputs[1]]
    if not isinstance(weight, Constant):
        return 0
    pixels = state.sample[0, 0].size if node.op == "Conv" else 1
    return int(weight.value.size * pixels)
