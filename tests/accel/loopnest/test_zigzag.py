"""ZigZag's results: read faithfully, refused with the reason, damaged ones too; ours written that way and read back."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.tiling_cases import ARRAYS
from foldwright.accel.loopnest.mapper import map_layer
from foldwright.accel.loopnest.nest import ArrayModel, Convolution, Dim, Loop, LoopNest, PerOperand, Unroll
from foldwright.accel.loopnest.score import best_replay, layer_bound, score
from foldwright.accel.loopnest.zigzag import read_zigzag, zigzag_json
from foldwright.errors import ConfigError, IllegalSolutionError
from tests.accel.loopnest.samples import SCALAR, row_nest
from tests.accel.loopnest.test_mapper import resnet_layer
from tests.support import ROOT, shared

DATA = json.loads((ROOT / "benchmarks" / "data" / "zigzag_resnet18.json").read_text(encoding="utf-8"))
ROWS = {(row["array"], row["layer"]): row for row in DATA["rows"]}


def result() -> dict[str, Any]:
    """Returns ZigZag's result for conv1 on the int8 array; its loops are in the first test."""
    return copy.deepcopy(ROWS["int8", "conv1"]["mapping"])


def test_a_result_is_read_loop_by_loop() -> None:
    # O: [['(OX, 7)', '(FX, 7)', '(K, 4)', '(FY, 7)'], ['(OY, 112)', '(OX, 16)']], innermost first; W and I wholly on chip; 16 of
    # K and all 3 of C in space. So OX goes in steps of 7 outside and of 1 inside, K in steps of what is unrolled.
    read = read_zigzag(json.dumps(result()), "conv1")
    loops = [(Dim.OX, 7), (Dim.OY, 1), (Dim.FY, 1), (Dim.K, 16), (Dim.FX, 1), (Dim.OX, 1)]
    assert read.is_open
    assert read.nest == LoopNest(
        Convolution("conv1", 64, 3, 112, 112, 7, 7, 2, 2),
        Unroll(16, 3, 1),
        tuple(Loop(*loop) for loop in loops),
        2,
        PerOperand(0, 0, 2),
        PerOperand(1, 1, 1),
    )


def test_all_mappings_of_the_benchmark_are_read_and_replayed() -> None:
    assert DATA["zigzag"] == "3.9.1"
    assert len(ROWS) == 22
    for (config, name), row in ROWS.items():
        layer, array = resnet_layer(name, config)
        read = read_zigzag(json.dumps(row["mapping"]), name)
        assert read.nest.convolution == layer
        if config == "w2a2":  # the others take longer
            nest, found = best_replay(read.nest, array, max_steps=1024)
            assert layer_bound(layer, array) <= found.cycles
            assert nest.steps <= 1024


def test_the_latencies_kept_are_those_of_the_reference_table() -> None:
    with shared("reference/zigzag_resnet18.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(r["config"], r["layer"]): float(r["zigzag_loma6_cycles"]) for r in rows} == {
        key: row["cycles"] for key, row in ROWS.items()
    }


def test_a_replay_tries_every_level_and_keeps_most_copies() -> None:
    # The row of test_referee as ZigZag would tell it: inputs and outputs move with OX, nothing says how many copies there are.
    nest, found = best_replay(row_nest(1), SCALAR)
    assert (nest.copies, found.cycles) == (PerOperand(1, 2, 2), 9)
    tight = ArrayModel("tight", 1, 1, 1, 8, 8, 8, 8, 8, (8, 8, 16))
    assert best_replay(row_nest(1), tight)[0].copies == PerOperand(1, 1, 2)
    with pytest.raises(IllegalSolutionError, match="inputs need 8 bits, array 'small' has 7"):
        best_replay(row_nest(1), ArrayModel("small", 1, 1, 1, 8, 8, 8, 8, 8, (8, 7, 16)))


