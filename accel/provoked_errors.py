"""Errors that an accelerator must notice: how each is provoked, and what it says then.

Programs, registers or memory of a package are spoilt, a run is started and fails, the host resets, and the same
package runs unspoilt at another place in DRAM. What is provoked is every cause of `ErrorCause`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foldwright.accel.cosim.build import Simulator
from foldwright.accel.cosim.run import DramModel, Limits, simulate
from foldwright.accel.cosim.script import Command, Dump, Load, Poll, Read, Write
from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.fitting import Room
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out
from foldwright.accel.random_hardware import Variant
from foldwright.accel.random_network import RandomNetwork, random_entry
from foldwright.accel.rtl.loader_program import NO_TOKEN, LoaderField
from foldwright.accel.rtl.program import DATA_BITS, EXTRA_FIELDS, WORD_BITS, Field, word
from foldwright.accel.rtl.registers import Command as HostCommand
from foldwright.accel.rtl.registers import ErrorCause, Register, Status
from foldwright.accel.stored_tensors import FROM_LOADER
from foldwright.accel.workload import IMAGE, ActKind, Layer, LayerKind, ResultKind, Workload

__all__ = ["PROVOCATIONS", "VARIANT", "Outcome", "Provocation", "Spoilt", "provoke"]

VARIANT = Variant(
    "small batch",
    (Engine(8, 16, 2, lanes=LaneMode.BATCH, acc_bits=16, levels=3, drain_lanes=2),),
    ((0,), (0, 0), (0, 0, 0)),
    ((FROM_LOADER,),),
    room=Room(1024, 2048, 1, 2048, 64, 128, 2048, item_depth=512),
)
"""A small accelerator whose store is small enough to overflow."""

_BATCH_FRAMES, _ROUNDS = 2, 64

Int64s = npt.NDArray[np.int64]
_WATCHDOG_CYCLES = 3000
_UNKNOWN_FIELD = 0x7E
_POLL_CYCLES = 2_000_000
_LIMITS = Limits(cycles=5_000_000, seconds=120.0)
_BYTES = WORD_BITS // 8


@dataclass(frozen=True, eq=False)
class Spoilt:
    """What goes wrong in a run: programs as lists of words, and what differs in registers and DRAM.

    `errors` is a range of bytes that answer SLVERR; `detail` says whether a detail is plausible.
    """

    detail: Callable[[int], bool]
    loader: list[int] = field(default_factory=list)
    programs: Mapping[int, list[int]] = field(default_factory=dict)
    registers: Mapping[Register, int] = field(default_factory=dict)
    errors: tuple[int, int] | None = None
    beats_per_cycle: float = 2.0


@dataclass(frozen=True, slots=True)
class Provocation:
    """One way to an error; `spoil` gets the package, the registers of the failing run and its rounds."""

    name: str
    cause: ErrorCause
    spoil: Callable[[Package, Mapping[Register, int], int], Spoilt]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an accelerator said, and whether the run behind the reset was right."""

    name: str
    expected: ErrorCause
    cause: ErrorCause
    detail: int
    plausible: bool
    status: int
    status_after_reset: int
    recovered: bool

    @property
    def is_right(self) -> bool:
        stopped = self.status == int(Status.ERROR) and self.status_after_reset == 0
        return stopped and self.cause is self.expected and self.plausible and self.recovered


