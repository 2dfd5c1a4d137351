"""`foldwright parts`: what comes along, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json

import click

from foldwright.netlists.part import PartRow, list_parts
from foldwright.verbs.tables import aligned

__all__ = ["print_parts"]


def print_parts(as_json: bool) -> None:
    """Prints a row per shipped part."""
    parts = list_parts()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(p) for p in parts], indent=1))
        return
    header = ["part", "LUT", "FF", "block RAM", "kind", "DSP", "MHz", "DRAM MB/s", "what it is"]
    rows: list[list[str | int]] = [
        [p.name, p.lut, p.ff, p.bram36, p.block_ram, p.dsp, p.default_clock_mhz, _megabytes(p), p.summary]
        for p in parts
    ]
    click.echo(aligned(header, rows))


def _megabytes(part: PartRow) -> int:
    return part.dram_bytes_per_s // 10**6
