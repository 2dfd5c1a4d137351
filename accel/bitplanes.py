"""Bit planes of integers and the exact product of two operands from popcounts.

A `PlaneCode` writes an integer as weighted bits, `value = (sum_k c_k*b_k*scale + offset) / divisor`: two's
complement and unsigned codes have scale 1 and offset 0; bipolar codes count each bit as -1 or +1, which is
scale 2 and offset -sum(c_k). A dot product of K values then needs only one popcount for each pair of planes:

- **AND**: `pop_jk = popcount(w_j & x_k)`; bipolar operands add corrections by `sum(w)` and `sum(x)`;
- **XNOR**, for bipolar weights w = sum_j a_j*s_j / d: with `pop_jk = popcount(~(w_j ^ x_k))` over K bits,
  `2*d*sum(wx) = sum_j a_j * sum_k c_k*(2*pop_jk - K) + d*(sum c_k)*sum(w)` for unsigned and signed x, and
  `d*sum(wx) = sum_j a_j * (2*pop_j - K)` for bipolar x. With binary weights (a = (1,), d = 1) the first reads
  `2*sum(wx) = sum_k c_k*(2*pop_k - K) + (sum c_k)*sum(w)`.

Words are 64 bits: channel c of a tap stands in bit `c % 64` of word `c // 64`, and the words of a row follow
tap by tap. Channels past the last are weight bit 1 and activation bit 0, so that neither AND nor XNOR counts
them; they are not in K. A padded pixel is the integer 0, all bits 0; bipolar codes have no 0 and refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.workload import ActKind, WeightKind
from foldwright.errors import ModelError

__all__ = [
    "WORD_BITS",
    "PackedPlanes",
    "PlaneCode",
    "act_code",
    "and_product",
    "pack_activations",
    "pack_weights",
    "unpack",
    "weight_code",
    "xnor_product",
]

WORD_BITS = 64
_MAX_BITS = 16
_ROWS_AT_ONCE = 64

Ints = npt.NDArray[np.integer[Any]]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlaneCode:
    """How integers become bits: the weight of each plane, and whether a 0 bit counts as -1.

    `divisor` divides the weighted sum: 2 for ternary values, which are half the sum of two bipolar planes.
    """

    coefficients: tuple[int, ...]
    bipolar: bool = False
    divisor: int = 1

    @property
    def scale(self) -> int:
        return 2 if self.bipolar else 1

    @property
    def offset(self) -> int:
        return -sum(self.coefficients) if self.bipolar else 0

    def table(self) -> dict[int, int]:
        """Returns the bits of every value that the code has, plane k in bit k.

        Equal-weight planes give some values several codes; the one with the smallest bits counts.
        """
        out: dict[int, int] = {}
        for bits in range(1 << len(self.coefficients)):
            total = sum(c for k, c in enumerate(self.coefficients) if bits >> k & 1)
            out.setdefault((total * self.scale + self.offset) // self.divisor, bits)
        return out

    def bits_of(self, values: Ints) -> Int64s:
        """Returns the bits of each value, plane k in bit k.

        Raises:
            ModelError: a value that the code does not have.
        """
        table = self.table()
        known = np.array(sorted(table), dtype=np.int64)
        place = np.clip(np.searchsorted(known, values), 0, len(known) - 1)
        strange = np.asarray(values)[known[place] != values]
        if strange.size:
            raise ModelError(_strange(int(strange.flat[0]), strange.size, self, known))
        return np.array([table[v] for v in known.tolist()], dtype=np.int64)[place]


def _strange(value: int, count: int, code: PlaneCode, known: Int64s) -> str:
    shown = ", ".join(map(str, known[:8])) + (f" .. {known[-1]}" if len(known) > 8 else "")
    hint = "; zero padding needs a code with a 0: use two bits, signed" if value == 0 and code.bipolar else ""
    return f"{count} values have no bits in {code}: the first is {value}, allowed are {shown}{hint}"


def weight_code(kind: WeightKind, bits: int) -> PlaneCode:
    """Returns the code of a layer's weights: bipolar planes for all kinds but two's complement."""
    fixed = {WeightKind.BINARY: 1, WeightKind.TERNARY: 2}.get(kind, bits)
    least = 2 if kind is WeightKind.SIGNED else 1
    if bits != fixed or not least <= bits <= _MAX_BITS:
        allowed = str(fixed) if kind in (WeightKind.BINARY, WeightKind.TERNARY) else f"{least} to {_MAX_BITS}"
        raise ModelError(f"{kind.value} weights of {bits} bits; allowed: {allowed}")
    if kind is WeightKind.TERNARY:
        return PlaneCode((1, 1), bipolar=True, divisor=2)
    if kind is WeightKind.SIGNED:
        return _twos_complement(bits)
    return PlaneCode(tuple(1 << k for k in range(bits)), bipolar=True)


def act_code(kind: ActKind, bits: int) -> PlaneCode:
    """Returns the code of a layer's activations."""
    least, most = {ActKind.UNSIGNED: (1, _MAX_BITS), ActKind.SIGNED: (2, _MAX_BITS), ActKind.BIPOLAR: (1, 1)}[
        kind
    ]
    if not least <= bits <= most:
        raise ModelError(f"{kind.value} activations of {bits} bits; allowed: {least} to {most}")
    if kind is ActKind.SIGNED:
        return _twos_complement(bits)
    return PlaneCode(tuple(1 << k for k in range(bits)), bipolar=kind is ActKind.BIPOLAR)


