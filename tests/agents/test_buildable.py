"""Designs that can be built are found for networks that are no chain, too."""

from __future__ import annotations

import numpy as np

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.random_network import random_weights
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.agents.buildable import nearest_buildable
from foldwright.agents.stop import Evaluations
from foldwright.netlists.part import load_part


def test_a_residual_network_is_laid_out_near_a_datapath_that_cannot_be_built() -> None:
    chain = LayerChain((3, 8, 8, 8, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    chain.conv(16, reads=chain.conv(16, reads=x), adds=x)
    network = random_weights(chain.workload("block"), np.random.default_rng(0))
    batch = LaneMode.BATCH
    engines = (  # what one makes in blocks of 12 rows is no whole bytes, and the other would add it to blocks of 16
        Engine(12, 32, 4, lanes=batch, levels=3, acc_bits=16, window_bits=216, line_bits=24),
        Engine(16, 64, 4, lanes=batch, planes_per_word=(2,), levels=3, acc_bits=16),
    )
    found = nearest_buildable(
        network, Datapath(engines, (0, 1, 1), batch_frames=4), load_part("xc7z020"), 40_000, "xc7",
        stop=Evaluations(30), seed=0,
    )  # fmt: skip
    layout = found.layout
    assert layout.layers[2].residual == 0
    assert layout.tensors[0].form.dm == layout.engines[layout.layers[2].engine].dm
    assert found.cycles_per_1000_frames > 0
