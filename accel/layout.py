"""Where everything of a network stands in an accelerator: maps, words, channels, rows that stream in.

For every layer: the engine, how its words are coded, which memory it reads and at which addresses, and in how many tiles
of rows its input comes. `foldwright.accel.export` turns this into programs and images, `foldwright.accel.rtl` into
memories. Rules are those of `docs/accelerator.md`.

What it leaves out: intermediate tensors in DRAM, residual adds, networks that are no chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from math import lcm
from typing import Protocol

import numpy as np

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.encoding import Encoding, needed_acc_bits
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.map_form import MapForm
from foldwright.accel.mapping import M_BLOCKS, M_PA, M_PACKED, ceil_div, map_layers
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.tilings import LayerTile, LayerTiling, layer_tiles
from foldwright.accel.verify import packed_layer
from foldwright.accel.workload import IMAGE, LayerKind, PoolKind, ResultKind, Workload
from foldwright.accel.writer_shape import MapTarget
from foldwright.errors import ConfigError

__all__ = ["AcceleratorLayout", "LayerLayout", "LayeredNetwork", "Source", "lay_out", "streamed_words"]


class LayeredNetwork(Protocol):
    """What a layout needs of a network: `network.Network`, or one that never was a file."""

    @property
    def name(self) -> str: ...
    @property
    def workload(self) -> Workload: ...
    @property
    def layers(self) -> Mapping[str, IntegerLayer]: ...


class Source(IntEnum):
    """What a layer reads; the numbers are those of the program."""

    OWN = 0
    INBOX = 1
    WINDOW = 2


@dataclass(frozen=True)
class LayerLayout:
    """One layer in its place.

    `entry` is the layer with its true shape (a matrix product of a map is a convolution that covers the map), `seen` the
    layer as the array sees it: the same, but 1x1 over `channels * taps` channels where the window packs taps. Addresses
    are words of the memory `source`; `copies` has one base for each copy, taken in turns by tiles that stream in (or by
    rounds). `weight_base` is where pinned weights begin; streamed ones lie in `AcceleratorLayout.streams`.
    """

    index: int
    engine: int
    producer: int  # -1 for the image
    consumer: int  # -1 where results go to DRAM
    entry: IntegerLayer
    seen: IntegerLayer
    encoding: Encoding
    form: MapForm | None  # of the map that it reads; None for the image
    source: Source
    tiling: LayerTiling
    buffer_rows: int  # input rows that one copy holds
    row_words: int
    frame_words: int  # of one copy
    frames: int  # frames (column lanes) or frame groups (batch lanes) of a round
    copies: tuple[int, ...]
    weight_base: int
    threshold_base: int

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def tile_rows(self) -> int:
        """Output rows of a tile."""
        height = self.entry.layer.out_height
        return min(self.tiling.rows or height, height)

    @property
    def tiles(self) -> int:
        """Tiles of rows of one round."""
        return -(-self.entry.layer.out_height // self.tile_rows)

    @cached_property
    def order(self) -> tuple[LayerTile, ...]:
        """The tiles of one round in the order in which they run."""
        encoding = self.encoding
        return layer_tiles(
            encoding.layer.groups, encoding.blocks_per_group, self.entry.layer.out_height, self.tiling
        )

    @property
    def blocks(self) -> int:
        return self.encoding.blocks_per_group * self.seen.layer.groups

    @property
    def weight_words_per_block(self) -> int:
        encoding = self.encoding
        steps = len(encoding.weight_code.coefficients) * encoding.layer.taps * encoding.channel_words
        return ceil_div(steps, encoding.pa // min(encoding.engine.planes_per_word))

    @property
    def map_words(self) -> int:
        """Words of all copies, each counted once."""
        return self.frame_words * self.frames * len(self.copies)

    def input_rows(self, tile: int) -> tuple[int, int]:
        """Returns the half-open range of real input rows that a tile reads."""
        layer = self.entry.layer
        first = tile * self.tile_rows * layer.stride[0] - layer.padding[0]
        count = min(self.tile_rows, layer.out_height - tile * self.tile_rows)
        last = first + (count - 1) * layer.stride[0] + layer.kernel[0]
        return max(0, first), max(1, min(last, layer.in_height))

    def held_rows(self, tile: int) -> tuple[int, int]:
        """Returns the half-open range of input rows that are in the memory for a tile: its own where rows stream in."""
        whole = (0, self.entry.layer.in_height)
        return self.input_rows(tile) if self.producer < 0 and self.tiles > 1 else whole


@dataclass(frozen=True)
class AcceleratorLayout:
    """All layers, and what the memories of each engine must hold (words)."""

    network: LayeredNetwork
    datapath: Datapath
    layers: tuple[LayerLayout, ...]
    own_words: tuple[int, ...]
    inbox_words: tuple[int, ...]
    line_words: tuple[int, ...]
    weight_words: tuple[int, ...]
    threshold_words: tuple[int, ...]
    streams: tuple[
        tuple[int, int], ...
    ]  # of each engine's weight memory: first word and words of what streams through

    @property
    def streams_weights(self) -> bool:
        return any(layer.tiling.streams_weights for layer in self.layers)

    def of_engine(self, engine: int) -> list[LayerLayout]:
        return [layer for layer in self.layers if layer.engine == engine]

    def beat_interval(self, layer: LayerLayout) -> int:
        """Returns the least cycles from block to block in which all lanes leave: a beat for each word of a pixel."""
        engine, writes = layer.encoding.engine, 1
        if layer.consumer >= 0:
            writes = ceil_div(layer.entry.layer.out_bits, self.layers[layer.consumer].encoding.pa)
        return ceil_div(engine.dn, engine.drain_lanes) * writes

    @cached_property
    def engines(self) -> tuple[Engine, ...]:
        """The engines with memories as deep as this network needs them."""
        return tuple(
            replace(
                engine,
                weight_words=self.weight_words[e],
                threshold_words=self.threshold_words[e],
                map_words=max(1, self.own_words[e], self.inbox_words[e], self.line_words[e]),
            )
            for e, engine in enumerate(self.datapath.engines)
        )


def lay_out(
    network: LayeredNetwork,
    datapath: Datapath,
    *,
    image_tile_rows: int = 0,
    tilings: Mapping[int, LayerTiling] | None = None,
    acc_bits: dict[tuple[int, str, int], int] | None = None,
) -> AcceleratorLayout:
    """Lays a network out on a datapath.

    Args:
        image_tile_rows: output rows of the first layer's tiles, where `tilings` does not say; 0 for the whole layer at once.
        tilings: how layers, by index, are cut into tiles; others run as a whole, with their weights on chip.
        acc_bits: keeps what layers need (by layer, arithmetic and planes per word) for further calls on the network.

    Raises:
        ConfigError: what this accelerator cannot do, all reasons at once.
    """
    workload = network.workload
    wrong = _chain_mistakes(network, datapath)
    if wrong:
        raise ConfigError(f"{network.name}: no accelerator can be built: " + "; ".join(wrong))
    entries = _entries(network)
    tilings = {0: LayerTiling(rows=image_tile_rows), **(tilings or {})}
    table = layer_table(workload)
    mappings = map_layers(
        table, engine_table(datapath.engines), np.array(datapath.assignment), datapath.batch_frames
    )
    layers: list[LayerLayout] = []
    bases = [[0, 0] for _ in datapath.engines]  # weights, thresholds
    for i, entry in enumerate(entries):
        e = datapath.assignment[i]
        pa, packed = int(mappings[i, M_PA]), bool(mappings[i, M_PACKED])
        if pa == 0:
            wrong.append(f"layer {entry.name!r} does not run on engine {datapath.engines[e].shape}")
            continue
        seen = packed_layer(entry) if packed else entry
        consumer = i + 1 if i + 1 < len(entries) else -1
        following = entries[consumer].layer.groups if consumer >= 0 else 1
        engine = datapath.engines[e]
        try:
            maker = datapath.engines[datapath.assignment[i - 1]]
            form = _form(entry, entries[i - 1], engine, maker, pa) if i else None
            encoding = _encoding(seen, engine, pa, lcm(seen.layer.groups, following), form)
        except ConfigError as error:
            wrong.append(str(error))
            continue
        known = acc_bits if acc_bits is not None else {}
        key = (i, engine.arithmetic.value, pa)
        if key not in known:
            known[key] = needed_acc_bits(seen, encoding)
        need = known[key]
        if need > encoding.engine.acc_bits:
            wrong.append(
                f"layer {entry.name!r} needs {need} accumulator bits, engine {encoding.engine.shape} has fewer"
            )
        after = datapath.engines[datapath.assignment[consumer]] if consumer >= 0 else engine
        frames_stay = engine.lanes is after.lanes is LaneMode.BATCH and engine.dn == after.dn
        if engine.drain_lanes > 1 and not frames_stay:
            wrong.append(
                f"layer {entry.name!r}: engine {engine.shape} drains {engine.drain_lanes} lanes at once, which needs frames in "
                f"its lanes and as many in those of engine {after.shape}; use drain_lanes=1"
            )
        source = Source.WINDOW if packed else Source.INBOX
        if i and datapath.assignment[i - 1] == e:
            source = Source.OWN
        layers.append(
            _placed(
                i,
                entry,
                seen,
                encoding,
                form,
                source,
                datapath,
                consumer,
                bases[e],
                _cut(tilings.get(i, LayerTiling()), int(mappings[i, M_BLOCKS])),
            )
        )
    if wrong:
        raise ConfigError(f"{network.name}: no accelerator can be built: " + "; ".join(wrong))
    wrong = list(_inbox_mistakes(layers))
    if wrong:
        raise ConfigError(f"{network.name}: no accelerator can be built: " + "; ".join(wrong))
    layers, own, inbox, line = _addresses(layers, datapath)
    layers = [_with_words(layer, own, inbox) for layer in layers]
    streams = [_stream(layers, e, bases[e][0]) for e in range(len(bases))]
    return AcceleratorLayout(
        network,
        datapath,
        tuple(layers),
        tuple(own),
        tuple(inbox),
        tuple(line),
        tuple(max(1, low + words) for low, words in streams),
        tuple(max(1, b[1]) for b in bases),
        tuple(streams),
    )


def _cut(tiling: LayerTiling, blocks: int) -> LayerTiling:
    """Returns a tiling without a number of blocks that is all of them; parts of channels may add more blocks."""
    return replace(tiling, blocks=0) if tiling.blocks >= blocks else tiling


def _stream(layers: list[LayerLayout], engine: int, base: int) -> tuple[int, int]:
    """Returns where an engine's streamed weights go: words enough for every two tiles that follow one another."""
    words = [
        sizes
        for layer in layers
        if layer.engine == engine and layer.tiling.streams_weights
        for sizes in streamed_words(layer)
    ]
    return base, max(
        (before + now for before, now in zip(words[-1:] + words, words, strict=False)), default=0
    )


