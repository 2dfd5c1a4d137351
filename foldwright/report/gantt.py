"""The schedule as bars: a lane per engine and DRAM port, cycles to the right.

Bars stand in a nested picture whose coordinates are cycles and lanes, so zooming only changes its view. Where
a schedule has more bars than a page can hold, neighbours of one lane, kind and layer are drawn as one; if that
is not enough, the longest bars are drawn, and the picture says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby

from foldwright.report.data import Bar, BarKind
from foldwright.report.scale import Linear, short
from foldwright.report.svg import axis_bottom, element, number, picture, text

__all__ = ["MAX_BARS", "Drawn", "busy_share", "draw_gantt", "merge_bars"]

MAX_BARS = 1800
_MAX_LABELS = 400
_WIDTH, _LEFT, _RIGHT, _TOP, _LANE = 1120, 168, 12, 8, 34
_CHARACTER = 6.6  # about the width of a letter of a bar's label
_CSS = {kind: f"bar-{kind.name.lower()}" for kind in BarKind}


@dataclass(frozen=True, slots=True)
class Drawn:
    """The bars that are drawn; neighbours less than `gap` cycles apart became one, `dropped` were left out."""

    bars: tuple[Bar, ...]
    gap: int
    dropped: int


def merge_bars(bars: Sequence[Bar], limit: int = MAX_BARS) -> Drawn:
    """Returns at most `limit` bars that show the same picture; bars merge within a lane, kind and label."""
    merged, gap = sorted(bars, key=_order), 0
    end = max((b.end for b in merged), default=0)
    while len(merged) > limit and gap < end:
        gap = max(1, gap * 2)
        merged = _join(merged, gap)
    kept = sorted(merged, key=lambda b: b.start - b.end)[:limit]
    return Drawn(tuple(sorted(kept, key=_start)), gap, len(merged) - len(kept))


def _order(bar: Bar) -> tuple[str, str, str, int]:
    return bar.lane, bar.kind.name, bar.label, bar.start


def _join(bars: list[Bar], gap: int) -> list[Bar]:
    joined = bars[:1]
    for bar in bars[1:]:
        last = joined[-1]
        if _order(bar)[:3] == _order(last)[:3] and bar.start - last.end <= gap:
            joined[-1] = replace(last, end=max(last.end, bar.end))
        else:
            joined.append(bar)
    return joined


def busy_share(bars: Iterable[Bar], end: int) -> float:
    """Returns the share of cycles 0 to `end` in which at least one of the bars runs."""
    busy, until = 0, 0
    for bar in sorted(bars, key=lambda b: b.start):
        busy += max(0, bar.end - max(bar.start, until))
        until = max(until, bar.end)
    return busy / end if end else 0.0


def draw_gantt(bars: Sequence[Bar], clock_mhz: float) -> str:
    """Returns the picture; empty without bars."""
    if not bars:
        return ""
    lanes = list(dict.fromkeys(b.lane for b in bars))
    end = max(b.end for b in bars)
    drawn = merge_bars(bars)
    height = _TOP + _LANE * len(lanes)
    scale = Linear(0, end, _LEFT, _WIDTH - _RIGHT)
    axis = f"cycles (at {clock_mhz:g} MHz, 1,000 cycles are {1000 / clock_mhz:.3g} µs)"
    parts = [_lane_names(lanes, bars, end)]
    parts.append(element("g", axis_bottom(scale, height + 4, _TOP, axis, short, 8), class_="time"))
    parts.append(_plot(drawn.bars, lanes, end, clock_mhz))
    parts.append(element("g", _labels(bars, lanes, scale), class_="names"))
    summary = f"{len(lanes)} lanes over {end:,} cycles"
    summary += f"; bars less than {drawn.gap:,} cycles apart are drawn as one" if drawn.gap else ""
    summary += f"; the {drawn.dropped:,} shortest bars are left out" if drawn.dropped else ""
    return picture("gantt", _WIDTH, height + 44, "Schedule", summary, parts)


def _lane_names(lanes: Sequence[str], bars: Sequence[Bar], end: int) -> str:
    parts = []
    for k, lane in enumerate(lanes):
        y = _TOP + k * _LANE
        share = busy_share((b for b in bars if b.lane == lane), end)
        parts.append(text(0, y + 15, _clip(lane, 26), "lane"))
        parts.append(text(0, y + 29, f"{share:.0%} busy", "tick"))
        parts.append(element("line", x1=0, x2=_WIDTH - _RIGHT, y1=y + _LANE, y2=y + _LANE, class_="grid"))
    return "".join(parts)


def _clip(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1] + "…"


def _plot(bars: Sequence[Bar], lanes: Sequence[str], end: int, clock_mhz: float) -> str:
    row = {lane: k for k, lane in enumerate(lanes)}
    shade = {label: i % 2 for i, label in enumerate(dict.fromkeys(b.label for b in bars))}
    rects = []
    for bar in bars:
        css = _CSS[bar.kind] + (" odd" if shade[bar.label] else "")
        place = f'x="{bar.start}" width="{max(bar.end - bar.start, 0)}" y="{row[bar.lane]}.14" height=".72"'
        rects.append(f'<rect {place} class="{css}"><title>{escape(_tip(bar, clock_mhz))}</title></rect>')
    return element(
        "svg",
        "".join(rects),
        x=_LEFT,
        y=_TOP,
        width=_WIDTH - _LEFT - _RIGHT,
        height=_LANE * len(lanes),
        viewBox=f"0 0 {max(end, 1)} {len(lanes)}",
        preserveAspectRatio="none",
        class_="plot",
    )


def _start(bar: Bar) -> int:
    return bar.start


def _tip(bar: Bar, clock_mhz: float) -> str:
    cycles = bar.end - bar.start
    span = f"cycles {bar.start:,} to {bar.end:,}"
    return f"{bar.label}: {bar.kind.value}\n{span}\n{cycles:,} cycles, {_time(cycles / clock_mhz)}"


def _time(us: float) -> str:
    return f"{us / 1000:.3g} ms" if us >= 1000 else f"{us:.3g} µs"


def _labels(bars: Sequence[Bar], lanes: Sequence[str], scale: Linear) -> str:
    """Returns the layers' names over their stretch of a lane; those that do not fit stay hidden."""
    spans = []
    for k, lane in enumerate(lanes):
        inside = sorted((b for b in bars if b.lane == lane), key=_start)
        for label, run in groupby(inside, key=lambda b: b.label):
            run_bars = list(run)
            spans.append((label, k, run_bars[0].start, max(b.end for b in run_bars)))
    spans.sort(key=lambda s: s[2] - s[3])
    parts = []
    for label, k, start, end in spans[:_MAX_LABELS]:
        fits = (scale(end) - scale(start)) > _CHARACTER * len(label) + 4
        parts.append(
            f'<text class="name{"" if fits else " hide"}" x="{number(scale((start + end) / 2))}" '
            f'y="{_TOP + k * _LANE + 21}" data-s="{start}" data-e="{end}">{escape(label)}</text>'
        )
    return "".join(parts)
