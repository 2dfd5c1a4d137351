"""Bit planes against plain integer dot products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldwright.accel.bitplanes import (
    PlaneCode,
    act_code,
    and_product,
    pack_activations,
    pack_weights,
    unpack,
    weight_code,
    xnor_product,
)
from foldwright.accel.workload import ActKind, WeightKind
from foldwright.errors import ModelError

WEIGHTS = [
    (WeightKind.BINARY, 1),
    (WeightKind.TERNARY, 2),
    (WeightKind.ODD, 1),
    (WeightKind.ODD, 2),
    (WeightKind.ODD, 3),
    (WeightKind.SIGNED, 2),
    (WeightKind.SIGNED, 8),
]
ACTS = [
    (ActKind.BIPOLAR, 1),
    (ActKind.UNSIGNED, 1),
    (ActKind.UNSIGNED, 2),
    (ActKind.UNSIGNED, 8),
    (ActKind.SIGNED, 2),
    (ActKind.SIGNED, 5),
]


def weight_values(kind: WeightKind, bits: int) -> list[int]:
    """The values of a kind by its definition, not by the code under test."""
    if kind is WeightKind.SIGNED:
        return list(range(-(2 ** (bits - 1)), 2 ** (bits - 1)))
    return {WeightKind.BINARY: [-1, 1], WeightKind.TERNARY: [-1, 0, 1]}.get(
        kind, list(range(-(2**bits - 1), 2**bits, 2))
    )


def act_values(kind: ActKind, bits: int) -> list[int]:
    low = {ActKind.UNSIGNED: 0, ActKind.SIGNED: -(2 ** (bits - 1))}
    return [-1, 1] if kind is ActKind.BIPOLAR else list(range(low[kind], low[kind] + 2**bits))


@st.composite
def operands(draw: st.DrawFn) -> tuple[np.ndarray, PlaneCode, np.ndarray, PlaneCode]:
    """Weights and activations (rows, taps, channels) of any kinds, channels around the word size too."""
    w_kind, a_kind = draw(st.sampled_from(WEIGHTS)), draw(st.sampled_from(ACTS))
    taps = draw(st.integers(1, 4))
    channels = draw(st.sampled_from([1, 2, 3, 17, 63, 64, 65, 130]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    w = rng.choice(weight_values(*w_kind), (draw(st.integers(1, 4)), taps, channels))
    x = rng.choice(act_values(*a_kind), (draw(st.integers(1, 4)), taps, channels))
    if a_kind[0] is not ActKind.BIPOLAR:
        x[:, rng.random(taps) < 0.3] = 0  # taps in the zero padding of an image
    return w, weight_code(*w_kind), x, act_code(*a_kind)


@given(operands())
def test_unpack_gives_back_what_was_packed(pair: tuple[np.ndarray, PlaneCode, np.ndarray, PlaneCode]) -> None:
    w, w_code, x, x_code = pair
    np.testing.assert_array_equal(unpack(pack_weights(w, w_code)), w)
    np.testing.assert_array_equal(unpack(pack_activations(x, x_code)), x)


@given(operands())
def test_both_products_equal_the_integer_dot_product(
    pair: tuple[np.ndarray, PlaneCode, np.ndarray, PlaneCode],
) -> None:
    w, w_code, x, x_code = pair
    expected = np.einsum("mtc,ntc->mn", w, x)
    weights, acts = pack_weights(w, w_code), pack_activations(x, x_code)
    np.testing.assert_array_equal(and_product(weights, acts), expected)
    if w_code.bipolar:
        np.testing.assert_array_equal(xnor_product(weights, acts), expected)


def test_more_rows_than_one_block_are_all_there() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.choice([-1, 1], (150, 1, 70)), rng.integers(0, 4, (3, 1, 70))
    weights = pack_weights(w, weight_code(WeightKind.BINARY, 1))
    acts = pack_activations(x, act_code(ActKind.UNSIGNED, 2))
    np.testing.assert_array_equal(xnor_product(weights, acts), w[:, 0] @ x[:, 0].T)


def test_the_xnor_formula_by_hand() -> None:
    # w = (+1, -1, +1) and x = (2, 3, 0): sum(wx) = -1, sum(w) = 1, K = 3.
    # Plane 0 of x is (0, 1, 0): XNOR with (1, 0, 1) is 0, 0, 0, pop 0. Plane 1 is (1, 1, 0): 1, 0, 0, pop 1.
    # 2*sum(wx) = 1*(0 - 3) + 2*(2 - 3) + (1 + 2)*1 = -2.
    weights = pack_weights(np.array([[[1, -1, 1]]]), weight_code(WeightKind.BINARY, 1))
    acts = pack_activations(np.array([[[2, 3, 0]]]), act_code(ActKind.UNSIGNED, 2))
    pops = np.bitwise_count(~(weights.words ^ acts.words)).sum(axis=(1, 2)).tolist()
    assert pops == [0, 1]
    total = sum(c * (2 * pop - 3) for c, pop in zip((1, 2), pops, strict=True)) + 3 * 1
    assert total == 2 * xnor_product(weights, acts).item() == -2


def test_channel_order_and_padding_bits_are_as_documented() -> None:
    w = np.full((1, 2, 66), -1)
    w[0, 0, 0] = w[0, 0, 65] = w[0, 1, 3] = 1
    x = np.zeros((1, 2, 66), dtype=int)
    x[0, 0, 65] = x[0, 1, 3] = 1
    weights = pack_weights(w, weight_code(WeightKind.BINARY, 1))
    acts = pack_activations(x, act_code(ActKind.UNSIGNED, 1))
    fill = 2**64 - 4  # bits 2 .. 63 of the second word lie past channel 65
    assert weights.words.tolist() == [[[1, fill + 2, 8, fill]]]
    assert acts.words.tolist() == [[[0, 2, 8, 0]]]
    assert weights.length == 132


def test_ternary_weights_are_half_of_two_equal_planes() -> None:
    code = weight_code(WeightKind.TERNARY, 2)
    packed = pack_weights(np.array([[[-1, 0, 1]]]), code)
    assert code == PlaneCode((1, 1), bipolar=True, divisor=2)
    assert [words.item() & 7 for words in packed.words] == [0b110, 0b100]


def test_twos_complement_has_a_negative_sign_plane() -> None:
    assert act_code(ActKind.SIGNED, 3).coefficients == (1, 2, -4)
    packed = pack_activations(np.array([[[-4, 3, -1]]]), act_code(ActKind.SIGNED, 3))
    assert packed.words.ravel().tolist() == [0b110, 0b110, 0b101]


BINARY = weight_code(WeightKind.BINARY, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: pack_activations(np.array([[[1, 0, 0]]]), act_code(ActKind.BIPOLAR, 1)),
            "2 values have no bits in PlaneCode(coefficients=(1,), bipolar=True, divisor=1): the first is 0, "
            "allowed are -1, 1; zero padding needs a code with a 0: use two bits, signed",
        ),
        (
            lambda: pack_activations(np.array([[[16]]]), act_code(ActKind.UNSIGNED, 4)),
            "1 values have no bits in PlaneCode(coefficients=(1, 2, 4, 8), bipolar=False, divisor=1): the "
            "first is 16, allowed are 0, 1, 2, 3, 4, 5, 6, 7 .. 15",
        ),
        (
            lambda: pack_weights(np.ones((2, 3), dtype=int), BINARY),
            "bit planes need (rows, taps, channels), but the shape is (2, 3)",
        ),
        (lambda: weight_code(WeightKind.BINARY, 2), "binary weights of 2 bits; allowed: 1"),
        (lambda: weight_code(WeightKind.SIGNED, 1), "signed weights of 1 bits; allowed: 2 to 16"),
        (lambda: act_code(ActKind.BIPOLAR, 2), "bipolar activations of 2 bits; allowed: 1 to 1"),
        (
            lambda: and_product(
                pack_weights(np.ones((1, 1, 4), dtype=int), BINARY),
                pack_activations(np.ones((1, 2, 2), dtype=int), act_code(ActKind.UNSIGNED, 1)),
            ),
            "weights of 1 taps x 4 channels do not meet activations of 2 x 2",
        ),
        (
            lambda: xnor_product(
                pack_weights(np.ones((1, 1, 4), dtype=int), weight_code(WeightKind.SIGNED, 2)),
                pack_activations(np.ones((1, 1, 4), dtype=int), act_code(ActKind.UNSIGNED, 1)),
            ),
            "weights in PlaneCode(coefficients=(1, -2), bipolar=False, divisor=1) have no XNOR form; "
            "use and_product, or a bipolar code",
        ),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert str(caught.value) == message
