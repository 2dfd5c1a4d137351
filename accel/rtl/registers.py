"""The registers of an accelerator as the host sees them: byte offsets, bits and causes of errors.

All are 32 bits wide. Configuration may be written while nothing runs; it stays through a reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

__all__ = [
    "COUNTERS",
    "IDENTITY",
    "REGISTERS",
    "VERSION",
    "Command",
    "ErrorCause",
    "Register",
    "RegisterInfo",
    "Status",
]

IDENTITY = 0x464F4C44
"""The letters FOLD."""

VERSION = 1
COUNTERS = 8
"""Performance counters from `Register.COUNTERS` on."""


class Register(IntEnum):
    """Byte offset of a register."""

    IDENTITY = 0x00
    VERSION = 0x04
    COMMAND = 0x08
    STATUS = 0x0C
    ERROR_CAUSE = 0x10
    ERROR_DETAIL = 0x14
    ROUNDS = 0x18
    ROUNDS_DONE = 0x1C
    WEIGHTS_BASE = 0x20
    IMAGE_BASE = 0x24
    ROUND_BYTES = 0x28
    OUTPUT_BASE = 0x2C
    ITEMS_PER_ROUND = 0x30
    ITEMS_PER_TOKEN = 0x34
    STORE_TOKEN = 0x38
    PROGRAM_ADDRESS = 0x3C
    PROGRAM_LENGTH = 0x40
    WATCHDOG = 0x44
    CYCLES_LOW = 0x48
    CYCLES_HIGH = 0x4C
    STALLS = 0x50
    ITEMS = 0x54
    COUNTERS = 0x60


class Command(IntFlag):
    """What writing a bit of `COMMAND` does."""

    START = 1
    RESET = 2


class Status(IntFlag):
    """Bits of `STATUS`; none is set before the first start."""

    BUSY = 1
    DONE = 2
    ERROR = 4
    STOPPING = 8


class ErrorCause(IntEnum):
    """What stopped the accelerator; of several in one cycle the lowest number counts. The comment says what the detail is."""

    NONE = 0
    LOADER_INSTRUCTION = 1  # field << 24 | place; 0xff << 24 | words where the program is empty or too long
    ENGINE_INSTRUCTION = 2  # a bit per engine
    TOKEN = 3  # token that overflowed
    WATCHDOG = 4  # rounds done
    READ = 5  # address of the burst
    WRITE = 6  # items that had left for DRAM
    STORE_OVERFLOW = 7  # items that had left for DRAM
    WRITER = 8  # a bit per engine


@dataclass(frozen=True, slots=True)
class RegisterInfo:
    """A register for a reader. `bits` is its width; a configuration register is `writable`."""

    register: Register
    bits: int
    writable: bool
    meaning: str


REGISTERS = (
    RegisterInfo(Register.IDENTITY, 32, False, "the letters FOLD"),
    RegisterInfo(Register.VERSION, 32, False, "version of this map"),
    RegisterInfo(Register.COMMAND, 2, False, "written: bit 0 starts, bit 1 stops and resets; reads as 0"),
    RegisterInfo(Register.STATUS, 4, False, "bit 0 busy, 1 done, 2 error, 3 stopping"),
    RegisterInfo(Register.ERROR_CAUSE, 4, False, "first error since the last start or reset"),
    RegisterInfo(Register.ERROR_DETAIL, 32, False, "what the cause says about it"),
    RegisterInfo(Register.ROUNDS, 32, True, "rounds to run"),
    RegisterInfo(Register.ROUNDS_DONE, 32, False, "rounds whose results are all in DRAM"),
    RegisterInfo(Register.WEIGHTS_BASE, 32, True, "byte address of weights, thresholds and programs"),
    RegisterInfo(Register.IMAGE_BASE, 32, True, "byte address of the first round's images"),
    RegisterInfo(Register.ROUND_BYTES, 32, True, "from a round's images to the next one's"),
    RegisterInfo(Register.OUTPUT_BASE, 32, True, "byte address of the results, a multiple of a beat"),
    RegisterInfo(Register.ITEMS_PER_ROUND, 24, True, "result items of a round, at least 1"),
    RegisterInfo(Register.ITEMS_PER_TOKEN, 24, True, "result items between two store tokens, 0: none"),
    RegisterInfo(Register.STORE_TOKEN, 7, True, "the token that the storer gives"),
    RegisterInfo(
        Register.PROGRAM_ADDRESS, 32, True, "byte address of the loader's program, a multiple of a beat"
    ),
    RegisterInfo(Register.PROGRAM_LENGTH, 24, True, "its words"),
    RegisterInfo(Register.WATCHDOG, 32, True, "cycles without progress that are an error, 0: never"),
    RegisterInfo(
        Register.CYCLES_LOW, 32, False, "cycles while busy; reading keeps the upper half for CYCLES_HIGH"
    ),
    RegisterInfo(Register.CYCLES_HIGH, 32, False, "upper half when CYCLES_LOW was read"),
    RegisterInfo(Register.STALLS, 32, False, "cycles in which the loader waited for a token"),
    RegisterInfo(Register.ITEMS, 32, False, "result items that left for DRAM since the start"),
    *(
        RegisterInfo(
            Register.COUNTERS, 32, False, f"performance counter {k}, at offset {4 * k:#x} from the first"
        )
        for k in range(COUNTERS)
    ),
)
