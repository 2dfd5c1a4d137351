"""Runs a simulator on a script and gathers what came of it.

The harness prints one line of JSON per result: `{"op": "read", "address": 0, "value": 5, "response": 0, "cycle": 17}` for
accesses to registers, `{"op": "end", "cycle": ..., "read_beats": ..., "write_beats": ..., ...}` last, and
`{"error": ..., "kind": "protocol" | "hang" | "script"}` instead where it stopped. Cycles are counted from the end of reset.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.binding import Binding, trace_dtype
from foldwright.accel.cosim.build import Simulator, Waves
from foldwright.accel.cosim.script import Command, Dump, write_script
from foldwright.accel.tiles import DRAM_READ_CYCLES
from foldwright.errors import ConfigError, VerificationError

__all__ = ["Access", "DramModel", "Limits", "SimulationResult", "simulate"]

_CREDIT = 1024  # of the harness: one beat
_ACCESSES = {"read", "write", "poll"}


@dataclass(frozen=True, slots=True)
class DramModel:
    """How the DRAM, and the host's channels, behave.

    Reads answer `latency_cycles` after their address (by default as late as the simulator assumes), writes after their last
    beat. Both directions together move at most `beats_per_cycle`. Every channel, AXI4-Lite too, stalls in `stall_percent` of
    the cycles, by the seed. Beats that touch `error_range` (first byte, byte behind the last) answer SLVERR.
    """

    size_bytes: int = 1 << 24
    base_address: int = 0
    latency_cycles: int = DRAM_READ_CYCLES
    beats_per_cycle: float = 2.0
    outstanding: int = 8
    stall_percent: int = 0
    seed: int = 0
    error_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value}, allowed {low}..{high}"
            for name, value, low, high in (
                ("size_bytes", self.size_bytes, 4096, 1 << 32),
                ("base_address", self.base_address, 0, 1 << 40),
                ("latency_cycles", self.latency_cycles, 0, 100_000),
                ("beats_per_cycle", self.beats_per_cycle, 0.001, 2),
                ("outstanding", self.outstanding, 1, 256),
                ("stall_percent", self.stall_percent, 0, 99),
                ("seed", self.seed, 0, 2**48),
            )
            if not low <= value <= high
        ]
        if wrong:
            raise ConfigError("DRAM model: " + "; ".join(wrong))

    def arguments(self) -> list[str]:
        """Returns what the harness is told."""
        low, high = self.error_range or (0, 0)
        return [
            f"dram_bytes={self.size_bytes}",
            f"base={self.base_address}",
            f"latency={self.latency_cycles}",
            f"rate={max(1, round(self.beats_per_cycle * _CREDIT))}",
            f"outstanding={self.outstanding}",
            f"stall_percent={self.stall_percent}",
            f"seed={self.seed}",
            f"error_low={low}",
            f"error_high={high}",
        ]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a simulation is given up: cycles in all, cycles of one register access, seconds of wall time."""

    cycles: int = 10**9
    register_cycles: int = 10_000
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Access:
    """A register access that ended: `op` is "read", "write" or "poll"; `response` 0 is OKAY, 2 SLVERR, 3 DECERR."""

    op: str
    address: int
    value: int
    response: int
    cycle: int


@dataclass(frozen=True, slots=True, eq=False)
class SimulationResult:
    """What a simulation gave. `traces[e]` holds engine e's records in the order of time, see `binding.trace_dtype`.

    `open_bursts` had not been answered when the script ended.
    """

    accesses: tuple[Access, ...]
    dumps: tuple[bytes, ...]
    traces: tuple[npt.NDArray[Any], ...]
    cycles: int
    read_beats: int
    write_beats: int
    open_bursts: int
    seconds: float

    @property
    def reads(self) -> tuple[int, ...]:
        """Values that `Read` and `Poll` gave, in their order."""
        return tuple(access.value for access in self.accesses if access.op != "write")


def simulate(
    simulator: Simulator,
    script: Sequence[Command],
    *,
    dram: DramModel | None = None,
    limits: Limits | None = None,
    waves: Path | None = None,
) -> SimulationResult:
    """Plays a script from reset on and returns its results.

    Args:
        waves: the wave file to write; the simulator must have been built for it.

    Raises:
        VerificationError: the design breaks the rules of AXI or hangs; says where and in which cycle.
        ConfigError: a command is wrong.
    """
    dram, limits = dram or DramModel(), limits or Limits()
    if waves is not None and simulator.waves is Waves.NONE:
        raise ConfigError(
            f"{waves}: this simulator writes no waves; build it with BuildParams(waves=Waves.VCD)"
        )
    with tempfile.TemporaryDirectory(prefix="foldwright-cosim-") as name:
        folder = Path(name)
        first = ["waves waves.out"] if waves is not None else []
        write_script(script, folder, first)
        arguments = [
            *dram.arguments(),
            f"max_cycles={limits.cycles}",
            f"register_cycles={limits.register_cycles}",
        ]
        try:
            lines = _play(
                [str(simulator.executable), "script=script.txt", *arguments], folder, limits.seconds
            )
        finally:
            if waves is not None and (folder / "waves.out").exists():
                waves.write_bytes((folder / "waves.out").read_bytes())
        dumps = [command for command in script if isinstance(command, Dump)]
        return _result(lines, simulator.binding, folder, len(dumps))


def _play(command: Sequence[str], folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Returns the lines of the harness; it is killed when its time is over and dies with this process."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise VerificationError(
            f"the simulation did not end within {seconds:g} s; its last result is {last}"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{command[0]}: cannot be run: {error.strerror}; build the simulator again"
        ) from None
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    last_line = lines[-1] if lines else {}
    if "error" in last_line:
        kind = ConfigError if last_line["kind"] == "script" else VerificationError
        said = {"protocol": "the design breaks AXI: ", "hang": "the design hangs: "}.get(
            last_line["kind"], ""
        )
        raise kind(f"{said}{last_line['error']}")
    if done.returncode or last_line.get("op") != "end":
        raise VerificationError(
            f"the simulation ended with status {done.returncode}: {done.stderr.strip()[-300:]}"
        )
    return lines


def _result(lines: list[dict[str, Any]], binding: Binding, folder: Path, dumps: int) -> SimulationResult:
    end = lines[-1]
    return SimulationResult(
        accesses=tuple(Access(**line) for line in lines if line["op"] in _ACCESSES),
        dumps=tuple((folder / f"dump{k}.bin").read_bytes() for k in range(dumps)),
        traces=tuple(_records(folder, binding, engine) for engine in range(binding.engines)),
        cycles=end["cycle"],
        read_beats=end["read_beats"],
        write_beats=end["write_beats"],
        open_bursts=end["open_reads"] + end["open_writes"],
        seconds=end["seconds"],
    )


def _records(folder: Path, binding: Binding, engine: int) -> npt.NDArray[Any]:
    file = folder / f"trace{engine}.bin"
    records = np.frombuffer(file.read_bytes() if file.exists() else b"", dtype=trace_dtype(binding, engine))
    records.flags.writeable = False
    return records
