"""The cases of `tiling_layer.py` and `zigzag_mappings.py`: ResNet-18's convolutions of distinct shape and two arrays.

Standard library alone, for ZigZag lives in an environment of its own.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ARRAYS", "LAYERS", "Array", "Layer"]


class Layer(NamedTuple):
    """A convolution at 224 x 224 and how often ResNet-18 has it."""

    name: str
    times: int
    out_channels: int
    in_channels: int
    out_size: int
    kernel: int
    stride: int


class Array(NamedTuple):
    """An array dm x dk x dn over K, C and OX; widths and buffers in bits."""

    dm: int
    dk: int
    dn: int
    weight_bits: int
    input_bits: int
    psum_bits: int
    output_bits: int
    buffer_bits: tuple[int, int, int]  # weights, inputs, outputs
    dram_bits_per_cycle: int


LAYERS = (
    Layer("conv1", 1, 64, 3, 112, 7, 2),
    Layer("l1", 4, 64, 64, 56, 3, 1),
    Layer("l2_0", 1, 128, 64, 28, 3, 2),
    Layer("l2", 3, 128, 128, 28, 3, 1),
    Layer("l2_ds", 1, 128, 64, 28, 1, 2),
    Layer("l3_0", 1, 256, 128, 14, 3, 2),
    Layer("l3", 3, 256, 256, 14, 3, 1),
    Layer("l3_ds", 1, 256, 128, 14, 1, 2),
    Layer("l4_0", 1, 512, 256, 7, 3, 2),
    Layer("l4", 3, 512, 512, 7, 3, 1),
    Layer("l4_ds", 1, 512, 256, 7, 1, 2),
)
ARRAYS = {
    "int8": Array(16, 16, 1, 8, 8, 32, 8, (1 << 20, 3 << 19, 1 << 20), 64),
    "w2a2": Array(32, 64, 1, 2, 2, 16, 2, (1 << 20, 3 << 19, 1 << 20), 64),
}
