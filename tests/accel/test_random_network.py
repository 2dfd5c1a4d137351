"""Random networks keep the promises of their layers: every stored value has the bits that its readers take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.known_workloads import known_workload
from foldwright.accel.random_network import RandomNetwork, random_residual_network, random_weights
from foldwright.accel.workload import ActKind, ResultKind, WeightKind
from foldwright.errors import ModelError


def check_ranges(network: RandomNetwork, rng: np.random.Generator) -> None:
    for name, trace in network.integer_tensors(network.random_image(2, rng)).items():
        layer = network.layers[name].layer
        if layer.result is ResultKind.RAW:
            continue
        low = -(1 << layer.out_bits - 1) if layer.out_kind is ActKind.SIGNED else 0
        assert low <= trace.output.min() <= trace.output.max() < low + (1 << layer.out_bits)


@pytest.mark.parametrize("seed", range(12))
def test_sums_have_the_bits_that_are_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_residual_network(
        rng, 6, weight_kinds=(WeightKind.BINARY, WeightKind.TERNARY), most_levels=3, residual_bits=4
    )
    adding = [layer for layer in network.workload.layers if len(layer.inputs) > 1]
    assert len(network.layers) == 6
    assert all(network.workload.layers[network.workload.index[x.inputs[1]]].out_bits <= 4 for x in adding)
    check_ranges(network, rng)


def test_most_networks_of_six_layers_add_something() -> None:
    counts = []
    for seed in range(20):
        network = random_residual_network(
            np.random.default_rng(seed), 6, weight_kinds=(WeightKind.BINARY,), most_levels=3, residual_bits=4
        )
        counts.append(sum(len(layer.inputs) > 1 for layer in network.workload.layers))
    assert sum(count > 0 for count in counts) >= 15
    assert max(counts) > 1


def test_given_shapes_get_weights_whose_sums_fit() -> None:
    whole = known_workload("resnet18-w1a2")
    layers = [replace(layer, pool=None) for layer in whole.layers[1:5]]  # a stage of two blocks
    small = [replace(layer, in_height=6, in_width=6) for layer in layers]
    first = replace(small[0], name=whole.layers[0].name, inputs=("image",))
    workload = replace(
        whole,
        name="stage",
        layers=(first, *small),
        image_channels=64,
        image_height=6,
        image_width=6,
        image_bits=2,
    )
    network = random_weights(workload, np.random.default_rng(0))
    # x0 + 1 + 1 <= 3: layers of one level feed the sums, all others have three.
    assert [entry.levels for entry in network.layers.values()] == [1, 3, 1, 3, 1]
    check_ranges(network, np.random.default_rng(1))
    narrow = [replace(layer, out_bits=1) for layer in workload.layers]
    with pytest.raises(ModelError, match="1 bits are too few for the sums that it is part of"):
        random_weights(replace(workload, layers=tuple(narrow)), np.random.default_rng(0))
