"""Anytime curves: the best cost that each solver had found after some CPU seconds, and the proven bound."""

from __future__ import annotations

import math

from foldwright.report.data import Anytime, Series
from foldwright.report.scale import Linear, Log, short
from foldwright.report.svg import axis_bottom, axis_left, element, number, picture, text

__all__ = ["draw_anytime", "thin_out"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 330, 52, 96, 34, 44
_COLOURS = 6
_MAX_STEPS = 300


def thin_out(series: Series, limit: int = _MAX_STEPS) -> Series:
    """Returns a curve of at most `limit` steps: the first, the last, and evenly chosen ones between."""
    n = len(series.cost)
    if n <= limit:
        return series
    kept = sorted({round(i * (n - 1) / (limit - 1)) for i in range(limit)})
    return Series(series.solver, tuple(series.seconds[i] for i in kept), tuple(series.cost[i] for i in kept))


def draw_anytime(search: Anytime, number_of_picture: int = 0) -> str:
    """Returns the picture of one problem; empty without a curve."""
    curves = [thin_out(s) for s in search.series if s.cost and all(map(math.isfinite, s.cost))]
    if not curves:
        return ""
    x, y = _scales(curves, search.bound)
    parts = [
        axis_bottom(x, y.start, y.end, "CPU seconds"),
        axis_left(y, x.start, x.end, f"best cost ({search.unit})"),
    ]
    if search.bound is not None:
        parts.append(
            element("line", x1=x.start, x2=x.end, y1=y(search.bound), y2=y(search.bound), class_="bound")
        )
        parts.append(text(x.end + 6, y(search.bound) + 4, f"bound {short(search.bound)}", "note"))
    parts += [_curve(c, k % _COLOURS, x, y) for k, c in enumerate(curves)]
    parts.append(_names(curves, search.bound, x, y))
    best = min(curves, key=lambda c: c.cost[-1])
    gap = f", {best.cost[-1] / search.bound - 1:.1%} above the bound" if search.bound else ""
    summary = f"{best.solver} ends best at {short(best.cost[-1])} {search.unit}{gap}"
    name = f"anytime-{number_of_picture}"
    return picture(name, _WIDTH, _HEIGHT, f"Search of {search.problem}", summary, parts)


def _scales(curves: list[Series], bound: float | None) -> tuple[Log, Linear]:
    times = [t for c in curves for t in c.seconds]
    low_t = max(min(times), 1e-4)
    high_t = max([low_t * 10, *times])
    costs = [v for c in curves for v in c.cost] + ([bound] if bound is not None else [])
    margin = (max(costs) - min(costs)) * 0.08 or abs(max(costs)) * 0.05 or 1.0
    x = Log(low_t, high_t, _LEFT, _WIDTH - _RIGHT)
    return x, Linear(min(costs) - margin, max(costs) + margin, _HEIGHT - _BOTTOM, _TOP)


def _curve(curve: Series, colour: int, x: Log, y: Linear) -> str:
    steps = [(x(max(t, x.low)), y(v)) for t, v in zip(curve.seconds, curve.cost, strict=True)]
    path = f"M{number(steps[0][0])},{number(steps[0][1])}"
    path += "".join(f"H{number(px)}V{number(py)}" for px, py in steps[1:]) + f"H{number(x.end)}"
    return element("path", d=path, class_=f"curve c{colour}") + element(
        "circle", cx=steps[-1][0], cy=steps[-1][1], r=3, class_=f"end c{colour}"
    )


def _names(curves: list[Series], bound: float | None, x: Log, y: Linear) -> str:
    """Returns each solver's name at the end of its curve, moved apart where curves end together."""
    taken = [] if bound is None else [y(bound) + 4]
    parts = []
    for k, curve in sorted(enumerate(curves), key=lambda e: e[1].cost[-1]):
        place = y(curve.cost[-1]) + 4
        while any(abs(place - other) < 13 for other in taken):
            place -= 3
        taken.append(place)
        parts.append(text(x.end + 6, place, curve.solver[:16], f"note t{k % _COLOURS}"))
    return "".join(parts)
