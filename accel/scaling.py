"""From a layer's scale and shift to the parameters of an engine's accumulators, exactly.

A layer has `level = clip((m * t + b) >> s, 0, levels)` of its values, `t` negated where the channel falls. The engine's
accumulators stand for values by an affine rule (`accel.encoding`), which goes into multiplier and bias here, and so does the
sign. What is constant over all accumulators of a channel becomes a bias alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import Engine
from foldwright.accel.encoding import Encoding, fold_thresholds, needed_acc_bits
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.scale_words import MULTIPLIER_BITS, bias_bits, encode_scale_word, most_shift
from foldwright.accel.workload import Layer, ResultKind
from foldwright.errors import ConfigError

__all__ = ["FoldedScale", "fold_scale", "requant_mistake", "result_words"]

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoldedScale:
    """Multiplier, bias and shift of every channel for the engine's accumulators; `levels` is the greatest code."""

    multiplier: tuple[int, ...]
    bias: tuple[int, ...]
    shift: tuple[int, ...]
    levels: int

    def words(self, engine: Engine, blocks: list[Int64s], idle_code: int = 0) -> list[int]:
        """Returns one word per block; a block lists the channel of each row, -1 for none: that gives `idle_code`."""
        idle = {"multiplier": 0, "bias": idle_code, "shift": 0, "greatest": idle_code}
        rows = [
            {"multiplier": m, "bias": b, "shift": s, "greatest": self.levels}
            for m, b, s in zip(self.multiplier, self.bias, self.shift, strict=True)
        ]
        return [
            encode_scale_word(engine, [rows[c] if c >= 0 else idle for c in block.tolist()])
            for block in blocks
        ]


def fold_scale(entry: IntegerLayer, encoding: Encoding) -> FoldedScale:
    """Returns a layer's scale and shift for the engine.

    Raises:
        ConfigError: the engine's levels, accumulators or parameters are too narrow for the layer.
    """
    engine, fit = encoding.engine, entry.scale_shift
    assert fit is not None
    need = needed_acc_bits(entry, encoding)
    if entry.levels > engine.levels or need > engine.acc_bits:
        raise ConfigError(
            f"layer {entry.name!r} needs {entry.levels} levels and {need} accumulator bits, but engine "
            f"{engine.shape} has {engine.levels} and {engine.acc_bits}; raise levels and acc_bits"
        )
    minus, offset = encoding.corrections(entry.weights)
    ends = encoding.raw_of(np.stack([entry.acc_min, entry.acc_max], axis=1), entry.weights)
    channels = []
    for c in range(len(entry.weights)):
        sign = -1 if entry.negate[c] else 1
        slope = sign * int(fit.multiplier[c])
        # value = act_scale * (acc - minus) / divisor + offset, over the divisor, which is one or two
        factor, divisor = slope * encoding.act_scale, encoding.weight_code.divisor
        rest = divisor * (slope * int(offset[c]) + int(fit.bias[c])) - factor * int(minus[c])
        shift = int(fit.shift[c]) + divisor.bit_length() - 1
        low, high = int(ends[c, 0]), int(ends[c, 1])
        channels.append(_parameters(factor, rest, shift, (low, high), entry.levels))
    wrong = [c for c, (m, b, s) in enumerate(channels) if not _fits(engine, m, b, s)]
    if wrong:
        m, b, s = channels[wrong[0]]
        raise ConfigError(
            f"layer {entry.name!r}, channel {wrong[0]}: multiplier {m}, bias {b}, shift {s} do not fit the {MULTIPLIER_BITS}, "
            f"{bias_bits(engine)} bits and 0..{most_shift(engine)} of engine {engine.shape}; run it with thresholds"
        )
    multipliers, biases, shifts = zip(*channels, strict=True)
    return FoldedScale(multipliers, biases, shifts, entry.levels)


def _parameters(
    factor: int, rest: int, shift: int, ends: tuple[int, int], levels: int
) -> tuple[int, int, int]:
    """Returns multiplier, bias and shift of `(factor * acc + rest) >> shift`, common powers of two taken out.

    A level that is the same at both ends of the accumulators' range is the bias of a channel without multiplier.
    """
    least, most = sorted(min(max((factor * end + rest) >> shift, 0), levels) for end in ends)
    if least == most:
        return 0, least, 0
    while factor % 2 == 0 and shift > 0:
        factor, rest, shift = factor // 2, rest >> 1, shift - 1
    return factor, rest, shift


def _fits(engine: Engine, multiplier: int, bias: int, shift: int) -> bool:
    def within(value: int, bits: int) -> bool:
        return -(1 << bits - 1) <= value < 1 << bits - 1

    return (
        within(multiplier, MULTIPLIER_BITS)
        and within(bias, bias_bits(engine))
        and shift <= most_shift(engine)
    )


def requant_mistake(layer: Layer, engine: Engine) -> str:
    """Returns why an engine's result path is not the one that a layer needs; nothing where it is, or where results are raw."""
    if layer.result is ResultKind.RAW or layer.result.value == engine.requant.value:
        return ""
    return (
        f"layer {layer.name!r} needs results by {layer.result.value}, engine {engine.shape} makes them by "
        f"{engine.requant.value}; set requant={layer.result.value} for the engine, or lower the network with "
        f"requant={engine.requant.value}"
    )


def result_words(
    entry: IntegerLayer, encoding: Encoding, blocks: list[Int64s], idle_code: int = 0
) -> list[int]:
    """Returns the words of a layer's result path, one per block: thresholds, or scale and shift.

    Args:
        blocks: the channel of each row, -1 for none: such rows give `idle_code`.

    Raises:
        ConfigError: the engine is too narrow for the layer, or has the other result path.
    """
    if mistake := requant_mistake(entry.layer, encoding.engine):
        raise ConfigError(mistake)
    folded = fold_thresholds(entry, encoding) if entry.scale_shift is None else fold_scale(entry, encoding)
    return folded.words(encoding.engine, blocks, idle_code)
