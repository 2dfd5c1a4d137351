"""Quantizers: from real values to integers and a scale, in numpy.

Every quantizer is a frozen value with the same face: `levels` (the integers it can give), `to_integers`
(integers and one scale) and `forward` (the real values that the integers stand for, `integers * scale`).
Calculation is in float64 whatever the input; `forward` gives the input's own float type back. Rounding is
`floor(v + 1/2)`: ties go up, as in the linear quantizer `Q(x) = D*floor(x/D + 1/2)`.

| quantizer | levels for b bits | scale |
|---|---|---|
| `LinearQuantizer` | 0 .. 2^b-1, or two's complement | the given step D |
| `SymmetricQuantizer` | -(2^(b-1)-1) .. 2^(b-1)-1 | max abs x / 2^(b-1)-1 |
| `DorefaActivation` | 0 .. 2^b-1 | 1 / (2^b-1) |
| `DorefaWeight` | -1, +1; or the odd numbers -(2^b-1) .. 2^b-1 | mean abs x; or 1 / (2^b-1) |
| `BalancedQuantizer` | the odd numbers -(2^b-1) .. 2^b-1 | mean abs x / 2^(b-1) |
| `OddQuantizer` | the odd numbers -(2^b-1) .. 2^b-1 | of least squared error |

Those with uneven levels, `LogQuantizer` and `MuLawQuantizer`, are in `quantize_uneven`, as is what levels cost an engine.
Sources: DoReFa-Net, arXiv 1606.06160; Balanced Quantization, arXiv 1706.07145: parameters are partitioned by percentiles
into bins of equal population, then quantized uniformly. Its scale here keeps the mean magnitude; a BatchNormalization
behind the layer absorbs any other choice. One bit of least squared error is the sign times the mean magnitude: XNOR-Net,
arXiv 1603.05279. Gradients live in `quantize_torch`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foldwright.errors import ModelError

__all__ = [
    "BalancedQuantizer",
    "DorefaActivation",
    "DorefaWeight",
    "LinearQuantizer",
    "OddQuantizer",
    "Quantized",
    "Quantizer",
    "SymmetricQuantizer",
    "check_bits",
    "checked_values",
    "fit_scale",
    "half_up",
    "real_forward",
]

MAX_BITS = 16
_SCALES = 16

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """Integers and the real value of one: the tensor is `integers * scale`."""

    integers: Integers
    scale: float

    def values(self) -> npt.NDArray[np.float64]:
        """Returns the real values."""
        return np.asarray(self.integers * self.scale, dtype=np.float64)


class Quantizer(Protocol):
    """What every quantizer can do."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The integers that `to_integers` can give, ascending."""

    def to_integers(self, x: Floats) -> Quantized:
        """Returns integers of the shape of `x`, and their scale."""

    def forward(self, x: Floats) -> Floats:
        """Returns the quantized values in the float type of `x`."""


