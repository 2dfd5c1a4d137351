"""The page of a bench: rankings, an anytime picture per instance, and every row, in one offline file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foldwright.report.anytime import draw_anytime, thin_out
from foldwright.report.data import Anytime, Table
from foldwright.report.page import MAX_REPORT_BYTES

__all__ = ["BenchPage", "render_bench"]

_CURVE_BYTES = 600_000
_STEP_BYTES = 16
_MOST_STEPS, _LEAST_STEPS = 300, 12
_MOST_PICTURES = 60
_MAX_ROWS = 500


@dataclass(frozen=True, slots=True)
class BenchPage:
    """What the page shows; `remarks` are sentences that a reader must not miss."""

    title: str
    summary: str
    remarks: tuple[str, ...]
    tables: tuple[Table, ...]
    anytime: tuple[Anytime, ...]
    facts: tuple[tuple[str, str], ...]


def render_bench(page: BenchPage) -> str:
    """Returns the page; it loads nothing from elsewhere and stays below `MAX_REPORT_BYTES`.

    Raises:
        ValueError: the texts given are so long that the page would be larger.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("foldwright", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("bench.html.jinja").render(
        page=page,
        pictures=[(problem, Markup(svg)) for problem, svg in _pictures(page.anytime)],
        left_out=max(0, len(page.anytime) - _MOST_PICTURES),
        tables=[_shown(table) for table in page.tables],
        style=Markup(environment.loader.get_source(environment, "report.css")[0]),  # type: ignore[union-attr]
    )
    size = len(html.encode("utf-8"))
    if size >= MAX_REPORT_BYTES:
        raise ValueError(
            f"the page has {size:,} bytes, allowed are {MAX_REPORT_BYTES:,}: bench fewer instances"
        )
    return html


def _pictures(anytime: Sequence[Anytime]) -> list[tuple[str, str]]:
    """Returns name and picture of each instance, with fewer steps per curve where there are many curves."""
    shown = anytime[:_MOST_PICTURES]
    curves = max(1, sum(len(a.series) for a in shown))
    limit = max(_LEAST_STEPS, min(_MOST_STEPS, _CURVE_BYTES // (_STEP_BYTES * curves)))
    thinned = [
        Anytime(a.problem, a.unit, tuple(thin_out(s, limit) for s in a.series), a.bound) for a in shown
    ]
    return [(a.problem, svg) for number, a in enumerate(thinned) if (svg := draw_anytime(a, number))]


def _shown(table: Table) -> Table:
    more = len(table.rows) - _MAX_ROWS
    if more <= 0:
        return table
    note = f"{table.note} {more:,} more rows are in the other files.".strip()
    return Table(table.title, table.header, table.rows[:_MAX_ROWS], note)
