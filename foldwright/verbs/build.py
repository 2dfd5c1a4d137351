"""The verb `build`: what the open tools make of an exported accelerator, beside the cost model's figures.

For an ECP5 folder that is the bitstream: synthesis, locks of the block RAMs, place and route, packing, into `build/ecp5`. For
another export it is synthesis alone, into `build/synthesis.json`. Both appear whole or not at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from foldwright.accel.cost import Utilization, cost
from foldwright.accel.ecp5_tools import (
    Ecp5Target,
    Ecp5Tools,
    Routed,
    find_ecp5_tools,
    pack,
    route,
    synthesise_ecp5,
)
from foldwright.accel.export.accelerator import read_accelerator
from foldwright.accel.export.design import TOP, accelerator_rtlil
from foldwright.accel.export.ecp5 import CONSTRAINTS, PLAN_LOCKS, SOURCES, TARGET
from foldwright.accel.export.ecp5_board import STANDALONE
from foldwright.accel.export.package import Package
from foldwright.accel.export.vivado_wrapper import CORE
from foldwright.accel.plan import Plan
from foldwright.accel.synthesis import CellCounts, count_cells, synthesise
from foldwright.errors import InputError
from foldwright.jsonform import STRICT, parse_json, read_text, to_json
from foldwright.locking import locks_by_netlist, locks_by_plan, locks_near
from foldwright.netlists.locks import check_locks, check_obeyed, locked_json
from foldwright.netlists.mapped import MappedDesign, read_mapped
from foldwright.netlists.part import load_part
from foldwright.progress import Progress
from foldwright.runs import staged_folder, write_atomic
from foldwright.verbs.build_files import opened_run, package_of_run, technology_of
from foldwright.verbs.tables import aligned

__all__ = [
    "BITSTREAM",
    "BuildReport",
    "Ecp5Folder",
    "build_run",
    "counts_of",
    "meets_clock",
    "model_of_plan",
    "place_ecp5",
    "read_ecp5",
    "report_lines",
]

BITSTREAM = f"{TOP}.bit"
_MAPPED, _LOCKED = "synthesised.json", "locked.json"
_LOCKS_FORMAT = "foldwright.locks/1"
_PACK_SECONDS = 600.0
_FREE_CELLS = ("EHXPLLL",)
_KEPT = (BITSTREAM, "report.json", "locks.json", "build.json", "nextpnr-ecp5.log", "yosys.log")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build gave.

    Attributes:
        counts: of the cells that yosys mapped to.
        model: the cost model's figures for the accelerator, without what is around it.
        locks: how many cells were locked; every one was found where it was locked.
        routed: place and route, of an ECP5.
        seconds: wall time of each step.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.build/1"

    network: str
    part: str
    counts: CellCounts
    model: Utilization
    seed: int = 0
    locked_by: str = "none"
    locks: int = 0
    routed: Routed | None = None
    bitstream_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ecp5Folder:
    """An exported ECP5 folder as it was read: target, clock, and the plan's locks."""

    path: Path
    target: Ecp5Target
    part: str
    top: str
    clock_mhz: float
    plan_locks: Sequence[Mapping[str, Any]]

    @property
    def sources(self) -> list[Path]:
        return [self.path / name for name in SOURCES]


def read_ecp5(build: Path) -> Ecp5Folder:
    """Returns the ECP5 folder that `export --to ecp5` wrote.

    Raises:
        InputError: a file is missing or damaged; names it.
    """
    try:
        target = parse_json(read_text(build / TARGET), str(build / TARGET))
        locks = parse_json(read_text(build / PLAN_LOCKS), str(build / PLAN_LOCKS))
        where = Ecp5Target(str(target["device"]), str(target["package"]), int(target["speed"]))
        rows = [
            {"memories": list(row["memories"]), "sites": list(map(str, row["sites"]))}
            for row in locks["locks"]
        ]
        return Ecp5Folder(build, where, target["part"], target["top"], float(target["clock_mhz"]), rows)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{build}: {TARGET} or {PLAN_LOCKS} is damaged ({type(error).__name__}: {error}); export the plan again"
        ) from None


def place_ecp5(
    folder: Ecp5Folder, tools: Ecp5Tools, design: MappedDesign, work: Path, *, locked_by: str, seed: int, timeout_s: float,
    tell: Tell | None = None,
) -> tuple[Routed, dict[str, str]]:  # fmt: skip
    """Locks, places and routes a mapped design in `work`; returns what came out, and the locks, which are all obeyed.

    Raises:
        IllegalSolutionError: a lock names what is not there.
        VerificationError: the tool did not obey one.
    """
    constraints, fabric = folder.path / CONSTRAINTS, load_part(folder.part).fabric
    assert fabric is not None, "a board's part has a fabric"
    source = work / _LOCKED
    locks: dict[str, str] = {}
    if locked_by == "netlist":
        locks = locks_by_netlist(design, folder.part, seed)
    elif locked_by == "plan":
        locks = locks_by_plan(design, folder.plan_locks, f"{STANDALONE}.{CORE}")
    elif locked_by == "near":
        source.write_text(json.dumps(design.body), encoding="utf-8")
        route(
            tools,
            folder.target,
            source,
            constraints,
            seed=seed,
            timeout_s=timeout_s,
            tell=tell,
            only_place=True,
        )
        locks = locks_near(design, _placed(work), folder.part)
    check_locks(locks, design, fabric)
    source.write_text(locked_json(design, locks), encoding="utf-8")
    routed = route(tools, folder.target, source, constraints, seed=seed, timeout_s=timeout_s, tell=tell)
    assert routed is not None
    check_obeyed(locks, _placed(work))
    return routed, locks


def _placed(work: Path) -> MappedDesign:
    """Returns what nextpnr placed; it calls the module `top`, whatever its name was."""
    return _mapped(work / "placed.json", "top")


