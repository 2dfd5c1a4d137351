"""Shapes and bit widths of published networks, for instances and benchmarks where no ONNX file is at hand.

| name | network | source of the shapes |
|---|---|---|
| cnv-w1a1, cnv-w1a2, cnv-w2a2 | CNV on CIFAR-10, 59.5 MMAC | FINN, arXiv 1612.07119, and Xilinx/BNN-PYNQ |
| dorefa | DoReFa-Net W1A2, the four convolutions that QNN-MO offloads, 946 MMAC | arXiv 1606.06160 and Xilinx/QNN-MO-PYNQ |
| resnet18-w1a2, resnet18-w2a2 | ResNet-18, 224x224, all weights quantized | arXiv 1512.03385, table 1 |
| ultranet | UltraNet W4A4, 160x320, the detector of DAC-SDC 2020 | heymesut/SJTU_microe, quantization/param/hls/config.h |
| mobilenet | MobileNetV1 W4A4, 224x224, depthwise layers as groups | arXiv 1704.04861, table 1 |
| digits-w1a2, digits-w2a2 | the networks of `foldwright.models` | `models/train_digits.py` |

Two-bit signed activations of CNV are -1, 0, 1. `acc_bits` is wide enough for any weights of the kind; a lowered network
knows its weights and may need less. The 2-bit weights of `resnet18-w2a2` are Balanced (odd levels, arXiv 1706.07145);
4-bit weights are two's complement, which only AND engines take. MobileNet's strided layers pad all sides by one. Results of
average poolings have the bits of an average here; `with_sums` gives them those of the sums that hardware stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

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
from foldwright.errors import ModelError, nearest

__all__ = [
    "KNOWN_WORKLOADS",
    "LayerChain",
    "known_workload",
    "largest_act",
    "largest_weight",
    "pooling",
    "signed_bits_for",
    "sum_bits",
    "ultranet_of",
    "with_sums",
]

_CIFAR_IMAGE = (3, 32, 32, 8, ActKind.SIGNED)
_PHOTO = (3, 224, 224, 8, ActKind.UNSIGNED)


def pooling(
    kernel: int, stride: int, padding: tuple[int, int, int, int] = (0, 0, 0, 0), kind: PoolKind = PoolKind.MAX
) -> Pool:
    """Returns a square pooling window."""
    return Pool(kind, (kernel, kernel), (stride, stride), padding)


def signed_bits_for(largest: int) -> int:
    """Returns the bits of two's complement that hold -largest .. largest.

    >>> signed_bits_for(127), signed_bits_for(128)
    (8, 9)
    """
    return largest.bit_length() + 1


class LayerChain:
    """Collects layers one after another; each reads the one before unless told otherwise.

    `weights` and `acts` are (bits, kind) of every layer's weights and of every result but a raw one.
    """

    def __init__(
        self,
        image: tuple[int, int, int, int, ActKind],
        weights: tuple[int, WeightKind],
        acts: tuple[int, ActKind],
    ) -> None:
        self.layers: list[Layer] = []
        self._image, self._weights, self._acts = image, weights, acts
        self._shapes: dict[str, tuple[int, int, int]] = {IMAGE: image[:3]}
        self._acts_of: dict[str, tuple[int, ActKind]] = {IMAGE: image[3:]}

    @property
    def last(self) -> str:
        """The newest layer's name, or the image's."""
        return self.layers[-1].name if self.layers else IMAGE

    def shape_of(self, name: str) -> tuple[int, int, int]:
        """Returns channels, height and width of a tensor."""
        return self._shapes[name]

    def acts_of(self, name: str) -> tuple[int, ActKind]:
        """Returns bits and kind of a tensor's values."""
        return self._acts_of[name]

    def conv(
        self, out_channels: int, kernel: int = 3, stride: int = 1, padding: int | None = None, groups: int = 1,
        pool: Pool | None = None, reads: str = "", adds: str = "", weights: tuple[int, WeightKind] | None = None,
        acts: tuple[int, ActKind] | None = None, name: str = "",
    ) -> str:  # fmt: skip
        """Adds a convolution and returns its name; `padding` of all sides is half the kernel unless given."""
        pad = kernel // 2 if padding is None else padding
        return self.add(
            name or f"conv{len(self.layers) + 1}", LayerKind.CONV, reads or self.last, out_channels,
            adds, weights, acts, kernel=(kernel, kernel), stride=(stride, stride), padding=(pad,) * 4,
            groups=groups, pool=pool,
        )  # fmt: skip

    def matmul(self, out_channels: int, raw: bool = False) -> str:
        """Adds a matrix product, of the flattened tensor before it, and returns its name."""
        name = f"fc{len(self.layers) + 1}"
        return self.add(name, LayerKind.MATMUL, self.last, out_channels, "", None, None, raw=raw)

    def add(
        self, name: str, kind: LayerKind, reads: str, out_channels: int, adds: str,
        weights: tuple[int, WeightKind] | None, acts: tuple[int, ActKind] | None, raw: bool = False, **shape: Any,
    ) -> str:  # fmt: skip
        """Adds any layer and returns its name; `shape` are further fields of `Layer`."""
        (weight_bits, weight_kind), (out_bits, out_kind) = weights or self._weights, acts or self._acts
        channels, height, width = self._shapes[reads]
        if kind is LayerKind.MATMUL:
            channels, height, width = channels * height * width, 1, 1
        act_bits, act_kind = self._acts_of[reads]
        kernel = shape.get("kernel", (1, 1))
        depth = channels // int(shape.get("groups", 1)) * kernel[0] * kernel[1]
        largest = largest_weight(weight_bits, weight_kind) * largest_act(act_bits, act_kind, reads == IMAGE)
        acc_bits = signed_bits_for(depth * largest)
        layer = Layer(
            name, kind, (reads, adds) if adds else (reads,), channels, height, width, out_channels,
            weight_bits=weight_bits, weight_kind=weight_kind, act_bits=act_bits, act_kind=act_kind, acc_bits=acc_bits,
            result=ResultKind.RAW if raw else ResultKind.THRESHOLDS,
            out_bits=acc_bits if raw else out_bits, out_kind=ActKind.SIGNED if raw else out_kind, **shape,
        )  # fmt: skip
        self.layers.append(layer)
        self._shapes[name] = (out_channels, layer.stored_height, layer.stored_width)
        self._acts_of[name] = (out_bits, out_kind)
        return name

    def workload(self, name: str) -> Workload:
        """Returns the layers as a workload."""
        return Workload(name, tuple(self.layers), *self._image)


