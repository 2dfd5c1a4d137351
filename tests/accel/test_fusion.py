"""Fused layers: bands by hand, rows held by following every read and write, and a referee that works them out again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import DECISIONS, OUTPUT_FUSED, bram36_of_choices, expand
from foldwright.accel.fusion import band_ends
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.repeats import S_BLOCK, S_CYCLES, S_ENDS, S_LAYER, S_ROW, S_WEIGHT_BITS
from foldwright.accel.schedule import Schedule
from foldwright.accel.schedule_check import check_schedule
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tile_table import tile_table
from foldwright.accel.tiles import (
    P_BANDS,
    P_BUFFER_ROWS,
    P_CYCLES_PER_BLOCK_ROW,
    P_FUSED,
    P_HELD_ROWS,
    P_IN_H,
    P_KH,
    P_PAD_T,
    P_ROWS,
    P_SH,
    P_STORED_H,
    layer_cycles,
    stored_rows,
    traffic_bits,
)
from foldwright.accel.workload import ActKind, Pool, PoolKind, WeightKind
from foldwright.envs.registry import load_instance, split
from foldwright.envs.tiling import TilingProblem
from foldwright.errors import IllegalSolutionError
from foldwright.netlists.part import load_part

IntArray = npt.NDArray[np.int64]

TILE = 2  # place of the tile among a layer's decisions


def two_layers(pool_bram36: int = 40, **options: Any) -> TilingProblem:
    """Two 3x3 layers, 16 -> 8 -> 4 channels, on an 8x8 map of one bit, on one engine 4x16x4."""
    chain = LayerChain((16, 8, 8, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(8)
    chain.conv(4)
    datapath = Datapath((Engine(4, 16, 4),), (0, 0), 1, 32)
    return TilingProblem(
        "tiling/two", chain.workload("two"), datapath, pool_bram36, **{"fuses": True} | options
    )


def fused_by_twos(problem: TilingProblem) -> IntArray:
    """Pins all weights, fuses both layers, in bands of two rows of the second one."""
    tiles = problem.tables[6]
    whole = tiles[0].tolist().index([2, 8, 0])
    band = int(np.flatnonzero(tiles[1, :, 1] == 2)[0])
    return np.array([2, OUTPUT_FUSED, whole, 2, 0, band])


def test_bands_by_hand() -> None:
    """The first two rows of the second layer read the first three of the first layer's, later bands two more each."""
    problem = two_layers()
    plans = expand(*problem.tables, fused_by_twos(problem))
    assert band_ends(problem.tables[0], plans, 0, 1).tolist() == [[3, 5, 7, 8], [2, 4, 6, 8]]
    # After the second band of the first layer rows 1 to 4 are held: the second layer's rows 2 and 3 read them.
    assert plans[:, P_HELD_ROWS].tolist() == [4, 8]
    tiles = tile_table(problem.tables[0], plans, problem.tables[3], 0)
    assert tiles[:, S_LAYER].tolist() == [0, 1] * 4
    assert tiles[:, S_ROW].tolist() == [0, 0, 3, 2, 5, 4, 7, 6]
    assert tiles[:, S_ENDS].tolist() == [0] * 6 + [1, 1]
    assert tiles[:, S_WEIGHT_BITS].sum() == 0
    # Rows of 36 and 18 cycles, and 20 of each tile.
    assert plans[:, P_CYCLES_PER_BLOCK_ROW].tolist() == [18, 18]
    assert tiles[:, S_CYCLES].tolist() == [36 * 3 + 20, 18 * 2 + 20] + [36 * 2 + 20, 18 * 2 + 20] * 2 + [
        36 + 20,
        18 * 2 + 20,
    ]


def test_streamed_weights_of_fused_layers_come_anew_for_every_tile() -> None:
    problem = two_layers()
    choices = fused_by_twos(problem)
    choices[0] = choices[DECISIONS] = 0
    plans = expand(*problem.tables, choices)
    tiles = tile_table(problem.tables[0], plans, problem.tables[3], 0)
    assert (tiles[:, S_WEIGHT_BITS] > 0).all()
    weights = int(tiles[:2, S_WEIGHT_BITS].sum())
    assert tiles[:, S_WEIGHT_BITS].sum() == 4 * weights
    # The image's rows, 8 pixels of a beat, come once: those that the next band reads too stay.
    assert sum(traffic_bits(p)[0] for p in plans) == 4 * weights + 8 * 8 * 32
    assert tiles[tiles[:, S_LAYER] == 0, S_WEIGHT_BITS + 1].tolist() == [
        rows * 8 * 32 for rows in (4, 2, 2, 0)
    ]
    # Rows 2 to 5 of the second band, and 6 and 7 for the third, at most.
    assert plans[0, P_BUFFER_ROWS] == 6


def drawn(problem: TilingProblem, rng: np.random.Generator, share: float) -> IntArray:
    """Returns random choices, a share of the links fused."""
    choices = rng.integers(problem.sizes)
    links = choices[1::DECISIONS]
    links[:] = np.where(rng.random(len(links)) < share, problem.sizes[1::DECISIONS] - 1, links)
    return choices


