"""Values of loop nests: checks with their whole message, round trips, damaged files."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from foldwright.accel.loopnest.nest import ArrayModel, Convolution, Dim, Loop, LoopNest, PerOperand
from foldwright.errors import ConfigError
from foldwright.jsonform import from_json, to_json
from tests.accel.loopnest.samples import ROW, SCALAR, random_array, random_layer, random_nest, row_nest


@pytest.mark.parametrize("seed", range(20))
def test_values_are_read_back_equal(seed: int) -> None:
    r = random.Random(seed)
    layer, array = random_layer(r), random_array(r, (100, 200, 300) if seed % 2 else (700,))
    nest = random_nest(r, layer)
    assert from_json(LoopNest, to_json(nest), "nest") == nest
    assert from_json(ArrayModel, to_json(array), "array") == array
    assert from_json(Convolution, to_json(layer), "layer") == layer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loops": (Loop(Dim.OX, 5),)}, "loop nest of 'row': loops[0] over OX: step is 5, allowed 1..4"),
        (
            {"loops": (Loop(Dim.OX, 2), Loop(Dim.OX, 3))},
            "loop nest of 'row': loops[1] over OX: step is 3, allowed 1..2",
        ),
        ({"loops": (Loop(Dim.OX, 0),)}, "loop nest of 'row': loops[0] over OX: step is 0, allowed 1..4"),
        ({"step_loops": 2}, "loop nest of 'row': step_loops is 2, allowed 0..1"),
        ({"outside": PerOperand(2, 0, 0)}, "loop nest of 'row': outside.weights is 2, allowed 0..1"),
        (
            {"copies": PerOperand(1, 3, 0)},
            "loop nest of 'row': copies.inputs is 3, allowed 1..2; copies.outputs is 0, allowed 1..2",
        ),
    ],
)
def test_a_nest_that_is_none_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(row_nest(1), **change)
    assert str(caught.value) == said


def test_too_many_steps_are_refused() -> None:
    layer = replace(ROW, out_height=2000, out_width=2000)
    with pytest.raises(
        ConfigError, match=r"^loop nest of 'row': number of steps is 4000000, allowed 1..1000000$"
    ):
        replace(row_nest(1), convolution=layer, loops=(Loop(Dim.OY, 1), Loop(Dim.OX, 1)), step_loops=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernel_width": 0}, "convolution 'row': kernel_width is 0, allowed 1..1048576"),
        (
            {"out_width": 1 << 20, "kernel_width": 1 << 20},
            "convolution 'row': out_width * kernel_width is 1099511627776, allowed 1..16777216",
        ),
    ],
)
def test_a_layer_that_is_none_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(ROW, **change)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dram_bits_per_cycle": 0}, "array 'scalar': dram_bits_per_cycle is 0, allowed 1..65536"),
        (
            {"buffer_bits": (1, 2)},
            "array 'scalar': buffer_bits has 2 entries, allowed are 1 (shared) or 3 (weights, inputs, outputs)",
        ),
    ],
)
def test_an_array_that_is_none_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(SCALAR, **change)
    assert str(caught.value) == said


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_nest_ends_in_a_message(seed: int) -> None:
    r, text = random.Random(seed), list(to_json(row_nest(2)))
    for _ in range(r.randint(1, 4)):
        text[r.randrange(len(text))] = r.choice('0123456789-{}[]",:.eaZ\x00\u00e9')
    with contextlib.suppress(ConfigError):
        from_json(LoopNest, "".join(text), "nest")


def test_a_loop_of_no_dimension_is_told_by_its_place() -> None:
    body = json.loads(to_json(row_nest(1)))
    body["loops"][0]["dim"] = "OZ"
    with pytest.raises(ConfigError, match=r"loops\.0\.dim: .*'OX'.* \(got 'OZ'\)"):
        from_json(LoopNest, json.dumps(body), "nest")
