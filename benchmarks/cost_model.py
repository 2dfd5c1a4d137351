"""Has yosys map units and whole accelerators, and puts the cost model's figures beside.

    python benchmarks/cost_model.py [units digits_w1a2 cnv_w1a1_cifar10:found ...] [--cache FOLDER] [--json FILE]

Units: one dot-product unit with its accumulator, generic logic and hand-mapped, LUTs per bit-MAC; the shadow register
through which results leave is apart. Accelerators: everything that `foldwright export --to accelerator` writes, by
`synth_xilinx -family xc7 -flatten -noiopad`; LUT RAM included. A whole accelerator takes yosys ten to twenty minutes; results
are kept in FOLDER by content.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from rtl_networks import RUNS  # type: ignore[import-not-found]  # the script's own folder is on the path

from foldwright.accel.cost import cost
from foldwright.accel.datapath import Arithmetic, LaneMode
from foldwright.accel.export.design import accelerator_rtlil
from foldwright.accel.export.hardware import bram36_of_hardware
from foldwright.accel.export.package import package
from foldwright.accel.layout import lay_out
from foldwright.accel.layout_cost import datapath_of_layout
from foldwright.accel.network import load_network
from foldwright.accel.rtl.unit import Unit
from foldwright.accel.synthesis import synthesise
from foldwright.netlists.part import load_part

__all__ = ["ACCELERATORS", "main"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "models"
BATCH, COLUMN = LaneMode.BATCH, LaneMode.COLUMN

ACCELERATORS = {name: run for name, run in RUNS.items() if not run.streams}
"""Those of `rtl_networks.py`, the found plans among them; what streams takes the same logic and a larger loader's program."""


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
    """Returns what yosys counts of a whole accelerator, and what the model says; `NAME/generic` is of plain logic."""
    plain, _, technology = name.partition("/")
    run, part, technology = ACCELERATORS[plain], load_part("xc7z020"), technology or "xc7"
    layout = lay_out(load_network(run.path(plain)), run.datapath, tilings=run.tilings)
    hardware = package(layout, 32).hardware
    text = accelerator_rtlil(hardware, technology, name="top")
    began = time.process_time()
    counts = synthesise(text, "xc7", cache=cache, timeout_s=6000)
    model = cost(datapath_of_layout(layout), part, technology)
    engines = layout.datapath.engines
    bit_macs = sum(engine.bit_macs_per_cycle for engine in engines)
    return {
        "name": name,
        "engines": [engine.shape for engine in engines],
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
    known = ["units", *ACCELERATORS, *(f"{name}/generic" for name in ACCELERATORS)]
    parser.add_argument("names", nargs="*", default=["units", *ACCELERATORS], choices=known, metavar="NAME")
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
        path = ACCELERATORS[name.partition("/")[0]].path(name.partition("/")[0])
        if not path.exists():
            print(f"{name}: {path} is not there, skipped")
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
