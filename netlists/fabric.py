"""The grid of an FPGA: columns and rows by kind, clock regions, holes, and every site by name and place.

A fabric is a grid of tiles. `columns` and `rows` name the kind of each column and row, run-length coded
(`CLB*4 BRAM CLB*2`). A `SiteRule` says where sites of one kind lie, how they are spaced and named;
a `Hole` takes tiles out (the processor of a Zynq part). Coordinates are tiles: `x` the column, `y`
the row, growing the way the vendor's names grow (up on 7-series, down on ECP5).

Placement is coarser than the sites: logic is placed by *clusters*, one to a tile (`CLUSTER_KIND`), which take all
slices of the tile; every other kind is placed site by site.

What it leaves out: routing, delays, clock trees, which LUTs can be memories. The facts themselves, with their
sources, stand in the parts' TOML files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.errors import PartError, nearest
from foldwright.jsonform import STRICT

__all__ = [
    "CLUSTER_KIND",
    "Fabric",
    "FabricError",
    "Hole",
    "SiteRule",
    "SiteTable",
    "cluster_capacity",
    "expand_kinds",
    "expand_range",
    "grid_fabric",
    "placement_kinds",
    "placement_sites",
    "site_table",
]

CLUSTER_KIND = "CLB"
"""The kind of site that takes a cluster of logic: all slices of one tile."""

_MAX_TILES = 2048
_MAX_SITES = 2**20
_MAX_SITES_PER_TILE = 16
_KINDS_TOKEN = re.compile(r"([A-Z][A-Z0-9_]*)(?:\*(\d{1,4}))?")
_RANGE_TOKEN = re.compile(r"(\d{1,4})(?:\.\.(\d{1,4})(?:/(\d{1,4}))?)?")
_NAME_TOKENS = ("x", "y", "i", "j", "k", "o", "a", "s")


class FabricError(PartError, ValueError):
    """A rule of a fabric is broken; a ValueError too, so that a reader collects it and goes on."""


def expand_kinds(text: str) -> tuple[str, ...]:
    """Returns the kind of each column or row of a run-length text.

    >>> expand_kinds("IO CLB*2 DSP")
    ('IO', 'CLB', 'CLB', 'DSP')
    """
    kinds: list[str] = []
    for token in text.split():
        match = _KINDS_TOKEN.fullmatch(token)
        if match is None:
            raise FabricError(f"{token!r} is no run of columns or rows; write a kind such as CLB or CLB*4")
        kinds.extend([match[1]] * int(match[2] or 1))
        if len(kinds) > _MAX_TILES:
            raise FabricError(f"more than {_MAX_TILES} columns or rows; check the counts after '*'")
    if not kinds:
        raise FabricError("no columns or rows given; write their kinds, for example 'IO CLB*4 IO'")
    return tuple(kinds)


def expand_range(text: str) -> tuple[int, ...]:
    """Returns the numbers of a comma-separated list of numbers and ranges, both ends included.

    >>> expand_range("4..22/9, 69")
    (4, 13, 22, 69)
    """
    numbers: list[int] = []
    for token in text.split(","):
        match = _RANGE_TOKEN.fullmatch(token.strip())
        if match is None:
            raise FabricError(f"{token.strip()!r} is not a range; write 7, 4..58 or 4..58/9")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1 or last >= _MAX_TILES:
            raise FabricError(f"range {token.strip()!r} is empty or leaves 0..{_MAX_TILES - 1}")
        numbers.extend(range(first, last + 1, step))
    if sorted(set(numbers)) != numbers:
        raise FabricError(f"range {text!r} is not ascending or names a number twice")
    return tuple(numbers)


@dataclass(frozen=True, slots=True)
class Hole:
    """A rectangle of tiles without sites; both ends included."""

    __pydantic_config__: ClassVar = STRICT

    name: str
    columns: str
    rows: str


@dataclass(frozen=True, slots=True)
class SiteRule:
    """Where the sites of one kind lie and what each offers.

    Tiles stand in the columns of kind `column` (or at the columns `at`, where the kind is not enough) on rows
    of kind `row`, each `height` rows tall. A tile holds one site per entry of `offsets` (its column minus the
    tile's), `stacked` of them above each other. In `name`, `{x}` `{y}` are the site's tile, `{i}` `{j}` its
    place among the sites of this rule (holes counted), `{k}` `{a}` its number and letter in the tile, `{o}`
    its offset, `{s}` its number among those above each other.
    """

    __pydantic_config__: ClassVar = STRICT

    kind: str
    name: str
    row: str
    column: str = ""
    at: str = ""
    height: int = 1
    stacked: int = 1
    offsets: tuple[int, ...] = (0,)
    lut: int = 0
    ff: int = 0
    bram36: int = 0
    dsp: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if bool(self.column) == bool(self.at):
            wrong.append("give either column (a kind) or at (numbers), not both and not neither")
        if not 1 <= self.height <= _MAX_TILES or not 1 <= self.stacked <= _MAX_SITES_PER_TILE:
            wrong.append(f"height is {self.height}, stacked is {self.stacked}; both must be positive")
        if not 1 <= len(self.offsets) <= _MAX_SITES_PER_TILE or min(self.offsets, default=0) < 0:
            wrong.append(f"offsets is {self.offsets}, allowed are up to {_MAX_SITES_PER_TILE} values >= 0")
        if min(self.lut, self.ff, self.bram36, self.dsp) < 0:
            wrong.append("lut, ff, bram36 and dsp must not be negative")
        unknown = set(re.findall(r"\{(.*?)\}", self.name)) - set(_NAME_TOKENS)
        if unknown or set(re.sub(r"\{[a-z]\}", "", self.name)) & set("{}"):
            allowed = " ".join(f"{{{t}}}" for t in _NAME_TOKENS)
            wrong.append(f"name {self.name!r} holds other marks than {allowed}")
        if wrong:
            raise FabricError(f"sites {self.kind!r}: " + "; ".join(wrong))


@dataclass(frozen=True, slots=True)
class SiteTable:
    """Every site of one kind, by column, then row.

    `x` and `y` are tiles, `region` numbers the clock regions row by row.
    """

    kind: str
    names: tuple[str, ...]
    x: npt.NDArray[np.int32]  # (sites,)
    y: npt.NDArray[np.int32]  # (sites,)
    region: npt.NDArray[np.int32]  # (sites,)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Fabric:
    """The grid of one part. `region_columns` and `region_rows` are where clock regions begin."""

    __pydantic_config__: ClassVar = STRICT

    columns: str
    rows: str
    sites: tuple[SiteRule, ...]
    holes: tuple[Hole, ...] = ()
    region_columns: tuple[int, ...] = (0,)
    region_rows: tuple[int, ...] = (0,)
    y_grows: str = "up"

    def __post_init__(self) -> None:
        width, height = len(expand_kinds(self.columns)), len(expand_kinds(self.rows))
        wrong = []
        regions = (("columns", self.region_columns, width), ("rows", self.region_rows, height))
        for name, starts, end in regions:
            if not starts or starts[0] != 0 or list(starts) != sorted(set(starts)) or starts[-1] >= end:
                wrong.append(f"region_{name} is {list(starts)}; must ascend from 0 and stay below {end}")
        if self.y_grows not in ("up", "down"):
            wrong.append(f"y_grows is {self.y_grows!r}, allowed are 'up' and 'down'")
        for hole in self.holes:
            if expand_range(hole.columns)[-1] >= width or expand_range(hole.rows)[-1] >= height:
                wrong.append(f"hole {hole.name!r} leaves the grid of {width} columns and {height} rows")
        for rule in self.sites:
            wrong.extend(_rule_mistakes(self, rule))
        if wrong:
            raise FabricError("fabric: " + "; ".join(wrong))

    @property
    def column_kinds(self) -> tuple[str, ...]:
        return expand_kinds(self.columns)

    @property
    def row_kinds(self) -> tuple[str, ...]:
        return expand_kinds(self.rows)

    @property
    def width(self) -> int:
        return len(self.column_kinds)

    @property
    def height(self) -> int:
        return len(self.row_kinds)

    @property
    def site_kinds(self) -> tuple[str, ...]:
        """Kinds of sites, in the order of the rules."""
        return tuple(dict.fromkeys(rule.kind for rule in self.sites))

    @property
    def region_names(self) -> tuple[str, ...]:
        """Clock regions, row by row: the order of `SiteTable.region`."""
        across, up = range(len(self.region_columns)), range(len(self.region_rows))
        return tuple(f"X{i}Y{j}" for j in up for i in across)

    def table(self, kind: str) -> SiteTable:
        """Returns every site of a kind."""
        return site_table(self, kind)

    def total(self, resource: str) -> int:
        """Returns how much of `lut`, `ff`, `bram36` or `dsp` all sites offer together."""
        return sum(getattr(rule, resource) * len(_places(self, rule)) for rule in self.sites)

    def in_hole(self, x: int, y: int) -> str:
        """Returns the name of the hole that covers a tile, or nothing."""
        for hole in self.holes:
            if x in expand_range(hole.columns) and y in expand_range(hole.rows):
                return hole.name
        return ""


def _rule_mistakes(fabric: Fabric, rule: SiteRule) -> list[str]:
    wrong = []
    if rule.row not in fabric.row_kinds:
        known = nearest(rule.row, set(fabric.row_kinds))
        wrong.append(f"sites {rule.kind!r}: no row is a {rule.row!r}; {known}")
    if rule.column and rule.column not in fabric.column_kinds:
        known = nearest(rule.column, set(fabric.column_kinds))
        wrong.append(f"sites {rule.kind!r}: no column is a {rule.column!r}; {known}")
    if rule.at and expand_range(rule.at)[-1] + max(rule.offsets) >= fabric.width:
        wrong.append(f"sites {rule.kind!r}: at {rule.at!r} leaves the {fabric.width} columns")
    tiles = len(_tile_columns(fabric, rule)) * len(_tile_rows(fabric, rule))
    if tiles * len(rule.offsets) * rule.stacked > _MAX_SITES:
        wrong.append(f"sites {rule.kind!r}: more than {_MAX_SITES} sites; check columns, rows and offsets")
    return wrong


def _tile_columns(fabric: Fabric, rule: SiteRule) -> tuple[int, ...]:
    return expand_range(rule.at) if rule.at else _positions(fabric.column_kinds, rule.column)


def _tile_rows(fabric: Fabric, rule: SiteRule) -> tuple[int, ...]:
    rows = _positions(fabric.row_kinds, rule.row)
    whole = len(rows) // rule.height * rule.height  # no room for a part of a tile at the end
    return rows[: whole : rule.height]


@lru_cache(maxsize=64)
def _places(fabric: Fabric, rule: SiteRule) -> tuple[tuple[str, int, int], ...]:
    """Returns (name, x, y) of every site of one rule, by column, then row."""
    holes = [(set(expand_range(h.columns)), set(expand_range(h.rows))) for h in fabric.holes]
    places = []
    for c, column in enumerate(_tile_columns(fabric, rule)):
        for k, offset in enumerate(rule.offsets):
            for r, row in enumerate(_tile_rows(fabric, rule)):
                if any(column in xs and row in ys for xs, ys in holes):
                    continue
                for s in range(rule.stacked):
                    x, y = column + offset, row + s * rule.height // rule.stacked
                    i, j = c * len(rule.offsets) + k, r * rule.stacked + s
                    marks = (x, y, i, j, k, offset, chr(ord("A") + k), s)
                    places.append((_named(rule.name, marks), x, y))
    return tuple(places)


def _positions(kinds: tuple[str, ...], kind: str) -> tuple[int, ...]:
    return tuple(i for i, k in enumerate(kinds) if k == kind)


def _named(template: str, marks: tuple[int | str, ...]) -> str:
    for token, value in zip(_NAME_TOKENS, marks, strict=True):
        template = template.replace(f"{{{token}}}", str(value))
    return template


@lru_cache(maxsize=64)
def site_table(fabric: Fabric, kind: str) -> SiteTable:
    """Returns every site of a kind of a fabric; the arrays are read-only and shared.

    Raises:
        FabricError: the fabric has no such kind.
    """
    rules = [rule for rule in fabric.sites if rule.kind == kind]
    if not rules:
        raise FabricError(f"no site is a {kind!r}; {nearest(kind, fabric.site_kinds)}")
    return _table_of(fabric, kind, [place for rule in rules for place in _places(fabric, rule)])


def _table_of(fabric: Fabric, kind: str, places: list[tuple[str, int, int]]) -> SiteTable:
    places = sorted(places, key=lambda place: place[1])
    x = np.array([p[1] for p in places], dtype=np.int32)
    y = np.array([p[2] for p in places], dtype=np.int32)
    across = np.searchsorted(np.array(fabric.region_columns), x, side="right") - 1
    up = np.searchsorted(np.array(fabric.region_rows), y, side="right") - 1
    region = (up * len(fabric.region_columns) + across).astype(np.int32)
    for array in (x, y, region):
        array.setflags(write=False)
    return SiteTable(kind, tuple(p[0] for p in places), x, y, region)


def _logic_rules(fabric: Fabric) -> list[SiteRule]:
    return [rule for rule in fabric.sites if rule.lut]


def placement_kinds(fabric: Fabric) -> tuple[str, ...]:
    """Returns the kinds that `placement_sites` knows: the cluster, then every kind that holds no logic.

    >>> placement_kinds(grid_fabric(8, 10))
    ('CLB', 'DSP', 'BRAM')
    """
    logic = {rule.kind for rule in _logic_rules(fabric)}
    return (CLUSTER_KIND, *(kind for kind in fabric.site_kinds if kind not in logic))


@lru_cache(maxsize=64)
def placement_sites(fabric: Fabric, kind: str) -> SiteTable:
    """Returns the sites that a cell of a kind may take; the arrays are read-only and shared.

    Sites of `CLUSTER_KIND` are the logic tiles, named `CLB_X12Y40` by column and row; those of another kind are
    the fabric's own.

    Raises:
        FabricError: the fabric has no such kind, or it is placed by clusters.
    """
    if kind not in placement_kinds(fabric):
        raise FabricError(f"nothing is placed on a {kind!r}; {nearest(kind, placement_kinds(fabric))}")
    if kind != CLUSTER_KIND:
        return site_table(fabric, kind)
    tiles = {(x, y) for rule in _logic_rules(fabric) for _, x, y in _places(fabric, rule)}
    return _table_of(fabric, kind, [(f"{CLUSTER_KIND}_X{x}Y{y}", x, y) for x, y in sorted(tiles)])


@lru_cache(maxsize=64)
def cluster_capacity(fabric: Fabric) -> tuple[int, int]:
    """Returns the LUTs and flip-flops of one logic tile, the least of any.

    >>> cluster_capacity(grid_fabric(8, 10))
    (8, 16)
    """
    tiles: dict[tuple[int, int], list[int]] = {}
    for rule in _logic_rules(fabric):
        for _, x, y in _places(fabric, rule):
            have = tiles.setdefault((x, y), [0, 0])
            have[0] += rule.lut
            have[1] += rule.ff
    if not tiles:
        raise FabricError("no site of the fabric holds LUTs; give a rule with lut = 4 or the like")
    return min(t[0] for t in tiles.values()), min(t[1] for t in tiles.values())


def grid_fabric(width: int, height: int, dsp_every: int = 8, bram_every: int = 8) -> Fabric:
    """Returns a column grid in VPR's style: logic with columns of multipliers and of block RAMs, without a ring of IO.

    Columns with `x % dsp_every == 3` hold DSP sites two tiles tall, those with `x % bram_every == 6` BRAM sites
    five tiles tall, the others one CLB a tile of 8 LUTs and 16 flip-flops. Sites are named `DSP_X3Y0` by their tile.

    Raises:
        FabricError: the grid is too small or too large.
    """
    if not (7 <= width <= _MAX_TILES and 5 <= height <= _MAX_TILES and min(dsp_every, bram_every) >= 4):
        raise FabricError(
            f"grid of {width} x {height} tiles, DSP every {dsp_every}, BRAM every {bram_every} columns: "
            f"allowed are 7..{_MAX_TILES} x 5..{_MAX_TILES} tiles and every 4 columns or more"
        )
    kinds = ["CLB"] * width
    kinds[6::bram_every] = ["BRAM"] * len(kinds[6::bram_every])
    kinds[3::dsp_every] = ["DSP"] * len(kinds[3::dsp_every])
    rules = (
        SiteRule(CLUSTER_KIND, "CLB_X{x}Y{y}", row="CLB", column="CLB", lut=8, ff=16),
        SiteRule("DSP", "DSP_X{x}Y{y}", row="CLB", column="DSP", height=2, dsp=1),
        SiteRule("BRAM", "BRAM_X{x}Y{y}", row="CLB", column="BRAM", height=5, bram36=1),
    )
    return Fabric(" ".join(kinds), f"CLB*{height}", rules)
