"""The verb `optimize`: runs the pipeline and leaves a run folder; `report` and `check` read one again."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from foldwright import __version__
from foldwright.accel.cost import reserve_bram36
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import Schedule
from foldwright.agents.stop import NO_COST
from foldwright.config import OptimizeOptions
from foldwright.errors import ModelError, RunFolderError, VerificationError
from foldwright.jsonform import parse_json, read_json, read_text, to_json
from foldwright.models import NAMES
from foldwright.netlists.part import RESOURCES, load_part
from foldwright.pareto import Pareto, check_pareto
from foldwright.pipeline import Optimized, optimize
from foldwright.placing import Placed, read_placed
from foldwright.progress import Progress
from foldwright.report.fill import report_data
from foldwright.report.page import render_report
from foldwright.runs import RunFolder, new_run, open_run, write_atomic
from foldwright.verbs.listing import find_model

__all__ = [
    "check_run",
    "figures_of",
    "headline",
    "model_of",
    "open_placed",
    "open_plan",
    "optimize_into",
    "placement_figures",
    "summary_of",
    "write_report",
]

_PACKAGES = ("numpy", "numba", "ortools", "networkx", "onnx", "amaranth")
_SEARCH = "search.json"
_PLACEMENT = "placement.json"
_PARETO = "pareto.json"
_STAGES = {
    "load": "read network",
    "bound": "bound",
    "allocation": "find engines",
    "buildable": "fit to the RTL",
    "tiling": "find tiles",
    "joint": "engines and tiles",
    "front": "find the front",
    "placement": "place",
    "check": "check plan",
}
_UNITS = {
    "allocation": "cycles per 1000 frames",
    "buildable": "cycles per 1000 frames",
    "tiling": "cycles per round",
    "joint": "cycles per 1000 frames",
    "front": "cycles per 1000 frames",
    "placement": "tiles of wire",
}


def optimize_into(options: OptimizeOptions, command: str) -> Optimized:
    """Optimizes and writes the run folder `options.out`, whole or not at all."""
    model = find_model(options.model)
    with new_run(options.out, command) as run, Progress() as progress:
        begun = time.process_time()
        found = optimize(model, options, _teller(progress))
        progress.stage("draw report")
        summary = summary_of(found, options)
        summary["cpu_seconds"]["total"] = round(time.process_time() - begun, 3)
        run.write("plan.json", to_json(found.plan))
        run.write("schedule.json", to_json(found.schedule))
        if found.placed is not None:
            run.write(_PLACEMENT, found.placed.to_json())
        run.write(_SEARCH, json.dumps(_search(found), indent=1) + "\n")
        if found.pareto is not None:
            run.write(_PARETO, to_json(found.pareto))
        data = report_data(found.plan, found.schedule, summary, _search(found), found.placed, found.pareto)
        run.write("report.html", render_report(data))
        for line in headline(summary):
            run.log(line)
        run.finish(summary)
    return found


def _teller(progress: Progress) -> Callable[[str, float, int, int], None]:
    """Returns what shows the stages of the pipeline; a stage that comes again stays one line."""
    now = ""

    def tell(stage: str, cpu_seconds: float, count: int, best: int) -> None:
        nonlocal now
        if stage != now:
            now = stage
            progress.stage(_STAGES[stage])
        if count:
            progress.note(
                f"best {best:,} {_UNITS[stage]}, {count:,} tried" if best < NO_COST else f"{count:,} tried"
            )

    return tell


def figures_of(plan: Plan, schedule: Schedule) -> dict[str, Any]:
    """Returns the figures of a summary that follow from plan and schedule alone; `check_run` compares them."""
    part, used, frames = load_part(plan.part), plan.utilization(), plan.datapath.batch_frames
    return {
        "fps": round(plan.frames_per_second(schedule), 3),
        "cycles_per_frame": round(schedule.cycles_per_round / frames, 3),
        "clock_mhz": plan.clock_mhz,
        "batch": frames,
        "latency_us": round(schedule.latency_cycles / plan.clock_mhz, 3),
        "dram_bits_per_frame": (schedule.loaded_bits + schedule.stored_bits) // frames,
        "utilization": {
            name: {"used": getattr(used, name), "available": getattr(part.budget, name)} for name in RESOURCES
        },
        "budget_lut_percent": plan.budget_lut_percent,
        "part": plan.part,
        "model": plan.model,
    }


def summary_of(found: Optimized, options: OptimizeOptions) -> dict[str, Any]:
    """Returns what `summary.json` says of a run, all but its command."""
    return {
        "format": "foldwright.summary/1",
        **figures_of(found.plan, found.schedule),
        "objective": found.objective,
        "target_fps": options.target_fps,
        "bound_cycles": round(found.bound_cycles_per_frame, 3),
        "bound_proof": found.bound_proof,
        "bound_lut": found.lut_bound,
        "gap": round(found.gap, 6),
        "in_space": found.in_space,
        "schedule_gap": round(found.schedule_gap, 6),
        "schedule_bound_proof": found.tiling.bound_proof,
        "status": found.status,
        "clock_status": "assumed",
        "reproducible": found.reproducible,
        "cpu_seconds": {stage: round(seconds, 3) for stage, seconds in found.cpu_seconds.items()},
        "bram36_fixed": reserve_bram36(found.plan.datapath, load_part(found.plan.part)),
        "seed": options.seed,
        **({"level_errors": found.network.requant_errors} if options.requant != "thresholds" else {}),
        "solvers": {
            "allocation": found.allocation.solver if found.allocation else "exact",
            "tiling": found.tiling.solver,
            **({"placement": found.placement.solver} if found.placement else {}),
        },
        "placement": placement_figures(found.placed) if found.placed else None,
        "pareto_points": len(found.pareto.points) if found.pareto else None,
        "versions": {
            "foldwright": __version__,
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in _PACKAGES},
        },
    }


def placement_figures(placed: Placed) -> dict[str, Any]:
    """Returns what a summary says of a placement: wirelength and its bound in tiles, cells by kind."""
    return {
        "hpwl_tiles": placed.hpwl_tiles,
        "bound_tiles": placed.problem.bound().value,
        "cells": placed.problem.netlist.count_by_kind(),
    }


def _search(found: Optimized) -> dict[str, Any]:
    """Returns the anytime traces of the searches."""
    results = {"allocation": found.allocation, "tiling": found.tiling, "placement": found.placement}
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
        f"{_gap_words(summary)}, {100 * summary['schedule_gap']:.2f} % above that of this datapath ({summary['status']})",
        f"{uses}; {summary['batch']} frames per round, latency {summary['latency_us']:,.1f} us",
        _placed_line(summary["placement"]),
        *_level_lines(summary.get("level_errors", {})),
        *_front_lines(summary.get("pareto_points")),
    ]


def _front_lines(points: int | None) -> list[str]:
    return [] if points is None else [f"the front has {points} designs: pareto.json and the report show them"]


def _level_lines(errors: dict[str, int]) -> list[str]:
    """Returns what scale and shift costs in accuracy, nothing for thresholds."""
    if not errors:
        return []
    return [
        f"scale and shift: {sum(errors.values()):,} levels off thresholds, over every accumulator there is"
    ]


def _placed_line(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "not placed: nothing is known of the part's fabric"
    return f"placed: {_in_words(figures)}"


def write_report(folder: Path) -> Path:
    """Draws the report of a run folder again and returns its path.

    Raises:
        RunFolderError: a file of the run lacks what a report shows.
    """
    run = open_run(folder)
    plan, schedule = open_plan(run)
    trace = run.file(_SEARCH)
    search = parse_json(read_text(trace), str(trace))
    try:
        placed = open_placed(run, plan)
        data = report_data(plan, schedule, dict(run.summary), search, placed, _open_pareto(run))
        page = render_report(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{run.path}: summary.json or {_SEARCH} is damaged ({type(error).__name__}: {error}); "
            "run 'foldwright optimize' again"
        ) from None
    path = run.path / "report.html"
    write_atomic(path, page)
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
    placed = open_placed(run, plan)
    for key, value in figures_of(plan, schedule).items():
        if run.summary.get(key) != value:
            raise VerificationError(
                f"{folder}: summary.json says {key} = {run.summary.get(key)}, plan and schedule give {value}"
            )
    _check_gap(run)
    _check_placed(run, placed)
    pareto = _open_pareto(run)
    if pareto is not None:
        check_pareto(plan, pareto, str(run.file(_PARETO)))
    used = plan.utilization()
    return [
        f"plan and schedule are legal: {used.lut} of {plan.lut_budget} LUTs, {used.bram36} block RAMs, "
        f"{len(schedule.blocks)} memory blocks and {len(schedule.events)} events checked",
        *([f"placement is legal: {_in_words(run.summary['placement'])}"] if placed else []),
        *([f"{len(pareto.points)} designs of the front are legal"] if pareto else []),
        f"{plan.frames_per_second(schedule):,.0f} frames per second, as the summary says",
    ]


def open_placed(run: RunFolder, plan: Plan) -> Placed | None:
    """Reads the placement of a run; None where its summary says that there is none."""
    return None if run.summary.get("placement") is None else read_placed(plan, run.file(_PLACEMENT))


def _open_pareto(run: RunFolder) -> Pareto | None:
    """Reads the front of a run; None where its summary tells of none."""
    return None if run.summary.get("pareto_points") is None else read_json(Pareto, run.file(_PARETO))


def _check_placed(run: RunFolder, placed: Placed | None) -> None:
    """Checks a placement by its referee, and the summary's figures of it."""
    if placed is None:
        return
    placed.check()
    if (told := run.summary["placement"]) != (right := placement_figures(placed)):
        raise VerificationError(
            f"{run.path}: summary.json says placement = {told}, placement.json gives {right}"
        )


