"""Whole engines run layers of every kind: accumulators, codes and cycles against the integer reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from foldwright.accel.datapath import Arithmetic, Engine, EngineKind, LaneMode
from foldwright.accel.encoding import Encoding, fold_thresholds, needed_acc_bits
from foldwright.accel.images import Tile, block_channels, map_image, tile_program, tile_window, weight_image
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.rtl.core import latency_cycles
from foldwright.accel.rtl.engine import PlanesEngine
from foldwright.accel.rtl.fetch import READ_CYCLES
from foldwright.accel.rtl.playback import Images, Playback, play_tile
from foldwright.accel.rtl.program import words_of
from foldwright.accel.workload import ActKind, Layer, LayerKind, WeightKind

XNOR, AND = Arithmetic.XNOR, Arithmetic.AND
LEVELS = {WeightKind.BINARY: [-1, 1], WeightKind.TERNARY: [-1, 0, 1]}


@dataclass(frozen=True)
class Case:
    """A layer and an engine. `layer` holds what differs from a 3x3 layer of 5 channels on a 7x6 map."""

    layer: dict[str, object]
    engine: Engine
    pa: int = 1
    technology: str = "generic"
    tile: tuple[tuple[int, int], ...] | None = None


def entry_of(case: Case, rng: np.random.Generator) -> tuple[IntegerLayer, np.ndarray]:
    """Returns a random layer and two frames of its input."""
    fields: dict[str, object] = {
        "in_channels": 5,
        "in_height": 6,
        "in_width": 7,
        "out_channels": 5,
        "kernel": (3, 3),
    }
    layer = Layer("layer", LayerKind.CONV, ("image",), **(fields | case.layer))  # type: ignore[arg-type]
    levels = {
        WeightKind.ODD: list(range(1 - (1 << layer.weight_bits), 1 << layer.weight_bits, 2)),
        WeightKind.SIGNED: list(range(-(1 << layer.weight_bits - 1), 1 << layer.weight_bits - 1)),
    }
    shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)
    weights = rng.choice((levels | LEVELS)[layer.weight_kind], shape)
    top = 1 << layer.act_bits
    low, high = {
        ActKind.UNSIGNED: (0, top - 1),
        ActKind.SIGNED: (-top // 2, top // 2 - 1),
        ActKind.BIPOLAR: (-1, 1),
    }[layer.act_kind]
    values = rng.integers(low, high + 1, (4, layer.in_channels, layer.in_height, layer.in_width))
    if layer.act_kind is ActKind.BIPOLAR:
        values = np.where(values < 0, -1, 1)
    rows = weights.reshape(len(weights), -1)
    plus, minus = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    acc_min, acc_max = plus * low + minus * high, plus * high + minus * low
    count = case.engine.levels
    middle = (acc_max - acc_min)[:, None] // 6
    thresholds = np.sort(rng.integers(-middle, middle + 1, (len(rows), count)), axis=1)
    thresholds[0, 0] = acc_min[0] - 5  # always reached
    entry = IntegerLayer(
        layer=layer,
        value="layer",
        weights=weights.astype(np.int32),
        thresholds=thresholds,
        negate=rng.random(len(rows)) < 0.4,
        base=0,
        step=1,
        acc_min=acc_min,
        acc_max=acc_max,
        out_scale=1.0,
        out_offset=0.0,
        raw_scale=np.ones(len(rows)),
        raw_offset=np.zeros(len(rows)),
    )
    return entry, values


def run(
    case: Case, entry: IntegerLayer, values: np.ndarray, weights: np.ndarray
) -> tuple[Encoding, Tile, Playback]:
    encoding = Encoding(
        entry.layer,
        replace(case.engine, acc_bits=needed_acc_bits(entry, Encoding(entry.layer, case.engine, case.pa))),
        case.pa,
    )
    tile = Tile(*case.tile) if case.tile else Tile.whole(encoding)
    window = tile_window(encoding, tile)
    program = tile_program(encoding, tile, window)
    frames = values[: encoding.engine.dn] if encoding.engine.lanes is LaneMode.BATCH else values[:1]
    images = Images(
        words_of([program]),
        weight_image(encoding, weights, tile),
        fold_thresholds(entry, encoding).words(encoding.engine, block_channels(encoding, tile))
        if encoding.engine.levels
        else [],
        map_image(encoding, frames, window),
    )
    dut = PlanesEngine(
        encoding.engine, case.technology, reach=-(-entry.layer.kernel[1] // entry.layer.stride[1])
    )
    cycles = program.block_cycles * program.blocks
    played = play_tile(dut, images, program.blocks, cycles + len(images.program) + 100)
    assert (played.intervals == max(expected_cycles(encoding), dut.drain_cycles)).all()
    assert played.run_cycles == cycles
    assert dut.block_latency + dut.stages == latency_cycles(encoding.engine, case.technology)
    words_before_go = len(images.program) - 1
    assert played.first_cycle == words_before_go + READ_CYCLES + program.block_cycles + dut.block_latency
    return encoding, tile, played


def expected_cycles(encoding: Encoding) -> int:
    """The formula of the design, plus the idle shifts of steps that fall by more than one."""
    layer, planes = encoding.layer, len(encoding.weight_code.coefficients)
    groups = -(-layer.act_bits // encoding.pa)
    words = -(-(layer.in_channels // layer.groups) // (encoding.engine.dk // encoding.pa))
    distinct = len(set(map(abs, encoding.weight_code.coefficients)))
    return planes * groups * layer.taps * words + (groups - 1) * max(0, encoding.pa - distinct)


def expected(
    entry: IntegerLayer, encoding: Encoding, tile: Tile, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Accumulators and codes as (blocks, lanes, rows), -1 where a lane or a row has no meaning."""
    engine = encoding.engine
    accs = entry.accumulate(values)
    raw = encoding.raw_of(accs.transpose(1, 0, 2, 3), entry.weights).transpose(1, 0, 2, 3) % (
        1 << engine.acc_bits
    )
    codes = entry.result_of(accs) if engine.levels else np.full_like(raw, -1)
    both = []
    for data in (raw, codes):
        blocks = []
        for channels in block_channels(encoding, tile):
            for y in range(*tile.rows):
                for x in range(*tile.columns):
                    block = np.full((engine.dn, engine.dm), -1)
                    for lane in range(engine.dn):
                        batch = engine.lanes is LaneMode.BATCH
                        frame, column = (lane, x) if batch else (0, x * engine.dn + lane)
                        if column < data.shape[3]:
                            block[lane] = np.where(channels >= 0, data[frame, channels, y, column], -1)
                    blocks.append(block)
        both.append(np.array(blocks))
    return both[0], both[1]


