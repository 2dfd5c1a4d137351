"""The shipped digit networks on the images that their training never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from foldwright import load_network
from foldwright.accel.bitplanes import (
    act_code,
    and_product,
    pack_activations,
    pack_weights,
    weight_code,
    xnor_product,
)
from foldwright.errors import ModelError
from foldwright.models import NAMES, TEST_SET, model_path

# Printed by train_digits.py for the shipped files; see models/README.md.
CORRECT = {"digits_w1a2": 494, "digits_w2a2_balanced": 497}


@pytest.fixture(scope="module")
def test_set() -> tuple[np.ndarray, np.ndarray]:
    with np.load(TEST_SET, allow_pickle=False) as arrays:
        return arrays["input"], arrays["label"]


@pytest.mark.parametrize("name", NAMES)
def test_the_integer_reference_classifies_the_held_out_images(
    name: str, test_set: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = test_set
    logits = load_network(model_path(name)).run(images)
    correct = int((logits.argmax(axis=1) == labels).sum())
    assert correct == CORRECT[name]
    assert correct >= 0.975 * len(labels)


@pytest.mark.parametrize("name", NAMES)
def test_bit_planes_of_every_layer_give_the_reference_accumulators(
    name: str, test_set: tuple[np.ndarray, np.ndarray]
) -> None:
    network = load_network(model_path(name))
    for layer_name, trace in network.trace(test_set[0][:3]).items():
        entry = network.layers[layer_name]
        layer = entry.layer
        rows = windows(trace.input, layer.kernel, layer.stride, layer.padding)
        weights = entry.weights.reshape(layer.out_channels, layer.in_channels, -1).transpose(0, 2, 1)
        packed = pack_weights(weights, weight_code(layer.weight_kind, layer.weight_bits))
        acts = pack_activations(rows, act_code(layer.act_kind, layer.act_bits))
        expected = trace.accumulator.transpose(1, 0, 2, 3).reshape(layer.out_channels, -1)
        np.testing.assert_array_equal(xnor_product(packed, acts), expected)
        np.testing.assert_array_equal(and_product(packed, acts), expected)


def windows(
    x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, int, int, int]
) -> np.ndarray:
    """Returns (frames * rows * columns, taps, channels), zeros in the padding."""
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    views = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    views = views[:, :, :: stride[0], :: stride[1]].transpose(0, 2, 3, 4, 5, 1)
    return views.reshape(-1, kernel[0] * kernel[1], x.shape[1])


def of_batch(path: Path, batch: int) -> onnx.ModelProto:
    """Returns the model for another batch: its shapes are all written down, the batch first in each."""
    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output if ".quantized" not in name}
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if value.name in made or value.name == "input":
            value.type.tensor_type.shape.dim[0].dim_value = batch
    return model


@pytest.mark.parametrize("name", NAMES)
def test_qonnx_execution_and_the_integer_reference_agree(
    name: str, test_set: tuple[np.ndarray, np.ndarray]
) -> None:
    pytest.importorskip("qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    images, labels = test_set
    model = ModelWrapper(of_batch(model_path(name), len(images)))
    (logits,) = execute_onnx(model, {"input": images.astype(np.float32)}).values()
    correct = int((logits.argmax(axis=1) == labels).sum())
    assert correct == CORRECT[name]
    reference = load_network(model_path(name)).run(images)
    np.testing.assert_allclose(reference, logits, rtol=1e-4, atol=1e-4)


def test_the_test_set_is_500_images_of_5_bits_with_every_digit(
    test_set: tuple[np.ndarray, np.ndarray],
) -> None:
    images, labels = test_set
    assert images.shape == (500, 1, 8, 8)
    assert labels.shape == (500,)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 16
    assert np.bincount(labels).min() >= 30


def test_the_test_set_is_the_split_of_the_script(test_set: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from foldwright.models.digits_net import digits

    data = digits()
    np.testing.assert_array_equal(data.test_images, test_set[0])
    np.testing.assert_array_equal(data.test_labels, test_set[1])
    assert len(data.train_labels) == 1297


@pytest.mark.parametrize(
    ("name", "levels"), [("digits_w1a2", {-1, 1}), ("digits_w2a2_balanced", {-3, -1, 1, 3})]
)
def test_weights_are_a_scale_times_few_integers(name: str, levels: set[int]) -> None:
    model = onnx.load(model_path(name))
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    layers = [key.removesuffix(".weights") for key in tensors if key.endswith(".weights")]
    assert layers == ["conv1", "conv2", "conv3", "logits"]
    for layer in layers:
        ratio = tensors[f"{layer}.weights"] / tensors[f"{layer}.quantized.scale"]
        assert set(np.round(ratio).astype(int).ravel().tolist()) == levels
        np.testing.assert_allclose(ratio, np.round(ratio), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small(name: str) -> None:
    assert model_path(name).stat().st_size < 200_000


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"named 'digits_w1a1'; did you mean 'digits_w1a2'\?"):
        model_path("digits_w1a1")
