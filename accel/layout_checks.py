"""What a network must be like for a layout, before anything is placed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foldwright.accel.datapath import MAX_BUILT_ENGINES, Datapath
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.scaling import requant_mistake
from foldwright.accel.stored_tensors import uses_of
from foldwright.accel.workload import IMAGE, ActKind, Layer, ResultKind, Workload

__all__ = ["network_mistakes"]


def network_mistakes(
    workload: Workload, entries: Mapping[str, IntegerLayer], datapath: Datapath
) -> list[str]:
    """Returns what no accelerator does for a network, whatever its engines are like."""
    layers, wrong = workload.layers, list[str]()
    entries = {name: entry.in_unit_steps() for name, entry in entries.items()}
    if len(datapath.assignment) != len(layers):
        return [f"the datapath assigns {len(datapath.assignment)} layers, the network has {len(layers)}"]
    if len(datapath.engines) > MAX_BUILT_ENGINES:
        return [
            f"the datapath has {len(datapath.engines)} engines, an accelerator is built of at most {MAX_BUILT_ENGINES}"
        ]
    for i, (layer, uses) in enumerate(zip(layers, uses_of(layers), strict=True)):
        if IMAGE in layer.inputs[i == 0 :]:
            wrong.append(
                f"layer {layer.name!r} reads the image too; only the first layer may, and only as its input"
            )
        if not uses.readers and i + 1 < len(layers):
            wrong.append(
                f"no layer reads what layer {layer.name!r} makes; only the last layer's results may leave"
            )
        if layer.pool is not None and any(
            k > s + 1 for k, s in zip(layer.pool.kernel, layer.pool.stride, strict=True)
        ):
            wrong.append(
                f"layer {layer.name!r} pools {layer.pool.kernel} by {layer.pool.stride}; windows may overlap by one"
            )
        in_steps = entries[layer.name].step != 1 and layer.out_kind is not ActKind.BIPOLAR
        if in_steps and layer.result is ResultKind.SCALE_SHIFT:
            wrong.append(
                f"layer {layer.name!r} scales and shifts to results in steps of {entries[layer.name].step}, which two's "
                "complement does not store; lower with requant=thresholds"
            )
        if mistake := requant_mistake(layer, datapath.engines[datapath.assignment[i]]):
            wrong.append(mistake)
        if layer.pool is not None and layer.result is ResultKind.RAW:
            wrong.append(
                f"layer {layer.name!r} pools raw accumulators; only results of thresholds are pooled, so quantize them"
            )
        if layer.averages and layer.result is not ResultKind.RAW:
            added = layers[workload.index[layer.inputs[1]]] if _adds_layer(layer) else None
            wrong += _average_mistakes(entries[layer.name], added)
            engine, need = datapath.engines[datapath.assignment[i]], layer.out_bits
            if not uses.readers:  # the host counts sums from 0 on
                need = max(need, _highest_sum(entries[layer.name], added).bit_length())
            if need > engine.sum_bits:
                wrong.append(
                    f"layer {layer.name!r} averages in sums of {need} bits, engine {engine.shape} has "
                    f"sum_bits={engine.sum_bits}; give it {need}"
                )
        if layer.result is ResultKind.RAW and i + 1 < len(layers):
            wrong.append(f"layer {layer.name!r} leaves raw accumulators to another layer")
        if _adds_layer(layer):
            wrong += _add_mistakes(entries[layer.name], layers[workload.index[layer.inputs[1]]])
    return wrong


def _adds_layer(layer: Layer) -> bool:
    return len(layer.inputs) > 1 and layer.inputs[1] != IMAGE


def _average_mistakes(entry: IntegerLayer, added: Layer | None) -> Iterator[str]:
    """Yields why a layer's results cannot be summed as codes, `added` being what is added to them before."""
    layer, pool = entry.layer, entry.layer.pool
    assert pool is not None
    lowest = entry.base
    if added is not None and added.out_kind is ActKind.SIGNED:
        lowest -= 1 << added.out_bits - 1
    if entry.step != 1 and pool.area > 1:
        yield (
            f"layer {layer.name!r} averages results in steps of {entry.step}; only integers in steps of one are summed, so "
            "quantize to two bits or more"
        )
    if any(pool.padding) and lowest:
        yield (
            f"layer {layer.name!r} averages over padding results that begin at {lowest}, as which a padded pixel would count; "
            "pad only where the lowest result is 0"
        )


def _highest_sum(entry: IntegerLayer, added: Layer | None) -> int:
    """Returns the largest sum of codes over a window."""
    pool = entry.layer.pool
    assert pool is not None
    return pool.area * (entry.levels + ((1 << added.out_bits) - 1 if added is not None else 0))


def _add_mistakes(entry: IntegerLayer, added: Layer) -> Iterator[str]:
    """Yields why a layer's results and another's cannot be added as codes."""
    layer = entry.layer
    where = f"layer {layer.name!r} adds what {added.name!r} makes"
    have = (added.out_channels, added.stored_height, added.stored_width)
    need = (layer.out_channels, layer.out_height, layer.out_width)
    if have != need:
        yield f"{where}: {have} channels, rows and columns to {need}"
    if layer.result is ResultKind.RAW:
        yield f"{where} to raw accumulators; only codes can be added to"
    elif added.out_kind is ActKind.BIPOLAR or entry.step != 1:
        yield f"{where}, in steps of two; only integers in steps of one can be added, so quantize to two bits or more"
