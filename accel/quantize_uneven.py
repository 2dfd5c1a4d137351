"""Quantizers whose levels are not evenly spaced, and what levels of any kind cost an engine.

| quantizer | levels for b bits | scale |
|---|---|---|
| `LogQuantizer` | 0 and +-2^e, e = 0 .. 2^(b-1)-2 | of least squared error |
| `MuLawQuantizer` | L * F^-1(k / K) rounded, k = -K .. K, with K = 2^(b-1)-1 and L = 2^(l-1)-1 | max abs x / L |

F(v) = sign(v) * ln(1 + mu |v|) / ln(1 + mu) is the compander of ITU-T G.711 (mu-law, mu = 255), here with its exact curve
instead of G.711's segments: steps grow with the magnitude, so b bits serve small values nearly as well as `linear_bits` = l
evenly spaced ones do. G.711 has 8 bits for 14; the default here is four bits more than b, 12 for 8. Levels that fall on
one integer are one level.

The base-2 levels with 0 are those of Incremental Network Quantization (arXiv 1702.03044) and of LogNet (arXiv 1603.01025).
INQ rounds to the level nearest by value and LogNet in the logarithm, which never gives 0 to any value but 0; here it is by value.
Two bits with 0 are -1, 0, 1; without it they would be +-1 and +-2, which takes three planes instead of two.

An engine multiplies by bit planes, so what counts is how many planes the integers need, not how many codes there are. An
engine that shifts by an exponent instead could take powers of two for less; there is none here.

>>> [weight_planes(LogQuantizer(b)).planes for b in (2, 3, 4)]
[2, 4, 8]
>>> weight_planes(MuLawQuantizer(8)).planes
12
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foldwright.accel.quantize import (
    MAX_BITS,
    BalancedQuantizer,
    DorefaWeight,
    Floats,
    Integers,
    OddQuantizer,
    Quantized,
    Quantizer,
    SymmetricQuantizer,
    check_bits,
    checked_values,
    fit_scale,
    real_forward,
)
from foldwright.accel.quantops import weight_kind
from foldwright.accel.workload import WeightKind
from foldwright.errors import ModelError, nearest

__all__ = ["LogQuantizer", "MuLawQuantizer", "WeightPlanes", "named_quantizer", "weight_planes"]

_MOST_LOG_BITS = 4
_EXTRA_LINEAR_BITS = 4


@dataclass(frozen=True, slots=True)
class LogQuantizer:
    """Powers of two and 0, each value to the nearest of them by its value; see the module's docstring."""

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= _MOST_LOG_BITS:
            raise ModelError(
                f"LogQuantizer: bits is {self.bits}, allowed are 2 to {_MOST_LOG_BITS}, as integers have at most {MAX_BITS} bits"
            )

    @property
    def exponents(self) -> int:
        """How many powers of two there are."""
        return (1 << self.bits - 1) - 1

    @property
    def levels(self) -> tuple[int, ...]:
        powers = [1 << e for e in range(self.exponents)]
        return (*(-p for p in reversed(powers)), 0, *powers)

    def to_integers(self, x: Floats) -> Quantized:
        return fit_scale(checked_values(x, self), self._nearest, 1 << self.exponents - 1)

    def _nearest(self, values: npt.NDArray[np.float64]) -> Integers:
        """Returns the nearest levels, ties away from 0."""
        powers = np.array([0, *(1 << e for e in range(self.exponents))], dtype=np.int64)
        borders = (powers[1:] + powers[:-1]) / 2
        found = powers[np.searchsorted(borders, np.abs(values), side="right")]
        return np.where(values < 0, -found, found)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class MuLawQuantizer:
    """Steps that grow with the magnitude, by the mu-law; see the module's docstring.

    `linear_bits` are those of the evenly spaced integers that the levels are rounded to; 0 stands for four more than `bits`.
    """

    bits: int
    linear_bits: int = 0
    mu: float = 255.0

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 2)
        if not self.linear_bits:
            object.__setattr__(self, "linear_bits", min(MAX_BITS, self.bits + _EXTRA_LINEAR_BITS))
        if not self.bits <= self.linear_bits <= MAX_BITS:
            raise ModelError(
                f"MuLawQuantizer: linear_bits is {self.linear_bits}, allowed are {self.bits} to {MAX_BITS}"
            )
        if not (np.isfinite(self.mu) and self.mu > 0):
            raise ModelError(f"MuLawQuantizer: mu is {self.mu}, must be finite and greater than 0")

    @property
    def levels(self) -> tuple[int, ...]:
        magnitudes = sorted(set(self._magnitudes().tolist()))
        return (*(-m for m in reversed(magnitudes) if m), *magnitudes)

    @property
    def _top(self) -> int:
        return (1 << self.bits - 1) - 1

    @property
    def _linear_top(self) -> int:
        return (1 << self.linear_bits - 1) - 1

    def _magnitudes(self) -> Integers:
        """Returns the integer of each code 0 .. K, ascending."""
        expanded = np.expm1(np.arange(self._top + 1) / self._top * np.log1p(self.mu)) / self.mu
        return np.floor(self._linear_top * expanded + 0.5).astype(np.int64)

    def to_integers(self, x: Floats) -> Quantized:
        values = checked_values(x, self)
        most = float(np.abs(values).max())
        if most == 0.0:
            return Quantized(np.zeros(values.shape, dtype=np.int64), 1.0)
        companded = np.log1p(self.mu * np.abs(values / most)) / np.log1p(self.mu)
        codes = np.minimum(np.floor(companded * self._top + 0.5).astype(np.int64), self._top)
        found = self._magnitudes()[codes]
        return Quantized(np.where(values < 0, -found, found), most / self._linear_top)

    forward = real_forward


@dataclass(frozen=True, slots=True)
class WeightPlanes:
    """How weights map to bit planes, and how many an engine runs through for each plane of activations."""

    kind: WeightKind
    bits: int

    @property
    def planes(self) -> int:
        """The fewest planes: those of an XNOR engine, or of an AND engine where only that can hold the weights."""
        return self.bits

    @property
    def and_planes(self) -> int:
        """The planes of an AND engine, which takes weights of any kind."""
        return self.bits + 1 if self.kind in (WeightKind.BINARY, WeightKind.ODD) else self.bits


def weight_planes(quantizer: Quantizer) -> WeightPlanes:
    """Returns what the weights of a quantizer cost an engine, whichever of its levels they take."""
    return WeightPlanes(*weight_kind(np.array(quantizer.levels)))


_NAMED: Mapping[str, Callable[[int], Quantizer]] = {
    "balanced": BalancedQuantizer,
    "dorefa": DorefaWeight,
    "log": LogQuantizer,
    "mulaw": MuLawQuantizer,
    "odd": OddQuantizer,
    "symmetric": SymmetricQuantizer,
}


def named_quantizer(name: str) -> Quantizer:
    """Returns a quantizer of weights by its family and bits.

    >>> named_quantizer("odd-2")
    OddQuantizer(bits=2)

    Raises:
        ModelError: no family has this name, or it has no quantizer of so many bits.
    """
    family, _, bits = name.rpartition("-")
    if family not in _NAMED or not (bits.isascii() and bits.isdigit()):
        known = nearest(name, [f"{family}-2" for family in _NAMED])
        raise ModelError(f"no quantizer of weights is named {name!r}; {known}")
    return _NAMED[family](int(bits))
