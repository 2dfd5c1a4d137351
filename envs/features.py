"""What the features of all environments share: their limits, and functions that keep to them (njit)."""

from __future__ import annotations

import numpy as np

from foldwright.kernels import njit

__all__ = ["FEATURE_LIMIT", "clip", "log2"]

FEATURE_LIMIT = 4.0
"""Features are clipped to -FEATURE_LIMIT .. FEATURE_LIMIT."""


@njit(cache=True)
def clip(value: float) -> float:
    """Returns a feature within its limits."""
    return max(-FEATURE_LIMIT, min(FEATURE_LIMIT, value))


@njit(cache=True)
def log2(value: float) -> float:
    """Returns a logarithm that stays finite."""
    return np.log2(max(value, 1e-9))
