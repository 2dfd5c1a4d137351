"""A placement: a site for every cell, what it costs, and the referee that says whether it is legal.

Coordinates and lengths are in tiles of the fabric. The cost of a net is its weight times the half perimeter of the
box around its cells (HPWL), a cell standing at the tile of its site.

The referee shares nothing with the placers: it takes the sites' names and tiles and asks the columns and the holes
of the fabric itself.
"""

from __future__ import annotations

import json
import reprlib
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from foldwright.errors import ConfigError, IllegalSolutionError, InfeasibleError, nearest
from foldwright.jsonform import parse_json
from foldwright.netlists.fabric import (
    CLUSTER_KIND,
    Fabric,
    SiteTable,
    expand_range,
    placement_kinds,
    placement_sites,
)
from foldwright.netlists.netlist import Netlist, unknown_name

__all__ = [
    "Placement",
    "check_placement",
    "coordinates",
    "hpwl",
    "net_lengths",
    "placement_from_json",
    "placement_to_json",
    "require_fit",
    "require_kinds",
    "site_names",
]

_FORMAT = "foldwright.placement/1"
_KEYS = ("format", "netlist", "sites")
_SHOWN_MISTAKES = 6
_MAX_JSON_CHARS = 8 * 2**20

_Int32 = npt.NDArray[np.int32]
_Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """The site of every cell: `site[c]` is an index into `placement_sites(fabric, kind of cell c)`; read-only."""

    site: _Int32  # (cells,)

    def __post_init__(self) -> None:
        site = np.array(self.site, dtype=np.int32)
        if site.ndim != 1:
            raise ConfigError(f"a placement has one site for each cell, got an array of shape {site.shape}")
        site.setflags(write=False)
        object.__setattr__(self, "site", site)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placement) and np.array_equal(self.site, other.site)

    def __hash__(self) -> int:
        return hash(self.site.tobytes())


def _require_sites(netlist: Netlist, fabric: Fabric, placement: Placement) -> dict[int, SiteTable]:
    """Returns the site table of each kind; refuses sites that do not exist.

    Raises:
        IllegalSolutionError: a cell has no site, or one outside the table of its kind.
    """
    if len(placement.site) != netlist.cells:
        raise IllegalSolutionError(
            f"the placement has {len(placement.site)} sites, netlist {netlist.name!r} has {netlist.cells} cells"
        )
    require_kinds(netlist, fabric)
    tables = {k: placement_sites(fabric, kind) for k, kind in enumerate(netlist.kinds)}
    sites = np.array([len(tables[k]) for k in range(len(tables))])[netlist.cell_kind]
    outside = np.flatnonzero((placement.site < 0) | (placement.site >= sites))
    if len(outside):
        cell = int(outside[0])
        raise IllegalSolutionError(
            f"cell {netlist.cell_names[cell]!r} is on site {placement.site[cell]}, but sites of kind "
            f"{netlist.kind_of(cell)!r} are 0..{sites[cell] - 1}; {len(outside)} such cells"
        )
    return tables


def coordinates(netlist: Netlist, fabric: Fabric, placement: Placement) -> tuple[_Int32, _Int32]:
    """Returns the tile (x, y) of every cell, int32 (cells,) each.

    Raises:
        IllegalSolutionError: a cell has no site.
    """
    x, y = np.empty(netlist.cells, dtype=np.int32), np.empty(netlist.cells, dtype=np.int32)
    for kind, table in _require_sites(netlist, fabric, placement).items():
        mine = np.flatnonzero(netlist.cell_kind == kind)
        x[mine], y[mine] = table.x[placement.site[mine]], table.y[placement.site[mine]]
    return x, y


def net_lengths(netlist: Netlist, x: npt.NDArray[np.integer], y: npt.NDArray[np.integer]) -> _Int64:
    """Returns the half perimeter of every net in tiles, without its weight, int64 (nets,)."""
    length = np.zeros(netlist.nets, dtype=np.int64)
    if netlist.nets:
        starts = netlist.net_offsets[:-1]
        for axis in (x, y):
            at = axis[netlist.net_cells]
            length += np.maximum.reduceat(at, starts) - np.minimum.reduceat(at, starts)
    return length


def hpwl(netlist: Netlist, fabric: Fabric, placement: Placement) -> int:
    """Returns the sum over nets of weight times half perimeter, in tiles.

    Raises:
        IllegalSolutionError: a cell has no site.
    """
    return int(net_lengths(netlist, *coordinates(netlist, fabric, placement)) @ netlist.net_weights)


