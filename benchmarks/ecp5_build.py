"""Builds the digits accelerator for the ECP5 with each way of locking the block RAMs, over seeds of nextpnr.

    python benchmarks/ecp5_build.py [--seeds 5] [--ways none netlist plan near] [--folder FOLDER] [--json FILE]

The plan and the export are those of the verbs `optimize` and `export --to ecp5`; synthesis is done once, then every way and seed
is placed and routed, which takes two minutes each on an idle core, and one bitstream is written. What is in FOLDER is not
made again. The design is a small one, so that it is over soon.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foldwright.accel.ecp5_tools import find_ecp5_tools, pack, synthesise_ecp5
from foldwright.accel.plan import Plan
from foldwright.cli import main as foldwright
from foldwright.jsonform import read_json
from foldwright.locking import WAYS
from foldwright.netlists.mapped import MappedDesign, read_mapped
from foldwright.runs import write_atomic
from foldwright.verbs.build import BITSTREAM, Ecp5Folder, counts_of, model_of_plan, place_ecp5, read_ecp5

__all__ = ["main"]

PLAN = [
    *("optimize", "digits_w1a2", "--part", "lfe5u-85f", "--deterministic", "0.3", "--clock-mhz", "50"),
    *("--budget-lut-percent", "15", "--set", "buildable=true", "--set", "max_engines=1"),
]
TIMEOUT_S = 7200.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["none", "netlist", "plan", "near"])
    parser.add_argument("--folder", type=Path, help="where builds are kept; a temporary folder if absent")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        body = measured(args.folder or Path(temporary), args.seeds, args.ways)
    print(json.dumps(body["ways"], indent=1))
    if args.json:
        write_atomic(args.json, json.dumps(body, indent=1) + "\n")
    return 0


def measured(kept: Path, seeds: int, ways: list[str]) -> dict[str, Any]:
    """Returns what all builds gave."""
    run, tools = kept / "run", find_ecp5_tools()
    if not run.exists() and foldwright([*PLAN, "--out", str(run)]):
        raise SystemExit("no plan was found")
    if foldwright(["export", str(run), "--to", "ecp5"]):
        raise SystemExit("the plan was not exported")
    folder, plan = read_ecp5(run / "build"), read_json(Plan, run / "plan.json")
    mapped, took = kept / "synthesised.json", kept / "synthesised.seconds"
    if not mapped.exists():
        seconds = synthesise_ecp5(tools, folder.sources, folder.top, mapped, timeout_s=TIMEOUT_S)
        write_atomic(took, f"{seconds:.1f}")
    design = read_mapped(mapped.read_text(encoding="utf-8"), folder.top, str(mapped))
    rows = [routed_row(kept, folder, design, way, seed) for seed in range(1, seeds + 1) for way in ways]
    return {
        "network": plan.workload.name,
        "engines": [engine.shape for engine in plan.datapath.engines],
        "part": plan.part,
        "package": folder.target.package,
        "speed": folder.target.speed,
        "wanted_mhz": folder.clock_mhz,
        "counts": asdict(counts_of(design)),
        "model": asdict(model_of_plan(plan)),
        "yosys_seconds": float(took.read_text(encoding="utf-8")),
        **bitstream(kept, ways[0]),
        "ways": {way: summary([row for row in rows if row["way"] == way]) for way in ways},
        "rows": rows,
    }


def routed_row(kept: Path, folder: Ecp5Folder, design: MappedDesign, way: str, seed: int) -> dict[str, Any]:
    """Returns what place and route gave for a way and a seed."""
    done = kept / f"{way}-{seed}"
    if not (done / "row.json").exists():
        shutil.rmtree(done, ignore_errors=True)
        done.mkdir()
        begun = time.monotonic()
        routed, locks = place_ecp5(
            folder, find_ecp5_tools(), design, done, locked_by=way, seed=seed, timeout_s=TIMEOUT_S
        )
        row = {
            "way": way,
            "seed": seed,
            "clock_mhz": round(routed.clock_mhz, 2),
            "locked": len(locks),
            "seconds": round(time.monotonic() - begun, 1),
            "nextpnr_seconds": routed.seconds,
            "used": routed.used,
            "critical_path": routed.critical_path,
        }
        write_atomic(done / "row.json", json.dumps(row))
        print(f"{way} {seed}: {row['clock_mhz']} MHz, {row['seconds']} s", flush=True)
    row = json.loads((done / "row.json").read_text(encoding="utf-8"))
    return dict(row)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the clocks of a way."""
    clocks = [row["clock_mhz"] for row in rows]
    return {
        "median_mhz": round(statistics.median(clocks), 1),
        "least_mhz": round(min(clocks), 1),
        "most_mhz": round(max(clocks), 1),
        "locked": rows[0]["locked"],
        "seeds": len(rows),
        "median_seconds": round(statistics.median(row["nextpnr_seconds"] for row in rows), 1),
        "paths_through_block_ram": sum(any(_in_memory(cell) for cell in r["critical_path"]) for r in rows),
    }


def _in_memory(cell: str) -> bool:
    """Says whether a cell's name is that of a block RAM: a memory's, then its place in it."""
    parts = cell.split(".")
    return len(parts) > 2 and parts[-1].isdigit() and parts[-2].isdigit()


def bitstream(kept: Path, way: str) -> dict[str, Any]:
    """Writes the bitstream of the first seed of a way."""
    seconds = pack(find_ecp5_tools(), kept / f"{way}-1", BITSTREAM, timeout_s=TIMEOUT_S)
    return {
        "bitstream_bytes": (kept / f"{way}-1" / BITSTREAM).stat().st_size,
        "ecppack_seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
