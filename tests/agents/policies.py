"""Policies with random weights, as tests of policies need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foldwright.agents.policy import Policy
from foldwright.agents.policy_file import PolicyCard, policy_bytes, weight_shapes
from foldwright.envs import ENVIRONMENTS

__all__ = ["INSTANCES", "random_policy", "written"]

_NAMED = {
    "allocation": ("allocation/digits-w1a2-xc7z020-80",),
    "tiling": ("tiling/digits-w1a2-b16-p20", "tiling/cnv-w1a1-b16"),
}
INSTANCES = {
    kind: _NAMED.get(kind, (f"{kind}/train-s0-0", f"{kind}/heldout-size-s0-0")) for kind in ENVIRONMENTS
}
"""Instances that policies are tried on, by kind; where no names are chosen, one of the generated and a larger one."""


def random_policy(kind: str, seed: int = 0, width: int = 16, depth: int = 1, spread: float = 0.3) -> Policy:
    """Returns a policy whose weights are drawn at random."""
    card = PolicyCard.of_kind(kind, width=width, depth=depth, seed=seed)
    rng = np.random.default_rng(seed)
    shapes = weight_shapes(card).items()
    return Policy(card, {name: rng.normal(0, spread, shape).astype(np.float32) for name, shape in shapes})


def written(policy: Policy, path: Path) -> Path:
    """Writes a policy to a file and returns its path."""
    path.write_bytes(policy_bytes(policy.card, policy.weights))
    return path
