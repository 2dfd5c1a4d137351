"""Plays tiles of real layers on the generated RTL and compares every accumulator, code and cycle.

For each layer a tile runs on a scaled-down engine of the same generator: the same `dk`, arithmetic, planes per word and
thresholds, but at most 4 x 4 units. With `full_size`, one tile per engine runs at full size. Accumulators and codes must
equal the integer reference, and blocks must come as far apart as `mapping` says.

Layers that pack taps read words that a line buffer has formed; the array then sees a 1x1 layer of `channels * taps`
channels, and that is what is played here: the line buffer itself is not part of the engine. Codes are compared before
pooling and residual add.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.encoding import Encoding, needed_acc_bits
from foldwright.accel.images import (
    Tile,
    block_channels,
    map_image,
    tile_program,
    tile_window,
    weight_image,
)
from foldwright.accel.layers import IntegerLayer, LayerTrace
from foldwright.accel.mapping import M_INTERVAL, M_PA, M_PACKED, map_layers
from foldwright.accel.network import Network
from foldwright.accel.rtl.engine import PlanesEngine
from foldwright.accel.rtl.playback import Images, Playback, play_tile
from foldwright.accel.rtl.program import words_of
from foldwright.accel.scaling import result_words
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.windows import Geometry, pool_windows
from foldwright.accel.workload import Layer, LayerKind
from foldwright.errors import ConfigError, VerificationError
from foldwright.jsonform import STRICT

__all__ = [
    "VerifyReport",
    "VerifyRow",
    "pack_taps",
    "packed_layer",
    "scaled_down",
    "verify_network",
    "verify_tile",
]

Int64s = npt.NDArray[np.int64]

_SMALL_UNITS = 4
_FRAMES = 4
_SLACK_CYCLES = 256


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """One tile: `values` accumulators and codes compared, cycles from block to block."""

    __pydantic_config__: ClassVar = STRICT

    layer: str
    engine: int
    shape: str
    planes_per_word: int
    packed: bool
    full_size: bool
    blocks: int
    values: int
    mismatches: int
    rtl_cycles: int
    formula_cycles: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was verified; a report exists only where nothing differed."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.verify/1"

    network: str
    technology: str
    seed: int
    rows: tuple[VerifyRow, ...]

    @property
    def values(self) -> int:
        return sum(row.values for row in self.rows)

    @property
    def mismatches(self) -> int:
        return sum(row.mismatches for row in self.rows)


def verify_network(
    network: Network,
    datapath: Datapath,
    *,
    seed: int,
    tiles_per_layer: int = 1,
    full_size: bool = True,
    inputs: npt.NDArray[Any] | None = None,
    technology: str = "generic",
) -> VerifyReport:
    """Plays tiles of every layer.

    Args:
        inputs: frames of the graph's own input; random images without.
        technology: "generic", or "xc7-model" for the netlist of the hand-mapped primitives.

    Raises:
        VerificationError: a value or a cycle count differs; names layer, channel and pixel.
        ConfigError: a layer does not fit its engine.
    """
    rng = np.random.default_rng(seed)
    layers = network.workload.layers
    if len(datapath.assignment) != len(layers):
        raise ConfigError(
            f"the datapath assigns {len(datapath.assignment)} layers, {network.name!r} has {len(layers)}"
        )
    traces = (
        network.integer_tensors(network.random_image(_FRAMES, rng))
        if inputs is None
        else network.trace(inputs)
    )
    small = tuple(scaled_down(engine) for engine in datapath.engines)
    mappings = [_mappings(network, engines, datapath) for engines in (small, datapath.engines)]
    rows, played = [], set()
    for index, layer in enumerate(layers):
        which = datapath.assignment[index]
        entry, trace = network.layers[layer.name], traces[layer.name]
        sizes = [False] * tiles_per_layer + [True] * (full_size and which not in played)
        played.add(which)
        for full in sizes:
            engine = (datapath.engines if full else small)[which]
            row = verify_tile(entry, trace, engine, mappings[full][index], rng, technology, one_block=full)
            rows.append(replace(row, engine=which, full_size=full))
    return VerifyReport(network.name, technology, seed, tuple(rows))


def _mappings(network: Network, engines: tuple[Engine, ...], datapath: Datapath) -> Int64s:
    assignment = np.array(datapath.assignment, dtype=np.int64)
    return map_layers(layer_table(network.workload), engine_table(engines), assignment, datapath.batch_frames)


def scaled_down(engine: Engine) -> Engine:
    """Returns an engine of the same generator with at most 4 x 4 units."""
    dn = min(engine.dn, _SMALL_UNITS)
    return replace(engine, dm=min(engine.dm, _SMALL_UNITS), dn=dn, drain_lanes=min(engine.drain_lanes, dn))


def verify_tile(
    entry: IntegerLayer,
    trace: LayerTrace,
    engine: Engine,
    mapping: Int64s,
    rng: np.random.Generator,
    technology: str = "generic",
    *,
    one_block: bool = False,
) -> VerifyRow:
    """Plays one random tile of a layer on one engine and compares it.

    Args:
        mapping: the layer's row of `mapping.map_layers` for this engine.
        one_block: as few blocks as show an interval, two.

    Raises:
        VerificationError: a value or a cycle count differs.
        ConfigError: the layer does not fit the engine.
    """
    pa, packed = int(mapping[M_PA]), bool(mapping[M_PACKED])
    if pa == 0:
        raise ConfigError(
            f"layer {entry.name!r} does not run on engine {engine.shape}: {engine.arithmetic.value}"
        )
    if packed:
        entry, trace = pack_taps(entry, trace)
    if entry.levels == 0:
        engine = replace(engine, levels=0)
    encoding = Encoding(entry.layer, engine, pa)
    need = needed_acc_bits(entry, encoding)
    if need > engine.acc_bits:
        raise ConfigError(
            f"layer {entry.name!r} needs accumulators of {need} bits, engine {engine.shape} has {engine.acc_bits}; raise acc_bits"
        )
    tile = _random_tile(encoding, rng, one_block)
    played = _play(encoding, entry, trace, tile, technology, int(mapping[M_INTERVAL]))
    values = _compare(encoding, entry, trace, tile, played)
    cycles = int(mapping[M_INTERVAL])
    if (played.intervals != cycles).any() or played.run_cycles != cycles * len(played.raw):
        raise VerificationError(
            f"layer {entry.name!r} on engine {engine.shape}: {len(played.raw)} blocks took {played.run_cycles} cycles and "
            f"came {sorted(set(played.intervals.tolist()))} apart in RTL; by the formula each takes {cycles}"
        )
    return VerifyRow(
        layer=entry.name,
        engine=0,
        shape=engine.shape,
        planes_per_word=pa,
        packed=packed,
        full_size=False,
        blocks=len(played.raw),
        values=values,
        mismatches=0,
        rtl_cycles=played.run_cycles // len(played.raw),
        formula_cycles=cycles,
    )


def pack_taps(entry: IntegerLayer, trace: LayerTrace) -> tuple[IntegerLayer, LayerTrace]:
    """Returns a layer and its trace as the array sees them behind a line buffer."""
    layer = entry.layer
    geometry = Geometry(
        layer.kernel, layer.stride, layer.padding, (1, 1), (layer.out_height, layer.out_width)
    )
    taps = list(pool_windows(trace.input, geometry, 0))
    return packed_layer(entry), replace(trace, input=np.concatenate(taps, axis=1))


def packed_layer(entry: IntegerLayer) -> IntegerLayer:
    """Returns a layer as the array sees it behind a line buffer: 1x1, the channels of all taps as channels."""
    layer = entry.layer
    packed: Layer = replace(
        layer,
        kind=LayerKind.CONV,
        in_channels=layer.in_channels * layer.taps,
        in_height=layer.out_height,
        in_width=layer.out_width,
        kernel=(1, 1),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
    )
    weights = entry.weights.transpose(0, 2, 3, 1).reshape(len(entry.weights), -1, 1, 1)
    return replace(entry, layer=packed, weights=weights)


def _random_tile(encoding: Encoding, rng: np.random.Generator, one_block: bool) -> Tile:
    """Returns a tile of up to two rows, two column groups and two convolution groups; at least two blocks."""
    whole = Tile.whole(encoding)

    def some(most: int, take: int) -> tuple[int, int]:
        start = int(rng.integers(0, max(1, most - take + 1)))
        return start, min(most, start + take)

    take = 1 if one_block else 2
    blocks = 1 if whole.columns[1] > 1 else 2
    return Tile(
        some(whole.groups[1], take),
        some(whole.blocks[1], blocks),
        some(whole.rows[1], take),
        some(whole.columns[1], 2),
    )


def _play(
    encoding: Encoding, entry: IntegerLayer, trace: LayerTrace, tile: Tile, technology: str, interval: int
) -> Playback:
    engine, layer = encoding.engine, entry.layer
    window = tile_window(encoding, tile)
    program = tile_program(encoding, tile, window, interval=interval)
    lanes = engine.dn if engine.lanes is LaneMode.BATCH else 1
    values = trace.input.reshape(len(trace.input), layer.in_channels, layer.in_height, layer.in_width)
    thresholds: list[int] = []
    if engine.levels:
        thresholds = result_words(entry, encoding, block_channels(encoding, tile))
    images = Images(
        words_of([program]),
        weight_image(encoding, entry.weights, tile),
        thresholds,
        map_image(encoding, values[:lanes], window),
    )
    roomy = replace(
        engine,
        weight_words=max(engine.weight_words, len(images.weights)),
        map_words=max(engine.map_words, len(images.feature_map)),
        threshold_words=max(engine.threshold_words, len(thresholds)),
    )
    dut = PlanesEngine(roomy, technology, reach=-(-layer.kernel[1] // layer.stride[1]))
    most = (
        program.blocks * max(program.block_cycles, interval)
        + len(images.program)
        + dut.flush_cycles
        + _SLACK_CYCLES
    )
    return play_tile(dut, images, program.blocks, most)


def _compare(encoding: Encoding, entry: IntegerLayer, trace: LayerTrace, tile: Tile, played: Playback) -> int:
    """Returns the number of values compared.

    Raises:
        VerificationError: the first value that differs.
    """
    engine = encoding.engine
    raw = encoding.raw_of(trace.accumulator.transpose(1, 0, 2, 3), entry.weights).transpose(1, 0, 2, 3)
    raw = raw % (1 << engine.acc_bits)
    compared = _compare_one(encoding, entry, tile, played.raw, raw, "accumulator")
    if engine.levels:
        codes = (trace.result - entry.base) // entry.step
        compared += _compare_one(encoding, entry, tile, played.codes, codes, "code")
    return compared


def _compare_one(
    encoding: Encoding, entry: IntegerLayer, tile: Tile, got: Int64s, reference: Int64s, what: str
) -> int:
    """Compares (blocks, lanes, rows) that left the engine with a tensor (frames, channels, height, width)."""
    engine = encoding.engine
    batch = engine.lanes is LaneMode.BATCH
    compared = 0
    blocks = iter(got)
    lanes = np.arange(engine.dn)
    for channels in block_channels(encoding, tile):
        rows = np.flatnonzero(channels >= 0)
        for y in range(*tile.rows):
            for x in range(*tile.columns):
                frame, column = (
                    (lanes, np.full(engine.dn, x)) if batch else (0 * lanes, x * engine.dn + lanes)
                )
                real = np.flatnonzero((frame < len(reference)) & (column < reference.shape[3]))
                want = reference[frame[real][:, None], channels[rows][None, :], y, column[real][:, None]]
                have = next(blocks)[real][:, rows]
                if (wrong := np.argwhere(want != have)).size:
                    lane, row = wrong[0]
                    raise VerificationError(
                        f"layer {entry.name!r} on engine {engine.shape}: {what} of frame {frame[real[lane]]}, channel "
                        f"{channels[rows[row]]}, pixel ({y}, {column[real[lane]]}) is {have[lane, row]} in RTL, "
                        f"{want[lane, row]} by the reference; {len(wrong)} of {want.size} values of this block differ"
                    )
                compared += want.size
    return compared
