"""The decisions of a folding problem: what each candidate means, and back.

Each node takes three decisions: its input width and its output width, numbered in ascending order, then one of the choices of
this pair of widths, its *variants*, in the order of their LUTs. Where a node has at most `MAX_CANDIDATES` pairs, the first
decision takes a pair and the second has nothing to decide: where one width all but follows from the other, a change of one
alone would rarely be legal. A variant beyond the last stands for the last.

Every choice of the table is reached by some decisions, so nothing is lost, optimal or not, and what a decision offers depends
on no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foldwright.accel.folding_tables import FoldingTable
from foldwright.envs.folding.chain import R_IN, R_OUT, Chain
from foldwright.envs.problem import MAX_CANDIDATES, Choices

__all__ = ["DECISIONS", "FoldingSpace", "too_many"]

IntArray = npt.NDArray[np.int64]

DECISIONS = 3
"""Of a node."""


@dataclass(frozen=True)
class FoldingSpace:
    """The decisions of a table; see the module's docstring."""

    table: FoldingTable
    chain: Chain

    @cached_property
    def pairs(self) -> IntArray:
        """First row and number of variants of every pair of widths, all nodes one after another, int64 (pairs, 2)."""
        return np.concatenate([rows for _, rows in self._widths_and_rows])

    @cached_property
    def numbers(self) -> IntArray:
        """The pair that the first two decisions of a node name, -1 for none, int64 (nodes, candidates, candidates)."""
        tables, begin = [], 0
        for node, (widths, _) in enumerate(self._widths_and_rows):
            of_pairs = begin + np.arange(len(widths))
            begin += len(widths)
            if len(widths) <= MAX_CANDIDATES:
                tables.append(of_pairs[:, None])
                continue
            table = np.full((self.chain.inputs[node], self.chain.outputs[node]), -1)
            table[widths[:, 0], widths[:, 1]] = of_pairs
            tables.append(table)
        shape = len(tables), max(t.shape[0] for t in tables), max(t.shape[1] for t in tables)
        out = np.full(shape, -1, dtype=np.int64)
        for node, table in enumerate(tables):
            out[node, : table.shape[0], : table.shape[1]] = table
        return out

    @cached_property
    def _widths_and_rows(self) -> list[tuple[IntArray, IntArray]]:
        """Per node its pairs of widths by number, int64 (pairs, 2), and their first rows and counts, int64 (pairs, 2)."""
        out = []
        for begin, end in zip(self.chain.first[:-1], self.chain.first[1:], strict=True):
            rows = self.chain.rows[begin:end][:, [R_IN, R_OUT]]
            widths, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
            out.append((widths, np.column_stack((begin + first, counts)).astype(np.int64)))
        return out

    @cached_property
    def sizes(self) -> IntArray:
        """Number of candidates of each decision, int64 (decisions,)."""
        out = np.ones((len(self.numbers), DECISIONS), dtype=np.int64)
        for node, table in enumerate(self.numbers):
            known = np.argwhere(table >= 0)
            out[node, :2] = known.max(axis=0) + 1
            out[node, 2] = self.pairs[table[table >= 0], 1].max()
        return out.reshape(-1)

    def labels(self, decision: int) -> list[str]:
        """Returns what each candidate of a decision means, in words."""
        index, which = divmod(decision, DECISIONS)
        node = self.table.nodes[index]
        pairs = sorted({(c.in_bits, c.out_bits) for c in node.choices})
        if which == 2:
            texts = [f"variant {k} of these widths, by LUTs" for k in range(self.sizes[decision])]
        elif len(pairs) <= MAX_CANDIDATES:
            texts = (
                [f"input of {a} bits, output of {b}" for a, b in pairs]
                if which == 0
                else ["both widths are taken"]
            )
        else:
            side = "input" if which == 0 else "output"
            texts = [f"{side} of {bits} bits" for bits in sorted({pair[which] for pair in pairs})]
        return [f"{node.name}: {text}" for text in texts]

    def candidates_of(self, node: int, position: int) -> tuple[int, int, int]:
        """Returns the candidates of a node's decisions that take the choice at a position in the table's node."""
        begin, end = self.chain.first[node], self.chain.first[node + 1]
        row = int(begin + np.flatnonzero(self.chain.origin[begin:end] == position)[0])
        pair = int(np.searchsorted(self.pairs[:, 0], row, side="right")) - 1
        first, second = np.argwhere(self.numbers[node] == pair)[0]
        return int(first), int(second), row - int(self.pairs[pair, 0])

    def choices_of(self, positions: list[int]) -> Choices:
        """Returns the decisions that take choices by their positions in the table's nodes."""
        picks = [self.candidates_of(node, k) for node, k in enumerate(positions)]
        return np.array(picks, dtype=np.int64).reshape(-1)


def too_many(table: FoldingTable, chain: Chain) -> list[str]:
    """Returns what of a table cannot be told apart by `MAX_CANDIDATES` candidates, as sentences."""
    wrong = []
    for index, node in enumerate(table.nodes):
        rows = chain.rows[chain.first[index] : chain.first[index + 1]]
        pairs, counts = np.unique(rows[:, [R_IN, R_OUT]], axis=0, return_counts=True)
        widths = max(int(chain.inputs[index]), int(chain.outputs[index]))
        if len(pairs) > MAX_CANDIDATES and widths > MAX_CANDIDATES:
            wrong.append(f"node {node.name!r} has {widths} stream widths, allowed {MAX_CANDIDATES}")
        if counts.max() > MAX_CANDIDATES:
            wrong.append(
                f"node {node.name!r} has {counts.max()} choices of the same stream widths, allowed {MAX_CANDIDATES}"
            )
    return wrong
