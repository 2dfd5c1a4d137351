"""The independent referee of allocations: budgets from the cost model's breakdown, feasibility of every layer, in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foldwright.accel.cost import cost_breakdown
from foldwright.accel.datapath import Arithmetic
from foldwright.accel.workload import IMAGE, Layer, ResultKind, WeightKind
from foldwright.errors import IllegalSolutionError

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
    from foldwright.netlists.part import Part

__all__ = ["check_allocation"]


def check_allocation(problem: AllocationProblem, solution: AllocationSolution, part: Part) -> None:
    """Checks a datapath against the instance.

    Raises:
        IllegalSolutionError: with every rule it breaks.
    """
    datapath, layers = solution.datapath, problem.workload.layers
    wrong = []
    if len(datapath.assignment) != len(layers):
        wrong.append(f"{len(datapath.assignment)} layers assigned, the workload has {len(layers)}")
    if list(datapath.assignment) != sorted(datapath.assignment):
        wrong.append(f"assignment {datapath.assignment} is not contiguous")
    if len(datapath.engines) > problem.max_engines:
        wrong.append(f"{len(datapath.engines)} engines, allowed {problem.max_engines}")
    for layer, e in zip(layers, datapath.assignment, strict=False):
        engine = datapath.engines[e]
        if layer.weight_kind is WeightKind.SIGNED and engine.arithmetic is Arithmetic.XNOR:
            wrong.append(f"layer {layer.name!r} has signed weights, engine {e} is XNOR")
        acc_bits = _accumulator_bits(layer, engine.arithmetic)
        if acc_bits > engine.acc_bits:
            wrong.append(
                f"layer {layer.name!r} needs {acc_bits} accumulator bits, engine {e} has {engine.acc_bits}"
            )
        needs = (
            0 if layer.result is not ResultKind.THRESHOLDS or layer.out_bits > 4 else 2**layer.out_bits - 1
        )
        if needs > engine.levels:
            wrong.append(
                f"layer {layer.name!r} needs {needs} thresholds a channel, engine {e} has {engine.levels}"
            )
        window = layer.in_channels * layer.taps * layer.act_bits
        if engine.window_bits and IMAGE in layer.inputs and engine.window_bits < window:
            wrong.append(
                f"engine {e}: the window has {engine.window_bits} bits, layer {layer.name!r} needs {window}"
            )
    lines = cost_breakdown(datapath, part, problem.technology)
    lut, ff = sum(line.lut for line in lines), sum(line.ff for line in lines)
    if lut > problem.lut_budget:
        wrong.append(f"{lut} LUTs, the budget is {problem.lut_budget}")
    if ff > part.budget.ff:
        wrong.append(f"{ff} flip-flops, the part has {part.budget.ff}")
    if wrong:
        raise IllegalSolutionError(f"allocation {problem.name!r}: " + "; ".join(wrong))


def _accumulator_bits(layer: Layer, arithmetic: Arithmetic) -> int:
    """Returns the bits of a signed number as large as the greatest sum of plane products."""
    planes = {WeightKind.BINARY: 1, WeightKind.TERNARY: 2, WeightKind.ODD: layer.weight_bits}
    if arithmetic is Arithmetic.AND:
        planes = {WeightKind.BINARY: 2, WeightKind.TERNARY: 2, WeightKind.ODD: layer.weight_bits + 1}
    weight_span = 2 ** planes.get(layer.weight_kind, layer.weight_bits) - 1
    if layer.weight_kind is WeightKind.TERNARY and arithmetic is Arithmetic.XNOR:
        weight_span = 2
    depth = layer.taps * layer.in_channels // layer.groups
    return int(depth * weight_span * (2**layer.act_bits - 1)).bit_length() + 1
