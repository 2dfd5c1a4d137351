"""Cycles over bound of the tiling instances of real networks and of random ones; improves the best known costs and bounds.

    python benchmarks/tiling_network.py [--instances NAME ...] [--cpu-seconds S] [--again-above R] [--again-seconds S]
        [--prove-seconds S] [--workers N] [--json FILE]

Every named instance (networks by DRAM bits per cycle by pool of block RAMs) and some random ones of the held-out splits are
searched by the solver `hybrid`, those that stay more than R above their bound once more and longer, with the best schedule
known as the start; then CP-SAT raises the bounds of those that still do. What is found is checked by the referee of schedules
before it goes into agents/best_known.json, where nothing ever gets worse; the file lists that table's entries of the instances.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.agents.best_known import BEST_KNOWN_FILE, BestKnown, BestKnownTable, better
from foldwright.agents.cpsat import CpSatParams
from foldwright.agents.registry import get_solver
from foldwright.agents.result import Result
from foldwright.agents.stop import CpuSeconds
from foldwright.envs.registry import content_hash, load_instance
from foldwright.envs.tiling import TilingProblem
from foldwright.envs.tiling.instances import names
from foldwright.jsonform import read_json, to_json
from foldwright.runs import write_atomic

__all__ = ["instances", "main"]

SOLVER = "hybrid"
PROVES = -1
"""In place of a seed: CP-SAT searches by bounds alone."""
RANDOM = {"heldout-id": 8, "heldout-size": 4}


def instances() -> list[str]:
    """Returns every named instance once, by its full name, and random networks of other sizes."""
    named = [f"tiling/{name}" for name in names() if "-p" in name]
    return named + [f"tiling/{split}-s0-{i}" for split, count in RANDOM.items() for i in range(count)]


def search(task: tuple[str, float, int, tuple[int, ...]]) -> tuple[str, str, Result]:
    """Searches an instance; returns its name, its hash and a result that the referee has checked."""
    name, seconds, seed, start = task
    problem = load_instance(name)
    assert isinstance(problem, TilingProblem)
    if start:
        problem = copy.copy(problem)
        vars(problem)["start"] = np.array(start, dtype=np.int64)
    name_of_solver, params = (
        (SOLVER, None) if seed != PROVES else ("cp-sat", CpSatParams(hint="start", bound_share=1.0))
    )
    result = get_solver(name_of_solver)(problem, stop=CpuSeconds(seconds), seed=max(0, seed), params=params)
    if result.has_solution:
        problem.check(result.solution)
    return name, content_hash(problem), result


def searched(tasks: Sequence[tuple[str, float, int, tuple[int, ...]]], workers: int) -> Iterator[Any]:
    if workers == 1:
        yield from map(search, tasks)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(search, tasks)


def row_of(entry: BestKnown) -> dict[str, Any]:
    """Returns what the file says of an instance."""
    problem = load_instance(entry.instance)
    assert isinstance(problem, TilingProblem)
    cost = problem.evaluate(problem.decode(np.array(entry.choices, dtype=np.int64)))
    return {
        "instance": entry.instance,
        "layers": len(problem.workload.layers),
        "engines": [e.shape for e in problem.datapath.engines],
        "frames": problem.datapath.batch_frames,
        "dram_bits_per_cycle": problem.datapath.dram_bits_per_cycle,
        "pool_bram36": problem.pool_bram36,
        "cycles": entry.cost,
        "bound_cycles": entry.bound,
        "ratio": entry.cost / entry.bound,
        "quick_bound_cycles": problem.bound().value,
        "bram36": cost.detail["bram36"],
        "loaded_bits": cost.detail["loaded_bits"],
        "bound_proof": entry.bound_proof,
        "solver": entry.solver,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", nargs="+", default=[])
    parser.add_argument("--cpu-seconds", type=float, default=15.0)
    parser.add_argument("--again-above", type=float, default=1.02)
    parser.add_argument("--again-seconds", type=float, default=60.0)
    parser.add_argument("--prove-seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    wanted = options.instances or instances()
    entries = {entry.instance: entry for entry in read_json(BestKnownTable, BEST_KNOWN_FILE).entries}
    passes = ((options.cpu_seconds, True), (options.again_seconds, False), (options.prove_seconds, False))
    for k, (seconds, is_first) in enumerate(passes):
        seed = PROVES if k == len(passes) - 1 else options.seed
        above = {
            n for n in wanted if n not in entries or entries[n].cost > options.again_above * entries[n].bound
        }
        tasks = [
            (name, seconds, seed, () if is_first else entries[name].choices)
            for name in wanted
            if seconds > 0 and (is_first or name in above)
        ]
        for name, digest, result in searched(tasks, options.workers):
            known = better(entries.get(name), [result], digest)
            if known is None:
                print(f"{name}: nothing found", flush=True)
                continue
            entries[name] = known
            write_atomic(BEST_KNOWN_FILE, to_json(BestKnownTable(tuple(entries[n] for n in sorted(entries)))))
            print(
                f"{name}: {known.cost:,} cycles, {known.cost / known.bound:.4f} x {known.bound:,}", flush=True
            )
    rows = [row_of(entries[name]) for name in wanted if name in entries]
    ratios = [row["ratio"] for row in rows]
    print(f"{len(rows)} instances: median {statistics.median(ratios):.4f}, worst {max(ratios):.4f}")
    if options.json:
        options.json.write_text(
            json.dumps({"arguments": {k: str(v) for k, v in vars(options).items()}, "rows": rows}, indent=1)
            + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
