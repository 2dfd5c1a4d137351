"""Measures sensitivities of a trained network with torch: `foldwright.accel.sensitivity` says what they are.

A network takes part by two methods (`Trained`): it lets weights and results be replaced on their way, and adapts what it
averages over the training images, such as the statistics of BatchNormalization, to such a replacement. Calibration images
are given by the caller, who must not give images that are to judge the network later. Only the CPU is used.

The trace of a Hessian H is the mean of `v' H v` over random vectors v of -1 and +1 (M. F. Hutchinson, Communications in
Statistics 18, 1989): two backward passes a probe, no matrix. Each layer's weights, and each layer's results, have probes of
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from foldwright.accel.quantize import Quantizer
from foldwright.accel.quantize_torch import fake_quantize
from foldwright.accel.quantize_uneven import named_quantizer
from foldwright.accel.sensitivity import FLOAT, LayerSensitivity, Sensitivity
from foldwright.errors import ModelError

__all__ = ["Hook", "Settings", "Trained", "hessian_trace", "loss_and_accuracy", "measure_sensitivity"]

Hook = Callable[[str, torch.Tensor], torch.Tensor]
"""Gives what a layer, by name, has to use in place of a tensor."""


class Trained(Protocol):
    """A trained network in float."""

    @property
    def layers(self) -> Sequence[str]:
        """The layers by name, in order."""

    def logits(self, images: torch.Tensor, weights: Hook, results: Hook) -> torch.Tensor:
        """Returns (images, classes).

        Calls `weights` with the weights of each layer, and `results` with the results of each layer but those with raw ones, as
        they are before their quantizer.
        """

    def settled(self, weights: Hook, results: Hook) -> Trained:
        """Returns a copy whose averages over the training images are those with the replacements."""


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        weights: names of quantizers of weights, see `named_quantizer`.
        results: the quantizers of results by their bits.
        limit: what a result in float becomes instead: clipped to the range of the quantizers.
        probes: random vectors of a trace.
    """

    weights: tuple[str, ...]
    results: Mapping[int, Quantizer]
    limit: Callable[[torch.Tensor], torch.Tensor]
    probes: int = 32
    seed: int = 0


def measure_sensitivity(
    name: str, net: Trained, images: torch.Tensor, labels: torch.Tensor, settings: Settings
) -> Sensitivity:
    """Returns the sensitivities of every layer, all images in one batch.

    Raises:
        ModelError: there is no image, or not one label for each.
    """
    if not len(images) or len(images) != len(labels):
        raise ModelError(f"sensitivity {name!r}: {len(images)} images and {len(labels)} labels")
    loss, accuracy = loss_and_accuracy(net, images, labels, _as_trained, _limited(settings))
    seen = _Seen()
    with torch.no_grad():
        net.logits(images, seen.weights, seen.results(settings))
    layers = tuple(_layer(net, layer, images, labels, settings, seen, loss) for layer in net.layers)
    return Sensitivity(name, len(images), settings.probes, settings.seed, loss, accuracy, layers)


def loss_and_accuracy(
    net: Trained, images: torch.Tensor, labels: torch.Tensor, weights: Hook, results: Hook
) -> tuple[float, float]:
    """Returns mean cross-entropy (nats) and accuracy (percent) with replacements."""
    with torch.no_grad():
        logits = net.logits(images, weights, results)
    right = (logits.argmax(1) == labels).double().mean()
    return float(functional.cross_entropy(logits.double(), labels)), 100 * float(right)


def _as_trained(layer: str, x: torch.Tensor) -> torch.Tensor:
    return x


def _limited(settings: Settings) -> Hook:
    return lambda layer, x: settings.limit(x)


