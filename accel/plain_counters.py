"""Registers of the plain popcount (`rtl.popcount`, technology `generic`), counted level by level (njit).

A segment's pairs become two-bit counts, which a binary tree adds; then segments are added, weighted by their planes. Every
level is registered. Bits that no count can reach are left out by synthesis: those of a lone value that passes a level,
and those above the width of the whole count.
"""

from __future__ import annotations

from foldwright.kernels import njit

__all__ = ["bit_length", "plain_registers"]


@njit(cache=True)
def plain_registers(dk: int, log_most: int, log_least: int) -> int:
    """Returns the registers of one popcount.

    Args:
        dk: pairs of bits, a multiple of the most planes of a word.
        log_most: logarithm of the most planes of a word; log_least: of the fewest.
    """
    size, segments = dk >> log_most, 1 << log_most
    whole = bit_length(size * ((1 << segments) - 1))
    total, width = _tree(size, whole if log_most == 0 else 64)
    total *= segments
    for level in range(log_most):
        segments, shift = segments // 2, 1 << level
        if (
            log_least == log_most
        ):  # the upper one always has its weight, so that its highest bits may be above the count's
            total -= segments * max(0, width + shift - whole)
        width = min(whole, width + shift + 1)
        total += segments * width
    return total + whole


@njit(cache=True)
def bit_length(value: int) -> int:
    """Returns the bits of a number, 0 for 0."""
    bits = 0
    while value >> bits:
        bits += 1
    return bits


@njit(cache=True)
def _tree(size: int, most: int) -> tuple[int, int]:
    """Returns the registers of a segment's tree, and the bits of its count."""
    nodes, width = (size + 1) // 2, 2
    last = 2 - size % 2
    total = (nodes - 1) * width + last
    while nodes > 1:
        alone = nodes % 2 == 1
        nodes = (nodes + 1) // 2
        last = last if alone else min(most, width + 1)
        width = min(most, width + 1)
        total += (nodes - 1) * width + last
    return total, width
