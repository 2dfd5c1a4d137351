"""Random networks, and which split each belongs to.

A network is a chain of blocks: convolutions of several kernels and strides, pairs with a residual add, depthwise and
pointwise pairs, grouped convolutions, poolings, and matrix products at the end, with one family of weights and mixed
bit widths. Splits are of *networks*: a generated one belongs to the split that its content hash (no names) falls into,
so no seed can carry a network from one split into another. Networks of `heldout-real` are never generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from foldwright.accel.known_workloads import KNOWN_WORKLOADS, LayerChain, known_workload, pooling
from foldwright.accel.workload import ActKind, WeightKind, Workload
from foldwright.errors import ConfigError, nearest

__all__ = [
    "LARGE",
    "REAL_NETWORKS",
    "SMALL",
    "SPLITS",
    "TINY",
    "Difficulty",
    "belongs_to",
    "random_workload",
    "split_number",
    "split_workload",
]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How large a generated network is; every pair is (least, most), ends included."""

    layers: tuple[int, int]
    side: tuple[int, int]  # pixels of the image
    channels: tuple[int, int]


TINY = Difficulty(layers=(1, 2), side=(4, 10), channels=(4, 16))
SMALL = Difficulty(layers=(3, 8), side=(8, 48), channels=(8, 128))
LARGE = Difficulty(layers=(12, 28), side=(24, 96), channels=(16, 256))

SPLITS = ("train", "validation", "heldout-id", "heldout-size", "heldout-real")
REAL_NETWORKS = tuple(name for name in KNOWN_WORKLOADS if not name.startswith("digits"))
_PARTS = 8
_PARTS_OF = {
    "train": range(0, 5),
    "validation": range(5, 6),
    "heldout-id": range(6, 8),
    "heldout-size": range(_PARTS),
}

_WEIGHTS = (
    ((1, WeightKind.BINARY),),
    ((2, WeightKind.TERNARY), (1, WeightKind.BINARY)),
    ((2, WeightKind.ODD), (1, WeightKind.BINARY), (3, WeightKind.ODD)),
    ((2, WeightKind.SIGNED), (3, WeightKind.SIGNED), (4, WeightKind.SIGNED)),
)
_WEIGHT_CHANCES = (0.45, 0.15, 0.15, 0.25)
_ACTS = (
    ((1, ActKind.BIPOLAR),),
    ((2, ActKind.SIGNED),),
    ((2, ActKind.UNSIGNED), (1, ActKind.UNSIGNED), (3, ActKind.UNSIGNED)),
    ((4, ActKind.UNSIGNED), (2, ActKind.UNSIGNED)),
)
_ACT_CHANCES = (0.2, 0.1, 0.45, 0.25)
_BLOCKS = ("plain", "point", "residual", "depthwise", "grouped", "wide")
_BLOCK_CHANCES = (0.4, 0.12, 0.2, 0.1, 0.1, 0.08)


def random_workload(rng: np.random.Generator, difficulty: Difficulty, name: str = "random") -> Workload:
    """Returns a random network of the given size."""
    return _Writer(rng, difficulty).workload(name)


