"""The digit networks in torch: their shape with any quantizers, and as a graph for the exporter.

Every layer has a quantizer of its weights and, but for the last, one of its results; None leaves them in float, results
clipped to [0, 1] as the quantizers of activations do. Needs `foldwright[train]`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from foldwright.accel.onnx_steps import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    Graph,
    Op,
    Quant,
    Step,
    exact_weights,
    quant_node,
)
from foldwright.accel.quantize import Quantizer
from foldwright.accel.quantize_torch import fake_quantize
from foldwright.accel.sensitivity_torch import Hook
from foldwright.accel.workload import Pool, PoolKind
from foldwright.errors import ModelError

__all__ = ["LAYERS", "Digits", "DigitsNet", "Recipe", "digits", "to_graph"]

LAYERS = ("conv1", "conv2", "conv3", "logits")
HELD_OUT = 500
SPLIT_SEED = 2022
PIXEL_BITS = 5  # 0 .. 16
CLASSES = 10
_SETTLING_BATCH = 250


@dataclass(frozen=True, slots=True)
class Recipe:
    """One network: its quantizers, its shape and how it is trained."""

    name: str
    weights: tuple[Quantizer | None, ...]  # of LAYERS
    activations: tuple[Quantizer | None, ...]  # of the results of all LAYERS but the last
    stride: int  # of the third convolution; where it is 1, a pooling follows instead
    seed: int
    channels: tuple[int, int, int] = (16, 32, 64)
    epochs: int = 200
    batch: int = 64
    rate: float = 1e-2
    label_smoothing: float = 0.05

    def __post_init__(self) -> None:
        if len(self.weights) != len(LAYERS) or len(self.activations) != len(LAYERS) - 1:
            raise ModelError(
                f"recipe {self.name!r}: {len(self.weights)} quantizers of weights and {len(self.activations)} of activations, "
                f"but {len(LAYERS)} and {len(LAYERS) - 1} are needed"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Images and labels, split."""

    train_images: npt.NDArray[np.uint8]  # (1297, 1, 8, 8)
    train_labels: npt.NDArray[np.uint8]  # (1297,)
    test_images: npt.NDArray[np.uint8]  # (500, 1, 8, 8)
    test_labels: npt.NDArray[np.uint8]  # (500,)

    def set_apart(self, count: int) -> tuple[Digits, Digits]:
        """Returns the data without the first training images, and with those as test images: the test images stay unseen."""
        images, labels = self.train_images, self.train_labels
        rest = Digits(images[count:], labels[count:], self.test_images, self.test_labels)
        return rest, Digits(images[count:], labels[count:], images[:count], labels[:count])


def digits() -> Digits:
    """Returns the data set, split by the fixed permutation."""
    data = load_digits()
    images = data.images.astype(np.uint8)[:, None]
    labels = data.target.astype(np.uint8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    test, rest = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(images[rest], labels[rest], images[test], labels[test])


class _Block(nn.Module):
    """Convolution, then BatchNormalization."""

    def __init__(self, shape: tuple[int, int, int], stride: int, pad: int) -> None:
        super().__init__()
        out, channels, kernel = shape
        spread = (2 / (channels * kernel * kernel)) ** 0.5
        self.stride, self.pad = stride, pad
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel) * spread)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.norm(functional.conv2d(x, weights, stride=self.stride, padding=self.pad))
        return y


