"""The programs of the engines: what every tile sets, waits for and gives.

A program covers two rounds, because the two copies of whatever is handed over alternate, and then starts again. Only
fields that change are set. Tokens are numbered here for the whole accelerator:

| token | given by | taken by | at the start |
|---|---|---|---|
| image loaded | loader, per load of rows of the first layer | first engine | 0 |
| image free | first engine, per load | loader | 2 |
| weights loaded | loader, per tile of streamed weights of an engine | that engine | 0 |
| weights free | that engine, per tile of streamed weights | loader | 2 |
| tensor full | its producer | its first reader, where that is another engine | 0 |
| tensor free | its last reader | its producer | 2 |
| results free | storer, per round | last engine | 2 |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from foldwright.accel.datapath import LaneMode
from foldwright.accel.images import MapWindow, Tile, tile_program
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source
from foldwright.accel.mapping import ceil_div
from foldwright.accel.residual_program import ResidualShape, residual_fields
from foldwright.accel.rtl.complete import EngineShape
from foldwright.accel.rtl.program import EXTRA_FIELDS, Field, TileProgram, slot_words, step_words, word
from foldwright.accel.rtl.sequencer import inbox_source
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.tilings import LayerTile
from foldwright.accel.workload import ResultKind
from foldwright.accel.writer_program import MapPlace, WriterTile, pool_entries, writer_fields
from foldwright.accel.writer_shape import WriterShape
from foldwright.errors import ConfigError

__all__ = [
    "ROUNDS_OF_PROGRAM",
    "RunTile",
    "Tokens",
    "code_offset",
    "core_program",
    "executor_words",
    "extra_fields",
    "idle_code_of",
    "run_tiles",
    "source_number",
    "tokens_of",
    "writer_tile",
]

ROUNDS_OF_PROGRAM = 2


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token numbers. `full` and `free` are by the layer that makes the tensor, -1 for the image.

    `weights_full` and `weights_free` are by the engine whose weights stream.
    """

    full: dict[int, int]
    free: dict[int, int]
    weights_full: dict[int, int]
    weights_free: dict[int, int]
    results_free: int
    count: int

    @property
    def initial(self) -> dict[int, int]:
        """How many of each token there are at the start."""
        return dict.fromkeys((*self.free.values(), *self.weights_free.values(), self.results_free), 2)


def tokens_of(layout: AcceleratorLayout) -> Tokens:
    """Numbers the tokens of an accelerator."""
    full, free = {}, {}
    weights_full, weights_free = {}, {}
    number = 0
    for producer in (-1, *layout.tensors):
        if producer < 0 or layout.tensors[producer].source is Source.INBOX:
            full[producer], free[producer] = number, number + 1
            number += 2
    for engine, (_, words) in enumerate(layout.streams):
        if words:
            weights_full[engine], weights_free[engine] = number, number + 1
            number += 2
    return Tokens(full, free, weights_full, weights_free, number, number + 1)


@dataclass(frozen=True, slots=True)
class RunTile:
    """One `GO`: a tile of a layer in one of the two rounds, number `place` of the layer's.

    `copy` is that of its input, `weight_base` the first word of its weights.
    """

    layer: LayerLayout
    round: int
    place: int
    copy: int
    weight_base: int

    @property
    def cut(self) -> LayerTile:
        return self.layer.order[self.place]

    @property
    def is_first(self) -> bool:
        return self.place == 0

    @property
    def is_last(self) -> bool:
        return self.place + 1 == len(self.layer.order)

    @property
    def takes_rows(self) -> bool:
        """Whether its rows are others than those of the tile before."""
        return self.is_first or self.layer.order[self.place - 1].row_tile != self.cut.row_tile

    @property
    def leaves_rows(self) -> bool:
        return self.is_last or self.layer.order[self.place + 1].row_tile != self.cut.row_tile

    @property
    def takes_weights(self) -> bool:
        """Whether streamed weights come for it."""
        before = self.layer.order[self.place - 1]
        return self.layer.tiling.streams_weights and (self.is_first or before.part != self.cut.part)

    @property
    def leaves_weights(self) -> bool:
        if not self.layer.tiling.streams_weights:
            return False
        return self.is_last or self.layer.order[self.place + 1].part != self.cut.part