def largest_weight(bits: int, kind: WeightKind) -> int:
    """Returns the largest magnitude of weights."""
    if kind in (WeightKind.BINARY, WeightKind.TERNARY):
        return 1
    return (1 << bits) - 1 if kind is WeightKind.ODD else 1 << (bits - 1)


def largest_act(bits: int, kind: ActKind, is_image: bool) -> int:
    """Returns the largest magnitude of activations."""
    if kind is ActKind.UNSIGNED:
        return (1 << bits) - 1
    # Thresholds of signed codes are symmetric; only an image reaches the lowest code.
    return 1 << (bits - 1) if is_image else max(1, (1 << (bits - 1)) - 1)


def _cnv(weights: tuple[int, WeightKind], acts: tuple[int, ActKind]) -> LayerChain:
    c = LayerChain(_CIFAR_IMAGE, weights, acts)
    for channels in (64, 128):
        c.conv(channels, padding=0)
        c.conv(channels, padding=0, pool=pooling(2, 2))
    c.conv(256, padding=0)
    c.conv(256, padding=0)
    c.matmul(512)
    c.matmul(512)
    c.matmul(10, raw=True)
    return c


def _dorefa() -> LayerChain:
    acts = (2, ActKind.UNSIGNED)
    c = LayerChain((68, 54, 54, *acts), (1, WeightKind.BINARY), acts)
    c.conv(180, kernel=5, groups=2, pool=pooling(3, 2, (0, 0, 1, 1)))
    c.conv(272, pool=pooling(3, 2, (1, 1, 1, 1)))
    c.conv(384, groups=2)
    c.conv(256, groups=2, pool=pooling(3, 2))
    return c


def _resnet18(weights: tuple[int, WeightKind], act_bits: int = 2) -> LayerChain:
    c = LayerChain(_PHOTO, weights, (act_bits, ActKind.UNSIGNED))
    x = c.conv(64, kernel=7, stride=2, pool=pooling(3, 2, (1, 1, 1, 1)))
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            last = stage == 3 and block == 1
            a = c.conv(channels, stride=stride, reads=x, name=f"s{stage + 1}b{block + 1}a")
            if stride == 2:
                x = c.conv(channels, kernel=1, stride=2, reads=x, name=f"s{stage + 1}down")
            pool = pooling(7, 7, kind=PoolKind.AVERAGE) if last else None
            x = c.conv(channels, reads=a, adds=x, pool=pool, name=f"s{stage + 1}b{block + 1}b")
    c.matmul(1000, raw=True)
    return c


