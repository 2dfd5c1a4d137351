"""From a plan to the placement of its netlist on the part's fabric, and the check of one that was read again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foldwright.accel.netlist_from_datapath import netlist_of
from foldwright.accel.plan import Plan
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.errors import InfeasibleError
from foldwright.jsonform import read_text
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import (
    Placement,
    check_placement,
    hpwl,
    placement_from_json,
    placement_to_json,
)

__all__ = ["Placed", "placement_problem", "read_placed"]


@dataclass(frozen=True)
class Placed:
    """A placement together with what it places."""

    problem: PlacementProblem
    placement: Placement

    @property
    def hpwl_tiles(self) -> int:
        """Weighted half-perimeter wirelength, wires times tiles."""
        return hpwl(self.problem.netlist, self.problem.grid, self.placement)

    def check(self) -> None:
        """Checks by the referee of placements.

        Raises:
            IllegalSolutionError: with what is broken.
        """
        check_placement(self.problem.netlist, self.problem.grid, self.placement)

    def to_json(self) -> str:
        """Returns the text of placement.json: a site by name for every cell."""
        return placement_to_json(self.problem.netlist, self.problem.grid, self.placement)


def placement_problem(plan: Plan) -> PlacementProblem | None:
    """Returns the placement instance of a plan; None where nothing is known of the part's fabric.

    Raises:
        InfeasibleError: the clusters or block RAMs of the plan are more than the fabric has.
    """
    part = load_part(plan.part)
    if part.fabric is None:
        return None
    netlist = netlist_of(plan.datapath, part, plan.technology)
    try:
        return PlacementProblem(f"placement/{plan.workload.name}", netlist, plan.part)
    except InfeasibleError as error:
        raise InfeasibleError(
            f"{error}; lower --budget-lut-percent, now {plan.budget_lut_percent:g}, so that its clusters fit"
        ) from None


def read_placed(plan: Plan, path: Path) -> Placed | None:
    """Returns the placement of a run; None where the part has no fabric to place on."""
    problem = placement_problem(plan)
    if problem is None:
        return None
    placement = placement_from_json(problem.netlist, problem.grid, read_text(path), str(path))
    return Placed(problem, placement)