def run_tiles(layout: AcceleratorLayout, engine: int) -> Iterator[RunTile]:
    """Yields the tiles that an engine runs in two rounds, in order.

    Streamed weights lie at the low end of their part of the memory and at its high end in turns.
    """
    low, size = layout.streams[engine]
    loads = base = 0
    rows_loaded = dict.fromkeys((layer.index for layer in layout.of_engine(engine)), -1)
    for round_ in range(ROUNDS_OF_PROGRAM):
        for layer in layout.of_engine(engine):
            for place, cut in enumerate(layer.order):
                run = RunTile(layer, round_, place, 0, 0)
                if run.takes_weights:
                    words = cut.blocks_count * layer.weight_words_per_block
                    base = low if loads % 2 == 0 else low + size - words
                    loads += 1
                if not layer.tiling.streams_weights:
                    base = layer.weight_base + cut.first_block * layer.weight_words_per_block
                rows_loaded[layer.index] += run.takes_rows
                turn = rows_loaded[layer.index] if layer.producer < 0 else round_
                yield replace(run, copy=turn % len(layer.copies), weight_base=base)


def executor_words(layout: AcceleratorLayout, engine: int, shape: EngineShape, tokens: Tokens) -> list[int]:
    """Returns the program of an engine.

    Raises:
        ConfigError: the writer cannot do a tile.
    """
    words: list[int] = []
    have: dict[int, int] = {}
    tables: tuple[list[int], list[int]] = ([], [])
    round_ = 0
    for run in run_tiles(layout, engine):
        if run.round != round_:
            words.append(word(Field.ROUND, 0))
            round_ = run.round
        program = core_program(layout, run)
        fields = {int(k): v for k, v in program.fields.items()} | extra_fields(layout, run, shape)
        new = (step_words(program), slot_words(program))
        changed = [w for now, before in zip(new, tables, strict=True) if now != before for w in now]
        if changed:  # table words pass through the registers of the fields they set
            tables = new
        words += [word(field, value) for field, value in fields.items() if have.get(field) != value]
        words += changed
        have |= fields
        words += [word(Field.WAIT, token) for token in _waits(layout, run, tokens)]
        gives = _gives(layout, run, tokens)
        words.append(word(Field.GO, sum((token + 1) << 8 * k for k, token in enumerate(gives))))
    return [*words, word(Field.ROUND, 0), word(Field.JUMP, 0)]


def _waits(layout: AcceleratorLayout, run: RunTile, tokens: Tokens) -> list[int]:
    layer, out = run.layer, []
    if layer.producer < 0 and run.takes_rows:
        out.append(tokens.full[-1])
    for tensor in layout.tensors_read(layer):
        if tensor.producer in tokens.full and run.is_first and tensor.first_reader == layer.index:
            out.append(tokens.full[tensor.producer])
    if run.takes_weights:
        out.append(tokens.weights_full[layer.engine])
    if run.is_first:
        if layer.index not in layout.tensors:
            out.append(tokens.results_free)
        elif layer.index in tokens.free:
            out.append(tokens.free[layer.index])
    return out


def _gives(layout: AcceleratorLayout, run: RunTile, tokens: Tokens) -> list[int]:
    layer, out = run.layer, []
    if layer.producer < 0 and run.leaves_rows:
        out.append(tokens.free[-1])
    for tensor in layout.tensors_read(layer):
        if tensor.producer in tokens.free and run.is_last and tensor.last_reader == layer.index:
            out.append(tokens.free[tensor.producer])
    if run.leaves_weights:
        out.append(tokens.weights_free[layer.engine])
    if layer.index in tokens.full and run.is_last:
        out.append(tokens.full[layer.index])
    return out


