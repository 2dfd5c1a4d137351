"""Counts pairs of bits that agree (XNOR) or are both one (AND), in a pipeline of plain or hand-mapped logic.

A word of `dk` bits may hold `pa` activation planes of `dk / pa` channels, plane i in bits
`i * dk/pa .. (i+1) * dk/pa - 1`; the count of plane i is weighted 2^i. With several values in
`planes_per_word` the input `planes` selects one by its position. The result is registered; where `negate` is
set it is inverted bit by bit (the accumulator adds the missing one), where `zero` is set it is cleared,
`negate` then must be 0.

| technology | mapping |
|---|---|
| `generic` | two pairs by four-input functions, then a binary adder tree, registers behind every level |
| `xc7` | two LUT6 per three pairs, then the counters of `compress`: about 1.03 LUT per pair |
| `xc7-model` | the netlist of `xc7` with behavioural models of its cells, for simulation |
| `xc7-words` | the latency of `xc7` and operations on whole words, for fast simulation |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Arithmetic
from foldwright.accel.rtl.compress import compress, sum_rows
from foldwright.accel.rtl.lutnet import TECHNOLOGIES, LutNetlist

__all__ = ["WORDS", "MappedPopcount", "Popcount", "count_bits", "popcount_latency", "segment_shifts"]

WORDS = "xc7-words"
_WORD = 64
_SHIFTS_IN_ADDER = 3  # a LUT6 takes one bit of one operand, three of the other and two that select


def count_bits(dk: int, planes_per_word: Sequence[int] = (1,)) -> int:
    """Returns the width of the largest count."""
    pa = max(planes_per_word)
    return int(dk // pa * ((1 << pa) - 1)).bit_length()


def segment_shifts(planes_per_word: Sequence[int], level: int) -> list[int]:
    """Returns, per value of `planes_per_word`, the weight of the upper of two runs of 2^level segments."""
    segments = max(planes_per_word)
    return [(pa << level) // segments for pa in planes_per_word]


class MappedPopcount:
    """The 7-series netlist of a popcount, with its ports by name.

    `negate_stage` and `zero_stage` say how many cycles after the words these inputs are taken.
    """

    def __init__(self, dk: int, arithmetic: Arithmetic, planes_per_word: Sequence[int]) -> None:
        self.net = LutNetlist()
        self.weights = self.net.input(dk)
        self.acts = self.net.input(dk)
        self._arithmetic = arithmetic
        segments = max(planes_per_word)
        fixed = len(planes_per_word) == 1
        size = dk // segments
        starts = [range(k * size, (k + 1) * size) for k in range(segments)]
        if fixed:
            rows = [
                self._heap([(k, pairs) for k, pairs in enumerate(starts)], count_bits(dk, planes_per_word))
            ]
        else:
            rows = [self._heap([(0, pairs)], size.bit_length()) for pairs in starts]
        self._finish(self._level_up(rows), planes_per_word)

    def _heap(self, segments: list[tuple[int, range]], width: int) -> list[list[int]]:
        heap: list[list[int]] = [[] for _ in range(width)]
        for weight, pairs in segments:
            for low in range(pairs.start, pairs.stop, 3):
                for k, bit in enumerate(self._triple(range(low, min(low + 3, pairs.stop)))):
                    heap[weight + k].append(self.net.register(bit))
        return compress(self.net, heap)

    def _triple(self, pairs: range) -> list[int]:
        inputs = [net for k in pairs for net in (self.weights[k], self.acts[k])]
        hit = (lambda a, b: 1 - (a ^ b)) if self._arithmetic is Arithmetic.XNOR else (lambda a, b: a & b)
        bits = len(pairs).bit_length()
        return [
            self.net.lut(lambda *x, k=k: sum(map(hit, x[::2], x[1::2])) >> k & 1, inputs) for k in range(bits)
        ]

    def _level_up(self, heaps: list[list[list[int]]]) -> list[list[list[int]]]:
        """Delays shallow heaps so that all lie in one stage."""
        last = max(self._stage(heap) for heap in heaps)
        for heap in heaps:
            while self._stage(heap) < last:
                heap[:] = [[self.net.register(x) for x in column] for column in heap]
        return heaps

    def _stage(self, heap: list[list[int]]) -> int:
        return max(self.net.stage_of(x) for column in heap for x in column)

    def _finish(self, heaps: list[list[list[int]]], planes_per_word: Sequence[int]) -> None:
        net = self.net
        self.negate_stage = self._stage(heaps[0])
        levels = (len(heaps) - 1).bit_length()
        shifts = [segment_shifts(planes_per_word, level) for level in range(levels)]
        self.zero_stage = self.negate_stage + levels + sum(len(set(s)) > _SHIFTS_IN_ADDER for s in shifts)
        [self.negate], [self.zero] = net.input(1, self.negate_stage), net.input(1, self.zero_stage)
        sums = [sum_rows(net, heap, self.negate, 0 if levels else self.zero) for heap in heaps]
        self.planes: list[list[int]] = []
        negate = self.negate
        for level in range(levels):
            negate = net.register(negate)
            lows, highs, used = sums[::2], sums[1::2], shifts[level]
            if len(set(used)) > _SHIFTS_IN_ADDER:
                choice = self._planes_input(planes_per_word, negate)
                highs = [self._shifted(high, choice, used, negate) for high in highs]
                lows, used = [[net.register(x) for x in low] for low in lows], [0]
                negate = net.register(negate)
            choice = self._planes_input(planes_per_word, negate) if len(used) > 1 else []
            reset = self.zero if level == levels - 1 else 0
            pairs = zip(lows, highs, strict=True)
            sums = [self._shifted_sum(low, high, choice, used, negate, reset) for low, high in pairs]
        self.count = sums[0][: count_bits(len(self.weights), planes_per_word)]

    def _planes_input(self, planes_per_word: Sequence[int], beside: int) -> list[int]:
        choice = self.net.input((len(planes_per_word) - 1).bit_length(), self.net.stage_of(beside))
        self.planes.append(choice)
        return choice

    def _shifted(self, value: list[int], choice: list[int], shifts: list[int], fill: int) -> list[int]:
        """Returns `value << shifts[choice]`, registered."""

        def pick(*x: int) -> int:
            code = sum(v << i for i, v in enumerate(x[len(shifts) :]))
            return x[min(code, len(shifts) - 1)]

        out = []
        for w in range(len(value) + max(shifts)):
            options = [value[w - s] if 0 <= w - s < len(value) else fill for s in shifts]
            out.append(self.net.register(self.net.lut(pick, [*options, *choice])))
        return out

    def _shifted_sum(
        self, low: list[int], high: list[int], choice: list[int], shifts: list[int], negate: int, reset: int
    ) -> list[int]:
        """Adds `high << shifts[choice]` to `low`; where both are inverted, `negate` fills vacated bits."""
        net, select, data = self.net, [], []
        used = sorted(set(shifts))
        turn = [used.index(s) for s in shifts]

        def bit(*x: int) -> int:
            code = sum(v << i for i, v in enumerate(x[1 + len(used) :]))
            return x[0] ^ x[1 + turn[min(code, len(turn) - 1)]]

        for w in range(len(high) + used[-1] + 1):
            a = low[w] if w < len(low) else negate
            options = [high[w - s] if 0 <= w - s < len(high) else negate for s in used]
            select.append(net.lut(bit, [a, *options, *choice]))
            data.append(a)
        sums, _ = net.carry(select, data, negate)
        return [net.register(bit, reset) for bit in sums]


class Popcount(Component):  # type: ignore[misc,unused-ignore]
    """Popcount of `dk` pairs.

    `planes` is static while words flow. `negate` is taken `negate_stage` cycles after the words it belongs
    to, `zero` in cycle `latency - 1`; the array delays them once for all units.
    """

    def __init__(
        self,
        dk: int,
        *,
        arithmetic: Arithmetic = Arithmetic.XNOR,
        planes_per_word: Sequence[int] = (1,),
        technology: str = "generic",
    ) -> None:
        assert technology in (*TECHNOLOGIES, WORDS), technology
        self.dk, self.arithmetic, self.technology = dk, arithmetic, technology
        self.planes_per_word = tuple(planes_per_word)
        self.mapped = (
            None if technology == "generic" else MappedPopcount(dk, arithmetic, self.planes_per_word)
        )
        if self.mapped is not None:
            self.negate_stage, self.latency = self.mapped.negate_stage, self.mapped.zero_stage + 1
        else:
            self.latency = _generic_latency(dk, self.planes_per_word)
            self.negate_stage = self.latency - 1
        super().__init__(
            {
                "weights": In(dk),
                "acts": In(dk),
                "planes": In(max(1, (len(self.planes_per_word) - 1).bit_length())),
                "negate": In(1),
                "zero": In(1),
                "count": Out(count_bits(dk, self.planes_per_word)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.technology == WORDS:
            self._by_words(m)
        elif self.mapped is None:
            self._plain(m)
        else:
            self._place(m, self.mapped)
        return m

    def _place(self, m: Module, mapped: MappedPopcount) -> None:
        ports: dict[int, Value] = {
            **dict(zip(mapped.weights, self.weights, strict=True)),
            **dict(zip(mapped.acts, self.acts, strict=True)),
            mapped.negate: self.negate,
            mapped.zero: self.zero,
        }
        for choice in mapped.planes:
            ports |= {net: self.planes[i] for i, net in enumerate(choice)}
        values = mapped.net.emit(m, ports, self.technology)
        m.d.comb += self.count.eq(Cat(*(values[net] for net in mapped.count)))

    def _by_words(self, m: Module) -> None:
        """Counts at once and waits as long as the pipeline takes."""
        hits = self.weights & self.acts
        if self.arithmetic is Arithmetic.XNOR:
            hits = ~(self.weights ^ self.acts)
        segments, width = max(self.planes_per_word), len(self.count)
        size = self.dk // segments
        counts = [_word_count(m, hits[k * size : (k + 1) * size], f"segment_{k}") for k in range(segments)]
        totals: list[Value] = []
        for pa in self.planes_per_word:
            total = Signal(width, name=f"total_{pa}")
            m.d.comb += total.eq(sum(count << k * pa // segments for k, count in enumerate(counts)))
            totals.append(total)
        total = _choose(self.planes, totals)
        negate: Value = self.negate
        for stage in range(self.latency - 1):
            later = Signal(width, name=f"total_at_{stage}", reset_less=True)
            m.d.sync += later.eq(total)
            total = later
        for _ in range(self.latency - 1 - self.negate_stage):
            negate = _registered(m, negate)
        m.d.sync += self.count.eq(Mux(self.zero, 0, total ^ negate.replicate(width)))

    def _plain(self, m: Module) -> None:
        hits = self.weights & self.acts
        if self.arithmetic is Arithmetic.XNOR:
            hits = ~(self.weights ^ self.acts)
        segments = max(self.planes_per_word)
        size = self.dk // segments
        sums = [_tree(m, hits[k * size : (k + 1) * size]) for k in range(segments)]
        for level in range((segments - 1).bit_length()):
            shifts = segment_shifts(self.planes_per_word, level)
            options = [_choose(self.planes, [value << s for s in shifts]) for value in sums[1::2]]
            sums = [_registered(m, low + high) for low, high in zip(sums[::2], options, strict=True)]
        total = sums[0][: len(self.count)]
        with m.If(self.zero):
            m.d.sync += self.count.eq(0)
        with m.Else():
            m.d.sync += self.count.eq(total ^ self.negate.replicate(len(self.count)))


def popcount_latency(dk: int, arithmetic: Arithmetic, planes_per_word: Sequence[int], technology: str) -> int:
    """Returns the cycles from a word to its count."""
    if technology == "generic":
        return _generic_latency(dk, planes_per_word)
    return MappedPopcount(dk, arithmetic, planes_per_word).zero_stage + 1


def _generic_latency(dk: int, planes_per_word: Sequence[int]) -> int:
    segments = max(planes_per_word)
    tree = 1 + (max(1, -(-dk // segments // 2)) - 1).bit_length()
    return tree + (segments - 1).bit_length() + 1


def _registered(m: Module, value: Value) -> Signal:
    out = Signal(len(value))
    m.d.sync += out.eq(value)
    return out


def _choose(index: Value, options: list[Value]) -> Value:
    out = options[-1]
    for k, option in reversed(list(enumerate(options[:-1]))):
        if option is not out:
            out = Mux(index == k, option, out)
    return out


def _word_count(m: Module, hits: Value, name: str) -> Value:
    """Returns the ones of a value, counted in words of 64 bits: pairs, fours, bytes and so on, all at once."""
    total: Value = Const(0, 1)
    for low in range(0, len(hits), _WORD):
        part, field = hits[low : low + _WORD], 1
        while field < len(part):
            mask = sum(((1 << field) - 1) << at for at in range(0, _WORD, 2 * field))
            bits = -(-len(part) // (2 * field)) * 2 * field
            merged = Signal(min(_WORD, bits), name=f"{name}_{low}_by_{2 * field}")
            m.d.comb += merged.eq((part & mask) + ((part >> field) & mask))
            part, field = merged, 2 * field
        total = total + part
    return total


def _tree(m: Module, hits: Value) -> Value:
    """Returns the registered count of a segment."""
    level: list[Value] = []
    for k in range(0, len(hits), 2):
        a, b = hits[k], hits[k + 1] if k + 1 < len(hits) else Const(0, 1)
        level.append(_registered(m, Cat(a ^ b, a & b)))
    first = True
    while len(level) > 1:
        pairs = [
            (level[k], level[k + 1] if k + 1 < len(level) else Const(0, 1)) for k in range(0, len(level), 2)
        ]
        level = [_registered(m, _add_two_bits(a, b) if first and len(b) == 2 else (a + b)) for a, b in pairs]
        first = False
    return level[0]


def _add_two_bits(a: Value, b: Value) -> Value:
    """Returns the sum of two 2-bit numbers as three four-input functions, cheaper than a carry chain."""
    both = a[0] & b[0]
    return Cat(a[0] ^ b[0], a[1] ^ b[1] ^ both, (a[1] & b[1]) | ((a[1] ^ b[1]) & both))
