"""Learned policies without torch: the network of `CandidateScorer`, evaluated on observations.

The network scores each allowed candidate i of a decision by

    logit_i = score . relu(head [phi(c_i), psi(context), mean_j phi(c_j), max_j phi(c_j)]),    j over the allowed,

where phi and psi are `depth` layers of `width` units with relu. Weights are shared over the candidates and nothing
depends on their number, so one policy acts on instances of any size.

Decisions have few allowed candidates, so a call of numpy would cost more than the products in it: all is compiled, and
one decision is scored after another (`score_decision`), also by loops that are compiled themselves (`agents.play`). A
candidate has the same logit, to the last bit, in whatever batch it comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.agents.policy_file import PolicyCard, Weights, check_weights, read_policy_file
from foldwright.envs.problem import MAX_CANDIDATES
from foldwright.errors import PolicyError, nearest
from foldwright.kernels import njit

__all__ = [
    "POLICY_FOLDER",
    "Encoder",
    "Network",
    "Policy",
    "load_policy",
    "score_decision",
    "shipped_policies",
]

POLICY_FOLDER = Path(__file__).parent / "policies"
"""Where shipped policies stand."""
_SUFFIX = ".safetensors"
_ZERO = np.float32(0)

Floats = npt.NDArray[np.float32]


class Encoder(NamedTuple):
    """The layers of phi or psi; a matrix is (inputs, outputs)."""

    first: Floats  # float32 (features, width)
    rest: Floats  # float32 (depth - 1, width, width)
    bias: Floats  # float32 (depth, width)


class Network(NamedTuple):
    """The weights as the compiled functions take them; a matrix is (inputs, outputs)."""

    phi: Encoder
    psi: Encoder
    own: Floats  # float32 (width, width): what a candidate's own code adds to the head
    pooled: Floats  # float32 (3 * width, width): what psi, mean and maximum add
    bias: Floats  # float32 (width,)
    score: Floats  # float32 (width,)


# "reassoc" lets sums run in vector lanes, always the same ones.
_compiled: Any = njit(cache=True, fastmath={"reassoc", "contract"})


@_compiled
def _add_product(row: Floats, matrix: Floats, out: Floats) -> None:
    """Adds the product of a row and a matrix (inputs, outputs); four inputs at a time, so that `out` is seldom stored."""
    inputs, outputs = matrix.shape
    whole = inputs - inputs % 4
    for f in range(0, whole, 4):
        a, b, c, d = row[f], row[f + 1], row[f + 2], row[f + 3]
        for j in range(outputs):
            out[j] += a * matrix[f, j] + b * matrix[f + 1, j] + c * matrix[f + 2, j] + d * matrix[f + 3, j]
    for f in range(whole, inputs):
        a = row[f]
        for j in range(outputs):
            out[j] += a * matrix[f, j]


@_compiled
def _encode(encoder: Encoder, row: Floats, spare: Floats, code: Floats) -> None:
    """Writes the code of a row of features; `spare` has the same length and is overwritten."""
    depth = len(encoder.bias)
    for layer in range(depth):
        # the last layer writes into `code`, whatever the depth
        into, before = (code, spare) if (depth - layer) % 2 else (spare, code)
        into[:] = encoder.bias[layer]
        if layer == 0:
            _add_product(row, encoder.first, into)
        else:
            _add_product(before, encoder.rest[layer - 1], into)
        for j in range(len(into)):
            into[j] = max(into[j], _ZERO)


@_compiled
def score_decision(
    network: Network, candidates: Floats, context: Floats, mask: Any, room: Floats, logits: Floats
) -> int:
    """Writes a score per candidate of one decision, -inf where the mask forbids; returns the number of allowed ones.

    Args:
        candidates: Features, float32 (K, F).
        context: Features, float32 (G,).
        mask: 0 where a candidate is forbidden, (K,).
        room: float32 (K + 6, width), overwritten.
        logits: float32 (K,), overwritten.
    """
    width, count = len(network.score), 0
    codes, pool, shared, hidden = room[:-6], room[-6:-3].reshape(3 * width), room[-3], room[-2]
    spare = room[-1]
    mean, top = pool[width : 2 * width], pool[2 * width :]
    pool[:] = _ZERO
    for k in range(len(mask)):
        if mask[k] != 0:
            code = codes[count]
            _encode(network.phi, candidates[k], spare, code)
            for j in range(width):
                mean[j] += code[j]
                top[j] = max(top[j], code[j])
            count += 1
    if count > 0:
        share = np.float32(1.0) / np.float32(count)
        for j in range(width):
            mean[j] *= share
        _encode(network.psi, context, spare, pool[:width])
        shared[:] = network.bias
        _add_product(pool, network.pooled, shared)
    at = 0
    for k in range(len(mask)):
        logits[k] = -np.inf
        if mask[k] != 0:
            hidden[:] = shared
            _add_product(codes[at], network.own, hidden)
            logit = _ZERO
            for j in range(width):
                logit += max(hidden[j], _ZERO) * network.score[j]
            logits[k] = logit
            at += 1
    return count


@_compiled
def _score_batch(
    network: Network, candidates: Floats, context: Floats, mask: Any, room: Floats, logits: Floats
) -> None:
    for row in range(len(mask)):
        score_decision(network, candidates[row], context[row], mask[row], room, logits[row])


class Policy:
    """A policy that is ready to score candidates.

    Args:
        weights: As `weight_shapes(card)` lists them.
        where: Its name or file, for messages.
    """

    def __init__(self, card: PolicyCard, weights: Weights, where: str = "policy") -> None:
        check_weights(card, weights, where)
        self.card, self.weights, self.where = card, weights, where
        own, pooled = np.split(weights["head.weight"], [card.width], axis=1)
        self.network = Network(
            self._encoder("phi"),
            self._encoder("psi"),
            np.ascontiguousarray(own.T),
            np.ascontiguousarray(pooled.T),
            np.ascontiguousarray(weights["head.bias"]),
            np.ascontiguousarray(weights["score.weight"].reshape(card.width)),
        )

    def _encoder(self, name: str) -> Encoder:
        width, depth = self.card.width, self.card.depth
        rest = np.zeros((depth - 1, width, width), dtype=np.float32)
        for layer in range(1, depth):
            rest[layer - 1] = self.weights[f"{name}.{layer}.weight"].T
        first = np.ascontiguousarray(self.weights[f"{name}.0.weight"].T)
        return Encoder(
            first, rest, np.stack([self.weights[f"{name}.{layer}.bias"] for layer in range(depth)])
        )

    def room(self) -> Floats:
        """Returns memory for one call of `score_decision` at a time."""
        return np.empty((MAX_CANDIDATES + 6, self.card.width), dtype=np.float32)

    def logits(self, candidates: Floats, context: Floats, mask: npt.NDArray[Any]) -> Floats:
        """Returns a score per candidate, float32 (rows, 64), -inf where the mask forbids.

        Args:
            candidates: Features, float32 (rows, 64, F).
            context: Features, float32 (rows, G).
            mask: 0 where a candidate is forbidden, int8 or bool (rows, 64).
        """
        out = np.empty((len(mask), MAX_CANDIDATES), dtype=np.float32)
        _score_batch(self.network, candidates, context, mask, self.room(), out)
        return out


def shipped_policies() -> dict[str, Path]:
    """Returns the files of the policies that come with Foldwright, by name."""
    return {path.stem: path for path in sorted(POLICY_FOLDER.glob(f"*{_SUFFIX}"))}


def load_policy(name_or_path: str | Path) -> Policy:
    """Returns a shipped policy by name, or one from a file.

    Raises:
        PolicyError: there is none of this name, or the file is not one that can be used.
    """
    text, shipped = str(name_or_path), shipped_policies()
    if text in shipped:
        return Policy(*read_policy_file(shipped[text]), where=text)
    if text.endswith(_SUFFIX) or "/" in text or Path(text).exists():
        return Policy(*read_policy_file(text), where=text)
    known = nearest(text, shipped) if shipped else "none is shipped"
    raise PolicyError(f"no policy is named {text!r} and no file is; {known}; or give a {_SUFFIX} file")
