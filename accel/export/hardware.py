"""What hardware a layout needs: the shapes from which `foldwright.accel.rtl` builds an accelerator."""

from __future__ import annotations

from dataclasses import replace

from foldwright.accel.cost import geometry_table, half_blocks_of
from foldwright.accel.datapath import BYTE_BITS, Engine, LaneMode
from foldwright.accel.export.executor import executor_words, source_number, tokens_of, writer_tile
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source
from foldwright.accel.memory import store_depth
from foldwright.accel.residual_program import ResidualShape
from foldwright.accel.rtl.accelerator import AcceleratorShape
from foldwright.accel.rtl.banks import SHALLOW_WORDS
from foldwright.accel.rtl.complete import EngineShape, InboxShape
from foldwright.accel.rtl.memory_side import MemorySideParams
from foldwright.accel.rtl.program import WORD_BITS
from foldwright.accel.rtl.residual import code_cycles
from foldwright.accel.rtl.window import WindowShape
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.workload import ActKind
from foldwright.accel.writer_program import pool_entries
from foldwright.accel.writer_shape import MapTarget, WriterShape
from foldwright.netlists.part import Part

__all__ = [
    "bram36_of_hardware",
    "hardware_of",
    "inbox_shape",
    "items_of_round",
    "needed_reach",
    "row_memory_words",
    "targets_of",
    "window_of",
    "with_loader_words",
]

_LEAST_WORDS = 512


def hardware_of(layout: AcceleratorLayout, dram_bits: int) -> AcceleratorShape:
    """Returns the shapes of all engines and of the memory side.

    Raises:
        ConfigError: an engine cannot write what another reads.
    """
    shapes = [_engine_shape(layout, e) for e in range(len(layout.engines))]
    tokens = tokens_of(layout)
    storing = next(shape for shape in shapes if shape.writer.store)
    last = layout.layers[-1]
    return AcceleratorShape(
        engines=tuple(shapes),
        memory=MemorySideParams(
            engines=len(shapes),
            data_bits=dram_bits,
            tokens=tokens.count + 1,
            item_bits=storing.writer.store_bits,
            runs_ahead=layout.streams_weights,
            item_depth=store_depth(items_of_round(layout, last)),
        ),
    )


def with_loader_words(hardware: AcceleratorShape, words: int) -> AcceleratorShape:
    """Returns the hardware with room for a loader's program of so many words."""
    memory = hardware.memory
    return replace(
        hardware, memory=replace(memory, program_words=max(memory.program_words, _power_of_two(words)))
    )


