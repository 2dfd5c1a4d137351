"""Operators that move elements and compute nothing, in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from foldwright.accel.host_limits import Array, Attributes, UnsupportedFormError, limited

__all__ = [
    "axes",
    "concat",
    "depth_to_space",
    "expand",
    "filled",
    "flatten",
    "pad",
    "reshape",
    "resize",
    "sliced",
    "space_to_depth",
    "unsqueeze",
]


def axes(x: list[Any], a: Attributes, position: int = 1) -> tuple[int, ...] | None:
    if len(x) > position and x[position] is not None:
        return tuple(int(v) for v in x[position].ravel())
    return tuple(a["axes"]) if "axes" in a else None


def reshape(x: list[Any], a: Attributes) -> Array:
    sizes = [int(v) for v in (x[1].ravel() if len(x) > 1 and x[1] is not None else a["shape"])]
    if not a.get("allowzero", 0):
        sizes = [x[0].shape[i] if s == 0 else s for i, s in enumerate(sizes)]
    return x[0].reshape(sizes)


def flatten(x: list[Any], a: Attributes) -> Array:
    axis = a.get("axis", 1)
    axis = axis + x[0].ndim if axis < 0 else axis
    return x[0].reshape(int(np.prod(x[0].shape[:axis])), -1)


def unsqueeze(x: list[Any], a: Attributes) -> Array:
    wanted = axes(x, a)
    if wanted is None:
        raise UnsupportedFormError("no axes")
    return np.expand_dims(x[0], wanted)


def sliced(x: list[Any], a: Attributes) -> Array:
    if "starts" in a:
        given = [a["starts"], a["ends"], a.get("axes"), None]
    else:
        given = [None if v is None else v.ravel().tolist() for v in [*x[1:5], None, None][:4]]
    starts, ends = given[0], given[1]
    along = range(len(starts)) if given[2] is None else given[2]
    steps = [1] * len(starts) if given[3] is None else given[3]
    index: list[Any] = [slice(None)] * x[0].ndim
    for axis, start, end, step in zip(along, starts, ends, steps, strict=True):
        index[axis] = slice(start, None if step < 0 and end < -x[0].shape[axis] else end, step)
    return x[0][tuple(index)]


def pad(x: list[Any], a: Attributes) -> Array:
    pads = a["pads"] if "pads" in a else x[1].ravel().tolist()
    value = x[2].reshape(())[()] if len(x) > 2 and x[2] is not None and x[2].size else a.get("value", 0)
    if a.get("mode", "constant") != "constant" or min(pads) < 0 or (len(x) > 3 and x[3] is not None):
        raise UnsupportedFormError("only constant padding of all axes by amounts of at least 0 is known")
    n = x[0].ndim
    limited([x[0].shape[i] + pads[i] + pads[i + n] for i in range(n)])
    return np.pad(x[0], [(pads[i], pads[i + n]) for i in range(n)], constant_values=value)


def resize(x: list[Any], a: Attributes) -> Array:
    if a.get("mode", "nearest") != "nearest":
        raise UnsupportedFormError(f"mode {a['mode']!r}; nearest is known")
    values = x[0]
    if len(x) > 3 and x[3] is not None:
        sizes = [int(v) for v in x[3].ravel()]
        factors = [s / d for s, d in zip(sizes, values.shape, strict=True)]
    else:
        factors = _scales(x, a)
        sizes = [int(np.floor(d * f)) for d, f in zip(values.shape, factors, strict=True)]
    how = a.get("coordinate_transformation_mode", "half_pixel" if a["_opset"] >= 11 else "asymmetric")
    for axis, (size, factor) in enumerate(zip(limited(sizes), factors, strict=True)):
        values = values.take(_nearest_rows(size, factor, values.shape[axis], how, a), axis)
    return values


def _scales(x: list[Any], a: Attributes) -> list[float]:
    """Returns the scales wherever the opset keeps them: an attribute, the second or the third operand."""
    if "scales" in a:
        return [float(s) for s in a["scales"]]
    for value in x[1:3][::-1]:
        if value is not None and value.dtype.kind == "f" and value.size == x[0].ndim:
            return [float(s) for s in value.ravel()]
    raise UnsupportedFormError("neither scales nor sizes for every axis")


def _nearest_rows(size: int, factor: float, limit: int, how: str, a: Attributes) -> Array:
    at = np.arange(size, dtype=np.float64)
    if how == "asymmetric":
        where = at / factor
    elif how in ("half_pixel", "pytorch_half_pixel"):
        where = (at + 0.5) / factor - 0.5
    else:
        raise UnsupportedFormError(
            f"coordinate_transformation_mode {how!r}; asymmetric and half_pixel are known"
        )
    calls: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    }
    mode = a.get("nearest_mode", "round_prefer_floor" if a["_opset"] >= 11 else "floor")
    return np.clip(calls[mode](where), 0, limit - 1).astype(np.int64)


def depth_to_space(x: list[Any], a: Attributes) -> Array:
    n, c, h, w = x[0].shape
    b = int(a["blocksize"])
    if a.get("mode", "DCR") == "CRD":
        return x[0].reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, h * b, w * b)
    return x[0].reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, -1, h * b, w * b)


def space_to_depth(x: list[Any], a: Attributes) -> Array:
    n, c, h, w = x[0].shape
    b = int(a["blocksize"])
    return x[0].reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, -1, h // b, w // b)


def concat(x: list[Any], a: Attributes) -> Array:
    axis = int(a["axis"])
    shape = list(x[0].shape)
    shape[axis] = sum(v.shape[axis] for v in x)
    limited(shape)
    return np.concatenate(x, axis)


def filled(x: list[Any], a: Attributes) -> Array:
    value = a.get("value", np.zeros(1, np.float32))
    return np.full(limited(x[0].ravel().tolist()), value.reshape(-1)[0])


def expand(x: list[Any], a: Attributes) -> Array:
    shape = limited(np.broadcast_shapes(x[0].shape, tuple(int(v) for v in x[1].ravel())))
    return np.broadcast_to(x[0], shape)
