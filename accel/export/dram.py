"""What lies in DRAM: programs, weights, thresholds, images and results as bytes.

Everything is a sequence of words of the memory it goes to, each padded to whole beats of `dram_bits`, the first bits
lowest. Images go frame by frame, row by row, pixel by pixel: a pixel is its channels side by side (window), or its lane
words in the order of their addresses (map).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.encoding import Encoding
from foldwright.accel.layout import LayerLayout, Source
from foldwright.accel.workload import ActKind

__all__ = ["image_bytes", "map_words_of", "packed_words", "pixel_bytes"]

Ints = npt.NDArray[np.integer[Any]]


def packed_words(words: Sequence[int], width_bits: int, dram_bits: int) -> bytes:
    """Returns words as they lie in DRAM."""
    count = -(-width_bits // dram_bits) * dram_bits // 8
    return b"".join(word.to_bytes(count, "little") for word in words)


def pixel_bytes(layer: LayerLayout, dram_bits: int) -> int:
    """Returns the bytes of one pixel of the image."""
    beat = dram_bits // 8
    if layer.source is Source.WINDOW:
        true = layer.entry.layer
        return -(-true.in_channels * true.act_bits // dram_bits) * beat
    encoding = layer.encoding
    words = encoding.plane_groups * encoding.layer.groups * encoding.channel_words
    return words * -(-encoding.engine.dk // dram_bits) * beat


def image_bytes(layer: LayerLayout, frames: Ints, dram_bits: int) -> bytes:
    """Returns frames of the first layer's input, stored integers (frames, C, H, W), as they lie in DRAM."""
    if layer.source is Source.WINDOW:
        bits = _pixel_bits(layer, frames)
    else:
        words = map_words_of(layer.encoding, frames)  # (frames, H, W, words, dk)
        bits = _padded(words, dram_bits)
    bits = _padded(bits, dram_bits)
    return np.packbits(bits.reshape(-1, 8), axis=1, bitorder="little").tobytes()


def _pixel_bits(layer: LayerLayout, frames: Ints) -> npt.NDArray[np.uint8]:
    """Returns (frames, H, W, C * act_bits): two's complement where signed."""
    true = layer.entry.layer
    values = np.asarray(frames, dtype=np.int64)
    if true.act_kind is ActKind.BIPOLAR:
        values = (values + 1) // 2
    planes = np.stack([values >> k & 1 for k in range(true.act_bits)], axis=-1)  # (frames, C, H, W, bits)
    ordered = planes.transpose(0, 2, 3, 1, 4).astype(np.uint8)
    return ordered.reshape(*ordered.shape[:3], -1)


def map_words_of(encoding: Encoding, values: Ints) -> npt.NDArray[np.uint8]:
    """Returns the lane words of stored activations (frames, C, H, W): bits (frames, H, W, words of a pixel, dk)."""
    layer, pa = encoding.layer, encoding.pa
    stored = encoding.act_bits_of(values)
    count, _, height, width = stored.shape
    places = encoding.channel_words * encoding.channels_per_word
    planes = np.zeros(
        (encoding.plane_groups * pa, count, layer.groups, places, height, width), dtype=np.uint8
    )
    split = stored.reshape(count, layer.groups, -1, height, width)
    for k in range(len(planes)):
        planes[k][:, :, encoding.places] = split >> k & 1
    shape = (-1, pa, count, layer.groups, encoding.channel_words, encoding.channels_per_word, height, width)
    ordered = planes.reshape(shape).transpose(2, 6, 7, 0, 3, 4, 1, 5)
    return ordered.reshape(count, height, width, -1, encoding.channels_per_word * pa)


def _padded(bits: npt.NDArray[np.uint8], to: int) -> npt.NDArray[np.uint8]:
    """Returns bits with the last axis filled up to a multiple."""
    return np.pad(bits, [*[(0, 0)] * (bits.ndim - 1), (0, -bits.shape[-1] % to)])
