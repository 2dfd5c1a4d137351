"""Nests as Timeloop's mappings: a text by hand, factors that make up every dimension, what Timeloop cannot say."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import pytest

from benchmarks.tiling_cases import ARRAYS, LAYERS
from foldwright.accel.loopnest.factors import explicit_loops
from foldwright.accel.loopnest.mapper import MapperParams, map_layer
from foldwright.accel.loopnest.nest import Convolution, Dim, Loop, LoopNest, PerOperand, Unroll
from foldwright.accel.loopnest.timeloop import timeloop_yaml
from foldwright.accel.loopnest.zigzag import read_zigzag
from foldwright.errors import ConfigError
from tests.accel.loopnest.samples import random_layer, random_nest
from tests.accel.loopnest.test_mapper import resnet_layer
from tests.support import ROOT

# 5 output channels in pairs, two pairs a tile: 4 and 1. In the very last round the pair loop runs once, and once in space.
NEST = LoopNest(
    Convolution("hand", 5, 3, 1, 4, 1, 1),
    Unroll(2, 3, 1),
    (Loop(Dim.K, 4), Loop(Dim.OX, 1)),
    2,
    PerOperand(1, 0, 2),
    PerOperand(2, 1, 2),
)
TEXT = """\
# layer hand: storage levels outermost first are DRAM, InputsBuffer, WeightsBuffer, OutputsBuffer, Array
# copies of a tile: 2 of weights, 1 of inputs, 2 of outputs; what tiles of inputs share stays
problem:
  shape:
    name: CNN_Layer
    dimensions: [M, C, Q, P, S, R, N]
    coefficients:
      - name: Wstride
        default: 1
      - name: Hstride
        default: 1
    data-spaces:
      - name: Weights
        projection: [[[C]], [[M]], [[R]], [[S]]]
      - name: Inputs
        projection: [[[N]], [[C]], [[R], [P, Wstride]], [[S], [Q, Hstride]]]
      - name: Outputs
        projection: [[[N]], [[M]], [[Q]], [[P]]]
        read-write: true
  instance:
    M: 5
    C: 3
    Q: 1
    P: 4
    S: 1
    R: 1
    N: 1
    Wstride: 1
    Hstride: 1
mapping:
  - target: DRAM
    type: temporal
    factors: M=1 C=1 Q=1 P=1 S=1 R=1 N=1
    permutation: MCQPSRN
  - target: DRAM
    type: bypass
    keep: [Weights, Inputs, Outputs]
    bypass: []
  - target: InputsBuffer
    type: temporal
    factors: M=2 C=1 Q=1 P=1 S=1 R=1 N=1
    permutation: CQPSRNM
  - target: InputsBuffer
    type: bypass
    keep: [Inputs]
    bypass: [Weights, Outputs]
  - target: WeightsBuffer
    type: temporal
    factors: M=1 C=1 Q=1 P=4 S=1 R=1 N=1
    permutation: MCQSRNP
  - target: WeightsBuffer
    type: bypass
    keep: [Weights]
    bypass: [Inputs, Outputs]
  - target: OutputsBuffer
    type: temporal
    factors: M=1 C=1 Q=1 P=1 S=1 R=1 N=1
    permutation: MCQPSRN
  - target: OutputsBuffer
    type: bypass
    keep: [Outputs]
    bypass: [Weights, Inputs]
  - target: Array
    type: temporal
    factors: M=2,1 C=1 Q=1 P=1 S=1 R=1 N=1
    permutation: CQPSRNM
  - target: Array
    type: bypass
    keep: []
    bypass: [Weights, Inputs, Outputs]
  - target: Array
    type: spatial
    factors: M=2,1 C=3 Q=1 P=1 S=1 R=1 N=1
    permutation: QPSRNCM
"""


def covered(text: str) -> dict[str, int]:
    """Returns the size of each dimension by Timeloop's own sum over its factors, outermost first."""
    last: dict[str, int] = {}
    for line in re.findall(r"factors: (.*)", text):
        for letter, count, rest in re.findall(r"([A-Z])=(\d+)(?:,(\d+))?", line):
            last[letter] = last.get(letter, 0) * int(count) + int(rest or count) - 1
    return {letter: value + 1 for letter, value in last.items()}


def sizes(text: str) -> dict[str, int]:
    return {k: int(v) for k, v in re.findall(r"^    ([A-Z]): (\d+)$", text, re.MULTILINE)}


def test_a_nest_is_written_level_by_level() -> None:
    assert timeloop_yaml(NEST) == TEXT


def test_factors_make_up_every_dimension() -> None:
    assert covered(TEXT) == sizes(TEXT) == {"M": 5, "C": 3, "Q": 1, "P": 4, "S": 1, "R": 1, "N": 1}
    for config in ARRAYS:
        for name in [layer.name for layer in LAYERS]:
            layer, array = resnet_layer(name, config)
            text = timeloop_yaml(map_layer(layer, array, MapperParams(200)).nest)
            assert covered(text) == sizes(text)


def test_mappings_of_zigzag_are_written_too() -> None:
    body = json.loads((ROOT / "benchmarks" / "data" / "zigzag_resnet18.json").read_text(encoding="utf-8"))
    written, refused = 0, list[str]()
    for row in body["rows"]:
        nest = read_zigzag(json.dumps(row["mapping"]), row["layer"]).nest
        try:
            text = timeloop_yaml(nest)
        except ConfigError as error:
            refused.append(str(error))
            continue
        assert covered(text) == sizes(text)
        written += 1
    assert written > 15
    assert all("has two loops of one dimension, which Timeloop cannot say" in text for text in refused)


@pytest.mark.parametrize("seed", range(60))
def test_counts_say_a_nest_or_it_is_refused(seed: int) -> None:
    r = random.Random(seed)
    nest = random_nest(r, random_layer(r))
    try:
        loops = explicit_loops(nest)
    except ConfigError:
        return
    for dim, size in nest.convolution.sizes.items():
        unit = {
            Dim.K: nest.unroll.out_channels,
            Dim.C: nest.unroll.in_channels,
            Dim.OX: nest.unroll.columns,
        }.get(dim, 1)
        value = 0
        for loop in loops:
            if loop.dim is dim:
                value = value * loop.count + loop.last - 1
        assert value + 1 == -(-size // unit)
    assert all(loop.count > 1 and 1 <= loop.last <= loop.count for loop in loops)


def test_two_loops_of_a_dimension_in_a_level_are_refused() -> None:
    loops = (Loop(Dim.OX, 2), Loop(Dim.K, 2), Loop(Dim.OX, 1))
    nest = replace(NEST, loops=loops, step_loops=3, outside=PerOperand(0, 0, 0))
    with pytest.raises(
        ConfigError,
        match=r"^level 'OutputsBuffer' has two loops of one dimension, which Timeloop cannot say$",
    ):
        timeloop_yaml(nest)
