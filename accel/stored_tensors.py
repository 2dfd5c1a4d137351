"""Tensors between layers: which map holds each, in which form, and who reads it there.

A tensor has one map: the own map of the engine that makes it or the inbox that it fills of another one, where all its
readers run. An engine has an inbox for each of those that hand it something, the loader or engines. A
reader takes it as its input, or as the *residual* that it adds to its own results. Inputs shape the map: with several,
the one with the widest padding on the left (`shaper`). A tensor that is only added lies as for a 1x1 layer.

What a map must be like for a residual: the blocks of the adding layer are the maker's blocks, so the two have as many rows
(`dm`) and cut channels alike; frames in lanes lie as they are, columns in lanes must not lie in phases (stride 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.encoding import Encoding
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.map_form import MapForm
from foldwright.accel.workload import ActKind, Layer, LayerKind
from foldwright.accel.writer_shape import MapTarget

__all__ = [
    "FROM_LOADER",
    "Source",
    "StoredTensor",
    "Uses",
    "map_encoding",
    "residual_mistakes",
    "residual_reads",
    "sharing_mistakes",
    "stored_form",
    "uses_of",
]


FROM_LOADER = -1
"""The filler of an inbox that is no engine."""


class Source(IntEnum):
    """What a layer reads; the numbers are those of the program, of inboxes that of an engine's first."""

    OWN = 0
    INBOX = 1
    WINDOW = 2


@dataclass(frozen=True, slots=True)
class Uses:
    """Who reads a layer's results, by index, ascending: as inputs and as residuals."""

    inputs: tuple[int, ...] = ()
    residuals: tuple[int, ...] = ()

    @property
    def readers(self) -> tuple[int, ...]:
        return tuple(sorted({*self.inputs, *self.residuals}))


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in its map.

    `encoding` says how its values stand in words: that of the layer for which the map is made. Addresses are words of the
    memory `source` of `engine`; `copies` has one base for each copy, taken in turns by rounds.
    """

    producer: int
    engine: int
    source: Source
    form: MapForm
    encoding: Encoding
    uses: Uses
    frames: int  # frames (column lanes) or frame groups (batch lanes) of a round
    copies: tuple[int, ...] = ()

    @property
    def first_reader(self) -> int:
        return self.uses.readers[0]

    @property
    def last_reader(self) -> int:
        return self.uses.readers[-1]

    @property
    def words(self) -> int:
        """Words of one copy."""
        return self.form.frame_words * self.frames

    @property
    def code_bits(self) -> int:
        """Bits of a value as it is stored."""
        return self.form.consumer.act_bits

    @property
    def sign_bit(self) -> int:
        """The bit whose change makes codes ascend with the values: of two's complement the highest, else none."""
        layer = self.encoding.layer
        is_complement = layer.act_kind is ActKind.SIGNED and not self.encoding.act_offset
        return 1 << layer.act_bits - 1 if is_complement else 0

    @property
    def lowest(self) -> int:
        """The value of the code 0, its `sign_bit` changed."""
        layer = self.encoding.layer
        return -(1 << layer.act_bits - 1) if layer.act_kind is ActKind.SIGNED else 0


def uses_of(layers: Sequence[Layer]) -> list[Uses]:
    """Returns the uses of every layer's results."""
    return [
        Uses(
            tuple(i for i, reader in enumerate(layers) if reader.inputs[0] == layer.name),
            tuple(i for i, reader in enumerate(layers) if layer.name in reader.inputs[1:]),
        )
        for layer in layers
    ]


def stored_form(
    entries: Sequence[IntegerLayer], producer: int, uses: Uses, datapath: Datapath, planes: Sequence[int]
) -> MapForm:
    """Returns the form of a layer's results; the depth of their memory is not known yet.

    Args:
        planes: of a word, by layer.

    Raises:
        ConfigError: no slot of a word takes a block.
    """
    maker = datapath.engines[datapath.assignment[producer]]
    reader = _shaper(entries, uses)
    engine = datapath.engines[datapath.assignment[reader]]
    target = MapTarget(
        engine.dk, engine.planes_per_word, engine.dn, engine.lanes is LaneMode.BATCH, 1, maker.byte_bits
    )
    made = entries[producer].layer
    shape = entries[reader].layer if uses.inputs else _plain_reader(made, entries[reader].layer)
    return MapForm(made, shape, target, maker.dm, planes[reader])


