"""Sensitivities as values: what options they predict, and what training brings back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.sensitivity import Estimate, LayerSensitivity, Recovery, Sensitivity, fit_recovery
from foldwright.accel.workload import ActKind, WeightKind, Workload
from foldwright.errors import ConfigError
from foldwright.jsonform import from_json, to_json

MIDDLE = LayerSensitivity(
    layer="conv1",
    weights=("float", "odd-1", "log-3"),
    result_bits=(0, 1, 2),
    # weights alone 0.4 and -0.1; one-bit results 0.2 alone, 0.5 beside odd-1: 0.1 by the results.
    loss_changes=((0.0, 0.2, 0.05), (0.4, 0.5, 0.45), (-0.1, 0.1, -0.2)),
    weight_errors=(0.0, 8.0, 2.0),
    result_errors=(0.0, 3.0, 1.0),
    weight_trace=40.0,
    weight_trace_error=1.0,
    result_trace=6.0,
    result_trace_error=0.1,
    weight_count=80,
    result_count=36,
)
LAST = replace(
    MIDDLE,
    layer="fc2",
    result_bits=(0,),
    loss_changes=((0.0,), (0.3,), (0.01,)),
    result_errors=(0.0,),
    result_trace=0.0,
    result_count=1,
)
FOUND = Sensitivity("two", 10, 4, 0, 0.5, 90.0, (MIDDLE, LAST))


def workload() -> Workload:
    c = LayerChain((4, 3, 3, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    c.conv(4)
    c.matmul(4, raw=True)
    return c.workload("two")


def test_measured_changes_are_split_between_weights_and_results_and_never_below_zero() -> None:
    assert MIDDLE.parts(1, 1, Estimate.MEASURED) == pytest.approx((0.4, 0.1))
    assert MIDDLE.parts(2, 1, Estimate.MEASURED) == pytest.approx((0.0, 0.1))
    assert MIDDLE.parts(2, 2, Estimate.MEASURED) == (0.0, 0.0)


def test_the_trace_predicts_half_the_mean_curvature_times_the_squared_error() -> None:
    # 40 / 80 * 8 / 2 = 2 for odd-1; 6 / 36 * 3 / 2 = 0.25 for one bit.
    assert MIDDLE.parts(1, 1, Estimate.TRACE) == pytest.approx((2.0, 0.25))
    assert LAST.parts(2, 0, Estimate.TRACE) == pytest.approx((0.5, 0.0))


def test_options_are_all_pairs_without_float_and_cost_what_is_predicted() -> None:
    options = FOUND.bit_options(workload(), recovery=Recovery(2.0, 10.0))
    first, last = options.layers
    assert [(o.weights, o.weight_kind, o.weight_bits, o.out_bits) for o in first] == [
        ("odd-1", WeightKind.BINARY, 1, 1),
        ("odd-1", WeightKind.BINARY, 1, 2),
        ("log-3", WeightKind.SIGNED, 4, 1),  # four planes of two's complement hold +4
        ("log-3", WeightKind.SIGNED, 4, 2),
    ]
    assert [o.drop for o in first] == pytest.approx([0.8 + 1.0, 0.8 + 0.5, 1.0, 0.0])
    assert [o.drop for o in last] == pytest.approx([0.6, 0.02])
    assert options.unit == "points of accuracy"
    assert FOUND.parts((0, 1), Estimate.MEASURED) == pytest.approx((0.41, 0.1))
    nats = FOUND.bit_options(workload(), Estimate.TRACE)
    assert nats.unit == "nats of loss"
    assert nats.layers[0][0].drop == pytest.approx(2.25)


def test_sensitivities_read_back_equal() -> None:
    assert from_json(Sensitivity, to_json(FOUND), "text") == FOUND


def test_recovery_is_the_fit_whose_factors_are_not_too_far_apart() -> None:
    parts = [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    fitted = fit_recovery(parts, [2.0, 5.0, 7.0])
    assert (fitted.weights, fitted.results) == pytest.approx((2.0, 5.0))
    # The plain fit of these has the factors 2 and -1. Along (1, 0.1) the networks lose 1, 0.1 and 1.1 times a factor, which
    # is best at (2 - 0.1 + 1.1) / (1 + 0.01 + 1.21) = 3 / 2.22.
    fitted = fit_recovery(parts, [2.0, -1.0, 1.0])
    assert (fitted.weights, fitted.results) == pytest.approx((3 / 2.22, 0.3 / 2.22))
    fitted = fit_recovery(parts, [-1.0, 2.0, 1.0])
    assert (fitted.weights, fitted.results) == pytest.approx((0.3 / 2.22, 3 / 2.22))
    assert fit_recovery(parts, [-1.0, -1.0, -1.0]) == Recovery(0.0, 0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: replace(MIDDLE, weights=("odd-1", "odd-2", "odd-3"), weight_errors=(0.0,)),
            "sensitivity of layer 'conv1': the first options must be 'float' and 0 bits; "
            "weight_errors and result_errors must have a number for each option",
        ),
        (
            lambda: replace(MIDDLE, loss_changes=((0.0,),) * 3, weight_trace=float("nan")),
            "sensitivity of layer 'conv1': loss_changes must have 3 rows of 3; a number is not finite",
        ),
        (
            lambda: replace(LAST, result_count=0),
            "sensitivity of layer 'fc2': weight_count and result_count must be at least 1",
        ),
        (
            lambda: replace(FOUND, layers=(LAST, MIDDLE)).bit_options(workload()),
            "sensitivity 'two' has the layers ['fc2', 'conv1'], but the workload ['conv1', 'fc2']",
        ),
        (
            lambda: replace(FOUND, layers=(MIDDLE, replace(MIDDLE, layer="fc2"))).bit_options(workload()),
            "sensitivity of layer 'fc2': only raw results have no options",
        ),
        (
            lambda: fit_recovery([(1.0, 1.0)], [1.0]),
            "recovery needs at least two networks, got 1 predictions and 1 results",
        ),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message