def streamed_words(layer: LayerLayout) -> list[int]:
    """Returns the words of each load of a layer's weights in a round."""
    return [
        tile.blocks_count * layer.weight_words_per_block
        for before, tile in zip((None, *layer.order), layer.order, strict=False)
        if before is None or before.part != tile.part
    ]


def _chain_mistakes(network: LayeredNetwork, datapath: Datapath) -> list[str]:
    layers, wrong = network.workload.layers, []
    if len(datapath.assignment) != len(layers):
        return [f"the datapath assigns {len(datapath.assignment)} layers, the network has {len(layers)}"]
    for i, layer in enumerate(layers):
        before = layers[i - 1].name if i else IMAGE
        if layer.inputs != (before,):
            wrong.append(
                f"layer {layer.name!r} reads {', '.join(layer.inputs)}; only chains of layers are built yet"
            )
        if layer.pool is not None and layer.pool.kind is not PoolKind.MAX:
            wrong.append(f"layer {layer.name!r} ends in an average pooling, which is not built yet")
        if layer.pool is not None and any(
            k > s + 1 for k, s in zip(layer.pool.kernel, layer.pool.stride, strict=True)
        ):
            wrong.append(
                f"layer {layer.name!r} pools {layer.pool.kernel} by {layer.pool.stride}; windows may overlap by one"
            )
        if layer.result is ResultKind.SCALE_SHIFT:
            wrong.append(
                f"layer {layer.name!r} scales and shifts, which is not built yet; lower with thresholds"
            )
        if layer.result is ResultKind.RAW and i + 1 < len(layers):
            wrong.append(f"layer {layer.name!r} leaves raw accumulators to another layer")
    return wrong