def _gap_words(summary: dict[str, Any]) -> str:
    """Returns how far a plan is from the bound; engines that the bound does not know may beat it."""
    gap = 100 * summary["gap"]
    words = f"{abs(gap):.2f} % {'below' if gap < 0 else 'above'} the bound of the design space"
    return words if summary["in_space"] else f"{words}, in which it does not lie"


def _in_words(figures: dict[str, Any]) -> str:
    cells = ", ".join(f"{count:,} {kind}" for kind, count in figures["cells"].items())
    return f"{cells} on their sites, {figures['hpwl_tiles']:,} tiles of wire"


def _check_gap(run: RunFolder) -> None:
    """Checks that the gap that the summary tells is that between its own cost and bound."""
    s = run.summary
    try:
        ratio = (
            s["cycles_per_frame"] / s["bound_cycles"]
            if s["bound_lut"] is None
            else s["utilization"]["lut"]["used"] / s["bound_lut"]
        )
        gap = max(0.0, ratio - 1) if s["in_space"] else ratio - 1
        right = math.isclose(s["gap"], gap, rel_tol=1e-3, abs_tol=1e-4)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise VerificationError(f"{run.path}: summary.json tells no sound gap ({error})") from None
    if not right:
        raise VerificationError(
            f"{run.path}: summary.json says gap = {s['gap']}, its cost and bound give {ratio - 1:.6f}"
        )


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

    stem = Path(plan.model).stem
    words = [w for w in shlex.split(run.command)[2:] if w.endswith(plan.model) or w == stem]
    shipped = stem if stem in NAMES else plan.model  # a configuration file named it, or `demo` did
    named = model or next(iter(words), shipped)
    path = find_model(named)
    if hashlib.sha256(path.read_bytes()).hexdigest() != plan.model_sha256:
        raise ModelError(
            f"{path}: is not the file that the plan of {run.path} was made for; give it with --model"
        )
    return path
