"""Files of netlists that the placer takes, each with the form in which a placement goes back to the tool that it came from.

What a file is, its name says: `.net` and `.net.gz` are packed netlists of VPR, which need an architecture file as the fabric
and get a `.place` file. `.json` is a netlist of ours, which gets a placement in JSON, or what yosys mapped to an ECP5, which gets
its own JSON back with the sites of block RAMs and multipliers in the attribute BEL, as nextpnr reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foldwright.envs.placement.problem import PlacementProblem, fabric_of
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.jsonform import read_text
from foldwright.netlists.locks import check_locks, locked_json
from foldwright.netlists.mapped import MappedDesign, mapped_netlist, read_mapped, top_of
from foldwright.netlists.netlist import Netlist, netlist_from_json
from foldwright.netlists.placement import (
    Placement,
    placement_from_json,
    placement_to_json,
    site_names,
)
from foldwright.netlists.vpr.arch import VprArch, read_arch
from foldwright.netlists.vpr.packed import PackedNetlist, read_packed
from foldwright.netlists.vpr.place import placement_to_vpr, read_vpr_placement, vpr_grid_size

__all__ = ["NetlistFile", "open_netlist"]

_ARCH = re.compile(r"(.+\.xml(?:\.gz)?)(?:@(\d{1,5})x(\d{1,5}))?")
_PACKED = (".net", ".net.gz")
_YOSYS = re.compile(r'"modules"\s*:')


class NetlistFile(Protocol):
    """A netlist that was read, for a fabric."""

    @property
    def problem(self) -> PlacementProblem:
        """The netlist and the fabric as an instance of placement."""

    @property
    def default_out(self) -> str:
        """The name of the file of its placement, where none is given."""

    def read(self, path: Path) -> Placement:
        """Returns a placement of the netlist from a file.

        Raises:
            InputError: it is none, or none of this netlist.
        """

    def written(self, placement: Placement) -> str:
        """Returns the text of a placement in the form of the netlist's tool."""


@dataclass(frozen=True)
class _Packed:
    """A packed netlist of VPR."""

    problem: PlacementProblem
    packed: PackedNetlist

    @property
    def default_out(self) -> str:
        return f"{self.packed.netlist.name}.foldwright.place"  # VPR's own is NAME.place

    def read(self, path: Path) -> Placement:
        return read_vpr_placement(path, self.packed, self.problem.grid)

    def written(self, placement: Placement) -> str:
        return placement_to_vpr(self.packed, self.problem.grid, placement)


@dataclass(frozen=True)
class _Ours:
    """A netlist in our own JSON."""

    problem: PlacementProblem

    @property
    def default_out(self) -> str:
        return f"{self.problem.netlist.name}.placement.json"

    def read(self, path: Path) -> Placement:
        return placement_from_json(self.problem.netlist, self.problem.grid, read_text(path), str(path))

    def written(self, placement: Placement) -> str:
        return placement_to_json(self.problem.netlist, self.problem.grid, placement)


@dataclass(frozen=True)
class _Mapped:
    """A design that yosys mapped; logic is placed by clusters, which say where it pulls, and only memories are written."""

    problem: PlacementProblem
    design: MappedDesign

    @property
    def default_out(self) -> str:
        return f"{self.design.top}.placed.json"

    def read(self, path: Path) -> Placement:
        raise ConfigError(
            f"--start {path}: logic of a design of yosys has no place of its own to begin at; leave the option out"
        )

    def written(self, placement: Placement) -> str:
        netlist, grid = self.problem.netlist, self.problem.grid
        sites = dict(zip(netlist.cell_names, site_names(netlist, grid, placement), strict=True))
        locks = {cell: sites[cell] for cell in self.design.lockable}
        check_locks(locks, self.design, grid)
        return locked_json(self.design, locks)


def open_netlist(file: Path, fabric: str, start: Path | None = None) -> NetlistFile:
    """Returns the netlist of a file for a fabric.

    Args:
        fabric: a part, `grid-WxH`, or an architecture file of VPR, `ARCH.xml@WxH` for a grid of that size.
        start: a placement of it; VPR's say how large the grid is, where the fabric does not.

    Raises:
        InputError: the file or the fabric is wrong, or they do not go together.
        InfeasibleError: the netlist does not fit.
    """
    if file.name.endswith(_PACKED):
        return _open_packed(file, fabric, start)
    if file.suffix != ".json":
        raise ConfigError(f"{file}: what it is is not known by its name; give {', '.join(_PACKED)} or .json")
    grid, text = fabric_of(fabric), read_text(file)
    if not _YOSYS.search(text):
        return _Ours(_problem(netlist_from_json(text, str(file)), fabric))
    design = read_mapped(text, top_of(text, str(file)), str(file))
    if not design.lockable:
        raise ConfigError(
            f"{file}: no cell of module {design.top!r} is a block RAM or multiplier of an ECP5 (DP16KD, MULT18X18D), and only "
            "their sites are written; map the design with 'synth_ecp5'"
        )
    return _Mapped(_problem(mapped_netlist(design, grid), fabric), design)


def _problem(netlist: Netlist, fabric: str) -> PlacementProblem:
    return PlacementProblem(f"placement/{netlist.name}", netlist, fabric)


def _open_packed(file: Path, fabric: str, start: Path | None) -> _Packed:
    named = _ARCH.fullmatch(fabric)
    if named is None:
        raise ConfigError(
            f"--fabric {fabric}: {file.name} is a packed netlist of VPR, which needs its architecture file (.xml, .xml.gz), for "
            "a grid of some size ARCH.xml@WxH"
        )
    arch = read_arch(Path(named[1]))
    packed = read_packed(file, arch)
    width, height = _size(arch, packed, named, start)
    try:
        return _Packed(_problem(packed.netlist, f"{named[1]}@{width}x{height}"), packed)
    except InfeasibleError as error:
        least = " x ".join(map(str, arch.smallest(packed.needed())))
        raise InfeasibleError(f"{error}; the smallest square grid with room for all is {least}") from None


def _size(arch: VprArch, packed: PackedNetlist, named: re.Match[str], start: Path | None) -> tuple[int, int]:
    """Returns columns and rows: those said, those of the start, or the fewest."""
    if named[2]:
        return int(named[2]), int(named[3])
    return vpr_grid_size(start) if start is not None else arch.smallest(packed.needed())
