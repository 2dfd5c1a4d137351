"""Has yosys map units and whole accelerators, and puts the cost model's figures beside.

    python benchmarks/cost_model.py [units digits_w1a2 cnv_w1a1 dorefa ...] [--cache FOLDER] [--json FILE]

Units: one dot-product unit with its accumulator, generic logic and hand-mapped, LUTs per bit-MAC; the shadow register
through which results leave is apart. Accelerators: everything that `foldwright export --to accelerator` writes, by
`synth_xilinx -family xc7 -flatten -noiopad`; LUT RAM included. A whole accelerator takes yosys ten to twenty minutes; results
are kept in FOLDER by content.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from foldwright.accel.cost import cost
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, EngineKind, LaneMode
from foldwright.accel.export.design import accelerator_rtlil
from foldwright.accel.export.hardware import bram36_of_hardware
from foldwright.accel.export.package import package
from foldwright.accel.layout import lay_out
from foldwright.accel.layout_cost import datapath_of_layout
from foldwright.accel.network import load_network
from foldwright.accel.rtl.unit import Unit
from foldwright.accel.synthesis import synthesise
from foldwright.jsonform import from_json
from foldwright.netlists.part import load_part

__all__ = ["ACCELERATORS", "main"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "models"
BATCH, COLUMN = LaneMode.BATCH, LaneMode.COLUMN

ACCELERATORS: dict[str, tuple[Path, Datapath, int]] = {
    "digits_w1a2": (
        ROOT / "models" / "digits_w1a2.onnx",
        Datapath((Engine(8, 16, 3, lanes=BATCH, levels=3, acc_bits=14),), (0,) * 4, batch_frames=3),
        0,
    ),
    "cnv_w1a1": (
        SHARED / "cnv_w1a1_cifar10.onnx",
        Datapath(
            (
                Engine(
                    16,
                    28,
                    9,
                    lanes=BATCH,
                    drain_lanes=2,
                    acc_bits=14,
                    levels=1,
                    window_bits=216,
                    line_bits=24,
                ),
                Engine(32, 64, 9, lanes=BATCH, acc_bits=13, levels=1),
            ),
            (0, *[1] * 8),
            batch_frames=9,
        ),
        6,
    ),
    "cnv_w1a1_dsp": (
        SHARED / "cnv_w1a1_cifar10.onnx",
        Datapath(
            (
                Engine(
                    8,
                    56,
                    11,
                    lanes=BATCH,
                    kind=EngineKind.DSP,
                    planes_per_word=(8,),
                    drain_lanes=3,
                    acc_bits=14,
                    levels=1,
                    window_bits=216,
                    line_bits=24,
                ),
                Engine(32, 64, 11, lanes=BATCH, drain_lanes=2, acc_bits=13, levels=1),
            ),
            (0, *[1] * 8),
            batch_frames=11,
        ),
        8,
    ),
    "dorefa": (
        SHARED / "dorefanet_w1a2_offload.onnx",
        Datapath((Engine(18, 72, 18, lanes=COLUMN, planes_per_word=(2,), levels=3, acc_bits=15),), (0,) * 4),
        9,
    ),
}
"""Network, datapath and rows of a tile of the image."""


def _found(path: Path) -> Iterator[tuple[str, tuple[Path, Datapath, int]]]:
    """Yields the plans that `buildable_plans.py` kept, those that stream no weights, by name and `:found`."""
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else ():
        datapath = from_json(Datapath, json.dumps(row["datapath"]), str(path))
        if not row["streams"]:
            yield (
                f"{row['network']}:found",
                (SHARED / f"{row['network']}.onnx", datapath, row["image_tile_rows"]),
            )


ACCELERATORS |= dict(_found(ROOT / "benchmarks" / "results" / "buildable_plans.json"))


def unit_rows(cache: Path) -> list[dict[str, Any]]:
    """Returns LUTs and flip-flops of single units on 7-series."""
    rows = []
    for dk in (64, 72, 256):
        for technology in ("generic", "xc7"):
            unit = Unit(dk, 16, arithmetic=Arithmetic.XNOR, technology=technology)
            counts = synthesise(rtlil.convert(unit, name="top", emit_src=False), "xc7", cache=cache)
            rows.append(
                {
                    "dk": dk,
                    "technology": technology,
                    "lut": counts.lut,
                    "ff": counts.ff,
                    "lut_per_bit_mac": counts.lut / dk,
                }
            )
    return rows


def accelerator_row(name: str, cache: Path) -> dict[str, Any]:
    """Returns what yosys counts of a whole accelerator, and what the model says."""
    path, datapath, tile_rows = ACCELERATORS[name]
    part = load_part("xc7z020")
    layout = lay_out(load_network(path), datapath, image_tile_rows=tile_rows)
    hardware = package(layout, 32).hardware
    text = accelerator_rtlil(hardware, "xc7", name="top")
    began = time.process_time()
    counts = synthesise(text, "xc7", cache=cache, timeout_s=6000)
    model = cost(datapath_of_layout(layout), part, "xc7")
    bit_macs = sum(engine.bit_macs_per_cycle for engine in datapath.engines)
    return {
        "name": name,
        "engines": [engine.shape for engine in datapath.engines],
        **asdict(counts),
        "model_lut": model.lut,
        "model_ff": model.ff,
        "model_bram36": bram36_of_hardware(hardware, part),
        "reserved_bram36": model.bram36,
        "lut_error": model.lut / counts.lut - 1,
        "ff_error": model.ff / counts.ff - 1,
        "lut_per_bit_mac": counts.lut / bit_macs,
        "seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", default=["units", *ACCELERATORS], choices=["units", *ACCELERATORS]
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/cost-model"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    body: dict[str, Any] = {"units": [], "accelerators": []}
    if "units" in args.names:
        body["units"] = unit_rows(args.cache)
        for row in body["units"]:
            print(
                f"unit dk={row['dk']:<4} {row['technology']:<8} {row['lut']:>4} LUT  {row['lut_per_bit_mac']:.2f} per bit-MAC"
            )
    for name in args.names:
        if name == "units":
            continue
        if not ACCELERATORS[name][0].exists():
            print(f"{name}: {ACCELERATORS[name][0]} is not there, skipped")
            continue
        row = accelerator_row(name, args.cache)
        body["accelerators"].append(row)
        print(
            f"{name}: {row['lut']:,} LUT (model {row['model_lut']:,}, {row['lut_error']:+.1%}), {row['ff']:,} FF (model "
            f"{row['model_ff']:,}, {row['ff_error']:+.1%}), {row['half_blocks'] / 2:g} RAMB36 (model {row['model_bram36']}), "
            f"{row['dsp']} DSP, {row['lut_per_bit_mac']:.2f} LUT per bit-MAC",
            flush=True,
        )
        if args.json:
            args.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
