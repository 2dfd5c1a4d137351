"""The accelerator's board behind a serial port: what `foldwright_host.Accelerator` needs of a board.

Needs numpy, and pyserial where the port is given by name:

    from foldwright_host import Accelerator
    from serial_board import SerialBoard
    accelerator = Accelerator("accelerator.bit", "manifest.json", SerialBoard("/dev/ttyUSB0"))
    values = accelerator.run(images)

Load the bitstream first, for example with `openFPGALoader -b ulx3s accelerator.bit`. Numbers of the design stand between the
marks below; the exporter writes them.
"""

from __future__ import annotations

import importlib
import struct
from typing import Any, Protocol

import numpy as np

__all__ = ["Port", "SerialBoard", "SerialError"]

# --- numbers of the design: begin ---
BAUD = 0
RAM_BYTES = 0
# --- numbers of the design: end ---

_REGISTERS = 1 << 31
_MOST_WORDS = 1024
_ALIGN_BYTES = 4096
_TIMEOUT_S = 2.0
_FINE = b"K"


class SerialError(RuntimeError):
    """The board does not answer, or refuses an address."""


class Port(Protocol):
    """What is needed of a serial port; pyserial's `Serial` is one."""

    def write(self, data: bytes, /) -> Any: ...

    def read(self, size: int, /) -> bytes: ...


class _Buffer(np.ndarray[Any, np.dtype[np.uint8]]):
    """An array that the board's RAM has a copy of at `physical_address`."""

    board: SerialBoard
    physical_address: int

    def flush(self) -> None:
        self.board.write_ram(self.physical_address, self.tobytes())

    def invalidate(self) -> None:
        self[:] = np.frombuffer(self.board.read_ram(self.physical_address, len(self)), dtype=np.uint8)

    def freebuffer(self) -> None:
        self.board.free(self.physical_address)


class SerialBoard:
    """Registers and RAM by requests over a serial port, see `accel/rtl/serial_host.py`.

    Args:
        port: a device's name, or something that reads and writes bytes.
    """

    def __init__(self, port: str | Port) -> None:
        if isinstance(port, str):
            port = importlib.import_module("serial").Serial(port, BAUD, timeout=_TIMEOUT_S)
        self._port: Port = port  # type: ignore[assignment,unused-ignore]  # a name became a port above
        self._taken: dict[int, int] = {}  # bytes by address

    @property
    def mmio(self) -> SerialBoard:
        return self

    def read(self, offset: int) -> int:
        """Returns a register."""
        return int(struct.unpack("<I", self._read(_REGISTERS | offset, 1))[0])

    def write(self, offset: int, value: int) -> None:
        """Sets a register."""
        self._write(_REGISTERS | offset, struct.pack("<I", value))

    def read_ram(self, address: int, octets: int) -> bytes:
        words = -(-octets // 4)
        parts = [
            self._read(address + 4 * at, min(_MOST_WORDS, words - at)) for at in range(0, words, _MOST_WORDS)
        ]
        return b"".join(parts)[:octets]

    def write_ram(self, address: int, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        for at in range(0, len(data), 4 * _MOST_WORDS):
            self._write(address + at, data[at : at + 4 * _MOST_WORDS])

    def allocate(self, octets: int) -> Any:
        """Returns a buffer in the first gap of the RAM.

        Raises:
            SerialError: there is none.
        """
        size = max(1, -(-octets // _ALIGN_BYTES)) * _ALIGN_BYTES
        address = 0
        for start, taken in sorted(self._taken.items()):
            if address + size <= start:
                break
            address = start + taken
        if address + size > RAM_BYTES:
            raise SerialError(
                f"{octets} bytes do not fit into the RAM of {RAM_BYTES} bytes; run fewer images at a time"
            )
        self._taken[address] = size
        buffer = np.zeros(octets, dtype=np.uint8).view(_Buffer)
        buffer.board, buffer.physical_address = self, address
        return buffer

    def free(self, address: int) -> None:
        self._taken.pop(address, None)

    def _read(self, address: int, words: int) -> bytes:
        self._port.write(struct.pack("<cHI", b"R", words, address))
        answer = self._port.read(4 * words + 1)
        self._check(answer, 4 * words + 1, f"reading {words} words at {address:#x}")
        return answer[:-1]

    def _write(self, address: int, data: bytes) -> None:
        self._port.write(struct.pack("<cHI", b"W", len(data) // 4, address) + data)
        self._check(self._port.read(1), 1, f"writing {len(data) // 4} words at {address:#x}")

    def _check(self, answer: bytes, size: int, what: str) -> None:
        if len(answer) != size:
            raise SerialError(
                f"{what}: {len(answer)} of {size} bytes came; is the bitstream loaded, the port right, at {BAUD} baud?"
            )
        if answer[-1:] != _FINE:
            raise SerialError(f"{what}: the board answers {answer[-1:]!r}")
