"""What a network must be like for a layout, before anything is placed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foldwright.accel.datapath import Datapath
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.stored_tensors import uses_of
from foldwright.accel.workload import IMAGE, ActKind, Layer, PoolKind, ResultKind, Workload

__all__ = ["network_mistakes"]


def network_mistakes(
    workload: Workload, entries: Mapping[str, IntegerLayer], datapath: Datapath
) -> list[str]:
    """Returns what no accelerator does for a network, whatever its engines are like."""
    layers, wrong = workload.layers, list[str]()
    if len(datapath.assignment) != len(layers):
        return [f"the datapath assigns {len(datapath.assignment)} layers, the network has {len(layers)}"]
    for i, (layer, uses) in enumerate(zip(layers, uses_of(layers), strict=True)):
        if IMAGE in layer.inputs[i == 0 :]:
            wrong.append(
                f"layer {layer.name!r} reads the image too; only the first layer may, and only as its input"
            )
        if not uses.readers and i + 1 < len(layers):
            wrong.append(
                f"no layer reads what layer {layer.name!r} makes; only the last layer's results may leave"
            )
        if layer.pool is not None and layer.pool.kind is not PoolKind.MAX:
            wrong.append(f"layer {layer.name!r} ends in an average pooling, which is not built yet")
        if layer.pool is not None and any(
            k > s + 1 for k, s in zip(layer.pool.kernel, layer.pool.stride, strict=True)
        ):
            wrong.append(
                f"layer {layer.name!r} pools {layer.pool.kernel} by {layer.pool.stride}; windows may overlap by one"
            )
        if layer.result is ResultKind.SCALE_SHIFT:
            wrong.append(
                f"layer {layer.name!r} scales and shifts, which is not built yet; lower with thresholds"
            )
        if layer.result is ResultKind.RAW and i + 1 < len(layers):
            wrong.append(f"layer {layer.name!r} leaves raw accumulators to another layer")
        if len(layer.inputs) > 1 and layer.inputs[1] != IMAGE:
            wrong += _add_mistakes(entries[layer.name], layers[workload.index[layer.inputs[1]]])
    return wrong


def _add_mistakes(entry: IntegerLayer, added: Layer) -> Iterator[str]:
    """Yields why a layer's results and another's cannot be added as codes."""
    layer = entry.layer
    where = f"layer {layer.name!r} adds what {added.name!r} makes"
    have = (added.out_channels, added.stored_height, added.stored_width)
    need = (layer.out_channels, layer.out_height, layer.out_width)
    if have != need:
        yield f"{where}: {have} channels, rows and columns to {need}"
    if layer.result is ResultKind.RAW:
        yield f"{where} to raw accumulators; only results of thresholds can be added to"
    elif added.out_kind is ActKind.BIPOLAR or entry.step != 1:
        yield f"{where}, in steps of two; only integers in steps of one can be added, so quantize to two bits or more"
