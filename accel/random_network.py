"""Random networks of integer layers with exact references: what generated hardware is tried on.

Chains, and blocks with a residual add around which a tensor goes as it is or through a 1x1 layer. Weights, thresholds,
paddings, strides, groups and poolings are random; every accumulator range is exact and thresholds lie where codes vary. A
`RandomNetwork` has what layout, export and comparison need of a network, and no ONNX file. `random_weights` gives one of
given shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.layers import IntegerLayer, LayerTrace
from foldwright.accel.thresholds import fit_scale_shift
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
from foldwright.errors import ModelError

__all__ = [
    "FirstLayer",
    "RandomNetwork",
    "random_entry",
    "random_network",
    "random_residual_network",
    "random_weights",
]

Int64s = npt.NDArray[np.int64]
_KERNELS = (1, 2, 3, 3, 4, 5, 7)


@dataclass(frozen=True, eq=False)
class RandomNetwork:
    """Layers by name, in order."""

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
    sum_bits: int = 0,
    result: ResultKind = ResultKind.THRESHOLDS,
) -> RandomNetwork:
    """Returns a chain of layers that an engine with these weight kinds and that many thresholds can run.

    Args:
        most_levels: thresholds per channel; activations between layers have as many bits as that allows.
        most_channels: upper end of the channel counts.
        first: what is given of the first layer.
        sum_bits: the most that a pooled sum may have; 0 for maxima only.
        result: how codes are made.
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
        if made.result is not ResultKind.RAW:
            made = replace(made, result=result)
        if k == 0 and first is not None:
            made = _as_first(made, first, rng)
        elif rng.random() < 0.1:
            made = _flattened(made)
        if sum_bits:
            made = _averaged(rng, made, sum_bits)
        entry = random_entry(made, rng)
        entries.append(entry)
        layer = entry.layer
        shape = (layer.out_channels, layer.stored_height, layer.stored_width)
        bits, kind = layer.out_bits, layer.out_kind
    workload = Workload(
        "random", tuple(e.layer for e in entries), image[0], image[1], image[2], image[3], image[4]
    )
    return RandomNetwork("random", workload, {e.name: e for e in entries})


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A stored tensor: its maker, channels, rows and columns, and the range of its values."""

    name: str
    shape: tuple[int, int, int]
    low: int
    high: int

    @property
    def kind(self) -> ActKind:
        return ActKind.SIGNED if self.low < 0 else ActKind.UNSIGNED

    @property
    def bits(self) -> int:
        if self.low < 0:
            return max((-self.low - 1).bit_length(), max(self.high, 0).bit_length()) + 1
        return max(1, self.high.bit_length())


class _Blocks:
    """Draws layers one after another; `made` are their results."""

    def __init__(
        self,
        rng: np.random.Generator,
        weight_kinds: tuple[WeightKind, ...],
        most_levels: int,
        sum_bits: int = 0,
        result: ResultKind = ResultKind.THRESHOLDS,
    ) -> None:
        self._result = result
        self.rng, self._weight_kinds, self._most_bits = rng, weight_kinds, (most_levels + 1).bit_length() - 1
        self._sum_bits = sum_bits
        self.entries: list[IntegerLayer] = []
        self.made: list[_Tensor] = []

    def add(
        self, source: _Tensor, out_channels: int, kernel: int, stride: int = 1, added: _Tensor | None = None,
        pools: bool = False, raw: bool = False,
    ) -> _Tensor:  # fmt: skip
        """Adds a convolution with half its kernel as padding of all sides; returns its result."""
        rng, (channels, height, width) = self.rng, source.shape
        weight_kind = self._weight_kinds[int(rng.integers(len(self._weight_kinds)))]
        groups = int(rng.choice([g for g in (1, 1, 1, 2) if channels % g == 0 == out_channels % g]))
        bits = int(rng.integers(1, self._most_bits + 1))
        base = -(1 << bits - 1) if bits > 1 and rng.random() < 0.4 else 0
        low, high = base, base + (1 << bits) - 1
        if added is not None:
            low, high = low + added.low, high + added.high
        name = f"layer{len(self.entries)}"
        held = _Tensor(name, (0, 0, 0), low, high)
        layer = Layer(
            name, LayerKind.CONV, (source.name,) if added is None else (source.name, added.name), channels, height, width,
            out_channels, (kernel, kernel), (stride, stride), (kernel // 2,) * 4, groups,
            {WeightKind.BINARY: 1, WeightKind.TERNARY: 2}.get(weight_kind, int(rng.integers(2, 4))), weight_kind,
            source.bits, source.kind, ResultKind.RAW if raw else self._result, held.bits, held.kind, 24,
        )  # fmt: skip
        if pools:
            layer = replace(layer, pool=_random_pool(rng, layer))
            if self._sum_bits:
                layer, held = self._averaged(layer, held, bits)
        self.entries.append(random_entry(layer, rng, None if raw else (base, (1 << bits) - 1)))
        made = replace(held, shape=(out_channels, layer.stored_height, layer.stored_width))
        self.made.append(made)
        return made

    def _averaged(self, layer: Layer, held: _Tensor, bits: int) -> tuple[Layer, _Tensor]:
        """Makes averages of some poolings; returns the layer and the range of its sums."""
        pool = _average_of(self.rng, layer, held.low != 0)
        if pool is None:
            return layer, held
        sums = replace(held, low=pool.area * held.low, high=pool.area * held.high)
        if sums.bits > self._sum_bits:
            return layer, held
        changed = replace(layer, pool=pool, out_bits=sums.bits, out_kind=sums.kind, code_bits=bits)
        return changed, sums


def random_residual_network(
    rng: np.random.Generator,
    layers: int,
    *,
    weight_kinds: tuple[WeightKind, ...],
    most_levels: int,
    residual_bits: int,
    stem: int = 1,
    most_channels: int = 24,
    sum_bits: int = 0,
    result: ResultKind = ResultKind.THRESHOLDS,
) -> RandomNetwork:
    """Returns a network of blocks that end in a residual add, as many as go into so many layers.

    Args:
        most_levels, sum_bits: see `random_network`.
        residual_bits: the most that a tensor may have which is added.
        stem: layers before the first block, of which only the last one's results are added.
        result: how codes are made.
    """
    image = _Tensor(
        IMAGE, (int(rng.integers(1, 7)), int(rng.integers(3, 10)), int(rng.integers(3, 10))), 0,
        (1 << int(rng.integers(1, 4))) - 1,
    )  # fmt: skip
    blocks = _Blocks(rng, weight_kinds, most_levels, sum_bits, result)
    x = image
    for _ in range(stem):
        x = blocks.add(
            x, int(rng.integers(1, most_channels)), int(rng.choice((1, 3))), pools=rng.random() < 0.3
        )
    while len(blocks.entries) < layers:
        room, channels = layers - len(blocks.entries), int(rng.integers(1, most_channels))
        kernels = [int(k) for k in rng.choice((1, 3, 3), 2)]
        same = [t for t in blocks.made[stem - 1 :] if t.shape == x.shape and t.bits <= residual_bits]
        pools, raw = bool(rng.random() < 0.3), room == 1 and bool(rng.random() < 0.6)
        if room >= 3 and rng.random() < 0.5:
            stride, out = int(rng.integers(1, 3)), int(rng.integers(1, most_channels))
            a = blocks.add(x, channels, kernels[0], stride)
            x = blocks.add(a, out, kernels[1], added=blocks.add(x, out, 1, stride), pools=pools)
        elif room >= 2 and same:
            a = blocks.add(x, channels, kernels[0])
            added = same[int(rng.integers(len(same)))] if rng.random() < 0.8 else x
            x = blocks.add(a, x.shape[0], kernels[1], added=added, pools=pools)
        elif same and not raw and rng.random() < 0.6:
            x = blocks.add(x, x.shape[0], kernels[1], added=same[-1], pools=pools)
        else:
            x = blocks.add(x, channels, kernels[1], pools=pools and not raw, raw=raw)
    workload = Workload(
        "random", tuple(e.layer for e in blocks.entries), *image.shape, image.bits, ActKind.UNSIGNED
    )
    return RandomNetwork("random", workload, {e.name: e for e in blocks.entries})


def random_weights(workload: Workload, rng: np.random.Generator) -> RandomNetwork:
    """Returns a network of given shapes, of which sums with residuals stay within the bits that their readers have.

    Raises:
        ModelError: there are more adds one behind the other than the bits of a tensor allow.
    """
    most = {layer.name: (1 << layer.out_bits) - 1 for layer in workload.layers}
    codes: dict[str, tuple[int, int]] = {}
    for layer in reversed(workload.layers):
        if layer.result is ResultKind.RAW or layer.out_kind is not ActKind.UNSIGNED:
            continue
        if layer.pool is not None and layer.averages:
            most[layer.name] //= layer.pool.area
        levels = min(most[layer.name], (1 << layer.search_bits) - 1)
        if len(layer.inputs) > 1:  # its own share is one level, the rest is left to what it adds
            added, levels = layer.inputs[1], 1
            most[added] = min(most[added], most[layer.name] - 1)
        if most[layer.name] < len(layer.inputs):
            raise ModelError(
                f"layer {layer.name!r}: {layer.out_bits} bits are too few for the sums that it is part of"
            )
        codes[layer.name] = (0, levels)
    entries = {layer.name: random_entry(layer, rng, codes.get(layer.name)) for layer in workload.layers}
    return RandomNetwork(workload.name, workload, entries)


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


def _average_of(rng: np.random.Generator, layer: Layer, is_offset: bool) -> Pool | None:
    """Returns an average pooling in place of a layer's maximum pooling, now and then of the whole map, or None.

    Args:
        is_offset: the lowest result is not 0, so that windows must not be padded.
    """
    if layer.pool is None or layer.result is ResultKind.RAW or rng.random() < 0.4:
        return None
    if rng.random() < 0.3:
        sizes = (layer.out_height, layer.out_width)
        return Pool(PoolKind.AVERAGE, sizes, sizes)
    pool = replace(layer.pool, kind=PoolKind.AVERAGE)
    return replace(pool, padding=(0, 0, 0, 0)) if is_offset else pool


def _averaged(rng: np.random.Generator, layer: Layer, sum_bits: int) -> Layer:
    """Returns a layer whose maximum pooling may have become an average; of -1 and +1 it has 0 and 1."""
    pool = _average_of(rng, layer, layer.out_kind is ActKind.SIGNED)
    if pool is None:
        return layer
    kind = ActKind.SIGNED if layer.out_kind is ActKind.SIGNED else ActKind.UNSIGNED
    low, high = _range_of(kind, layer.out_bits)
    sums = _Tensor(layer.name, (0, 0, 0), pool.area * low, pool.area * high)
    if sums.bits > sum_bits:
        return layer
    return replace(layer, pool=pool, out_bits=sums.bits, out_kind=kind, code_bits=layer.out_bits)


def random_entry(
    layer: Layer, rng: np.random.Generator, codes: tuple[int, int] | None = None
) -> IntegerLayer:
    """Returns a layer with random weights and thresholds, or the scale and shift nearest to such thresholds.

    Args:
        codes: lowest result and how many thresholds lie above it, where those are not what the layer's output holds.
    """
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
    thresholds, negate, scale = None, rng.random(len(rows)) < 0.4, None
    if layer.result is not ResultKind.RAW:
        count = codes[1] if codes else (1 << layer.search_bits) - 1
        middle, span = (acc_min + acc_max)[:, None] // 2, 1 + (acc_max - acc_min)[:, None] // 6
        middle = np.where(negate[:, None], -middle, middle)
        thresholds = np.sort(middle + rng.integers(-span, span + 1, (len(rows), count)), axis=1)
    if layer.result is ResultKind.SCALE_SHIFT:
        ends = np.where(negate, -acc_max, acc_min), np.where(negate, -acc_min, acc_max)
        scale = fit_scale_shift(np.asarray(thresholds), *ends)
    base, step = 0, 1
    if layer.out_kind is ActKind.BIPOLAR:
        base, step = -1, 2
    elif layer.out_kind is ActKind.SIGNED:
        base = -(1 << layer.search_bits - 1)
    base = codes[0] if codes else base
    may_be_signs = layer.out_kind is ActKind.SIGNED and layer.out_bits == 2 and codes is None
    if may_be_signs and scale is None and thresholds is not None and rng.random() < 0.5:
        base, step, thresholds = -1, 2, thresholds[:, :1]  # as they are stored for a layer with padding
    ones = np.ones(len(rows))
    return IntegerLayer(
        layer, layer.name, weights, thresholds, negate, base if thresholds is not None else 0, step,
        acc_min, acc_max, 1.0, 0.0, ones, 0 * ones, scale,
    )  # fmt: skip
