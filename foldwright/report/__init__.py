"""The report: one offline HTML file with pictures drawn here; see `ReportData` for what it shows."""

from __future__ import annotations

from foldwright.report.data import (
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
from foldwright.report.page import MAX_REPORT_BYTES, render_report

__all__ = [
    "MAX_REPORT_BYTES",
    "Anytime",
    "Bar",
    "BarKind",
    "Figure",
    "Floorplan",
    "FloorplanGroup",
    "FloorplanNet",
    "Front",
    "FrontPoint",
    "Memory",
    "MemoryBlock",
    "ReportData",
    "Roofline",
    "RooflinePoint",
    "Series",
    "StageTime",
    "Table",
    "Use",
    "render_report",
]
