"""Loop nests as integer rows for the kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foldwright.accel.loopnest.nest import OPERANDS, ArrayModel, Convolution, Dim, LoopNest

__all__ = ["array_row", "layer_row", "nest_rows"]

IntArray = npt.NDArray[np.int64]

DIMS = tuple(Dim)
# Indices of dimensions, also the first entries of a layer row.
K, C, OY, OX, FY, FX = range(6)
# Entries of a layer row.
L_SY, L_SX = 6, 7
LAYER_FIELDS = 8
# Entries of an array row; the operands' bits stand in the order of OPERANDS behind each other.
A_DM, A_DK, A_DN, A_WEIGHT_BITS, A_INPUT_BITS, A_PSUM_BITS, A_OUTPUT_BITS, A_DRAM_BITS = range(8)
ARRAY_FIELDS = 8
# Entries of a nest row. N_OUTSIDE and N_COPIES begin entries for weights, inputs, outputs.
N_STEP_LOOPS, N_OUTSIDE, N_COPIES, N_HALO, N_UNROLL_K, N_UNROLL_C, N_UNROLL_X = 0, 1, 4, 7, 8, 9, 10
NEST_FIELDS = 11
# Columns of a loop row.
O_DIM, O_STEP = 0, 1


def layer_row(layer: Convolution) -> IntArray:
    """Returns a convolution as int64 (LAYER_FIELDS,); a stride counts as the kernel at most, for nobody reads what it skips."""
    strides = (min(layer.stride_y, layer.kernel_height), min(layer.stride_x, layer.kernel_width))
    return np.array([*layer.sizes.values(), *strides], dtype=np.int64)


def array_row(array: ArrayModel) -> IntArray:
    """Returns an array without its buffers as int64 (ARRAY_FIELDS,)."""
    bits = (array.weight_bits, array.input_bits, array.psum_bits, array.output_bits)
    shape = (array.out_channels, array.in_channels, array.columns)
    return np.array([*shape, *bits, array.dram_bits_per_cycle], dtype=np.int64)


def nest_rows(nest: LoopNest) -> tuple[IntArray, IntArray]:
    """Returns a mapping as int64 (NEST_FIELDS,) and its loops as int64 (loops, 2)."""
    outside = (getattr(nest.outside, o) for o in OPERANDS)
    copies = (getattr(nest.copies, o) for o in OPERANDS)
    unroll = (nest.unroll.out_channels, nest.unroll.in_channels, nest.unroll.columns)
    row = np.array([nest.step_loops, *outside, *copies, nest.halo_reuse, *unroll], dtype=np.int64)
    loops = [(DIMS.index(loop.dim), loop.step) for loop in nest.loops]
    return row, np.array(loops, dtype=np.int64).reshape(len(loops), 2)
