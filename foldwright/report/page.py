"""Puts the pictures and tables of a report into one page, with its style and script inside."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from foldwright.report.anytime import draw_anytime
from foldwright.report.data import BarKind, Floorplan, ReportData, Table, Use
from foldwright.report.floorplan import COLOURS, draw_floorplan, group_colours
from foldwright.report.gantt import draw_gantt
from foldwright.report.memory_map import draw_memories
from foldwright.report.pareto import draw_front
from foldwright.report.roofline import draw_roofline

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["MAX_REPORT_BYTES", "render_report"]

MAX_REPORT_BYTES = 1_000_000
_MAX_ROWS = 200

_STATUS = {
    "optimal": ("good", "proven optimal"),
    "feasible": ("fair", "feasible, not proven optimal"),
    "infeasible": ("bad", "infeasible"),
    "unknown": ("bad", "nothing found, nothing proven"),
}


def render_report(data: ReportData) -> str:
    """Returns the page; it loads nothing from elsewhere and stays below `MAX_REPORT_BYTES`.

    Raises:
        ValueError: the texts given are so long that the page would be larger.
    """
    from markupsafe import Markup

    kind, status = _STATUS.get(data.status, ("bad", data.status))
    page = _environment().get_template("report.html.jinja")
    html = page.render(
        data=data,
        status=status,
        status_kind=kind,
        uses=[_meter(u) for u in data.utilization],
        stages=[(s.stage, s.cpu_seconds) for s in data.stages],
        gantt=Markup(draw_gantt(data.bars, data.clock_mhz)),
        bar_kinds=[(k.name.lower(), k.value) for k in BarKind if any(b.kind is k for b in data.bars)],
        roofline=Markup(draw_roofline(data.roofline)),
        anytime=[(a, Markup(svg)) for k, a in enumerate(data.anytime) if (svg := draw_anytime(a, k))],
        floorplan=Markup(draw_floorplan(data.floorplan)),
        front=Markup(draw_front(data.front)),
        floorplan_groups=_legend(data.floorplan),
        memories=[(m, Markup(svg)) for m, svg in draw_memories(data.memories, data.blocks)],
        tables=[_shown(t) for t in data.tables],
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
    )
    size = len(html.encode("utf-8"))
    if size >= MAX_REPORT_BYTES:
        raise ValueError(
            f"the report has {size:,} bytes, allowed are {MAX_REPORT_BYTES:,}: shorten its texts"
        )
    return html


def _legend(plan: Floorplan | None) -> list[tuple[str, str]]:
    """Returns (colour class, label) of the groups that have a colour of their own, then of all others."""
    colours = group_colours(plan) if plan is not None else {}
    legend = [(f"f{colour}", label) for label, colour in colours.items() if colour < COLOURS]
    return [*legend, *([("other", "everything else")] if len(legend) < len(colours) else [])]


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (resources.files("foldwright.report") / name).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Meter:
    """One utilisation bar; shares are percentages of what the part has."""

    name: str
    used: int
    available: int
    percent: float
    budget_percent: float | None
    kind: str


def _meter(use: Use) -> _Meter:
    percent = 100 * use.used / use.available if use.available else 0.0
    budget = 100 * use.budget / use.available if use.budget is not None and use.available else None
    limit = 100.0 if budget is None else budget
    kind = "over" if percent > limit + 1e-9 else "within"
    return _Meter(use.name, use.used, use.available, percent, budget, kind)


def _shown(table: Table) -> Table:
    more = len(table.rows) - _MAX_ROWS
    if more <= 0:
        return table
    note = f"{table.note} {more:,} more rows are left out.".strip()
    return Table(table.title, table.header, table.rows[:_MAX_ROWS], note)
