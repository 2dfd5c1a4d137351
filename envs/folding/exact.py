"""Exact search of a chain: the least of one resource within caps on all, at most so many cycles; proven.

The least of a resource is sought between a Lagrangian bound and the best chain met on the way to it (`relax`), by the programme
of labels (`labels`), first close to the bound, then wider: few labels live where the cap lies close to the bound. The fewest
cycles are sought by bisection over the cycles of all choices, for what fits at some rate fits at every slower one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.envs.folding.chain import R_CYCLES, Chain, undominated
from foldwright.envs.folding.labels import MOST_USED, N_PARENT, N_ROW, extend, first_labels
from foldwright.envs.folding.relax import (
    NEVER,
    RESOURCES,
    SCALE,
    dual_weights,
    least_completions,
    picks_of,
    uses_of,
)

__all__ = ["LUT", "ChainSearch", "Found", "Stopped", "Uses"]

IntArray = npt.NDArray[np.int64]

LUT, BRAM18, DSP = range(RESOURCES)
_DUAL_STEPS = 100
_FIRST_SLACK_SHARE, _WIDER = 256, 4
_BALANCE = 1 << 20
MOST_LABELS = 1 << 20
"""Of all nodes together; more would take hundreds of megabytes."""

Stop = Callable[[int], bool]


class Stopped(Exception):  # noqa: N818  # it is no error
    """A search ended before its end: the rule that was asked said so, or there were more than `MOST_LABELS` labels."""


@dataclass(frozen=True, slots=True)
class Uses:
    """What a chain takes: cycles of its slowest node, LUTs with converters, block RAMs of 18 kbit, DSP slices."""

    cycles: int
    lut: int
    bram18: int
    dsp: int


@dataclass(frozen=True)
class Found:
    """The chain that takes least, as rows of the search's chain, and what it takes."""

    picks: IntArray  # int64 (nodes,)
    uses: Uses


@dataclass(frozen=True)
class _Bracket:
    """What is known before labels are made: weights, a lower bound on the goal, and the best chain met, if any."""

    weights: IntArray
    bound: int
    found: Found | None


