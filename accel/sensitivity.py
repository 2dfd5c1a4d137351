"""How much accuracy each layer loses with fewer bits: two predictions, as a value that needs no torch.

For every layer and every option of its weights and its results:

- **measured**: the change of the loss on calibration images when this layer alone is quantized, for each pair of options;
- **by trace**: `1/2 * trace(H) / n * |Q(x) - x|^2`, with the Hessian H of the loss by the layer's n weights, or by the n
  results of an image: the second-order term of Taylor's series where H were a multiple of the identity. HAWQ-V2 (arXiv
  1911.03852) ranks layers by it, without the half; HAWQ-V3 (arXiv 2011.10680) chooses bits by an integer programme over it.

Both are of the network as it stands, before it is trained again with its bits. What training brings back is one factor for
weights and one for results (`Recovery`), points of accuracy by nat of loss; `fit_recovery` takes them from a few networks
that were trained again. Losses are in nats (mean cross-entropy), accuracy is in percent of the images.
`foldwright.accel.sensitivity_torch` makes the value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.bit_options import BitOption, BitOptions, Picks
from foldwright.accel.quantize_uneven import named_quantizer, weight_planes
from foldwright.accel.workload import ResultKind, Workload
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT

__all__ = ["Estimate", "LayerSensitivity", "Recovery", "Sensitivity", "fit_recovery"]

_LEAST_SHARE = 0.1
FLOAT = "float"
"""What stands for weights as they were trained."""


Floats = npt.NDArray[np.float64]


class Estimate(Enum):
    """Which prediction counts."""

    MEASURED = "measured"
    TRACE = "trace"


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One layer. The first option of weights and of results is none: as trained.

    Attributes:
        weights: the quantizers by name, the first `float`.
        result_bits: of the quantizers of results, the first 0; only that where results are raw.
        loss_changes: of every pair (weights, results) against the first pair, nats.
        weight_errors: the sum of squared differences that each quantizer makes of all weights.
        result_errors: the same of the results of an image, on average.
        weight_trace, result_trace: of the Hessian, with the standard errors over the probes.
        weight_count, result_count: how many weights there are, and results of an image.
    """

    __pydantic_config__: ClassVar = STRICT

    layer: str
    weights: tuple[str, ...]
    result_bits: tuple[int, ...]
    loss_changes: tuple[tuple[float, ...], ...]
    weight_errors: tuple[float, ...]
    result_errors: tuple[float, ...]
    weight_trace: float
    weight_trace_error: float
    result_trace: float
    result_trace_error: float
    weight_count: int
    result_count: int

    def __post_init__(self) -> None:
        wrong = []
        if self.weights[:1] != (FLOAT,) or self.result_bits[:1] != (0,):
            wrong.append(f"the first options must be {FLOAT!r} and 0 bits")
        shape = {len(row) for row in self.loss_changes}
        if len(self.loss_changes) != len(self.weights) or shape != {len(self.result_bits)}:
            wrong.append(f"loss_changes must have {len(self.weights)} rows of {len(self.result_bits)}")
        if len(self.weight_errors) != len(self.weights) or len(self.result_errors) != len(self.result_bits):
            wrong.append("weight_errors and result_errors must have a number for each option")
        numbers = [*self.weight_errors, *self.result_errors, *(x for row in self.loss_changes for x in row)]
        if not all(map(math.isfinite, [*numbers, self.weight_trace, self.result_trace])):
            wrong.append("a number is not finite")
        if min(self.weight_count, self.result_count) < 1:
            wrong.append("weight_count and result_count must be at least 1")
        if wrong:
            raise ConfigError(f"sensitivity of layer {self.layer!r}: " + "; ".join(wrong))

    def parts(self, weights: int, results: int, estimate: Estimate) -> tuple[float, float]:
        """Returns what the quantizers of weights and of results add to the loss, nats, by their positions.

        Changes for the better count as none: on other images they would not be there.
        """
        if estimate is Estimate.TRACE:
            by_weights = self.weight_trace / self.weight_count * self.weight_errors[weights] / 2
            by_results = self.result_trace / self.result_count * self.result_errors[results] / 2
        else:
            by_weights = self.loss_changes[weights][0]
            by_results = self.loss_changes[weights][results] - max(by_weights, 0.0)
        return max(by_weights, 0.0), max(by_results, 0.0)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Points of accuracy that stay lost after training again, by nat of loss before, for weights and for results."""

    __pydantic_config__: ClassVar = STRICT

    weights: float
    results: float

    def points(self, parts: tuple[float, float]) -> float:
        return self.weights * parts[0] + self.results * parts[1]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The sensitivities of a network, with what they were measured on."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.sensitivity/1"

    name: str
    images: int
    probes: int
    seed: int
    loss: float
    accuracy_percent: float
    layers: tuple[LayerSensitivity, ...]

    def parts(self, picks: Picks, estimate: Estimate) -> tuple[float, float]:
        """Returns the predicted loss of picked options (`bit_options`), in nats, by weights and by results."""
        found = [
            layer.parts(*_pair(layer, pick), estimate) for layer, pick in zip(self.layers, picks, strict=True)
        ]
        return sum(w for w, _ in found), sum(r for _, r in found)

    def bit_options(
        self, workload: Workload, estimate: Estimate = Estimate.MEASURED, recovery: Recovery | None = None
    ) -> BitOptions:
        """Returns every pair of options of every layer with its predicted drop.

        Args:
            recovery: makes points of accuracy of nats of loss; without it drops stay in nats.

        Raises:
            ConfigError: the layers are not those of the workload, or a quantizer is unknown.
        """
        names = [layer.name for layer in workload.layers]
        if names != [layer.layer for layer in self.layers]:
            raise ConfigError(
                f"sensitivity {self.name!r} has the layers {[x.layer for x in self.layers]}, but the workload {names}"
            )
        for shape, layer in zip(workload.layers, self.layers, strict=True):
            if (shape.result is ResultKind.RAW) is not (len(layer.result_bits) == 1):
                raise ConfigError(f"sensitivity of layer {layer.layer!r}: only raw results have no options")
        unit = "points of accuracy" if recovery else "nats of loss"
        options = tuple(_options_of(layer, estimate, recovery) for layer in self.layers)
        return BitOptions(self.name, workload, options, unit)


def _pair(layer: LayerSensitivity, pick: int) -> tuple[int, int]:
    """Returns the positions of weights and of results of an option of `bit_options`."""
    if len(layer.result_bits) == 1:
        return pick + 1, 0
    weights, results = divmod(pick, len(layer.result_bits) - 1)
    return weights + 1, results + 1


def _options_of(
    layer: LayerSensitivity, estimate: Estimate, recovery: Recovery | None
) -> tuple[BitOption, ...]:
    out = []
    count = (len(layer.weights) - 1) * max(1, len(layer.result_bits) - 1)
    for pick in range(count):
        weights, results = _pair(layer, pick)
        parts = layer.parts(weights, results, estimate)
        drop = round(recovery.points(parts) if recovery else sum(parts), 6)
        planes = weight_planes(named_quantizer(layer.weights[weights]))
        out.append(
            BitOption(
                layer.weights[weights], planes.kind, planes.bits, max(1, layer.result_bits[results]), drop
            )
        )
    return tuple(out)


def fit_recovery(parts: Sequence[tuple[float, float]], points: Sequence[float]) -> Recovery:
    """Returns the factors of least squared error among those of which none is below a tenth of the other.

    A few hundred images may well show no effect of the weights' bits, or of the results'; that does not make bits free.

    Args:
        parts: what networks were predicted to lose, nats, by weights and by results.
        points: what they did lose after training again.

    Raises:
        ConfigError: there are fewer than two networks, or not as many of both.
    """
    if len(parts) != len(points) or len(points) < 2:
        raise ConfigError(
            f"recovery needs at least two networks, got {len(parts)} predictions and {len(points)} results"
        )
    mixing = np.array([[1.0, _LEAST_SHARE], [_LEAST_SHARE, 1.0]])  # the two ends of what is allowed
    weights, results = mixing @ _not_negative(np.array(parts) @ mixing, np.array(points, dtype=np.float64))
    return Recovery(float(weights), float(results))


def _not_negative(a: Floats, b: Floats) -> Floats:
    """Returns the two factors x >= 0 with the least |a x - b|."""
    both = np.linalg.lstsq(a, b, rcond=None)[0]
    if (both >= 0).all():
        return np.asarray(both, dtype=np.float64)
    alone = [max(0.0, float(a[:, k] @ b) / max(float(a[:, k] @ a[:, k]), 1e-12)) for k in range(2)]
    errors = [float(np.square(a[:, k] * alone[k] - b).sum()) for k in range(2)]
    return np.array([alone[0], 0.0] if errors[0] <= errors[1] else [0.0, alone[1]])
