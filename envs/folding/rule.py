"""Folding by a rule, node by node, as FINN's SetFolding does: what an exact search is measured against.

Each node starts fully folded. `SIMD` rises through the values of the table until the node takes no more cycles than the target,
in matrix nodes up to `most_simd`; then `PE`; then `parallel_window`. If a node misses the target all the same, all nodes are
folded again for what it reached. Memories and multipliers are those of fewest LUTs without DSP slices; while block RAMs are
over the budget, the memory that gives up block RAMs for the fewest LUTs each moves to LUT RAM, which FINN's rule leaves to the
user. Converters of any ratio are allowed and counted, as FINN puts one in wherever neighbours differ.

Source of the order: FINN's `SetFolding`, whose `mvau_wwidth_max` of 36 bits a processing element is `most_simd` times the bits
of a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foldwright.accel.folding_tables import FoldingChoice, FoldingNode, FoldingTable
from foldwright.envs.folding.foreign import FoldingScore, score_folding

if TYPE_CHECKING:
    from foldwright.envs.folding.problem import FoldingProblem

__all__ = ["MOST_SIMD", "RuleFolding", "best_by_rule", "fold_by_rule"]

MOST_SIMD = 36
_RAISED = ("SIMD", "PE", "parallel_window")
_Setting = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class RuleFolding:
    """The best folding that the rule finds: the target it was given, the choices, what they take."""

    target_cycles: int
    positions: tuple[int, ...]
    score: FoldingScore


def best_by_rule(problem: FoldingProblem, most_simd: int = MOST_SIMD) -> RuleFolding | None:
    """Returns the rule's folding for the lowest target at which it keeps the budgets; None where none does."""
    levels = np.unique(np.concatenate([estimates[:, 0] for estimates in problem.table.estimates]))
    ladders = [_Ladder(node) for node in problem.table.nodes]
    for target in levels.tolist():
        positions = _fold(ladders, target, problem.budget_bram18, most_simd)
        score = score_folding(problem.table, positions)
        if score.lut <= problem.budget_lut and score.bram18 <= problem.budget_bram18:
            return RuleFolding(target, positions, score)
    return None


def fold_by_rule(
    table: FoldingTable, target_cycles: int, budget_bram18: int, most_simd: int = MOST_SIMD
) -> tuple[int, ...]:
    """Returns the choices that the rule takes for a target, by their positions in the nodes."""
    return _fold([_Ladder(node) for node in table.nodes], target_cycles, budget_bram18, most_simd)


class _Ladder:
    """The settings of a node's parallel attributes, each with its plainest choice."""

    def __init__(self, node: FoldingNode) -> None:
        self.node = node
        self.plainest: dict[_Setting, int] = {}
        for k, choice in enumerate(node.choices):
            setting = _setting(choice)
            known = self.plainest.get(setting)
            if known is None or _plainness(choice) < _plainness(node.choices[known]):
                self.plainest[setting] = k
        offered = [dict(setting) for setting in self.plainest]
        self.values = {
            name: sorted({o[name] for o in offered if name in o}) for name in _RAISED if name in offered[0]
        }

    def climb(self, target_cycles: int, most_simd: int) -> int:
        """Returns the choice of the first setting, in the order of the rule, that takes no more cycles than the target."""
        setting = {name: values[0] for name, values in self.values.items()}
        best = self.plainest[tuple(setting.items())]
        for name, values in self.values.items():
            capped = name == "SIMD" and "PE" in self.values
            for value in values[1:]:
                higher = self.plainest.get(tuple({**setting, name: value}.items()))
                if (
                    higher is None
                    or (capped and value > most_simd)
                    or self.node.choices[best].cycles <= target_cycles
                ):
                    break
                setting[name], best = value, higher
        return best


def _setting(choice: FoldingChoice) -> _Setting:
    found = {name: value for name, value in choice.attributes if isinstance(value, int)}
    return tuple((name, found[name]) for name in _RAISED if name in found)


def _plainness(choice: FoldingChoice) -> tuple[int, int, int]:
    return choice.dsp, choice.lut, choice.bram18


def _fold(
    ladders: Sequence[_Ladder], target_cycles: int, budget_bram18: int, most_simd: int
) -> tuple[int, ...]:
    positions = [ladder.climb(target_cycles, most_simd) for ladder in ladders]
    slowest = max(ladder.node.choices[k].cycles for ladder, k in zip(ladders, positions, strict=True))
    if slowest > target_cycles:
        positions = [ladder.climb(slowest, most_simd) for ladder in ladders]
    used = sum(ladder.node.choices[k].bram18 for ladder, k in zip(ladders, positions, strict=True))
    while used > budget_bram18:
        moves = [move for n, ladder in enumerate(ladders) for move in _moves(ladder.node, n, positions[n])]
        if not moves:
            break
        _, n, k = min(moves)
        choices = ladders[n].node.choices
        used -= choices[positions[n]].bram18 - choices[k].bram18
        positions[n] = k
    return tuple(positions)


def _moves(node: FoldingNode, index: int, position: int) -> list[tuple[float, int, int]]:
    """Returns what a node can give block RAMs up for: LUTs a block RAM, the node, the choice."""
    now = node.choices[position]
    return [
        ((choice.lut - now.lut) / (now.bram18 - choice.bram18), index, k)
        for k, choice in enumerate(node.choices)
        if choice.bram18 < now.bram18 and choice.dsp == now.dsp and _setting(choice) == _setting(now)
    ]