def _mapped(path: Path, top: str) -> MappedDesign:
    return read_mapped(path.read_text(encoding="utf-8"), top, str(path))


def build_run(
    folder: Path,
    model: str | None = None,
    *,
    seed: int = 1,
    locked_by: str = "netlist",
    timeout_s: float = 3600,
) -> BuildReport:
    """Builds what was exported into a run's folder.

    Args:
        locked_by: one of `foldwright.locking.WAYS`.
        timeout_s: for each tool.

    Raises:
        InputError: nothing is exported, or it is damaged.
        ToolMissingError: a tool is missing.
        InfeasibleError: the design does not fit.
    """
    run, plan, network = opened_run(folder, model)
    package, build = package_of_run(run, plan, network), run.path / "build"
    if not (build / "manifest.json").exists():
        raise InputError(
            f"{build}: holds no accelerator; write one with: foldwright export {folder} --to ecp5"
        )
    read_accelerator(build, package, technology_of(plan))
    with Progress() as progress:
        if (build / TARGET).exists():
            return _build_ecp5(read_ecp5(build), plan, progress, seed, locked_by, timeout_s)
        return _count(build, plan, package, progress, timeout_s)


def _count(build: Path, plan: Plan, package: Package, progress: Progress, timeout_s: float) -> BuildReport:
    """Has yosys map the accelerator alone; place and route is the vendor's."""
    progress.stage("synthesise")
    family = load_part(plan.part).family
    text = accelerator_rtlil(package.hardware, technology_of(plan)).replace(
        f"module \\{TOP}\n", "module \\top\n"
    )
    begun = time.monotonic()
    counts = synthesise(text, family, timeout_s=round(timeout_s))
    report = BuildReport(
        network=plan.workload.name,
        part=plan.part,
        counts=counts,
        model=model_of_plan(plan),
        seconds={"yosys": round(time.monotonic() - begun, 1)},
    )
    write_atomic(build / "synthesis.json", to_json(report))
    return report


def _build_ecp5(
    folder: Ecp5Folder, plan: Plan, progress: Progress, seed: int, locked_by: str, timeout_s: float
) -> BuildReport:
    tools = find_ecp5_tools()
    with staged_folder(folder.path / "ecp5") as work:
        progress.stage("synthesise")
        mapped = work / _MAPPED
        seconds = {
            "yosys": synthesise_ecp5(
                tools, folder.sources, folder.top, mapped, timeout_s=timeout_s, tell=progress.note
            )
        }
        design = _mapped(mapped, folder.top)
        progress.stage("place and route")
        begun = time.monotonic()
        routed, locks = place_ecp5(
            folder,
            tools,
            design,
            work,
            locked_by=locked_by,
            seed=seed,
            timeout_s=timeout_s,
            tell=progress.note,
        )
        seconds |= {"nextpnr-ecp5": routed.seconds, "locks": time.monotonic() - begun - routed.seconds}
        progress.stage("bitstream")
        seconds["ecppack"] = pack(tools, work, BITSTREAM, timeout_s=_PACK_SECONDS)
        report = BuildReport(
            network=plan.workload.name,
            part=plan.part,
            counts=counts_of(design),
            model=model_of_plan(plan),
            seed=seed,
            locked_by=locked_by,
            locks=len(locks),
            routed=routed,
            bitstream_bytes=(work / BITSTREAM).stat().st_size,
            seconds={name: round(value, 1) for name, value in seconds.items()},
        )
        told = {"format": _LOCKS_FORMAT, "locked_by": locked_by, "sites": locks}
        (work / "locks.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (work / "build.json").write_text(to_json(report), encoding="utf-8")
        for path in work.iterdir():
            if path.name not in _KEPT and not path.name.startswith("."):
                path.unlink()
    return report


def counts_of(design: MappedDesign) -> CellCounts:
    """Returns what a mapped design takes; PLLs are left out."""
    types: dict[str, int] = {}
    for cell in design.cells.values():
        if cell["type"] not in _FREE_CELLS:
            types[cell["type"]] = types.get(cell["type"], 0) + 1
    return count_cells(types)


def model_of_plan(plan: Plan) -> Utilization:
    """Returns the cost model's figures of a plan."""
    return cost(plan.datapath, load_part(plan.part), plan.technology)


def report_lines(report: BuildReport) -> list[str]:
    """Returns what a person reads of a build."""
    rows = [
        [name, f"{getattr(report.counts, mine):,}", f"{getattr(report.model, theirs):,}"]
        for name, mine, theirs in (("LUT", "lut", "lut"), ("flip-flops", "ff", "ff"), ("DSP", "dsp", "dsp"))
    ]
    rows.insert(2, ["block RAM", f"{report.counts.half_blocks / 2:g}", str(report.model.bram36)])
    lines = aligned(["", "yosys", "cost model"], rows).splitlines()
    routed = report.routed
    if routed is None:
        return [*lines, "place and route is the vendor's: see README.md of the folder"]
    lines.append(
        "yosys counts the RAM and the serial host around the accelerator too, the cost model does not"
    )
    met = "met" if meets_clock(report) else "NOT met"
    lines.append(
        f"{routed.clock_mhz:.1f} MHz after routing, {routed.wanted_mhz:g} MHz wanted: {met}; seed {report.seed}, "
        f"{report.locks} block RAMs locked (--locks {report.locked_by}), all where they were locked"
    )
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.seconds.items())
    return [*lines, f"{report.bitstream_bytes:,} bytes of bitstream; {times}"]


def meets_clock(report: BuildReport) -> bool:
    """Says whether the design is as fast as its clock; True where nothing was routed."""
    return report.routed is None or report.routed.clock_mhz >= report.routed.wanted_mhz
