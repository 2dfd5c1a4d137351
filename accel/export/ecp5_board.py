"""What is around the accelerator on a board with an ECP5: pins, clock, RTL for both, and the constraints.

The board is a ULX3S with an LFE5U-85F-6BG381C, since it is the one common board with the largest part: a 25 MHz
oscillator and a serial port behind USB are all that is used of it. Pins: `amaranth_boards.ulx3s` and the board's own
constraint file, which agree.

The clock comes from a PLL (EHXPLLL), whose oscillator runs at 400 to 800 MHz (FPGA-DS-02012). One output is fed back at the
input's frequency, so that its divider multiplies; the other one is the clock: clock = input * multiplier / divider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from amaranth.back import rtlil

from foldwright.accel.export.design import TOP, verilog_of
from foldwright.accel.export.package import Package
from foldwright.accel.rtl.standalone import LEDS, Standalone, StandaloneParams
from foldwright.errors import ConfigError

__all__ = [
    "BAUD",
    "BOARD",
    "CLOCK_MHZ",
    "STANDALONE",
    "TOP_MODULE",
    "Ecp5Board",
    "PllSetting",
    "constraints",
    "pll_setting",
    "standalone_params",
    "standalone_verilog",
    "top_verilog",
]

STANDALONE, TOP_MODULE = "standalone", "ecp5_top"
BAUD = 1_000_000
CLOCK_MHZ = (10, 200)
"""Clocks that are allowed: the serial port wants a few cycles a bit, and nothing here runs faster."""

_OSCILLATOR_MHZ = (400, 800)
_MOST_DIVIDER = 128
_CLOCK_ERROR = 0.005
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Ecp5Board:
    """A board. `package` and `speed` are nextpnr's names; pins are those of the package."""

    name: str
    part: str
    device: str
    package: str
    speed: int
    oscillator_mhz: int
    pins: tuple[tuple[str, str], ...]


BOARD = Ecp5Board(
    name="ULX3S 85F",
    part="lfe5u-85f",
    device="85k",
    package="CABGA381",
    speed=6,
    oscillator_mhz=25,
    pins=(
        ("clk25", "G2"),
        ("rx", "M1"),
        ("tx", "L4"),
        ("led[0]", "B2"),
        ("led[1]", "C2"),
        ("led[2]", "C1"),
        ("led[3]", "D2"),
    ),
)


class PllSetting(NamedTuple):
    """How often the oscillator is faster than the input, and than the clock; and the clock."""

    multiplier: int
    divider: int
    clock_mhz: float


def pll_setting(clock_mhz: float, oscillator_mhz: int) -> PllSetting:
    """Returns the setting that comes nearest to a clock, of equals the one whose oscillator is farthest from its limits.

    Raises:
        ConfigError: none comes within half a percent.
    """
    low, high = (limit // oscillator_mhz for limit in _OSCILLATOR_MHZ)
    found = []
    for multiplier in range(low, high + 1):
        for divider in range(1, _MOST_DIVIDER + 1):
            clock = oscillator_mhz * multiplier / divider
            off_centre = abs(multiplier - (low + high) // 2)
            found.append((abs(clock - clock_mhz), off_centre, PllSetting(multiplier, divider, clock)))
    error, _, setting = min(found)
    if error > _CLOCK_ERROR * clock_mhz:
        raise ConfigError(
            f"no PLL setting gives {clock_mhz:g} MHz from {oscillator_mhz} MHz; the nearest is {setting.clock_mhz:g} MHz"
        )
    return setting


def standalone_params(package: Package, clock_mhz: float) -> StandaloneParams:
    """Returns the RAM and the serial port for a package: room for constants and two rounds, at least."""
    octets = package.addresses(_ROUNDS)["end"]
    return StandaloneParams(
        ram_words=1 << (octets // 4 - 1).bit_length(), bit_cycles=round(clock_mhz * 1e6 / BAUD)
    )


def standalone_verilog(package: Package, params: StandaloneParams) -> str:
    """Returns the Verilog of everything between the pins and the accelerator; the RAM holds the constants."""
    body = package.constants + bytes(-len(package.constants) % 4)
    words = [int.from_bytes(body[k : k + 4], "little") for k in range(0, len(body), 4)]
    design = Standalone(package.hardware, params, words, core_module=TOP)
    return verilog_of(str(rtlil.convert(design, name=STANDALONE, emit_src=False)), STANDALONE)


_TOP = """// The accelerator on the {board}: the clock, and pins. Written by Foldwright.
module {top} (
  input clk25,       // {oscillator} MHz
  input rx,          // from the USB side
  output tx,         // to the USB side
  output [{leds}:0] led  // alive; DRAM read; DRAM written; clock locked
);
  wire clk, back, locked;
  reg [3:0] settled = 0;
  wire [{core_leds}:0] core_leds;

  EHXPLLL #(
    .CLKI_DIV(1), .CLKFB_DIV(1), .FEEDBK_PATH("CLKOP"), .OUTDIVIDER_MUXA("DIVA"), .OUTDIVIDER_MUXB("DIVB"),
    .CLKOP_ENABLE("ENABLED"), .CLKOP_DIV({pll.multiplier}), .CLKOP_CPHASE({multiplier_phase}), .CLKOP_FPHASE(0),
    .CLKOS_ENABLE("ENABLED"), .CLKOS_DIV({pll.divider}), .CLKOS_CPHASE({divider_phase}), .CLKOS_FPHASE(0),
    .PLLRST_ENA("DISABLED"), .INTFB_WAKE("DISABLED"), .STDBY_ENABLE("DISABLED"), .DPHASE_SOURCE("DISABLED")
  ) pll (
    .CLKI(clk25), .CLKOP(back), .CLKOS(clk), .CLKFB(back), .CLKINTFB(), .LOCK(locked), .RST(1'b0), .STDBY(1'b0),
    .ENCLKOP(1'b0), .ENCLKOS(1'b0), .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b0), .PHASESTEP(1'b0),
    .PHASELOADREG(1'b0), .PLLWAKESYNC(1'b0)
  );

  // Out of reset once the clock, {pll.clock_mhz:g} MHz, is steady.
  always @(posedge clk)
    settled <= locked ? {{settled[2:0], 1'b1}} : 4'b0;

  {standalone} {standalone} (.clk(clk), .rst(~settled[3]), .rx(rx), .tx(tx), .leds(core_leds));
  assign led = {{locked, core_leds}};
endmodule
"""


def top_verilog(pll: PllSetting) -> str:
    """Returns the module with the pins."""
    return _TOP.format(
        board=BOARD.name,
        oscillator=BOARD.oscillator_mhz,
        top=TOP_MODULE,
        standalone=STANDALONE,
        leds=LEDS,
        core_leds=LEDS - 1,
        pll=pll,
        multiplier_phase=pll.multiplier - 1,
        divider_phase=pll.divider - 1,
    )


def constraints() -> str:
    """Returns the constraints in Lattice's form: places and levels of the pins, and the oscillator's clock."""
    lines = [f"# Pins of the {BOARD.name}; the accelerator's clock follows from the PLL."]
    lines.append(f'FREQUENCY PORT "clk25" {BOARD.oscillator_mhz} MHZ;')
    for port, pin in BOARD.pins:
        pull = " PULLMODE=UP" if port == "rx" else ""
        lines.append(f'LOCATE COMP "{port}" SITE "{pin}";')
        lines.append(f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33{pull};')
    return "\n".join(lines) + "\n"
