"""Bits per layer for the digit networks: from a network in float to one with other bits in every layer.

    learning, calibration = apart(digits())                # both of the training images
    parent = train(parent_recipe(seed), learning)          # float weights, results clipped to [0, 1]
    found = sensitivity(parent, learning, calibration)     # what each layer loses with fewer bits
    uniform = uniform_networks(parent, found, learning)    # the same bits in every layer, trained again
    recovery = recovery_of(parent, found, calibration, uniform)
    options = found.bit_options(template(), recovery=recovery)   # as allocation takes them
    net = retrained(parent, recipe_of(chosen, seed), learning)   # a short training with the chosen bits

The 500 test images take no part in anything here. `digits_bits.json` holds the options of seed 1, made in two minutes by

    python -m foldwright.models.digits_bits --out models

Needs `foldwright[train]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from foldwright.accel.bit_options import BitOption, BitOptions
from foldwright.accel.known_workloads import known_workload
from foldwright.accel.quantize import DorefaActivation
from foldwright.accel.quantize_uneven import named_quantizer
from foldwright.accel.sensitivity import Estimate, Recovery, Sensitivity, fit_recovery
from foldwright.accel.sensitivity_torch import Settings, measure_sensitivity
from foldwright.accel.workload import Workload
from foldwright.jsonform import to_json
from foldwright.models.digits_net import LAYERS, Digits, DigitsNet, Recipe, digits
from foldwright.models.train_digits import train

__all__ = [
    "RESULT_BITS",
    "UNIFORM",
    "WEIGHTS",
    "Uniform",
    "apart",
    "main",
    "parent_recipe",
    "recipe_of",
    "recovery_of",
    "retrained",
    "sensitivity",
    "shifted_accuracy_percent",
    "template",
    "uniform_networks",
    "uniform_picks",
]

WEIGHTS = ("odd-1", "odd-2", "odd-3", "odd-4")
RESULT_BITS = (1, 2, 3, 4)
UNIFORM = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 4))
"""Bits of weights and of results of the networks that say what training brings back."""
CALIBRATION_IMAGES = 297
PARENT_EPOCHS = 100
RETRAINING_EPOCHS = 80
PROBES = 32


def template() -> Workload:
    """Returns the shapes of the networks; their bits are those of one of them."""
    return known_workload("digits-w2a2")


def apart(data: Digits) -> tuple[Digits, Digits]:
    """Returns the images to learn from, and calibration images as the test images of the other; both from training images."""
    return data.set_apart(CALIBRATION_IMAGES)


def parent_recipe(seed: int, epochs: int = PARENT_EPOCHS) -> Recipe:
    """Returns how the network in float is trained."""
    return Recipe("digits_float", (None,) * 4, (None,) * 3, stride=1, seed=seed, epochs=epochs)


def sensitivity(
    parent: DigitsNet, learning: Digits, calibration: Digits, weights: Sequence[str] = WEIGHTS, probes: int = PROBES
) -> Sensitivity:  # fmt: skip
    """Returns what each layer of a network in float loses, measured on the calibration images."""
    net = parent.settling_on(torch.from_numpy(learning.train_images).float())
    settings = Settings(
        weights=tuple(weights),
        results={bits: DorefaActivation(bits) for bits in RESULT_BITS},
        limit=lambda x: x.clamp(0.0, 1.0),
        probes=probes,
        seed=parent.recipe.seed,
    )
    images = torch.from_numpy(calibration.test_images).float()
    labels = torch.from_numpy(calibration.test_labels).long()
    return measure_sensitivity(f"digits, seed {parent.recipe.seed}", net, images, labels, settings)


def recipe_of(options: Sequence[BitOption], seed: int, epochs: int = RETRAINING_EPOCHS) -> Recipe:
    """Returns how a network with the bits of options is trained again."""
    weights = tuple(named_quantizer(option.weights) for option in options)
    results = tuple(DorefaActivation(option.out_bits) for option in options[: len(LAYERS) - 1])
    name = "digits_" + "_".join(
        option.weights.replace("-", "") + ("" if layer == LAYERS[-1] else f"a{option.out_bits}")
        for layer, option in zip(LAYERS, options, strict=True)
    )
    return Recipe(name, weights, results, stride=1, seed=seed, epochs=epochs)


def retrained(parent: DigitsNet, recipe: Recipe, learning: Digits) -> DigitsNet:
    """Returns a network with the recipe's quantizers that training began with the parent's weights."""
    return train(replace(recipe, stride=parent.recipe.stride), learning, parent)


@dataclass(frozen=True, slots=True, eq=False)
class Uniform:
    """A network with the same bits in every layer, trained again, and its options by position."""

    name: str
    picks: tuple[int, ...]
    net: DigitsNet


def uniform_picks(options: BitOptions, weights: str, result_bits: int) -> tuple[int, ...]:
    """Returns the positions of the options with the same bits in every layer."""
    wanted = [(weights, result_bits)] * (len(LAYERS) - 1) + [(weights, 1)]
    return tuple(
        next(k for k, o in enumerate(layer) if (o.weights, o.out_bits) == bits)
        for layer, bits in zip(options.layers, wanted, strict=True)
    )


def uniform_networks(parent: DigitsNet, found: Sensitivity, learning: Digits) -> list[Uniform]:
    """Returns the networks of `UNIFORM`."""
    options, out = found.bit_options(template()), []
    for weights, results in UNIFORM:
        picks = uniform_picks(options, f"odd-{weights}", results)
        chosen = [layer[k] for layer, k in zip(options.layers, picks, strict=True)]
        net = retrained(parent, recipe_of(chosen, parent.recipe.seed), learning)
        out.append(Uniform(f"W{weights}A{results}", picks, net))
    return out


def recovery_of(
    parent: DigitsNet, found: Sensitivity, calibration: Digits, networks: Sequence[Uniform]
) -> Recovery:
    """Returns what stays lost of a predicted loss, by the accuracy of networks on shifted calibration images."""
    before = shifted_accuracy_percent(parent, calibration)
    lost = [before - shifted_accuracy_percent(one.net, calibration) for one in networks]
    return fit_recovery([found.parts(one.picks, Estimate.MEASURED) for one in networks], lost)


def shifted_accuracy_percent(net: DigitsNet, data: Digits) -> float:
    """Returns the accuracy on the test images of `data` in all nine places within a pixel, as training shows its images.

    A few hundred images say little about half a point of accuracy; nine views of each say more.
    """
    images, labels = torch.from_numpy(data.test_images).float(), torch.from_numpy(data.test_labels)
    views = functional.pad(images, (1, 1, 1, 1)).unfold(2, 8, 1).unfold(3, 8, 1)
    with torch.no_grad():
        right = [
            float((net(views[:, :, row, column]).argmax(1) == labels).double().mean())
            for row in range(3)
            for column in range(3)
        ]
    return 100 * float(np.mean(right))


def main(argv: list[str] | None = None) -> None:
    """Trains, measures and writes the options of one seed."""
    parser = argparse.ArgumentParser(
        description="Write the options of bits per layer for the digit networks."
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write to"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    learning, calibration = apart(digits())
    parent = train(parent_recipe(args.seed), learning)
    found = sensitivity(parent, learning, calibration)
    recovery = recovery_of(parent, found, calibration, uniform_networks(parent, found, learning))
    options = replace(found.bit_options(template(), recovery=recovery), name="digits")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "digits_bits.json").write_text(to_json(options), encoding="utf-8")
    print(
        f"{found.name}: {found.accuracy_percent:.2f} % of {found.images} calibration images in float; {recovery}"
    )


if __name__ == "__main__":
    main()
