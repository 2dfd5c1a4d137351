"""Runs whole frames through an accelerator in simulation, as a host would: loads DRAM, sets registers, starts, waits, reads.

The script is the host driver's sequence; results come back as the last layer's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.build import Simulator
from foldwright.accel.cosim.run import DramModel, Limits, SimulationResult, simulate
from foldwright.accel.cosim.script import Command, Dump, Load, Poll, Read, Trace, Write
from foldwright.accel.export.package import Package
from foldwright.accel.rtl.registers import Command as HostCommand
from foldwright.accel.rtl.registers import ErrorCause, Register, Status
from foldwright.errors import VerificationError
from foldwright.jsonform import STRICT

__all__ = ["FramesReport", "FramesRun", "dram_bytes", "run_frames"]

_POLL_CYCLES = 1 << 31


@dataclass(frozen=True, eq=False)
class FramesRun:
    """What frames gave: the last layer's values (frames, channels, H, W), cycles the accelerator was busy, the simulation."""

    values: npt.NDArray[np.int64]
    busy_cycles: int
    simulation: SimulationResult


@dataclass(frozen=True, slots=True)
class FramesReport:
    """What came of frames in simulation: results compared with the reference, and the cycles that it took."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.simulation/1"

    network: str
    frames: int
    seed: int
    stall_percent: int
    values: int
    mismatches: int
    busy_cycles: int


def dram_bytes(package: Package, frames: int) -> int:
    """Returns the size of a DRAM that holds constants, images and results of so many frames."""
    end = package.addresses(-(-frames // package.batch_frames))["end"]
    return max(1 << 16, 1 << (end - 1).bit_length())


def run_frames(
    package: Package,
    simulator: Simulator,
    images: npt.NDArray[np.integer[Any]],
    *,
    dram: DramModel | None = None,
    trace: bool = False,
    limits: Limits | None = None,
    waves: Path | None = None,
    constants: bytes | None = None,
) -> FramesRun:
    """Runs stored images (frames, C, H, W) through the accelerator.

    Args:
        constants: what lies behind the weights base, those of the package where absent.

    Raises:
        VerificationError: the accelerator reports an error, hangs, or breaks the rules of AXI.
    """
    rounds = -(-len(images) // package.batch_frames)
    at = package.addresses(rounds)
    dram = dram or DramModel(size_bytes=dram_bytes(package, len(images)))
    script: list[Command] = [
        Load(constants or package.constants, at["weights"]),
        Load(package.images(images), at["image"]),
    ]
    script += [Write(int(register), value) for register, value in package.registers(rounds).items()]
    done = int(Status.DONE | Status.ERROR)
    script += [
        Trace(trace),
        Write(int(Register.COMMAND), int(HostCommand.START)),
        Poll(int(Register.STATUS), int(Status.BUSY), 0, _POLL_CYCLES),
        Read(int(Register.STATUS)),
        Read(int(Register.ERROR_CAUSE)),
        Read(int(Register.ERROR_DETAIL)),
        Read(int(Register.CYCLES_LOW)),
        Read(int(Register.CYCLES_HIGH)),
        Dump(at["result"], rounds * package.items_of_round * package.item_bytes),
    ]
    result = simulate(simulator, script, dram=dram, limits=limits, waves=waves)
    status, cause, detail, low, high = result.reads[-5:]
    if status & done != int(Status.DONE):
        raise VerificationError(
            f"the accelerator stopped with status {status:#x}: {ErrorCause(cause).name.lower()}, detail {detail:#x}"
        )
    values = package.results(result.dumps[-1], len(images))
    return FramesRun(values, low | high << 32, result)
