"""The report is one small page that loads nothing, says everything it was given, and lets no text become markup."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from foldwright.report import (
    MAX_REPORT_BYTES,
    Anytime,
    Bar,
    BarKind,
    Figure,
    Floorplan,
    FloorplanGroup,
    FloorplanNet,
    Front,
    FrontPoint,
    Memory,
    MemoryBlock,
    ReportData,
    Roofline,
    RooflinePoint,
    Series,
    Table,
    Use,
    render_report,
)
from foldwright.report.anytime import draw_anytime, thin_out
from foldwright.report.floorplan import MAX_DRAWN_NETS, draw_floorplan, group_colours
from foldwright.report.gantt import busy_share, draw_gantt, merge_bars
from foldwright.report.memory_map import draw_memories
from foldwright.report.pareto import draw_front
from foldwright.report.roofline import draw_roofline
from foldwright.report.scale import Linear, Log, short
from tests.foldwright.report_sample import sample_report

EMPTY = ReportData(title="net", part="xc7z020", status="optimal", clock_mhz=200)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Collects texts, attributes and scripts, and fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(k, v or "") for k, v in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(k, v or "") for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def pictures(html: str) -> list[ET.Element]:
    found = re.findall(r"<svg id=.*?</svg>(?=</div>)", html, re.DOTALL)
    return [ET.fromstring(svg) for svg in found]


def test_the_page_is_well_formed_and_small() -> None:
    html = render_report(sample_report())
    Page(html)
    assert len(html.encode()) < 120_000
    assert {p.get("id") for p in pictures(html)} == {
        "gantt",
        "roofline",
        "floorplan",
        "anytime-0",
        "anytime-1",
        "memory-0",
        "memory-1",
        "pareto",
    }


def test_the_page_loads_nothing_from_elsewhere() -> None:
    html = render_report(sample_report())
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [a for a in page.attributes if a[0] in ("src", "href", "srcset", "action", "formaction")]
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", html)
    assert addresses == ["http://www.w3.org/2000/svg"]  # the name of SVG, which browsers never fetch
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", html)


def test_no_text_becomes_markup() -> None:
    evil = "\"><script>alert(1)</script><b a='&amp;"
    data = ReportData(
        title=evil,
        part=evil,
        status=evil,
        clock_mhz=100,
        figures=(Figure(evil, evil, evil, evil),),
        utilization=(Use(evil, 1, 2, 1),),
        bars=(Bar(evil, evil, 0, 1000, BarKind.COMPUTE),),
        roofline=Roofline(100, 10, (RooflinePoint(evil, 5, 10),)),
        memories=(Memory(evil, 100, evil),),
        blocks=(MemoryBlock(evil, evil, 0, 90, 0, 1000),),
        floorplan=Floorplan(
            evil,
            1,
            1,
            (evil,),
            ((evil, 0, 0, 0, 0),),
            (0,),
            (0,),
            True,
            (FloorplanGroup(evil, ((0, 0, 1),)),),
            (FloorplanNet(evil, 1, ((0, 0), (0, 0))),),
            evil,
        ),
        front=Front((FrontPoint(9, 9.0, evil),), ((9, 10.0),)),
        anytime=(Anytime(evil, evil, (Series(evil, (0.1, 1), (5, 4)),), 3),),
        tables=(Table(evil, (evil,), ((evil,),), evil),),
        remarks=(evil,),
        facts=((evil, evil),),
    )
    html = render_report(data)
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "b" in page.tags  # our own, in the utilisation
    assert not [a for a in page.attributes if a[0] == "a"]
    assert page.text.count("alert(1)") >= 12
    assert len(pictures(html)) == 6


def test_everything_given_can_be_read() -> None:
    data = sample_report()
    text = Page(render_report(data)).text
    for figure in data.figures:
        assert f"{figure.label} {figure.value}" in text
        assert figure.note in text
    for row in (*data.facts, *(r for t in data.tables for r in t.rows)):
        assert " ".join(row) in text
    assert all(remark in text for remark in data.remarks)
    assert "LUT 77.3 % 41,120 of 53,200" in text
    assert "total 21.10 s" in text
    assert "feasible, not proven optimal" in text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("optimal", "proven optimal"),
        ("infeasible", "infeasible"),
        ("unknown", "nothing found, nothing proven"),
    ],
)
def test_the_status_is_told_in_words(status: str, words: str) -> None:
    assert words in Page(render_report(replace(EMPTY, status=status))).text


def test_an_empty_report_has_no_empty_pictures() -> None:
    html = render_report(EMPTY)
    page = Page(html)
    assert pictures(html) == []
    assert "section" not in page.tags


def test_a_use_over_budget_is_marked() -> None:
    html = render_report(replace(EMPTY, utilization=(Use("LUT", 81, 100, 80), Use("FF", 79, 100, 80))))
    assert re.findall(r'class="meter (\w+)"', html) == ["over", "within"]
    assert 'style="left:80.00%"' in html


def test_a_huge_schedule_still_fits() -> None:
    bars = tuple(
        Bar(f"engine {i % 3}", f"layer {i // 3000}", 10 * i, 10 * i + 9, BarKind.COMPUTE)
        for i in range(60_000)
    )
    blocks = tuple(MemoryBlock("m", f"t{i}", i, 1, i, i + 1) for i in range(20_000))
    rows = tuple((str(i), "x" * 40) for i in range(5_000))
    data = replace(
        EMPTY,
        bars=bars,
        memories=(Memory("m", 20_000),),
        blocks=blocks,
        anytime=(Anytime("p", "u", (Series("s", tuple(range(1, 9001)), tuple(range(9000, 0, -1))),)),),
        tables=(Table("t", ("a", "b"), rows),),
    )
    html = render_report(data)
    assert len(html.encode()) < MAX_REPORT_BYTES / 2
    assert "4,800 more rows are left out" in html
    assert "cycles apart are drawn as one" in html


def test_texts_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="shorten its texts"):
        render_report(replace(EMPTY, remarks=("x" * MAX_REPORT_BYTES,)))


# The schedule.


def bar(start: int, end: int, label: str = "a", lane: str = "e", kind: BarKind = BarKind.COMPUTE) -> Bar:
    return Bar(lane, label, start, end, kind)


def test_bars_keep_apart_by_lane_kind_and_label() -> None:
    bars = [bar(0, 5), bar(5, 9), bar(9, 12, "b"), bar(0, 9, lane="f"), bar(0, 9, kind=BarKind.STORE)]
    assert set(merge_bars(bars, limit=10).bars) == set(bars)
    merged = merge_bars(bars, limit=4)
    assert merged.dropped == 0
    assert {(b.lane, b.label, b.start, b.end) for b in merged.bars} == {
        ("e", "a", 0, 9),
        ("e", "b", 9, 12),
        ("f", "a", 0, 9),
    }
    assert len(merged.bars) == 4


def test_bars_that_cannot_merge_are_dropped_from_the_shortest() -> None:
    bars = [bar(0, 10 + i, label=str(i)) for i in range(6)]
    drawn = merge_bars(bars, limit=2)
    assert [b.label for b in drawn.bars] == ["5", "4"]
    assert drawn.dropped == 4
    assert "the 3,200 shortest bars are left out" in draw_gantt(
        [bar(0, 10 + i, label=str(i)) for i in range(5000)], 200
    )


def test_busy_share_counts_overlaps_once() -> None:
    assert busy_share([bar(0, 4), bar(2, 6), bar(8, 10)], 16) == 0.5
    assert busy_share([], 0) == 0


def test_bars_stand_at_their_cycles() -> None:
    root = ET.fromstring(draw_gantt([bar(100, 300), bar(50, 400, "b", "f")], 200))
    rects = [(r.get("x"), r.get("width"), r.get("y")) for r in root.iter("rect")]
    assert rects == [("50", "350", "1.14"), ("100", "200", "0.14")]
    plot = root.find("svg")
    assert plot is not None
    assert plot.get("viewBox") == "0 0 400 2"
    tips = [t.text for t in root.iter("title")]
    assert tips[1] == "a: compute\ncycles 100 to 300\n200 cycles, 1 µs"


# The roofline.


def test_the_roof_bends_where_dram_feeds_the_array() -> None:
    """A peak of 1,000 per cycle and 10 bits per cycle meet at 100 operations per bit."""
    svg = draw_roofline(Roofline(1000, 10, (RooflinePoint("slow", 10, 90), RooflinePoint("fast", 500, 900))))
    root = ET.fromstring(svg)
    css = {t.text: c.get("class") for c in root.iter("circle") for t in c.iter("title")}
    assert css == {
        "slow: 90 bit-MACs per cycle, 10 per bit of traffic": "dot-dram",
        "fast: 900 bit-MACs per cycle, 500 per bit of traffic": "dot-array",
    }
    path = next(p.get("d") for p in root.iter("path") if p.get("class") == "ceiling")
    assert path is not None
    start, corner, end = ([float(v) for v in p.split(",")] for p in re.findall(r"[\d.]+,[\d.]+", path))
    slow, fast = ((float(c.get("cx", "")), float(c.get("cy", ""))) for c in _by_x(root.iter("circle")))
    x_decade = (fast[0] - slow[0]) / math.log10(500 / 10)
    y_decade = (slow[1] - fast[1]) / math.log10(900 / 90)
    assert corner[0] == pytest.approx(slow[0] + x_decade * math.log10(100 / 10), abs=0.2)
    assert corner[1] == pytest.approx(fast[1] - y_decade * math.log10(1000 / 900), abs=0.2)
    assert end[1] == corner[1]
    assert (start[1] - corner[1]) / y_decade == pytest.approx((corner[0] - start[0]) / x_decade, abs=0.01)
    assert "1 of 2 layers are limited by the array" in svg


def _by_x(circles: Iterable[ET.Element]) -> list[ET.Element]:
    return sorted(circles, key=lambda c: float(c.get("cx", "")))


def test_points_without_traffic_or_work_do_no_harm() -> None:
    assert draw_roofline(Roofline(0, 10, ())) == ""
    assert draw_roofline(Roofline(10, 10, (RooflinePoint("idle", 1, 0),))) == ""
    svg = draw_roofline(Roofline(10, 10, (RooflinePoint("pinned", float("inf"), 9),)))
    assert "no DRAM traffic" in svg
    assert "inf" not in svg.replace("infinite", "")


# The front.


def test_a_bound_holds_down_to_the_budget_before_and_designs_up_to_the_next() -> None:
    """Up to 3,000 LUTs at most 200 frames per second, from there to 4,000 at most 400; two designs, the larger is the plan."""
    front = Front(
        (FrontPoint(1000, 50.0, "a"), FrontPoint(4000, 300.0, "b", True)), ((3000, 200.0), (4000, 400.0))
    )
    root = ET.fromstring(draw_front(front))
    small, large = _by_x(root.iter("circle"))
    assert [c.get("class") for c in (small, large)] == ["dot-front", "dot-array"]
    tips = [t.text for t in root.iter("title")]
    assert tips[0] == "50 frames per second with 1,000 LUTs, a"
    x_of = {1000: float(small.get("cx", "")), 4000: float(large.get("cx", ""))}
    y_of = {50: float(small.get("cy", "")), 300: float(large.get("cy", ""))}

    def x(lut: float) -> float:
        return x_of[1000] + (x_of[4000] - x_of[1000]) * (lut - 1000) / 3000

    def y(fps: float) -> float:
        return y_of[50] + (y_of[300] - y_of[50]) * (fps - 50) / 250

    paths = {
        p.get("class"): [float(v) for v in re.findall(r"[\d.]+", p.get("d", ""))] for p in root.iter("path")
    }
    assert paths["bound-curve"] == pytest.approx([x(3000), y(200), y(400), x(4000)], abs=0.02)
    assert paths["front"] == pytest.approx([x(1000), y(50), x(4000), y(300)], abs=0.02)
    assert "this plan: 300" in draw_front(front)
    assert draw_front(None) == draw_front(Front((), ())) == ""


# Memory and search.


def test_blocks_stand_at_their_addresses() -> None:
    blocks = (MemoryBlock("m", "low", 0, 25, 0, 100), MemoryBlock("m", "high", 50, 50, 50, 100))
    ((memory, svg),) = draw_memories((Memory("m", 100), Memory("unused", 9)), blocks)
    assert memory.name == "m"
    root = ET.fromstring(svg)
    low, high = (
        {k: float(r.get(k, "")) for k in ("x", "y", "width", "height")}
        for r in sorted(root.iter("rect"), key=lambda r: float(r.get("x", "")))
    )
    assert high["height"] == pytest.approx(2 * low["height"])
    assert low["width"] == pytest.approx(2 * high["width"])
    assert low["y"] > high["y"]
    assert "at most 100% of 100 words" in svg


def _subpaths(path: ET.Element) -> list[list[float]]:
    return [[float(n) for n in re.findall(r"-?[0-9.]+", d)] for d in str(path.get("d")).split("M")[1:]]


def test_cells_stand_on_their_tiles() -> None:
    plan = sample_report().floorplan
    assert plan is not None
    svg = ET.fromstring(draw_floorplan(plan))
    units, memories = (p for p in svg.iter("path") if "cell" in str(p.get("class")))
    assert len(_subpaths(units)) == 30
    die = next(r for r in svg.iter("rect") if r.get("class") == "die")
    wide, tall = float(str(die.get("width"))) / 8, float(str(die.get("height"))) / 10
    lower, upper = _subpaths(memories)  # x, y, then width and height
    assert lower[0] == pytest.approx(float(str(die.get("x"))) + 6.08 * wide, abs=0.1)
    assert lower[3] == pytest.approx(4.84 * tall, abs=0.1)
    assert lower[1] - upper[1] == pytest.approx(5 * tall, abs=0.2)  # row 0 is at the bottom on this part


def test_a_part_that_counts_downwards_is_drawn_so() -> None:
    plan = sample_report().floorplan
    assert plan is not None
    svg = ET.fromstring(draw_floorplan(replace(plan, is_upwards=False)))
    _, memories = (p for p in svg.iter("path") if "cell" in str(p.get("class")))
    first, second = _subpaths(memories)
    assert first[1] < second[1]


def test_a_large_floorplan_stays_small_and_gives_its_largest_groups_a_colour() -> None:
    groups = tuple(
        FloorplanGroup(f"g{i}", tuple((x, y, 1) for x in range(74) for y in range(6 * i, 6 * i + 6)))
        for i in range(25)
    )
    nets = tuple(FloorplanNet(f"n{i}", 900 - i, tuple((x, i % 150) for x in range(74))) for i in range(900))
    plan = Floorplan(
        "p", 74, 150, ("CLB",) * 74, (), (0,), (0,), True, (*groups, FloorplanGroup("few", ((0, 0, 1),))), nets
    )  # fmt: skip
    svg = draw_floorplan(plan)
    assert len(svg) < 400_000
    assert svg.count('class="net"') == MAX_DRAWN_NETS
    colours = group_colours(plan)
    assert sorted(colours.values())[:7] == [0, 1, 2, 3, 4, 5, 6]
    assert colours["few"] == 6


def test_a_curve_steps_and_names_the_gap() -> None:
    svg = draw_anytime(Anytime("tiling", "cycles", (Series("anneal", (0.1, 1.0), (200, 110)),), bound=100))
    assert "anneal ends best at 110 cycles, 10.0% above the bound" in svg
    path = next(p.get("d") for p in ET.fromstring(svg).iter("path"))
    assert path is not None
    assert re.fullmatch(r"M[\d.]+,[\d.]+H[\d.]+V[\d.]+H[\d.]+", path)
    assert draw_anytime(Anytime("tiling", "cycles", ())) == ""


def test_thinning_keeps_both_ends() -> None:
    series = Series("s", tuple(map(float, range(1, 1001))), tuple(map(float, range(1000, 0, -1))))
    thin = thin_out(series, 50)
    assert len(thin.cost) == 50
    assert (thin.seconds[0], thin.cost[-1]) == (1.0, 1.0)


def test_a_series_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="2 times, 1 costs"):
        Series("s", (0.1, 0.2), (3,))


# Axes.


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.05, "0.05"),
        (999.6, "1k"),
        (1234, "1.23k"),
        (999_700, "1M"),
        (30_781, "30.8k"),
        (5e15, "5000T"),
    ],
)
def test_short_numbers(value: float, words: str) -> None:
    assert short(value) == words


def test_scales_map_their_ends_and_tick_at_round_values() -> None:
    linear = Linear(0, 6524, 100, 200)
    assert (linear(0), linear(6524)) == (100, 200)
    assert linear.ticks(6) == [0, 2000, 4000, 6000]
    log = Log(0.02, 50, 0, 10)
    assert log(0.02) == 0
    assert log(50) == pytest.approx(10)
    assert log.ticks() == [0.1, 1, 10]
    assert Log(2, 30, 0, 1).ticks() == [2, 5, 10, 20]
    assert Linear(5, 5, 0, 1).ticks() == [5]
