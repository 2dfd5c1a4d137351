"""What a writer is built for: the engine in front of it and the feature maps that it can fill.

Widths in bits, depths in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from foldwright.accel.datapath import MAX_BUILT_ENGINES
from foldwright.accel.slots import byte_runs, slot_bits
from foldwright.errors import ConfigError

__all__ = ["MapTarget", "WriterShape"]

_MOST_TARGETS = MAX_BUILT_ENGINES
_POSITION_BITS, _SUM_POSITION_BITS = 4, 6


@dataclass(frozen=True, slots=True)
class MapTarget:
    """A feature-map memory that a writer fills: that of an engine of `dn` lanes of `dk` bits."""

    dk: int
    planes_per_word: tuple[int, ...]
    dn: int
    is_batch: bool
    words: int
    byte_bits: int = 8

    @property
    def byte_runs(self) -> list[tuple[int, int]]:
        """The bytes of a lane word as (lowest bit, bits); each has a write enable."""
        return byte_runs(self.dk, self.planes_per_word, self.byte_bits)

    def slots(self, pa: int, dm: int) -> list[int]:
        """Returns the lowest bit of every slot of a plane."""
        return slot_bits(self.dk, self.planes_per_word, pa, dm, self.byte_bits)


@dataclass(frozen=True, slots=True)
class WriterShape:
    """The engine (`dm`, `dn`, `code_bits`, `acc_bits`, `drain_lanes`, whether lanes are frames) and what is behind it.

    `code_bits` is 0 for an engine that gives accumulators only. `pool_words` are the entries of the row memory of
    pooling, 0 without pooling. `store` says whether results may go to DRAM. `code_cycles` is how much later codes come than
    their accumulators where that is not `code_bits`, else 0. `sum_bits` is the width of a pooled sum, 0 where only maxima
    are pooled.

    Raises:
        ConfigError: blocks are not whole bytes of a target, fit none of its words, or the lanes do not go together.
    """

    dm: int
    dn: int
    code_bits: int
    acc_bits: int
    is_batch: bool
    drain_lanes: int = 1
    pool_words: int = 0
    targets: tuple[MapTarget, ...] = ()
    store: bool = False
    code_cycles: int = 0
    sum_bits: int = 0

    def __post_init__(self) -> None:
        wrong = [
            f"a word of dk={t.dk} bits and {t.planes_per_word} planes takes no block of dm={self.dm} channels"
            for t in self.targets
            if not any(t.slots(pa, self.dm) for pa in t.planes_per_word)
        ]
        if not self.targets and not self.store:
            wrong.append("results have no way to go; give a target or store=True")
        if len(self.targets) > _MOST_TARGETS:
            wrong.append(f"{len(self.targets)} targets, allowed 0..{_MOST_TARGETS}")
        if not self.code_bits and (self.targets or self.pool_words):
            wrong.append("accumulators can only be stored; targets and pooling need codes (levels > 0)")
        if self.sum_bits and not self.pool_words:
            wrong.append(f"sums of {self.sum_bits} bits without a row memory; give pool_words")
        if self.drain_lanes > 1 and not self._lanes_stay():
            wrong.append(
                f"drain_lanes={self.drain_lanes} lanes at once need frames in the lanes of the engine and, as many, "
                "of every target; take drain_lanes=1"
            )
        if wrong:
            raise ConfigError(f"writer of {self.dm}x{self.dn} results: " + "; ".join(wrong))

    def _lanes_stay(self) -> bool:
        return self.is_batch and all(t.is_batch and t.dn == self.dn for t in self.targets)

    @property
    def result_bits(self) -> int:
        """Bits of a result behind the pooling: of codes, or of their sums where those are wider."""
        return max(self.code_bits, self.sum_bits)

    @property
    def longest_window(self) -> int:
        """The most positions of a pooling window, and of its stride; sums are made for the whole of a map."""
        return (1 << self.position_bits) - 1

    @property
    def position_bits(self) -> int:
        """Bits of a position in a pooling window."""
        return _SUM_POSITION_BITS if self.sum_bits else _POSITION_BITS

    @property
    def search_cycles(self) -> int:
        """Cycles from accumulators to their codes."""
        return self.code_cycles or self.code_bits

    @property
    def lane_groups(self) -> int:
        """Beats of one block: groups of `drain_lanes` lanes."""
        return -(-self.dn // self.drain_lanes)

    @property
    def store_route(self) -> int:
        """The number of the route to DRAM; the targets have those below."""
        return len(self.targets)

    @property
    def most_writes(self) -> int:
        """The most words that one beat may need, one plane group after another."""
        least = [min(t.planes_per_word) for t in self.targets]
        return max([1, *(-(-self.result_bits // pa) for pa in least)])

    @property
    def store_bits(self) -> int:
        """Width of an item for DRAM."""
        return self.drain_lanes * self.dm * max(self.result_bits, self.acc_bits)
