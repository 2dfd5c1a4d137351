"""The form of a feature map that a writer fills: which word, slot and lane each of its values has.

Addresses count, from inside: channel word, convolution group, plane group, phase, data group, row, frame (or frame
group). Column lanes: column x of the padded map stands in lane `x // stride mod dn`, phase `x mod stride`; batch lanes:
frame f in lane `f mod dn`. Output channels are cut into parts, so that no block spans two groups of either layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foldwright.accel.workload import Layer
from foldwright.accel.writer_shape import MapTarget
from foldwright.errors import ConfigError

__all__ = ["MapForm"]


@dataclass(frozen=True, slots=True)
class MapForm:
    """The map between two layers: blocks of `dm` channels of `producer` in words of `pa` planes that `consumer` reads.

    `consumer` is a convolution over the map as it stands; a matrix product over a flattened map is one whose kernel is
    the whole map.

    Raises:
        ConfigError: the two do not go together, or no slot of the word takes a block.
    """

    producer: Layer
    consumer: Layer
    target: MapTarget
    dm: int
    pa: int

    def __post_init__(self) -> None:
        have = (self.producer.out_channels, self.producer.stored_height, self.producer.stored_width)
        need = (self.consumer.in_channels, self.consumer.in_height, self.consumer.in_width)
        wrong = []
        if have != need:
            wrong.append(f"{have} channels, rows and columns are given, {need} are read")
        if self.pa not in self.target.planes_per_word or not self.target.slots(self.pa, self.dm):
            wrong.append(
                f"{self.pa} planes per word of dk={self.target.dk} bits leave no slot for dm={self.dm}"
            )
        if wrong:
            raise ConfigError(
                f"map from {self.producer.name!r} to {self.consumer.name!r}: " + "; ".join(wrong)
            )

    @property
    def slots(self) -> int:
        """Blocks that one word takes."""
        return len(self.target.slots(self.pa, self.dm))

    @property
    def parts(self) -> int:
        return math.lcm(self.producer.groups, self.consumer.groups)

    @property
    def blocks_per_part(self) -> int:
        return -(-(self.producer.out_channels // self.parts) // self.dm)

    @property
    def blocks(self) -> int:
        return self.parts * self.blocks_per_part

    @property
    def blocks_per_group(self) -> int:
        """Blocks of one convolution group of the consumer, which begins a word."""
        return self.blocks // self.consumer.groups

    @property
    def group_words(self) -> int:
        return -(-self.blocks_per_group // self.slots)

    @property
    def plane_words(self) -> int:
        """Words of one plane group of a pixel."""
        return self.consumer.groups * self.group_words

    @property
    def plane_groups(self) -> int:
        return -(-self.consumer.act_bits // self.pa)

    @property
    def phase_words(self) -> int:
        return self.plane_groups * self.plane_words

    @property
    def phases(self) -> int:
        return 1 if self.target.is_batch else self.consumer.stride[1]

    @property
    def columns(self) -> int:
        """Data groups of a row: columns, or groups of `dn * stride` columns of the padded map."""
        width = self.consumer.in_width
        if self.target.is_batch:
            return width
        return -(-(width + self.consumer.padding[1]) // (self.phases * self.target.dn))

    @property
    def row_words(self) -> int:
        return self.columns * self.phases * self.phase_words

    @property
    def frame_words(self) -> int:
        """Words of a frame, or of a group of frames side by side."""
        return self.consumer.in_height * self.row_words

    def words(self, frames: int) -> int:
        """Returns the words that the map takes."""
        return self.frame_words * (-(-frames // self.target.dn) if self.target.is_batch else frames)

    def word_of_block(self, block: int) -> tuple[int, int]:
        """Returns word (within a plane group) and slot of a block, counted over all parts."""
        group, place = divmod(block, self.blocks_per_group)
        return group * self.group_words + place // self.slots, place % self.slots
