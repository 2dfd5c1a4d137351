"""What an engine is built for that adds another tensor to its results, and the fields of that for a tile.

| field | meaning |
|---|---|
| `add` | the tile adds a residual; all else counts only then |
| `source` | the map in which it lies, its position in `ResidualShape.sources` |
| `base` | address of the tile's first word of it |
| `per_frame`, `per_row`, `per_column` | address steps; a column is a group of columns where they lie in lanes |
| `plane_step`, `planes` | address step to the next plane group; position of its planes per word in the engine's list |
| `slot_start`, `slot_last`, `part_left`, `part_last` | as the writer's (`accel.writer_program`): where blocks of channels stand |
| `lane` | column lanes: the lane of the first column; unless 0, every read is followed by one of the next group |
| `code_mask` | the bits of a code that are read; others are left over from tiles before |
| `sign_bit` | the bit whose change makes codes ascend with their values, 0 for none |
"""

from __future__ import annotations

from dataclasses import dataclass

from foldwright.accel.datapath import Engine, LaneMode
from foldwright.accel.map_form import MapForm
from foldwright.accel.slots import slot_bits

__all__ = ["ResidualShape", "residual_fields"]


@dataclass(frozen=True, slots=True)
class ResidualShape:
    """The engine, the widest code that it adds (`bits`), what leaves (`sum_bits`), and the maps that hold residuals.

    `words` is the depth of the deepest of them; `sources` has their numbers in programs, ascending.
    """

    engine: Engine
    bits: int
    sum_bits: int
    words: int
    sources: tuple[int, ...]

    @property
    def is_batch(self) -> bool:
        return self.engine.lanes is LaneMode.BATCH

    @property
    def slots(self) -> dict[int, list[int]]:
        """The lowest bits of the slots of a plane, by the planes of a word; only where blocks fit."""
        e = self.engine
        found = {pa: slot_bits(e.dk, e.planes_per_word, pa, e.dm, e.byte_bits) for pa in e.planes_per_word}
        return {pa: slots for pa, slots in found.items() if slots}

    @property
    def word_planes(self) -> int:
        """Planes of a word that are kept."""
        return min(self.bits, max(self.slots))

    @property
    def reads(self) -> int:
        """The most plane groups of a residual."""
        return -(-self.bits // min(self.slots))


def residual_fields(
    shape: ResidualShape, form: MapForm, block: int, row: int, *, base: int, source: int, sign_bit: int
) -> dict[str, int]:
    """Returns the fields of a tile by name.

    Args:
        form: of the map that holds the residual, its first word at `base`.
        source: the number of that map in programs.
        block: the tile's first one.
        row: the tile's first one, of the convolution's output.
    """
    word, slot = form.word_of_block(block)
    group, lane = (0, 0) if shape.is_batch else divmod(form.consumer.padding[1], shape.engine.dn)
    fields = {
        "add": 1,
        "base": base + word + row * form.row_words + group * form.phase_words,
        "per_frame": form.frame_words,
        "per_row": form.row_words,
        "per_column": form.phase_words,
        "plane_step": form.plane_words,
        "slot_start": slot,
        "slot_last": form.slots - 1,
        "part_left": form.blocks_per_group - 1 - block % form.blocks_per_group,
        "part_last": form.blocks_per_group - 1,
        "code_mask": (1 << form.consumer.act_bits) - 1,
        "sign_bit": sign_bit,
    }
    if len(shape.sources) > 1:
        fields["source"] = shape.sources.index(source)
    if len(shape.slots) > 1:
        fields["planes"] = list(shape.slots).index(form.pa)
    if not shape.is_batch:
        fields["lane"] = lane
    return fields
