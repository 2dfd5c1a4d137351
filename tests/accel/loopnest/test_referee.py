"""The referee: nests solved by hand, against sets of elements cycle by cycle, and what can never make a mapping slower."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.loopnest.nest import ArrayModel, Convolution, Dim, Loop, LoopNest, PerOperand, Unroll
from foldwright.accel.loopnest.port import INPUTS, SPAN_FIELDS, STORES, WEIGHTS, new_port, place
from foldwright.accel.loopnest.referee import new_workspace, referee
from foldwright.accel.loopnest.score import layer_bound, score, tile_bits
from foldwright.accel.loopnest.tables import array_row, layer_row, nest_rows
from foldwright.errors import IllegalSolutionError
from tests.accel.loopnest.samples import ROW, SCALAR, random_array, random_layer, random_nest, row_nest
from tests.accel.loopnest.slow_referee import slow_referee


def cycles(nest: LoopNest, array: ArrayModel) -> int:
    row, loops = nest_rows(nest)
    layer, work = layer_row(nest.convolution), new_workspace(nest.steps)
    return int(referee(layer, array_row(array), row, loops, 1 << 60, *work)[0])


def test_two_copies_use_every_beat_of_the_port() -> None:
    # The port carries a weight, four inputs and four outputs, a beat each: nine cycles is the bound.
    # Beats: 0 weight, 1 input 0, 2 input 1 (its copy is free), 3 and 4 input 2 and output 0 (step 2 needs both: the third input
    # takes the first one's copy, the third output that of output 0), 5 and 6 input 3 and output 1, 7 and 8 outputs 2 and 3.
    # Steps: 2, 3, 5, 7; the last output is there at 8.
    found = score(row_nest(2), SCALAR)
    assert found is not None
    assert (found.cycles, found.bound_cycles, found.compute_cycles, found.steps) == (9, 9, 4, 4)
    assert (found.weight_bits, found.input_bits, found.output_bits) == (8, 32, 32)
    assert found.buffer_bits == PerOperand(8, 16, 16)


def test_one_copy_makes_the_array_wait() -> None:
    # Step 0 at 2..3; then each step waits for the next input and for the output before it, one beat each: steps at 5, 8, 11; the
    # last output goes at 12.
    found = score(row_nest(1), SCALAR)
    assert found is not None
    assert found.cycles == 13


def test_sums_cut_outside_come_back() -> None:
    # Two input channels outside two outputs, whose buffer holds one: each output leaves as a sum of 2 beats, comes back and
    # leaves finished. Weights 2 beats, inputs 4; sums 2 x 2 out and in, outputs 2.
    layer = Convolution("sums", 1, 2, 1, 2, 1, 1)
    nest = LoopNest(
        layer, Unroll(1, 1, 1), (Loop(Dim.C, 1), Loop(Dim.OX, 1)), 2, PerOperand(0, 2, 2), PerOperand(1, 2, 2)
    )
    found = score(nest, replace(SCALAR, psum_bits=16))
    assert found is not None
    assert (found.psum_store_bits, found.psum_load_bits, found.output_bits) == (32, 32, 16)
    assert found.cycles == slow_referee(nest, replace(SCALAR, psum_bits=16)).cycles


def test_halos_stay_on_chip_along_the_moving_loop() -> None:
    # Three rows of outputs through a kernel of 3 rows read 5 rows; row by row without reuse that is 3 x 3.
    layer = Convolution("halo", 1, 1, 3, 1, 3, 1)
    nest = LoopNest(layer, Unroll(1, 1, 1), (Loop(Dim.OY, 1),), 1, PerOperand(0, 1, 1), PerOperand(1, 2, 2))
    moved = {halo: score(replace(nest, halo_reuse=halo), SCALAR) for halo in (True, False)}
    assert [found.input_bits for found in moved.values() if found] == [40, 72]


@pytest.mark.parametrize("seed", range(6))
def test_the_referee_equals_sets_of_elements(seed: int) -> None:
    r, compared = random.Random(seed), 0
    while compared < 25:
        layer = random_layer(r)
        nest, array = random_nest(r, layer), random_array(r)
        if nest.steps > 250:
            continue
        compared += 1
        row, loops = nest_rows(nest)
        got = referee(layer_row(layer), array_row(array), row, loops, 1 << 60, *new_workspace(nest.steps))
        want = slow_referee(nest, array)
        bits = (want.weights, want.inputs, want.psum_loads, want.psum_stores, want.outputs)
        assert (int(got[0]), *got[3:].tolist()) == (want.cycles, *bits), nest


@pytest.mark.parametrize("seed", range(4))
def test_copies_halos_and_larger_tiles_never_make_a_nest_slower(seed: int) -> None:
    r = random.Random(100 + seed)
    for _ in range(60):
        layer = random_layer(r)
        nest, array = random_nest(r, layer), random_array(r)
        before = cycles(nest, array)
        assert before >= layer_bound(layer, replace(array, out_channels=4, in_channels=4, columns=3))
        assert cycles(replace(nest, copies=PerOperand(2, 2, 2)), array) <= before
        if len({loop.dim for loop in nest.loops}) < len(nest.loops) or {Dim.FY, Dim.FX} & {
            x.dim for x in nest.loops
        }:
            continue
        assert cycles(replace(nest, halo_reuse=True), array) <= before
        kept = [max(0, getattr(nest.outside, o) - r.randint(0, 2)) for o in ("weights", "inputs", "outputs")]
        if nest.halo_reuse:
            assert cycles(replace(nest, outside=PerOperand(*kept)), array) <= before


def test_beyond_the_limit_nobody_counts() -> None:
    assert score(row_nest(1), SCALAR, limit=12) is None
    assert score(row_nest(1), SCALAR, limit=13) is not None


def test_the_port_serves_what_is_placed_first_from_its_release_on() -> None:
    port, spans = new_port(), np.empty((16, SPAN_FIELDS), dtype=np.int64)
    assert place(port, spans, INPUTS, 4, 2) == 6  # leaves 0..4 idle
    assert place(port, spans, INPUTS, 9, 1) == 10  # and 6..9
    assert place(port, spans, WEIGHTS, 2, 3) == 7  # 2, 3, then 6
    assert place(port, spans, STORES, 0, 2) == 2
    assert place(port, spans, STORES, 1, 4) == 12  # 7, 8, then behind the last


def test_an_output_made_in_one_cycle_needs_no_sum_in_the_buffer() -> None:
    array = replace(SCALAR, psum_bits=32, in_channels=2)
    assert tile_bits(row_nest(1), array).outputs == 8
    deep = replace(row_nest(1), convolution=replace(ROW, in_channels=2))
    assert tile_bits(deep, array).outputs == 32


@pytest.mark.parametrize(
    ("nest", "array", "said"),
    [
        (
            row_nest(2),
            replace(SCALAR, buffer_bits=(64, 8, 64)),
            "mapping of 'row': inputs need 16 bits, array 'scalar' has 8; cut smaller tiles or keep fewer copies",
        ),
        (
            row_nest(2),
            replace(SCALAR, buffer_bits=(39,)),
            "mapping of 'row': tiles need 40 bits of the pool, array 'scalar' has 39; cut smaller tiles or keep fewer copies",
        ),
        (
            row_nest(2),
            replace(SCALAR, double_buffered=False),
            "mapping of 'row' keeps two copies of a tile, array 'scalar' is not double buffered",
        ),
        (
            replace(row_nest(1), unroll=Unroll(2, 1, 1)),
            SCALAR,
            "mapping of 'row' unrolls 2 out_channels, array 'scalar' has 1; choose another array or mapping",
        ),
    ],
)
def test_what_an_array_cannot_run_is_refused(nest: LoopNest, array: ArrayModel, said: str) -> None:
    with pytest.raises(IllegalSolutionError) as caught:
        score(nest, array)
    assert str(caught.value) == said
