"""How an engine that scales and shifts holds its parameters: one word for each block of channels.

A word has, channel by channel from its low end, the fields of `SCALE_FIELDS`: of an accumulator `a` they make the code

    clip((multiplier * a + bias) >> shift, 0, greatest)

in integers, multiplier and bias in two's complement. Products are those of a DSP48E1, 25 by 18 signed bits (UG479). A bias
is wide enough for whatever accumulators of `acc_bits` can need: products of them, times the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

from foldwright.accel.datapath import Engine

__all__ = [
    "MULTIPLIER_BITS",
    "SCALE_CYCLES",
    "SCALE_FIELDS",
    "SHIFT_BITS",
    "ScaleField",
    "bias_bits",
    "decode_scale_word",
    "encode_scale_word",
    "most_shift",
    "scale_bits",
    "scale_fields",
    "sum_bits",
]

MULTIPLIER_BITS = 18
SHIFT_BITS = 6
SCALE_CYCLES = 7
"""Operands, product, sum, three steps of the shift, clip."""
_MOST_SUM_BITS = 48

SCALE_FIELDS = ("multiplier", "bias", "shift", "greatest")


@dataclass(frozen=True, slots=True)
class ScaleField:
    """A field of a channel: its lowest bit and its width."""

    low: int
    bits: int
    signed: bool


def bias_bits(engine: Engine) -> int:
    return min(_MOST_SUM_BITS - 1, engine.acc_bits + MULTIPLIER_BITS + engine.levels.bit_length())


def sum_bits(engine: Engine) -> int:
    """Returns the width of product plus bias."""
    return bias_bits(engine) + 1


def most_shift(engine: Engine) -> int:
    """Returns the greatest shift that an engine knows; a greater one would leave nothing of any sum."""
    return sum_bits(engine) - 2


def scale_fields(engine: Engine) -> dict[str, ScaleField]:
    """Returns the fields of a channel by name, from the low end."""
    widths = (MULTIPLIER_BITS, bias_bits(engine), SHIFT_BITS, engine.levels.bit_length())
    fields, low = {}, 0
    for name, bits in zip(SCALE_FIELDS, widths, strict=True):
        fields[name] = ScaleField(low, bits, name in ("multiplier", "bias"))
        low += bits
    return fields


def scale_bits(engine: Engine) -> int:
    """Returns the width of one channel in a word."""
    return sum(field.bits for field in scale_fields(engine).values())


def encode_scale_word(engine: Engine, channels: list[dict[str, int]]) -> int:
    """Returns the word of a block, `dm` channels with their fields by name."""
    word, width = 0, scale_bits(engine)
    for place, values in enumerate(channels):
        for name, field in scale_fields(engine).items():
            half = 1 << field.bits - 1
            low, high = (-half, half - 1) if field.signed else (0, 2 * half - 1)
            high = min(high, most_shift(engine)) if name == "shift" else high
            assert low <= values[name] <= high, f"{name} {values[name]} is not within {low}..{high}"
            word |= values[name] % (1 << field.bits) << place * width + field.low
    return word


def decode_scale_word(engine: Engine, word: int) -> list[dict[str, int]]:
    """Returns the channels of a word: the inverse of `encode_scale_word`."""
    width, channels = scale_bits(engine), []
    for place in range(engine.dm):
        values = {}
        for name, field in scale_fields(engine).items():
            value = word >> place * width + field.low & (1 << field.bits) - 1
            turn = field.signed and value >> field.bits - 1
            values[name] = value - (1 << field.bits) if turn else value
        channels.append(values)
    return channels
