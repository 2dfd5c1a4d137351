"""Runs the accelerator of this folder on its board: loads the bitstream, sets registers, starts, waits, reads.

It needs numpy everywhere and pynq on the board only. Copy this file, `accelerator.bit`, `accelerator.hwh`,
`constants.bin` and `manifest.json` into one folder of the board:

    accelerator = Accelerator("accelerator.bit", "manifest.json")
    values = accelerator.run(images)  # stored integers (frames, C, H, W) in, values (frames, channels, H, W) out

Numbers of the network stand between the marks below; the exporter writes them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Accelerator", "AcceleratorError", "PynqBoard", "image_octets", "result_values"]

# --- numbers of the network: begin ---
NETWORK = ""
REGISTERS_BASE = 0  # byte address of the registers
REGISTERS_SPAN = 0  # bytes
IDENTITY = 0
VERSION = 0
REGISTERS: dict[str, int] = {}  # byte offsets
COMMAND: dict[str, int] = {}  # bits
STATUS: dict[str, int] = {}  # bits
ERRORS: dict[int, tuple[str, str]] = {}  # what stopped it, what the detail says
SETTINGS: dict[str, int] = {}  # registers that are the same for every run
BATCH_FRAMES = 1  # frames of a round
ROUND_BYTES = 0  # of a round's images
FRAME_SHAPE = (0, 0, 0)  # channels, height, width
ACT_BITS = 1
ACT_RANGE = (0, 0)  # least and greatest stored value
ACT_OFFSET = 0  # bits of an activation: (value - ACT_OFFSET) // ACT_SCALE
ACT_SCALE = 1
PIXEL_BITS: list[int] = []  # channel * ACT_BITS + plane of every bit of a pixel, -1 for 0
RESULT_SHAPE = (0, 0, 0)  # channels, height, width
ITEMS_PER_ROUND = 0
ITEM_BYTES = 1
ITEM_VALUES = 1
VALUE_BITS = 1
FRAME_START: list[int] = []  # of each frame of a round: place of its first value
FRAME_STEP: list[int] = []  # from pixel to pixel
CHANNEL_PLACE: list[int] = []  # of each channel behind the pixel
RESULT_LOW: list[int] = []  # of each channel: the least accumulator
RESULT_MINUS: list[int] = []
RESULT_SHIFT: list[int] = []
RESULT_SCALE = 1
RESULT_DIVISOR = 1  # value: (accumulator - MINUS) * SCALE // DIVISOR + SHIFT
# --- numbers of the network: end ---

_RESET_SECONDS = 1.0
_POLL_SECONDS = 0.0002

Int64s = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]


class AcceleratorError(RuntimeError):
    """The accelerator is absent, is another one, stopped with an error, or did not finish in time."""


def image_octets(images: npt.NDArray[Any]) -> Octets:
    """Returns stored images (frames, C, H, W) as they lie in DRAM; the last round is filled up with zeros.

    Raises:
        ValueError: the shape or a value is not the network's.
    """
    if images.ndim != 4 or images.shape[1:] != FRAME_SHAPE or not len(images):
        raise ValueError(f"images have shape {images.shape}; {NETWORK} takes (frames, *{FRAME_SHAPE})")
    low, high = int(images.min()), int(images.max())
    if low < ACT_RANGE[0] or high > ACT_RANGE[1] or not np.issubdtype(images.dtype, np.integer):
        raise ValueError(
            f"images hold {images.dtype} from {low} to {high}; {NETWORK} takes integers "
            f"from {ACT_RANGE[0]} to {ACT_RANGE[1]}"
        )
    stored, odd = np.divmod(images.astype(np.int64) - ACT_OFFSET, ACT_SCALE)
    if odd.any():
        raise ValueError(f"images hold a 0; {NETWORK} takes -1 and 1")
    planes = np.stack([stored >> k & 1 for k in range(ACT_BITS)], axis=2).astype(
        np.uint8
    )  # frames, C, bits, H, W
    frames, channels, bits, height, width = planes.shape
    pixels = planes.transpose(0, 3, 4, 1, 2).reshape(frames, height, width, channels * bits)
    with_zero = np.concatenate([pixels, np.zeros((*pixels.shape[:3], 1), np.uint8)], axis=3)
    octets = np.packbits(with_zero[..., PIXEL_BITS].reshape(-1, 8), axis=1, bitorder="little").reshape(-1)
    return np.concatenate([octets, np.zeros(-len(octets) % ROUND_BYTES, np.uint8)])


def result_values(octets: Octets, frames: int) -> Int64s:
    """Returns the last layer's values (frames, channels, H, W) from the bytes of whole rounds."""
    items = octets.reshape(-1, ITEMS_PER_ROUND, ITEM_BYTES)
    bits = np.unpackbits(items, axis=2, bitorder="little")[:, :, : ITEM_VALUES * VALUE_BITS]
    split = bits.reshape(len(items), -1, VALUE_BITS).astype(np.int64)
    stored = (split << np.arange(VALUE_BITS)).sum(axis=2)  # (rounds, values of a round)
    channels, height, width = RESULT_SHAPE
    start, step = np.array(FRAME_START), np.array(FRAME_STEP)
    pixel = step[:, None, None] * np.arange(height * width)
    place = start[:, None, None] + np.array(CHANNEL_PLACE)[:, None] + pixel  # (frames, channels, pixels)
    taken = stored[:, place].reshape(-1, channels, height * width)[:frames]
    low, minus, shift = (np.array(x)[:, None] for x in (RESULT_LOW, RESULT_MINUS, RESULT_SHIFT))
    raw = low + (taken - low) % (1 << VALUE_BITS)
    values = (raw - minus) * RESULT_SCALE // RESULT_DIVISOR + shift
    return np.asarray(values.reshape(frames, channels, height, width), dtype=np.int64)


