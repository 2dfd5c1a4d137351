"""Small residual networks run through the RTL as the reference, the layout and the simulator say.

Blocks: two of them in column lanes; x goes around the first as it is, from the inbox and askew to the lanes, and through a 1x1
layer of stride 2 around the second, whose map lies for the padding of the layer beside it.

Averages: a block is averaged over windows that overlap and straddle its tiles, beside maxima on the same engine; the sums are
read in planes. The last layer's results begin below 0 and leave as sums over the whole map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from foldwright.accel.cosim.build import BuildParams, build_simulator
from foldwright.accel.cosim.compare import compare_layers, require_equal
from foldwright.accel.cosim.cycles import cycle_report
from foldwright.accel.cosim.frames import FramesRun, run_frames
from foldwright.accel.cosim.spans import tile_spans
from foldwright.accel.cosim.timing import TileTimes
from foldwright.accel.cosim.tools import find_tools
from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.package import Package, package
from foldwright.accel.known_workloads import LayerChain, pooling, with_sums
from foldwright.accel.layers import LayerTrace
from foldwright.accel.layout import lay_out
from foldwright.accel.random_network import random_weights
from foldwright.accel.synthesis import yosys_command
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import ActKind, PoolKind, WeightKind, Workload
from foldwright.errors import ToolMissingError
from foldwright.netlists.part import load_part

FRAMES = 8
ENGINES = (Engine(8, 16, 2, levels=3, acc_bits=14), Engine(8, 16, 3, levels=3, acc_bits=14))
TILINGS = {2: LayerTiling(blocks=1, rows=4)}


@dataclass(frozen=True)
class Simulated:
    package: Package
    run: FramesRun
    reference: Mapping[str, LayerTrace]


def _blocks() -> tuple[Workload, tuple[Engine, ...]]:
    chain = LayerChain((3, 10, 10, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    x = chain.conv(16, reads=chain.conv(8, reads=x, name="a1"), adds=x, name="b1")
    a = chain.conv(20, stride=2, reads=x, name="a2")
    down = chain.conv(24, kernel=1, stride=2, reads=x, name="down")
    chain.conv(24, reads=a, adds=down, name="b2")
    return chain.workload("blocks"), ENGINES


def _averages() -> tuple[Workload, tuple[Engine, ...]]:
    chain = LayerChain((3, 11, 11, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    a = chain.conv(8, reads=x, name="a")
    b = chain.conv(16, reads=a, adds=x, pool=pooling(3, 2, kind=PoolKind.AVERAGE), name="b")
    chain.conv(12, reads=b, pool=pooling(2, 1), name="c")
    chain.conv(16, pool=pooling(4, 4, kind=PoolKind.AVERAGE), acts=(2, ActKind.SIGNED), name="d")
    return with_sums(chain.workload("averages")), tuple(replace(e, sum_bits=6) for e in ENGINES)


@pytest.fixture(scope="module", name="simulated", params=[_blocks, _averages])
def _simulated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Returns a run of the accelerator; skips where a tool is missing."""
    try:
        find_tools()
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    workload, engines = request.param()
    rng = np.random.default_rng(0)
    network = random_weights(workload, rng)
    assignment = (0, *[1] * (len(workload.layers) - 1))
    built = package(lay_out(network, Datapath(engines, assignment), tilings=TILINGS), 32)
    folder = tmp_path_factory.mktemp(workload.name)
    file = folder / f"{TOP}.v"
    file.write_text(verilog_of(accelerator_rtlil(built.hardware, "xc7-words", trace=True)), encoding="utf-8")
    simulator = build_simulator([file], TOP, cache=folder / "cache", params=BuildParams(jobs=2))
    images = network.random_image(FRAMES, rng)
    run = run_frames(built, simulator, images, trace=True)
    return Simulated(built, run, network.integer_tensors(images))


def test_every_stored_sum_equals_the_reference(simulated: Simulated) -> None:
    found = compare_layers(simulated.package, simulated.run.simulation.traces, simulated.reference)
    require_equal(found)
    assert [x.values for x in found] == [trace.output.size for trace in simulated.reference.values()]
    *_, last = simulated.reference.values()
    assert np.array_equal(simulated.run.values, last.output)
    added = [trace for trace in simulated.reference.values() if trace.residual is not None]
    assert all(np.any(trace.residual != 0) for trace in added)
    assert all(len(np.unique(trace.output)) > 2 for trace in (*added, last))


def test_a_tile_takes_as_long_as_its_reads_say(simulated: Simulated) -> None:
    built = simulated.package
    times = TileTimes(built)
    for spans in tile_spans(built.layout, simulated.run.simulation.traces, FRAMES):
        assert {span.cycles - times.of(span.run).total for span in spans} == {0}


def test_the_simulator_knows_the_reads_of_residuals(simulated: Simulated) -> None:
    report = cycle_report(simulated.package, simulated.run.simulation.traces, FRAMES, load_part("xc7z020"))
    assert report.worst_layer_error < 0.02
    assert abs(report.simulated_error) < 0.02
