"""Improves the table of best known costs and bounds, agents/best_known.json; no entry ever gets worse.

    python benchmarks/best_known.py [--instances NAME ...] [--suites NAME ...] [--solvers NAME ...]
        [--cpu-seconds S] [--seeds N] [--workers N] [--json FILE]

Without instances or suites, all instances of the shipped suites are searched. Each solver runs with each seed for S CPU seconds;
what it finds is checked by the problem's referee before it is kept. Entries whose instance has changed are replaced; where
the model has changed, choices keep their place with their new cost.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from foldwright.agents.bench import run_suite
from foldwright.agents.best_known import BEST_KNOWN_FILE, BestKnown, BestKnownTable, better
from foldwright.agents.store import STORE_NAME, RunStore
from foldwright.agents.suite import SUITE_NAMES, SolverSpec, Suite, instance_hash, load_problem, load_suite
from foldwright.envs.problem import INFEASIBLE
from foldwright.envs.registry import content_hash
from foldwright.jsonform import read_json, to_json
from foldwright.runs import write_atomic

__all__ = ["main"]

SOLVERS = ("greedy", "anneal", "cp-sat", "exact")


def search(instance: str, options: argparse.Namespace, known: BestKnown | None) -> BestKnown | None:
    """Returns the entry of an instance after searching it with all solvers."""
    suite = Suite(
        instances=(instance,),
        solvers=tuple(SolverSpec(name=name) for name in options.solvers),
        seeds=options.seeds,
        cpu_seconds=(options.cpu_seconds,),
    )
    with tempfile.TemporaryDirectory() as folder, RunStore(Path(folder) / STORE_NAME, suite.digest) as store:
        done = run_suite(suite, store, workers=options.workers)
    return better(known, [s.result for _, s in done if s.result is not None], instance_hash(instance))


def confirmed(entry: BestKnown) -> BestKnown | None:
    """Returns an entry as the present model has it: with a new cost and no bound where that has changed, None if it is lost."""
    problem = load_problem(entry.instance)
    if content_hash(problem) != entry.instance_hash or not entry.choices:
        return None
    cost = problem.cost_of(np.array(entry.choices, dtype=np.int64))
    if cost == entry.cost:
        return entry
    print(f"{entry.instance}: the model has changed, {entry.cost:,} is {cost:,} now")
    return replace(entry, cost=cost, bound=0, bound_proof="") if cost != INFEASIBLE else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Searches, prints what changed, and writes the table after every instance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", nargs="+", default=[])
    parser.add_argument("--suites", nargs="+", default=[])
    parser.add_argument("--solvers", nargs="+", default=SOLVERS)
    parser.add_argument("--cpu-seconds", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    suites = options.suites or ([] if options.instances else SUITE_NAMES)
    instances = [*options.instances, *(name for suite in suites for name in load_suite(suite).instances)]
    entries = {}
    if BEST_KNOWN_FILE.is_file():
        entries = {entry.instance: entry for entry in read_json(BestKnownTable, BEST_KNOWN_FILE).entries}
    for instance in dict.fromkeys(instances):
        before = entries.get(instance)
        before = confirmed(before) if before is not None else None
        after = search(instance, options, before)
        if after is not None:
            entries[instance] = after
            table = BestKnownTable(tuple(entries[name] for name in sorted(entries)))
            write_atomic(BEST_KNOWN_FILE, to_json(table))
            state = "as before" if after == before else "new or better"
            print(f"{instance}: cost {after.cost:,}, bound {after.bound:,}, by {after.solver}: {state}")
    if options.json:
        write_atomic(options.json, json.dumps([asdict(entries[n]) for n in sorted(entries)], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
