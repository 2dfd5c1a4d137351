"""Where everything of a network stands in an accelerator: maps, words, channels, rows that stream in.

For every layer: the engine, how its words are coded, which memory it reads and at which addresses, and in how many tiles
of rows its input comes; for every tensor between layers its map (`accel.stored_tensors`). `foldwright.accel.export` turns
this into programs and images, `foldwright.accel.rtl` into memories. Rules are those of `docs/accelerator.md`.

What it leaves out: intermediate tensors in DRAM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm
from typing import Protocol

import numpy as np

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.encoding import Encoding, needed_acc_bits
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.layout_checks import network_mistakes
from foldwright.accel.map_form import MapForm
from foldwright.accel.map_places import Lifetime, place_tensors
from foldwright.accel.mapping import M_BLOCKS, M_PA, M_PACKED, ceil_div, map_layers
from foldwright.accel.rtl.program import GIVES
from foldwright.accel.stored_tensors import (
    FROM_LOADER,
    Source,
    StoredTensor,
    Uses,
    map_encoding,
    residual_mistakes,
    residual_reads,
    sharing_mistakes,
    stored_form,
    uses_of,
)
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.tilings import LayerTile, LayerTiling, layer_tiles
from foldwright.accel.verify import packed_layer
from foldwright.accel.workload import IMAGE, LayerKind, Workload
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
    residual: int  # the layer whose results it adds to its own, -1 for none
    entry: IntegerLayer
    seen: IntegerLayer
    encoding: Encoding
    source: Source
    map_padding: int  # columns on the left for which its input lies, at least those of its own padding
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
    """All layers, and what the memories of each engine must hold (words).

    `inbox_words` are by who fills an inbox, `FROM_LOADER` or an engine, ascending; `streams` are first word and words of what
    streams through an engine's weight memory.
    """

    network: LayeredNetwork
    datapath: Datapath
    layers: tuple[LayerLayout, ...]
    tensors: Mapping[int, StoredTensor]  # between layers, by the layer that makes it
    own_words: tuple[int, ...]
    inbox_words: tuple[Mapping[int, int], ...]
    line_words: tuple[int, ...]
    weight_words: tuple[int, ...]
    threshold_words: tuple[int, ...]
    streams: tuple[tuple[int, int], ...]

    @property
    def streams_weights(self) -> bool:
        return any(layer.tiling.streams_weights for layer in self.layers)

    def of_engine(self, engine: int) -> list[LayerLayout]:
        return [layer for layer in self.layers if layer.engine == engine]

    def beat_interval(self, layer: LayerLayout) -> int:
        """Returns the least cycles from block to block in which all lanes leave: a beat for each word of a pixel."""
        engine, writes = layer.encoding.engine, 1
        if layer.index in self.tensors:
            writes = ceil_div(layer.entry.layer.out_bits, self.tensors[layer.index].form.pa)
        return ceil_div(engine.dn, engine.drain_lanes) * writes

    def residual_of(self, layer: LayerLayout) -> StoredTensor | None:
        """Returns the tensor that a layer adds to its results."""
        return self.tensors[layer.residual] if layer.residual >= 0 else None

    def residual_reads(self, layer: LayerLayout) -> int:
        """Returns the reads of a block's residual, behind those of its operands."""
        tensor = self.residual_of(layer)
        return residual_reads(tensor.form) if tensor else 0

    def tensors_read(self, layer: LayerLayout) -> list[StoredTensor]:
        """Returns the tensors that a layer reads: its input, then what it adds, each once."""
        return [self.tensors[p] for p in dict.fromkeys((layer.producer, layer.residual)) if p >= 0]

    def residual_bits(self, engine: int) -> int:
        """Returns the most bits of a value that an engine adds to its results; 0 where it adds nothing."""
        tensors = (self.residual_of(layer) for layer in self.of_engine(engine))
        return max((tensor.code_bits for tensor in tensors if tensor), default=0)

    def stored_bits(self, engine: int) -> int:
        """Returns the bits of the codes that an engine's writer takes: of a search, or of a sum with a residual."""
        bits = [self.datapath.engines[engine].levels.bit_length()]
        for layer in self.of_engine(engine):
            tensor = self.residual_of(layer)
            if tensor is not None:
                highest = layer.entry.levels + (1 << tensor.code_bits) - 1
                true = layer.entry.layer
                bits += [0 if true.averages else true.out_bits, highest.bit_length()]
        return max(bits)

    def result_bits(self, engine: int) -> int:
        """Returns the bits of what an engine's writer stores: of codes, or of their sums over windows."""
        return max(self.stored_bits(engine), self.datapath.engines[engine].sum_bits)

    def lowest_of(self, layer: LayerLayout) -> int:
        """Returns what a stored 0 of the writer stands for: a window's sum begins at as many lowest results as it has pixels."""
        added, true = self.residual_of(layer), layer.entry.layer
        lowest = layer.entry.base + (added.lowest if added else 0)
        return lowest * (true.pool.area if true.pool is not None and true.averages else 1)

    @cached_property
    def engines(self) -> tuple[Engine, ...]:
        """The engines with memories as deep as this network needs them."""
        return tuple(
            replace(
                engine,
                weight_words=self.weight_words[e],
                threshold_words=self.threshold_words[e],
                map_words=max(1, self.own_words[e], *self.inbox_words[e].values(), self.line_words[e]),
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
    _refuse(network, network_mistakes(workload, network.layers, datapath))
    entries = _entries(network)
    tilings = {0: LayerTiling(rows=image_tile_rows), **(tilings or {})}
    table = layer_table(workload)
    mappings = map_layers(
        table, engine_table(datapath.engines), np.array(datapath.assignment), datapath.batch_frames
    )
    uses, planes = uses_of(workload.layers), [int(pa) for pa in mappings[:, M_PA]]
    _refuse(network, _shape_mistakes(entries, uses, datapath, planes))
    wrong: list[str] = []
    forms = dict(_forms(entries, uses, datapath, planes, wrong))
    layers: list[LayerLayout] = []
    bases = [[0, 0] for _ in datapath.engines]  # weights, thresholds
    for i, entry in enumerate(entries):
        e = datapath.assignment[i]
        pa, packed = planes[i], bool(mappings[i, M_PACKED])
        seen = packed_layer(entry) if packed else entry
        engine = datapath.engines[e]
        producer, residual = _sources(workload, entry)
        form, made = forms.get(producer), forms.get(i)
        if producer >= 0 and form is None:
            continue
        try:
            parts = lcm(seen.layer.groups, made.consumer.groups if made else 1)
            encoding = map_encoding(seen.layer, engine, pa, parts, form)
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
        after = datapath.engines[datapath.assignment[uses[i].readers[0]]] if uses[i].readers else engine
        frames_stay = engine.lanes is after.lanes is LaneMode.BATCH and engine.dn == after.dn
        if engine.drain_lanes > 1 and not frames_stay:
            wrong.append(
                f"layer {entry.name!r}: engine {engine.shape} drains {engine.drain_lanes} lanes at once, which needs frames in "
                f"its lanes and as many in those of engine {after.shape}; use drain_lanes=1"
            )
        if residual in forms:
            wrong += residual_mistakes(entry, engine, parts, forms[residual])
        source = Source.WINDOW if packed else Source.INBOX
        if producer >= 0 and datapath.assignment[producer] == e:
            source = Source.OWN
        tiling = _cut(tilings.get(i, LayerTiling()), int(mappings[i, M_BLOCKS]))
        reads = (producer, residual)
        layers.append(_placed(i, entry, seen, encoding, form, source, datapath, reads, bases[e], tiling))
    _refuse(network, wrong)
    tensors = {p: _tensor(p, forms[p], uses[p], layers, datapath) for p in forms}
    _refuse(network, list(_token_mistakes(layers, tensors)))
    copies, own, inbox, line = _addresses(layers, tensors, datapath)
    tensors = {p: _with_words(t, copies[p], _depth(t, datapath, own, inbox)) for p, t in tensors.items()}
    layers = [replace(layer, copies=copies[layer.producer]) for layer in layers]
    streams = [_stream(layers, e, bases[e][0]) for e in range(len(bases))]
    return AcceleratorLayout(
        network,
        datapath,
        tuple(layers),
        tensors,
        tuple(own),
        tuple(inbox),
        tuple(line),
        tuple(max(1, low + words) for low, words in streams),
        tuple(max(1, b[1]) for b in bases),
        tuple(streams),
    )


def _refuse(network: LayeredNetwork, wrong: list[str]) -> None:
    if wrong:
        raise ConfigError(f"{network.name}: no accelerator can be built: " + "; ".join(wrong))


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


def _shape_mistakes(
    entries: list[IntegerLayer], uses: list[Uses], datapath: Datapath, planes: list[int]
) -> list[str]:
    wrong = []
    for i, entry in enumerate(entries):
        if planes[i] == 0:
            engine = datapath.engines[datapath.assignment[i]]
            wrong.append(f"layer {entry.name!r} does not run on engine {engine.shape}")
        if uses[i].readers:
            wrong += sharing_mistakes(entries, i, uses[i], datapath, planes)
    return wrong


def _forms(
    entries: list[IntegerLayer], uses: list[Uses], datapath: Datapath, planes: list[int], wrong: list[str]
) -> Iterator[tuple[int, MapForm]]:
    """Yields the forms of all tensors between layers by their makers; adds to `wrong` what has none."""
    for i in range(len(entries)):
        if not uses[i].readers:
            continue
        try:
            yield i, stored_form(entries, i, uses[i], datapath, planes)
        except ConfigError as error:
            wrong.append(str(error))


def _sources(workload: Workload, entry: IntegerLayer) -> tuple[int, int]:
    """Returns the makers of what a layer reads and of what it adds, -1 for none."""
    inputs = [workload.index[name] for name in entry.layer.inputs]
    return inputs[0], inputs[1] if len(inputs) > 1 else -1


def _tensor(
    producer: int, form: MapForm, uses: Uses, layers: list[LayerLayout], datapath: Datapath
) -> StoredTensor:
    reader = layers[uses.readers[0]]
    shapers = [layers[i].encoding for i in uses.inputs if layers[i].entry.layer is form.consumer]
    encoding = (
        shapers[0] if shapers else map_encoding(form.consumer, reader.encoding.engine, form.pa, 0, form)
    )
    source = Source.OWN if datapath.assignment[producer] == reader.engine else Source.INBOX
    return StoredTensor(producer, reader.engine, source, form, encoding, uses, reader.frames)


def _token_mistakes(layers: list[LayerLayout], tensors: Mapping[int, StoredTensor]) -> Iterator[str]:
    for layer in layers:
        gives = sum(t.last_reader == layer.index for t in tensors.values() if t.source is Source.INBOX)
        gives += layer.index in tensors and tensors[layer.index].source is Source.INBOX
        gives += layer.tiling.streams_weights
        if gives > GIVES:
            yield (
                f"layer {layer.name!r} ends with {gives} tokens to give, a tile can give {GIVES}; keep its weights on chip, or "
                "put it and the layers that it reads on one engine"
            )


def _entries(network: LayeredNetwork) -> list[IntegerLayer]:
    """Returns the layers in unit steps, matrix products over a map as convolutions that cover it."""
    out = []
    shapes = {
        IMAGE: (network.workload.image_channels, network.workload.image_height, network.workload.image_width)
    }
    for layer in network.workload.layers:
        entry = network.layers[layer.name].in_unit_steps()
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


def _placed(
    i: int, entry: IntegerLayer, seen: IntegerLayer, encoding: Encoding, form: MapForm | None, source: Source, datapath: Datapath,
    reads: tuple[int, int], bases: list[int], tiling: LayerTiling,
) -> LayerLayout:  # fmt: skip
    """Returns a layer with its sizes; addresses in maps come later."""
    engine, layer = encoding.engine, entry.layer
    batch = engine.lanes is LaneMode.BATCH
    (sy, sx), left = layer.stride, form.consumer.padding[1] if form else layer.padding[1]
    map_padding = 0 if source is Source.WINDOW else left  # a window has the padding in it
    buffer_rows, tile_rows = layer.in_height, tiling.rows or layer.out_height
    if i == 0 and tile_rows < layer.out_height:
        buffer_rows = min(layer.in_height, (tile_rows - 1) * sy + layer.kernel[0])
    pixel_words = (
        1 if source is Source.WINDOW else encoding.plane_groups * layer.groups * encoding.channel_words
    )
    columns = layer.in_width if batch else sx * ceil_div(ceil_div(layer.in_width + left, sx), engine.dn)
    frames = -(-datapath.batch_frames // engine.dn) if batch else datapath.batch_frames
    out = LayerLayout(
        i, datapath.assignment[i], *reads, entry, seen, encoding, source, map_padding, tiling, buffer_rows,
        pixel_words * columns, pixel_words * columns * buffer_rows, frames, (), *bases,
    )  # fmt: skip
    bases[0] += 0 if tiling.streams_weights else out.blocks * out.weight_words_per_block
    bases[1] += out.blocks
    return out


def _depth(tensor: StoredTensor, datapath: Datapath, own: list[int], inbox: list[dict[int, int]]) -> int:
    """Returns the words of the memory in which a tensor lies."""
    if tensor.source is Source.OWN:
        return own[tensor.engine]
    return inbox[tensor.engine][datapath.assignment[tensor.producer]]


def _with_words(tensor: StoredTensor, copies: tuple[int, ...], words: int) -> StoredTensor:
    """Returns a tensor with its addresses, its form knowing how deep the memory is."""
    target = replace(tensor.form.target, words=words)
    return replace(tensor, copies=copies, form=replace(tensor.form, target=target))


def _addresses(
    layers: list[LayerLayout], tensors: Mapping[int, StoredTensor], datapath: Datapath
) -> tuple[dict[int, tuple[int, ...]], list[int], list[dict[int, int]], list[int]]:
    """Gives every tensor, by its maker (-1: the image), its copies; returns also the words of own maps, inboxes and lines.

    Of what an engine makes for itself there is one copy, from its maker to its last reader. What others hand over, and what
    streams in, has two copies for good.
    """
    count = len(datapath.engines)
    own, line, inbox = [0] * count, [0] * count, [dict[int, int]() for _ in range(count)]
    copies: dict[int, tuple[int, ...]] = {}
    for e in range(count):
        place = {layer.index: k for k, layer in enumerate(x for x in layers if x.engine == e)}
        mine = [t for t in tensors.values() if t.engine == e and t.source is Source.OWN]
        lives = [Lifetime(t.words, place[t.producer], place[t.last_reader]) for t in mine]
        bases, own[e] = place_tensors(lives)
        copies |= {tensor.producer: (base,) for tensor, base in zip(mine, bases, strict=True)}
    handed = [t for t in tensors.values() if t.source is Source.INBOX]
    first = layers[0]
    image_words = first.frame_words * first.frames
    doubled = [(t.producer, t.engine, datapath.assignment[t.producer], t.words) for t in handed]
    if first.source is Source.WINDOW:
        copies[-1], line[first.engine] = (0, image_words), 2 * image_words
    else:
        doubled.insert(0, (-1, first.engine, FROM_LOADER, image_words))
    for producer, e, filler, words in doubled:
        base = inbox[e].get(filler, 0)
        copies[producer], inbox[e][filler] = (base, base + words), base + 2 * words
    return copies, own, [dict(sorted(fillers.items())) for fillers in inbox], line
