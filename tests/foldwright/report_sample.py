"""An invented report with everything in it, as large as a real one; its figures mean nothing."""

from __future__ import annotations

from foldwright.report import (
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
    StageTime,
    Table,
    Use,
)

__all__ = ["sample_report"]

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1", "fc2", "fc3")
TILES = (12, 40, 24, 30, 12, 8, 16, 16, 2)
CYCLES = (260, 48, 40, 36, 52, 44, 30, 24, 60)


def _bars() -> tuple[Bar, ...]:
    bars = []
    at = [0, 0, 0]  # engine 0, engine 1, DRAM port
    for i, (layer, tiles, cycles) in enumerate(zip(LAYERS, TILES, CYCLES, strict=True)):
        engine = 0 if i == 0 else 1
        for k in range(tiles):
            kind = BarKind.WEIGHTS if i > 5 and k % 2 == 0 else BarKind.INPUT
            if i == 0 or i > 5:
                load = max(at[2], at[engine] - 2 * cycles)
                bars.append(Bar("DRAM port", layer, load, load + cycles // 2, kind))
                at[2] = load + cycles // 2
            start = max(at[engine], at[2] if i > 5 else 0, 2 * CYCLES[0] if i == 1 and k == 0 else 0)
            bars.append(Bar(f"engine {engine}", layer, start, start + cycles, BarKind.COMPUTE))
            at[engine] = start + cycles + (9 if k == tiles - 1 else 0)
    bars.append(Bar("DRAM port", LAYERS[-1], at[1], at[1] + 12, BarKind.STORE))
    return tuple(bars)


def _blocks(end: int) -> tuple[MemoryBlock, ...]:
    blocks, at = [], 0
    step = end // len(LAYERS)
    for i, layer in enumerate(LAYERS):
        words = (520, 500, 480, 380, 150, 120, 60, 40, 10)[i]
        address = 0 if i % 2 == 0 else 1024 - words
        blocks.append(MemoryBlock("feature maps", layer, address, words, i * step, min(end, (i + 2) * step)))
        size = (20, 210, 190, 160, 140, 120, 60, 40, 20)[i]
        pinned = i < 6
        start, stop = (0, end) if pinned else (i * step, (i + 1) * step)
        blocks.append(MemoryBlock("weights", f"{layer} weights", at, size, start, stop))
        at += size if pinned else 0
    return tuple(blocks)


def _series(solver: str, first: float, last: float, start: float, steps: int) -> Series:
    seconds = tuple(start * 1.6**k for k in range(steps))
    cost = tuple(round(last + (first - last) * 0.62**k) for k in range(steps))
    return Series(solver, seconds, cost)


def _floorplan() -> Floorplan:
    """An 8x10 part: columns 3 and 6 special, a hole at the upper left, two groups and two nets."""
    units = tuple((x, y, 1) for x in (4, 5, 7) for y in range(10))
    return Floorplan(
        *("xc7z020", 8, 10, ("CLB", "CLB", "CLB", "DSP", "CLB", "CLB", "BRAM", "CLB")),
        holes=(("PS7", 0, 5, 2, 9),),
        region_columns=(0, 4),
        region_rows=(0, 5),
        is_upwards=True,
        groups=(FloorplanGroup("units", units), FloorplanGroup("memories", ((6, 0, 5), (6, 5, 5)))),
        nets=(
            FloorplanNet("weights", 64, ((6, 0), (4, 0), (5, 9))),
            FloorplanNet("drain", 16, ((4, 3), (4, 4))),
        ),
        note="a sample",
    )


def sample_report() -> ReportData:
    """Returns the report."""
    bars = _bars()
    end = max(b.end for b in bars)
    points = tuple(
        RooflinePoint(layer, intensity, rate)
        for layer, intensity, rate in zip(
            LAYERS,
            (320.0, float("inf"), float("inf"), 2400.0, 2600.0, 2100.0, 64.0, 66.0, 33.0),
            (3100.0, 15800.0, 15900.0, 15100.0, 14200.0, 12600.0, 1900.0, 2050.0, 700.0),
            strict=True,
        )
    )
    return ReportData(
        title="cnv_w1a1_cifar10",
        part="xc7z020",
        status="feasible",
        clock_mhz=200,
        figures=(
            Figure("frames per second", "30,781", "", "steady state, batch 1"),
            Figure("cycles per frame", f"{end:,}", "", "by the tile-level simulator"),
            Figure("gap to the bound", "6.4", "%", "bound 5,917 cycles, all designs"),
            Figure("schedule gap", "1.2", "%", "given this datapath"),
            Figure("latency", "41.3", "µs", "one frame, start to end"),
            Figure("clock", "200", "MHz", "assumed, not routed"),
        ),
        utilization=(
            Use("LUT", 41_120, 53_200, 42_560),
            Use("FF", 38_500, 106_400),
            Use("block RAM (36 kbit)", 68, 140),
            Use("DSP", 0, 220),
        ),
        stages=(
            StageTime("read and lower", 0.61),
            StageTime("allocation", 10.02),
            StageTime("tiling", 10.01),
            StageTime("check", 0.34),
            StageTime("report", 0.12),
        ),
        bars=bars,
        roofline=Roofline(16_384, 32, points),
        memories=(
            Memory("feature maps", 1024, "1,024 x 72, 15 banks, 30 RAMB36"),
            Memory("weights", 1024, "1,024 x 64, 16 rows, 32 RAMB36"),
        ),
        floorplan=_floorplan(),
        blocks=_blocks(end),
        front=Front(
            (FrontPoint(9000, 2100.0, "1x"), FrontPoint(30000, 7000.0, "2x", is_plan=True)),
            ((9000, 2200.0), (20000, 5000.0), (42560, 9000.0)),
        ),
        anytime=(
            Anytime(
                "allocation",
                "cycles",
                (
                    _series("random", 12_400, 8_800, 0.01, 14),
                    _series("greedy", 7_900, 7_400, 0.004, 3),
                    _series("anneal", 9_800, 6_410, 0.01, 15),
                    _series("cp-sat", 9_100, 6_297, 0.4, 8),
                ),
                bound=5_917,
            ),
            Anytime("tiling", "cycles", (_series("anneal", 7_010, 6_297, 0.002, 12),), bound=6_221),
        ),
        tables=(
            Table(
                "Layers",
                ("layer", "engine", "MACs", "cycles", "array used", "DRAM bits"),
                tuple(
                    (layer, str(int(i > 0)), f"{(i + 1) * 1_234_567:,}", f"{t * c:,}", f"{96 - 7 * i} %", "0")
                    for i, (layer, t, c) in enumerate(zip(LAYERS, TILES, CYCLES, strict=True))
                ),
                "Cycles are those of the simulator.",
            ),
        ),
        remarks=(
            "The clock of 200 MHz is assumed: no place and route has confirmed it for this design.",
            "The search stopped by CPU time, so another machine may end elsewhere (reproducible: false).",
        ),
        facts=(
            ("command", "foldwright optimize cnv_w1a1_cifar10.onnx --part xc7z020 --out runs/cnv"),
            ("seed", "0"),
            ("versions", "foldwright 0.1.0, numpy 2.4.6, ortools 9.15"),
        ),
    )
