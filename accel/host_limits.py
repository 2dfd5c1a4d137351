"""What the host's operators share: the limits on what a file may make us hold, and the error of a bad form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["MAX_ELEMENTS", "Array", "Attributes", "UnsupportedFormError", "limited"]

MAX_ELEMENTS = 2**26
"""Largest tensor, in elements, that a file may make us hold."""

Array = np.ndarray
Attributes = Mapping[str, Any]


class UnsupportedFormError(ValueError):
    """A known operator in a form (attributes, operands) that is not supported; the text says which."""


def limited(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns a shape as it is, after checking that a tensor of it may be made."""
    sizes = tuple(int(s) for s in shape)
    if any(s < 0 for s in sizes) or int(np.prod(sizes, dtype=object)) > MAX_ELEMENTS:
        raise UnsupportedFormError(f"result of shape {list(sizes)}, allowed are {MAX_ELEMENTS} elements")
    return sizes
