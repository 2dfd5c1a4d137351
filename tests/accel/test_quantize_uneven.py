"""Quantizers with uneven levels against their definitions, and what any levels cost an engine."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foldwright.accel import quantize_uneven
from foldwright.accel.bitplanes import weight_code
from foldwright.accel.mapping import weight_planes as planes_in_kernel
from foldwright.accel.quantize import (
    BalancedQuantizer,
    DorefaWeight,
    OddQuantizer,
    Quantizer,
    SymmetricQuantizer,
)
from foldwright.accel.quantize_uneven import LogQuantizer, MuLawQuantizer, named_quantizer, weight_planes
from foldwright.accel.tables import W_BINARY, W_ODD, W_SIGNED, W_TERNARY
from foldwright.accel.workload import WeightKind
from foldwright.errors import ModelError
from tests.support import ROOT

KERNEL_KIND = {
    WeightKind.BINARY: W_BINARY,
    WeightKind.TERNARY: W_TERNARY,
    WeightKind.ODD: W_ODD,
    WeightKind.SIGNED: W_SIGNED,
}
VALUES = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-50, 50, allow_subnormal=False))


def test_log_levels_are_zero_and_powers_of_two() -> None:
    assert LogQuantizer(2).levels == (-1, 0, 1)
    assert LogQuantizer(3).levels == (-4, -2, -1, 0, 1, 2, 4)
    assert LogQuantizer(4).levels[-7:] == (1, 2, 4, 8, 16, 32, 64)


def test_log_takes_the_level_that_is_nearest_by_value() -> None:
    # The largest magnitude on the largest level is the best scale of values that are levels: 8 -> 4, so scale 2.
    quantized = LogQuantizer(3).to_integers(np.array([8.0, -4.0, 2.0, 0.0, -8.0]))
    assert quantized.scale == 2.0
    assert quantized.integers.tolist() == [4, -2, 1, 0, -4]
    # Borders of 0, 1, 2, 4 lie in the middle: 0.5, 1.5, 3; a tie goes away from 0, on both sides.
    nearest = LogQuantizer(3)._nearest(np.array([0.49, 0.5, -0.5, 1.49, -1.5, 2.99, 3.0, 99.0]))
    assert nearest.tolist() == [0, 1, -1, 1, -2, 2, 4, 4]


@settings(max_examples=60)
@given(x=VALUES, bits=st.integers(2, 4))
def test_log_never_leaves_a_value_to_a_level_that_is_farther(x: np.ndarray, bits: int) -> None:
    quantizer = LogQuantizer(bits)
    quantized = quantizer.to_integers(x)
    levels = np.array(quantizer.levels) * quantized.scale
    chosen = np.abs(quantized.values() - x)
    nearest = np.abs(levels[:, None] - x).min(axis=0)
    # The scale is refined after the levels are chosen, so a value near a border may be a little nearer to the next one.
    assert np.square(chosen).sum() <= np.square(x).sum() + 1e-9
    assert (chosen <= nearest + 0.5 * np.abs(x).max()).all()


@settings(max_examples=60)
@given(x=VALUES, name=st.sampled_from(["odd-1", "odd-2", "odd-3", "log-2", "log-3"]))
def test_the_scale_is_that_of_least_squared_error_for_its_integers(x: np.ndarray, name: str) -> None:
    quantized = named_quantizer(name).to_integers(x)
    integers = quantized.integers.astype(np.float64)
    best = float((integers * x).sum() / np.square(integers).sum()) if integers.any() else 1.0
    if best > 0:
        assert quantized.scale == pytest.approx(best, rel=1e-9)


def test_one_odd_bit_is_the_sign_times_the_mean_magnitude() -> None:
    x = np.random.default_rng(0).normal(size=100)
    ours, dorefa = OddQuantizer(1).to_integers(x), DorefaWeight(1).to_integers(x)
    np.testing.assert_array_equal(ours.integers, dorefa.integers)
    assert ours.scale == dorefa.scale


def test_odd_levels_disturb_a_bell_less_than_the_other_quantizers_of_as_many_planes() -> None:
    x = np.random.default_rng(0).normal(size=4000)

    def error(quantizer: Quantizer) -> float:
        return float(np.square(quantizer.forward(x) - x).mean())

    for bits in (2, 3, 4):
        odd = error(OddQuantizer(bits))
        assert odd < min(
            error(BalancedQuantizer(bits)), error(DorefaWeight(bits)), error(SymmetricQuantizer(bits))
        )
    # Max's uniform quantizer of 4 levels for a normal source has the error 0.1188 (J. Max, IRE IT-6, 1960).
    assert error(OddQuantizer(2)) == pytest.approx(0.1188, rel=0.05)


def test_mu_law_follows_its_formula() -> None:
    # 3 bits: codes 0..3 expand to 0, (256^(1/3) - 1)/255 = 0.02098, (256^(2/3) - 1)/255 = 0.15419, 1; times 63.
    assert MuLawQuantizer(3).levels == (-63, -10, -1, 0, 1, 10, 63)
    x = np.array([1.0, 0.15, -0.02, 0.001, -1.0])
    quantized = MuLawQuantizer(3).to_integers(x)
    assert quantized.scale == pytest.approx(1 / 63)
    assert quantized.integers.tolist() == [63, 10, -1, 0, -63]


def test_mu_law_serves_small_values_in_8_bits_as_12_evenly_spaced_ones_do() -> None:
    x = np.concatenate([[1.0], np.random.default_rng(0).uniform(-0.01, 0.01, 5000)])

    def error(quantizer: Quantizer) -> float:
        return float(np.square(quantizer.forward(x) - x)[1:].mean())

    # Up to a hundredth of the peak: near 12 even bits on the grid of 12, better on that of 14, as G.711 has it.
    assert error(MuLawQuantizer(8)) < 1.4 * error(SymmetricQuantizer(12))
    assert error(MuLawQuantizer(8, linear_bits=14)) < error(SymmetricQuantizer(12))
    assert error(MuLawQuantizer(8)) < error(SymmetricQuantizer(8)) / 100


@settings(max_examples=60)
@given(x=hnp.arrays(np.float64, 30, elements=st.floats(0.003, 1.0)))
def test_the_relative_error_of_mu_law_is_bounded_over_decades(x: np.ndarray) -> None:
    x = np.concatenate([[1.0], x])
    fine = MuLawQuantizer(8, linear_bits=16)
    # A step of the compander is ln(256)/127 of (x + 1/255): half of it, and half of an integer.
    bound = 0.5 * np.log(256) / 127 * (x + 1 / 255) * 1.03 + 0.5 / 32767
    assert (np.abs(fine.forward(x) - x) <= bound).all()


@pytest.mark.parametrize(
    ("name", "kind", "xnor", "and_planes"),
    [
        ("odd-1", WeightKind.BINARY, 1, 2),
        ("odd-3", WeightKind.ODD, 3, 4),
        ("balanced-2", WeightKind.ODD, 2, 3),
        ("log-2", WeightKind.TERNARY, 2, 2),
        ("log-3", WeightKind.SIGNED, 0, 4),  # +4 needs four bits of two's complement
        ("log-4", WeightKind.SIGNED, 0, 8),
        ("mulaw-8", WeightKind.SIGNED, 0, 12),
        ("symmetric-4", WeightKind.SIGNED, 0, 4),
    ],
)
def test_planes_are_those_that_the_mapping_counts(
    name: str, kind: WeightKind, xnor: int, and_planes: int
) -> None:
    found = weight_planes(named_quantizer(name))
    assert found.kind is kind
    assert found.and_planes == and_planes == planes_in_kernel(KERNEL_KIND[kind], found.bits, 1)
    assert planes_in_kernel(KERNEL_KIND[kind], found.bits, 0) == xnor
    assert found.planes == (xnor or and_planes)


@pytest.mark.parametrize("name", ["log-2", "log-3", "log-4", "mulaw-3", "mulaw-4", "odd-1", "odd-4"])
def test_bit_planes_hold_every_level(name: str) -> None:
    quantizer = named_quantizer(name)
    found = weight_planes(quantizer)
    code = weight_code(found.kind, found.bits)
    assert set(quantizer.levels) <= set(code.table())
    assert len(code.coefficients) == found.planes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LogQuantizer(1),
            "LogQuantizer: bits is 1, allowed are 2 to 4, as integers have at most 16 bits",
        ),
        (lambda: MuLawQuantizer(1), "MuLawQuantizer: bits is 1, allowed are 2 to 16"),
        (
            lambda: MuLawQuantizer(8, linear_bits=7),
            "MuLawQuantizer: linear_bits is 7, allowed are 8 to 16",
        ),
        (
            lambda: MuLawQuantizer(8, mu=0.0),
            "MuLawQuantizer: mu is 0.0, must be finite and greater than 0",
        ),
        (
            lambda: named_quantizer("od-2"),
            "no quantizer of weights is named 'od-2'; did you mean 'odd-2'? known: balanced-2, dorefa-2, log-2, "
            "mulaw-2, odd-2, symmetric-2",
        ),
        (lambda: named_quantizer("odd-0"), "OddQuantizer: bits is 0, allowed are 1 to 16"),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert str(caught.value) == message


def test_the_examples_of_the_documentation_run() -> None:
    failures, tried = doctest.testfile(str(ROOT / "docs" / "bits.md"), module_relative=False)
    assert tried > 0
    assert failures == 0
    assert doctest.testmod(quantize_uneven) == (0, 3)
