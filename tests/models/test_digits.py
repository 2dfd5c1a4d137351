"""The shipped digit networks on the images that their training never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from foldwright.errors import ModelError
from foldwright.models import NAMES, TEST_SET, model_path

# Printed by train_digits.py for the shipped files; see models/README.md.
CORRECT = {"digits_w1a2": 494, "digits_w2a2_balanced": 497}


@pytest.fixture(scope="module")
def test_set() -> tuple[np.ndarray, np.ndarray]:
    with np.load(TEST_SET, allow_pickle=False) as arrays:
        return arrays["input"], arrays["label"]


def of_batch(path: Path, batch: int) -> onnx.ModelProto:
    """Returns the model for another batch: its shapes are all written down, the batch first in each."""
    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output if ".quantized" not in name}
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if value.name in made or value.name == "input":
            value.type.tensor_type.shape.dim[0].dim_value = batch
    return model


@pytest.mark.parametrize("name", NAMES)
def test_qonnx_execution_classifies_the_held_out_images(
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
    assert correct >= 0.975 * len(labels)


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
    from foldwright.models.train_digits import digits

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
