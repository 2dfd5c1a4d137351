"""The verbs `export` and `verify`: the RTL of a run's plan, written, and played against the reference.

`export --to verilog` writes the engines alone, for any plan; `--to accelerator` the whole accelerator, ready to run frames;
`--to vivado` and `--to ecp5` add a project for place and route; `--to loopnests` the schedule as loop nests, for any plan.
`verify` plays single tiles in Amaranth's simulator, or whole frames through the exported accelerator in Verilator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foldwright.accel.cosim.build import XC7_CELLS, BuildParams, Waves, build_simulator
from foldwright.accel.cosim.frames import FramesReport, dram_bytes, run_frames
from foldwright.accel.cosim.run import DramModel
from foldwright.accel.export.accelerator import FilesOfDesign, accelerator_files, read_accelerator
from foldwright.accel.export.design import TOP
from foldwright.accel.export.ecp5 import ecp5_files
from foldwright.accel.export.package import Package
from foldwright.accel.export.package import package as package_of
from foldwright.accel.export.verilog import ExportedFile, export_verilog
from foldwright.accel.export.vivado import vivado_files
from foldwright.accel.export.vivado_tcl import BOARDS
from foldwright.accel.layout import lay_out
from foldwright.accel.network import Network, load_network
from foldwright.accel.plan import Plan
from foldwright.accel.tilings import tilings_of
from foldwright.accel.verify import VerifyReport, VerifyRow, verify_network
from foldwright.errors import ConfigError, ToolMissingError, VerificationError, nearest
from foldwright.jsonform import to_json
from foldwright.netlists.part import load_part
from foldwright.runs import RunFolder, open_run, staged_folder, write_atomic
from foldwright.verbs.loopnests import FOLDER, export_loopnests
from foldwright.verbs.optimize import model_of, open_placed, open_plan
from foldwright.verbs.tables import aligned

__all__ = [
    "TARGETS",
    "TOOLS",
    "export_run",
    "opened_run",
    "package_of_run",
    "simulate_run",
    "technology_of",
    "verify_run",
    "verify_table",
]

TARGETS = ("verilog", "accelerator", "vivado", "ecp5", FOLDER)
TOOLS = ("amaranth", "verilator")
DRAM_PORT_BITS = 32
_PROJECTS = {"vivado": vivado_files, "ecp5": ecp5_files}


def export_run(folder: Path, target: str, model: str | None = None) -> list[ExportedFile]:
    """Checks the plan of a run folder and writes its RTL and memory images to `folder/build`, whole or not at all.

    Raises:
        ConfigError: the target is unknown.
        IllegalSolutionError: the plan breaks a rule; nothing is written.
    """
    if target not in TARGETS:
        raise ConfigError(f"--to {target!r} is no target; {nearest(target, TARGETS)}")
    run, plan, network = opened_run(folder, model)
    if target == FOLDER:
        return export_loopnests(run.path / "build", plan, open_plan(run)[1])
    if target != "verilog":
        package, technology = package_of_run(run, plan, network), technology_of(plan)
        project = _project(run, plan, package, technology, target) if target in _PROJECTS else None
        bodies = accelerator_files(package, technology, extra=project)
        with staged_folder(run.path / "build") as stage:
            for name, body in bodies.items():
                (stage / name).write_bytes(body)
        return [
            ExportedFile(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in bodies.items()
        ]
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
    run, plan, network = opened_run(folder, model)
    report = verify_network(
        network, plan.datapath, seed=seed, tiles_per_layer=tiles_per_layer, full_size=full_size
    )
    write_atomic(run.path / "verify.json", to_json(report))
    return report


def simulate_run(
    folder: Path,
    model: str | None = None,
    *,
    images: int = 0,
    seed: int = 0,
    stall_percent: int = 0,
    waves: Path | None = None,
) -> FramesReport:
    """Runs frames through the exported accelerator of a run in Verilator and writes `simulation.json` beside the plan.

    Args:
        images: how many random frames; 0 for two rounds.
        stall_percent: how often every port of the DRAM and the host stalls.
        waves: a VCD file to write.

    Raises:
        InputError: the exported files do not belong to the plan, or are damaged.
        VerificationError: a value differs, or the accelerator stops.
        ToolMissingError: Verilator, make, perl or a compiler is missing.
    """
    run, plan, network = opened_run(folder, model)
    package = package_of_run(run, plan, network)
    technology = technology_of(plan)
    saved = read_accelerator(run.path / "build", package, technology)
    if saved.design.suffix != ".v":
        raise ToolMissingError(
            f"{saved.design}: is RTLIL; install yosys (pip install 'foldwright[build]') and export again"
        )
    params = BuildParams(waves=Waves.VCD if waves is not None else Waves.NONE)
    simulator = build_simulator(
        [saved.design, *([XC7_CELLS] if technology == "xc7" else [])], TOP, params=params
    )
    frames = network.random_image(images or 2 * package.batch_frames, np.random.default_rng(seed))
    dram = DramModel(size_bytes=dram_bytes(package, len(frames)), stall_percent=stall_percent, seed=seed)
    ran = run_frames(package, simulator, frames, dram=dram, waves=waves, constants=saved.constants)
    last = network.workload.layers[-1].name
    want = network.integer_tensors(frames)[last].output
    report = FramesReport(
        network=network.name,
        frames=len(frames),
        seed=seed,
        stall_percent=stall_percent,
        values=int(want.size),
        mismatches=int((ran.values != want).sum()),
        busy_cycles=ran.busy_cycles,
    )
    write_atomic(run.path / "simulation.json", to_json(report))
    if report.mismatches:
        frame, channel, y, x = (int(v) for v in np.argwhere(ran.values != want)[0])
        raise VerificationError(
            f"{network.name}: {report.mismatches} of {report.values} results differ; the first is frame {frame}, channel "
            f"{channel}, pixel ({y}, {x}): {ran.values[frame, channel, y, x]} in RTL, "
            f"{want[frame, channel, y, x]} by the reference"
        )
    return report


def _project(run: RunFolder, plan: Plan, package: Package, technology: str, target: str) -> FilesOfDesign:
    """Returns what adds a project for place and route to an accelerator's files, made from its Verilog."""
    placed = open_placed(run, plan)
    placement = placed.placement if placed is not None else None

    def files(design: str, verilog: str) -> Mapping[str, str | bytes]:
        if not design.endswith(".v"):
            raise ToolMissingError(
                f"--to {target} needs Verilog, which yosys writes; install it with: pip install 'foldwright[build]'"
            )
        return _PROJECTS[target](
            package,
            verilog,
            part=_device(target, plan.part),
            clock_mhz=plan.clock_mhz,
            placement=placement,
            technology=technology,
        )

    return files


