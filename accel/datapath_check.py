"""The independent referee of datapaths: what each layer asks of its engine and what the budgets allow, in plain Python."""

from __future__ import annotations

from foldwright.accel.cost import cost_breakdown, dsp_slices
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.workload import IMAGE, Layer, ResultKind, WeightKind, Workload
from foldwright.netlists.part import Part

__all__ = ["datapath_mistakes"]

_WIDEST_THRESHOLDS = 4  # bits; wider results leave by scale and shift
_WIDEST_CODES = 8


def datapath_mistakes(
    workload: Workload, datapath: Datapath, part: Part, lut_budget: int, technology: str = ""
) -> list[str]:
    """Returns every rule that a datapath breaks, as sentences; block RAMs are a schedule's business."""
    wrong = []
    if len(datapath.assignment) != len(workload.layers):
        wrong.append(f"{len(datapath.assignment)} layers assigned, the workload has {len(workload.layers)}")
    for layer, e in zip(workload.layers, datapath.assignment, strict=False):
        wrong += [f"engine {e}: {mistake}" for mistake in _layer_mistakes(layer, datapath.engines[e])]
    needs = _store_words(workload, datapath)
    if datapath.store_words < needs:
        wrong.append(f"the store holds {datapath.store_words} results, two rounds need {needs}")
    lines = cost_breakdown(datapath, part, technology)
    lut, ff = sum(line.lut for line in lines), sum(line.ff for line in lines)
    if lut > lut_budget:
        wrong.append(f"{lut} LUTs, the budget is {lut_budget}")
    if ff > part.budget.ff:
        wrong.append(f"{ff} flip-flops, the part has {part.budget.ff}")
    slices = dsp_slices(datapath, part, technology)
    if slices > part.budget.dsp:
        wrong.append(f"{slices} DSP slices, the part has {part.budget.dsp}")
    return wrong


def _store_words(workload: Workload, datapath: Datapath) -> int:
    """Returns the results of two rounds on their way to DRAM; a result is a block of the lanes that leave together."""
    layer, engine = workload.layers[-1], datapath.engines[datapath.assignment[-1]]
    blocks = layer.groups * -(-layer.out_channels // layer.groups // engine.dm)
    lanes = engine.drain_lanes if engine.lanes is LaneMode.BATCH else 1
    groups = datapath.batch_frames // engine.dn * -(-engine.dn // lanes)
    groups += -(-(datapath.batch_frames % engine.dn) // lanes)
    each = groups if engine.lanes is LaneMode.BATCH else datapath.batch_frames
    return int(2 * blocks * layer.stored_height * layer.stored_width * each)


def _layer_mistakes(layer: Layer, engine: Engine) -> list[str]:
    wrong = []
    if layer.weight_kind is WeightKind.SIGNED and engine.arithmetic is Arithmetic.XNOR:
        wrong.append(f"layer {layer.name!r} has signed weights, the engine is XNOR")
    acc_bits = _accumulator_bits(layer, engine.arithmetic)
    if acc_bits > engine.acc_bits:
        wrong.append(f"layer {layer.name!r} needs {acc_bits} accumulator bits, has {engine.acc_bits}")
    widest = {
        ResultKind.THRESHOLDS: _WIDEST_THRESHOLDS,
        ResultKind.SCALE_SHIFT: _WIDEST_CODES,
        ResultKind.RAW: 0,
    }
    needs = 2**layer.search_bits - 1 if layer.search_bits <= widest[layer.result] else 0
    if needs > engine.levels:
        wrong.append(f"layer {layer.name!r} needs {needs} levels a channel, has {engine.levels}")
    if layer.result is not ResultKind.RAW and layer.result.value != engine.requant.value:
        wrong.append(
            f"layer {layer.name!r} has results by {layer.result.value}, the engine by {engine.requant.value}"
        )
    if layer.averages and layer.out_bits > engine.sum_bits:
        wrong.append(
            f"layer {layer.name!r} needs {layer.out_bits} bits for a pooled sum, has {engine.sum_bits}"
        )
    window = layer.in_channels * layer.taps * layer.act_bits
    if engine.window_bits and IMAGE in layer.inputs and engine.window_bits < window:
        wrong.append(f"layer {layer.name!r} needs a window of {window} bits, has {engine.window_bits}")
    return wrong


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
