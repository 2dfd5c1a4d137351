"""How an engine holds a layer: planes, plane steps, and what its raw accumulators mean.

An engine accumulates `acc = sum_jk a_j * c_k * pop_jk` over weight planes j and activation planes k.
Activations are `x = scale * X + offset` with X the weighted bits that are stored; then for every channel

    value = scale * (acc - C * N) / divisor + offset * sum(w)

with C = sum(c_k), N the sum of a_j over the -1 bits of XNOR weight planes (0 for AND), divisor 2 for ternary
XNOR weights. Engines of kind `dsp` add signed values, so there N is 0. Planes that fill up the last word (`act_bits` no
multiple of `pa`) hold zeros and count in C.
Padding is all zero bits and its weights count in N and sum(w), so it needs offset 0. Nothing of this costs
hardware: C * N and offset * sum(w) fold into thresholds.

Steps follow descending exponents; accumulators shift by one between them. Where the exponent falls by d > 1,
which only happens when `pa` exceeds the weight planes of different weight, d - 1 idle steps shift meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.bitplanes import PlaneCode, act_code, weight_code
from foldwright.accel.datapath import Arithmetic, Engine, EngineKind
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.quantops import signed_bits
from foldwright.accel.rtl.program import Step, code_bits
from foldwright.accel.workload import ActKind, Layer, WeightKind
from foldwright.errors import ConfigError

__all__ = ["Encoding", "FoldedThresholds", "fold_thresholds", "needed_acc_bits"]

Ints = npt.NDArray[np.integer[Any]]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Encoding:
    """A layer on an engine with `pa` activation planes per word.

    `positions` says where each channel of a convolution group stands, counted in bits of a plane over the words of a
    tap: dense where empty. `parts` is the number of equal parts in which the output channels are cut into blocks: a
    multiple of the layer's groups, 0 for the groups themselves.

    Raises:
        ConfigError: the engine's arithmetic or `pa` does not fit the layer.
    """

    layer: Layer
    engine: Engine
    pa: int
    positions: tuple[int, ...] = ()
    parts: int = 0

    def __post_init__(self) -> None:
        layer, engine = self.layer, self.engine
        wrong = []
        if self.pa not in engine.planes_per_word:
            wrong.append(f"{self.pa} planes per word, the engine has {engine.planes_per_word}")
        if engine.arithmetic is Arithmetic.XNOR and layer.weight_kind is WeightKind.SIGNED:
            wrong.append("two's complement weights need an engine with AND arithmetic")
        if any(layer.padding) and self.act_offset:
            wrong.append(
                f"zero padding of {layer.act_kind.value} activations needs a stored 0: pa = 1, two bits"
            )
        if wrong:
            raise ConfigError(f"layer {layer.name!r} on engine {engine.shape}: " + "; ".join(wrong))

    @cached_property
    def weight_code(self) -> PlaneCode:
        layer = self.layer
        if self.engine.arithmetic is Arithmetic.XNOR:
            return weight_code(layer.weight_kind, layer.weight_bits)
        bits = {WeightKind.BINARY: 2, WeightKind.TERNARY: 2, WeightKind.ODD: layer.weight_bits + 1}
        return weight_code(WeightKind.SIGNED, bits.get(layer.weight_kind, layer.weight_bits))

    @property
    def _shifted_code(self) -> bool:
        """Whether a sign plane shares words with others, so that x + 2^(bits-1) is stored instead."""
        return self.layer.act_kind is ActKind.SIGNED and self.pa > 1

    @cached_property
    def act_coefficients(self) -> tuple[int, ...]:
        """Weights of the stored activation planes, those that fill up the last word included."""
        code = act_code(self.layer.act_kind, self.layer.act_bits)
        if len(code.coefficients) == 1 or self.pa > 1:
            return tuple(1 << k for k in range(self.plane_groups * self.pa))
        return code.coefficients

    @property
    def plane_groups(self) -> int:
        return -(-self.layer.act_bits // self.pa)

    @property
    def act_scale(self) -> int:
        return 2 if self.layer.act_kind is ActKind.BIPOLAR else 1

    @property
    def act_offset(self) -> int:
        if self.layer.act_kind is ActKind.BIPOLAR:
            return -1
        return -(1 << self.layer.act_bits - 1) if self._shifted_code else 0

    def act_bits_of(self, values: Ints) -> Int64s:
        """Returns the stored bits of activations, plane k in bit k."""
        if self._shifted_code:
            return np.asarray(values, dtype=np.int64) - self.act_offset
        return act_code(self.layer.act_kind, self.layer.act_bits).bits_of(values)

    @property
    def channels_per_word(self) -> int:
        return self.engine.dk // self.pa

    @property
    def channel_words(self) -> int:
        """Words of one tap of one plane group and convolution group."""
        last = max(self.positions) if self.positions else self.layer.in_channels // self.layer.groups - 1
        return last // self.channels_per_word + 1

    @property
    def places(self) -> Int64s:
        """Where each channel of a convolution group stands among the bits of a plane, int64 (channels,)."""
        channels = self.layer.in_channels // self.layer.groups
        return np.array(self.positions or range(channels), dtype=np.int64)

    @property
    def blocks_per_part(self) -> int:
        return -(-(self.layer.out_channels // (self.parts or self.layer.groups)) // self.engine.dm)

    @property
    def blocks_per_group(self) -> int:
        return self.blocks_per_part * ((self.parts or self.layer.groups) // self.layer.groups)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The wavefront of plane pairs; offsets are counted in plane groups and weight planes."""
        code = self.weight_code.coefficients
        pairs = sorted(
            (-(abs(a).bit_length() + self.pa * g), i, g)
            for i, a in enumerate(code)
            for g in range(self.plane_groups)
        )
        steps: list[Step] = []
        before = pairs[0][0]
        for exponent, i, g in pairs:
            steps += [Step(shift=True, idle=True)] * (exponent - before - 1)
            negate = (code[i] < 0) ^ (self.act_coefficients[g * self.pa] < 0)
            steps.append(Step(map_offset=g, weight_offset=i, negate=negate, shift=exponent > before))
            before = exponent
        return tuple(steps)

    def corrections(self, weights: Ints) -> tuple[Int64s, Int64s]:
        """Returns per channel C * N and offset * sum(w)."""
        rows = weights.reshape(len(weights), -1).astype(np.int64)
        minus = np.zeros(len(rows), dtype=np.int64)
        if self.weight_code.bipolar and self.engine.kind is EngineKind.PLANES:
            bits = self.weight_code.bits_of(rows)
            for plane, weight in enumerate(self.weight_code.coefficients):
                minus += weight * (1 - (bits >> plane & 1)).sum(axis=1)
        return sum(self.act_coefficients) * minus, self.act_offset * rows.sum(axis=1)

    def raw_of(self, values: Int64s, weights: Ints) -> Int64s:
        """Returns the engine's accumulators, not reduced modulo 2^acc_bits, for values (channels, ...)."""
        minus, shift = (x.reshape(-1, *[1] * (values.ndim - 1)) for x in self.corrections(weights))
        return (values - shift) * self.weight_code.divisor // self.act_scale + minus

    def value_of(self, raw: Int64s, weights: Ints) -> Int64s:
        """Returns the values (channels, ...) that accumulators, not reduced, stand for: the inverse of `raw_of`."""
        minus, shift = (x.reshape(-1, *[1] * (raw.ndim - 1)) for x in self.corrections(weights))
        return (raw - minus) * self.act_scale // self.weight_code.divisor + shift

    def raw_at_least(self, values: Int64s, weights: Ints) -> Int64s:
        """Returns the smallest accumulators (channels, ...) that stand for at least these values."""
        minus, shift = (x.reshape(-1, *[1] * (values.ndim - 1)) for x in self.corrections(weights))
        return -(-(values - shift) * self.weight_code.divisor // self.act_scale) + minus


def needed_acc_bits(entry: IntegerLayer, encoding: Encoding) -> int:
    """Returns the accumulator width with which all of a layer's comparisons, or products, are right."""
    ends = np.stack([entry.acc_min, entry.acc_max], axis=1)
    raw = encoding.raw_of(ends, entry.weights)
    if entry.scale_shift is not None:  # what is multiplied is the accumulator itself, in two's complement
        return signed_bits(int(raw.min()), int(raw.max()))
    return int((raw[:, 1] - raw[:, 0]).max()).bit_length() + 1


@dataclass(frozen=True)
class FoldedThresholds:
    """Thresholds of the raw accumulator as an engine stores them.

    `table` is ascending, (channels, 2^A - 1), not reduced modulo; where `flip` the engine inverts the code. Rows without
    a channel reach `idle_code` thresholds, those of `reached`, and none of `unreached`: what the writer adds then makes 0.
    """

    table: Int64s
    flip: npt.NDArray[np.bool_]
    reached: int = 0
    unreached: int = 0

    def words(self, engine: Engine, blocks: list[npt.NDArray[np.int64]], idle_code: int = 0) -> list[int]:
        """Returns one word per block; a block lists the channel of each row, -1 for none."""
        words = []
        count = self.table.shape[1]
        idle = [self.reached] * idle_code + [self.unreached] * (count - idle_code)
        for block in blocks:
            word, width = 0, self.table.shape[1] * engine.acc_bits
            for channel in reversed(block.tolist()):
                row = int(channel >= 0 and self.flip[channel]) << width
                values = self.table[channel].tolist() if channel >= 0 else idle
                for k, value in enumerate(values):
                    row |= value % (1 << engine.acc_bits) << k * engine.acc_bits
                word = word << width + 1 | row
            words.append(word)
        return words


def fold_thresholds(entry: IntegerLayer, encoding: Encoding) -> FoldedThresholds:
    """Returns a layer's thresholds for the engine.

    A negated channel counts `-a >= T`, which is `not a >= 1 - T`: its thresholds turn round and the code is
    inverted. Thresholds that the layer lacks are never (for negated channels always) reached.

    Raises:
        ConfigError: the layer has more levels than the engine, or its accumulators are too wide.
    """
    layer, engine = encoding.layer, encoding.engine
    assert entry.thresholds is not None
    stored = (1 << code_bits(engine.levels)) - 1
    need = needed_acc_bits(entry, encoding)
    if entry.levels > engine.levels or need > engine.acc_bits:
        raise ConfigError(
            f"layer {layer.name!r} needs {entry.levels} levels and {need} accumulator bits, but engine "
            f"{engine.shape} has {engine.levels} and {engine.acc_bits}; raise levels and acc_bits"
        )
    low, high = entry.acc_min[:, None], entry.acc_max[:, None]
    missing = np.ones((len(low), stored - entry.levels), dtype=np.int64)
    rising = np.concatenate([entry.thresholds, missing * (high + 1)], axis=1)
    falling = np.concatenate([missing * low, 1 - entry.thresholds[:, ::-1]], axis=1)
    table = np.clip(np.where(entry.negate[:, None], falling, rising), low, high + 1)
    raw = encoding.raw_at_least(table, entry.weights)
    raw.setflags(write=False)
    # A row without a channel has the last channel's weights on XNOR engines, none on AND engines (`images`).
    ends = np.stack([entry.acc_min, entry.acc_max + 1], axis=1)
    ends = (
        encoding.raw_at_least(ends, entry.weights)[-1] if encoding.weight_code.bipolar else np.array([0, 1])
    )
    return FoldedThresholds(raw, entry.negate, int(ends[0]), int(ends[1]))
