"""Relaxed chains: budgets weighed into one cost, so that a dynamic programme over widths alone is exact (njit).

With a weight per resource, the folding that costs least is found node by node over the number of the input width. Weights that
are not negative give a bound on every folding within budgets: its weighted cost is at most that of the budgets, so if the
least weighted cost of all foldings is more, none fits; and with weight `SCALE` on one resource, the rest of the least cost over
the other budgets is a lower bound on that resource (Lagrangian relaxation, Geoffrion 1974). All sums are integers, so that
what they prove does not depend on rounding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.envs.folding.chain import R_CYCLES, R_DSP, R_IN, R_LUT, R_OUT
from foldwright.kernels import njit

__all__ = ["NEVER", "SCALE", "dual_weights", "least_completions", "picks_of", "uses_of"]

IntArray = npt.NDArray[np.int64]

RESOURCES = 3
SCALE = 1024
"""The weight of one unit of the resource that is minimised."""
NEVER = 1 << 60
_MOST_WEIGHT = 1 << 24
_AIM_BEYOND = 32


@njit(cache=True)
def least_completions(
    first: IntArray, rows: IntArray, inputs: IntArray, outputs: IntArray, converters: IntArray, most_cycles: int,
    weights: IntArray, rest_in: IntArray, rest_out: IntArray, best: IntArray, via: IntArray,
) -> int:  # fmt: skip
    """Returns the least weighted cost of a chain of choices of at most so many cycles; `NEVER` where there is none.

    Args:
        weights: of LUTs, block RAMs, DSP slices, int64 (3,).
        rest_in: set to the least cost of a node and those after it by the node's input width, int64 (nodes, widths).
        rest_out: set to the least cost of those after a node by its output width, int64 (nodes, widths).
        best: set to the row that begins the least completion of an input width.
        via: set to the number of the next node's input width on the least completion of an output width.
    """
    last = len(first) - 2
    for node in range(last, -1, -1):
        for o in range(outputs[node]):
            rest_out[node, o] = 0 if node == last else NEVER
            if node < last:
                for i in range(inputs[node + 1]):
                    lut = converters[node + 1, o, i]
                    if lut >= 0 and rest_in[node + 1, i] < NEVER:
                        cost = weights[0] * lut + rest_in[node + 1, i]
                        if cost < rest_out[node, o]:
                            rest_out[node, o], via[node, o] = cost, i
        for i in range(inputs[node]):
            rest_in[node, i] = NEVER
        for row in range(first[node], first[node + 1]):
            rest = rest_out[node, rows[row, R_OUT]]
            if rows[row, R_CYCLES] <= most_cycles and rest < NEVER:
                for k in range(RESOURCES):
                    rest += weights[k] * rows[row, R_LUT + k]
                if rest < rest_in[node, rows[row, R_IN]]:
                    rest_in[node, rows[row, R_IN]], best[node, rows[row, R_IN]] = rest, row
    return rest_in[0, : inputs[0]].min()


@njit(cache=True)
def picks_of(
    first: IntArray, rows: IntArray, inputs: IntArray, rest_in: IntArray, best: IntArray, via: IntArray
) -> IntArray:
    """Returns the rows of the least chain that `least_completions` found, int64 (nodes,)."""
    picks = np.empty(len(first) - 1, dtype=np.int64)
    i = np.argmin(rest_in[0, : inputs[0]])
    for node in range(len(picks)):
        picks[node] = best[node, i]
        i = via[node, rows[picks[node], R_OUT]]
    return picks


@njit(cache=True)
def uses_of(rows: IntArray, converters: IntArray, picks: IntArray) -> IntArray:
    """Returns cycles of the slowest node, LUTs with converters, block RAMs and DSP slices of a chain, int64 (4,).

    The LUTs are -1 where no converter stands between two widths.
    """
    out = np.zeros(R_DSP + 1, dtype=np.int64)
    for node in range(len(picks)):
        row = rows[picks[node]]
        out[R_CYCLES] = max(out[R_CYCLES], row[R_CYCLES])
        for k in range(R_LUT, R_DSP + 1):
            out[k] += row[k]
        if node > 0:
            lut = converters[node, rows[picks[node - 1], R_OUT], row[R_IN]]
            if lut < 0:
                out[R_LUT] = -1
                return out
            out[R_LUT] += lut
    return out


@njit(cache=True)
def dual_weights(
    first: IntArray, rows: IntArray, inputs: IntArray, outputs: IntArray, converters: IntArray, most_cycles: int,
    goal: int, caps: IntArray, steps: int,
) -> tuple[IntArray, int, IntArray]:  # fmt: skip
    """Returns weights whose bound on one resource is high, that bound, and the best fitting chain met on the way.

    Subgradient ascent on the weights of the other two resources with Polyak's step towards the best known value of the goal.

    Args:
        goal: the resource that is minimised: 0 LUTs, 1 block RAMs, 2 DSP slices.
        caps: what each resource may be, int64 (3,); that of the goal is where the search aims.

    Returns:
        the weights, int64 (3,); the least value of the goal, rounded up, `NEVER` where no chain exists; the chain's rows, int64
        (nodes,), -1 where none within all caps was met.
    """
    shape = (len(inputs), max(inputs.max(), outputs.max()))
    rest_in, rest_out = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    best, via = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    weights, kept = np.zeros(RESOURCES, dtype=np.int64), np.zeros(RESOURCES, dtype=np.int64)
    weights[goal] = kept[goal] = SCALE
    found = np.full(len(inputs), -1, dtype=np.int64)
    bound, target, pace, tired = np.int64(-1), caps[goal], 1.0, 0
    for _ in range(steps):
        least = least_completions(
            first, rows, inputs, outputs, converters, most_cycles, weights, rest_in, rest_out, best, via
        )
        if least >= NEVER:
            return kept, NEVER, found
        picks = picks_of(first, rows, inputs, rest_in, best, via)
        uses = uses_of(rows, converters, picks)[R_LUT:]
        value = least
        for k in range(RESOURCES):
            if k != goal:
                value -= weights[k] * caps[k]
        if (uses <= caps).all() and (found[0] < 0 or uses[goal] < target):
            found[:], target = picks, uses[goal]
        rounded = -(-value // SCALE)
        if rounded > bound:
            bound, tired = rounded, 0
            kept[:] = weights
        else:
            tired += 1
            if tired == 5:
                pace, tired = pace / 2, 0
        norm = 0.0
        for k in range(RESOURCES):
            if k != goal:
                slope = float(uses[k] - caps[k])
                if slope > 0 or weights[k] > 0:
                    norm += slope * slope
        if norm == 0.0 or bound >= target + (found[0] < 0):
            break
        aim = (
            target + 1 + target // _AIM_BEYOND
        )  # else a bound that could pass the target would only creep up to it
        length = pace * max(1.0, float(aim) * SCALE - float(value)) / norm
        for k in range(RESOURCES):
            if k != goal:
                weights[k] = int(
                    min(float(_MOST_WEIGHT), max(0.0, weights[k] + length * float(uses[k] - caps[k])))
                )
    return kept, int(bound), found
