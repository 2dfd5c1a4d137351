"""What engines wrote is compared with the reference, and their cycles with predictions; a wrong record is named.

One accelerator of two engines runs 23 frames of the digits network, six rounds of four, its image in three tiles of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.cosim.build import BuildParams, build_simulator
from foldwright.accel.cosim.compare import (
    LayerComparison,
    Mismatch,
    _lane_words,
    compare_layers,
    require_equal,
)
from foldwright.accel.cosim.cycles import CycleReport, cycle_report, schedule_of
from foldwright.accel.cosim.frames import FramesRun, run_frames
from foldwright.accel.cosim.spans import tile_spans
from foldwright.accel.cosim.timing import program_tiles
from foldwright.accel.cosim.tools import find_tools
from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.dram import map_words_of
from foldwright.accel.export.package import Package, package
from foldwright.accel.images import MapWindow, map_image
from foldwright.accel.layers import LayerTrace
from foldwright.accel.layout import lay_out
from foldwright.accel.network import Network, load_network
from foldwright.accel.rtl.fetch import READ_CYCLES
from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ToolMissingError, VerificationError
from foldwright.netlists.part import load_part
from tests.support import ROOT

FRAMES, BATCH, ROUNDS, ROWS = 23, 4, 6, 3
FIRST = Engine(
    8, 32, 4, lanes=LaneMode.BATCH, levels=3, acc_bits=14, drain_lanes=2, window_bits=45, line_bits=5
)
SECOND = Engine(8, 32, 4, lanes=LaneMode.BATCH, levels=3, acc_bits=14)
LAYERS = ("conv1", "conv2", "conv3", "logits")
Traces = tuple[npt.NDArray[Any], ...]


@pytest.fixture(scope="module", name="network")
def _network() -> Network:
    return load_network(ROOT / "models" / "digits_w1a2.onnx")


@pytest.fixture(scope="module", name="built")
def _built(network: Network) -> Package:
    datapath = Datapath((FIRST, SECOND), (0, 1, 1, 1), batch_frames=BATCH)
    return package(lay_out(network, datapath, image_tile_rows=ROWS), 32)


@dataclass(frozen=True)
class Simulated:
    package: Package
    run: FramesRun
    reference: Mapping[str, LayerTrace]

    @property
    def traces(self) -> Traces:
        return self.run.simulation.traces


@pytest.fixture(scope="module", name="simulated")
def _simulated(network: Network, built: Package, tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Returns a run of the accelerator; skips where a tool is missing."""
    try:
        find_tools()
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("digits")
    file = folder / f"{TOP}.v"
    file.write_text(verilog_of(accelerator_rtlil(built.hardware, "xc7-words", trace=True)), encoding="utf-8")
    simulator = build_simulator([file], TOP, cache=folder / "cache", params=BuildParams(jobs=2))
    workload, grid = network.workload, network.image_grid
    shape = (FRAMES, workload.image_channels, workload.image_height, workload.image_width)
    images = np.random.default_rng(1).integers(int(grid.low), int(grid.high) + 1, shape)
    run = run_frames(built, simulator, images, trace=True)
    return Simulated(built, run, network.integer_tensors(images))


def test_every_layer_equals_the_reference(simulated: Simulated) -> None:
    found = compare_layers(simulated.package, simulated.traces, simulated.reference)
    require_equal(found)
    assert [x.layer for x in found] == list(LAYERS)
    assert [x.engine for x in found] == [0, 1, 1, 1]
    assert [x.values for x in found] == [simulated.reference[x.layer].output.size for x in found]
    assert np.array_equal(simulated.run.values, simulated.reference["logits"].output)


def changed(traces: Traces, engine: int, change: Callable[[npt.NDArray[Any]], None]) -> Traces:
    records = traces[engine].copy()
    change(records)
    return tuple(records if e == engine else trace for e, trace in enumerate(traces))


