"""Folding tables: every folding that a streaming dataflow generator offers for every node of a chain, with its estimates.

A table is what FINN's own estimators say of a network, and so an allocation problem in FINN's terms: nodes stand in the order
in which frames stream through them, each with its choices. A choice has the attributes that fold the node (PE, SIMD,
ram_style, ...), the cycles it takes for a frame, LUTs, block RAMs of 18 kbit, DSP slices, and the widths of its input and output
streams. Between neighbours whose widths differ stands a converter, which takes LUTs too.

Source of the converter's LUTs: FINN's `StreamingDataWidthConverter.lut_estimation`. What a table leaves out: FIFOs, DMA, and
what a branch of the network would need; it is a chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.foreign_json import LONGEST_NAME, is_name, shown
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT

__all__ = [
    "COLUMNS",
    "MAX_CHOICES",
    "MAX_NODES",
    "Attributes",
    "FoldingChoice",
    "FoldingNode",
    "FoldingTable",
    "converter_lut",
    "is_integer_ratio",
]

MAX_NODES = 1024
MAX_CHOICES = 65536
"""Of one node."""

Attributes = tuple[tuple[str, int | str], ...]
"""What folds a node, by name, in the order of the table."""

C_CYCLES, C_LUT, C_BRAM18, C_DSP, C_IN_BITS, C_OUT_BITS = range(6)
COLUMNS = ("cycles", "LUT", "BRAM18", "DSP", "input bits", "output bits")
"""The estimates of a choice, in the order of the file and of `FoldingTable.estimates`."""
_RANGES = ((1, 2**40), (0, 2**24), (0, 2**16), (0, 2**16), (1, 2**20), (1, 2**20))


@dataclass(frozen=True, slots=True)
class FoldingChoice:
    """One way to fold a node, and what it takes; see the module's docstring."""

    __pydantic_config__: ClassVar = STRICT

    attributes: Attributes
    cycles: int
    lut: int
    bram18: int
    dsp: int
    in_bits: int
    out_bits: int

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value}, allowed {low}..{high}"
            for name, value, (low, high) in zip(COLUMNS, self.estimates, _RANGES, strict=True)
            if not low <= value <= high
        ]
        names = [name for name, _ in self.attributes]
        wrong += [f"attribute {name!r} stands twice" for name in sorted(set(names)) if names.count(name) > 1]
        wrong += [
            f"attribute {shown(text)} is not a printable text of 1..{LONGEST_NAME} characters"
            for text in (*names, *(value for _, value in self.attributes if isinstance(value, str)))
            if not is_name(text)
        ]
        if wrong:
            raise ConfigError("; ".join(wrong))

    @property
    def estimates(self) -> tuple[int, int, int, int, int, int]:
        """The numbers in the order of `COLUMNS`."""
        return self.cycles, self.lut, self.bram18, self.dsp, self.in_bits, self.out_bits

    @property
    def text(self) -> str:
        """The attributes in words, such as "PE=4 SIMD=3"."""
        return " ".join(f"{name}={value}" for name, value in self.attributes) or "as it is"


@dataclass(frozen=True, slots=True)
class FoldingNode:
    """A node of the chain and all its choices, no two with the same attributes."""

    __pydantic_config__: ClassVar = STRICT

    name: str
    op: str
    choices: tuple[FoldingChoice, ...]

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("op", self.op)):
            if not is_name(text):
                raise ConfigError(
                    f"node {shown(self.name)}: {what} is {shown(text)}, needed is a printable text of "
                    f"1..{LONGEST_NAME} characters"
                )
        if not 1 <= len(self.choices) <= MAX_CHOICES:
            raise ConfigError(f"node {self.name!r}: {len(self.choices)} choices, allowed 1..{MAX_CHOICES}")
        first: dict[frozenset[tuple[str, int | str]], int] = {}
        for k, choice in enumerate(self.choices):
            earlier = first.setdefault(frozenset(choice.attributes), k)
            if earlier != k:
                raise ConfigError(
                    f"node {self.name!r}: choices {earlier} and {k} have the same attributes ({choice.text})"
                )

    def find(self, attributes: Attributes) -> int:
        """Returns the position of the choice with these attributes, in any order; -1 if there is none."""
        wanted = frozenset(attributes)
        return next((k for k, c in enumerate(self.choices) if frozenset(c.attributes) == wanted), -1)


@dataclass(frozen=True)
class FoldingTable:
    """The nodes of a chain in streaming order, each name once."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.folding-table/1"

    nodes: tuple[FoldingNode, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.nodes) <= MAX_NODES:
            raise ConfigError(f"folding table: {len(self.nodes)} nodes, allowed 1..{MAX_NODES}")
        names = [node.name for node in self.nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"folding table: several nodes are named {twice[0]!r}; each name may stand once"
            )

    @cached_property
    def estimates(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Per node the estimates of its choices, int64 (choices, columns)."""
        arrays = tuple(np.array([c.estimates for c in n.choices], dtype=np.int64) for n in self.nodes)
        for array in arrays:
            array.setflags(write=False)
        return arrays


def is_integer_ratio(from_bits: int, to_bits: int) -> bool:
    """Whether one of two stream widths divides the other, which is what FINN's converter in RTL needs.

    For other ratios FINN falls back to its converter in HLS, by way of the least common multiple of the widths, which takes
    that many LUTs more. The foldings that are compared here have none, so a folding problem leaves them out.
    """
    return max(from_bits, to_bits) % min(from_bits, to_bits) == 0


def converter_lut(from_bits: int, to_bits: int) -> int:
    """Returns the LUTs of the converter between two stream widths by FINN's formula; none where they are equal.

    A stream goes up to the least common multiple and down to its width; each step takes the bits it ends with (registers
    whose control sets block the LUTs beside them) and a counter of floor(log2 ratio) bits up, ceil(log2 ratio) bits down.

    >>> converter_lut(24, 24), converter_lut(8, 24), converter_lut(24, 8), converter_lut(24, 36)
    (0, 25, 10, 110)
    """
    between = math.lcm(from_bits, to_bits)
    up, down = between // from_bits, between // to_bits
    lut = 0
    if up > 1:
        lut += between + up.bit_length() - 1
    if down > 1:
        lut += to_bits + (down - 1).bit_length()
    return lut
