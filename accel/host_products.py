"""Convolutions, products and pooling on the host, in the graph's own float type."""

from __future__ import annotations

from typing import Any

import numpy as np

from foldwright.accel.host_limits import Array, Attributes, UnsupportedFormError, limited
from foldwright.accel.windows import conv_float, pool_geometry, pool_windows

__all__ = ["average_pool", "conv", "gemm", "matmul", "max_pool"]


def conv(x: list[Any], a: Attributes) -> Array:
    values, weights = x[0], x[1]
    geometry = pool_geometry(values.shape, {**a, "kernel_shape": weights.shape[2:]})
    limited((1, weights.shape[0], *geometry.out_size))
    out = conv_float(values, weights, geometry, int(a.get("group", 1)))
    return out if len(x) < 3 or x[2] is None else out + x[2].reshape(1, -1, 1, 1)


def gemm(x: list[Any], a: Attributes) -> Array:
    left = x[0].T if a.get("transA", 0) else x[0]
    right = x[1].T if a.get("transB", 0) else x[1]
    limited((left.shape[0], right.shape[1]))
    out = left @ right * np.asarray(a.get("alpha", 1.0), left.dtype)
    return out if len(x) < 3 or x[2] is None else out + x[2] * np.asarray(a.get("beta", 1.0), left.dtype)


def max_pool(x: list[Any], a: Attributes) -> Array:
    low = -np.inf if x[0].dtype.kind == "f" else np.iinfo(x[0].dtype).min
    geometry = pool_geometry(x[0].shape, a)
    limited((*x[0].shape[:2], *geometry.out_size))
    return np.maximum.reduce(list(pool_windows(x[0], geometry, low)))


def average_pool(x: list[Any], a: Attributes) -> Array:
    geometry = pool_geometry(x[0].shape, a)
    limited((*x[0].shape[:2], *geometry.out_size))
    total: Array = sum(pool_windows(x[0], geometry, 0), np.zeros((), x[0].dtype))
    if a.get("count_include_pad", 0) or not any(geometry.padding):
        return (total / np.asarray(np.prod(geometry.kernel), x[0].dtype)).astype(x[0].dtype)
    ones = np.ones((1, 1, *x[0].shape[2:]), x[0].dtype)
    counts: Array = sum(pool_windows(ones, geometry, 0), np.zeros((), x[0].dtype))
    return (total / counts).astype(x[0].dtype)


def matmul(x: list[Any], a: Attributes) -> Array:
    if x[0].ndim < 2 or x[1].ndim < 2:
        raise UnsupportedFormError("vectors; matrices are needed")
    limited((*x[0].shape[:-1], x[1].shape[-1]))
    return np.matmul(x[0], x[1])