def _inbox_mistakes(layers: list[LayerLayout]) -> Iterator[str]:
    """Yields the engines whose inbox more than one would fill: the loader, or another engine's writer."""
    fillers: dict[int, set[str]] = {}
    for layer in layers:
        if layer.source is Source.INBOX:
            filler = f"engine {layers[layer.producer].engine}" if layer.producer >= 0 else "the loader"
            fillers.setdefault(layer.engine, set()).add(filler)
    for engine, names in fillers.items():
        if len(names) > 1:
            yield f"the inbox of engine {engine} is filled by {' and '.join(sorted(names))}, allowed is one"


def _entries(network: LayeredNetwork) -> list[IntegerLayer]:
    """Returns the layers, matrix products over a map as convolutions that cover it."""
    out = []
    shapes = {
        IMAGE: (network.workload.image_channels, network.workload.image_height, network.workload.image_width)
    }
    for layer in network.workload.layers:
        entry = network.layers[layer.name]
        channels, height, width = shapes[layer.inputs[0]]
        if layer.kind is LayerKind.MATMUL and height * width > 1:
            shaped = replace(
                layer,
                kind=LayerKind.CONV,
                in_channels=channels,
                in_height=height,
                in_width=width,
                kernel=(height, width),
            )
            entry = replace(entry, layer=shaped, weights=entry.weights.reshape(-1, channels, height, width))
        shapes[layer.name] = (layer.out_channels, layer.stored_height, layer.stored_width)
        out.append(entry)
    return out


