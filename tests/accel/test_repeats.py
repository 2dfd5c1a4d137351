"""Skipping what repeats gives the times that every event one by one gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.evaluate import expand
from foldwright.accel.repeats import S_INNER, S_LAYER, S_OUTER, mark_repeats, periods_of
from foldwright.accel.simulate import EVENT_FIELDS, run_events
from foldwright.accel.tile_table import tile_table
from foldwright.envs.registry import load_instance
from foldwright.envs.tiling import TilingProblem

IntArray = npt.NDArray[np.int64]


def ends_of(problem: TilingProblem, plans: IntArray, rounds: int, room: int) -> list[int]:
    """Returns the ends of rounds; with room for one event all events are simulated, with none repeats are skipped."""
    tables = problem.tables
    events = np.empty((room, EVENT_FIELDS), dtype=np.int64)
    ends, _ = run_events(tables[0], plans, tables[3], len(tables[1]), int(tables[7][1]), rounds, events)
    return [int(end) for end in ends]


def some_plans(problem: TilingProblem, seed: int, count: int) -> list[IntArray]:
    """Returns the fallback's plans, random ones, and mixtures of both, which have many small tiles."""
    rng = np.random.default_rng(seed)
    plans = [expand(*problem.tables, problem.fallback)]
    for k in range(count):
        choices = rng.integers(problem.sizes)
        if k % 2:
            choices = np.where(rng.random(len(choices)) < 0.7, problem.fallback, choices)
        plans.append(expand(*problem.tables, choices))
    return plans


NAMES = [
    *(
        f"tiling/{split}-s{seed}-{i}"
        for split in ("train", "validation")
        for seed in (31, 32)
        for i in range(12)
    ),
    "tiling/heldout-size-s3-0",
    "tiling/cnv-w1a1-b16",
    "tiling/cnv-w1a1-2e-b16",
    "tiling/dorefa-b32",
    "tiling/dorefa-2e-b8",
]


@pytest.mark.parametrize("name", NAMES)
def test_skipping_changes_no_time(name: str) -> None:
    problem = load_instance(name)
    assert isinstance(problem, TilingProblem)
    for plans in some_plans(problem, seed=len(name), count=6):
        rounds = len(problem.datapath.engines) + 5
        assert ends_of(problem, plans, rounds, room=0) == ends_of(problem, plans, rounds, room=1)


def test_marked_tiles_are_like_those_a_period_earlier() -> None:
    problem = load_instance("tiling/cnv-w1a1-b16")
    assert isinstance(problem, TilingProblem)
    plans = some_plans(problem, seed=0, count=0)[0]
    tiles = tile_table(problem.tables[0], plans, problem.tables[3], 0)
    mark_repeats(tiles, plans)
    alike = 0
    for t, tile in enumerate(tiles):
        for column, period in zip((S_INNER, S_OUTER), periods_of(plans[tile[S_LAYER]]), strict=True):
            for later in range(t, tile[column]):
                columns = slice(0, 5)  # layer, weights, input, cycles, store
                assert tiles[later, columns].tolist() == tiles[later - period, columns].tolist()
            alike += int(tile[column] > t)
    assert alike > len(tiles) / 2
