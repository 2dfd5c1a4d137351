"""The training script: what it exports is what it trained, and a seed decides all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
train_digits = pytest.importorskip("foldwright.models.train_digits")
digits_net = pytest.importorskip("foldwright.models.digits_net")

RECIPES = [replace(recipe, epochs=1) for recipe in train_digits.RECIPES]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_the_exported_file_computes_what_torch_computes(recipe: Any) -> None:
    pytest.importorskip("qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    from foldwright.accel.onnx_export import to_model

    data = digits_net.digits()
    net = train_digits.train(recipe, data)
    model = ModelWrapper(to_model(digits_net.to_graph(net)))
    for image in data.test_images[:20, None]:
        (got,) = execute_onnx(model, {"input": image.astype(np.float32)}).values()
        with torch.no_grad():
            expected = net(torch.from_numpy(image).float()).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_one_seed_gives_one_network_and_another_seed_another() -> None:
    data = digits_net.digits()
    recipes = [RECIPES[0], RECIPES[0], replace(RECIPES[0], seed=7)]
    first, again, other = (train_digits.train(recipe, data).head.weight.detach() for recipe in recipes)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_shifted_images_move_by_at_most_one_pixel_and_keep_their_pixels() -> None:
    images = torch.zeros(200, 1, 8, 8)
    images[:, 0, 4, 4] = 1
    moved = train_digits._shifted(images, np.random.default_rng(0))
    places = {tuple(place) for place in torch.nonzero(moved)[:, 2:].tolist()}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
    assert moved.sum() == 200
