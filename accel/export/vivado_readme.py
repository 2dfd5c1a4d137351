"""The README of a Vivado project folder: steps, what was checked and what was not, the registers."""

from __future__ import annotations

from foldwright.accel.export.host_numbers import ERROR_DETAILS, REGISTERS_BASE
from foldwright.accel.export.package import Package
from foldwright.accel.export.vivado_floorplan import Floorplan
from foldwright.accel.export.vivado_tcl import BOARDS
from foldwright.accel.rtl.registers import REGISTERS

__all__ = ["readme"]

_TEXT = """# {network} for the {board}

An accelerator of {engines} engines ({shapes}), {frames} frames a round, {bits}-bit port to DRAM, for {clock:g} MHz on
part `{part}`.

## Steps

1. `vivado -mode batch -source build.tcl` (2020.2 or newer) writes `build/accelerator.bit` and `build/accelerator.hwh`.
   With `-tclargs core` it builds the accelerator alone, out of context: faster, for area and clock only.
2. Copy `accelerator.bit`, `accelerator.hwh`, `foldwright_host.py`, `constants.bin` and `manifest.json` into one folder of
   the board.
3. There, in Python (as root, as PYNQ needs it):

       from foldwright_host import Accelerator
       accelerator = Accelerator("accelerator.bit", "manifest.json")
       values = accelerator.run(images)  # stored integers (frames, {channels}, {height}, {width})

## Files

| file | what it is |
|---|---|
| `accelerator.v` | the accelerator |
| `accelerator_axi.v` | the module that the block design takes: AXI interfaces by attribute, reset active low |
| `build.tcl` | block design (PS7, clock wizard, reset, two SmartConnects), synthesis, placement, routing, reports, bitstream |
| `accelerator.xdc` | {floorplan} |
| `accelerator_ooc.xdc` | the clock where the accelerator is built alone |
| `memories.tcl` | {memories} |
| `constants.bin` | programs, weights and thresholds for DRAM |
| `foldwright_host.py` | the driver, with this network's numbers; needs numpy, and pynq on the board |

## What was checked, and what not

Foldwright's tests check, for an accelerator of the digits network: that `build.tcl` runs under tclsh with stubs for
Vivado's commands, connecting only cells that it made; that every cell that the constraints name is in the hierarchy as
yosys reads it; that wrapper and accelerator elaborate together in yosys; that the driver's image layout and results equal
the exporter's on random data; that what the driver writes runs wrapper and accelerator (without the part's primitives) in
Verilator to the network's values.

**Nothing here has been run through Vivado or on a board.** Open until then: the names of IP parameters and pins, the clock
that routing reaches, how synthesis names and counts block RAMs, the numbers of the part's sites (derived, not read from the
tool). Settings of the processor hold for PYNQ, whose boot image has set up DRAM; for bare metal take the board's files.

## Registers

32 bits each, from {base:#010x} on. Configuration (writable) is set while nothing runs, and whole: the core answers anything
else with SLVERR, which the processor reports as a bus error.

| offset | register | bits | access | meaning |
|---|---|---|---|---|
{registers}

Causes of errors:

| cause | name | detail |
|---|---|---|
{causes}
"""


def readme(package: Package, part: str, clock_mhz: float, plan: Floorplan | None) -> str:
    """Returns the text of `README.md`."""
    engines, true = package.layout.datapath.engines, package.layout.layers[0].entry.layer
    return _TEXT.format(
        network=package.layout.network.name,
        board=BOARDS[part].name,
        engines=len(engines),
        shapes=", ".join(engine.shape for engine in engines),
        frames=package.batch_frames,
        bits=package.dram_bits,
        clock=clock_mhz,
        part=part,
        channels=true.in_channels,
        height=true.in_height,
        width=true.in_width,
        floorplan="a region for the logic of each engine, from the placement"
        if plan
        else "empty: no placement was given",
        memories="sites of block RAMs, from the placement" if plan else "empty: no placement was given",
        base=REGISTERS_BASE,
        registers="\n".join(_register_rows()),
        causes="\n".join(
            f"| {int(c)} | {c.name.lower()} | {text.replace('|', '&#124;')} |"
            for c, text in ERROR_DETAILS.items()
        ),
    )


def _register_rows() -> list[str]:
    rows = []
    counters = 0
    for info in REGISTERS:
        offset, name = int(info.register), info.register.name.lower()
        if info.register.name == "COUNTERS":
            offset, name = offset + 4 * counters, f"counter {counters}"
            counters += 1
        access = "read, write" if info.writable else "write" if name == "command" else "read"
        rows.append(f"| `{offset:#04x}` | {name} | {info.bits} | {access} | {info.meaning} |")
    return rows
