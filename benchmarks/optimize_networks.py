"""What `foldwright optimize` finds: frames per second, cycles, bound, gap and utilisation of each network on a part.

    python benchmarks/optimize_networks.py --json benchmarks/results/optimize_networks.json

Networks are the two that come along and, where the folder beside the checkout holds them, CNV and DoReFa. Effective
binary TOPS count two operations per bit-MAC of the network, padding left out nowhere.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from foldwright.config import merge_options
from foldwright.models import model_path
from foldwright.pipeline import optimize
from foldwright.runs import write_atomic
from foldwright.verbs.optimize import summary_of
from foldwright.verbs.tables import aligned

OWN = ("digits_w1a2", "digits_w2a2_balanced")
OTHERS = ("cnv_w1a1_cifar10", "cnv_w1a2_cifar10", "cnv_w2a2_cifar10", "dorefanet_w1a2_offload")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "models"


def measure(model: Path, part: str, cpu_seconds: float) -> dict[str, Any]:
    """Returns a row of the table."""
    options = merge_options(
        {}, "benchmark", {"model": str(model), "part": part, "out": "unused", "cpu_seconds": cpu_seconds}
    )
    found = optimize(model, options)
    summary = summary_of(found, options)
    tops = 2 * found.network.workload.bit_macs * found.fps / 1e12
    engines = [f"{e.shape} {e.arithmetic.value} {e.lanes.value}" for e in found.plan.datapath.engines]
    keys = (
        "fps",
        "cycles_per_frame",
        "bound_cycles",
        "gap",
        "schedule_gap",
        "batch",
        "latency_us",
        "utilization",
    )
    return {
        "network": model.stem,
        "part": part,
        "clock_mhz": options.clock_mhz,
        "binary_tops": round(tops, 3),
        "engines": engines,
        "assignment": list(found.plan.datapath.assignment),
        "cpu_seconds": round(sum(found.cpu_seconds.values()), 2),
        **{key: summary[key] for key in keys},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", default="xc7z020")
    parser.add_argument("--cpu-seconds", type=float, default=30.0)
    args = parser.parse_args()
    models = [model_path(name) for name in OWN]
    models += [path for name in OTHERS if (path := SHARED / f"{name}.onnx").exists()]
    rows = [measure(model, args.part, args.cpu_seconds) for model in models]
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        body = {"python": platform.python_version(), "cpu_seconds_budget": args.cpu_seconds, "rows": rows}
        write_atomic(args.json, json.dumps(body, indent=1) + "\n")
    header = [
        "network",
        "frames/s",
        "cycles/frame",
        "bound",
        "gap",
        "TOPS",
        "LUT",
        "RAMB36",
        "engines",
        "CPU s",
    ]
    print(
        aligned(
            header,
            [
                [
                    r["network"], f"{r['fps']:,.0f}", f"{r['cycles_per_frame']:,.1f}", f"{r['bound_cycles']:,.1f}",
                    f"{100 * r['gap']:.2f} %", f"{r['binary_tops']:.2f}", str(r["utilization"]["lut"]["used"]),
                    str(r["utilization"]["bram36"]["used"]), "; ".join(r["engines"]), str(r["cpu_seconds"]),
                ]
                for r in rows
            ],
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