def _form(entry: IntegerLayer, before: IntegerLayer, engine: Engine, maker: Engine, pa: int) -> MapForm:
    """Returns the form of the map between two layers; the depth of its memory is not known yet."""
    target = MapTarget(
        engine.dk, engine.planes_per_word, engine.dn, engine.lanes is LaneMode.BATCH, 1, maker.byte_bits
    )
    return MapForm(before.layer, entry.layer, target, maker.dm, pa)


def _encoding(seen: IntegerLayer, engine: Engine, pa: int, parts: int, form: MapForm | None) -> Encoding:
    """Returns how an engine holds a layer whose channels stand where the writer of the layer before puts them."""
    if form is None:
        return Encoding(seen.layer, engine, pa, parts=parts)
    slots, per_word = form.target.slots(pa, form.dm), engine.dk // pa
    size = form.producer.out_channels // form.parts
    positions = []
    for channel in range(form.consumer.in_channels // form.consumer.groups):
        part, inside = divmod(channel, size)
        word, slot = form.word_of_block(part * form.blocks_per_part + inside // form.dm)
        positions.append(word * per_word + slots[slot] + inside % form.dm)
    return Encoding(seen.layer, engine, pa, tuple(positions), parts)


def _placed(
    i: int, entry: IntegerLayer, seen: IntegerLayer, encoding: Encoding, form: MapForm | None, source: Source, datapath: Datapath,
    consumer: int, bases: list[int], tiling: LayerTiling,
) -> LayerLayout:  # fmt: skip
    """Returns a layer with its sizes; addresses in maps come later."""
    engine, layer = encoding.engine, entry.layer
    batch = engine.lanes is LaneMode.BATCH
    (sy, sx), left = layer.stride, layer.padding[1]
    buffer_rows, tile_rows = layer.in_height, tiling.rows or layer.out_height
    if i == 0 and tile_rows < layer.out_height:
        buffer_rows = min(layer.in_height, (tile_rows - 1) * sy + layer.kernel[0])
    pixel_words = (
        1 if source is Source.WINDOW else encoding.plane_groups * layer.groups * encoding.channel_words
    )
    columns = layer.in_width if batch else sx * ceil_div(ceil_div(layer.in_width + left, sx), engine.dn)
    frames = -(-datapath.batch_frames // engine.dn) if batch else datapath.batch_frames
    out = LayerLayout(
        i, datapath.assignment[i], i - 1, consumer, entry, seen, encoding, form, source, tiling, buffer_rows,
        pixel_words * columns, pixel_words * columns * buffer_rows, frames, (), *bases,
    )  # fmt: skip
    bases[0] += 0 if tiling.streams_weights else out.blocks * out.weight_words_per_block
    bases[1] += out.blocks
    return out


def _with_words(layer: LayerLayout, own: list[int], inbox: list[int]) -> LayerLayout:
    """Returns a layer whose form knows how deep its memory is."""
    if layer.form is None:
        return layer
    words = (own if layer.source is Source.OWN else inbox)[layer.engine]
    return replace(layer, form=replace(layer.form, target=replace(layer.form.target, words=words)))


def _addresses(
    layers: list[LayerLayout], datapath: Datapath
) -> tuple[list[LayerLayout], list[int], list[int], list[int]]:
    """Gives every input its copies; returns the layers and the words of own maps, inboxes and line memories.

    Of an engine's own tensors only the one that is read and the one that is written live at a time: they lie at the two
    ends of the map in turns. What others hand over, and what streams in, has two copies for good.
    """
    count = len(datapath.engines)
    own, inbox, line = ([0] * count for _ in range(3))
    for layer in layers:
        if layer.source is Source.OWN:
            before = layers[layer.producer]
            both = _words(layer) + (_words(before) if before.source is Source.OWN else 0)
            own[layer.engine] = max(own[layer.engine], both)
    out: list[LayerLayout] = []
    for layer in layers:
        words, e = _words(layer), layer.engine
        if layer.source is Source.OWN:
            before = out[-1]
            at_bottom = before.source is not Source.OWN or before.copies != (0,)
            out.append(replace(layer, copies=(0 if at_bottom else own[e] - words,)))
            continue
        memory = line if layer.source is Source.WINDOW else inbox
        low = memory[e]
        memory[e] += 2 * words
        out.append(replace(layer, copies=(low, low + words)))
    return out, own, inbox, line


def _words(layer: LayerLayout) -> int:
    """Returns the words of one copy of a layer's input."""
    return layer.frame_words * layer.frames
