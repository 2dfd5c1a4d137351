"""What a layout computes and takes: cycles of its engines, block RAMs of its memories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import block_rams_of, geometry_table, reserve_bram36
from foldwright.accel.datapath import BYTE_BITS, Datapath, Engine
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source, streamed_words
from foldwright.accel.mapping import M_CYCLES, M_LATENCY, M_T, map_layers, set_times
from foldwright.accel.memory import store_words
from foldwright.accel.slots import byte_runs
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.tables import engine_row, engine_table, layer_table
from foldwright.netlists.part import Part

__all__ = [
    "bram36_of_layout",
    "datapath_of_layout",
    "engine_cycles",
    "layer_cycles",
    "layout_mappings",
    "loose_layers",
    "map_bits",
    "streamed_bits",
]

IntArray = npt.NDArray[np.int64]

_BLOCK_WORDS = 512


def layout_mappings(layout: AcceleratorLayout) -> IntArray:
    """Returns the mapping rows of a layout's layers, int64 (layers, MAPPING_FIELDS).

    They are those of `map_layers` with the cycles of a block as the layout's words are: blocks of a producer stand in
    slots (`accel.slots`), so that a tap may take more words than its channels would.
    """
    workload, datapath = layout.network.workload, layout.datapath
    layers, engines = layer_table(workload), engine_table(datapath.engines)
    assignment = np.array(datapath.assignment, dtype=np.int64)
    mappings: IntArray = map_layers(layers, engines, assignment, datapath.batch_frames)
    mappings[:, M_T] = [_block_cycles(layer) for layer in layout.layers]
    set_times(layers, engines, assignment, datapath.batch_frames, mappings)
    return mappings


def loose_layers(layout: AcceleratorLayout) -> list[str]:
    """Returns the layers whose blocks take longer than `map_layers` says, for slots leave bits of their words over.

    A schedule of a plan does not know them, so that its cycles are those of a layout without such layers only.
    """
    datapath = layout.datapath
    layers, engines = layer_table(layout.network.workload), engine_table(datapath.engines)
    dense = map_layers(layers, engines, np.array(datapath.assignment, dtype=np.int64), datapath.batch_frames)
    pairs = zip(layout.layers, dense[:, M_T], strict=True)
    return [layer.name for layer, cycles in pairs if _block_cycles(layer) != cycles]


def _block_cycles(layer: LayerLayout) -> int:
    inner = layer.seen.layer.taps * layer.encoding.channel_words
    return sum(step.duration if step.idle else inner for step in layer.encoding.steps)


def layer_cycles(layout: AcceleratorLayout) -> list[int]:
    """Returns the cycles of each layer's tiles in a round."""
    rows = zip(layout.layers, layout_mappings(layout), strict=True)
    return [int(mapping[M_CYCLES] + len(layer.order) * mapping[M_LATENCY]) for layer, mapping in rows]


def engine_cycles(layout: AcceleratorLayout) -> list[int]:
    """Returns the cycles of each engine's tiles in a round."""
    out = [0] * len(layout.engines)
    for layer, cycles in zip(layout.layers, layer_cycles(layout), strict=True):
        out[layer.engine] += cycles
    return out


def streamed_bits(layout: AcceleratorLayout) -> int:
    """Returns the bits of weights that stream in a round."""
    return sum(
        sum(streamed_words(layer)) * layer.encoding.engine.weight_width_bits
        for layer in layout.layers
        if layer.tiling.streams_weights
    )


def bram36_of_layout(layout: AcceleratorLayout, part: Part) -> int:
    """Returns the block RAMs of all memories, whole blocks each, programs and results on their way to DRAM included."""
    table = geometry_table(part.block_ram)
    total = reserve_bram36(datapath_of_layout(layout), part)
    for e, engine in enumerate(layout.engines):
        line = [layer.entry.layer for layer in layout.of_engine(e) if layer.source is Source.WINDOW]
        pixel_bits = line[0].in_channels * line[0].act_bits if line else 0
        line_bits = engine.dn * -(-pixel_bits // BYTE_BITS) * BYTE_BITS
        inboxes = (
            (map_bits(engine, (engine if filler == FROM_LOADER else layout.engines[filler]).byte_bits), words)
            for filler, words in layout.inbox_words[e].items()
        )
        memories = (
            (engine.weight_width_bits, layout.weight_words[e]),
            (map_bits(engine, engine.byte_bits), layout.own_words[e]),
            *inboxes,
            (line_bits, layout.line_words[e]),
        )
        total += sum(int(block_rams_of(width, words, table)) for width, words in memories)
    return total


def map_bits(engine: Engine, byte_bits: int) -> int:
    """Returns the width of a feature map whose writer writes bytes of `byte_bits`."""
    return engine.dn * len(byte_runs(engine.dk, engine.planes_per_word, byte_bits)) * BYTE_BITS


def datapath_of_layout(layout: AcceleratorLayout) -> Datapath:
    """Returns the datapath with memories as deep as the layout's, own map and inboxes as one, each whole blocks of words."""
    engines = [
        replace(
            engine,
            weight_words=layout.weight_words[e],
            threshold_words=layout.threshold_words[e],
            map_words=_words_of_maps([layout.own_words[e], *(layout.inbox_words[e].values() or [0])]),
            line_words=layout.line_words[e],
        )
        for e, engine in enumerate(layout.datapath.engines)
    ]
    table = layer_table(layout.network.workload)
    storing = np.array(engine_row(layout.engines[layout.layers[-1].engine]), dtype=np.int64)
    store = int(store_words(table[-1], storing, layout.datapath.batch_frames))
    return replace(layout.datapath, engines=tuple(engines), store_words=store)


def _words_of_maps(words: list[int]) -> int:
    """Returns how deep maps are as one, all but the last whole blocks of words."""
    return sum(-(-count // _BLOCK_WORDS) * _BLOCK_WORDS for count in words[:-1]) + words[-1]
