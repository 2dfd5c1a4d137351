"""The memory map: which tensor holds which words of a memory, and when."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from foldwright.report.data import Memory, MemoryBlock
from foldwright.report.scale import Linear, short
from foldwright.report.svg import axis_bottom, axis_left, element, picture, text

__all__ = ["MAX_BLOCKS", "MAX_MEMORIES", "draw_memories", "peak_words"]

MAX_BLOCKS = 1200
MAX_MEMORIES = 24
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 250, 52, 12, 34, 44
_COLOURS = 6
_CHARACTER = 6.2


def peak_words(blocks: Sequence[MemoryBlock]) -> int:
    """Returns the highest word, plus one, that any block holds."""
    return max((b.address + b.words for b in blocks), default=0)


def draw_memories(memories: Sequence[Memory], blocks: Sequence[MemoryBlock]) -> list[tuple[Memory, str]]:
    """Returns a picture for each memory that holds something, at most `MAX_MEMORIES`."""
    end = max((b.end for b in blocks), default=0)
    labels = list(dict.fromkeys(b.label for b in sorted(blocks, key=lambda b: b.start)))
    colour = {label: i % _COLOURS for i, label in enumerate(labels)}
    used = [m for m in memories if any(b.memory == m.name for b in blocks)][:MAX_MEMORIES]
    each = MAX_BLOCKS // max(1, len(used))
    pictures = []
    for k, memory in enumerate(used):
        inside = sorted((b for b in blocks if b.memory == memory.name), key=_area, reverse=True)[:each]
        pictures.append((memory, _draw(k, memory, inside, colour, end)))
    return pictures


def _area(block: MemoryBlock) -> int:
    return block.words * (block.end - block.start)


def _draw(k: int, memory: Memory, blocks: Sequence[MemoryBlock], colour: dict[str, int], end: int) -> str:
    high = max(memory.words, peak_words(blocks))
    x = Linear(0, max(end, 1), _LEFT, _WIDTH - _RIGHT)
    y = Linear(0, max(high, 1), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        axis_bottom(x, y.start, y.end, "cycles"),
        axis_left(y, x.start, x.end, "word address", short, 4),
        element("line", x1=x.start, x2=x.end, y1=y(memory.words), y2=y(memory.words), class_="ceiling"),
    ]
    parts += [_block(b, colour[b.label], x, y) for b in blocks]
    share = peak_words(blocks) / memory.words if memory.words else 0.0
    summary = f"{len(blocks)} tensors, at most {share:.0%} of {memory.words:,} words"
    return picture(f"memory-{k}", _WIDTH, _HEIGHT, f"Memory {memory.name}", summary, parts)


def _block(block: MemoryBlock, colour: int, x: Linear, y: Linear) -> str:
    left, right = x(block.start), x(block.end)
    top, bottom = y(block.address + block.words), y(block.address)
    tip = (
        f"{block.label}\nwords {block.address:,} to {block.address + block.words - 1:,}\n"
        f"cycles {block.start:,} to {block.end:,}"
    )
    rect = element(
        "rect",
        element("title", escape(tip)),
        x=left,
        y=top,
        width=max(right - left, 0.5),
        height=max(bottom - top, 0.5),
        class_=f"block f{colour}",
    )
    fits = right - left > _CHARACTER * len(block.label) + 6 and bottom - top > 13
    name = text((left + right) / 2, (top + bottom) / 2 + 4, block.label, "name", "middle") if fits else ""
    return rect + name
