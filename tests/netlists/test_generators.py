"""Generated netlists: their sizes, their buses, Rent's locality, and that a seed decides them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.errors import ConfigError
from foldwright.netlists.fabric import grid_fabric
from foldwright.netlists.generators import random_logic, systolic_array
from foldwright.netlists.netlist import Netlist
from foldwright.netlists.placement import require_fit

__all__: list[str] = []


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("shape", "grid", "counts"),
    [
        ((8, 8, 12), (40, 60), {"BRAM": 24, "DSP": 64, "CLB": 769}),  # 857 cells
        ((6, 77, 10), (80, 100), {"BRAM": 160, "DSP": 462, "CLB": 4621}),  # 5,243 cells
    ],
)
def test_systolic_arrays_of_the_benchmarks_fit_their_grids(
    shape: tuple[int, int, int], grid: tuple[int, int], counts: dict[str, int]
) -> None:
    netlist = systolic_array(rng(), *shape)
    assert netlist.count_by_kind() == counts
    require_fit(netlist, grid_fabric(*grid))


def test_smallest_systolic_array_is_the_one_drawn_by_hand() -> None:
    netlist = systolic_array(rng(0), 1, 1, 1)
    assert netlist.cell_names == (
        "border/row0", "border/column0", "border/sum0", "pe0_0/mul", "pe0_0/clb0", "control",
    )  # fmt: skip
    weights = {
        frozenset(netlist.cell_names[c] for c in netlist.cells_of(j)): int(w)
        for j, w in enumerate(netlist.net_weights)
    }
    mul, clb = "pe0_0/mul", "pe0_0/clb0"
    # Ring of one: 3 wires to the multiplier, then 4 to it and 4 back; 2 more where chance has it.
    assert weights[frozenset({mul, clb})] in (11, 13)
    assert weights[frozenset({"border/row0", clb})] == 4
    assert weights[frozenset({"border/column0", mul})] == 4
    assert weights[frozenset({"border/sum0", mul})] == 4


def test_words_pass_along_rows_and_columns_of_the_array() -> None:
    netlist = systolic_array(rng(), 3, 3, 2)
    number = {name: i for i, name in enumerate(netlist.cell_names)}
    nets = {tuple(netlist.cells_of(j).tolist()) for j in range(netlist.nets)}
    for a, b in (("pe1_0/clb0", "pe1_1/clb0"), ("pe0_2/mul", "pe1_2/mul"), ("border/row2", "pe2_0/clb0")):
        assert tuple(sorted((number[a], number[b]))) in nets
    assert not any(
        number["border/row2"] in net and number["pe2_1/clb0"] in net for net in nets if len(net) < 4
    )


def test_control_reaches_about_half_of_all_cells() -> None:
    netlist = systolic_array(rng(), 8, 8, 12)
    sizes = sorted(np.diff(netlist.net_offsets).tolist())
    assert all(0.4 * netlist.cells < size < 0.6 * netlist.cells for size in sizes[-4:])
    assert sizes[-5] <= 3


def test_a_seed_decides_a_netlist() -> None:
    assert (
        systolic_array(rng(7), 4, 5, 3) == systolic_array(rng(7), 4, 5, 3) != systolic_array(rng(8), 4, 5, 3)
    )
    assert random_logic(rng(7), 300) == random_logic(rng(7), 300) != random_logic(rng(8), 300)


def test_random_logic_has_the_cells_and_kinds_asked_for() -> None:
    netlist = random_logic(rng(), 1000, block_share=0.1)
    assert netlist.count_by_kind() == {"CLB": 900, "DSP": 50, "BRAM": 50}
    assert np.diff(netlist.net_offsets).min() >= 2
    assert np.diff(netlist.net_offsets).max() <= 9
    assert random_logic(rng(), 50, block_share=0).kinds == ("CLB",)
    assert random_logic(rng(), 2).cells == 2


def nets_leaving_blocks(netlist: Netlist, leaf_of: npt.NDArray[np.int64], block: int) -> float:
    """Returns the mean number of nets with cells both inside and outside a block of neighbouring leaves."""
    crossing = 0
    for j in range(netlist.nets):
        blocks = len(set((leaf_of[netlist.cells_of(j)] // block).tolist()))
        crossing += blocks if blocks > 1 else 0
    return crossing * block / netlist.cells


@pytest.mark.parametrize("exponent", [0.4, 0.65, 0.8])
def test_random_logic_has_the_rent_exponent_asked_for(exponent: float) -> None:
    netlist = random_logic(rng(3), 4096, exponent)
    leaf_of = rng(3).permutation(4096)  # the generator's first draw: where each cell stands in the tree
    sizes = np.array([8, 16, 32, 64, 128, 256])
    leaving = np.array([nets_leaving_blocks(netlist, leaf_of, int(size)) for size in sizes])
    slope = float(np.polyfit(np.log(sizes), np.log(leaving), 1)[0])
    assert abs(slope - exponent) < 0.05


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0, 4, 4), "systolic array of 0 x 4 with 4 clusters"),
        ((4, 4, 0), "with 0 clusters"),
        ((1000, 1000, 10), "has 11003001 cells; allowed are numbers from 1 and up to 131072 cells"),
    ],
)
def test_bad_systolic_arrays_are_refused(args: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        systolic_array(rng(), *args)


@pytest.mark.parametrize(
    "args", [(1,), (10**7,), (10, 1.0), (10, 0.0), (10, float("nan")), (10, 0.6, -0.1), (10, 0.6, 0.6)]
)
def test_bad_random_logic_is_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="random logic of"):
        random_logic(rng(), *args)
