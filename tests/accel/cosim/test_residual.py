"""A small residual network runs through the RTL as the reference, the layout and the simulator say.

Two blocks of columns in lanes: x goes around the first as it is, from the inbox and askew to the lanes, and through a 1x1
layer of stride 2 around the second, whose map lies for the padding of the layer beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.layers import LayerTrace
from foldwright.accel.layout import lay_out
from foldwright.accel.random_network import random_weights
from foldwright.accel.synthesis import yosys_command
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.errors import ToolMissingError
from foldwright.netlists.part import load_part

FRAMES = 8
ENGINES = (Engine(8, 16, 2, levels=3, acc_bits=14), Engine(8, 16, 3, levels=3, acc_bits=14))


@dataclass(frozen=True)
class Simulated:
    package: Package
    run: FramesRun
    reference: Mapping[str, LayerTrace]


@pytest.fixture(scope="module", name="simulated")
def _simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Returns a run of the accelerator; skips where a tool is missing."""
    try:
        find_tools()
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    chain = LayerChain((3, 10, 10, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    x = chain.conv(16, reads=chain.conv(8, reads=x, name="a1"), adds=x, name="b1")
    a = chain.conv(20, stride=2, reads=x, name="a2")
    down = chain.conv(24, kernel=1, stride=2, reads=x, name="down")
    chain.conv(24, reads=a, adds=down, name="b2")
    rng = np.random.default_rng(0)
    network = random_weights(chain.workload("blocks"), rng)
    layout = lay_out(
        network, Datapath(ENGINES, (0, 1, 1, 1, 1, 1)), tilings={2: LayerTiling(blocks=1, rows=4)}
    )
    built = package(layout, 32)
    folder = tmp_path_factory.mktemp("blocks")
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
    assert np.array_equal(simulated.run.values, simulated.reference["b2"].output)
    assert (
        simulated.reference["b1"].output.max() > simulated.reference["b1"].result.max()
    )  # something was added


def test_a_tile_takes_as_long_as_its_reads_say(simulated: Simulated) -> None:
    built = simulated.package
    times = TileTimes(built)
    for spans in tile_spans(built.layout, simulated.run.simulation.traces, FRAMES):
        assert {span.cycles - times.of(span.run).total for span in spans} == {0}


def test_the_simulator_knows_the_reads_of_residuals(simulated: Simulated) -> None:
    report = cycle_report(simulated.package, simulated.run.simulation.traces, FRAMES, load_part("xc7z020"))
    assert report.worst_layer_error < 0.02
    assert abs(report.simulated_error) < 0.02
