"""Fields of a writer by hand, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foldwright.accel.map_form import MapForm
from foldwright.accel.workload import ActKind, Layer, LayerKind, Pool, PoolKind
from foldwright.accel.writer_program import MapPlace, WriterTile, pool_entries, writer_fields
from foldwright.accel.writer_shape import MapTarget, WriterShape
from foldwright.errors import ConfigError

MAP = MapTarget(dk=16, planes_per_word=(1, 2), dn=2, is_batch=False, words=200, byte_bits=8)
SHAPE = WriterShape(dm=8, dn=3, code_bits=2, acc_bits=9, is_batch=False, pool_words=8, targets=(MAP,))
POOL = Pool(PoolKind.MAX, (3, 3), (2, 2), (1, 1, 1, 1))
GIVES = Layer("gives", LayerKind.CONV, ("image",), 1, 5, 5, 40, pool=POOL)
READS = Layer(
    "reads", LayerKind.CONV, ("gives",), 40, 3, 3, 8, (3, 3), (1, 2), (1, 1, 1, 1), act_bits=2, act_kind=ActKind.UNSIGNED
)  # fmt: skip
FORM = MapForm(GIVES, READS, MAP, dm=8, pa=1)
TILE = WriterTile(GIVES, blocks=(3, 5), rows=(2, 5), place=MapPlace(FORM, base=10))


def test_fields_of_a_tile_are_those_found_by_hand() -> None:
    # 5 blocks in words of 2 slots: 3 words, 2 planes of them: 6 words a phase. Columns 1..3 of the padded map stand at
    # (data group, lane, phase) (0, 0, 1), (0, 1, 0), (0, 1, 1): one data group of 12 words a row.
    fields = writer_fields(SHAPE, TILE)
    # The padded rows are -1..5, windows begin at -1, 1, 3; row 2 is position 1 of window 1, one window ended at row 1.
    # Block 3 stands in word 1, slot 1; column 0 in phase 1: 10 + 12 + 1 + 6 = 29.
    assert fields == {
        "raw": 0, "route": 0, "blocks": 2, "frames": 1, "rows": 3, "columns": 2, "last_group": 1, "last_mask": 1,
        "writes": 2, "code_offset": 0,
        "close_y": 2, "wrap_y": 2, "overlap_y": 1, "start_y": 1, "finish_y": 1, "fresh_y": 0,
        "close_x": 2, "wrap_x": 2, "overlap_x": 1, "start_x": 1, "finish_x": 1, "pool_keep": 1, "pool_base": 0,
        "map_base": 29, "slot_start": 1, "slot_last": 1, "part_left": 1, "part_last": 4,
        "frame_start": 0, "frame_last": 0, "per_frame": 36, "per_row": 12,
        "phase_start": 1, "phase_last": 1, "lane_start": 0, "lane_last": 1, "column_step": 6, "phase_back": -6,
        "plane_step": 3, "planes": 0,
    }  # fmt: skip
    assert pool_entries(SHAPE, TILE) == 2 * 3


BAD_TILES = {
    "no store": (replace(TILE, place=None), "they go to DRAM, but the writer was built without store"),
    "raw in a map": (replace(TILE, raw=True), "raw accumulators only go to DRAM"),
    "map too long": (
        replace(TILE, place=MapPlace(FORM, base=180)),
        "the map ends at word 216, the memory has 200",
    ),
    "wrong target": (
        replace(TILE, place=MapPlace(FORM, 1)),
        "target 1 is not the map that they are meant for",
    ),
    "too many blocks": (replace(TILE, blocks=(3, 6)), "blocks end at 6, the layer has 5"),
    "row memory": (replace(TILE, pool_base=3), "pooling needs 9 entries of the row memory, it has 8"),
    "overlap": (
        replace(TILE, layer=replace(GIVES, pool=replace(POOL, kernel=(4, 4)))),
        "pooling window 4 at stride 2 with 1 pixels of padding in front",
    ),
    "two ends": (
        replace(TILE, layer=replace(GIVES, pool=replace(POOL, padding=(1, 1, 1, 3)))),
        "2 pooling windows end behind pixel 4, at most one may",
    ),
    "average": (
        replace(TILE, layer=replace(GIVES, pool=replace(POOL, kind=PoolKind.AVERAGE), out_bits=5)),
        "pooled sums have 5 bits, the writer sums 0",
    ),
}


@pytest.mark.parametrize("name", BAD_TILES)
def test_a_tile_that_the_writer_cannot_do_is_refused(name: str) -> None:
    tile, message = BAD_TILES[name]
    with pytest.raises(ConfigError, match=f"results of layer 'gives': .*{message}"):
        writer_fields(SHAPE, tile)


def test_a_row_too_short_for_the_row_memory_is_refused() -> None:
    shape, gives = replace(SHAPE, dn=1), replace(GIVES, in_width=3)
    form = MapForm(gives, replace(READS, in_width=2), MAP, dm=8, pa=2)
    tile = WriterTile(gives, (0, 1), (0, 5), place=MapPlace(form))
    with pytest.raises(ConfigError, match="a row of 3 x 1 beats is shorter than 4 cycles"):
        writer_fields(shape, tile)
    assert writer_fields(shape, replace(tile, place=MapPlace(replace(form, pa=1))))["writes"] == 2


BAD_SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "half bytes": ({"dm": 12}, "dm=12 channels are not whole bytes of 8 bits"),
    "wide blocks": ({"dm": 24}, r"a word of dk=16 bits and \(1, 2\) planes takes no block of dm=24 channels"),
    "no way out": ({"targets": ()}, "results have no way to go"),
    "sums without rows": ({"pool_words": 0, "sum_bits": 5}, "sums of 5 bits without a row memory"),
    "no codes": ({"code_bits": 0, "store": True}, "accumulators can only be stored"),
    "many lanes": ({"drain_lanes": 3}, "drain_lanes=3 lanes at once need frames in the lanes"),
    "many targets": ({"targets": (MAP,) * 9}, r"9 targets, allowed 0\.\.8"),
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_shape_that_cannot_be_built_is_refused(name: str) -> None:
    changes, message = BAD_SHAPES[name]
    with pytest.raises(ConfigError, match=message):
        replace(SHAPE, **changes)


def test_layers_that_do_not_follow_one_another_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"'gives' to 'reads': \(40, 3, 3\) .* are given, \(41, 3, 3\) are read"
    ):
        replace(FORM, consumer=replace(READS, in_channels=41))
    with pytest.raises(ConfigError, match="4 planes per word of dk=16 bits leave no slot for dm=8"):
        replace(FORM, pa=4)
