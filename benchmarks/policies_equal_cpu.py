"""Compares the shipped policies with the solvers without learning at equal CPU on instances they never saw.

    python benchmarks/policies_equal_cpu.py [tiling allocation ...] [--instances N] [--seeds 10] [--workers N]
        [--out FOLDER] [--json FILE]

For the kinds of problems and the splits heldout-id, heldout-size and heldout-real: the policy decoding greedily and then
sampling, the policy sampling alone, and random, greedy, anneal, cp-sat and exact, with 0.01, 0.1, 1 and 10 s of CPU time
and 10 seeds; with 10 s on fewer instances (`--long-instances`, the first ones) and without random and the policy sampling
alone, for that takes hours. The gap is over the best cost known: that of any run here with any budget, or of the table of
best known costs; a solver's gap at a budget is the geometric mean over the instances of the median over the seeds. A budget
counts from after imports and warm-up; what training took is told beside it. The policy of placement is shown a rough plan;
how good that is alone is told too. Runs are kept in FOLDER and not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from held_out import LONG_SECONDS, SPLITS, HeldOut  # type: ignore[import-not-found]  # the script's own folder is on the path

from foldwright.agents.policy import load_policy, shipped_policies
from foldwright.agents.scores import InstanceFacts, facts_of, ranks_of, rows_of
from foldwright.agents.suite import SolverSpec
from foldwright.envs.placement.moves import wirelength
from foldwright.envs.placement.plan import plan_of
from foldwright.envs.placement.problem import PlacementProblem
from foldwright.envs.registry import load_instance

__all__ = ["compare", "main"]

RIVALS = ("greedy", "anneal", "cp-sat", "exact")


def _solvers(kind: str, is_long: bool) -> tuple[SolverSpec, ...]:
    policy = f"policy:{kind}"
    names = (policy, *RIVALS) if is_long else (policy, "random", *RIVALS)
    sampled = () if is_long else (SolverSpec(name=policy, params={"decoding": "sampled"}),)
    return (*(SolverSpec(name=name) for name in names), *sampled)


def plan_gap(facts: dict[str, InstanceFacts]) -> float:
    """Returns how far the rough plans that placement's policy is shown are above the references, geometric mean."""
    ratios = []
    for known in facts.values():
        problem = load_instance(known.instance)
        assert isinstance(problem, PlacementProblem)
        sites = plan_of(problem.wires, problem.board, problem.tree.order).astype(np.int32)
        ratios.append(wirelength(problem.wires, problem.board, sites) / known.reference)
    return float(np.exp(np.mean(np.log(ratios)))) - 1


def compare(kind: str, split: str, args: argparse.Namespace) -> tuple[list[dict[str, Any]], float | None]:
    """Returns a row per solver and budget on a split, and what `plan_gap` says of placement."""
    held_out = HeldOut(args.seeds, args.workers, args.out)
    few, many = ([b for b in args.budgets if (b >= LONG_SECONDS) is long] for long in (True, False))
    short = held_out.runs(kind, split, _solvers(kind, is_long=False), many, args.instances)
    long = held_out.runs(kind, split, _solvers(kind, is_long=True), few, args.long_instances)
    facts = facts_of([*short, *long])
    trained = load_policy(kind).card.training_cpu_seconds
    table = [
        {
            "kind": kind,
            "split": split,
            **dataclasses.asdict(rank),
            "failed_runs": sum(r.failed for r in rows if r.solver == rank.solver and r.budget == rank.budget),
            "training_cpu_seconds": trained if rank.solver.startswith("policy:") else None,
        }
        for rows in (rows_of(runs, facts) for runs in (short, long) if runs)
        for rank in ranks_of(rows)
    ]
    return table, plan_gap(facts) if kind == "placement" else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=sorted(shipped_policies()))
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--instances", type=int, default=4, help="of each split")
    parser.add_argument("--long-instances", type=int, default=2, help="of each split, with 10 s and more")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.01, 0.1, 1.0, 10.0])
    parser.add_argument("--out", type=Path, default=Path("runs/policies-equal-cpu"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    plans: dict[str, float] = {}
    for kind in args.kinds:
        for split in args.splits:
            found, plan = compare(kind, split, args)
            rows += found
            if plan is not None:
                plans[split] = plan
    for row in rows:
        gap = "not all solved" if row["mean_gap"] is None else f"{row['mean_gap']:.2%}"
        print(f"{row['kind']:<11} {row['split']:<13} {row['budget']:>6g} s  {row['solver']:<36} {gap}")
    for split, plan in plans.items():
        print(f"{'placement':<11} {split:<13} the rough plan that its policy is shown, alone: {plan:.2%}")
    if args.json:
        about = {"machine": platform.machine(), "seeds": args.seeds, "workers": args.workers}
        args.json.write_text(
            json.dumps({**about, "rows": rows, "plan_gaps": plans}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
