"""Layouts of the RTL as plans: their tiling problem and choices there, whether that fits, and how they stand to the bound."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foldwright.accel.cost import cost
from foldwright.accel.datapath import Datapath
from foldwright.accel.evaluate import BUILT_PLACES, resident_choices
from foldwright.accel.layout import AcceleratorLayout
from foldwright.accel.layout_cost import datapath_of_layout
from foldwright.agents.stop import NO_COST
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.problem import INFEASIBLE
from foldwright.envs.tiling.problem import TilingProblem
from foldwright.errors import IllegalSolutionError, InfeasibleError
from foldwright.netlists.part import load_part

if TYPE_CHECKING:
    from foldwright.envs.problem import Choices

__all__ = ["deep_enough", "is_in_space", "schedule_cycles", "scheduled"]


def is_in_space(problem: AllocationProblem, datapath: Datapath) -> bool:
    """Whether the bound of a problem holds for a datapath: its engines are among the candidates."""
    try:
        problem.encode(AllocationSolution(datapath))
    except IllegalSolutionError:
        return False
    return True


def deep_enough(datapath: Datapath, scheduled: Datapath) -> Datapath:
    """Returns a layout's datapath with memories that hold the schedule's blocks too, which live differently."""
    depths = ("weight_words", "map_words", "line_words")
    engines = tuple(
        replace(
            e, line_bits=s.line_bits, **{name: max(getattr(e, name), getattr(s, name)) for name in depths}
        )
        for e, s in zip(datapath.engines, scheduled.engines, strict=True)
    )
    return replace(datapath, engines=engines)


def scheduled(problem: AllocationProblem, layout: AcceleratorLayout) -> tuple[TilingProblem, Choices]:
    """Returns the tiling problem of a layout's datapath, and the choices that the layout is."""
    name, pool = problem.name.replace("allocation/", "tiling/"), problem.pool_bram36(layout.datapath)
    instance = TilingProblem(name, problem.workload, layout.datapath, pool, problem.part, BUILT_PLACES)
    streamed = {x.index: x.tiling.blocks or x.blocks for x in layout.layers if x.tiling.streams_weights}
    return instance, resident_choices(instance.tables, layout.layers[0].tile_rows, streamed)


def schedule_cycles(problem: AllocationProblem, layout: AcceleratorLayout) -> int:
    """Returns the cycles per 1000 frames of the schedule that a layout is, `NO_COST` where block RAMs do not hold both."""
    try:
        instance, choices = scheduled(problem, layout)
    except InfeasibleError:
        return NO_COST
    cycles, part = instance.cost_of(choices), load_part(problem.part)
    if cycles == INFEASIBLE:
        return NO_COST
    datapath = deep_enough(datapath_of_layout(layout), instance.sized_datapath(instance.decode(choices)))
    if cost(datapath, part, problem.technology).bram36 > part.budget.bram36:
        return NO_COST
    return 1000 * cycles // datapath.batch_frames
