"""What lowering knows about each value of the graph while it walks.

A value is a `Constant`, or on the host (`Host`), or a `Flow`: something the accelerator computes. A flow is an
accumulator (`Mac`) or a stored tensor, then monotone steps, then perhaps a residual add and a pooling: what one
pass of an engine and its result path do. Flows stay open, so that any number of elementwise operators and
quantizers end in one set of thresholds, until another operator needs their values stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from foldwright.accel.elementwise import Step
from foldwright.accel.host_limits import UnsupportedFormError
from foldwright.accel.quantops import Grid
from foldwright.accel.view import View
from foldwright.accel.workload import Pool, PoolKind

__all__ = ["Constant", "Flow", "Host", "Mac", "State", "Weights"]


@dataclass(frozen=True)
class Weights:
    """Quantized constants: `integers * scale`, the scale of a shape that broadcasts."""

    integers: np.ndarray  # int32
    scale: np.ndarray  # float64

    def moved(self, change: Callable[[np.ndarray], np.ndarray]) -> Weights:
        """Returns the same weights behind an operator that only moves elements."""
        return Weights(change(self.integers), change(np.broadcast_to(self.scale, self.integers.shape)))


@dataclass(frozen=True)
class Constant:
    """A value that no input changes; `weights` where a quantizer made it."""

    value: np.ndarray
    weights: Weights | None = None


@dataclass(frozen=True)
class Host:
    """A value computed on the host; `sample` is what zeros at the input give, for its shape and type.

    `late` is True where it depends on something that the accelerator computes.
    """

    sample: np.ndarray
    late: bool


@dataclass(frozen=True)
class Mac:
    """A convolution or matrix product: integer weights over the stored value `source`."""

    name: str
    source: str
    chw: tuple[int, int, int]
    weights: np.ndarray  # int32 (out, in / groups, height, width), columns in stored order
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    flattens: bool
    acc_min: np.ndarray  # int64 (out,): exact range of each channel's accumulator
    acc_max: np.ndarray

    @property
    def out_chw(self) -> tuple[int, int, int]:
        height = (self.chw[1] + self.padding[0] + self.padding[2] - self.weights.shape[2]) // self.stride[
            0
        ] + 1
        width = (self.chw[2] + self.padding[1] + self.padding[3] - self.weights.shape[3]) // self.stride[
            1
        ] + 1
        return len(self.weights), height, width


@dataclass(frozen=True)
class Flow:
    """A value that the accelerator computes; see the module.

    `origin` is a `Mac`, or the name of a stored value (then there are no steps). `levels` is the grid that the
    thresholds give, `grid` that of the stored value, residual and pooling included. `bare` marks a raw
    accumulator. `why` says why there is no grid. `image` is True where the stored value is the network's input.
    """

    origin: Mac | str
    view: View
    steps: tuple[Step, ...] = ()
    grid: Grid | None = None
    levels: Grid | None = None
    residual: str | None = None
    pool: Pool | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    bare: bool = False
    image: bool = False
    why: str = ""

    @property
    def is_open(self) -> bool:
        """True while further steps can join the thresholds."""
        averaged = self.pool is not None and self.pool.kind is PoolKind.AVERAGE
        return isinstance(self.origin, Mac) and self.residual is None and not averaged

    def extended(self, step: Step) -> Flow | None:
        """Returns the flow behind a step; None where the value must be stored before it."""
        if not any(self.padding):
            if self.is_open and (self.pool is None or step.increasing):
                grid = step.after(self.grid)
                grid = None if grid is None else grid.normalized()
                lost = self.grid is not None or step.quantizes
                reason = (
                    step.why if lost else self.why
                ) or f"{step.name} gives each channel a scale of its own"
                why = "" if grid is not None else reason
                return replace(self, steps=(*self.steps, step), grid=grid, levels=grid, bare=False, why=why)
            if not self.is_open and step.affine is not None and step.affine[0] > 0 and self.grid is not None:
                return replace(
                    self, grid=self.grid.affine(*step.affine)
                )  # the same integers, read differently
        return None

    def real(self, accumulators: np.ndarray) -> np.ndarray:
        """Returns the real values (channels, samples) that the steps make of accumulators."""
        values = accumulators.astype(np.float64)
        with np.errstate(all="ignore"):
            for step in self.steps:
                values = step.apply(values)
        if not np.isfinite(values).all():
            raise UnsupportedFormError("the operators behind it give NaN or infinity")
        return values


State = Constant | Host | Flow
