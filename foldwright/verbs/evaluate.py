"""`foldwright eval`: a policy beside the solvers without learning at equal CPU; a bench on instances it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foldwright.agents.policy import load_policy
from foldwright.agents.registry import POLICY_PREFIX
from foldwright.agents.suite import Suite, suite_of
from foldwright.envs.registry import split as problems_of
from foldwright.errors import ConfigError
from foldwright.verbs.bench import bench_suite

__all__ = ["RIVALS", "evaluate_policy", "evaluation_suite"]

RIVALS = ("greedy", "anneal", "cp-sat")
"""The solvers that a policy is compared with."""
DEFAULT_CPU_SECONDS = (0.01, 0.1, 1.0, 10.0)


def evaluation_suite(
    policy: str, split: str, instances: int, seeds: int, cpu_seconds: Sequence[float]
) -> Suite:
    """Returns the suite that compares a policy on instances of a split.

    Raises:
        PolicyError: there is no such policy.
        ConfigError: there is no such split, or a budget is wrong.
    """
    kind = load_policy(policy).card.kind
    names = [problem.name for problem in problems_of(kind, split, instances)]
    summary = (
        f"Policy {policy} for {kind} on {len(names)} instances of {split}, beside solvers without learning."
    )
    return suite_of(
        summary=summary,
        instances=tuple(names),
        solvers=(POLICY_PREFIX + policy, *RIVALS),
        seeds=seeds,
        cpu_seconds=tuple(cpu_seconds),
    )


def evaluate_policy(
    policy: str,
    *,
    split: str = "heldout-real",
    instances: int = 8,
    seeds: int = 3,
    cpu_seconds: Sequence[float] = (),
    out: Path | None = None,
) -> int:
    """Compares a policy, prints the tables, writes them with the pictures into a folder, and returns the exit code.

    Raises:
        InputError: the policy, the split, a budget or the folder is wrong; before any run.
    """
    budgets = tuple(cpu_seconds) or DEFAULT_CPU_SECONDS
    if repeated := [b for b in budgets if budgets.count(b) > 1]:
        raise ConfigError(f"--cpu-seconds gives {repeated[0]:g} twice; once is enough")
    suite = evaluation_suite(policy, split, instances, seeds, budgets)
    name = f"eval-{Path(policy).stem}-{split}"
    return bench_suite(suite, name, out or Path("runs") / name)
