"""Geometry of sliding windows, shared by convolution and pooling, and their gather in numpy.

Sizes in pixels; padding is (top, left, bottom, right).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldwright.accel.host_limits import UnsupportedFormError

__all__ = ["MAX_PADDING", "Geometry", "conv_float", "pool_geometry", "pool_windows"]

MAX_PADDING = 1024
"""Widest padding on one side, in pixels, that a file may ask for."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the windows of one operator stand."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    out_size: tuple[int, int]


def pool_geometry(shape: Sequence[int], attributes: Mapping[str, Any]) -> Geometry:
    """Resolves ONNX's attributes (auto_pad, ceil_mode, dilations) into explicit padding.

    `ceil_mode` becomes padding at the bottom and right, so that later code knows one rule only.

    Raises:
        UnsupportedFormError: not two spatial dimensions, or a window that does not fit.
    """
    size = shape[2:]
    if len(size) != 2:
        raise UnsupportedFormError(f"{len(size)} spatial dimensions, 2 are supported (write 1-D as height 1)")
    kernel = _pair(attributes.get("kernel_shape"), "kernel_shape", None)
    stride = _pair(attributes.get("strides"), "strides", 1)
    dilation = _pair(attributes.get("dilations"), "dilations", 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    auto = attributes.get("auto_pad", "NOTSET")
    before, after = [0, 0], [0, 0]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(2):
            total = max((-(-size[i] // stride[i]) - 1) * stride[i] + reach[i] - size[i], 0)
            before[i] = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after[i] = total - before[i]
    elif auto == "NOTSET":
        pads = [int(p) for p in attributes.get("pads", (0, 0, 0, 0))]
        if len(pads) != 4 or min(pads) < 0:
            raise UnsupportedFormError(f"pads {pads}, four amounts of at least 0 are needed")
        before, after = pads[:2], pads[2:]
    elif auto != "VALID":
        raise UnsupportedFormError(f"auto_pad {auto!r}, known: NOTSET, SAME_LOWER, SAME_UPPER, VALID")
    if attributes.get("ceil_mode", 0):
        after = [_ceiled(size[i], before[i], after[i], reach[i], stride[i]) for i in range(2)]
    out = [(size[i] + before[i] + after[i] - reach[i]) // stride[i] + 1 for i in range(2)]
    if min(out) < 1:
        raise UnsupportedFormError(
            f"window {list(kernel)} does not fit the {size[0]}x{size[1]} map with pads {before + after}"
        )
    padding = (before[0], before[1], after[0], after[1])
    if max(padding) > MAX_PADDING:
        raise UnsupportedFormError(f"pads {list(padding)}, at most {MAX_PADDING} are allowed")
    return Geometry(kernel, stride, padding, dilation, (out[0], out[1]))


def _pair(value: Any, what: str, default: int | None) -> tuple[int, int]:
    if value is None and default is not None:
        return default, default
    if value is None or len(value) != 2 or min(value) < 1:
        raise UnsupportedFormError(f"{what} {value}, two sizes of at least 1 are needed")
    return int(value[0]), int(value[1])


def _ceiled(size: int, before: int, after: int, reach: int, stride: int) -> int:
    """Returns the padding behind that makes the floor rule count the windows of the ceil rule."""
    windows = -(-(size + before + after - reach) // stride) + 1
    if (windows - 1) * stride >= size + before:  # a window must start inside the map or its front padding
        windows -= 1
    return max(after, (windows - 1) * stride + reach - size - before)


def pool_windows(values: np.ndarray, geometry: Geometry, fill: Any) -> Iterator[np.ndarray]:
    """Yields for every tap the (N, C, H_out, W_out) values that the tap meets."""
    top, left, bottom, right = geometry.padding
    padded = values
    if any(geometry.padding):
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    (sy, sx), (dy, dx), (height, width) = geometry.stride, geometry.dilation, geometry.out_size
    for ky in range(geometry.kernel[0]):
        for kx in range(geometry.kernel[1]):
            y, x = ky * dy, kx * dx
            yield padded[:, :, y : y + (height - 1) * sy + 1 : sy, x : x + (width - 1) * sx + 1 : sx]


def conv_float(values: np.ndarray, weights: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """Returns a convolution as a sum of one matrix product per tap, in the operands' own data type."""
    n, channels = values.shape[:2]
    out, per_group = weights.shape[:2]
    if groups < 1 or channels != per_group * groups or out % groups:
        raise UnsupportedFormError(
            f"{channels} channels, {groups} groups and weights {list(weights.shape)} do not fit"
        )
    result = np.zeros((n, groups, out // groups, geometry.out_size[0] * geometry.out_size[1]), values.dtype)
    taps = weights.reshape(groups, out // groups, per_group, -1)
    for tap, window in enumerate(pool_windows(values, geometry, 0)):
        result += taps[:, :, :, tap] @ window.reshape(n, groups, per_group, -1)
    return result.reshape(n, out, *geometry.out_size)
