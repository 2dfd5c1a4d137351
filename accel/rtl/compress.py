"""Sums many bits of many weights with few LUTs: a compressor tree for the 7-series carry chain.

A *heap* is a list of columns; column w holds nets of weight 2^w. Levels of counters shrink the heap until no
column holds more than three nets, then one ternary adder finishes. The counters, per level and column:

| counter | nets in -> out | LUT | how |
|---|---|---|---|
| (7;3) | 7 -> 3 | 2 | five bits on both LUTs, the sixth on one and the carry data, the last as carry in |
| (6,0,7;5) | 13 -> 5 | 4 | the same twice on one CARRY4; two columns apart |
| (3;2) | 3 -> 2 | 1 | full adder in one LUT6_2 |

Both large counters remove two nets per LUT, and so does the ternary adder (one LUT per column, three nets in,
one out); a netlist of (6;3) counters removes 1.5. Which column uses which counter in which level is searched
over a small beam. Every level ends in registers.

Source of the counters: own derivation from the CARRY4 equations (UG474); the (6,0,7;5) is known from
Preusser, "Generic and Universal Parallel Matrix Summation", FPL 2017.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from foldwright.accel.rtl.lutnet import LutNetlist

__all__ = ["Heap", "compress", "sum_rows"]

Heap = list[list[int]]
Heights = tuple[int, ...]

_BEAM = 24
_ROWS = 3  # what the final adder takes


class _Use(NamedTuple):
    """One counter: its lowest column, the nets it takes there and two columns above (0: one half only)."""

    column: int
    taken: int
    taken_above: int


class _Level(NamedTuple):
    uses: tuple[_Use, ...]
    luts: int
    heights: Heights


def compress(net: LutNetlist, heap: Heap) -> Heap:
    """Returns a heap of at most three nets per column with the same sum, all in one later stage."""
    width = len(heap)
    for level in _plan(tuple(len(column) for column in heap)):
        left = [list(column) for column in heap]
        after: Heap = [[] for _ in range(width)]
        for use in level.uses:
            low, left[use.column] = left[use.column][: use.taken], left[use.column][use.taken :]
            high: list[int] = []
            if use.taken_above:
                above = left[use.column + 2]
                high, left[use.column + 2] = above[: use.taken_above], above[use.taken_above :]
            for k, out in enumerate(_counter(net, low, high)):
                if use.column + k < width:
                    after[use.column + k].append(out)
        heap = [[net.register(x) for x in (*after[w], *left[w])] for w in range(width)]
    return heap


def sum_rows(net: LutNetlist, heap: Heap, negate: int, reset: int = 0) -> list[int]:
    """Returns the registered sum of a heap of up to three nets per column, inverted where `negate`.

    With three rows `~(a + b + c) = ~a + ~b + ~c + 2 (mod 2^n)`; both free carry inputs of a ternary adder
    give the 2.
    """
    low = next((w for w, column in enumerate(heap) if len(column) > 1), len(heap))
    out = [_inverted(net, column, negate) for column in heap[:low]]
    if low < len(heap):
        ternary = any(len(column) == _ROWS for column in heap)
        out += (_ternary if ternary else _binary)(net, heap[low:], negate)
    return [net.register(bit, reset) for bit in out]


def _inverted(net: LutNetlist, column: list[int], negate: int) -> int:
    if not column:
        return negate
    return net.lut(lambda a, n: a ^ n, [column[0], negate]) if negate else column[0]


def _binary(net: LutNetlist, heap: Heap, negate: int) -> list[int]:
    select, data = [], []
    for column in heap:
        s, d = 0, negate
        if column:
            s, d = net.lut2(lambda *x: sum(x[:-1]) & 1, lambda *x: x[0] ^ x[-1], [*column, negate])
        select.append(s)
        data.append(d)
    return net.carry(select, data, negate)[0]


def _ternary(net: LutNetlist, heap: Heap, negate: int) -> list[int]:
    select, data = [], []
    carried = negate
    for column in heap:
        n = len(column)
        o6, o5 = net.lut2(
            lambda *x, n=n: (sum(x[:n]) + (_ROWS - n) * x[n] + x[n] * n + x[n + 1]) & 1,
            lambda *x, n=n: sum(x[i] ^ x[n] for i in range(n)) + (_ROWS - n) * x[n] >= 2,
            [*column, negate, carried],
        )
        select.append(o6)
        data.append(carried)
        carried = o5
    return net.carry(select, data, negate)[0]


def _counter(net: LutNetlist, low: list[int], high: list[int]) -> list[int]:
    if len(low) <= 3 and not high:
        return list(net.lut2(lambda *x: sum(x) & 1, lambda *x: sum(x) >= 2, low))
    start = low[6] if len(low) > 6 else 0
    select, data = _half(net, low[:6])
    if high:
        s, d = _half(net, high)
        select, data = select + s, data + d
    sums, carries = net.carry(select, data, start)
    return [*sums, carries[-1]]


def _half(net: LutNetlist, bits: list[int]) -> tuple[list[int], list[int]]:
    """Returns select and data of two carry positions that add up to six bits of one weight to the carry."""
    five, sixth = bits[:5], bits[5] if len(bits) > 5 else 0
    s0 = net.lut(lambda *x: sum(x) & 1, bits)
    s1, d1 = net.lut2(lambda *x: sum(x) >> 1 & 1, lambda *x: sum(x) >= 4, five)
    return [s0, s1], [sixth, d1]


@cache
def _plan(heights: Heights) -> tuple[_Level, ...]:
    """Returns the cheapest sequence of levels the beam finds for a heap of these heights."""
    beam: list[tuple[int, tuple[_Level, ...], Heights]] = [(0, (), heights)]
    best: tuple[int, int, tuple[_Level, ...]] | None = None
    while beam:
        grown: dict[Heights, tuple[int, tuple[_Level, ...], Heights]] = {}
        for luts, levels, now in beam:
            if max(now) <= _ROWS:
                total = luts + _final_luts(now)
                if best is None or (total, len(levels)) < best[:2]:
                    best = (total, len(levels), levels)
                continue
            for level in _level_choices(now):
                cost = luts + level.luts
                if level.heights not in grown or cost < grown[level.heights][0]:
                    grown[level.heights] = (cost, (*levels, level), level.heights)
        ranked = sorted(
            grown.values(), key=lambda state: (state[0] + sum(state[2]) / 2, max(state[2]), state[2])
        )
        beam = [state for state in ranked[:_BEAM] if best is None or state[0] < best[0]]
    assert best is not None
    return best[2]


def _final_luts(heights: Heights) -> int:
    low = next((w for w, h in enumerate(heights) if h > 1), len(heights))
    return len(heights) - low


def _level_choices(heights: Heights) -> list[_Level]:
    found: dict[Heights, _Level] = {}
    for least in (7, 6, 5, 4):
        for least_above in (6, 5, 4, 3):
            for adders in (None, *range(_ROWS, 7)):
                level = _greedy_level(heights, least, least_above, adders)
                if level.luts:
                    found[level.heights] = min(level, found.get(level.heights, level), key=lambda v: v.luts)
    return list(found.values())


def _greedy_level(heights: Heights, least: int, least_above: int, adders: int | None) -> _Level:
    """Fills one level from the lowest column up.

    Args:
        least: nets a column must have left for a large counter.
        least_above: nets two columns above for its second half.
        adders: the height above which full adders are used on what is left; None: nowhere.
    """
    width = len(heights)
    left, after, uses, luts = list(heights), [0] * width, [], 0

    def put(use: _Use, outputs: int) -> None:
        left[use.column] -= use.taken
        if use.taken_above:
            left[use.column + 2] -= use.taken_above
        for k in range(use.column, min(use.column + outputs, width)):
            after[k] += 1
        uses.append(use)

    for w in range(width):
        while left[w] >= least:
            above = min(6, left[w + 2]) if w + 2 < width else 0
            above = above if above >= least_above else 0
            put(_Use(w, min(7, left[w]), above), 5 if above else 3)
            luts += 4 if above else 2
        while adders is not None and left[w] >= 3 and left[w] + after[w] > adders:
            put(_Use(w, 3, 0), 2)
            luts += 1
    return _Level(tuple(uses), luts, tuple(a + b for a, b in zip(after, left, strict=True)))
