"""The known networks are those of their sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foldwright.accel.known_workloads import KNOWN_WORKLOADS, known_workload
from foldwright.accel.workload import ResultKind, Workload
from foldwright.errors import ModelError
from foldwright.jsonform import plain
from foldwright.models import model_path

# Figures of the sources: CNV and DoReFa from the README of the shared models, ResNet-18 W1A2 8.7 and W2A2 17.3
# Tbop/s at 1000 frames per second, MobileNetV1 569 million multiply-adds (its table 8).
MACS = {
    "cnv-w1a1": 59_461_376,
    "cnv-w1a2": 59_461_376,
    "cnv-w2a2": 59_461_376,
    "dorefa": 946_201_824,
    "mobilenet": 568_740_352,
}


@pytest.mark.parametrize("name", MACS)
def test_multiply_accumulates_are_the_published_ones(name: str) -> None:
    assert known_workload(name).macs == MACS[name]


@pytest.mark.parametrize(("name", "tbops"), [("resnet18-w1a2", 8.7), ("resnet18-w2a2", 17.3)])
def test_resnet_needs_the_published_bit_operations(name: str, tbops: float) -> None:
    assert round(2 * known_workload(name).bit_macs * 1000 / 1e12, 1) == tbops


def test_dorefa_maps_shrink_as_the_vendor_s_do() -> None:
    sizes = [54, *(layer.stored_height for layer in known_workload("dorefa").layers)]
    assert sizes == [54, 27, 14, 14, 6]


def test_resnet_adds_eight_times() -> None:
    layers = known_workload("resnet18-w1a2").layers
    assert sum(len(layer.inputs) == 2 for layer in layers) == 8
    assert len(layers) == 21


def comparable(workload: Workload) -> list[object]:
    """Returns the layers without names and without the widths that depend on the weights' values."""
    rows: list[object] = [workload.image_channels, workload.image_height, workload.image_width]
    rows += [workload.image_bits, workload.image_kind]
    for layer in workload.layers:
        row = plain(layer)
        row["inputs"] = [workload.index[name] for name in layer.inputs]
        del row["name"], row["acc_bits"]
        if layer.result is ResultKind.RAW:
            del row["out_bits"]
        rows.append(row)
    return rows


def assert_same(name: str, path: Path) -> None:
    from foldwright.accel.network import load_network

    lowered, known = load_network(path).workload, known_workload(name)
    assert comparable(known) == comparable(lowered)
    for a, b in zip(known.layers, lowered.layers, strict=True):
        assert a.acc_bits >= b.acc_bits, f"{a.name} is too narrow for the real weights"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cnv-w1a1", "cnv_w1a1_cifar10"),
        ("cnv-w1a2", "cnv_w1a2_cifar10"),
        ("cnv-w2a2", "cnv_w2a2_cifar10"),
        ("dorefa", "dorefanet_w1a2_offload"),
    ],
)
def test_shapes_equal_those_of_the_real_networks(name: str, file: str, shared: Callable[[str], Path]) -> None:
    assert_same(name, shared(f"models/{file}.onnx"))


@pytest.mark.parametrize(
    ("name", "file"), [("digits-w1a2", "digits_w1a2"), ("digits-w2a2", "digits_w2a2_balanced")]
)
def test_shapes_equal_those_of_our_networks(name: str, file: str) -> None:
    assert_same(name, model_path(file))


def test_an_unknown_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no known network is named 'resnet18'; did you mean 'resnet18-w"):
        known_workload("resnet18")


def test_names_round_trip() -> None:
    assert [known_workload(name).name for name in KNOWN_WORKLOADS] == list(KNOWN_WORKLOADS)
