"""Where the block RAMs and multipliers of a mapped design go: by our placer, by the plan, or near a given placement.

| way | how |
|---|---|
| netlist | the annealer places the mapped netlist, logic as clusters; its block RAMs are kept |
| plan | the plan's placement: sites of each memory's blocks, given to its cells in the order of their names |
| near | each cell moves to where its nets are shortest, all else as nextpnr placed it in a run before |
| none | nextpnr decides |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from foldwright.agents.place_anneal import solve
from foldwright.agents.stop import Evaluations
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.errors import InputError
from foldwright.netlists.fabric import Fabric
from foldwright.netlists.mapped import MappedDesign, mapped_netlist
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import site_names

__all__ = ["WAYS", "locks_by_netlist", "locks_by_plan", "locks_near"]

WAYS = ("netlist", "plan", "near", "none")
_PROPOSALS = 3_000_000
_SWEEPS = 10
_MOST_PINS = 200
_BEL = re.compile(r"X(\d+)/Y(\d+)/")


def locks_by_netlist(design: MappedDesign, part: str, seed: int) -> dict[str, str]:
    """Returns a site for every cell that can be locked, by annealing the whole netlist; the same seed, the same sites."""
    fabric = _fabric(part)
    netlist = mapped_netlist(design, fabric)
    problem = PlacementProblem(f"placement/{design.top}", netlist, part)
    found = solve(problem, stop=Evaluations(_PROPOSALS), seed=seed)
    sites = dict(zip(netlist.cell_names, site_names(netlist, fabric, found.solution), strict=True))
    return {cell: sites[cell] for cell in design.lockable}


def locks_by_plan(design: MappedDesign, rows: Sequence[Mapping[str, Any]], below: str) -> dict[str, str]:
    """Returns sites for the cells of memories that a plan placed.

    Args:
        rows: of `plan_locks.json`: memories by their places in the accelerator, and sites.
        below: where the accelerator is in the design, parts joined by dots.
    """
    locks: dict[str, str] = {}
    for row in rows:
        names = [f"{below}.{memory.replace('/', '.')}." for memory in row["memories"]]
        cells = [cell for cell in design.lockable if cell.startswith(tuple(names))]
        locks |= dict(zip(cells, row["sites"], strict=False))  # what is left over stays free
    return locks


def locks_near(design: MappedDesign, placed: MappedDesign, part: str) -> dict[str, str]:
    """Returns sites where the nets to everything else, which stays as placed, are shortest: sweeps of moves and swaps."""
    at = {cell: _tile(site) for cell, site in placed.attributes("NEXTPNR_BEL").items()}
    at |= {cell.removesuffix("$CCU2_COMB0"): tile for cell, tile in at.items()}
    sites = {cell: placed.attributes("NEXTPNR_BEL").get(cell, "") for cell in design.lockable}
    if missing := [cell for cell, site in sites.items() if not site]:
        raise InputError(f"the placement has no site for {missing[0]!r}; run the synthesis again")
    nets: dict[str, list[list[str]]] = {cell: [] for cell in sites}
    for cells in design.nets:
        if len(cells) <= _MOST_PINS:
            for cell in cells:
                if cell in nets:
                    nets[cell].append([other for other in cells if other in at])
    for _ in range(_SWEEPS):
        moved = [_improve(cell, kind, sites, at, nets, part) for cell, kind in design.lockable.items()]
        if not any(moved):
            break
    return sites


def _improve(
    cell: str, kind: str, sites: dict[str, str], at: dict[str, tuple[int, int]], nets: dict[str, list[list[str]]], part: str
) -> bool:  # fmt: skip
    """Moves a cell to the best site, with what stands there taking its place; says whether anything got shorter."""
    holder = {site: name for name, site in sites.items()}
    best, target = 0, ""
    for site in _fabric(part).table(kind).names:
        gain = _gain(cell, site, holder.get(site, ""), sites, at, nets)
        if gain > best:
            best, target = gain, site
    if target:
        _move(cell, target, holder.get(target, ""), sites, at)
    return bool(target)


def _gain(
    cell: str, site: str, other: str, sites: dict[str, str], at: dict[str, tuple[int, int]], nets: dict[str, list[list[str]]]
) -> int:  # fmt: skip
    """Returns by how many tiles all nets of the cells that move get shorter."""
    touched = nets[cell] + [net for net in (nets[other] if other else ()) if cell not in net]
    before, back = _length(touched, at), sites[cell]
    _move(cell, site, other, sites, at)
    after = _length(touched, at)
    _move(cell, back, other, sites, at)
    return before - after


def _move(cell: str, site: str, other: str, sites: dict[str, str], at: dict[str, tuple[int, int]]) -> None:
    if other and other != cell:
        sites[other], at[other] = sites[cell], at[cell]
    sites[cell], at[cell] = site, _tile(site)


def _length(nets: list[list[str]], at: Mapping[str, tuple[int, int]]) -> int:
    total = 0
    for net in nets:
        xs, ys = zip(*(at[cell] for cell in net), strict=True)
        total += max(xs) - min(xs) + max(ys) - min(ys)
    return total


def _tile(site: str) -> tuple[int, int]:
    found = _BEL.match(site)
    if found is None:
        raise InputError(f"{site!r} is no site of an ECP5")
    return int(found[1]), int(found[2])


def _fabric(part: str) -> Fabric:
    fabric = load_part(part).fabric
    assert fabric is not None, "a board's part has a fabric"
    return fabric
