"""Verification passes on our own networks and finds injected faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.accel import scaling, verify
from foldwright.accel.datapath import Datapath, Engine, EngineKind, LaneMode
from foldwright.accel.encoding import fold_thresholds
from foldwright.accel.mapping import M_INTERVAL, map_layers
from foldwright.accel.network import Network, load_network
from foldwright.accel.verify import verify_network
from foldwright.errors import ConfigError, VerificationError
from foldwright.jsonform import from_json, to_json

MODELS = Path(__file__).resolve().parents[2] / "models"
ENGINE = Engine(dm=3, dk=36, dn=3, planes_per_word=(1, 2), levels=3, window_bits=45)


@pytest.fixture(scope="module", name="network")
def _network() -> Network:
    return load_network(MODELS / "digits_w1a2.onnx")


def test_every_layer_of_a_network_is_bit_exact_and_in_time(network: Network) -> None:
    batch = Engine(dm=2, dk=32, dn=5, lanes=LaneMode.BATCH, levels=3, drain_lanes=2)
    datapath = Datapath((ENGINE, batch), (0, 0, 0, 1))
    report = verify_network(network, datapath, seed=3)
    assert [row.layer for row in report.rows if not row.full_size] == [
        layer.name for layer in network.workload.layers
    ]
    assert [row.shape for row in report.rows if row.full_size] == [ENGINE.shape, batch.shape]
    assert report.mismatches == 0
    assert report.values > 200
    assert all(row.rtl_cycles == row.formula_cycles for row in report.rows)
    assert report.rows[0].packed
    assert from_json(verify.VerifyReport, to_json(report), "report") == report


def test_engines_of_dsp_slices_are_bit_exact_and_in_time(network: Network) -> None:
    first = Engine(
        8, 64, 5, planes_per_word=(8,), kind=EngineKind.DSP, levels=3, window_bits=45, drain_lanes=2
    )
    rest = Engine(4, 16, 3, planes_per_word=(2,), kind=EngineKind.DSP, levels=3)
    report = verify_network(network, Datapath((first, rest), (0, 1, 1, 1)), seed=6, full_size=False)
    assert (report.mismatches, report.rows[0].packed, report.rows[0].planes_per_word) == (0, True, 8)
    # Nine values of a window, eight to a word: two words; but the three pixels of the next column are read meanwhile.
    assert report.rows[0].rtl_cycles == 3
    assert all(row.rtl_cycles == row.formula_cycles for row in report.rows)


def test_odd_weights_and_the_netlist_of_primitives_are_bit_exact() -> None:
    network = load_network(MODELS / "digits_w2a2_balanced.onnx")
    inputs = np.load(MODELS / "digits_test.npz", allow_pickle=False)
    frames = inputs[inputs.files[0]][:2]
    datapath = Datapath((Engine(dm=2, dk=16, dn=2, levels=3),), (0,) * 4)
    shaped = frames.reshape(len(frames), *network.input_shape[1:])
    report = verify_network(network, datapath, seed=4, inputs=shaped, technology="xc7-model", full_size=False)
    assert report.mismatches == 0


@pytest.mark.parametrize("memory", ["weight_image", "map_image"])
def test_a_flipped_bit_of_a_memory_is_found(
    network: Network, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(verify, memory)

    def wrong(*args: Any) -> list[int]:
        words = right(*args)
        return [word ^ 1 << 2 for word in words]

    monkeypatch.setattr(verify, memory, wrong)
    with pytest.raises(
        VerificationError, match=r"layer 'conv1' on engine 3x36x3: accumulator of frame 0, channel \d+, pixel"
    ):
        verify_network(network, Datapath((ENGINE,), (0,) * 4), seed=0, full_size=False)


def test_a_wrong_threshold_is_found(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    right = fold_thresholds

    def wrong(*args: Any) -> Any:
        folded = right(*args)
        return type(folded)(folded.table + 40, folded.flip)

    monkeypatch.setattr(scaling, "fold_thresholds", wrong)
    with pytest.raises(VerificationError, match="layer 'conv1' on engine 3x36x3: code of frame 0"):
        verify_network(network, Datapath((ENGINE,), (0,) * 4), seed=0, full_size=False)


def test_a_wrong_cycle_formula_is_found(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    right = map_layers

    def wrong(*args: Any) -> Any:
        mapping = right(*args)
        mapping[:, M_INTERVAL] -= 1
        return mapping

    monkeypatch.setattr(verify, "map_layers", wrong)
    with pytest.raises(VerificationError, match="by the formula each takes"):
        verify_network(
            network, Datapath((Engine(dm=3, dk=16, dn=3, levels=3),), (0,) * 4), seed=0, full_size=False
        )


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            Engine(dm=3, dk=16, dn=3, levels=3, acc_bits=8),
            "needs accumulators of 10 bits, engine 3x16x3 has 8",
        ),
        (Engine(dm=3, dk=16, dn=3, levels=1), "needs 3 levels"),
    ],
)
def test_an_engine_too_small_is_refused(network: Network, engine: Engine, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        verify_network(network, Datapath((engine,), (0,) * 4), seed=0, full_size=False)
