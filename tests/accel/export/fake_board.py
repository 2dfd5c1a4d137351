"""A board without hardware: the registers as `control` keeps them, buffers that know their addresses, and the driver on it."""

from __future__ import annotations

import hashlib
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.export.host_numbers import driver_source
from foldwright.accel.export.package import Package
from foldwright.accel.rtl.registers import (
    IDENTITY,
    REGISTERS,
    VERSION,
    Command,
    ErrorCause,
    Register,
    Status,
)

__all__ = ["DRAM_BASE", "WRITABLE", "Board", "Buffer", "driver_of", "images_of", "write_constants"]

DRAM_BASE = 0x1000_0000
WRITABLE = {info.register for info in REGISTERS if info.writable}


def driver_of(packed: Package) -> types.ModuleType:
    """Returns the driver's text as a module."""
    module = types.ModuleType("foldwright_host")
    # The text is the exporter's own, just written: running it is the test.
    exec(compile(driver_source(packed), "foldwright_host.py", "exec"), module.__dict__)
    return module


def images_of(packed: Package, frames: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Returns random stored images; for unsigned activations."""
    layer = packed.layout.layers[0].entry.layer
    shape = (frames, layer.in_channels, layer.in_height, layer.in_width)
    return np.random.default_rng(seed).integers(0, 1 << layer.act_bits, shape)


def write_constants(packed: Package, folder: Path) -> None:
    """Writes the constants, and a manifest that names them."""
    body = packed.constants
    (folder / "constants.bin").write_bytes(body)
    files = [{"path": "constants.bin", "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}]
    (folder / "manifest.json").write_text(json.dumps({"files": files}), encoding="utf-8")


class Buffer(np.ndarray[Any, np.dtype[np.uint8]]):
    """A buffer with an address; what the cache holds back shows in `clean`."""

    physical_address: int
    clean: bool

    def flush(self) -> None:
        self.clean = True

    def invalidate(self) -> None:
        pass

    def freebuffer(self) -> None:
        self.physical_address = -1


class Board:
    """The registers as `control` keeps them, and DRAM. A run takes `delay` reads of the status, then ends as `outcome` says."""

    def __init__(self, packed: Package, outcome: tuple[ErrorCause, int] = (ErrorCause.NONE, 0)) -> None:
        self.packed, self.outcome, self.delay = packed, outcome, 3
        self.mmio = self
        self.values = dict.fromkeys((r for r in Register), 0)
        self.values |= {Register.IDENTITY: IDENTITY, Register.VERSION: VERSION}
        self.buffers: list[Buffer] = []
        self.next_address = DRAM_BASE
        self.results = b""
        self.left = 0
        self.never = False
        self.written: list[tuple[int, int]] = []

    def allocate(self, octets: int) -> Buffer:
        buffer = np.full(octets, 0xA5, dtype=np.uint8).view(Buffer)
        buffer.physical_address, buffer.clean = self.next_address, False
        self.next_address += -(-octets // 4096) * 4096
        self.buffers.append(buffer)
        return buffer

    def memory(self, address: int) -> Buffer:
        return next(b for b in self.buffers if b.physical_address == address)

    def read(self, offset: int) -> int:
        register = Register(offset)
        if register is Register.STATUS and self.values[register] & Status.BUSY:
            self.left -= 1
            if self.left <= 0 and not self.never:
                self._finish()
        if register is Register.STATUS and self.values[register] & Status.STOPPING:
            self.values[register] = 0
            return int(Status.STOPPING)
        return self.values[register]

    def write(self, offset: int, value: int) -> None:
        self.written.append((offset, value))
        register, status = Register(offset), self.values[Register.STATUS]
        resting = not status & (Status.BUSY | Status.ERROR | Status.STOPPING)
        if register is Register.COMMAND and value == Command.RESET:
            self.values |= {Register.STATUS: int(Status.STOPPING), Register.ERROR_CAUSE: 0}
        elif register is Register.COMMAND and value == Command.START and resting:
            self.values[Register.STATUS] = int(Status.BUSY)
            self.left = self.delay
        else:
            assert register in WRITABLE, f"bus error: {register.name} cannot be written"
            assert resting, f"bus error: {register.name} while the status is {status:#x}"
            self.values[register] = value

    def _finish(self) -> None:
        cause, detail = self.outcome
        self.values |= {Register.ERROR_CAUSE: int(cause), Register.ERROR_DETAIL: detail}
        self.values[Register.STATUS] = int(Status.ERROR if cause else Status.DONE)
        if cause is ErrorCause.NONE:
            self.values |= {Register.CYCLES_LOW: 7, Register.CYCLES_HIGH: 1}
            target = self.memory(self.values[Register.OUTPUT_BASE])
            target[: len(self.results)] = np.frombuffer(self.results, dtype=np.uint8)