def require_kinds(netlist: Netlist, fabric: Fabric) -> None:
    """Refuses a netlist with cells for which the fabric has no kind of site.

    Raises:
        InfeasibleError: naming the kinds.
    """
    known = placement_kinds(fabric)
    wrong = [
        f"{count} cells of netlist {netlist.name!r} need sites of kind {kind!r}, which the fabric does not have; "
        + nearest(kind, known)
        for kind, count in netlist.count_by_kind().items()
        if kind not in known
    ]
    if wrong:
        raise InfeasibleError("\n  ".join(wrong[:_SHOWN_MISTAKES]))


def require_fit(netlist: Netlist, fabric: Fabric) -> None:
    """Refuses a netlist with more cells of a kind than the fabric has sites.

    Raises:
        InfeasibleError: naming each kind, what is needed, what there is, and how many are over.
    """
    require_kinds(netlist, fabric)
    wrong = []
    for kind, needed in netlist.count_by_kind().items():
        available = len(placement_sites(fabric, kind))
        if needed > available:
            over = needed - available
            wrong.append(f"{needed} cells need {kind} sites, the fabric has {available}: {over} over")
    if wrong:
        raise InfeasibleError(
            f"netlist {netlist.name!r} does not fit: {'; '.join(wrong)}; take a larger part or a smaller design"
        )


def check_placement(netlist: Netlist, fabric: Fabric, placement: Placement) -> None:
    """Checks that every cell stands on a site of its kind, alone, on a tile that exists and is in no hole.

    Raises:
        IllegalSolutionError: naming what is wrong and where.
    """
    tables = _require_sites(netlist, fabric, placement)
    ground = _Ground.of(fabric, netlist.kinds)
    at: dict[str, list[str]] = defaultdict(list)
    wrong = []
    for cell, name in enumerate(netlist.cell_names):
        table, site = tables[int(netlist.cell_kind[cell])], int(placement.site[cell])
        at[table.names[site]].append(name)
        why = _tile_mistake(ground, table.kind, int(table.x[site]), int(table.y[site]))
        wrong += [f"cell {name!r} on {table.names[site]}: {why}"] if why else []
    wrong += [
        f"site {site} holds {len(cells)} cells: {', '.join(map(repr, cells[:3]))}"
        for site, cells in at.items()
        if len(cells) > 1
    ]
    if wrong:
        raise IllegalSolutionError(_listed(f"placement of {netlist.name!r} is illegal", wrong))


def _listed(what: str, wrong: list[str]) -> str:
    more = len(wrong) - _SHOWN_MISTAKES
    lines = [*wrong[:_SHOWN_MISTAKES], *([f"and {more} more"] if more > 0 else [])]
    return f"{what}: " + "\n  ".join(lines)


def _tile_mistake(ground: _Ground, kind: str, x: int, y: int) -> str:
    """Returns why no site of a kind can lie at a tile, by the fabric's columns, rows and holes; nothing if it can."""
    if not (0 <= x < len(ground.columns) and 0 <= y < len(ground.rows)):
        return f"tile ({x}, {y}) leaves the grid of {len(ground.columns)} columns and {len(ground.rows)} rows"
    for name, columns, rows in ground.holes:
        if x in columns and y in rows:
            return f"tile ({x}, {y}) lies in the hole {name!r}"
    if any(x in columns and ground.rows[y] == row for columns, row in ground.allowed[kind]):
        return ""
    return f"tile ({x}, {y}) in column {ground.columns[x]}, row {ground.rows[y]} takes no {kind}"


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the referee asks of a fabric: its columns and rows, its holes, where each kind may lie."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    holes: list[tuple[str, set[int], set[int]]]
    allowed: dict[str, list[tuple[set[int], str]]]  # kind -> (columns, kind of row)

    @staticmethod
    def of(fabric: Fabric, kinds: tuple[str, ...]) -> _Ground:
        holes = [(h.name, set(expand_range(h.columns)), set(expand_range(h.rows))) for h in fabric.holes]
        columns = fabric.column_kinds
        allowed: dict[str, list[tuple[set[int], str]]] = {kind: [] for kind in kinds}
        for rule in fabric.sites:
            firsts = (
                expand_range(rule.at) if rule.at else [x for x, k in enumerate(columns) if k == rule.column]
            )
            mine = {x + offset for x in firsts for offset in (rule.offsets if rule.at else (0,))}
            for kind in kinds:
                if rule.lut > 0 if kind == CLUSTER_KIND else rule.kind == kind:
                    allowed[kind].append((mine, rule.row))
        return _Ground(columns, fabric.row_kinds, holes, allowed)


