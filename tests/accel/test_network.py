"""Real networks and the face of `Network`: values in, values out, operands of every layer."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.network import load_network
from foldwright.accel.workload import ActKind, LayerKind, ResultKind, WeightKind
from tests.support import shared

CNV = ("cnv_w1a1_cifar10", "cnv_w1a2_cifar10", "cnv_w2a2_cifar10")


@pytest.mark.parametrize("name", CNV)
def test_cnv_equals_the_logits_of_a_real_board(name: str) -> None:
    network = load_network(shared(f"models/{name}.onnx"))
    vectors = np.load(shared(f"models/{name}.vectors.npz"), allow_pickle=False)
    logits = network.run(vectors["input"])
    # the board of the W1A1 net prints (dot product + 512) / 2, the others print the dot product
    board = (logits + 512) / 2 if name == "cnv_w1a1_cifar10" else logits
    np.testing.assert_array_equal(board, vectors["board_logits"])
    np.testing.assert_array_equal(network.run(vectors["extra_input"]), vectors["extra_expected"])


def test_dorefa_equals_the_vendors_golden_map_and_keeps_its_geometry() -> None:
    network = load_network(shared("models/dorefanet_w1a2_offload.onnx"))
    vectors = np.load(shared("models/dorefanet_w1a2_offload.vectors.npz"), allow_pickle=False)
    np.testing.assert_array_equal(network.run(vectors["input"]), vectors["expected"])
    workload = network.workload
    assert workload.macs == 946_201_824  # models/README.md
    assert [layer.groups for layer in workload.layers] == [2, 1, 2, 2]
    assert workload.layers[0].pool is not None
    assert workload.layers[0].pool.padding == (0, 0, 1, 1)
    assert {layer.weight_kind for layer in workload.layers} == {WeightKind.BINARY}
    assert {layer.act_kind for layer in workload.layers} == {ActKind.UNSIGNED}


def test_a_matrix_product_behind_a_flattened_input_reads_a_row() -> None:
    workload = load_network(shared("models/TFC_1W1A.onnx")).workload
    assert (workload.image_channels, workload.image_height, workload.image_width) == (784, 1, 1)
    assert {layer.kind for layer in workload.layers} == {LayerKind.MATMUL}
    assert workload.layers[-1].result is ResultKind.RAW
    assert len(workload.host_after) == 4  # the last normalization: subtract, divide, multiply, add