@pytest.mark.parametrize("config", ARRAYS)
@pytest.mark.parametrize("name", ["conv1", "l2_0", "l4_ds"])
def test_ours_written_that_way_is_read_back_and_scores_the_same(name: str, config: str) -> None:
    layer, array = resnet_layer(name, config)
    found = map_layer(layer, array)
    text = zigzag_json(found.nest, array)
    read = read_zigzag(text, "ours")
    assert not read.is_open
    assert score(read.nest, array) == found.score
    assert zigzag_json(read.nest, array) == text


def test_a_tile_that_counts_cannot_say_is_refused() -> None:
    layer = Convolution("odd", 8, 1, 1, 1, 1, 1)
    nest = LoopNest(layer, Unroll(2, 1, 1), (Loop(Dim.K, 3),), 1, PerOperand(1, 0, 1), PerOperand(1, 1, 1))
    with pytest.raises(ConfigError) as caught:
        zigzag_json(nest, SCALAR)
    assert str(caught.value) == (
        "mapping of 'odd': a tile of 3 K is no multiple of the 2 inside it, which counts of loops cannot say; map with tiles "
        "that are"
    )


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = to

    return change


def _drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        del body[path[-1]]

    return change


TEMPORAL, SPATIAL = ("inputs", "temporal_mapping"), ("inputs", "spatial_mapping")
LAYER = ("inputs", "layer")
DIMS = "known: C, FX, FY, K, OX, OY"
REFUSED = [
    (_drop("inputs"), "f: has no 'inputs'; known: "),
    (_drop(*LAYER), "f: inputs: has no 'layer'; known: accelerator, spatial_mapping, temporal_mapping"),
    (_set(*LAYER, to=[]), "f: inputs.layer: is list, dict is needed"),
    (
        _set(*LAYER, "loop_dimensions", "B", to=4),
        "f: inputs.layer.loop_dimensions.B: is 4, only 1 can be scored: map one image and one group at a time",
    ),
    (
        _set(*LAYER, "loop_dimensions", "OZ", to=4),
        f"f: inputs.layer.loop_dimensions.OZ: no loop of a convolution; did you mean 'OY'? {DIMS}",
    ),
    (
        _set(*LAYER, "loop_dimensions", "K", to=1.5),
        "f: inputs.layer.loop_dimensions.K: is 1.5, a whole number is needed",
    ),
    (
        _set(*LAYER, "loop_dimensions", "K", to=0),
        "f: inputs.layer: convolution 'conv1': out_channels is 0, allowed 1..1048576",
    ),
    (
        _set(*LAYER, "equation_relations", 0, to="IX = 2*OX + 2*FX"),
        "f: inputs.layer.equation_relations: 'IX = 2*OX + 2*FX' has a dilation of 2, only 1 can be scored",
    ),
    (
        _set(*LAYER, "equation_relations", 0, to="IX = 2*OY + 1*FX"),
        "f: inputs.layer.equation_relations: 'IX = 2*OY + 1*FX' is not like 'IX = 2*OX + 1*FX'",
    ),
    (
        _set(*TEMPORAL, "O", 0, 0, to="(OX; 7)"),
        "f: inputs.temporal_mapping.O[0]: '(OX; 7)' is not a loop like '(K, 4)'",
    ),
    (
        _set(*TEMPORAL, "O", 0, 0, to="(OX, 0)"),
        "f: inputs.temporal_mapping.O[0]: '(OX, 0)' is not a loop like '(K, 4)'",
    ),
    (
        _set(*TEMPORAL, "O", 0, 0, to="(IX, 7)"),
        f"f: inputs.temporal_mapping.O[0]: '(IX, 7)' is no loop of a convolution; did you mean 'OX'? {DIMS}",
    ),
    (
        _set(*TEMPORAL, "O", 0, 0, to="(OX, 5)"),
        "f: inputs.temporal_mapping.O: the loops are not in the order of W's",
    ),
    (_set(*TEMPORAL, "O", to=[]), "f: inputs.temporal_mapping.O: has 0 levels, allowed 1..16"),
    (
        _set(*TEMPORAL, "O", to=[[]]),
        "f: inputs.temporal_mapping.O: has 1 levels, but the accelerator has 2 memories for outputs; at least a buffer and "
        "DRAM are needed, and loops for each",
    ),
    (
        _set(*SPATIAL, "W", 0, 0, to="(FX, 7)"),
        "f: inputs.spatial_mapping: the operands do not unroll the same loops",
    ),
    (
        _set(*SPATIAL, "W", 2, to=["(K, 2)"]),
        "f: inputs.spatial_mapping.W[2]: unrolls DRAM, of which there is one",
    ),
    (
        _set(*SPATIAL, "W", to=[[], []]),
        "f: inputs.spatial_mapping.W: has 2 levels, 3 are needed: the array's and each memory's",
    ),
    (
        _set("inputs", "accelerator", "mem_hierarchy_dict", "I2", 1, to="rom"),
        "f: inputs.accelerator.mem_hierarchy_dict: the last memory is not the same for all operands: {'W': 'rom', 'I': "
        "'MemoryLevel(instance=dram,operands=[I1, I2, O], served_dimensions={D1, D2, D3})', 'O': "
        "'MemoryLevel(instance=dram,operands=[I1, I2, O], served_dimensions={D1, D2, D3})'}",
    ),
    (_set("foldwright", to=1), "f.foldwright: is int, dict is needed"),
    (
        _set("foldwright", to={"copies": [1, 1]}),
        "f: foldwright.copies: is [1, 1], three whole numbers are needed: weights, inputs, outputs",
    ),
    (
        _set("foldwright", to={"copies": [1, 1, 1], "step_loops": True, "halo_reuse": True}),
        "f: foldwright.step_loops: is bool, int is needed",
    ),
    (
        _set("foldwright", to={"copies": [1, 1, 3], "step_loops": 1, "halo_reuse": True}),
        "f: inputs: loop nest of 'conv1': outside.outputs is 2, allowed 0..1; copies.outputs is 3, allowed 1..2",
    ),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_what_cannot_be_scored_is_refused_with_the_place(
    change: Callable[[dict[str, Any]], None], said: str
) -> None:
    body = result()
    change(body)
    with pytest.raises(ConfigError) as caught:
        read_zigzag(json.dumps(body), "f")
    assert str(caught.value) == said


def _everywhere(old: str, new: str) -> str:
    return json.dumps(result()).replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(OY, 112)", "(OY, 56)", "temporal_mapping: loops over OY cover 56 of 112"),
        (
            "(OY, 112)",
            "(OY, 113)",
            "temporal_mapping: loops over OY run past its 112: 113 iterations of 1 are too many",
        ),
        (
            "(C, 3)",
            "(FX, 7)",
            "spatial_mapping: unrolls FX by 7; the arrays here unroll K, C and OX alone",
        ),
        (
            "(FY, 7)",
            "(FY, 9999999)",
            "temporal_mapping: loops over FY run past its 7: 9999999 iterations of 1 are too many",
        ),
    ],
)
def test_loops_that_miss_the_layer_are_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_zigzag(_everywhere(old, new), "f")
    assert str(caught.value) == f"f: inputs.{said}"


@pytest.mark.parametrize(
    "text", ["", "[1]", "7", "{", '{"inputs": NaN}', "[" * 100_000, '{"inputs": {"layer": {}}}']
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f: "):
        read_zigzag(text, "f")


@pytest.mark.parametrize("seed", range(300))
def test_a_damaged_result_ends_in_a_message(seed: int) -> None:
    r, text = random.Random(seed), list(json.dumps(result()))
    for _ in range(r.randint(1, 5)):
        text[r.randrange(len(text))] = r.choice('0123456789()[]{}",: KCOXYF\x00')
    with contextlib.suppress(ConfigError):
        read_zigzag("".join(text), "f")
