"""Compares what the engines wrote, bit by bit, with the integer reference.

Every engine's recorded writes are played into a model of the map that they go to. When a layer's last tile of a round
ends, the words of its tensor must hold the reference's values where the reading layer looks for them, and 0 in every
other bit of the lanes of real frames and columns. Before a layer's first tile of a round the model forgets its words, so
that nothing left over from earlier passes for a result. What goes to DRAM is compared as items, in their order.

Values are compared as they are stored: planes of activations as bits of an integer, results of the last layer as in
`Package.results`. Left out: what the loader wrote, which no engine records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.spans import TileSpan, records_of, tile_spans
from foldwright.accel.datapath import LaneMode
from foldwright.accel.encoding import Encoding
from foldwright.accel.export.dram import map_words_of
from foldwright.accel.export.package import Package
from foldwright.accel.layers import LayerTrace
from foldwright.accel.stored_tensors import StoredTensor
from foldwright.accel.writer_shape import MapTarget
from foldwright.errors import VerificationError

__all__ = ["LayerComparison", "Mismatch", "compare_layers", "require_equal"]

Int64s = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]

_UNWRITTEN = 2
"""In place of a bit that nothing was written to."""
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A value that differs; `got` is -1 where it was not written, or not wholly."""

    frame: int
    channel: int
    row: int
    column: int
    got: int
    wanted: int

    def __str__(self) -> str:
        place = f"frame {self.frame}, channel {self.channel}, row {self.row}, column {self.column}"
        return (
            f"{place}: {'nothing' if self.got == _NEVER else self.got} in RTL, {self.wanted} by the reference"
        )


@dataclass(frozen=True, slots=True)
class LayerComparison:
    """A layer's whole stored output, all frames.

    `stray_bits` are unused bits of its words that are not 0; `stray_writes` went to other words while it ran.
    """

    layer: str
    engine: int
    values: int
    mismatches: int
    first: Mismatch | None = None
    stray_bits: int = 0
    stray_writes: int = 0

    @property
    def is_equal(self) -> bool:
        return not (self.mismatches or self.stray_bits or self.stray_writes)


def require_equal(comparisons: Sequence[LayerComparison]) -> None:
    """Does nothing where all layers are equal.

    Raises:
        VerificationError: the first layer that is not, with its first value that differs.
    """
    for found in comparisons:
        if found.is_equal:
            continue
        said = [f"{found.mismatches} of {found.values} values differ"] if found.mismatches else []
        said += [str(found.first)] if found.first else []
        said += [f"{found.stray_bits} unused bits are not 0"] if found.stray_bits else []
        said += [f"{found.stray_writes} writes missed its words"] if found.stray_writes else []
        raise VerificationError(f"layer {found.layer!r} on engine {found.engine}: {'; '.join(said)}")


