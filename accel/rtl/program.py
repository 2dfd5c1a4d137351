"""The program of an engine: 32-bit words that set a field and, at the end of a layer tile, run it.

A word is `field << 24 | data`. `GO` waits until the results of the tile before have left, then runs the loops
with the fields as they stand while the next words are read; its data are up to three bytes, each a token that
is given when the tile's results are in memory, plus one (0: none). Fields and tables keep their values; a table
is written anew as a whole. `WAIT` takes a token, `ROUND` ends a round of frames (and the program after the last
one), `JUMP` goes on elsewhere, `HALT` stops. Fields from `EXTRA_FIELDS` on belong to what stands around the
core: writer, then window, then residual.

The loops of a tile, outermost first, with what each adds:

| loop | count | map address | weight index | other |
|---|---|---|---|---|
| convolution group | `GROUPS` | `MAP_PER_GROUP` | goes on | |
| block of channels | `BLOCKS` | | `WEIGHTS_PER_BLOCK` | thresholds: next word |
| frame | `FRAMES` | `MAP_PER_FRAME` | | rows start again |
| row | `ROWS` | `MAP_PER_ROW` | | input row `ROW_STEP` |
| column group | `COLUMNS` | `MAP_PER_COLUMN` | | data group `COLUMN_STEP` |
| step (pair of planes) | step table | the entry's | the entry's | negate, shift |
| kernel row | `KERNEL_ROWS` | `MAP_PER_KERNEL_ROW` | `WEIGHT_STEP` each | input row 1 |
| channel word | `WORDS` | 1 | `WEIGHT_STEP` each | |
| tap | slot table | the entry's | `WEIGHT_STEP` each | start, fill, read, data group |

Weights lie in the order in which they are used, so their index counts up within a step. An idle step counts
nothing for its duration: it shifts accumulators once more, reads what is added to a block's results, or fills a
block up to the drain's interval. Rows
outside 0 .. `ROW_LIMIT` - 1 and columns outside a slot's edges read as zero. All numbers are taken modulo the
width of their registers, so bases may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from foldwright.accel.datapath import Engine, Requant
from foldwright.accel.scale_words import SCALE_CYCLES, scale_bits

__all__ = [
    "DATA_BITS",
    "DURATION_BITS",
    "EXTRA_FIELDS",
    "GIVES",
    "GROUP_BITS",
    "LANE_BITS",
    "SLOTS",
    "STEPS",
    "TOKEN_BITS",
    "WORD_BITS",
    "Field",
    "Slot",
    "Step",
    "TileProgram",
    "code_bits",
    "result_cycles",
    "slot_words",
    "step_words",
    "text_of",
    "threshold_bits",
    "word",
    "words_of",
]

WORD_BITS = 32
DATA_BITS = 24
TOKEN_BITS = 8
GIVES = 3
"""Tokens that one tile can give."""
EXTRA_FIELDS = 64
STEPS = 64
SLOTS = 32
GROUP_BITS = 15
LANE_BITS = 8
DURATION_BITS = 8


def code_bits(levels: int) -> int:
    """Returns the bits of a code, which are the stages of the search for it."""
    return levels.bit_length()


def result_cycles(engine: Engine) -> int:
    """Returns the cycles from an engine's accumulators to their codes, 0 where they leave raw."""
    if engine.requant is Requant.SCALE_SHIFT and engine.levels:
        return SCALE_CYCLES
    return code_bits(engine.levels)


def threshold_bits(engine: Engine) -> int:
    """Returns the width of one channel in a threshold word: 2^A - 1 thresholds and the flip bit, or what scales it."""
    if engine.requant is Requant.SCALE_SHIFT:
        return scale_bits(engine)
    return ((1 << code_bits(engine.levels)) - 1) * engine.acc_bits + 1


class Field(IntEnum):
    """What a program word sets."""

    HALT = 0
    GO = 1
    GROUPS = 2
    BLOCKS = 3
    ROWS = 4
    COLUMNS = 5
    KERNEL_ROWS = 6
    WORDS = 7
    MAP_BASE = 8
    MAP_PER_GROUP = 9
    MAP_PER_ROW = 10
    MAP_PER_COLUMN = 11
    MAP_PER_KERNEL_ROW = 12
    WEIGHT_BASE = 13  # a weight index counts the smallest parts of words that a layer may use
    WEIGHTS_PER_BLOCK = 14
    ROW_START = 15
    ROW_STEP = 16
    ROW_LIMIT = 17
    COLUMN_START = 18
    COLUMN_STEP = 19
    THRESHOLD_BASE = 20
    PLANES = 21  # position in planes_per_word
    WEIGHT_STEP = 22
    FRAMES = 23
    MAP_PER_FRAME = 24
    SOURCE = 25  # what the tile reads: see `accelerator`
    WAIT = 26
    ROUND = 27
    JUMP = 28
    STEP_MAP = 32
    STEP_WEIGHT = 33
    STEP_FLAGS = 34  # last, idle, negate, shift, duration, residual; adds the entry
    SLOT_MAP = 40
    SLOT_LOW = 41  # first data group << 8 | lane that is not padding
    SLOT_HIGH = 42  # data group << 8 | lane where padding begins
    SLOT_FLAGS = 43  # last, start, fill, read, data group; adds the entry


