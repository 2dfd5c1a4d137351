"""The loader's program, and the constants in DRAM that it fetches: programs, weights and thresholds of all engines.

Before the rounds the loader fills every memory and gives the tokens that stand at the start; then, two rounds to a
turn like the engines' programs, it brings the rows of each tile of the first layer as soon as a copy is free, and streamed
weights as soon as their place is. Where weights stream it runs ahead of the rounds and does not end by itself: behind the
last round it loads what a further one would need, until the engines have ended for which it loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from foldwright.accel.datapath import LaneMode
from foldwright.accel.export.dram import packed_words, pixel_bytes
from foldwright.accel.export.executor import ROUNDS_OF_PROGRAM, RunTile, Tokens, idle_code_of
from foldwright.accel.export.loads import Load, image_loads, load_order
from foldwright.accel.images import Tile, block_channels, weight_image
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source
from foldwright.accel.rtl.complete import DESTS_OF_ENGINE, LoadKind
from foldwright.accel.rtl.loader_program import (
    NO_TOKEN,
    Instruction,
    Jump,
    Label,
    LoaderField,
    Statement,
    Transfer,
    loader_words,
    wait_for,
)
from foldwright.accel.rtl.program import WORD_BITS, threshold_bits
from foldwright.accel.scaling import result_words

__all__ = ["Section", "constants_of", "image_frame_bytes", "loading_words"]

_ALIGN_BYTES = 64


@dataclass(frozen=True, slots=True)
class Section:
    """One memory's contents in DRAM: `words` of `word_bits`, each padded to beats, at `offset` behind the weights base.

    Where `layer` is not None, they are its weights, which stream; else the memory is filled once.
    """

    name: str
    dest: int
    offset: int
    word_bits: int
    words: int
    body: bytes
    layer: int | None = None


def constants_of(
    layout: AcceleratorLayout, programs: Mapping[int, list[int]], dram_bits: int, offset: int = 0
) -> list[Section]:
    """Returns programs, weights and thresholds of all engines, one behind the other from `offset` on."""
    sections: list[Section] = []
    for e, engine in enumerate(layout.engines):
        weights, thresholds = _images(layout, e)
        contents: list[tuple[str, LoadKind, list[int], int, int | None]] = [
            ("program", LoadKind.PROGRAM, programs[e], WORD_BITS, None)
        ]
        if weights:
            contents.append(("weights", LoadKind.WEIGHTS, weights, engine.weight_width_bits, None))
        if engine.levels:
            bits = engine.dm * threshold_bits(engine)
            contents.append(("thresholds", LoadKind.THRESHOLDS, thresholds, bits, None))
        for layer in layout.of_engine(e):
            if layer.tiling.streams_weights:
                words = _weights_of(layer)
                name = f"weights.{layer.name}"
                contents.append((name, LoadKind.WEIGHTS, words, engine.weight_width_bits, layer.index))
        for name, kind, words, bits, index in contents:
            body = packed_words(words, bits, dram_bits)
            dest = e * DESTS_OF_ENGINE + kind
            sections.append(Section(f"engine{e}.{name}", dest, offset, bits, len(words), body, index))
            offset += -(-len(body) // _ALIGN_BYTES) * _ALIGN_BYTES
    return sections


def _weights_of(layer: LayerLayout) -> list[int]:
    return weight_image(layer.encoding, layer.seen.weights, Tile.whole(layer.encoding))


def _images(layout: AcceleratorLayout, engine: int) -> tuple[list[int], list[int]]:
    weights: list[int] = []
    thresholds: list[int] = []
    for layer in layout.of_engine(engine):
        encoding, entry = layer.encoding, layer.seen
        tile = Tile.whole(encoding)
        assert (len(weights), len(thresholds)) == (layer.weight_base, layer.threshold_base)
        weights += [] if layer.tiling.streams_weights else _weights_of(layer)
        blocks = block_channels(encoding, tile)
        if entry.thresholds is None:
            thresholds += [0] * len(blocks)
            continue
        idle_code = idle_code_of(layout, layer)
        thresholds += result_words(entry, encoding, blocks, idle_code)
    return weights, thresholds


def image_frame_bytes(layout: AcceleratorLayout, dram_bits: int) -> int:
    """Returns the bytes of one frame of the image."""
    layer = layout.layers[0]
    return pixel_bytes(layer, dram_bits) * layer.entry.layer.in_height * layer.entry.layer.in_width


def loading_words(
    layout: AcceleratorLayout, sections: list[Section], tokens: Tokens, dram_bits: int
) -> list[int]:
    """Returns the loader's program."""
    steps: list[Statement] = []
    loaded = tokens.count  # a token of the loader's own: all constants have arrived
    kept = [section for section in sections if section.layer is None]
    for section in kept:
        beats = -(-section.word_bits // dram_bits)
        most = (1 << 16) - 1
        assert section.words <= most
        token = loaded if section is kept[-1] else NO_TOKEN
        steps.append(
            Transfer(section.offset, section.dest, pixels=section.words, beats=beats, give_after=token)
        )
    steps.append(Instruction(LoaderField.WAIT, loaded))
    steps += [
        Instruction(LoaderField.GIVE, token) for token, count in tokens.initial.items() for _ in range(count)
    ]
    steps.append(Instruction(LoaderField.START_ENGINES, _fed(layout) if layout.streams_weights else 0))
    streamed = {section.layer: section for section in sections if section.layer is not None}

    def transfer(load: Load) -> list[Statement]:
        if load.is_weights:
            return _weights_steps(load.run, streamed[load.run.layer.index], tokens, dram_bits)
        return _image_steps(layout, load.run, tokens, dram_bits)

    steps += _ahead(layout, transfer) if layout.streams_weights else _by_rounds(layout, transfer)
    return loader_words([*steps, Jump("rounds")])


def _fed(layout: AcceleratorLayout) -> int:
    """Returns a bit per engine for which something comes while it runs."""
    fed = {layer.engine for layer in layout.layers if layer.tiling.streams_weights or layer.producer < 0}
    return sum(1 << engine for engine in fed)


def _by_rounds(layout: AcceleratorLayout, transfer: Callable[[Load], list[Statement]]) -> Iterator[Statement]:
    """Yields the loads of images, which end with the last round."""
    yield Label("rounds")
    for round_ in range(ROUNDS_OF_PROGRAM):
        for load in image_loads(layout):
            if load.run.round == round_:
                yield from transfer(load)
        yield Instruction(LoaderField.ROUND)


def _ahead(layout: AcceleratorLayout, transfer: Callable[[Load], list[Statement]]) -> Iterator[Statement]:
    """Yields loads of weights and images in one order, without an end."""
    begin, rounds = load_order(layout)
    first = True
    for place, load in enumerate([*begin, *rounds]):
        if place == len(begin):
            yield Label("rounds")
        if not load.is_weights and load.run.is_first:
            if not first:
                yield Instruction(LoaderField.NEXT_IMAGE)
            first = False
        yield from transfer(load)


def _weights_steps(run: RunTile, section: Section, tokens: Tokens, dram_bits: int) -> list[Statement]:
    layer, beats = run.layer, -(-section.word_bits // dram_bits)
    before = run.cut.first_block * layer.weight_words_per_block
    load = Transfer(
        source=section.offset + before * beats * dram_bits // 8,
        dest=section.dest,
        address=run.weight_base,
        pixels=run.cut.blocks_count * layer.weight_words_per_block,
        beats=beats,
        give_after=tokens.weights_full[layer.engine],
    )
    return [wait_for(tokens.weights_free[layer.engine], layer.engine), load]


def _image_steps(layout: AcceleratorLayout, run: RunTile, tokens: Tokens, dram_bits: int) -> list[Statement]:
    layer = run.layer
    true, engine = layer.entry.layer, layer.encoding.engine
    low, high = layer.held_rows(run.cut.row_tile)
    pixel = pixel_bytes(layer, dram_bits)
    is_window = layer.source is Source.WINDOW
    words = (
        1
        if is_window
        else layer.encoding.plane_groups * layer.encoding.layer.groups * layer.encoding.channel_words
    )
    beats = pixel // (dram_bits // 8) // words
    batch = engine.lanes is LaneMode.BATCH
    stride, left = (1, 0) if batch else (true.stride[1], true.padding[1])
    lane, phase = divmod(left, stride)
    group, lane = divmod(lane, engine.dn)
    load = Transfer(
        source=low * true.in_width * pixel,
        dest=layer.engine * DESTS_OF_ENGINE + LoadKind.INPUT,
        image=True,
        address=layer.copies[run.copy] + phase * words + (0 if batch else group * stride * words),
        frames=layout.datapath.batch_frames,
        rows=high - low,
        pixels=true.in_width,
        words=words,
        beats=beats,
        frame_bytes=image_frame_bytes(layout, dram_bits),
        frame_step=layer.frame_words,
        row_step=layer.row_words,
        pixel_step=words,
        phase_back=-(stride - 1) * words,
        group_step=words,
        stride=stride,
        phase_start=phase,
        lanes=engine.dn,
        lane_start=0 if batch else lane,
        batch=batch,
        give_after=tokens.full[-1],
    )
    return [wait_for(tokens.free[-1], layer.engine if layout.streams_weights else None), load]
