"""Designs that can be built are found for networks that are no chain, too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.layout import AcceleratorLayout
from foldwright.accel.random_network import RandomNetwork, random_weights
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.agents.buildable import Buildable, nearest_buildable
from foldwright.agents.stop import NO_COST, Evaluations
from foldwright.errors import InfeasibleError
from foldwright.netlists.part import load_part


@pytest.fixture(name="block")
def _block() -> tuple[RandomNetwork, Datapath]:
    """A residual block, and engines that cannot be built: blocks of 12 rows, no whole bytes, would be added to blocks of 16."""
    chain = LayerChain((3, 8, 8, 8, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    chain.conv(16, reads=chain.conv(16, reads=x), adds=x)
    batch = LaneMode.BATCH
    engines = (
        Engine(12, 32, 4, lanes=batch, levels=3, acc_bits=16, window_bits=216, line_bits=24),
        Engine(16, 64, 4, lanes=batch, planes_per_word=(2,), levels=3, acc_bits=16),
    )
    return random_weights(chain.workload("block"), np.random.default_rng(0)), Datapath(
        engines, (0, 1, 1), batch_frames=4
    )


def _search(
    block: tuple[RandomNetwork, Datapath], schedule_cycles: Callable[[AcceleratorLayout], int] | None = None
) -> Buildable:
    network, datapath = block
    return nearest_buildable(
        network, [datapath], load_part("xc7z020"), 40_000, "xc7", stop=Evaluations(30), seed=0,
        schedule_cycles=schedule_cycles,
    )  # fmt: skip


def test_a_residual_network_is_laid_out_near_a_datapath_that_cannot_be_built(
    block: tuple[RandomNetwork, Datapath],
) -> None:
    found = _search(block)
    layout, residual = found.layout, found.layout.layers[2].residual
    assert residual == 0
    assert layout.tensors[0].form.dm == layout.engines[layout.layers[2].engine].dm
    assert found.cycles_per_1000_frames > 0


def test_designs_are_ranked_by_their_schedules(block: tuple[RandomNetwork, Datapath]) -> None:
    costs: list[int] = []

    def cycles(layout: AcceleratorLayout) -> int:
        costs.append(1_000_000_000 + 1000 * sum(engine.dk for engine in layout.engines) - len(costs))
        return costs[-1]

    assert _search(block, cycles).cycles_per_1000_frames == min(costs)


def test_designs_without_a_schedule_are_not_taken(block: tuple[RandomNetwork, Datapath]) -> None:
    with pytest.raises(InfeasibleError, match="its schedule counts more block RAMs than the part has"):
        _search(block, lambda _: NO_COST)
