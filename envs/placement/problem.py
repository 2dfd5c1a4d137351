"""The placement problem: a netlist on a fabric, a site for every cell, and the wirelength to minimise.

The cost is the weighted half-perimeter wirelength in tiles (`foldwright.netlists.placement.hpwl`). A cell takes three
decisions (`foldwright.envs.placement.tree`), the cells in the order of `connectivity_order`: the strongest nets to those
before come next. Every legal placement can be reached, and an instance that fits its fabric has no dead end: whatever is
decided, the free sites of a kind suffice for the cells left. The fallback says region 0, column 0, site 0 for every cell,
which, once taken, means the first free site of the kind.

What it leaves out: timing, routing congestion, clock regions' limits, macros of several sites.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.placement.board import SiteMap, board_of, connectivity_order, regions_of, wires_of
from foldwright.envs.placement.bound import PROOF, net_bounds
from foldwright.envs.placement.moves import Board, Int32, Wires, wirelength
from foldwright.envs.placement.tree import (
    LEVELS,
    Tree,
    allowed_candidates,
    choices_of_sites,
    cost_of_choices,
    sites_of_choices,
    tree_sizes,
)
from foldwright.envs.problem import Bound, Choices, Cost
from foldwright.errors import ConfigError, PartError
from foldwright.jsonform import STRICT, from_json
from foldwright.netlists.fabric import Fabric, grid_fabric
from foldwright.netlists.netlist import Netlist
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import Placement, check_placement, hpwl, require_fit
from foldwright.netlists.vpr.arch import read_arch

__all__ = ["PlacementProblem", "fabric_of"]

_GRID = re.compile(r"grid-(\d{1,4})x(\d{1,4})")
_VPR = re.compile(r"(.+\.xml(?:\.gz)?)@(\d{1,4})x(\d{1,4})")


@lru_cache(maxsize=64)
def fabric_of(name: str) -> Fabric:
    """Returns a fabric by name: a part, a column grid such as "grid-40x60" (columns x rows), or "ARCH.xml@48x48" of VPR.

    Raises:
        ConfigError: the architecture file is not one, or its grid is not read.
        PartError: there is no such part, it has no fabric, or the grid is too small or too large.
    """
    grid, vpr = _GRID.fullmatch(name), _VPR.fullmatch(name)
    if vpr is not None:
        return read_arch(Path(vpr[1])).fabric(int(vpr[2]), int(vpr[3]))
    fabric = grid_fabric(int(grid[1]), int(grid[2])) if grid else load_part(name).fabric
    if fabric is None:
        raise PartError(f"part {name!r} has no fabric, so nothing can be placed on it; add one to its file")
    return fabric


@dataclass(frozen=True)
class PlacementProblem:
    """One instance; see the module's docstring. Raises `InfeasibleError` where the netlist does not fit the fabric."""

    FORMAT: ClassVar[str] = "foldwright.placement-problem/1"

    name: str
    netlist: Netlist
    fabric: str

    kind: ClassVar[str] = "placement"
    unit: ClassVar[str] = "tiles"

    def __post_init__(self) -> None:
        require_fit(self.netlist, self.grid)

    @classmethod
    def read(cls, text: str, where: str) -> PlacementProblem:
        """Returns the problem of a JSON text that `to_json` wrote.

        Raises:
            ConfigError: the text is not JSON or breaks a rule.
            InfeasibleError: the netlist does not fit.
        """
        form = from_json(_ProblemForm, text, where)
        return cls(form.name, form.netlist.netlist(), form.fabric)

    @cached_property
    def grid(self) -> Fabric:
        """The fabric."""
        return fabric_of(self.fabric)

    @cached_property
    def wires(self) -> Wires:
        return wires_of(self.netlist)

    @cached_property
    def _board(self) -> tuple[Board, SiteMap]:
        return board_of(self.netlist, self.grid)

    @property
    def board(self) -> Board:
        return self._board[0]

    @property
    def site_map(self) -> SiteMap:
        return self._board[1]

    @cached_property
    def tree(self) -> Tree:
        """The arrays of the decisions."""
        wires, board = self.wires, self.board
        return Tree(
            *(
                np.ascontiguousarray(array, dtype=np.int64)
                for array in (
                    regions_of(board, self.grid), connectivity_order(self.netlist), wires.kind, board.xy,
                    board.kind_sites, board.kind_columns, board.first_column, board.first_site,
                    wires.cell_offsets, wires.cell_nets, wires.net_offsets, wires.net_cells, wires.weights,
                )
            )
        )  # fmt: skip

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        return tree_sizes(self.tree)

    @cached_property
    def fallback(self) -> Choices:
        return np.zeros(LEVELS * self.netlist.cells, dtype=np.int64)

    def labels(self, decision: int) -> list[str]:
        cell, level = self.tree.order[decision // LEVELS], decision % LEVELS
        name, kind = self.netlist.cell_names[cell], self.netlist.kind_of(int(cell))
        if level == 0:
            spans = [(x, end_x - 1, y, end_y - 1) for x, end_x, y, end_y in self.tree.regions.tolist()]
            return [f"{name}: columns {x}..{last_x}, rows {y}..{last_y}" for x, last_x, y, last_y in spans]
        what = f"{kind} column" if level == 1 else f"{kind} site of its column"
        return [f"{name}: {what} {nth + 1}" for nth in range(self.sizes[decision])]

    def kernel(self) -> tuple[Any, tuple[npt.NDArray[np.int64], ...]]:
        """Returns the compiled cost function and its tables."""
        return cost_of_choices, tuple(self.tree)

    def cost_of(self, choices: Choices) -> int:
        return int(cost_of_choices(*self.tree, choices))

    def allowed(self, choices: Choices, decision: int) -> npt.NDArray[np.bool_]:
        return allowed_candidates(self.tree, choices, decision, self.sizes[decision])

    def sites_of(self, choices: Choices) -> Int32:
        """Returns the board's site of every cell."""
        taken = np.zeros(len(self.board.xy), dtype=np.bool_)
        return sites_of_choices(self.tree, choices, self.netlist.cells, taken).astype(np.int32)

    def choices_of(self, sites: Int32) -> Choices:
        """Returns the choices of a legal placement given by the board's sites."""
        return choices_of_sites(self.tree, sites.astype(np.int64))

    def placement_of(self, sites: Int32) -> Placement:
        """Returns the placement on the board's sites."""
        return Placement(self.site_map.to_table[sites])

    def decode(self, choices: Choices) -> Placement:
        return self.placement_of(self.sites_of(choices))

    def encode(self, solution: Placement) -> Choices:
        """Returns the choices of a legal placement.

        Raises:
            IllegalSolutionError: the placement is not legal.
        """
        self.check(solution)
        return self.choices_of(self.site_map.board_sites(self.wires.kind, solution.site))

    def wirelength(self, sites: Int32) -> int:
        """Returns the cost of a placement given by the board's sites."""
        return int(wirelength(self.wires, self.board, sites))

    def evaluate(self, solution: Placement) -> Cost:
        self.check(solution)
        return Cost(hpwl(self.netlist, self.grid, solution), self.unit, {"cells": self.netlist.cells})

    def check(self, solution: Placement) -> None:
        check_placement(self.netlist, self.grid, solution)

    @cached_property
    def least_lengths(self) -> npt.NDArray[np.int64]:
        """The weight of each net times the least half perimeter that it needs alone, in tiles, int64 (nets,)."""
        return np.asarray(net_bounds(self.netlist, self.board) * self.netlist.net_weights, dtype=np.int64)

    @cached_property
    def _bound(self) -> Bound:
        return Bound(int(self.least_lengths.sum()), PROOF)

    def bound(self) -> Bound:
        """Returns the sum of what each net needs alone; see `foldwright.envs.placement.bound`."""
        return self._bound

    def content_hash(self) -> str:
        """Returns a hash of the netlist that does not depend on any name."""
        netlist = self.netlist
        digest = hashlib.sha256(" ".join(netlist.kinds).encode())
        for array in (netlist.cell_kind, netlist.net_offsets, netlist.net_cells, netlist.net_weights):
            digest.update(np.asarray(array, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]

    def cp_model(self) -> CpProblem:
        """Returns the problem as a CP-SAT model; see `foldwright.envs.placement.model`."""
        from foldwright.envs.placement.model import placement_model

        return placement_model(self)


_NUMBERS = {
    "cell_kind": 2**31 - 1,
    "cell_group": 2**31 - 1,
    "net_offsets": 2**31 - 1,
    "net_cells": 2**31 - 1,
    "net_weights": 2**62,
}
"""The arrays of a netlist and the largest number that each may hold."""


@dataclass(frozen=True, slots=True)
class _NetlistForm:
    """A netlist as plain lists; `Netlist` checks them."""

    __pydantic_config__: ClassVar = STRICT

    name: str
    kinds: tuple[str, ...]
    cell_names: tuple[str, ...]
    cell_kind: tuple[int, ...]
    groups: tuple[str, ...]
    cell_group: tuple[int, ...]
    net_offsets: tuple[int, ...]
    net_cells: tuple[int, ...]
    net_weights: tuple[int, ...]

    def netlist(self) -> Netlist:
        """Returns the netlist."""
        arrays = {}
        for name, most in _NUMBERS.items():
            numbers = getattr(self, name)
            if numbers and not 0 <= min(numbers) <= max(numbers) <= most:
                raise ConfigError(f"netlist {self.name!r}: {name} holds numbers outside 0..{most}")
            arrays[name] = np.array(numbers, dtype=np.int64)
        return Netlist(self.name, self.kinds, self.cell_names, groups=self.groups, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _ProblemForm:
    """The JSON form of an instance."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = PlacementProblem.FORMAT

    name: str
    netlist: _NetlistForm
    fabric: str
