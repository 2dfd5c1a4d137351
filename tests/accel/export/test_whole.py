"""Whole accelerators in simulation give what the integer layers give, whatever DRAM does, and tell what goes wrong.

Few and small accelerators are built, each once, and many networks run on each; without the tools that build them these
tests are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from foldwright.accel.cosim.build import BuildParams, Simulator, build_simulator
from foldwright.accel.cosim.frames import run_frames
from foldwright.accel.cosim.run import DramModel
from foldwright.accel.cosim.tools import find_tools
from foldwright.accel.datapath import Datapath, Engine, EngineKind, LaneMode
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.executor import run_tiles, source_number
from foldwright.accel.export.fitting import Room
from foldwright.accel.export.loads import load_order
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out, streamed_words
from foldwright.accel.network import load_network
from foldwright.accel.provoked_errors import PROVOCATIONS, Provocation, provoke
from foldwright.accel.provoked_errors import VARIANT as BATCH
from foldwright.accel.random_hardware import Variant, draw_trial, run_trial
from foldwright.accel.random_network import FirstLayer, RandomNetwork, random_entry
from foldwright.accel.rtl.registers import ErrorCause, Register
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.synthesis import yosys_command
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import (
    IMAGE,
    ActKind,
    Layer,
    LayerKind,
    Pool,
    PoolKind,
    ResultKind,
    Workload,
)
from foldwright.errors import ConfigError, ToolMissingError

MODELS = Path(__file__).parents[3] / "models"
ROOM = Room(1024, 2048, 1, 2048, 64, 128, 2048, 2048)
COLUMN = Variant(
    "small columns",
    (Engine(8, 16, 2, acc_bits=16, levels=3, planes_per_word=(1, 2)),),
    ((0,), (0, 0), (0, 0, 0)),
    ((FROM_LOADER,),),
    streams=True,
    room=ROOM,
)
BOTH = Variant(
    "columns, then frames",
    (Engine(8, 8, 1, acc_bits=16, levels=3), Engine(8, 8, 2, lanes=LaneMode.BATCH, acc_bits=16, levels=3)),
    ((0, 1), (0, 0, 1), (0, 1, 1)),
    ((FROM_LOADER,), (0,)),
    storing=1,
    streams=True,
    room=ROOM,
)
SLICES = Variant(
    "slices, then planes",
    (
        Engine(
            8,
            64,
            2,
            lanes=LaneMode.BATCH,
            acc_bits=18,
            levels=3,
            kind=EngineKind.DSP,
            planes_per_word=(8,),
            window_bits=216,
        ),
        Engine(8, 8, 2, lanes=LaneMode.BATCH, acc_bits=16, levels=3),
    ),
    ((0, 1), (0, 0, 1), (0, 1, 1)),
    ((), (0,)),
    storing=1,
    first=FirstLayer(3, 8, ActKind.UNSIGNED, (3, 3), (1, 1), 1),
    room=replace(ROOM, line_words=512),
)
AROUND = Variant(
    "to another engine and back",
    (Engine(8, 16, 2, acc_bits=16, levels=3), Engine(8, 8, 2, lanes=LaneMode.BATCH, acc_bits=16, levels=3)),
    ((0, 1, 0), (0, 1, 1, 0), (0, 0, 1, 0)),
    ((FROM_LOADER, 1), (0,)),
    streams=True,
    room=ROOM,
)
ADDS = replace(ROOM, own_words=2048, residual_bits=3)
BLOCKS = ((0,) * 3, (0,) * 4, (0,) * 5)
BATCH_ADDS = Variant(
    "frames with residuals",
    (Engine(8, 16, 2, lanes=LaneMode.BATCH, acc_bits=18, levels=3),),
    BLOCKS,
    ((FROM_LOADER,),),
    streams=True,
    room=ADDS,
)
COLUMN_ADDS = Variant(
    "columns with residuals",
    (Engine(8, 16, 3, acc_bits=18, levels=3, planes_per_word=(1, 2)),),
    BLOCKS,
    ((FROM_LOADER,),),
    room=ADDS,
)
TRIALS = 12
Simulators = Callable[[Variant], Simulator]


@pytest.fixture(scope="module", name="simulators")
def _simulators(tmp_path_factory: pytest.TempPathFactory) -> Simulators:
    try:
        find_tools()
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("accelerators")
    built: dict[str, Simulator] = {}

    def simulator_of(variant: Variant) -> Simulator:
        if variant.name not in built:
            source = folder / f"{TOP}.v"
            source.write_text(verilog_of(accelerator_rtlil(variant.hardware, "xc7-words")), encoding="utf-8")
            built[variant.name] = build_simulator(
                [source], TOP, cache=folder / "cache", params=BuildParams(jobs=1)
            )
        return built[variant.name]

    return simulator_of


@pytest.fixture(scope="module", name="digits")
def _digits() -> tuple[Package, np.ndarray, np.ndarray]:
    """Returns the digit network on the small batch accelerator, six images, and their logits."""
    network = load_network(MODELS / "digits_w1a2.onnx")
    datapath = Datapath(BATCH.engines, (0,) * 4, batch_frames=2)
    packed = package(lay_out(network, datapath), BATCH.dram_bits, hardware=BATCH.hardware)
    images = np.random.default_rng(5).integers(0, 17, (6, 1, 8, 8))
    return packed, images, network.integer_tensors(images)["logits"].output


@pytest.mark.parametrize(
    "variant",
    [BATCH, COLUMN, BOTH, AROUND, SLICES, BATCH_ADDS, COLUMN_ADDS],
    ids=lambda variant: variant.name,
)
def test_random_networks_give_the_reference(variant: Variant, simulators: Simulators) -> None:
    for seed in range(TRIALS):
        trial = draw_trial(variant, np.random.default_rng([11, seed]))
        run, mismatches = run_trial(trial, simulators(variant))
        assert (run.values.size > 0, mismatches) == (True, 0), trial.described()


def _network(*layers: Layer) -> RandomNetwork:
    first = layers[0]
    workload = Workload(
        "by hand", layers, first.in_channels, first.in_height, first.in_width, first.act_bits, first.act_kind
    )
    rng = np.random.default_rng(3)
    return RandomNetwork("by hand", workload, {layer.name: random_entry(layer, rng) for layer in layers})


def _check(network: RandomNetwork, simulator: Simulator, image_tile_rows: int = 0) -> None:
    layers = network.workload.layers
    datapath = Datapath(BATCH.engines, (0,) * len(layers), batch_frames=3)
    layout = lay_out(network, datapath, image_tile_rows=image_tile_rows)
    images = network.random_image(5, np.random.default_rng(4))
    run = run_frames(package(layout, 32, hardware=BATCH.hardware), simulator, images)
    assert np.array_equal(run.values, network.integer_tensors(images)[layers[-1].name].output)


@pytest.mark.parametrize("pool", [None, Pool(PoolKind.MAX, (3, 2), (2, 2), (1, 0, 0, 0))])
@pytest.mark.parametrize("tile_rows", [1, 2, 4])
def test_results_of_tiles_come_in_order(simulators: Simulators, pool: Pool | None, tile_rows: int) -> None:
    """All blocks of a tile come before those of the next one; with pooling the first tile of a row has no results."""
    layer = Layer(
        "only", LayerKind.CONV, (IMAGE,), 3, 5, 8, 20, act_bits=2, act_kind=ActKind.UNSIGNED, out_bits=2,
        out_kind=ActKind.UNSIGNED, pool=pool,
    )  # fmt: skip
    _check(_network(layer), simulators(BATCH), tile_rows)


def test_signed_maps_hold_zero_where_no_channel_is(simulators: Simulators) -> None:
    """The code of the lowest value is not stored as 0, so rows behind the eleventh need a code of their own."""
    first = Layer(
        "first", LayerKind.CONV, (IMAGE,), 3, 4, 4, 11, act_bits=1, out_bits=2, out_kind=ActKind.SIGNED
    )
    second = Layer(
        "second", LayerKind.CONV, ("first",), 11, 4, 4, 9, (3, 3), act_bits=2, act_kind=ActKind.SIGNED,
        result=ResultKind.RAW,
    )  # fmt: skip
    _check(_network(first, second), simulators(BATCH))


def test_signs_under_padding_are_stored_as_minus_and_plus_one(simulators: Simulators) -> None:
    first = Layer(
        "first", LayerKind.CONV, (IMAGE,), 3, 4, 4, 11, act_bits=1, out_bits=2, out_kind=ActKind.SIGNED
    )
    second = Layer(
        "second", LayerKind.CONV, ("first",), 11, 4, 4, 9, (3, 3), padding=(1, 1, 1, 1), act_bits=2,
        act_kind=ActKind.SIGNED, result=ResultKind.RAW,
    )  # fmt: skip
    network = _network(first, second)
    entry = network.layers["first"]
    assert entry.thresholds is not None
    signs = replace(entry, base=-1, step=2, thresholds=entry.thresholds[:, :1])
    _check(replace(network, layers={**network.layers, "first": signs}), simulators(BATCH))


def test_each_filler_has_an_inbox_of_its_own() -> None:
    layers = [
        Layer(
            f"layer{k}",
            LayerKind.CONV,
            (f"layer{k - 1}" if k else IMAGE,),
            8,
            2,
            2,
            8,
            act_bits=1,
            out_bits=1,
        )
        for k in range(3)
    ]
    layout = lay_out(_network(*layers), Datapath(BOTH.engines, (0, 1, 0)))
    assert [list(inboxes) for inboxes in layout.inbox_words] == [[FROM_LOADER, 1], [0]]
    assert layout.layers[0].copies[0] == layout.layers[2].copies[0] == 0
    assert [source_number(layout, 0, x.source, x.producer) for x in layout.of_engine(0)] == [1, 3]


def test_a_network_of_several_rounds_is_exact(
    simulators: Simulators, digits: tuple[Package, np.ndarray, np.ndarray]
) -> None:
    packed, images, logits = digits
    run = run_frames(packed, simulators(BATCH), images)
    assert np.array_equal(run.values, logits)


@pytest.mark.parametrize("stall_percent", [5, 30, 60])
def test_stalls_never_change_results(
    simulators: Simulators, digits: tuple[Package, np.ndarray, np.ndarray], stall_percent: int
) -> None:
    packed, images, logits = digits
    dram = DramModel(
        size_bytes=1 << 16, stall_percent=stall_percent, seed=stall_percent, latency_cycles=3 * stall_percent
    )
    run = run_frames(packed, simulators(BATCH), images[:2], dram=dram)
    assert np.array_equal(run.values, logits[:2])


def test_two_rounds_are_under_way(
    simulators: Simulators, digits: tuple[Package, np.ndarray, np.ndarray]
) -> None:
    """Images take a third of the time of a round to come, so they hide behind the round before."""
    packed, images, _ = digits
    beats = 2 * 64 * 5  # frames, pixels, planes
    dram = DramModel(size_bytes=1 << 16, beats_per_cycle=beats / 4000)
    one, three = (
        run_frames(packed, simulators(BATCH), images[: 2 * rounds], dram=dram).busy_cycles
        for rounds in (1, 3)
    )
    assert three - one < 2 * (12_500 + 1000)  # without images, a round takes 12,000 cycles


@pytest.mark.parametrize("provocation", PROVOCATIONS, ids=lambda provocation: provocation.name)
def test_an_error_is_told_and_a_reset_mends_it(provocation: Provocation, simulators: Simulators) -> None:
    outcome = provoke(provocation, simulators(BATCH))
    assert outcome.is_right, outcome


def test_every_cause_is_provoked() -> None:
    assert {provocation.cause for provocation in PROVOCATIONS} == set(ErrorCause) - {ErrorCause.NONE}


def test_hardware_that_does_not_fit_is_refused(digits: tuple[Package, np.ndarray, np.ndarray]) -> None:
    layout = digits[0].layout
    small = replace(BATCH, room=replace(ROOM, weight_words=100, pool_words=1))
    with pytest.raises(ConfigError, match=r"words of weights.*words of the row memory"):
        package(layout, 32, hardware=small.hardware)
    with pytest.raises(ConfigError, match="8x16x2 is needed"):
        package(layout, 32, hardware=COLUMN.hardware)
    streamed = lay_out(layout.network, layout.datapath, tilings={1: LayerTiling(1, streams_weights=True)})
    with pytest.raises(ConfigError, match="weights stream, its loader does not run ahead"):
        package(streamed, 32, hardware=BATCH.hardware)


def test_streamed_weights_take_turns_and_come_once_a_round(
    digits: tuple[Package, np.ndarray, np.ndarray],
) -> None:
    """Two tiles follow one another at the two ends of the memory; rows outside take all weights for every tile of rows."""
    layout = digits[0].layout
    tilings = {1: LayerTiling(1, streams_weights=True), 2: LayerTiling(1, 2, True, True)}
    streamed = lay_out(layout.network, layout.datapath, tilings=tilings)
    words = [streamed_words(layer) for layer in streamed.layers if layer.tiling.streams_weights]
    base, size = streamed.streams[0]
    assert size == max(a + b for a, b in pairwise(words[0] + words[1] + words[0]))
    assert words[1] == 2 * words[1][: len(words[1]) // 2]
    runs = [run for run in run_tiles(streamed, 0) if run.takes_weights]
    assert len(runs) == 2 * (len(words[0]) + len(words[1]))
    assert {run.weight_base for run in runs[::2]} == {base}
    ends = {run.weight_base + run.cut.blocks_count * run.layer.weight_words_per_block for run in runs[1::2]}
    assert ends == {base + size}
    begin, rounds = load_order(streamed)
    for loads in (begin, rounds):
        assert loads
    assert sorted(load.run.place for load in rounds if load.is_weights) == sorted(run.place for run in runs)


def test_registers_cover_a_whole_run(digits: tuple[Package, np.ndarray, np.ndarray]) -> None:
    registers = digits[0].registers(3)
    assert (registers[Register.ROUNDS], registers[Register.ITEMS_PER_ROUND]) == (3, 2)
