"""The exact programme over (output width, LUTs, block RAMs, DSP slices), kept as labels none of which beats another (njit).

After each node a *label* is what a chain of choices so far has used, with the number of its last output width. Of the labels of
one width only those stay that no other one beats or equals in all three resources: what can follow depends on the width alone,
so every completion of a beaten label is one of its better's that uses no more. A label goes, too, where the budgets cannot be
kept any more by some weighing of the resources (`relax`). What is left after the last node are all ways worth having, so the
one that uses least of a resource is optimal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.envs.folding.chain import R_CYCLES, R_IN, R_LUT, R_OUT
from foldwright.envs.folding.relax import NEVER, RESOURCES
from foldwright.kernels import njit

__all__ = ["MOST_USED", "extend", "first_labels"]

IntArray = npt.NDArray[np.int64]

MOST_USED = (1 << 26, 1 << 18, 1 << 18)
"""LUTs, block RAMs and DSP slices that a label can hold: they are packed into one word for sorting."""
_SHIFT_LUT, _SHIFT_BRAM18, _DSP_MASK = 36, 18, (1 << 18) - 1

# Columns of a label: what is used, the number of the label before it, the row chosen.
N_PARENT, N_ROW = 3, 4
N_FIELDS = 5
_ROOM = 1 << 12


@njit(cache=True)
def first_labels() -> tuple[IntArray, IntArray]:
    """Returns the label before the first node, as `extend` takes it: nothing used."""
    return np.zeros((1, N_FIELDS), dtype=np.int64), np.array([0, 1], dtype=np.int64)


@njit(cache=True)
def _thin(labels: IntArray, count: int, least: IntArray) -> int:
    """Keeps of the first `count` labels those that no other beats or equals, in ascending order, and returns how many.

    `least`: as many entries as block RAMs may be used and one more, all `NEVER`; a tree of least DSP slices by block RAMs,
    left as it was found.
    """
    keys = np.empty(count, dtype=np.int64)
    for n in range(count):
        keys[n] = (labels[n, 0] << _SHIFT_LUT) | (labels[n, 1] << _SHIFT_BRAM18) | labels[n, 2]
    order = np.argsort(keys)
    kept = np.empty((count, N_FIELDS), dtype=np.int64)
    top = 0
    for n in order:
        bram18, dsp = labels[n, 1], labels[n, 2]
        at, beaten = bram18 + 1, False
        while at > 0:  # prefix minimum over 0..bram18
            if least[at] <= dsp:
                beaten = True
                break
            at -= at & -at
        if beaten:
            continue
        at = bram18 + 1
        while at < len(least):
            if least[at] > dsp:
                least[at] = dsp
            at += at & -at
        kept[top] = labels[n]
        top += 1
    for n in range(top):
        at = kept[n, 1] + 1
        while at < len(least):
            least[at] = NEVER
            at += at & -at
    labels[:top] = kept[:top]
    return top


@njit(cache=True)
def _fits(label: IntArray, caps: IntArray, weights: IntArray, rests: IntArray, limits: IntArray) -> bool:
    """Whether a label keeps the caps and, by every weighing, can be completed within them."""
    for k in range(RESOURCES):
        if label[k] > caps[k]:
            return False
    for w in range(len(weights)):
        cost = rests[w]
        for k in range(RESOURCES):
            cost += weights[w, k] * label[k]
        if cost > limits[w]:
            return False
    return True


@njit(cache=True)
def _append(out: IntArray, total: int, labels: IntArray, count: int) -> tuple[IntArray, int]:
    """Returns labels with the first `count` of others behind the `total` there are, and how many that makes."""
    while total + count > len(out):
        longer = np.empty((2 * len(out), N_FIELDS), dtype=np.int64)
        longer[:total] = out[:total]
        out = longer
    out[total : total + count] = labels[:count]
    return out, total + count


@njit(cache=True)
def _room_for(labels: IntArray, count: int, least: IntArray) -> tuple[IntArray, int]:
    """Returns labels with room for one more: thinned, and twice as long where that does not help enough."""
    if count < len(labels):
        return labels, count
    count = _thin(labels, count, least)
    if 2 * count > len(labels):
        longer = np.empty((2 * len(labels), N_FIELDS), dtype=np.int64)
        longer[:count] = labels[:count]
        return longer, count
    return labels, count


@njit(cache=True)
def extend(
    node: int, first: IntArray, rows: IntArray, inputs: IntArray, outputs: IntArray, converters: IntArray,
    most_cycles: int, caps: IntArray, weights: IntArray, rest_in: IntArray, rest_out: IntArray,
    labels: IntArray, begins: IntArray, most: int,
) -> tuple[IntArray, IntArray]:  # fmt: skip
    """Returns the labels after a node and where those of each output width begin, from those before it.

    Where more than `most` would be kept it returns none, and `begins` is not all zeros.

    Args:
        caps: what may be used of each resource, int64 (3,), below `MOST_USED`.
        weights: weighings, int64 (weighings, 3); `rest_in` and `rest_out` are their least completions, int64 (weighings,
            nodes, widths).
        labels: int64 (labels, N_FIELDS), sorted by output width of the node before; `begins` int64 (widths + 1,).
    """
    least = np.full(caps[1] + 2, NEVER, dtype=np.int64)
    limits = np.zeros(len(weights), dtype=np.int64)
    for w in range(len(weights)):
        for k in range(RESOURCES):
            limits[w] += weights[w, k] * caps[k]
    arrived = np.empty((_ROOM, N_FIELDS), dtype=np.int64)
    starts = np.zeros(inputs[node] + 1, dtype=np.int64)
    buffer, label = np.empty((_ROOM, N_FIELDS), dtype=np.int64), np.zeros(N_FIELDS, dtype=np.int64)
    total = 0
    for i in range(inputs[node]):
        count = 0
        for o in range(len(begins) - 1):
            lut = converters[node, o, i] if node > 0 else 0
            if lut < 0:
                continue
            for n in range(begins[o], begins[o + 1]):
                label[:RESOURCES] = labels[n, :RESOURCES]
                label[0] += lut
                label[N_PARENT] = n
                if _fits(label, caps, weights, rest_in[:, node, i], limits):
                    buffer, count = _room_for(buffer, count, least)
                    buffer[count] = label
                    count += 1
        count = _thin(buffer, count, least)
        arrived, total = _append(arrived, total, buffer, count)
        starts[i + 1] = total
    out = np.empty((_ROOM, N_FIELDS), dtype=np.int64)
    ends = np.zeros(outputs[node] + 1, dtype=np.int64)
    total = 0
    for o in range(outputs[node]):
        count = 0
        for row in range(first[node], first[node + 1]):
            if rows[row, R_OUT] != o or rows[row, R_CYCLES] > most_cycles:
                continue
            i = rows[row, R_IN]
            for n in range(starts[i], starts[i + 1]):
                for k in range(RESOURCES):
                    label[k] = arrived[n, k] + rows[row, R_LUT + k]
                label[N_PARENT], label[N_ROW] = arrived[n, N_PARENT], row
                if _fits(label, caps, weights, rest_out[:, node, o], limits):
                    buffer, count = _room_for(buffer, count, least)
                    buffer[count] = label
                    count += 1
        count = _thin(buffer, count, least)
        if total + count > most:
            return out[:0].copy(), np.ones_like(ends)
        out, total = _append(out, total, buffer, count)
        ends[o + 1] = total
    return out[:total].copy(), ends