def _device(target: str, part: str) -> str:
    """Returns the name of a part in a project: Vivado wants that of a board's device, package and speed included."""
    boards = [name for name, board in BOARDS.items() if board.fabric == part] if target == "vivado" else []
    return boards[0] if boards else part


def package_of_run(run: RunFolder, plan: Plan, network: Network) -> Package:
    """Returns the accelerator of a plan: its datapath, weights and tiles of the image as scheduled, all tensors on chip."""
    _, schedule = open_plan(run)
    try:
        layout = lay_out(network, plan.datapath, tilings=tilings_of(schedule.decisions))
        return package_of(layout, DRAM_PORT_BITS)
    except ConfigError as error:
        raise ConfigError(f"{error}; plan it with 'foldwright optimize ... --set buildable=true'") from None


def technology_of(plan: Plan) -> str:
    """Returns the technology of a plan's RTL."""
    return plan.technology or ("xc7" if load_part(plan.part).family == "xc7" else "generic")


def opened_run(folder: Path, model: str | None) -> tuple[RunFolder, Plan, Network]:
    """Returns a run, its plan, checked by the referees, and its network."""
    run = open_run(folder)
    plan, schedule = open_plan(run)
    plan.check(schedule)
    placed = open_placed(run, plan)
    if placed is not None:
        placed.check()
    return run, plan, load_network(model_of(run, plan, model), plan.requant)


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