def _shaper(entries: Sequence[IntegerLayer], uses: Uses) -> int:
    return max(uses.inputs or uses.residuals, key=lambda i: (entries[i].layer.padding[1], -i))


def _plain_reader(made: Layer, adding: Layer) -> Layer:
    """Returns a 1x1 layer that reads what is only added."""
    return Layer(
        f"{adding.name} (residual)", LayerKind.CONV, (made.name,), made.out_channels, made.stored_height, made.stored_width,
        made.out_channels, act_bits=made.out_bits, act_kind=made.out_kind,
    )  # fmt: skip


def map_encoding(seen: Layer, engine: Engine, pa: int, parts: int, form: MapForm | None) -> Encoding:
    """Returns how an engine holds a layer whose channels stand where the writer of the layer before puts them."""
    if form is None:
        return Encoding(seen, engine, pa, parts=parts)
    slots, per_word = form.target.slots(pa, form.dm), engine.dk // pa
    size = form.producer.out_channels // form.parts
    positions = []
    for channel in range(form.consumer.in_channels // form.consumer.groups):
        part, inside = divmod(channel, size)
        word, slot = form.word_of_block(part * form.blocks_per_part + inside // form.dm)
        positions.append(word * per_word + slots[slot] + inside % form.dm)
    return Encoding(seen, engine, pa, tuple(positions), parts)


def sharing_mistakes(
    entries: Sequence[IntegerLayer], producer: int, uses: Uses, datapath: Datapath, planes: Sequence[int]
) -> Iterator[str]:
    """Yields why the readers of a layer's results cannot share one map."""
    name = entries[producer].name
    engines = sorted({datapath.assignment[i] for i in uses.readers})
    if len(engines) > 1:
        yield (
            f"what layer {name!r} makes is read on engines {', '.join(map(str, engines))}; a writer fills one map, so put "
            "its readers on one engine"
        )
        return
    is_column = datapath.engines[engines[0]].lanes is LaneMode.COLUMN
    shaper = _shaper(entries, uses)
    shape = entries[shaper].layer
    for i in uses.inputs:
        layer = entries[i].layer
        where = f"layers {shape.name!r} and {layer.name!r} both read what {name!r} makes"
        if planes[i] != planes[shaper]:
            yield f"{where}, with {planes[shaper]} and {planes[i]} planes a word; give their engine one number of planes"
        if layer.groups != shape.groups:
            yield f"{where}, in {shape.groups} and {layer.groups} groups; a map has words for one number of groups"
        more = shape.padding[1] - layer.padding[1]
        if is_column and (
            layer.stride[1] != shape.stride[1] or (more and more + layer.kernel[1] > layer.stride[1])
        ):
            yield (
                f"{where}, with strides {shape.stride[1]} and {layer.stride[1]} and {shape.padding[1]} and "
                f"{layer.padding[1]} columns of padding; columns in lanes lie for one of them, so use batch lanes"
            )


def residual_reads(form: MapForm) -> int:
    """Returns the reads of a block's residual: a word for each plane group, two where lanes hold columns askew."""
    askew = not form.target.is_batch and form.consumer.padding[1] % form.target.dn
    return form.plane_groups * (2 if askew else 1)


def residual_mistakes(entry: IntegerLayer, engine: Engine, parts: int, tensor: MapForm) -> Iterator[str]:
    """Yields why an engine cannot add a tensor to the results of a layer whose channels are cut into so many parts."""
    layer, made = entry.layer, tensor.producer
    where = f"layer {layer.name!r} adds what {made.name!r} makes"
    if tensor.dm != engine.dm:
        yield f"{where} in blocks of {tensor.dm} channels to its own of {engine.dm}; give both engines the same dm"
    sizes = {layer.out_channels // parts, layer.out_channels // tensor.parts}
    if len(sizes) > 1 and any(size % engine.dm for size in sizes):
        yield f"{where}, which is cut into {tensor.parts} parts of channels, its own results into {parts}"
    if not tensor.target.is_batch and tensor.phases > 1:
        yield (
            f"{where}, of which columns lie in lanes for stride {tensor.phases} of {tensor.consumer.name!r}; only stride 1 can "
            "be added, so use batch lanes"
        )
