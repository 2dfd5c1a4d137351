"""What every rule of lowering needs: the states so far, stored flows, the image, host values, extra passes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from foldwright.accel import macs
from foldwright.accel.flow import Constant, Flow, Host, Mac, State
from foldwright.accel.hostops import evaluate
from foldwright.accel.onnx_import import Graph, Node
from foldwright.accel.quantops import Grid
from foldwright.accel.view import View

__all__ = ["Walk"]


class Walk:
    """The state of every value of a graph, and how many nodes read it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.states: dict[str, State] = {}
        self.readers = Counter(name for node in graph.nodes for name in node.inputs)
        self.readers[graph.output_name] += 1
        for name, value in graph.constants.items():
            self.states[name] = Constant(value)
        self.states[graph.input_name] = self._input()

    def _input(self) -> State:
        graph = self.graph
        sample = np.zeros(graph.input_shape, graph.input_dtype)
        if graph.input_dtype.kind == "f" or graph.input_dtype.itemsize > 2:
            return Host(sample, late=False)
        info = np.iinfo(graph.input_dtype)
        return self.image(graph.input_name, graph.input_shape, Grid(1.0, int(info.min), int(info.max)))

    @staticmethod
    def image(name: str, shape: tuple[int, ...], grid: Grid) -> Flow:
        """Returns the network's input as the accelerator reads it: (1, C, H, W), or a row."""
        spatial = shape[1:] if len(shape) <= 4 else (int(np.prod(shape[1:])),)
        channels, height, width = (*spatial, 1, 1)[:3]
        chw = (channels, height, width)
        return Flow(name, View(chw, shape), grid=grid.normalized(), image=True)

    def flow(self, name: str) -> Flow:
        """Returns a flow as its next reader meets it: one that several read on a grid is stored once."""
        flow = self.states[name]
        assert isinstance(flow, Flow)
        if isinstance(flow.origin, Mac) and self.readers[name] > 1 and flow.grid is not None:
            return Flow(name, flow.view, grid=flow.grid, padding=flow.padding)
        return flow

    def sample(self, name: str) -> np.ndarray | None:
        """Returns a value of the right shape and type, as zeros at the input would give it."""
        if not name:
            return None
        state = self.states[name]
        if isinstance(state, Flow):
            return np.zeros(state.view.shape, np.float32)
        return state.sample if isinstance(state, Host) else state.value

    def host(self, node: Node) -> Host:
        """Returns a node's value as computed on the host; this also checks that the host can."""
        states = [self.states[name] for name in node.inputs if name]
        late = any((isinstance(s, Host) and s.late) or (isinstance(s, Flow) and not s.image) for s in states)
        sample = evaluate(node.op, [self.sample(n) for n in node.inputs], node.attributes, self.graph.opset)
        return Host(np.asarray(sample), late)

    def constant(self, name: str) -> np.ndarray | None:
        """Returns a value where it is constant."""
        state = self.states.get(name)
        return state.value if isinstance(state, Constant) else None

    def image_at(self, node: Node, flow: Flow, view: View, grid: Grid) -> Flow:
        """The image moves behind a node that the host can do without leaving the grid."""
        return replace(flow, origin=node.output, view=view, grid=grid.normalized())

    def identity(self, node: Node, name: str, flow: Flow) -> Flow | None:
        """A pass that reads the stored value again, for a result path of its own; None where it is not stored."""
        if any(flow.padding):
            return None
        if flow.grid is not None:
            return macs.identity(node.name, name, flow)
        if not isinstance(flow.origin, Mac) or flow.pool is None or not all(s.increasing for s in flow.steps):
            return None
        # a maximum over values that rise with the accumulator: store raw maxima and go on from those
        raw, mac = f"{name}#raw", flow.origin
        grid = Grid(1.0, int(mac.acc_min.min()), int(mac.acc_max.max()))
        stored = replace(flow, steps=(), grid=grid, levels=grid, bare=True)
        self.states[raw] = stored
        return replace(
            macs.identity(node.name, raw, stored), steps=flow.steps, grid=None, levels=None, why=flow.why
        )

    @property
    def has_layers(self) -> bool:
        """True once a product has been found that the accelerator runs."""
        return any(isinstance(s, Flow) and isinstance(s.origin, Mac) for s in self.states.values())
