"""The commands that a simulation plays, and the text in which the harness reads them, a line each:

    write ADDRESS VALUE                         one AXI4-Lite write
    read ADDRESS                                one AXI4-Lite read
    poll ADDRESS MASK VALUE CYCLES              reads until (register & MASK) == VALUE, CYCLES at most
    run CYCLES                                  lets the clock run
    load FILE ADDRESS                           a file into DRAM
    dump FILE ADDRESS BYTES                     DRAM into a file
    trace on|off                                whether trace records are kept
    waves FILE|off                              whether waves are written, where the simulator was built for it

Numbers are decimal or begin with 0x; a line that begins with # is a comment. Files are named here by the harness's
caller: `Load` holds the bytes themselves, and what `Dump` reads comes back as bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foldwright.errors import ConfigError

__all__ = ["Command", "Dump", "Load", "Poll", "Read", "Run", "Trace", "Write", "write_script"]


@dataclass(frozen=True, slots=True)
class Write:
    """Writes a 32-bit register."""

    address: int
    value: int


@dataclass(frozen=True, slots=True)
class Read:
    """Reads a 32-bit register."""

    address: int


@dataclass(frozen=True, slots=True)
class Poll:
    """Reads a register until the bits of `mask` are those of `value`; gives up after `cycles`."""

    address: int
    mask: int
    value: int
    cycles: int


@dataclass(frozen=True, slots=True)
class Run:
    """Lets the clock run."""

    cycles: int


@dataclass(frozen=True, slots=True)
class Load:
    """Puts bytes into DRAM, in no time."""

    data: bytes
    address: int


@dataclass(frozen=True, slots=True)
class Dump:
    """Takes bytes out of DRAM, in no time."""

    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Turns trace records on or off; they are off at the beginning."""

    on: bool


Command = Write | Read | Poll | Run | Load | Dump | Trace


def write_script(commands: Sequence[Command], folder: Path, first: Sequence[str] = ()) -> Path:
    """Writes the script and the files it loads into a folder; returns the script.

    The k-th `Dump` will stand in `dump{k}.bin`.

    Args:
        first: lines that go before the commands.

    Raises:
        ConfigError: a number is negative, or a register's value has more than 32 bits.
    """
    lines = list(first)
    dumps = 0
    for number, command in enumerate(commands):
        _check(number, command)
        match command:
            case Write(address, value):
                lines.append(f"write {address:#x} {value:#x}")
            case Read(address):
                lines.append(f"read {address:#x}")
            case Poll(address, mask, value, cycles):
                lines.append(f"poll {address:#x} {mask:#x} {value:#x} {cycles}")
            case Run(cycles):
                lines.append(f"run {cycles}")
            case Load(data, address):
                (folder / f"load{number}.bin").write_bytes(data)
                lines.append(f"load load{number}.bin {address:#x}")
            case Dump(address, size_bytes):
                lines.append(f"dump dump{dumps}.bin {address:#x} {size_bytes}")
                dumps += 1
            case Trace(on):
                lines.append(f"trace {'on' if on else 'off'}")
    script = folder / "script.txt"
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return script


def _check(number: int, command: Command) -> None:
    numbers = [getattr(command, name) for name in command.__slots__]
    most = 1 << (32 if isinstance(command, Write | Read | Poll) else 63)
    if any(isinstance(x, int) and not 0 <= x < most for x in numbers):
        raise ConfigError(
            f"command {number} of a simulation is {command}; its numbers must be 0..{most - 1:#x}"
        )