def items_of_round(layout: AcceleratorLayout, last: LayerLayout) -> int:
    """Returns the items for DRAM of a round: one per block, pixel and lane group."""
    layer, engine = last.entry.layer, last.encoding.engine
    pixels = last.blocks * layer.stored_height * layer.stored_width
    if engine.lanes is LaneMode.COLUMN:
        return pixels * layout.datapath.batch_frames
    full, rest = divmod(layout.datapath.batch_frames, engine.dn)
    return pixels * (full * -(-engine.dn // engine.drain_lanes) + -(-rest // engine.drain_lanes))


def targets_of(layout: AcceleratorLayout, engine: int) -> tuple[int, ...]:
    """Returns the engines whose maps an engine's writer fills, itself first: the own map; else their inboxes."""
    owners = {t.engine for p, t in layout.tensors.items() if layout.layers[p].engine == engine}
    return tuple(sorted(owners, key=lambda owner: (owner != engine, owner)))


def _engine_shape(layout: AcceleratorLayout, e: int) -> EngineShape:
    engine, layers = layout.engines[e], layout.of_engine(e)
    batch = engine.lanes is LaneMode.BATCH
    targets = targets_of(layout, e)
    writer = WriterShape(
        dm=engine.dm,
        dn=engine.dn,
        code_bits=layout.stored_bits(e),
        acc_bits=engine.acc_bits,
        is_batch=batch,
        drain_lanes=engine.drain_lanes,
        pool_words=0,
        targets=tuple(_target(layout, e, owner) for owner in targets),
        store=layout.layers[-1].engine == e,
        code_cycles=code_cycles(engine, adds=layout.residual_bits(e) > 0),
    )
    pool_words = max(int(engine.sum_bits > 0), *(row_memory_words(layout, x, writer) for x in layers))
    writer = replace(writer, pool_words=pool_words, sum_bits=engine.sum_bits)
    first = layers[0]
    shape = EngineShape(
        engine=engine,
        reach=needed_reach(layers, engine),
        own_words=layout.own_words[e],
        inboxes=tuple(inbox_shape(layout.engines, e, *inbox) for inbox in layout.inbox_words[e].items()),
        window=window_of(layout, first) if first.source is Source.WINDOW else None,
        writer=writer,
        targets=targets,
        residual=_residual_shape(layout, e),
    )
    words = len(executor_words(layout, e, shape, tokens_of(layout)))
    return replace(shape, program_words=max(_LEAST_WORDS, _power_of_two(words)))


def inbox_shape(engines: tuple[Engine, ...], e: int, filler: int, words: int) -> InboxShape:
    """Returns the inbox of engine `e` that a filler has."""
    if filler == FROM_LOADER:
        return InboxShape(filler, words, engines[e].byte_bits)
    return InboxShape(filler, words, engines[filler].byte_bits, engines[filler].drain_lanes)


def _residual_shape(layout: AcceleratorLayout, e: int) -> ResidualShape | None:
    """Returns what an engine adds to its results, None where nothing."""
    added = [t for x in layout.of_engine(e) if (t := layout.residual_of(x)) is not None]
    if not added:
        return None
    sources = {source_number(layout, e, tensor.source, tensor.producer) for tensor in added}
    words = max(tensor.form.target.words for tensor in added)
    return ResidualShape(
        layout.engines[e], layout.residual_bits(e), layout.stored_bits(e), words, tuple(sorted(sources))
    )


def needed_reach(layers: list[LayerLayout], engine: Engine) -> int:
    """Returns the most taps of one phase that the layers of an engine have; 1 with batch lanes."""
    if engine.lanes is LaneMode.BATCH:
        return 1
    return max(-(-x.seen.layer.kernel[1] // x.seen.layer.stride[1]) for x in layers)


def row_memory_words(layout: AcceleratorLayout, layer: LayerLayout, writer: WriterShape) -> int:
    """Returns the words of the row memory that a layer's pooling needs."""
    tiles = (writer_tile(layout, layer, cut, writer) for cut in layer.order)
    return max(tile.pool_base + pool_entries(writer, tile) for tile in tiles)


def _target(layout: AcceleratorLayout, e: int, owner: int) -> MapTarget:
    engine = layout.engines[owner]
    words = layout.own_words[owner] if owner == e else layout.inbox_words[owner][e]
    return MapTarget(
        engine.dk,
        engine.planes_per_word,
        engine.dn,
        engine.lanes is LaneMode.BATCH,
        words,
        layout.engines[e].byte_bits,
    )


def window_of(layout: AcceleratorLayout, layer: LayerLayout) -> WindowShape:
    """Returns the window that a layer which packs taps reads."""
    true, engine = layer.entry.layer, layer.encoding.engine
    return WindowShape(
        channels=true.in_channels,
        act_bits=true.act_bits,
        kernel=true.kernel,
        stride=true.stride,
        pad_left=true.padding[1],
        dk=engine.dk,
        pa=layer.encoding.pa,
        dn=engine.dn,
        is_batch=engine.lanes is LaneMode.BATCH,
        line_words=layout.line_words[layer.engine],
        flip_sign=true.act_kind is ActKind.SIGNED and layer.encoding.pa > 1,
    )


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def bram36_of_hardware(hardware: AcceleratorShape, part: Part) -> int:
    """Returns the block RAMs that tools find in an accelerator; two halves of a block count as one.

    The loader's program has two readers; an ECP5 takes a copy for each.
    """
    table, memory = geometry_table(part.block_ram), hardware.memory
    loader = [(WORD_BITS, memory.program_words)] * (2 if part.family == "ecp5" else 1)
    memories = [*loader, (memory.item_bits, memory.item_depth)]
    for e, shape in enumerate(hardware.engines):
        memories += [*_memories_of(shape), *_maps_of(hardware, e)]
    halves = sum(int(half_blocks_of(width, words, table)) for width, words in memories)
    return -(-halves // 2)


def _memories_of(shape: EngineShape) -> list[tuple[int, int]]:
    """Returns width and depth of an engine's memories in block RAM."""
    engine, writer = shape.engine, shape.writer
    out = [(WORD_BITS, shape.program_words), (engine.weight_width_bits, engine.weight_words)]
    if shape.window is not None:
        pixel_bits = -(-shape.window.line_bits // BYTE_BITS) * BYTE_BITS  # written lane by lane
        out.append((engine.dn * pixel_bits, shape.window.line_words))
    if writer.pool_words > SHALLOW_WORDS:
        out.append((writer.drain_lanes * engine.dm * writer.result_bits, writer.pool_words))
    return out


def _maps_of(hardware: AcceleratorShape, e: int) -> list[tuple[int, int]]:
    """Returns width and depth of an engine's feature maps; bytes that no writer fills are no memory."""
    shape = hardware.engines[e]
    out = []
    for other in hardware.engines:
        for owner, target in zip(other.targets, other.writer.targets, strict=True):
            if owner == e:
                written = _written_bytes(target, other.engine.dm, other.writer.result_bits)
                out.append((target.dn * written * BYTE_BITS, target.words))
    loaded = shape.inbox_of(FROM_LOADER)
    if loaded is not None:  # a lane's word is written at once, so tools pack it into bytes of nine bits
        out.append((shape.engine.dn * -(-shape.engine.dk // BYTE_BITS) * BYTE_BITS, loaded.words))
    return out


def _written_bytes(target: MapTarget, dm: int, result_bits: int) -> int:
    """Returns the bytes of a lane's word that results of blocks of `dm` channels can lie in."""
    filled: set[int] = set()
    for pa in target.planes_per_word:
        plane = target.dk // pa
        planes = range(min(pa, result_bits))
        starts = [k * plane + slot for k in planes for slot in target.slots(pa, dm)]
        filled |= {bit for start in starts for bit in range(start, start + dm)}
    return sum(any(bit in filled for bit in range(low, low + bits)) for low, bits in target.byte_runs)