BATCH, DSP = LaneMode.BATCH, EngineKind.DSP
SIGNED8 = {"act_bits": 8, "act_kind": ActKind.SIGNED}
U8 = {"act_bits": 8, "act_kind": ActKind.UNSIGNED}
U2 = {"act_bits": 2, "act_kind": ActKind.UNSIGNED}
CASES = {
    "binary": Case({}, Engine(3, 8, 4)),
    "binary, mapped": Case({}, Engine(2, 8, 3), technology="xc7-model"),
    "two words, padded, 2 bits": Case(U2 | {"in_channels": 9, "padding": (1, 1, 1, 1)}, Engine(2, 8, 3, levels=3)),
    "pa 2": Case(U2 | {"padding": (1, 1, 1, 1)}, Engine(2, 12, 3, planes_per_word=(2,), drain_lanes=2, levels=3), pa=2),
    "pa 2 of both": Case(U2 | {"padding": (1, 0, 2, 1)}, Engine(3, 12, 5, planes_per_word=(1, 2)), pa=2),
    "pa 1 of both": Case(U2, Engine(2, 12, 3, planes_per_word=(1, 2)), pa=1),
    "pa 2 of three": Case(U2, Engine(2, 12, 3, planes_per_word=(1, 2, 4)), pa=2),
    "pa 2 of both, mapped": Case(U2, Engine(2, 12, 3, planes_per_word=(1, 2)), pa=2, technology="xc7-model"),
    "3 bits at pa 2, idle shift": Case(U2 | {"act_bits": 3}, Engine(2, 12, 3, planes_per_word=(2,)), pa=2),
    "signed 8 bits": Case(SIGNED8 | {"in_channels": 3, "padding": (1, 1, 1, 1)}, Engine(3, 4, 4)),
    "signed 8 bits at pa 4": Case(SIGNED8 | {"in_channels": 3}, Engine(3, 12, 4, planes_per_word=(1, 4)), pa=4),
    "stride 2": Case(U2 | {"stride": (2, 2), "padding": (1, 1, 0, 0)}, Engine(2, 8, 3)),
    "stride 3, kernel 5": Case({"stride": (2, 3), "kernel": (2, 5)}, Engine(2, 8, 2)),
    "kernel 5 on 2 lanes": Case(U2 | {"kernel": (3, 5), "padding": (0, 2, 0, 2)}, Engine(5, 8, 2)),
    "groups": Case(U2 | {"in_channels": 6, "out_channels": 10, "groups": 2, "padding": (1, 1, 1, 1)}, Engine(4, 4, 3)),
    "ternary": Case({"weight_bits": 2, "weight_kind": WeightKind.TERNARY} | U2, Engine(2, 8, 3)),
    "ternary, AND": Case({"weight_bits": 2, "weight_kind": WeightKind.TERNARY}, Engine(2, 8, 3, AND)),
    "binary, AND": Case(U2 | {"padding": (1, 1, 1, 1)}, Engine(2, 8, 3, AND)),
    "odd 2 bits": Case(U2 | {"weight_bits": 2, "weight_kind": WeightKind.ODD, "padding": (0, 1, 0, 1)}, Engine(2, 8, 3)),
    "odd 2 bits, AND": Case(U2 | {"weight_bits": 2, "weight_kind": WeightKind.ODD}, Engine(2, 8, 3, AND)),
    "signed weights": Case(
        U2 | {"weight_bits": 3, "weight_kind": WeightKind.SIGNED}, Engine(2, 12, 3, AND, planes_per_word=(2,)), pa=2
    ),
    "signed by signed": Case(
        {"act_bits": 3, "act_kind": ActKind.SIGNED, "weight_bits": 2, "weight_kind": WeightKind.SIGNED},
        Engine(2, 8, 3, AND),
    ),
    "dsp": Case(U8 | {"padding": (1, 1, 1, 1)}, Engine(2, 32, 5, planes_per_word=(8,), kind=DSP), pa=8),
    "dsp, two cascades, mapped": Case(
        U8 | {"in_channels": 9}, Engine(2, 72, 3, planes_per_word=(8,), kind=DSP, drain_lanes=2), pa=8, technology="xc7-model"
    ),
    "dsp, signed bytes, in words": Case(
        SIGNED8, Engine(3, 24, 4, planes_per_word=(8,), kind=DSP, lanes=BATCH, levels=3), pa=8, technology="xc7-words"
    ),
    "dsp, ternary nibbles": Case(
        {"weight_bits": 2, "weight_kind": WeightKind.TERNARY, "act_bits": 3, "act_kind": ActKind.UNSIGNED},
        Engine(2, 16, 3, planes_per_word=(4,), kind=DSP), pa=4,
    ),
    "dsp, odd 2 bits, idle shift": Case(
        {"weight_bits": 2, "weight_kind": WeightKind.ODD, "act_bits": 7, "act_kind": ActKind.UNSIGNED},
        Engine(2, 16, 3, planes_per_word=(4,), kind=DSP), pa=4,
    ),
    "dsp, bipolar": Case({}, Engine(2, 12, 3, planes_per_word=(2,), kind=DSP), pa=2),
    "batch lanes": Case(U2 | {"padding": (1, 1, 1, 1), "stride": (1, 2)}, Engine(3, 8, 4, lanes=BATCH, levels=3, drain_lanes=3)),
    "long drain": Case({"kernel": (1, 1)}, Engine(2, 8, 7)),
    "matrix product": Case(
        {"kernel": (1, 1), "in_channels": 40, "in_height": 1, "in_width": 1}, Engine(3, 36, 4, lanes=BATCH, levels=3)
    ),
    "part of a layer": Case(
        U2 | {"padding": (1, 1, 1, 1), "in_width": 14}, Engine(2, 8, 3, levels=7), tile=((0, 1), (1, 3), (2, 4), (1, 3))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_engine_equals_reference_in_values_and_cycles(name: str) -> None:
    case = CASES[name]
    entry, values = entry_of(case, np.random.default_rng(list(name.encode())))
    encoding, tile, played = run(case, entry, values, entry.weights)
    raw, codes = expected(entry, encoding, tile, values)
    assert played.raw.shape == raw.shape
    assert (np.where(raw < 0, -1, played.raw) == raw).all()
    assert (np.where(codes < 0, -1, played.codes) == codes).all()
    assert len(np.unique(codes[codes >= 0])) > 1, "the case tests nothing: all codes are equal"
