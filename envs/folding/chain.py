"""A folding table as integer arrays: what the kernels of the folding problem read.

Choices of a node stand in the order of their input width, output width and LUTs; the choices of one pair of widths are its
*variants*. Widths of a node are numbered in ascending order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.accel.folding_tables import (
    C_BRAM18,
    C_CYCLES,
    C_DSP,
    C_IN_BITS,
    C_LUT,
    C_OUT_BITS,
    FoldingTable,
    converter_lut,
    is_integer_ratio,
)

__all__ = ["Chain", "chain_of", "undominated"]

IntArray = npt.NDArray[np.int64]

R_CYCLES, R_LUT, R_BRAM18, R_DSP, R_IN, R_OUT = range(6)
R_FIELDS = 6
_NO_CONVERTER = -1


class Chain(NamedTuple):
    """The arrays of a chain; see the module's docstring.

    Attributes:
        first: Where the rows of each node begin, int64 (nodes + 1,).
        rows: Per choice cycles, LUT, BRAM18, DSP, number of the input width, of the output width, int64 (choices, R_FIELDS).
        inputs: How many input widths each node has, int64 (nodes,).
        outputs: How many output widths each node has, int64 (nodes,).
        converters: LUTs from an output width of the node before to an input width of a node, -1 where no converter does it,
            int64 (nodes, output widths, input widths); the first node has none before it.
        origin: Per row the position of the choice in its node, int64 (choices,).
    """

    first: IntArray
    rows: IntArray
    inputs: IntArray
    outputs: IntArray
    converters: IntArray
    origin: IntArray


def chain_of(table: FoldingTable) -> Chain:
    """Returns the arrays of a table, all its choices among them."""
    rows, origins, ins, outs = [], [], [], []
    for estimates in table.estimates:
        order = np.lexsort(
            (
                *estimates.T[[C_CYCLES, C_DSP, C_BRAM18, C_LUT]],
                estimates[:, C_OUT_BITS],
                estimates[:, C_IN_BITS],
            )
        )
        sorted_ = estimates[order]
        in_bits, in_index = np.unique(sorted_[:, C_IN_BITS], return_inverse=True)
        out_bits, out_index = np.unique(sorted_[:, C_OUT_BITS], return_inverse=True)
        rows.append(np.column_stack((sorted_[:, : C_DSP + 1], in_index, out_index)))
        origins.append(order)
        ins.append(in_bits)
        outs.append(out_bits)
    counts = [len(r) for r in rows]
    return Chain(
        first=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        rows=np.ascontiguousarray(np.concatenate(rows), dtype=np.int64),
        inputs=np.array([len(bits) for bits in ins], dtype=np.int64),
        outputs=np.array([len(bits) for bits in outs], dtype=np.int64),
        converters=_converters(outs, ins),
        origin=np.concatenate(origins).astype(np.int64),
    )


def _converters(outs: list[IntArray], ins: list[IntArray]) -> IntArray:
    most_out, most_in = max(len(bits) for bits in outs), max(len(bits) for bits in ins)
    table = np.full((len(ins), most_out, most_in), _NO_CONVERTER, dtype=np.int64)
    for node in range(1, len(ins)):
        for o, from_bits in enumerate(outs[node - 1].tolist()):
            for i, to_bits in enumerate(ins[node].tolist()):
                if is_integer_ratio(from_bits, to_bits):
                    table[node, o, i] = converter_lut(from_bits, to_bits)
    return table


def undominated(chain: Chain) -> Chain:
    """Returns the chain without variants that another one of the same widths beats or equals in every estimate.

    Nothing that is optimal is lost: replacing a variant by one of the same widths leaves all converters as they are, and one
    that takes no more cycles, LUTs, block RAMs and DSP slices makes no sum and no maximum of them larger.
    """
    kept: list[int] = []
    counts = []
    for node in range(len(chain.first) - 1):
        before = len(kept)
        variants: dict[tuple[int, int], list[int]] = {}
        for row in range(chain.first[node], chain.first[node + 1]):
            widths = (int(chain.rows[row, R_IN]), int(chain.rows[row, R_OUT]))
            mine, same = chain.rows[row, :R_IN], variants.setdefault(widths, [])
            if any((chain.rows[k, :R_IN] <= mine).all() for k in same):
                continue
            same[:] = [k for k in same if not (mine <= chain.rows[k, :R_IN]).all()] + [row]
        kept += sorted(row for same in variants.values() for row in same)
        counts.append(len(kept) - before)
    return chain._replace(
        first=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        rows=chain.rows[kept],
        origin=chain.origin[kept],
    )
