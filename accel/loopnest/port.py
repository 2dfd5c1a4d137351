"""The DRAM port of the referee: beat by beat it serves what is needed first (njit).

Transfers of one kind (weights, inputs, partial sums, stores) go in their order; among kinds, the one that an earlier step waits
for goes first, and it may interrupt another between two beats. No other way of using one port lets any step start earlier,
so a mapping is scored by itself and not by somebody's arbitration. It follows that less traffic, more copies or
a larger tile never make a mapping slower.

What is needed first is placed first: a transfer takes the earliest idle beats from its release on that those
placed before it left. Idle spans are a linked list; per kind a cursor says from where on they may still be used, for releases
of a kind never go back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.kernels import njit

__all__ = ["new_port", "place"]

IntArray = npt.NDArray[np.int64]

WEIGHTS, INPUTS, PSUMS, STORES = range(4)
# Entries of the port: end of the last span in use, last idle span, number of spans, then a cursor per kind.
TAIL, LAST, COUNT, CURSOR = 0, 1, 2, 3
PORT_FIELDS = CURSOR + 4
# Columns of an idle span.
START, END, NEXT = range(3)
SPAN_FIELDS = 3
NONE = -1


@njit(cache=True)
def new_port() -> IntArray:
    """Returns a port that is idle from cycle 0 on, int64 (PORT_FIELDS,)."""
    port = np.full(PORT_FIELDS, NONE, dtype=np.int64)
    port[TAIL], port[COUNT] = 0, 0
    return port


@njit(cache=True)
def place(port: IntArray, spans: IntArray, kind: int, release: int, beats: int) -> int:
    """Gives a transfer its beats and returns the cycle in which the last one ends.

    Args:
        spans: int64 (one more than transfers ever placed, SPAN_FIELDS), the idle spans.
        release: cycle from which on it may run; of one kind never less than before.
    """
    at = port[CURSOR + kind]
    while at != NONE and spans[at, END] <= release:
        at = spans[at, NEXT]
    while at != NONE and beats > 0:
        if spans[at, START] < release:
            # What lies before the release stays idle for the others.
            behind = _append(port, spans, release, spans[at, END], spans[at, NEXT])
            spans[at, END], spans[at, NEXT] = release, behind
            if port[LAST] == at:
                port[LAST] = behind
            at = behind
        used = min(beats, spans[at, END] - spans[at, START])
        spans[at, START] += used
        beats -= used
        if beats == 0:
            port[CURSOR + kind] = at
            return spans[at, START]
        at = spans[at, NEXT]
    port[CURSOR + kind] = at
    if release > port[TAIL]:
        new = _append(port, spans, port[TAIL], release, NONE)
        if port[LAST] != NONE:
            spans[port[LAST], NEXT] = new
        port[LAST] = new
        for k in range(4):
            if port[CURSOR + k] == NONE and k != kind:
                port[CURSOR + k] = new
    port[TAIL] = max(port[TAIL], release) + beats
    return port[TAIL]


@njit(cache=True)
def _append(port: IntArray, spans: IntArray, start: int, end: int, following: int) -> int:
    new = port[COUNT]
    spans[new, START], spans[new, END], spans[new, NEXT] = start, end, following
    port[COUNT] = new + 1
    return new
