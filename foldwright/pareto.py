"""The front between frames per second and LUTs: its values, as `pareto.json` holds them, and their check.

A point carries its datapath and the decisions of its schedule, so that the schedule can be built and refereed again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from foldwright.accel.cost import bram36_of_engine, reserve_bram36
from foldwright.accel.datapath import Datapath
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import LayerDecision, Schedule
from foldwright.envs.tiling.problem import TilingProblem, TilingSolution
from foldwright.errors import VerificationError
from foldwright.jsonform import STRICT
from foldwright.netlists.part import load_part

__all__ = ["BoundPoint", "Pareto", "ParetoPoint", "check_pareto", "engine_words", "figures_of_point"]

_CLOSE = 1e-3
_FIGURE_DIGITS = 3


@dataclass(frozen=True, slots=True)
class BoundPoint:
    """No design of the space with so many LUTs or fewer makes more frames per second, or takes fewer cycles a frame."""

    __pydantic_config__: ClassVar = STRICT

    lut: int
    fps: float
    cycles_per_frame: float


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A checked design, found with a share of the part's LUTs; `bound_cycles` and `gap` are those of that budget."""

    __pydantic_config__: ClassVar = STRICT

    budget_lut_percent: float
    fps: float
    cycles_per_frame: float
    lut: int
    ff: int
    bram36: int
    dsp: int
    bound_cycles: float
    gap: float
    in_space: bool
    engines: tuple[str, ...]
    datapath: Datapath
    decisions: tuple[LayerDecision, ...]


@dataclass(frozen=True, slots=True)
class Pareto:
    """Points that no other beats in both, ascending, and the curve of bounds, ascending in LUTs."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.pareto/1"

    bounds: tuple[BoundPoint, ...]
    points: tuple[ParetoPoint, ...]


def engine_words(datapath: Datapath) -> tuple[str, ...]:
    """Returns the engines as people write them, such as "16x28x9 xnor batch"; of kind `dsp` that stands for the arithmetic."""
    kinds = [e.kind.value if e.dsp_slices else e.arithmetic.value for e in datapath.engines]
    return tuple(f"{e.shape} {kind} {e.lanes.value}" for e, kind in zip(datapath.engines, kinds, strict=True))


def figures_of_point(plan: Plan, schedule: Schedule) -> dict[str, Any]:
    """Returns the figures of a point that follow from its plan and schedule."""
    used = plan.utilization()
    return {
        "fps": round(plan.frames_per_second(schedule), _FIGURE_DIGITS),
        "cycles_per_frame": round(schedule.cycles_per_round / plan.datapath.batch_frames, _FIGURE_DIGITS),
        **{name: getattr(used, name) for name in ("lut", "ff", "bram36", "dsp")},
        "engines": engine_words(plan.datapath),
    }


def check_pareto(plan: Plan, pareto: Pareto, where: str) -> None:
    """Checks the points of a run by the referees, their figures, and their order.

    Args:
        plan: of the run; part, clock and workload are those of all points.

    Raises:
        IllegalSolutionError: the referee refuses a point.
        VerificationError: a figure is not what its point gives, or a point is not on the front.
    """
    for k, point in enumerate(pareto.points):
        _check_point(plan, point, f"{where}: points.{k}")
    _check_order(pareto.points, f"{where}: points", ("lut", "fps"))
    _check_order(pareto.bounds, f"{where}: bounds", ("lut",))
    if not any(point.datapath == plan.datapath for point in pareto.points):
        raise VerificationError(f"{where}: the plan of the run is not among the points")


def _check_point(plan: Plan, point: ParetoPoint, where: str) -> None:
    own = replace(plan, datapath=point.datapath, budget_lut_percent=point.budget_lut_percent)
    part = load_part(plan.part)
    pool = part.budget.bram36 - reserve_bram36(point.datapath, part)
    instance = TilingProblem(where, plan.workload, point.datapath, pool, plan.part, fuses=True)
    schedule = instance.schedule(TilingSolution(point.decisions))
    schedule = replace(schedule, bram36=sum(bram36_of_engine(e, part) for e in point.datapath.engines))
    own.check(schedule)
    for name, right in figures_of_point(own, schedule).items():
        if (said := getattr(point, name)) != right:
            raise VerificationError(f"{where}.{name} is {said}, its datapath and decisions give {right}")
    gap = point.cycles_per_frame / point.bound_cycles - 1
    if not math.isclose(point.gap, max(0.0, gap) if point.in_space else gap, abs_tol=_CLOSE):
        raise VerificationError(f"{where}.gap is {point.gap}, its cycles and bound give {gap:.6f}")


def _check_order(values: Sequence[Any], where: str, names: tuple[str, ...]) -> None:
    for name in names:
        got = [getattr(value, name) for value in values]
        if any(b <= a for a, b in pairwise(got)):
            raise VerificationError(f"{where} do not ascend in {name}: {got}")