class _Seen:
    """The weights of every layer, and its results on the calibration images."""

    def __init__(self) -> None:
        self.weight: dict[str, torch.Tensor] = {}
        self.result: dict[str, torch.Tensor] = {}

    def weights(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        self.weight[layer] = x.detach()
        return x

    def results(self, settings: Settings) -> Hook:
        def keep(layer: str, x: torch.Tensor) -> torch.Tensor:
            self.result[layer] = settings.limit(x).detach()
            return settings.limit(x)

        return keep


def _layer(
    net: Trained, layer: str, images: torch.Tensor, labels: torch.Tensor, settings: Settings, seen: _Seen,
    loss: float,
) -> LayerSensitivity:  # fmt: skip
    names = (FLOAT, *settings.weights)
    bits = (0, *sorted(settings.results)) if layer in seen.result else (0,)
    changes = []
    for weights in names:
        row = []
        for result_bits in bits:
            hooks = _quantized(layer, weights, result_bits, settings)
            own = net.settled(*hooks) if (weights, result_bits) != (FLOAT, 0) else net
            row.append(loss_and_accuracy(own, images, labels, *hooks)[0] - loss)
        changes.append(tuple(row))
    weight, result = seen.weight[layer], seen.result.get(layer)
    traces = [
        hessian_trace(lambda e: _moved_loss(net, images, labels, settings, layer, e, False), weight, settings)
    ]
    if result is not None:
        traces.append(
            hessian_trace(
                lambda e: _moved_loss(net, images, labels, settings, layer, e, True), result, settings
            )
        )
    else:
        traces.append((0.0, 0.0))
    return LayerSensitivity(
        layer=layer,
        weights=names,
        result_bits=bits,
        loss_changes=tuple(changes),
        weight_errors=tuple(_squared_error(named_quantizer(n), weight) if n != FLOAT else 0.0 for n in names),
        result_errors=tuple(
            _squared_error(settings.results[b], result) / len(images) if b and result is not None else 0.0
            for b in bits
        ),
        weight_trace=traces[0][0],
        weight_trace_error=traces[0][1],
        result_trace=traces[1][0],
        result_trace_error=traces[1][1],
        weight_count=weight.numel(),
        result_count=1 if result is None else result[0].numel(),
    )


def _quantized(layer: str, weights: str, bits: int, settings: Settings) -> tuple[Hook, Hook]:
    """Returns hooks that quantize one layer; the others are as trained."""

    def on_weights(name: str, x: torch.Tensor) -> torch.Tensor:
        return fake_quantize(named_quantizer(weights), x) if name == layer and weights != FLOAT else x

    def on_results(name: str, x: torch.Tensor) -> torch.Tensor:
        return fake_quantize(settings.results[bits], x) if name == layer and bits else settings.limit(x)

    return on_weights, on_results


def _squared_error(quantizer: Quantizer, x: torch.Tensor) -> float:
    values = x.numpy().astype(np.float64)
    return float(np.square(quantizer.forward(values) - values).sum())


def _moved_loss(
    net: Trained, images: torch.Tensor, labels: torch.Tensor, settings: Settings, layer: str,
    step: torch.Tensor, is_result: bool,
) -> torch.Tensor:  # fmt: skip
    """Returns the loss with a step added to one layer's weights, or to its results."""

    def on_weights(name: str, x: torch.Tensor) -> torch.Tensor:
        return x + step if name == layer and not is_result else x

    def on_results(name: str, x: torch.Tensor) -> torch.Tensor:
        return settings.limit(x) + step if name == layer and is_result else settings.limit(x)

    return functional.cross_entropy(net.logits(images, on_weights, on_results), labels)


def hessian_trace(
    loss_at: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor, settings: Settings
) -> tuple[float, float]:
    """Returns the trace of the Hessian of a loss at a step of 0, and its standard error over the probes.

    Args:
        loss_at: gives the loss for a step, of the shape of `like`.
    """
    step = torch.zeros_like(like, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_at(step), step, create_graph=True)
    generator = torch.Generator().manual_seed(settings.seed)
    found = []
    for _ in range(settings.probes):
        probe = torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1
        (product,) = torch.autograd.grad(gradient, step, probe, retain_graph=True)
        found.append(float((product.double() * probe.double()).sum()))
    error = float(np.std(found, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else 0.0
    return float(np.mean(found)), error
