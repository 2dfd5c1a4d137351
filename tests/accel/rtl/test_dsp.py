"""Arrays of DSP slices add the signed values of random words, block after block, in the cycles that are said."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.bitplanes import act_code
from foldwright.accel.datapath import Arithmetic, Engine, EngineKind
from foldwright.accel.dsp_shape import cascade_count, longest_cascade, skew_bits
from foldwright.accel.encoding import Encoding
from foldwright.accel.rtl.array import UnitArray, unit_latency
from foldwright.accel.rtl.dsp import places_of
from foldwright.accel.workload import ActKind, Layer, LayerKind, WeightKind
from foldwright.errors import ConfigError

from .support import play, word


def dsp(dm: int, values: int, dn: int, bits: int = 8, **rest: int) -> Engine:
    return Engine(dm, values * bits, dn, planes_per_word=(bits,), kind=EngineKind.DSP, **rest)  # type: ignore[arg-type]


ENGINES = {
    "one slice": dsp(1, 1, 1),
    "lanes that fill no slice": dsp(2, 3, 5, drain_lanes=2),
    "the longest cascade": dsp(1, 8, 4),
    "two cascades": dsp(2, 9, 3, drain_lanes=3),
    "four cascades, one shorter": dsp(1, 27, 6, acc_bits=18, drain_lanes=2),
    "three cascades": dsp(1, 20, 2),
    "nibbles": dsp(3, 17, 4, bits=4, acc_bits=13),
    "pairs": dsp(2, 12, 9, bits=2, acc_bits=9, drain_lanes=4),
    "narrow accumulators": dsp(1, 9, 2, acc_bits=7),
}


@pytest.mark.parametrize("technology", ["generic", "xc7-model", "xc7-words"])
@pytest.mark.parametrize("name", ENGINES)
def test_array_adds_signed_values_in_the_cycles_it_says(name: str, technology: str) -> None:
    """Random blocks, with shifts, and with cycles in between whose words must count nothing."""
    engine = ENGINES[name]
    rng = np.random.default_rng(list(name.encode()))
    array = UnitArray(engine, technology)
    assert array.latency == unit_latency(engine, technology) + 1
    bits = max(engine.planes_per_word)
    inputs: list[dict[str, int]] = []
    loads: dict[int, np.ndarray] = {}
    for block in range(6):
        total = np.zeros((engine.dn, engine.dm), dtype=np.int64)
        length = array.drain_cycles + int(rng.integers(1, 5))
        for step in range(length):
            x = rng.integers(0, 1 << bits, (engine.dn, engine.values))
            signs = rng.integers(0, 2, (engine.dm, engine.values))
            if block < 2:  # the ends of the range
                x[:], signs[:] = (1 << bits) - 1, block
            zero, shift = (int(step and v) for v in rng.random(2) < 0.3)
            total = (total << shift) + (0 if zero else x @ (2 * signs - 1).T)
            planes = np.stack([x >> k & 1 for k in range(bits)], axis=1)  # (lanes, planes, values)
            control = {"zero": zero, "shift": shift, "clear": int(step == 0), "load": int(step == length - 1)}
            weights = np.repeat(signs[:, None], bits, axis=1)
            inputs.append({"weights": word(weights), "acts": word(planes), **control})
        loads[len(inputs) - 1 + array.latency] = total
    idle = {"zero": 1, "shift": 0, "clear": 0, "load": 0}
    inputs += [dict(idle) for _ in range(array.latency + array.drain_cycles + 1)]
    for at in loads:
        for step in range(array.drain_cycles - 1):
            inputs[at + step - 1] |= {"step_next": 1}
    for values in inputs:
        values.setdefault("step_next", 0)
    seen = play(array, inputs, ["results"])
    for at, total in loads.items():
        for group in range(array.drain_cycles):
            lanes = total[group * engine.drain_lanes :][: engine.drain_lanes]
            got = seen[at + group]["results"]
            for k, want in enumerate(lanes.ravel().tolist()):
                have = got >> k * engine.acc_bits & (1 << engine.acc_bits) - 1
                assert have == want % (1 << engine.acc_bits), (name, at, group, k)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("values", [2, 7, 8, 9, 16, 17, 27, 40])
def test_cascades_hold_every_value_and_their_fields_every_sum(bits: int, values: int) -> None:
    engine = dsp(3, values, 5, bits)
    cascades = places_of(engine)
    assert sorted(value for cascade in cascades for value, _ in cascade) == list(range(values))
    assert len(cascades) == cascade_count(values, bits)
    longest = longest_cascade(values, bits)
    assert all([place for _, place in c] == list(range(longest - len(c), longest)) for c in cascades)
    assert longest * ((1 << bits) - 1) < 1 << 11
    places = [place for cascade in cascades for _, place in cascade]
    assert skew_bits(values, bits) == (sum(max(0, p - 1) for p in places), sum(places))


@pytest.mark.parametrize("technology", ["generic", "xc7", "xc7-words"])
def test_latency_is_that_of_the_array(technology: str) -> None:
    assert unit_latency(ENGINES["one slice"], technology) == 3  # operand, sum, accumulator
    assert unit_latency(ENGINES["four cascades, one shorter"], technology) == 7 + 2 + 2


def test_slices_are_one_for_each_value_of_four_lanes() -> None:
    assert dsp(8, 7, 11).dsp_slices == 8 * 3 * 7
    assert Engine(8, 56, 11).dsp_slices == 0


@pytest.mark.parametrize("weights", [k for k in WeightKind if k is not WeightKind.SIGNED])
@pytest.mark.parametrize("acts", list(ActKind))
def test_no_layer_needs_planes_of_negative_weight(weights: WeightKind, acts: ActKind) -> None:
    """So the array can do without `negate`; sums are signed already, so no constant is left either."""
    bits = {ActKind.BIPOLAR: 1}.get(acts, 8)
    weight_bits = {WeightKind.BINARY: 1, WeightKind.TERNARY: 2}.get(weights, 3)
    layer = Layer(
        "layer", LayerKind.CONV, ("image",), 3, 4, 4, 2, (1, 1),
        weight_bits=weight_bits, weight_kind=weights, act_bits=bits, act_kind=acts,
    )  # fmt: skip
    for value_bits in (2, 4, 8):
        encoding = Encoding(layer, dsp(1, 3, 1, value_bits), value_bits)
        assert not any(step.negate for step in encoding.steps)
        assert (encoding.corrections(np.full((2, 3, 1, 1), -1))[0] == 0).all()
        assert len(act_code(acts, bits).coefficients) == bits


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"planes_per_word": (1,)}, "one of 2, 4, 8 planes_per_word, got xnor and (1,)"),
        ({"planes_per_word": (2, 4)}, "one of 2, 4, 8 planes_per_word, got xnor and (2, 4)"),
        ({"planes_per_word": (8,), "arithmetic": Arithmetic.AND}, "kind dsp needs xnor arithmetic"),
    ],
)
def test_engine_says_what_the_kind_needs(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Engine(8, 64, 4, kind=EngineKind.DSP, **fields)  # type: ignore[arg-type]
    assert text in str(caught.value)
