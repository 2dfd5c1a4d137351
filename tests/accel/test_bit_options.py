"""Options of bits per layer: what they give a workload, what they cost, what ties them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from foldwright.accel.bit_options import BitOption, BitOptions, with_bits
from foldwright.accel.known_workloads import LayerChain, known_workload, pooling, with_sums
from foldwright.accel.workload import ActKind, PoolKind, WeightKind, Workload
from foldwright.errors import ConfigError
from foldwright.jsonform import from_json, to_json

W1 = (1, WeightKind.BINARY)
A2 = (2, ActKind.UNSIGNED)


def option(bits: int, out_bits: int, drop: float, kind: WeightKind = WeightKind.ODD) -> BitOption:
    kind = WeightKind.BINARY if bits == 1 and kind is WeightKind.ODD else kind
    return BitOption(f"{kind.value}-{bits}", kind, bits, out_bits, drop)


def residual() -> Workload:
    """conv1 -> conv2 -> conv3 which adds conv1, then raw logits."""
    c = LayerChain((3, 6, 6, 8, ActKind.UNSIGNED), W1, A2)
    first = c.conv(8)
    c.conv(8)
    c.conv(8, adds=first)
    c.matmul(4, raw=True)
    return c.workload("residual")


def residual_options(drops: tuple[float, ...] = (0.5, 0.2)) -> BitOptions:
    layers = tuple(
        tuple(option(1, bits, drop) for bits, drop in zip((1, 2), drops, strict=True)) for _ in range(3)
    )
    return BitOptions("residual", residual(), (*layers, (option(1, 1, 0.1), option(2, 1, 0.0))))


def test_bits_of_results_are_those_of_the_readers_activations() -> None:
    chosen = [option(1, 3, 0), option(3, 1, 0), option(2, 2, 0), option(4, 1, 0, WeightKind.SIGNED)]
    workload = with_bits(known_workload("digits-w2a2"), chosen)
    assert [x.weight_bits for x in workload.layers] == [1, 3, 2, 4]
    assert [x.act_bits for x in workload.layers] == [5, 3, 1, 2]  # the image keeps its five
    assert [x.out_bits for x in workload.layers[:3]] == [3, 1, 2]
    # conv2: 16 * 9 products of at most 7 * 7, in two's complement; logits: 256 of 3 * 8.
    assert workload.layers[1].acc_bits == (144 * 49).bit_length() + 1
    assert workload.layers[3].acc_bits == workload.layers[3].out_bits == (256 * 24).bit_length() + 1


def test_the_bits_of_a_known_network_give_that_network() -> None:
    for name, bits in (("digits-w2a2", 2), ("cnv-w1a1", 1)):
        workload = known_workload(name)
        kind = workload.layers[0].weight_kind
        chosen = [option(bits, x.out_bits if x.out_bits < 5 else 1, 0, kind) for x in workload.layers]
        assert with_bits(workload, chosen).content_hash() == workload.content_hash()


def test_averages_stay_sums_where_they_were() -> None:
    c = LayerChain((3, 6, 6, 8, ActKind.UNSIGNED), W1, A2)
    c.conv(8, pool=pooling(2, 2, kind=PoolKind.AVERAGE))
    c.matmul(4, raw=True)
    workload = with_sums(c.workload("average"))
    changed = with_bits(workload, [option(1, 3, 0), option(1, 1, 0)])
    # Four values of at most 7 add up to 28, which takes five bits.
    assert (changed.layers[0].out_bits, changed.layers[0].code_bits) == (5, 3)
    assert changed.layers[1].act_bits == 5


def test_drops_add_up_in_millionths_rounded_up() -> None:
    assert option(1, 1, 0.1).drop_millionths == 100_000
    assert option(1, 1, 1e-7).drop_millionths == 1
    assert option(1, 1, 1.0000001).drop_millionths == 1_000_001
    assert option(1, 1, -0.5).drop_millionths == -500_000
    assert residual_options().drop_of((0, 1, 1, 0)) == 1_000_000


def test_layers_whose_results_are_added_are_tied() -> None:
    options = residual_options()
    assert options.ties == (0, 1, 0, 3)
    assert options.keeps_ties((1, 0, 1, 0))
    assert not options.keeps_ties((1, 0, 0, 0))
    assert options.aligned((1, 0, 0, 0)) == (1, 0, 1, 0)


def test_the_least_drop_is_that_of_all_choices_that_keep_ties() -> None:
    for drops in ((0.5, 0.2), (0.1, 0.3)):
        options = residual_options(drops)
        for first in ((0,), (1,), (0, 1)):
            sets = (first, (0, 1), (0, 1), (0, 1))
            best = min((options.drop_of(p), p) for p in product(*sets) if options.keeps_ties(p))
            assert options.completed(sets) is not None
            assert options.drop_of(options.completed(sets) or ()) == best[0]
    assert residual_options().completed(((0,), (0, 1), (1,), (0, 1))) is None


def test_options_read_back_equal() -> None:
    options = residual_options()
    assert from_json(BitOptions, to_json(options), "text") == options


def test_picks_are_found_by_their_options() -> None:
    options = residual_options()
    chosen = [layer[k] for layer, k in zip(options.layers, (1, 0, 1, 1), strict=True)]
    assert options.picks_of(chosen) == (1, 0, 1, 1)
    with pytest.raises(ConfigError, match="layer 'conv1' has no option 'weights odd-3, results of 2 bits'"):
        options.picks_of([option(3, 2, 0.0), *chosen[1:]])


def _with_layers(layers: tuple[tuple[BitOption, ...], ...]) -> BitOptions:
    return replace(residual_options(), layers=layers)


ONE = (option(1, 2, 0.0),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BitOption("x", WeightKind.TERNARY, 3, 0, float("inf")),
            "option 'x': ternary weights have 2 bits, not 3; out_bits is 0, allowed 1..16; "
            "drop is inf, allowed are finite numbers up to 1e+06",
        ),
        (
            lambda: BitOption("x", WeightKind.SIGNED, 1, 1, 0.0),
            "option 'x': weight_bits is 1, allowed 2..16",
        ),
        (lambda: _with_layers((ONE,)), "bit options 'residual': options of 1 layers, but there are 4"),
        (
            lambda: _with_layers((ONE, (), ONE, ONE)),
            "bit options 'residual': layer 'conv2' has 0 options, allowed 1..64",
        ),
        (
            lambda: _with_layers((ONE, ONE, (option(1, 1, 0.0),), ONE)),
            "bit options 'residual': layers whose results are added have no number of bits in common",
        ),
        (
            lambda: BitOptions("cnv", known_workload("cnv-w1a1"), (ONE,) * 9),
            "bit options 'cnv': "
            + "; ".join(
                f"layer '{x.name}' has bipolar results, which have one bit"
                for x in known_workload("cnv-w1a1").layers[:-1]
            ),
        ),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message
