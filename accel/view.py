"""How a tensor's shape in the ONNX graph lies over the (channels, height, width) block that is stored.

Reshape, Flatten, Squeeze and Transpose move no data in the accelerator: they change the view. A view keeps, for
each element of the graph's tensor, its position in the stored block, so that any mix of them (NHWC exports too)
is followed exactly, and weights behind a flatten can be put in stored order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foldwright.accel.host_limits import UnsupportedFormError

__all__ = ["View"]


@dataclass(frozen=True)
class View:
    """A graph tensor of one frame over a stored block `chw`; `order` is None where positions count up."""

    chw: tuple[int, int, int]
    shape: tuple[int, ...]
    order: np.ndarray | None = None  # int32, of `shape`: position in the flattened block

    @staticmethod
    def of(chw: tuple[int, int, int], shape: tuple[int, ...] | None = None) -> View:
        return View(chw, (1, *chw) if shape is None else shape)

    @property
    def is_map(self) -> bool:
        """True where the graph sees the stored block as (1, channels, height, width)."""
        return self.order is None and self.shape == (1, *self.chw)

    def positions(self) -> np.ndarray:
        """Returns for each element of the graph's tensor its place in the flattened block."""
        if self.order is not None:
            return self.order
        return np.arange(math.prod(self.chw), dtype=np.int32).reshape(self.shape)

    def moved(self, change: Callable[[np.ndarray], np.ndarray]) -> View:
        """Returns the view behind an operator that only moves elements."""
        order = np.ascontiguousarray(change(self.positions()))
        if order.size != math.prod(self.chw):
            raise UnsupportedFormError(
                f"shape {list(order.shape)} does not hold the {math.prod(self.chw)} elements"
            )
        in_order = bool((order.reshape(-1)[1:] > order.reshape(-1)[:-1]).all())
        return View(self.chw, order.shape, None if in_order else order)

    def is_channel_axis(self, axis: int) -> bool:
        """True where an axis of the graph's tensor runs over the stored channels and nothing else."""
        if not -len(self.shape) <= axis < len(self.shape) or self.shape[axis] != self.chw[0]:
            return False
        channel = np.moveaxis(self.positions() // (self.chw[1] * self.chw[2]), axis, 0)
        return bool((channel.reshape(self.chw[0], -1) == np.arange(self.chw[0])[:, None]).all())

    def per_channel(self, constant: np.ndarray) -> np.ndarray:
        """Returns an operand of an elementwise operator as one float64 per stored channel, or one for all.

        Raises:
            UnsupportedFormError: the operand widens the tensor or differs within a channel.
        """
        constant = np.asarray(constant, np.float64)
        if constant.size == 1:
            return constant.reshape(1)
        try:
            wide = np.broadcast_to(constant, self.shape)
        except ValueError:
            raise UnsupportedFormError(
                f"a constant of shape {list(constant.shape)} against a tensor of shape {list(self.shape)}"
            ) from None
        channels = self.chw[0]
        block = np.empty(math.prod(self.chw))
        block[self.positions().reshape(-1)] = wide.reshape(-1)
        table = block.reshape(channels, -1)
        if not (table == table[:, :1]).all():
            raise UnsupportedFormError(
                f"a constant of shape {list(constant.shape)} that differs within a channel; one value per channel is needed"
            )
        return np.ascontiguousarray(table[:, 0])

    def decoded(self, block: np.ndarray) -> np.ndarray:
        """Returns stored values (frames, C, H, W) as the graph's tensor (frames, *shape[1:])."""
        flat = block.reshape(len(block), -1)
        return flat[:, self.positions().reshape(-1)].reshape(len(block), *self.shape[1:])

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """Returns the graph's tensor (frames, *shape[1:]) as the stored block (frames, C, H, W)."""
        flat = np.empty((len(values), math.prod(self.chw)), values.dtype)
        flat[:, self.positions().reshape(-1)] = values.reshape(len(values), -1)
        return flat.reshape(len(values), *self.chw)
