"""The simulator's order of loads: the exporter's, without an end that is never reached, and legal to the referee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.rtl_networks import DIGITS
from foldwright.accel.cosim.cycles import decided
from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.evaluate import OUTPUT_CHIP, OUTPUT_DRAM, expand
from foldwright.accel.export.loads import Load
from foldwright.accel.export.loads import load_order as exported_order
from foldwright.accel.layout import AcceleratorLayout, lay_out
from foldwright.accel.load_check import check_loads
from foldwright.accel.load_order import Y_ENGINE, Y_IS_INPUT, Y_LAG, Y_TILE, has_one_loader, load_order
from foldwright.accel.network import load_network
from foldwright.accel.repeats import S_LAYER, S_WEIGHT_BITS
from foldwright.accel.schedule import LayerDecision, TileEvent
from foldwright.accel.simulate import EVENT_FIELDS, run_events
from foldwright.accel.tile_table import all_tiles
from foldwright.accel.tilings import LayerTiling
from foldwright.envs.registry import split
from foldwright.envs.tiling import TilingProblem, TilingSolution
from foldwright.errors import IllegalSolutionError
from foldwright.netlists.part import load_part
from tests.accel.test_simulate import Decision, by_hand, conv_chain, steady
from tests.support import ROOT

IntArray = npt.NDArray[np.int64]
_Place = tuple[int, int, int, bool, int]
"""Engine, layer, tile of the layer, whether it is an input, round of the two of a program."""

DIGITS_FILE = ROOT / "models" / "digits_w1a2.onnx"
STREAMS = LayerTiling(1, streams_weights=True)


def planned(layout: AcceleratorLayout, count: int) -> list[_Place]:
    """Returns the first loads of the planner's order."""
    tables, choices = decided(layout, load_part("xc7z020"))
    layers, engines, _, assignment, *_ = tables
    plans = expand(*tables, choices)
    assert has_one_loader(layers, plans, assignment, len(engines))
    tiles, starts = all_tiles(layers, plans, assignment, len(engines))
    order, out = load_order(layers, plans, assignment, tiles, starts), list[_Place]()
    turn = int(order[:, Y_LAG].min())
    while len(out) < count:
        for load in order:
            e, t, round_ = load[Y_ENGINE], load[Y_TILE], turn - load[Y_LAG]
            mine = tiles[starts[e] : starts[e + 1], S_LAYER]
            first = int(starts[e] + np.flatnonzero(mine == tiles[t, S_LAYER])[0])
            if round_ >= 0:
                place = (
                    int(e),
                    int(tiles[t, S_LAYER]),
                    int(t) - first,
                    bool(load[Y_IS_INPUT]),
                    int(round_) % 2,
                )
                out.append(place)
        turn += 1
    return out[:count]


def place_of(load: Load) -> _Place:
    run = load.run
    return run.layer.engine, run.layer.index, run.place, not load.is_weights, run.round


@pytest.mark.parametrize(
    ("tilings", "together"),
    [
        (dict.fromkeys(range(4), STREAMS), False),
        ({2: STREAMS, 3: STREAMS}, False),
        ({0: LayerTiling(rows=2), 2: LayerTiling(4, streams_weights=True), 3: STREAMS}, False),
        ({1: LayerTiling(2, 2, rows_outside=True, streams_weights=True), 2: STREAMS}, False),
        ({0: LayerTiling(1, 4, rows_outside=True, streams_weights=True), 3: STREAMS}, False),
        ({0: LayerTiling(rows=4), 2: STREAMS, 3: LayerTiling(0, streams_weights=True)}, True),
    ],
)
def test_the_order_is_that_of_the_exported_loader(tilings: dict[int, LayerTiling], together: bool) -> None:
    datapath = DIGITS
    if together:
        window: dict[str, Any] = {
            "window_bits": DIGITS.engines[0].window_bits,
            "line_bits": DIGITS.engines[0].line_bits,
        }
        datapath = replace(DIGITS, engines=(replace(DIGITS.engines[1], **window),), assignment=(0,) * 4)
    layout = lay_out(load_network(DIGITS_FILE), datapath, tilings=tilings)
    begin, rounds = exported_order(layout)
    wanted = [place_of(load) for load in (*begin, *rounds)]
    assert planned(layout, len(wanted)) == wanted


def random_streams(seed: int) -> list[tuple[TilingProblem, IntArray]]:
    """Returns random schedules whose tensors stay on chip and whose weights stream, of one engine and of several."""
    rng, out = np.random.default_rng(seed), []
    for problem in split("tiling", "train", 12, seed=seed):
        assert isinstance(problem, TilingProblem)
        for _ in range(6):
            choices = rng.integers(problem.sizes)
            choices[1::3] = problem.sizes[1::3] - 1
            plans = expand(*problem.tables, choices)
            if has_one_loader(problem.tables[0], plans, problem.tables[3], len(problem.datapath.engines)):
                out.append((problem, choices))
    return out


