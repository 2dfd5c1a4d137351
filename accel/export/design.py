"""The RTL of a whole accelerator as text: RTLIL, and Verilog where yosys is installed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from foldwright.accel.rtl.accelerator import Accelerator, AcceleratorShape
from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ToolMissingError

__all__ = ["TOP", "accelerator_rtlil", "design_file", "verilog_of"]

TOP = "accelerator"
_TOP_ATTRIBUTE = re.compile(r"^attribute \\top 1\n", re.MULTILINE)
_VERILOG = (
    "read_rtlil {0}.il; proc -nomux -norom; memory_collect; "
    "attrmap -remove generator -remove src; write_verilog -norename {0}.v"
)
_YOSYS_SECONDS = 900


def accelerator_rtlil(
    shape: AcceleratorShape, technology: str = "generic", *, trace: bool = False, name: str = TOP
) -> str:
    """Returns the RTLIL of an accelerator; every engine's unit is written once and instantiated by name."""
    modules = {e: f"{name}_unit{e}" for e in range(len(shape.engines))}
    design = Accelerator(shape, technology, trace=trace, unit_modules=modules)
    units: list[Any] = [engine.unit for engine in design.engines]
    text = str(rtlil.convert(design, name=name, emit_src=False))
    for e, unit in enumerate(units):
        text += _TOP_ATTRIBUTE.sub("", str(rtlil.convert(unit, name=modules[e], emit_src=False)))
    return text


def design_file(text: str, name: str = TOP) -> tuple[str, str]:
    """Returns the file of a design given as RTLIL, name and text: Verilog, or RTLIL where no yosys is installed."""
    try:
        yosys_command()
    except ToolMissingError:
        return f"{name}.il", text
    return f"{name}.v", verilog_of(text, name)


def verilog_of(text: str, name: str = TOP) -> str:
    """Returns RTLIL as Verilog.

    Raises:
        ToolMissingError: yosys is not installed, or cannot read the text.
    """
    command = yosys_command()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.il").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, "-q", "-p", _VERILOG.format(name)],
            cwd=folder, capture_output=True, text=True, timeout=_YOSYS_SECONDS, check=False,
        )  # fmt: skip
        result = Path(folder) / f"{name}.v"
        if done.returncode or not result.exists():
            said = (done.stderr or done.stdout).strip()[-300:]
            raise ToolMissingError(f"yosys cannot convert {name}: {said}")
        return result.read_text(encoding="utf-8")
