"""Instances by name, from files and from splits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.accel.known_workloads import KNOWN_WORKLOADS, known_workload
from foldwright.envs.generator import LARGE, SMALL, SPLITS, random_workload
from foldwright.envs.problem import Problem
from foldwright.envs.registry import KINDS, content_hash, instance_names, load_instance, split
from foldwright.envs.tiling import instances as tiling_instances
from foldwright.errors import ConfigError, InfeasibleError
from foldwright.jsonform import to_json


def test_names_are_sorted_unique_and_complete() -> None:
    names = instance_names()
    assert names == [name for kind in KINDS for name in instance_names(kind)]
    assert all(a < b for kind in KINDS for a, b in pairwise(instance_names(kind)))
    for wanted in (
        "tiling/cnv-w1a1-b16",
        "tiling/dorefa-b32-p60",
        "allocation/cnv-w1a1-xc7z020-80",
        "placement/dorefa",
    ):
        assert wanted in names


@pytest.mark.parametrize("name", [n for n in instance_names() if "-b16" in n or not n.startswith("tiling")])
def test_every_named_instance_has_a_legal_fallback(name: str) -> None:
    problem = load_instance(name)
    assert problem.name == name
    assert problem.kind == name.partition("/")[0]
    assert (problem.sizes >= 1).all()
    assert (problem.sizes <= 64).all()


def test_pools_left_out_are_those_that_do_not_fit() -> None:
    named = set(tiling_instances.names())
    for key in ("cnv-w1a1", "dorefa", "mobilenet"):
        for pool in tiling_instances.POOLS:
            if f"{key}-b16-p{pool}" not in named:
                with pytest.raises(InfeasibleError, match="even the smallest tiles need"):
                    tiling_instances._real("x", key, 16, pool)


@pytest.mark.parametrize(
    "name",
    [
        "tiling/train-s3-5",
        "allocation/validation-s0-2",
        "folding/train-s0-1",
        "tiling/digits-w1a2-b8",
        "placement/train-s0-2",
    ],
)
def test_an_instance_survives_its_json_file(name: str, tmp_path: Path) -> None:
    problem = load_instance(name)
    path = tmp_path / "instance.json"
    path.write_text(to_json(problem), encoding="utf-8")
    again = load_instance(path)
    assert again == problem
    assert content_hash(again) == content_hash(problem)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tiling/cnv-w1a1-b17",
            r"no tiling instance is named 'tiling/cnv-w1a1-b17'; did you mean 'tiling/cnv-w1a1-b16'\?",
        ),
        ("allocation/dorefa-xc7z020-81", r"did you mean 'allocation/dorefa-xc7z020-80'\?"),
        (
            "tilin/cnv-w1a1-b16",
            r"no instance is named 'tilin/cnv-w1a1-b16'; did you mean 'tiling/cnv-w1a1-b16'\?",
        ),
        ("tiling/heldout-real-s0-0", "no tiling instance is named"),
        ("missing.json", "missing.json: cannot be read: No such file or directory"),
    ],
)
def test_wrong_names_are_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_instance(name)


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workload.json"
    path.write_text(to_json(known_workload("digits-w1a2")), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"format is 'foldwright.workload/1', not that of an instance"):
        load_instance(path)


@pytest.mark.parametrize("kind", KINDS)
def test_splits_share_no_network(kind: str) -> None:
    def hash_of(problem: Problem) -> str:
        """Returns the hash of what splits separate: the network, or the netlist."""
        owner: Any = getattr(problem, "workload", problem)
        return str(owner.content_hash())

    networks = {name: {hash_of(p) for p in split(kind, name, 12, seed)} for name in SPLITS for seed in (0,)}
    for name in SPLITS[:3]:  # other seeds cannot move a network into another split
        networks[name] |= {hash_of(p) for p in split(kind, name, 6, 1)}
    for i, a in enumerate(SPLITS):
        for b in SPLITS[:i]:
            assert not networks[a] & networks[b], f"{a} and {b} share a network"


def test_content_hashes_ignore_names_but_not_budgets() -> None:
    base, pool, default = (load_instance(f"tiling/digits-w1a2-b8{p}") for p in ("-p20", "-p60", "-p140"))
    assert content_hash(default) == content_hash(load_instance("tiling/digits-w1a2-b8"))
    assert len({content_hash(p) for p in (base, pool, default)}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_instance_depends_on_its_name_alone(kind: str) -> None:
    third = list(split(kind, "train", 3, seed=4))[2]
    assert load_instance(f"{kind}/train-s4-2") == third
    assert load_instance(f"{kind}/train-s4-3") != third


def test_held_out_sizes_are_larger() -> None:
    rng = np.random.default_rng(0)
    small = [random_workload(rng, SMALL) for _ in range(40)]
    large = [random_workload(rng, LARGE) for _ in range(40)]
    assert max(len(w.layers) for w in small) < min(len(w.layers) for w in large)
    ratio = np.mean([len(w.layers) for w in large]) / np.mean([len(w.layers) for w in small])
    assert 2 <= ratio <= 4


def test_generated_networks_have_every_ingredient() -> None:
    rng = np.random.default_rng(1)
    layers = [layer for _ in range(150) for layer in random_workload(rng, SMALL).layers]
    assert any(len(layer.inputs) == 2 for layer in layers)
    assert any(layer.groups == layer.in_channels > 1 for layer in layers)
    assert any(layer.pool for layer in layers)
    assert any(max(layer.stride) > 1 for layer in layers)
    assert {layer.weight_kind.value for layer in layers} == {"binary", "ternary", "odd", "signed"}
    assert {layer.act_bits for layer in layers} >= {1, 2, 4, 8}


def test_real_instances_come_once_each_in_an_order_of_the_seed() -> None:
    one, two = ([p.name for p in split("tiling", "heldout-real", 5, seed)] for seed in (0, 1))
    assert len(set(one)) == 5
    assert one != two
    assert all(name.partition("/")[2] in tiling_instances.real_names() for name in one + two)


def test_digits_are_no_held_out_network() -> None:
    assert not any("digits" in name for name in tiling_instances.real_names())
    assert any(name.startswith("digits") for name in KNOWN_WORKLOADS)