class _Writer:
    """Writes one random network, block by block."""

    def __init__(self, rng: np.random.Generator, difficulty: Difficulty) -> None:
        self._rng, self._difficulty = rng, difficulty
        self._weights = _WEIGHTS[rng.choice(len(_WEIGHTS), p=_WEIGHT_CHANCES)]
        self._acts = _ACTS[rng.choice(len(_ACTS), p=_ACT_CHANCES)]
        self._pads = self._acts[0][1] is not ActKind.BIPOLAR  # no bit stands for zero there
        self._mixed = rng.random() < 0.3
        side = int(rng.integers(difficulty.side[0], difficulty.side[1] + 1))
        wide = side * int(rng.choice([1, 1, 1, 2]))
        image = (3, side, wide, 8, ActKind.UNSIGNED)
        if rng.random() < 0.3:  # the inside of a network: what a host or an earlier engine hands over
            image = (self._channels(), side, wide, *self._acts[0])
        self._chain = LayerChain(image, self._weights[0], self._acts[0])
        self._count = int(rng.integers(difficulty.layers[0], difficulty.layers[1] + 1))

    def workload(self, name: str) -> Workload:
        chain, dense = self._chain, int(self._rng.choice([0, 1, 1, 2]))
        while len(chain.layers) < max(1, self._count - dense):
            self._block(self._count - dense - len(chain.layers))
        while len(chain.layers) < self._count:
            if np.prod(chain.shape_of(chain.last)) <= 64 * self._difficulty.channels[1]:
                chain.matmul(self._channels(), raw=len(chain.layers) == self._count - 1)
            else:
                self._block(self._count - len(chain.layers))
        return chain.workload(name)

    def _channels(self) -> int:
        low, high = self._difficulty.channels
        value = np.exp(self._rng.uniform(np.log(low), np.log(high)))
        step = 8 if value >= 32 and self._rng.random() < 0.7 else 4
        return max(step, round(value / step) * step)

    def _bits(self) -> tuple[tuple[int, WeightKind], tuple[int, ActKind]]:
        if not self._mixed:
            return self._weights[0], self._acts[0]
        return (
            self._weights[self._rng.integers(len(self._weights))],
            self._acts[self._rng.integers(len(self._acts))],
        )

    def _block(self, room: int) -> None:
        channels, height, width = self._chain.shape_of(self._chain.last)
        kind = str(self._rng.choice(_BLOCKS, p=_BLOCK_CHANCES))
        small = min(height, width) < (5 if kind == "wide" else 3) or not self._chain.layers
        if kind == "residual" and room >= 2 and self._pads and self._chain.layers:
            self._residual(channels)
        elif kind == "depthwise" and room >= 2 and self._pads and not small:
            self._conv(channels, 3, groups=channels)
            self._conv(self._channels(), 1)
        elif kind == "grouped" and channels % 2 == 0 and not small:
            self._conv(self._channels(), 3, groups=2)
        elif kind == "point" or min(height, width) < 3:
            self._conv(self._channels(), 1)
        else:
            self._conv(self._channels(), 5 if kind == "wide" and min(height, width) >= 5 else 3)

    def _conv(self, channels: int, kernel: int, groups: int = 1) -> str:
        weights, acts = self._bits()
        height, width = self._chain.shape_of(self._chain.last)[1:]
        padding = kernel // 2 if self._pads else 0
        low = min(height, width) + 2 * padding - kernel + 1
        far = low / self._difficulty.side[0]  # shrink what is still large, sooner or later
        stride = 2 if kernel > 1 and low >= 6 and self._rng.random() < min(0.4, 0.08 * far) else 1
        pool = (
            pooling(2, 2) if stride == 1 and low >= 4 and self._rng.random() < min(0.6, 0.12 * far) else None
        )
        return self._chain.conv(
            channels, kernel, stride, padding, groups, pool, weights=weights, acts=acts
        )  # fmt: skip

    def _residual(self, channels: int) -> None:
        start, (weights, acts) = self._chain.last, self._bits()
        acts = self._chain.acts_of(start)
        middle = self._chain.conv(self._channels(), weights=weights, acts=acts)
        self._chain.conv(channels, reads=middle, adds=start, weights=weights, acts=acts)


@cache
def _real_hashes() -> frozenset[str]:
    return frozenset(known_workload(name).content_hash() for name in KNOWN_WORKLOADS)


def split_number(split: str) -> int:
    """Returns the position of a split.

    Raises:
        ConfigError: no split has this name.
    """
    if split not in SPLITS:
        raise ConfigError(f"no split is named {split!r}; {nearest(split, SPLITS)}")
    return SPLITS.index(split)


def belongs_to(split: str, content_hash: str) -> bool:
    """Whether what has this hash belongs to a generated split; of all but `heldout-size`, to one alone."""
    return int(content_hash, 16) % _PARTS in _PARTS_OF[split]


def split_workload(split: str, rng: np.random.Generator, name: str) -> Workload:
    """Draws networks until one belongs to a generated split, and returns it."""
    difficulty = LARGE if split == "heldout-size" else SMALL
    while True:
        workload = random_workload(rng, difficulty, name)
        found = workload.content_hash()
        if belongs_to(split, found) and found not in _real_hashes():
            return workload
