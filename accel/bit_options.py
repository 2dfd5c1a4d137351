"""Bits per layer: what a layer's weights and results may be, what each choice costs in accuracy, and the workload that it gives.

An option of a layer says the kind and bits of its weights, as an engine counts planes, and the bits of its results, which
are the activations of whoever reads them; a layer with raw results chooses weights only. `drop` is the predicted loss of
accuracy, or any other measure that adds up over the layers (`foldwright.accel.sensitivity`). Sums are kept in millionths,
each drop rounded up, so that a choice within the budget is within it.

Results that a layer adds to others have the bits of those: such layers are *tied*. The image keeps its bits. Left out:
residual sums that are wider than their operands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from foldwright.accel.known_workloads import largest_act, largest_weight, signed_bits_for, with_sums
from foldwright.accel.workload import IMAGE, ActKind, Layer, ResultKind, WeightKind, Workload
from foldwright.errors import ConfigError, ModelError
from foldwright.jsonform import STRICT

__all__ = ["MILLIONTHS", "BitOption", "BitOptions", "Picks", "Sets", "with_bits"]

MILLIONTHS = 1_000_000
_MOST_OPTIONS = 64
_MOST_BITS = 16
_MOST_DROP = 1e6
_FIXED_BITS = {WeightKind.BINARY: 1, WeightKind.TERNARY: 2}

Picks = Sequence[int]
"""The position of the option of every layer, in the order of the workload."""
Sets = tuple[tuple[int, ...], ...]
"""The positions of several options of every layer."""


@dataclass(frozen=True, slots=True)
class BitOption:
    """One way to hold a layer.

    Attributes:
        weights: the quantizer of the weights, for people, such as "odd-2".
        out_bits: of a result; not looked at where results are raw.
        drop: how much accuracy it costs, in the unit of `BitOptions`; may be negative.
    """

    __pydantic_config__: ClassVar = STRICT

    weights: str
    weight_kind: WeightKind
    weight_bits: int
    out_bits: int
    drop: float

    def __post_init__(self) -> None:
        wrong = []
        least = 2 if self.weight_kind is WeightKind.SIGNED else 1
        fixed = _FIXED_BITS.get(self.weight_kind)
        if fixed is not None and self.weight_bits != fixed:
            wrong.append(f"{self.weight_kind.value} weights have {fixed} bits, not {self.weight_bits}")
        if fixed is None and not least <= self.weight_bits <= _MOST_BITS:
            wrong.append(f"weight_bits is {self.weight_bits}, allowed {least}..{_MOST_BITS}")
        if not 1 <= self.out_bits <= _MOST_BITS:
            wrong.append(f"out_bits is {self.out_bits}, allowed 1..{_MOST_BITS}")
        if not (math.isfinite(self.drop) and abs(self.drop) <= _MOST_DROP):
            wrong.append(f"drop is {self.drop}, allowed are finite numbers up to {_MOST_DROP:g}")
        if wrong:
            raise ConfigError(f"option {self.weights!r}: " + "; ".join(wrong))

    @property
    def drop_millionths(self) -> int:
        return math.ceil(round(self.drop * MILLIONTHS, 3))

    @property
    def weight_key(self) -> tuple[str, int]:
        """What an engine sees of the weights."""
        return self.weight_kind.value, self.weight_bits

    @property
    def label(self) -> str:
        """The option in words."""
        return f"weights {self.weights}, results of {self.out_bits} bits"


@dataclass(frozen=True)
class BitOptions:
    """The options of every layer of a network.

    Attributes:
        workload: the shapes; its own bits do not matter, but for the image and the kinds of results.
        layers: the options of each layer, in the order of the workload.
        unit: of drops.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.bit-options/1"

    name: str
    workload: Workload
    layers: tuple[tuple[BitOption, ...], ...]
    unit: str = "points of accuracy"

    def __post_init__(self) -> None:
        wrong = []
        if len(self.layers) != len(self.workload.layers):
            wrong.append(f"options of {len(self.layers)} layers, but there are {len(self.workload.layers)}")
        for layer, options in zip(self.workload.layers, self.layers, strict=False):
            if not 1 <= len(options) <= _MOST_OPTIONS:
                wrong.append(f"layer {layer.name!r} has {len(options)} options, allowed 1..{_MOST_OPTIONS}")
            if layer.out_kind is ActKind.BIPOLAR and any(o.out_bits != 1 for o in options):
                wrong.append(f"layer {layer.name!r} has bipolar results, which have one bit")
            wrong += self._residual_mistakes(layer)
        if not wrong and self.completed(self.every) is None:
            wrong.append("layers whose results are added have no number of bits in common")
        if wrong:
            raise ConfigError(f"bit options {self.name!r}: " + "; ".join(wrong))

    def _residual_mistakes(self, layer: Layer) -> list[str]:
        if len(layer.inputs) < 2:
            return []
        if layer.inputs[1] == IMAGE:
            return [f"layer {layer.name!r} adds the image, whose bits cannot be chosen"]
        other = self.workload.layers[self.workload.index[layer.inputs[1]]]
        if layer.averages or other.averages or layer.out_bits == other.out_bits:
            return []
        return [
            f"layer {layer.name!r} adds {other.name!r} of {other.out_bits} bits to results of {layer.out_bits}; "
            "quantize the sum to the bits of its operands"
        ]

    @cached_property
    def ties(self) -> tuple[int, ...]:
        """The first layer whose results must have as many bits as those of each layer: often the layer itself."""
        first = list(range(len(self.workload.layers)))
        for i, layer in enumerate(self.workload.layers):
            if len(layer.inputs) > 1:
                old, new = first[i], first[self.workload.index[layer.inputs[1]]]
                first = [min(old, new) if f in (old, new) else f for f in first]
        return tuple(first)

    @cached_property
    def every(self) -> Sets:
        """All options of every layer."""
        return tuple(tuple(range(len(options))) for options in self.layers)

    def completed(self, sets: Sets) -> tuple[int, ...] | None:
        """Returns the picks of the least sum of drops among the options left; None where ties cannot be kept."""
        out = [-1] * len(self.layers)
        for tie in sorted(set(self.ties)):
            members = [i for i, t in enumerate(self.ties) if t == tie]
            best = min(self._ways(members, sets), default=None)
            if best is None:
                return None
            for i, pick in zip(members, best[1], strict=True):
                out[i] = pick
        return tuple(out)

    def _ways(self, members: Sequence[int], sets: Sets) -> list[tuple[int, tuple[int, ...]]]:
        """Returns (drop, picks) of least drop of tied layers for each number of bits that all of them can have."""
        bits = {o.out_bits for o in self.layers[members[0]]} if len(members) > 1 else {0}
        ways = []
        for b in sorted(bits):
            found = []
            for i in members:
                options = self.layers[i]
                found += sorted(
                    (options[k].drop_millionths, k) for k in sets[i] if b in (0, options[k].out_bits)
                )[:1]
            if len(found) == len(members):
                ways.append((sum(drop for drop, _ in found), tuple(k for _, k in found)))
        return ways

    def drop_of(self, picks: Picks) -> int:
        """Returns the sum of drops in millionths."""
        return sum(options[k].drop_millionths for options, k in zip(self.layers, picks, strict=True))

    def aligned(self, picks: Picks) -> tuple[int, ...] | None:
        """Returns picks whose tied layers keep their weights and take the bits of the first layer of each tie.

        None where one has no option with both.
        """
        out = list(picks)
        for i, first in enumerate(self.ties):
            mine, bits = self.layers[i][picks[i]], self.layers[first][out[first]].out_bits
            if mine.out_bits != bits:
                same = [
                    k for k, o in enumerate(self.layers[i]) if (o.weights, o.out_bits) == (mine.weights, bits)
                ]
                if not same:
                    return None
                out[i] = same[0]
        return tuple(out)

    def keeps_ties(self, picks: Picks) -> bool:
        """Whether results that are added have equal bits."""
        bits = [options[k].out_bits for options, k in zip(self.layers, picks, strict=True)]
        return all(bits[i] == bits[first] for i, first in enumerate(self.ties))

    def picks_of(self, chosen: Sequence[BitOption]) -> tuple[int, ...]:
        """Returns the positions of options.

        Raises:
            ConfigError: one is not among those of its layer.
        """
        for layer, options, option in zip(self.workload.layers, self.layers, chosen, strict=True):
            if option not in options:
                raise ConfigError(f"layer {layer.name!r} has no option {option.label!r} with that drop")
        return tuple(options.index(o) for options, o in zip(self.layers, chosen, strict=True))

    def workload_of(self, picks: Picks) -> Workload:
        """Returns the workload with the picked bits."""
        return with_bits(self.workload, [options[k] for options, k in zip(self.layers, picks, strict=True)])