def compare_layers(
    package: Package, traces: Sequence[npt.NDArray[Any]], reference: Mapping[str, LayerTrace]
) -> tuple[LayerComparison, ...]:
    """Compares the stored output of every layer.

    Args:
        traces: the records of each engine, see `SimulationResult.traces`.
        reference: what `Network.integer_tensors` gave for the same frames.

    Raises:
        VerificationError: the traces do not fit the program at all; values that differ are only counted.
    """
    layers = package.layout.layers
    frames = len(reference[layers[-1].name].output)
    rounds = -(-frames // package.batch_frames)
    found = {x.index: LayerComparison(x.name, x.engine, 0, 0) for x in layers}
    for e, spans in enumerate(tile_spans(package.layout, traces, rounds)):
        shape = package.hardware.engines[e]
        models = [
            _MapModel(target, shape.engine.drain_lanes, t) for t, target in enumerate(shape.writer.targets)
        ]
        for span in spans:
            layer = span.run.layer
            tensor = package.layout.tensors.get(layer.index)
            if tensor is None:
                continue
            model = models[shape.targets.index(tensor.engine)]
            frame = span.round * package.batch_frames
            wanted = reference[layer.name].output[frame : frame + package.batch_frames]
            part = _played(model, traces[e], span, tensor, wanted, frame)
            found[layer.index] = _joined(found[layer.index], part)
    last = layers[-1]
    items = _stored(package, traces[last.engine], frames)
    found[last.index] = _joined(found[last.index], _counted(items, reference[last.name].output, 0))
    return tuple(found[x.index] for x in layers)


@dataclass(frozen=True, slots=True)
class _Part:
    values: int = 0
    mismatches: int = 0
    first: Mismatch | None = None
    stray_bits: int = 0
    stray_writes: int = 0


def _joined(whole: LayerComparison, part: _Part) -> LayerComparison:
    return replace(
        whole,
        values=whole.values + part.values,
        mismatches=whole.mismatches + part.mismatches,
        first=whole.first or part.first,
        stray_bits=whole.stray_bits + part.stray_bits,
        stray_writes=whole.stray_writes + part.stray_writes,
    )


class _MapModel:
    """A feature-map memory as its only writer leaves it: one byte per bit, (words, lanes, bits)."""

    def __init__(self, target: MapTarget, data_lanes: int, index: int) -> None:
        self.target, self.data_lanes, self.index = target, data_lanes, index
        self.bits: Bits = np.full((target.words, target.dn, target.dk), _UNWRITTEN, dtype=np.uint8)

    def play(self, records: npt.NDArray[Any]) -> Int64s:
        """Stores what the records write, the last write to a byte staying, and returns their addresses."""
        target, t = self.target, self.index
        records = records[records["write"] >> t & 1 != 0]
        address = records[f"address{t}"].astype(np.int64)
        if not len(records):
            return address
        runs = target.byte_runs
        enable = _unpacked(records[f"enable{t}"], target.dn * len(runs))
        data = _unpacked(records[f"data{t}"], self.data_lanes * target.dk)
        data = data.reshape(len(records), self.data_lanes, target.dk)
        for byte, (low, count) in enumerate(runs):
            # In the order of time: of writes to one place, numpy keeps the last.
            record, lane = np.nonzero(enable[:, byte :: len(runs)])
            part = data[record, lane % self.data_lanes, low : low + count]
            self.bits[address[record], lane, low : low + count] = part
        return address


def _unpacked(field: npt.NDArray[Any], count: int) -> Bits:
    """Returns the bits of a recorded field, lowest first, (records, count)."""
    octets = np.ascontiguousarray(field).reshape(len(field), -1).view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little")[:, :count]


def _played(
    model: _MapModel,
    records: npt.NDArray[Any],
    span: TileSpan,
    tensor: StoredTensor,
    wanted: Int64s,
    first_frame: int,
) -> _Part:
    """Plays a tile's writes; behind the layer's last tile, compares what readers find."""
    low = tensor.copies[span.round % len(tensor.copies)]
    high = low + tensor.words
    if span.run.is_first:
        model.bits[low:high] = _UNWRITTEN
    address = model.play(records[records_of(records, span)])
    part = _Part(stray_writes=int(((address < low) | (address >= high)).sum()))
    if not span.run.is_last:
        return part
    got = _lane_words(tensor, model.bits[low:high])[: len(wanted)]
    words = map_words_of(tensor.encoding, wanted)
    if np.array_equal(got, words):
        return replace(part, values=wanted.size)
    codes, unused = _codes(tensor.encoding, got)
    compared = _counted(codes, tensor.encoding.act_bits_of(wanted), first_frame)
    return replace(compared, stray_bits=unused, stray_writes=part.stray_writes)


def _lane_words(tensor: StoredTensor, bits: Bits) -> Bits:
    """Returns the lane words of a map by pixel, (frames, rows, columns, words, dk); lanes without a frame come last."""
    layer, (_, dn, dk) = tensor.form.consumer, bits.shape
    if tensor.encoding.engine.lanes is LaneMode.BATCH:
        shaped = bits.reshape(tensor.frames, layer.in_height, layer.in_width, -1, dn, dk)
        return shaped.transpose(0, 4, 1, 2, 3, 5).reshape(tensor.frames * dn, *shaped.shape[1:4], dk)
    stride, left = layer.stride[1], layer.padding[1]
    groups = -(-(layer.in_width + left) // (stride * dn))
    shaped = bits.reshape(tensor.frames, layer.in_height, groups, stride, -1, dn, dk)
    position, phase = np.divmod(np.arange(layer.in_width) + left, stride)
    group, lane = np.divmod(position, dn)
    return shaped[:, :, group, phase, :, lane].transpose(1, 2, 0, 3, 4)


def _codes(encoding: Encoding, words: Bits) -> tuple[Int64s, int]:
    """Returns the stored integers of lane words, (frames, channels, rows, columns), and how many unused bits are set."""
    groups, per_word = encoding.layer.groups, encoding.channels_per_word
    shape = (encoding.plane_groups, groups, encoding.channel_words, encoding.pa, per_word)
    planes = words.reshape(*words.shape[:3], *shape).transpose(0, 3, 6, 4, 5, 7, 1, 2)
    planes = planes.reshape(len(words), encoding.plane_groups * encoding.pa, groups, -1, *words.shape[1:3])
    used = planes[:, :, :, encoding.places]
    stray = int((planes != 0).sum() - (used != 0).sum())
    weights = 1 << np.arange(planes.shape[1]).reshape(-1, *[1] * 4)
    codes = (used * weights).sum(axis=1)
    codes[(used == _UNWRITTEN).any(axis=1)] = _NEVER
    return codes.reshape(len(words), -1, *words.shape[1:3]), stray


def _counted(got: Int64s, wanted: Int64s, first_frame: int) -> _Part:
    wrong = np.argwhere(got != wanted)
    if not len(wrong):
        return _Part(values=wanted.size)
    frame, channel, row, column = (int(k) for k in wrong[0])
    place = (frame, channel, row, column)
    first = Mismatch(first_frame + frame, channel, row, column, int(got[place]), int(wanted[place]))
    return _Part(wanted.size, len(wrong), first)


def _stored(package: Package, records: npt.NDArray[Any], frames: int) -> Int64s:
    """Returns the last layer's values from the items that went to DRAM."""
    route = len(package.hardware.engines[package.hardware.storing].targets)
    items = records["store"][records["write"] >> route & 1 != 0]
    count = -(-frames // package.batch_frames) * package.items_of_round
    if len(items) != count:
        raise VerificationError(f"{len(items)} result items left the engines, {count} were due")
    octets = np.ascontiguousarray(items).view(np.uint8).reshape(count, -1)[:, : package.item_bytes]
    body = np.pad(octets, ((0, 0), (0, package.item_bytes - octets.shape[1])))
    return package.results(body.tobytes(), frames)