def networks() -> list[TilingProblem]:
    generated = [p for p in split("tiling", "train", 6, seed=31) if isinstance(p, TilingProblem)]
    named = [load_instance(f"tiling/{n}") for n in ("resnet18-w1a2-b16-p140", "mobilenet-s-b64-p60")]
    every = [*generated, *(p for p in named if isinstance(p, TilingProblem))]
    return [replace(p, fuses=True, pool_bram36=4000) for p in every]


def rows_of(plans: IntArray, layers: IntArray, reader: int, maker: int, low: int, high: int) -> set[int]:
    """Returns the rows of a maker's output that a reader's output rows low..high - 1 read."""
    out: set[int] = set()
    if layers[reader, L_RESIDUAL] == maker:
        out |= set(range(low, high))
    if layers[reader, L_INPUT] == maker:
        plan = plans[reader]
        if plan[P_IN_H] != plans[maker, P_STORED_H]:
            return set(range(plans[maker, P_STORED_H])) if high > low else out
        for row in range(low, high):
            first = row * plan[P_SH] - plan[P_PAD_T]
            out |= {y for y in range(first, first + plan[P_KH]) if 0 <= y < plan[P_IN_H]}
    return out


def test_every_read_finds_its_rows_among_those_held() -> None:
    """Follows the tiles of random groups: what a tile reads was made and is still in a ring of so many rows, none to spare."""
    rng, groups = np.random.default_rng(0), 0
    for problem in networks():
        layers, assignment = problem.tables[0], problem.tables[3]
        for _ in range(6):
            plans = expand(*problem.tables, drawn(problem, rng, 0.6))
            for e in range(len(problem.datapath.engines)):
                tiles = tile_table(layers, plans, assignment, e)
                groups += _follow(layers, plans, tiles)
    assert groups > 20


def _follow(layers: IntArray, plans: IntArray, tiles: IntArray) -> int:
    done = np.zeros(len(plans), dtype=np.int64)  # output rows of each layer
    fullest = np.zeros(len(plans), dtype=np.int64)
    spans = [(t[S_LAYER], t[S_ROW]) for t in tiles if t[S_BLOCK] == 0]
    for k, (i, row) in enumerate(spans):
        after = next((r for layer, r in spans[k + 1 :] if layer == i), plans[i, P_ROWS])
        assert row == done[i]
        for maker in {int(layers[i, L_INPUT]), int(layers[i, L_RESIDUAL])} - {-1, -2}:
            if not plans[maker, P_BANDS] or plans[maker, P_HELD_ROWS] == plans[maker, P_STORED_H]:
                continue
            made = stored_rows(plans[maker], done[maker])
            reads = rows_of(plans, layers, i, maker, row, after)
            assert reads <= set(range(made - plans[maker, P_HELD_ROWS], made))
            if reads:
                fullest[maker] = max(fullest[maker], made - min(reads))
        done[i] = after
    ring = [i for i in range(len(plans)) if fullest[i]]
    for i in ring:  # several readers may need more than any one of them
        readers = [c for c in range(len(plans)) if i in (layers[c, L_INPUT], layers[c, L_RESIDUAL])]
        assert fullest[i] == plans[i, P_HELD_ROWS] or len(readers) > 1
    return len(ring)


def test_random_groups_pass_the_referee_and_are_encoded_again() -> None:
    rng, fused = np.random.default_rng(5), 0
    for problem in networks():
        for _ in range(3):
            choices = drawn(problem, rng, 0.5)
            if problem.cost_of(choices) < 0:
                continue
            solution = problem.decode(choices)
            problem.check(solution)
            assert problem.evaluate(solution).value == problem.cost_of(choices)
            assert problem.cost_of(problem.encode(solution)) == problem.cost_of(choices)
            assert problem.cost_of(choices) >= problem.bound().value
            fused += sum(d.fused for d in solution.decisions)
    assert fused > 50


def test_a_group_computes_as_long_as_its_tiles_and_moves_what_they_move() -> None:
    rng = np.random.default_rng(2)
    for problem in networks()[-3:]:
        plans = expand(*problem.tables, drawn(problem, rng, 0.7))
        for e in range(len(problem.datapath.engines)):
            tiles = tile_table(problem.tables[0], plans, problem.tables[3], e)
            for i in np.flatnonzero(problem.tables[3] == e):
                mine = tiles[tiles[:, S_LAYER] == i]
                assert mine[:, S_CYCLES].sum() == layer_cycles(plans[i])
                assert mine[:, S_ENDS].sum() == 1
                moved = int(mine[:, S_WEIGHT_BITS].sum() + mine[:, S_WEIGHT_BITS + 1].sum())
                assert moved == traffic_bits(plans[i])[0]