def site_names(netlist: Netlist, fabric: Fabric, placement: Placement) -> list[str]:
    """Returns the name of every cell's site.

    Raises:
        IllegalSolutionError: a cell has no site.
    """
    tables = _require_sites(netlist, fabric, placement)
    pairs = zip(netlist.cell_kind.tolist(), placement.site.tolist(), strict=True)
    return [tables[kind].names[site] for kind, site in pairs]


def placement_to_json(netlist: Netlist, fabric: Fabric, placement: Placement) -> str:
    """Returns the JSON text: cell name to site name, a cell a line.

    Raises:
        IllegalSolutionError: a cell has no site.
    """
    sites = dict(zip(netlist.cell_names, site_names(netlist, fabric, placement), strict=True))
    return json.dumps({"format": _FORMAT, "netlist": netlist.name, "sites": sites}, indent=1) + "\n"


def placement_from_json(netlist: Netlist, fabric: Fabric, text: str, where: str) -> Placement:
    """Returns the placement of a JSON text; whether it is legal is for `check_placement` to say.

    Raises:
        ConfigError: the text is not JSON, belongs to another netlist, leaves a cell out, or names unknown cells or sites.
        InfeasibleError: the fabric lacks a kind of site.
    """
    sites = _read_sites(netlist.name, text, where)
    require_kinds(netlist, fabric)
    known = set(netlist.cell_names)
    strangers = islice((cell for cell in sites if cell not in known), _SHOWN_MISTAKES)
    wrong = [unknown_name("cell", cell, known) for cell in strangers]
    missing = [cell for cell in netlist.cell_names if cell not in sites]
    wrong += [f"{len(missing)} cells have no site, the first is {missing[0]!r}"] if missing else []
    numbers = _site_numbers(netlist, fabric, sites, wrong)
    if wrong:
        raise ConfigError(_listed(where, wrong))
    return Placement(np.array(numbers, dtype=np.int32))


def _read_sites(netlist: str, text: str, where: str) -> dict[str, str]:
    """Returns the name of the site of each cell; refuses another form, and the placement of another netlist."""
    if len(text) > _MAX_JSON_CHARS:
        raise ConfigError(f"{where}: {len(text)} characters, more than the {_MAX_JSON_CHARS} allowed")
    body = parse_json(text, where)
    form = body.get("format") if isinstance(body, dict) else None
    if form != _FORMAT:
        shown = reprlib.repr(form)
        raise ConfigError(
            f"{where}: format is {shown}, but {_FORMAT!r} is needed; write the file again with this version"
        )
    for key in body:
        if key not in _KEYS:
            raise ConfigError(
                f"{where}: {reprlib.repr(key)} is no key of a placement; {nearest(key[:80], _KEYS)}"
            )
    if body.get("netlist") != netlist:
        got = reprlib.repr(body.get("netlist"))
        raise ConfigError(f"{where}: places netlist {got}, but netlist {netlist!r} is given")
    sites = body.get("sites")
    if not isinstance(sites, dict):
        raise ConfigError(
            f"{where}: sites must be an object of cell names and site names, got {reprlib.repr(sites)}"
        )
    for cell, site in sites.items():
        if not isinstance(site, str):
            raise ConfigError(
                f"{where}: the site of cell {cell[:80]!r} must be a name, got {reprlib.repr(site)}"
            )
    return sites


def _site_numbers(netlist: Netlist, fabric: Fabric, sites: dict[str, str], wrong: list[str]) -> list[int]:
    """Returns each cell's site as an index, adding unknown names to `wrong`."""
    numbers = []
    index = [{s: i for i, s in enumerate(placement_sites(fabric, kind).names)} for kind in netlist.kinds]
    for cell, kind in zip(netlist.cell_names, netlist.cell_kind.tolist(), strict=True):
        if cell not in sites:
            continue
        numbers.append(index[kind].get(sites[cell], -1))
        if numbers[-1] < 0 and len(wrong) < _SHOWN_MISTAKES:
            what = f"{netlist.kinds[kind]} site"
            wrong.append(f"cell {cell!r}: {unknown_name(what, sites[cell], index[kind])}")
    return numbers
