"""Fronts of several networks as one picture: frames per second over LUTs, what was found below the curve of bounds."""

from __future__ import annotations

from html import escape
from typing import Any

from foldwright.report.scale import Linear, short
from foldwright.report.svg import axis_bottom, axis_left, element, number, text

__all__ = ["draw_fronts"]

_COLUMNS, _WIDTH, _HEIGHT = 4, 300, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 44, 40
_HEADROOM = 1.08
_TALK_FPS = 1000.0
_INKS = {
    "light": {"ink": "#1f2328", "soft": "#59636e", "grid": "#d1d9e0", "found": "#0969da", "bound": "#bc4c00"},
    "dark": {"ink": "#f0f6fc", "soft": "#9198a1", "grid": "#3d444d", "found": "#4493f8", "bound": "#f0883e"},
}


def draw_fronts(fronts: list[dict[str, Any]], theme: str) -> str:
    """Returns an SVG file with a panel for each network, and a legend."""
    panels = [_panel(front) for front in fronts] + [_legend()]
    rows = -(-len(panels) // _COLUMNS)
    placed = [
        element("g", panel, transform=f"translate({k % _COLUMNS * _WIDTH},{k // _COLUMNS * _HEIGHT})")
        for k, panel in enumerate(panels)
    ]
    names = ", ".join(front["network"] for front in fronts)
    return element(
        "svg",
        element("style", _style(_INKS[theme])) + "".join(placed),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_COLUMNS * _WIDTH} {rows * _HEIGHT}",
        role="img",
        aria_label=f"Frames per second over LUTs, found and bound, of {names}",
    )


def _style(ink: dict[str, str]) -> str:
    return (
        "text{font-family:system-ui,sans-serif;font-size:11px}"
        f".name{{fill:{ink['ink']};font-size:13px;font-weight:600}}.tick,.axis,.note{{fill:{ink['soft']}}}"
        f".grid{{stroke:{ink['grid']};stroke-width:1}}.front{{stroke:{ink['found']};fill:none;stroke-width:1.6}}"
        f".dot{{fill:{ink['found']}}}.bound{{stroke:{ink['bound']};fill:none;stroke-width:1.4;stroke-dasharray:4 3}}"
        f".talk{{stroke:{ink['soft']};stroke-width:1;stroke-dasharray:2 3}}"
    )


def _panel(front: dict[str, Any]) -> str:
    points, bounds = front["points"], front["bounds"]
    most_lut = max([p["lut"] for p in points] + [lut for lut, _ in bounds])
    most_fps = max([p["fps"] for p in points] + [fps for _, fps in bounds])
    x = Linear(0, most_lut * _HEADROOM, _LEFT, _WIDTH - _RIGHT)
    y = Linear(0, most_fps * _HEADROOM, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        text(2, 14, front["network"], "name"),
        axis_bottom(x, y.start, y.end, "LUTs", count=4),
        axis_left(y, x.start, x.end, "frames/s", count=4),
        element("path", d=_steps([(x(lut), y(fps)) for lut, fps in bounds], ahead=True), class_="bound"),
        element("path", d=_steps([(x(p["lut"]), y(p["fps"])) for p in points], ahead=False), class_="front"),
    ]
    if 0.3 * most_fps < _TALK_FPS < most_fps * _HEADROOM:
        parts.append(element("line", x1=x.start, x2=x.end, y1=y(_TALK_FPS), y2=y(_TALK_FPS), class_="talk"))
        parts.append(text(x.start + 4, y(_TALK_FPS) - 4, "talk: 1000", "note"))
    for p in points:
        tip = f"{p['fps']:,.0f} frames/s with {p['lut']:,} LUTs: {'; '.join(p['engines'])}"
        parts.append(
            element(
                "circle", element("title", escape(tip)), cx=x(p["lut"]), cy=y(p["fps"]), r=3, class_="dot"
            )
        )
    parts.append(
        text(
            x.end,
            y(most_fps) - 5,
            f"bound {short(bounds[-1][1])}, found {short(points[-1]['fps'])}",
            "note",
            "end",
        )
    )
    return "".join(parts)


def _steps(places: list[tuple[float, float]], ahead: bool) -> str:
    """Returns a stair through places: a bound holds down to the LUTs of the one before, a design up to the next one's."""
    first, *rest = places
    path = f"M{number(first[0])},{number(first[1])}"
    order = "V{1}H{0}" if ahead else "H{0}V{1}"
    return path + "".join(order.format(number(px), number(py)) for px, py in rest)


def _legend() -> str:
    lines = (("front", "found, checked by the referees"), ("bound", "bound of every design of the space"))
    parts = []
    for k, (css, words) in enumerate(lines):
        at = _TOP + 24 * k
        parts.append(element("line", x1=_LEFT, x2=_LEFT + 28, y1=at, y2=at, class_=css))
        parts.append(text(_LEFT + 36, at + 4, words, "note"))
    return "".join(parts)