def with_bits(workload: Workload, chosen: Sequence[BitOption]) -> Workload:
    """Returns a workload whose layers have other bits; accumulators are as wide as any weights of them need.

    Averages are stored as sums where they were.
    """
    if len(chosen) != len(workload.layers):
        raise ModelError(
            f"workload {workload.name!r}: {len(chosen)} options for {len(workload.layers)} layers"
        )
    sums = any(layer.averages and layer.code_bits for layer in workload.layers)
    layers = [
        _layer(workload, layer, option, chosen) for layer, option in zip(workload.layers, chosen, strict=True)
    ]
    changed = replace(workload, layers=tuple(layers))
    return with_sums(changed) if sums else changed


def _layer(workload: Workload, layer: Layer, option: BitOption, chosen: Sequence[BitOption]) -> Layer:
    source = workload.index[layer.inputs[0]]
    act_bits = workload.image_bits if source < 0 else chosen[source].out_bits
    depth = layer.in_channels // layer.groups * layer.taps
    largest = largest_weight(option.weight_bits, option.weight_kind)
    largest *= largest_act(act_bits, layer.act_kind, source < 0)
    acc_bits = signed_bits_for(depth * largest)
    return replace(
        layer,
        weight_bits=option.weight_bits,
        weight_kind=option.weight_kind,
        act_bits=act_bits,
        acc_bits=acc_bits,
        out_bits=acc_bits if layer.result is ResultKind.RAW else option.out_bits,
        code_bits=0,
    )
