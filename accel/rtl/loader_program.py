"""The program of the loader: 32-bit words `field << 24 | data` that set registers, move data and keep time.

Two readers run the same program. The *issuer* waits for tokens and asks DRAM for data, the *placer* puts the data into
memories when they come; so the reads of later transfers are under way while earlier ones arrive. A `LOAD` runs one transfer
with the registers as they stand; all keep their values but `GIVE_AFTER`, which holds for one transfer.

In DRAM a transfer is `FRAMES` times `RUNS` pieces of `RUN_BEATS` consecutive beats, `FRAME_BYTES` and `RUN_BYTES`
apart. The same beats fill, at the destination, frames x `ROWS` x `PIXELS` x `WORDS` words of `BEATS` beats:

| loop | address | lane |
|---|---|---|
| frame | `FRAME_STEP`; with batch lanes only where the lane wraps | batch lanes: next, behind the last comes 0 |
| row | `ROW_STEP` | column lanes: starts again |
| pixel | `PIXEL_STEP` to the next phase; in column lanes behind the last phase `PHASE_BACK`, or `GROUP_STEP` where the lane wraps | column lanes: next behind the last phase |
| word | 1 | |

Steps add to the address of the frame's, the row's or the pixel's first word. They and the addresses are taken modulo 2^16, so they
may be negative: `PHASE_BACK` is usually -(stride - 1) times the phase step. A `MIRROR` that is not 0 has every word
written a second time, that many addresses further on.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

from foldwright.accel.rtl.program import DATA_BITS
from foldwright.errors import ConfigError

__all__ = [
    "ENGINE_BITS",
    "MOST_ENGINES",
    "NO_TOKEN",
    "PLACE_BITS",
    "TOKEN_BITS",
    "WIDTHS",
    "Instruction",
    "Jump",
    "Label",
    "LoaderField",
    "Statement",
    "Transfer",
    "loader_words",
    "text_of",
    "wait_for",
]

TOKEN_BITS = 7
NO_TOKEN = 0x7F
PLACE_BITS = 16
MOST_ENGINES = 8
"""Of a loader that runs ahead."""
ENGINE_BITS = 4
_FLAG = 8  # bit of the flags beside a number of at most 8 bits


class LoaderField(IntEnum):
    """What a word does or sets."""

    HALT = 0
    LOAD = 1
    WAIT = 2  # token; from bit 8 on, number plus 1 of an engine behind whose end nobody waits any more
    GIVE = 3  # token
    START_ENGINES = 4  # for a loader that runs ahead: a bit per engine that it loads for until that ends
    ROUND = 5  # the image pointer goes on; stops behind the last round
    JUMP = 6  # word address
    NEXT_IMAGE = 7  # the image pointer goes on, but not behind the last round's; for a loader that runs ahead
    SOURCE_LOW = 16  # byte address, its low 24 bits
    SOURCE_HIGH = 17  # its high 8 bits; bit 8: behind the image pointer instead of the weights base
    RUNS = 18
    RUN_BEATS = 19
    RUN_BYTES = 20
    FRAMES = 21
    FRAME_BYTES = 22
    DEST = 23  # number of the memory; bit 8: batch lanes
    ADDRESS = 24
    ROWS = 25
    PIXELS = 26
    WORDS = 27
    BEATS = 28
    FRAME_STEP = 29
    ROW_STEP = 30
    PIXEL_STEP = 31
    PHASE_BACK = 32
    GROUP_STEP = 33
    PHASES = 34  # stride, phase of a row's first pixel << 8
    LANES = 35  # lanes, lane of the first pixel (or frame) << 8
    MIRROR = 36
    GIVE_AFTER = 37  # token given when the next transfer is in its memory


WIDTHS = {
    **dict.fromkeys(LoaderField, PLACE_BITS),
    **dict.fromkeys((LoaderField.SOURCE_LOW, LoaderField.RUN_BEATS), DATA_BITS),
    **dict.fromkeys((LoaderField.RUN_BYTES, LoaderField.FRAME_BYTES), DATA_BITS),
    **dict.fromkeys((LoaderField.SOURCE_HIGH, LoaderField.DEST), _FLAG + 1),
    **dict.fromkeys((LoaderField.GIVE, LoaderField.GIVE_AFTER), TOKEN_BITS),
    LoaderField.WAIT: _FLAG + ENGINE_BITS,
    LoaderField.START_ENGINES: MOST_ENGINES,
    LoaderField.BEATS: 10,
}
"""Bits of the data that a field uses."""

_SIGNED = {
    LoaderField.ADDRESS, LoaderField.FRAME_STEP, LoaderField.ROW_STEP, LoaderField.PIXEL_STEP,
    LoaderField.PHASE_BACK, LoaderField.GROUP_STEP, LoaderField.MIRROR,
}  # fmt: skip
_BARE = {
    LoaderField.HALT, LoaderField.LOAD, LoaderField.ROUND, LoaderField.NEXT_IMAGE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """One word."""

    field: LoaderField
    data: int = 0


def wait_for(token: int, engine: int | None = None) -> Instruction:
    """Returns the instruction that takes a token, or none where the engine that gives it has ended."""
    return Instruction(LoaderField.WAIT, token | (0 if engine is None else engine + 1) << _FLAG)


@dataclass(frozen=True, slots=True)
class Label:
    """A place that `Jump` names."""

    name: str


@dataclass(frozen=True, slots=True)
class Jump:
    """Goes on behind a label."""

    label: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """One `LOAD`. A memory that is filled word by word has one row, and its words are the pixels.

    Attributes:
        source: byte address behind the weights base, or behind the image pointer if `image` is set.
        row_bytes: from row to row in DRAM; 0 where they follow one another.
    """

    source: int
    dest: int
    image: bool = False
    address: int = 0
    frames: int = 1
    rows: int = 1
    pixels: int = 1
    words: int = 1
    beats: int = 1
    frame_bytes: int = 0
    row_bytes: int = 0
    frame_step: int = 0
    row_step: int = 0
    pixel_step: int = 1
    phase_back: int = 0
    group_step: int = 0
    stride: int = 1
    phase_start: int = 0
    lanes: int = 1
    lane_start: int = 0
    batch: bool = True
    mirror: int = 0
    give_after: int = NO_TOKEN

    def __post_init__(self) -> None:
        most = {"frames": 1 << 16, "rows": 1 << 16, "pixels": 1 << 16, "words": 1 << 16, "beats": 1 << 10}
        most |= {"stride": 1 << 8, "lanes": 1 << 8}
        wrong = [
            f"{n} {getattr(self, n)} is not in 1 .. {m - 1}"
            for n, m in most.items()
            if not 0 < getattr(self, n) < m
        ]
        limits = {"source": 1 << 32, "dest": 1 << 7, "frame_bytes": 1 << 24, "row_bytes": 1 << 24}
        limits |= {"phase_start": self.stride, "lane_start": self.lanes, "give_after": 1 << TOKEN_BITS}
        limits |= {"run_beats": 1 << 24}
        wrong += [
            f"{n} {getattr(self, n)} is not in 0 .. {m - 1}"
            for n, m in limits.items()
            if not 0 <= getattr(self, n) < m
        ]
        if wrong:
            raise ConfigError(f"transfer to memory {self.dest}: {'; '.join(wrong)}")

    @property
    def run_beats(self) -> int:
        """Consecutive beats of a row, or of a frame whose rows follow one another."""
        return (1 if self.row_bytes else self.rows) * self.pixels * self.words * self.beats

    def registers(self) -> dict[LoaderField, int]:
        """Returns what `LOAD` finds in the registers."""
        plain = {LoaderField[f.name.upper()]: getattr(self, f.name) for f in fields(self) if f.name in _PLAIN}
        return {
            LoaderField.SOURCE_LOW: self.source % (1 << DATA_BITS),
            LoaderField.SOURCE_HIGH: self.source >> DATA_BITS | self.image << _FLAG,
            LoaderField.RUNS: self.rows if self.row_bytes else 1,
            LoaderField.RUN_BEATS: self.run_beats,
            LoaderField.RUN_BYTES: self.row_bytes,
            LoaderField.DEST: self.dest | self.batch << _FLAG,
            LoaderField.PHASES: self.stride | self.phase_start << _FLAG,
            LoaderField.LANES: self.lanes | self.lane_start << _FLAG,
            **plain,
        }


_PLAIN = {
    "address", "frames", "rows", "pixels", "words", "beats", "frame_bytes", "frame_step", "row_step", "pixel_step",
    "phase_back", "group_step", "mirror", "give_after",
}  # fmt: skip


Statement = Instruction | Transfer | Label | Jump
"""What `loader_words` takes."""


def loader_words(steps: Sequence[Statement]) -> list[int]:
    """Returns the program memory's words. A register is set only where it changes or a label stands between.

    Raises:
        ConfigError: a jump goes to a label that is not there.
    """
    words: list[int] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    known: dict[LoaderField, int] = {}
    for step in steps:
        if isinstance(step, Label):
            labels[step.name] = len(words)
            known = {}
        elif isinstance(step, Jump):
            jumps.append((len(words), step.label))
            words.append(0)
        else:
            words += [_word(i.field, i.data) for i in _instructions(step, known)]
    for place, label in jumps:
        if label not in labels:
            raise ConfigError(f"word {place} jumps to label {label!r}; known: {', '.join(labels) or 'none'}")
        words[place] = _word(LoaderField.JUMP, labels[label])
    return words


def _instructions(step: Instruction | Transfer, known: dict[LoaderField, int]) -> Iterator[Instruction]:
    if isinstance(step, Instruction):
        known.pop(step.field, None)
        yield step
        return
    for field, value in step.registers().items():
        if known.get(field) != value:
            known[field] = value
            yield Instruction(field, value)
    known[LoaderField.GIVE_AFTER] = NO_TOKEN
    yield Instruction(LoaderField.LOAD)


def _word(field: LoaderField, data: int) -> int:
    return field << DATA_BITS | data % (1 << WIDTHS[field])


def text_of(words: Sequence[int]) -> list[str]:
    """Returns a program as text, one line an instruction.

    >>> text_of([0x04000003, 0x02000105, 0x02000005, 0x07000000])
    ['   0  START_ENGINES, ends with 0 1', '   1  WAIT 5 of engine 0', '   2  WAIT 5', '   3  NEXT_IMAGE']
    >>> text_of([0x1A000010, 0x2000FFFD, 0x2500007F, 0x01000000])
    ['   0  PIXELS 16', '   1  PHASE_BACK -3', '   2  GIVE_AFTER none', '   3  LOAD']
    """
    return [
        f"{place:4}  {_text(word >> DATA_BITS, word % (1 << DATA_BITS))}" for place, word in enumerate(words)
    ]


def _text(number: int, data: int) -> str:
    if number not in LoaderField.__members__.values():
        return f"? {number << DATA_BITS | data:#010x}"
    field = LoaderField(number)
    low, high = data % (1 << _FLAG), data >> _FLAG
    if field in _BARE:
        return field.name
    if field is LoaderField.SOURCE_HIGH:
        return f"{field.name} {low:#x} {'image' if high else 'weights'}"
    if field is LoaderField.DEST:
        return f"{field.name} {low} {'batch' if high else 'column'} lanes"
    if field is LoaderField.START_ENGINES:
        fed = " ".join(str(e) for e in range(MOST_ENGINES) if data >> e & 1)
        return f"{field.name}, ends with {fed}" if fed else field.name
    if field is LoaderField.WAIT and high:
        return f"{field.name} {low} of engine {high - 1}"
    if field is LoaderField.PHASES:
        return f"{field.name} {low} from {high}"
    if field is LoaderField.LANES:
        return f"{field.name} {low} from {high}"
    if field in (LoaderField.SOURCE_LOW, LoaderField.JUMP):
        return f"{field.name} {data:#x}"
    if field is LoaderField.GIVE_AFTER and data == NO_TOKEN:
        return f"{field.name} none"
    signed = field in _SIGNED and data >= 1 << PLACE_BITS - 1
    return f"{field.name} {data - (1 << PLACE_BITS) if signed else data}"
