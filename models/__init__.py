"""Small quantized networks of our own; `README.md` says what they are, `train_digits` how they were made."""

from __future__ import annotations

from pathlib import Path

from foldwright.errors import ModelError, nearest

if __name__ != "foldwright.models":
    raise ImportError(
        f"'models' was imported as {__name__!r}: import it as 'foldwright.models', "
        "so that no module is loaded twice"
    )

__all__ = ["BIT_OPTIONS", "NAMES", "TEST_SET", "bit_options_path", "model_path"]

NAMES = ("digits_w1a2", "digits_w2a2_balanced")
"""The networks that `model_path` knows."""

BIT_OPTIONS = ("digits_bits",)
"""The bit options that `bit_options_path` knows; `digits_bits` says how they were made."""

_FOLDER = Path(__file__).resolve().parent

TEST_SET = _FOLDER / "digits_test.npz"
"""The 500 held-out images: `input`, uint8 (500, 1, 8, 8), and `label`, uint8 (500,)."""


def model_path(name: str) -> Path:
    """Returns the ONNX file of a network of ours.

    Raises:
        ModelError: no network has this name.
    """
    if name not in NAMES:
        raise ModelError(f"no network of ours is named {name!r}; {nearest(name, NAMES)}")
    return _FOLDER / f"{name}.onnx"


def bit_options_path(name: str) -> Path:
    """Returns the JSON file of bit options of ours.

    Raises:
        ModelError: no bit options have this name.
    """
    if name not in BIT_OPTIONS:
        raise ModelError(f"no bit options of ours are named {name!r}; {nearest(name, BIT_OPTIONS)}")
    return _FOLDER / f"{name}.json"
