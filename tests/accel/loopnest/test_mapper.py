"""The exact mapper: equal to plain search, bounds below the referee, closed forms equal to it, Pareto sets by brute force."""

from __future__ import annotations

import csv
import random
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.tiling_cases import ARRAYS, LAYERS
from foldwright.accel.loopnest.bounds import TILE_FIELDS, least_cycles, order_least, tile_numbers
from foldwright.accel.loopnest.exhaustive import exhaustive_search, plain_tiles
from foldwright.accel.loopnest.mapper import MapperParams, map_layer, pareto_set
from foldwright.accel.loopnest.nest import MAX_STEPS, ArrayModel, Convolution
from foldwright.accel.loopnest.options import MOST_OPTIONS, OPTION_FIELDS, Z_BUFFER, Z_TRAFFIC
from foldwright.accel.loopnest.referee import R_CYCLES, R_STEPS, new_workspace, referee
from foldwright.accel.loopnest.score import compulsory_bits, layer_bound, score
from foldwright.accel.loopnest.search import all_options, choose
from foldwright.accel.loopnest.space import (
    CANDIDATE_FIELDS,
    ORDERS,
    Q_ORDER,
    all_tiles,
    tile_sizes,
    write_nest,
)
from foldwright.accel.loopnest.tables import NEST_FIELDS, array_row, layer_row
from foldwright.errors import ConfigError, InfeasibleError
from tests.accel.loopnest.brute import all_scores
from tests.accel.loopnest.samples import ROW, SCALAR, random_array, random_layer
from tests.support import shared


def resnet_layer(name: str, config: str) -> tuple[Convolution, ArrayModel]:
    a, layer = ARRAYS[config], next(x for x in LAYERS if x.name == name)
    kernel, stride = (layer.kernel, layer.kernel), (layer.stride, layer.stride)
    size = (layer.out_size, layer.out_size)
    convolution = Convolution(name, layer.out_channels, layer.in_channels, *size, *kernel, *stride)
    widths = (a.weight_bits, a.input_bits, a.psum_bits, a.output_bits, a.dram_bits_per_cycle)
    return convolution, ArrayModel(config, a.dm, a.dk, a.dn, *widths, a.buffer_bits)


@pytest.mark.parametrize("unit", [1, 3, 16])
def test_tiles_are_those_of_the_definition(unit: int) -> None:
    for size in range(1, 140):
        assert tile_sizes(size, min(unit, size)).tolist() == plain_tiles(size, unit)


def test_four_outputs_in_a_row_take_what_the_port_takes() -> None:
    # Nine bytes cross the port (test_referee), and a mapping does it in nine cycles: nothing is faster.
    found = map_layer(ROW, SCALAR)
    assert (found.score.cycles, found.score.traffic_bits) == (9, 72)
    assert layer_bound(ROW, SCALAR) == 9


@pytest.mark.parametrize("seed", range(40))
def test_the_mapper_equals_plain_search(seed: int) -> None:
    r = random.Random(seed)
    layer = random_layer(r, 8)
    sizes = [r.choice([40, 100, 300, 1000, 5000]) for _ in range(3)]
    array = random_array(r, tuple(sizes) if r.random() < 0.6 else (sum(sizes),))
    array = replace(array, double_buffered=r.random() < 0.7)
    params = MapperParams(r.choice([5, 30, 200]), r.random() < 0.7)
    cycles, traffic, _ = exhaustive_search(layer, array, params.max_steps, params.halo_reuse)
    if not cycles:
        with pytest.raises(InfeasibleError):
            map_layer(layer, array, params)
        return
    found = map_layer(layer, array, params).score
    assert (found.cycles, found.traffic_bits) == (cycles, traffic)


@pytest.mark.parametrize("config", ARRAYS)
@pytest.mark.parametrize("name", ["conv1", "l2_ds", "l4"])
def test_the_mapper_equals_plain_search_on_layers_of_resnet(name: str, config: str) -> None:
    layer, array = resnet_layer(name, config)
    found = map_layer(layer, array, MapperParams(40)).score
    assert (found.cycles, found.traffic_bits) == exhaustive_search(layer, array, 40)[:2]


@pytest.mark.parametrize("config", ARRAYS)
def test_a_layer_of_resnet_comes_near_its_bound(config: str) -> None:
    layer, array = resnet_layer("l3", config)
    found = map_layer(layer, array).score
    assert found.bound_cycles == layer_bound(layer, array)
    assert found.bound_cycles <= found.cycles < 1.005 * found.bound_cycles


