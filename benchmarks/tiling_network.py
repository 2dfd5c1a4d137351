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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

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
RANDOM = {"heldout-id": 8, "heldout-size": 4}


def instances() -> list[str]:
    """Returns every named instance once, by its full name, and random networks of other sizes."""
    named = [f"tiling/{name}" for name in names() if "-p" in name]
    return named + [f"tiling/{split}-s0-{i}" for split, count in RANDOM.items() for i in range(count)]


class Task(NamedTuple):
    """A search of one instance: from a schedule that is known, if any; one that proves takes all its time for the bound."""

    instance: str
    seconds: float
    seed: int
    start: tuple[int, ...] = ()
    proves: bool = False


def search(task: Task) -> tuple[str, str, Result]:
    """Searches an instance; returns its name, its hash and a result that the referee has checked."""
    problem = load_instance(task.instance)
    assert isinstance(problem, TilingProblem)
    if task.start:
        problem = copy.copy(problem)
        vars(problem)["start"] = np.array(task.start, dtype=np.int64)
    name, params = ("cp-sat", CpSatParams(hint="start", bound_share=1.0)) if task.proves else (SOLVER, None)
    result = get_solver(name)(problem, stop=CpuSeconds(task.seconds), seed=task.seed, params=params)
    if result.has_solution:
        problem.check(result.solution)
    return task.instance, content_hash(problem), result


def known_start(name: str, entries: Mapping[str, BestKnown]) -> tuple[int, ...]:
    """Returns the best schedule known of an instance; where layers may be fused, one without is a schedule, too."""
    known = [entries[n] for n in (name, name.replace("-f-", "-")) if n in entries]
    return min(known, key=lambda entry: entry.cost).choices if known else ()


def searched(tasks: Sequence[Task], workers: int) -> Iterator[Any]:
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
    passes = (
        (options.cpu_seconds, True, False),
        (options.again_seconds, False, False),
        (options.prove_seconds, False, True),
    )
    for seconds, is_first, proves in passes:
        limit = options.again_above
        above = {n for n in wanted if n not in entries or entries[n].cost > limit * entries[n].bound}
        tasks = [
            Task(n, seconds, options.seed, () if is_first else known_start(n, entries), proves)
            for n in wanted
            if seconds > 0 and (is_first or n in above)
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
    for what, ratios in (
        ("instances", [row["ratio"] for row in rows if "-f-" not in row["instance"]]),
        ("instances where layers may be fused", [row["ratio"] for row in rows if "-f-" in row["instance"]]),
    ):
        if ratios:
            print(f"{len(ratios)} {what}: median {statistics.median(ratios):.4f}, worst {max(ratios):.4f}")
    if options.json:
        options.json.write_text(
            json.dumps({"arguments": {k: str(v) for k, v in vars(options).items()}, "rows": rows}, indent=1)
            + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
