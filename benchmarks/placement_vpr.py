"""Our annealer on circuits packed by VPR, beside the placements that VPR's own annealer wrote for them.

    python benchmarks/placement_vpr.py [--folder FOLDER] [--seeds N] [--efforts E ...] [--out FOLDER] [--json FILE]

FOLDER holds VPR's architecture, `s4`, `s8`, `clma` as `.net.gz` and `.place`; by default `../shared/reference/vpr` beside the
checkout. An effort multiplies the proposals a temperature, cells^(4/3). Per circuit and effort: half-perimeter wirelength in
tiles and CPU seconds of one annealing run, median and range over the seeds; reading takes what is told beside it. Every
placement passes the referee. --out receives the best of each circuit as a `.place` file, for VPR to route.

What it leaves out: routed wirelength and critical path, which VPR alone can say; nothing here predicts delays yet.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from placement_baselines import measure  # type: ignore[import-not-found]  # the script's own folder is on the path

from foldwright.agents.registry import get_solver
from foldwright.agents.stop import Evaluations
from foldwright.envs.placement import PlacementProblem
from foldwright.netlists.placement import check_placement, hpwl
from foldwright.netlists.vpr.arch import read_arch
from foldwright.netlists.vpr.packed import read_packed
from foldwright.netlists.vpr.place import placement_to_vpr, read_vpr_placement, vpr_grid_size
from foldwright.runs import write_atomic
from foldwright.verbs.tables import aligned

__all__ = ["main"]

ARCH = "k6_frac_N10_frac_chain_mem32K_40nm.xml.gz"
CIRCUITS = ("s4", "s8", "clma")
_SHARED = Path(__file__).resolve().parents[2] / "shared" / "reference" / "vpr"
_ENOUGH = Evaluations(10**12)


def circuit(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of one circuit."""
    before = time.process_time()
    arch = read_arch(args.folder / ARCH)
    packed = read_packed(args.folder / f"{name}.net.gz", arch)
    read_seconds = time.process_time() - before
    width, height = vpr_grid_size(args.folder / f"{name}.place")
    problem = PlacementProblem(f"placement/{name}", packed.netlist, f"{args.folder / ARCH}@{width}x{height}")
    theirs = read_vpr_placement(args.folder / f"{name}.place", packed, problem.grid)
    check_placement(packed.netlist, problem.grid, theirs)
    get_solver("anneal")(problem, stop=Evaluations(1000))  # compiles, if nothing has yet
    found = {
        effort: measure(problem, "anneal", _ENOUGH, args.seeds, effort=effort, runs=1)
        for effort in args.efforts
    }
    if args.out:
        best = get_solver("anneal")(
            problem, stop=_ENOUGH, seed=0, params={"effort": max(args.efforts), "runs": 1}
        )
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomic(args.out / f"{name}.place", placement_to_vpr(packed, problem.grid, best.solution))
    return {
        "circuit": name,
        "cells": packed.netlist.cells,
        "nets": packed.netlist.nets,
        "wires": int(packed.netlist.net_weights.sum()),
        "grid": [width, height],
        "read_cpu_seconds": round(read_seconds, 3),
        "vpr_hpwl": hpwl(packed.netlist, problem.grid, theirs),
        "bound": problem.bound().value,
        "efforts": {f"{effort:g}": row for effort, row in found.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=_SHARED)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--efforts", type=float, nargs="+", default=[0.3, 1.0, 10.0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    rows = [circuit(name, args) for name in CIRCUITS]
    header = ["circuit", "cells", "VPR's", *(f"effort {effort:g}" for effort in args.efforts)]
    shown = [
        [
            row["circuit"],
            str(row["cells"]),
            f"{row['vpr_hpwl']:,}",
            *(_words(r) for r in row["efforts"].values()),
        ]
        for row in rows
    ]
    print(aligned(header, shown))
    if args.json:
        body = {"python": platform.python_version(), "seeds": args.seeds, "rows": rows}
        write_atomic(args.json, json.dumps(body, indent=1) + "\n")
    return 0


def _words(row: dict[str, Any]) -> str:
    low, high = row["hpwl_range"]
    return f"{row['hpwl']:,.0f} ({low:,}..{high:,}) in {row['cpu_seconds']:.2f} s"


if __name__ == "__main__":
    raise SystemExit(main())
