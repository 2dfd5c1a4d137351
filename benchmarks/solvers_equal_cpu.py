"""Runs every solver on the same instances with the same CPU seconds, and shows cost, bound and gap.

    python benchmarks/solvers_equal_cpu.py [--json FILE] [--instances NAME ...] [--solvers NAME ...]
        [--budgets SECONDS ...] [--seeds N]

CPU seconds are user and system time of all threads, after imports, kernel compilation and the bound of the problem
(the warm-up, shown apart). Cost is the median over the seeds, with the least and the greatest; the bound is the best
that the solver itself could prove. A solver that finds a proof ends before its time, one that cannot stop in the
middle of a step runs over it; the column of CPU seconds shows both. A solver that an instance does not offer a model
or a method for is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from foldwright.agents.registry import SOLVERS, get_solver
from foldwright.agents.result import Result, Status
from foldwright.agents.search import versions
from foldwright.agents.stop import CpuSeconds
from foldwright.envs.problem import Problem
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError
from foldwright.runs import write_atomic

__all__ = ["Row", "main"]

INSTANCES = (
    "tiling/cnv-w1a1-b16",
    "tiling/resnet18-w1a2-b16",
    "allocation/cnv-w1a1-xc7z020-80",
    "allocation/dorefa-xc7z020-80",
)
BUDGETS_S = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Row:
    """One solver on one instance with one budget, over all seeds; costs in the unit of the instance."""

    instance: str
    unit: str
    solver: str
    budget_s: float
    seeds: int
    cost_median: float
    cost_least: int
    cost_greatest: int
    bound: int
    gap_median: float
    optimal: int
    cpu_s_median: float
    cpu_s_greatest: float
    warmup_s_first: float
    evaluations_median: float


def row_of(results: Sequence[Result], budget_s: float) -> Row:
    """Returns the row of one solver's results on one instance."""
    costs = [r.cost for r in results]
    seconds = [r.cpu_seconds for r in results]
    bound = max(r.bound for r in results)
    median = statistics.median(costs)
    return Row(
        instance=results[0].problem,
        unit=results[0].unit,
        solver=results[0].solver,
        budget_s=budget_s,
        seeds=len(results),
        cost_median=median,
        cost_least=min(costs),
        cost_greatest=max(costs),
        bound=bound,
        gap_median=round(median / bound - 1, 5),
        optimal=sum(r.status is Status.OPTIMAL for r in results),
        cpu_s_median=round(statistics.median(seconds), 3),
        cpu_s_greatest=round(max(seconds), 3),
        warmup_s_first=round(results[0].warmup_seconds, 3),
        evaluations_median=statistics.median(r.iterations for r in results),
    )


def rows_of(
    problem: Problem, solvers: Sequence[str], budgets_s: Sequence[float], seeds: int
) -> Iterator[Row]:
    """Yields a row per solver and budget; nothing for a solver that the problem does not suit.

    Raises:
        ConfigError: the solver does not suit the problem.
    """
    for name in solvers:
        for budget_s in budgets_s:
            runs = [get_solver(name)(problem, stop=CpuSeconds(budget_s), seed=s) for s in range(seeds)]
            for result in runs:
                problem.check(result.solution)
            yield row_of(runs, budget_s)


def measure(options: argparse.Namespace, console: Console) -> tuple[list[Row], list[str]]:
    """Returns all rows, and a line for each solver that an instance does not suit."""
    rows: list[Row] = []
    unsuited: list[str] = []
    for instance in options.instances:
        problem = load_instance(instance)
        for solver in options.solvers:
            try:
                rows += rows_of(problem, [solver], options.budgets, options.seeds)
                console.print(f"{instance} {solver}: done", markup=False, highlight=False)
            except ConfigError as error:
                unsuited.append(str(error))
    return rows, unsuited


def table_of(rows: Sequence[Row]) -> Table:
    """Returns the rows as a table, the best median of each instance and budget marked."""
    best: dict[tuple[str, float], float] = {}
    for row in rows:
        key = (row.instance, row.budget_s)
        best[key] = min(best.get(key, row.cost_median), row.cost_median)
    table = Table("instance", "CPU s", "solver", *_NUMBERS, title="Solvers at equal CPU seconds")
    for column in table.columns[3:]:
        column.justify = "right"
    for row in sorted(rows, key=lambda r: (r.instance, r.budget_s)):
        mark = " *" if row.cost_median == best[(row.instance, row.budget_s)] else ""
        table.add_row(
            row.instance,
            f"{row.budget_s:g}",
            row.solver,
            f"{row.cost_median:,.0f}{mark}",
            f"{row.cost_least:,} - {row.cost_greatest:,}",
            f"{row.bound:,}",
            f"{100 * row.gap_median:.2f}",
            f"{row.optimal}/{row.seeds}",
            f"{row.cpu_s_median:.2f} - {row.cpu_s_greatest:.2f}",
            f"{row.evaluations_median:,.0f}",
        )
    return table


_NUMBERS = (
    "median cost",
    "least - greatest",
    "bound",
    "gap %",
    "proven",
    "CPU s: median - most",
    "evaluations",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and writes the rows where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--instances", nargs="+", default=INSTANCES)
    parser.add_argument("--solvers", nargs="+", default=tuple(SOLVERS))
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS_S)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    console = Console(width=190)
    rows, unsuited = measure(options, console)
    console.print(table_of(rows))
    for line in unsuited:
        console.print(line, markup=False, highlight=False)
    if options.json:
        body = {
            "rows": [asdict(row) for row in rows],
            "unsuited": unsuited,
            "versions": versions(),
            "processor": platform.machine(),
        }
        write_atomic(options.json, json.dumps(body, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
