"""Places in an engine's own map: addresses of tensors that live for a while, in a memory as small as that allows.

A tensor lives from the layer that makes it to the last one that reads it, counted in the engine's own order of layers.
Every round runs all layers of an engine before the next one begins, so no lifetime goes over a round's end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Lifetime", "place_tensors"]

_MOST_TRIES = 2000
_STEPS = 32


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A tensor's words, and the first and last layer of the engine's order at which it is there."""

    words: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


def place_tensors(tensors: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Returns the address of each tensor and the depth of the memory.

    Tensors that live at the same time never share a word. The depth is the most that lives at a time wherever places for
    that are found in a bounded search, else little more. In a chain, tensors lie at the two ends of the memory in turns.

    >>> place_tensors([Lifetime(4, 0, 1), Lifetime(2, 1, 2), Lifetime(3, 2, 3)])
    ([0, 4, 0], 6)
    """
    moments = {tensor.first for tensor in tensors}
    depth = max((sum(t.words for t in tensors if t.first <= now <= t.last) for now in moments), default=0)
    step = max(1, depth // _STEPS)
    while True:  # ends: with room for all side by side, the first choice of each is a place
        found = _placed(tensors, depth)
        if found is not None:
            return found, depth
        depth += step


def _placed(tensors: Sequence[Lifetime], depth: int) -> list[int] | None:
    """Returns addresses below `depth`, by depth-first search over the ends of the memory and of what lives meanwhile."""
    at: list[int] = []
    choices = [_choices(tensors, [], depth)] if tensors else []
    for _ in range(_MOST_TRIES):
        if len(at) == len(tensors):
            return at
        place = next(choices[-1], None)
        if place is None:
            choices.pop()
            if not choices:
                return None
            at.pop()
            continue
        at.append(place)
        if len(at) < len(tensors):
            choices.append(_choices(tensors, list(at), depth))
    return at if len(at) == len(tensors) else None


def _choices(tensors: Sequence[Lifetime], at: Sequence[int], depth: int) -> Iterator[int]:
    """Yields the places of the next tensor: the low end, the high end, then beside what lives meanwhile."""
    tensor = tensors[len(at)]
    taken = [(low, low + t.words) for low, t in zip(at, tensors, strict=False) if t.meets(tensor)]
    ends = [0, depth - tensor.words]
    ends += sorted(high for _, high in taken) + sorted(low - tensor.words for low, _ in taken)
    for place in dict.fromkeys(ends):
        fits = 0 <= place <= depth - tensor.words
        if fits and all(place + tensor.words <= low or high <= place for low, high in taken):
            yield place
