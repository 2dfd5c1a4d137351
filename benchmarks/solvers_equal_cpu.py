"""Every solver of allocation and of tiling at equal CPU on held-out instances: gaps to the best known and integrals.

    python benchmarks/solvers_equal_cpu.py [tiling allocation] [--splits NAME ...] [--instances N] [--long-instances N]
        [--budgets SECONDS ...] [--seeds N] [--workers N] [--out FOLDER] [--json FILE]

CPU seconds are user and system time of all threads, after imports and the compilation of kernels; what a start or a model rests
on, such as allocation's frontiers, is charged. Budgets of 10 s and more take `--long-instances` of each split. The gap is over
the best cost known, that of any run here or of the table: a solver's is the geometric mean over instances of the median over
seeds. The primal integral is the mean over time of the cost over the best known, less one, the gap integral that of cost less
bound over the best known; both are means over instances and seeds. The policies were trained on other instances, their
training is told beside them. Runs are kept in FOLDER and not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from held_out import LONG_SECONDS, SPLITS, HeldOut  # type: ignore[import-not-found]  # the script's own folder is on the path

from foldwright.agents.policy import load_policy
from foldwright.agents.scores import Row, facts_of, ranks_of, rows_of
from foldwright.agents.search import versions
from foldwright.agents.suite import SolverSpec
from foldwright.runs import write_atomic
from foldwright.verbs.tables import aligned

__all__ = ["main", "solvers_of"]


def solvers_of(kind: str) -> tuple[SolverSpec, ...]:
    names = ("random", "greedy", "anneal", "cp-sat", "hybrid", "exact", f"policy:{kind}")
    return tuple(SolverSpec(name=name) for name in names)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def compare(kind: str, split: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row per solver and budget on a split."""
    sets = [
        ([b for b in args.budgets if b < LONG_SECONDS], args.instances),
        ([b for b in args.budgets if b >= LONG_SECONDS], args.long_instances),
    ]
    held_out = HeldOut(args.seeds, args.workers, args.out)
    found = (held_out.runs(kind, split, solvers_of(kind), budgets, count) for budgets, count in sets)
    done = [runs for runs in found if runs]
    facts = facts_of([run for runs in done for run in runs])
    trained = load_policy(kind).card.training_cpu_seconds
    return [
        {
            "kind": kind,
            "split": split,
            **dataclasses.asdict(rank),
            **_shares([r for r in rows if r.solver == rank.solver and r.budget == rank.budget]),
            "training_cpu_seconds": trained if rank.solver.startswith("policy:") else None,
        }
        for rows in (rows_of(runs, facts) for runs in done)
        for rank in ranks_of(rows)
    ]


def _shares(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns what the rows of one solver and budget have in the mean; nothing where it does not go with the problem."""
    return {
        "primal_share": _mean([r.primal_share for r in rows]),
        "gap_share": _mean([r.gap_share for r in rows]),
        "bound_gap": _mean([r.bound_gap for r in rows]),
        "proven": sum(r.proven for r in rows),
        "runs": sum(r.seeds for r in rows),
        "errors": sorted({error for r in rows for error in r.errors}),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=["tiling", "allocation"])
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--instances", type=int, default=4, help="of each split")
    parser.add_argument("--long-instances", type=int, default=2, help="of each split, with 10 s and more")
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.1, 1.0, 10.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/solvers-equal-cpu"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    rows = [row for kind in args.kinds for split in args.splits for row in compare(kind, split, args)]
    header = ["problem", "split", "CPU s", "solver", "gap", "primal", "gap integral", "proven"]
    print(aligned(header, [_shown(row) for row in rows]))
    if args.json:
        body = {
            "seeds": args.seeds, "workers": args.workers, "rows": rows, "versions": versions(),
            "processor": platform.machine(),
        }  # fmt: skip
        write_atomic(args.json, json.dumps(body, indent=1) + "\n")
    return 0


def _shown(row: dict[str, Any]) -> list[str]:
    shares = ("-" if row[k] is None else f"{row[k]:.4f}" for k in ("mean_gap", "primal_share", "gap_share"))
    return [
        row["kind"],
        row["split"],
        f"{row['budget']:g}",
        row["solver"],
        *shares,
        f"{row['proven']}/{row['runs']}",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
