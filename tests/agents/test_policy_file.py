"""Files of policies: what is written reads back equal, and nothing else is ever taken for a policy."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.agents import policy, policy_file
from foldwright.agents.policy_file import policy_bytes, read_policy_file, weight_shapes
from foldwright.envs import ENVIRONMENTS
from foldwright.envs.kits import feature_version, kit_of
from foldwright.errors import ConfigError, PolicyError
from tests.agents.policies import random_policy, written

__all__: list[str] = []

POLICY = random_policy("tiling", seed=5)
RAW = policy_bytes(POLICY.card, POLICY.weights)
Header = dict[str, Any]


def rebuilt(change: Callable[[Header], Any], data: bytes | None = None, raw: bytes = RAW) -> bytes:
    """Returns the file with its header changed."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + (raw[8 + length :] if data is None else data)


def with_card(**fields: Any) -> bytes:
    def change(header: Header) -> None:
        card = json.loads(header["__metadata__"]["foldwright"]) | fields
        header["__metadata__"]["foldwright"] = json.dumps(card)

    return rebuilt(change)


def with_tensor(**fields: Any) -> bytes:
    return rebuilt(lambda header: header["head.bias"].update(fields))


def with_weight(value: float) -> bytes:
    data = bytearray(RAW)
    data[-4:] = np.float32(value).tobytes()
    return bytes(data)


def doubled_key() -> bytes:
    length = int.from_bytes(RAW[:8], "little")
    text = RAW[8 : 8 + length].rstrip()[:-1] + b', "score.weight": 1}'
    return len(text).to_bytes(8, "little") + text + RAW[8 + length :]


