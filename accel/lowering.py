"""Walks an ONNX graph once and says what each value is: constant, on the host, or computed by the accelerator.

The rules, in the order in which they are tried:

- a node of constants only is folded;
- values before the first quantizer are computed on the host; a quantizer over them makes the image;
- Reshape, Flatten, Squeeze, Transpose change the view of a stored tensor, zero Pad waits for its convolution;
- Conv, Gemm and MatMul with quantized weights start an accumulator;
- monotone elementwise operators and quantizers join the thresholds of the accumulator before them;
- Add of two tensors of one scale is a residual add; pooling is fused behind the result, or is a pass of its own;
- anything else is a host step after the accelerator.

What neither side can do is an error that names the node. Layers are emitted later, by `foldwright.accel.emit`,
and only those that the output needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from foldwright.accel import macs
from foldwright.accel.constants import MOVES, fold, weights_of
from foldwright.accel.elementwise import step_of
from foldwright.accel.flow import Constant, Flow, Host, Mac, State
from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.host_quantizers import QUANTIZERS
from foldwright.accel.hostops import OPERATORS, evaluate
from foldwright.accel.onnx_import import Graph, Node
from foldwright.accel.quantops import Grid
from foldwright.accel.view import View
from foldwright.accel.walk import Walk
from foldwright.accel.windows import Geometry, pool_geometry
from foldwright.accel.workload import Pool, PoolKind

__all__ = ["lower"]

_MACS = ("Conv", "Gemm", "MatMul")
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean")
_REMEDY = "export this node in a supported form, or leave it out of the graph"
_REMEDY = "export this node in a supported form, or leave it out of the graph"
_PUT_QUANT = "put a Quant (QONNX) or QuantizeLinear and DequantizeLinear (ONNX) on it in the training tool and export again"


def lower(graph: Graph) -> Walk:
    """Returns the state of every value of a graph.

    Raises:
        ModelError: a node can run neither on the accelerator nor on the host.
    """
    walk = _Rules(graph)
    for node in graph.nodes:
        try:
            walk.states[node.output] = walk.visit(node)
        except UnsupportedFormError as error:
            graph.fail(node, str(error), _REMEDY)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            graph.fail(node, f"its operands or attributes do not fit it: {str(error)[:120]}", _REMEDY)
    return walk


class _Rules(Walk):
    """One method per rule."""

    # --- dispatch --------------------------------------------------------------------------------------------

    def visit(self, node: Node) -> State:
        self._check_outputs(node)
        operands = [self.states[name] if name else None for name in node.inputs]
        constants = [s for s in operands if isinstance(s, Constant)]
        if len(constants) == sum(s is not None for s in operands):
            return fold(node, [s if isinstance(s, Constant) else None for s in operands], self.graph.opset)
        if node.op == "Shape":
            return self._shape_of(node)
        first = operands[0]
        if node.op in _MACS:
            return self._product(node)
        flows = [s for s in operands if isinstance(s, Flow)]
        if not flows:
            return self._quantized_image(node) if node.op in QUANTIZERS else self.host(node)
        if len(flows) == 2 and node.op == "Add":
            return self._residual(node)
        if len(flows) > 1 or any(isinstance(s, Host) for s in operands):
            return self.host(node)
        handler = self._handler(node.op)
        result = handler(node) if isinstance(first, Flow) or handler == self._elementwise else None
        return self.host(node) if result is None else result

    def _handler(self, op: str) -> Callable[[Node], State | None]:
        if op in MOVES:
            return self._move
        if op == "Pad":
            return self._pad
        return self._pool if op in _POOLS else self._elementwise

    def _check_outputs(self, node: Node) -> None:
        for name in node.outputs[1:]:
            if name and self.readers[name]:
                self.graph.fail(
                    node, f"its output {name!r} is read; only first outputs are known", "export without it"
                )

    def _shape_of(self, node: Node) -> Constant:
        state = self.states[node.inputs[0]]
        sample = (
            state.sample
            if isinstance(state, Host)
            else np.broadcast_to(np.float32(0), self.flow(node.inputs[0]).view.shape)
        )
        return Constant(evaluate("Shape", [sample], node.attributes, self.graph.opset))

    # --- host ------------------------------------------------------------------------------------------------

    def _quantized_image(self, node: Node) -> State:
        """A quantizer over a value of the host makes the image, unless the accelerator has run before it."""
        host = self.host(node)
        constants = [self.states[n] if n else None for n in node.inputs[1:]]
        if host.late or any(s is not None and not isinstance(s, Constant) for s in constants):
            return host
        shape = host.sample.shape
        if len(shape) < 2 or shape[0] != 1:
            return host
        flow = self.image(node.output, shape, Grid(1.0, 0, 1))
        values = [s.value if isinstance(s, Constant) else None for s in constants]
        step = step_of(node, [None, *values], flow.view, None, self.graph.opset)
        if step is None or step.grid is None:
            reason = step.why if step is not None else "it is not a quantizer of one scale"
            self.graph.fail(
                node, f"cannot quantize the image: {reason}", "use one scale and zero point for the image"
            )
        return replace(flow, grid=step.grid.normalized())

    def _is_last_product(self, node: Node) -> bool:
        """True where no product follows, so that the rest of the network is small enough for the host."""
        reached = {node.output}
        for other in self.graph.nodes:
            if reached.intersection(other.inputs):
                reached.update(other.outputs)
                if other.op in _MACS:
                    return False
        return self.has_layers

    # --- products --------------------------------------------------------------------------------------------

    def _product(self, node: Node) -> State:
        data, weight = self.states[node.inputs[0]], self.states[node.inputs[1]]
        if not isinstance(data, Flow) or not isinstance(weight, Constant):
            return self.host(node)
        flow, weights = self.flow(node.inputs[0]), weights_of(weight)
        if weights is None and self._is_last_product(node):
            return self.host(node)
        if weights is None or flow.grid is None:
            if weights is None:
                self.graph.fail(node, f"its weights {node.inputs[1]!r} are float, not quantized", _PUT_QUANT)
            self.graph.fail(node, f"its input {node.inputs[0]!r} is not quantized: {flow.why}", _PUT_QUANT)
        bias = self.states.get(node.operand(2)) if node.op != "MatMul" else None
        if bias is not None and not isinstance(bias, Constant):
            self.graph.fail(
                node, f"its bias {node.operand(2)!r} is not constant", "export with a constant bias"
            )
        build = macs.convolution if node.op == "Conv" else macs.matrix_product
        return build(node, node.name, flow, weights, bias.value if isinstance(bias, Constant) else None)

    # --- result path -----------------------------------------------------------------------------------------

    def _elementwise(self, node: Node) -> State | None:
        name = next(n for n in node.inputs if n and isinstance(self.states[n], Flow))
        flow = self.flow(name)
        values = [self.constant(n) for n in node.inputs]
        step = step_of(node, values, flow.view, flow.grid, self.graph.opset)
        if step is None:
            return None
        if flow.image:
            grid = step.after(flow.grid)
            if grid is None or step.quantizes:
                return self._quantized_image(node) if step.quantizes else None
            return self.image_at(node, flow, flow.view, grid)
        extended = flow.extended(step)
        if extended is not None:
            return extended
        passed = self.identity(node, name, flow)
        return None if passed is None else passed.extended(step)

    def _residual(self, node: Node) -> State:
        names = node.inputs[0], node.inputs[1]
        flows = self.flow(names[0]), self.flow(names[1])
        reason = self._cannot_add(flows, names)
        if reason:
            if self._is_last_product(node):
                return self.host(node)
            self.graph.fail(
                node, reason, "quantize both branches before the Add with one shared scale and export again"
            )
        if all(f.image for f in flows):
            return self.host(node)
        main = max(range(2), key=lambda i: self._order(flows[i]))
        flow, other = flows[main], names[1 - main]
        if not (flow.is_open and flow.pool is None):
            passed = self.identity(node, names[main], flow)
            assert passed is not None
            flow = passed
        assert flow.grid is not None
        other_grid = flows[1 - main].grid
        assert other_grid is not None
        return replace(flow, residual=other, grid=flow.grid.plus(other_grid), bare=False)

    def _cannot_add(self, flows: tuple[Flow, Flow], names: tuple[str, str]) -> str:
        """Returns why two flows cannot be added in integers; empty where they can."""
        for flow, name in zip(flows, names, strict=True):
            if flow.grid is None:
                return f"operand {name!r} is not quantized: {flow.why}"
            if flow.view.order is not None or any(flow.padding):
                return f"operand {name!r} is not in stored order"
        left, right = flows
        if left.view.chw != right.view.chw or left.view.shape != right.view.shape:
            return f"it adds shapes {list(left.view.shape)} and {list(right.view.shape)}"
        assert left.grid is not None
        assert right.grid is not None
        if left.grid.plus(right.grid) is None:
            return f"it adds scale {left.grid.scale:.6g} to scale {right.grid.scale:.6g}; integers add only at one scale"
        return ""

    def _order(self, flow: Flow) -> int:
        """Rank for choosing which operand's pass does the add: an open one, the later the better."""
        if not flow.is_open or flow.pool is not None:
            return -1
        assert isinstance(flow.origin, Mac)
        return next(i for i, n in enumerate(self.graph.nodes) if n.name == flow.origin.name)

    # --- shapes and pooling ----------------------------------------------------------------------------------

    def _move(self, node: Node) -> State | None:
        flow = self.flow(node.inputs[0])
        if any(flow.padding):
            return None
        rest = [self.constant(n) for n in node.inputs[1:]]
        attributes = {**node.attributes, "_opset": self.graph.opset}
        view = flow.view.moved(lambda x: OPERATORS[node.op]([x, *rest], attributes))
        if not view.shape or view.shape[0] != 1:
            return None
        if flow.image and self.readers[node.inputs[0]] == 1:
            assert flow.grid is not None
            return self.image(node.output, view.shape, flow.grid)
        return replace(flow, view=view)

    def _pad(self, node: Node) -> State | None:
        flow = self.flow(node.inputs[0])
        pads = self.constant(node.operand(1))
        amounts = list(node.attributes.get("pads", [])) if pads is None else [int(p) for p in pads.ravel()]
        value = self.constant(node.operand(2))
        fill = (
            node.attributes.get("value", 0.0)
            if value is None or not value.size
            else float(value.reshape(-1)[0])
        )
        constant = node.attributes.get("mode", "constant") == "constant" and node.operand(3) == ""
        if (
            not constant
            or fill != 0
            or len(amounts) != 8
            or any(amounts[i] for i in (0, 1, 4, 5))
            or min(amounts) < 0
        ):
            return None
        if not flow.view.is_map or flow.grid is None:
            return None
        self.host(node)  # checks the size
        old = flow.padding
        padding = (old[0] + amounts[2], old[1] + amounts[3], old[2] + amounts[6], old[3] + amounts[7])
        return replace(flow, padding=padding)

    def _pool(self, node: Node) -> State | None:
        name = node.inputs[0]
        flow, attributes = self.flow(name), self._window(node)
        if attributes is None or not flow.view.is_map or any(flow.padding):
            return None
        geometry = pool_geometry(flow.view.shape, attributes)
        if geometry.dilation != (1, 1):
            return None
        if node.op in ("MaxPool", "GlobalMaxPool"):
            return self._max_pool(node, name, flow, geometry)
        counts_padding = bool(attributes.get("count_include_pad", 0)) and not attributes.get("ceil_mode", 0)
        return self._mean_pool(node, name, flow, geometry, counts_padding)

    def _window(self, node: Node) -> dict[str, object] | None:
        """Returns a pooling node's attributes with its window; None where it is not a pooling of maps."""
        if node.op in ("MaxPool", "AveragePool"):
            return dict(node.attributes)
        flow = self.flow(node.inputs[0])
        if node.op == "ReduceMean":
            axes = self.constant(node.operand(1))
            wanted = (
                tuple(node.attributes.get("axes", ()))
                if axes is None
                else tuple(int(a) for a in axes.ravel())
            )
            if (
                {a % 4 for a in wanted} != {2, 3}
                or not node.attributes.get("keepdims", 1)
                or len(flow.view.shape) != 4
            ):
                return None
        return {"kernel_shape": flow.view.chw[1:]}

    def _pooled_view(self, flow: Flow, geometry: Geometry) -> View:
        return View.of((flow.view.chw[0], *geometry.out_size))

    def _max_pool(self, node: Node, name: str, flow: Flow, geometry: Geometry) -> State | None:
        view = self._pooled_view(flow, geometry)
        if flow.image:
            assert flow.grid is not None
            return self.image_at(node, flow, view, flow.grid)
        if not isinstance(flow.origin, Mac) or flow.pool is not None:
            passed = self.identity(node, name, flow)
            if passed is None:
                return None
            flow = passed
        pool = _pool_of(PoolKind.MAX, geometry)
        return replace(flow, pool=pool, view=view, bare=False)

    def _mean_pool(
        self, node: Node, name: str, flow: Flow, geometry: Geometry, counts_padding: bool
    ) -> State | None:
        grid = flow.grid
        if grid is None or (any(geometry.padding) and (not counts_padding or grid.offset != 0)):
            return None
        view, count = self._pooled_view(flow, geometry), geometry.kernel[0] * geometry.kernel[1]
        summed = grid.summed(count, any(geometry.padding))
        if flow.image:
            return replace(flow, origin=node.output, view=view, grid=summed)
        if not isinstance(flow.origin, Mac) or flow.pool is not None:
            return macs.sum_pool(node.name, name, flow, geometry.kernel, geometry.stride, geometry.padding)
        pool = _pool_of(PoolKind.AVERAGE, geometry)
        return replace(flow, pool=pool, view=view, grid=summed, bare=False)


def _pool_of(kind: PoolKind, geometry: Geometry) -> Pool:
    """Returns a pooling; the only window along an axis has no next one that could overlap with it."""
    sizes = zip(geometry.kernel, geometry.stride, geometry.out_size, strict=True)
    height, width = (max(k, s) if size == 1 else s for k, s, size in sizes)
    return Pool(kind, geometry.kernel, (height, width), geometry.padding)
