"""Quantizers against their definitions, by hand and by property."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foldwright.accel.quantize import (
    BalancedQuantizer,
    DorefaActivation,
    DorefaWeight,
    LinearQuantizer,
    OddQuantizer,
    Quantizer,
    SymmetricQuantizer,
)
from foldwright.accel.quantize_uneven import LogQuantizer, MuLawQuantizer
from foldwright.errors import ModelError

QUANTIZERS: list[Quantizer] = [
    LinearQuantizer(0.25, 3),
    LinearQuantizer(0.1, 4, signed=True),
    SymmetricQuantizer(2),
    SymmetricQuantizer(5),
    DorefaActivation(1),
    DorefaActivation(2),
    DorefaWeight(1),
    DorefaWeight(2),
    DorefaWeight(4),
    BalancedQuantizer(1),
    BalancedQuantizer(2),
    BalancedQuantizer(3),
    OddQuantizer(1),
    OddQuantizer(2),
    OddQuantizer(4),
    LogQuantizer(2),
    LogQuantizer(4),
    MuLawQuantizer(4),
    MuLawQuantizer(8, linear_bits=14),
]

TENSORS = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=3, max_side=9),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=repr)
@settings(max_examples=40)
@given(x=TENSORS)
def test_integers_are_levels_and_times_scale_give_forward(quantizer: Quantizer, x: np.ndarray) -> None:
    quantized = quantizer.to_integers(x)
    assert quantized.integers.shape == x.shape
    assert set(quantized.integers.ravel().tolist()) <= set(quantizer.levels)
    forward = quantizer.forward(x)
    assert forward.dtype == np.float32
    np.testing.assert_array_equal(forward, (quantized.integers * quantized.scale).astype(np.float32))


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=repr)
@settings(max_examples=40)
@given(x=TENSORS)
def test_quantizers_keep_order(quantizer: Quantizer, x: np.ndarray) -> None:
    integers = quantizer.to_integers(x).integers.ravel()
    assert (np.diff(integers[np.argsort(x.ravel(), kind="stable")]) >= 0).all()


def test_linear_rounds_half_up_on_both_sides_of_zero_and_saturates() -> None:
    # D = 0.5: x/D + 1/2 is -1.0, -0.5, 0, 0.5, 1, 1.98, so the floors are -1, -1, 0, 0, 1, 1.
    x = np.array([-0.75, -0.5, -0.25, 0.0, 0.25, 0.74])
    assert LinearQuantizer(0.5, 3, signed=True).to_integers(x).integers.tolist() == [-1, -1, 0, 0, 1, 1]
    assert LinearQuantizer(0.5, 2).to_integers(np.array([-9.0, 1e300])).integers.tolist() == [0, 3]


@given(x=hnp.arrays(np.float64, 7, elements=st.floats(-3, 3)), step=st.floats(0.01, 2))
def test_linear_equals_its_formula_where_it_does_not_saturate(x: np.ndarray, step: float) -> None:
    wide = LinearQuantizer(step, 16, signed=True)
    np.testing.assert_array_equal(wide.forward(x), step * np.floor(x / step + 0.5))


def test_symmetric_puts_the_largest_magnitude_on_the_largest_level() -> None:
    quantized = SymmetricQuantizer(3).to_integers(np.array([-6.0, -1.0, 0.9, 4.0]))  # scale 6 / 3
    assert quantized.scale == 2.0
    assert quantized.integers.tolist() == [-3, 0, 0, 2]  # -1/2 is a tie and goes up


def test_dorefa_activation_clips_and_uses_thirds_at_two_bits() -> None:
    quantized = DorefaActivation(2).to_integers(np.array([-1.0, 0.16, 0.17, 0.5, 0.9, 2.0]))
    assert quantized.integers.tolist() == [0, 0, 1, 2, 3, 3]
    assert quantized.scale == pytest.approx(1 / 3, rel=1e-15)


def test_dorefa_weight_is_sign_times_mean_at_one_bit() -> None:
    quantized = DorefaWeight(1).to_integers(np.array([-3.0, 0.0, 1.0, 4.0]))
    assert quantized.integers.tolist() == [-1, 1, 1, 1]
    assert quantized.scale == 2.0


def test_dorefa_weight_follows_its_formula() -> None:
    w = np.random.default_rng(0).normal(size=200)
    t = np.tanh(w)
    expected = 2 * np.floor((t / (2 * np.abs(t).max()) + 0.5) * 3 + 0.5) / 3 - 1
    np.testing.assert_allclose(DorefaWeight(2).forward(w), expected, atol=1e-15)


@given(
    bits=st.integers(1, 4),
    values=st.lists(st.floats(-10, 10), min_size=32, max_size=100, unique=True),
)
def test_balanced_bins_differ_by_at_most_two_values(bits: int, values: list[float]) -> None:
    # A value that lies on a cut goes up, and the last bin has the largest value besides.
    integers = BalancedQuantizer(bits).to_integers(np.array(values)).integers
    counts = [int((integers == level).sum()) for level in BalancedQuantizer(bits).levels]
    assert sum(counts) == len(values)
    assert max(counts) - min(counts) <= 2


def test_balanced_fills_levels_that_uniform_steps_leave_nearly_empty() -> None:
    w = np.random.default_rng(0).normal(size=10_000)
    w[0] = 30.0  # one outlier stretches the uniform grid
    uniform = SymmetricQuantizer(3).to_integers(w).integers
    balanced = BalancedQuantizer(2).to_integers(w)
    assert (uniform != 0).mean() < 0.01
    assert np.bincount((balanced.integers + 3) // 2).tolist() == [2500, 2500, 2500, 2500]
    assert np.abs(balanced.values()).mean() == pytest.approx(np.abs(w).mean())


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=repr)
def test_constant_zero_tensors_have_a_positive_scale(quantizer: Quantizer) -> None:
    assert quantizer.to_integers(np.zeros(4)).scale > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearQuantizer(0.0, 2), "LinearQuantizer: step is 0.0, must be finite and greater than 0"),
        (lambda: LinearQuantizer(1.0, 1, signed=True), "LinearQuantizer: bits is 1, allowed are 2 to 16"),
        (lambda: SymmetricQuantizer(1), "SymmetricQuantizer: bits is 1, allowed are 2 to 16"),
        (lambda: DorefaActivation(0), "DorefaActivation: bits is 0, allowed are 1 to 16"),
        (lambda: BalancedQuantizer(17), "BalancedQuantizer: bits is 17, allowed are 1 to 16"),
        (
            lambda: DorefaWeight(1).to_integers(np.array([1.0, np.nan])),
            "DorefaWeight got 1 values that are not finite, but needs finite numbers; check its tensor",
        ),
        (
            lambda: DorefaWeight(2).forward(np.zeros(0)),
            "DorefaWeight got no value at all, but needs finite numbers; check its tensor",
        ),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert str(caught.value) == message


class TestStraightThrough:
    """Forward values are numpy's; gradients are those of the smooth stand-in."""

    @pytest.mark.parametrize("quantizer", QUANTIZERS, ids=repr)
    def test_forward_equals_numpy(self, quantizer: Quantizer) -> None:
        torch = pytest.importorskip("torch")
        from foldwright.accel.quantize_torch import fake_quantize

        x = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
        got = fake_quantize(quantizer, torch.from_numpy(x).requires_grad_()).detach().numpy()
        np.testing.assert_array_equal(got, quantizer.forward(x))

    @pytest.mark.parametrize(
        ("quantizer", "expected"),
        [
            (BalancedQuantizer(2), [1.0, 1.0, 1.0, 1.0]),
            (SymmetricQuantizer(3), [1.0, 1.0, 1.0, 1.0]),
            (OddQuantizer(2), [1.0, 1.0, 1.0, 1.0]),
            (LogQuantizer(3), [1.0, 1.0, 1.0, 1.0]),
            (MuLawQuantizer(4), [1.0, 1.0, 1.0, 1.0]),
            (DorefaWeight(1), [1.0, 1.0, 1.0, 1.0]),
            (DorefaActivation(2), [0.0, 1.0, 1.0, 0.0]),  # nothing passes outside [0, 1]
            (LinearQuantizer(0.25, 2), [0.0, 1.0, 1.0, 0.0]),  # 3 * 0.25 is the largest value
        ],
        ids=repr,
    )
    def test_gradient_is_the_stand_ins(self, quantizer: Quantizer, expected: list[float]) -> None:
        torch = pytest.importorskip("torch")
        from foldwright.accel.quantize_torch import fake_quantize

        x = torch.tensor([-0.5, 0.25, 0.7, 1.5], requires_grad=True)
        fake_quantize(quantizer, x).sum().backward()
        assert x.grad.tolist() == expected

    def test_gradient_of_tanh_weights_fades_with_magnitude(self) -> None:
        torch = pytest.importorskip("torch")
        from foldwright.accel.quantize_torch import fake_quantize

        x = torch.tensor([0.0, 1.0, -2.0], requires_grad=True)
        fake_quantize(DorefaWeight(2), x).sum().backward()
        values = np.array([0.0, 1.0, -2.0])
        expected = (1 - np.tanh(values) ** 2) / np.tanh(2.0)
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5)
