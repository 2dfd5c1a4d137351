"""The fields of a writer, and the events that go with every beat from its counters to the addresses."""

from __future__ import annotations

from amaranth.lib import data

from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.writer_shape import WriterShape

__all__ = ["event_layout", "pool_layout", "writer_layout"]

_PHASE_BITS = 4
_COUNT_BITS = 12
_EVENTS = (
    "live", "emit", "pixel_end", "column_step", "row_end", "row_step", "frame_end", "block_end"
)  # fmt: skip
_POOL_FLAGS = ("first_x", "keep_x", "close_x", "first_y", "keep_y", "close_y")


def writer_layout(shape: WriterShape) -> data.StructLayout:
    """Returns the fields of a tile; `writer_fields` says what they mean."""
    group = address_bits(shape.lane_groups)
    widths = {"raw": 1, "route": address_bits(len(shape.targets) + shape.store)}
    widths |= dict.fromkeys(("blocks", "frames", "rows", "columns"), _COUNT_BITS)
    widths |= {"last_group": group, "last_mask": shape.drain_lanes}
    widths["writes"] = shape.most_writes.bit_length()
    if shape.code_bits:
        widths["code_offset"] = shape.result_bits
    if shape.pool_words:
        widths |= _pool_widths(shape)
    if shape.targets:
        widths |= _place_widths(shape)
    return data.StructLayout(widths)


def _pool_widths(shape: WriterShape) -> dict[str, int]:
    names = (f"{name}_{axis}" for name in ("close", "wrap", "start") for axis in "xy")
    flags = ["overlap_x", "overlap_y", "finish_x", "finish_y", "fresh_y", "pool_keep"]
    if shape.sum_bits:
        flags.append("average")
    return {
        **dict.fromkeys(names, shape.position_bits),
        **dict.fromkeys(flags, 1),
        "pool_base": address_bits(shape.pool_words),
    }


def _place_widths(shape: WriterShape) -> dict[str, int]:
    address = max(address_bits(t.words) for t in shape.targets)
    most_slots = max(len(t.slots(pa, shape.dm)) for t in shape.targets for pa in t.planes_per_word)
    slot = address_bits(most_slots)
    lane = max(address_bits(t.dn) for t in shape.targets)
    steps = ("map_base", "per_frame", "per_row", "column_step", "phase_back", "plane_step")
    return {
        **dict.fromkeys(steps, address),
        **dict.fromkeys(("slot_start", "slot_last"), slot),
        **dict.fromkeys(("part_left", "part_last"), _COUNT_BITS),
        **dict.fromkeys(("frame_start", "frame_last", "lane_start", "lane_last"), lane),
        **dict.fromkeys(("phase_start", "phase_last"), _PHASE_BITS),
        "planes": max(1, max(address_bits(len(t.planes_per_word)) for t in shape.targets)),
    }


def event_layout(shape: WriterShape) -> data.StructLayout:
    """Returns what a beat is to the loops; every event is 0 without a live beat.

    `emit`: a result leaves the pooling. `pixel_end`: the last beat of a column of the convolution. `column_step`,
    `row_step`: that ends a column, a row behind the pooling. The other ends are those of the tile's loops.
    `lanes` marks the lanes of the beat that are real.
    """
    return data.StructLayout({**dict.fromkeys(_EVENTS, 1), "lanes": shape.drain_lanes})


def pool_layout(shape: WriterShape) -> data.StructLayout:
    """Returns what pooling needs to know of a beat.

    Per axis: `first`, the window begins here; `close`, it ends here; `keep`, it ends and the next one begins. `entry` is
    its word in the row memory, `group` its lane group.
    """
    places = {"entry": address_bits(max(1, shape.pool_words)), "group": address_bits(shape.lane_groups)}
    return data.StructLayout({**dict.fromkeys(_POOL_FLAGS, 1), **places})
