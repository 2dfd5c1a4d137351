"""The verb `optimize`: runs the pipeline and leaves a run folder; `report` and `check` read one again."""

from __future__ import annotations

import json
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from foldwright import __version__
from foldwright.accel.cost import FIXED_BRAM36
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import Schedule
from foldwright.config import OptimizeOptions
from foldwright.errors import ModelError, VerificationError
from foldwright.jsonform import read_json, to_json
from foldwright.netlists.part import RESOURCES, load_part
from foldwright.pipeline import Optimized, optimize
from foldwright.progress import Progress
from foldwright.report.fill import report_data
from foldwright.report.page import render_report
from foldwright.runs import RunFolder, new_run, open_run, write_atomic
from foldwright.verbs.listing import find_model

__all__ = ["check_run", "headline", "model_of", "open_plan", "optimize_into", "summary_of", "write_report"]

_PACKAGES = ("numpy", "numba", "ortools", "networkx", "onnx", "amaranth")
_SEARCH = "search.json"


def optimize_into(options: OptimizeOptions, command: str) -> Optimized:
    """Optimizes and writes the run folder `options.out`, whole or not at all."""
    model = find_model(options.model)
    with new_run(options.out, command) as run, Progress() as progress:
        stages: set[str] = set()

        def tell(stage: str, cpu_seconds: float, count: int, best: int) -> None:
            if stage not in stages:
                stages.add(stage)
                progress.stage(stage)
            progress.note(f"best {best:,}, {count:,} tried" if best < 2**61 else f"{count:,} tried")

        progress.stage("bound")
        begun = time.process_time()
        found = optimize(model, options, tell)
        progress.stage("report")
        summary = summary_of(found, options)
        summary["cpu_seconds"]["total"] = round(time.process_time() - begun, 3)
        run.write("plan.json", to_json(found.plan))
        run.write("schedule.json", to_json(found.schedule))
        run.write(_SEARCH, json.dumps(_search(found), indent=1) + "\n")
        run.write(
            "report.html", render_report(report_data(found.plan, found.schedule, summary, _search(found)))
        )
        for line in headline(summary):
            run.log(line)
        run.finish(summary)
    return found


def summary_of(found: Optimized, options: OptimizeOptions) -> dict[str, Any]:
    """Returns what `summary.json` says of a run, all but its command."""
    part, used = load_part(found.plan.part), found.plan.utilization()
    schedule = found.schedule
    return {
        "format": "foldwright.summary/1",
        "model": found.plan.model,
        "part": found.plan.part,
        "objective": found.objective,
        "fps": round(found.fps, 3),
        "cycles_per_frame": round(found.cycles_per_frame, 3),
        "clock_mhz": found.plan.clock_mhz,
        "bound_cycles": round(found.bound_cycles_per_frame, 3),
        "bound_proof": found.bound_proof,
        "bound_lut": found.lut_bound,
        "gap": round(found.gap, 6),
        "schedule_gap": round(found.schedule_gap, 6),
        "schedule_bound_proof": found.tiling.bound_proof,
        "status": found.status,
        "clock_status": "assumed",
        "batch": found.plan.datapath.batch_frames,
        "latency_us": round(schedule.latency_cycles / found.plan.clock_mhz, 3),
        "dram_bits_per_frame": (schedule.loaded_bits + schedule.stored_bits)
        // found.plan.datapath.batch_frames,
        "reproducible": found.reproducible,
        "cpu_seconds": {stage: round(seconds, 3) for stage, seconds in found.cpu_seconds.items()},
        "utilization": {
            name: {"used": getattr(used, name), "available": getattr(part.budget, name)} for name in RESOURCES
        },
        "budget_lut_percent": options.budget_lut_percent,
        "bram36_fixed": FIXED_BRAM36,
        "seed": options.seed,
        "solvers": {
            "allocation": found.allocation.solver if found.allocation else "exact",
            "tiling": found.tiling.solver,
        },
        "versions": {
            "foldwright": __version__,
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in _PACKAGES},
        },
    }


def _search(found: Optimized) -> dict[str, Any]:
    """Returns the anytime traces of both searches, in cycles."""
    results = {"allocation": found.allocation, "tiling": found.tiling}
    return {
        kind: {
            "solver": result.solver,
            "unit": result.unit,
            "bound": result.bound,
            "history": [list(point) for point in result.history],
            "iterations": result.iterations,
            "cpu_seconds": round(result.cpu_seconds, 3),
        }
        for kind, result in results.items()
        if result is not None
    }


def headline(summary: dict[str, Any]) -> list[str]:
    """Returns what a person reads first of a run, a line each."""
    uses = ", ".join(
        f"{use['used']:,} of {use['available']:,} {name}"
        for name, use in summary["utilization"].items()
        if use["used"]
    )
    clock = f"{summary['clock_mhz']:g} MHz ({summary['clock_status']})"
    return [
        f"{summary['fps']:,.0f} frames per second at {clock}: {summary['cycles_per_frame']:,.1f} cycles per frame",
        f"{100 * summary['gap']:.2f} % above the bound of the design space, {100 * summary['schedule_gap']:.2f} % above "
        f"that of this datapath ({summary['status']})",
        f"{uses}; {summary['batch']} frames per round, latency {summary['latency_us']:,.1f} us",
    ]


def write_report(folder: Path) -> Path:
    """Draws the report of a run folder again and returns its path."""
    run = open_run(folder)
    plan, schedule = open_plan(run)
    search = json.loads(run.file(_SEARCH).read_text(encoding="utf-8"))
    path = run.path / "report.html"
    write_atomic(path, render_report(report_data(plan, schedule, dict(run.summary), search)))
    return path


def check_run(folder: Path) -> list[str]:
    """Checks plan and schedule of a run folder by the referees, and the summary's figures against them.

    Raises:
        IllegalSolutionError: the plan breaks a rule or a budget.
        VerificationError: the summary says something else than plan and schedule.
    """
    run = open_run(folder)
    plan, schedule = open_plan(run)
    plan.check(schedule)
    fps, told = plan.frames_per_second(schedule), float(run.summary.get("fps", -1))
    if abs(fps - told) > 1e-3 * fps:
        raise VerificationError(f"{folder}: summary.json says {told:g} fps, plan and schedule give {fps:g}")
    used = plan.utilization()
    return [
        f"plan and schedule are legal: {used.lut} of {plan.lut_budget} LUTs, {used.bram36} block RAMs, "
        f"{len(schedule.blocks)} memory blocks and {len(schedule.events)} events checked",
        f"{fps:,.0f} frames per second, as the summary says",
    ]


def open_plan(run: RunFolder) -> tuple[Plan, Schedule]:
    """Reads plan and schedule of a run; they are not checked yet."""
    return read_json(Plan, run.file("plan.json")), read_json(Schedule, run.file("schedule.json"))


def model_of(run: RunFolder, plan: Plan, model: str | None) -> Path:
    """Returns the model file of a run: the one given, or the one that its command named, if it is still the same.

    Raises:
        ModelError: it is not there or not the file that the plan was made for.
    """
    import hashlib
    import shlex

    words = shlex.split(run.command)
    named = model or next(
        (w for w in words[2:] if w.endswith(plan.model) or w == Path(plan.model).stem), plan.model
    )
    path = find_model(named)
    if hashlib.sha256(path.read_bytes()).hexdigest() != plan.model_sha256:
        raise ModelError(
            f"{path}: is not the file that the plan of {run.path} was made for; give it with --model"
        )
    return path
