"""Where blocks of channels stand in a lane word of a feature map: bytes and slots.

A lane word has `dk` bits; with `pa` planes per word, plane i has the bits i * dk / pa and up. The memory is written
byte by byte, so a word is cut into *segments*, the smallest planes that any layer uses, and each segment from its
low end into *bytes* of 8 or 9 bits, the last one shorter where it does not come out even. No byte crosses a segment.

A *slot* takes one block of the producer: `dm` bits, whole bytes. Slots stand segment by segment, or, where a slot is
longer than a segment, side by side across segments of whole bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from foldwright.errors import ConfigError

__all__ = ["byte_runs", "slot_bits"]


def byte_runs(dk: int, planes_per_word: Sequence[int], byte_bits: int) -> list[tuple[int, int]]:
    """Returns the bytes of a lane word as (lowest bit, bits), from the low end.

    >>> byte_runs(20, (1, 2), 8)
    [(0, 8), (8, 2), (10, 8), (18, 2)]
    """
    segment = dk // max(planes_per_word)
    return [
        (low + at, min(byte_bits, segment - at))
        for low in range(0, dk, segment)
        for at in range(0, segment, byte_bits)
    ]


def slot_bits(dk: int, planes_per_word: Sequence[int], pa: int, dm: int, byte_bits: int) -> list[int]:
    """Returns the lowest bit of every slot within a plane of `dk / pa` bits; none where no slot fits.

    Channel row r of the block in slot s is bit `slot_bits(...)[s] + r` of the plane.

    >>> slot_bits(40, (1, 2), 1, 8, 8)
    [0, 8, 20, 28]
    >>> slot_bits(32, (1, 4), 1, 16, 8)
    [0, 16]

    Raises:
        ConfigError: a block is not whole bytes, so it could not be written alone.
    """
    if dm % byte_bits:
        raise ConfigError(
            f"blocks of dm={dm} channels are not whole bytes of {byte_bits} bits; "
            "take a dm that is a multiple of 8 or 9"
        )
    largest = max(planes_per_word)
    segment = dk // largest
    if dm <= segment:
        each = segment // byte_bits // (dm // byte_bits)
        return [low * segment + k * dm for low in range(largest // pa) for k in range(each)]
    if segment % byte_bits:
        return []
    return [k * dm for k in range(dk // pa // dm)]
