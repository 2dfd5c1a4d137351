"""What `foldwright optimize --set buildable=true` finds: plans that the RTL can be built for, kept as they are.

    python benchmarks/buildable_plans.py [NAME ...] [--deterministic D] [--seeds N] --json benchmarks/results/buildable_plans.json

The fastest plan of N seeds is kept for each network, datapath and all. `rtl_networks.py NAME:found` simulates it, and
`cost_model.py NAME:found` has yosys count it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from foldwright.accel.tilings import tilings_of
from foldwright.config import merge_options
from foldwright.jsonform import to_json
from foldwright.pipeline import Optimized, optimize
from foldwright.runs import write_atomic
from foldwright.verbs.optimize import summary_of

__all__ = ["main", "search"]

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "models"
NAMES = ("cnv_w1a1_cifar10", "dorefanet_w1a2_offload", "cnv_w1a2_cifar10", "cnv_w2a2_cifar10")
PART = "xc7z020"


def search(name: str, deterministic: float, seed: int) -> tuple[Optimized, dict[str, Any]]:
    """Returns what `optimize` finds, and its row."""
    options = merge_options(
        {},
        "benchmark",
        {
            "model": str(SHARED / f"{name}.onnx"), "part": PART, "out": "unused", "deterministic": deterministic,
            "seed": seed, "set": {"buildable": True},
        },
    )  # fmt: skip
    found = optimize(options.model, options)
    datapath, summary = found.plan.datapath, summary_of(found, options)
    tilings = tilings_of(found.tiling.solution.decisions)
    return found, {
        "network": name,
        "engines": [f"{e.shape} {e.kind.value} {e.lanes.value}" for e in datapath.engines],
        "fps": summary["fps"],
        "cycles_per_frame": summary["cycles_per_frame"],
        "bound_cycles": summary["bound_cycles"],
        "binary_tops": round(2 * found.network.workload.bit_macs * found.fps / 1e12, 3),
        "utilization": summary["utilization"],
        "deterministic": deterministic,
        "seed": seed,
        "cpu_seconds": round(sum(found.cpu_seconds.values()), 1),
        "image_tile_rows": tilings[0].rows,
        "streams": {str(i): t.blocks for i, t in tilings.items() if t.streams_weights},
        "datapath": json.loads(to_json(datapath)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAME")
    parser.add_argument("--deterministic", type=float, default=30.0, help="work of one search, about seconds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for name in args.names:
        if not (SHARED / f"{name}.onnx").exists():
            print(f"{name}: {SHARED / name}.onnx is not there, skipped")
            continue
        found = [search(name, args.deterministic, seed) for seed in range(args.seeds)]
        rates = [optimized.fps for optimized, _ in found]
        row = max((row for _, row in found), key=lambda row: float(row["fps"]))
        rows.append({**row, "fps_of_seeds": [round(rate, 1) for rate in rates]})
        used = row["utilization"]
        print(
            f"{name}: {row['fps']:,.0f} frames/s ({row['cycles_per_frame']:,.1f} cycles), {' + '.join(row['engines'])}, "
            f"{used['lut']['used']:,} LUT, {used['bram36']['used']} RAMB36, {used['dsp']['used']} DSP; of all seeds "
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            flush=True,
        )
        if args.json:
            write_atomic(args.json, json.dumps({"part": PART, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