def checked_values(x: Floats, owner: object) -> npt.NDArray[np.float64]:
    """Returns values in float64.

    Raises:
        ModelError: there is none, or one is not finite; the message names the quantizer `owner`.
    """
    values = np.asarray(x, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        got = f"{bad} values that are not finite" if bad else "no value at all"
        raise ModelError(f"{type(owner).__name__} got {got}, but needs finite numbers; check its tensor")
    return values


def check_bits(owner: object, bits: int, least: int) -> None:
    """Raises ModelError where the bits of a quantizer are not `least` to `MAX_BITS`."""
    if not least <= bits <= MAX_BITS:
        raise ModelError(f"{type(owner).__name__}: bits is {bits}, allowed are {least} to {MAX_BITS}")


def half_up(x: npt.NDArray[np.float64]) -> Integers:
    """Returns the nearest integers, ties up."""
    return np.floor(x + 0.5).astype(np.int64)


def _odd_levels(bits: int) -> tuple[int, ...]:
    top = (1 << bits) - 1
    return tuple(range(-top, top + 1, 2))


def fit_scale(
    values: npt.NDArray[np.float64], nearest: Callable[[npt.NDArray[np.float64]], Integers], top: int
) -> Quantized:
    """Returns the integers and the scale of least squared error, as far as a short search finds them.

    The largest level stands for each sixteenth of the largest magnitude in turn; the integers of the best of these scales
    then get the scale that suits them best, `sum(q x) / sum(q^2)`.

    Args:
        nearest: gives the level next to each value of scale 1.
        top: the largest level.
    """
    most = float(np.abs(values).max())
    if most == 0.0:
        return Quantized(nearest(values), 1.0)
    scales = most / top * np.arange(1, _SCALES + 1) / _SCALES
    errors = [float(np.square(nearest(values / s) * s - values).sum()) for s in scales]
    integers = nearest(values / scales[int(np.argmin(errors))])
    return Quantized(integers, float((integers * values).sum() / np.square(integers).sum()))


def real_forward(self: Quantizer, x: Floats) -> Floats:
    """Returns the quantized values in the float type of `x`: the `forward` of every quantizer."""
    dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else np.dtype(np.float64)
    return self.to_integers(x).values().astype(dtype)


@dataclass(frozen=True, slots=True)
class LinearQuantizer:
    """The linear quantizer `Q(x) = D*floor(x/D + 1/2)` with step D, saturated to `bits`."""

    step: float
    bits: int
    signed: bool = False

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 2 if self.signed else 1)
        if not (np.isfinite(self.step) and self.step > 0):
            raise ModelError(f"LinearQuantizer: step is {self.step}, must be finite and greater than 0")

    @property
    def levels(self) -> tuple[int, ...]:
        low = -(1 << self.bits - 1) if self.signed else 0
        return tuple(range(low, low + (1 << self.bits)))

    def to_integers(self, x: Floats) -> Quantized:
        low = -(1 << self.bits - 1) if self.signed else 0
        # Saturation comes first: a huge quotient has no int64.
        ratio = np.clip(checked_values(x, self) / self.step, low, low + (1 << self.bits) - 1)
        return Quantized(half_up(ratio), self.step)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class SymmetricQuantizer:
    """Signed levels around zero, the largest magnitude of the tensor on the largest level."""

    bits: int

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 2)

    @property
    def levels(self) -> tuple[int, ...]:
        top = (1 << self.bits - 1) - 1
        return tuple(range(-top, top + 1))

    def to_integers(self, x: Floats) -> Quantized:
        values = checked_values(x, self)
        top = (1 << self.bits - 1) - 1
        scale = float(np.abs(values).max()) / top
        if scale == 0.0:
            return Quantized(np.zeros(values.shape, dtype=np.int64), 1.0)
        return Quantized(np.clip(half_up(values / scale), -top, top), scale)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class DorefaActivation:
    """Clips to [0, 1] and rounds to multiples of `1 / (2^bits - 1)`."""

    bits: int

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 1)

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(range(1 << self.bits))

    def to_integers(self, x: Floats) -> Quantized:
        steps = (1 << self.bits) - 1
        return Quantized(half_up(np.clip(checked_values(x, self), 0.0, 1.0) * steps), 1.0 / steps)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class DorefaWeight:
    """DoReFa's weights: the sign times the mean magnitude at one bit, else tanh over its maximum."""

    bits: int

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 1)

    @property
    def levels(self) -> tuple[int, ...]:
        return _odd_levels(self.bits)

    def to_integers(self, x: Floats) -> Quantized:
        values = checked_values(x, self)
        if self.bits == 1:
            signs = np.where(values >= 0, 1, -1).astype(np.int64)
            return Quantized(signs, float(np.abs(values).mean()) or 1.0)
        squashed = np.tanh(values)
        steps = (1 << self.bits) - 1
        unit = squashed / (2 * (np.abs(squashed).max() or 1.0)) + 0.5
        return Quantized(2 * half_up(unit * steps) - steps, 1.0 / steps)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class BalancedQuantizer:
    """Bins of equal population, cut at the percentiles, on evenly spaced odd levels.

    Uniform quantization between the extreme values leaves outer levels nearly unused where weights are
    bell-shaped; here all levels are used equally often. Equal values always share a level, so many ties
    make the bins uneven.
    """

    bits: int

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 1)

    @property
    def levels(self) -> tuple[int, ...]:
        return _odd_levels(self.bits)

    def to_integers(self, x: Floats) -> Quantized:
        values = checked_values(x, self)
        count = 1 << self.bits
        cuts = np.quantile(values, np.arange(1, count) / count)
        bins = np.searchsorted(cuts, values, side="right")
        scale = float(np.abs(values).mean()) / (count // 2)
        return Quantized((2 * bins - (count - 1)).astype(np.int64), scale or 1.0)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class OddQuantizer:
    """Evenly spaced odd levels, as near to the values as they can be.

    Of all quantizers with odd levels it disturbs a trained layer least, so a few bits of it tell how much a layer needs.
    """

    bits: int

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 1)

    @property
    def levels(self) -> tuple[int, ...]:
        return _odd_levels(self.bits)

    def to_integers(self, x: Floats) -> Quantized:
        values = checked_values(x, self)
        if self.bits == 1:
            signs = np.where(values >= 0, 1, -1).astype(np.int64)
            return Quantized(signs, float(np.abs(values).mean()) or 1.0)
        top = (1 << self.bits) - 1
        # The bins of odd levels end at even numbers.
        return fit_scale(values, lambda v: np.clip(2 * np.floor(v / 2) + 1, -top, top).astype(np.int64), top)

    forward = real_forward