class ChainSearch:
    """Searches one chain; see the module's docstring. `work` counts the labels made so far."""

    def __init__(self, chain: Chain) -> None:
        self.chain = undominated(chain)
        self._arrays = self.chain[:5]
        self.work = 0

    def warm_up(self) -> None:
        """Compiles the programme of labels, which is slow the first time, on a chain of one node."""
        row = np.zeros((1, len(self.chain.rows[0])), dtype=np.int64)
        first, one = np.array([0, 1], dtype=np.int64), np.ones(1, dtype=np.int64)
        table, rests = np.zeros((1, 1, 1), dtype=np.int64), np.zeros((1, 1, 1), dtype=np.int64)
        caps, weights = np.zeros(RESOURCES, dtype=np.int64), np.zeros((1, RESOURCES), dtype=np.int64)
        extend(0, first, row, one, one, table, 0, caps, weights, rests, rests, *first_labels(), 1)

    @cached_property
    def levels(self) -> IntArray:
        """The cycles that a chain can take, ascending: those of choices, none below the slowest node's least."""
        cycles = self.chain.rows[:, R_CYCLES]
        spans = zip(self.chain.first[:-1], self.chain.first[1:], strict=True)
        return np.unique(cycles[cycles >= max(cycles[a:b].min() for a, b in spans)])

    def uses(self, picks: IntArray) -> Uses:
        """Returns what rows of the chain take together."""
        return Uses(*(int(v) for v in uses_of(self.chain.rows, self.chain.converters, picks)))

    def relaxed(self, weights: IntArray, most_cycles: int) -> tuple[int, IntArray, IntArray, IntArray | None]:
        """Returns the least weighted cost, the least completions by input and by output width, and the rows that cost it.

        The rows are None where widths of neighbours never go together; the cost is then `NEVER`.
        """
        n = len(self.chain.inputs)
        shape = n, int(max(self.chain.inputs.max(), self.chain.outputs.max()))
        rest_in, rest_out = np.full(shape, NEVER, dtype=np.int64), np.full(shape, NEVER, dtype=np.int64)
        best, via = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        least = least_completions(*self._arrays, most_cycles, weights, rest_in, rest_out, best, via)
        if least >= NEVER:
            return NEVER, rest_in, rest_out, None
        rows = picks_of(self.chain.first, self.chain.rows, self.chain.inputs, rest_in, best, via)
        return int(least), rest_in, rest_out, rows

    def alone(self, resource: int, most_cycles: int) -> int:
        """Returns the least of one resource whatever the others take; `NEVER` where no chain exists."""
        weights = np.zeros(RESOURCES, dtype=np.int64)
        weights[resource] = 1
        return self.relaxed(weights, most_cycles)[0]

    def quick(self, caps: IntArray, most_cycles: int) -> Found | None:
        """Returns a chain within the caps by a weighing of the resources, balanced or one alone; None where none of them fits."""
        balanced = np.maximum(1, _BALANCE // np.maximum(1, caps))
        for weights in (balanced, *np.eye(RESOURCES, dtype=np.int64)):
            rows = self.relaxed(weights, most_cycles)[3]
            if rows is not None and self._keeps(uses := self.uses(rows), caps):
                return Found(rows, uses)
        return self._bracket(LUT, caps, most_cycles).found

    @staticmethod
    def _keeps(uses: Uses, caps: IntArray) -> bool:
        return uses.lut <= caps[LUT] and uses.bram18 <= caps[BRAM18] and uses.dsp <= caps[DSP]

    def _bracket(self, goal: int, caps: IntArray, most_cycles: int) -> _Bracket:
        weights, bound, rows = dual_weights(*self._arrays, most_cycles, goal, caps, _DUAL_STEPS)
        found = Found(rows, self.uses(rows)) if rows[0] >= 0 else None
        return _Bracket(weights, int(bound), found)

    def bound(self, goal: int, caps: IntArray, most_cycles: int) -> int:
        """Returns a lower bound on a resource within the caps on the others; `NEVER` where no chain exists."""
        return self._bracket(goal, caps, most_cycles).bound

    def least(self, goal: int, caps: IntArray, most_cycles: int, stop: Stop) -> Found | None:
        """Returns the chain that takes least of a resource within caps on all; None where none fits.

        Args:
            goal: `LUT`, `BRAM18` or `DSP`.
            caps: int64 (3,), below `labels.MOST_USED`; that of the goal too.

        Raises:
            Stopped: `stop`, which is called with the labels made, said so, or there were too many labels.
        """
        assert (caps < np.array(MOST_USED)).all()
        known = self._bracket(goal, caps, most_cycles)
        best, caps = known.found, caps.copy()
        top = _of(best.uses, goal) - 1 if best else int(caps[goal])
        slack = 1 + max(0, known.bound) // _FIRST_SLACK_SHARE
        weighings = self._weighings(known.weights, most_cycles)
        caps[goal] = -1
        while known.bound <= top and caps[goal] < top:
            caps[goal] = min(top, known.bound + slack)
            found = self._by_labels(goal, caps, most_cycles, weighings, stop)
            if found is not None:
                return found
            slack *= _WIDER
        return best

    def fits(self, caps: IntArray, most_cycles: int, stop: Stop) -> Found | None:
        """Returns some chain within the caps, or None where there is none; raises as `least` does."""
        return self.quick(caps, most_cycles) or self.least(LUT, caps, most_cycles, stop)

    def fewest_cycles(self, caps: IntArray, known: Found, stop: Stop, lowest: int = 0) -> tuple[Found, int]:
        """Returns a chain of the fewest cycles within the caps, and the cycles below which none fits.

        They are the same unless `stop` ended the search before.

        Args:
            known: a chain that fits.
            lowest: cycles below which none does.
        """
        best = known
        low = int(np.searchsorted(self.levels, lowest))
        high = int(np.searchsorted(self.levels, best.uses.cycles))
        while low < high:
            middle = (low + high) // 2
            try:
                found = self.fits(caps, int(self.levels[middle]), stop)
            except Stopped:
                break
            if found is None:
                low = middle + 1
            else:
                best, high = found, int(np.searchsorted(self.levels, found.uses.cycles))
        return best, int(self.levels[low])

    def _weighings(self, weights: IntArray, most_cycles: int) -> tuple[IntArray, IntArray, IntArray]:
        """Returns weighings that labels are checked by, and their least completions: the bound's and each resource alone."""
        every = np.concatenate((weights[None, :], SCALE * np.eye(RESOURCES, dtype=np.int64)))
        relaxed = [self.relaxed(w, most_cycles) for w in every]
        return every, np.stack([r[1] for r in relaxed]), np.stack([r[2] for r in relaxed])

    def _by_labels(
        self, goal: int, caps: IntArray, most_cycles: int, weighings: tuple[IntArray, IntArray, IntArray], stop: Stop
    ) -> Found | None:  # fmt: skip
        labels, begins = first_labels()
        layers: list[Any] = []
        room = MOST_LABELS
        for node in range(len(self.chain.inputs)):
            labels, begins = extend(node, *self._arrays, most_cycles, caps, *weighings, labels, begins, room)
            self.work += len(labels)
            room -= len(labels)
            if not len(labels) and not begins.any():
                return None
            if not len(labels):
                raise Stopped(f"more than {MOST_LABELS} partial foldings are worth keeping")
            if stop(self.work):
                raise Stopped("the stop rule said so")
            layers.append(labels)
        picks, at = np.empty(len(layers), dtype=np.int64), int(np.argmin(labels[:, goal]))
        for node in range(len(layers) - 1, -1, -1):
            picks[node] = layers[node][at, N_ROW]
            at = int(layers[node][at, N_PARENT])
        return Found(picks, self.uses(picks))


def _of(uses: Uses, resource: int) -> int:
    return (uses.lut, uses.bram18, uses.dsp)[resource]
