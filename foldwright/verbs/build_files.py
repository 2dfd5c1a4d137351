"""The verbs `export` and `verify`: the RTL of a run's plan, written, and its tiles played against the reference."""

from __future__ import annotations

from pathlib import Path

from foldwright.accel.export.verilog import ExportedFile, export_verilog
from foldwright.accel.network import Network, load_network
from foldwright.accel.plan import Plan
from foldwright.accel.verify import VerifyReport, VerifyRow, verify_network
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import to_json
from foldwright.runs import RunFolder, open_run, staged_folder, write_atomic
from foldwright.verbs.optimize import model_of, open_placed, open_plan
from foldwright.verbs.tables import aligned

__all__ = ["TARGETS", "export_run", "verify_run", "verify_table"]

TARGETS = ("verilog",)


def export_run(folder: Path, target: str, model: str | None = None) -> list[ExportedFile]:
    """Checks the plan of a run folder and writes its RTL and memory images to `folder/build`, whole or not at all.

    Raises:
        ConfigError: the target is unknown.
        IllegalSolutionError: the plan breaks a rule; nothing is written.
    """
    if target not in TARGETS:
        raise ConfigError(f"--to {target!r} is no target; {nearest(target, TARGETS)}")
    run, plan, network = _opened(folder, model)
    with staged_folder(run.path / "build") as stage:
        build = stage / "files"
        files = export_verilog(plan.datapath, build, network=network)
        for file in build.iterdir():
            file.rename(stage / file.name)
        build.rmdir()
    return files


def verify_run(
    folder: Path, model: str | None = None, seed: int = 0, tiles_per_layer: int = 1, full_size: bool = True
) -> VerifyReport:
    """Plays tiles of every layer of a run's plan on its RTL and writes `verify.json` beside it.

    Raises:
        VerificationError: a value or a cycle count differs from the reference.
    """
    run, plan, network = _opened(folder, model)
    report = verify_network(
        network, plan.datapath, seed=seed, tiles_per_layer=tiles_per_layer, full_size=full_size
    )
    write_atomic(run.path / "verify.json", to_json(report))
    return report


def _opened(folder: Path, model: str | None) -> tuple[RunFolder, Plan, Network]:
    run = open_run(folder)
    plan, schedule = open_plan(run)
    plan.check(schedule)
    placed = open_placed(run, plan)
    if placed is not None:
        placed.check()
    return run, plan, load_network(model_of(run, plan, model))


def verify_table(report: VerifyReport) -> str:
    """Returns what was compared, a row per tile."""
    header = ["layer", "engine", "array", "size", "values", "mismatches", "RTL cycles", "formula"]
    rows = [_row(row) for row in report.rows]
    total = f"{report.values:,} values compared, {report.mismatches} mismatches"
    return f"{aligned(header, rows)}\n{total}"


def _row(row: VerifyRow) -> list[str | int]:
    size = "full" if row.full_size else "scaled down"
    return [
        row.layer,
        row.engine,
        row.shape,
        size,
        row.values,
        row.mismatches,
        row.rtl_cycles,
        row.formula_cycles,
    ]
