"""Allocation instances: networks on parts under a LUT budget, by name, by split, at random.

Names: `allocation/NETWORK-PART-PERCENT`, the percentage being the share of the part's LUTs that a design may take; a
generated instance is `allocation/SPLIT-sSEED-INDEX`, which is all that it takes to make it again. Budgets and DRAM ports
of generated instances vary; splits separate their networks (see `foldwright.envs.generator`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from foldwright.accel.known_workloads import KNOWN_WORKLOADS, known_workload
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.envs.generator import REAL_NETWORKS, SPLITS, split_number, split_workload
from foldwright.errors import ConfigError, InfeasibleError, nearest

__all__ = ["PARTS", "PERCENTS", "generated", "named", "names", "real", "real_names"]

PARTS = ("xc7z020", "lfe5u-85f")
PERCENTS = (20, 50, 80)
_DRAM_BITS = (16, 32, 64)
_NEVER = 101
_LEAST_PERCENT = {
    "xc7z020": {"resnet18-w1a2": 50, "resnet18-w2a2": 50, "ultranet": 50, "mobilenet": _NEVER, "resnet18-int8": _NEVER},
    "lfe5u-85f": {
        "cnv-w1a2": 50, "cnv-w2a2": 50, "dorefa": 50, "ultranet": 80,
        "resnet18-int8": _NEVER, "resnet18-w1a2": _NEVER, "resnet18-w2a2": _NEVER, "mobilenet": _NEVER,
    },
}  # fmt: skip
"""Networks whose thresholds, kept in LUTs, need more than the smallest budget of a part, with some room to spare."""


def names() -> list[str]:
    """Returns the named instances, without the leading "allocation/", sorted."""
    return sorted(_names_of(KNOWN_WORKLOADS))


def real_names() -> list[str]:
    """Returns the instances of `heldout-real`, sorted."""
    return sorted(_names_of(REAL_NETWORKS))


def _names_of(networks: tuple[str, ...]) -> list[str]:
    return [
        f"{network}-{part}-{percent}"
        for network in networks
        for part in PARTS
        for percent in PERCENTS
        if percent >= _LEAST_PERCENT[part].get(network, PERCENTS[0])
    ]


def named(name: str) -> AllocationProblem:
    """Returns a named instance, or the generated one whose name says so; both without the leading "allocation/".

    Raises:
        ConfigError: no instance has this name.
    """
    if name in names():
        network, part, percent = re.fullmatch(rf"(.+)-({'|'.join(PARTS)})-(\d+)", name).groups()  # type: ignore[union-attr]
        return AllocationProblem(f"allocation/{name}", known_workload(network), part, float(percent))
    found = re.fullmatch(rf"({'|'.join(SPLITS[:-1])})-s(\d{{1,9}})-(\d{{1,9}})", name)
    if not found:
        known = nearest(f"allocation/{name}", [f"allocation/{n}" for n in names()])
        raise ConfigError(
            f"no allocation instance is named 'allocation/{name}'; {known}; "
            "generated ones are SPLIT-sSEED-INDEX, such as train-s0-17"
        )
    return generated(found[1], int(found[2]), int(found[3]))


def generated(split: str, seed: int, index: int) -> AllocationProblem:
    """Returns an instance of a generated split; the same for the same arguments, whatever else was made before."""
    name = f"{split}-s{seed}-{index}"
    rng = np.random.default_rng([split_number(split), seed, index])
    while True:
        workload = split_workload(split, rng, name)
        part, percent = str(rng.choice(PARTS)), 5.0 * int(rng.integers(3, 20))
        bits, engines = int(rng.choice(_DRAM_BITS)), int(rng.integers(1, 4))
        try:
            return AllocationProblem(f"allocation/{name}", workload, part, percent, bits, engines)
        except InfeasibleError:
            continue


def real(count: int, seed: int) -> Iterator[AllocationProblem]:
    """Yields instances of `heldout-real` in the order that the seed gives, each once, at most `count`."""
    order = np.random.default_rng([split_number("heldout-real"), seed]).permutation(real_names())
    for name in order[:count]:
        yield named(str(name))