def header_of(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


CORPUS = {
    "empty": (b"", "no safetensors file or was cut short"),
    "a few bytes": (b"\x01\x02", "no safetensors file or was cut short"),
    "text": (b"this is not a policy at all", "no safetensors file or was cut short"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no safetensors file or was cut short"),
    "a header of 1 GB": ((2**30).to_bytes(8, "little") + bytes(1000), "header should have 1073741824 bytes"),
    "a header of 2^64 bytes": (b"\xff" * 8 + bytes(1000), "header should have 18446744073709551615"),
    "cut in the header": (RAW[:200], "was cut short"),
    "cut in the tensors": (RAW[:-100], "the file is damaged"),
    "bytes left over": (RAW + bytes(8), "the file is damaged"),
    "a header that is no text": (header_of(b"\xff\xfe\x00\x01"), "not UTF-8"),
    "a header that is no JSON": (header_of(b"{'a': 1}"), "not valid JSON"),
    "a header that nests deeply": (header_of(b"[" * 100_000), "not valid JSON"),
    "a header that is a list": (header_of(b"[1]"), "no JSON object"),
    "a key twice": (doubled_key(), "stands twice"),
    "no metadata": (rebuilt(lambda h: h.pop("__metadata__")), "not of a policy"),
    "metadata of others": (rebuilt(lambda h: h.update(__metadata__={"format": "pt"})), "not of a policy"),
    "metadata that is a number": (rebuilt(lambda h: h.update(__metadata__=7)), "not of a policy"),
    "another format": (with_card(format="foldwright.policy/9"), "format is 'foldwright.policy/9'"),
    "a foreign kind": (with_card(kind="tilling"), "kind is 'tilling'; did you mean 'tiling'"),
    "an unknown field": (with_card(colour="red"), "colour"),
    "other features": (with_card(feature_version="0" * 16), "trained on features '0000.*train it again"),
    "another count of features": (with_card(candidate_features=3), "takes 3 candidate"),
    "a huge width": (with_card(width=10**9), "width is 1000000000, allowed is 1 to 512"),
    "a width of another file": (with_card(width=32), r"tensor 'phi.0.weight' is F32 .*needed is F32 \[32, "),
    "a missing tensor": (rebuilt(lambda h: h.pop("score.weight")), "'score.weight' is missing"),
    "another tensor": (rebuilt(lambda h: h.update(scores={})), "'scores' is unknown"),
    "a tensor that is a list": (rebuilt(lambda h: h.update({"head.bias": []})), "'head.bias' needs exactly"),
    "half floats": (with_tensor(dtype="F16"), "is F16"),
    "a wrong shape": (with_tensor(shape=[4, 4]), "needed is F32"),
    "a shape of 1 GB": (with_tensor(shape=[2**28]), "needed is F32"),
    "an offset beyond the end": (with_tensor(data_offsets=[2**30, 2**30 + 64]), "overlap or leave a hole"),
    "an offset below 0": (with_tensor(data_offsets=[-64, 0]), "claims bytes -64 to 0"),
    "a span too long": (with_tensor(data_offsets=[0, 2**30]), "claims bytes 0 to 1073741824"),
    "offsets that are texts": (with_tensor(data_offsets=["0", "64"]), "needed are two numbers"),
    "tensors one on another": (with_tensor(data_offsets=[64, 128]), "overlap or leave a hole"),
    "NaN": (with_weight(float("nan")), "1 values that are NaN or infinite"),
    "infinity": (with_weight(float("inf")), "1 values that are NaN or infinite"),
    "a weight of 1e30": (with_weight(1e30), r"holds 1e\+30, allowed is up to 1000"),
    "6 MB": (RAW + bytes(6 * 2**20), "larger than the 5242880 bytes"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_damaged_or_foreign_file_is_refused(name: str, tmp_path: Path) -> None:
    raw, message = CORPUS[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(raw)
    with pytest.raises(PolicyError, match=message) as caught:
        read_policy_file(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).count("\n") < 10


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self._target,)


@pytest.mark.parametrize("name", ["model.zip", "model.pt", "model.pkl", "model.safetensors"])
def test_a_pickle_is_refused_and_never_run(name: str, tmp_path: Path) -> None:
    target, path = tmp_path / "owned", tmp_path / name
    payload = pickle.dumps(Evil(target))
    if name in ("model.zip", "model.pt"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl" if name == "model.pt" else "data", payload)
    else:
        path.write_bytes(payload)
    with pytest.raises(PolicyError, match="is a zip archive or a pickle, which may run code"):
        policy.load_policy(path)
    assert not target.exists()
    pickle.loads(payload)  # the payload does work where somebody unpickles it
    assert target.exists()


@pytest.mark.parametrize(("path", "message"), [("none.safetensors", "is missing"), (".", "is no file")])
def test_what_is_no_file_is_refused(path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=message):
        read_policy_file(tmp_path / path)


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_a_policy_reads_back_equal(kind: str, tmp_path: Path) -> None:
    before = random_policy(kind, width=24, depth=2)
    card = replace(before.card, seed=7, training_cpu_seconds=1.5, training_hashes=("ab", "cd"), recipe="r")
    path = tmp_path / "policy.safetensors"
    path.write_bytes(policy_bytes(card, before.weights))
    read, weights = read_policy_file(path)
    assert read == card
    assert {name: tensor.tobytes() for name, tensor in weights.items()} == {
        name: before.weights[name].tobytes() for name in weight_shapes(card)
    }
    assert policy_bytes(read, weights) == path.read_bytes()


@pytest.mark.parametrize(("length", "like"), [(0x480, b"\x80\x04"), (0x4B50, b"PK")])
def test_a_header_whose_length_looks_like_a_pickle_or_zip_is_read(
    length: int, like: bytes, tmp_path: Path
) -> None:
    missing = length - int.from_bytes(RAW[:8], "little")
    assert missing > 0
    raw = policy_bytes(replace(POLICY.card, recipe="r" * missing), POLICY.weights)
    assert raw.startswith(like)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(raw)
    assert len(read_policy_file(path)[0].recipe) == missing


def test_the_safetensors_package_reads_our_files(tmp_path: Path) -> None:
    from safetensors.numpy import load

    tensors = load(RAW)
    assert {name: tensor.shape for name, tensor in tensors.items()} == weight_shapes(POLICY.card)


def test_weights_that_are_no_numbers_are_not_written() -> None:
    weights = dict(POLICY.weights) | {"value.bias": np.array([np.nan], dtype=np.float32)}
    with pytest.raises(PolicyError, match=r"tensor 'value.bias' holds 1 values that are NaN"):
        policy_bytes(POLICY.card, weights)


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_the_card_of_a_kind_has_the_features_of_its_environment(kind: str) -> None:
    card, kit = policy_file.PolicyCard.of_kind(kind), kit_of(kind)
    assert (kit.kind, kit.candidate_features, kit.context_features) == (
        kind,
        card.candidate_features,
        card.context_features,
    )


def test_feature_versions_differ_between_kinds() -> None:
    assert len({feature_version(kind) for kind in ENVIRONMENTS}) == len(ENVIRONMENTS)
    with pytest.raises(ConfigError, match="no problem is named 'tilling'; did you mean 'tiling'"):
        kit_of("tilling")


def test_an_unknown_policy_gets_the_nearest_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "POLICY_FOLDER", tmp_path)
    with pytest.raises(PolicyError, match="no policy is named 'tiling-1' and no file is; none is shipped"):
        policy.load_policy("tiling-1")
    written(POLICY, tmp_path / "tiling-a.safetensors")
    with pytest.raises(PolicyError, match=r"'tiling-1' .*did you mean 'tiling-a'"):
        policy.load_policy("tiling-1")
    assert policy.load_policy("tiling-a").card == POLICY.card
    with pytest.raises(PolicyError, match="is missing"):
        policy.load_policy("nowhere/tiling-a.safetensors")


@pytest.mark.parametrize("name", policy.shipped_policies())
def test_a_shipped_policy_loads_and_is_small(name: str) -> None:
    loaded = policy.load_policy(name)
    assert policy.shipped_policies()[name].stat().st_size < 2**20
    assert loaded.card.training_hashes
    assert loaded.card.training_cpu_seconds > 0