def ends_of(problem: TilingProblem, choices: IntArray, room: int) -> IntArray:
    tables = problem.tables
    engines, events = len(tables[1]), np.empty((room, EVENT_FIELDS), dtype=np.int64)
    plans = expand(*tables, choices)
    ends: IntArray = run_events(tables[0], plans, tables[3], engines, int(tables[7][1]), engines + 8, events)[
        0
    ]
    return ends


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_order_stops_and_what_repeats_may_be_skipped(seed: int) -> None:
    made = random_streams(seed)
    assert len({len(problem.datapath.engines) for problem, _ in made}) > 1
    for problem, choices in made:
        ends = ends_of(problem, choices, room=1)
        assert (np.diff(ends, prepend=0) > 0).all(), problem.name
        assert ends_of(problem, choices, room=0).tolist() == ends.tolist()


def test_streams_keep_the_bound_and_the_referees_rules_of_loads() -> None:
    legal = 0
    for problem, choices in random_streams(4):
        if problem.cost_of(choices) > 0:
            assert problem.cost_of(choices) >= problem.bound().value
            check_loads(problem.workload, problem.datapath, problem.schedule(problem.decode(choices)))
            legal += 1
    assert legal >= 10


def earlier(cycles: int, kind: str, tile: int) -> Callable[[TileEvent], TileEvent]:
    """Returns what moves the events of a kind and tile, their length as before."""

    def move(e: TileEvent) -> TileEvent:
        mine = e.kind == kind and e.tile == tile
        return replace(e, start_cycle=e.start_cycle - cycles, end_cycle=e.end_cycle - cycles) if mine else e

    return move


def shorter(e: TileEvent) -> TileEvent:
    return replace(e, end_cycle=e.start_cycle + 17) if e.kind == "load_weights" else e


def pinned_too(e: TileEvent) -> TileEvent:
    return replace(e, layer="conv1", tile=0) if e.kind == "load_weights" and e.tile == 1 else e


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorter, "takes 17 cycles, needs at least 18"),
        (pinned_too, "load_weights of 'conv1' tile 0 at .*: no weights come for this tile"),
        (earlier(20, "load_weights", 2), r"its place is free at \d+ only, when tile 2 has ended"),
        (earlier(10_000, "load_weights", 2), "comes after that of tile .*, before which it is needed"),
    ],
)
def test_the_referee_refuses_loads_that_cannot_be(
    change: Callable[[TileEvent], TileEvent], message: str
) -> None:
    problem = TilingProblem("tiling/two", TWO, TINY, 140)
    decisions = (
        LayerDecision("conv1", 4, 8, "weights", 4, 0, 1, True),
        LayerDecision("conv2", 1, 8, "weights", 0, 2, 0, False),
    )
    schedule = problem.schedule(TilingSolution(decisions))
    check_loads(TWO, TINY, schedule)
    with pytest.raises(IllegalSolutionError, match=message):
        check_loads(TWO, TINY, replace(schedule, events=tuple(change(e) for e in schedule.events)))


TWO = conv_chain(16, 8)
TINY = Datapath((Engine(4, 16, 4, acc_bits=8),), (0, 0), 1, 32)
# By hand, on 4x16x4: the first layer has 4 blocks, pinned, its image two copies; the second 2 blocks of 9 words of 64 bits,
# which stream one at a time. A block takes 8 rows * 2 groups * 9 = 144 cycles, a tile 20 more, weights 18 beats and 8.
FIRST, EACH, ARRIVES = 4 * 144 + 20, 144 + 20, 7 + 18 + 8 + 52 + 7


def test_weights_come_while_two_tiles_pass() -> None:
    # Each of the two tiles' weights take the place that the same tile of the round before has left: none shows.
    decisions: list[Decision] = [(3, OUTPUT_CHIP, (4, 8, 0)), (0, OUTPUT_DRAM, (1, 8, 0))]
    assert ARRIVES < FIRST
    assert steady(TWO, TINY, decisions) == FIRST + 2 * EACH


@pytest.mark.parametrize(("bits", "beats"), [(2, 288), (1, 576)])
def test_weights_wait_for_the_tile_that_had_their_place(bits: int, beats: int) -> None:
    # Both layers stream, one block a tile: 4 and 2 tiles of 164 cycles, weights of the first 576 bits, of the second as many.
    # Each load waits for the tile before the last, across layers, and takes longer than that tile: one load after the
    # other, and the image's 64 pixels of one word, in its turn, are all that a round takes.
    decisions: list[Decision] = [(1, OUTPUT_CHIP, (1, 8, 0)), (1, OUTPUT_DRAM, (1, 8, 0))]
    datapath = replace(TINY, dram_bits_per_cycle=bits)
    assert steady(TWO, datapath, decisions) == 6 * (beats + 8) + 64 * 16 // bits + 8


def test_words_of_weights_take_whole_beats() -> None:
    # Words of 4 * 10 bits take two beats of 32: nine words a block are 18 beats, where their bits are 12.
    datapath = Datapath((Engine(4, 10, 4, acc_bits=8),), (0, 0), 1, 32)
    tables, plans = by_hand(TWO, datapath, [(0, OUTPUT_CHIP, (1, 8, 0)), (0, OUTPUT_DRAM, (1, 8, 0))])
    tiles, _ = all_tiles(tables[0], plans, tables[3], 1)
    assert tiles[0, S_WEIGHT_BITS] == 2 * 9 * 64  # 16 channels in two words
