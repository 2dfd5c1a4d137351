"""The netlist of a datapath: what it takes is what the cost model counts, and its buses are those of the RTL."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from foldwright.accel.cost import bram36_of_engine, cost, reserve_bram36
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.netlist_blocks import (
    PACKING_PERCENT,
    Demand,
    Packing,
    datapath_demands,
    fixed_demand,
    memory_spans,
    packing_for,
)
from foldwright.accel.netlist_from_datapath import netlist_of
from foldwright.envs.generator import split_workload
from foldwright.envs.tiling.instances import named, random_datapath
from foldwright.errors import ConfigError, InfeasibleError, PartError
from foldwright.netlists.netlist import Netlist, netlist_from_json
from foldwright.netlists.part import Part, load_part
from foldwright.netlists.placement import require_fit

__all__: list[str] = []

REAL = (
    "cnv-w1a1",
    "cnv-w1a1-2e",
    "dorefa",
    "dorefa-2e",
    "resnet18-w1a2",
    "ultranet",
    "mobilenet",
    "digits-w1a2",
)


@cache
def datapath_of(name: str) -> Datapath:
    return named(f"{name}-b32").datapath


@cache
def part(name: str = "xc7z020") -> Part:
    return load_part(name)


@cache
def netlist_for(name: str, part_name: str = "xc7z020") -> Netlist:
    return netlist_of(datapath_of(name), part(part_name))


def bits_between(netlist: Netlist, one: str, other: str) -> int:
    """Returns the wires of all nets that join a cell of one pattern of names with a cell of another."""
    hit = [[re.match(pattern, name) is not None for name in netlist.cell_names] for pattern in (one, other)]
    return sum(
        int(netlist.net_weights[j])
        for j in range(netlist.nets)
        for pins in [netlist.cells_of(j)]
        if any(hit[0][c] for c in pins) and any(hit[1][c] for c in pins)
    )


def demands_of(datapath: Datapath, on: Part) -> list[Demand]:
    blocks = [d for demands in datapath_demands(datapath, on) for d in demands.values()]
    return [fixed_demand(on), *blocks]


@pytest.mark.parametrize("part_name", ["xc7z020", "lfe5u-85f"])
@pytest.mark.parametrize("name", REAL)
def test_totals_are_those_of_the_cost_model(name: str, part_name: str) -> None:
    datapath, on = datapath_of(name), part(part_name)
    counts, used = netlist_for(name, part_name).count_by_kind(), cost(datapath, on)
    assert counts.pop(on.block_ram.kind) == used.bram36
    assert set(counts) == {"CLB"}
    demands = demands_of(datapath, on)
    # Rounded once per engine there, not here: half a LUT for each engine.
    assert abs(sum(d.lut_milli for d in demands) / 1000 - used.lut) <= len(datapath.engines)
    assert abs(sum(d.ff_milli for d in demands) / 1000 - used.ff) <= len(datapath.engines)
    packing = packing_for(datapath, on)
    least = max(used.lut * 1000 / packing.lut_milli, used.ff * 1000 / packing.ff_milli)
    assert least <= counts["CLB"] + len(datapath.engines)
    # Blocks bound by flip-flops and blocks bound by LUTs share no cluster: at most as much as both together.
    most = used.lut * 1000 / packing.lut_milli + used.ff * 1000 / packing.ff_milli
    assert counts["CLB"] <= min(most, 1.2 * least)


@pytest.mark.parametrize("name", REAL)
def test_datapaths_of_an_xc7z020_fit_on_its_fabric(name: str) -> None:
    fabric = part().fabric
    assert fabric is not None
    require_fit(netlist_for(name), fabric)


def test_sizes_of_the_two_networks_of_the_benchmarks() -> None:
    """Golden: 28,405 and 31,407 LUTs by `cost` at 7.2 LUTs a cluster, and 40 and 29 block RAMs."""
    sizes = {name: netlist_for(name).count_by_kind() for name in ("cnv-w1a1", "dorefa")}
    assert sizes == {"cnv-w1a1": {"CLB": 4417, "RAMB36": 40}, "dorefa": {"CLB": 4613, "RAMB36": 29}}


def test_a_netlist_is_the_same_each_time_and_reads_back_equal() -> None:
    netlist = netlist_for("cnv-w1a1-2e")
    assert netlist == netlist_of(datapath_of("cnv-w1a1-2e"), part())
    assert netlist_from_json(netlist.to_json(), "here") == netlist


@pytest.mark.parametrize("name", REAL)
def test_every_cell_has_a_net(name: str) -> None:
    for part_name in ("xc7z020", "lfe5u-85f"):
        offsets, _ = netlist_for(name, part_name).by_cell()
        assert np.diff(offsets).min() >= 1


def test_generated_datapaths_keep_the_totals_and_join_every_cell() -> None:
    rng = np.random.default_rng(11)
    seen: Counter[str] = Counter()
    for k in range(25):
        datapath = random_datapath(rng, split_workload("train", rng, str(k)), 32)
        on = part(("xc7z020", "lfe5u-85f")[k % 2])
        netlist = netlist_of(datapath, on)
        assert netlist.count_by_kind()[on.block_ram.kind] == cost(datapath, on).bram36
        assert np.diff(netlist.by_cell()[0]).min() >= 1
        seen.update([f"{len(datapath.engines)} engines"])
        seen.update(engine.lanes.value for engine in datapath.engines)
    assert seen["2 engines"]
    assert seen["batch"]
    assert seen["column"]


def test_groups_are_the_blocks_of_the_hierarchy() -> None:
    netlist = netlist_for("dorefa-2e")
    blocks = Counter(re.sub(r"\d+(\.\d+)?$", "", group) for group in netlist.groups)
    # 15x68x9 and 10x192x3 units, rows, lanes, result paths of one drain lane, no windows.
    assert blocks["engine0/unit"] == 135
    assert blocks["engine1/unit"] == 30
    assert (blocks["engine0/row"], blocks["engine0/lane"], blocks["engine0/result"]) == (15, 9, 15)
    assert (blocks["engine1/row"], blocks["engine1/lane"], blocks["engine1/threshold"]) == (10, 3, 10)
    assert blocks["engine0/window"] == 0
    assert {"dma", "fixed", "engine0/control", "engine1/map", "engine0/weights"} <= set(netlist.groups)


ENGINE = Engine(4, 36, 3, drain_lanes=1, acc_bits=16, levels=3, weight_words=512, map_words=512)
SMALL = Datapath((ENGINE,), (0, 0))


def test_words_have_the_bits_of_the_engine() -> None:
    netlist = netlist_of(SMALL, part())
    assert bits_between(netlist, "engine0/weights/", "engine0/row") == 4 * 36
    assert (
        bits_between(netlist, "engine0/map/", "engine0/lane") == 3 * 45
    )  # five bytes of 8 bits, as they lie in block RAM
    for row in range(4):
        # Each row's weight word goes to the units of its row, and reaches no other row.
        assert bits_between(netlist, f"engine0/row{row}/", f"engine0/unit{row}\\.") == 36
        assert bits_between(netlist, f"engine0/row{row}/", f"engine0/unit{(row + 1) % 4}\\.") == 0
    for lane in range(3):
        assert bits_between(netlist, f"engine0/lane{lane}/", rf"engine0/unit\d+\.{lane}/") >= 36
        assert bits_between(netlist, f"engine0/lane{lane}/", rf"engine0/unit\d+\.{(lane + 1) % 3}/") == 0


def test_weight_and_activation_slices_reach_all_units_of_their_row_and_lane() -> None:
    netlist = netlist_of(SMALL, part())
    names = [{netlist.cell_names[c].split("/")[1] for c in netlist.cells_of(j)} for j in range(netlist.nets)]
    assert {"row2", "unit2.0", "unit2.1", "unit2.2"} in names
    assert {"lane1", "unit0.1", "unit1.1", "unit2.1", "unit3.1"} in names


def test_results_drain_along_the_lanes_to_the_result_path_of_the_first() -> None:
    netlist = netlist_of(SMALL, part())
    assert bits_between(netlist, "engine0/unit2.2/", "engine0/unit2.1/") >= 16
    assert bits_between(netlist, "engine0/unit2.0/", "engine0/result2.0/") == 16
    assert bits_between(netlist, "engine0/unit2.1/", "engine0/result2.0/") == 0
    assert bits_between(netlist, "engine0/threshold1/", "engine0/result1.0/") == 3 * 16 + 1
    assert bits_between(netlist, "engine0/result3.0/", "engine0/map/") == 2  # two bits of a code of 3 levels


def test_two_drain_lanes_skip_one_lane() -> None:
    netlist = netlist_of(Datapath((replace(ENGINE, drain_lanes=2),), (0,)), part())
    assert bits_between(netlist, "engine0/unit0.1/", "engine0/result0.1/") == 16
    assert bits_between(netlist, "engine0/unit0.2/", "engine0/result0.") == 0
    tails = [
        j for j in range(netlist.nets) if {"engine0/unit0.2", "engine0/unit0.0"} == groups_of(netlist, j)
    ]
    assert sum(int(netlist.net_weights[j]) for j in tails) == 16


def groups_of(netlist: Netlist, net: int) -> set[str]:
    return {netlist.groups[netlist.cell_group[c]] for c in netlist.cells_of(net)}


def test_aligner_shifts_between_column_lanes_and_not_between_batch_lanes() -> None:
    column, batch = (netlist_of(Datapath((replace(ENGINE, lanes=mode),), (0,)), part()) for mode in LaneMode)
    pairs = (("0", "1"), ("1", "2"), ("2", "0"))

    def shifts(netlist: Netlist) -> list[int]:
        return [
            sum(
                int(netlist.net_weights[j])
                for j in range(netlist.nets)
                if groups_of(netlist, j) == {f"engine0/lane{a}", f"engine0/lane{b}"}
            )
            for a, b in pairs
        ]

    assert shifts(column) == [36, 36, 36]
    assert shifts(batch) == [0, 0, 0]


def test_packed_planes_read_fewer_weight_bits_and_spread_them_over_the_word() -> None:
    packed = replace(ENGINE, planes_per_word=(2,))
    netlist = netlist_of(Datapath((packed,), (0,)), part())
    assert bits_between(netlist, "engine0/weights/", "engine0/row") == 4 * 36 // 2
    assert bits_between(netlist, "engine0/row1/", r"engine0/unit1\.") == 36


def test_engines_feed_the_engine_of_the_next_layer_and_the_last_feeds_dma() -> None:
    engines = (ENGINE, replace(ENGINE, dm=6))
    netlist = netlist_of(Datapath(engines, (0, 1, 1)), part())
    assert bits_between(netlist, "engine0/result", "engine1/map/") == 4 * 2
    assert bits_between(netlist, "engine0/result", "engine0/map/") == 0
    assert bits_between(netlist, "engine1/result", "engine1/map/") == 6 * 2
    assert bits_between(netlist, "engine1/result", "engine0/map/") == 0
    assert bits_between(netlist, "engine1/result", "dma/") == 6 * 2
    assert bits_between(netlist, "engine0/result", "dma/") == 0


def test_raw_results_leave_without_a_result_path() -> None:
    netlist = netlist_of(Datapath((replace(ENGINE, levels=0),), (0,)), part())
    assert not any("/result" in group or "/threshold" in group for group in netlist.groups)
    assert bits_between(netlist, "engine0/unit3.0/", "dma/") == 16


def test_windows_are_fed_by_the_line_memory_where_there_is_one() -> None:
    windowed = replace(ENGINE, window_bits=72)
    lined = replace(windowed, line_bits=24, line_words=64)
    without, with_line = (netlist_of(Datapath((e,), (0,)), part()) for e in (windowed, lined))
    assert bits_between(without, "dma/", "engine0/window") == 32
    assert bits_between(with_line, "dma/", "engine0/window") == 0
    assert bits_between(with_line, "engine0/line/", "engine0/window") == 3 * 27
    assert with_line.count_by_kind()["RAMB36"] == cost(Datapath((lined,), (0,)), part()).bram36


@pytest.mark.parametrize("part_name", ["xc7z020", "lfe5u-85f"])
@pytest.mark.parametrize(
    ("width", "depth"),
    [(72, 512), (100, 512), (37, 300), (144, 700), (1024, 512), (9, 9000), (1, 1), (73, 1)],
)
def test_memory_spans_cover_every_bit_with_the_blocks_that_the_cost_counts(
    width: int, depth: int, part_name: str
) -> None:
    on = part(part_name)
    spans = memory_spans(width, depth, on)
    held = Counter(bit for low, high in spans for bit in range(low, high))
    assert set(held) == set(range(width))
    engine = replace(ENGINE, line_bits=width, line_words=depth, dn=1)
    bare = replace(engine, line_words=0)
    assert len(spans) == bram36_of_engine(engine, on) - bram36_of_engine(bare, on)


def test_a_memory_of_no_words_takes_no_block() -> None:
    assert memory_spans(0, 512, part()) == memory_spans(72, 0, part()) == []


def test_clusters_are_bound_by_luts_or_by_flip_flops_and_shared_evenly() -> None:
    packing = Packing(7200, 14400)
    assert packing.clusters(Demand(1, 72_000, 14_400)) == 10
    assert packing.clusters(Demand(1, 7_200, 144_001)) == 11
    assert packing.clusters(Demand(5, 100, 100)) == 5  # one each
    assert packing.clusters(Demand(5, 0, 0)) == 0
    assert packing.shares(Demand(4, 72_000, 0)) == [2, 3, 2, 3]


def test_clusters_are_packed_denser_only_where_the_part_needs_it() -> None:
    fill = {name: packing_for(datapath_of(name), part()).lut_milli for name in ("cnv-w1a1", "resnet18-w1a2")}
    assert fill == {"cnv-w1a1": 7200, "resnet18-w1a2": 7200}  # 28,405 and 34,894 LUTs
    # Too large at any density: the densest, and the fit says how many are over.
    large = Datapath((replace(ENGINE, dm=64, dk=144, dn=8),), (0,))
    assert packing_for(large, part()).lut_milli == 8 * 1000 * PACKING_PERCENT[-1] // 100
    fabric = part().fabric
    assert fabric is not None
    with pytest.raises(InfeasibleError, match=r"\d+ cells need CLB sites, the fabric has 6650: \d+ over"):
        require_fit(netlist_of(large, part()), fabric)


@pytest.mark.parametrize(
    "changes",
    [
        {"dm": 1, "dn": 1, "dk": 4},
        {"dm": 1, "dn": 128, "dk": 8, "drain_lanes": 128},
        {"dm": 512, "dn": 1, "dk": 4},
        {"dk": 1024, "dm": 2, "dn": 2, "planes_per_word": (1, 2, 4, 8), "arithmetic": Arithmetic.AND},
        {"acc_bits": 4, "levels": 255},
        {"acc_bits": 48, "levels": 0, "threshold_words": 1},
        {"dn": 1, "threshold_words": 65536, "levels": 1},
        {"window_bits": 1, "line_bits": 1, "line_words": 1},
    ],
)
def test_extreme_engines_give_whole_netlists(changes: dict[str, object]) -> None:
    engine = replace(ENGINE, **changes)  # type: ignore[arg-type]  # one table for fields of several types
    for part_name in ("xc7z020", "lfe5u-85f"):
        netlist = netlist_of(Datapath((engine,), (0,)), part(part_name))
        assert np.diff(netlist.by_cell()[0]).min() >= 1
        datapath = Datapath((engine,), (0,))
        expected = bram36_of_engine(engine, part(part_name)) + reserve_bram36(datapath, part(part_name))
        assert netlist.count_by_kind()[part(part_name).block_ram.kind] == expected


def test_every_engine_reads_its_program_from_a_fixed_block_ram() -> None:
    netlist = netlist_of(Datapath((ENGINE,) * 8, tuple(range(8))), part())
    assert bits_between(netlist, "fixed/", r"engine\d/control") == 8 * 32
    assert bits_between(netlist, "fixed/", "dma/") == 2 * 32  # the loader's program and the store


def test_a_part_without_a_fabric_is_refused() -> None:
    with pytest.raises(PartError, match=r"part 'xc7z020' has no fabric, .* add \[fabric\]"):
        netlist_of(SMALL, replace(part(), fabric=None))


def test_an_unknown_technology_is_refused() -> None:
    with pytest.raises(ConfigError, match="technology 'asic' is not for family 'xc7'"):
        netlist_of(SMALL, part(), "asic")
