"""How an engine of kind `dsp` cuts a word into cascades of DSP48E1 slices (njit, integers only).

A slice adds or subtracts one value of each of four lanes, in four fields of 12 bits (UG479, SIMD mode). A cascade hands the
sums on from slice to slice, so a field must hold the largest sum of signed values: 2047. The `values` of a word are cut into
as few cascades as that and `LONGEST_CASCADE` allow, as even as possible; their ends are added in a binary tree.
"""

from __future__ import annotations

from foldwright.kernels import njit

__all__ = [
    "FIELD_BITS",
    "LANES_PER_SLICE",
    "LONGEST_CASCADE",
    "array_slices",
    "cascade_count",
    "dsp_latency",
    "longest_cascade",
    "skew_bits",
]

FIELD_BITS = 12
LANES_PER_SLICE = 4
LONGEST_CASCADE = 8
"""All that bytes allow. Longer ones of narrower values would delay operands in more registers than an adder is worth."""


@njit(cache=True)
def array_slices(dm: int, values: int, dn: int) -> int:
    """Returns the slices of an array of `dm x dn` units that add so many values a word: one for each value of four lanes."""
    return dm * -(-dn // LANES_PER_SLICE) * values


@njit(cache=True)
def cascade_count(values: int, value_bits: int) -> int:
    """Returns the cascades for a word of so many values."""
    most = min(LONGEST_CASCADE, ((1 << FIELD_BITS - 1) - 1) // ((1 << value_bits) - 1))
    return -(-values // most)


@njit(cache=True)
def longest_cascade(values: int, value_bits: int) -> int:
    """Returns the slices of the longest cascade; the others have as many, or one less."""
    return -(-values // cascade_count(values, value_bits))


@njit(cache=True)
def dsp_latency(values: int, value_bits: int) -> int:
    """Returns the cycles from a word to the accumulators: operands, slices, a level of adders each, accumulator."""
    levels, count = 0, cascade_count(values, value_bits)
    while 1 << levels < count:
        levels += 1
    return longest_cascade(values, value_bits) + levels + 2


@njit(cache=True)
def skew_bits(values: int, value_bits: int) -> tuple[int, int]:
    """Returns the registers before the slices: for each bit of a lane's values together, and for a row's weights.

    The slice at place p takes a weight p cycles late, a value max(0, p - 1): all but the first have a register more.
    """
    count, longest = cascade_count(values, value_bits), longest_cascade(values, value_bits)
    lane, row = 0, 0
    for k in range(count):
        for place in range(longest - (values + k) // count, longest):
            lane, row = lane + max(0, place - 1), row + place
    return lane, row
