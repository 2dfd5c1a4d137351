"""VPR's architecture files: the tiles of a device and the grid of any size, as a fabric.

Read are the tiles (name, height, sub-tiles with their capacity and the blocks that they take) and the first automatic layout:
perimeter, corners, fill and columns by priority, where the higher paints over the lower and a tile that would cover one of
higher priority is left out. Kinds of sites are the names of tiles in capitals; the tile that fills the grid is our cluster.
Its sites count one LUT each, for what packed blocks hold is VPR's affair.

Source: VTR documentation, "Architecture Reference", https://docs.verilogtorouting.org/en/latest/arch/reference/.
Left out: fixed layouts, regions and rows, tiles more than one column wide, modes, delays.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from foldwright.errors import ConfigError, InfeasibleError, nearest
from foldwright.netlists.fabric import CLUSTER_KIND, Fabric, SiteRule
from foldwright.netlists.vpr.files import parse_xml, read_bytes

__all__ = ["VprArch", "VprTile", "read_arch"]

EMPTY = "EMPTY"
_MOST_TILES = 2048
_LEAST_SIDE = 3
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_READ = ("perimeter", "corners", "fill", "col")
_COLUMN_NUMBERS = {"startx": 0, "starty": 0, "repeatx": 0, "priority": 0}


@dataclass(frozen=True, slots=True)
class VprTile:
    """A kind of tile: `capacity` blocks of each of `blocks` stand on one, which is `height` rows tall."""

    name: str
    height: int
    capacity: int
    blocks: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of its sites in a fabric."""
        return self.name.upper()


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a layout paints: `what` is perimeter, corners, fill or col."""

    what: str
    tile: str
    priority: int
    startx: int = 0
    starty: int = 0
    repeatx: int = 0


@dataclass(frozen=True)
class VprArch:
    """Tiles and how they fill a grid of any size."""

    where: str
    tiles: tuple[VprTile, ...]
    rules: tuple[_Rule, ...]

    def tile_of(self, block: str) -> VprTile:
        """Returns the tile that takes a kind of block.

        Raises:
            ConfigError: none does.
        """
        for tile in self.tiles:
            if block in tile.blocks:
                return tile
        known = [b for tile in self.tiles for b in tile.blocks]
        raise ConfigError(f"{self.where}: no tile takes a block of type {block!r}; {nearest(block, known)}")

    def fabric(self, width: int, height: int) -> Fabric:
        """Returns the fabric of a grid of so many columns and rows, the ring of the perimeter included.

        Raises:
            ConfigError: the size is not allowed, or the grid is not made of whole columns.
        """
        if not (_LEAST_SIDE <= width <= _MOST_TILES and _LEAST_SIDE <= height <= _MOST_TILES):
            raise ConfigError(
                f"{self.where}: a grid of {width} x {height} tiles, allowed are {_LEAST_SIDE}..{_MOST_TILES} each way"
            )
        return _fabric_of(self, self._painted(width, height), width, height)

    def smallest(self, needed: Mapping[str, int]) -> tuple[int, int]:
        """Returns width and height of the smallest square grid with room for so many blocks of each type, as VPR chooses it.

        Raises:
            ConfigError: a type of block has no tile.
            InfeasibleError: no grid is large enough.
        """
        by_tile: dict[VprTile, int] = {}
        for block, count in needed.items():
            tile = self.tile_of(block)
            by_tile[tile] = by_tile.get(tile, 0) + count
        low, high = _LEAST_SIDE - 1, _LEAST_SIDE
        while not self._has_room(high, by_tile):
            if high == _MOST_TILES:
                raise InfeasibleError(
                    f"{self.where}: no grid of up to {high} x {high} tiles has room for {dict(needed)}"
                )
            low, high = high, min(2 * high, _MOST_TILES)
        # room need not grow with every step, but VPR takes the first size that suffices
        for side in range(low + 1, high + 1):
            if self._has_room(side, by_tile):
                return side, side
        return high, high

    def _has_room(self, side: int, by_tile: Mapping[VprTile, int]) -> bool:
        columns = Counter(self._rules_at(x, side) for x in range(side))
        counts: Counter[str] = Counter()
        for (rules, is_edge), times in columns.items():
            for name in self._column(rules, is_edge, side).values():
                counts[name] += times
        return all(counts[tile.name] * tile.capacity >= count for tile, count in by_tile.items())

    def _painted(self, width: int, height: int) -> dict[tuple[int, int], str]:
        """Returns the name of the tile at each root (x, y) of a grid, places without a tile left out."""
        known: dict[Any, dict[int, str]] = {}
        painted = {}
        for x in range(width):
            key = self._rules_at(x, width)
            if key not in known:
                known[key] = self._column(*key, height)
            painted.update({(x, y): name for y, name in known[key].items()})
        return painted

    def _rules_at(self, x: int, width: int) -> tuple[tuple[_Rule, ...], bool]:
        """Returns the rules that may paint a column, and whether it is a side of the ring."""
        is_edge = x in (0, width - 1)
        return tuple(rule for rule in self.rules if _paints(rule, x, is_edge)), is_edge

    def _column(self, rules: tuple[_Rule, ...], is_edge: bool, height: int) -> dict[int, str]:
        """Returns the names of the tiles of a column by the row of their root.

        Rules come by priority, the lowest first, so that nothing painted is covered by less; what would cover a tile of the ring
        that a later rule paints is left out.
        """
        heights = {tile.name: tile.height for tile in self.tiles}
        root_at: dict[int, int] = {}
        roots: dict[int, str] = {}
        for rule in sorted(rules, key=lambda r: r.priority):
            above = [r for r in rules if r.priority > rule.priority and r.what in ("perimeter", "corners")]
            kept = {y for r in above for y in _rows(r, is_edge, height, 1)}
            tall = heights.get(rule.tile, 1)
            for y in _rows(rule, is_edge, height, tall):
                covered = range(y, y + tall)
                if covered[-1] >= height or not kept.isdisjoint(covered):
                    continue
                for row in covered:
                    roots.pop(root_at.get(row, -1), None)
                    root_at[row] = y
                roots[y] = rule.tile
        return {y: name for y, name in roots.items() if name != EMPTY}


def _paints(rule: _Rule, x: int, is_edge: bool) -> bool:
    """Whether a rule puts tiles into a column."""
    if rule.what == "corners":
        return is_edge
    if rule.what != "col":
        return True
    return x == rule.startx or (
        rule.repeatx > 0 and x > rule.startx and (x - rule.startx) % rule.repeatx == 0
    )


def _rows(rule: _Rule, is_edge: bool, height: int, tall: int) -> Iterable[int]:
    """Returns the rows where a rule would put the roots of its tiles in a column that it paints."""
    if rule.what == "corners" or (rule.what == "perimeter" and not is_edge):
        return 0, height - 1
    return range(rule.starty, height, tall)


def _fabric_of(arch: VprArch, painted: dict[tuple[int, int], str], width: int, height: int) -> Fabric:
    """Returns the fabric of painted tiles: kinds by column within the ring, and the ring's sides."""
    inner = range(1, height - 1)
    by_name = {tile.name: tile for tile in arch.tiles}
    filling = next((rule.tile for rule in arch.rules if rule.what == "fill"), "")
    columns = []
    for x in range(width):
        names = {painted[x, y] for y in inner if (x, y) in painted}
        if len(names) > 1:
            raise ConfigError(
                f"{arch.where}: column {x} of a grid of {width} x {height} holds {' and '.join(sorted(names))}; only columns of "
                "one kind are read"
            )
        columns.append(by_name[names.pop()].kind if names else EMPTY)
    rules = []
    for tile in arch.tiles:
        luts = int(tile.name == filling and tile.kind == CLUSTER_KIND)
        name = f"{tile.kind}_X{{x}}Y{{y}}" + ("S{s}" if tile.capacity > 1 else "")
        places = [("INNER", tile.kind, "")] if tile.kind in columns else []
        for row, y in (("BOTTOM", 0), ("TOP", height - 1)):
            at = [x for x in range(width) if painted.get((x, y)) == tile.name]
            places += [(row, "", _ranges(at))] if at else []
        rules += [
            SiteRule(tile.kind, name, row, column, at, height=tile.height, stacked=tile.capacity, lut=luts)
            for row, column, at in places
        ]
    shown = " ".join(f"{kind}*{len(list(run))}" for kind, run in groupby(columns))
    fabric = Fabric(shown, f"BOTTOM INNER*{height - 2} TOP", tuple(rules))
    _require_same(arch, fabric, painted)
    return fabric


