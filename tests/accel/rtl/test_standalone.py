"""A host behind the serial port writes images, starts the accelerator and reads the network's values."""

from __future__ import annotations

import struct
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.ecp5_host import serial_source
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out
from foldwright.accel.random_network import RandomNetwork, random_entry
from foldwright.accel.rtl.registers import IDENTITY, Register
from foldwright.accel.rtl.standalone import Standalone, StandaloneParams
from foldwright.accel.workload import IMAGE, ActKind, Layer, LayerKind, ResultKind, Workload
from foldwright.errors import ConfigError
from tests.accel.export.fake_board import driver_of, write_constants
from tests.accel.rtl.serial_link import SerialLink, run_with_driver

PARAMS = StandaloneParams(ram_words=4096, bit_cycles=4, timeout_cycles=2000)


@pytest.fixture(scope="module", name="network")
def _network() -> RandomNetwork:
    """Two dense layers: 12 inputs, 8 channels, 5 results."""
    plain = ActKind.UNSIGNED
    first = Layer(
        "first", LayerKind.CONV, (IMAGE,), 12, 1, 1, 8, act_bits=2, act_kind=plain, out_bits=1, out_kind=plain
    )
    second = Layer(
        "second", LayerKind.CONV, ("first",), 8, 1, 1, 5, act_bits=1, act_kind=plain, result=ResultKind.RAW
    )
    workload = Workload("two", (first, second), 12, 1, 1, 2, ActKind.UNSIGNED)
    rng = np.random.default_rng(3)
    return RandomNetwork("two", workload, {x.name: random_entry(x, rng) for x in (first, second)})


@pytest.fixture(scope="module", name="packed")
def _packed(network: RandomNetwork) -> Package:
    engine = Engine(8, 8, 1, lanes=LaneMode.BATCH, levels=1, acc_bits=10)
    return package(lay_out(network, Datapath((engine,), (0, 0), batch_frames=2)), 32)


def _dut(packed: Package) -> Standalone:
    words = [int(w) for w in np.frombuffer(packed.constants, dtype="<u4")]
    return Standalone(packed.hardware, PARAMS, words)


def _board(link: SerialLink) -> types.ModuleType:
    module = types.ModuleType("serial_board")
    # The text is the exporter's own, just written: running it is the test.
    exec(compile(serial_source(1_000_000, 4 * PARAMS.ram_words), "serial_board.py", "exec"), module.__dict__)
    return module


def _take_what_is_there(accelerator: Any, octets: npt.NDArray[np.uint8]) -> None:
    """Stands for `load_constants`, which would write for minutes of simulation what the RAM has held from the start."""
    accelerator._weights = accelerator.board.allocate(len(octets))


def test_images_go_in_and_values_come_out(network: RandomNetwork, packed: Package, tmp_path: Path) -> None:
    write_constants(packed, tmp_path)
    images = network.random_image(3, np.random.default_rng(1))
    got = []

    def drive(link: SerialLink) -> None:
        board = _board(link).SerialBoard(link)
        driver = driver_of(packed).Accelerator
        driver.load_constants = _take_what_is_there
        accelerator = driver("accelerator.bit", tmp_path / "manifest.json", board)
        got.append(accelerator.run(images, timeout_s=1e9))

    run_with_driver(_dut(packed), PARAMS.bit_cycles, drive)
    np.testing.assert_array_equal(got[0], network.integer_tensors(images)["second"].output)


def test_the_ram_holds_the_constants_from_the_start(packed: Package) -> None:
    got = []

    def drive(link: SerialLink) -> None:
        board = _board(link).SerialBoard(link)
        got.append(board.read_ram(0, 64))
        board.write_ram(100, b"abcde")
        got.append(board.read_ram(100, 5))
        got.append(board.read(int(Register.IDENTITY)))

    run_with_driver(_dut(packed), PARAMS.bit_cycles, drive)
    assert got == [packed.constants[:64], b"abcde", IDENTITY]


def test_wrong_requests_are_refused_and_broken_ones_forgotten(packed: Package) -> None:
    answers = []

    def ask(link: SerialLink, request: bytes, size: int) -> None:
        link.write(request)
        answers.append(link.read(size))

    def drive(link: SerialLink) -> None:
        ask(link, b"x", 1)
        ask(link, struct.pack("<cHI", b"R", 1, 4 * PARAMS.ram_words), 5)  # the first word behind the end
        ask(link, struct.pack("<cHII", b"W", 1, 4 * PARAMS.ram_words, 7), 1)
        ask(link, struct.pack("<cHII", b"W", 1, 1 << 31 | Register.STATUS, 7), 1)  # cannot be written
        ask(link, struct.pack("<cHI", b"R", 0, 0), 1)
        ask(link, b"W\x01", 1)  # breaks off; nothing comes until the request is forgotten
        ask(link, struct.pack("<cHI", b"R", 1, 1 << 31), 5)

    run_with_driver(_dut(packed), PARAMS.bit_cycles, drive)
    assert answers == [b"?", bytes(4) + b"E", b"E", b"E", b"K", b"", b"DLOFK"]


def test_wrong_sizes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"ram_words is 100, .*; a bit of the serial port lasts 3 cycles"):
        replace(PARAMS, ram_words=100, bit_cycles=3)
