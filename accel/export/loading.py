"""The loader's program, and the constants in DRAM that it fetches: programs, weights and thresholds of all engines.

Before the rounds the loader fills every memory and gives the tokens that stand at the start; then, two rounds to a
turn like the engines' programs, it brings the rows of each tile of the first layer as soon as a copy is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foldwright.accel.datapath import LaneMode
from foldwright.accel.encoding import fold_thresholds
from foldwright.accel.export.dram import packed_words, pixel_bytes
from foldwright.accel.export.executor import ROUNDS_OF_PROGRAM, Tokens, code_offset
from foldwright.accel.images import Tile, block_channels, weight_image
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source
from foldwright.accel.rtl.complete import DESTS_OF_ENGINE, LoadKind
from foldwright.accel.rtl.loader_program import (
    NO_TOKEN,
    Instruction,
    Jump,
    Label,
    LoaderField,
    Transfer,
    loader_words,
)
from foldwright.accel.rtl.program import WORD_BITS, threshold_bits

__all__ = ["Section", "constants_of", "image_frame_bytes", "loading_words"]

_ALIGN_BYTES = 64


@dataclass(frozen=True, slots=True)
class Section:
    """One memory's contents in DRAM: `words` of `word_bits`, each padded to beats, at `offset` behind the weights base."""

    name: str
    dest: int
    offset: int
    word_bits: int
    words: int
    body: bytes


def constants_of(
    layout: AcceleratorLayout, programs: Mapping[int, list[int]], dram_bits: int, offset: int = 0
) -> list[Section]:
    """Returns programs, weights and thresholds of all engines, one behind the other from `offset` on."""
    sections: list[Section] = []
    for e, engine in enumerate(layout.engines):
        weights, thresholds = _images(layout, e)
        contents = {
            LoadKind.PROGRAM: ("program", programs[e], WORD_BITS),
            LoadKind.WEIGHTS: ("weights", weights, engine.weight_width_bits),
        }
        if engine.levels:
            contents[LoadKind.THRESHOLDS] = ("thresholds", thresholds, engine.dm * threshold_bits(engine))
        for kind, (name, words, bits) in contents.items():
            body = packed_words(words, bits, dram_bits)
            sections.append(
                Section(f"engine{e}.{name}", e * DESTS_OF_ENGINE + kind, offset, bits, len(words), body)
            )
            offset += -(-len(body) // _ALIGN_BYTES) * _ALIGN_BYTES
    return sections


def _images(layout: AcceleratorLayout, engine: int) -> tuple[list[int], list[int]]:
    weights: list[int] = []
    thresholds: list[int] = []
    for layer in layout.of_engine(engine):
        encoding, entry = layer.encoding, layer.seen
        tile = Tile.whole(encoding)
        assert (len(weights), len(thresholds)) == (layer.weight_base, layer.threshold_base)
        weights += weight_image(encoding, entry.weights, tile)
        blocks = block_channels(encoding, tile)
        if entry.thresholds is None:
            thresholds += [0] * len(blocks)
            continue
        # Rows without a channel must be 0 where the writer has added its offset.
        idle_code = -code_offset(layout, layer) % (1 << encoding.engine.levels.bit_length())
        thresholds += fold_thresholds(entry, encoding).words(encoding.engine, blocks, idle_code)
    return weights, thresholds


def image_frame_bytes(layout: AcceleratorLayout, dram_bits: int) -> int:
    """Returns the bytes of one frame of the image."""
    layer = layout.layers[0]
    return pixel_bytes(layer, dram_bits) * layer.entry.layer.in_height * layer.entry.layer.in_width


def loading_words(
    layout: AcceleratorLayout, sections: list[Section], tokens: Tokens, dram_bits: int
) -> list[int]:
    """Returns the loader's program."""
    steps: list[Instruction | Transfer | Label | Jump] = []
    loaded = tokens.count  # a token of the loader's own: all constants have arrived
    for section in sections:
        beats = -(-section.word_bits // dram_bits)
        most = (1 << 16) - 1
        assert section.words <= most
        token = loaded if section is sections[-1] else NO_TOKEN
        steps.append(
            Transfer(section.offset, section.dest, pixels=section.words, beats=beats, give_after=token)
        )
    steps.append(Instruction(LoaderField.WAIT, loaded))
    steps += [
        Instruction(LoaderField.GIVE, token) for token, count in tokens.initial.items() for _ in range(count)
    ]
    steps += [Instruction(LoaderField.START_ENGINES), Label("rounds")]
    layer = layout.layers[0]
    for round_ in range(ROUNDS_OF_PROGRAM):
        for tile in range(layer.tiles):
            copy = (round_ * layer.tiles + tile) % len(layer.copies)
            steps.append(Instruction(LoaderField.WAIT, tokens.free[0]))
            steps.append(_image_transfer(layout, layer, tile, copy, tokens.full[0], dram_bits))
        steps.append(Instruction(LoaderField.ROUND))
    return loader_words([*steps, Jump("rounds")])


def _image_transfer(
    layout: AcceleratorLayout, layer: LayerLayout, tile: int, copy: int, token: int, dram_bits: int
) -> Transfer:
    true, engine = layer.entry.layer, layer.encoding.engine
    low, high = layer.input_rows(tile) if layer.tiles > 1 else (0, true.in_height)
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
    return Transfer(
        source=low * true.in_width * pixel,
        dest=layer.engine * DESTS_OF_ENGINE + LoadKind.INPUT,
        image=True,
        address=layer.copies[copy] + phase * words + (0 if batch else group * stride * words),
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
        give_after=token,
    )
