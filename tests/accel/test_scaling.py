"""Scale and shift on engines: exact for every accumulator there is, refused where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldwright.accel.datapath import Arithmetic, Datapath, Engine, Requant
from foldwright.accel.encoding import Encoding, needed_acc_bits
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.layout import lay_out
from foldwright.accel.network import Network, load_network
from foldwright.accel.random_network import random_entry
from foldwright.accel.reference import levels_by_scale_shift
from foldwright.accel.scale_words import decode_scale_word, encode_scale_word, scale_bits
from foldwright.accel.scaling import fold_scale, result_words
from foldwright.accel.thresholds import ScaleShift
from foldwright.accel.verify import verify_network
from foldwright.accel.workload import IMAGE, ActKind, Layer, LayerKind, ResultKind, WeightKind
from foldwright.errors import ConfigError

MODELS = Path(__file__).resolve().parents[2] / "models"
SCALES = Requant.SCALE_SHIFT
ENGINE = Engine(4, 32, 2, planes_per_word=(1, 2), acc_bits=16, levels=15, requant=SCALES)


@pytest.fixture(scope="module", name="network")
def _network() -> Network:
    return load_network(MODELS / "digits_w1a2.onnx", requant="scale_shift")


def entry_of(kind: WeightKind, act: ActKind, act_bits: int, rng: np.random.Generator) -> IntegerLayer:
    bits = {WeightKind.BINARY: 1, WeightKind.TERNARY: 2}.get(kind, 3)
    layer = Layer(
        "a", LayerKind.CONV, (IMAGE,), 5, 4, 4, 10, (2, 2), weight_bits=bits, weight_kind=kind, act_bits=act_bits,
        act_kind=act, result=ResultKind.SCALE_SHIFT, out_bits=3, out_kind=ActKind.UNSIGNED,
    )  # fmt: skip
    return random_entry(layer, rng)


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
@pytest.mark.parametrize("kind", list(WeightKind))
@pytest.mark.parametrize(
    ("act", "act_bits"), [(ActKind.BIPOLAR, 1), (ActKind.UNSIGNED, 2), (ActKind.SIGNED, 2)]
)
@pytest.mark.parametrize("pa", [1, 2])
def test_words_give_the_level_of_every_accumulator(
    arithmetic: Arithmetic, kind: WeightKind, act: ActKind, act_bits: int, pa: int
) -> None:
    if kind is WeightKind.SIGNED and arithmetic is Arithmetic.XNOR:
        return
    entry = entry_of(kind, act, act_bits, np.random.default_rng(7))
    encoding = Encoding(entry.layer, replace(ENGINE, arithmetic=arithmetic), pa)
    engine = encoding.engine
    blocks = [np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]), np.array([8, 9, -1, -1])]
    words = result_words(entry, encoding, blocks, idle_code=5)
    channels = [c for word in words for c in decode_scale_word(engine, word)]
    assert entry.scale_shift is not None
    step = 2 if act is ActKind.BIPOLAR else 1  # of values that accumulators can have
    for c in range(10):
        values = np.arange(entry.acc_min[c], entry.acc_max[c] + 1, step)
        raw = encoding.raw_of(np.tile(values, (10, 1)), entry.weights)[c]
        assert np.abs(raw).max() < 1 << needed_acc_bits(entry, encoding) - 1
        m, b, s, most = (channels[c][name] for name in ("multiplier", "bias", "shift", "greatest"))
        tile = np.tile(values[:, None, None, None], (1, 10, 1, 1))
        want = levels_by_scale_shift(tile, entry.scale_shift, entry.levels, entry.negate)[:, c, 0, 0]
        assert np.array_equal(np.clip((raw * m + b) >> s, 0, most), want)
    for row in channels[10:]:  # whatever accumulates there
        assert (row["multiplier"], row["bias"] >> row["shift"]) == (0, 5)
        assert row["greatest"] >= 5


def test_rows_without_a_channel_give_code_0_unless_told_otherwise() -> None:
    entry = entry_of(WeightKind.BINARY, ActKind.UNSIGNED, 2, np.random.default_rng(1))
    [word] = result_words(entry, Encoding(entry.layer, ENGINE, 1), [np.array([0, -1, 1, -1])])
    for row in decode_scale_word(ENGINE, word)[1::2]:
        assert min(max(row["bias"] >> row["shift"], 0), row["greatest"]) == 0 == row["multiplier"]


def test_words_read_back_equal() -> None:
    low = {"multiplier": -(1 << 17), "bias": -5, "shift": 0, "greatest": 0}
    high = {"multiplier": (1 << 17) - 1, "bias": (1 << 37) - 1, "shift": 37, "greatest": 15}
    word = encode_scale_word(ENGINE, [low, high, high, low])
    assert decode_scale_word(ENGINE, word) == [low, high, high, low]
    assert word < 1 << 4 * scale_bits(ENGINE)
    assert scale_bits(ENGINE) == 18 + (16 + 18 + 4) + 6 + 4


def fitted(entry: IntegerLayer, multiplier: int, bias: int, shift: int) -> IntegerLayer:
    ones = np.ones(len(entry.weights), dtype=np.int64)
    return replace(entry, scale_shift=ScaleShift(multiplier * ones, bias * ones, shift * ones, 0 * ones))


def test_common_powers_of_two_leave_a_multiplier_that_fits() -> None:
    entry = entry_of(WeightKind.BINARY, ActKind.UNSIGNED, 2, np.random.default_rng(2))
    folded = fold_scale(fitted(entry, 3 << 20, 1 << 21, 22), Encoding(entry.layer, ENGINE, 1))
    assert {abs(m) for m in folded.multiplier} == {3}
    assert set(folded.shift) == {2}


def test_a_channel_of_one_level_needs_no_multiplier() -> None:
    entry = entry_of(WeightKind.BINARY, ActKind.UNSIGNED, 2, np.random.default_rng(2))
    folded = fold_scale(fitted(entry, 1, 13 << 39, 40), Encoding(entry.layer, ENGINE, 1))
    assert (set(folded.multiplier), set(folded.shift)) == ({0}, {0})
    assert set(folded.bias) == {6}


@pytest.mark.parametrize(
    ("engine", "fit", "said"),
    [
        (replace(ENGINE, levels=3), None, r"layer 'a' needs 7 levels and \d+ accumulator bits, but engine 4x32x2 has 3"),
        (replace(ENGINE, acc_bits=6), None, r"but engine 4x32x2 has 15 and 6; raise levels and acc_bits"),
        (ENGINE, (1 << 18 | 1, 0, 19), r"layer 'a', channel 0: multiplier -?262145, bias -?\d+, shift 19 do not fit the 18, 38"),
        (
            replace(ENGINE, requant=Requant.THRESHOLDS), None,
            r"layer 'a' needs results by scale_shift, engine 4x32x2 makes them by thresholds; set requant=scale_shift for",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(engine: Engine, fit: tuple[int, int, int] | None, said: str) -> None:
    entry = entry_of(WeightKind.BINARY, ActKind.UNSIGNED, 2, np.random.default_rng(2))
    entry = entry if fit is None else fitted(entry, *fit)
    with pytest.raises(ConfigError, match=said):
        result_words(entry, Encoding(entry.layer, engine, 1), [np.arange(4)])


def test_accumulators_wider_than_a_multiplier_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"acc_bits is 26, requant scale_shift allows 4\.\.25"):
        replace(ENGINE, acc_bits=26)


def test_a_layout_refuses_the_other_result_path(network: Network) -> None:
    engine = replace(ENGINE, dm=8, levels=3)
    thresholds = replace(engine, requant=Requant.THRESHOLDS)
    assert lay_out(network, Datapath((engine,), (0,) * 4)).engines[0].requant is SCALES
    with pytest.raises(
        ConfigError, match=r"layer 'conv1' needs results by scale_shift, engine 8x32x2 makes them by th"
    ):
        lay_out(network, Datapath((thresholds,), (0,) * 4))
    exact = load_network(MODELS / "digits_w1a2.onnx")
    with pytest.raises(
        ConfigError, match=r"'conv2' needs results by thresholds.*set requant=thresholds for the engine"
    ):
        lay_out(exact, Datapath((engine,), (0,) * 4))
    # The last layer leaves raw: either engine runs it.
    mixed = lay_out(network, Datapath((engine, thresholds), (0, 0, 0, 1)))
    assert [layer.engine for layer in mixed.layers] == [0, 0, 0, 1]


def test_every_layer_of_a_network_is_bit_exact_and_in_time(network: Network) -> None:
    first = Engine(3, 36, 3, planes_per_word=(1, 2), levels=3, window_bits=45, requant=SCALES)
    report = verify_network(network, Datapath((first,), (0,) * 4), seed=3, full_size=False)
    assert report.mismatches == 0
    assert all(row.rtl_cycles == row.formula_cycles for row in report.rows)
