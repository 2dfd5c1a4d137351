"""A few lines to write SVG: elements with escaped attributes and text, and what all pictures share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

from foldwright.report.scale import Linear, Log, short

__all__ = ["axis_bottom", "axis_left", "element", "number", "picture", "text"]


def number(value: float) -> str:
    """Returns a coordinate with two digits, shortest form.

    >>> number(12.0), number(3.14159), number(-0.001)
    ('12', '3.14', '0')
    """
    digits = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """Returns one element; `content` is markup already, attributes are escaped, `_` in names means `-`."""
    parts = [name]
    for key, value in attributes.items():
        shown = value if isinstance(value, str) else number(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    return f"<{' '.join(parts)}>{content}</{name}>" if content else f"<{' '.join(parts)}/>"


def text(x: float, y: float, words: str, css: str = "tick", anchor: str = "start") -> str:
    """Returns a line of text, escaped."""
    return element("text", escape(words), x=x, y=y, class_=css, text_anchor=anchor)


def axis_bottom(
    scale: Linear | Log,
    y: float,
    top: float,
    label: str,
    show: Callable[[float], str] = short,
    count: int = 6,
) -> str:
    """Returns ticks with grid lines from `y` up to `top`, and the axis' name below."""
    parts = []
    for value in scale.ticks(count):
        x = scale(value)
        parts.append(element("line", x1=x, x2=x, y1=top, y2=y, class_="grid"))
        parts.append(text(x, y + 15, show(value), anchor="middle"))
    parts.append(text((scale.start + scale.end) / 2, y + 33, label, "axis", "middle"))
    return "".join(parts)


def axis_left(
    scale: Linear | Log,
    x: float,
    right: float,
    label: str,
    show: Callable[[float], str] = short,
    count: int = 5,
) -> str:
    """Returns ticks with grid lines from `x` to `right`, and the axis' name above."""
    parts = []
    for value in scale.ticks(count):
        y = scale(value)
        parts.append(element("line", x1=x, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(text(x - 6, y + 4, show(value), anchor="end"))
    parts.append(text(2, min(scale.start, scale.end) - 14, label, "axis"))
    return "".join(parts)


def picture(name: str, width: float, height: float, title: str, summary: str, parts: Iterable[str]) -> str:
    """Returns a whole picture, named and described for those who do not see it."""
    return element(
        "svg",
        "".join(parts),
        id=name,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=f"{title}. {summary}",
        class_="picture",
    )
