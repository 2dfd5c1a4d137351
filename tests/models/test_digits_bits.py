"""The digit networks with bits per layer: predictions, options and training again, in a small way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
digits_bits = pytest.importorskip("foldwright.models.digits_bits")
digits_net = pytest.importorskip("foldwright.models.digits_net")
train_digits = pytest.importorskip("foldwright.models.train_digits")

from foldwright.accel.network import load_network  # noqa: E402  behind the checks for torch and scikit-learn
from foldwright.accel.onnx_export import export_qonnx  # noqa: E402
from foldwright.accel.sensitivity import Estimate, Recovery  # noqa: E402
from foldwright.errors import ModelError  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", name="apart")
def _apart() -> Any:
    return digits_bits.apart(digits_net.digits())


@pytest.fixture(scope="module", name="parent")
def _parent(apart: Any) -> Any:
    return train_digits.train(digits_bits.parent_recipe(3, epochs=4), apart[0])


@pytest.fixture(scope="module", name="found")
def _found(parent: Any, apart: Any) -> Any:
    return digits_bits.sensitivity(parent, *apart, weights=("odd-1", "odd-4"), probes=4)


def test_learning_and_calibration_share_no_image_with_each_other_or_the_test_images(apart: Any) -> None:
    learning, calibration = apart
    data = digits_net.digits()
    assert len(learning.train_labels) + len(calibration.test_labels) == len(data.train_labels) == 1297
    joined = np.concatenate([calibration.test_images, learning.train_images])
    np.testing.assert_array_equal(joined, data.train_images)
    np.testing.assert_array_equal(learning.test_images, data.test_images)


def test_fewer_bits_lose_more_and_the_sums_come_near_what_is_lost_together(
    parent: Any, apart: Any, found: Any
) -> None:
    assert [layer.layer for layer in found.layers] == list(digits_net.LAYERS)
    assert found.accuracy_percent > 80
    for layer in found.layers:
        assert layer.weight_errors[1] > layer.weight_errors[2] > 0
        for estimate in Estimate:
            assert layer.parts(1, 0, estimate)[0] > layer.parts(2, 0, estimate)[0]
    options = found.bit_options(digits_bits.template())
    fine = digits_bits.uniform_picks(options, "odd-4", 4)
    chosen = [layer[k] for layer, k in zip(options.layers, fine, strict=True)]
    net = digits_net.DigitsNet(digits_bits.recipe_of(chosen, 3))
    net.load_state_dict(parent.state_dict())
    settled = parent.settled(net.quantized_weights, net.quantized_results)
    from foldwright.accel.sensitivity_torch import loss_and_accuracy

    images = torch.from_numpy(apart[1].test_images).float()
    labels = torch.from_numpy(apart[1].test_labels).long()
    together, _ = loss_and_accuracy(settled, images, labels, net.quantized_weights, net.quantized_results)
    assert together - found.loss == pytest.approx(sum(found.parts(fine, Estimate.MEASURED)), abs=0.05)


def test_the_first_option_of_all_is_the_network_in_float(parent: Any, found: Any) -> None:
    assert found.layers[0].loss_changes[0][0] == 0.0
    copy = parent.settled(parent.quantized_weights, parent.quantized_results)
    assert copy is not parent
    assert torch.equal(copy.head.weight, parent.head.weight)
    assert not torch.equal(copy.convs[0].norm.running_mean, parent.convs[0].norm.running_mean)


def test_a_network_with_other_bits_in_every_layer_goes_through_the_exporter(
    parent: Any, apart: Any, found: Any, tmp_path: Path
) -> None:
    options = found.bit_options(digits_bits.template(), recovery=Recovery(1.0, 1.0))
    picks = (1, 6, 3, 1)  # odd-1 with two bits, odd-4 with three, odd-1 with four, odd-4
    chosen = [layer[k] for layer, k in zip(options.layers, picks, strict=True)]
    recipe = replace(digits_bits.recipe_of(chosen, 3), epochs=1)
    assert recipe.name == "digits_odd1a2_odd4a3_odd1a4_odd4"
    net = digits_bits.retrained(parent, recipe, apart[0])
    network = load_network(export_qonnx(digits_net.to_graph(net), tmp_path / "mixed.onnx"))
    expected = options.workload_of(picks)
    for layer, wanted in zip(network.workload.layers, expected.layers, strict=True):
        assert (layer.weight_kind, layer.weight_bits) == (wanted.weight_kind, wanted.weight_bits)
        assert layer.act_bits == wanted.act_bits
        assert layer.acc_bits <= wanted.acc_bits
    images = apart[1].test_images[:50]
    with torch.no_grad():
        logits = net(torch.from_numpy(images).float()).numpy()
    np.testing.assert_allclose(network.run(images), logits, rtol=1e-3, atol=1e-3)


def test_shifted_accuracy_is_over_nine_views(parent: Any, apart: Any) -> None:
    calibration = apart[1]
    mean = digits_bits.shifted_accuracy_percent(parent, calibration)
    images = torch.from_numpy(calibration.test_images).float()
    labels = torch.from_numpy(calibration.test_labels)
    right = []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            moved = torch.zeros_like(images)
            moved[:, :, max(0, down) : 8 + min(0, down), max(0, across) : 8 + min(0, across)] = images[
                :, :, max(0, -down) : 8 + min(0, -down), max(0, -across) : 8 + min(0, -across)
            ]
            with torch.no_grad():
                right.append(float((parent(moved).argmax(1) == labels).double().mean()))
    assert mean == pytest.approx(100 * np.mean(right))


def test_float_layers_are_not_exported(parent: Any) -> None:
    with pytest.raises(
        ModelError, match="digits_float: the weights of 'conv1' are in float; give the recipe a quantizer"
    ):
        digits_net.to_graph(parent)


def test_a_recipe_needs_a_quantizer_for_every_layer() -> None:
    with pytest.raises(
        ModelError,
        match="recipe 'short': 1 quantizers of weights and 3 of activations, but 4 and 3 are needed",
    ):
        digits_net.Recipe("short", (None,), (None,) * 3, 1, 0)
