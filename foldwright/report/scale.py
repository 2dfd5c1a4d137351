"""Axes: from values to places on paper, round ticks, and numbers as people write them."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Linear", "Log", "short"]

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Returns a number in at most five characters or so.

    >>> [short(v) for v in (0, 0.05, 3, 1234, 20480, 1.5e6, -2e9)]
    ['0', '0.05', '3', '1.23k', '20.5k', '1.5M', '-2G']
    """
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor * 0.9995:
            scaled = value / factor
            return (f"{scaled:.3g}" if abs(scaled) < 999.5 else f"{scaled:.0f}") + prefix
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Linear:
    """Maps `low..high` to `start..end` evenly."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        return self.start + (self.end - self.start) * ((value - self.low) / span if span else 0.0)

    def ticks(self, count: int = 6) -> list[float]:
        """Returns round values within the range, about `count` of them.

        >>> Linear(0, 1000, 0, 1).ticks(5)
        [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
        """
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / count
        base = 10.0 ** math.floor(math.log10(raw))
        step = base * next(m for m in (1, 2, 5, 10) if raw <= m * base * (1 + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(k * step) for k in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Log:
    """Maps `low..high`, both positive, to `start..end` by their logarithm."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = math.log(self.high / self.low)
        return self.start + (self.end - self.start) * (math.log(value / self.low) / span if span else 0.0)

    def ticks(self, count: int = 6) -> list[float]:
        """Returns powers of ten within the range, with 2 and 5 between them where there is room.

        >>> Log(1, 1000, 0, 1).ticks()
        [1.0, 10.0, 100.0, 1000.0]
        """
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = max(1, math.ceil(len(decades) / (count + 1)))
        tens = [10.0**d for d in decades if d % every == 0]
        fine = sorted(m * 10.0**d for d in decades for m in (1, 2, 5)) if len(decades) <= 3 else tens
        inside = [v for v in fine if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]
        return inside or [self.low]
