"""Random chains of integer layers with exact references: what generated hardware is tried on.

Weights, thresholds, paddings, strides, groups and poolings are random; every accumulator range is exact and thresholds
lie where codes vary. A `RandomNetwork` has what layout, export and comparison need of a network, and no ONNX file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.layers import IntegerLayer, LayerTrace
from foldwright.accel.workload import (
    IMAGE,
    ActKind,
    Layer,
    LayerKind,
    Pool,
    PoolKind,
    ResultKind,
    WeightKind,
    Workload,
)

__all__ = ["FirstLayer", "RandomNetwork", "random_entry", "random_network"]

Int64s = npt.NDArray[np.int64]
_KERNELS = (1, 2, 3, 3, 4, 5, 7)


@dataclass(frozen=True, eq=False)
class RandomNetwork:
    """A chain of layers; `layers` by name, in order."""

    name: str
    workload: Workload
    layers: Mapping[str, IntegerLayer]

    def random_image(self, frames: int, rng: np.random.Generator) -> Int64s:
        """Returns stored images, int64 (frames, C, H, W)."""
        w = self.workload
        low, high = _range_of(w.image_kind, w.image_bits)
        values = rng.integers(low, high + 1, (frames, w.image_channels, w.image_height, w.image_width))
        return np.where(values < 0, -1, 1) if w.image_kind is ActKind.BIPOLAR else values

    def integer_tensors(self, image: np.ndarray) -> dict[str, LayerTrace]:
        """Returns what every layer read and made."""
        tensors, traces = {IMAGE: image}, {}
        for name, entry in self.layers.items():
            traces[name] = entry.trace(tensors)
            tensors[name] = traces[name].output
        return traces


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """What a window fixes of the layer that reads the image; without left padding it has none."""

    channels: int
    act_bits: int
    act_kind: ActKind
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad_left: int = 0


def random_network(
    rng: np.random.Generator,
    layers: int,
    *,
    weight_kinds: tuple[WeightKind, ...],
    most_levels: int,
    most_channels: int = 24,
    first: FirstLayer | None = None,
) -> RandomNetwork:
    """Returns a chain of layers that an engine with these weight kinds and that many thresholds can run.

    Args:
        most_levels: thresholds per channel; activations between layers have as many bits as that allows.
        most_channels: upper end of the channel counts.
        first: what is given of the first layer.
    """
    bits = int(rng.integers(1, 9 if rng.random() < 0.3 else 3))
    kind = _act_kind(rng, bits)
    shape = (int(rng.integers(1, 9)), int(rng.integers(3, 13)), int(rng.integers(3, 13)))
    if first is not None:
        bits, kind = first.act_bits, first.act_kind
        shape = (
            first.channels,
            max(shape[1], first.kernel[0] - int(first.pad_left > 0)),
            max(shape[2], first.kernel[1] - int(first.pad_left > 0)),
        )
    image = (*shape, bits, kind)
    entries: list[IntegerLayer] = []
    for k in range(layers):
        is_last = k + 1 == layers
        before = entries[-1].name if entries else IMAGE
        made = _random_layer(
            rng, f"layer{k}", before, shape, bits, kind, weight_kinds, most_levels, most_channels, is_last
        )
        if k == 0 and first is not None:
            made = _as_first(made, first, rng)
        elif rng.random() < 0.1:
            made = _flattened(made)
        entry = random_entry(made, rng)
        entries.append(entry)
        layer = entry.layer
        shape = (layer.out_channels, layer.stored_height, layer.stored_width)
        bits, kind = layer.out_bits, layer.out_kind
    workload = Workload(
        "random", tuple(e.layer for e in entries), image[0], image[1], image[2], image[3], image[4]
    )
    return RandomNetwork("random", workload, {e.name: e for e in entries})


def _as_first(layer: Layer, first: FirstLayer, rng: np.random.Generator) -> Layer:
    """Returns a layer with the given kernel, stride and left padding; its pooling is drawn again."""
    height, width = layer.in_height, layer.in_width
    most = int(first.pad_left > 0)
    top = int(rng.integers(0, 1 + most * (first.kernel[0] - 1)))
    bottom = max(first.kernel[0] - height - top, int(rng.integers(0, 1 + most)))
    right = max(first.kernel[1] - width - first.pad_left, int(rng.integers(0, 1 + most)))
    padding = (top, first.pad_left, bottom, right)
    made = replace(layer, kernel=first.kernel, stride=first.stride, padding=padding, groups=1, pool=None)
    return replace(made, pool=_random_pool(rng, made)) if layer.pool else made


def _act_kind(rng: np.random.Generator, bits: int) -> ActKind:
    if bits == 1:
        return ActKind.BIPOLAR if rng.random() < 0.5 else ActKind.UNSIGNED
    return ActKind.SIGNED if rng.random() < 0.4 else ActKind.UNSIGNED


def _range_of(kind: ActKind, bits: int) -> tuple[int, int]:
    top = 1 << bits
    return {
        ActKind.UNSIGNED: (0, top - 1),
        ActKind.SIGNED: (-top // 2, top // 2 - 1),
        ActKind.BIPOLAR: (-1, 1),
    }[kind]


def _random_layer(
    rng: np.random.Generator, name: str, before: str, shape: tuple[int, int, int], bits: int, kind: ActKind,
    weight_kinds: tuple[WeightKind, ...], most_levels: int, most_channels: int, is_last: bool,
) -> Layer:  # fmt: skip
    channels, height, width = shape
    kernel = (min(height, int(rng.choice(_KERNELS))), min(width, int(rng.choice(_KERNELS))))
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4))) if rng.random() < 0.4 else (1, 1)
    padding = (0, 0, 0, 0)
    if kind is not ActKind.BIPOLAR and rng.random() < 0.6:
        padding = tuple(int(rng.integers(0, kernel[k % 2])) for k in range(4))  # type: ignore[assignment]
    groups = int(rng.choice([g for g in (1, 1, 1, 2, 3) if channels % g == 0]))
    weight_kind = weight_kinds[int(rng.integers(len(weight_kinds)))]
    weight_bits = {WeightKind.BINARY: 1, WeightKind.TERNARY: 2}.get(weight_kind, int(rng.integers(2, 4)))
    out = groups * int(rng.integers(1, max(2, most_channels // groups)))
    out_bits = 1
    while (1 << out_bits + 1) - 1 <= most_levels and rng.random() < 0.6:
        out_bits += 1
    raw = is_last and (rng.random() < 0.6 or not most_levels)
    layer = Layer(
        name, LayerKind.CONV, (before,), channels, height, width, out, kernel, stride, padding, groups,
        weight_bits, weight_kind, bits, kind, ResultKind.RAW if raw else ResultKind.THRESHOLDS,
        out_bits, ActKind.UNSIGNED if raw else _act_kind(rng, out_bits), 24,
    )  # fmt: skip
    if not raw and rng.random() < 0.5:
        layer = replace(layer, pool=_random_pool(rng, layer))
    return layer


def _flattened(layer: Layer) -> Layer:
    """Returns a matrix product over all that a layer reads."""
    return replace(
        layer, kind=LayerKind.MATMUL, in_channels=layer.in_channels * layer.in_height * layer.in_width, in_height=1,
        in_width=1, kernel=(1, 1), stride=(1, 1), padding=(0, 0, 0, 0), groups=1, pool=None,
    )  # fmt: skip


def _random_pool(rng: np.random.Generator, layer: Layer) -> Pool | None:
    """Returns a max pooling whose windows overlap by one position at most and each hold a real pixel."""
    sizes = (layer.out_height, layer.out_width)
    if min(sizes) < 2:
        return None
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    kernel = tuple(min(n, int(rng.integers(1, s + 2))) for n, s in zip(sizes, stride, strict=True))
    before = tuple(int(rng.integers(0, k)) if rng.random() < 0.4 else 0 for k in kernel)
    after = []
    for n, k, s, b in zip(sizes, kernel, stride, before, strict=True):
        # At most one unfinished window may stand at the end.
        most = next((a for a in range(k - 1, 0, -1) if (n + b + a - k) // s - (n + b - k) // s <= 1), 0)
        after.append(int(rng.integers(0, most + 1)) if rng.random() < 0.4 else 0)
    return Pool(PoolKind.MAX, kernel, stride, (before[0], before[1], after[0], after[1]))  # type: ignore[arg-type]


def random_entry(layer: Layer, rng: np.random.Generator) -> IntegerLayer:
    """Returns a layer with random weights and thresholds."""
    choices: dict[WeightKind, Any] = {
        WeightKind.BINARY: [-1, 1],
        WeightKind.TERNARY: [-1, 0, 1],
        WeightKind.ODD: range(1 - (1 << layer.weight_bits), 1 << layer.weight_bits, 2),
        WeightKind.SIGNED: range(-(1 << layer.weight_bits - 1), 1 << layer.weight_bits - 1),
    }
    shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)
    weights = rng.choice(list(choices[layer.weight_kind]), shape).astype(np.int32)
    rows = weights.reshape(len(weights), -1).astype(np.int64)
    low, high = _range_of(layer.act_kind, layer.act_bits)
    plus, minus = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    acc_min, acc_max = plus * low + minus * high, plus * high + minus * low
    if any(layer.padding):
        acc_min, acc_max = np.minimum(acc_min, 0), np.maximum(acc_max, 0)
    thresholds, negate = None, rng.random(len(rows)) < 0.4
    if layer.result is ResultKind.THRESHOLDS:
        count = (1 << layer.out_bits) - 1
        middle, span = (acc_min + acc_max)[:, None] // 2, 1 + (acc_max - acc_min)[:, None] // 6
        middle = np.where(negate[:, None], -middle, middle)
        thresholds = np.sort(middle + rng.integers(-span, span + 1, (len(rows), count)), axis=1)
    base, step = 0, 1
    if layer.out_kind is ActKind.BIPOLAR:
        base, step = -1, 2
    elif layer.out_kind is ActKind.SIGNED:
        base = -(1 << layer.out_bits - 1)
    ones = np.ones(len(rows))
    return IntegerLayer(
        layer, layer.name, weights, thresholds, negate, base if thresholds is not None else 0, step,
        acc_min, acc_max, 1.0, 0.0, ones, 0 * ones,
    )  # fmt: skip
