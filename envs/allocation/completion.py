"""Good completions of an episode's first decisions, by the estimates of `outlook` (njit).

What learning takes its labels from: for each candidate of a decision, choices that go on from it as well as is quickly
found. Number of engines and cuts follow the curves of runs; then one engine after another takes the shape with the best
value of a survey, and pairs of its extents are gone through anew with all candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foldwright.envs.allocation.engine_curves import (
    BUCKETS,
    FAR,
    GROUP_FRAMES,
    chain_curves,
    cut_values,
    edges_of,
    group_of,
    run_curves,
    runs_curve,
)
from foldwright.envs.allocation.engine_runs import Instance, Run, run_of
from foldwright.envs.allocation.outlook import ASKED, DECIDED, Survey, new_survey, open_after, survey
from foldwright.envs.allocation.score import N_LUT, N_MAX_ENGINES
from foldwright.envs.allocation.space import (
    A_DK,
    A_DM,
    A_DN,
    A_DRAIN,
    A_PLANES,
    A_WINDOW,
    PER_ENGINE,
    first_decision,
)
from foldwright.envs.problem import Choices
from foldwright.kernels import njit

if TYPE_CHECKING:
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["complete", "completions", "instance_of"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

_MARGIN = 0.004
"""Share of the LUTs that a completion leaves over, for estimates are not exact."""
_ROUNDS = np.array([(A_DK, A_DN), (A_DM, A_DK), (A_DRAIN, A_PLANES), (A_DM, A_DN)])
"""Pairs of choices that are gone through with all candidates; with the drain, lanes and window too."""
_REFINED = 6
"""Candidates of an extent whose completions are refined: those with the best values."""
_FRAMES_TRIED = np.array([0, 6, 12])
"""Positions of the frames per round of the completions, where these are not decided."""


def instance_of(problem: AllocationProblem) -> Instance:
    """Returns the tables of an instance with its curves, which take milliseconds."""
    layers, geometries, lut, ff, limits = problem.tables
    curves = run_curves(layers, lut, limits)
    return Instance(
        layers, geometries, lut, ff, limits, curves, chain_curves(curves[-1], problem.max_engines)
    )


@njit(cache=True)
def _decide_runs(it: Instance, choices: IntArray, decided: int) -> IntArray:
    """Decides engines and cuts that are open, and returns the edges of the runs."""
    if decided < 1:
        choices[0] = np.argmin(it.chains[:, 0, BUCKETS])
    edges, values = np.zeros(choices[0] + 2, dtype=np.int64), np.zeros(len(it.layers))
    for cut in range(choices[0]):
        if decided <= 1 + cut:
            cut_values(it.curves[len(GROUP_FRAMES) - 1], it.chains, choices[0] + 1, edges, cut, values)
            choices[1 + cut] = np.argmin(values)
        edges[cut + 1] = edges[cut] + choices[1 + cut] + 1
    return edges_of(it.layers, choices)


@njit(cache=True)
def _decide_engine(
    it: Instance, run: Run, own: IntArray, known: int, rest: FloatArray, rounds: int, found: Survey
) -> bool:
    """Decides what is open of an engine's seven choices; returns whether anything fits."""
    survey(it, run, own, open_after(known), rest, found)
    best = np.argmin(found.value)
    if found.value[best] >= FAR:
        return False
    own[:] = found.engine[best]
    value = found.value[best]
    for one, other in _ROUNDS[:rounds]:
        open_ = np.full(PER_ENGINE, DECIDED, dtype=np.int64)
        if one >= known:
            open_[one] = ASKED
        if other >= known:
            open_[other] = ASKED
        if one == A_DRAIN and known <= A_WINDOW:
            open_[known : A_WINDOW + 1] = ASKED
        if (open_ == DECIDED).all():
            continue
        survey(it, run, own, open_, rest, found)
        best = np.argmin(found.value)
        if found.value[best] < value:
            value = found.value[best]
            own[:] = found.engine[best]
    return True


@njit(cache=True)
def _run_left(it: Instance, edges: IntArray, choices: IntArray, engine: int) -> Run:
    """Returns what is left to an engine, less the margin."""
    run = run_of(it, edges, choices, engine)
    lut_left = run.lut_left - _MARGIN * it.limits[N_LUT]
    return Run(run.first, run.end, run.batch, lut_left, run.pool_left, run.before, run.dsp_left)


@njit(cache=True)
def complete(it: Instance, choices: IntArray, decided: int, frames: int, rounds: int) -> None:
    """Completes choices, the first `decided` of which are taken; what does not fit stays the fallback.

    Args:
        frames: The position of frames per round, if those are not decided.
        rounds: How many pairs of an engine's extents are gone through anew.
    """
    most, found = it.limits[N_MAX_ENGINES], new_survey()
    choices[decided:] = 0
    edges = _decide_runs(it, choices, decided)
    if decided <= most:
        choices[most] = frames
    for e in range(choices[0] + 1):
        at = first_decision(most, e)
        known = min(PER_ENGINE, max(0, decided - at))
        if known < PER_ENGINE:
            run = _run_left(it, edges, choices, e)
            rest = runs_curve(it.curves[group_of(run.batch)], edges, e + 1)
            if not _decide_engine(it, run, choices[at : at + PER_ENGINE], known, rest, rounds, found):
                return


@njit(cache=True)
def _complete_first(
    it: Instance, choices: IntArray, decision: int, mask: npt.NDArray[np.int8], out: IntArray
) -> None:
    """Completes after each candidate of a decision before those of the engines."""
    for k in np.flatnonzero(mask):
        for t in range(len(out)):
            out[t, k] = choices
            out[t, k, decision] = k
            complete(it, out[t, k], decision + 1, _FRAMES_TRIED[t], len(_ROUNDS))


@njit(cache=True)
def _complete_engine(
    it: Instance, choices: IntArray, decision: int, mask: npt.NDArray[np.int8], out: IntArray
) -> None:
    """Completes after each candidate of an engine's decision; refines those that look best."""
    most, found = it.limits[N_MAX_ENGINES], new_survey()
    engine, known = divmod(decision - first_decision(most, 0), PER_ENGINE)
    at = first_decision(most, engine)
    edges = edges_of(it.layers, choices)
    run = _run_left(it, edges, choices, engine)
    rest = runs_curve(it.curves[group_of(run.batch)], edges, engine + 1)
    survey(it, run, choices[at : at + PER_ENGINE], open_after(known), rest, found)
    by_value = np.argsort(found.value)
    for place in range(len(by_value)):
        k = by_value[place]
        if k >= len(mask) or mask[k] == 0:
            continue
        out[0, k] = choices
        out[0, k, decision] = k
        if place < _REFINED:
            complete(it, out[0, k], decision + 1, 0, 2)
        elif found.value[k] < FAR:
            out[0, k, at : at + PER_ENGINE] = found.engine[k]
            complete(it, out[0, k], at + PER_ENGINE, 0, 0)


def completions(
    it: Instance, choices: Choices, decision: int, mask: npt.NDArray[np.int8]
) -> npt.NDArray[np.int64]:
    """Returns choices that go on from each allowed candidate, int64 (tries, len(mask), decisions).

    Rows of other candidates, and of some after which nothing is found, are fallbacks that may not be legal.
    """
    first = decision < it.limits[N_MAX_ENGINES]
    out = np.zeros((len(_FRAMES_TRIED) if first else 1, len(mask), len(choices)), dtype=np.int64)
    if decision <= it.limits[N_MAX_ENGINES]:
        _complete_first(it, choices, decision, mask, out)
    elif mask.sum() > 1:
        _complete_engine(it, choices, decision, mask, out)
    return out