def test_fused_stages_leave_block_rams_to_others() -> None:
    """ResNet-18's first stage on chip: three maps of 56x56 or, in bands, a few rows of each."""
    problem = load_instance("tiling/resnet18-w1a2-b16-p140")
    assert isinstance(problem, TilingProblem)
    problem = replace(problem, fuses=True, pool_bram36=4000)
    choices = problem.fallback.copy()
    choices[1 : 1 + DECISIONS * 6 : DECISIONS] = 1
    whole = bram36_of_choices(*problem.tables, choices)
    choices[1 : 1 + DECISIONS * 5 : DECISIONS] = OUTPUT_FUSED
    plans = expand(*problem.tables, choices)
    assert plans[:6, P_FUSED].tolist() == [1, 1, 1, 1, 1, 0]
    assert bram36_of_choices(*problem.tables, choices) < whole - 20


def pooled_problem(kernel: int, stride: int) -> TilingProblem:
    chain = LayerChain((16, 12, 12, 1, ActKind.UNSIGNED), (1, WeightKind.BINARY), (1, ActKind.UNSIGNED))
    chain.conv(8)
    chain.conv(8, pool=Pool(PoolKind.MAX, (kernel, kernel), (stride, stride)))
    chain.conv(4)
    datapath = Datapath((Engine(4, 16, 4),), (0, 0, 0), 1, 32)
    return TilingProblem("tiling/pooled", chain.workload("pooled"), datapath, 60, fuses=True)


def test_only_a_groups_first_layer_pools_windows_that_bands_would_cut() -> None:
    assert pooled_problem(3, 2).sizes[1::DECISIONS].tolist() == [2, 3, 1]
    assert pooled_problem(2, 2).sizes[1::DECISIONS].tolist() == [3, 3, 1]


def test_bands_of_a_last_layer_that_pools_are_whole_windows() -> None:
    problem = pooled_problem(2, 2)
    choices = problem.fallback.copy()
    choices[1], choices[DECISIONS + 1] = OUTPUT_FUSED, 1
    tiles = problem.tables[6][1]
    choices[DECISIONS + TILE] = int(np.flatnonzero(tiles[:, 1] == 3)[0])
    solution = problem.decode(choices)
    assert (solution.decisions[1].tile_rows, solution.decisions[1].outer_loop) == (4, "rows")
    problem.check(solution)


def test_without_fuses_no_layer_is_fused() -> None:
    problem = two_layers()
    solution = problem.decode(fused_by_twos(problem))
    plain = two_layers(fuses=False)
    assert plain.sizes[1::DECISIONS].tolist() == [2, 1]
    with pytest.raises(
        IllegalSolutionError, match=r"layer 'conv1': cannot be fused .*: this instance has fuses = false"
    ):
        plain.evaluate(solution)


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [
        (
            1,
            {"fused": True},
            "layer 'conv2': cannot be fused with the next one: its output is said to go to DRAM",
        ),
        (
            1,
            {"fused": True, "output_on_chip": True},
            "cannot be fused with the next one: no layer reads its output",
        ),
        (
            0,
            {"output_on_chip": False},
            "layer 'conv1': cannot be fused with the next one: its output is said to go to DRAM",
        ),
    ],
)
def test_what_cannot_be_fused_is_refused(layer: int, change: dict[str, Any], message: str) -> None:
    problem = two_layers()
    solution = problem.decode(fused_by_twos(problem))
    decisions = list(solution.decisions)
    decisions[layer] = replace(decisions[layer], **change)
    with pytest.raises(IllegalSolutionError, match=message):
        problem.evaluate(replace(solution, decisions=tuple(decisions)))


def _less_held(schedule: Schedule) -> Schedule:
    blocks = [replace(b, words=b.words - 1) if b.holds == "tensor" else b for b in schedule.blocks]
    return replace(schedule, blocks=tuple(blocks))


def _sooner(schedule: Schedule) -> Schedule:
    """Takes the second layer's first tile of every round before the first layer's."""
    events = []
    for e in schedule.events:
        if e.kind == "compute" and e.tile in (0, 1):
            e = replace(e, tile=1 - e.tile, layer={"conv1": "conv2", "conv2": "conv1"}[e.layer])
        events.append(e)
    return replace(schedule, events=tuple(events))


def _other_rows(schedule: Schedule) -> Schedule:
    first = replace(schedule.decisions[0], tile_rows=2)
    return replace(schedule, decisions=(first, *schedule.decisions[1:]))


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (_less_held, "tensor of 'conv1' needs 12 words on engine 0 in slots"),
        (_sooner, "conv"),
        (
            _other_rows,
            "layer 'conv1', fused with others: tile_rows is 2 and rows are outside, its bands make it 3 and rows",
        ),
    ],
)
def test_the_referee_refuses_corrupted_groups(corrupt: Any, message: str) -> None:
    problem = two_layers()
    solution = problem.decode(fused_by_twos(problem))
    schedule, sized = problem.schedule(solution), problem.sized_datapath(solution)
    part = load_part(problem.part)
    check_schedule(problem.workload, sized, part, schedule, problem.pool_bram36)
    with pytest.raises(IllegalSolutionError, match=message):
        check_schedule(problem.workload, sized, part, corrupt(schedule), problem.pool_bram36)
