"""What a layout computes and takes: cycles of its engines, block RAMs of its memories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foldwright.accel.cost import block_rams_of, geometry_table, reserve_bram36
from foldwright.accel.datapath import BYTE_BITS, Datapath, Engine, LaneMode
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source, streamed_words
from foldwright.accel.memory import store_words
from foldwright.accel.slots import byte_runs
from foldwright.accel.tables import engine_row, layer_table
from foldwright.accel.window_time import row_stall, window_interval
from foldwright.netlists.part import Part

__all__ = [
    "bram36_of_layout",
    "datapath_of_layout",
    "engine_cycles",
    "layer_cycles",
    "map_bits",
    "streamed_bits",
]

_BLOCK_WORDS = 512


def engine_cycles(layout: AcceleratorLayout, engine: int) -> int:
    """Returns the cycles that an engine computes in a round, tile latencies left out."""
    return sum(layer_cycles(layout, layer) for layer in layout.of_engine(engine))


def layer_cycles(layout: AcceleratorLayout, layer: LayerLayout) -> int:
    """Returns the cycles that an engine computes for a layer in a round."""
    encoding, seen = layer.encoding, layer.seen.layer
    engine = encoding.engine
    inner = seen.taps * encoding.channel_words
    cycles = sum(step.duration if step.idle else inner for step in encoding.steps)
    cycles = max(cycles, layout.beat_interval(layer))
    batch = engine.lanes is LaneMode.BATCH
    columns = seen.out_width if batch else -(-seen.out_width // engine.dn)
    rows = layer.blocks * layer.frames * seen.out_height
    stalls = 0
    if layer.source is Source.WINDOW:
        true, lanes = layer.entry.layer, 1 if batch else engine.dn
        stalls = rows * row_stall(true.kernel, true.stride[1], lanes, cycles)
        cycles = window_interval(true.kernel, true.stride[1], lanes, cycles)
    return rows * columns * cycles + stalls


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
        reads = [
            layer for layer in layout.of_engine(e) if layer.source is Source.INBOX and layer.form is not None
        ]
        inbox_bytes = reads[0].form.target.byte_bits if reads and reads[0].form else engine.byte_bits
        line = [layer.entry.layer for layer in layout.of_engine(e) if layer.source is Source.WINDOW]
        pixel_bits = line[0].in_channels * line[0].act_bits if line else 0
        line_bits = engine.dn * -(-pixel_bits // BYTE_BITS) * BYTE_BITS
        memories = (
            (engine.weight_width_bits, layout.weight_words[e]),
            (map_bits(engine, engine.byte_bits), layout.own_words[e]),
            (map_bits(engine, inbox_bytes), layout.inbox_words[e]),
            (line_bits, layout.line_words[e]),
        )
        total += sum(int(block_rams_of(width, words, table)) for width, words in memories)
    return total


def map_bits(engine: Engine, byte_bits: int) -> int:
    """Returns the width of a feature map whose writer writes bytes of `byte_bits`."""
    return engine.dn * len(byte_runs(engine.dk, engine.planes_per_word, byte_bits)) * BYTE_BITS


def datapath_of_layout(layout: AcceleratorLayout) -> Datapath:
    """Returns the datapath with memories as deep as the layout's, own map and inbox as one, each whole blocks of words."""
    engines = [
        replace(
            engine,
            weight_words=layout.weight_words[e],
            threshold_words=layout.threshold_words[e],
            map_words=max(1, -(-layout.own_words[e] // _BLOCK_WORDS) * _BLOCK_WORDS + layout.inbox_words[e]),
            line_words=layout.line_words[e],
        )
        for e, engine in enumerate(layout.datapath.engines)
    ]
    table = layer_table(layout.network.workload)
    storing = np.array(engine_row(layout.engines[layout.layers[-1].engine]), dtype=np.int64)
    store = int(store_words(table[-1], storing, layout.datapath.batch_frames))
    return replace(layout.datapath, engines=tuple(engines), store_words=store)
