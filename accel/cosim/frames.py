"""Runs whole frames through an accelerator in simulation, as a host would: loads DRAM, sets registers, starts, waits, reads.

The script is the host driver's sequence; results come back as the last layer's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.build import Simulator
from foldwright.accel.cosim.run import DramModel, Limits, SimulationResult, simulate
from foldwright.accel.cosim.script import Command, Dump, Load, Poll, Read, Trace, Write
from foldwright.accel.export.package import Package
from foldwright.accel.rtl.registers import Command as HostCommand
from foldwright.accel.rtl.registers import ErrorCause, Register, Status
from foldwright.errors import VerificationError

__all__ = ["FramesRun", "run_frames"]

_POLL_CYCLES = 1 << 31


@dataclass(frozen=True, eq=False)
class FramesRun:
    """What frames gave: the last layer's values (frames, channels, H, W), cycles the accelerator was busy, the simulation."""

    values: npt.NDArray[np.int64]
    busy_cycles: int
    simulation: SimulationResult


def run_frames(
    package: Package,
    simulator: Simulator,
    images: npt.NDArray[np.integer[Any]],
    *,
    dram: DramModel | None = None,
    trace: bool = False,
    limits: Limits | None = None,
) -> FramesRun:
    """Runs stored images (frames, C, H, W) through the accelerator.

    Raises:
        VerificationError: the accelerator reports an error, hangs, or breaks the rules of AXI.
    """
    rounds = -(-len(images) // package.batch_frames)
    at = package.addresses(rounds)
    size = max(1 << 16, 1 << (at["end"] - 1).bit_length())
    dram = dram or DramModel(size_bytes=size)
    script: list[Command] = [
        Load(package.constants, at["weights"]),
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
    result = simulate(simulator, script, dram=dram, limits=limits)
    status, cause, detail, low, high = result.reads[-5:]
    if status & done != int(Status.DONE):
        raise VerificationError(
            f"the accelerator stopped with status {status:#x}: {ErrorCause(cause).name.lower()}, detail {detail:#x}"
        )
    values = package.results(result.dumps[-1], len(images))
    return FramesRun(values, low | high << 32, result)
