"""`foldwright place`: a netlist of another tool, or one of ours, on a fabric; its cost before and after, a file, a picture.

What a file is, its name says: `.net` (or `.net.gz`) is a packed netlist of VPR, which needs an architecture file as the
fabric and gets a `.place` file back; `.json` is a netlist of ours and gets a placement in JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from foldwright.agents.registry import get_solver
from foldwright.envs.placement.problem import PlacementProblem, fabric_of
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.jsonform import read_text
from foldwright.netlists.netlist import Netlist, netlist_from_json
from foldwright.netlists.placement import (
    Placement,
    check_placement,
    hpwl,
    placement_from_json,
    placement_to_json,
)
from foldwright.netlists.vpr.arch import read_arch
from foldwright.netlists.vpr.packed import PackedNetlist, read_packed
from foldwright.netlists.vpr.place import placement_to_vpr, read_vpr_placement, vpr_grid_size
from foldwright.report.floorplan import floorplan_file
from foldwright.report.placed import floorplan_of
from foldwright.runs import write_atomic
from foldwright.solve import refuse_unwritable, stop_rule

if TYPE_CHECKING:
    from foldwright.progress import Progress

__all__ = ["place_file"]

_ARCH = re.compile(r"(.+\.xml(?:\.gz)?)(?:@(\d{1,5})x(\d{1,5}))?")
_PACKED = (".net", ".net.gz")


@dataclass(frozen=True)
class _Given:
    """A netlist on a fabric, by its name; of VPR's netlists also what the file says."""

    netlist: Netlist
    fabric: str
    packed: PackedNetlist | None = None

    @cached_property
    def problem(self) -> PlacementProblem:
        return PlacementProblem(f"placement/{self.netlist.name}", self.netlist, self.fabric)

    def read(self, path: Path) -> Placement:
        """Returns a placement from a file of the netlist's own form."""
        if self.packed is not None:
            return read_vpr_placement(path, self.packed, self.problem.grid)
        return placement_from_json(self.netlist, self.problem.grid, read_text(path), str(path))

    def written(self, placement: Placement) -> str:
        """Returns the text of a placement in the netlist's own form."""
        if self.packed is not None:
            return placement_to_vpr(self.packed, self.problem.grid, placement)
        return placement_to_json(self.netlist, self.problem.grid, placement)


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
        file: the netlist.
        fabric: a part, `grid-WxH`, or an architecture file of VPR, `ARCH.xml@WxH` for a grid of that size.
        start: a placement to compare with; if none better is found it is what is written.
        out: where the placement goes; beside the netlist's name in this folder if not given.
        picture: an SVG file of the floorplan.

    Raises:
        InputError: a file or an option is wrong; before any work is done, nothing is written.
        InfeasibleError: the netlist does not fit the fabric, or the solver placed nothing.
        IllegalSolutionError: the start is not legal, or the referee refuses what was found.
    """
    given = _read(file, fabric, start)
    out = out or Path(given.netlist.name + (".place" if given.packed else ".placement.json"))
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
    found: Placement = result.solution
    problem.check(found)
    kept = before is not None and hpwl(problem.netlist, problem.grid, before) <= result.cost
    placement = before if kept and before is not None else found
    write_atomic(out, given.written(placement))
    if picture is not None:
        write_atomic(
            picture, floorplan_file(floorplan_of(problem.netlist, problem.grid, placement, _shown(fabric)))
        )
    return _lines(given, before, placement, start, out, picture, result.cpu_seconds)


def _shown(fabric: str) -> str:
    return Path(fabric).name


def _read(file: Path, fabric: str, start: Path | None) -> _Given:
    """Returns the netlist of a file and the full name of its fabric."""
    if file.name.endswith(_PACKED):
        arch_name = _ARCH.fullmatch(fabric)
        if arch_name is None:
            raise ConfigError(
                f"--fabric {fabric}: {file.name} is a packed netlist of VPR, which needs its architecture "
                "file (.xml, .xml.gz), for a grid of some size ARCH.xml@WxH"
            )
        arch = read_arch(Path(arch_name[1]))
        packed = read_packed(file, arch)
        size = (int(arch_name[2]), int(arch_name[3])) if arch_name[2] else None
        if size is None:
            size = vpr_grid_size(start) if start is not None else arch.smallest(packed.needed())
        given = _Given(packed.netlist, f"{arch_name[1]}@{size[0]}x{size[1]}", packed)
        try:
            given.problem  # noqa: B018 (raises where the netlist does not fit)
        except InfeasibleError as error:
            least = " x ".join(map(str, arch.smallest(packed.needed())))
            raise InfeasibleError(f"{error}; the smallest square grid with room for all is {least}") from None
        return given
    if file.suffix != ".json":
        raise ConfigError(f"{file}: what it is is not known by its name; give {', '.join(_PACKED)} or .json")
    fabric_of(fabric)
    return _Given(netlist_from_json(read_text(file), str(file)), fabric)


def _lines(
    given: _Given, before: Placement | None, placement: Placement, start: Path | None, out: Path, picture: Path | None,
    cpu_seconds: float,
) -> list[str]:  # fmt: skip
    netlist, grid = given.netlist, given.problem.grid
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in netlist.count_by_kind().items())
    after, bound = hpwl(netlist, grid, placement), given.problem.bound().value
    rows = {
        "netlist": f"{netlist.name}: {kinds}; {netlist.nets:,} nets of {int(netlist.net_weights.sum()):,} wires",
        "fabric": f"{_shown(given.fabric)}, {grid.width} columns, {grid.height} rows",
    }
    if before is not None:
        was = hpwl(netlist, grid, before)
        rows["before"] = f"{was:,} tiles ({start})"
        kept = (
            ", the start: nothing better was found" if after == was else f", {100 * (after / was - 1):+.1f} %"
        )
    else:
        kept = ""
    rows["after"] = f"{after:,} tiles{kept}; no placement has less than {bound:,}"
    rows["CPU"] = f"{cpu_seconds:.2f} s"
    rows["wrote"] = f"{out}" + (f", {picture}" if picture else "")
    return [f"{name:<10}{value}" for name, value in rows.items()]