@dataclass(frozen=True, slots=True)
class Step:
    """One pass over all taps for one pair of planes, or `idle` for `duration` cycles; those may read the `residual`."""

    map_offset: int = 0
    weight_offset: int = 0
    negate: bool = False
    shift: bool = False
    idle: bool = False
    duration: int = 1
    residual: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """One tap of a kernel row. `low` and `high` are (data group, lane), a half-open range of real columns."""

    map_offset: int
    data_group: int
    start: bool
    fill: bool
    low: tuple[int, int]
    high: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileProgram:
    """Everything that one `GO` needs. `fields` holds the plain registers."""

    fields: dict[Field, int]
    steps: tuple[Step, ...]
    slots: tuple[Slot, ...]

    @property
    def block_cycles(self) -> int:
        """Cycles of one block, which is also the interval between blocks."""
        inner = self.fields[Field.KERNEL_ROWS] * self.fields[Field.WORDS] * len(self.slots)
        return sum(step.duration if step.idle else inner for step in self.steps)

    @property
    def blocks(self) -> int:
        """Blocks of one run."""
        f = self.fields
        return f[Field.GROUPS] * f[Field.BLOCKS] * f[Field.FRAMES] * f[Field.ROWS] * f[Field.COLUMNS]


def words_of(tiles: list[TileProgram]) -> list[int]:
    """Returns the program memory's words for tiles that run one after another."""
    words: list[int] = []
    for tile in tiles:
        words += [word(field, value) for field, value in tile.fields.items()]
        words += [*step_words(tile), *slot_words(tile), word(Field.GO, 0)]
    return [*words, word(Field.HALT, 0)]


def step_words(tile: TileProgram) -> list[int]:
    """Returns the words that write the step table."""
    words = []
    for k, step in enumerate(tile.steps):
        last = k == len(tile.steps) - 1
        flags = last | step.idle << 1 | step.negate << 2 | step.shift << 3 | step.duration << 4
        flags |= step.residual << 4 + DURATION_BITS
        words += [word(Field.STEP_MAP, step.map_offset), word(Field.STEP_WEIGHT, step.weight_offset)]
        words.append(word(Field.STEP_FLAGS, flags))
    return words


def slot_words(tile: TileProgram) -> list[int]:
    """Returns the words that write the table of taps."""
    words = []
    for k, slot in enumerate(tile.slots):
        last = k == len(tile.slots) - 1
        flags = last | slot.start << 1 | slot.fill << 2 | slot.data_group << 3
        words += [word(Field.SLOT_MAP, slot.map_offset), word(Field.SLOT_LOW, _edge(slot.low))]
        words += [word(Field.SLOT_HIGH, _edge(slot.high)), word(Field.SLOT_FLAGS, flags)]
    return words


def word(field: int, value: int) -> int:
    """Returns a program word; values are taken modulo the data width."""
    return field << DATA_BITS | value % (1 << DATA_BITS)


def text_of(words: Sequence[int], extra_names: Sequence[str] = ()) -> list[str]:
    """Returns a program as text, one line an instruction; `extra_names` are those of the fields from `EXTRA_FIELDS` on.

    >>> text_of([0x02000003, 0x40000001, 0x1A000002, 0x01000300], ["writer.raw"])
    ['   0  GROUPS 3', '   1  writer.raw 1', '   2  WAIT 2', '   3  GO gives 2']
    """
    return [
        f"{place:4}  {_text(w >> DATA_BITS, w % (1 << DATA_BITS), extra_names)}"
        for place, w in enumerate(words)
    ]


def _text(number: int, data: int, extra_names: Sequence[str]) -> str:
    if EXTRA_FIELDS <= number < EXTRA_FIELDS + len(extra_names):
        return f"{extra_names[number - EXTRA_FIELDS]} {_signed(data)}"
    if number not in Field.__members__.values():
        return f"? {number << DATA_BITS | data:#010x}"
    field = Field(number)
    if field is Field.GO:
        gives = [(data >> TOKEN_BITS * k & 255) - 1 for k in range(GIVES)]
        return " ".join(["GO", *(f"gives {token}" for token in gives if token >= 0)])
    if field in (Field.STEP_FLAGS, Field.SLOT_FLAGS):
        names = (
            ("last", "idle", "negate", "shift") if field is Field.STEP_FLAGS else ("last", "start", "fill")
        )
        flags = [name for k, name in enumerate(names) if data >> k & 1]
        what, number = "group", data >> len(names)
        if field is Field.STEP_FLAGS:
            flags += ["residual"] * (number >> DURATION_BITS)
            what, number = "duration", number % (1 << DURATION_BITS)
        return " ".join([field.name, *flags, what, str(number)])
    if field in (Field.SLOT_LOW, Field.SLOT_HIGH):
        return f"{field.name} group {data >> LANE_BITS} lane {data % (1 << LANE_BITS)}"
    return field.name if field in (Field.HALT, Field.ROUND) else f"{field.name} {_signed(data)}"


def _signed(data: int) -> int:
    return data - (1 << DATA_BITS) if data >> DATA_BITS - 1 else data


def _edge(position: tuple[int, int]) -> int:
    return (position[0] % (1 << GROUP_BITS)) << LANE_BITS | position[1]