def source_number(layout: AcceleratorLayout, engine: int, source: Source, producer: int) -> int:
    """Returns the number by which an engine's program names the map of what a layer makes, -1 for the image."""
    if source is not Source.INBOX:
        return int(source)
    filler = layout.layers[producer].engine if producer >= 0 else FROM_LOADER
    return inbox_source(list(layout.inbox_words[engine]).index(filler))


def core_program(layout: AcceleratorLayout, run: RunTile) -> TileProgram:
    """Returns what the sequencer needs for a tile."""
    layer, encoding, cut = run.layer, run.layer.encoding, run.cut
    tile = Tile(cut.groups, cut.blocks, cut.rows, Tile.whole(encoding).columns)
    lanes = encoding.engine.dn if encoding.engine.lanes is LaneMode.BATCH else 0
    rows = layer.held_rows(cut.row_tile)
    if layer.source is Source.WINDOW:
        rows = (0, layer.seen.layer.in_height)
    groups = layer.seen.layer.in_width
    if not lanes:
        seen = layer.seen.layer
        groups = ceil_div(ceil_div(seen.in_width + layer.map_padding, seen.stride[1]), encoding.engine.dn)
    source = source_number(layout, layer.engine, layer.source, layer.producer)
    program = tile_program(
        encoding,
        tile,
        MapWindow(rows, (0, groups)),
        map_base=layer.copies[run.copy],
        weight_base=run.weight_base,
        threshold_base=layer.threshold_base + cut.first_block,
        interval=layout.beat_interval(layer),
        map_padding=layer.map_padding,
        residual_reads=layout.residual_reads(layer),
    )
    changes = {
        Field.FRAMES: layer.frames,
        Field.MAP_PER_FRAME: layer.frame_words,
        Field.SOURCE: source,
    }
    if layer.source is Source.WINDOW:  # the window counts for itself; words are numbered from 0
        still = (
            Field.MAP_BASE, Field.MAP_PER_GROUP, Field.MAP_PER_FRAME, Field.MAP_PER_ROW, Field.MAP_PER_COLUMN,
            Field.MAP_PER_KERNEL_ROW,
        )  # fmt: skip
        changes |= dict.fromkeys(still, 0)
    return replace(program, fields=program.fields | changes)


def extra_fields(layout: AcceleratorLayout, run: RunTile, shape: EngineShape) -> dict[int, int]:
    """Returns the fields of writer, window and residual for a tile, by number."""
    fields = {f"writer.{name}": value for name, value in _writer_fields(layout, run, shape).items()}
    if run.layer.source is Source.WINDOW:
        fields |= {f"window.{name}": value for name, value in _window_fields(run).items()}
    if shape.residual is not None:
        fields |= {
            f"residual.{name}": value for name, value in _residual_fields(layout, run, shape.residual).items()
        }
    return {EXTRA_FIELDS + k: fields[name] for k, name in enumerate(shape.extra_names) if name in fields}


def _writer_fields(layout: AcceleratorLayout, run: RunTile, shape: EngineShape) -> dict[str, int]:
    layer, place = run.layer, None
    if layer.index in layout.tensors:
        tensor = layout.tensors[layer.index]
        copy = run.round % len(tensor.copies)
        place = MapPlace(tensor.form, shape.targets.index(tensor.engine), tensor.copies[copy])
    tile = writer_tile(layout, layer, run.cut, shape.writer)
    return writer_fields(shape.writer, replace(tile, place=place, code_offset=code_offset(layout, layer)))


def writer_tile(
    layout: AcceleratorLayout, layer: LayerLayout, cut: LayerTile, writer: WriterShape
) -> WriterTile:
    """Returns what a tile is to the writer; where its results go is still open.

    Where all blocks pass before the next rows, every tile of blocks keeps its own entries of the row memory.
    """
    first = cut.first_block
    tile = WriterTile(
        layer=layer.entry.layer,
        blocks=(first, first + cut.blocks_count),
        rows=cut.rows,
        frames=layout.datapath.batch_frames,
        raw=layer.entry.layer.result is ResultKind.RAW,
    )
    if first == 0 or not layer.tiling.rows_outside:
        return tile
    return replace(tile, pool_base=pool_entries(writer, replace(tile, blocks=(0, first))))


