"""Placement instances: systolic arrays, random logic and datapaths on grids and parts, by name, by split, at random.

`placement/systolic-857` and `placement/systolic-5243` are systolic arrays on column grids, `placement/cnv-w1a1` and
`placement/dorefa` the datapaths that the tiling instances of these names run on, on the XC7Z020; together they are
`heldout-real`. A generated instance is `placement/SPLIT-sSEED-INDEX`: a systolic array, random logic or a piece of a
random datapath, of 20 to 200 cells (in `heldout-size` 200 to 600), on a grid just large enough. Splits are of netlists:
one belongs to the split that its content hash (no names) falls into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from foldwright.accel.netlist_from_datapath import netlist_of
from foldwright.envs.generator import SPLITS, belongs_to, split_number, split_workload
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.envs.tiling.instances import named_datapath, random_datapath
from foldwright.errors import ConfigError, InfeasibleError, nearest
from foldwright.netlists.generators import random_logic, systolic_array
from foldwright.netlists.netlist import Netlist, build_netlist
from foldwright.netlists.part import load_part

__all__ = ["generated", "named", "names", "piece_of", "real", "real_names"]

_SYSTOLIC = {
    # name: (seed, rows, columns, clusters, grid)
    "systolic-857": (1, 8, 8, 12, "grid-40x60"),
    "systolic-5243": (1, 6, 77, 10, "grid-96x100"),
}
_DATAPATHS = ("cnv-w1a1", "dorefa")
_DRAM_BITS = 32
_PART = "xc7z020"
_FAMILIES = ("systolic", "random", "datapath")
_FAMILY_CHANCES = (0.4, 0.4, 0.2)
_GRID_KINDS = {"RAMB36": "BRAM", "DSP48E1": "DSP"}
_CELLS = {"heldout-size": (200, 600)}
_SMALL_CELLS = (20, 200)
_WIDE_NET = 40


def names() -> list[str]:
    """Returns the named instances, without the leading "placement/", sorted."""
    return sorted([*_SYSTOLIC, *_DATAPATHS])


def real_names() -> list[str]:
    """Returns the instances of `heldout-real`, sorted."""
    return names()


def named(name: str) -> PlacementProblem:
    """Returns a named instance, or the generated one whose name says so; both without the leading "placement/".

    Raises:
        ConfigError: no instance has this name.
    """
    if name in _SYSTOLIC:
        seed, rows, columns, clusters, grid = _SYSTOLIC[name]
        netlist = systolic_array(np.random.default_rng(seed), rows, columns, clusters, name)
        return PlacementProblem(f"placement/{name}", netlist, grid)
    if name in _DATAPATHS:
        netlist = netlist_of(named_datapath(name, _DRAM_BITS), load_part(_PART))
        return PlacementProblem(f"placement/{name}", netlist, _PART)
    found = re.fullmatch(rf"({'|'.join(SPLITS[:-1])})-s(\d{{1,9}})-(\d{{1,9}})", name)
    if not found:
        known = nearest(f"placement/{name}", [f"placement/{n}" for n in names()])
        raise ConfigError(
            f"no placement instance is named 'placement/{name}'; {known}; "
            "generated ones are SPLIT-sSEED-INDEX, such as train-s0-17"
        )
    return generated(found[1], int(found[2]), int(found[3]))


def generated(split: str, seed: int, index: int) -> PlacementProblem:
    """Returns an instance of a generated split; the same for the same arguments, whatever else was made before."""
    name = f"{split}-s{seed}-{index}"
    rng = np.random.default_rng([split_number(split), seed, index])
    low, high = _CELLS.get(split, _SMALL_CELLS)
    while True:
        cells = int(np.exp(rng.uniform(np.log(low), np.log(high))))
        problem = _on_a_grid(rng, _random_netlist(rng, split, cells, name), f"placement/{name}")
        if low <= problem.netlist.cells <= high and belongs_to(split, problem.content_hash()):
            return problem


def _random_netlist(rng: np.random.Generator, split: str, cells: int, name: str) -> Netlist:
    family = _FAMILIES[rng.choice(len(_FAMILIES), p=_FAMILY_CHANCES)]
    if family == "random":
        exponent, blocks = rng.uniform(0.5, 0.75), rng.uniform(0.0, 0.1)
        return random_logic(rng, cells, float(exponent), float(blocks), name)
    if family == "systolic":
        clusters = int(rng.integers(1, 8))
        elements = max(1.0, cells / (clusters + 1.5))
        rows = int(np.clip(round(np.sqrt(elements) * rng.uniform(0.6, 1.4)), 1, elements))
        return systolic_array(rng, rows, max(1, round(elements / rows)), clusters, name)
    workload = split_workload(split, rng, name)
    return piece_of(
        rng, netlist_of(random_datapath(rng, workload, _DRAM_BITS), load_part(_PART)), cells, name
    )


def piece_of(rng: np.random.Generator, netlist: Netlist, cells: int, name: str) -> Netlist:
    """Returns the netlist of a cell drawn at random and those nearest to it, on sites of a grid's kinds.

    Nets keep the cells that are in the piece; those of very many cells are not followed on the way.
    """
    offsets, nets = netlist.by_cell()
    found = {int(rng.integers(netlist.cells)): 0}
    for cell in (queue := list(found)):
        for net in nets[offsets[cell] : offsets[cell + 1]].tolist():
            members = netlist.cells_of(net).tolist()
            if len(members) > _WIDE_NET:
                continue
            for other in members:
                if other not in found and len(found) < cells:
                    found[other] = len(found)
                    queue.append(other)
    groups = [netlist.groups[netlist.cell_group[cell]] for cell in found]
    kinds = [_GRID_KINDS.get(netlist.kind_of(cell), netlist.kind_of(cell)) for cell in found]
    table = [(netlist.cell_names[c], k, g) for c, k, g in zip(found, kinds, groups, strict=True)]
    touched = sorted({n for cell in found for n in nets[offsets[cell] : offsets[cell + 1]].tolist()})
    wires = [
        ([found[c] for c in netlist.cells_of(n).tolist() if c in found], int(netlist.net_weights[n]))
        for n in touched
    ]
    return build_netlist(name, table, wires)


def _on_a_grid(rng: np.random.Generator, netlist: Netlist, name: str) -> PlacementProblem:
    """Returns the instance on a grid of random shape that is just large enough, with a random part of it spare."""
    area, aspect = netlist.cells * rng.uniform(1.4, 2.2), rng.uniform(0.6, 1.6)
    width, height = max(7, round(np.sqrt(area * aspect))), max(5, round(np.sqrt(area / aspect)))
    while True:
        try:
            return PlacementProblem(name, netlist, f"grid-{width}x{height}")
        except InfeasibleError:
            width, height = width + 1, height + 1


def real(count: int, seed: int) -> Iterator[PlacementProblem]:
    """Yields instances of `heldout-real` in the order that the seed gives, each once, at most `count`."""
    order = np.random.default_rng([split_number("heldout-real"), seed]).permutation(real_names())
    for name in order[:count]:
        yield named(str(name))
