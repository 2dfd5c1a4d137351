"""Locks: sites that are decided for cells of a mapped design, and the checks before and behind the tool that obeys them.

nextpnr takes a cell's site from its attribute `BEL` and tells all sites in `NEXTPNR_BEL` of the JSON that it writes. A wrong
name ends its run, so everything is checked here before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from foldwright.errors import IllegalSolutionError, VerificationError
from foldwright.netlists.fabric import Fabric
from foldwright.netlists.mapped import MappedDesign

__all__ = ["check_locks", "check_obeyed", "locked_json"]

_SHOWN = 4


def check_locks(locks: Mapping[str, str], design: MappedDesign, fabric: Fabric) -> None:
    """Checks that every lock names a cell that can be locked and a site of its kind, no site twice.

    Raises:
        IllegalSolutionError: with everything that is wrong.
    """
    wrong, taken = [], defaultdict(list)
    known = {kind: set(fabric.table(kind).names) for kind in set(design.lockable.values())}
    for cell, site in locks.items():
        kind = design.lockable.get(cell)
        taken[site].append(cell)
        if kind is None:
            wrong.append(f"{cell!r} is no block RAM or multiplier of the design")
        elif site not in known[kind]:
            wrong.append(f"{cell!r}: {site!r} is no {kind} of the part")
    wrong += [f"site {site!r} is given to {', '.join(cells)}" for site, cells in taken.items() if cells[1:]]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise IllegalSolutionError(f"locks: {'; '.join(wrong[:_SHOWN])}{more}")


def locked_json(design: MappedDesign, locks: Mapping[str, str]) -> str:
    """Returns the design's JSON with the sites on its cells."""
    return design.with_attributes("BEL", locks)


def check_obeyed(locks: Mapping[str, str], placed: MappedDesign) -> None:
    """Checks that the tool's own placement has every locked cell where it was locked.

    Raises:
        VerificationError: a cell is elsewhere.
    """
    sites = placed.attributes("NEXTPNR_BEL")
    astray = [(cell, site, sites.get(cell)) for cell, site in locks.items() if sites.get(cell) != site]
    if astray:
        cell, site, found = astray[0]
        raise VerificationError(
            f"{len(astray)} of {len(locks)} locks are not obeyed; the first is {cell!r}, locked to {site}, placed on {found}"
        )