def code_offset(layout: AcceleratorLayout, layer: LayerLayout) -> int:
    """Returns what the writer adds to a result to get the stored activation: how the reader holds the lowest value."""
    if layer.index not in layout.tensors:
        return 0
    encoding, lowest = layout.tensors[layer.index].encoding, layout.lowest_of(layer)
    if layout.residual_of(layer) is None:
        return int(encoding.act_bits_of(np.array([lowest]))[0])
    return int(encoding.act_bits_of(np.array([0]))[0]) + lowest  # the lowest sum alone may have no code


def idle_code_of(layout: AcceleratorLayout, layer: LayerLayout) -> int:
    """Returns the code of rows without a channel: it must be stored as 0 behind the writer's offset.

    Raises:
        ConfigError: a layer has such rows, and no code of its search does that.
    """
    bits = layer.encoding.engine.levels.bit_length()
    if layer.index not in layout.tensors:
        return 0
    idle = _idle_code(layout, layer, bits)
    form = layout.tensors[layer.index].form
    has_idle_rows = layer.entry.layer.out_channels % (layer.encoding.engine.dm * form.parts)
    if idle is None:
        if has_idle_rows:
            raise ConfigError(
                f"layer {layer.name!r} has {layer.entry.layer.out_channels} channels in {form.parts} parts, no whole blocks of "
                f"dm={layer.encoding.engine.dm}; rows without a channel cannot be stored as 0 at these offsets, so choose dm "
                "to divide the parts"
            )
        return 0
    return idle


def _idle_code(layout: AcceleratorLayout, layer: LayerLayout, bits: int) -> int | None:
    """Returns the code of a search of so many bits that becomes 0 behind residual, pooling and offset; None for none."""
    form, added = layout.tensors[layer.index].form, layout.residual_of(layer)
    beside, offset = added.sign_bit if added else 0, code_offset(layout, layer)
    averages = layer.entry.layer.averages
    if added is None and not averages and layout.result_bits(layer.engine) == bits:
        return -offset % (1 << bits)
    written = min(layout.result_bits(layer.engine), form.plane_groups * form.pa)
    pool = layer.entry.layer.pool
    counts = {1}
    if pool is not None and averages:  # padding takes pixels off a window
        counts = {pool.area} if not any(pool.padding) else set(range(1, pool.area + 1))
    codes = (
        code
        for code in range(1 << bits)
        if all((count * (code + beside) + offset) % (1 << written) == 0 for count in counts)
    )
    return next(codes, None)


def _residual_fields(layout: AcceleratorLayout, run: RunTile, shape: ResidualShape) -> dict[str, int]:
    tensor = layout.residual_of(run.layer)
    if tensor is None:
        return {"add": 0}
    return residual_fields(
        shape,
        tensor.form,
        run.cut.first_block,
        run.cut.rows[0],
        base=tensor.copies[run.round % len(tensor.copies)],
        source=source_number(layout, tensor.engine, tensor.source, tensor.producer),
        sign_bit=tensor.sign_bit,
    )


def _window_fields(run: RunTile) -> dict[str, int]:
    layer, engine = run.layer, run.layer.encoding.engine
    true, batch = layer.entry.layer, engine.lanes is LaneMode.BATCH
    rows = run.cut.rows
    first = rows[0] * true.stride[0] - true.padding[0]
    real = layer.held_rows(run.cut.row_tile)[0]
    return {
        "blocks": run.cut.blocks_count,
        "frames": layer.frames,
        "rows": rows[1] - rows[0],
        "columns": true.out_width if batch else -(-true.out_width // engine.dn),
        "base": layer.copies[run.copy] + (first - real) * layer.row_words,
        "row_words": layer.row_words,
        "frame_words": layer.frame_words,
        "first_row": first,
        "in_height": true.in_height,
        "in_width": true.in_width,
    }