def provoke(provocation: Provocation, simulator: Simulator) -> Outcome:
    """Runs a spoilt package on `VARIANT`, resets, and runs it again as it should be."""
    package, images, expected = _example()
    rounds = -(-len(images) // package.batch_frames)
    at = package.addresses(rounds)
    base = 1 << (at["end"] - 1).bit_length()
    registers = {**package.registers(rounds, base), Register.WATCHDOG: _WATCHDOG_CYCLES}
    spoilt = provocation.spoil(package, registers, rounds)
    program = spoilt.loader or package.loader
    constants = _with_programs(package, program, spoilt.programs)
    script = [
        *_run(constants, package.images(images), {**registers, **spoilt.registers}, at, base),
        Read(int(Register.STATUS)),
        Read(int(Register.ERROR_CAUSE)),
        Read(int(Register.ERROR_DETAIL)),
        Write(int(Register.COMMAND), int(HostCommand.RESET)),
        Poll(int(Register.STATUS), int(Status.STOPPING | Status.ERROR), 0, _POLL_CYCLES),
        Read(int(Register.STATUS)),
        *_run(package.constants, package.images(images), package.registers(rounds), at, 0),
        Read(int(Register.STATUS)),
        Dump(at["result"], rounds * package.items_of_round * package.item_bytes),
    ]
    dram = DramModel(
        size_bytes=max(1 << 16, 2 * base), error_range=spoilt.errors, beats_per_cycle=spoilt.beats_per_cycle
    )
    result = simulate(simulator, script, dram=dram, limits=_LIMITS)
    _, status, cause, detail, _, after, _, second = result.reads
    values = package.results(result.dumps[0], len(images))
    recovered = second == int(Status.DONE) and np.array_equal(values, expected)
    return Outcome(
        provocation.name, provocation.cause, ErrorCause(cause), detail, spoilt.detail(detail), status, after,
        recovered,
    )  # fmt: skip


def _example() -> tuple[Package, Int64s, Int64s]:
    """Returns a package for `VARIANT`, images, and what they give: two layers, the last of which gives more than is read."""
    rng = np.random.default_rng(0)
    first = Layer(
        "first", LayerKind.CONV, (IMAGE,), 2, 2, 4, 8, (3, 3), padding=(1, 1, 1, 1), act_bits=2, act_kind=ActKind.UNSIGNED,
        out_bits=2, out_kind=ActKind.UNSIGNED,
    )  # fmt: skip
    last = Layer(
        "last", LayerKind.CONV, ("first",), 8, 2, 4, 48, stride=(2, 2), act_bits=2, act_kind=ActKind.UNSIGNED,
        result=ResultKind.RAW,
    )  # fmt: skip
    layers = (first, last)
    workload = Workload("example", layers, 2, 2, 4, 2, ActKind.UNSIGNED)
    network = RandomNetwork("example", workload, {x.name: random_entry(x, rng) for x in layers})
    datapath = Datapath(VARIANT.engines, (0, 0), batch_frames=_BATCH_FRAMES)
    packed = package(lay_out(network, datapath), VARIANT.dram_bits, hardware=VARIANT.hardware)
    images = network.random_image(_BATCH_FRAMES * _ROUNDS, rng)
    return packed, images, network.integer_tensors(images)["last"].output


def _run(
    constants: bytes, images: bytes, registers: Mapping[Register, int], at: Mapping[str, int], base: int
) -> list[Command]:
    """Returns the host's commands of a run, up to its end."""
    return [
        Load(constants, base + at["weights"]),
        Load(images, base + at["image"]),
        *(Write(int(register), value) for register, value in registers.items()),
        Write(int(Register.COMMAND), int(HostCommand.START)),
        Poll(int(Register.STATUS), int(Status.BUSY), 0, _POLL_CYCLES),
    ]


def _with_programs(package: Package, loader: list[int], programs: Mapping[int, list[int]]) -> bytes:
    """Returns a package's constants with other programs of the same lengths."""
    body = bytearray(package.constants)
    body[: _BYTES * len(loader)] = b"".join(w.to_bytes(_BYTES, "little") for w in loader)
    for e, words in programs.items():
        section = next(s for s in package.sections if s.name == f"engine{e}.program")
        step = len(section.body) // section.words
        for k, value in enumerate(words):
            low = section.offset + k * step
            body[low : low + _BYTES] = value.to_bytes(_BYTES, "little")
    return bytes(body)


def _replaced(words: list[int], place: int, value: int) -> list[int]:
    return [*words[:place], value, *words[place + 1 :]]


def _place_of(words: list[int], number: int) -> int:
    """Returns the place of the first word of a field."""
    return next(k for k, w in enumerate(words) if w >> DATA_BITS == number)


def _loader_word(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    place = _place_of(package.loader, LoaderField.START_ENGINES)
    spoilt = _UNKNOWN_FIELD << DATA_BITS
    return Spoilt(lambda d: d == spoilt | place, loader=_replaced(package.loader, place, spoilt))


def _empty_program(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    return Spoilt(lambda d: d == 0xFF << DATA_BITS, registers={Register.PROGRAM_LENGTH: 0})


def _long_program(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    words = package.hardware.memory.program_words + 1
    return Spoilt(lambda d: d == 0xFF << DATA_BITS | words, registers={Register.PROGRAM_LENGTH: words})


def _short_program(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    """Cuts the program off before the engines start; memory behind it holds zeros, which halt."""
    place = _place_of(package.loader, LoaderField.START_ENGINES)
    return Spoilt(lambda d: d == 0, registers={Register.PROGRAM_LENGTH: place})


def _engine_word(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    engine = len(package.programs) - 1
    words = package.programs[engine]
    spoilt = _replaced(words, len(words) // 3, _UNKNOWN_FIELD << DATA_BITS)
    return Spoilt(lambda d: d == 1 << engine, programs={engine: spoilt})


def _too_many_tokens(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    token = package.tokens.results_free
    place = _place_of(package.loader, LoaderField.START_ENGINES)
    give = LoaderField.GIVE << DATA_BITS | token
    loop = [give, LoaderField.JUMP << DATA_BITS | place]  # gives for ever
    words = [*package.loader[:place], *loop, *package.loader[place + len(loop) :]]
    return Spoilt(lambda d: d == token, loader=words)


def _deadlock(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    """Lets the last engine wait for a token that nobody gives in the rounds."""
    engine = len(package.programs) - 1
    words = package.programs[engine]
    never = word(Field.WAIT, package.tokens.count)
    return Spoilt(lambda d: d == 0, programs={engine: _replaced(words, _place_of(words, Field.WAIT), never)})


def _no_store_token(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    return Spoilt(lambda d: d == 2 < rounds, registers={Register.STORE_TOKEN: NO_TOKEN})


def _read_error(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    low = registers[Register.IMAGE_BASE] + package.round_bytes // 2
    first, last = registers[Register.IMAGE_BASE], low + 4
    return Spoilt(lambda d: first <= d < last, errors=(low, last))


def _write_error(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    low, items = registers[Register.OUTPUT_BASE], rounds * package.items_of_round
    return Spoilt(lambda d: 0 < d <= items, errors=(low, low + 4))


def _overflow(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    """Lets more rounds be under way than the store holds, in front of a slow DRAM."""
    token, items = package.tokens.results_free, rounds * package.items_of_round
    wait = word(Field.WAIT, token)
    engine = package.hardware.storing
    words = [word(Field.SOURCE, _source_of(package)) if w == wait else w for w in package.programs[engine]]
    assert items > package.hardware.memory.item_depth
    return Spoilt(
        lambda d: d < items,
        programs={engine: words},
        beats_per_cycle=1 / 16,
        registers={Register.STORE_TOKEN: NO_TOKEN},
    )


def _source_of(package: Package) -> int:
    """Returns what the storing engine's last layer reads: setting it again changes nothing."""
    return int(package.layout.layers[-1].source)


def _too_many_results(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    """Tells the writer of fewer columns than come."""
    engine = package.hardware.storing
    names, words = package.hardware.engines[engine].extra_names, package.programs[engine]
    field_number = EXTRA_FIELDS + names.index("writer.columns")
    place = _place_of(words, field_number)
    columns = words[place] % (1 << DATA_BITS)
    assert columns > 1
    spoilt = _replaced(words, place, word(field_number, columns - 1))
    return Spoilt(lambda d: d == 1 << engine, programs={engine: spoilt})


def _too_few_results(package: Package, registers: Mapping[Register, int], rounds: int) -> Spoilt:
    """Tells the writer of more rows than come."""
    engine = package.hardware.storing
    names, words = package.hardware.engines[engine].extra_names, package.programs[engine]
    field_number = EXTRA_FIELDS + names.index("writer.rows")
    place = _place_of(words, field_number)
    return Spoilt(lambda d: d == 0, programs={engine: _replaced(words, place, words[place] + 1)})


PROVOCATIONS = tuple(
    Provocation(*row)
    for row in (
        ("unknown word in the loader's program", ErrorCause.LOADER_INSTRUCTION, _loader_word),
        ("loader's program of no words", ErrorCause.LOADER_INSTRUCTION, _empty_program),
        ("loader's program longer than its memory", ErrorCause.LOADER_INSTRUCTION, _long_program),
        ("loader's program cut off", ErrorCause.WATCHDOG, _short_program),
        ("unknown word in an engine's program", ErrorCause.ENGINE_INSTRUCTION, _engine_word),
        ("a token given for ever", ErrorCause.TOKEN, _too_many_tokens),
        ("an engine waits for what nobody gives", ErrorCause.WATCHDOG, _deadlock),
        ("the storer gives no tokens", ErrorCause.WATCHDOG, _no_store_token),
        ("a read answers SLVERR", ErrorCause.READ, _read_error),
        ("a write answers SLVERR", ErrorCause.WRITE, _write_error),
        ("results faster than DRAM takes them", ErrorCause.STORE_OVERFLOW, _overflow),
        ("more results than the writer was told of", ErrorCause.WRITER, _too_many_results),
        ("fewer results than the writer was told of", ErrorCause.WATCHDOG, _too_few_results),
    )
)
"""All ways to an error that are tried."""
