"""The verb `solve`: one solver on one instance of a problem, and what it found in a few lines and a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldwright.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from foldwright.agents.registry import Solver
    from foldwright.agents.result import Result
    from foldwright.agents.stop import StopRule
    from foldwright.envs.problem import Problem
    from foldwright.progress import Progress

__all__ = [
    "DEFAULT_CPU_SECONDS",
    "Solved",
    "describe",
    "list_all",
    "refuse_unwritable",
    "solve_instance",
    "solve_named",
    "stop_rule",
]

DEFAULT_CPU_SECONDS = 10.0
_SHOWN_PROOF = 160


def stop_rule(solver: str, cpu_seconds: float | None, deterministic: float | None) -> StopRule:
    """Returns when to stop: after CPU seconds, or after a count of work that makes the result reproducible.

    The count is of CP-SAT's deterministic time for `cp-sat`, and of evaluations for every other solver.

    Raises:
        ConfigError: both are given, or a value is out of its range.
    """
    from foldwright.agents.stop import CpuSeconds, DeterministicTime, Evaluations

    if deterministic is None:
        return CpuSeconds(DEFAULT_CPU_SECONDS if cpu_seconds is None else cpu_seconds)
    if cpu_seconds is not None:
        raise ConfigError(
            f"--cpu-seconds {cpu_seconds:g} and --deterministic {deterministic:g} exclude each other; give one"
        )
    if solver == "cp-sat":
        return DeterministicTime(deterministic)
    if not 1 <= deterministic < 2**60 or deterministic != int(deterministic):
        raise ConfigError(
            f"--deterministic {deterministic:g}: solver {solver!r} counts evaluations; "
            "give a whole number of at least 1"
        )
    return Evaluations(int(deterministic))


@dataclass(frozen=True)
class Solved:
    """An instance and what a search found."""

    problem: Problem
    result: Result


def solve_instance(instance: str, solver: str, **options: Any) -> Result:
    """Solves an instance and returns the result alone; the options and errors are those of `solve_named`."""
    return solve_named(instance, solver, **options).result


def solve_named(
    instance: str,
    solver: str,
    *,
    cpu_seconds: float | None = None,
    deterministic: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    folding: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Solved:
    """Solves an instance, checks the solution independently, and writes the result.

    Args:
        instance: The name of an instance, the path of a JSON file of one, or of a folding table.
        solver: The name of a solver, or "policy:" and the name or file of a policy.
        out: Where the result is written, whole or not at all; nowhere if None.
        folding: Where the solution of a folding problem is written too, as a configuration that FINN reads.
        settings: Options of the solver by name, as text; of a folding table also those that make it an instance.
        progress: Shows how the search stands; it changes no result.

    Raises:
        InputError: a name, an option or a file is wrong; before any work is done.
        IllegalSolutionError: the checker refuses what the solver found; nothing is written.
    """
    from foldwright.agents.params import parse_settings
    from foldwright.agents.registry import get_solver
    from foldwright.envs.registry import load_instance, option_names
    from foldwright.jsonform import to_json
    from foldwright.runs import write_atomic

    chosen = get_solver(solver)
    stop = stop_rule(solver, cpu_seconds, deterministic)
    refuse_unwritable("--out", out)
    refuse_unwritable("--folding", folding)
    given, of_instance = parse_settings(settings or {}), option_names(instance)
    problem = load_instance(instance, {key: given.pop(key) for key in of_instance if key in given})
    params = _params(chosen, given, problem.kind, of_instance)
    if folding is not None and problem.kind != "folding":
        raise ConfigError(
            f"--folding {folding}: {problem.name!r} is a problem of {problem.kind}; leave the option out"
        )
    if progress is not None:
        progress.stage(f"{solver} on {problem.name}")
        stop = progress.watch(stop, problem.unit, problem.bound().value)
    result = chosen(problem, stop=stop, seed=seed, params=params)
    if result.has_solution:
        problem.check(result.solution)
        if folding is not None:
            write_atomic(folding, problem.finn_config(result.solution))  # type: ignore[attr-defined]  # of this kind alone
    if out is not None:
        write_atomic(out, to_json(result))
    return Solved(problem, result)


def _params(solver: Solver, given: Mapping[str, Any], kind: str, of_instance: tuple[str, ...]) -> Any:
    """Returns the options of a solver; of an unknown one it is told what the instance takes, too."""
    try:
        return solver.make_params(given, kind)
    except ConfigError as error:
        if not of_instance:
            raise
        raise ConfigError(f"{error}\n  the folding table takes {', '.join(of_instance)}") from None


def refuse_unwritable(option: str, out: str | Path | None) -> None:
    """Refuses a file that cannot be written, before the work is done.

    Raises:
        RunFolderError: it is a folder, or in one that is not there or not writable.
    """
    if out is None:
        return
    path = Path(out)
    if path.is_dir():
        raise RunFolderError(f"{path}: is a folder, but {option} needs a file; use {path / 'result.json'}")
    if not path.parent.is_dir():
        raise RunFolderError(f"{path}: there is no folder {path.parent}; make it or choose another {option}")
    if not os.access(path.parent, os.W_OK):
        raise RunFolderError(f"{path}: the folder {path.parent} is not writable; choose another {option}")


def describe(result: Result, problem: Problem | None = None) -> str:
    """Returns what a search found, a line each: cost, bound, gap, status, work and time.

    With the problem, one that can say a solution in words does.
    """
    proof = result.bound_proof
    rows = {
        "instance": result.problem,
        "solver": f"{result.solver}, seed {result.seed}, {result.stop}",
        "cost": f"{result.cost} {result.unit}" if result.has_solution else "none found",
        "bound": f"{result.bound} ({proof if len(proof) < _SHOWN_PROOF else proof[:_SHOWN_PROOF] + '...'})",
        "gap": f"{100 * result.gap:.2f} %" if result.has_solution else "unknown",
        "status": result.status.value,
        "iterations": str(result.iterations),
        "CPU": f"{result.cpu_seconds:.3f} s, after {result.warmup_seconds:.3f} s of warm-up",
        "reproducible": "yes" if result.reproducible else "no: it depends on the speed of the machine",
    }
    if problem is not None and result.has_solution and hasattr(problem, "summary"):
        rows["solution"] = problem.summary(result.solution)
    return "\n".join(f"{name:<13}{value}" for name, value in rows.items())


def list_all() -> str:
    """Returns the names of all instances and solvers, the policies that come with Foldwright among them."""
    from foldwright.agents.policy import shipped_policies
    from foldwright.agents.registry import POLICY_PREFIX, SOLVERS, get_solver
    from foldwright.envs.registry import instance_names

    policies = [get_solver(POLICY_PREFIX + name) for name in shipped_policies()]
    solvers = [f"  {solver.name:<10} {solver.summary}" for solver in (*SOLVERS.values(), *policies)]
    solvers.append(f"  {POLICY_PREFIX}FILE a policy from a .safetensors file")
    instances = [*instance_names(), "FILE a JSON file of an instance, or a folding table (.json or .json.gz)"]
    return "\n".join(["instances:", *(f"  {name}" for name in instances), "solvers:", *solvers])