def write_of(simulated: Simulated, layer: str, number: int = 5) -> tuple[int, int]:
    """Returns the engine and the place among its records of a write that a layer made in round 1."""
    spans = tile_spans(simulated.package.layout, simulated.traces, ROUNDS)
    span = next(
        x for mine in spans for x in mine if x.run.layer.name == layer and x.round == 1 and x.run.is_last
    )
    records = simulated.traces[span.run.layer.engine]
    within = (records["cycle"] > span.start_cycle) & (records["cycle"] <= span.end_cycle)
    return span.run.layer.engine, int(np.flatnonzero(within & (records["write"] != 0))[number])


def test_a_corrupted_bit_is_found_and_named(simulated: Simulated) -> None:
    engine, place = write_of(simulated, "conv2")
    enable = int(simulated.traces[engine]["enable0"][place])
    byte = (enable & -enable).bit_length() - 1
    bit = 8 * (byte % 4)  # one lane of 32 bits, in bytes of 8

    def flip(records: npt.NDArray[Any]) -> None:
        records["data0"][place] ^= 1 << bit

    found = compare_layers(simulated.package, changed(simulated.traces, engine, flip), simulated.reference)
    assert [x.mismatches for x in found] == [0, 1, 0, 0]
    first = found[1].first
    assert first is not None
    assert first.frame // BATCH == 1
    assert first.frame % BATCH == byte // 4  # frames stand in lanes
    assert first.got ^ first.wanted in (1, 2)
    values = simulated.reference["conv2"].output
    assert first.wanted == values[first.frame, first.channel, first.row, first.column]
    place_said = f"frame {first.frame}, channel {first.channel}, row {first.row}, column {first.column}"
    with pytest.raises(
        VerificationError,
        match=f"^layer 'conv2' on engine 1: 1 of {values.size} values differ; {place_said}: {first.got} in RTL, "
        f"{first.wanted} by the reference$",
    ):
        require_equal(found)


def test_a_lost_write_is_not_hidden_by_an_earlier_round(simulated: Simulated) -> None:
    engine, place = write_of(simulated, "conv1")

    def drop(records: npt.NDArray[Any]) -> None:
        records["enable0"][place] = 0

    found = compare_layers(simulated.package, changed(simulated.traces, engine, drop), simulated.reference)
    assert found[0].mismatches > 0
    assert found[0].first is not None
    assert found[0].first.got == -1
    assert [x.is_equal for x in found[1:]] == [True] * 3
    with pytest.raises(VerificationError, match=r"layer 'conv1' on engine 0: .*: nothing in RTL"):
        require_equal(found)


def test_a_write_outside_the_tensor_is_counted(simulated: Simulated) -> None:
    engine, place = write_of(simulated, "conv1")
    reader = simulated.package.layout.layers[1]

    def move(records: npt.NDArray[Any]) -> None:
        records["address0"][place] = reader.copies[0]  # round 1 has the other copy

    found = compare_layers(simulated.package, changed(simulated.traces, engine, move), simulated.reference)
    assert found[0].stray_writes == 1
    with pytest.raises(VerificationError, match="1 writes missed its words"):
        require_equal(found)


def test_a_wrong_item_for_dram_is_named(simulated: Simulated) -> None:
    engine, place = write_of(simulated, "logits", 0)

    def flip(records: npt.NDArray[Any]) -> None:
        records["store"][place, 0] ^= 1

    found = compare_layers(simulated.package, changed(simulated.traces, engine, flip), simulated.reference)
    assert [x.mismatches for x in found] == [0, 0, 0, 1]
    assert found[3].first is not None
    assert (found[3].first.frame, found[3].first.channel) == (BATCH, 0)


def test_a_missing_end_of_a_tile_is_told(simulated: Simulated) -> None:
    def drop(records: npt.NDArray[Any]) -> None:
        records["tile_end"][np.flatnonzero(records["tile_end"])[0]] = 0

    traces = changed(simulated.traces, 0, drop)
    with pytest.raises(VerificationError, match="engine 0 started 18 tiles and ended 17, 6 rounds have 18"):
        compare_layers(simulated.package, traces, simulated.reference)


@pytest.fixture(scope="module", name="report")
def _report(simulated: Simulated) -> CycleReport:
    return cycle_report(simulated.package, simulated.traces, FRAMES, load_part("xc7z020"))


