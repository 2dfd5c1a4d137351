"""The project folder for the vendor's tool: everything from the accelerator's RTL to a driver for the board.

Files are texts and bytes by name; nothing is written here. What could be checked without the tool is checked by the tests:
the README of the folder says what, and what not.
"""

from __future__ import annotations

import math

from foldwright.accel.export.design import TOP
from foldwright.accel.export.host_numbers import driver_source
from foldwright.accel.export.package import Package
from foldwright.accel.export.verilog_names import ports_of, read_names
from foldwright.accel.export.vivado_floorplan import floorplan_of, floorplan_xdc, memories_tcl
from foldwright.accel.export.vivado_readme import readme
from foldwright.accel.export.vivado_tcl import BOARDS, build_tcl, out_of_context_xdc
from foldwright.accel.export.vivado_wrapper import WRAPPER, axi_ports, wrapper_verilog
from foldwright.errors import ConfigError, nearest
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import Placement

__all__ = ["CLOCK_MHZ", "vivado_files"]

CLOCK_MHZ = (10, 250)
"""Clocks that are allowed: below, the clock wizard needs cascades; above, the processor's AXI ports end (DS187)."""

_SHOWN = 4


def vivado_files(
    package: Package,
    verilog: str,
    *,
    part: str,
    clock_mhz: float,
    placement: Placement | None = None,
    technology: str = "",
) -> dict[str, str | bytes]:
    """Returns the project folder, contents by name; the manifest with sizes and digests is for the caller to add.

    Args:
        verilog: of the package's hardware without trace, as `verilog_of` returns it.
        part: the full name of a part, one of `BOARDS`.
        placement: of the netlist of the package's datapath on the part; the tool places freely without.
        technology: for which that netlist was made.

    Raises:
        ConfigError: an unknown part, a clock that the part does not give, Verilog of another design; all at once.
        IllegalSolutionError: the placement does not belong to this datapath.
    """
    wrong = _mistakes(package, verilog, part, clock_mhz)
    if wrong:
        raise ConfigError("; ".join(["no Vivado project can be written: " + wrong[0], *wrong[1:]]))
    plan = None
    if placement is not None:
        fabric = load_part(BOARDS[part].fabric)
        names = read_names(verilog, TOP)
        plan = floorplan_of(package.layout.datapath, fabric, placement, names, technology)
    params = package.hardware.memory
    files: dict[str, str | bytes] = {
        "build.tcl": build_tcl(part, clock_mhz, params.data_bits),
        f"{TOP}.v": verilog,
        f"{WRAPPER}.v": wrapper_verilog(params),
        f"{TOP}.xdc": floorplan_xdc(plan),
        f"{TOP}_ooc.xdc": out_of_context_xdc(clock_mhz),
        "memories.tcl": memories_tcl(plan),
        "constants.bin": package.constants,
        "foldwright_host.py": driver_source(package),
    }
    return files | {"README.md": readme(package, part, clock_mhz, plan)}


def _mistakes(package: Package, verilog: str, part: str, clock_mhz: float) -> list[str]:
    wrong = []
    low, high = CLOCK_MHZ
    if part not in BOARDS:
        wrong.append(f"no board with part {part!r} is known; {nearest(part, BOARDS)}")
    if not (math.isfinite(clock_mhz) and low <= clock_mhz <= high):
        wrong.append(f"clock_mhz is {clock_mhz:g}, allowed are {low} to {high} MHz")
    ports = ports_of(verilog, TOP)
    if ports is None:
        return [
            *wrong,
            f"the Verilog has no module {TOP!r}; write it with verilog_of(accelerator_rtlil(...))",
        ]
    expected = axi_ports(package.hardware.memory) | {"clk": ("input", 1), "rst": ("input", 1)}
    differing = sorted(n for n in expected.keys() | ports.keys() if expected.get(n) != ports.get(n))
    if differing:
        shown = ", ".join(differing[:_SHOWN]) + (
            f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        )
        wrong.append(f"the Verilog is not this package's hardware without trace: ports {shown} differ")
    return wrong
