"""One accelerator for several networks: hardware with room to spare, and layouts that use what it has.

`roomy_hardware` gives shapes that no network decides; `fitted` takes a layout to the memories of given hardware, so that
its programs can be written for it. What is static in the hardware must be what the layout needs: engines, the window's
kernel, stride and channels, who fills which inbox, and who stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from foldwright.accel.datapath import Engine, LaneMode
from foldwright.accel.export.executor import tokens_of
from foldwright.accel.export.hardware import (
    inbox_shape,
    items_of_round,
    needed_reach,
    row_memory_words,
    window_of,
)
from foldwright.accel.layout import AcceleratorLayout, LayerLayout, Source
from foldwright.accel.residual_program import ResidualShape
from foldwright.accel.rtl.accelerator import AcceleratorShape
from foldwright.accel.rtl.complete import EngineShape
from foldwright.accel.rtl.memory_side import MemorySideParams
from foldwright.accel.rtl.residual import code_cycles
from foldwright.accel.rtl.sequencer import SOURCE_OWN, inbox_source
from foldwright.accel.rtl.window import WindowShape
from foldwright.accel.stored_tensors import FROM_LOADER, StoredTensor
from foldwright.accel.writer_shape import MapTarget, WriterShape
from foldwright.errors import ConfigError

__all__ = ["Fillers", "Room", "fitted", "roomy_hardware"]

Fillers = tuple[tuple[int, ...], ...]
"""Of each engine, who fills an inbox of it: `FROM_LOADER` and engines, ascending."""


@dataclass(frozen=True, slots=True)
class Room:
    """Depths of memories in words, the same for every engine; `reach` is that of engines with column lanes.

    Engines with thresholds add residuals of up to `residual_bits`, 0 for none.
    """

    own_words: int = 2048
    inbox_words: int = 4096
    line_words: int = 1024
    weight_words: int = 4096
    threshold_words: int = 64
    pool_words: int = 512
    program_words: int = 4096
    item_depth: int = 8192
    tokens: int = 12
    reach: int = 7
    residual_bits: int = 0


def roomy_hardware(
    engines: tuple[Engine, ...],
    fillers: Fillers,
    *,
    storing: int,
    window: WindowShape | None = None,
    dram_bits: int = 32,
    room: Room | None = None,
    streams: bool = False,
) -> AcceleratorShape:
    """Returns an accelerator that is not made for one network.

    Args:
        fillers: who fills the inboxes of each engine.
        storing: the engine whose results go to DRAM.
        window: of the first engine; how deep its line memory is, the room says.
        streams: weights may come while the engines run.
    """
    room = room or Room()
    shapes = tuple(_roomy_engine(engines, e, fillers, storing, window, room) for e in range(len(engines)))
    memory = MemorySideParams(
        engines=len(engines),
        data_bits=dram_bits,
        tokens=room.tokens,
        item_bits=shapes[storing].writer.store_bits,
        item_depth=room.item_depth,
        runs_ahead=streams,
    )
    return AcceleratorShape(shapes, memory)


def _roomy_engine(
    engines: tuple[Engine, ...], e: int, fillers: Fillers, storing: int, window: WindowShape | None, room: Room
) -> EngineShape:  # fmt: skip
    engine = engines[e]
    batch = engine.lanes is LaneMode.BATCH
    filled = tuple(owner for owner, by in enumerate(fillers) if e in by)
    targets = (e, *filled) if engine.levels else ()
    own_words = room.own_words if targets else 0
    adds = bool(engine.levels and room.residual_bits)
    codes = engine.levels + (1 << room.residual_bits) - 1
    writer = WriterShape(
        dm=engine.dm,
        dn=engine.dn,
        code_bits=codes.bit_length() if adds else engine.levels.bit_length(),
        acc_bits=engine.acc_bits,
        is_batch=batch,
        drain_lanes=engine.drain_lanes,
        pool_words=room.pool_words if engine.levels else 0,
        targets=tuple(
            _target(engines[owner], own_words if owner == e else room.inbox_words, engine)
            for owner in targets
        ),
        store=e == storing,
        code_cycles=code_cycles(engine, adds=adds),
        sum_bits=engine.sum_bits,
    )
    inboxes = tuple(inbox_shape(engines, e, filler, room.inbox_words) for filler in fillers[e])
    deepest = max(own_words, *(inbox.words for inbox in inboxes), 0)
    has_window = window is not None and e == 0
    built = replace(
        engine,
        weight_words=room.weight_words,
        threshold_words=room.threshold_words,
        map_words=max(deepest, room.line_words if has_window else 1),
    )
    sources = (SOURCE_OWN, *map(inbox_source, range(len(inboxes))))
    residual = ResidualShape(built, room.residual_bits, writer.code_bits, deepest, sources)
    return EngineShape(
        engine=built,
        reach=1 if batch else room.reach,
        own_words=own_words,
        inboxes=inboxes,
        window=replace(window, line_words=room.line_words) if window is not None and has_window else None,
        writer=writer,
        targets=targets,
        program_words=room.program_words,
        residual=residual if adds else None,
    )


def _target(owner: Engine, words: int, maker: Engine) -> MapTarget:
    return MapTarget(
        owner.dk, owner.planes_per_word, owner.dn, owner.lanes is LaneMode.BATCH, words, maker.byte_bits
    )


def fitted(layout: AcceleratorLayout, hardware: AcceleratorShape) -> AcceleratorLayout:
    """Returns a layout with the memories of given hardware.

    Raises:
        ConfigError: the hardware cannot run it; lists all reasons.
    """
    wrong = list(_misfits(layout, hardware))
    if wrong:
        raise ConfigError(f"{layout.network.name}: the hardware does not fit: " + "; ".join(wrong))
    shapes = hardware.engines
    return replace(
        layout,
        tensors={p: _with_target(layout, tensor, hardware) for p, tensor in layout.tensors.items()},
        own_words=tuple(shape.own_words for shape in shapes),
        inbox_words=tuple({inbox.filler: inbox.words for inbox in shape.inboxes} for shape in shapes),
        line_words=tuple(shape.window.line_words if shape.window else 0 for shape in shapes),
        weight_words=tuple(shape.engine.weight_words for shape in shapes),
        threshold_words=tuple(shape.engine.threshold_words for shape in shapes),
    )


def _with_target(layout: AcceleratorLayout, tensor: StoredTensor, hardware: AcceleratorShape) -> StoredTensor:
    maker = hardware.engines[layout.layers[tensor.producer].engine]
    target = maker.writer.targets[maker.targets.index(tensor.engine)]
    return replace(tensor, form=replace(tensor.form, target=target))


def _misfits(layout: AcceleratorLayout, hardware: AcceleratorShape) -> Iterator[str]:
    if len(layout.engines) != len(hardware.engines):
        yield f"{len(layout.engines)} engines are needed, it has {len(hardware.engines)}"
        return
    for e, shape in enumerate(hardware.engines):
        yield from (f"engine {e}: {reason}" for reason in _engine_misfits(layout, e, shape))
    yield from _image_misfits(layout, layout.layers[0], hardware)
    for tensor in layout.tensors.values():
        maker = layout.layers[tensor.producer]
        if tensor.engine not in hardware.engines[maker.engine].targets:
            yield f"engine {maker.engine} does not fill the map of what layer {maker.name!r} makes"
    memory, last = hardware.memory, layout.layers[-1]
    yield from _shortages(
        ("token counters", tokens_of(layout).count + 1, memory.tokens),
        ("items that the store holds", 2 * items_of_round(layout, last), memory.item_depth),
    )
    if layout.streams_weights and not memory.runs_ahead:
        yield "weights stream, its loader does not run ahead"
    if last.engine != hardware.storing:
        yield f"results leave engine {last.engine}, engine {hardware.storing} stores"


def _engine_misfits(layout: AcceleratorLayout, e: int, shape: EngineShape) -> Iterator[str]:
    engine, have = layout.engines[e], shape.engine
    for filler, words in layout.inbox_words[e].items():
        inbox = shape.inbox_of(filler)
        who = "the loader" if filler == FROM_LOADER else f"engine {filler}"
        yield from _shortages((f"words of an inbox for {who}", words, inbox.words if inbox else 0))
    depths = {name: getattr(have, name) for name in ("weight_words", "threshold_words", "map_words")}
    if replace(engine, **depths, line_bits=have.line_bits, line_words=have.line_words) != have:
        yield f"{engine.shape} is needed, it is {have.shape}, or they differ in lanes, planes or widths"
        return
    layers = layout.of_engine(e)
    pooled = max(row_memory_words(layout, layer, shape.writer) for layer in layers)
    yield from _shortages(
        ("words of weights", layout.weight_words[e], have.weight_words),
        ("words of thresholds", layout.threshold_words[e], have.threshold_words),
        ("words of its own map", layout.own_words[e], shape.own_words),
        ("lanes of reach", needed_reach(layers, engine), shape.reach),
        ("words of the row memory", pooled, shape.writer.pool_words),
        ("bits of residuals", layout.residual_bits(e), shape.residual.bits if shape.residual else 0),
        ("bits of codes", layout.stored_bits(e), shape.writer.code_bits),
    )


def _image_misfits(
    layout: AcceleratorLayout, layer: LayerLayout, hardware: AcceleratorShape
) -> Iterator[str]:
    """Yields what is wrong with how the image comes to the first layer."""
    shape = hardware.engines[layer.engine]
    if layer.source is Source.WINDOW:
        need = window_of(layout, layer)
        if shape.window is None or replace(need, line_words=shape.window.line_words) != shape.window:
            yield f"layer {layer.name!r} needs a window of {need}"
        elif need.line_words > shape.window.line_words:
            yield f"{need.line_words} words of lines are needed, it has {shape.window.line_words}"
        return


def _shortages(*needs: tuple[str, int, int]) -> Iterator[str]:
    for what, need, have in needs:
        if need > have:
            yield f"{need} {what} are needed, it has {have}"