class DigitsNet(nn.Module):
    """Three padded 3x3 convolutions on maps of 8x8, 8x8 and 4x4, then one matrix product of 2x2 maps."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        first, second, third = recipe.channels
        self.convs = nn.ModuleList(
            [
                _Block((first, 1, 3), 1, 1),
                _Block((second, first, 3), 1, 1),
                _Block((third, second, 3), recipe.stride, 1),
            ]
        )
        self.head = _Block((CLASSES, third, 2), 1, 0)
        self._settling: torch.Tensor | None = None
        with torch.no_grad():  # starts the activations in the middle of [0, 1], the range of their quantizer
            for block in self.convs:
                block.norm.weight.fill_(0.5)
                block.norm.bias.fill_(0.5)

    @property
    def layers(self) -> tuple[str, ...]:
        return LAYERS

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """Yields the convolutions by name, the head last."""
        yield from zip(LAYERS, (*self.convs, self.head), strict=True)

    def pooled(self, index: int) -> bool:
        """Whether a 2x2 maximum follows the convolution."""
        return index == 1 or (index == 2 and self.recipe.stride == 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(x, self.quantized_weights, self.quantized_results)

    def quantized_weights(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        """Returns weights as the recipe has them."""
        quantizer = self.recipe.weights[LAYERS.index(layer)]
        return x if quantizer is None else fake_quantize(quantizer, x)

    def quantized_results(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        """Returns results as the recipe has them."""
        quantizer = self.recipe.activations[LAYERS.index(layer)]
        return x.clamp(0.0, 1.0) if quantizer is None else fake_quantize(quantizer, x)

    def logits(self, images: torch.Tensor, weights: Hook, results: Hook) -> torch.Tensor:
        """Returns (images, 10) with weights and results replaced; see `sensitivity_torch.Trained`."""
        x = images
        for i, (name, block) in enumerate(self.blocks()):
            x = block(x, weights(name, block.weight))
            if name == LAYERS[-1]:
                break
            x = results(name, x)
            if self.pooled(i):
                x = functional.max_pool2d(x, 2)
        return x.flatten(1)

    def settling_on(self, images: torch.Tensor) -> DigitsNet:
        """Sets the training images that `settled` averages over, and returns the network."""
        self._settling = images
        return self

    def settled(self, weights: Hook, results: Hook) -> DigitsNet:
        """Returns a copy whose BatchNormalizations have the means and variances of the images of `settling_on`."""
        if self._settling is None:
            raise ModelError("DigitsNet.settled: call settling_on with the training images first")
        net = copy.deepcopy(self)
        norms = [block.norm for _, block in net.blocks()]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average of all batches
        net.train()
        with torch.no_grad():
            for batch in self._settling.split(_SETTLING_BATCH):
                net.logits(batch, weights, results)
        for norm, own in zip(norms, (block.norm for _, block in self.blocks()), strict=True):
            norm.momentum = own.momentum
        return net.eval()


def _norm_op(norm: nn.BatchNorm2d) -> BatchNorm:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    gain, bias, mean, variance = (t.detach().numpy() for t in tensors)
    return BatchNorm(gain, bias, mean, variance, norm.eps)


def to_graph(net: DigitsNet) -> Graph:
    """Returns the trained network as a graph for the exporter; a batch is one image.

    Raises:
        ModelError: a layer is in float.
    """
    ops: list[tuple[str, Op]] = [("pixels", Quant(1.0, PIXEL_BITS))]
    recipe = net.recipe
    for i, (name, block) in enumerate(net.blocks()):
        quantizer = recipe.weights[i]
        if quantizer is None:
            raise ModelError(
                f"{recipe.name}: the weights of {name!r} are in float; give the recipe a quantizer"
            )
        weights, node = exact_weights(quantizer, quantizer.to_integers(block.weight.detach().numpy()))
        if name == LAYERS[-1]:
            ops.append(("flatten", Flatten()))
            ops.append((name, Dense(weights.reshape(CLASSES, -1), node)))
            ops.append((f"{name}.norm", _norm_op(block.norm)))
            break
        results = recipe.activations[i]
        if results is None:
            raise ModelError(
                f"{recipe.name}: the results of {name!r} are in float; give the recipe a quantizer"
            )
        ops.append((name, Conv(weights, node, (block.stride,) * 2, (block.pad,) * 4)))
        ops.append((f"{name}.norm", _norm_op(block.norm)))
        ops.append((f"{name}.act", quant_node(results.levels, 1.0 / results.levels[-1])))
        if net.pooled(i):
            ops.append((f"{name}.pool", Pool(PoolKind.MAX, (2, 2), (2, 2))))
    return Graph(recipe.name, (1, 1, 8, 8), [Step(name, op) for name, op in ops])
