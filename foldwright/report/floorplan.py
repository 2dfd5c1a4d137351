"""The floorplan: the columns of the real fabric, what stands on each site, and the nets that cost most.

Tiles are drawn by column and row with the vendor's origin, so the picture has the part's own shape: clock regions are
dashed, holes (the processor of a Zynq) hatched, columns of block RAM and multipliers shaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from foldwright.report.data import Floorplan, FloorplanGroup, FloorplanNet
from foldwright.report.svg import element, number, picture, text

__all__ = [
    "COLOURS",
    "MAX_DRAWN_CELLS",
    "MAX_DRAWN_NETS",
    "draw_floorplan",
    "floorplan_file",
    "group_colours",
]

COLOURS = 6
MAX_DRAWN_NETS = 60
MAX_DRAWN_CELLS = 20_000
_MAX_DRAWN_PINS = 40
_WIDTH, _HEIGHT, _MARGIN = 760.0, 640.0, 22.0
_INSET = 0.08
_STYLE = (
    ".die{fill:#fff;stroke:#d1d9e0}.hole{fill:#d1d9e0}.axis{fill:#59636e;font:12px system-ui,sans-serif}"
    ".region{stroke:#59636e;stroke-dasharray:4 4}.net{fill:none;stroke:#1f2328;stroke-opacity:.25}"
    ".column-bram{fill:#0969da;opacity:.12}.column-dsp{fill:#bc4c00;opacity:.12}"
    ".f0{fill:#0969da}.f1{fill:#bc4c00}.f2{fill:#1a7f37}.f3{fill:#8250df}.f4{fill:#cf222e}.f5{fill:#9a6700}.other{fill:#59636e}"
)
_SHADED = {"BRAM": "column-bram", "DSP": "column-dsp"}


def group_colours(plan: Floorplan) -> dict[str, int]:
    """Returns a colour for each of the largest groups; the others share the one after the last."""
    largest = sorted(plan.groups, key=lambda g: -len(g.cells))
    return {g.label: min(i, COLOURS) for i, g in enumerate(largest)}


def draw_floorplan(plan: Floorplan | None) -> str:
    """Returns the picture, or nothing where nothing is placed."""
    if plan is None or not plan.groups:
        return ""
    return picture("floorplan", _WIDTH, _HEIGHT, f"Floorplan of {plan.part}", _summary(plan), _parts(plan))


def floorplan_file(plan: Floorplan) -> str:
    """Returns the picture as an SVG file of its own, readable on light and on dark paper."""
    label = f"Floorplan of {plan.part}: {_summary(plan)}"
    return element(
        "svg",
        element("title", escape(label)) + element("style", _STYLE) + "".join(_parts(plan)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(_WIDTH)} {number(_HEIGHT)}",
        role="img",
        aria_label=label,
    )


def _summary(plan: Floorplan) -> str:
    cells = sum(len(g.cells) for g in plan.groups)
    return f"{cells:,} cells on {plan.width} columns and {plan.height} rows"


def _parts(plan: Floorplan) -> list[str]:
    """Returns what is drawn: the die, the groups of cells, the nets."""
    paper = _Paper(plan)
    colour = group_colours(plan)
    left = MAX_DRAWN_CELLS
    parts = [*paper.ground()]
    for group in sorted(plan.groups, key=lambda g: -len(g.cells)):
        parts.append(paper.group(group, colour[group.label], left))
        left = max(0, left - len(group.cells))
    return parts + [paper.net(net, plan.nets[0].weight) for net in plan.nets[:MAX_DRAWN_NETS]]


class _Paper:
    """Where tiles lie on the picture."""

    def __init__(self, plan: Floorplan) -> None:
        self._plan = plan
        self._wide = (_WIDTH - 2 * _MARGIN) / plan.width
        self._tall = (_HEIGHT - 2 * _MARGIN) / plan.height

    def _x(self, column: float) -> float:
        return _MARGIN + column * self._wide

    def _y(self, row: float) -> float:
        """Returns the lower edge of a row on parts that count upwards, the upper one on others."""
        rows = self._plan.height - row if self._plan.is_upwards else row
        return _MARGIN + rows * self._tall

    def _box(self, column: float, row: float, columns: float, rows: float, css: str, tip: str = "") -> str:
        top = min(self._y(row), self._y(row + rows))
        content = element("title", escape(tip)) if tip else ""
        size = {"width": columns * self._wide, "height": rows * self._tall}
        return element("rect", content, x=self._x(column), y=top, class_=css, **size)

    def ground(self) -> list[str]:
        """Returns the die: special columns, holes, clock regions."""
        plan = self._plan
        parts = [self._box(0, 0, plan.width, plan.height, "die")]
        for column, kind in enumerate(plan.columns):
            if kind in _SHADED:
                parts.append(self._box(column, 0, 1, plan.height, _SHADED[kind], f"{kind} column {column}"))
        for name, first, low, last, high in plan.holes:
            parts.append(self._box(first, low, last - first + 1, high - low + 1, "hole", name))
            middle = (self._y(low) + self._y(high + 1)) / 2
            parts.append(text(self._x((first + last + 1) / 2), middle, name, "axis", "middle"))
        for column in plan.region_columns[1:]:
            x = self._x(column)
            parts.append(element("line", x1=x, x2=x, y1=self._y(0), y2=self._y(plan.height), class_="region"))
        for row in plan.region_rows[1:]:
            y = self._y(row)
            parts.append(element("line", x1=self._x(0), x2=self._x(plan.width), y1=y, y2=y, class_="region"))
        return parts

    def group(self, group: FloorplanGroup, colour: int, most: int) -> str:
        """Returns the cells of a group as one path."""
        return element(
            "path",
            element("title", escape(f"{group.label}: {len(group.cells):,} cells")),
            d="".join(self._cell(*cell) for cell in group.cells[:most]),
            class_=f"cell f{colour}" if colour < COLOURS else "cell other",
        )

    def _cell(self, column: int, row: int, rows: int) -> str:
        top = min(self._y(row), self._y(row + rows)) + _INSET * self._tall
        wide, tall = (1 - 2 * _INSET) * self._wide, (rows - 2 * _INSET) * self._tall
        return f"M{_short(self._x(column + _INSET))} {_short(top)}h{_short(wide)}v{_short(tall)}h{_short(-wide)}z"

    def net(self, net: FloorplanNet, heaviest: int) -> str:
        """Returns a net as a star around its middle, the heavier the wider."""
        x = [self._x(column + 0.5) for column, _ in net.pins]
        y = [self._y(row + 0.5) for _, row in net.pins]
        middle = f"M{_short(sum(x) / len(x))} {_short(sum(y) / len(y))}"
        rays = _spread(list(zip(x, y, strict=True)))
        d = "".join(f"{middle}L{_short(a)} {_short(b)}" for a, b in rays)
        tip = element("title", escape(f"{net.label}: {net.weight} wires, {len(net.pins)} cells"))
        return element("path", tip, d=d, class_="net", stroke_width=0.5 + 1.5 * net.weight / heaviest)


def _short(value: float) -> str:
    return number(round(value, 1))


def _spread(pins: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Returns at most `_MAX_DRAWN_PINS` pins, evenly taken."""
    step = -(-len(pins) // _MAX_DRAWN_PINS)
    return pins[::step]
