"""The board's driver lays out images and reads results as `Package` does, and keeps the registers' rules."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.host_numbers import ERROR_DETAILS
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out
from foldwright.accel.network import load_network
from foldwright.accel.random_network import RandomNetwork, random_entry
from foldwright.accel.rtl.registers import ErrorCause, Register
from foldwright.accel.workload import IMAGE, ActKind, Layer, LayerKind, Workload
from tests.accel.export.fake_board import WRITABLE, Board, driver_of, images_of, write_constants

MODELS = Path(__file__).resolve().parents[3] / "models"
BATCH = Datapath((Engine(8, 16, 3, lanes=LaneMode.BATCH, levels=3, acc_bits=14),), (0,) * 4, batch_frames=5)
WINDOW = Datapath(
    (
        Engine(8, 9, 2, levels=3, window_bits=45, acc_bits=14),
        Engine(8, 16, 3, levels=3, acc_bits=14, drain_lanes=1),
    ),
    (0, 1, 1, 1),
    batch_frames=2,
)
CASES = {"batch lanes": (BATCH, 32), "window and column lanes": (WINDOW, 64)}


def _packed(name: str) -> Package:
    datapath, bits = CASES[name]
    return package(lay_out(load_network(MODELS / "digits_w1a2.onnx"), datapath), bits)


@pytest.fixture(scope="module", name="both", params=list(CASES))
def _both(request: pytest.FixtureRequest) -> tuple[Package, types.ModuleType]:
    packed = _packed(request.param)
    return packed, driver_of(packed)


@pytest.fixture(name="folder")
def _folder(both: tuple[Package, types.ModuleType], tmp_path: Path) -> Path:
    write_constants(both[0], tmp_path)
    return tmp_path


@pytest.mark.parametrize("frames", [1, 2, 5, 7])
def test_images_and_results_equal_the_package(both: tuple[Package, types.ModuleType], frames: int) -> None:
    packed, driver = both
    images = images_of(packed, frames)
    assert driver.image_octets(images).tobytes() == packed.images(images)
    rounds = -(-frames // packed.batch_frames)
    body = np.random.default_rng(1).bytes(rounds * packed.items_of_round * packed.item_bytes)
    values = driver.result_values(np.frombuffer(body, dtype=np.uint8), frames)
    np.testing.assert_array_equal(values, packed.results(body, frames))
    assert values.dtype == np.int64


def test_sums_with_a_residual_are_as_wide_in_the_driver_as_in_the_package() -> None:
    """A last layer that adds signed values: codes of three bits, the lowest sum below the lowest result."""
    rng = np.random.default_rng(0)
    rest: dict[str, Any] = {"act_bits": 2, "act_kind": ActKind.SIGNED, "out_kind": ActKind.SIGNED}
    x = Layer("x", LayerKind.CONV, (IMAGE,), 3, 4, 4, 8, out_bits=2, **rest)
    b = Layer("b", LayerKind.CONV, ("x", "x"), 8, 4, 4, 8, out_bits=3, **rest)
    entries = {"x": random_entry(x, rng), "b": random_entry(b, rng, (-2, 3))}
    network = RandomNetwork("sum", Workload("sum", (x, b), 3, 4, 4, 2, ActKind.SIGNED), entries)
    packed = package(lay_out(network, replace(BATCH, assignment=(0, 0))), 32)
    assert (packed.code_bits, packed.lowest_result) == (3, -2 - 2)
    body = np.random.default_rng(1).bytes(packed.items_of_round * packed.item_bytes)
    values = driver_of(packed).result_values(np.frombuffer(body, dtype=np.uint8), 5)
    np.testing.assert_array_equal(values, packed.results(body, 5))
    assert (values.min(), values.max()) == (-4, 3)  # any three bits


def test_a_run_sets_the_registers_and_memory_of_the_package(
    both: tuple[Package, types.ModuleType], folder: Path
) -> None:
    packed, driver = both
    board = Board(packed)
    accelerator = driver.Accelerator("accelerator.bit", folder / "manifest.json", board)
    for frames in (7, 2):  # the second run takes the buffers of the first
        rounds = -(-frames // packed.batch_frames)
        images = images_of(packed, frames, seed=frames)
        board.results = np.random.default_rng(frames).bytes(
            rounds * packed.items_of_round * packed.item_bytes
        )
        values = accelerator.run(images)
        np.testing.assert_array_equal(values, packed.results(board.results, frames))
        weights, image, result = board.buffers
        expected = packed.registers(rounds) | {
            Register.WEIGHTS_BASE: weights.physical_address,
            Register.PROGRAM_ADDRESS: weights.physical_address,
            Register.IMAGE_BASE: image.physical_address,
            Register.OUTPUT_BASE: result.physical_address,
        }
        assert expected.keys() == WRITABLE
        assert {register: board.values[register] for register in expected} == expected
        assert weights.tobytes() == packed.constants
        assert image.tobytes().startswith(packed.images(images))
        assert all(buffer.clean for buffer in board.buffers)
        assert accelerator.cycles() == 7 + (1 << 32)
    accelerator.close()
    assert {buffer.physical_address for buffer in board.buffers} == {-1}


@pytest.mark.parametrize("cause", list(ERROR_DETAILS))
def test_errors_come_by_name_and_the_next_run_works(
    both: tuple[Package, types.ModuleType], folder: Path, cause: ErrorCause
) -> None:
    packed, driver = both
    board = Board(packed, (cause, 0x2A))
    accelerator = driver.Accelerator("accelerator.bit", folder / "manifest.json", board)
    with pytest.raises(driver.AcceleratorError, match=rf"stopped: {cause.name.lower()}, .* 0x2a"):
        accelerator.run(images_of(packed, 1))
    board.outcome = (ErrorCause.NONE, 0)
    assert len(accelerator.run(images_of(packed, 1))) == 1


def test_every_cause_has_a_detail() -> None:
    assert set(ERROR_DETAILS) == set(ErrorCause) - {ErrorCause.NONE}


def test_a_run_that_never_ends_is_reset(both: tuple[Package, types.ModuleType], folder: Path) -> None:
    packed, driver = both
    board = Board(packed)
    accelerator = driver.Accelerator("accelerator.bit", folder / "manifest.json", board)
    board.never = True
    with pytest.raises(
        driver.AcceleratorError, match=r"not done after 0.01 s: status 0x1, 0 of 1 rounds, 0 items"
    ):
        accelerator.run(images_of(packed, 1), timeout_s=0.01)
    board.never = False
    assert len(accelerator.run(images_of(packed, 1))) == 1


def test_foreign_bitstreams_and_constants_are_refused(
    both: tuple[Package, types.ModuleType], folder: Path
) -> None:
    packed, driver = both
    board = Board(packed)
    board.values[Register.IDENTITY] = 0
    with pytest.raises(driver.AcceleratorError, match=r"identity and version are 0x0, 1, not 0x464f4c44, 1"):
        driver.Accelerator("accelerator.bit", folder / "manifest.json", board)
    (folder / "constants.bin").write_bytes(b"other")
    with pytest.raises(
        driver.AcceleratorError, match=r"constants.bin has SHA-256 \w+, .* says \w+; copy both"
    ):
        driver.Accelerator("accelerator.bit", folder / "manifest.json", Board(packed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"images have shape \(1, 8, 8\); digits_w1a2 takes \(frames, \*\(1, 8, 8\)\)"),
        (lambda x: x[:0], r"images have shape \(0, 1, 8, 8\)"),
        (lambda x: x + 32, r"takes integers from 0 to 31"),
        (lambda x: x / 2, r"images hold float64 from 0 to 15"),
    ],
)
def test_foreign_images_are_refused(
    both: tuple[Package, types.ModuleType], change: Any, message: str
) -> None:
    packed, driver = both
    with pytest.raises(ValueError, match=message):
        driver.image_octets(change(images_of(packed, 1)))


def test_the_driver_needs_pynq_on_the_board_only(
    both: tuple[Package, types.ModuleType], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a board of one's own, the bitstream is loaded and registers are mapped through pynq."""
    packed, driver = both
    board = Board(packed)
    loaded: list[str] = []
    pynq = types.ModuleType("pynq")
    pynq.__dict__["Overlay"] = loaded.append
    pynq.__dict__["MMIO"] = lambda base, span: board if (base, span) == (0x43C0_0000, 4096) else None
    pynq.__dict__["allocate"] = lambda shape, dtype: board.allocate(*shape)
    monkeypatch.setitem(sys.modules, "pynq", pynq)
    accelerator = driver.Accelerator("accelerator.bit", str(folder / "manifest.json"))
    assert loaded == ["accelerator.bit"]
    assert len(accelerator.run(images_of(packed, 1))) == 1
