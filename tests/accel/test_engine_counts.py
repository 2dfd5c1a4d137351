"""More engines than an accelerator is built of: fine for models, refused for RTL."""

from __future__ import annotations

import re

import pytest

from foldwright.accel.datapath import MAX_BUILT_ENGINES, MAX_ENGINES, Datapath, Engine
from foldwright.accel.known_workloads import known_workload
from foldwright.accel.layout_checks import network_mistakes
from foldwright.errors import ConfigError


def chain(count: int) -> Datapath:
    return Datapath((Engine(1, 8, 1),) * count, tuple(range(count)))


def test_a_datapath_may_have_an_engine_for_each_layer_of_cnv() -> None:
    cnv = known_workload("cnv-w1a1")
    assert len(chain(len(cnv.layers)).engines) == 9 > MAX_BUILT_ENGINES
    assert network_mistakes(cnv, {}, chain(9)) == [
        "the datapath has 9 engines, an accelerator is built of at most 8"
    ]


def test_too_many_engines_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{MAX_ENGINES + 1} engines, allowed 1..{MAX_ENGINES}")):
        chain(MAX_ENGINES + 1)