def _ranges(numbers: list[int]) -> str:
    """Returns ascending numbers as ranges."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _require_same(arch: VprArch, fabric: Fabric, painted: dict[tuple[int, int], str]) -> None:
    """Refuses a grid that columns and a ring do not describe, such as tiles that begin on other rows."""
    for tile in arch.tiles:
        want = {place for place, name in painted.items() if name == tile.name}
        table = fabric.table(tile.kind) if tile.kind in fabric.site_kinds else None
        got = set(zip(table.x.tolist(), table.y.tolist(), strict=True)) if table is not None else set()
        if want != got:
            x, y = sorted(want ^ got)[0]
            raise ConfigError(
                f"{arch.where}: tiles {tile.name!r} of the grid do not stand as columns and a ring do, first at ({x}, {y}); "
                "such a layout is not read"
            )


@dataclass
class _Reader:
    """What has been read so far; `path` are the elements around the current one."""

    where: str
    path: list[str] = field(default_factory=list)
    tiles: list[VprTile] = field(default_factory=list)
    rules: list[_Rule] = field(default_factory=list)
    layouts: int = 0
    _tile: tuple[str, int] = ("", 1)
    _capacity: int = 0
    _blocks: list[str] = field(default_factory=list)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        inside, self.path = tuple(self.path), [*self.path, tag]
        if inside == ("architecture", "tiles") and tag == "tile":
            self._begin_tile(attributes)
        elif inside[:3] == ("architecture", "tiles", "tile") and tag == "sub_tile":
            self._capacity += self._number(tag, attributes, "capacity", 1, 1)
        elif inside[:3] == ("architecture", "tiles", "tile") and tag == "site":
            self._blocks.append(self._text(tag, attributes, "pb_type"))
        elif inside == ("architecture", "layout"):
            self.layouts += tag == "auto_layout"
        elif inside == ("architecture", "layout", "auto_layout") and self.layouts == 1:
            self._rule(tag, attributes)

    def end(self, tag: str) -> None:
        self.path.pop()
        if tag == "tile" and tuple(self.path) == ("architecture", "tiles"):
            self.tiles.append(VprTile(*self._tile, self._capacity, tuple(dict.fromkeys(self._blocks))))

    def _begin_tile(self, attributes: dict[str, str]) -> None:
        name = self._text("tile", attributes, "name")
        if self._number("tile", attributes, "width", 1, 1) != 1:
            raise ConfigError(f"{self.where}: tile {name!r} is more than one column wide, which is not read")
        self._tile = name, self._number("tile", attributes, "height", 1, 1)
        self._capacity, self._blocks = 0, []

    def _rule(self, tag: str, attributes: dict[str, str]) -> None:
        if tag not in _READ:
            raise ConfigError(
                f"{self.where}: a layout with <{tag}> is not read; known are {', '.join(_READ)}"
            )
        tile, numbers = self._text(tag, attributes, "type"), dict(_COLUMN_NUMBERS)
        known = {"type", *numbers} if tag == "col" else {"type", "priority"}
        for key in attributes:
            if key not in known:
                raise ConfigError(
                    f"{self.where}: <{tag}> has {key}={attributes[key]!r}, which is not read; {nearest(key, known)}"
                )
        for key in numbers:
            numbers[key] = self._number(tag, attributes, key, 0, 0)
        self.rules.append(
            _Rule(tag, tile, **{k: numbers[k] for k in ("priority", "startx", "starty", "repeatx")})
        )

    def _text(self, tag: str, attributes: dict[str, str], key: str) -> str:
        got = attributes.get(key, "")
        if not _NAME.fullmatch(got):
            raise ConfigError(
                f"{self.where}: <{tag}> has {key}={got[:80]!r}, a name of letters, digits and _ is needed"
            )
        return got

    def _number(self, tag: str, attributes: dict[str, str], key: str, default: int, least: int) -> int:
        got = attributes.get(key, str(default))
        value = int(got) if re.fullmatch(r"\d{1,6}", got) else -1
        if not least <= value <= _MOST_TILES:
            raise ConfigError(
                f"{self.where}: <{tag}> has {key}={got[:80]!r}, a number in {least}..{_MOST_TILES} is needed"
            )
        return value


def read_arch(path: Path) -> VprArch:
    """Returns the tiles and the automatic layout of an architecture file.

    Raises:
        ConfigError: it cannot be read, is no architecture, or uses what is not read; naming it.
    """
    where = str(path)
    reader = _Reader(where)
    parse_xml(read_bytes(path), where, start=reader.start, end=reader.end, text=lambda _: None)
    if not reader.tiles or not reader.rules:
        missing = "tiles" if not reader.tiles else "automatic layout"
        raise ConfigError(
            f"{where}: no {missing} found; an architecture of VTR 8 or newer with <tiles> and <auto_layout> is needed"
        )
    names = [tile.name for tile in reader.tiles]
    kinds = [tile.kind for tile in reader.tiles]
    if len(set(kinds)) != len(kinds):
        raise ConfigError(f"{where}: two tiles share a name but for capitals: {', '.join(sorted(names))}")
    for rule in reader.rules:
        if rule.tile not in (*names, EMPTY):
            raise ConfigError(
                f"{where}: <{rule.what}> names tile {rule.tile!r}; {nearest(rule.tile, [*names, EMPTY])}"
            )
    too_tall = next((tile for tile in reader.tiles if tile.capacity > 1 and tile.height > 1), None)
    if too_tall is not None or math.prod(tile.capacity for tile in reader.tiles) == 0:
        what = (
            too_tall.name if too_tall is not None else next(t.name for t in reader.tiles if t.capacity == 0)
        )
        raise ConfigError(
            f"{where}: tile {what!r} has no sub-tile, or several and is more than a row tall; that is not read"
        )
    return VprArch(where, tuple(reader.tiles), tuple(reader.rules))
