"""`foldwright parts` and `foldwright models`: what comes along, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from foldwright.errors import ModelError, nearest
from foldwright.models import NAMES, model_path
from foldwright.netlists.part import PartRow, list_parts
from foldwright.verbs.tables import aligned

__all__ = ["find_model", "print_models", "print_parts"]


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


def find_model(text: str) -> Path:
    """Returns the ONNX file that a word of the command line means: a path, or the name of a shipped network.

    Raises:
        ModelError: it is neither.
    """
    path = Path(text)
    if path.exists() or text.endswith(".onnx"):
        return path
    if text in NAMES:
        return model_path(text)
    raise ModelError(f"{text}: no such file, and no network that comes along; {nearest(text, NAMES)}")


def print_models(as_json: bool) -> None:
    """Prints a row per shipped network."""
    rows = [_model_row(name) for name in NAMES]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    header = ["model", "image", "layers", "MACs per frame", "bits of weights", "file"]
    click.echo(aligned(header, [list(row.values()) for row in rows]))


def _model_row(name: str) -> dict[str, str | int]:
    from foldwright.accel.network import load_network

    workload = load_network(model_path(name)).workload
    return {
        "name": name,
        "image": f"{workload.image_channels}x{workload.image_height}x{workload.image_width}",
        "layers": len(workload.layers),
        "macs": workload.macs,
        "weight_bits": workload.weights_bits,
        "path": str(model_path(name)),
    }
