"""Why a rate is out of reach, in the words of `optimize`: which options exclude each other, and what would resolve it."""

from __future__ import annotations

import math

from foldwright.agents.conflicts import Conflict, Limit, conflicts_at
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.netlists.part import load_part

__all__ = ["out_of_reach"]

_MILLI = 1000
_MOST_MHZ = 1000


def out_of_reach(
    problem: AllocationProblem, target_fps: float, clock_mhz: float, most_millicycles: int
) -> str:
    """Returns why no design takes so few cycles, one line for each conflict; the bound excludes that any does."""
    best = clock_mhz * 1e6 * _MILLI / problem.bound().value
    lines = [
        f"{problem.name}: no design of the space is faster than {best:,.0f} frames per second at {clock_mhz:g} MHz, "
        f"{target_fps:g} are asked for"
    ]
    lines += [_line(problem, conflict) for conflict in conflicts_at(problem, most_millicycles)]
    clock = math.ceil(10 * clock_mhz * target_fps / best) / 10
    faster = f", or raise --clock-mhz to {clock:g} or more" if clock <= _MOST_MHZ else ""
    lines.append(f"lower --target-fps to {math.floor(best):,} or less{faster}")
    return "\n".join(lines)


def _line(problem: AllocationProblem, conflict: Conflict) -> str:
    if conflict.limits == {Limit.RATE}:
        return f"all of {problem.part} with as many engines as the space has does not reach it"
    options = " and ".join(_option(problem, limit) for limit in Limit if limit in conflict.limits)
    ways = [
        _remedy(problem, limit, conflict.remedies[limit]) for limit in Limit if limit in conflict.remedies
    ]
    told = [way for way in ways if way]
    needed = (
        f"; by the bound that takes {' or '.join(told)}" if told else "; no value of the second resolves it"
    )
    return f"{options} exclude each other{needed}"


def _option(problem: AllocationProblem, limit: Limit) -> str:
    return {
        Limit.RATE: "--target-fps",
        Limit.LUTS: f"--budget-lut-percent {problem.budget_lut_percent:g}",
        Limit.ENGINES: f"--set max_engines={problem.max_engines}",
        Limit.DRAM: f"--set dram_bits_per_cycle={problem.dram_bits_per_cycle}",
    }[limit]


def _remedy(problem: AllocationProblem, limit: Limit, value: int) -> str:
    """Returns the option that resolves a conflict; that of the rate is told once for all."""
    if limit is Limit.RATE:
        return ""
    if limit is Limit.ENGINES:
        return f"max_engines={value}"
    if limit is Limit.DRAM:
        return f"dram_bits_per_cycle={value}"
    fixed, whole = problem.lut_budget - int(problem.tables[4][2]), load_part(problem.part).budget.lut
    return f"--budget-lut-percent {math.ceil(1000 * (value + fixed) / whole) / 10:g}"
