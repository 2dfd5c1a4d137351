"""Progress names every stage once, ends honestly, and watching a search changes nothing."""

from __future__ import annotations

import io
import re

import pytest

from foldwright.agents.stop import (
    NO_COST,
    AnyOf,
    CpuSeconds,
    DeterministicTime,
    Evaluations,
    Watched,
    cpu_limit,
    evaluation_limit,
    is_reproducible,
    without_counts,
)
from foldwright.progress import Progress


def lines(stream: io.StringIO) -> list[str]:
    return [re.sub(r"[\d.]+ s", "N s", line) for line in stream.getvalue().splitlines()]


def test_each_stage_ends_with_what_was_said_last() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.stage("read")
        progress.stage("tiling")
        progress.note("best 9")
        progress.note("best 7 [cycles]")
    assert lines(stream) == ["✓ read            N s", "✓ tiling          N s  best 7 [cycles]"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_stage_is_named_as_not_finished(error: type[BaseException]) -> None:
    stream = io.StringIO()
    with pytest.raises(error), Progress(stream) as progress:
        progress.stage("read")
        progress.stage("tiling")
        raise error
    assert lines(stream) == ["✓ read            N s", "✗ tiling          N s (not finished)"]


def test_nothing_is_said_where_nothing_happens() -> None:
    stream = io.StringIO()
    with Progress(stream):
        pass
    assert stream.getvalue() == ""


def test_watching_tells_the_best_cost_and_its_distance_to_the_bound() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.stage("a")
        rule = progress.watch(Evaluations(10), "cycles", 100)
        assert not rule(0.0, 1, NO_COST)
        progress.stage("b")
        assert not rule(0.0, 9, 1250)
        progress.stage("c")
        assert rule(0.0, 10, 100)
    assert [line.partition("s  ")[2] for line in lines(stream)] == [
        "nothing found yet, 1 tried",
        "best 1,250 cycles, 1150.0% above the bound, 9 tried",
        "best 100 cycles, 0.0% above the bound, 10 tried",
    ]


def test_a_watched_rule_is_the_rule() -> None:
    told: list[tuple[float, int, int]] = []

    def tell(*state: float) -> None:
        told.append((state[0], int(state[1]), int(state[2])))

    inner = AnyOf((CpuSeconds(2.0), Evaluations(5), DeterministicTime(1.0)))
    rule = Watched(inner, tell)
    assert repr(rule) == repr(inner)
    assert (cpu_limit(rule), evaluation_limit(rule)) == (2.0, 5)
    assert not is_reproducible(rule)
    assert is_reproducible(Watched(Evaluations(5), tell))
    assert evaluation_limit(without_counts(rule)) is None
    assert rule(0.0, 5, 7)
    assert without_counts(rule)(3.0, 1, 7)
    assert not without_counts(rule)(1.0, 99, 7)
    assert told == [(0.0, 5, 7), (3.0, 1, 7), (1.0, 99, 7)]
