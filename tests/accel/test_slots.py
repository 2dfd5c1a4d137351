"""Slots are whole bytes of their own, and bytes never cross a segment."""

from __future__ import annotations

import pytest

from foldwright.accel.slots import byte_runs, slot_bits
from foldwright.errors import ConfigError


@pytest.mark.parametrize("byte_bits", [8, 9])
@pytest.mark.parametrize("planes", [(1,), (2,), (1, 2), (1, 2, 4)])
@pytest.mark.parametrize("segment", [8, 9, 16, 18, 20, 27, 36])
def test_slots_are_whole_bytes_side_by_side(segment: int, planes: tuple[int, ...], byte_bits: int) -> None:
    dk = segment * max(planes)
    runs = byte_runs(dk, planes, byte_bits)
    assert [low for low, _ in runs] + [dk] == [0, *(low + bits for low, bits in runs)]
    assert all(low // segment == (low + bits - 1) // segment for low, bits in runs)
    whole = {low for low, bits in runs if bits == byte_bits}
    for pa in planes:
        for dm in (byte_bits, 2 * byte_bits):
            slots = slot_bits(dk, planes, pa, dm, byte_bits)
            taken = [low + at for low in slots for at in range(0, dm, byte_bits)]
            assert len(set(taken)) == len(taken)
            assert taken == sorted(taken)
            for plane in range(pa):
                assert {plane * (dk // pa) + low for low in taken} <= whole
            assert all(low + dm <= dk // pa for low in slots)


def test_a_byte_that_is_left_over_takes_no_slot() -> None:
    assert byte_runs(20, (1, 2), 8) == [(0, 8), (8, 2), (10, 8), (18, 2)]
    assert slot_bits(20, (1, 2), 1, 8, 8) == [0, 10]
    assert slot_bits(20, (1, 2), 1, 16, 8) == []  # would cross from one segment into the next


def test_a_block_that_is_not_whole_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dm=12 channels are not whole bytes of 8 bits"):
        slot_bits(32, (1,), 1, 12, 8)
