"""The roofline: operations per cycle that each layer reaches, below the array's and the DRAM's ceiling."""

from __future__ import annotations

import math
from html import escape

from foldwright.report.data import Roofline, RooflinePoint
from foldwright.report.scale import Log, short
from foldwright.report.svg import axis_bottom, axis_left, element, picture, text

__all__ = ["draw_roofline"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 380, 52, 18, 34, 44
_CHARACTER = 6.2

Box = tuple[float, float, float, float]


def draw_roofline(roofline: Roofline | None) -> str:
    """Returns the picture; empty without layers or without a positive ceiling."""
    if roofline is None or min(roofline.peak_ops_per_cycle, roofline.dram_bits_per_cycle) <= 0:
        return ""
    points = [p for p in roofline.points if p.ops_per_cycle > 0 and p.intensity_ops_per_bit > 0]
    if not points:
        return ""
    ridge = roofline.peak_ops_per_cycle / roofline.dram_bits_per_cycle
    x, y = _scales(points, roofline.peak_ops_per_cycle, ridge)
    parts = [
        axis_bottom(x, y.start, y.end, "bit-MACs per bit of DRAM traffic"),
        axis_left(y, x.start, x.end, "bit-MACs per cycle"),
        _ceilings(roofline, ridge, x, y),
    ]
    peak_y = y(roofline.peak_ops_per_cycle)
    places = [(p, *_place(p, x, y)) for p in sorted(points, key=lambda p: -p.ops_per_cycle)]
    taken: list[Box] = [(x(ridge), peak_y - 17, x.end, peak_y + 2)]
    taken += [(px - 5, py - 5, px + 5, py + 5) for _, px, py in places]
    parts += [_dot(point, ridge, px, py) for point, px, py in places]
    parts += [_label(point.label, px, py, taken) for point, px, py in places]
    fast = sum(p.intensity_ops_per_bit >= ridge for p in points)
    summary = f"{fast} of {len(points)} layers are limited by the array, the others by DRAM"
    return picture("roofline", _WIDTH, _HEIGHT, "Roofline", summary, parts)


def _scales(points: list[RooflinePoint], peak: float, ridge: float) -> tuple[Log, Log]:
    finite = [p.intensity_ops_per_bit for p in points if math.isfinite(p.intensity_ops_per_bit)]
    low_x, high_x = min([*finite, ridge]) / 2, max([*finite, ridge]) * 4
    low_y = min([p.ops_per_cycle for p in points] + [peak / 10]) / 2
    x = Log(low_x, high_x, _LEFT, _WIDTH - _RIGHT)
    return x, Log(low_y, peak * 1.8, _HEIGHT - _BOTTOM, _TOP)


def _ceilings(roofline: Roofline, ridge: float, x: Log, y: Log) -> str:
    peak, bits = roofline.peak_ops_per_cycle, roofline.dram_bits_per_cycle
    left = max(x.low, y.low / bits)
    corner = f"{x(ridge):.1f},{y(peak):.1f}"
    path = f"M{x(left):.1f},{y(left * bits):.1f}L{corner}L{x.end:.1f},{y(peak):.1f}"
    under = f"{path}V{y.start:.1f}H{x(left):.1f}Z"
    return "".join(
        [
            element("path", d=under, class_="under"),
            element("path", d=path, class_="ceiling"),
            text(x.end, y(peak) - 7, f"array: {short(peak)} per cycle", "note", "end"),
            text(x(ridge), y(peak) - 21, f"DRAM: {short(bits)} bits per cycle", "note", "end"),
        ]
    )


def _place(point: RooflinePoint, x: Log, y: Log) -> tuple[float, float]:
    endless = not math.isfinite(point.intensity_ops_per_bit)
    return x.end - 6 if endless else x(point.intensity_ops_per_bit), y(max(point.ops_per_cycle, y.low))


def _dot(point: RooflinePoint, ridge: float, px: float, py: float) -> str:
    endless = not math.isfinite(point.intensity_ops_per_bit)
    traffic = "no DRAM traffic" if endless else f"{short(point.intensity_ops_per_bit)} per bit of traffic"
    tip = f"{point.label}: {short(point.ops_per_cycle)} bit-MACs per cycle, {traffic}"
    css = "dot-array" if point.intensity_ops_per_bit >= ridge else "dot-dram"
    return element("circle", element("title", escape(tip)), cx=px, cy=py, r=5, class_=css)


def _label(words: str, px: float, py: float, taken: list[Box]) -> str:
    """Returns the layer's name beside its point where there is room; its tooltip has it in any case."""
    width = _CHARACTER * len(words)
    for dx, dy, anchor in (
        (9, 4, "start"),
        (-9, 4, "end"),
        (0, -9, "middle"),
        (0, 17, "middle"),
        (9, 16, "start"),
    ):
        left = px + dx - {"start": 0.0, "end": width, "middle": width / 2}[anchor]
        box = (left, py + dy - 10, left + width, py + dy + 3)
        inside = box[0] > _LEFT and box[2] < _WIDTH - 2 and box[3] < _HEIGHT - _BOTTOM
        if inside and not any(_cross(box, other) for other in taken):
            taken.append(box)
            return text(px + dx, py + dy, words, "name-dark", anchor)
    return ""


def _cross(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