def test_bounds_are_those_of_the_reference_table() -> None:
    with shared("reference/zigzag_resnet18.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22
    for row in rows:
        column = "roofline_cycles(max(compute;compulsory/B))"
        assert layer_bound(*resnet_layer(row["layer"], row["config"])) == int(row[column])


@pytest.mark.parametrize("seed", range(8))
def test_closed_forms_equal_the_referee_and_bounds_stay_below(seed: int) -> None:
    r, g = random.Random(seed), np.random.default_rng(seed)
    layer, model = random_layer(r, 9), random_array(r)
    rows, array = layer_row(layer), array_row(model)
    unroll = np.minimum(rows[[0, 1, 3]], array[:3])
    tiles, work = all_tiles(rows, unroll, 400), new_workspace(400)
    options, counts = np.empty((3, MOST_OPTIONS, OPTION_FIELDS), dtype=np.int64), np.zeros(3, dtype=np.int64)
    numbers, candidate = np.empty(TILE_FIELDS, dtype=np.int64), np.zeros(CANDIDATE_FIELDS, dtype=np.int64)
    nest, loops = np.zeros(NEST_FIELDS, dtype=np.int64), np.zeros((6, 2), dtype=np.int64)
    for _ in range(150):
        tile, order, halo = (
            tiles[g.integers(len(tiles))],
            ORDERS[g.integers(len(ORDERS))],
            bool(g.integers(2)),
        )
        tile_numbers(rows, array, unroll, tile, numbers)
        all_options(rows, array, unroll, tile, order, halo, 2, options, counts)
        chosen = [options[op, g.integers(counts[op])] for op in range(3)]
        candidate[:5], candidate[Q_ORDER : Q_ORDER + 5] = tile, order
        choose(candidate, *chosen)
        n = write_nest(rows, unroll, candidate, halo, nest, loops)
        got = referee(rows, array, nest, loops[:n], 1 << 60, *work)
        assert got[R_STEPS + 1 :].sum() == sum(option[Z_TRAFFIC] for option in chosen)
        assert least_cycles(numbers, *chosen) <= got[R_CYCLES]
        assert order_least(rows, array, unroll, tile, order, numbers) <= got[R_CYCLES]


@pytest.mark.parametrize("seed", range(5))
def test_pareto_sets_equal_brute_force(seed: int) -> None:
    r = random.Random(seed)
    layer = Convolution(
        "small", r.randint(1, 4), r.randint(1, 3), 2, r.randint(2, 4), r.choice([1, 2]), 2, 1, r.randint(1, 2)
    )
    array = replace(random_array(r, (600, 500, 700)), double_buffered=bool(seed % 2))
    every = {
        (s.cycles, s.traffic_bits, s.buffer_bits.weights + s.buffer_bits.inputs + s.buffer_bits.outputs)
        for _, s in all_scores(layer, array, 30)
    }
    front = {
        a for a in every if not any(b != a and all(x <= y for x, y in zip(b, a, strict=True)) for b in every)
    }
    points = pareto_set(layer, array, MapperParams(30))
    assert {(p.cycles, p.traffic_bits, p.buffer_bits) for p in points} == front
    assert len(points) == len(front)
    for p in points:
        found = score(p.nest, array)
        assert found is not None
        assert (found.cycles, found.traffic_bits) == (p.cycles, p.traffic_bits)
    best = map_layer(layer, array, MapperParams(30)).score
    assert (best.cycles, best.traffic_bits) == min(front)[:2]


def test_options_need_what_their_tiles_need() -> None:
    layer, array = resnet_layer("l1", "int8")
    for point in pareto_set(layer, array, MapperParams(16)):
        found = score(point.nest, array)
        assert found is not None
        needed = found.buffer_bits
        assert needed.weights + needed.inputs + needed.outputs == point.buffer_bits
        assert found.traffic_bits >= compulsory_bits(layer, array)
    assert Z_BUFFER < OPTION_FIELDS


@pytest.mark.parametrize(
    ("buffers", "steps", "said"),
    [
        (
            (7, 64, 64),
            9,
            "layer 'row' on array 'scalar': one block needs 8 bits for weights, the buffer has 7",
        ),
        (
            (64, 64, 7),
            9,
            "layer 'row' on array 'scalar': one block needs 8 bits for outputs, the buffer has 7",
        ),
        ((23,), 9, "layer 'row' on array 'scalar': one block needs 24 bits of the pool, which has 23"),
        (
            (8, 8, 8),
            3,
            "layer 'row' on array 'scalar': no mapping of 3 steps or fewer fits the buffers; allow more steps or give larger "
            "buffers",
        ),
    ],
)
def test_what_does_not_fit_is_told(buffers: tuple[int, ...], steps: int, said: str) -> None:
    array = replace(SCALAR, buffer_bits=buffers)
    for ask in (map_layer, pareto_set):
        with pytest.raises(InfeasibleError) as caught:
            ask(ROW, array, MapperParams(steps))
        assert str(caught.value) == said


def test_no_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match=rf"^max_steps is 0, allowed 1..{MAX_STEPS}$"):
        MapperParams(0)