def _twos_complement(bits: int) -> PlaneCode:
    return PlaneCode((*(1 << k for k in range(bits - 1)), -(1 << bits - 1)))


@dataclass(frozen=True, slots=True, eq=False)
class PackedPlanes:
    """Rows of values as bit planes in words, see the module's text for the order of bits."""

    code: PlaneCode
    words: npt.NDArray[np.uint64]  # (planes, rows, taps * words of a tap), read-only
    taps: int
    channels: int
    sums: Int64s  # (rows,) sum of the values of a row, read-only

    @property
    def length(self) -> int:
        """K: values of a row, channel padding not counted."""
        return self.taps * self.channels


def pack_weights(values: Ints, code: PlaneCode) -> PackedPlanes:
    """Returns weights (rows, taps, channels) as planes, channel padding 1."""
    return _pack(values, code, 1)


def pack_activations(values: Ints, code: PlaneCode) -> PackedPlanes:
    """Returns activations (rows, taps, channels) as planes, channel padding 0."""
    return _pack(values, code, 0)


def _pack(values: Ints, code: PlaneCode, fill: int) -> PackedPlanes:
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise ModelError(f"bit planes need (rows, taps, channels), but the shape is {values.shape}")
    rows, taps, channels = values.shape
    planes = np.arange(len(code.coefficients)).reshape(-1, 1, 1, 1)
    bits = (code.bits_of(values) >> planes & 1).astype(np.uint8)
    width = -(-channels // WORD_BITS) * WORD_BITS
    bits = np.pad(bits, ((0, 0), (0, 0), (0, 0), (0, width - channels)), constant_values=fill)
    octets = np.packbits(bits, axis=-1, bitorder="little")
    words = np.ascontiguousarray(octets).view("<u8").astype(np.uint64).reshape(len(planes), rows, -1)
    sums = values.sum(axis=(1, 2), dtype=np.int64)
    words.setflags(write=False)
    sums.setflags(write=False)
    return PackedPlanes(code, words, taps, channels, sums)


def unpack(packed: PackedPlanes) -> Int64s:
    """Returns the values (rows, taps, channels) that were packed."""
    code = packed.code
    planes, rows, _ = packed.words.shape
    octets = packed.words.astype("<u8").view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little").reshape(planes, rows, packed.taps, -1)
    counted = bits[..., : packed.channels].astype(np.int64)
    total = np.tensordot(np.array(code.coefficients, dtype=np.int64), counted, axes=1)
    return np.asarray((total * code.scale + code.offset) // code.divisor, dtype=np.int64)


def and_product(weights: PackedPlanes, acts: PackedPlanes) -> Int64s:
    """Returns all dot products (weight rows, activation rows) from popcounts of AND.

    With `v = (scale*V + offset)/divisor` and V the weighted bits of an operand, the product expands to
    `scale_w*scale_x*sum(V_w V_x)` and sums of one operand alone, which do not depend on the other's row.
    """
    _check_lengths(weights, acts)
    w, x = weights.code, acts.code
    raw_w = (weights.sums * w.divisor - w.offset * weights.length) // w.scale
    raw_x = (acts.sums * x.divisor - x.offset * acts.length) // x.scale
    total = w.scale * x.scale * _weighted_counts(weights, acts, xnor=False)
    total += (w.scale * x.offset * raw_w)[:, None] + (w.offset * x.scale * raw_x)[None, :]
    total += w.offset * x.offset * weights.length
    return np.asarray(total // (w.divisor * x.divisor), dtype=np.int64)


def xnor_product(weights: PackedPlanes, acts: PackedPlanes) -> Int64s:
    """Returns all dot products (weight rows, activation rows) from popcounts of XNOR.

    Raises:
        ModelError: the weights are in two's complement, which has no XNOR form.
    """
    _check_lengths(weights, acts)
    w, x = weights.code, acts.code
    if not w.bipolar:
        raise ModelError(f"weights in {w} have no XNOR form; use and_product, or a bipolar code")
    ones = sum(w.coefficients) * sum(x.coefficients) * weights.length
    total = 2 * _weighted_counts(weights, acts, xnor=True) - ones
    if x.bipolar:
        return np.asarray(total // (w.divisor * x.divisor), dtype=np.int64)
    total += (w.divisor * sum(x.coefficients) * weights.sums)[:, None]
    return np.asarray(total // (2 * w.divisor), dtype=np.int64)


def _check_lengths(weights: PackedPlanes, acts: PackedPlanes) -> None:
    if (weights.taps, weights.channels) != (acts.taps, acts.channels):
        raise ModelError(
            f"weights of {weights.taps} taps x {weights.channels} channels do not meet activations of "
            f"{acts.taps} x {acts.channels}"
        )


def _weighted_counts(weights: PackedPlanes, acts: PackedPlanes, *, xnor: bool) -> Int64s:
    """Returns sum_jk a_j*c_k*pop_jk; XNOR is counted as the complement of XOR over the same words."""
    out = np.zeros((weights.words.shape[1], acts.words.shape[1]), dtype=np.int64)
    for a, left in zip(weights.code.coefficients, weights.words, strict=True):
        for c, right in zip(acts.code.coefficients, acts.words, strict=True):
            for start in range(0, len(left), _ROWS_AT_ONCE):
                rows = left[start : start + _ROWS_AT_ONCE, None, :]
                met = ~(rows ^ right[None]) if xnor else rows & right[None]
                out[start : start + _ROWS_AT_ONCE] += a * c * np.bitwise_count(met).sum(-1, dtype=np.int64)
    return out