def test_every_tile_takes_the_cycles_that_the_simulator_says(report: CycleReport) -> None:
    # Units of 32 bits have the four stages that `mapping.unit_latency` says, so that nothing is estimated here.
    assert [layer.simulated for layer in report.layers] == [layer.measured for layer in report.layers]
    assert [layer.tiles for layer in report.layers] == [3, 1, 1, 1]
    assert report.layers[0].waterfall.window > 0
    assert all(layer.waterfall.rest == 0 for layer in report.layers)


def test_rounds_take_what_the_simulator_says(report: CycleReport) -> None:
    assert abs(report.simulated_error) < 0.005
    assert report.cycles_per_frame == report.measured / BATCH
    assert report.frames_per_second(200) == pytest.approx(200e6 / report.cycles_per_frame)


def test_the_waterfall_adds_up(report: CycleReport) -> None:
    for layer in report.layers:
        parts = layer.waterfall
        assert parts.total == pytest.approx(layer.measured + parts.waits)
        assert min(parts.ideal, parts.shape, parts.program_wait, parts.token_wait, parts.dram_wait) >= 0
    for engine in report.engines:
        assert engine.busy + engine.waits == pytest.approx(report.measured, rel=0.01)
        assert engine.utilisation == engine.busy / (engine.busy + engine.waits)


def test_the_schedule_is_that_of_the_layout(built: Package) -> None:
    schedule = schedule_of(built.layout, load_part("xc7z020"))
    assert [x.weights_pinned for x in schedule.decisions] == [True] * 4
    assert [x.output_on_chip for x in schedule.decisions] == [True, True, True, False]
    assert [x.tile_rows for x in schedule.decisions] == [3, 8, 2, 1]
    assert [x.tile_blocks for x in schedule.decisions] == [2, 4, 8, 2]


def test_words_of_a_program_and_its_tokens_are_read_back(built: Package) -> None:
    tiles = program_tiles(built, 1)
    assert [(tile.run.layer.name, tile.run.round) for tile in tiles] == [
        (name, k) for k in range(2) for name in LAYERS[1:]
    ]
    tokens = built.tokens
    assert [tile.waits for tile in tiles] == [(tokens.full[0],), (), (tokens.results_free,)] * 2
    assert [tile.gives for tile in tiles] == [(tokens.free[0],), (), ()] * 2
    assert sum(tile.words for tile in tiles) == len(built.programs[1]) - len(tiles) + READ_CYCLES


@pytest.mark.parametrize("lanes", list(LaneMode))
def test_lane_words_are_found_where_the_map_image_puts_them(network: Network, lanes: LaneMode) -> None:
    engine = Engine(8, 32, 3, lanes=lanes, levels=3, acc_bits=14)
    layout = lay_out(network, Datapath((engine,), (0,) * 4, batch_frames=2))
    reader = layout.layers[1]
    layer, encoding = reader.entry.layer, reader.encoding
    values = np.random.default_rng(2).integers(0, 4, (2, layer.in_channels, layer.in_height, layer.in_width))
    groups = reader.row_words // (encoding.plane_groups * encoding.channel_words)
    window = MapWindow((0, layer.in_height), (0, groups))
    parts = [values] if lanes is LaneMode.BATCH else [values[:1], values[1:]]
    words = [word for part in parts for word in map_image(encoding, part, window)]
    size = engine.dn * engine.dk
    octets = np.frombuffer(b"".join(word.to_bytes(size // 8, "little") for word in words), np.uint8)
    bits = np.unpackbits(octets, bitorder="little").reshape(-1, engine.dn, engine.dk)
    assert np.array_equal(_lane_words(layout.tensors[0], bits)[:2], map_words_of(encoding, values))


def test_the_first_unequal_layer_is_told() -> None:
    good = LayerComparison("a", 0, 10, 0)
    require_equal([good])
    bad = LayerComparison("b", 1, 10, 2, Mismatch(1, 2, 3, 4, 0, 1), stray_bits=5)
    with pytest.raises(VerificationError) as told:
        require_equal([good, bad])
    assert str(told.value) == (
        "layer 'b' on engine 1: 2 of 10 values differ; frame 1, channel 2, row 3, column 4: 0 in RTL, "
        "1 by the reference; 5 unused bits are not 0"
    )