class PynqBoard:
    """The board through pynq: the bitstream is loaded, buffers lie where the accelerator reaches them.

    Another board needs `mmio` with `read(offset)` and `write(offset, value)`, and `allocate(octets)` that returns an
    array of uint8 with `physical_address`, `flush()`, `invalidate()` and `freebuffer()`.
    """

    def __init__(self, bitfile: str | Path) -> None:
        self._pynq = importlib.import_module("pynq")
        self.overlay = self._pynq.Overlay(str(bitfile))
        self.mmio = self._pynq.MMIO(REGISTERS_BASE, REGISTERS_SPAN)

    def allocate(self, octets: int) -> Any:
        return self._pynq.allocate(shape=(octets,), dtype=np.uint8)


class Accelerator:
    """The accelerator as registers and buffers.

    Args:
        bitfile: the bitstream; its `.hwh` must lie beside it.
        manifest: `manifest.json` of the build folder; `constants.bin` lies beside it and must be what it says.
        board: where the accelerator is; `PynqBoard` if absent.

    Raises:
        AcceleratorError: the constants are not those of the manifest, or the bitstream holds something else.
    """

    def __init__(self, bitfile: str | Path, manifest: str | Path, board: Any = None) -> None:
        constants = _constants(Path(manifest))
        self.board = PynqBoard(bitfile) if board is None else board
        found = self.read("IDENTITY"), self.read("VERSION")
        if found != (IDENTITY, VERSION):
            raise AcceleratorError(
                f"identity and version are {found[0]:#x}, {found[1]}, not {IDENTITY:#x}, {VERSION}: "
                f"is {bitfile} the bitstream of this folder?"
            )
        self._weights: Any = None
        self._images: Any = None
        self._results: Any = None
        self._rounds = 0
        self.load_constants(constants)

    def read(self, name: str) -> int:
        """Returns a register by its name."""
        return int(self.board.mmio.read(REGISTERS[name]))

    def write(self, name: str, value: int) -> None:
        """Sets a register by its name; configuration only while nothing runs, else the bus reports an error."""
        self.board.mmio.write(REGISTERS[name], value)

    def load_constants(self, octets: Octets) -> None:
        """Puts programs, weights and thresholds into DRAM; the accelerator fetches them at every start."""
        _free(self._weights)
        self._weights = self.board.allocate(len(octets))
        self._weights[:] = octets
        self._weights.flush()

    def allocate(self, rounds: int) -> None:
        """Makes room for the images and results of so many rounds; what is large enough stays."""
        if rounds > self._rounds:
            _free(self._images)
            _free(self._results)
            self._images = self.board.allocate(rounds * ROUND_BYTES)
            self._results = self.board.allocate(rounds * ITEMS_PER_ROUND * ITEM_BYTES)
            self._rounds = rounds

    def configure(self, rounds: int) -> None:
        """Sets all registers for a run of so many rounds; resets the accelerator first if it does not rest."""
        if self.read("STATUS") & ~STATUS["DONE"]:
            self.reset()
        places = {
            "WEIGHTS_BASE": self._weights,
            "PROGRAM_ADDRESS": self._weights,
            "IMAGE_BASE": self._images,
            "OUTPUT_BASE": self._results,
        }
        for name, value in SETTINGS.items():
            self.write(name, value)
        for name, buffer in places.items():
            self.write(name, int(buffer.physical_address))
        self.write("ROUNDS", rounds)

    def start(self) -> None:
        """Starts the rounds that `configure` set."""
        self.write("COMMAND", COMMAND["START"])

    def wait(self, timeout_s: float) -> None:
        """Waits until all results are in DRAM; afterwards the accelerator rests, whatever happened.

        Raises:
            AcceleratorError: with the cause that the accelerator reports, or where it stood when the time was over.
        """
        end = time.monotonic() + timeout_s
        while not (status := self.read("STATUS")) & (STATUS["DONE"] | STATUS["ERROR"]):
            if time.monotonic() > end:
                where = (
                    f"{self.read('ROUNDS_DONE')} of {self.read('ROUNDS')} rounds, {self.read('ITEMS')} items"
                )
                self.reset()
                raise AcceleratorError(f"not done after {timeout_s:g} s: status {status:#x}, {where}")
            time.sleep(_POLL_SECONDS)
        if status & STATUS["ERROR"]:
            message = self.error()
            self.reset()
            raise AcceleratorError(message)

    def error(self) -> str:
        """Returns the error that the accelerator reports, by name; empty where there is none."""
        number, detail = self.read("ERROR_CAUSE"), self.read("ERROR_DETAIL")
        if number == 0:
            return ""
        name, meaning = ERRORS.get(number, (f"unknown cause {number}", "detail"))
        return f"the accelerator stopped: {name}, {meaning} {detail:#x}"

    def reset(self) -> None:
        """Stops what runs and resets everything but the configuration.

        Raises:
            AcceleratorError: the bus does not come to rest.
        """
        self.write("COMMAND", COMMAND["RESET"])
        end = time.monotonic() + _RESET_SECONDS
        while self.read("STATUS"):
            if time.monotonic() > end:
                raise AcceleratorError("the accelerator does not come to rest; load the bitstream again")
            time.sleep(_POLL_SECONDS)

    def cycles(self) -> int:
        """Returns the clock cycles of the last run."""
        low = self.read("CYCLES_LOW")  # keeps the upper half for the next read
        return low | self.read("CYCLES_HIGH") << 32

    def run(self, images: npt.NDArray[Any], timeout_s: float = 10.0) -> Int64s:
        """Runs stored images (frames, C, H, W) through the network.

        Returns:
            The last layer's values, int64 (frames, channels, H, W).

        Raises:
            ValueError: the images are not the network's.
            AcceleratorError: it stopped with an error or did not finish in time.
        """
        octets = image_octets(images)
        rounds = len(octets) // ROUND_BYTES
        self.allocate(rounds)
        self._images[: len(octets)] = octets
        self._images.flush()
        self._results.flush()  # no line of the cache may be written over the results later
        self.configure(rounds)
        self.start()
        self.wait(timeout_s)
        self._results.invalidate()
        taken = np.array(self._results[: rounds * ITEMS_PER_ROUND * ITEM_BYTES], dtype=np.uint8)
        return result_values(taken, len(images))

    def close(self) -> None:
        """Resets the accelerator and gives its buffers back."""
        self.reset()
        for buffer in (self._weights, self._images, self._results):
            _free(buffer)
        self._weights = self._images = self._results = None
        self._rounds = 0


def _free(buffer: Any) -> None:
    if buffer is not None:
        buffer.freebuffer()


def _constants(manifest: Path) -> Octets:
    """Returns `constants.bin`, once it is what the manifest says."""
    files = {file["path"]: file for file in json.loads(manifest.read_text(encoding="utf-8"))["files"]}
    body = (manifest.parent / "constants.bin").read_bytes()
    digest = hashlib.sha256(body).hexdigest()
    told = files.get("constants.bin", {}).get("sha256")
    if digest != told:
        raise AcceleratorError(f"constants.bin has SHA-256 {digest}, {manifest} says {told}; copy both again")
    return np.frombuffer(body, dtype=np.uint8)
