"""Frames per second of networks on a part, with bounds, several seeds each, and fronts against LUTs as pictures.

    python benchmarks/networks_on_parts.py [--networks NAME ...] [--part NAME] [--seeds N] [--cpu-seconds S]
        [--front-seconds S] [--workers N] [--pictures FOLDER] [--json FILE]

Each network is searched as `foldwright optimize` does, by its shapes: published ones, UltraNet at 224x224, so that it stands
beside the classifiers. A name that ends in -2-ports has DRAM on two AXI ports, 64 bits a cycle, the others one of 32. A plan's
schedule and its datapath are checked by the referees before it counts. The bound is of all designs of the space within the same
LUTs. A front takes --front-seconds for 12 budgets; 0 leaves the fronts out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from front_pictures import draw_fronts  # type: ignore[import-not-found]  # the script's own folder is on the path

from foldwright.accel.known_workloads import known_workload, ultranet_of
from foldwright.accel.workload import Workload
from foldwright.config import merge_options
from foldwright.jsonform import to_json
from foldwright.pareto import engine_words
from foldwright.pipeline import optimize_workload
from foldwright.runs import write_atomic
from foldwright.verbs.tables import aligned

__all__ = ["NETWORKS", "main"]

NETWORKS = (
    "cnv-w1a1",
    "cnv-w1a2",
    "cnv-w2a2",
    "dorefa",
    "resnet18-w1a2",
    "resnet18-w2a2",
    "ultranet-224x224",
    "resnet18-w1a2-2-ports",
    "resnet18-w2a2-2-ports",
)
_TWO_PORTS = "-2-ports"
_PORT_BITS = 32
Task = tuple[str, str, float, int, bool]


def workload_of(name: str) -> Workload:
    name = name.removesuffix(_TWO_PORTS)
    return ultranet_of(224, 224) if name == "ultranet-224x224" else known_workload(name)


def measure(task: Task) -> dict[str, Any]:
    """Returns what one search found: name, part, CPU seconds, seed, and whether for a front."""
    name, part, cpu_seconds, seed, is_front = task
    given: dict[str, Any] = {
        "model": name,
        "part": part,
        "out": "unused",
        "cpu_seconds": cpu_seconds,
        "seed": seed,
    }
    dram_bits = 2 * _PORT_BITS if name.endswith(_TWO_PORTS) else _PORT_BITS
    given |= {"set": {"dram_bits_per_cycle": dram_bits}, "pareto": is_front or None}
    options = merge_options({}, "benchmark", given)
    workload = workload_of(name)
    found = optimize_workload(workload, options)
    design, used = found.design, found.plan.utilization()
    bound = found.whole.bound()
    row = {
        "network": name,
        "seed": seed,
        "clock_mhz": options.clock_mhz,
        "dram_bits_per_cycle": dram_bits,
        "frames_per_second": options.clock_mhz * 1e6 / design.cycles_per_frame,
        "bound_frames_per_second": options.clock_mhz * 1e9 / bound.value,
        "cycles_per_frame": design.cycles_per_frame,
        "schedule_gap": design.tiling.gap,
        "bit_macs": workload.bit_macs,
        "frames_per_round": design.datapath.batch_frames,
        "engines": list(engine_words(design.datapath)),
        **{kind: getattr(used, kind) for kind in ("lut", "ff", "bram36", "dsp")},
        "cpu_seconds": round(sum(found.cpu_seconds.values()), 1),
    }
    if found.pareto is not None:
        row["front"] = json.loads(to_json(found.pareto))
    return row


def measured(tasks: Sequence[Task], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from map(measure, tasks)
        return
    with ProcessPoolExecutor(workers, max_tasks_per_child=1) as pool:
        yield from pool.map(measure, tasks)


def summary(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns a network's row: the median over seeds, the range, and the best design."""
    mine = [row for row in rows if row["network"] == name]
    rates = [row["frames_per_second"] for row in mine]
    best = max(mine, key=lambda row: row["frames_per_second"])
    return {
        **{
            key: value
            for key, value in best.items()
            if key not in ("seed", "frames_per_second", "cpu_seconds")
        },
        "frames_per_second": {"median": statistics.median(rates), "least": min(rates), "most": max(rates)},
        "cpu_seconds": statistics.median(row["cpu_seconds"] for row in mine),
        "seeds": len(mine),
    }


def front_of(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what a picture and a table need of a front."""
    front = row["front"]
    return {
        "network": row["network"],
        "points": [
            {key: p[key] for key in ("lut", "fps", "gap", "bram36", "dsp", "engines")}
            for p in front["points"]
        ],
        "bounds": [[b["lut"], b["fps"]] for b in front["bounds"]],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--part", default="xc7z020")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cpu-seconds", type=float, default=60.0)
    parser.add_argument("--front-seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    tasks = [
        (name, options.part, options.cpu_seconds, seed, False)
        for name in options.networks
        for seed in range(options.seeds)
    ]
    rows = list(told(tasks, options.workers))
    table = [summary(name, rows) for name in options.networks]
    header = ["network", "frames/s", "least", "most", "bound", "LUT", "RAMB36", "DSP", "engines"]
    print(aligned(header, list(map(_shown, table))))
    _write(options, table, [])
    if options.front_seconds > 0:
        fronts = [
            (name, options.part, options.front_seconds, 0, True)
            for name in options.networks
            if _TWO_PORTS not in name
        ]
        drawn: list[dict[str, Any]] = []
        for row in told(fronts, options.workers):
            drawn.append(front_of(row))
            _write(options, table, drawn)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            for theme in ("light", "dark"):
                write_atomic(options.pictures / f"fronts-{theme}.svg", draw_fronts(drawn, theme))
    return 0


def told(tasks: Sequence[Task], workers: int) -> Iterator[dict[str, Any]]:
    """Yields what searches found, and says it."""
    for row in measured(tasks, workers):
        said = f"{row['network']} seed {row['seed']}{' front' if 'front' in row else ''}"
        rates = f"{row['frames_per_second']:,.0f} of {row['bound_frames_per_second']:,.0f} frames/s"
        print(f"{said}: {rates}", flush=True)
        yield row


def _write(options: argparse.Namespace, table: list[dict[str, Any]], fronts: list[dict[str, Any]]) -> None:
    if options.json:
        body = {
            "python": platform.python_version(), "part": options.part, "seeds": options.seeds,
            "cpu_seconds_budget": options.cpu_seconds, "front_seconds": options.front_seconds,
            "rows": table, "fronts": fronts,
        }  # fmt: skip
        write_atomic(options.json, json.dumps(body, indent=1) + "\n")


def _shown(row: dict[str, Any]) -> list[str]:
    rates = row["frames_per_second"]
    return [
        row["network"], *(f"{rates[k]:,.0f}" for k in ("median", "least", "most")), f"{row['bound_frames_per_second']:,.0f}",
        *(str(row[k]) for k in ("lut", "bram36", "dsp")), "; ".join(row["engines"]),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
