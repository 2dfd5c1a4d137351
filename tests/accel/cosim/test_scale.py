"""A small network that scales and shifts, a residual add in it, runs through the RTL as reference and simulator say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.cosim.build import BuildParams, build_simulator
from foldwright.accel.cosim.compare import compare_layers, require_equal
from foldwright.accel.cosim.cycles import cycle_report
from foldwright.accel.cosim.frames import run_frames
from foldwright.accel.cosim.spans import tile_spans
from foldwright.accel.cosim.timing import TileTimes
from foldwright.accel.cosim.tools import find_tools
from foldwright.accel.datapath import Datapath, Engine, Requant
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.package import package
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.layout import lay_out
from foldwright.accel.random_network import RandomNetwork, random_weights
from foldwright.accel.synthesis import yosys_command
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import ActKind, ResultKind, WeightKind
from foldwright.errors import ToolMissingError
from foldwright.netlists.part import load_part

FRAMES = 6
SCALING = Engine(8, 16, 2, levels=3, acc_bits=14, requant=Requant.SCALE_SHIFT)


def small_network(rng: np.random.Generator) -> RandomNetwork:
    """Returns layers with codes of two bits, one of them with a residual, 20 channels where blocks have 8, and raw results."""
    chain = LayerChain((3, 8, 8, 2, ActKind.UNSIGNED), (2, WeightKind.TERNARY), (2, ActKind.UNSIGNED))
    x = chain.conv(20, name="x")
    chain.conv(20, reads=chain.conv(12, reads=x, name="a"), adds=x, name="b")
    chain.matmul(5, raw=True)
    workload = chain.workload("scaled")
    coded = [
        layer if layer.result is ResultKind.RAW else replace(layer, result=ResultKind.SCALE_SHIFT)
        for layer in workload.layers
    ]
    return random_weights(replace(workload, layers=tuple(coded)), rng)


def test_values_and_cycles_are_those_of_reference_and_simulator(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    try:
        find_tools()
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(3)
    network = small_network(rng)
    engines = (SCALING, replace(SCALING, dk=24, dn=3))
    built = package(lay_out(network, Datapath(engines, (0, 1, 1, 1)), tilings={2: LayerTiling(rows=4)}), 32)
    folder = tmp_path_factory.mktemp("scaled")
    file = folder / f"{TOP}.v"
    file.write_text(verilog_of(accelerator_rtlil(built.hardware, "xc7-words", trace=True)), encoding="utf-8")
    simulator = build_simulator([file], TOP, cache=folder / "cache", params=BuildParams(jobs=2))
    images = network.random_image(FRAMES, rng)
    run, reference = run_frames(built, simulator, images, trace=True), network.integer_tensors(images)
    traces = run.simulation.traces
    require_equal(compare_layers(built, traces, reference))
    assert np.array_equal(run.values, reference["fc4"].output)
    assert set(reference["x"].output.ravel().tolist()) == {0, 1, 2}
    times = TileTimes(built)
    for spans in tile_spans(built.layout, traces, FRAMES):
        assert {span.cycles - times.of(span.run).total for span in spans} == {0}
    report = cycle_report(built, traces, FRAMES, load_part("xc7z020"))
    assert report.worst_layer_error < 0.02
    assert abs(report.simulated_error) < 0.02
