"""Nests of our engines: as many iterations as the mapping has cycles, every dimension made up, foreign decisions refused."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.known_workloads import known_workload
from foldwright.accel.loopnest.engines import engine_nests
from foldwright.accel.mapping import M_BLOCKS, M_GROUPS_PER_ROW, M_PA, M_ROWS, M_T, map_layers
from foldwright.accel.schedule import ORDER_NAMES, LayerDecision
from foldwright.accel.tables import engine_table, layer_table
from foldwright.errors import ConfigError
from tests.accel.loopnest.test_timeloop import covered, sizes

ENGINES = {
    "columns": Engine(16, 64, 5, planes_per_word=(1,), window_bits=1024),
    "batch": Engine(8, 36, 3, lanes=LaneMode.BATCH, planes_per_word=(2,)),
    "and": Engine(12, 48, 7, Arithmetic.AND, planes_per_word=(1,)),
}


def iterations(text: str) -> int:
    """Returns the product of all temporal counts."""
    temporal = re.findall(r"type: temporal\n    factors: (.*)", text)
    return math.prod(int(count) for line in temporal for count in re.findall(r"=(\d+)", line))


@pytest.mark.parametrize("order", ORDER_NAMES)
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("network", ["cnv-w1a2", "mobilenet"])
def test_a_nest_runs_as_long_as_the_mapping(network: str, name: str, order: str) -> None:
    workload, engine = known_workload(network), ENGINES[name]
    if network != "cnv-w1a2" and name != "and":
        pytest.skip("the engine cannot run these weights")
    datapath = Datapath((engine,), (0,) * len(workload.layers), batch_frames=4, dram_bits_per_cycle=32)
    assignment = np.zeros(len(workload.layers), dtype=np.int64)
    mappings = map_layers(layer_table(workload), engine_table([engine]), assignment, 4)
    whole = [LayerDecision(layer.name, 10**6, 10**6, order, 10**6, 0, 0, True) for layer in workload.layers]
    cut = [LayerDecision(layer.name, 3, 4, order, 0, 2, 1, False) for layer in workload.layers]
    nests = zip(engine_nests(workload, datapath, whole), engine_nests(workload, datapath, cut), strict=True)
    for layer, mapping, ((_, text), (_, tiled)) in zip(workload.layers, mappings, nests, strict=True):
        # A block idles where accumulators shift by more than the weight planes pass through (`accel.mapping`): 1 here.
        pa = int(mapping[M_PA])
        idle = (-(-layer.act_bits // pa) - 1) * (pa - 1)
        cycles = int(mapping[[M_BLOCKS, M_ROWS, M_GROUPS_PER_ROW]].prod() * (mapping[M_T] - idle))
        assert iterations(text) == cycles, layer
        assert covered(text) == covered(tiled) == sizes(text) == sizes(tiled)
        assert "weights pinned; " in text
        assert "weights of 0 blocks pinned, of 2 streamed; " in tiled


def test_decisions_of_another_network_are_refused() -> None:
    workload = known_workload("cnv-w1a2")
    datapath = Datapath((ENGINES["columns"],), (0,) * 9, batch_frames=1, dram_bits_per_cycle=32)
    with pytest.raises(ConfigError) as caught:
        list(engine_nests(workload, datapath, []))
    assert (
        str(caught.value) == "workload 'cnv-w1a2' has 9 layers, but there are 0 decisions and 9 assignments"
    )
