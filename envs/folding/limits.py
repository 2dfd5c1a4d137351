"""Why no folding keeps the budgets and the target: which resource binds, and the smallest budget of each that would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foldwright.envs.folding.chain import R_CYCLES
from foldwright.envs.folding.labels import MOST_USED
from foldwright.envs.folding.relax import NEVER
from foldwright.errors import InfeasibleError

if TYPE_CHECKING:
    from foldwright.envs.folding.problem import FoldingProblem

__all__ = ["explain_infeasible", "smallest_budgets"]

_NAMES = ("LUTs", "BRAM18", "DSP slices")


def smallest_budgets(problem: FoldingProblem) -> tuple[int | None, ...]:
    """Returns the smallest budget of LUTs, BRAM18 and DSP slices that does with the others as given; None where none does."""
    out: list[int | None] = []
    for resource, most in enumerate(MOST_USED):
        caps = problem.caps.copy()
        caps[resource] = most - 1
        found = problem.search.least(resource, caps, problem.most_cycles, lambda work: False)
        out.append(None if found is None else (found.uses.lut, found.uses.bram18, found.uses.dsp)[resource])
    return tuple(out)


def explain_infeasible(problem: FoldingProblem) -> InfeasibleError:
    """Returns the error for an instance without a folding that keeps its budgets and its target.

    Raises:
        Stopped: there are too many labels to find the smallest budgets.
    """
    return InfeasibleError(f"folding {problem.name!r}: " + (_out_of_reach(problem) or _over_budget(problem)))


def _rate(problem: FoldingProblem, cycles: int) -> str:
    return f"{cycles} cycles per frame ({problem.fps_of(cycles):,.0f} frames/s at {problem.clock_mhz:g} MHz)"


def _out_of_reach(problem: FoldingProblem) -> str:
    """Returns why no folding at all, whatever it takes, reaches the target; empty where one does."""
    chain = problem.search.chain
    spans = zip(chain.first[:-1], chain.first[1:], strict=True)
    least = [int(chain.rows[a:b, R_CYCLES].min()) for a, b in spans]
    slowest = max(range(len(least)), key=least.__getitem__)
    if problem.most_cycles < least[slowest]:
        return (
            f"the target is {_rate(problem, problem.target_cycles)}, but every choice of node "
            f"{problem.table.nodes[slowest].name!r} takes at least {_rate(problem, least[slowest])}: that is the bound of this "
            "table; lower the target"
        )
    if problem.search.alone(0, problem.most_cycles) < NEVER:
        return ""
    if problem.target_cycles and problem.search.alone(0, int(problem.search.levels[-1])) < NEVER:
        return (
            f"at {_rate(problem, problem.target_cycles)} there are no neighbours whose stream widths divide one another all "
            "along the chain; lower the target"
        )
    return (
        "there are no neighbours whose stream widths divide one another all along the chain, so no converters join them; "
        "add choices of other widths to the table"
    )


def _over_budget(problem: FoldingProblem) -> str:
    at = f" at {_rate(problem, problem.target_cycles)}" if problem.target_cycles else " at any rate"
    given = ", ".join(f"{cap} {name}" for name, cap in zip(_NAMES, problem.caps.tolist(), strict=True))
    smallest = smallest_budgets(problem)
    enough = [f"{value} {name}" for name, value in zip(_NAMES, smallest, strict=True) if value is not None]
    if enough:
        binding = " or ".join(enough) + " would do with the other budgets as they are"
        others = [name for name, value in zip(_NAMES, smallest, strict=True) if value is None]
        if others:
            binding += f"; more {' or '.join(others)} alone would not"
    else:
        alone = [problem.search.alone(k, problem.most_cycles) for k in range(len(_NAMES))]
        least = ", ".join(f"{value} {name}" for name, value in zip(_NAMES, alone, strict=True))
        binding = (
            f"no budget alone can be raised enough; the least of each, whatever the others take, is {least}"
        )
    return f"no folding fits {given}{at}: {binding}; raise a budget{_or_lower(problem)}"


def _or_lower(problem: FoldingProblem) -> str:
    """Returns which target the budgets would allow."""
    if not problem.target_cycles:
        return ""
    search, top = problem.search, int(problem.search.levels[-1])
    found = search.fits(problem.caps, top, lambda work: False)
    if found is None:
        return "; they are too small at any rate"
    best, _ = search.fewest_cycles(problem.caps, found, lambda work: False)
    return f", or lower the target to {_rate(problem, best.uses.cycles)}, the best that these allow"
