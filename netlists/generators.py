"""Netlists made to measure: systolic arrays and random logic, each a pure function of a numpy Generator.

Cells are of the kinds of `grid_fabric`: CLB, DSP and BRAM. Weights are 1; wires with the same cells merge, so a net
of weight 4 stands for a bus of four wires.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.errors import ConfigError
from foldwright.netlists.netlist import Netlist, build_netlist

__all__ = ["random_logic", "systolic_array"]

_MAX_CELLS = 2**17
_CONTROL_NETS = 4
_CONTROL_SHARE = 0.5


def systolic_array(
    rng: np.random.Generator, rows: int, columns: int, clusters: int, name: str = ""
) -> Netlist:
    """Returns a systolic array: a multiplier and a ring of `clusters` logic clusters for each processing element.

    Block RAMs feed the rows and the columns and take the sums at the bottom; words pass from element to element
    in buses of four wires, and four control nets of one cluster each reach about half of all cells. It has
    `rows * columns * (clusters + 1) + rows + 2 * columns + 1` cells; 8 x 8 with 12 clusters has 857, 6 x 77 with
    10 has 5,243.

    Raises:
        ConfigError: a number is below 1 or the array is too large.
    """
    cells = rows * columns * (clusters + 1) + rows + 2 * columns + 1
    if min(rows, columns, clusters) < 1 or cells > _MAX_CELLS:
        raise ConfigError(
            f"systolic array of {rows} x {columns} with {clusters} clusters has {cells} cells; "
            f"allowed are numbers from 1 and up to {_MAX_CELLS} cells"
        )
    table, nets = _border(rows, columns), []
    for r in range(rows):
        for c in range(columns):
            group = f"pe{r}_{c}"
            table += [(f"{group}/mul", "DSP", group)]
            table += [(f"{group}/clb{j}", "CLB", group) for j in range(clusters)]
            nets += _element_nets(rng, (r, c), (rows, columns), clusters)
    table.append(("control", "CLB", ""))
    nets += _control_nets(rng, [cell[0] for cell in table])
    return build_netlist(name or f"systolic-{rows}x{columns}x{clusters}", table, nets)


def _border(rows: int, columns: int) -> list[tuple[str, str, str]]:
    """Returns the block RAMs that feed the rows and columns and take the sums."""
    feeders = [f"row{r}" for r in range(rows)] + [f"column{c}" for c in range(columns)]
    return [(f"border/{name}", "BRAM", "border") for name in [*feeders, *(f"sum{c}" for c in range(columns))]]


def _element_nets(
    rng: np.random.Generator, at: tuple[int, int], size: tuple[int, int], clusters: int
) -> list[tuple[list[str], int]]:
    """Returns the nets of one processing element and those by which words reach it."""
    r, c = at
    mul, clb = f"pe{r}_{c}/mul", [f"pe{r}_{c}/clb{j}" for j in range(clusters)]
    nets = [([clb[j], clb[(j + 1) % clusters] if clusters > 1 else mul], 3) for j in range(clusters)]
    extra = np.flatnonzero(rng.random(clusters) < 0.3)
    nets += [([clb[j], clb[rng.integers(clusters)], mul], 2) for j in extra]
    nets += [([clb[0], mul], 4), ([mul, clb[-1]], 4)]
    nets.append(([f"border/row{r}" if c == 0 else f"pe{r}_{c - 1}/clb0", clb[0]], 4))
    nets.append(([f"border/column{c}" if r == 0 else f"pe{r - 1}_{c}/mul", mul], 4))
    return [*nets, ([mul, f"border/sum{c}"], 4)] if r == size[0] - 1 else nets


def _control_nets(rng: np.random.Generator, names: list[str]) -> list[tuple[list[str], int]]:
    """Returns nets from the last cell to about half of the others."""
    *others, control = names
    picks = rng.random((_CONTROL_NETS, len(others))) < _CONTROL_SHARE
    return [([control, *(others[i] for i in np.flatnonzero(row))], 1) for row in picks]


def random_logic(
    rng: np.random.Generator,
    cells: int,
    rent_exponent: float = 0.65,
    block_share: float = 0.03,
    name: str = "",
) -> Netlist:
    """Returns random logic with Rent's locality: a block of `n` cells is left by about `n ** rent_exponent` nets.

    Cells are the leaves of a binary tree. Each drives one net, which leaves its subtree of `2**level` cells with
    probability `2 ** (level * (rent_exponent - 1))` and takes its one to eight sinks from the smallest subtree
    that it does not leave. The share `block_share` of the cells are multipliers and block RAMs in turn. Cells are
    numbered at random, so that their order tells nothing.

    Raises:
        ConfigError: an argument is out of its range.
    """
    if not (2 <= cells <= _MAX_CELLS and 0 < rent_exponent < 1 and 0 <= block_share <= 0.5):
        raise ConfigError(
            f"random logic of {cells} cells, rent_exponent {rent_exponent}, block_share {block_share}: allowed are "
            f"2..{_MAX_CELLS} cells, an exponent above 0 and below 1, a share from 0 to 0.5"
        )
    leaf_of = rng.permutation(cells)
    cell_at = np.argsort(leaf_of)
    kinds = ["CLB"] * cells
    for i, cell in enumerate(rng.choice(cells, int(block_share * cells), replace=False)):
        kinds[cell] = ("DSP", "BRAM")[i % 2]
    span = _levels(rng, cells, rent_exponent)
    sinks = np.minimum(rng.geometric(0.4, cells), 8)
    nets = []
    for cell in range(cells):
        block = 1 << int(span[cell])
        first = int(leaf_of[cell]) // block * block
        chosen = rng.integers(first, min(first + block, cells), int(sinks[cell]))
        nets.append(([cell, *(int(cell_at[leaf]) for leaf in chosen)], 1))
    table = [(f"c{i}", kind, "") for i, kind in enumerate(kinds)]
    return build_netlist(name or f"random-{cells}", table, nets)


def _levels(rng: np.random.Generator, cells: int, rent_exponent: float) -> npt.NDArray[np.int64]:
    """Returns for each cell the level of the smallest subtree that its net does not leave, at least two."""
    top = (cells - 1).bit_length()
    level = np.log2(1 - rng.random(cells)) / (rent_exponent - 1)
    return np.clip(np.floor(level).astype(np.int64) + 1, min(2, top), top)
