"""Folding tables of networks of our own making, by rough estimates in the manner of FINN's: for generated instances.

Every layer becomes a window generator, if it has several taps, and a matrix node. The estimates only have to pose problems of the
same kind as the real tables do: work falls with parallelism, memories lie in block RAM or LUT RAM, multipliers are LUTs or DSP
slices. They are not FINN's, so no figure of a generated instance says anything about FINN. Branches are laid out one layer
after another.
"""

from __future__ import annotations

from foldwright.accel.folding_tables import FoldingChoice, FoldingNode, FoldingTable
from foldwright.accel.workload import Layer, Workload

__all__ = ["estimated_table"]

_MOST_PARALLEL = 1024
_GEOMETRIES = ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512))


def estimated_table(workload: Workload) -> FoldingTable:
    """Returns the folding table of a workload's layers in their order."""
    nodes: list[FoldingNode] = []
    for k, layer in enumerate(workload.layers):
        if layer.taps > 1:
            nodes.append(_window(f"window{k}", layer))
        nodes.append(_matrix(f"matrix{k}", layer))
    return FoldingTable(tuple(nodes))


def _divisors(number: int, most: int) -> list[int]:
    return [d for d in range(1, min(number, most) + 1) if number % d == 0]


def _window(name: str, layer: Layer) -> FoldingNode:
    """Returns the node that streams the pixels of every window: SIMD channels at a time, or a whole window."""
    choices, pixels = [], layer.out_height * layer.out_width
    rows_bits = layer.kernel[0] * layer.in_width * layer.in_channels * layer.act_bits
    for simd in _divisors(layer.in_channels, _MOST_PARALLEL):
        for whole in (0, 1) if simd == layer.in_channels else (0,):
            bits = simd * layer.act_bits
            steps = 1 if whole else layer.taps * layer.in_channels // simd
            for style, lut, bram18 in _memories(bits, -(-rows_bits // bits), layer.kernel[0] if whole else 1):
                attributes = (("SIMD", simd), ("ram_style", style), ("parallel_window", whole))
                out_bits = bits * (layer.taps if whole else 1)
                choices.append(
                    FoldingChoice(attributes, pixels * steps + 1, 200 + lut, bram18, 0, bits, out_bits)
                )
    return FoldingNode(name, "window", tuple(choices))


def _matrix(name: str, layer: Layer) -> FoldingNode:
    """Returns the node of `PE` rows by `SIMD` columns at a time."""
    width, height = layer.in_channels // layer.groups * layer.taps, layer.out_channels
    out_bits = layer.out_bits
    choices = []
    for pe in _divisors(height, _MOST_PARALLEL):
        for simd in _divisors(width, _MOST_PARALLEL // pe):
            cycles = height // pe * (width // simd) * layer.out_height * layer.out_width
            weight_bits = pe * simd * layer.weight_bits
            for style, memory_lut, bram18 in _memories(weight_bits, width * height // (pe * simd), 1):
                for kind in ("lut", "dsp"):
                    products = (
                        pe * simd * layer.weight_bits * layer.act_bits if kind == "lut" else pe * simd // 2
                    )
                    lut = 250 + memory_lut + products + 12 * pe
                    attributes = (("SIMD", simd), ("PE", pe), ("ram_style", style), ("resType", kind))
                    dsp = pe * simd if kind == "dsp" else 0
                    choices.append(
                        FoldingChoice(
                            attributes, cycles, lut, bram18, dsp, simd * layer.act_bits, pe * out_bits
                        )
                    )
    return FoldingNode(name, "matrix", tuple(choices))


def _memories(width_bits: int, words: int, count: int) -> list[tuple[str, int, int]]:
    """Returns style, LUTs and BRAM18 of the ways to hold `count` memories."""
    blocks = min(-(-width_bits // w) * -(-words // d) for w, d in _GEOMETRIES)
    return [("block", 0, count * blocks), ("distributed", -(-count * width_bits * -(-words // 64) // 2), 0)]
