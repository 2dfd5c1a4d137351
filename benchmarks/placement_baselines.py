"""Measures the placers on systolic arrays and on datapaths, beside nextpnr-generic on the same netlist and grid.

    python benchmarks/placement_baselines.py [--json FILE] [--seeds N] [--instances NAME ...] [--cpsat-seconds S]

Per instance: HPWL in tiles and CPU seconds of greedy (construction and sweeps), of one annealing run at three efforts
(times cells^(4/3) proposals a temperature), of cp-sat windows on a short annealing; median, least and most over the seeds.
CPU seconds begin after imports and kernel compilation. Moves per second are proposals of the annealer. Every placement
passes the independent legality checker. nextpnr-generic places the same cells and nets (a bus as that many wires) on the
same grid where it is installed, by its analytical placer (HeAP) with one cell fixed in the middle, as that needs; its
wirelength is measured by our own `hpwl` on the placement that it writes.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.agents.registry import get_solver
from foldwright.agents.stop import CpuSeconds, Evaluations, StopRule
from foldwright.envs.placement import PlacementProblem
from foldwright.envs.registry import instance_names, load_instance
from foldwright.netlists.fabric import placement_sites
from foldwright.netlists.netlist import Netlist
from foldwright.netlists.placement import Placement, check_placement, hpwl

__all__ = ["main", "nextpnr"]

EFFORTS = (0.1, 1.0, 10.0)
_ENOUGH = Evaluations(10**12)


def measure(
    problem: PlacementProblem, solver: str, stop: StopRule, seeds: int, **params: Any
) -> dict[str, Any]:
    """Returns medians and ranges of cost and CPU seconds over the seeds."""
    results = [get_solver(solver)(problem, stop=stop, seed=seed, params=params) for seed in range(seeds)]
    for result in results:
        problem.check(result.solution)
    costs, seconds = [r.cost for r in results], [r.cpu_seconds for r in results]
    return {
        "hpwl": statistics.median(costs),
        "hpwl_range": [min(costs), max(costs)],
        "cpu_seconds": round(statistics.median(seconds), 3),
        "evaluations": statistics.median(r.iterations for r in results),
        "per_second": round(statistics.median(r.iterations / r.cpu_seconds for r in results)),
        "seeds": seeds,
    }


def design(netlist: Netlist) -> dict[str, Any]:
    """Returns a netlist as yosys JSON: a wire per unit of weight, driven by the first cell of its net."""
    cells: dict[str, Any] = {
        f"c{i}": {
            "hide_name": 0, "type": netlist.kind_of(i), "parameters": {}, "attributes": {},
            "port_directions": {}, "connections": {},
        }
        for i in range(netlist.cells)
    }  # fmt: skip
    bit = 2
    for net, weight in enumerate(netlist.net_weights.tolist()):
        driver, *sinks = netlist.cells_of(net).tolist()
        for _ in range(weight):
            for cell, way in ((driver, "output"), *((s, "input") for s in sinks)):
                port = f"{way[0].upper()}{len(cells[f'c{cell}']['connections'])}"
                cells[f"c{cell}"]["port_directions"][port] = way
                cells[f"c{cell}"]["connections"][port] = [bit]
            bit += 1
    top = {"attributes": {"top": "1"}, "ports": {}, "cells": cells, "netnames": {}}
    return {"creator": "foldwright", "modules": {"top": top}}


def grid_script(problem: PlacementProblem) -> str:
    """Returns the Python script that gives nextpnr-generic the fabric's sites."""
    sites = [
        (f"{kind}_{i}", kind, int(table.x[i]), int(table.y[i]))
        for kind in problem.netlist.kinds
        for table in [placement_sites(problem.grid, kind)]
        for i in range(len(table))
    ]
    kind = problem.netlist.kind_of(0)
    anchor = (
        f"{kind}_{len(placement_sites(problem.grid, kind)) // 2}"  # its analytical placer needs a fixed cell
    )
    return (
        f"for name, kind, x, y in {sites!r}:\n"
        "    ctx.addBel(name=name, type=kind, loc=Loc(x, y, 0), gb=False, hidden=False)\n"
        "for name, cell in ctx.cells:\n"
        f"    if name == 'c0':\n        cell.setAttr('BEL', {anchor!r})\n"
    )


def nextpnr(problem: PlacementProblem, seed: int) -> dict[str, Any]:
    """Places an instance with nextpnr-generic; returns HPWL and CPU seconds, or why there are none."""
    tool = shutil.which("nextpnr-generic")
    if tool is None:
        return {"skipped": "nextpnr-generic is not installed (Debian package nextpnr-generic)"}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "design.json").write_text(json.dumps(design(problem.netlist)), encoding="utf-8")
        (here / "grid.py").write_text(grid_script(problem), encoding="utf-8")
        command = [
            tool, "--json", "design.json", "--pre-pack", "grid.py", "--no-route", "--seed", str(seed + 1),
            "--write", "placed.json",
        ]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=3600)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if not (here / "placed.json").is_file():
            lines = done.stderr.strip().splitlines()
            return {
                "skipped": "nextpnr-generic failed: " + (lines[-1] if lines else f"status {done.returncode}")
            }
        placed = json.loads((here / "placed.json").read_text(encoding="utf-8"))
    cells = placed["modules"]["top"]["cells"]
    names = [cells[f"c{i}"]["attributes"]["NEXTPNR_BEL"] for i in range(problem.netlist.cells)]
    placement = Placement(np.array([int(name.rpartition("_")[2]) for name in names]))
    check_placement(problem.netlist, problem.grid, placement)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"hpwl": hpwl(problem.netlist, problem.grid, placement), "cpu_seconds": round(seconds, 2)}


def rows(problem: PlacementProblem, seeds: int, cpsat_seconds: float) -> dict[str, Any]:
    """Returns every figure of an instance."""
    found: dict[str, Any] = {
        "cells": problem.netlist.cells,
        "nets": problem.netlist.nets,
        "fabric": problem.fabric,
        "bound": problem.bound().value,
        "greedy": measure(problem, "greedy", _ENOUGH, 1, restarts=0),
    }
    for effort in EFFORTS:
        found[f"anneal {effort:g}"] = measure(problem, "anneal", _ENOUGH, seeds, effort=effort, runs=1)
    found["cp-sat"] = measure(problem, "cp-sat", CpuSeconds(cpsat_seconds), seeds)
    found["nextpnr-generic"] = nextpnr(problem, 0)
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each solver that draws")
    parser.add_argument(
        "--instances", nargs="+", default=instance_names("placement"), help="names of instances"
    )
    parser.add_argument("--cpsat-seconds", type=float, default=20.0, help="CPU seconds of cp-sat")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in args.instances:
        problem = load_instance(name)
        assert isinstance(problem, PlacementProblem)
        get_solver("anneal")(problem, stop=Evaluations(1000))  # compiles, if nothing has yet
        results[name] = rows(problem, args.seeds, args.cpsat_seconds)
        for key, value in results[name].items():
            print(f"{name:<26}{key:<18}{json.dumps(value)}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
