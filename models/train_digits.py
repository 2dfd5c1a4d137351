"""Trains the two digit networks of this folder and writes them as QONNX.

    python -m foldwright.models.train_digits --out models

Both read 8x8 images of integers 0 to 16 and give ten logits. The data is scikit-learn's copy of the test set
of "Optical Recognition of Handwritten Digits": 1,797 images, of which 500 are held out by a seeded
permutation and never seen in training; the last weights are kept, whatever they score. One thread, fixed
seeds: on one machine with one set of versions the files come out byte for byte the same.

Needs `foldwright[train]` (torch, scikit-learn); using the networks needs neither.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from foldwright.accel.onnx_export import export_qonnx
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
from foldwright.accel.quantize import BalancedQuantizer, DorefaActivation, DorefaWeight, Quantizer
from foldwright.accel.quantize_torch import fake_quantize
from foldwright.accel.workload import Pool, PoolKind

__all__ = ["RECIPES", "Digits", "DigitsNet", "Recipe", "digits", "main", "to_graph", "train"]

HELD_OUT = 500
SPLIT_SEED = 2022
PIXEL_BITS = 5  # 0 .. 16
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Recipe:
    """One network: its quantizers, its shape and how it is trained."""

    name: str
    weights: Quantizer
    activations: Quantizer
    stride: int  # of the third convolution; where it is 1, a pooling follows instead
    seed: int
    channels: tuple[int, int, int] = (16, 32, 64)
    epochs: int = 200
    batch: int = 64
    rate: float = 1e-2
    label_smoothing: float = 0.05


RECIPES = (
    Recipe("digits_w1a2", DorefaWeight(1), DorefaActivation(2), stride=2, seed=1),
    Recipe("digits_w2a2_balanced", BalancedQuantizer(2), DorefaActivation(2), stride=1, seed=2),
)


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Images and labels, split."""

    train_images: npt.NDArray[np.uint8]  # (1297, 1, 8, 8)
    train_labels: npt.NDArray[np.uint8]  # (1297,)
    test_images: npt.NDArray[np.uint8]  # (500, 1, 8, 8)
    test_labels: npt.NDArray[np.uint8]  # (500,)


def digits() -> Digits:
    """Returns the data set, split by the fixed permutation."""
    data = load_digits()
    images = data.images.astype(np.uint8)[:, None]
    labels = data.target.astype(np.uint8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    test, rest = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(images[rest], labels[rest], images[test], labels[test])


class _Block(nn.Module):
    """Convolution with quantized weights, then BatchNormalization."""

    def __init__(self, quantizer: Quantizer, shape: tuple[int, int, int], stride: int, pad: int) -> None:
        super().__init__()
        out, channels, kernel = shape
        spread = (2 / (channels * kernel * kernel)) ** 0.5
        self.quantizer, self.stride, self.pad = quantizer, stride, pad
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel) * spread)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = fake_quantize(self.quantizer, self.weight)
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
                _Block(recipe.weights, (first, 1, 3), 1, 1),
                _Block(recipe.weights, (second, first, 3), 1, 1),
                _Block(recipe.weights, (third, second, 3), recipe.stride, 1),
            ]
        )
        self.head = _Block(recipe.weights, (CLASSES, third, 2), 1, 0)
        with torch.no_grad():  # starts the activations in the middle of [0, 1], the range of their quantizer
            for block in self.convs:
                block.norm.weight.fill_(0.5)
                block.norm.bias.fill_(0.5)

    def pooled(self, index: int) -> bool:
        """Whether a 2x2 maximum follows the convolution."""
        return index == 1 or (index == 2 and self.recipe.stride == 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.convs):
            x = fake_quantize(self.recipe.activations, block(x))
            if self.pooled(i):
                x = functional.max_pool2d(x, 2)
        logits: torch.Tensor = self.head(x).flatten(1)
        return logits


def _shifted(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns each image moved by up to one pixel in each direction, zeros moving in."""
    windows = functional.pad(images, (1, 1, 1, 1)).unfold(2, 8, 1).unfold(3, 8, 1)
    rows, columns = torch.from_numpy(rng.integers(0, 3, (2, len(images))))
    moved: torch.Tensor = windows[torch.arange(len(images)), :, rows, columns]
    return moved


def train(recipe: Recipe, data: Digits) -> DigitsNet:
    """Returns the network after the last epoch, in evaluation mode."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    net = DigitsNet(recipe)
    images = torch.from_numpy(data.train_images).float()
    labels = torch.from_numpy(data.train_labels).long()
    batches = len(labels) // recipe.batch
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    for _ in range(recipe.epochs):
        order = torch.from_numpy(rng.permutation(len(labels)))
        for rows in order[: batches * recipe.batch].view(batches, recipe.batch):
            logits = net(_shifted(images[rows], rng))
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _norm_op(norm: nn.BatchNorm2d) -> BatchNorm:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    gain, bias, mean, variance = (t.detach().numpy() for t in tensors)
    return BatchNorm(gain, bias, mean, variance, norm.eps)


def to_graph(net: DigitsNet) -> Graph:
    """Returns the trained network as a graph for the exporter; a batch is one image."""
    ops: list[tuple[str, Op]] = [("pixels", Quant(1.0, PIXEL_BITS))]
    recipe = net.recipe
    levels = recipe.activations.levels
    for i, block in enumerate(net.convs):
        name = f"conv{i + 1}"
        weights, node = exact_weights(
            recipe.weights, recipe.weights.to_integers(block.weight.detach().numpy())
        )
        ops.append((name, Conv(weights, node, (block.stride,) * 2, (block.pad,) * 4)))
        ops.append((f"{name}.norm", _norm_op(block.norm)))
        ops.append((f"{name}.act", quant_node(levels, 1.0 / levels[-1])))
        if net.pooled(i):
            ops.append((f"{name}.pool", Pool(PoolKind.MAX, (2, 2), (2, 2))))
    weights, node = exact_weights(
        recipe.weights, recipe.weights.to_integers(net.head.weight.detach().numpy())
    )
    ops.append(("flatten", Flatten()))
    ops.append(("logits", Dense(weights.reshape(CLASSES, -1), node)))
    ops.append(("logits.norm", _norm_op(net.head.norm)))
    return Graph(recipe.name, (1, 1, 8, 8), [Step(name, op) for name, op in ops])


def _accuracy_percent(net: DigitsNet, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> float:
    with torch.no_grad():
        guesses = net(torch.from_numpy(images).float()).argmax(1).numpy()
    return 100 * float((guesses == labels).mean())


def main(argv: list[str] | None = None) -> None:
    """Trains, writes and prints accuracy and CPU seconds of each network."""
    parser = argparse.ArgumentParser(description="Train the digit networks and write them as QONNX.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write to"
    )
    parser.add_argument("--only", choices=[r.name for r in RECIPES], help="train this one alone")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = digits()
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out / "digits_test.npz", input=data.test_images, label=data.test_labels)
    for recipe in RECIPES:
        if args.only in (None, recipe.name):
            start = time.process_time()
            net = train(recipe, data)
            path = export_qonnx(to_graph(net), args.out / f"{recipe.name}.onnx")
            test = _accuracy_percent(net, data.test_images, data.test_labels)
            seen = _accuracy_percent(net, data.train_images, data.train_labels)
            print(
                f"{recipe.name}: held-out {test:.1f} %, training {seen:.2f} %, {path.stat().st_size} bytes, "
                f"{time.process_time() - start:.0f} CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
