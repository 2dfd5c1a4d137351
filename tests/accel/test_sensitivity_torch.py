"""Measured sensitivities against direct calculation on networks small enough for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
measures = pytest.importorskip("foldwright.accel.sensitivity_torch")

from foldwright.accel.quantize import DorefaActivation, OddQuantizer  # noqa: E402  behind the check for torch
from foldwright.accel.sensitivity import Estimate, Sensitivity  # noqa: E402
from foldwright.errors import ModelError  # noqa: E402


class TwoLayers:
    """x -> clip(x A) -> B: settles nothing, but counts how often it was asked to."""

    layers = ("first", "last")

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.first = torch.tensor(rng.normal(size=(4, 5)), dtype=torch.float32)
        self.last = torch.tensor(rng.normal(size=(5, 3)), dtype=torch.float32)
        self.asked = 0

    def logits(self, images: Any, weights: Any, results: Any) -> Any:
        hidden = results("first", images @ weights("first", self.first) * 0.3 + 0.5)
        return hidden @ weights("last", self.last)

    def settled(self, weights: Any, results: Any) -> TwoLayers:
        self.asked += 1
        return self


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return torch.tensor(rng.normal(size=(40, 4)), dtype=torch.float32), torch.tensor(rng.integers(0, 3, 40))


def settings(**fields: Any) -> Any:
    given = {
        "weights": ("odd-1", "odd-3"),
        "results": {1: DorefaActivation(1), 3: DorefaActivation(3)},
        "limit": lambda x: x.clamp(0.0, 1.0),
        "probes": 200,
        **fields,
    }
    return measures.Settings(**given)


@pytest.fixture(scope="module", name="found")
def _found() -> Sensitivity:
    found: Sensitivity = measures.measure_sensitivity("two", TwoLayers(), *data(), settings())
    return found


def test_a_diagonal_hessian_has_its_trace_without_error() -> None:
    scales = torch.tensor([1.0, -2.0, 5.0])
    trace, error = measures.hessian_trace(lambda e: (scales * e * e).sum() / 2, torch.zeros(3), settings())
    assert (trace, error) == (4.0, 0.0)  # +-1 squared is 1 whatever the probe


def test_a_full_hessian_has_its_trace_within_a_few_standard_errors() -> None:
    rng = np.random.default_rng(0)
    root = torch.tensor(rng.normal(size=(8, 8)), dtype=torch.float32)
    trace, error = measures.hessian_trace(lambda e: ((e @ root) ** 2).sum(), torch.zeros(8), settings())
    expected = 2 * float((root**2).sum())
    assert 0 < error < 0.1 * expected
    assert abs(trace - expected) < 4 * error


def test_the_trace_of_the_last_layer_is_that_of_softmax(found: Sensitivity) -> None:
    """H of mean cross-entropy by B: mean of |h|^2 * sum_c p_c (1 - p_c), h the hidden values."""
    net, (images, _) = TwoLayers(), data()
    hidden = (images @ net.first * 0.3 + 0.5).clamp(0.0, 1.0)
    p = torch.softmax(hidden @ net.last, dim=1)
    expected = float(((hidden**2).sum(1) * (p * (1 - p)).sum(1)).mean())
    last = found.layers[1]
    assert abs(last.weight_trace - expected) < 4 * last.weight_trace_error
    by_results = float(((net.last**2).T.unsqueeze(0) * (p * (1 - p)).unsqueeze(2)).sum((1, 2)).mean())
    cross = float(
        torch.stack([((net.last @ q) ** 2).sum() - (net.last**2 @ (q * q)).sum() for q in p]).mean()
    )
    first = found.layers[0]  # its results: trace of B (diag p - p p') B', the mean over the images
    assert abs(first.result_trace - (by_results - cross)) < 4 * first.result_trace_error


def test_changes_are_those_of_one_quantized_layer(found: Sensitivity) -> None:
    net, (images, labels) = TwoLayers(), data()

    def loss(first: Any, last: Any, clip: Any) -> float:
        hidden = clip(images @ first * 0.3 + 0.5)
        return float(torch.nn.functional.cross_entropy((hidden @ last).double(), labels))

    def clip(x: Any) -> Any:
        return x.clamp(0.0, 1.0)

    def one_bit(x: Any) -> Any:
        return torch.from_numpy(DorefaActivation(1).forward(x.numpy()))

    assert found.loss == pytest.approx(loss(net.first, net.last, clip), rel=1e-6)
    rough = torch.from_numpy(OddQuantizer(1).forward(net.first.numpy()))
    first = found.layers[0]
    assert first.weights == ("float", "odd-1", "odd-3")
    assert first.result_bits == (0, 1, 3)
    assert first.loss_changes[0][0] == 0.0
    assert first.loss_changes[1][0] == pytest.approx(loss(rough, net.last, clip) - found.loss, abs=1e-6)
    assert first.loss_changes[1][1] == pytest.approx(loss(rough, net.last, one_bit) - found.loss, abs=1e-6)
    assert first.weight_errors[1] == pytest.approx(float(((rough - net.first) ** 2).sum()), rel=1e-5)
    assert (first.weight_count, first.result_count) == (20, 5)
    assert found.layers[1].result_bits == (0,)
    assert found.layers[1].parts(1, 0, Estimate.TRACE)[1] == 0.0


def test_networks_settle_for_every_replacement_and_seeds_decide_all() -> None:
    net = TwoLayers()
    once = measures.measure_sensitivity("two", net, *data(), settings(probes=2))
    assert (
        net.asked == 3 * 3 - 1 + 2
    )  # all pairs of the first layer but the one as trained, and two of the last
    again = measures.measure_sensitivity("two", TwoLayers(), *data(), settings(probes=2))
    other = measures.measure_sensitivity("two", TwoLayers(), *data(), settings(probes=2, seed=1))
    assert once == again
    assert once.layers[0].weight_trace != other.layers[0].weight_trace


def test_images_need_labels() -> None:
    images, labels = data()
    with pytest.raises(ModelError, match="sensitivity 'two': 40 images and 39 labels"):
        measures.measure_sensitivity("two", TwoLayers(), images, labels[1:], settings())
