"""The independent referee of foldings: adds up the table's numbers in plain Python, by other formulas than the search's."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from foldwright.errors import IllegalSolutionError

if TYPE_CHECKING:
    from foldwright.accel.folding_tables import FoldingChoice
    from foldwright.envs.folding.problem import FoldingProblem, FoldingSolution

__all__ = ["check_folding"]


def check_folding(problem: FoldingProblem, solution: FoldingSolution) -> None:
    """Checks a folding against the instance.

    Raises:
        IllegalSolutionError: with every rule that it breaks.
    """
    chosen = _choices(problem, solution)
    lut, wrong = sum(choice.lut for _, choice in chosen), []
    for (before, left), (after, right) in pairwise(chosen):
        ratio = max(left.out_bits, right.in_bits) / min(left.out_bits, right.in_bits)
        if ratio != int(ratio):
            wrong.append(
                f"no converter goes from the {left.out_bits} bits of {before!r} to the {right.in_bits} of {after!r}: neither "
                "divides the other"
            )
        elif ratio > 1:
            widens = right.in_bits > left.out_bits
            counter = math.floor(math.log2(ratio)) if widens else math.ceil(math.log2(ratio))
            lut += right.in_bits + counter
    slowest, choice = max(chosen, key=lambda item: item[1].cycles)
    for what, used, allowed in (
        ("LUTs", lut, problem.budget_lut),
        ("BRAM18", sum(c.bram18 for _, c in chosen), problem.budget_bram18),
        ("DSP slices", sum(c.dsp for _, c in chosen), problem.budget_dsp),
        (f"cycles of {slowest!r}", choice.cycles, problem.target_cycles or choice.cycles),
    ):
        if used > allowed:
            wrong.append(f"{used} {what}, allowed {allowed}")
    if wrong:
        raise IllegalSolutionError(f"folding {problem.name!r}: " + "; ".join(wrong))


def _choices(problem: FoldingProblem, solution: FoldingSolution) -> list[tuple[str, FoldingChoice]]:
    """Returns name and choice of every node."""
    given = [(part.node, dict(part.attributes)) for part in solution.nodes]
    if [name for name, _ in given] != [node.name for node in problem.table.nodes]:
        raise IllegalSolutionError(
            f"folding {problem.name!r}: the solution's nodes are not those of the table in their order"
        )
    out = []
    for node, (name, attributes) in zip(problem.table.nodes, given, strict=True):
        same = [choice for choice in node.choices if dict(choice.attributes) == attributes]
        if not same:
            raise IllegalSolutionError(f"folding {problem.name!r}: node {name!r} has no choice {attributes}")
        out.append((name, same[0]))
    return out
