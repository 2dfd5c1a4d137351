"""The front between frames per second and LUTs: designs that were found, below the curve of bounds."""

from __future__ import annotations

from html import escape

from foldwright.report.data import Front, FrontPoint
from foldwright.report.scale import Linear, short
from foldwright.report.svg import axis_bottom, axis_left, element, number, picture, text

__all__ = ["draw_front"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 380, 56, 24, 34, 44
_HEADROOM = 1.08


def draw_front(front: Front | None) -> str:
    """Returns the picture; empty without points."""
    if front is None or not front.points:
        return ""
    x, y = _scales(front)
    parts = [
        axis_bottom(x, y.start, y.end, "LUTs"),
        axis_left(y, x.start, x.end, "frames per second"),
        _bound(front, x, y),
        _steps(front.points, x, y),
        *(_dot(point, x, y) for point in front.points),
        _plan_label(front.points, x, y),
    ]
    fastest = front.points[-1]
    summary = (
        f"{len(front.points)} designs from {front.points[0].lut:,} LUTs with {front.points[0].fps:,.0f} frames per second to "
        f"{fastest.lut:,} with {fastest.fps:,.0f}"
    )
    return picture("pareto", _WIDTH, _HEIGHT, "Frames per second and LUTs", summary, parts)


def _scales(front: Front) -> tuple[Linear, Linear]:
    luts = [p.lut for p in front.points] + [lut for lut, _ in front.bounds]
    rates = [p.fps for p in front.points] + [fps for _, fps in front.bounds]
    x = Linear(0, max(luts) * _HEADROOM, _LEFT, _WIDTH - _RIGHT)
    return x, Linear(0, max(rates) * _HEADROOM, _HEIGHT - _BOTTOM, _TOP)


def _bound(front: Front, x: Linear, y: Linear) -> str:
    """Returns the curve of bounds: a rate holds down from its LUTs to those of the bound before."""
    if not front.bounds:
        return ""
    (first_lut, first_fps), *rest = front.bounds
    path = f"M{number(x(first_lut))},{number(y(first_fps))}"
    path += "".join(f"V{number(y(fps))}H{number(x(lut))}" for lut, fps in rest)
    under = f"{path}V{number(y.start)}H{number(x(first_lut))}Z"
    last_lut, last_fps = front.bounds[-1]
    return "".join(
        [
            element("path", d=under, class_="under"),
            element("path", d=path, class_="bound-curve"),
            text(x(last_lut), y(last_fps) - 8, f"bound: {short(last_fps)}", "note", "end"),
        ]
    )


def _steps(points: tuple[FrontPoint, ...], x: Linear, y: Linear) -> str:
    """Returns the line of what was found: a design serves for more LUTs too, until the next one."""
    path = f"M{number(x(points[0].lut))},{number(y(points[0].fps))}"
    path += "".join(f"H{number(x(p.lut))}V{number(y(p.fps))}" for p in points[1:])
    return element("path", d=path, class_="front")


def _dot(point: FrontPoint, x: Linear, y: Linear) -> str:
    tip = f"{point.fps:,.0f} frames per second with {point.lut:,} LUTs, {point.note}"
    css, radius = ("dot-array", 5) if point.is_plan else ("dot-front", 4)
    return element(
        "circle", element("title", escape(tip)), cx=x(point.lut), cy=y(point.fps), r=radius, class_=css
    )


def _plan_label(points: tuple[FrontPoint, ...], x: Linear, y: Linear) -> str:
    """Returns the rate of the plan below its point; nothing where it is none of them."""
    plan = next((p for p in points if p.is_plan), None)
    if plan is None:
        return ""
    return text(x(plan.lut), y(plan.fps) + 21, f"this plan: {short(plan.fps)}", "note over", "end")
