"""Placement as CP-SAT models: the whole of a tiny instance, and windows of an incumbent.

In both, cells of a kind take different sites of a list (`AllDifferent` by exactly-one and at-most-one literals); a net's
box is four integers that each of its cells pushes apart, with the cells that stay fixed as constants; the cost is
weight times half perimeter. A window's model counts the nets of its cells only: what they cost before it is known, so a
solution that costs less in the window costs as much less in the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.placement.moves import Int32, Int64
from foldwright.envs.placement.tree import LEVELS, choices_of_sites
from foldwright.errors import ConfigError

if TYPE_CHECKING:
    from foldwright.envs.placement.problem import PlacementProblem

__all__ = ["MOST_LITERALS", "Window", "placement_model", "window_model"]

MOST_LITERALS = 60_000
"""Most pairs of a cell and a site of one model."""


@dataclass(frozen=True)
class Window:
    """A model of some cells on some sites.

    Attributes:
        model: An `ortools.sat.python.cp_model.CpModel` that minimises `objective`.
        literals: Per cell the literal of each site that it may take.
        cost: What the nets of the cells cost where the cells stand now.
    """

    model: Any
    literals: dict[int, dict[int, Any]]
    objective: Any
    cost: int


def window_model(problem: PlacementProblem, sites: Int32, cells: Int64, open_sites: Int64) -> Window:
    """Returns the model of `cells`, on the sites that they hold and `open_sites`, which are free; the others stay."""
    from ortools.sat.python import cp_model

    model, wires, board = cp_model.CpModel(), problem.wires, problem.board
    own = {int(c): int(sites[c]) for c in cells}
    kind_of_site = np.searchsorted(board.kind_sites, np.arange(len(board.xy)), side="right") - 1
    held = sorted({*own.values(), *map(int, open_sites)})
    literals = {
        c: {s: model.new_bool_var(f"c{c}s{s}") for s in held if kind_of_site[s] == wires.kind[c]} for c in own
    }
    for c in own:
        model.add_exactly_one(literals[c].values())
    for s in held:
        takers = [literals[c][s] for c in own if s in literals[c]]
        if len(takers) > 1:
            model.add_at_most_one(takers)
    place = {c: _coordinates(model, board.xy, literals[c], f"c{c}") for c in own}
    nets = sorted(
        {int(n) for c in own for n in wires.cell_nets[wires.cell_offsets[c] : wires.cell_offsets[c + 1]]}
    )
    objective, before = [], 0
    for net in nets:
        members = wires.net_cells[wires.net_offsets[net] : wires.net_offsets[net + 1]]
        weight = int(wires.weights[net])
        for axis in (0, 1):
            at = board.xy[sites[members], axis]
            before += weight * int(at.max() - at.min())
            fixed = [int(board.xy[sites[m], axis]) for m in members if int(m) not in own]
            moving = [place[int(m)][axis] for m in members if int(m) in own]
            objective.append(
                weight * _length(model, moving, fixed, board.first_column, board.first_site, axis)
            )
    for c, s in own.items():
        for site, literal in literals[c].items():
            model.add_hint(literal, int(site == s))
    total = sum(objective)
    model.minimize(total)
    return Window(model, literals, total, before)


def _coordinates(model: Any, xy: Int32, literals: dict[int, Any], name: str) -> tuple[Any, Any]:
    """Returns x and y of a cell, tied to its literals."""
    out = []
    for axis in (0, 1):
        places = [int(xy[s, axis]) for s in literals]
        at = model.new_int_var(min(places), max(places), f"{name}{'xy'[axis]}")
        model.add(at == sum(p * b for p, b in zip(places, literals.values(), strict=True)))
        out.append(at)
    return out[0], out[1]


def _length(model: Any, moving: list[Any], fixed: list[int], columns: Int32, rows: Int32, axis: int) -> Any:
    """Returns the extent of a net along an axis, at least that of its fixed cells."""
    most = (columns if axis == 0 else rows).shape[1] - 1
    low = model.new_int_var(0, min([most, *fixed]), "")
    high = model.new_int_var(max([0, *fixed]), most, "")
    for at in moving:
        model.add(low <= at)
        model.add(high >= at)
    return high - low


def placement_model(problem: PlacementProblem) -> CpProblem:
    """Returns a whole instance as a model over its choices, complete and exact.

    Raises:
        ConfigError: the instance has too many pairs of a cell and a site.
    """
    pairs = sum(len(problem.board.xy[a:b]) for a, b in _spans(problem))
    if pairs > MOST_LITERALS:
        raise ConfigError(
            f"{problem.name!r} has {pairs} pairs of a cell and a site, a model holds {MOST_LITERALS}; "
            "use solver 'cp-sat', which improves it window by window"
        )
    sites = problem.sites_of(problem.fallback)
    free = np.setdiff1d(np.arange(len(problem.board.xy)), sites)
    window = window_model(problem, sites, np.arange(len(sites)), free)
    window.model.clear_hints()
    decisions = _decisions(problem, window)
    return CpProblem(window.model, decisions, window.objective, True, "nothing is left out", is_complete=True)


def _spans(problem: PlacementProblem) -> list[tuple[int, int]]:
    starts = problem.board.kind_sites
    return [(int(starts[k]), int(starts[k + 1])) for k in problem.wires.kind]


def _decisions(problem: PlacementProblem, window: Window) -> tuple[Any, ...]:
    """Returns a variable per decision, tied to the literals of its cell."""
    decisions = []
    names: dict[int, list[tuple[int, ...]]] = {}
    for a, b in sorted(set(_spans(problem))):
        names |= {site: _digits(problem, site) for site in range(a, b)}
    for cell in problem.tree.order.tolist():
        for level in range(LEVELS):
            values = [(names[s][level], literal) for s, literal in window.literals[cell].items()]
            variable = window.model.new_int_var(0, max(v for v, _ in values), f"c{cell}d{level}")
            window.model.add(variable == sum(v * b for v, b in values))
            decisions.append(variable)
    return tuple(decisions)


def _digits(problem: PlacementProblem, site: int) -> list[Any]:
    """Returns region, column and site of a board's site as choices."""
    kind = int(np.searchsorted(problem.board.kind_sites, site, side="right")) - 1
    alone = problem.tree._replace(order=np.zeros(1, dtype=np.int64), kind=np.array([kind], dtype=np.int64))
    return choices_of_sites(alone, np.array([site], dtype=np.int64)).tolist()
