"""The tables of a bench as text: on the terminal, in Markdown, and on its page."""

from __future__ import annotations

from collections.abc import Sequence

from foldwright.agents.bench import Run
from foldwright.agents.curves import Curve, curves_of
from foldwright.agents.scores import InstanceFacts, Rank, Row
from foldwright.agents.store import StoredRun
from foldwright.report.bench_page import BenchPage
from foldwright.report.data import Anytime, Series, Table

__all__ = ["markdown", "page_of", "rank_table", "row_table", "tables_of", "terminal"]

_LEAST_WIDTH = 200
_SHOWN_ABOVE_BEST = 3.0
"""Costs beyond this many times the best known, such as a start's, would flatten a picture and are left out."""
_ROW_NOTE = (
    "Costs are medians over the seeds. Gap: over the best cost known; bound gap: over the best bound known. Primal, dual and "
    "gap integrals are means over time in percent of the best cost known; 0 is perfect. CPU seconds follow the warm-up."
)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:,.2f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3f}"


def _budget(kind: str, amount: float) -> str:
    return f"{amount:g} s" if kind == "cpu_seconds" else f"{int(amount):,} ev"


def _range(row: Row) -> str:
    if row.cost_least is None:
        return "-"
    most = "none" if row.cost_greatest is None else f"{row.cost_greatest:,}"
    return f"{row.cost_least:,} - {most}"


def _state(row: Row) -> str:
    """Returns how many runs were solved, and what became of the others."""
    bad = [f"{n} {word}" for n, word in ((row.failed, "failed"), (row.unsolved, "unsolved")) if n]
    return ", ".join([f"{row.seeds - row.failed - row.unsolved}/{row.seeds}", *bad])


def row_table(instance: str, rows: Sequence[Row]) -> Table:
    """Returns the rows of one instance; the best median of each budget is marked."""
    best = {
        budget: min(
            (r.cost_median for r in rows if r.budget == budget and r.cost_median is not None), default=None
        )
        for budget in {r.budget for r in rows}
    }
    has_integrals = any(r.primal_share is not None for r in rows)
    trained = any(r.training_cpu_s is not None for r in rows)
    header = [
        "solver",
        "budget",
        "solved",
        "median cost",
        "least - greatest",
        "gap %",
        "bound gap %",
        "proven",
    ]
    header += ["primal %", "dual %", "gap integral %"] if has_integrals else []
    header += ["CPU s: median", "most", "warm-up s", "evaluations"] + (["training CPU s"] if trained else [])
    body = []
    for r in sorted(rows, key=lambda r: r.budget):
        mark = " *" if r.cost_median is not None and r.cost_median == best[r.budget] else ""
        cells = [
            r.solver,
            _budget(r.budget_kind, r.budget),
            _state(r),
            _whole(r.cost_median) + mark,
            _range(r),
        ]
        cells += [_percent(r.gap), _percent(r.bound_gap), f"{r.proven}/{r.seeds}"]
        cells += [_percent(s) for s in (r.primal_share, r.dual_share, r.gap_share)] if has_integrals else []
        cells += [_seconds(r.cpu_s_median), _seconds(r.cpu_s_most), _seconds(r.warmup_s)]
        cells += [_whole(r.evaluations_median)] + ([_seconds(r.training_cpu_s)] if trained else [])
        body.append(tuple(cells))
    return Table(f"{instance} ({rows[0].unit})", tuple(header), tuple(body), _ROW_NOTE)


def rank_table(ranks: Sequence[Rank]) -> Table:
    """Returns the ranking of the solvers at each budget."""
    rows = tuple(
        (
            _budget(r.budget_kind, r.budget),
            r.solver,
            "not all solved" if r.mean_gap is None else _percent(r.mean_gap),
            f"{r.first}/{r.instances}",
        )
        for r in ranks
    )
    note = "Gap: geometric mean over the instances of median cost over best cost known. First: instances with no lower median."
    return Table("All instances", ("budget", "solver", "mean gap %", "first"), rows, note)


def tables_of(rows: Sequence[Row], ranks: Sequence[Rank]) -> list[Table]:
    """Returns the ranking and a table per instance."""
    instances = list(dict.fromkeys(row.instance for row in rows))
    return [rank_table(ranks), *(row_table(i, [r for r in rows if r.instance == i]) for i in instances)]


def terminal(tables: Sequence[Table]) -> None:
    """Prints the tables to stdout."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console()
    if not console.is_terminal:
        console = Console(width=_LEAST_WIDTH)
    for table in tables:
        grid = Grid(title=table.title, title_justify="left")
        for k, name in enumerate(table.header):
            grid.add_column(name, justify="left" if k == 0 else "right")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid, markup=False, highlight=False)


def markdown(name: str, summary: str, remarks: Sequence[str], tables: Sequence[Table]) -> str:
    """Returns the tables as Markdown."""
    lines = [
        f"# Bench {name}",
        "",
        *([summary, ""] if summary else []),
        *(f"- {remark}" for remark in remarks),
    ]
    for table in tables:
        lines += ["", f"## {table.title}", "", _line(table.header), _line(["---"] * len(table.header))]
        lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, "", _ROW_NOTE, ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page_of(
    name: str, summary: str, remarks: Sequence[str], tables: Sequence[Table],
    done: Sequence[tuple[Run, StoredRun]], facts: dict[str, InstanceFacts], small_print: Sequence[tuple[str, str]],
) -> BenchPage:  # fmt: skip
    """Returns what the page of a bench shows."""
    pictures = [_anytime(fact, curves_of(done, fact)) for fact in facts.values()]
    return BenchPage(name, summary, tuple(remarks), tuple(tables), tuple(pictures), tuple(small_print))


def _anytime(facts: InstanceFacts, curves: Sequence[Curve]) -> Anytime:
    series = []
    for curve in curves:
        near = [
            step for step in curve.steps if step[1] <= _SHOWN_ABOVE_BEST * facts.reference
        ] or curve.steps[-1:]
        series.append(Series(curve.solver, tuple(t for t, _ in near), tuple(float(cost) for _, cost in near)))
    return Anytime(facts.instance, facts.unit, tuple(series), float(facts.bound))
