"""`foldwright place`: a netlist of another tool, or one of ours, on a fabric; its cost before and after, a file, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foldwright.agents.registry import get_solver
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.netlist_files import open_netlist
from foldwright.netlists.placement import Placement, check_placement, hpwl
from foldwright.report.floorplan import floorplan_file
from foldwright.report.placed import floorplan_of
from foldwright.runs import write_atomic
from foldwright.solve import refuse_unwritable, stop_rule

if TYPE_CHECKING:
    from foldwright.progress import Progress

__all__ = ["place_file"]


def place_file(
    file: Path,
    *,
    fabric: str,
    start: Path | None = None,
    solver: str = "anneal",
    cpu_seconds: float | None = None,
    deterministic: float | None = None,
    seed: int = 0,
    out: Path | None = None,
    picture: Path | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Places a netlist, checks the placement and writes it; returns what was done, a line each.

    Args:
        file: the netlist, see `foldwright.netlist_files`.
        fabric: a part, `grid-WxH`, or an architecture file of VPR, `ARCH.xml@WxH` for a grid of that size.
        start: a placement to compare with; if none better is found it is what is written.
        out: where the placement goes; in this folder, by the netlist's name, if not given.
        picture: an SVG file of the floorplan.

    Raises:
        InputError: a file or an option is wrong; before any work is done, nothing is written.
        InfeasibleError: the netlist does not fit the fabric, or the solver placed nothing.
        IllegalSolutionError: the start is not legal, or the referee refuses what was found.
    """
    given = open_netlist(file, fabric, start)
    out = out or Path(given.default_out)
    for option, path in (("--start", start), ("NETLIST", file)):
        if path is not None and out.resolve() == path.resolve():
            raise ConfigError(f"--out {out}: is {option} itself, which would be lost; choose another file")
    for option, path in (("--out", out), ("--picture", picture)):
        refuse_unwritable(option, path)
    chosen, stop = get_solver(solver), stop_rule(solver, cpu_seconds, deterministic)
    problem, before = given.problem, None
    if start is not None:
        before = given.read(start)
        check_placement(problem.netlist, problem.grid, before)
    if progress is not None:
        progress.stage(f"{solver} on {problem.name}")
        stop = progress.watch(stop, problem.unit, problem.bound().value)
    result = chosen(problem, stop=stop, seed=seed, params=chosen.make_params({}, problem.kind))
    if not result.has_solution:
        raise InfeasibleError(
            f"{problem.name}: solver {solver!r} placed nothing; give it more time or another solver"
        )
    placement: Placement = result.solution
    problem.check(placement)
    was = None if before is None else hpwl(problem.netlist, problem.grid, before)
    if before is not None and was is not None and was <= result.cost:
        placement = before
    write_atomic(out, given.written(placement))
    if picture is not None:
        plan = floorplan_of(problem.netlist, problem.grid, placement, Path(problem.fabric).name)
        write_atomic(picture, floorplan_file(plan))
    written = [str(path) for path in (out, picture) if path is not None]
    return [
        *_sizes(problem),
        *([] if was is None else [_line("before", f"{was:,} tiles ({start})")]),
        _line("after", _after(problem, placement, was)),
        _line("CPU", f"{result.cpu_seconds:.2f} s"),
        _line("wrote", ", ".join(written)),
    ]


def _line(name: str, value: str) -> str:
    return f"{name:<10}{value}"


def _sizes(problem: PlacementProblem) -> list[str]:
    netlist, grid = problem.netlist, problem.grid
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in netlist.count_by_kind().items())
    wires = int(netlist.net_weights.sum())
    return [
        _line("netlist", f"{netlist.name}: {kinds}; {netlist.nets:,} nets of {wires:,} wires"),
        _line("fabric", f"{Path(problem.fabric).name}, {grid.width} columns, {grid.height} rows"),
    ]


def _after(problem: PlacementProblem, placement: Placement, was: int | None) -> str:
    """Returns the cost in words, beside that of the start."""
    length = hpwl(problem.netlist, problem.grid, placement)
    change = ""
    if was is not None:
        change = (
            f", {100 * (length / was - 1):+.1f} %"
            if length < was
            else ", the start: nothing better was found"
        )
    return f"{length:,} tiles{change}; no placement has less than {problem.bound().value:,}"