def _ultranet(height: int = 160, width: int = 320) -> LayerChain:
    acts = (4, ActKind.UNSIGNED)
    c = LayerChain((3, height, width, 8, ActKind.UNSIGNED), (4, WeightKind.SIGNED), acts)
    for channels in (16, 32, 64, 64):
        c.conv(channels, pool=pooling(2, 2))
    for _ in range(4):
        c.conv(64)
    c.add("conv9", LayerKind.CONV, c.last, 36, "", None, None, raw=True)
    return c


def _mobilenet() -> LayerChain:
    c = LayerChain(_PHOTO, (4, WeightKind.SIGNED), (4, ActKind.UNSIGNED))
    c.conv(32, stride=2)
    steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for k, (channels, stride) in enumerate(steps, 1):
        c.conv(c.shape_of(c.last)[0], stride=stride, groups=c.shape_of(c.last)[0], name=f"depth{k}")
        pool = pooling(7, 7, kind=PoolKind.AVERAGE) if k == len(steps) else None
        c.conv(channels, kernel=1, pool=pool, name=f"point{k}")
    c.matmul(1000, raw=True)
    return c


def _digits(weights: tuple[int, WeightKind], stride: int) -> LayerChain:
    acts = (2, ActKind.UNSIGNED)
    c = LayerChain((1, 8, 8, 5, ActKind.UNSIGNED), weights, acts)
    c.conv(16)
    c.conv(32, pool=pooling(2, 2))
    c.conv(64, stride=stride, pool=None if stride == 2 else pooling(2, 2))
    c.add("logits", LayerKind.CONV, c.last, 10, "", None, None, raw=True, kernel=(2, 2))
    return c


def with_sums(workload: Workload) -> Workload:
    """Returns a workload whose averages are stored, and read, as sums over their windows."""
    layers: list[Layer] = []
    sums: dict[str, int] = {}
    for layer in workload.layers:
        if layer.inputs[0] in sums:
            bits = sums[layer.inputs[0]]
            depth = layer.in_channels // layer.groups * layer.taps
            most = (1 << bits) - 1 if layer.act_kind is ActKind.UNSIGNED else 1 << bits - 1
            largest = most * largest_weight(layer.weight_bits, layer.weight_kind)
            layer = replace(layer, act_bits=bits, acc_bits=signed_bits_for(depth * largest))
            if layer.result is ResultKind.RAW:
                layer = replace(layer, out_bits=layer.acc_bits)
        if layer.pool is not None and layer.averages:
            sums[layer.name] = sum_bits(layer.pool.area, layer.out_bits, layer.out_kind)
            layer = replace(layer, out_bits=sums[layer.name], code_bits=layer.out_bits)
        layers.append(layer)
    return replace(workload, layers=tuple(layers))


def sum_bits(area: int, bits: int, kind: ActKind) -> int:
    """Returns the bits of a sum of results over a window of so many pixels.

    >>> sum_bits(49, 2, ActKind.UNSIGNED), sum_bits(4, 2, ActKind.SIGNED)
    (8, 4)
    """
    if kind is ActKind.UNSIGNED:
        return (area * ((1 << bits) - 1)).bit_length()
    return (area * (1 << bits - 1) - 1).bit_length() + 1


_W1 = (1, WeightKind.BINARY)
_ODD2 = (2, WeightKind.ODD)
_MAKERS: dict[str, Callable[[], LayerChain]] = {
    "cnv-w1a1": lambda: _cnv(_W1, (1, ActKind.BIPOLAR)),
    "cnv-w1a2": lambda: _cnv(_W1, (2, ActKind.SIGNED)),
    "cnv-w2a2": lambda: _cnv((2, WeightKind.TERNARY), (2, ActKind.SIGNED)),
    "digits-w1a2": lambda: _digits(_W1, stride=2),
    "digits-w2a2": lambda: _digits(_ODD2, stride=1),
    "dorefa": _dorefa,
    "mobilenet": _mobilenet,
    "resnet18-int8": lambda: _resnet18((8, WeightKind.SIGNED), 8),
    "resnet18-w1a2": lambda: _resnet18(_W1),
    "resnet18-w2a2": lambda: _resnet18(_ODD2),
    "ultranet": _ultranet,
}

KNOWN_WORKLOADS = tuple(_MAKERS)
"""The names that `known_workload` takes."""


@cache
def known_workload(name: str) -> Workload:
    """Returns the shapes of a published network.

    Raises:
        ModelError: no network has this name.
    """
    if name not in _MAKERS:
        raise ModelError(f"no known network is named {name!r}; {nearest(name, _MAKERS)}")
    return _MAKERS[name]().workload(name)


def ultranet_of(height: int, width: int) -> Workload:
    """Returns UltraNet W4A4 for images of another size, such as the 224x224 of classifiers."""
    return _ultranet(height, width).workload(f"ultranet-{height}x{width}")
