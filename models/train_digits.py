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
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from foldwright.accel.onnx_export import export_qonnx
from foldwright.accel.quantize import BalancedQuantizer, DorefaActivation, DorefaWeight
from foldwright.models.digits_net import Digits, DigitsNet, Recipe, digits, to_graph

__all__ = ["RECIPES", "accuracy_percent", "main", "train"]

RECIPES = (
    Recipe("digits_w1a2", (DorefaWeight(1),) * 4, (DorefaActivation(2),) * 3, stride=2, seed=1),
    Recipe("digits_w2a2_balanced", (BalancedQuantizer(2),) * 4, (DorefaActivation(2),) * 3, stride=1, seed=2),
)


def _shifted(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns each image moved by up to one pixel in each direction, zeros moving in."""
    windows = functional.pad(images, (1, 1, 1, 1)).unfold(2, 8, 1).unfold(3, 8, 1)
    rows, columns = torch.from_numpy(rng.integers(0, 3, (2, len(images))))
    moved: torch.Tensor = windows[torch.arange(len(images)), :, rows, columns]
    return moved


def train(recipe: Recipe, data: Digits, start: DigitsNet | None = None) -> DigitsNet:
    """Returns the network after the last epoch, in evaluation mode.

    Args:
        start: a network of the same shape whose weights training begins with; its quantizers may be others.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    net = DigitsNet(recipe)
    if start is not None:
        net.load_state_dict(start.state_dict())
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


def accuracy_percent(net: DigitsNet, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> float:
    """Returns the share of images whose largest logit is the label's."""
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
            test = accuracy_percent(net, data.test_images, data.test_labels)
            seen = accuracy_percent(net, data.train_images, data.train_labels)
            print(
                f"{recipe.name}: held-out {test:.1f} %, training {seen:.2f} %, {path.stat().st_size} bytes, "
                f"{time.process_time() - start:.0f} CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
